"""Brings pictures over each other by the best similarity, for models whose frame is their own: shifted, turned, scaled.

Gauss-Newton on grey pictures (Lucas and Kanade 1981) with Levenberg's damping, from several starts and from coarse to
fine. Nothing but the least squared error is looked for, so a picture that is nearest as it is stays as it is.
"""

import numpy as np
from PIL import Image

_LEVELS = ((16, 12), (32, 8), (64, 5))  # Pixels along the picture, and steps.
_SCALES, _SHIFTS = (1.0, 0.8, 1.25), (0.0, -0.2, 0.2)  # Of the starts: sizes, and shifts down in half pictures.
_CHUNK = 64  # Pictures at a time.


def align_pictures(
  images: np.ndarray, targets: np.ndarray, weights: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
  """Moves each picture by the similarity that brings it nearest to its target, in squared difference.

  Args:
    images: [N, S, S, 3] uint8.
    targets: [N, S, S, 3] uint8; they stay where they are.
    weights: [N, S, S] how much each pixel of the target counts; all alike if not given.
  Returns:
    the moved pictures [N, S, S, 3] uint8, bilinear, whose edge pixels repeat beyond their edges; and [N, 2, 3] matrices
    from pixels of the target to pixels of the picture.
  """
  count, size = images.shape[:2]
  weights = np.ones([count, size, size], np.float32) if weights is None else weights.astype(np.float32)
  moves = [_best(*(x[start:start + _CHUNK] for x in (images, targets, weights))) for start in range(0, count, _CHUNK)]
  parameters = np.concatenate(moves)
  moved = [
    _sample(images[start:start + _CHUNK].astype(np.float32), _places(parameters[start:start + _CHUNK], size))
    for start in range(0, count, _CHUNK)
  ]
  return np.rint(np.concatenate(moved)).astype(np.uint8), _matrices(parameters, size)


def _best(images: np.ndarray, targets: np.ndarray, weights: np.ndarray) -> np.ndarray:
  """[N, 4] similarities (a, b, x, y): z -> (1 + a + b i) z + x + y i in half pictures from the middle."""
  starts = np.array([(scale - 1, 0.0, 0.0, shift) for scale in _SCALES for shift in _SHIFTS], np.float32)
  parameters = np.zeros([len(images), 4], np.float32)
  for place, (size, steps) in enumerate(_LEVELS):
    if size > images.shape[1] and place:
      break
    level = [_shrink(x, size) for x in (images, targets, weights)]
    if not place:
      found = [_descend(*level, np.tile(start, (len(images), 1)), steps) for start in starts]
      best = np.argmin([error for _, error in found], axis=0)
      parameters = np.stack([one for one, _ in found])[best, np.arange(len(images))]
      continue
    # What a coarser level took for the best is compared once more with staying.
    found = [_descend(*level, one, steps) for one in (np.zeros_like(parameters), parameters)]
    stays = found[0][1] <= found[1][1]
    parameters = np.where(stays[:, None], found[0][0], found[1][0])
  grey = [_shrink(x, images.shape[1]) for x in (images, targets, weights)]
  errors = [_errors(*grey, one) for one in (np.zeros_like(parameters), parameters)]
  return np.where((errors[0] <= errors[1])[:, None], 0, parameters)


def _shrink(images: np.ndarray, size: int) -> np.ndarray:
  """[N, S, S(, 3)] -> grey [N, size, size] float32, averaged."""
  if images.ndim == 4:
    images = images.astype(np.float32) @ np.array([0.299, 0.587, 0.114], np.float32)
  if images.shape[1] == size:
    return images
  return np.stack([np.asarray(Image.fromarray(x).resize((size, size), Image.Resampling.BOX)) for x in images])


def _descend(
  images: np.ndarray, targets: np.ndarray, weights: np.ndarray, parameters: np.ndarray, steps: int
) -> tuple[np.ndarray, np.ndarray]:
  """Parameters [N, 4] after some steps, and their errors [N]; steps that would be worse are not made."""
  count, size = images.shape[:2]
  down, across = (np.gradient(images, axis=axis) * size / 2 for axis in (1, 2))
  maps = np.stack([images, across, down], axis=-1).astype(np.float32)
  x, y = _grid(size)
  damping = np.full(count, 1e-3)

  def look(one: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    seen = _sample(maps, _places(one, size))
    return seen, (weights * (targets - seen[..., 0]) ** 2).sum((1, 2))

  seen, errors = look(parameters)
  for _ in range(steps):
    _, u, v = np.moveaxis(seen, -1, 0)
    slopes = np.stack([u * x + v * y, v * x - u * y, u, v], axis=-1).reshape(count, -1, 4)
    weighted = slopes * weights.reshape(count, -1, 1)
    normal = np.swapaxes(weighted, 1, 2) @ slopes
    towards = (weighted * (targets - seen[..., 0]).reshape(count, -1, 1)).sum(1)
    diagonal = np.einsum('nii->ni', normal)
    damped = normal + np.eye(4) * (damping[:, None] * diagonal + 1e-3)[:, None]
    tried = parameters + np.linalg.solve(damped, towards[..., None])[..., 0].astype(np.float32)
    tried[:, 0] = np.clip(tried[:, 0], -0.5, 1.0)  # No picture is hidden by making it a point.
    seen_there, errors_there = look(tried)
    better = errors_there < errors
    parameters = np.where(better[:, None], tried, parameters)
    seen = np.where(better[:, None, None, None], seen_there, seen)
    errors = np.where(better, errors_there, errors)
    damping = np.where(better, damping / 10, damping * 10)
  return parameters, errors


def _errors(images: np.ndarray, targets: np.ndarray, weights: np.ndarray, parameters: np.ndarray) -> np.ndarray:
  seen = _sample(images[..., None], _places(parameters, images.shape[1]))[..., 0]
  return (weights * (targets - seen) ** 2).sum((1, 2))


def _grid(size: int) -> tuple[np.ndarray, np.ndarray]:
  """x and y [size, size] of the pixels, in half pictures from the middle."""
  line = ((2 * np.arange(size) + 1) / size - 1).astype(np.float32)
  x, y = np.meshgrid(line, line)
  return x, y


def _places(parameters: np.ndarray, size: int) -> np.ndarray:
  """[N, size, size, 2] pixels (x, y) where to look."""
  x, y = _grid(size)
  a, b, right, down = (parameters[:, i, None, None] for i in range(4))
  moved = np.stack([(1 + a) * x - b * y + right, b * x + (1 + a) * y + down], axis=-1)
  return ((moved + 1) * size - 1) / 2


def _matrices(parameters: np.ndarray, size: int) -> np.ndarray:
  """[N, 2, 3] the same in pixels, whose middle is at (size - 1) / 2."""
  a, b, right, down = parameters.astype(np.float64).T
  linear = np.stack([np.stack([1 + a, -b], -1), np.stack([b, 1 + a], -1)], axis=-2)
  middle = (size - 1) / 2
  shift = np.stack([right, down], -1) * size / 2 + middle - linear.sum(-1) * middle
  return np.concatenate([linear, shift[..., None]], axis=-1)


def _sample(images: np.ndarray, places: np.ndarray) -> np.ndarray:
  """Pictures [N, H, W, C] at places [N, h, w, 2] (x, y), bilinear; edge pixels repeat."""
  count, height, width, channels = images.shape
  x, y = (np.clip(places[..., i], 0, last - 1) for i, last in enumerate((width, height)))
  left, top = (np.minimum(p.astype(np.int64), last - 2) for p, last in ((x, width), (y, height)))
  right, down = (x - left)[..., None], (y - top)[..., None]
  flat = images.reshape(-1, channels)
  first = (np.arange(count) * height * width)[:, None, None] + top * width + left
  above = flat[first] * (1 - right) + flat[first + 1] * right
  below = flat[first + width] * (1 - right) + flat[first + width + 1] * right
  return above * (1 - down) + below * down
