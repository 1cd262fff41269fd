"""GANFaces: its networks' sizes, its game against a plain reading of the paper, and what each setting does."""

import math

import numpy as np
import pytest
import tensorflow as tf

from models import ganfaces_identity
from models.config import ConfigError
from models.ganfaces import GANFaces, GANFacesConfig, mean_distance
from models.ganfaces_identity import View, cut_square, turn_points
from models.ganfaces_networks import autoencoder_network, generator_network
from models.layers import Halvings, InstanceNorm, UpsampleConv


def make_batch(config, seed=0):
  draw = np.random.default_rng(seed)
  count, size = config.batch_size, config.image_size
  pictures = ('render', 'photo', 'pair_photo', 'pair_render')
  batch = {name: tf.constant(draw.uniform(-1, 1, [count, size, size, 3]), tf.float32) for name in pictures}
  return {**batch, 'render_mask': tf.constant(draw.integers(0, 2, [count, size, size, 1]), tf.float32),
          'render_landmarks': tf.constant(draw.uniform(-1, 1, [count, 68, 2]), tf.float32),
          'label': tf.constant(draw.integers(0, config.identities, [count]), tf.int32),
          'index': tf.range(count, dtype=tf.int64)}


def make_system(phase='train', **changes):
  system = GANFaces(GANFacesConfig.tiny(**{'warm_steps': 0 if phase == 'train' else 2, **changes}))
  system.phase = phase
  return system


def numbers(logs):
  return {k: float(v) for k, v in logs.items()}


def size(network):
  return sum(math.prod(w.shape) for w in network.trainable_weights)


@pytest.mark.parametrize(['norm', 'generator', 'inverse'], [
    ('released', 1_103_136, 1_080_000), ('instance', 1_103_776, 1_080_640), ('none', 1_101_600, 1_078_464)])
def test_generator_parameters(norm, generator, inverse):
  networks = [generator_network(GANFacesConfig(norm=norm), skips) for skips in (True, False)]
  assert [size(n) for n in networks] == [generator, inverse]
  assert all('bias' not in w.name for n in networks for w in n.weights)
  assert networks[0].output_shape == networks[1].output_shape == (None, 108, 108, 3)


@pytest.mark.parametrize(['image_size', 'count', 'bottom'], [(108, 6_723_459, 14), (64, 4_011_651, 8)])
def test_autoencoder_parameters(image_size, count, bottom):
  network = autoencoder_network(GANFacesConfig(image_size=image_size), 'photo')
  assert size(network) == count and network.output_shape[1:] == (image_size, image_size, 3)
  heights = [layer.output.shape[1] for layer in network.layers if isinstance(layer, tf.keras.layers.Conv2D)]
  assert min(heights) == bottom and heights[-1] == 8 * bottom


def test_initial_weights():
  network = generator_network(GANFacesConfig(), True)
  kernels = np.concatenate([w.numpy().ravel() for w in network.weights if 'kernel' in w.name])
  scales = np.concatenate([w.numpy().ravel() for w in network.weights if 'gamma' in w.name])
  np.testing.assert_allclose([kernels.std(), scales.mean(), scales.std()], [0.02, 1, 0.02], atol=0.002)


def test_instance_norm_normalises_each_map():
  values = tf.random.stateless_normal([2, 5, 4, 3], [0, 0]) * 3 + 100
  layer = InstanceNorm()
  layer(values)
  layer.gamma.assign([1.0, 2.0, 3.0])
  layer.beta.assign([0.0, 1.0, 2.0])
  plain = (values - values.numpy().mean((1, 2), keepdims=True)) / np.sqrt(
      values.numpy().var((1, 2), keepdims=True) + 1e-5)
  np.testing.assert_allclose(layer(values), plain * [1.0, 2.0, 3.0] + [0.0, 1.0, 2.0], atol=1e-4)
  assert not InstanceNorm(affine=False)(values).numpy().mean().round(4) and not InstanceNorm(affine=False).weights


def test_upsampling_convolution_is_the_plain_one():
  inputs = tf.random.stateless_normal([2, 5, 4, 3], [0, 0])
  layer = UpsampleConv(6, 'elu', tf.keras.initializers.RandomNormal(seed=0))
  layer(inputs)
  layer.bias.assign(tf.range(6.0) - 3)
  with tf.GradientTape(persistent=True) as tape:
    tape.watch(inputs)
    received = layer(inputs)
    expected = tf.nn.elu(tf.nn.conv2d(tf.repeat(tf.repeat(inputs, 2, 1), 2, 2), layer.kernel, 1, 'SAME') + layer.bias)
  np.testing.assert_allclose(received, expected, atol=1e-6)
  for a, b in zip(*(tape.gradient(v, [inputs, layer.kernel, layer.bias]) for v in (received, expected)),
                  strict=True):
    np.testing.assert_allclose(a, b, atol=2e-5)


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


@pytest.mark.parametrize('balance', [0.0, 0.3])
def test_the_fast_step_is_the_plain_one(balance):
  changes = {'balance_start': balance, 'balance_rate': 0.05, 'identity_weight': 1e-3, 'ema_decay': 0.0}
  fast, plain = make_system(**changes), make_system(**changes)
  for system in (fast, plain):
    system.visits.assign([13] * 6)
  step = tf.function(fast.train_step)
  for t in range(2):
    batch = make_batch(fast.config, t)
    expected, received = numbers(plain_round(plain, batch)), numbers(step(batch))
    assert set(expected) == set(received)
    for key, value in expected.items():
      np.testing.assert_allclose(received[key], value, rtol=2e-5, atol=1e-6, err_msg=f'{key} at step {t}')
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


@pytest.mark.parametrize('kind', ['softmax', 'center'])
def test_other_identity_losses(kind):
  system = make_system(identity_loss=kind)
  batch = make_batch(system.config)
  before = system.classifier.kernel.numpy() if kind == 'softmax' else None
  codes = tf.math.l2_normalize(tf.random.stateless_normal([4, 128], [0, 0]), axis=1)
  received = system._identity_losses(codes, tf.constant([0, 1, 2, 2]))
  if kind == 'softmax':
    logits = system.classifier(codes).numpy()
    expected = np.log(np.exp(logits).sum(1)) - logits[range(4), [0, 1, 2, 2]]
    system.train_step(batch)
    assert (system.classifier.kernel.numpy() != before).any()
  else:
    centroids = np.zeros([6, 128])
    np.add.at(centroids, [0, 1, 2, 2], 0.05 * codes.numpy())
    expected = ((codes - centroids[[0, 1, 2, 2]])**2).numpy().sum(1)
    np.testing.assert_array_equal(system.visits, [1, 1, 2, 0, 0, 0])
    np.testing.assert_allclose(system.centroids, centroids, atol=1e-6)
  np.testing.assert_allclose(received, expected, rtol=1e-5)


def test_crops_are_copies_where_upright_and_turn_about_their_middle():
  images = tf.constant(np.random.default_rng(0).uniform(0, 255, [2, 18, 18, 3]), tf.float32)
  for offset, corner in ((0.0, 0), (0.5, 1), (0.99, 2)):
    view = View(tf.constant([0.0, offset]), tf.zeros([2]), tf.zeros([2], tf.bool))
    np.testing.assert_allclose(cut_square(images, view, 16), images[:, corner:corner + 16, :16], atol=1e-3)
  view = View(tf.fill([2], 0.5), tf.constant([0.0, math.pi / 2]), tf.zeros([2], tf.bool))
  turned = cut_square(images, view, 16)
  np.testing.assert_allclose(turned[1], np.rot90(images[1, 1:17, 1:17]), atol=0.1)
  halved = tf.nn.avg_pool2d(images[:1, 1:17, 1:17], 2, 2, 'VALID')  # The same share of a larger picture.
  np.testing.assert_allclose(cut_square(images, view, 8)[0], halved[0], atol=0.1)
  np.testing.assert_allclose(
      cut_square(images, view, 40)[0], tf.image.resize(images[:1], [40, 40])[0], atol=1e-2)  # Enlarged whole.
  points = tf.constant([[[0.0, 0.0], [1.0, 0.0], [0.5, 0.3]]])
  np.testing.assert_allclose(turn_points(points, tf.constant([math.pi / 2]))[0], [[0.6, -0.4], [0.6, 0.6], [0.3, 0.1]],
                             atol=1e-6)


def test_a_keras_file_sees_colours_of_0_to_255(tmp_path):
  layers, path = tf.keras.layers, tmp_path / 'net.keras'
  tf.keras.Sequential([layers.GlobalAveragePooling2D(input_shape=[24, 24, 3]),
                       layers.Dense(128, kernel_initializer='identity')]).save(path)
  images = tf.tile(tf.constant([[[[1.0, 0.0, -1.0]]]]), [2, 20, 20, 1])
  codes = ganfaces_identity.look(ganfaces_identity.load(str(path)), images, tf.zeros([2, 68, 2]),
                                 ganfaces_identity.centre_view(2))
  np.testing.assert_allclose(codes[:, :4], [np.array([2, 1, 0, 0]) / 5**0.5] * 2, atol=1e-5)


def test_what_the_embedding_sees_depends_on_step_and_place():
  system = make_system(rotation=10.0, batch_size=64)
  index = tf.range(64, dtype=tf.int64)
  view = system._view(index)
  degrees = np.degrees(view.angle)
  assert -10 <= degrees.min() < -5 and 5 < degrees.max() <= 10 and 10 < view.mirrored.numpy().sum() < 54
  np.testing.assert_array_equal(system._view(tf.constant([5, 3], tf.int64)).angle, tf.gather(view.angle, [5, 3]))
  system.step.assign(1)
  assert (system._view(index).offset != view.offset).numpy().any()
  kept = system._keep(index, 0)
  np.testing.assert_allclose([tf.reduce_mean(kept), tf.reduce_max(kept)], [1, 1 / 0.9], rtol=0.02)


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
