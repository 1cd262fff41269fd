"""What the tests of the systems share: `from tests.models import builders`."""

import numpy as np
import tensorflow as tf

from models.ganfaces import GANFaces, GANFacesConfig


def numbers(logs):
  return {k: float(v) for k, v in logs.items()}


def assert_steps_agree(fast, plain, plain_round, make_batch, rtol):
  """Two compiled steps of the one system log what two plain rounds of the other do."""
  step = tf.function(fast.train_step)
  for t in range(2):
    batch = make_batch(fast.config, t)
    expected, received = numbers(plain_round(plain, batch)), numbers(step(batch))
    assert set(expected) == set(received)
    for key, value in expected.items():
      np.testing.assert_allclose(received[key], value, rtol=rtol, atol=1e-6, err_msg=f'{key} at step {t}')


def ganfaces_batch(config, seed=0):
  draw = np.random.default_rng(seed)
  count, size = config.batch_size, config.image_size
  pictures = ('render', 'photo', 'pair_photo', 'pair_render')
  batch = {name: tf.constant(draw.uniform(-1, 1, [count, size, size, 3]), tf.float32) for name in pictures}
  return {**batch, 'render_mask': tf.constant(draw.integers(0, 2, [count, size, size, 1]), tf.float32),
          'render_landmarks': tf.constant(draw.uniform(-1, 1, [count, 68, 2]), tf.float32),
          'label': tf.constant(draw.integers(0, config.identities, [count]), tf.int32),
          'index': tf.range(count, dtype=tf.int64)}


def ganfaces(phase='train', **changes):
  system = GANFaces(GANFacesConfig.tiny(**{'warm_steps': 0 if phase == 'train' else 2, **changes}))
  system.phase = phase
  return system
