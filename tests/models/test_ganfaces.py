"""GANFaces: its networks' sizes, its game against a plain reading of the paper, and what each setting does."""

import math

import numpy as np
import pytest
import tensorflow as tf

import losses
from models import ganfaces_identity
from models.config import ConfigError
from models.ganfaces import GANFaces, GANFacesConfig, mean_distance
from models.ganfaces_identity import View, cut_square, turn_points
from models.ganfaces_networks import autoencoder_network, generator_network, keep_shape
from models.layers import Halvings, InstanceNorm


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
  layer.build(values.shape)
  layer.gamma.assign([1.0, 2.0, 3.0])
  layer.beta.assign([0.0, 1.0, 2.0])
  plain = (values - values.numpy().mean((1, 2), keepdims=True)) / np.sqrt(
      values.numpy().var((1, 2), keepdims=True) + 1e-5)
  np.testing.assert_allclose(layer(values), plain * [1.0, 2.0, 3.0] + [0.0, 1.0, 2.0], atol=1e-4)
  assert not InstanceNorm(affine=False)(values).numpy().mean().round(4) and not InstanceNorm(affine=False).weights


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
