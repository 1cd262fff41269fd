"""The crop of face tracks: a square around the face, some times the detector's; nothing is turned or stretched.

VoxCeleb's face frames are the detector's square times 1.6 ("crop factor"). Here the square is the one that dlib's
detector draws, as far as 68 landmarks tell (`boxes`), so that renders and videos are cut out alike.
"""

import numpy as np

from input_pipeline import boxes

ENLARGEMENT = 1.6  # VoxCeleb's; less lets the face fill the picture.


def face_square(points: np.ndarray, enlargement: float = ENLARGEMENT) -> np.ndarray:
  """The square [3] (centre x, y, side) around landmarks [68, 2] in pixels, `enlargement` times the detector's."""
  left, top, right, bottom = boxes.dlib_rectangle(boxes.detector_box(points))
  return np.array([(left + right) / 2, (top + bottom) / 2, (right - left) * enlargement])


def as_box(square: np.ndarray) -> np.ndarray:
  """The detector's box [3] for which `boxes.crop_box`, and so alignment=box, cuts this square [3] out."""
  return np.asarray(square) * [1, 1, 1 / boxes.SHARE]


def box_offset(enlargement: float) -> np.ndarray:
  """[3] by which shares of its side GANFaces' box has to be off (`scenes.stand`) to be this square: across, down,
  side."""
  left, top, right, bottom = boxes.dlib_rectangle(np.array([0.0, 0.0, 1.0]))
  side = (right - left) * enlargement / boxes.SHARE
  return np.array([(left + right) / 2, (top + bottom) / 2, side - 1])
