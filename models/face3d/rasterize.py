"""Triangles to pixels in plain TensorFlow ops: exact, batched, deterministic, compiled by XLA with static shapes.

TensorFlow Graphics' own rasterizer is a compiled op that does not load on this line (tensorflow/graphics#729); its
Python parts (`Framebuffer`, interpolation, splat) work on what this file computes.

How it works. Every triangle's box of pixels is cut into windows of k x k pixels; triangles that are culled, or whose
box holds no pixel centre, have none. A running sum over the number of windows turns "window i" into (triangle, window
of that triangle), so that a loop over fixed-size chunks of windows visits all of them, whatever their triangles' sizes.
A pixel keeps the smallest of depth and triangle number packed in one int64 (a positive float32 sorts like its bits), by
a scatter with minimum: the result does not depend on any order, and equal depths go to the lower triangle number.

Which triangle a pixel shows is not differentiable; barycentrics and depth are recomputed from the vertices of that
triangle and are. For gradients through silhouettes see `render.py`.

Memory, measured on a CPU beside inputs and outputs: 110 bytes a triangle and image (5.4 MB for 50,000 triangles) and 8
bytes a pixel and image. `render` as a whole: 200 bytes a pixel and image forward, 510 with the gradient.
"""

import math
from typing import NamedTuple

import tensorflow as tf

NEAR = 1e-3
_WINDOWS_PER_CHUNK = 16384
_LANES = 256
_NOTHING = tf.int64.max
_ROUNDING = 1e-6  # of a barycentric; at 0 two triangles can both miss a pixel centre on the edge that they share


class Raster(NamedTuple):
  """What each pixel shows.

  Attributes:
    triangle_id: `[B, H, W]` int32, the row of `triangles`; -1 where there is none.
    vertex_ids: `[B, H, W, 3]` int32, that triangle's vertices; 0 where there is none.
    barycentrics: `[B, H, W, 3]` float32, perspective-correct; 0 where there is none. Differentiable.
    depth: `[B, H, W, 1]` float32 in units of the input depth; 0 where there is none. Differentiable.
    mask: `[B, H, W, 1]` float32, 1 where there is a triangle.
  """

  triangle_id: tf.Tensor
  vertex_ids: tf.Tensor
  barycentrics: tf.Tensor
  depth: tf.Tensor
  mask: tf.Tensor


def rasterize(
  screen: tf.Tensor, triangles: tf.Tensor, height: int, width: int, near: float = NEAR, cull_backfaces: bool = False
) -> Raster:
  """Finds the nearest triangle at each pixel centre.

  Args:
    screen: `[B, V, 3]` float32 (x, y, depth): x to the right and y down in pixels, the centre of the first pixel at
      (.5, .5), and the depth along the optical axis, positive in front of the camera. Points behind the camera keep the
      formula (x = f X / depth + c with its negative depth): triangles that cross the near plane are then cut exactly.
    triangles: `[T, 3]` int32 vertex numbers, shared by the batch.
    height: pixels.
    width: pixels.
    near: the depth from which on things are seen, in units of `screen`.
    cull_backfaces: leaves out triangles that run clockwise on the screen (the back of a mesh whose triangles run
      counter-clockwise seen from outside). It saves about half of the work on closed meshes.

  Returns:
    A `Raster`. A triangle's edges belong to it; one without area, or with a vertex that is not finite, is never seen.

  Raises:
    ValueError: for other shapes.
  """
  screen = tf.convert_to_tensor(screen, tf.float32)
  triangles = tf.convert_to_tensor(triangles, tf.int32)
  if screen.shape.rank != 3 or screen.shape[-1] != 3:
    raise ValueError(f'screen has shape {screen.shape}; expected [B, V, 3]')
  if triangles.shape.rank != 2 or triangles.shape[-1] != 3:
    raise ValueError(f'triangles has shape {triangles.shape}; expected [T, 3]')
  if height < 1 or width < 1:
    raise ValueError(f'image of {height} x {width} pixels; expected at least 1 x 1')
  if triangles.shape[0] == 0:
    triangles = tf.zeros([1, 3], tf.int32)  # without area: never seen
  triangle_id = _visible(tf.stop_gradient(screen), triangles, height, width, near, cull_backfaces)
  seen = triangle_id >= 0
  vertex_ids = tf.gather(triangles, tf.maximum(triangle_id, 0))
  corners = tf.gather(screen, vertex_ids, batch_dims=1)
  x, y = _pixel_centres(height, width)
  first, second, third, depth, _ = _barycentrics(
    [tf.unstack(corner, axis=-1) for corner in tf.unstack(corners, axis=-2)], x, y, seen
  )
  mask = tf.cast(seen, tf.float32)[..., None]
  barycentrics = tf.stack([first, second, third], -1) * mask
  vertex_ids *= tf.cast(seen, tf.int32)[..., None]
  return Raster(triangle_id, vertex_ids, barycentrics, depth[..., None] * mask, mask)


def interpolate(attributes: tf.Tensor, raster: Raster) -> tf.Tensor:
  """Values of vertices at the pixels, perspective-correct, 0 where there is no triangle.

  Args:
    attributes: `[B, V, C]` or, the same for the whole batch, `[V, C]`.
    raster: of the same batch.

  Returns:
    `[B, H, W, C]`, differentiable to `attributes` and, through the barycentrics, to the vertices.
  """
  if attributes.shape.rank == 2:
    corners = tf.gather(attributes, raster.vertex_ids)
  else:
    corners = tf.gather(attributes, raster.vertex_ids, batch_dims=1)
  return tf.reduce_sum(corners * raster.barycentrics[..., None], axis=-2)


def interpolate_corners(attributes: tf.Tensor, raster: Raster) -> tf.Tensor:
  """Values of triangle corners at the pixels (texture coordinates with seams), 0 where there is no triangle.

  Args:
    attributes: `[T, 3, C]`, one row for each corner of each triangle, the same for the whole batch.
    raster: of the same triangles.

  Returns:
    `[B, H, W, C]`.
  """
  corners = tf.gather(attributes, tf.maximum(raster.triangle_id, 0))
  return tf.reduce_sum(corners * raster.barycentrics[..., None], axis=-2)


def _pixel_centres(height, width):
  x = tf.range(width, dtype=tf.float32) + 0.5
  y = tf.range(height, dtype=tf.float32)[:, None] + 0.5
  return x, y


def _barycentrics(corners, x, y, valid=True):
  """Perspective-correct barycentrics of the points (x, y) in triangles.

  With the offsets from the point to the corners, times the corners' depths, the doubled areas of the three parts are
  the perspective-correct barycentrics but for their sum. Offsets keep precision (the cancellation is exact), and the
  signed depth keeps the formula right where a corner lies behind the camera.

  Returns:
    Three barycentrics, the depth, and the sum of areas (0: no area).
  """
  (xa, ya, wa), (xb, yb, wb), (xc, yc, wc) = corners
  xa, xb, xc = (xa - x) * wa, (xb - x) * wb, (xc - x) * wc
  ya, yb, yc = (ya - y) * wa, (yb - y) * wb, (yc - y) * wc
  first, second, third = xb * yc - xc * yb, xc * ya - xa * yc, xa * yb - xb * ya
  area = first + second + third
  scale = 1.0 / tf.where(valid & (area != 0.0), area, 1.0)
  first, second, third = first * scale, second * scale, third * scale
  depth = wa + second * (wb - wa) + third * (wc - wa)  # exactly the common depth where the three are equal
  return first, second, third, depth, area


def _window_size(pixels, n_triangles):
  """Side of a window: about the box of a typical triangle (half of the triangles face us and share the image)."""
  side = math.sqrt(2.0 * pixels / max(n_triangles, 1))
  return min(8, max(2, 2 ** math.ceil(math.log2(max(side, 1.0)))))


@tf.function(jit_compile=True, autograph=False)
def _visible(screen, triangles, height, width, near, cull_backfaces):
  """`[B, H, W]` int32: the number of the nearest triangle at each pixel centre, -1 where there is none."""
  batch, n_triangles = screen.shape[0], triangles.shape[0]
  if batch is None or n_triangles is None or screen.shape[1] is None:
    raise ValueError(f'screen {screen.shape} and triangles {triangles.shape} must have static shapes')
  n = n_triangles * batch
  k = _window_size(height * width, n_triangles)
  lanes, rows = _LANES, -(-n // _LANES)
  # Coordinates first and the batch last: one row of a gather then moves a vertex of all images, in whole vectors.
  coordinates = tf.transpose(screen, [2, 1, 0])
  corners = tf.stack(
    [tf.reshape(tf.gather(coordinates[axis], triangles[:, corner]), [n]) for corner in range(3) for axis in range(3)]
  )
  corners = tf.reshape(tf.pad(corners, [[0, 0], [0, rows * lanes - n]]), [9, rows, lanes])
  most = n * ((height + k - 1) // k) * ((width + k - 1) // k)
  count_type = tf.int32 if most < 2**31 else tf.int64

  # Loops throughout, because they keep XLA from merging a step into each user of its result and doing it again there.
  def count(row, ends, *boxes):
    left, top, across, down = _windows(tf.unstack(corners[:, row]), height, width, near, cull_backfaces, k)
    before = tf.where(row > 0, ends.read(tf.maximum(row - 1, 0)), 0)
    ends = ends.write(row, before + tf.cast(across * down, count_type))
    return (row + 1, ends, *(box.write(row, value) for box, value in zip(boxes, (left, top, across), strict=True)))

  arrays = [tf.TensorArray(t, rows, element_shape=[lanes]) for t in (count_type, tf.int32, tf.int32, tf.int32)]
  _, ends, left, top, across = tf.while_loop(lambda row, *_: row < rows, count, (0, *arrays))
  # Windows are numbered down the first lane, then down the second, ...
  ends = ends.stack()
  ends = tf.reshape(tf.transpose(ends + tf.cumsum(ends[-1], exclusive=True)), [-1])
  left, top, across = (tf.reshape(v.stack(), [-1]) for v in (left, top, across))
  total = ends[-1]

  corners = tf.reshape(corners, [-1])
  component = tf.range(9)[:, None] * (rows * lanes)
  window = tf.range(min(_WINDOWS_PER_CHUNK, most), dtype=count_type)

  def chunk(start, nearest):
    item = start + window
    place = tf.minimum(_first_above(ends, item), ends.shape[0] - 1)
    remaining = tf.cast(tf.gather(ends, place) - item, tf.int32) - 1  # counted from the triangle's last window
    which = place % rows * lanes + place // rows
    triangle, image = which // batch, which % batch
    columns = tf.maximum(tf.gather(across, which), 1)
    line = remaining // columns
    column = tf.gather(left, which) + (remaining - line * columns) * k
    row = tf.gather(top, which) + line * k
    points = tf.gather(corners, which + component)

    def pixel(number, nearest):
      points_, x, y = tf.unstack(points), column + number % k, row + number // k
      first, second, third, depth, area = _barycentrics(
        (points_[0:3], points_[3:6], points_[6:9]), tf.cast(x, tf.float32) + 0.5, tf.cast(y, tf.float32) + 0.5
      )
      here = (tf.minimum(tf.minimum(first, second), third) >= -_ROUNDING) & (area != 0.0) & (depth > near)
      here &= (x < width) & (y < height) & (item < total)
      packed = tf.bitwise.left_shift(tf.cast(tf.bitcast(depth, tf.int32), tf.int64), tf.constant(32, tf.int64))
      packed = tf.where(here, packed | tf.cast(triangle, tf.int64), _NOTHING)
      index = (image * height + tf.minimum(y, height - 1)) * width + tf.minimum(x, width - 1)
      return number + 1, tf.tensor_scatter_nd_min(nearest, index[:, None], packed)

    _, nearest = tf.while_loop(lambda number, _: number < k * k, pixel, [0, nearest])
    return start + window.shape[0], nearest

  nearest = tf.fill([batch * height * width], _NOTHING)
  _, nearest = tf.while_loop(lambda start, _: start < total, chunk, [tf.zeros([], count_type), nearest])
  number = tf.cast(nearest & 0xFFFFFFFF, tf.int32)
  return tf.reshape(tf.where(nearest == _NOTHING, -1, number), [batch, height, width])


def _windows(corners, height, width, near, cull_backfaces, k):
  """First pixel, and number of windows across and down, of each triangle's box of pixel centres."""
  xa, ya, wa, xb, yb, wb, xc, yc, wc = corners
  in_front = tf.minimum(tf.minimum(wa, wb), wc) > near
  some_in_front = tf.maximum(tf.maximum(wa, wb), wc) > near
  finite = tf.math.is_finite(tf.abs(xa) + tf.abs(ya) + tf.abs(xb) + tf.abs(yb) + tf.abs(xc) + tf.abs(yc))
  finite &= tf.math.is_finite(wa + wb + wc)
  # A doubled area below its own rounding error has no sign: a pixel centre lies inside by chance only.
  falling, rising = (xb - xa) * (yc - ya), (xc - xa) * (yb - ya)
  area = falling - rising
  flat = tf.abs(area) <= 1e-7 * (tf.abs(falling) + tf.abs(rising))
  seen = finite & some_in_front & ~(in_front & flat)
  if cull_backfaces:
    seen &= ~(in_front & (area > 0.0))  # y points down: counter-clockwise to the eye is a negative area

  def span(a, b, c, size):
    low, high = tf.minimum(tf.minimum(a, b), c), tf.maximum(tf.maximum(a, b), c)
    low, high = tf.where(in_front, low, 0.0), tf.where(in_front, high, float(size))  # cut by the near plane: anywhere
    first = tf.clip_by_value(tf.math.ceil(low - 0.5), 0.0, float(size))
    last = tf.clip_by_value(tf.math.floor(high - 0.5), -1.0, size - 1.0)
    count = tf.where(seen, tf.maximum(last - first + 1.0, 0.0), 0.0)
    return tf.cast(tf.where(seen, first, 0.0), tf.int32), (tf.cast(count, tf.int32) + k - 1) // k

  left, across = span(xa, xb, xc, width)
  top, down = span(ya, yb, yc, height)
  return left, top, across, down


def _first_above(ends, item):
  """The first place in the rising `ends` that exceeds each of `item` (`tf.searchsorted` compares all pairs in XLA)."""
  n = ends.shape[0]

  def halve(step, place):
    further = place + step
    below = (further <= n) & (tf.gather(ends, tf.minimum(further, n) - 1) <= item)
    return step // 2, tf.where(below, further, place)

  start = tf.constant(2 ** (n.bit_length() - 1)), tf.zeros_like(item, tf.int32)
  return tf.while_loop(lambda step, _: step > 0, halve, start)[1]
