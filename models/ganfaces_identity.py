"""What the embedding C of GANFaces sees of a picture: a crop, turned a little, and mirrored half of the time."""

from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from models.embedding import load_embedding
from models.layers.dlib_descriptor import chips
from models.layers.sampling import sample_bilinear

__all__ = ['CODE', 'UNTRAINED', 'View', 'centre_view', 'cut_square', 'load', 'look', 'turn_points']

CODE = 128  # Length of a code, of dlib and NN4 alike.
UNTRAINED = 'untrained'  # The name of `Untrained`, for --embedding.


class View(NamedTuple):
  """How pictures are seen.

  Attributes:
    offset: [2] in [0, 1): where the crop lies between its two ends, x and y; one for all pictures [released code].
    angle: [B] radians, clockwise.
    mirrored: [B] bool.
  """

  offset: tf.Tensor
  angle: tf.Tensor
  mirrored: tf.Tensor


def centre_view(count: tf.Tensor | int) -> View:
  """The view without chance: the middle, upright."""
  return View(tf.fill([2], 0.5), tf.zeros([count]), tf.zeros([count], tf.bool))


class Untrained(tf.Module):
  """A small network with fixed random weights, to try the machinery without the weights of a real embedding.

  Attributes:
    input_size, chip, dimensions: as of `models.embedding.Embedding`.
  """

  input_size, chip, dimensions = 16, False, CODE

  def __init__(self):
    super().__init__()
    random = np.random.default_rng(0)
    self._kernels = [tf.constant(random.normal(0, (2 / (9 * i))**0.5, [3, 3, i, o]), tf.float32)
                     for i, o in ((3, 8), (8, CODE))]

  def __call__(self, crops: tf.Tensor) -> tf.Tensor:
    """[B, 16, 16, 3] in [0, 255] -> [B, 128]."""
    crops = crops / 127.5 - 1
    for kernel in self._kernels:
      crops = tf.nn.leaky_relu(tf.nn.conv2d(crops, kernel, 2, 'SAME'))
    return tf.reduce_mean(crops, axis=[1, 2])


def load(name: str) -> Any:
  """The embedding C of a name: an `Embedding`, or the untrained one.

  Raises:
    ValueError, OSError: if there is none of that name, or its codes have another length; the message says what to do.
  """
  if name == UNTRAINED:
    return Untrained()
  embedding = load_embedding(name)
  if embedding.dimensions != CODE:
    raise ValueError(f'--embedding={name} gives codes of length {embedding.dimensions}: the identity loss takes {CODE}')
  return embedding


def look(embedding: Any, images: tf.Tensor, landmarks: tf.Tensor, view: View) -> tf.Tensor:
  """Embeds pictures as they are seen; gradients flow to the pictures.

  Args:
    embedding: C.
    images: [B, S, S, 3] in [-1, 1].
    landmarks: [B, 68, 2] in [-1, 1] of the picture, by which dlib's chip is cut out.
    view: how they are seen.
  Returns:
    [B, D] codes of length 1, without which Eq. 7 would depend on their scale.
  """
  if embedding.chip:
    crops = chips(images, turn_points(landmarks, view.angle))
  else:
    crops = cut_square((images + 1) * 127.5, view, embedding.input_size)
  crops = tf.where(view.mirrored[:, tf.newaxis, tf.newaxis, tf.newaxis], crops[:, :, ::-1], crops)
  return tf.math.l2_normalize(tf.cast(embedding(crops), tf.float32), axis=1, epsilon=1e-12)


def turn_points(points: tf.Tensor, angle: tf.Tensor) -> tf.Tensor:
  """Turns points [B, P, 2] about their mean by angles [B]; what is cut out by them is turned the other way."""
  middle = tf.reduce_mean(points, axis=1, keepdims=True)
  x, y = tf.unstack(points - middle, axis=-1)
  cosine, sine = tf.cos(angle)[:, tf.newaxis], tf.sin(angle)[:, tf.newaxis]
  return middle + tf.stack([cosine * x - sine * y, sine * x + cosine * y], axis=-1)


def cut_square(images: tf.Tensor, view: View, size: int) -> tf.Tensor:
  """A square of each picture: 96 of 108 pixels as in the paper, the same share of a larger one, a small one whole.

  Args:
    images: [B, S, S, C].
    view: where the square lies and how far it is turned about its middle; mirroring is left out.
    size: pixels.
  Returns:
    [B, size, size, C], zero beyond the picture.
  """
  whole = images.shape[1]
  covered = max(min(whole, size), round(whole * 96 / 108))
  spare = whole - covered
  scale = covered / size  # Of one pixel of the square.
  # Whole pixels, so that an upright crop is a copy.
  corner = tf.minimum(tf.floor(view.offset * (spare + 1)), float(spare))
  middle = corner + (covered - 1) / 2
  grid = (np.arange(size, dtype=np.float32) - (size - 1) / 2) * scale
  x, y = np.meshgrid(grid, grid)
  cosine, sine = (part[:, tf.newaxis, tf.newaxis] for part in (tf.cos(view.angle), tf.sin(view.angle)))
  places = tf.stack([cosine * x - sine * y, sine * x + cosine * y], axis=-1) + middle
  if whole < size:
    places = tf.clip_by_value(places, 0.0, float(whole - 1))  # Enlarging asks for half a pixel beyond the edge.
  return sample_bilinear(images, places)
