"""Bending pictures by their landmarks, as warp-guided GANs do with faces (Geng et al. 2018, SIGGRAPH Asia)."""

import numpy as np
import tensorflow as tf

from models.layers.addons import load_addons
from models.layers.warping import cubic_sample, warp

__all__ = ['FaceBend', 'bend', 'bend_flow']

_FRAME = 9  # Points along each edge of the picture, which stay.
_SMOOTHING = 1e-2  # In tenths of a picture. Points of the lips lie close together: an exact spline may fold there.

_EMPTY = 0.25  # What is drawn out of less than this share of its area has nothing to show.
# Of the 68 landmarks: the mouth; the inner points of each lip, and the corners, from left to right in the picture.
_MOUTH, _UPPER, _LOWER, _CORNERS = slice(48, 68), [61, 62, 63], [67, 66, 65], (60, 64)
# All points, the inner ones of the lower lip moved as those of the upper lip, and the other way round.
_AS_UPPER, _AS_LOWER = np.arange(68), np.arange(68)
_AS_UPPER[_LOWER], _AS_LOWER[_UPPER] = _UPPER, _LOWER


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
    grid = _grid(size)
    # The area that each pixel comes from, in pixels: slopes are taken over two.
    places = tf.pad(grid + flow * (size - 1) / size, [[0, 0], [1, 1], [1, 1], [0, 0]], 'SYMMETRIC')
    across = (places[:, 1:-1, 2:] - places[:, 1:-1, :-2]) * size / 4
    down = (places[:, 2:, 1:-1] - places[:, :-2, 1:-1]) * size / 4
    area = across[..., 0] * down[..., 1] - across[..., 1] * down[..., 0]
    # Lips that close may cross by a pixel, as they were found: nothing is hidden there.
    opens = _gap(goals) > _gap(landmarks)
    return flow, 1 - tf.cast(opens & _in_mouth(goals, grid) & (area < _EMPTY), tf.float32)[..., tf.newaxis]


def _grid(size: int) -> tf.Tensor:
  """Centres of pixels [S, S, 2] in [-1, 1]."""
  line = (2 * np.arange(size) + 1) / size - 1
  return tf.constant(np.stack(np.meshgrid(line, line), axis=-1), tf.float32)


def _gap(landmarks: tf.Tensor) -> tf.Tensor:
  """Mean height of the gap between the lips of landmarks [B, 68, 2]: [B, 1, 1]."""
  height = tf.cast(landmarks, tf.float32)[..., 1]
  upper, lower = (tf.gather(height, lip, axis=1) for lip in (_UPPER, _LOWER))
  return tf.reduce_mean(lower - upper, axis=1)[:, tf.newaxis, tf.newaxis]


def bend(images: tf.Tensor, points: tf.Tensor, goals: tf.Tensor) -> tf.Tensor:
  """Pictures [B, S, S, C] bent so that their points come to lie at their goals (see `bend_flow`), cubic."""
  return warp(images, bend_flow(points, goals, images.shape[1]), cubic_sample)


def bend_flow(points: tf.Tensor, goals: tf.Tensor, size: int) -> tf.Tensor:
  """The flow that bends pictures by a thin plate spline; the frame of the picture stays.

  Where lips close there is a seam, which no smooth flow has: teeth would be left in it. So above the middle of such a
  mouth all moves as the upper lip does, and below it as the lower lip.

  Args:
    points: [B, 68, 2] landmarks, x and y in [-1, 1] from edge to edge of the picture.
    goals: [B, 68, 2] where they are to lie.
    size: height and width S of the pictures.
  Returns:
    [B, S, S, 2] as in `models.layers.warping`: offsets in units in which 2 is from the first to the last column.
  """
  line = np.linspace(-1, 1, _FRAME)
  frame = np.unique([(x, y) for x in line for y in line if 1 in (abs(x), abs(y))], axis=0)
  frame, grid = tf.constant(frame[None], tf.float32), _grid(size)
  count = tf.shape(points)[0]
  points, goals = (tf.cast(x, tf.float32) for x in (points, goals))
  known = tf.concat([goals, tf.repeat(frame, count, axis=0)], axis=1)
  pull = points - goals
  pulls = tf.concat([pull, tf.gather(pull, _AS_UPPER, axis=1), tf.gather(pull, _AS_LOWER, axis=1)], axis=-1)
  pulls = tf.pad(pulls, [[0, 0], [0, frame.shape[1]], [0, 0]])
  flat = tf.repeat(tf.reshape(grid, [1, -1, 2]), count, axis=0)
  flow = load_addons('image').interpolate_spline(5 * known, pulls, 5 * flat, 2, _SMOOTHING)
  whole, above, below = tf.split(tf.reshape(flow, [-1, size, size, 6]), 3, axis=-1)
  closes = (_gap(goals) < _gap(points)) & _in_mouth(goals, grid)
  halves = tf.where(_is_above(goals, grid)[..., tf.newaxis], above, below)
  return tf.where(closes[..., tf.newaxis], halves, whole) * size / (size - 1)


def _in_mouth(goals: tf.Tensor, grid: tf.Tensor) -> tf.Tensor:
  """Which pixels of the grid [S, S, 2] lie in the box of the mouth of landmarks [B, 68, 2]: [B, S, S]."""
  mouth = tf.cast(goals, tf.float32)[:, _MOUTH, tf.newaxis, tf.newaxis]
  return tf.reduce_all((grid > tf.reduce_min(mouth, 1)) & (grid < tf.reduce_max(mouth, 1)), axis=-1)


def _is_above(goals: tf.Tensor, grid: tf.Tensor) -> tf.Tensor:
  """Which pixels of the grid [S, S, 2] lie above the middle between the lips of landmarks [B, 68, 2]: [B, S, S]."""
  middle = (tf.gather(goals, _UPPER, axis=1) + tf.gather(goals, _LOWER, axis=1)) / 2
  line = tf.concat([goals[:, _CORNERS[0]][:, tf.newaxis], middle, goals[:, _CORNERS[1]][:, tf.newaxis]], axis=1)
  steps = tf.maximum(line[:, 1:, 0] - line[:, :-1, 0], 1e-6)
  slopes = (line[:, 1:, 1] - line[:, :-1, 1]) / steps
  # Along the polyline: how far a pixel is across each of its pieces, times how steep that is.
  across, ends = grid[tf.newaxis, ..., :1] - line[:, tf.newaxis, tf.newaxis, :-1, 0], steps[:, tf.newaxis, tf.newaxis]
  height = line[:, :1, tf.newaxis, 1] + tf.reduce_sum(
    tf.clip_by_value(across, 0, ends) * slopes[:, tf.newaxis, tf.newaxis], axis=-1
  )
  return grid[..., 1] < height
