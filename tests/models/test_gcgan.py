"""GC-GAN: its networks' sizes, its game against a plain reading of the paper, and what each setting does."""

import dataclasses
import math

import numpy as np
import pytest
import tensorflow as tf

from models.config import ConfigError
from models.gcgan import GCGAN, GCGANConfig
from models.gcgan_networks import critic_network, draw_landmarks, embedding_network, generator_network
from models.layers import Adam, ChannelLayerNorm, StepDecay
from models.layers.warping import cubic_sample, warp
from tests.models.builders import assert_steps_agree, numbers


def make_batch(config, seed=0):
  draw = np.random.default_rng(seed)
  count, size = config.batch_size, config.image_size
  landmarks, labels = draw.uniform(-1, 1, [count, 68, 2]), np.arange(count) // 2 % 6
  order = np.roll(np.arange(count), 1)
  batch = {'input_image': draw.uniform(-1, 1, [count, size, size, 3]),
           'target_image': draw.uniform(-1, 1, [count, size, size, 3]),
           'target_landmarks': landmarks, 'reference_landmarks': landmarks[order]}
  batch = {k: tf.constant(v, tf.float32) for k, v in batch.items()}
  return {**batch, 'target_expression': tf.constant(labels, tf.int32),
          'reference_expression': tf.constant(labels[order], tf.int32),
          'index': tf.range(count, dtype=tf.int64)}


def make_system(phase='train', **changes):
  system = GCGAN(GCGANConfig.tiny(**changes))
  system.phase = phase
  return system


def sizes(network):
  return tuple(sum(math.prod(w.shape) for w in weights)
               for weights in (network.trainable_weights, network.non_trainable_weights))


@pytest.mark.slow
def test_paper_size_builds_and_steps():
  system = GCGAN(GCGANConfig(batch_size=2))
  assert [sizes(n) for n in (system.embedding, system.generator, system.critic)] == [
      (56_680, 832), (21_380_681, 12_422), (4_321_281, 0)]
  system.phase = 'train'
  logs = tf.function(system.train_step)(make_batch(system.config))
  assert all(np.isfinite(v) for v in numbers(logs).values())


@pytest.mark.parametrize(['changes', 'count'], [
    ({}, 21_380_681), ({'skip': 'concat'}, 21_483_081),
    ({'composition': 'blend'}, 21_382_282), ({'composition': 'warp'}, 21_385_484),
    ({'condition': 'onehot', 'pretrain_steps': 0}, 21_274_185),
    ({'condition': 'landmark_image', 'pretrain_steps': 0}, 21_251_209)])
def test_generator_parameters(changes, count):
  assert sizes(generator_network(GCGANConfig(**changes))) == (count, 12_422)


def test_embedding_and_critic_parameters_and_shapes():
  assert sizes(embedding_network(GCGANConfig())) == (56_680, 832)
  critic = critic_network(GCGANConfig())
  assert sizes(critic) == (4_321_281, 0)
  assert [layer.output.shape[1:] for layer in critic.layers if isinstance(layer, tf.keras.layers.Conv2D)] == [
      (32, 32, 64), (16, 16, 128), (8, 8, 256), (4, 4, 512), (2, 2, 1)]


def test_a_picture_is_laid_over_the_input_moved():
  generator = generator_network(GCGANConfig.tiny(composition='warp'))
  maps = generator.get_layer('maps')
  batch = make_batch(GCGANConfig.tiny())
  show = lambda: generator([batch['input_image'], tf.zeros([4, 32])], training=False).numpy()  # noqa: E731
  maps.kernel.assign(tf.zeros_like(maps.kernel))

  columns = 3 * 2 / 31  # Half a picture is 31 / 2 columns wide.
  maps.bias.assign([-100.0, columns * 10, 0.0])
  moved = show()
  np.testing.assert_allclose(moved[:, :, :-3], batch['input_image'][:, :, 3:], atol=1e-5)
  np.testing.assert_allclose(moved[:, :, -2:], np.repeat(batch['input_image'][:, :, -1:], 2, axis=2), atol=1e-5)
  maps.bias.assign([100.0, columns * 10, 0.0])
  picture = show()
  maps.bias.assign([np.log(0.25 / 0.75), 0.0, 0.0])
  np.testing.assert_allclose(show(), 0.25 * picture + 0.75 * batch['input_image'], atol=1e-5)


def test_the_flow_says_where_the_input_is_looked_up():
  system = make_system(composition='warp')
  maps = system.generator.get_layer('maps')
  maps.bias.assign([-100.0, 1.0, -0.5])  # Nothing is laid over it.
  batch = make_batch(system.config)
  pictures = tf.cast(tf.round((batch['input_image'] + 1) * 127.5), tf.uint8)
  flow = system.signatures()['move'](images=pictures, landmarks=batch['target_landmarks'])['flow']
  source = tf.cast(pictures, tf.float32) / 127.5 - 1
  np.testing.assert_allclose(system.transfer(source, batch['target_landmarks']), warp(source, flow, cubic_sample),
                             atol=1e-5)
  np.testing.assert_allclose(tf.reduce_mean(flow, [0, 1, 2]), [0.1, -0.05], atol=0.03)


def test_initial_weights():
  network = generator_network(GCGANConfig())
  kernels = {type(layer): layer.kernel.numpy() for layer in network.layers if hasattr(layer, 'kernel')}
  for kind, kernel in kernels.items():
    truncated = kind is tf.keras.layers.Conv2D  # Cut at two deviations, which leaves .88 of the deviation.
    np.testing.assert_allclose(kernel.std(), 0.0176 if truncated else 0.02, rtol=0.03)
    assert (np.abs(kernel).max() <= 0.04) == truncated
  norms = [layer for layer in network.layers if isinstance(layer, tf.keras.layers.BatchNormalization)]
  assert len(norms) == 11 and {(n.momentum, n.epsilon) for n in norms} == {(0.9, 1e-5)}


def test_layer_norm_normalises_samples_and_scales_channels():
  layer, values = ChannelLayerNorm(), tf.random.stateless_normal([2, 3, 4, 5], [0, 0]) * 3 + 1
  layer(values)
  assert [w.shape for w in layer.weights] == [(5,), (5,)]
  scale, offset = np.arange(1.0, 6.0, dtype=np.float32), np.arange(5.0, dtype=np.float32)
  layer.gamma.assign(scale)
  layer.beta.assign(offset)
  flat = values.numpy().reshape(2, -1)
  normal = (flat - flat.mean(1, keepdims=True)) / np.sqrt(flat.var(1, keepdims=True) + 1e-5)
  np.testing.assert_allclose(layer(values), normal.reshape(values.shape) * scale + offset, atol=1e-5)


def test_adam_equals_keras_adam():
  gradients = [tf.constant([0.3, -2.0, 1e-6]), tf.constant([-1.0, 0.5, 0.0])]
  ours, theirs = tf.Variable([1.0, 2.0, 3.0]), tf.Variable([1.0, 2.0, 3.0])
  arguments = {'learning_rate': 1e-2, 'beta_1': 0.5, 'beta_2': 0.999, 'epsilon': 1e-3}
  for optimizer, variable in ((Adam(**arguments), ours), (tf.keras.optimizers.Adam(**arguments), theirs)):
    for gradient in gradients:
      optimizer.apply_gradients([(gradient, variable)])
  # Kingma and Ba's two ways to write it place epsilon differently, by the root of 1 - beta_2^t; Keras' is the kernel's.
  np.testing.assert_allclose(ours, theirs, rtol=1e-6)


def test_rate_decays_by_the_steps_of_the_system_down_to_a_floor():
  step = tf.Variable(0, dtype=tf.int64)
  schedule = StepDecay(step, 3e-4, 0.98, 20_000, 5e-5)
  for at, rate in ((0, 3e-4), (19_999, 3e-4), (20_000, 3e-4 * 0.98), (100_000, 3e-4 * 0.98**5), (10**8, 5e-5)):
    step.assign(at)
    np.testing.assert_allclose(schedule(7), rate, rtol=1e-5)
  system = make_system(critic_steps=2)
  system.step.assign(20_000)
  system.train_step(make_batch(system.config))
  for optimizer in (system.critic_optimizer, system.generator_optimizer):
    np.testing.assert_allclose(optimizer.learning_rate, 5e-5 * 0.98, rtol=1e-5)


def plain_round(system, batch):
  """The paper's round with nothing shared: a pass for each use of a network, one tape, Keras' own Adam formula."""
  config = system.config
  code = system.embedding(batch['target_landmarks'], training=False)[0]
  real, logs = batch['input_image'], {}
  statistics = [w.numpy() for w in system.generator.non_trainable_weights]
  for iteration in range(config.critic_steps):
    fake = system.generator([batch['input_image'], code], training=True)
    epsilon = system._epsilon(batch['index'], iteration)[:, None, None, None]
    mixed = epsilon * real + (1 - epsilon) * fake
    with tf.GradientTape() as tape:
      with tf.GradientTape() as inner:
        inner.watch(mixed)
        score = tf.reduce_sum(system.critic(mixed))
      norm = tf.sqrt(tf.reduce_sum(inner.gradient(score, mixed)**2, axis=[1, 2, 3]))
      logs['critic_loss'] = tf.reduce_mean(system.critic(fake)) - tf.reduce_mean(system.critic(real))
      logs['gradient_penalty'] = tf.reduce_mean((norm - 1)**2)
      loss = logs['critic_loss'] + 10 * logs['gradient_penalty']
    gradients = tape.gradient(loss, system.critic.trainable_variables)
    system.critic_optimizer.apply_gradients(zip(gradients, system.critic.trainable_variables, strict=True))
  # The plain loop has moved the moving statistics by every pass; a step is to move them once.
  for weight, value in zip(system.generator.non_trainable_weights, statistics, strict=True):
    weight.assign(value)
  with tf.GradientTape() as tape:
    fake = system.generator([batch['input_image'], code], training=True)
    logs['image_loss'] = tf.reduce_mean(tf.abs(batch['target_image'] - fake))
    logs['adversarial_loss'] = -tf.reduce_mean(system.critic(fake))
    logs['generator_loss'] = logs['image_loss'] + 1e-3 * logs['adversarial_loss']
  gradients = tape.gradient(logs['generator_loss'], system.generator.trainable_variables)
  system.generator_optimizer.apply_gradients(zip(gradients, system.generator.trainable_variables, strict=True))
  system.step.assign_add(1)
  return logs


def test_the_fast_step_is_the_plain_one():
  fast, plain = make_system(critic_steps=3), make_system(critic_steps=3)
  assert_steps_agree(fast, plain, plain_round, make_batch, rtol=1e-5)
  for network in ('generator', 'critic', 'embedding'):
    for ours, theirs in zip(getattr(fast, network).weights, getattr(plain, network).weights, strict=True):
      if 'bias' not in ours.name:  # The norm after it cancels a bias, so Adam moves it by the rounding of its gradient.
        np.testing.assert_allclose(ours, theirs, atol=1e-5, err_msg=ours.name)


def test_pretraining_moves_the_embedding_only_and_training_all_but_it():
  for phase, moving in (('pretrain', {'embedding'}), ('train', {'generator', 'critic'})):
    system = make_system(phase)
    networks = {name: getattr(system, name) for name in ('embedding', 'generator', 'critic')}
    before = {name: [w.numpy() for w in network.weights] for name, network in networks.items()}
    logs = numbers(system.train_step(make_batch(system.config)))
    moved = {name for name, network in networks.items()
             if any((w.numpy() != b).any() for w, b in zip(network.weights, before[name], strict=True))}
    assert moved == moving
    if phase == 'pretrain':
      np.testing.assert_allclose(logs['embedding_loss'], logs['contrastive_loss'] + logs['landmark_loss'], rtol=1e-6)


def test_pretraining_separates_the_expressions():
  system = make_system('pretrain', batch_size=16, learning_rate=3e-3)
  step, shapes = tf.function(system.train_step), np.random.default_rng(0).uniform(-0.5, 0.5, [6, 68, 2])
  draw = np.random.default_rng(1)

  def batch_at(t):
    labels = np.random.default_rng(t).integers(0, 6, 16)
    order = np.random.default_rng(t).permutation(16)
    landmarks = tf.constant(shapes[labels] + draw.normal(0, 0.02, [16, 68, 2]), tf.float32)
    return {'target_landmarks': landmarks, 'reference_landmarks': tf.gather(landmarks, order),
            'target_expression': tf.constant(labels), 'reference_expression': tf.constant(labels[order])}

  logs = [numbers(step(batch_at(t))) for t in range(120)]
  assert logs[-1]['landmark_loss'] < 0.3 * logs[0]['landmark_loss']
  assert np.mean([row['contrastive_loss'] for row in logs[-10:]]) < 0.3
  codes = system.encode(batch_at(0)['target_landmarks'])
  assert codes.shape == (16, 32) and np.min(codes) >= 0


def test_epsilon_depends_on_step_iteration_and_place_only():
  system = make_system(batch_size=6)
  draws = system._epsilon(tf.range(6, dtype=tf.int64), 0)
  np.testing.assert_array_equal(system._epsilon(tf.constant([4, 1], tf.int64), 0), tf.gather(draws, [4, 1]))
  system.step.assign_add(1)
  others = [system._epsilon(tf.range(6, dtype=tf.int64), k).numpy() for k in (0, 1)]
  assert len({draws.numpy().tobytes(), *(o.tobytes() for o in others)}) == 3
  assert all((0 <= o).all() and (o < 1).all() for o in (draws.numpy(), *others))


FIRST_STEP = {}


def first_step(phase, **changes):
  key = (phase, *sorted(changes.items()))
  if key not in FIRST_STEP:
    system = make_system(phase, **changes)
    FIRST_STEP[key] = numbers(system.train_step(make_batch(system.config)))
  return FIRST_STEP[key]


@pytest.mark.parametrize(['phase', 'changes', 'gone'], [
    ('train', {'adversarial_weight': 0.0, 'critic_steps': 0}, {'adversarial_loss', 'critic_loss', 'gradient_penalty'}),
    ('train', {'penalty_weight': 0.0}, {'gradient_penalty'}),
    ('train', {'image_weight': 0.0, 'warm_steps': 0}, set()), ('pretrain', {'contrastive_weight': 0.0}, set()),
    ('pretrain', {'landmark_weight': 0.0}, set())])
def test_a_zero_weight_removes_its_term(phase, changes, gone):
  logs, all_logs = first_step(phase, **changes), first_step(phase)
  assert set(all_logs) - set(logs) == gone
  total, terms = {'train': ('generator_loss', {'image_loss': 1.0, 'adversarial_loss': 1e-3}),
                  'pretrain': ('embedding_loss', {'contrastive_loss': 1.0, 'landmark_loss': 1.0})}[phase]
  weight = lambda term: changes.get(term.replace('_loss', '_weight'), terms[term])  # noqa: E731
  np.testing.assert_allclose(logs[total], sum(weight(t) * logs[t] for t in terms if t in logs), rtol=1e-5)


def test_warm_steps_are_adam_on_the_image_loss_and_leave_the_critic_alone():
  system = make_system('warm', warm_steps=4, warm_learning_rate=1e-2)
  plain = make_system('train')
  batch, adam = make_batch(system.config), tf.keras.optimizers.Adam(1e-2, beta_1=0.5, beta_2=0.999, epsilon=1e-8)
  critic = system.critic.get_weights()
  for rate in (1e-2, 8.68e-3, 5.5e-3):  # On a cosine from the rate to its tenth.
    with tf.GradientTape() as tape:
      fake = plain.generator([batch['input_image'], plain.encode(batch['target_landmarks'])], training=True)
      loss = tf.reduce_mean(tf.abs(fake - batch['target_image']))
    adam.learning_rate = rate
    adam.apply_gradients(zip(tape.gradient(loss, plain.generator.trainable_variables),
                             plain.generator.trainable_variables, strict=True))
    logs = numbers(system.train_step(batch))
    assert set(logs) == {'generator_loss', 'image_loss'}
    np.testing.assert_allclose([logs['generator_loss'], logs['image_loss']], float(loss), rtol=1e-4)
  for before, after in zip(critic, system.critic.get_weights(), strict=True):
    np.testing.assert_array_equal(before, after)


def test_a_game_with_fixed_norms_begins_at_the_averages_and_leaves_their_statistics():
  system = make_system('warm', warm_steps=3, ema_decay=0.9, fix_norm=True, adversarial_weight=0.0, critic_steps=0)
  batch = make_batch(system.config)
  for _ in range(3):
    system.train_step(batch)
  averages = [average.numpy() for average in system._averages]
  system.start_phase('train')
  for weight, average in zip(system.generator.weights, averages, strict=True):
    np.testing.assert_array_equal(weight, average)
  shown = system.generate(batch['input_image'], system.encode(batch['target_landmarks']))
  logs = numbers(system.train_step(batch))
  np.testing.assert_allclose(logs['image_loss'], np.abs(shown - batch['target_image']).mean(), rtol=1e-5)
  pairs = zip(system.generator.weights, averages, strict=True)
  moved = {weight.name for weight, average in pairs if (weight.numpy() != average).any()}
  assert moved and not any('moving' in name for name in moved)


def test_readings_change_the_game():
  base = first_step('train')
  summed = first_step('train', image_loss_reduction='sum')
  np.testing.assert_allclose(summed['image_loss'], base['image_loss'] * 32 * 32 * 3, rtol=1e-4)
  assert first_step('train', real_sample='target')['critic_loss'] != base['critic_loss']
  pairs = first_step('pretrain')
  assert first_step('pretrain', contrastive_balance='class')['contrastive_loss'] != pairs['contrastive_loss']


def test_jitter_is_small_and_differs_by_sample():
  system = make_system(landmark_jitter=0.01)
  batch = make_batch(system.config)
  moved = (system._landmarks(batch, 'target') - batch['target_landmarks']).numpy()
  assert 0.008 < moved.std() < 0.012 and not np.allclose(moved[0], moved[1])


@pytest.mark.parametrize('condition', ['embedding', 'onehot', 'landmark_image'])
def test_use_and_signatures(condition):
  system = make_system(condition=condition, pretrain_steps=0 if condition != 'embedding' else 1)
  batch = make_batch(system.config)
  columns = system.sample(batch)
  assert list(columns) == ['input', 'output', 'target'] and columns['output'].shape == (4, 32, 32, 3)
  assert float(tf.reduce_max(tf.abs(columns['output']))) <= 1
  functions = system.signatures()
  assert set(functions) == {'serving_default'} | ({'encode'} if condition == 'embedding' else set())
  driver = {'expressions': batch['target_expression']} if condition == 'onehot' else {
      'landmarks': batch['target_landmarks']}
  pictures = tf.cast(tf.round((batch['input_image'] + 1) * 127.5), tf.uint8)
  for count in (1, 3):
    served = functions['serving_default'](images=pictures[:count], **{k: v[:count] for k, v in driver.items()})
    served = served['images']
    assert served.dtype == tf.uint8 and served.shape == (count, 32, 32, 3)
  expected = system.transfer(tf.cast(pictures[:3], tf.float32) / 127.5 - 1, next(iter(driver.values()))[:3])
  np.testing.assert_allclose(tf.cast(served, tf.float32), (expected + 1) * 127.5, atol=0.501)
  if condition != 'embedding':
    with pytest.raises(ValueError, match=f'condition={condition} has no embedding'):
      system.encode(batch['target_landmarks'])


def test_drawn_landmarks():
  points = tf.constant([[[-1.0, -1.0], [0.99, -0.5], [0.0, 0.0], [1.2, 0.0], [0.0, -1.01]]])
  drawn = draw_landmarks(points, 4)[0, :, :, 0].numpy()
  expected = -np.ones([4, 4])
  expected[0, 0] = expected[1, 3] = expected[2, 2] = 1  # [row, column]; the last two points lie outside.
  np.testing.assert_array_equal(drawn, expected)


def test_bfloat16_keeps_its_ends_and_norms_in_float32():
  system = make_system(precision='mixed_bfloat16')
  batch = make_batch(system.config)
  assert all(np.isfinite(v) for v in numbers(system.train_step(batch)).values())
  assert {w.dtype for w in system.trainable_variables} == {tf.float32}
  hidden = [layer for n in (system.generator, system.critic) for layer in n.layers if 'conv2d' in layer.name]
  assert sum(layer.compute_dtype == 'float32' for layer in hidden) == 2  # The last of each.
  assert system.sample(batch)['output'].dtype == tf.float32
  same = make_system()
  np.testing.assert_allclose(numbers(system.train_step(batch))['image_loss'],
                             [numbers(same.train_step(batch)) for _ in range(2)][1]['image_loss'], rtol=0.02)


@pytest.mark.parametrize('changes', [
    {'image_size': 48}, {'image_size': 16}, {'batch_size': 1}, {'n_skips': 0, 'skip': 'concat'},
    {'condition': 'onehot', 'pretrain_steps': 5}, {'pretrain_steps': 0, 'condition': 'embedding'},
    {'condition': 'onehot', 'pretrain_steps': 0, 'landmark_jitter': 0.1},
    {'contrastive_weight': 0.0, 'landmark_weight': 0.0},
    {'image_weight': 0.0, 'adversarial_weight': 0.0, 'critic_steps': 0}, {'critic_steps': 0, 'adversarial_weight': 0.1},
    {'critic_steps': 1, 'adversarial_weight': 0.0}, {'learning_rate_floor': 1e-3, 'learning_rate': 1e-4},
    {'warm_steps': 3, 'image_weight': 0.0}, {'fix_norm': True, 'warm_steps': 0},
    {'image_loss_reduction': 'max'}, {'condition': 'label'}], ids=str)
def test_contradictions_name_the_settings(changes):
  with pytest.raises(ConfigError) as caught:
    GCGANConfig(**changes)
  assert set(caught.value.fields) <= set(changes)
  assert all(f'{name}=' in str(caught.value) for name in caught.value.fields)


@pytest.mark.parametrize('image_size', [32, 128])
def test_other_image_sizes(image_size):
  config = GCGANConfig.tiny(image_size=image_size)
  batch = make_batch(config)
  generated = generator_network(config)([batch['input_image'], tf.zeros([4, 32])])
  assert generated.shape == (4, image_size, image_size, 3)
  assert critic_network(config)(generated).shape == (4,)


def test_same_seed_same_weights_and_other_seed_others():
  first, same, other = (generator_network(GCGANConfig.tiny(seed=seed)).get_weights() for seed in (0, 0, 1))
  assert all((a == b).all() for a, b in zip(first, same, strict=True))
  assert (first[0] != other[0]).any()
  assert dataclasses.replace(GCGANConfig.tiny(), seed=1) == GCGANConfig.tiny(seed=1)
