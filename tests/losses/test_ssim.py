"""Multi-scale SSIM against TensorFlow's, and its slopes where that one's are not finite."""

import numpy as np
import pytest
import tensorflow as tf

import losses

POWERS = np.float32([0.0448, 0.2856, 0.3001, 0.2363, 0.1333])


def noisy(size, noise=0.1):
  smooth = tf.image.resize(tf.random.stateless_uniform([2, 12, 12, 3], [0, 0]), [size, size], 'bicubic')
  target = tf.clip_by_value(smooth, 0.0, 1.0)
  return target, tf.clip_by_value(target + noise * tf.random.stateless_normal(target.shape, [1, 1]), 0.0, 1.0)


@pytest.mark.parametrize(['size', 'scales'], [(176, 5), (128, 4), (16, 1)])
def test_multi_scale_similarity_is_tensorflows(size, scales):
  """With powers that sum to 1; at 175 pixels a fifth scale would be smaller than the window."""
  target, output = noisy(size)
  powers = POWERS[:scales] / POWERS[:scales].sum()
  expected = tf.image.ssim_multiscale(target, output, 1.0, power_factors=list(powers))
  np.testing.assert_allclose(losses.multi_scale_similarity(target, output), expected, rtol=1e-4)
  np.testing.assert_allclose(losses.multi_scale_similarity(target, target), [1, 1], rtol=1e-5)


def test_odd_sizes_and_small_ones():
  target, output = noisy(175)
  assert (losses.multi_scale_similarity(target, output).numpy() < 1).all()
  with pytest.raises(ValueError, match='pictures of 10 pixels are smaller than the window of SSIM: at least 11'):
    losses.multi_scale_similarity(target[:, :10], output[:, :10])


@pytest.mark.parametrize('size', [64, 16])
def test_slopes_are_finite_where_pictures_are_opposites(size):
  """Contrast is below 0 there; a power of that, or of 0, has no finite slope."""
  target, _ = noisy(size)
  values = {}
  for name, output in (('opposite', 1 - target), ('half', 0.5 + 0 * target), ('same', target)):
    with tf.GradientTape() as tape:
      tape.watch(output)
      value = losses.multi_scale_similarity(target, output)
    slope = tape.gradient(value, output).numpy()
    assert np.isfinite(slope).all() and np.isfinite(value).all()
    values[name] = float(tf.reduce_mean(value))
  assert 0 < values['opposite'] < values['same']
