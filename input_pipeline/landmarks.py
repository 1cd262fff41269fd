"""dlib's face detector and its 68 landmarks."""

import functools
import importlib.util
import os
from typing import Any

import numpy as np
from PIL import Image

MODEL_FILE = 'shape_predictor_68_face_landmarks.dat'
# Faces are sought in a picture of this many pixels at most on its longer side, so that time and memory are bounded;
# dlib finds faces from 80 pixels on, and from 40 in the second attempt. Where that finds nothing, a larger copy of a
# large picture is searched.
SEARCH_SIZE, LARGE_SEARCH_SIZE = 1024, 4096
SMALLEST_FACE = 80


def landmark_model(path: str = '') -> str:
  """The file of the 68-point model.

  Args:
    path: where it is; empty means the one of the package `face-recognition-models`, which is found without being
      imported (its import needs `pkg_resources`).

  Raises:
    FileNotFoundError: if it is not there.
  """
  if path:
    if not os.path.isfile(path):
      raise FileNotFoundError(f'--landmark_model={path}: there is no such file')
    return path
  package = importlib.util.find_spec('face_recognition_models')
  folders = list(package.submodule_search_locations or []) if package else []
  for folder in folders:
    file = os.path.join(folder, 'models', MODEL_FILE)
    if os.path.isfile(file):
      return file
  raise FileNotFoundError(
    f'{MODEL_FILE} was not found: pip install face-recognition-models, or pass --landmark_model=PATH'
  )


@functools.cache
def _dlib(path: str) -> tuple[Any, Any]:
  import dlib

  try:
    return dlib.get_frontal_face_detector(), dlib.shape_predictor(path)  # pyright: ignore - a module without types
  except RuntimeError as error:
    reason = ' '.join(str(error).split())
    raise ValueError(f'{path} is not a dlib shape predictor ({reason})') from None


def check_model(path: str = '') -> str:
  """The file of the 68-point model (see `landmark_model`), after it was seen to load.

  Raises:
    FileNotFoundError: if it is missing.
    ValueError: if it is something else.
  """
  path = landmark_model(path)
  _dlib(path)
  return path


def find_landmarks(image: np.ndarray, model: str = '') -> np.ndarray | None:
  """The 68 landmarks of the largest face, or None: see `find_faces`."""
  faces = find_faces(image, model)
  return faces[0] if faces else None


def find_faces(image: np.ndarray, model: str = '') -> list[np.ndarray]:
  """The 68 landmarks of each face, the largest face first.

  Args:
    image: [H, W, 3] uint8.
    model: file of the 68-point model; empty means the installed one.

  Returns:
    [68, 2] float64 each, in pixels of the picture.

  Raises:
    ValueError: if the model is not one of 68 points.
  """
  detector, _ = _dlib(landmark_model(model))
  small, boxes = _small(image), ()
  for upsampling in (0, 1):
    boxes = boxes or detector(small, upsampling)
  if not boxes and max(image.shape) > SEARCH_SIZE:
    small = _small(image, LARGE_SEARCH_SIZE)
    boxes = detector(small, 0)
  return [_place(image, small, box, model) for box in sorted(boxes, key=lambda box: -box.area())]


def landmarks_in(image: np.ndarray, rectangle: np.ndarray, model: str = '') -> np.ndarray:
  """The 68 landmarks of the face that another detector found.

  Args:
    image: [H, W, 3] uint8.
    rectangle: [4] left, top, right, bottom in its pixels, as dlib's own detector frames a face.
    model: file of the 68-point model; empty means the installed one.

  Returns:
    [68, 2] float64 in pixels of the picture.

  Raises:
    ValueError: if the model is not one of 68 points.
  """
  import dlib

  small = _small(image)
  scale = [small.shape[1] / image.shape[1], small.shape[0] / image.shape[0]] * 2
  corners = np.round((np.asarray(rectangle) + 0.5) * scale - 0.5).astype(int).tolist()
  return _place(image, small, dlib.rectangle(*corners), model)  # pyright: ignore - a module without types


def smallest_face(image: np.ndarray) -> int:
  """How many pixels a face of a picture [H, W, 3] must have to be found."""
  return round(SMALLEST_FACE * max(1, max(image.shape) / LARGE_SEARCH_SIZE))


def _small(image: np.ndarray, most: int = SEARCH_SIZE) -> np.ndarray:
  """The picture in which faces are sought, of at most so many pixels on its longer side."""
  height, width = image.shape[:2]
  reduction = max(1.0, max(height, width) / most)
  if reduction > 1:
    size = (max(1, round(width / reduction)), max(1, round(height / reduction)))
    image = np.asarray(Image.fromarray(image).resize(size, Image.Resampling.LANCZOS))
  return np.ascontiguousarray(image)


def _place(image: np.ndarray, small: np.ndarray, box: Any, model: str) -> np.ndarray:
  """Landmarks in a box of the small picture, in pixels of the large one."""
  parts = _dlib(landmark_model(model))[1](small, box).parts()
  if len(parts) != 68:
    raise ValueError(f'{landmark_model(model)} has {len(parts)} points; a model of 68 points is needed')
  points = np.array([[p.x, p.y] for p in parts], np.float64)
  return (points + 0.5) * [image.shape[1] / small.shape[1], image.shape[0] / small.shape[0]] - 0.5
