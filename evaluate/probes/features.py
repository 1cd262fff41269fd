"""What the probes read of pictures: the networks' maps and codes, and baselines that nobody trained."""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf
from skimage.feature import hog, local_binary_pattern

from models.facecycle_networks import encoder_network
from models.layers.vgg19 import standardize

Reader = Callable[[np.ndarray], np.ndarray]  # [N, H, W, 3] uint8 -> [N, D] float32

_BATCH = 32
_PIXELS = 32  # Width and height at which raw pixels are read: probes learnt no more from 64 on rendered heads.
_LBP_CODES = 59  # 58 uniform ones of 8 neighbours, and one for all others.


def expression_readers(model: Any, size: int) -> dict[str, Reader]:
  """Who reads expression and pose, the headline first.

  Args:
    model: a `FaceCycle`.
    size: width and height of the pictures that the maps are made of.

  Returns:
    `model`, the last map of E_exp; `expression_code`, R_exp; `random_network`, the map of an E_exp that was not
    trained; `hog`, `lbp` and `raw_pixels`.
  """
  maps = map_networks(model)
  code = model.config.image_size
  return {
    'model': _reader(maps['model'], size),
    'expression_code': _reader(model.encode_expression, code),
    'random_network': _reader(maps['random_network'], size),
    **_plain_readers(),
  }


def identity_readers(model: Any) -> dict[str, Reader]:
  """Who tells people apart: `model`, R_id; `expression_code`, R_exp; `random_network`, the code of an E_id that was not
  trained; and the plain ones of `expression_readers`."""
  size, random = model.config.image_size, _random_encoder(model.config, 'identity_encoder')
  plain = _plain_readers()
  pixels = plain['raw_pixels']
  return {
    'model': _reader(model.encode_identity, size),
    'expression_code': _reader(model.encode_expression, size),
    'random_network': _reader(lambda images: random(standardize(images)), size),
    # The angle between two pictures is one between differences from their mean grey.
    **plain | {'raw_pixels': lambda images: (values := pixels(images)) - values.mean(axis=1, keepdims=True)},
  }


def map_networks(model: Any) -> dict[str, Callable[[tf.Tensor], tf.Tensor]]:
  """E_exp's last map, trained (`model`) and not (`random_network`): [B, S, S, 3] in [-1, 1] -> [B, D] float32."""
  random = _random_encoder(model.config, 'expression_encoder').get_layer('maps')
  return {
    'model': lambda images: _flat(model.expression_map(images)),
    'random_network': lambda images: _flat(random(standardize(images))),
  }


def to_pictures(images: tf.Tensor, size: int) -> tf.Tensor:
  """[N, H, W, 3] uint8 -> [N, size, size, 3] float32 in [-1, 1], antialiased."""
  values = tf.cast(images, tf.float32)
  if list(images.shape[1:3]) != [size, size]:
    values = tf.clip_by_value(tf.image.resize(values, [size, size], antialias=True), 0.0, 255.0)
  return values / 127.5 - 1.0


def _random_encoder(config: Any, name: str) -> tf.keras.Model:
  return encoder_network(dataclasses.replace(config, seed=config.seed + 1), name)


def _flat(maps: tf.Tensor) -> tf.Tensor:
  return tf.reshape(tf.cast(maps, tf.float32), [-1, int(np.prod(maps.shape[1:]))])


def _reader(network: Callable[[tf.Tensor], tf.Tensor], size: int) -> Reader:
  def read(images: np.ndarray) -> np.ndarray:
    function = tf.function(lambda part: tf.cast(network(to_pictures(part, size)), tf.float32))
    graph = function.get_concrete_function(tf.TensorSpec([None, *images.shape[1:]], tf.uint8))
    return np.concatenate([graph(tf.constant(images[i : i + _BATCH])).numpy() for i in range(0, len(images), _BATCH)])

  return read


def _plain_readers() -> dict[str, Reader]:
  return {
    'hog': lambda images: np.stack([hog(grey, 9, (8, 8), (2, 2)) for grey in _grey(images)]).astype(np.float32),
    'lbp': lambda images: np.stack([_patterns(grey) for grey in _grey(images)]),
    'raw_pixels': _reader(_flat, _PIXELS),
  }


def _grey(images: np.ndarray) -> np.ndarray:
  """[N, H, W] uint8."""
  return np.rint(images @ np.float32([0.299, 0.587, 0.114])).astype(np.uint8)


def _patterns(grey: np.ndarray) -> np.ndarray:
  """Histograms of uniform binary patterns (8 neighbours, radius 2) of a picture [S, S], patch by patch: as the authors'
  baselines have it, 5 x 5 patches at 100 pixels and 4 x 4 at 64."""
  size = len(grey)
  cells = max(1, size // (20 if size >= 100 else 16))
  place = np.arange(size) * cells // size
  patch = place[:, None] * cells + place
  codes = local_binary_pattern(grey, 8, 2, 'nri_uniform').astype(int)
  counts = np.bincount((patch * _LBP_CODES + codes).ravel(), minlength=cells**2 * _LBP_CODES)
  return (counts * (cells / size) ** 2).astype(np.float32)
