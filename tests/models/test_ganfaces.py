"""GANFaces: its game against a plain reading of the paper, and what each setting does."""

import math

import numpy as np
import pytest
import tensorflow as tf

from models import ganfaces_identity
from models.config import ConfigError
from models.ganfaces import GANFaces, GANFacesConfig, mean_distance
from models.layers import Halvings
from tests.models.builders import assert_steps_agree, numbers
from tests.models.builders import ganfaces as make_system
from tests.models.builders import ganfaces_batch as make_batch


def test_rate_is_halved_seven_times():
  config, step = GANFacesConfig(), tf.Variable(0, dtype=tf.int64)
  after = [128_000, 192_000, 224_000, 240_000, 244_000, 246_000, 247_000]
  system = make_system(learning_rate_steps=248_000, learning_rate=8e-5)
  for optimizer in (system.generator_optimizer, system.inverse_optimizer, system.discriminator_optimizer):
    for halvings, at in enumerate([0, *after]):
      for moment, count in ((at - 1, halvings - 1), (at, halvings)):
        if moment >= 0:
          system.step.assign(moment)
          np.testing.assert_allclose(optimizer._learning_rate(7), 8e-5 / 2**count, rtol=1e-5)
    assert (optimizer.beta_1, optimizer.beta_2, optimizer.epsilon) == (0.9, 0.999, 1e-8)
  np.testing.assert_allclose(Halvings(step.assign(10**6), config.learning_rate, after)(0), 6.25e-7, rtol=1e-5)
  np.testing.assert_allclose(Halvings(step, config.learning_rate, after, 5e-6)(0), 5e-6, rtol=1e-5)
  floored = make_system(learning_rate_steps=124_000, learning_rate=8e-5, learning_rate_floor=5e-5)
  for at, rate in ((63_999, 8e-5), (64_000, 5e-5)):
    floored.step.assign(at)
    np.testing.assert_allclose(floored.generator_optimizer._learning_rate(7), rate, rtol=1e-5)


def plain_round(system, batch):
  """The paper's round with nothing shared: a pass for each use of a network, a tape for each loss, Keras' own Adam."""
  config, logs = system.config, {}
  k_r, k_s, k_p = (float(system.balances[name]) for name in ('photo', 'render', 'pair'))
  keep, view = system._keep(batch['index'], 0), system._view(batch['index'])
  x, y, r, s = (batch[name] for name in ('render', 'photo', 'pair_photo', 'pair_render'))
  generator, inverse = system.generator, system.inverse
  d_r, d_s = system.photo_discriminator, system.render_discriminator
  l1 = lambda a, b: tf.reduce_mean(tf.abs(a - b))  # noqa: E731
  networks = {'generator': generator, 'inverse': inverse, 'photo_discriminator': d_r, 'render_discriminator': d_s}
  before = {name: [w.numpy() for w in n.trainable_variables] for name, n in networks.items()}
  with tf.GradientTape(persistent=True) as tape:
    fake = generator([x, keep])
    closed, fitted = inverse(fake), inverse(r)
    l_g, l_inverse = l1(fake, d_r(fake)), l1(closed, d_s(closed))
    l_cyc, l_pair, l_y, l_x = l1(x, closed), l1(s, fitted), l1(y, d_r(y)), l1(x, d_s(x))
    l_id = tf.reduce_mean(batch['render_mask'] * tf.abs(x - fake))
    codes = ganfaces_identity.look(system._load_embedding(), fake, batch['render_landmarks'], view)
    centroids, labels = system.centroids.numpy(), batch['label'].numpy()
    for e, label in zip(codes.numpy(), labels, strict=True):
      centroids[label] += 0.05 * (e - system.centroids.numpy()[label])
    distances = tf.reduce_sum((codes[:, None] - centroids[None])**2, -1)
    own = tf.gather(distances, labels, batch_dims=1)
    sigma = tf.reduce_sum(own) / (config.batch_size - 1)
    near = tf.exp(-distances / (2 * sigma**2))
    others = tf.reduce_sum(near, 1) - tf.exp(-own / (2 * sigma**2))
    l_c = tf.reduce_mean(tf.maximum(0.0, -tf.math.log(
        tf.exp(-own / (2 * sigma**2) - 1) / (others + 1e-8) + 1e-8)))
    l_dp = l_pair - k_p * l_cyc
    totals = {'generator': l_g + 0.5 * l_cyc + 1e-3 * l_c + 0.1 * l_id, 'inverse': l_inverse + 0.5 * l_cyc + 0.5 * l_dp,
              'photo_discriminator': l_y - k_r * l_g, 'render_discriminator': l_x - k_s * l_inverse}
  for name, network in networks.items():
    adam = {'generator': system.generator_optimizer, 'inverse': system.inverse_optimizer}.get(
        name, system.discriminator_optimizer)
    for w, g in zip(network.trainable_variables, tape.gradient(totals[name], network.trainable_variables), strict=True):
      slot = adam._index_dict[adam._var_key(w)]
      m, v, t = adam._momentums[slot], adam._velocities[slot], int(system.step) + 1
      m.assign(0.9 * m + 0.1 * g)
      v.assign(0.999 * v + 0.001 * g**2)
      rate = config.learning_rate * math.sqrt(1 - 0.999**t) / (1 - 0.9**t)
      w.assign_sub(rate * m / (tf.sqrt(v) + 1e-8))
  assert all((w.numpy() != b).any() for name, n in networks.items()
             for w, b in zip(n.trainable_variables, before[name], strict=True) if 'kernel' in w.name)
  games = {'photo': (k_r, l_y, l_g), 'render': (k_s, l_x, l_inverse), 'pair': (k_p, l_pair, l_cyc)}
  for name, (k, real, wrong) in games.items():
    k = min(max(k + config.balance_rate * (0.5 * float(real) - float(wrong)), 0), 1)
    system.balances[name].assign(k)
    logs |= {f'{name}_real_error': real, f'{name}_fake_error': wrong, f'{name}_balance': k,
             f'{name}_convergence': real + abs(0.5 * real - wrong)}
  system.centroids.assign(centroids)
  system.visits.assign(np.bincount(labels, minlength=config.identities) + system.visits.numpy())
  system.step.assign_add(1)
  return {**logs, 'generator_loss': totals['generator'], 'inverse_loss': totals['inverse'], 'cycle_loss': l_cyc,
          'pixel_loss': l_id, 'identity_loss': l_c, 'centroid_norm': np.linalg.norm(centroids, axis=1).mean(),
          'centroids_visited': (system.visits.numpy() >= 14).mean()}


@pytest.mark.parametrize('balance', [pytest.param(0.0, marks=pytest.mark.slow), 0.3])
def test_the_fast_step_is_the_plain_one(balance):
  changes = {'balance_start': balance, 'balance_rate': 0.05, 'identity_weight': 1e-3, 'ema_decay': 0.0}
  fast, plain = make_system(**changes), make_system(**changes)
  for system in (fast, plain):
    system.visits.assign([13] * 6)
  assert_steps_agree(fast, plain, plain_round, make_batch, rtol=2e-5)
  for ours, theirs in zip(fast.weights, plain.weights, strict=True):
    np.testing.assert_allclose(ours, theirs, atol=2e-6, err_msg=ours.name)


NETWORKS = ('generator', 'inverse', 'photo_discriminator', 'render_discriminator')
SIMGAN = {'inverse': False, 'cycle_weight': 0.0, 'pair_weight': 0.0, 'identity_loss': 'none', 'pixel_mask': False}
CYCLEGAN = {'pair_weight': 0.0, 'identity_loss': 'none', 'backward_cycle_weight': 0.5, 'photo_renders': True}


def first_step(phase='train', **changes):
  """(logs of a first step, networks that it moved)."""
  system = make_system(phase, **changes)
  networks = {name: getattr(system, name) for name in NETWORKS if getattr(system, name) is not None}
  before = {name: [w.numpy() for w in network.trainable_weights] for name, network in networks.items()}
  logs = numbers(system.train_step(make_batch(system.config)))
  return logs, {name for name, network in networks.items()
                if any((w.numpy() != b).any() for w, b in zip(network.trainable_weights, before[name], strict=True))}


GAME = ('real_error', 'fake_error', 'balance', 'convergence')


@pytest.mark.parametrize(['changes', 'games', 'terms'], [
    ({}, ('photo', 'render', 'pair'), ('cycle_loss', 'pixel_loss', 'identity_loss')),
    (SIMGAN, ('photo',), ('pixel_loss',)),
    (CYCLEGAN, ('photo', 'render'), ('cycle_loss', 'backward_cycle_loss', 'pixel_loss')),
    ({'pair_weight': 0.0}, ('photo', 'render'), ('cycle_loss', 'pixel_loss', 'identity_loss')),
    ({'cycle_weight': 0.0}, ('photo', 'render'), ('pair_real_error', 'pixel_loss', 'identity_loss')),
    ({'reconstruction_weight': 0.5}, ('photo', 'render', 'pair'),
     ('cycle_loss', 'pixel_loss', 'identity_loss', 'reconstruction_loss'))], ids=str)
def test_arms_play_their_games(changes, games, terms):
  logs, moved = first_step(**changes)
  assert moved == set(NETWORKS if changes.get('inverse', True) else NETWORKS[::2])
  expected = {f'{game}_{part}' for game in games for part in GAME} | {*terms, 'generator_loss'}
  expected |= {'inverse_loss'} if 'render' in games else set()
  assert set(logs) - {'centroid_norm', 'centroids_visited'} == expected
  weights = {'cycle_loss': 0.5, 'pixel_loss': 0.1, 'identity_loss': 1e-3, 'reconstruction_loss': 0.5,
             'backward_cycle_loss': 0.5}
  total = logs['photo_fake_error'] + sum(weights[t] * logs[t] for t in terms if t in weights)
  np.testing.assert_allclose(logs['generator_loss'], total, rtol=1e-5)


@pytest.mark.parametrize('changes', [CYCLEGAN, {'reconstruction_weight': 0.5, 'photo_renders': True}], ids=str)
def test_gradients_of_the_arms_are_those_of_their_formulas(changes):
  system = make_system(balance_start=0.2, dropout=0.0, identity_loss='none', **{
      k: v for k, v in changes.items() if k != 'identity_loss'})
  config, batch, ones = system.config, make_batch(system.config), tf.ones([1, 3, 1, 1, 1])
  x, y, r, s = (batch[name] for name in ('render', 'photo', 'pair_photo', 'pair_render'))
  generate, inverse = lambda images: system.generator([images, ones]), system.inverse  # noqa: E731
  d_r, d_s = system.photo_discriminator, system.render_discriminator
  l1 = lambda a, b: tf.reduce_mean(tf.abs(a - b))  # noqa: E731
  with tf.GradientTape(persistent=True) as tape:
    fake, back = generate(x), inverse(y)
    closed = inverse(fake)
    judged = (l1(closed, d_s(closed)) + l1(back, d_s(back))) / 2
    cycle, backward = l1(x, closed), config.backward_cycle_weight * l1(y, generate(back))
    pair = config.pair_weight * (l1(s, inverse(r)) - 0.2 * cycle)
    total_g = l1(fake, d_r(fake)) + 0.5 * cycle + backward + 0.1 * tf.reduce_mean(
        batch['render_mask'] * abs(x - fake)) + config.reconstruction_weight * l1(r, generate(s))
    total_i, total_d = judged + 0.5 * cycle + backward + pair, l1(x, d_s(x)) - 0.2 * judged
  balances = {name: tf.constant(0.2) for name in system.balances}
  slope, gradients, *_ = system.game.play(batch, fake, balances, [ones] * 3, tf.constant(0.1))
  own = tape.gradient(fake, system.generator.trainable_variables, output_gradients=slope)
  received = {'generator': [tf.add_n(parts) for parts in zip(own, *gradients['generator'], strict=True)],
              'inverse': gradients['inverse'],
              'discriminators': gradients['discriminators'][len(d_r.trainable_variables):]}
  for name, total, network in (('generator', total_g, system.generator), ('inverse', total_i, inverse),
                               ('discriminators', total_d, d_s)):
    for a, b in zip(received[name], tape.gradient(total, network.trainable_variables), strict=True):
      np.testing.assert_allclose(a, b, rtol=1e-3, atol=2e-6, err_msg=name)


def test_warm_steps_train_what_they_say():
  logs, moved = first_step('warm')
  assert moved == {'photo_discriminator', 'render_discriminator'}
  assert set(logs) == {'photo_real_error', 'render_real_error'}
  logs, moved = first_step('warm', warm_generators=True, reconstruction_weight=1.0)
  assert moved == set(NETWORKS)
  assert set(logs) == {'photo_real_error', 'render_real_error', 'pixel_loss', 'cycle_loss', 'pair_real_error',
                       'reconstruction_loss'}
  logs, moved = first_step('warm', warm_generators=True, **SIMGAN)
  assert moved == {'generator', 'photo_discriminator'} and set(logs) == {'photo_real_error', 'pixel_loss'}


def test_pixel_weight_falls_to_the_papers():
  system = make_system(pixel_weight_start=1.1, pixel_fall_steps=10)
  for step, weight in ((0, 1.1), (5, 0.6), (10, 0.1), (99, 0.1)):
    system.step.assign(step)
    np.testing.assert_allclose(system._pixel_weight(), weight, rtol=1e-5)


def test_pixel_loss_looks_at_the_face_only_unless_told():
  batch = {'render': tf.fill([4, 16, 16, 3], 0.5), 'render_mask': tf.zeros([4, 16, 16, 1])}
  fake = tf.zeros([4, 16, 16, 3])
  assert float(make_system().game._pixel_loss(batch, fake)) == 0
  assert float(make_system(pixel_mask=False).game._pixel_loss(batch, fake)) == 0.5


def test_translations_depend_on_seed_and_index_alone():
  system = make_system()
  renders = make_batch(system.config)['render']
  first = system.translate(renders, 3)
  assert first.shape == renders.shape and float(tf.reduce_max(tf.abs(first))) <= 1
  np.testing.assert_allclose(system.translate(renders[2:], 3, tf.constant([2, 3])), first[2:], atol=1e-6)
  assert not np.allclose(system.translate(renders, 4), first)
  plain = system.translate(renders, deterministic=True)
  np.testing.assert_array_equal(plain, system.translate(renders, 4, deterministic=True))
  assert not np.allclose(plain, first)
  same = make_system(dropout=0.0).translate(renders, 3)
  np.testing.assert_allclose(same, plain, atol=1e-6)
  assert {k: v.shape for k, v in system.scores(renders, first).items()} == {'photo_error': (4,), 'cycle_error': (4,)}
  with pytest.raises(ValueError, match='inverse=false has trained no inverse generator'):
    make_system(**SIMGAN).invert(renders)


def test_an_embedding_that_is_not_there_is_told():
  with pytest.raises(FileNotFoundError, match='--embedding=nowhere.keras: there is no such file'):
    make_system(embedding='nowhere.keras').compile()
  make_system(embedding='nowhere.keras').translate(tf.zeros([1, 16, 16, 3]))  # A trained model needs none.


def test_one_face_for_all_is_warned_of():
  system = make_system()
  batch = {**make_batch(system.config), 'render': 0.1 * make_batch(system.config)['render']}
  figures, warnings = system.inspect(batch)
  assert set(figures) == {f'{n}_{k}' for n in ('render', 'output') for k in ('spread', 'code_spread')} and not warnings
  system.step.assign(1)
  system.translate = lambda *args: tf.zeros_like(batch['render'])
  figures, warnings = system.inspect(batch)
  assert figures['output_spread'] == 0 and '(pixels), less than half of what their renders do' in warnings[0]
  assert '(face codes)' in warnings[1]
  np.testing.assert_allclose(mean_distance(tf.constant([[0.0, 0.0], [2.0, 2.0], [2.0, 2.0]])), 4 / 3)
  system.phase = 'warm'
  assert system.inspect(batch) == ({}, [])


def test_too_few_visits_are_told():
  note, = GANFaces.notes(GANFacesConfig(train_steps=1000, batch_size=8, identities=300))
  assert note.startswith('each person is visited 26.7 times') and '--identities is at most 133' in note
  assert not GANFaces.notes(GANFacesConfig(train_steps=1000, batch_size=8, identities=133))
  assert not GANFaces.notes(GANFacesConfig(train_steps=1, identity_loss='none'))


def test_the_samples_show_what_there_is():
  system, plain = make_system(), make_system(**SIMGAN)
  batch = make_batch(system.config)
  assert list(system.sample(batch)) == ['render', 'output', 'cycle', 'photo', 'photo_copy', 'output_copy', 'pair_photo',
                                        'fitted', 'pair_render']
  assert list(plain.sample(batch)) == ['render', 'output', 'photo', 'photo_copy', 'output_copy']
  assert set(system.signatures()) == {'serving_default', 'translate', 'invert'}
  assert set(plain.signatures()) == {'serving_default', 'translate'}


@pytest.mark.parametrize('changes', [
    {'image_size': 50}, {'batch_size': 1, 'identity_loss': 'set'}, {'inverse': False, 'cycle_weight': 0.5},
    {'inverse': False, 'cycle_weight': 0.0, 'pair_weight': 0.0, 'photo_renders': True},
    {'identity_weight': 0.0, 'identity_loss': 'set'}, {'pixel_weight_start': 1.0, 'pixel_fall_steps': 0},
    {'pixel_weight_start': 0.0, 'pixel_fall_steps': 9}, {'warm_generators': True, 'warm_steps': 0},
    {'learning_rate_floor': 1e-3, 'learning_rate': 1e-4}, {'norm': 'batch'}], ids=str)
def test_contradictions_name_the_settings(changes):
  with pytest.raises(ConfigError) as caught:
    GANFacesConfig(**changes)
  assert set(caught.value.fields) <= set(changes)
  assert all(f'{name}=' in str(caught.value) for name in caught.value.fields)


@pytest.mark.slow
def test_paper_size_builds_and_steps():
  system = GANFaces(GANFacesConfig(batch_size=2, embedding='untrained', ema_decay=0.0))
  logs = tf.function(system.train_step)(make_batch(system.config))
  assert all(np.isfinite(v) for v in numbers(logs).values())
