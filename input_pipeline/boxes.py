"""The crop of GANFaces: the face detector's box, made square; nothing is warped, so a tilted head stays tilted.

Photographs, renders and the renders of pairs all go through `crop_box`. The box is MTCNN's where that package is
installed and asked for, else the box that MTCNN gives on average around dlib's landmarks, which renders take too. So
eyes stand in the same place in all of them, whatever found the face.

As FaceNet's `align_dataset_mtcnn.py` of the GANFaces authors does it: of several faces the largest, with a bonus for
the middle of the picture; the box is enlarged by S / (S - margin) and drawn S pixels wide, of which the centre is used.
"""

import functools
import importlib.util
from typing import Any

import numpy as np
from PIL import Image

# S, margin and the centre crop [choice]: the crop is 108 / 112 of the detector's box.
DRAWN, MARGIN, CENTRE = 144, 32, 108
SHARE = CENTRE / (DRAWN - MARGIN)
# MTCNN's square box in units of the root mean square distance of dlib's 68 landmarks from their mean: how far its
# centre lies above that mean, and its side. Measured on 261 photographs of 90 people; the standard deviations are those
# of what is left, centre across, centre down and side, as shares of the side.
RISE, SIDE = 0.377, 3.431
NOISE = (0.014, 0.014, 0.037)
# dlib's own detector's square in MTCNN's, as shares of its side: how far its centre lies below, and its side.
_DLIB_DROP, _DLIB_SIDE = 0.070, 0.781
_THRESHOLDS = {'threshold_pnet': 0.6, 'threshold_rnet': 0.7, 'threshold_onet': 0.7}
_SMALLEST = 20
_SEARCH_SIZE = 1024


def detector_box(points: np.ndarray) -> np.ndarray:
  """The box that the detector gives on average around landmarks [..., 68, 2] in pixels: [..., 3] centre x, y, side."""
  points = np.asarray(points, np.float64)
  mean = points.mean(axis=-2)
  size = np.sqrt(((points - mean[..., None, :]) ** 2).sum(axis=-1).mean(axis=-1))
  return np.stack([mean[..., 0], mean[..., 1] - RISE * size, SIDE * size], axis=-1)


def crop_box(box: np.ndarray) -> np.ndarray:
  """The square [..., 3] that is cut out: left, top, side of a detector's square box [..., 3] (centre x, y, side).

  Left and top are edges: the first pixel of a picture reaches from -.5 to .5.
  """
  box = np.asarray(box, np.float64)
  side = box[..., 2] * SHARE
  return np.stack([box[..., 0] - side / 2, box[..., 1] - side / 2, side], axis=-1)


def align(points: np.ndarray, size: int, box: np.ndarray | None = None) -> np.ndarray:
  """The [2, 3] map from picture to crop pixels (as `alignment.align`).

  Args:
    points: [68, 2] landmarks in pixels.
    size: width and height of the crop.
    box: [3] what a detector found; that of the landmarks where it is None.

  Raises:
    ValueError: if all the points lie in one place.
  """
  left, top, side = crop_box(detector_box(points) if box is None else box)
  if not side > 1e-3:
    raise ValueError('the landmarks lie in one place: no alignment is possible')
  scale = size / side
  return np.array([[scale, 0, -left * scale - 0.5], [0, scale, -top * scale - 0.5]])


def has_mtcnn() -> bool:
  """Whether the package `mtcnn` is installed."""
  return all(importlib.util.find_spec(name) for name in ('mtcnn', 'lz4', 'joblib'))


def choose_detector(detector: str) -> str:
  """`auto` is mtcnn where it is installed, else dlib.

  Raises:
    ValueError: if mtcnn is asked for and not installed.
  """
  if detector == 'auto':
    return 'mtcnn' if has_mtcnn() else 'dlib'
  if detector == 'mtcnn' and not has_mtcnn():
    raise ValueError("--detector=mtcnn needs the package mtcnn: pip install -e '.[mtcnn]', or --detector=dlib")
  return detector


@functools.cache
def _mtcnn() -> Any:
  from mtcnn import MTCNN  # pyright: ignore[reportMissingImports] - an extra

  return MTCNN(device='CPU:0')


def find_box(image: np.ndarray) -> np.ndarray | None:
  """MTCNN's box of the largest face, with a bonus for the middle of the picture: [3] centre x, y, side, or None."""
  height, width = image.shape[:2]
  reduction = max(1.0, max(height, width) / _SEARCH_SIZE)
  if reduction > 1:
    small = (max(1, round(width / reduction)), max(1, round(height / reduction)))
    image = np.asarray(Image.fromarray(image).resize(small, Image.Resampling.LANCZOS))
  found = _mtcnn().detect_faces(image, min_face_size=_SMALLEST, **_THRESHOLDS)
  if not found:
    return None
  left, top, across, down = np.array([face['box'] for face in found], np.float64).T
  centre = np.stack([left + across / 2, top + down / 2], axis=1)
  away = ((centre - [image.shape[1] / 2, image.shape[0] / 2]) ** 2).sum(axis=1)
  best = int(np.argmax(across * down - 2 * away))
  # Pixel edges to pixel centres, which whole numbers mean here.
  x, y = centre[best] * [width / image.shape[1], height / image.shape[0]] - 0.5
  return np.array([x, y, max(across[best], down[best]) * width / image.shape[1]])


def dlib_rectangle(box: np.ndarray) -> np.ndarray:
  """Where dlib's detector, for which its landmarks were trained, would see the face: [4] left, top, right, bottom."""
  x, y, side = box
  half = side * _DLIB_SIDE / 2
  return np.array([x - half, y + side * _DLIB_DROP - half, x + half, y + side * _DLIB_DROP + half])
