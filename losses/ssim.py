"""Structural similarity of pictures."""

import numpy as np
import tensorflow as tf

_SIZE, _SIGMA = 11, 1.5
_C1, _C2 = 0.01**2, 0.03**2


def structural_similarity(target: tf.Tensor, output: tf.Tensor) -> tf.Tensor:
  """SSIM, the mean over pixels and channels, for each picture.

  Wang et al., Image Quality Assessment: From Error Visibility to Structural Similarity (2004), Eq. 13, with its window
  (11 x 11 Gaussian of deviation 1.5) and constants for values in [0, 1]. Beyond the picture there are zeros, as in the
  pytorch-ssim that FaceCycle uses; `tf.image.ssim` leaves the edge out. Float32 whatever comes in.

  Args:
    target: [A1, ..., An, H, W, C].
    output: [A1, ..., An, H, W, C]; leading axes of the two broadcast, and what one target needs is computed once.
  Returns:
    [A1, ..., An], at most 1.
  """
  target, output = (_planes(tf.cast(images, tf.float32)) for images in (target, output))
  rows, columns = (tf.constant(_window(size)) for size in target.shape[-2:])

  def blur(planes: tf.Tensor) -> tf.Tensor:
    # A matrix with the window around its diagonal is the convolution, and a product of matrices is what CPUs do best.
    return tf.matmul(rows, tf.matmul(planes, columns))

  mean_t, mean_o = blur(target), blur(output)
  square_t, square_o, product = tf.square(mean_t), tf.square(mean_o), mean_t * mean_o
  variances = (blur(tf.square(target)) - square_t) + (blur(tf.square(output)) - square_o)
  covariance = blur(target * output) - product
  similar = (2 * product + _C1) * (2 * covariance + _C2) / ((square_t + square_o + _C1) * (variances + _C2))
  return tf.reduce_mean(similar, axis=[-3, -2, -1])


def _planes(images: tf.Tensor) -> tf.Tensor:
  """[..., H, W, C] -> [..., C, H, W]."""
  rank = images.shape.rank
  return tf.transpose(images, [*range(rank - 3), rank - 1, rank - 3, rank - 2])


def _window(size: int) -> np.ndarray:
  """[size, size] symmetric: row i weighs the neighbours of pixel i."""
  reach = np.arange(size)
  distance = reach[:, None] - reach
  weights = np.exp(-distance**2 / (2 * _SIGMA**2)) * (abs(distance) <= _SIZE // 2)
  total = np.exp(-(np.arange(_SIZE) - _SIZE // 2)**2 / (2 * _SIGMA**2)).sum()
  return (weights / total).astype(np.float32)
