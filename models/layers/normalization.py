"""Normalisation layers that Keras lacks, or whose defaults do not fit GANs."""

import tensorflow as tf


class ChannelLayerNorm(tf.keras.layers.Layer):
  """Layer normalisation of feature maps over height, width and channels, with one scale and offset for each channel.

  As in WGAN-GP's critic (Gulrajani et al. 2017). Keras' `LayerNormalization(axis=[1, 2, 3])` would learn a scale for
  each cell of the map. Moments are float32 whatever the layer computes in.

  Args:
    epsilon: added to the variance.
  """

  def __init__(self, epsilon: float = 1e-5, **kwargs):
    super().__init__(**kwargs)
    self.epsilon = epsilon

  def build(self, input_shape: tf.TensorShape) -> None:
    channels = input_shape[-1]
    self.gamma = self.add_weight(name='gamma', shape=[channels], initializer='ones')
    self.beta = self.add_weight(name='beta', shape=[channels], initializer='zeros')

  def call(self, inputs: tf.Tensor) -> tf.Tensor:
    """[B, H, W, C] -> [B, H, W, C]."""
    _, height, width, channels = inputs.shape
    cells = tf.reshape(tf.cast(inputs, tf.float32), [-1, height * width, channels])
    # Sums over cells first and one multiply-add at the end: the fewest walks over a map, also in its second derivative.
    mean = tf.reduce_mean(tf.reduce_mean(cells, axis=1, keepdims=True), axis=2, keepdims=True)
    square = tf.reduce_mean(tf.reduce_mean(tf.square(cells), axis=1, keepdims=True), axis=2, keepdims=True)
    variance = tf.maximum(square - tf.square(mean), 0.0)
    scale = tf.math.rsqrt(variance + self.epsilon) * tf.cast(self.gamma, tf.float32)
    outputs = cells * scale + (tf.cast(self.beta, tf.float32) - mean * scale)
    return tf.cast(tf.reshape(outputs, [-1, height, width, channels]), inputs.dtype)

  def get_config(self) -> dict:
    return {**super().get_config(), 'epsilon': self.epsilon}
