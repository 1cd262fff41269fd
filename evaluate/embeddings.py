"""What dlib and Inception see in a picture: whether there is a face, its 68 landmarks, who it is, what distribution it
is from.

GC-GAN trains against none of them, so they may judge it ("a judge is never a player"); GANFaces does against dlib's
descriptor. Each figure names the one it used.
"""

import functools
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from evaluate import faces

DESCRIPTOR = 'dlib_face_recognition_resnet_v1'
INCEPTION = 'inception_v3_imagenet'
_CHIPS = 32  # Described at a time.
GAMMA = {DESCRIPTOR: 1.0, INCEPTION: 1 / 2048}  # Of `metrics.kernel_distance`.


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


def read_faces(
  images: np.ndarray, known_points: np.ndarray, describe: np.ndarray | bool = True, workers: int | None = None
) -> Faces:
  """Finds face, landmarks and descriptor in aligned crops (see `faces.read`). Equal pictures are looked at once.

  Args:
    images: [N, H, W, 3] uint8.
    known_points: [N, 68, 2] pixels, where the face is meant to be; only a box is taken from it.
    describe: [N] bool or one for all, whose descriptors are wanted.
    workers: processes that find faces; one a core if not given, and none for a few pictures.
  Returns:
    The faces in the order of the pictures.
  """
  describe = np.broadcast_to(np.asarray(describe), len(images))
  first: dict[bytes, int] = {}
  place = np.array([first.setdefault(image.tobytes(), len(first)) for image in images], int)
  _, rows = np.unique(place, return_index=True)
  wanted = np.zeros(len(rows), bool)
  np.logical_or.at(wanted, place, describe)
  boxes = np.array([_box(points) for points in known_points[rows]])
  workers = min(workers or len(os.sched_getaffinity(0)), max(1, len(rows) // 16))
  seen = _run(images[rows], boxes, wanted, workers) if workers > 1 else faces.read(images[rows], boxes, wanted)
  found, landmarks, chips = seen
  descriptors = np.full((len(rows), 128), np.nan, np.float32)
  descriptors[wanted] = describe_chips(chips)
  return Faces(found[place], landmarks[place], descriptors[place])


def describe_chips(chips: np.ndarray) -> np.ndarray:
  """dlib's descriptors [N, 128] float32 of its chips [N, 150, 150, 3] uint8, by the same network in Keras.

  dlib's own code needs more than ten times as long for the same numbers.
  """
  descriptors = np.empty((len(chips), 128), np.float32)
  for start in range(0, len(chips), _CHIPS):
    batch = chips[start : start + _CHIPS]
    padded = np.pad(batch, ((0, _CHIPS - len(batch)), (0, 0), (0, 0), (0, 0)))
    descriptors[start : start + _CHIPS] = _descriptor()(padded).numpy()[: len(batch)]
  return descriptors


@functools.cache
def _descriptor() -> Any:
  """The network as a function of one trace, [_CHIPS, 150, 150, 3] uint8 -> [_CHIPS, 128]."""
  import tensorflow as tf  # Here, with the weights' file: landmarks alone need neither.

  from models.layers.dlib_descriptor import SIZE, DlibDescriptor

  with tf.device('CPU:0'):  # A GPU may round to TensorFloat-32, and figures would depend on the machine.
    network = DlibDescriptor()

  @tf.function(input_signature=[tf.TensorSpec([_CHIPS, SIZE, SIZE, 3], tf.uint8)])
  def describe(chips):
    with tf.device('CPU:0'):
      return network(tf.cast(chips, tf.float32))

  return describe


def _run(
  images: np.ndarray, boxes: np.ndarray, describe: np.ndarray, workers: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """`faces.read` in processes of their own, each with its share of the pictures."""
  with tempfile.TemporaryDirectory() as folder:
    jobs = Path(folder) / 'jobs.npz'
    np.savez(jobs, images=images, boxes=boxes, describe=describe)
    parts = [Path(folder) / f'{k}.npz' for k in range(workers)]
    programs = [
      subprocess.Popen([sys.executable, '-P', faces.__file__, str(jobs), str(k), str(workers), str(part)])
      for k, part in enumerate(parts)
    ]
    try:
      codes = [program.wait() for program in programs]
    finally:
      for program in programs:
        program.kill()
    if any(codes):
      raise ChildProcessError(f'{faces.__file__} ended with exit codes {codes}: its message stands above')
    shares = [np.load(part) for part in parts]
    found, landmarks, chips = (np.concatenate([s[name] for s in shares]) for name in ('found', 'landmarks', 'chips'))
  return found, landmarks, chips


def _box(points: np.ndarray) -> tuple[float, float, float, float]:
  """Where dlib's detector would put its box: a square about as wide as the jaw, a little above the points' middle."""
  low, high = points.min(0), points.max(0)
  side = 0.9 * (high - low)[0]
  x, y = (low + high) / 2 - [0, 0.1 * (high - low)[1]]
  return x - side / 2, y - side / 2, x + side / 2, y + side / 2


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
  import tensorflow as tf  # Here: nothing else of the evaluation needs it.

  if not Path(weights).is_file():
    raise FileNotFoundError(
      f'--inception_weights={weights}: there is no such file (Keras calls it '
      'inception_v3_weights_tf_dim_ordering_tf_kernels_notop.h5)'
    )
  network = tf.keras.applications.InceptionV3(include_top=False, pooling='avg', weights=str(weights))
  features = []
  for start in range(0, len(images), batch_size):
    batch = tf.cast(images[start : start + batch_size], tf.float32)
    batch = tf.clip_by_value(tf.image.resize(batch, (299, 299), 'bicubic', antialias=True), 0, 255)
    features.append(network(batch / 127.5 - 1, training=False).numpy())
  return np.concatenate(features)


def keras_features(images: np.ndarray, path: str | os.PathLike, batch_size: int = 50) -> np.ndarray:
  """Features of any network that Keras saved, such as the VGG-Face of the GC-GAN paper.

  Args:
    images: [N, H, W, 3] uint8; enlarged (bicubic, antialiased) to what the network wants.
    path: a `.keras` file that takes RGB of 0 to 255 [B, H, W, 3] (preprocessing inside) and gives one tensor.
    batch_size: pictures at a time.
  Returns:
    [N, D] float32, flattened.
  Raises:
    FileNotFoundError: if there is no such file.
    ValueError: if it is no `.keras` file (other formats may run code when they are read), or no such network.
  """
  import tensorflow as tf  # Here: nothing else of the evaluation needs it.

  path = Path(path)
  if not path.is_file():
    raise FileNotFoundError(f'--embedding={path}: there is no such file')
  if path.suffix != '.keras':
    raise ValueError(f'--embedding={path}: a .keras file is needed, other formats may run code when they are read')
  try:
    network = tf.keras.models.load_model(path, compile=False, safe_mode=True)
  except Exception as error:  # noqa: BLE001 (Keras lets through whatever its readers raise.)
    raise ValueError(f'--embedding={path} cannot be read ({(str(error).splitlines() or [""])[0]})') from None
  shape = getattr(network, 'input_shape', None)
  if not isinstance(shape, tuple) or len(shape) != 4 or shape[-1] != 3:
    raise ValueError(f'--embedding={path} takes {shape}: a network of pictures (None, height, width, 3) is needed')
  size = [given or own for given, own in zip(shape[1:3], images.shape[1:3], strict=True)]
  features = []
  for start in range(0, len(images), batch_size):
    batch = tf.cast(images[start : start + batch_size], tf.float32)
    batch = tf.clip_by_value(tf.image.resize(batch, size, 'bicubic', antialias=True), 0, 255)
    features.append(network(batch, training=False).numpy().reshape(len(batch), -1))
  return np.concatenate(features)
