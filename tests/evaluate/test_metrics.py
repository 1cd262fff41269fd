"""Each figure against numbers worked by hand, a naive numpy version or another library."""

import numpy as np
import pytest
import tensorflow as tf
from scipy import linalg

from evaluate import metrics


@pytest.fixture
def pictures():
  rng = np.random.default_rng(0)
  smooth = np.cumsum(rng.normal(0, 6, (3, 32, 40, 3)), 1) + 120
  return (
    np.clip(smooth, 0, 255).astype(np.uint8),
    np.clip(smooth + rng.normal(0, 20, smooth.shape), 0, 255).astype(np.uint8),
  )


def naive_ssim(a, b):
  """Wang et al. 2004, window by window."""
  x = np.arange(-5, 6)
  window = np.exp(-(x**2) / (2 * 1.5**2))
  window = np.outer(window, window) / window.sum() ** 2
  c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
  values = []
  for i in range(a.shape[0] - 10):
    for j in range(a.shape[1] - 10):
      for c in range(3):
        p, q = a[i : i + 11, j : j + 11, c].astype(float), b[i : i + 11, j : j + 11, c].astype(float)
        mp, mq = (window * p).sum(), (window * q).sum()
        vp, vq, cov = (window * p * p).sum() - mp**2, (window * q * q).sum() - mq**2, (window * p * q).sum() - mp * mq
        values.append((2 * mp * mq + c1) * (2 * cov + c2) / ((mp**2 + mq**2 + c1) * (vp + vq + c2)))
  return np.mean(values)


def test_ssim_agrees_with_tensorflow_and_with_its_definition(pictures):
  a, b = pictures
  ours = metrics.ssim(a, b)
  np.testing.assert_allclose(ours, tf.image.ssim(a, b, 255, filter_size=11, filter_sigma=1.5).numpy(), atol=2e-4)
  np.testing.assert_allclose(ours[0], naive_ssim(a[0], b[0]), atol=1e-6)
  np.testing.assert_allclose(metrics.ssim(a, a), 1)


def test_psnr_by_hand_and_against_tensorflow(pictures):
  a, b = pictures
  np.testing.assert_allclose(metrics.psnr(a, b), tf.image.psnr(a, b, 255).numpy(), rtol=1e-5)
  flat = np.full((1, 16, 16, 3), 100, np.uint8)
  np.testing.assert_allclose(metrics.psnr(flat, flat + 5), 10 * np.log10(65025 / 25))
  assert metrics.psnr(flat, flat) == 100  # Not infinite: a mean over pictures has to stay a number.


def test_psnr_of_a_mask_does_not_see_the_rest():
  a = np.zeros((1, 8, 8, 3), np.uint8)
  b = a.copy()
  b[0, 0, 0] = 255
  b[0, 4:6, 4:6] = 10
  mask = np.zeros((1, 8, 8), bool)
  mask[0, 4:6, 4:8] = True
  np.testing.assert_allclose(metrics.psnr(a, b, mask), 10 * np.log10(65025 / 50))


def test_pictures_that_are_not_8_bit_are_refused(pictures):
  with pytest.raises(ValueError, match='expected two equal sets of uint8 pictures, got float64'):
    metrics.psnr(pictures[0] / 255, pictures[1])


def test_mouth_box_is_the_points_box_grown_by_a_quarter():
  points = np.zeros((2, 68, 2))
  points[:, 48:68] = np.array([20.0, 30.0])
  points[:, 48], points[:, 54] = [16, 30], [24, 30]
  points[:, 51], points[:, 57] = [20, 28], [20, 36]
  points[1, 57] = [20, 99]  # Beyond the picture: the box ends at its edge.
  mask = metrics.mouth_masks(points, 64, 64)
  rows, columns = np.nonzero(mask[0])
  assert (columns.min(), columns.max(), rows.min(), rows.max()) == (15, 25, 27, 37)
  assert np.nonzero(mask[1])[0].max() == 63


def test_face_mask_is_the_hull_of_the_points():
  points = np.tile(np.array([10.0, 10.0]), (1, 68, 1)) + np.linspace(0, 1e-3, 68)[None, :, None]
  points[0, :3] = [[2, 2], [22, 2], [2, 22]]
  mask = metrics.face_masks(points, 32, 32)[0]
  assert mask[3, 3] and mask[11, 11] and not mask[14, 14] and not mask[1, 5]
  assert abs(mask.sum() - (21 * 22 / 2)) <= 22


def test_laplacian_energy_by_hand():
  image = np.zeros((1, 7, 7, 3), np.uint8)
  image[0, 3, 3] = 10
  mask = np.ones((1, 7, 7), bool)
  # -40 at the point, 10 at each of its four neighbours.
  np.testing.assert_allclose(metrics.laplacian_energy(image, mask), 1600 + 4 * 100)
  mask[0, 3, 3] = False
  np.testing.assert_allclose(metrics.laplacian_energy(image, mask), 400)


def test_landmark_error_is_in_units_of_the_true_eye_distance():
  true = np.zeros((1, 68, 2))
  true[0, 36], true[0, 45] = [10, 20], [50, 20]
  found = true.copy()
  found[0, 48:68] += [3, 4]
  np.testing.assert_allclose(metrics.landmark_error(found, true, metrics.MOUTH), 5 / 40)
  np.testing.assert_allclose(metrics.landmark_error(found, true, metrics.MOUTH_AND_BROW), 5 / 40 * 20 / 30)


def test_auc_counts_pairs_and_halves_ties():
  positive, negative = np.array([3.0, 1.0, 2.0]), np.array([0.0, 2.0, 1.5, 2.0])
  pairs = (positive[:, None] > negative) + 0.5 * (positive[:, None] == negative)
  np.testing.assert_allclose(metrics.auc(positive, negative), pairs.mean())
  a, b = np.array([[2.0, 0, 1], [1, 1, 1]]), np.array([[1.0, 0, 3, 1], [1, 1, 1, 1]])
  by_hand = [(pairs * w[:, None] * v).sum() / (w.sum() * v.sum()) for w, v in zip(a, b, strict=True)]
  np.testing.assert_allclose(metrics.auc(positive, negative, a, b), by_hand)


@pytest.mark.parametrize('count', [300, 12])  # More and fewer pictures than numbers in a feature.
def test_frechet_distance_agrees_with_the_matrix_root(count):
  rng = np.random.default_rng(1)
  a, b = rng.normal(size=(count, 20)) @ rng.normal(size=(20, 20)), rng.normal(1, 2, (count + 5, 20))
  cov_a, cov_b = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
  values = linalg.eigvals(cov_a @ cov_b)
  root = np.sqrt(np.maximum(values.real, 0)).sum()
  expected = ((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(cov_a) + np.trace(cov_b) - 2 * root
  np.testing.assert_allclose(metrics.frechet_distance(a, b), expected, rtol=1e-6)
  assert metrics.frechet_distance(a, a) < 1e-6


def test_kernel_distance_against_loops():
  rng = np.random.default_rng(2)
  a, b = rng.normal(size=(5, 3)), rng.normal(0.5, 1, (4, 3))

  def k(x, y):
    return (x @ y / 3 + 1) ** 3

  within_a = np.mean([k(a[i], a[j]) for i in range(5) for j in range(5) if i != j])
  within_b = np.mean([k(b[i], b[j]) for i in range(4) for j in range(4) if i != j])
  between = np.mean([k(x, y) for x in a for y in b])
  np.testing.assert_allclose(metrics.kernel_distance(a, b), within_a + within_b - 2 * between)
  weights = np.array([[2.0] * 5, [1, 1, 1, 1, 0]]), np.array([[3.0] * 4, [1] * 4])
  # Twice the same picture is still one picture: it is not paired with itself.
  found = metrics.kernel_distance(a, b, weights_a=weights[0], weights_b=weights[1])
  np.testing.assert_allclose(found, [metrics.kernel_distance(a, b), metrics.kernel_distance(a[:4], b)])


def test_kernel_distance_leaves_out_pairs_of_one_person():
  rng = np.random.default_rng(3)
  people = np.repeat(np.arange(200), 5)
  # Pictures of a person are nearly the same: without names they look like a narrower distribution.
  a = rng.normal(size=(200, 4))[people] + rng.normal(0, 0.1, (1000, 4))
  b = a + rng.normal(0, 0.1, a.shape)
  known = metrics.kernel_distance(a, b, 1.0, people, people)
  other = metrics.kernel_distance(a, rng.normal(0, 1.3, a.shape), 1.0, people, people)
  assert abs(known) < 0.2 < 1 < other
  pairs = [(i, j) for i in range(10) for j in range(10) if people[i] != people[j]]

  def mean(x, y):
    return np.mean([(x[i] @ y[j] + 1) ** 3 for i, j in pairs])

  by_hand = mean(a, a) + mean(b, b) - 2 * mean(a, b)
  np.testing.assert_allclose(metrics.kernel_distance(a[:10], b[:10], 1.0, people[:10], people[:10]), by_hand)
