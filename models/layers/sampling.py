"""Reading pictures at places between their pixels, in operations that XLA compiles and gradients go through."""

import tensorflow as tf


def sample_bilinear(images: tf.Tensor, places: tf.Tensor) -> tf.Tensor:
  """Pictures at given places, bilinear, zero beyond the outer pixels.

  Args:
    images: [B, H, W, C].
    places: [B, h, w, 2] x and y in pixels; (0, 0) is the middle of the first pixel.
  Returns:
    [B, h, w, C]; no gradient flows to the places.
  """
  height, width, channels = images.shape[1:]
  rows, columns = places.shape[1:3]
  places = tf.stop_gradient(places)
  limit = tf.constant([width - 1, height - 1], tf.float32)
  inside = tf.reduce_all((places >= -1e-3) & (places <= limit + 1e-3), axis=-1, keepdims=True)
  corner = tf.clip_by_value(tf.floor(places), 0.0, limit - 1)
  right, down = tf.split(tf.clip_by_value(places - corner, 0.0, 1.0), 2, axis=-1)
  index = tf.cast(corner[..., 1], tf.int32) * width + tf.cast(corner[..., 0], tf.int32)
  index = tf.reshape(index, [-1, rows * columns])
  flat = tf.reshape(images, [-1, height * width, channels])

  def neighbour(step: int) -> tf.Tensor:
    return tf.reshape(tf.gather(flat, index + step, batch_dims=1), [-1, rows, columns, channels])

  above = neighbour(0) * (1 - right) + neighbour(1) * right
  below = neighbour(width) * (1 - right) + neighbour(width + 1) * right
  return tf.where(inside, above * (1 - down) + below * down, 0.0)
