"""The figures of the evaluation as pure functions of numpy arrays. Pictures are uint8 RGB [N, H, W, 3], points pixels
[N, 68, 2]."""

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from scipy.spatial import ConvexHull
from skimage.metrics import structural_similarity

MOUTH = np.arange(48, 68)
MOUTH_AND_BROW = np.concatenate([np.arange(17, 27), MOUTH])
_MAX_PSNR = 100.0  # What identical pictures get: an infinite mean would say nothing.


def ssim(outputs: np.ndarray, targets: np.ndarray, masks: np.ndarray | None = None) -> np.ndarray:
  """Structural similarity with a Gaussian window of 11 pixels and deviation 1.5, data range 255, mean over channels.

  Source: Wang et al. 2004; population covariance, only windows that lie inside, as in `tf.image.ssim`.

  Args:
    outputs: [N, H, W, 3] uint8, H and W at least 11.
    targets: [N, H, W, 3] uint8.
    masks: [N, H, W] bool, at which pixels windows count; at all if not given.
  Returns:
    [N] float64 in [-1, 1]; NaN where no window counts.
  """
  return ssim_of_parts(outputs, targets, [masks])[0]


def ssim_of_parts(
  outputs: np.ndarray, targets: np.ndarray, parts: Sequence[np.ndarray | None]
) -> list[np.ndarray]:
  """`ssim` of several parts of the same pictures, whose windows are looked at once.

  Args:
    outputs: [N, H, W, 3] uint8, H and W at least 11.
    targets: [N, H, W, 3] uint8.
    parts: the masks of each part, see `ssim`.
  Returns:
    [N] float64 of each part, as `ssim` gives them.
  """
  _check_pair(outputs, targets)
  inside = np.zeros(outputs.shape[1:3], bool)
  inside[5:-5, 5:-5] = True
  values: list[list[float]] = [[] for _ in parts]
  for place, (a, b) in enumerate(zip(outputs, targets, strict=True)):
    found: Any = structural_similarity(
      a, b, data_range=255, channel_axis=-1, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, full=True
    )
    whole, every = found
    for masks, kept in zip(parts, values, strict=True):
      mean = whole
      if masks is not None:
        chosen = masks[place] & inside
        mean = every[chosen].mean() if chosen.any() else np.nan
      kept.append(mean)
  return [np.array(kept) for kept in values]


def squared_error(outputs: np.ndarray, targets: np.ndarray, masks: np.ndarray | None = None) -> np.ndarray:
  """Sum of squared differences of 8-bit values per picture, over the pixels of `masks` [N, H, W] where given; [N]."""
  _check_pair(outputs, targets)
  difference = (outputs.astype(np.float64) - targets) ** 2
  return (difference if masks is None else difference * masks[..., None]).sum((1, 2, 3))


def psnr(outputs: np.ndarray, targets: np.ndarray, masks: np.ndarray | None = None) -> np.ndarray:
  """10 log10(255^2 / mean squared error) in dB per picture, at most 100 (identical pictures).

  Args:
    outputs: [N, H, W, 3] uint8.
    targets: [N, H, W, 3] uint8.
    masks: [N, H, W] bool, the pixels that count; all if not given.
  Returns:
    [N] float64.
  """
  count = np.prod(outputs.shape[1:]) if masks is None else 3 * masks.sum((1, 2))
  error = squared_error(outputs, targets, masks) / count
  return np.minimum(_MAX_PSNR, 10 * np.log10(255.0**2 / np.maximum(error, 1e-12)))


def mouth_masks(points: np.ndarray, height: int, width: int, grow: float = 0.25) -> np.ndarray:
  """The box of points 48-67, its width and height made larger by `grow` about its centre, and cut at the picture's
  edge.

  Args:
    points: [N, 68, 2] pixels (x, y); a pixel's centre has whole coordinates.
    height: of the pictures.
    width: of the pictures.
    grow: share by which the box is larger than the points' own.
  Returns:
    [N, H, W] bool, at least one pixel each.
  """
  mouth = points[:, MOUTH]
  low, high = mouth.min(1), mouth.max(1)
  margin = (high - low) * grow / 2
  limit = np.array([width - 1, height - 1])
  low = np.clip(np.floor(low - margin), 0, limit)[:, None, None]
  high = np.clip(np.ceil(high + margin), 0, limit)[:, None, None]
  y, x = np.mgrid[:height, :width]
  return (x >= low[..., 0]) & (x <= high[..., 0]) & (y >= low[..., 1]) & (y <= high[..., 1])


def face_masks(points: np.ndarray, height: int, width: int) -> np.ndarray:
  """The convex hull of the 68 points: jaw to brows.

  Args:
    points: [N, 68, 2] pixels (x, y).
    height: of the pictures.
    width: of the pictures.
  Returns:
    [N, H, W] bool.
  """
  y, x = np.mgrid[:height, :width]
  grid = np.stack([x.ravel(), y.ravel()], -1)
  # A pixel is inside where it lies on the inner side of every edge.
  edges = [ConvexHull(p).equations for p in points]
  return np.stack([(grid @ e[:, :2].T + e[:, 2] <= 1e-9).all(1).reshape(height, width) for e in edges])


def laplacian_energy(images: np.ndarray, masks: np.ndarray) -> np.ndarray:
  """Sum over a mask of the squared Laplacian (4 neighbours) of the grey picture; the frame of one pixel does not count.

  Sharpness is this of the output over this of the target.

  Args:
    images: [N, H, W, 3] uint8.
    masks: [N, H, W] bool.
  Returns:
    [N] float64.
  """
  grey = images.astype(np.float64) @ np.array([0.299, 0.587, 0.114])
  laplacian = grey[:, :-2, 1:-1] + grey[:, 2:, 1:-1] + grey[:, 1:-1, :-2] + grey[:, 1:-1, 2:] - 4 * grey[:, 1:-1, 1:-1]
  return (laplacian**2 * masks[:, 1:-1, 1:-1]).sum((1, 2))


def landmark_error(found: np.ndarray, true: np.ndarray, which: np.ndarray) -> np.ndarray:
  """Mean distance of the points `which`, in units of the true face's inter-ocular distance (outer eye corners, 36 to
  45).

  Args:
    found: [N, 68, 2] pixels.
    true: [N, 68, 2] pixels.
    which: numbers of the points that count, such as `MOUTH`.
  Returns:
    [N] float64.
  """
  unit = np.linalg.norm(true[:, 36] - true[:, 45], axis=-1)
  return np.linalg.norm(found[:, which] - true[:, which], axis=-1).mean(-1) / unit


def auc(
  positive: np.ndarray,
  negative: np.ndarray,
  positive_weights: np.ndarray | None = None,
  negative_weights: np.ndarray | None = None,
) -> np.ndarray:
  """Probability that a positive score lies above a negative one, ties counted half (area under the ROC curve).

  Args:
    positive: [P] scores.
    negative: [Q] scores.
    positive_weights: [..., P] how often each counts; once if not given.
    negative_weights: [..., Q] likewise.
  Returns:
    [...] float64 in [0, 1].
  """
  a = np.ones(len(positive)) if positive_weights is None else positive_weights
  b = np.ones(len(negative)) if negative_weights is None else negative_weights
  left, right = (weight_below(negative, b, positive, side) for side in ('left', 'right'))
  return (a * (left + right) / 2).sum(-1) / (a.sum(-1) * b.sum(-1))


def weight_below(
  scores: np.ndarray, weights: np.ndarray, limits: np.ndarray, side: Literal['left', 'right'] = 'left'
) -> np.ndarray:
  """[..., K] the weights [..., N] together of the scores [N] below each limit [K]; with side='right' also of those at
  it."""
  order = np.argsort(scores)
  below = np.concatenate([np.zeros(weights.shape[:-1] + (1,)), np.cumsum(weights[..., order], -1)], -1)
  return below[..., np.searchsorted(scores[order], limits, side)]


def frechet_distance(a: np.ndarray, b: np.ndarray) -> float:
  """|mean_a - mean_b|^2 + tr(S_a + S_b - 2 (S_a S_b)^(1/2)) of two sets of features.

  Source: Heusel et al. 2017. tr (S_a S_b)^(1/2) is the sum of the singular values of S_a^(1/2) S_b^(1/2), and any other
  roots give the same ones: of few pictures the centred features themselves, so that no matrix is larger than it must
  be.

  Args:
    a: [N, D] features.
    b: [M, D] features.
  """
  mean_a, mean_b = a.mean(0), b.mean(0)
  x, y = (a - mean_a) / np.sqrt(len(a) - 1), (b - mean_b) / np.sqrt(len(b) - 1)
  if min(len(a), len(b)) > a.shape[1]:
    values, vectors = np.linalg.eigh(x.T @ x)
    root = vectors * np.sqrt(np.maximum(values, 0))
    # Singular values of root' S_b^(1/2) are square roots of the eigenvalues of root' S_b root.
    cross = np.sqrt(np.maximum(np.linalg.eigvalsh(root.T @ (y.T @ y) @ root), 0)).sum()
  else:
    cross = np.linalg.svd(x @ y.T, compute_uv=False).sum()
  return float(max(0.0, ((mean_a - mean_b) ** 2).sum() + (x**2).sum() + (y**2).sum() - 2 * cross))


def kernel_distance(
  a: np.ndarray,
  b: np.ndarray,
  gamma: float | None = None,
  people_a: np.ndarray | None = None,
  people_b: np.ndarray | None = None,
  weights_a: np.ndarray | None = None,
  weights_b: np.ndarray | None = None,
) -> np.ndarray:
  """Unbiased squared maximum mean discrepancy with the kernel (gamma x.y + 1)^3; 0 in the mean for equal distributions.

  Source: Binkowski et al. 2018 (KID), where gamma is 1 / D. That suits features whose squares are near 1 each; dlib's
  descriptors have a squared length near 2, and with 1 / 128 the kernel would be all but linear and see means only:
  they take gamma = 1. The estimate is unbiased for independent pictures. Two pictures of a person are not, so where
  people are given, a pair of one person's pictures never counts, neither within a set nor between the sets.

  Args:
    a: [N, D] features.
    b: [M, D] features.
    gamma: scale of the inner product; 1 / D if not given.
    people_a: [N] whose picture each is; without, each picture of `a` and of `b` is somebody else's.
    people_b: [M] likewise, with the same names.
    weights_a: [..., N] how often each counts; once if not given.
    weights_b: [..., M] likewise.
  Returns:
    [...] float64; NaN where nothing but pairs of one person is left.
  """
  gamma = 1 / a.shape[1] if gamma is None else gamma
  people_a = np.arange(len(a)) if people_a is None else people_a
  people_b = np.arange(len(a), len(a) + len(b)) if people_b is None else people_b
  u = np.ones(len(a)) if weights_a is None else weights_a
  v = np.ones(len(b)) if weights_b is None else weights_b

  def mean(x, of_x, w, y, of_y, z):
    counts = (of_x[:, None] != of_y).astype(np.float64)
    kernel = (gamma * x.astype(np.float64) @ y.astype(np.float64).T + 1) ** 3 * counts
    with np.errstate(divide='ignore', invalid='ignore'):
      return ((w @ kernel) * z).sum(-1) / ((w @ counts) * z).sum(-1)

  within = mean(a, people_a, u, a, people_a, u) + mean(b, people_b, v, b, people_b, v)
  return within - 2 * mean(a, people_a, u, b, people_b, v)


def _check_pair(outputs: np.ndarray, targets: np.ndarray) -> None:
  if outputs.dtype != np.uint8 or targets.dtype != np.uint8 or outputs.shape != targets.shape:
    raise ValueError(
      f'expected two equal sets of uint8 pictures, got {outputs.dtype} {outputs.shape} and '
      f'{targets.dtype} {targets.shape}'
    )
