"""Bending pictures by their landmarks, as warp-guided GANs do with faces (Geng et al. 2018, SIGGRAPH Asia)."""

import numpy as np
import tensorflow as tf

from models.layers.addons import load_addons
from models.layers.warping import cubic_sample, warp

__all__ = ['FaceBend', 'bend', 'bend_flow']

_FRAME = 9  # Points along each edge of the picture, which stay.
_SMOOTHING = 1e-2  # In tenths of a picture. Points of the lips lie close together: an exact spline may fold there.

_EMPTY = 0.25  # What is drawn out of less than this share of its area has nothing to show.
_MOUTH = slice(48, 68)  # Of the 68 landmarks.


class FaceBend(tf.keras.layers.Layer):
  """How a face is bent so that its landmarks lie elsewhere, and what of the bent picture the input shows at all.

  Between lips that open nothing is known.

  Args:
    size: height and width S of the pictures.
  """

  def __init__(self, size: int, **kwargs):
    super().__init__(dtype='float32', trainable=False, **kwargs)
    self._size = size

  def call(self, inputs: tuple[tf.Tensor, tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor]:
    """Landmarks, goals [B, 68, 2] -> the flow of `bend_flow` [B, S, S, 2]; [B, S, S, 1], 0 where nothing is known."""
    landmarks, goals = inputs
    size = self._size
    flow = bend_flow(landmarks, goals, size)
    line = (2 * np.arange(size, dtype=np.float32) + 1) / size - 1
    grid = tf.constant(np.stack(np.meshgrid(line, line), axis=-1))
    # The area that each pixel comes from, in pixels: slopes are taken over two.
    places = tf.pad(grid + flow * (size - 1) / size, [[0, 0], [1, 1], [1, 1], [0, 0]], 'SYMMETRIC')
    across = (places[:, 1:-1, 2:] - places[:, 1:-1, :-2]) * size / 4
    down = (places[:, 2:, 1:-1] - places[:, :-2, 1:-1]) * size / 4
    area = across[..., 0] * down[..., 1] - across[..., 1] * down[..., 0]
    mouth = tf.cast(goals, tf.float32)[:, _MOUTH, tf.newaxis, tf.newaxis]
    inside = tf.reduce_all((grid > tf.reduce_min(mouth, 1)) & (grid < tf.reduce_max(mouth, 1)), axis=-1)
    # Lips that close may cross by a pixel, as they were found: nothing is hidden there.
    opens = _gap(goals) > _gap(landmarks)
    return flow, 1 - tf.cast(opens & inside & (area < _EMPTY), tf.float32)[..., tf.newaxis]


def _gap(landmarks: tf.Tensor) -> tf.Tensor:
  """Mean height of the gap between the lips of landmarks [B, 68, 2]: [B, 1, 1]."""
  height = tf.cast(landmarks, tf.float32)[..., 1]
  upper, lower = (tf.gather(height, lip, axis=1) for lip in ([61, 62, 63], [67, 66, 65]))
  return tf.reduce_mean(lower - upper, axis=1)[:, tf.newaxis, tf.newaxis]


def bend(images: tf.Tensor, points: tf.Tensor, goals: tf.Tensor) -> tf.Tensor:
  """Pictures [B, S, S, C] bent so that their points come to lie at their goals (see `bend_flow`), cubic."""
  return warp(images, bend_flow(points, goals, images.shape[1]), cubic_sample)


def bend_flow(points: tf.Tensor, goals: tf.Tensor, size: int) -> tf.Tensor:
  """The flow that bends pictures by a thin plate spline; the frame of the picture stays.

  Args:
    points: [B, P, 2] x and y in [-1, 1], from edge to edge of the picture, as landmarks are.
    goals: [B, P, 2] where they are to lie.
    size: height and width S of the pictures.
  Returns:
    [B, S, S, 2] as in `models.layers.warping`: offsets in units in which 2 is from the first to the last column.
  """
  line = np.linspace(-1, 1, _FRAME)
  frame = np.unique([(x, y) for x in line for y in line if 1 in (abs(x), abs(y))], axis=0)
  line = (2 * np.arange(size) + 1) / size - 1
  grid = np.stack(np.meshgrid(line, line), axis=-1).reshape(1, -1, 2)
  frame, grid = (tf.constant(x, tf.float32) for x in (frame[None], grid))
  count = tf.shape(points)[0]
  points, goals = (tf.cast(x, tf.float32) for x in (points, goals))
  known = tf.concat([goals, tf.repeat(frame, count, axis=0)], axis=1)
  pull = tf.concat([points - goals, tf.zeros([count, frame.shape[1], 2])], axis=1)
  flow = load_addons('image').interpolate_spline(5 * known, pull, 5 * tf.repeat(grid, count, axis=0), 2, _SMOOTHING)
  return tf.reshape(flow, [-1, size, size, 2]) * size / (size - 1)
