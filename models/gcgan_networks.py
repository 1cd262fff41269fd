"""GC-GAN's networks, layer by layer those of the paper; where it is silent, the released code's, as marked."""

import numpy as np
import tensorflow as tf

from models.gcgan_config import GCGANConfig
from models.layers import ChannelLayerNorm
from models.layers.bending import FaceBend
from models.layers.warping import cubic_sample, warp

__all__ = ['CODE', 'LANDMARKS', 'critic_network', 'draw_landmarks', 'embedding_network', 'generator_network']

LANDMARKS = 68
CODE = 32  # z_g, the expression.
IDENTITY_CODE = 128  # z_i.


class _Layers:
  """Layers with the released code's initial weights, seeded so that a config always gives the same network."""

  def __init__(self, config: GCGANConfig, network: int, synchronized: bool = False):
    self._synchronized = synchronized
    self._policy = tf.keras.mixed_precision.Policy(config.precision)
    self._seeds = np.random.default_rng([config.seed, network])
    self._width = config.width

  def channels(self, count: int) -> int:
    return max(1, round(count * self._width))

  def _normal(self) -> tf.keras.initializers.Initializer:
    return tf.keras.initializers.RandomNormal(stddev=0.02, seed=int(self._seeds.integers(2**31)))

  def dense(self, units: int, **kwargs) -> tf.keras.layers.Layer:
    return tf.keras.layers.Dense(units, kernel_initializer=self._normal(), **{'dtype': self._policy, **kwargs})

  def conv(self, filters: int, strides: int, **kwargs) -> tf.keras.layers.Layer:
    truncated = tf.keras.initializers.TruncatedNormal(stddev=0.02, seed=int(self._seeds.integers(2**31)))
    return tf.keras.layers.Conv2D(filters, 5, strides, 'same', kernel_initializer=truncated,
                                  **{'dtype': self._policy, **kwargs})

  def deconv(self, filters: int) -> tf.keras.layers.Layer:
    return tf.keras.layers.Conv2DTranspose(filters, 5, 2, 'same', kernel_initializer=self._normal(), dtype=self._policy)

  def norm(self, **kwargs) -> tf.keras.layers.Layer:
    return tf.keras.layers.BatchNormalization(momentum=0.9, epsilon=1e-5, synchronized=self._synchronized,
                                              **{'dtype': self._policy, **kwargs})

  def relu(self, inputs: tf.Tensor, name: str | None = None) -> tf.Tensor:
    return tf.keras.layers.ReLU(dtype=self._policy, name=name)(self.norm()(inputs))


def embedding_network(config: GCGANConfig, synchronized: bool = False) -> tf.keras.Model:
  """E: landmarks [B, 68, 2] -> (expression code z_g [B, 32], at least 0; the landmarks again [B, 68, 2] in [-1, 1])."""
  layers = _Layers(config, 0, synchronized)
  landmarks = tf.keras.Input([LANDMARKS, 2], name='landmarks')
  values = tf.keras.layers.Flatten()(landmarks)
  values = layers.relu(layers.dense(128)(values))
  values = layers.relu(layers.dense(64)(values))
  code = layers.relu(layers.dense(CODE)(values))
  values = layers.relu(layers.dense(64)(code))
  values = layers.relu(layers.dense(128)(values))
  values = layers.dense(2 * LANDMARKS, activation='tanh', dtype='float32')(values)
  code = tf.keras.layers.Activation('linear', dtype='float32')(code)
  return tf.keras.Model(landmarks, [code, tf.keras.layers.Reshape([LANDMARKS, 2])(values)], name='embedding')


def generator_network(config: GCGANConfig, synchronized: bool = False) -> tf.keras.Model:
  """G: (image [B, S, S, 3], condition) -> image [B, S, S, 3], both in [-1, 1].

  The condition is a vector [B, C] that joins the code z_i of the image, or a map [B, S, S, 1] that joins the image
  (SPG). With bend_input it also takes the landmarks [B, 68, 2] of the image and where they are to lie, and encodes the
  image so bent. The layer `mask` says where the picture is drawn, as in GANimation (Pumarola et al. 2018), beside
  what the bend does not know; with composition=warp `flow` says where the rest is from.
  """
  layers, size = _Layers(config, 1, synchronized), config.image_size
  width = layers.channels
  image = tf.keras.Input([size, size, 3], name='image')
  concat = tf.keras.layers.Concatenate
  drawn = config.condition == 'landmark_image'
  length = CODE if config.condition == 'embedding' else config.expressions
  condition = tf.keras.Input([size, size, 1] if drawn else [length], name='condition')

  inputs, seen, shown, bend = [image, condition], image, image, None
  if config.bend_input:
    inputs += [tf.keras.Input([LANDMARKS, 2], name=name) for name in ('landmarks', 'goals')]
    bend = FaceBend(size)(inputs[2:])
    shown = warp(image, bend[0], cubic_sample)
    seen = bend[1] * shown
  values = concat()([seen, condition]) if drawn else seen
  encoded = []
  for filters in (64, 128, 256):
    values = layers.relu(layers.conv(width(filters), 2)(values))
    encoded.append(values)
  values = tf.keras.layers.Flatten()(values)
  values = layers.relu(layers.dense(width(1024))(values))
  values = layers.relu(layers.dense(IDENTITY_CODE)(values))
  if not drawn:
    values = concat(dtype=config.precision)([values, condition])
  small = size // 16
  values = layers.relu(layers.dense(small * small * width(256))(values))
  values = tf.keras.layers.Reshape([small, small, width(256)])(values)
  for depth, filters in enumerate((256, 128, 64)):
    values = layers.relu(layers.deconv(width(filters))(values))
    if depth >= 3 - config.n_skips:
      join = tf.keras.layers.Add if config.skip == 'add' else concat
      values = join(dtype=config.precision)([values, encoded[2 - depth]])
  values = layers.relu(layers.deconv(width(64))(values))
  picture = layers.conv(3, 1, dtype='float32')(values)
  if config.output_norm:
    picture = layers.norm(dtype='float32')(picture)
  picture = tf.keras.layers.Activation('tanh', dtype='float32')(picture)
  if config.composition != 'image':
    maps = layers.conv(3 if config.composition == 'warp' else 1, 1, dtype='float32', name='maps')(values)
    moved = shown if config.composition == 'blend' else _move(image, maps, bend)
    mask = tf.keras.layers.Activation('sigmoid', name='mask', dtype='float32')(maps[..., :1])
    # Where the bend knows nothing, as between lips that open, the picture stands alone.
    picture += (1 - mask) * (bend[1] if bend else 1.0) * (moved - picture)
  return tf.keras.Model(inputs, picture, name='generator')


def _move(image: tf.Tensor, maps: tf.Tensor, bend: tuple[tf.Tensor, tf.Tensor] | None) -> tf.Tensor:
  """The input moved along the flow of maps [B, S, S, 3] and of the bend together: sampling twice would blur it twice.

  The maps are in tenths, so that they begin within a pixel or two.
  """
  flow = 0.1 * maps[..., 1:]
  if bend is None:
    return warp(image, tf.keras.layers.Activation('linear', name='flow')(flow), cubic_sample)
  return warp(image, tf.keras.layers.Add(name='flow')([flow, bend[0]]), cubic_sample)


def critic_network(config: GCGANConfig) -> tf.keras.Model:
  """D: image [B, S, S, 3] in [-1, 1] -> score [B].

  The score is the mean of the last map [choice; the released code takes the sum, which only rescales].
  """
  layers = _Layers(config, 2)
  image = values = tf.keras.Input([config.image_size, config.image_size, 3], name='image')
  for filters in (64, 128, 256, 512):
    values = layers.conv(layers.channels(filters), 2)(values)
    values = ChannelLayerNorm(dtype=config.precision)(values)
    values = tf.keras.layers.LeakyReLU(0.2, dtype=config.precision)(values)
  values = layers.conv(1, 2, dtype='float32')(values)
  return tf.keras.Model(image, tf.reduce_mean(values, [1, 2, 3]), name='critic')


def draw_landmarks(landmarks: tf.Tensor, size: int) -> tf.Tensor:
  """Draws points as SPG wants them: -1 everywhere, 1 in the pixel of each point; points outside are left out.

  Args:
    landmarks: [B, P, 2] x and y in [-1, 1], from edge to edge of the picture.
    size: height and width of the map in pixels.
  Returns:
    [B, size, size, 1] float32.
  """
  pixels = tf.cast(tf.floor((landmarks + 1) / 2 * size), tf.int32)
  columns = tf.one_hot(pixels[..., 0], size)  # All zeros for a point outside.
  rows = tf.one_hot(pixels[..., 1], size)
  counts = tf.einsum('bpy,bpx->byx', rows, columns)
  return 2 * tf.minimum(counts, 1.0)[..., tf.newaxis] - 1
