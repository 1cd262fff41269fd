"""One photograph: where its face is, and the aligned crop of it."""

import dataclasses
import math

import numpy as np

from input_pipeline import alignment, landmarks, photos, skin

# A face that would be enlarged more than this has no detail to learn from.
MAX_ENLARGEMENT = 2.0


@dataclasses.dataclass(frozen=True)
class Settings:
  """How the faces are cut out."""

  alignment: str
  template_scale: float
  crop_size: int
  landmark_model: str = ''
  frame_rate: float = 5.0  # of videos; 0 means every frame


@dataclasses.dataclass(frozen=True)
class Face:
  """What was found in a picture: `points` are [68, 2] landmarks in its pixels; `reason` says why it is not used, else
  ''. `frame` is the number of a video's frame."""

  reason: str
  points: list[list[float]]
  outside: float = 0.0
  angle: float = math.nan
  frame: int | None = None


def find_face(path: str, settings: Settings) -> Face:
  """Looks for the largest face in a picture. Pure."""
  try:
    image = photos.read_photo(path)
  except (ValueError, FileNotFoundError) as error:
    return Face(str(error).removeprefix(f'{path}: '), [])
  points = landmarks.find_landmarks(image, settings.landmark_model)
  if points is None:
    return Face('no face found', [])
  crop, marks, _ = cut_out(image, points, settings)
  return judge(points, settings, skin.typology_angle(crop, marks))


def judge(points: np.ndarray, settings: Settings, angle: float, frame: int | None = None) -> Face:
  """The face with landmarks [68, 2] in pixels, or why it cannot be used."""
  matrix, marks = place(points, settings)
  enlargement = alignment.enlargement(matrix)
  if enlargement > MAX_ENLARGEMENT:
    return Face(f'too small: the face would be enlarged {enlargement:.1f} times', [], frame=frame)
  return Face('', points.tolist(), float((np.abs(marks) > 1).any(axis=1).mean()), angle, frame)


def place(points: np.ndarray, settings: Settings) -> tuple[np.ndarray, np.ndarray]:
  """The [2, 3] map from picture to crop pixels, and the landmarks [68, 2] float32 in [-1, 1] of the crop."""
  matrix = alignment.align(points, settings.alignment, settings.template_scale, settings.crop_size)
  marks = alignment.normalize(alignment.transform_points(points, matrix), settings.crop_size)
  return matrix, marks.astype(np.float32)


def cut_out(image: np.ndarray, points: np.ndarray, settings: Settings) -> tuple[np.ndarray, np.ndarray, float]:
  """The aligned crop [S, S, 3] uint8, its landmarks [68, 2] float32 in [-1, 1], and how much it was enlarged."""
  matrix, marks = place(points, settings)
  return alignment.warp(image, matrix, settings.crop_size), marks, alignment.enlargement(matrix)
