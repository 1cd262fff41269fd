import numpy as np
import pytest

from input_pipeline import alignment

POINTS = np.random.default_rng(0).uniform(100, 300, [68, 2])
POINTS[[36, 39, 42, 45]] = [[130, 180], [165, 184], [215, 182], [250, 176]]
POINTS[[27, 57]] = [[190, 170], [192, 300]]


def test_paper_alignment_puts_three_points_where_openface_does():
  # AlignDlib.TEMPLATE[[39, 42, 57]] after its min-max normalization, times 64 pixels.
  wanted = np.array([[23.28, 11.39], [39.61, 11.06], [32.01, 48.04]])
  points = alignment.transform_points(POINTS, alignment.align(POINTS, 'paper', 1.0, 64))
  np.testing.assert_allclose(points[[39, 42, 57]], wanted, atol=1e-9)
  points = alignment.transform_points(POINTS, alignment.align(POINTS, 'paper', 0.8, 64))
  np.testing.assert_allclose(points[[39, 42, 57]], 31.5 + 0.8 * (wanted - 31.5), atol=1e-9)


@pytest.mark.parametrize('mode', ['paper', 'similarity'])
def test_normalized_landmarks_do_not_depend_on_the_crop_size(mode):
  sizes = [
    alignment.normalize(alignment.transform_points(POINTS, alignment.align(POINTS, mode, 0.8, size)), size)
    for size in (64, 128, 300)
  ]
  np.testing.assert_allclose(sizes[0], sizes[1], atol=1e-12)
  np.testing.assert_allclose(sizes[0], sizes[2], atol=1e-12)
  np.testing.assert_allclose(alignment.denormalize(alignment.normalize(POINTS, 64), 64), POINTS)


def test_similarity_keeps_proportions_and_is_least_squares():
  matrix = alignment.align(POINTS, 'similarity', 0.8, 128)
  scale = np.sqrt(np.linalg.det(matrix[:, :2]))
  np.testing.assert_allclose(matrix[:, :2] @ matrix[:, :2].T, scale**2 * np.eye(2), atol=1e-12)
  indices = list(alignment.SIMILARITY_POINTS)
  target = ((alignment.SIMILARITY_TEMPLATE - 31.5) * 0.8 + 32) * 2 - 0.5

  def cost(m):
    return np.sum((alignment.transform_points(POINTS[indices], m) - target) ** 2)

  for change in (
    [[1e-3, 0, 0], [0, 1e-3, 0]],
    [[0, -1e-3, 0], [1e-3, 0, 0]],
    [[0, 0, 0.1], [0, 0, 0]],
    [[0, 0, 0], [0, 0, 0.1]],
  ):
    assert cost(matrix) < cost(matrix + change) and cost(matrix) < cost(matrix - np.array(change))


@pytest.mark.parametrize(
  'points, message',
  [
    (np.zeros([68, 2]), 'lie in one place'),
    (np.full([68, 2], np.nan), 'lie in one place'),
    (np.arange(136.0).reshape(68, 2), 'on one line'),
  ],
)
def test_points_without_a_map_are_refused(points, message):
  with pytest.raises(ValueError, match=message):
    alignment.align(points, 'paper', 0.8, 128)
  with pytest.raises(ValueError, match='is not one of paper, similarity'):
    alignment.align(POINTS, 'affine', 0.8, 128)


def test_warp_is_exact_on_a_ramp():
  y, x = np.mgrid[:200, :220]
  ramp = np.stack([x, y, 0 * x], axis=-1).astype(np.uint8)
  for matrix in ([[0.6, 0.1, -20], [-0.05, 0.5, -10]], [[1.0, 0, -30], [0, 1, -20]], [[1.7, 0, -60], [0.1, 1.4, -90]]):
    matrix = np.array(matrix)
    grid = np.stack(np.meshgrid(np.arange(64), np.arange(64)), axis=-1)
    wanted = alignment.transform_points(grid, alignment.invert(matrix))
    crop = alignment.warp(ramp, matrix, 64).astype(float)[..., :2]
    assert np.abs(crop - wanted).max() < 0.51 and np.abs((crop - wanted).mean()) < 0.02
  grey = alignment.warp(ramp[..., 0], matrix, 64)
  np.testing.assert_array_equal(grey, alignment.warp(ramp, matrix, 64)[..., 0])


def test_warp_antialiases():
  # Black and white rows, one pixel each, shrunk by 6: anything but even grey is aliasing.
  stripes = np.zeros([600, 600, 3], np.uint8)
  stripes[::2] = 255
  crop = alignment.warp(stripes, np.array([[1 / 6, 0, -10], [0, 1 / 6.1, -10]]), 64).astype(int)
  assert np.abs(crop - 127.5).max() < 12


def test_beyond_the_picture_its_edge_repeats():
  image = np.random.default_rng(1).integers(0, 256, [20, 30, 3], dtype=np.uint8)
  crop = alignment.warp(image, np.array([[1.0, 0, 10], [0, 1, 5]]), 48)
  padded = np.pad(image, [(5, 23), (10, 8), (0, 0)], mode='edge')
  np.testing.assert_array_equal(crop, padded)
  np.testing.assert_array_equal(
    alignment.warp(image, np.array([[1.0, 0, 90], [0, 1, 90]]), 16), np.tile(image[:1, :1], [16, 16, 1])
  )


def test_mirror_is_its_own_inverse_and_swaps_the_sides():
  mirror = alignment.MIRROR
  np.testing.assert_array_equal(mirror[mirror], np.arange(68))
  assert (mirror[36], mirror[39], mirror[48], mirror[0], mirror[17], mirror[31], mirror[60], mirror[41]) == (
    45,
    42,
    54,
    16,
    26,
    35,
    64,
    46,
  )
  assert (mirror[[8, 27, 30, 33, 51, 57, 62, 66]] == [8, 27, 30, 33, 51, 57, 62, 66]).all()
