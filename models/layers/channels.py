"""Blocks that keep or move the channels of a map."""

from collections.abc import Callable
from typing import Any

import tensorflow as tf


class ChannelAttention(tf.keras.layers.Layer):
  """Self-attention among channels instead of places, with its leaky ReLU (FaceCycle, released code).

  Of X with N cells: theta, phi, g = three 1 x 1 convolutions; S = phi softmax_N(theta)^T, [C, C];
  output = leaky(X + S softmax_C(g)). The softmaxes are float32 whatever the layer computes in.

  Args:
    slope: of the leaky ReLU.
    kernel_initializer: of the three convolutions, which are one here.
  """

  def __init__(self, slope: float = 0.1, kernel_initializer: Any = 'glorot_uniform', **kwargs):
    super().__init__(**kwargs)
    self.slope, self.kernel_initializer = slope, tf.keras.initializers.get(kernel_initializer)

  def build(self, input_shape: tf.TensorShape) -> None:
    channels = input_shape[-1]
    self.kernel = self.add_weight(name='kernel', shape=[channels, 3 * channels], initializer=self.kernel_initializer)
    self.bias = self.add_weight(name='bias', shape=[3 * channels], initializer='zeros')

  def call(self, inputs: tf.Tensor) -> tf.Tensor:
    """[B, H, W, C] -> [B, H, W, C]."""
    shape = tf.shape(inputs)
    cells = tf.reshape(inputs, [shape[0], shape[1] * shape[2], inputs.shape[-1]])
    theta, phi, g = tf.split(tf.matmul(cells, self.kernel) + self.bias, 3, axis=-1)
    theta = tf.cast(tf.nn.softmax(tf.cast(theta, tf.float32), axis=1), inputs.dtype)
    g = tf.cast(tf.nn.softmax(tf.cast(g, tf.float32), axis=2), inputs.dtype)
    relations = tf.matmul(theta, phi, transpose_a=True)  # S transposed.
    return tf.nn.leaky_relu(inputs + tf.reshape(tf.matmul(g, relations), shape), self.slope)

  def get_config(self) -> dict:
    return {**super().get_config(), 'slope': self.slope,
            'kernel_initializer': tf.keras.initializers.serialize(self.kernel_initializer)}


class PixelShuffle(tf.keras.layers.Layer):
  """Channels become cells: [B, H, W, C r^2] -> [B, H r, W r, C], in PyTorch's order (c, row, column) of channels.

  `tf.nn.depth_to_space` orders them (row, column, c), which matters only for weights from elsewhere.

  Args:
    factor: r.
  """

  def __init__(self, factor: int, **kwargs):
    super().__init__(**kwargs)
    self.factor = factor

  def call(self, inputs: tf.Tensor) -> tf.Tensor:
    factor, channels = self.factor, inputs.shape[-1] // self.factor**2
    shape = tf.shape(inputs)
    parts = tf.reshape(inputs, [*tf.unstack(shape[:3]), channels, factor, factor])
    parts = tf.transpose(parts, [0, 1, 4, 2, 5, 3])
    return tf.reshape(parts, [shape[0], shape[1] * factor, shape[2] * factor, channels])

  def get_config(self) -> dict:
    return {**super().get_config(), 'factor': self.factor}


class ResidualBlock(tf.keras.layers.Layer):
  """Two layers and the way around them: activation(second(first(x)) + x), without normalisation.

  Args:
    first: with its own activation.
    second: without one.
    activation: behind the sum.
  """

  def __init__(self, first: tf.keras.layers.Layer, second: tf.keras.layers.Layer, activation: Callable, **kwargs):
    super().__init__(**kwargs)
    self.first, self.second, self.activation = first, second, activation

  def call(self, inputs: tf.Tensor) -> tf.Tensor:
    return self.activation(self.second(self.first(inputs)) + inputs)
