"""Layers that make maps larger."""

from typing import Any

import tensorflow as tf


class UpsampleConv(tf.keras.layers.Layer):
  """`UpSampling2D(2)` (nearest) and then `Conv2D(filters, 3, padding='same')`, with four ninths of the products.

  Where every cell stands twice in a row, a kernel of three cells meets two different ones only, so each of the four
  cells that come of one is a convolution of 2 x 2 with sums of the kernel's weights. Same weights, same numbers.

  Args:
    filters: channels of the outputs.
    activation: as of Conv2D.
    kernel_initializer: of the kernel [3, 3, channels, filters].
  """

  def __init__(self, filters: int, activation: Any = None, kernel_initializer: Any = 'glorot_uniform', **kwargs):
    super().__init__(**kwargs)
    self.filters, self.activation = filters, tf.keras.activations.get(activation)
    self.kernel_initializer = tf.keras.initializers.get(kernel_initializer)

  def build(self, input_shape: tf.TensorShape) -> None:
    self.kernel = self.add_weight(name='kernel', shape=[3, 3, input_shape[-1], self.filters],
                                  initializer=self.kernel_initializer)
    self.bias = self.add_weight(name='bias', shape=[self.filters], initializer='zeros')

  def call(self, inputs: tf.Tensor) -> tf.Tensor:
    """[B, H, W, C] -> [B, 2 H, 2 W, filters]."""
    kernel = tf.convert_to_tensor(self.kernel)
    # Of the first cell of a pair: the cell before, and its own; of the second: its own, and the cell behind.
    rows = [tf.stack([kernel[0], kernel[1] + kernel[2]]), tf.stack([kernel[0] + kernel[1], kernel[2]])]
    parts = [tf.stack([k, m + n] if first else [k + m, n], axis=1)
             for row in rows for first in (True, False) for k, m, n in [tf.unstack(row, axis=1)]]
    height, width = inputs.shape[1:3]
    values = tf.nn.conv2d(tf.pad(inputs, [[0, 0], [1, 1], [1, 1], [0, 0]]), tf.concat(parts, axis=-1), 1, 'VALID')
    quarters = [part[:, a:a + height, b:b + width]
                for part, (a, b) in zip(tf.split(values, 4, axis=-1), ((0, 0), (0, 1), (1, 0), (1, 1)), strict=True)]
    return self.activation(tf.nn.bias_add(tf.nn.depth_to_space(tf.concat(quarters, axis=-1), 2), self.bias))

  def get_config(self) -> dict:
    return {**super().get_config(), 'filters': self.filters,
            'activation': tf.keras.activations.serialize(self.activation),
            'kernel_initializer': tf.keras.initializers.serialize(self.kernel_initializer)}
