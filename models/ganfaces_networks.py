"""The networks of GANFaces: the generators G and G', and the autoencoders that BEGAN has for discriminators."""

import numpy as np
import tensorflow as tf

from models.ganfaces_config import GANFacesConfig
from models.layers import InstanceNorm, UpsampleConv

__all__ = ['BLOCKS', 'autoencoder_network', 'generator_network', 'keep_shape']

BLOCKS = 3  # Residual blocks of a generator.


def keep_shape(config: GANFacesConfig) -> list[int]:
  """[3, H, W, C] of the features that the dropouts of G remove some of."""
  small = config.image_size // 4
  return [BLOCKS, small, small, 4 * _channels(config, config.generator_channels)]


def _channels(config: GANFacesConfig, count: int) -> int:
  return max(1, round(count * config.width))


def generator_network(config: GANFacesConfig, skips: bool) -> tf.keras.Model:
  """G (with skips) or G' (without): pictures [B, S, S, 3] -> [B, S, S, 3], both in [-1, 1].

  The shallow residual network of Johnson et al. (2016) without biases. G has skips from the first two layers, and a
  dropout behind each block. What dropout keeps is a second input, so that whoever calls decides on the randomness:
  `keep` [B or 1, 3, H, W, C] holds 0 or 1 / (1 - dropout), with ones in its place (of any shape that broadcasts)
  nothing is removed.
  """
  policy = tf.keras.mixed_precision.Policy(config.precision)
  seeds = np.random.default_rng([config.seed, 0 if skips else 1])
  first = _channels(config, config.generator_channels)

  def normal(mean: float = 0.0) -> tf.keras.initializers.Initializer:
    return tf.keras.initializers.RandomNormal(mean, 0.02, seed=int(seeds.integers(2**31)))

  def conv(values: tf.Tensor, filters: int, size: int, strides: int = 1, dtype=policy) -> tf.Tensor:
    if strides == 1:
      edge = size // 2
      values = tf.pad(values, [[0, 0], [edge, edge], [edge, edge], [0, 0]], 'REFLECT')
    return tf.keras.layers.Conv2D(filters, size, strides, 'valid' if strides == 1 else 'same', use_bias=False,
                                  kernel_initializer=normal(), dtype=dtype)(values)

  def up(values: tf.Tensor, filters: int) -> tf.Tensor:
    return tf.keras.layers.Conv2DTranspose(filters, 3, 2, 'same', use_bias=False, kernel_initializer=normal(),
                                           dtype=policy)(values)

  def norm(values: tf.Tensor, block: bool) -> tf.Tensor:
    if config.norm == 'none' or (config.norm == 'released' and not block):
      return values
    return InstanceNorm(1e-5, scale_initializer=normal(1.0), dtype=policy)(values)

  def relu(values: tf.Tensor, block: bool = False) -> tf.Tensor:
    return tf.keras.layers.ReLU(dtype=policy)(norm(values, block))

  image = tf.keras.Input([config.image_size, config.image_size, 3], name='image')
  keep = tf.keras.Input([BLOCKS, None, None, None], name='keep') if skips else None
  whole = relu(conv(tf.cast(image, policy.compute_dtype), first, 7))
  half = relu(conv(whole, 2 * first, 3, 2))
  values = relu(conv(half, 4 * first, 3, 2))
  for block in range(BLOCKS):
    inside = relu(conv(values, 4 * first, 3), block=True)
    values = values + norm(conv(inside, 4 * first, 3), block=True)
    if keep is not None:
      values = values * tf.cast(keep[:, block], policy.compute_dtype)
  values = relu(up(values, 2 * first))
  values = tf.concat([values, half], axis=-1) if skips else values
  values = relu(up(values, first))
  values = tf.concat([values, whole], axis=-1) if skips else values
  values = tf.tanh(conv(tf.cast(values, tf.float32), 3, 7, dtype='float32'))
  return tf.keras.Model([image, keep] if skips else image, values, name='generator' if skips else 'inverse')


def autoencoder_network(config: GANFacesConfig, domain: str) -> tf.keras.Model:
  """D_R or D_S, BEGAN's autoencoder: pictures [B, S, S, 3] -> [B, S, S, 3] without bounds.

  Args:
    config: the settings.
    domain: 'photo' for D_R, 'render' for D_S; decides on the initial weights.
  """
  policy = tf.keras.mixed_precision.Policy(config.precision)
  seeds = np.random.default_rng([config.seed, {'photo': 2, 'render': 3}[domain]])
  width, size = _channels(config, config.discriminator_channels), config.image_size
  repeats = size.bit_length() - 3  # floor(log2 size) - 2

  def glorot() -> tf.keras.initializers.Initializer:
    return tf.keras.initializers.GlorotUniform(seed=int(seeds.integers(2**31)))

  def conv(values: tf.Tensor, filters: int, strides: int = 1, activation: str | None = 'elu',
           dtype=policy) -> tf.Tensor:
    return tf.keras.layers.Conv2D(filters, 3, strides, 'same', activation=activation, kernel_initializer=glorot(),
                                  dtype=dtype)(values)

  def dense(values: tf.Tensor, units: int) -> tf.Tensor:
    return tf.keras.layers.Dense(units, kernel_initializer=glorot(), dtype=policy)(values)

  image = tf.keras.Input([size, size, 3], name='image')
  values = conv(tf.cast(image, policy.compute_dtype), width)
  for block in range(1, repeats + 1):
    values = conv(conv(values, block * width), block * width)
    if block < repeats:
      values = conv(values, block * width, strides=2)
  bottom = values.shape[1]
  code = dense(tf.keras.layers.Flatten()(values), config.discriminator_code)
  values = tf.keras.layers.Reshape([bottom, bottom, width])(dense(code, bottom * bottom * width))
  values = conv(conv(values, width), width)
  for _ in range(1, repeats):
    values = UpsampleConv(width, 'elu', glorot(), dtype=policy)(values)
    values = conv(values, width)
  values = conv(tf.cast(values, tf.float32), 3, activation=None, dtype='float32')
  edge = (values.shape[1] - size) // 2  # 112 -> 108: the middle.
  return tf.keras.Model(image, values[:, edge:edge + size, edge:edge + size], name=f'{domain}_discriminator')
