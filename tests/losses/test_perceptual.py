"""SSIM, Gram matrices, symmetry and margin against numbers worked out by hand, and against scipy."""

import numpy as np
import pytest
import scipy.ndimage
import tensorflow as tf

import losses


def test_ssim_of_flat_pictures_is_that_of_their_means():
  """In the middle of a flat picture all variances are 0: (2 a b + C1) / (a^2 + b^2 + C1), here .2001 / .2901."""
  flat = [tf.fill([1, 33, 33, 1], value) for value in (0.2, 0.5)]
  middle = 0.2001 / 0.2901
  values = _reference(*(images[0, :, :, 0].numpy() for images in flat))
  np.testing.assert_allclose(values[16, 16], middle, rtol=1e-5)
  np.testing.assert_allclose(losses.structural_similarity(*flat), [values.mean()], atol=1e-5)


def _reference(first, second):
  """SSIM of each pixel of two planes in float64."""
  reach = np.exp(-np.arange(-5, 6)**2 / 4.5)
  window = np.outer(reach, reach) / reach.sum()**2
  blur = lambda plane: scipy.ndimage.convolve(plane.astype(np.float64), window, mode='constant')  # noqa: E731
  a, b = blur(first), blur(second)
  variances = blur(first.astype(np.float64)**2) - a**2 + blur(second.astype(np.float64)**2) - b**2
  covariance = blur(first.astype(np.float64) * second) - a * b
  return (2 * a * b + 1e-4) * (2 * covariance + 9e-4) / ((a**2 + b**2 + 1e-4) * (variances + 9e-4))


def test_ssim_agrees_with_scipy_and_broadcasts():
  draw = np.random.default_rng(0)
  target, outputs = draw.uniform(0, 1, [2, 16, 24, 3]), draw.uniform(0, 1, [4, 2, 16, 24, 3])
  outputs[1] = target
  received = losses.structural_similarity(tf.constant(target, tf.float32), tf.constant(outputs, tf.float32))
  expected = [[np.mean([_reference(target[b, :, :, c], outputs[k, b, :, :, c]) for c in range(3)]) for b in range(2)]
              for k in range(4)]
  np.testing.assert_allclose(received, expected, atol=2e-5)
  np.testing.assert_allclose(received[1], [1, 1], atol=1e-5)


def test_gram_matrix():
  features = tf.constant([[[[1.0, 2.0], [3.0, -1.0]]]])  # Two cells: (1, 2) and (3, -1).
  np.testing.assert_allclose(losses.gram_matrix(features), [[[5.0, -0.5], [-0.5, 2.5]]])


def test_symmetry():
  image = tf.constant([1.0, 2.0, 4.0, 1.5])[tf.newaxis, tf.newaxis, :, tf.newaxis]  # |1 - 1.5|, |2 - 4|
  np.testing.assert_allclose(losses.symmetry_loss(image), [1.25])
  both = tf.concat([image, image[:, :, ::-1]], axis=0)
  np.testing.assert_allclose(losses.symmetry_loss(both + both[:, :, ::-1]), [0, 0])


@pytest.mark.parametrize(['hinge', 'loss', 'slope'], [(True, 0.0875, 0.0), (False, 0.05, 0.25)])
def test_margin(hinge, loss, slope):
  """Differences .05, .4, 0 and -.15 with a margin of .1: the hinge counts .3 and .05, whose slopes cancel here."""
  mean = tf.constant([[[[0.5]]]])
  images = tf.reshape(tf.constant([0.45, 0.1, 0.5, 0.65]), [1, 2, 2, 1])
  with tf.GradientTape() as tape:
    tape.watch(mean)
    value = losses.margin_loss(mean, images, 0.1, hinge)
  np.testing.assert_allclose(value, [loss], rtol=1e-5)
  np.testing.assert_allclose(tape.gradient(value, mean), [[[[slope]]]], atol=1e-6)
