"""One photograph: where its face is, and the aligned crop of it."""

import dataclasses
import math

import numpy as np

from input_pipeline import alignment, boxes, landmarks, photos, skin

ALIGNMENTS = ('paper', 'similarity', 'box')

# A face that would be enlarged more than this has no detail to learn from.
MAX_ENLARGEMENT = 2.0


@dataclasses.dataclass(frozen=True)
class Settings:
  """How the faces are cut out: `alignment` is of `ALIGNMENTS`; box is GANFaces' (`boxes`), which needs no template."""

  alignment: str
  template_scale: float
  crop_size: int
  landmark_model: str = ''
  frame_rate: float = 5.0  # of videos; 0 means every frame
  detector: str = 'dlib'  # or mtcnn; of videos it is dlib


@dataclasses.dataclass(frozen=True)
class Face:
  """What was found in a picture: `points` are [68, 2] landmarks in its pixels; `reason` says why it is not used, else
  ''. `frame` is the number of a video's frame, `box` MTCNN's, [3] centre x, y and side in pixels of the picture."""

  reason: str
  points: list[list[float]]
  outside: float = 0.0
  angle: float = math.nan
  frame: int | None = None
  box: list[float] | None = None


def find_face(path: str, settings: Settings) -> Face:
  """Looks for the largest face in a picture. Pure."""
  try:
    image = photos.read_photo(path)
  except (ValueError, FileNotFoundError) as error:
    return Face(str(error).removeprefix(f'{path}: '), [])
  box = None
  if settings.detector == 'mtcnn':
    box = boxes.find_box(image)
    points = None if box is None else landmarks.landmarks_in(image, boxes.dlib_rectangle(box), settings.landmark_model)
  else:
    points = landmarks.find_landmarks(image, settings.landmark_model)
  if points is None:
    return Face('no face found', [])
  try:
    crop, marks, _ = cut_out(image, points, settings, box)
  except ValueError as error:  # Landmarks that lie in one place or on one line.
    return Face(str(error), [])
  return judge(points, settings, skin.typology_angle(crop, marks), box=box)


def judge(
  points: np.ndarray, settings: Settings, angle: float, frame: int | None = None, box: np.ndarray | None = None
) -> Face:
  """The face with landmarks [68, 2] in pixels, or why it cannot be used."""
  matrix, marks = place(points, settings, box)
  enlargement = alignment.enlargement(matrix)
  if enlargement > MAX_ENLARGEMENT:
    return Face(f'too small: the face would be enlarged {enlargement:.1f} times', [], frame=frame)
  outside = float((np.abs(marks) > 1).any(axis=1).mean())
  return Face('', points.tolist(), outside, angle, frame, None if box is None else box.tolist())


def place(points: np.ndarray, settings: Settings, box: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
  """The [2, 3] map from picture to crop pixels, and the landmarks [68, 2] float32 in [-1, 1] of the crop.

  Args:
    points: [68, 2] landmarks in pixels.
    settings: how it is cut out.
    box: [3] what a detector found, for alignment=box; that of the landmarks where it is None.
  """
  if settings.alignment == 'box':
    matrix = boxes.align(points, settings.crop_size, box)
  else:
    matrix = alignment.align(points, settings.alignment, settings.template_scale, settings.crop_size)
  marks = alignment.normalize(alignment.transform_points(points, matrix), settings.crop_size)
  return matrix, marks.astype(np.float32)


def cut_out(
  image: np.ndarray, points: np.ndarray, settings: Settings, box: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray, float]:
  """The aligned crop [S, S, 3] uint8, its landmarks [68, 2] float32 in [-1, 1], and how much it was enlarged."""
  matrix, marks = place(points, settings, box)
  return alignment.warp(image, matrix, settings.crop_size), marks, alignment.enlargement(matrix)


def cut_out_face(image: np.ndarray, face: Face, settings: Settings) -> tuple[np.ndarray, np.ndarray]:
  """The aligned crop [S, S, 3] uint8 of a face that was found, and its landmarks there."""
  crop, marks, _ = cut_out(image, np.array(face.points), settings, None if face.box is None else np.array(face.box))
  return crop, marks
