"""Codes of the faces in photographs, by any embedding: a face is found once, and each embedding sees it cut out as the
faces were that it was trained on.
"""

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf

from evaluate.export import open_model
from input_pipeline import faces, landmarks
from input_pipeline.face_squares import as_box, face_square
from input_pipeline.photos import read_photo
from input_pipeline.workers import Progress
from models import face_codes
from models.embedding import load_embedding

MIDDLE = 2.2  # Where no face is found: the picture is so many times as large as the detector's box, as in LFW.
_BATCH = 32
_AROUND, _DRAWN = 2.0, 300  # What a chip of dlib is cut out of: times the detector's square, and pixels.
_SYSTEMS = {'nn4': ('serving_default',), 'recognition': ('serving_default',), 'facecycle': ('encode_identity',)}


@dataclasses.dataclass(frozen=True)
class Reader:
  """An embedding.

  Attributes:
    name: says who judged.
    cut: picture [H, W, 3] uint8 and landmarks [68, 2] in its pixels -> what is kept of it, an array of a fixed shape.
    look: [N, ...] of these -> codes [N, D].
  """

  name: str
  cut: Callable[[np.ndarray, np.ndarray], np.ndarray]
  look: Callable[[np.ndarray], np.ndarray]


def open_reader(name: str) -> Reader:
  """The embedding of a name: a run or an exported model of nn4, recognition or facecycle, a `.keras` file, or dlib.

  Raises:
    FileNotFoundError: if there is nothing there.
    ValueError: if it is something else; the message is one line.
  """
  if name == 'dlib' or name.endswith(('.keras', '.dat')):
    return _embedding(name)
  if not Path(name).expanduser().exists() and not name.startswith('pretrained:'):
    raise FileNotFoundError(f'{name}: there is no such model; a run, an export, a .keras file or dlib is needed')
  config, _, functions = open_model(name, _SYSTEMS)
  function = functions[_SYSTEMS[config.system][0]]
  label = f'{config.system}:{Path(name).expanduser().resolve().name}'
  size = config.image_size

  def look(crops: np.ndarray) -> np.ndarray:
    images = tf.constant(crops)
    if config.system != 'facecycle':
      images = tf.cast(tf.round(face_codes.to_crop(tf.cast(images, tf.float32))), tf.uint8)
    return function(images=images)['codes'].numpy()

  if config.system == 'facecycle':
    return Reader(label, lambda image, points: _square(image, points, config.enlargement, size)[0], look)
  settings = faces.Settings(config.alignment, config.template_scale, size)
  return Reader(label, lambda image, points: faces.cut_out(image, points, settings)[0], look)


def _embedding(name: str) -> Reader:
  embedding = load_embedding(name)
  if not embedding.chip:
    settings = faces.Settings('box', 1.0, embedding.input_size)
    return Reader(
      embedding.name,
      lambda image, points: faces.cut_out(image, points, settings)[0],
      lambda crops: embedding(tf.constant(crops, tf.float32)).numpy(),
    )

  def cut(image: np.ndarray, points: np.ndarray) -> np.ndarray:
    crop, marks = _square(image, points, _AROUND, _DRAWN)
    chip = embedding.crops(tf.constant(crop[None], tf.float32) / 127.5 - 1, tf.constant(marks[None]))
    return np.rint(chip.numpy()[0]).astype(np.uint8)

  compiled = tf.function(lambda chips: embedding(chips), reduce_retracing=True)
  return Reader(embedding.name, cut, lambda crops: compiled(tf.constant(crops, tf.float32)).numpy())


def _square(image: np.ndarray, points: np.ndarray, enlargement: float, size: int) -> tuple[np.ndarray, np.ndarray]:
  """The square around a face, `enlargement` times the detector's, and the landmarks there in [-1, 1]."""
  box = as_box(face_square(points, enlargement))
  return faces.cut_out(image, points, faces.Settings('box', 1.0, size), box)[:2]


def each_face(files: Sequence[str], known: np.ndarray | None = None) -> Iterator[tuple[np.ndarray, np.ndarray | None]]:
  """Each picture with the landmarks [68, 2] of its largest face; None where dlib finds none.

  Args:
    files: paths.
    known: [N, 4] left, top, width and height of the face, where it is known; landmarks are then those that fit into it.

  Raises:
    FileNotFoundError: if a picture is missing.
    ValueError: if one is damaged.
  """
  progress, missed = Progress('reading faces', len(files)), 0
  for number, file in enumerate(files):
    image = read_photo(file)
    if known is not None and np.isfinite(known[number]).all():
      left, top, width, height = known[number]
      side = max(width, height)
      centre = left + width / 2, top + height / 2
      points = _fit(image, np.array([*centre, side]))
    else:
      points = landmarks.find_landmarks(image)
    missed += points is None
    yield image, points
    progress.add(1)
  progress.close()
  if missed:
    print(f'no face found in {missed:,} of {len(files):,} pictures: their middle is taken', flush=True)


def _fit(image: np.ndarray, square: np.ndarray) -> np.ndarray:
  """Landmarks [68, 2] of a face that is known to be in a square [3]: centre x, y, side, in pixels."""
  x, y, side = square
  return landmarks.landmarks_in(image, np.array([x - side / 2, y - side / 2, x + side / 2, y + side / 2]))


def read_codes(
  files: Sequence[str], readers: Mapping[str, Reader], known: np.ndarray | None = None
) -> dict[str, np.ndarray]:
  """Codes [N, D] of the faces in N pictures by each reader.

  Args:
    files: paths.
    readers: by name.
    known: see `each_face`.
  """
  kept: dict[str, list[np.ndarray]] = {name: [] for name in readers}
  codes: dict[str, list[np.ndarray]] = {name: [] for name in readers}

  def flush() -> None:
    for name, reader in readers.items():
      if kept[name]:
        codes[name].append(reader.look(np.stack(kept[name])))
        kept[name].clear()

  for number, (image, points) in enumerate(each_face(files, known), start=1):
    if points is None:
      height, width = image.shape[:2]
      points = _fit(image, np.array([(width - 1) / 2, (height - 1) / 2, min(height, width) / MIDDLE]))
    for name, reader in readers.items():
      kept[name].append(reader.cut(image, points))
    if number % _BATCH == 0:
      flush()
  flush()
  return {name: np.concatenate(parts) for name, parts in codes.items()}
