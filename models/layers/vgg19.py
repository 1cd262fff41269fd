"""VGG-19 (Simonyan and Zisserman, https://arxiv.org/abs/1409.1556): its first layers for features and textures, and all
of it for codes.

Pictures go in as ImageNet's networks of today want them, RGB minus a mean over a deviation (`standardize`). Keras has
the weights of the authors, which want BGR minus a mean in [0, 255]: `load` folds order and scale into the weights, so
that every map comes out divided by 57.5, about as large as in torchvision's network.
"""

import pathlib
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

__all__ = ['code_network', 'destandardize', 'features_network', 'load', 'standardize', 'texture_network']

_MEAN, _DEVIATION = np.float32([0.485, 0.456, 0.406]), np.float32([0.229, 0.224, 0.225])
_BLOCKS = ((2, 64), (2, 128), (4, 256), (4, 512), (4, 512))  # Convolutions and channels, with a pool behind each.
_SCALE = 57.5  # The deviation in grey levels, 255 * .2255.


def standardize(images: tf.Tensor) -> tf.Tensor:
  """RGB [..., 3] in [-1, 1] -> minus ImageNet's mean, over its deviation, about -2.1 to 2.6."""
  return ((images + 1) / 2 - _MEAN) / _DEVIATION


def destandardize(images: tf.Tensor) -> tf.Tensor:
  """The inverse of `standardize`, without bounds."""
  return (images * _DEVIATION + _MEAN) * 2 - 1


class _Builder:
  def __init__(self, width: float, seed: int | Sequence[int], dtype: str):
    self._width, self._seeds = width, np.random.default_rng(seed)
    self._dtype = dtype

  def conv(self, values: tf.Tensor, name: str, filters: int) -> tf.Tensor:
    filters = max(1, round(filters * self._width))
    initializer = tf.keras.initializers.HeNormal(int(self._seeds.integers(2**31)))
    return tf.keras.layers.Conv2D(filters, 3, padding='same', activation='relu', kernel_initializer=initializer,
                                  dtype=self._dtype, name=name)(values)

  def dense(self, values: tf.Tensor, name: str, units: int, activation: str | None = 'relu') -> tf.Tensor:
    initializer = tf.keras.initializers.HeNormal(int(self._seeds.integers(2**31)))
    return tf.keras.layers.Dense(units, activation, kernel_initializer=initializer, dtype=self._dtype,
                                 name=name)(values)

  def pool(self, values: tf.Tensor) -> tf.Tensor:
    return tf.keras.layers.MaxPool2D(2, dtype=self._dtype)(values)


def features_network(width: float, seed: int | Sequence[int], dtype: str = 'float32',
                     name: str = 'front_end') -> tf.keras.Model:
  """Standardised pictures [B, H, W, 3] -> relu2_1 [B, H/2, W/2, 128 width] and relu3_1 [B, H/4, W/4, 256 width].

  Args:
    width: multiplies all channels; the weights that exist want 1.
    seed: of the initial weights (He).
    dtype: policy.
    name: of the network.
  """
  build = _Builder(width, seed, dtype)
  image = tf.keras.Input([None, None, 3], name='image')
  values = build.conv(build.conv(image, 'block1_conv1', 64), 'block1_conv2', 64)
  half = build.conv(build.pool(values), 'block2_conv1', 128)
  quarter = build.conv(build.pool(build.conv(half, 'block2_conv2', 128)), 'block3_conv1', 256)
  return tf.keras.Model(image, [half, quarter], name=name)


def texture_network(width: float, seed: int | Sequence[int], dtype: str = 'float32',
                    name: str = 'texture') -> tf.keras.Model:
  """The next layers: relu3_1 [B, H/4, W/4, 256 width] -> relu4_1 [B, H/8, W/8, 512 width]."""
  build = _Builder(width, seed, dtype)
  quarter = values = tf.keras.Input([None, None, max(1, round(256 * width))], name='relu3_1')
  for place in (2, 3, 4):
    values = build.conv(values, f'block3_conv{place}', 256)
  return tf.keras.Model(quarter, build.conv(build.pool(values), 'block4_conv1', 512), name=name)


def code_network(width: float, seed: int | Sequence[int], dtype: str = 'float32', size: int = 96,
                 scores: bool = False) -> tf.keras.Model:
  """The whole network as an embedding: standardised pictures [B, size, size, 3] -> codes of length 1 [B, D] float32.

  Its layers `fc1`, `fc2` and `predictions` are fc6, fc7 and fc8 of the paper.

  Args:
    width: multiplies all channels but those of fc8; the weights that exist want 1.
    seed: of the initial weights (He).
    dtype: policy.
    size: of the pictures; the weights that exist are of 224.
    scores: whether the code is fc8, a score for each of ImageNet's 1,000 classes, and not fc7 [B, 4096 width].
  """
  build = _Builder(width, seed, dtype)
  image = values = tf.keras.Input([size, size, 3], name='image')
  for block, (count, filters) in enumerate(_BLOCKS, start=1):
    for place in range(1, count + 1):
      values = build.conv(values, f'block{block}_conv{place}', filters)
    values = build.pool(values)
  values = tf.keras.layers.Flatten(dtype=dtype)(values)
  units = max(1, round(4096 * width))
  values = build.dense(build.dense(values, 'fc1', units), 'fc2', units)
  if scores:
    values = build.dense(values, 'predictions', 1000, None)
  return tf.keras.Model(image, tf.math.l2_normalize(tf.cast(values, tf.float32), axis=1, epsilon=1e-10), name='vgg19')


def load(weights: str, *networks: tf.keras.Model, top: bool = False) -> None:
  """Gives networks of width 1 the weights of VGG-19.

  Args:
    weights: imagenet, which Keras downloads, or a file that `keras.applications.VGG19(include_top=top)` reads.
    networks: of this module.
    top: whether they have fully connected layers.
  Raises:
    ValueError: if they cannot be had; the message says what to do.
  """
  name = f'vgg19_weights_tf_dim_ordering_tf_kernels{"" if top else "_notop"}.h5'
  if weights != 'imagenet' and not pathlib.Path(weights).expanduser().is_file():
    raise ValueError(f'--vgg19_weights={weights} is no file: give imagenet, which Keras downloads, or the path of '
                     f'{name}')
  try:
    source = tf.keras.applications.VGG19(
        include_top=top, weights=weights if weights == 'imagenet' else str(pathlib.Path(weights).expanduser()))
  except Exception as error:  # Keras and h5py raise a dozen kinds for a file that is not what it should be.
    raise ValueError(f'--vgg19_weights={weights} cannot be loaded ({str(error).splitlines()[0]}): give imagenet, which '
                     f'Keras downloads, or the path of {name}') from None
  copy(source, *networks)


def copy(source: tf.keras.Model, *networks: tf.keras.Model) -> None:
  """Takes the weights of Keras' VGG-19; the half grey level between the two means is left out.

  Of fc6, whose kernel sees 7 x 7 places of pictures of 224 pixels, smaller pictures take the middle (3 x 3 of 96).
  """
  for network in networks:
    for layer in network.layers:
      if not layer.weights:
        continue
      kernel, bias = source.get_layer(layer.name).get_weights()
      if layer.name == 'block1_conv1':
        kernel = kernel[:, :, ::-1] * np.reshape(255 * _DEVIATION / _SCALE, [3, 1])
      if layer.name == 'fc1':
        kernel = _middle(kernel, source.get_layer('block5_conv4').filters, layer.kernel.shape[0])
      layer.set_weights([kernel, bias / _SCALE])


def _middle(kernel: np.ndarray, channels: int, rows: int) -> np.ndarray:
  """The middle [rows, D] of a fully connected kernel [S * S * channels, D] of a square map."""
  whole, part = (round((count / channels) ** 0.5) for count in (len(kernel), rows))
  start = (whole - part) // 2
  kernel = kernel.reshape(whole, whole, channels, -1)[start:start + part, start:start + part]
  return kernel.reshape(rows, -1)
