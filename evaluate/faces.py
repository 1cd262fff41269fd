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
  """Finds face, landmarks and descriptor of each picture.

  A crop is enlarged (bicubic) and its edge repeated by a quarter, since the detector wants to see what is around a
  face. Where it sees none, the shape predictor still runs on the known box, so that every picture has landmarks.

  Args:
    images: [N, H, W, 3] uint8.
    boxes: [N, 4] left, top, right, bottom in pixels, where the face is known to be.
    describe: [N] bool, whose descriptor is wanted.
  Returns:
    found [N] bool; landmarks [N, 68, 2] pixels; descriptors [N, 128] float32, NaN where not wanted.
  """
  detector = dlib.get_frontal_face_detector()  # pyright: ignore[reportAttributeAccessIssue]
  predictor = dlib.shape_predictor(  # pyright: ignore[reportAttributeAccessIssue]
    str(model_file('shape_predictor_68_face_landmarks.dat'))
  )
  network = (
    dlib.face_recognition_model_v1(  # pyright: ignore[reportAttributeAccessIssue]
      str(model_file('dlib_face_recognition_resnet_model_v1.dat'))
    )
    if describe.any()
    else None
  )
  count, height, width = images.shape[:3]
  factor = max(1, round(_FACE_SIDE / max(height, width)))
  margin = max(height, width) * factor // 4
  found = np.zeros(count, bool)
  landmarks, descriptors = np.zeros((count, 68, 2)), np.full((count, 128), np.nan, np.float32)
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
    if network is not None and describe[i]:
      descriptors[i] = np.array(network.compute_face_descriptor(large, shape))
  return found, landmarks, descriptors


if __name__ == '__main__':
  jobs = np.load(sys.argv[1])
  mine = slice(int(sys.argv[2]), None, int(sys.argv[3]))
  results = read(jobs['images'][mine], jobs['boxes'][mine], jobs['describe'][mine])
  np.savez(sys.argv[4], found=results[0], landmarks=results[1], descriptors=results[2])
