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


@dataclasses.dataclass(frozen=True)
class Face:
  """What was found in a picture: `points` are [68, 2] landmarks in its pixels; `reason` says why it is not used, else
  ''."""

  reason: str
  points: list[list[float]]
  outside: float = 0.0
  angle: float = math.nan


def find_face(path: str, settings: Settings) -> Face:
  """Looks for the largest face in a picture. Pure."""
  try:
    image = photos.read_photo(path)
  except (ValueError, FileNotFoundError) as error:
    return Face(str(error).removeprefix(f'{path}: '), [])
  points = landmarks.find_landmarks(image, settings.landmark_model)
  if points is None:
    return Face('no face found', [])
  crop, marks, enlargement = cut_out(image, points, settings)
  if enlargement > MAX_ENLARGEMENT:
    return Face(f'too small: the face would be enlarged {enlargement:.1f} times', [])
  outside = float((np.abs(marks) > 1).any(axis=1).mean())
  return Face('', points.tolist(), outside, skin.typology_angle(crop, marks))


def cut_out(image: np.ndarray, points: np.ndarray, settings: Settings) -> tuple[np.ndarray, np.ndarray, float]:
  """The aligned crop [S, S, 3] uint8, its landmarks [68, 2] float32 in [-1, 1], and how much it was enlarged."""
  matrix = alignment.align(points, settings.alignment, settings.template_scale, settings.crop_size)
  marks = alignment.normalize(alignment.transform_points(points, matrix), settings.crop_size)
  return alignment.warp(image, matrix, settings.crop_size), marks.astype(np.float32), alignment.enlargement(matrix)
