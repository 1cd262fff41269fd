"""Runs dlib over pictures. `embeddings.read_faces` starts this file as a program of its own, once a core.

So it imports nothing of ours: a pool of processes would import TensorFlow in each, which costs more than the work, and
a fork of a process with TensorFlow's threads may hang.
"""

import importlib.util
import sys
from pathlib import Path

import dlib
import numpy as np
from PIL import Image

# Crops are enlarged to this: dlib's detector and shape predictor were made for faces of 80 pixels and more.
_FACE_SIDE = 256
_CHIP, _PADDING = 150, 0.25  # Of the chips that dlib's descriptor sees: pixels, and what is around the face.


def model_file(name: str) -> Path:
  """A network of the `face-recognition-models` package, found without importing it (its import wants pkg_resources).

  Raises:
    FileNotFoundError: if the package is not there.
  """
  spec = importlib.util.find_spec('face_recognition_models')
  if spec is None or not spec.submodule_search_locations:
    raise FileNotFoundError(f'{name} is missing: pip install face-recognition-models')
  return Path(spec.submodule_search_locations[0]) / 'models' / name


def read(images: np.ndarray, boxes: np.ndarray, describe: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """Finds face and landmarks of each picture, and cuts out the chip that dlib's descriptor sees.

  A crop is enlarged (bicubic) and its edge repeated by a quarter, since the detector wants to see what is around a
  face. Where it sees none, the shape predictor still runs on the known box, so that every picture has landmarks.

  Args:
    images: [N, H, W, 3] uint8.
    boxes: [N, 4] left, top, right, bottom in pixels, where the face is known to be.
    describe: [N] bool, whose chip is wanted.
  Returns:
    found [N] bool; landmarks [N, 68, 2] pixels; chips [K, 150, 150, 3] uint8 of the K pictures to describe.
  """
  detector = dlib.get_frontal_face_detector()  # pyright: ignore[reportAttributeAccessIssue]
  predictor = dlib.shape_predictor(  # pyright: ignore[reportAttributeAccessIssue]
    str(model_file('shape_predictor_68_face_landmarks.dat'))
  )
  count, height, width = images.shape[:3]
  factor = max(1, round(_FACE_SIDE / max(height, width)))
  margin = max(height, width) * factor // 4
  found = np.zeros(count, bool)
  landmarks, chips = np.zeros((count, 68, 2)), np.zeros((np.count_nonzero(describe), _CHIP, _CHIP, 3), np.uint8)
  places = np.cumsum(describe) - 1
  for i, image in enumerate(images):
    large = Image.fromarray(image).resize((width * factor, height * factor), Image.Resampling.BICUBIC)
    large = np.pad(np.asarray(large), ((margin, margin), (margin, margin), (0, 0)), mode='edge')
    seen = detector(large, 0)
    found[i] = len(seen) > 0
    known = dlib.rectangle(  # pyright: ignore[reportAttributeAccessIssue]
      *[round((v + 0.5) * factor - 0.5) + margin for v in boxes[i]]
    )
    shape = predictor(large, max(seen, key=lambda box: box.area()) if seen else known)
    points = np.array([(p.x, p.y) for p in shape.parts()], np.float64)
    landmarks[i] = (points - margin + 0.5) / factor - 0.5
    if describe[i]:
      chips[places[i]] = dlib.get_face_chip(  # pyright: ignore[reportAttributeAccessIssue]
        large, shape, _CHIP, _PADDING
      )
  return found, landmarks, chips


if __name__ == '__main__':
  jobs = np.load(sys.argv[1])
  mine = np.array_split(np.arange(len(jobs['boxes'])), int(sys.argv[3]))[int(sys.argv[2])]
  results = read(jobs['images'][mine], jobs['boxes'][mine], jobs['describe'][mine])
  np.savez(sys.argv[4], found=results[0], landmarks=results[1], chips=results[2])
