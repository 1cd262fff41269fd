"""The networks of the CycleGAN face-off, with PyTorch's geometry: two kinds of generators, and the PatchGAN."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from models.faceoff_config import FaceOffConfig
from models.layers import InstanceNorm

__all__ = ['Networks', 'build_networks', 'discriminator_network', 'generator_network', 'keep_shapes']

_SLOPE = 0.2  # Of every leaky ReLU.
_WIDEST = 512
_DROPPED = 4  # A unet drops features from a sixteenth of the size on, but for the first way up.


class Networks(NamedTuple):
  """All networks of a face-off.

  Attributes:
    generators: G as `a2b` and F as `b2a`.
    discriminators: those who know `a` (D_X) and those who know `b` (D_Y), one or two each.
  """

  generators: dict[str, tf.keras.Model]
  discriminators: dict[str, list[tf.keras.Model]]


def build_networks(config: FaceOffConfig) -> Networks:
  """The networks with their first weights."""
  return Networks(
      {name: generator_network(config, name) for name in ('a2b', 'b2a')},
      {domain: [discriminator_network(config, domain, place) for place in range(len(config.patch_layers))]
       for domain in ('a', 'b')})


def _channels(config: FaceOffConfig, count: int) -> int:
  return max(1, round(min(count, _WIDEST) * config.width))


def _unet_channels(config: FaceOffConfig) -> list[int]:
  """Of the maps of half the size, a quarter, ... one cell."""
  return [_channels(config, 64 << level) for level in range(config.image_size.bit_length() - 1)]


def keep_shapes(config: FaceOffConfig) -> list[list[int]]:
  """[H, W, C] of the features at each dropout of a generator; none without dropout."""
  if config.dropout == 0:
    return []
  if config.generator == 'resnet':
    small = config.image_size // 4
    return [[small, small, _channels(config, 256)]] * config.residual_blocks
  channels = _unet_channels(config)
  return [[config.image_size >> level, config.image_size >> level, channels[level - 1]]
          for level in reversed(range(_DROPPED, len(channels) - 1))]


class _Layers:
  """Layers of one network, seeded so that a config always gives the same; biases begin at 0."""

  def __init__(self, config: FaceOffConfig, seed: Sequence[int]):
    self._policy = tf.keras.mixed_precision.Policy(config.precision)
    self._seeds, self._xavier = np.random.default_rng([config.seed, *seed]), config.initial_weights == 'xavier'

  def _initial(self) -> tf.keras.initializers.Initializer:
    seed = int(self._seeds.integers(2**31))
    if self._xavier:
      return tf.keras.initializers.VarianceScaling(1.0, 'fan_avg', 'untruncated_normal', seed=seed)
    return tf.keras.initializers.RandomNormal(stddev=0.02, seed=seed)

  def cast(self, values: tf.Tensor) -> tf.Tensor:
    return tf.cast(values, self._policy.compute_dtype)

  def conv(self, values: tf.Tensor, filters: int, size: int, strides: int = 1, edge: int = 1, mode: str = 'CONSTANT',
           dtype: Any = None) -> tf.Tensor:
    """A convolution behind `edge` cells of padding on every side, where Keras' own begin elsewhere."""
    if edge:
      values = tf.pad(values, [[0, 0], [edge, edge], [edge, edge], [0, 0]], mode)
    return tf.keras.layers.Conv2D(filters, size, strides, 'valid', kernel_initializer=self._initial(),
                                  dtype=dtype or self._policy)(values)

  def up(self, values: tf.Tensor, filters: int, size: int, dtype: Any = None) -> tf.Tensor:
    """PyTorch's transposed convolution of stride 2 that doubles a map: padding 1, and for size 3 output padding 1."""
    layer = tf.keras.layers.Conv2DTranspose(filters, size, 2, 'same' if size == 4 else 'valid', dtype=dtype or
                                            self._policy, kernel_initializer=self._initial())
    return layer(values) if size == 4 else layer(values)[:, 1:, 1:]

  def norm(self, values: tf.Tensor) -> tf.Tensor:
    return InstanceNorm(1e-5, affine=False, dtype=self._policy)(values)

  def relu(self, values: tf.Tensor) -> tf.Tensor:
    return tf.keras.layers.ReLU(dtype=self._policy)(values)

  def leaky(self, values: tf.Tensor) -> tf.Tensor:
    return tf.keras.layers.LeakyReLU(_SLOPE, dtype=self._policy)(values)


def generator_network(config: FaceOffConfig, name: str) -> tf.keras.Model:
  """G (a2b) or F (b2a): [picture [B, S, S, 3], *keeps] -> picture [B, S, S, 3], both in [-1, 1].

  What each dropout keeps is an input of its own [B or 1, H, W, C] (see `keep_shapes`), so that whoever calls decides on
  the randomness: it holds 0 or 1 / (1 - dropout); with ones in its place nothing is removed.
  """
  layers = _Layers(config, [('a2b', 'b2a').index(name)])
  image = tf.keras.Input([config.image_size, config.image_size, 3], name='image')
  keeps = [tf.keras.Input([None, None, None], name=f'keep_{place}') for place in range(len(keep_shapes(config)))]
  draw = _resnet if config.generator == 'resnet' else _unet
  picture = draw(config, layers, layers.cast(image), [layers.cast(keep) for keep in keeps])
  return tf.keras.Model([image, *keeps], tf.tanh(picture), name=name)


def _resnet(config: FaceOffConfig, layers: _Layers, image: tf.Tensor, keeps: list[tf.Tensor]) -> tf.Tensor:
  """The residual network of Johnson et al. (2016) as CycleGAN has it."""
  few, more, many = (_channels(config, count) for count in (64, 128, 256))

  def normed(values: tf.Tensor) -> tf.Tensor:
    return layers.relu(layers.norm(values))

  values = normed(layers.conv(image, few, 7, edge=3, mode='REFLECT'))
  values = normed(layers.conv(values, more, 3, 2))
  values = normed(layers.conv(values, many, 3, 2))
  for block in range(config.residual_blocks):
    inside = normed(layers.conv(values, many, 3, mode='REFLECT'))
    inside = inside * keeps[block] if keeps else inside
    values = values + layers.norm(layers.conv(inside, many, 3, mode='REFLECT'))
  values = normed(layers.up(values, more, 3))
  values = normed(layers.up(values, few, 3))
  return layers.conv(tf.cast(values, tf.float32), 3, 7, edge=3, mode='REFLECT', dtype='float32')


def _unet(config: FaceOffConfig, layers: _Layers, image: tf.Tensor, keeps: list[tf.Tensor]) -> tf.Tensor:
  """pix2pix' U-Net down to one cell, which sees no norm: it would be 0."""
  channels = _unet_channels(config)
  depth, seen, kept = len(channels), [], list(keeps)
  values = image
  for level, count in enumerate(channels):
    values = layers.conv(layers.leaky(values) if level else values, count, 4, 2)
    if 0 < level < depth - 1:
      values = layers.norm(values)
    seen.append(values)
  for level in reversed(range(1, depth)):
    values = layers.norm(layers.up(layers.relu(values), channels[level - 1], 4))
    if kept and level < depth - 1:
      values = values * kept.pop(0)
    values = tf.concat([seen[level - 1], values], axis=-1)
  return layers.up(tf.cast(layers.relu(values), tf.float32), 3, 4, dtype='float32')


def discriminator_network(config: FaceOffConfig, domain: str, place: int) -> tf.keras.Model:
  """D_X (of a) or D_Y (of b), a PatchGAN: pictures [B, S, S, 3] -> scores [B, N, N, 1] without bounds.

  N is `faceoff_config.patch_map`. The released code asks for five layers in places and always builds three.

  Args:
    config: the settings.
    domain: a or b.
    place: 0, or 1 for the second one of a domain; both decide on the first weights, and this on the layers.
  """
  layers = _Layers(config, [2, 'ab'.index(domain), place])
  halvings = config.patch_layers[place]
  image = tf.keras.Input([config.image_size, config.image_size, 3], name='image')
  values = layers.leaky(layers.conv(layers.cast(image), _channels(config, 64), 4, 2))
  for level in range(1, halvings + 1):
    values = layers.conv(values, _channels(config, 64 << level), 4, 2 if level < halvings else 1)
    values = layers.leaky(layers.norm(values))
  scores = layers.conv(tf.cast(values, tf.float32), 1, 4, dtype='float32')
  return tf.keras.Model(image, scores, name=f'discriminator_{domain}_{place}')
