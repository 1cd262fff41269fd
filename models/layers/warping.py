"""Moving the cells of a picture or map along a flow, with PyTorch's geometry and gradients for both.

A flow [B, h, w, 2] holds for each cell where to look, as an offset in x and y; places run from -1 in the middle of the
first cell to 1 in the middle of the last one (`align_corners`). A flow for one size therefore serves all sizes.
"""

import math
from collections.abc import Callable

import tensorflow as tf

__all__ = ['backward_flow', 'cubic_sample', 'flow_colours', 'grid_sample', 'resize_aligned', 'warp']

_FIXED_POINT_STEPS = 5


def resize_aligned(maps: tf.Tensor, height: int, width: int) -> tf.Tensor:
  """Bilinear resize that keeps the middles of the corner cells in place: [B, H, W, C] -> [B, height, width, C]."""
  if maps.shape[1:3] == [height, width]:
    return maps
  return tf.cast(tf.compat.v1.image.resize(maps, [height, width], align_corners=True), maps.dtype)


def grid_sample(images: tf.Tensor, places: tf.Tensor) -> tf.Tensor:
  """Pictures at given places, bilinear, with zeros beyond the outermost cells; PyTorch's with align_corners=True.

  Args:
    images: [B, H, W, C].
    places: [B, h, w, 2] x and y in [-1, 1], may lie outside.
  Returns:
    [B, h, w, C].
  """
  height, width, channels = images.shape[1:]
  rows, columns = places.shape[1:3]
  size = tf.constant([width, height], tf.float32)
  # With a frame of zeros every place has four neighbours; beyond the frame nothing changes any more.
  places = tf.clip_by_value((tf.cast(places, tf.float32) + 1) / 2 * (size - 1), -1.0, size) + 1
  corner = tf.stop_gradient(tf.minimum(tf.floor(places), size))
  right, down = tf.unstack(places - corner, axis=-1)
  column, row = tf.unstack(tf.cast(corner, tf.int32), axis=-1)
  first = tf.reshape(row * (width + 2) + column, [-1, rows * columns, 1])
  cells = tf.reshape(tf.pad(images, [[0, 0], [1, 1], [1, 1], [0, 0]]), [-1, (height + 2) * (width + 2), channels])
  four = tf.gather(cells, first + tf.constant([0, 1, width + 2, width + 3]), batch_dims=1)
  weights = tf.stack([(1 - right) * (1 - down), right * (1 - down), (1 - right) * down, right * down], axis=-1)
  weights = tf.cast(tf.reshape(weights, [-1, rows * columns, 4, 1]), images.dtype)
  return tf.reshape(tf.reduce_sum(four * weights, axis=2), [-1, rows, columns, channels])


def cubic_sample(images: tf.Tensor, places: tf.Tensor) -> tf.Tensor:
  """Pictures at given places by Catmull-Rom splines, which keep the detail that bilinear sampling blurs.

  Args:
    images: [B, H, W, C].
    places: [B, h, w, 2] x and y in [-1, 1]; outside counts as on the edge.
  Returns:
    [B, h, w, C]; it may overshoot the range of the pictures a little.
  """
  height, width, channels = images.shape[1:]
  rows, columns = places.shape[1:3]
  size = tf.constant([width, height], tf.float32)
  places = (tf.clip_by_value(tf.cast(places, tf.float32), -1.0, 1.0) + 1) / 2 * (size - 1)
  places = tf.reshape(places, [-1, rows * columns, 2])
  corner = tf.stop_gradient(tf.clip_by_value(tf.floor(places), 0.0, size - 2))
  right, down = tf.split(tf.cast(places - corner, images.dtype), 2, axis=-1)
  column, row = tf.unstack(tf.cast(corner, tf.int32), axis=-1)
  padded = tf.pad(images, [[0, 0], [1, 1], [1, 1], [0, 0]], 'SYMMETRIC')
  # Each cell beside the three to its right: a look-up is the price, so there is one a row, and not one a cell.
  four = tf.concat([padded[:, :, k : k + width - 1] for k in range(4)], axis=-1)
  four = tf.reshape(four, [-1, (height + 2) * (width - 1), 4 * channels])
  first = row * (width - 1) + column
  lines = [tf.gather(four, first + k * (width - 1), batch_dims=1) for k in range(4)]
  line = tf.add_n([weight * cells for weight, cells in zip(_catmull_rom(down), lines, strict=True)])
  cells = tf.split(line, 4, axis=-1)
  values = tf.add_n([weight * cell for weight, cell in zip(_catmull_rom(right), cells, strict=True)])
  return tf.reshape(values, [-1, rows, columns, channels])


def _catmull_rom(t: tf.Tensor) -> list[tf.Tensor]:
  """Weights of the four cells around a place that lies t in [0, 1] behind the second one."""
  return [((2 - t) * t - 1) * t / 2, ((3 * t - 5) * t * t + 2) / 2, ((4 - 3 * t) * t + 1) * t / 2, (t - 1) * t * t / 2]


def warp(images: tf.Tensor, flow: tf.Tensor, sample: Callable = grid_sample) -> tf.Tensor:
  """Pictures [B, H, W, C] looked up along a flow [B, h, w, 2] of any size -> [B, H, W, C]."""
  height, width = images.shape[1:3]
  return sample(images, _grid(height, width) + resize_aligned(flow, height, width))


def backward_flow(flow: tf.Tensor, form: str = 'fixed_point') -> tf.Tensor:
  """The flow that leads back: warping by a flow f and then by it, a cell returns to where it was.

  It solves b = -f(id + b). `fixed_point` steps there from -f; places beyond the picture count as its edge. `released`,
  -f(id + f) clipped to [-1, 1], looks on the wrong side and is farther from the inverse than -f.

  Args:
    flow: [B, h, w, 2].
    form: fixed_point or released.
  """
  grid = _grid(*flow.shape[1:3])
  if form == 'released':
    return -tf.clip_by_value(grid_sample(flow, grid + flow), -1.0, 1.0)
  back = -flow
  for _ in range(_FIXED_POINT_STEPS):
    back = -grid_sample(flow, tf.clip_by_value(grid + back, -1.0, 1.0))
  return back


def flow_colours(flow: tf.Tensor, largest: float = 0.5) -> tf.Tensor:
  """Flows as pictures: the hue is the direction, the saturation the length, white stays where it is.

  Args:
    flow: [B, h, w, 2].
    largest: length at which a colour is full.
  Returns:
    [B, h, w, 3] in [-1, 1].
  """
  x, y = tf.unstack(flow, axis=-1)
  hue = (tf.atan2(y, x) / math.pi + 1) / 2
  length = tf.minimum(tf.sqrt(tf.square(x) + tf.square(y)) / largest, 1.0)
  return 2 * tf.image.hsv_to_rgb(tf.stack([hue, length, tf.ones_like(hue)], axis=-1)) - 1


def _grid(height: int, width: int) -> tf.Tensor:
  """[height, width, 2]: the place of each cell."""
  x, y = tf.meshgrid(tf.linspace(-1.0, 1.0, width), tf.linspace(-1.0, 1.0, height))
  return tf.stack([x, y], axis=-1)
