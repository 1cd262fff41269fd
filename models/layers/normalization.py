"""Normalisation layers that Keras lacks, or whose defaults do not fit GANs."""

from typing import Any

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


class InstanceNorm(tf.keras.layers.Layer):
  """Normalisation of each map of each sample by its own mean and variance (Ulyanov et al., arxiv.org/abs/1607.08022).

  Moments are float32 whatever the layer computes in. TensorFlow Addons' layer reshapes to five axes and takes several
  more walks over a map.

  Args:
    epsilon: added to the variance.
    affine: whether each channel has a scale and an offset.
    scale_initializer: of the scales; GANFaces draws them around 1.
  """

  def __init__(self, epsilon: float = 1e-5, affine: bool = True, scale_initializer: Any = 'ones', **kwargs):
    super().__init__(**kwargs)
    self.epsilon, self.affine, self.scale_initializer = epsilon, affine, scale_initializer

  def build(self, input_shape: tf.TensorShape) -> None:
    if self.affine:
      self.gamma = self.add_weight(name='gamma', shape=[input_shape[-1]], initializer=self.scale_initializer)
      self.beta = self.add_weight(name='beta', shape=[input_shape[-1]], initializer='zeros')

  def call(self, inputs: tf.Tensor) -> tf.Tensor:
    """[B, H, W, C] -> [B, H, W, C]."""
    values = tf.cast(inputs, tf.float32)
    mean = tf.reduce_mean(values, axis=[1, 2], keepdims=True)
    # From the centred values: a map whose mean is far from 0 would lose the difference of two large numbers.
    centred = values - mean
    scale = tf.math.rsqrt(tf.reduce_mean(tf.square(centred), axis=[1, 2], keepdims=True) + self.epsilon)
    if not self.affine:
      return tf.cast(centred * scale, inputs.dtype)
    return tf.cast(centred * (scale * tf.cast(self.gamma, tf.float32)) + tf.cast(self.beta, tf.float32), inputs.dtype)

  def get_config(self) -> dict:
    return {**super().get_config(), 'epsilon': self.epsilon, 'affine': self.affine,
            'scale_initializer': tf.keras.initializers.serialize(tf.keras.initializers.get(self.scale_initializer))}
