"""The first layers of VGG-19 (Simonyan and Zisserman, https://arxiv.org/abs/1409.1556), for features and textures.

Pictures go in as ImageNet's networks of today want them, RGB minus a mean over a deviation (`standardize`). Keras has
the weights of the authors, which want BGR minus a mean in [0, 255]: `load` folds order and scale into the weights, so
that every map comes out divided by 57.5, about as large as in torchvision's network.
"""

import pathlib
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

__all__ = ['destandardize', 'features_network', 'load', 'standardize', 'texture_network']

_MEAN, _DEVIATION = np.float32([0.485, 0.456, 0.406]), np.float32([0.229, 0.224, 0.225])
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


def load(weights: str, *networks: tf.keras.Model) -> None:
  """Gives networks of width 1 the weights of VGG-19.

  Args:
    weights: imagenet, which Keras downloads, or a file that `keras.applications.VGG19(include_top=False)` reads.
    networks: of `features_network` and `texture_network`.
  Raises:
    ValueError: if they cannot be had; the message says what to do.
  """
  if weights != 'imagenet' and not pathlib.Path(weights).expanduser().is_file():
    raise ValueError(f'--vgg19_weights={weights} is no file: give imagenet, which Keras downloads, or the path of '
                     'vgg19_weights_tf_dim_ordering_tf_kernels_notop.h5')
  try:
    source = tf.keras.applications.VGG19(
        include_top=False, weights=weights if weights == 'imagenet' else str(pathlib.Path(weights).expanduser()))
  except Exception as error:  # Keras and h5py raise a dozen kinds for a file that is not what it should be.
    raise ValueError(f'--vgg19_weights={weights} cannot be loaded ({str(error).splitlines()[0]}): give imagenet, which '
                     'Keras downloads, or the path of vgg19_weights_tf_dim_ordering_tf_kernels_notop.h5') from None
  copy(source, *networks)


def copy(source: tf.keras.Model, *networks: tf.keras.Model) -> None:
  """Takes the weights of Keras' VGG-19; the half grey level between the two means is left out."""
  for network in networks:
    for layer in network.layers:
      if not layer.weights:
        continue
      kernel, bias = source.get_layer(layer.name).get_weights()
      if layer.name == 'block1_conv1':
        kernel = kernel[:, :, ::-1] * np.reshape(255 * _DEVIATION / _SCALE, [3, 1])
      layer.set_weights([kernel, bias / _SCALE])
