"""Reconstruction losses of pictures and landmarks."""

import tensorflow as tf


def l1_loss(target: tf.Tensor, output: tf.Tensor, reduction: str = 'mean',
            weights: tf.Tensor | None = None) -> tf.Tensor:
  """The absolute difference of each sample, |target - output|, over all axes but the first.

  GC-GAN's L_ir (section 3.3). The reduction decides the game: beside a critic of weight 1e-3, a pixel's gradient is
  10 times the critic's under `mean` (64 x 64 x 3 numbers) and 100,000 times under `sum`, where the critic has no say.

  Args:
    target: [B, ...].
    output: [B, ...].
    reduction: `mean` or `sum`, over the numbers of a sample.
    weights: what each difference counts, broadcast to the samples; a mean does not divide by them.
  Returns:
    [B] losses in the unit of the samples.
  Raises:
    ValueError: for another reduction.
  """
  reductions = {'mean': tf.reduce_mean, 'sum': tf.reduce_sum}
  if reduction not in reductions:
    raise ValueError(f'reduction={reduction!r} is not one of {", ".join(reductions)}')
  differences = tf.abs(target - output)
  if weights is not None:
    differences *= weights
  return reductions[reduction](differences, axis=list(range(1, target.shape.rank)))


def landmark_loss(target: tf.Tensor, output: tf.Tensor) -> tf.Tensor:
  """The squared distance of two shapes, ||target - output||_2^2, summed over points and coordinates; GC-GAN's L_gr.

  Args:
    target: [B, P, 2] landmarks.
    output: [B, P, 2] landmarks.
  Returns:
    [B] losses.
  """
  return tf.reduce_sum(tf.math.squared_difference(target, output), axis=[1, 2])
