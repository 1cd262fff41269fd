"""Puts a generated face back into the full-size photograph it was made from.

The crops are small, photographs are large: pasted as it is, a face of 64 pixels is a blur in a sharp picture. So

1. the photograph itself is warped, which keeps every pore: as the model moved its input, where it did
   (composition=warp), else and around it (thin plate splines) from its landmarks to those of the new expression;
2. the *change* is added to it: the model's picture minus the input moved alike (in the colours in which the model shows
   an unmoved face), or, of a model that draws all anew, minus its reconstruction of the input: what it gets wrong about
   the person is wrong in both and cancels;
3. where the change of the mouth is large something new is drawn (teeth) and a sum would show both pictures: there the
   model's picture stands alone, its colour corrected by the reconstruction's error nearby. Eyes are closed by the warp.

All of it fades along the outline of the face. Compared by eye on London photographs: the plain picture blurs the skin,
the change alone leaves double lips, the sum as above has neither.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from PIL import Image
from scipy.interpolate import RBFInterpolator
from scipy.ndimage import gaussian_filter, map_coordinates, spline_filter
from skimage.draw import polygon2mask

from input_pipeline import alignment

# Changes (levels of 255) that are added to the photograph, and that replace it.
_ADDED, _REPLACED = 8, 22
_GRID = 48  # points a side at which the warp is solved
_STRIP = 256  # rows of the photograph made at once, so that memory is bounded

Show = Callable[[np.ndarray, np.ndarray], np.ndarray]  # Crops [N, S, S, 3] uint8 and landmarks [N, 68, 2] in [-1, 1].


class Face:
  """A photographed face that can be shown anew.

  Attributes:
    picture: [H, W, 3] uint8.
    points: [68, 2] its landmarks in pixels.
  """

  def __init__(self, picture: np.ndarray, points: np.ndarray, config: Any, show: Show, move: Show | None = None):
    """Cuts the face out as the config says (`alignment`, `template_scale`, `image_size`) and reconstructs it.

    Args:
      picture: [H, W, 3] uint8.
      points: [68, 2] pixels.
      config: of the model.
      show: the model: crops uint8 as it shows them.
      move: its flow [N, S, S, 2], where it moves its input (`models.gcgan.GCGAN.flow`).
    """
    self.picture, self.points, self._config, self._model, self._move = picture, points, config, show, move
    size = config.image_size
    self._matrix = self.align(points)
    self._crop = alignment.warp(picture, self._matrix, size)
    own = self.landmarks(points[None], self._matrix[None])
    rebuilt = show(self._crop[None], own)[0].astype(np.float32)
    outline = alignment.transform_points(_outline(points), self._matrix)
    weight = polygon2mask((size, size), outline[:, ::-1])[..., None].astype(np.float32) + 1e-3
    blur = (0.25 * _width(alignment.transform_points(points, self._matrix)),) * 2 + (0,)
    error = gaussian_filter(weight * (self._crop - rebuilt), blur) / gaussian_filter(weight, blur)
    self._corrected = error
    # A model that moves its input keeps its details; what it lays over all of it in other colours is no change.
    self._rebuilt = self._crop - error if move else rebuilt
    self._unit = _width(points)
    # The warp may move nothing at the edge of this box.
    low, high = points.min(axis=0), points.max(axis=0)
    extent = high - low
    self._box = low - extent * [0.35, 0.6], high + extent * [0.35, 0.6]
    self._origin = np.maximum(np.ceil(self._box[0] + 0.5), 0).astype(int)
    self._end = np.minimum(np.floor(self._box[1] + 0.5), picture.shape[1::-1]).astype(int)
    # Cubic splines, solved once for all frames.
    patch = picture[self._origin[1] : self._end[1], self._origin[0] : self._end[0]]
    channels = np.moveaxis(patch, -1, 0).astype(np.float32)
    self._splines = [spline_filter(channel, output=np.float32, mode='mirror') for channel in channels]

  def align(self, points: np.ndarray) -> np.ndarray:
    """[2, 3]: picture -> crop, for landmarks [68, 2] in pixels of the picture."""
    return alignment.align(points, self._config.alignment, self._config.template_scale, self._config.image_size)

  def landmarks(self, points: np.ndarray, matrices: np.ndarray) -> np.ndarray:
    """Landmarks [F, 68, 2] of the picture in [-1, 1] of the crops that `matrices` [F, 2, 3] cut."""
    moved = [alignment.transform_points(p, m) for p, m in zip(points, matrices, strict=True)]
    return alignment.normalize(np.stack(moved), self._config.image_size).astype(np.float32)

  def show(self, landmarks: np.ndarray) -> np.ndarray:
    """The model's crops [F, S, S, 3] uint8 for landmarks [F, 68, 2] in [-1, 1]."""
    return self._model(np.repeat(self._crop[None], len(landmarks), axis=0), landmarks)

  def flows(self, landmarks: np.ndarray) -> np.ndarray | list[None]:
    """How the model moves the crop for landmarks [F, 68, 2]: [F, S, S, 2], or F times nothing where it does not."""
    crops = np.repeat(self._crop[None], len(landmarks), axis=0)
    return self._move(crops, landmarks) if self._move else [None] * len(landmarks)

  def paste(
    self, crop: np.ndarray, points: np.ndarray, matrix: np.ndarray, flow: np.ndarray | None = None
  ) -> np.ndarray:
    """The photograph with the face of a crop.

    Args:
      crop: [S, S, 3] uint8, the model's picture.
      points: [68, 2] landmarks of the expression in pixels of the photograph.
      matrix: [2, 3] from the photograph to the crop: the alignment of the face that the crop shows.
      flow: [S, S, 2] of `flows`.
    Returns:
      [H, W, 3] uint8.
    """
    low, high = self._box
    count = 3 * len(crop)
    # Everything but the photograph is coarse.
    grid = self._grid(count)
    pull = self._warp(points, count)
    there = alignment.transform_points(grid, matrix)
    if flow is not None:
      moved = there + sample(flow * (len(crop) - 1) / 2, there)
      within = self._mask(points, matrix, grid)[..., None]
      pull += within * (alignment.transform_points(moved, alignment.invert(self._matrix)) - grid - pull)
    shown = sample(crop, there)
    source = alignment.transform_points(grid + pull, self._matrix)
    change = shown - sample(self._rebuilt, source)
    unit = self._unit / (high - low)[0] * count
    size = gaussian_filter(np.abs(change).mean(axis=-1), 0.04 * unit)
    keep = gaussian_filter(smoothstep((_REPLACED - size) / (_REPLACED - _ADDED)), 0.02 * unit)
    keep = (1 - (1 - keep) * self._inside(_grow(points[48:60], 1.6), count, 0.05))[..., None]
    mask = self._mask(points, matrix, grid)[..., None]
    weight = 1 - mask * (1 - keep)
    add = mask * (keep * change + (1 - keep) * (shown + sample(self._corrected, source)))
    return self._blend(np.concatenate([pull, weight, add], axis=-1))

  def _grid(self, count: int) -> np.ndarray:
    """[count, count, 2]: places all over the box, pixels of the picture."""
    low, high = self._box
    steps = (np.arange(count) + 0.5) / count
    return np.stack(np.meshgrid(*(low[i] + steps * (high - low)[i] for i in (0, 1))), axis=-1)

  def _warp(self, points: np.ndarray, count: int) -> np.ndarray:
    """[count, count, 2]: from a place of the new picture to where it was in the photograph, pixels."""
    low, high = self._box
    edge = np.linspace(0, 1, 9)
    zero, one = np.zeros_like(edge), np.ones_like(edge)
    border = np.concatenate([np.stack(s, 1) for s in ((edge, zero), (edge, one), (zero, edge), (one, edge))])
    border = np.unique(border, axis=0) * (high - low) + low
    known = np.concatenate([points, border])
    values = np.concatenate([self.points - points, np.zeros_like(border)])
    spline = RBFInterpolator(known / self._unit, values, kernel='thin_plate_spline', smoothing=1e-3)
    coarse = spline(self._grid(_GRID).reshape(-1, 2) / self._unit).reshape(_GRID, _GRID, 2)
    # Hair and shoulders stay where they are.
    return _resize(coarse, (count, count)) * self._inside(_grow(_outline(points), 1.3), count, 0.15)[..., None]

  def _mask(self, points: np.ndarray, matrix: np.ndarray, grid: np.ndarray) -> np.ndarray:
    """[K, K]: 1 inside the face, falling to 0 towards its outline and the crop's edge."""
    size = self._config.image_size
    crop = alignment.transform_points(grid, matrix)
    edge = np.minimum(crop, size - 1 - crop).min(axis=-1) / (size / 12)
    return self._inside(_outline(points), len(grid), 0.08) * smoothstep(edge)

  def _inside(self, outline: np.ndarray, count: int, feather: float) -> np.ndarray:
    """[count, count]: 1 inside an outline [P, 2] (pixels), 0 outside; `feather` in units of the eyes' distance."""
    low, high = self._box
    outline = (outline - low) / (high - low) * count - 0.5
    inside = polygon2mask((count, count), outline[:, ::-1]).astype(np.float32)
    blurred = gaussian_filter(inside, feather * self._unit / (high - low)[0] * count)
    return smoothstep((blurred - 0.15) / 0.7)

  def _blend(self, coarse: np.ndarray) -> np.ndarray:
    """The picture times `weight` plus `add`, warped by `pull`; `coarse` [K, K, 6] holds them over the box."""
    (left, top), (right, bottom) = self._origin, self._end
    low, high = self._box
    count = len(coarse)
    result = self.picture.copy()
    for start in range(top, bottom, _STRIP):
      stop = min(start + _STRIP, bottom)
      # The strip in coarse pixels; pixel centres are whole, edges half.
      box = (np.array([[left, start], [right, stop]]) - 0.5 - low) / (high - low) * count
      fine = _resize(coarse, (right - left, stop - start), tuple(np.clip(box.ravel(), 0, count)))
      y = np.arange(start, stop)[:, None] - top + fine[..., 1]
      x = np.arange(right - left)[None] + fine[..., 0]
      for channel, spline in enumerate(self._splines):
        values = map_coordinates(spline, [y, x], np.float32, order=3, mode='mirror', prefilter=False)
        values = values * fine[..., 2] + fine[..., 3 + channel]
        result[start:stop, left:right, channel] = np.rint(np.clip(values, 0, 255))
    return result


def _width(points: np.ndarray) -> float:
  return float(np.linalg.norm(points[45] - points[36]))


def _outline(points: np.ndarray) -> np.ndarray:
  """[27, 2]: jaw, and brows raised by a part of the forehead; drawn in by a twentieth, off the background."""
  forehead = points[26:16:-1] + 0.35 * (points[19:25].mean(axis=0) - points[30])
  return _grow(np.concatenate([points[:17], forehead]), 0.95)


def _grow(outline: np.ndarray, factor: float) -> np.ndarray:
  centre = outline.mean(axis=0)
  return centre + factor * (outline - centre)


def smoothstep(x: np.ndarray) -> np.ndarray:
  """From 0 at 0 to 1 at 1, level at both ends."""
  x = np.clip(x, 0, 1)
  return x * x * (3 - 2 * x)


def sample(image: np.ndarray, places: np.ndarray) -> np.ndarray:
  """A picture [S, S, C] at places [H, W, 2] (x, y), float32, cubic; the edge pixels repeat."""
  channels = [
    map_coordinates(image[..., c].astype(np.float32), [places[..., 1], places[..., 0]], order=3, mode='nearest')
    for c in range(image.shape[-1])
  ]
  return np.stack(channels, axis=-1)


def _resize(image: np.ndarray, size: tuple[int, int], box: tuple[float, ...] | None = None) -> np.ndarray:
  """[H, W, C] -> [size[1], size[0], C], bicubic, of the part `box` (left, top, right, bottom)."""
  channels = [
    np.asarray(Image.fromarray(image[..., c].astype(np.float32)).resize(size, Image.Resampling.BICUBIC, box))
    for c in range(image.shape[-1])
  ]
  return np.stack(channels, axis=-1)
