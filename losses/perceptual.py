"""Losses by which FaceCycle tells what a face should look like, beside reconstruction (Chang et al. 2021)."""

import tensorflow as tf


def gram_matrix(features: tf.Tensor) -> tf.Tensor:
  """Products of all pairs of maps, F^T F / (H W), float32: what textures are there, not where (Gatys et al. 2016).

  Args:
    features: [B, H, W, C].
  Returns:
    [B, C, C].
  """
  _, height, width, channels = features.shape
  cells = tf.reshape(tf.cast(features, tf.float32), [-1, height * width, channels])
  return tf.matmul(cells, cells, transpose_a=True) / (height * width)


def symmetry_loss(images: tf.Tensor) -> tf.Tensor:
  """The mean absolute difference of the left half and the mirrored right half of each picture.

  Args:
    images: [B, H, W, C], W even.
  Returns:
    [B] in the unit of the pictures.
  """
  left, right = tf.split(images, 2, axis=2)
  return tf.reduce_mean(tf.abs(left - right[:, :, ::-1]), axis=[1, 2, 3])


def margin_loss(mean: tf.Tensor, images: tf.Tensor, margin: float, hinge: bool = True) -> tf.Tensor:
  """How far the mean face lies from each neutral face, beyond a margin: the mean of max(0, |mean - image| - margin).

  The released code computes the hinge, throws it away and returns the mean of |mean - image| minus the margin, whose
  gradient pulls for ever.

  Args:
    mean: [1 or B, H, W, C].
    images: [B, H, W, C].
    margin: in the unit of the pictures.
    hinge: false is the released form.
  Returns:
    [B].
  """
  beyond = tf.abs(mean - images) - margin
  return tf.reduce_mean(tf.maximum(beyond, 0.0) if hinge else beyond, axis=[1, 2, 3])
