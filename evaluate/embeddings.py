"""What dlib and Inception see in a picture: whether there is a face, its 68 landmarks, who it is, what distribution it is from.

No loss of the project trains against these networks, so they may judge ("a judge is never a player"). Each figure names the one it used.
"""

import multiprocessing
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import dlib
import numpy as np
from PIL import Image

from input_pipeline.landmarks import model_file

DESCRIPTOR = 'dlib_face_recognition_resnet_v1'
INCEPTION = 'inception_v3_imagenet'
_FACE_SIDE = 256  # Crops are enlarged to this: dlib's detector and shape predictor were made for faces of 80 pixels and more.
_tools: dict[str, Any] = {}


class Faces(NamedTuple):
  """What dlib finds in N pictures.

  Attributes:
    found: [N] bool, whether the detector sees a face.
    landmarks: [N, 68, 2] pixels of the picture; on the detector's box, else on the box where the face is known to be.
    descriptors: [N, 128] float32; NaN for the pictures that were not described.
  """

  found: np.ndarray
  landmarks: np.ndarray
  descriptors: np.ndarray


def read_faces(images: np.ndarray, known_points: np.ndarray, describe: np.ndarray | bool = True,
               workers: int | None = None) -> Faces:
  """Finds face, landmarks and descriptor in aligned crops. Equal pictures are looked at once.

  A crop is enlarged (bicubic) and its edge repeated by a quarter, since the detector wants to see what is around a face. Where it
  sees none, the shape predictor still runs on the known place, so that every picture has landmarks and `found` tells them apart.

  Args:
    images: [N, H, W, 3] uint8.
    known_points: [N, 68, 2] pixels, where the face is meant to be; only a box is taken from it.
    describe: [N] bool or one for all; descriptors cost 75 ms each on a core, the rest 15 ms.
    workers: processes; as many as there are cores if not given, and none for a few pictures.
  Returns:
    The faces in the order of the pictures.
  """
  describe = np.broadcast_to(np.asarray(describe), len(images))
  first: dict[bytes, int] = {}
  jobs: list[list[Any]] = []
  place = np.zeros(len(images), int)
  for i, image in enumerate(images):
    place[i] = first.setdefault(image.tobytes(), len(jobs))
    if place[i] == len(jobs):
      jobs.append([image, _box(known_points[i]), False])
    jobs[place[i]][2] |= bool(describe[i])
  workers = min(workers or len(os.sched_getaffinity(0)), len(jobs) // 16)
  if workers > 1:
    # Spawned, not forked: TensorFlow's threads do not survive a fork.
    with multiprocessing.get_context('spawn').Pool(workers) as pool:
      faces = pool.map(_read_face, jobs, chunksize=8)
  else:
    faces = [_read_face(job) for job in jobs]
  found, landmarks, descriptors = (np.stack([face[k] for face in faces])[place] for k in range(3))
  return Faces(found, landmarks, descriptors)


def _box(points: np.ndarray) -> tuple[float, float, float, float]:
  """Where dlib's detector would put its box: a square about as wide as the jaw, a little above the points' middle."""
  low, high = points.min(0), points.max(0)
  side = 0.9 * (high - low)[0]
  x, y = (low + high) / 2 - [0, 0.1 * (high - low)[1]]
  return x - side / 2, y - side / 2, x + side / 2, y + side / 2


def _load_tools() -> dict[str, Any]:
  if not _tools:
    _tools.update(detector=dlib.get_frontal_face_detector(),  # pyright: ignore[reportAttributeAccessIssue]
                  predictor=dlib.shape_predictor(  # pyright: ignore[reportAttributeAccessIssue]
                      str(model_file('shape_predictor_68_face_landmarks.dat'))),
                  descriptor=dlib.face_recognition_model_v1(  # pyright: ignore[reportAttributeAccessIssue]
                      str(model_file('dlib_face_recognition_resnet_model_v1.dat'))))
  return _tools


def _read_face(job: Sequence[Any]) -> tuple[bool, np.ndarray, np.ndarray]:
  image, known_box, describe = job
  tools = _load_tools()
  height, width = image.shape[:2]
  factor = max(1, round(_FACE_SIDE / max(height, width)))
  margin = max(height, width) * factor // 4
  large = np.asarray(Image.fromarray(image).resize((width * factor, height * factor), Image.Resampling.BICUBIC))
  large = np.pad(large, ((margin, margin), (margin, margin), (0, 0)), mode='edge')
  boxes = tools['detector'](large, 0)
  if boxes:
    box = max(boxes, key=lambda b: b.area())
  else:
    box = dlib.rectangle(  # pyright: ignore[reportAttributeAccessIssue]
        *[round((v + 0.5) * factor - 0.5) + margin for v in known_box])
  shape = tools['predictor'](large, box)
  points = np.array([(p.x, p.y) for p in shape.parts()], np.float64)
  points = (points - margin + 0.5) / factor - 0.5
  descriptor = np.full(128, np.nan, np.float32)
  if describe:
    descriptor = np.array(tools['descriptor'].compute_face_descriptor(large, shape), np.float32)
  return len(boxes) > 0, points, descriptor


def inception_features(images: np.ndarray, weights: str | os.PathLike, batch_size: int = 50) -> np.ndarray:
  """Pooled features of Inception v3, pictures enlarged to 299 pixels (bicubic, antialiased).

  Args:
    images: [N, H, W, 3] uint8.
    weights: `inception_v3_weights_tf_dim_ordering_tf_kernels_notop.h5` of Keras; nothing is downloaded.
    batch_size: pictures at a time.
  Returns:
    [N, 2048] float32.
  Raises:
    FileNotFoundError: if there is no such file.
  """
  import tensorflow as tf  # Here, so that the worker processes above need not load it.

  if not Path(weights).is_file():
    raise FileNotFoundError(f'--inception_weights={weights}: there is no such file (Keras calls it '
                            'inception_v3_weights_tf_dim_ordering_tf_kernels_notop.h5)')
  network = tf.keras.applications.InceptionV3(include_top=False, pooling='avg', weights=str(weights))
  features = []
  for start in range(0, len(images), batch_size):
    batch = tf.cast(images[start:start + batch_size], tf.float32)
    batch = tf.clip_by_value(tf.image.resize(batch, (299, 299), 'bicubic', antialias=True), 0, 255)
    features.append(network(batch / 127.5 - 1, training=False).numpy())
  return np.concatenate(features)
