"""Channel attention and pixel shuffle against their formulas in numpy."""

import numpy as np
import tensorflow as tf

from models.layers import ChannelAttention, PixelShuffle


def softmax(values, axis):
  values = np.exp(values - values.max(axis, keepdims=True))
  return values / values.sum(axis, keepdims=True)


def test_channel_attention():
  draw = np.random.default_rng(0)
  inputs = draw.normal(size=[2, 3, 4, 5])
  layer = ChannelAttention(0.1)
  layer(tf.zeros([1, 3, 4, 5]))
  kernel, bias = draw.normal(size=[5, 15]), draw.normal(size=[15])
  layer.set_weights([kernel, bias])
  assert layer.count_params() == 3 * (5 * 5 + 5)
  expected = []
  for x in inputs.reshape(2, 12, 5).transpose(0, 2, 1):  # [C, N], as the paper writes it.
    theta, phi, g = (kernel[:, 5 * k:5 * k + 5].T @ x + bias[5 * k:5 * k + 5, None] for k in range(3))
    relations = phi @ softmax(theta, 1).T
    y = x + relations @ softmax(g, 0)
    expected.append(np.where(y > 0, y, 0.1 * y).T.reshape(3, 4, 5))
  np.testing.assert_allclose(layer(tf.constant(inputs, tf.float32)), expected, rtol=1e-4, atol=1e-4)


def test_pixel_shuffle_has_the_order_of_pytorch():
  inputs = np.arange(2 * 1 * 2 * 12).reshape(2, 1, 2, 12)
  outputs = PixelShuffle(2)(tf.constant(inputs)).numpy()
  assert outputs.shape == (2, 2, 4, 3)
  for b, row, column, c in np.ndindex(*outputs.shape):
    assert outputs[b, row, column, c] == inputs[b, row // 2, column // 2, 4 * c + 2 * (row % 2) + column % 2]
