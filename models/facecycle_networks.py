"""The networks of FaceCycle: encoders, flow decoder, and the two decoders that draw on features of VGG-19."""

from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from models.facecycle_config import FaceCycleConfig
from models.layers import ChannelAttention, PixelShuffle, ResidualBlock, vgg19
from models.layers.warping import resize_aligned

__all__ = ['CODE', 'FLOW', 'Networks', 'affine_network', 'build_networks', 'encoder_network', 'expression_decoder',
           'flow_network', 'front_decoder', 'identity_decoder', 'noise_network', 'widths']

CODE = 256  # Length of an expression or identity code.
FLOW = 16  # Height and width of a flow.
_SLOPE = 0.1  # Of every leaky ReLU; the released decoders have plain ReLUs in places.
_PLACES = {'expression_encoder': 0, 'identity_encoder': 1, 'flow_decoder': 2, 'noise_encoder': 3,
           'expression_decoder': 4, 'identity_decoder': 5, 'neutral_to_mean': 6, 'mean_to_neutral': 7,
           'front_decoder': 8, 'front_end': 9, 'texture': 10}


def _leaky(values: tf.Tensor) -> tf.Tensor:
  return tf.nn.leaky_relu(values, _SLOPE)


def _leaky_of_sum(values: tf.Tensor) -> tf.Tensor:
  """The same behind a convolution plus something else. On CPUs TensorFlow 2.15 fuses those with `tf.nn.leaky_relu`
  where no gradient is asked for, and then its slope is .2 whatever was said."""
  return tf.maximum(values, _SLOPE * values)


class Networks(NamedTuple):
  """All networks of a FaceCycle.

  Attributes:
    front_end: the first layers of VGG-19, in front of both decoders.
    texture: the layers behind them, for the Gram loss.
    gram_front: a front end that stays as it was, for the Gram loss, where `front_end` is trained; else None.
    front_decoder: what trains a front end where there is no VGG-19.
    expression_encoder: E_exp.
    flow_decoder: D_flow.
    noise_encoder, expression_decoder: D_exp behind the front end.
    identity_encoder: E_id.
    neutral_to_mean, mean_to_neutral: MLP_de and MLP_re of D_id.
    identity_decoder: D_id behind front end and AdaIN.
  """

  front_end: tf.keras.Model
  texture: tf.keras.Model
  gram_front: tf.keras.Model | None
  front_decoder: tf.keras.Model
  expression_encoder: tf.keras.Model
  flow_decoder: tf.keras.Model
  noise_encoder: tf.keras.Model
  expression_decoder: tf.keras.Model
  identity_encoder: tf.keras.Model
  neutral_to_mean: tf.keras.Model
  mean_to_neutral: tf.keras.Model
  identity_decoder: tf.keras.Model


def build_networks(config: FaceCycleConfig) -> Networks:
  """The networks with their first weights; the front end's are random."""
  seeds = [[config.seed, _PLACES[name]] for name in ('front_end', 'texture')]
  joint = config.front_end == 'joint'
  front_end = vgg19.features_network(config.width, seeds[0], config.precision)
  front_end.trainable = joint
  texture = vgg19.texture_network(config.width, seeds[1], config.precision)
  gram_front = vgg19.features_network(config.width, seeds[0], config.precision, 'gram_front') if joint else None
  for network in filter(None, (texture, gram_front)):
    network.trainable = False
  return Networks(
      front_end, texture, gram_front, front_decoder(config), encoder_network(config, 'expression_encoder'),
      flow_network(config), noise_network(config), expression_decoder(config),
      encoder_network(config, 'identity_encoder'), affine_network(config, 'neutral_to_mean'),
      affine_network(config, 'mean_to_neutral'), identity_decoder(config))


def widths(config: FaceCycleConfig, *counts: int) -> list[int]:
  """Numbers of channels at the config's width."""
  return [max(1, round(count * config.width)) for count in counts]


class _Layers:
  """Layers with PyTorch's geometry and initial weights, seeded so that a config always gives the same network.

  Args:
    config: the settings.
    network: its name.
    normal: draw convolutions from N(0, sqrt(2 / (k^2 C_out))) with biases of 0, as in the encoders and the flow
      decoder; else from PyTorch's default, U(+-1 / sqrt(inputs)) for both.
  """

  def __init__(self, config: FaceCycleConfig, network: str, normal: bool):
    self._policy, self._normal = tf.keras.mixed_precision.Policy(config.precision), normal
    self._seeds = np.random.default_rng([config.seed, _PLACES[network]])
    self._config = config

  def width(self, count: int) -> int:
    return widths(self._config, count)[0]

  def _seed(self) -> int:
    return int(self._seeds.integers(2**31))

  def gaussian(self, deviation: float) -> tf.keras.initializers.Initializer:
    return tf.keras.initializers.RandomNormal(stddev=deviation, seed=self._seed())

  def _initializers(self, inputs: int, outputs: int) -> dict[str, Any]:
    """Of kernel and bias; both counts include the cells of the kernel."""
    if self._normal:
      return {'kernel_initializer': self.gaussian((2 / outputs)**0.5)}
    bound = inputs**-0.5
    uniform = tf.keras.initializers.RandomUniform
    return {'kernel_initializer': uniform(-bound, bound, self._seed()),
            'bias_initializer': uniform(-bound, bound, self._seed())}

  def conv_layer(self, inputs: int, filters: int, size: int = 3, **kwargs) -> tf.keras.layers.Layer:
    settings = {'padding': 'same', 'activation': _leaky, 'dtype': self._policy, **kwargs}
    return tf.keras.layers.Conv2D(
        filters, size, **{**self._initializers(size**2 * inputs, size**2 * filters), **settings})

  def conv(self, values: tf.Tensor, filters: int, size: int = 3, strides: int = 1, **kwargs) -> tf.Tensor:
    """A convolution and leaky ReLU.

    It sees `size // 2` zeros on every side, where Keras' strided ones begin a pixel later.
    """
    if strides > 1:
      values = tf.keras.layers.ZeroPadding2D(size // 2, dtype=self._policy)(values)
      kwargs |= {'strides': strides, 'padding': 'valid'}
    return self.conv_layer(values.shape[-1], filters, size, **kwargs)(values)

  def up(self, values: tf.Tensor, filters: int) -> tf.Tensor:
    """PyTorch's transposed convolution 4, stride 2, padding 1, of which it counts the outputs as the inputs."""
    return tf.keras.layers.Conv2DTranspose(
        filters, 4, 2, 'same', activation=_leaky, dtype=self._policy, **self._initializers(16 * filters, 0))(values)

  def dense(self, values: tf.Tensor, units: int, **kwargs) -> tf.Tensor:
    settings = {'dtype': self._policy, **self._initializers(values.shape[-1], units), **kwargs}
    return tf.keras.layers.Dense(units, **settings)(values)

  def residual(self, values: tf.Tensor) -> tf.Tensor:
    channels = values.shape[-1]
    return ResidualBlock(self.conv_layer(channels, channels), self.conv_layer(channels, channels, activation=None),
                         _leaky_of_sum, dtype=self._policy)(values)

  def attention(self, values: tf.Tensor) -> tf.Tensor:
    deviation = (2 / values.shape[-1])**0.5
    return ChannelAttention(_SLOPE, self.gaussian(deviation), dtype=self._policy)(values)


def encoder_network(config: FaceCycleConfig, name: str) -> tf.keras.Model:
  """E_exp or E_id: standardised pictures [B, S, S, 3] -> code [B, 256] in [-1, 1].

  Its layer `maps` is the convolutional part, for pictures of any size: [B, H, W, 3] -> [B, H/16, W/16, 128], from
  128 pixels on of half of that.

  Args:
    config: the settings.
    name: expression_encoder or identity_encoder.
  """
  layers = _Layers(config, name, normal=True)
  few, more, many = widths(config, 64, 128, 256)
  conv = layers.conv
  image = tf.keras.Input([None, None, 3], name='image')
  values = conv(conv(image, few, 7, 2), few)
  values = conv(layers.attention(conv(values, few)), few)
  values = conv(layers.attention(conv(values, more, strides=2)), more)
  values = layers.residual(layers.residual(values))
  values = conv(conv(values, more, strides=2), more)
  values = conv(conv(values, many, strides=2), many)
  values = conv(conv(values, many, strides=2 if config.image_size >= 128 else 1), more)
  maps = tf.keras.Model(image, values, name='maps')

  whole = tf.keras.Input([config.image_size, config.image_size, 3], name='image')
  values = tf.keras.layers.Flatten()(maps(whole))
  values = layers.dense(values, layers.width(512), activation=_leaky, kernel_initializer=layers.gaussian(0.01))
  activation = 'tanh' if config.code_end == 'tanh' else None
  code = layers.dense(values, CODE, activation=activation, kernel_initializer=layers.gaussian(0.01), dtype='float32')
  if config.code_end == 'l2':
    code = tf.keras.layers.UnitNormalization(dtype='float32')(code)
  return tf.keras.Model(whole, code, name=name)


def flow_network(config: FaceCycleConfig) -> tf.keras.Model:
  """D_flow: code [B, 256] -> flow [B, 16, 16, 2], x and y in (-1, 1), as `models.layers.warping` has it."""
  layers = _Layers(config, 'flow_decoder', normal=True)
  few, more, many = widths(config, 64, 128, 256)
  conv, deviation = layers.conv, config.flow_deviation
  code = tf.keras.Input([CODE], name='code')
  values = tf.keras.layers.Reshape([1, 1, 16 * many])(layers.dense(code, 16 * many, activation=_leaky))
  values = PixelShuffle(4, dtype=config.precision)(values)
  values = conv(layers.attention(values), many)
  values = conv(resize_aligned(values, 8, 8), more)
  values = conv(layers.attention(values), more)
  values = layers.residual(layers.residual(values))
  values = conv(resize_aligned(values, FLOW, FLOW), few, kernel_initializer=layers.gaussian(deviation))
  flow = conv(values, 2, 1, use_bias=False, activation='tanh', dtype='float32',
              kernel_initializer=layers.gaussian(deviation))
  return tf.keras.Model(code, flow, name='flow_decoder')


def noise_network(config: FaceCycleConfig) -> tf.keras.Model:
  """What fills the places that a warp uncovers: noise plus mean features [B, h, w, C] -> R2 and R3, of their shapes."""
  layers = _Layers(config, 'noise_encoder', normal=False)
  maps = [tf.keras.Input([None, None, count], name=name)
          for name, count in zip(('half', 'quarter'), widths(config, 128, 256), strict=True)]
  outputs = []
  for values in maps:
    for _ in range(2):
      values = layers.conv(values, values.shape[-1])
    outputs.append(values)
  return tf.keras.Model(maps, outputs, name='noise_encoder')


def expression_decoder(config: FaceCycleConfig) -> tf.keras.Model:
  """D_exp behind the front end: deformed relu2_1 [B, S/2, S/2, 128] and relu3_1 [B, S/4, S/4, 256] -> [B, S, S, 3].

  Pictures are standardised and have no bounds.
  """
  layers, size = _Layers(config, 'expression_decoder', normal=False), config.image_size
  more, many = widths(config, 128, 256)
  half = tf.keras.Input([size // 2, size // 2, more], name='half')
  quarter = tf.keras.Input([size // 4, size // 4, many], name='quarter')
  values = layers.conv(quarter, many)
  for _ in range(8):
    values = layers.residual(values)
  values = layers.conv(layers.up(values, more), more)
  values = tf.keras.layers.Concatenate(dtype=config.precision)([half, values])
  values = layers.conv(layers.up(values, more), more)
  image = layers.conv(values, 3, activation=None, dtype='float32')
  return tf.keras.Model([half, quarter], image, name='expression_decoder')


def affine_network(config: FaceCycleConfig, name: str) -> tf.keras.Model:
  """MLP_de (neutral_to_mean) or MLP_re (mean_to_neutral): code [B, 256] -> scales and offsets [B, 256] each."""
  layers = _Layers(config, name, normal=False)
  code = tf.keras.Input([CODE], name='code')
  values = code
  if config.affine == 'mlp':
    for _ in range(2):
      values = layers.dense(values, layers.width(128), activation=_leaky)
  return tf.keras.Model(code, [layers.dense(values, layers.width(256), dtype='float32') for _ in range(2)], name=name)


def identity_decoder(config: FaceCycleConfig) -> tf.keras.Model:
  """D_id behind front end and AdaIN: [B, S/4, S/4, 256] -> standardised pictures [B, S, S, 3] without bounds."""
  layers, small = _Layers(config, 'identity_decoder', normal=False), config.image_size // 4
  more, many = widths(config, 128, 256)
  values = quarter = tf.keras.Input([small, small, many], name='quarter')
  for _ in range(7):
    values = layers.residual(values)
  values = layers.up(layers.conv(layers.up(values, more), more), more)
  image = layers.conv(values, 3, 1, activation=None, dtype='float32')
  return tf.keras.Model(quarter, image, name='identity_decoder')


def front_decoder(config: FaceCycleConfig) -> tf.keras.Model:
  """Draws pictures from relu3_1 and relu4_1 by one layer each, to train the front end where there is no VGG-19."""
  layers, size = _Layers(config, 'front_decoder', normal=False), config.image_size
  maps, images = [], []
  for factor, count in zip((4, 8), widths(config, 256, 512), strict=True):
    values = tf.keras.Input([size // factor, size // factor, count])
    maps.append(values)
    drawn = layers.conv(values, 3 * factor**2, 1, activation=None, dtype='float32')
    images.append(PixelShuffle(factor)(drawn))
  return tf.keras.Model(maps, images, name='front_decoder')
