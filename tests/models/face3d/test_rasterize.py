"""The rasterizer against a naive one that visits every triangle at every pixel in float64."""

import numpy as np
import pytest
import tensorflow as tf

from models.face3d.rasterize import interpolate, interpolate_corners, rasterize

SIZE = 40


def naive(screen, triangles, height, width, near=1e-3):
  """Triangle numbers, barycentrics, depths, and the gap to the second nearest triangle, of one image."""
  y, x = np.mgrid[:height, :width] + .5
  ids = np.full([height, width], -1)
  barycentrics = np.zeros([height, width, 3])
  depths = np.full([2, height, width], np.inf)
  for number, triangle in enumerate(triangles):
    corners = screen[triangle].astype(np.float64)
    # Columns (x w, y w, w), one a corner: the pixel (x, y, 1) is a combination of them, up to a factor.
    matrix = np.stack([corners[:, 0] * corners[:, 2], corners[:, 1] * corners[:, 2], corners[:, 2]])
    if abs(np.linalg.det(matrix)) < 1e-9:
      continue
    weights = np.einsum('ij,jhw->hwi', np.linalg.inv(matrix), np.stack([x, y, np.ones_like(x)]))
    weights /= weights.sum(-1, keepdims=True)
    depth = weights @ corners[:, 2]
    inside = (weights >= 0).all(-1) & (depth > near)
    depth = np.where(inside, depth, np.inf)
    closer = depth < depths[0]
    depths[1] = np.minimum(depths[1], np.where(closer, depths[0], depth))
    depths[0] = np.where(closer, depth, depths[0])
    ids = np.where(closer, number, ids)
    barycentrics = np.where(closer[..., None], weights, barycentrics)
  with np.errstate(invalid='ignore'):
    return ids, barycentrics, depths[0], depths[1] - depths[0]


def check(screen, triangles, height=SIZE, width=SIZE, tolerance=1e-5):
  screen, triangles = np.asarray(screen, np.float32), np.asarray(triangles, np.int32)
  raster = rasterize(screen, triangles, height, width)
  for b in range(len(screen)):
    ids, barycentrics, depth, gap = naive(screen[b], triangles, height, width)
    clear = ~(gap <= 1e-6)
    np.testing.assert_array_equal(raster.triangle_id[b].numpy()[clear], ids[clear])
    same = raster.triangle_id[b].numpy() == ids
    np.testing.assert_allclose(raster.barycentrics[b].numpy()[same], barycentrics[same], atol=tolerance)
    np.testing.assert_allclose(raster.depth[b, ..., 0].numpy()[same & (ids >= 0)], depth[same & (ids >= 0)], rtol=1e-5)
    np.testing.assert_array_equal(raster.mask[b, ..., 0], raster.triangle_id[b] >= 0)
  return raster


def soup(seed, count, extent, batch=2):
  """Triangles of about `extent` pixels thrown over the image, some of them over its border."""
  rng = np.random.default_rng(seed)
  centres = rng.uniform(-4, SIZE + 4, [batch, count, 1, 2])
  xy = centres + rng.uniform(-extent, extent, [batch, count, 3, 2])
  depth = rng.uniform(1, 9, [batch, count, 3, 1])
  return np.concatenate([xy, depth], -1).reshape(batch, count * 3, 3), np.arange(count * 3).reshape(count, 3)


@pytest.mark.parametrize('count, extent', [(700, .8), (200, 4), (60, 30), (3, 400)])
def test_equals_the_naive_rasterizer_for_every_triangle_size(count, extent):
  raster = check(*soup(0, count, extent))
  assert raster.mask.numpy().mean() > .03


def test_sizes_mix_in_an_image_that_is_not_square():
  small, large = soup(1, 300, 1, batch=1), soup(2, 12, 60, batch=1)
  screen = np.concatenate([small[0], large[0] + [0, 0, 3]], 1)
  triangles = np.concatenate([small[1], large[1] + small[0].shape[1]])
  raster = check(screen, triangles, height=29, width=53)
  assert len(np.unique(raster.triangle_id)) > 50


def test_two_huge_triangles_fill_the_image_with_perspective():
  screen = [[[-3e4, -2e4, 1.], [5e4, -2e4, 40.], [5e4, 3e4, 900.], [-3e4, 3e4, 2.]]]
  raster = check(screen, [[0, 1, 2], [0, 2, 3]])
  assert raster.mask.numpy().all()


def test_triangles_without_area_or_with_broken_vertices_are_never_seen():
  good = [[5, 5, 3], [35, 8, 3], [15, 33, 3]]
  bad = [[0, 0, 1], [20, 20, 1], [40, 40, 1], [np.nan, 3, 1], [9, np.inf, 1], [30, 2, np.nan], [7, 9, np.inf]]
  triangles = [[0, 1, 2], [3, 4, 5], [3, 3, 3], [3, 5, 3], [3, 5, 6], [3, 5, 7], [3, 5, 8], [3, 5, 9], [3, 4, 5]]
  raster = rasterize(np.float32([good + bad]), np.int32(triangles), SIZE, SIZE)
  alone = check([good], [[0, 1, 2]])
  np.testing.assert_array_equal(raster.triangle_id, alone.triangle_id)
  for values in raster:
    assert np.isfinite(values).all()


def test_what_lies_behind_the_camera_is_not_seen_and_the_near_plane_cuts():
  behind = [[5, 5, -3], [35, 8, -3], [15, 33, -3]]
  assert not rasterize(np.float32([behind]), [[0, 1, 2]], SIZE, SIZE).mask.numpy().any()
  # The ground below the camera: from under our feet, behind us, to the horizon.
  ground = np.float32([[-4, -1, -2], [4, -1, -2], [0, -1, 30], [9, -1, .5]])
  depth = ground[:, 2]
  screen = np.stack([20 + 30 * ground[:, 0] / depth, 20 - 30 * ground[:, 1] / depth, depth], -1)
  raster = check([screen], [[0, 1, 2], [1, 3, 2]])
  assert raster.mask.numpy()[0, 25:, 20].all() and not raster.mask.numpy()[0, :20].any()


def test_equal_depths_go_to_the_lower_number():
  corners = np.float32([[2, 3, 7], [38, 5, 7], [20, 39, 7], [1, 38, 7], [39, 36, 7], [18, 1, 7]])
  for triangles in ([[0, 1, 2], [3, 4, 5]], [[3, 4, 5], [0, 1, 2]], [[0, 1, 2], [2, 1, 0]]):
    ids = rasterize(corners[None], triangles, SIZE, SIZE).triangle_id.numpy()
    first = rasterize(corners[None], triangles[:1], SIZE, SIZE).mask.numpy()[..., 0] > 0
    assert (ids[first] == 0).all() and (ids == 1).sum() == (ids >= 0).sum() - first.sum()


def test_shared_edges_leave_no_gap():
  y, x = np.mgrid[:9, :9] * 5.  # pixel centres lie on the diagonals
  depth = np.random.default_rng(5).uniform(1, 9, [4, 9, 9])
  screen = np.stack([np.broadcast_to(x, depth.shape), np.broadcast_to(y, depth.shape), depth], -1).reshape(4, 81, 3)
  corner = (np.arange(8)[:, None] * 9 + np.arange(8)).ravel()
  triangles = np.concatenate([np.stack([corner, corner + 1, corner + 9], -1),
                              np.stack([corner + 1, corner + 10, corner + 9], -1)])
  assert rasterize(screen, triangles, SIZE, SIZE).mask.numpy().all()


def test_off_screen_triangles_and_an_empty_mesh_leave_the_image_empty():
  corners = np.float32([[3, 3, 2], [9, 3, 2], [3, 9, 2]])
  for shift in ([-40, 0, 0], [0, -40, 0], [60, 0, 0], [0, 60, 0], [1e30, 0, 0]):
    raster = rasterize(corners[None] + np.float32(shift), [[0, 1, 2]], SIZE, SIZE)
    assert (raster.triangle_id.numpy() == -1).all() and not raster.mask.numpy().any()
  assert not rasterize(corners[None], np.zeros([0, 3], np.int32), SIZE, SIZE).mask.numpy().any()


def test_culling_removes_what_runs_clockwise():
  screen, triangles = soup(3, 100, 6, batch=1)
  a, b, c = np.moveaxis(screen[0][triangles][..., :2], 1, 0)
  to_the_eye = (b - a)[:, 0] * (c - a)[:, 1] - (c - a)[:, 0] * (b - a)[:, 1] < 0  # y points down
  culled = rasterize(screen, triangles, SIZE, SIZE, cull_backfaces=True).triangle_id.numpy()
  kept = rasterize(screen, triangles[to_the_eye], SIZE, SIZE).triangle_id.numpy()
  np.testing.assert_array_equal(culled, np.where(kept < 0, -1, np.flatnonzero(to_the_eye)[kept]))


def test_batch_equals_loop_xla_equals_eager_and_twice_is_the_same():
  screen, triangles = soup(4, 300, 5, batch=3)
  screen, triangles = tf.constant(screen, tf.float32), tf.constant(triangles, tf.int32)
  together = rasterize(screen, triangles, SIZE, SIZE)
  compiled = tf.function(lambda s: rasterize(s, triangles, SIZE, SIZE), jit_compile=True, autograph=False)
  for b in range(3):
    alone = rasterize(screen[b:b + 1], triangles, SIZE, SIZE)
    for one, all_ in zip(alone, together, strict=True):
      np.testing.assert_array_equal(one[0], all_[b])
  for first, second in zip(compiled(screen), compiled(screen), strict=True):
    np.testing.assert_array_equal(first, second)
  for eager, xla in zip(together, compiled(screen), strict=True):
    np.testing.assert_allclose(eager, xla, atol=2e-6, rtol=2e-6)
  np.testing.assert_array_equal(together.triangle_id, compiled(screen).triangle_id)


def test_more_windows_than_int32_counts():
  """140,000 triangles, each of which could cover a megapixel: sums of windows are bounded by 2.3e9."""
  triangles = np.zeros([140_000, 3], np.int32)
  triangles[123_456] = [0, 1, 2]
  raster = rasterize(np.float32([[[10, 10, 2], [1000, 40, 2], [80, 900, 2]]]), triangles, 1024, 1024)
  assert set(np.unique(raster.triangle_id)) == {-1, 123_456}
  assert abs(raster.mask.numpy().sum() / 4.396e5 - 1) < .01


def test_interpolation_is_linear_in_space_not_on_the_screen():
  points = np.float32([[-2, -1, 2], [3, -2, 9], [0, 4, 30]])
  depth = points[:, 2]
  screen = np.stack([20 + 20 * points[:, 0] / depth, 20 + 20 * points[:, 1] / depth, depth], -1)[None]
  raster = rasterize(screen, [[0, 1, 2]], SIZE, SIZE)
  seen = raster.mask.numpy()[0, ..., 0] > 0
  places = interpolate(tf.constant(points), raster).numpy()[0]
  y, x = np.mgrid[:SIZE, :SIZE] + .5
  np.testing.assert_allclose(20 + 20 * places[seen][:, :2] / places[seen][:, 2:], np.stack([x, y], -1)[seen], atol=1e-4)
  np.testing.assert_allclose(interpolate_corners(tf.constant(points[None]), raster)[0], places, atol=1e-6)
  np.testing.assert_allclose(interpolate(tf.constant(points[None]), raster)[0], places, atol=1e-6)


def test_gradients_equal_finite_differences_away_from_edges():
  screen = np.float32([[[4, 3, 2.], [36, 8, 5.], [12, 37, 3.]]])
  weight = tf.random.stateless_normal([1, SIZE, SIZE, 4], [1, 2])
  inner = tf.cast(tf.reduce_min(rasterize(screen, [[0, 1, 2]], SIZE, SIZE).barycentrics, -1) > .05, tf.float32)

  @tf.function
  def loss(moved, values):
    raster = rasterize(moved, [[0, 1, 2]], SIZE, SIZE)
    return tf.reduce_sum(tf.concat([interpolate(values, raster), raster.depth], -1) * weight * inner[..., None])

  values = tf.random.stateless_normal([1, 3, 3], [3, 4])
  moved = tf.constant(screen)
  with tf.GradientTape() as tape:
    tape.watch([moved, values])
    result = loss(moved, values)
  for which, gradient in enumerate(tape.gradient(result, [moved, values])):
    for corner in range(3):
      for axis in range(3):
        step = np.zeros([1, 3, 3], np.float32)
        step[0, corner, axis] = 1e-2
        up = [v + step * (i == which) for i, v in enumerate([moved, values])]
        down = [v - step * (i == which) for i, v in enumerate([moved, values])]
        np.testing.assert_allclose(gradient[0, corner, axis], (loss(*up) - loss(*down)) / 2e-2, rtol=1e-2, atol=2e-2)


def test_refuses_other_shapes():
  with pytest.raises(ValueError, match=r'screen has shape \(4, 3\)'):
    rasterize(tf.zeros([4, 3]), [[0, 1, 2]], 8, 8)
  with pytest.raises(ValueError, match=r'triangles has shape \(3,\)'):
    rasterize(tf.zeros([1, 4, 3]), [0, 1, 2], 8, 8)
  with pytest.raises(ValueError, match='0 x 8 pixels'):
    rasterize(tf.zeros([1, 4, 3]), [[0, 1, 2]], 0, 8)
