"""Shows the person of a video as the other one of the two that a face-off model knows: pictures, folders, films.

The model sees the square that it was trained on: the middle of the picture, or one that follows the face (`alignment`).
What it draws is put back there, fading towards the edge; or both squares stand side by side.
"""

import itertools
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any, ClassVar

import numpy as np
import tensorflow as tf
from PIL import Image
from scipy import ndimage

from evaluate import motion
from evaluate.paste import smoothstep
from input_pipeline import alignment, face_squares, masks
from input_pipeline.face_tracks import SMOOTHING

_BATCH = 16  # Frames that the model shows at once.
_FADE = 0.12  # Width of the fading edge, in halves of the square; around a face that was cropped, in its width.
_LEAST = 256  # Pixels of each picture that stands beside another.
Frames = Callable[[], Iterator[np.ndarray]]


class Translator:
  """Frames of one person as the other one.

  Attributes:
    needs_faces: whether `still` and `film` need landmarks.
  """

  wanted: ClassVar[tuple[str, ...]] = ('a2b', 'b2a')

  def __init__(
    self, config: Any, functions: Mapping[str, Callable[..., Any]], direction: str = 'a2b', side_by_side: bool = False
  ):
    """Takes a model.

    Args:
      config: of the model.
      functions: its signatures.
      direction: a2b or b2a.
      side_by_side: give what the model saw and drew, not the whole picture.
    Raises:
      ValueError: if the model needs masks of persons.
    """
    if config.crop_mask and config.masks == 'person':
      raise ValueError(
        'the model was trained on persons that were cut out (crop_mask, masks=person), and a new video has no masks of '
        'them: a model with masks=face, or without crop_mask, is needed'
      )
    self._config, self._function, self._beside = config, functions[direction], side_by_side
    self.needs_faces = config.alignment == 'enlarged' or config.crop_mask

  def still(self, picture: np.ndarray, points: np.ndarray | None = None) -> np.ndarray:
    """A picture [H, W, 3] uint8 with the other person; landmarks [68, 2] in pixels where they are needed."""
    square = self._square(picture.shape, points)
    return self._show([(picture, square, points)])[0]

  def film(self, frames: Frames, points: np.ndarray | None, fps: float) -> Iterator[np.ndarray]:
    """Frames in the order of time.

    Args:
      frames: gives those of the driver, one after the other.
      points: [F, 68, 2] landmarks in pixels, NaN where there is no face; None where they are not needed.
      fps: frames a second, by which the squares are smoothed.
    """
    steady: Iterator[Any] = itertools.repeat(None)
    squares: Iterator[Any] = itertools.repeat(None)
    if points is not None:
      smooth = motion.smooth(points, fps)
      steady = iter(smooth)
      if self._config.alignment == 'enlarged':
        found = np.stack([face_squares.face_square(p, self._config.enlargement) for p in smooth])
        squares = iter(ndimage.gaussian_filter1d(found, SMOOTHING * fps, axis=0, mode='nearest'))
    shown = (
      (picture, self._square(picture.shape, p) if square is None else square, p)
      for picture, p, square in zip(frames(), steady, squares, strict=False)
    )
    while batch := list(itertools.islice(shown, _BATCH)):
      yield from self._show(batch)

  def _square(self, shape: tuple[int, ...], points: np.ndarray | None) -> np.ndarray:
    """[3] (centre x, y, side) of what becomes a frame of `load_size`."""
    if self._config.alignment == 'enlarged':
      assert points is not None
      return face_squares.face_square(points, self._config.enlargement)
    height, width = shape[:2]
    return np.array([(width - 1) / 2, (height - 1) / 2, min(height, width)])

  def _matrix(self, square: np.ndarray, factor: int = 1) -> np.ndarray:
    """[2, 3] from pixels of the picture to those of the frame's middle, the model's, `factor` times as large."""
    scale = self._config.load_size * factor / square[2]
    shift = (self._config.image_size * factor - 1) / 2 - scale * square[:2]
    return np.array([[scale, 0, shift[0]], [0, scale, shift[1]]])

  def _show(self, batch: list[tuple[np.ndarray, np.ndarray, np.ndarray | None]]) -> list[np.ndarray]:
    size = self._config.image_size
    matrices = [self._matrix(square) for _, square, _ in batch]
    crops = np.stack([alignment.warp(picture, m, size) for (picture, _, _), m in zip(batch, matrices, strict=True)])
    covers: list[Any] = [None] * len(batch)
    if self._config.crop_mask:
      covers = [
        masks.face_mask(alignment.transform_points(points, matrix), size)
        for (_, _, points), matrix in zip(batch, matrices, strict=True)
      ]
      crops = np.where(np.stack(covers)[..., None] > 0, crops, np.uint8(0))
    drawn = self._function(images=tf.constant(crops))['images'].numpy()
    if self._beside:
      return [self._put_beside(*one[:2], image) for one, image in zip(batch, drawn, strict=True)]
    return [
      self._paste(picture, matrix, image, cover)
      for (picture, _, _), matrix, image, cover in zip(batch, matrices, drawn, covers, strict=True)
    ]

  def _put_beside(self, picture: np.ndarray, square: np.ndarray, drawn: np.ndarray) -> np.ndarray:
    """What the model saw, in the detail that the picture has, and what it drew."""
    factor = max(1, math.ceil(_LEAST / len(drawn)))
    side = len(drawn) * factor
    seen = alignment.warp(picture, self._matrix(square, factor), side)
    large = Image.fromarray(drawn).resize((side, side), Image.Resampling.BICUBIC)
    return np.concatenate([seen, np.asarray(large)], axis=1)

  def _paste(self, picture: np.ndarray, matrix: np.ndarray, drawn: np.ndarray, cover: np.ndarray | None) -> np.ndarray:
    """The picture with what was drawn in its place; of cropped faces, where `cover` [S, S] is not 0."""
    size = len(drawn)
    ends = alignment.transform_points(np.array([[-0.5, -0.5], [size - 0.5, size - 0.5]]), alignment.invert(matrix))
    limits = np.array(picture.shape[1::-1])
    (left, top), (right, bottom) = np.clip([np.ceil(ends[0]), np.floor(ends[1]) + 1], 0, limits).astype(int)
    weight = _edges(size)
    if cover is not None:
      weight = weight * np.clip(2 * ndimage.gaussian_filter(np.float32(cover > 0), _FADE * size / 4) - 1, 0, 1)
    scale, start = matrix[0, 0], matrix[:, 2] + matrix[0, 0] * np.array([left, top])
    # PIL counts from the edge of a picture, not from the middle of its first pixel.
    data = (scale, 0, start[0] + 0.5 - 0.5 * scale, 0, scale, start[1] + 0.5 - 0.5 * scale)

    def enlarge(image: np.ndarray) -> np.ndarray:
      padded = np.pad(image, [(2, 2), (2, 2)] + [(0, 0)] * (image.ndim - 2), mode='edge')
      inner = (*data[:2], data[2] + 2, *data[3:5], data[5] + 2)
      there = Image.fromarray(padded).transform(
        (right - left, bottom - top), Image.Transform.AFFINE, inner, Image.Resampling.BICUBIC
      )
      return np.asarray(there).astype(np.float32)

    share = np.clip(enlarge(weight.astype(np.float32)), 0, 1)[..., None]
    result = picture.copy()
    behind = picture[top:bottom, left:right]
    result[top:bottom, left:right] = np.rint(share * enlarge(drawn) + (1 - share) * behind)
    return result


def _edges(size: int) -> np.ndarray:
  """[size, size]: 1, falling smoothly to 0 at the edge."""
  place = np.abs((2 * np.arange(size) + 1) / size - 1)
  return smoothstep((1 - np.maximum(place[:, None], place)) / _FADE)
