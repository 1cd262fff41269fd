"""Structural similarity of pictures."""

import numpy as np
import tensorflow as tf

_SIZE, _SIGMA = 11, 1.5
_C1, _C2 = 0.01**2, 0.03**2
_EXPONENTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)  # Wang et al. (2003), of the whole picture first.
_LEAST = 1e-4  # Of a scale's similarity: at 0 the power's slope is infinite.


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
  luminance, contrast = _terms(_planes(target), _planes(output), whole=True)
  return tf.reduce_mean(luminance[0] * contrast[0] / (luminance[1] * contrast[1]), axis=[-3, -2, -1])


def multi_scale_similarity(target: tf.Tensor, output: tf.Tensor) -> tf.Tensor:
  """MS-SSIM, the mean over channels, for each picture: Eq. 3 of the face-off paper, of values in [0, 1].

  Wang et al., Multi-scale Structural Similarity for Image Quality Assessment (2003), Eq. 7: contrast and structure at
  every scale, luminance at the coarsest, each to its power. (The paper prints c1 for c2 in its Eq. 5.) There are as
  many scales as keep the 11 pixels of a window, five from 176 pixels on; with fewer, the powers are enlarged to sum
  to 1. A window lies inside the picture. What is below 1e-4 at a scale counts as that and has no slope. Float32.

  Args:
    target: [A1, ..., An, H, W, C].
    output: the same.
  Returns:
    [A1, ..., An], above 0 and at most 1.
  Raises:
    ValueError: if the pictures are smaller than the window.
  """
  planes, others = _planes(target), _planes(output)
  small = min(planes.shape[-2:])
  if small < _SIZE:
    raise ValueError(f'pictures of {small} pixels are smaller than the window of SSIM: at least {_SIZE} are needed')
  exponents = [power for scale, power in enumerate(_EXPONENTS) if small >> scale >= _SIZE]
  similar = tf.constant(1.0)
  for scale, power in enumerate(exponents):
    if scale:
      planes, others = _halve(planes), _halve(others)
    luminance, contrast = _terms(planes, others, whole=False)
    values = contrast[0] / contrast[1]
    if scale == len(exponents) - 1:
      values *= luminance[0] / luminance[1]
    similar *= tf.maximum(tf.reduce_mean(values, axis=[-2, -1]), _LEAST) ** (power / sum(exponents))
  return tf.reduce_mean(similar, axis=-1)


def _terms(target: tf.Tensor, output: tf.Tensor, whole: bool) -> tuple[tuple[tf.Tensor, tf.Tensor], ...]:
  """Luminance, and contrast times structure, of each window; both as (numerator, denominator).

  Args:
    target: [..., C, H, W].
    output: [..., C, H, W].
    whole: windows around all pixels, with zeros beyond the picture; else those that lie inside.
  """
  height, width = target.shape[-2:]
  rows, columns = tf.constant(_window(height, whole)), tf.constant(_window(width, whole).T)

  def blur(planes: tf.Tensor) -> tf.Tensor:
    # A matrix with the window around its diagonal is the convolution, and a product of matrices is what CPUs do best.
    return tf.matmul(rows, tf.matmul(planes, columns))

  mean_t, mean_o = blur(target), blur(output)
  square_t, square_o, product = tf.square(mean_t), tf.square(mean_o), mean_t * mean_o
  variances = (blur(tf.square(target)) - square_t) + (blur(tf.square(output)) - square_o)
  covariance = blur(target * output) - product
  return (2 * product + _C1, square_t + square_o + _C1), (2 * covariance + _C2, variances + _C2)


def _planes(images: tf.Tensor) -> tf.Tensor:
  """[..., H, W, C] -> float32 [..., C, H, W]."""
  rank = images.shape.rank
  return tf.transpose(tf.cast(images, tf.float32), [*range(rank - 3), rank - 1, rank - 3, rank - 2])


def _halve(planes: tf.Tensor) -> tf.Tensor:
  """Means of 2 x 2 pixels; an odd row or column at the end is left out."""
  *others, height, width = planes.shape
  rows, columns = height // 2, width // 2
  shape = [-1 if size is None else size for size in others]
  cells = tf.reshape(planes[..., :2 * rows, :2 * columns], [*shape, rows, 2, columns, 2])
  return tf.reduce_mean(cells, axis=[-3, -1])


def _window(size: int, whole: bool) -> np.ndarray:
  """[size or size - 10, size]: row i weighs the neighbours of pixel i, or of pixel i + 5."""
  reach = np.arange(size)
  distance = reach[:, None] - reach
  weights = np.exp(-distance**2 / (2 * _SIGMA**2)) * (abs(distance) <= _SIZE // 2)
  total = np.exp(-(np.arange(_SIZE) - _SIZE // 2)**2 / (2 * _SIGMA**2)).sum()
  edge = 0 if whole else _SIZE // 2
  return (weights[edge:size - edge] / total).astype(np.float32)
