"""Masks of frames of videos: the face's hull, the person as a segmentation network sees it, or ready pictures.

Contract of a segmentation network (`--segmentation_model`): a `.keras` file, or the folder of a SavedModel whose
signature `serving_default` takes one tensor and gives one. It takes pictures [N, H, W, 3] float32, RGB in [0, 255],
and does what else it needs itself; where it fixes H and W, frames are resized to them. It gives scores [N, h, w, 21] of
PASCAL VOC's classes, of which 15 is a person; the map may be coarser than the picture.
"""

import functools
import os
from collections.abc import Callable

import numpy as np
import tensorflow as tf
from PIL import Image
from scipy.spatial import ConvexHull
from skimage import draw

from input_pipeline import clips, photos

CLASSES, PERSON = 21, 15


def face_mask(points: np.ndarray, size: int) -> np.ndarray:
  """The convex hull of landmarks [68, 2] in pixels of a square picture: [size, size] uint8, 0 or 255."""
  corners = points[ConvexHull(points).vertices]
  return np.uint8(255) * draw.polygon2mask((size, size), corners[:, ::-1])


def person_mask(image: np.ndarray, model: str) -> np.ndarray:
  """Where a segmentation network sees a person in a picture [S, S, 3] uint8: [S, S] uint8, 0 or 255.

  Args:
    image: the picture.
    model: path of the network.

  Raises:
    FileNotFoundError, ValueError: see `load_network`.
  """
  person = load_network(model)(tf.constant(image[None], tf.float32))
  size = image.shape[0]
  return np.asarray(Image.fromarray(np.uint8(255) * person[0]).resize((size, size), Image.Resampling.NEAREST))


@functools.lru_cache(maxsize=1)
def load_network(path: str) -> Callable[[tf.Tensor], np.ndarray]:
  """A segmentation network as a function from pictures [N, H, W, 3] float32 in [0, 255] to [N, h, w] bool.

  Args:
    path: see the module's text.

  Raises:
    FileNotFoundError: if it is missing.
    ValueError: if it is no such network.
  """
  name = f'--segmentation_model={path}'
  if not os.path.exists(path):
    raise FileNotFoundError(f'{name}: there is no such file or folder')
  is_folder = os.path.isfile(os.path.join(path, 'saved_model.pb'))
  if not is_folder and not path.endswith('.keras'):
    raise ValueError(
      f'{name}: a .keras file or the folder of a SavedModel is needed, other formats may run code when they are read'
    )
  try:
    if is_folder:
      loaded = tf.saved_model.load(path)
      signature = loaded.signatures['serving_default']
      wanted, made = signature.structured_input_signature[1], signature.structured_outputs
    else:
      loaded = tf.keras.models.load_model(path, compile=False, safe_mode=True)
      signature, wanted, made = None, dict(enumerate(loaded.inputs)), dict(enumerate(loaded.outputs))
  except Exception as error:  # noqa: BLE001 (Keras and TensorFlow let through whatever their readers raise.)
    raise ValueError(f'{name} cannot be read ({(str(error).splitlines() or [""])[0]})') from None
  taken, given = ([tuple(tensor.shape) for tensor in part.values()] for part in (wanted, made))
  if [len(shape) for shape in taken + given] != [4, 4] or (taken[0][3], given[0][3]) != (3, CLASSES):
    raise ValueError(
      f'{name} maps {taken} to {given}: a network from pictures (None, height, width, 3) to scores (None, height, '
      f'width, {CLASSES}) of the classes of PASCAL VOC is needed'
    )
  height, width = taken[0][1:3]

  def find(images: tf.Tensor) -> np.ndarray:
    if height and width:
      images = tf.image.resize(images, [height, width], antialias=True)
    # A signature is a part of what was loaded, which holds the weights.
    scores = loaded.signatures['serving_default'](**{next(iter(wanted)): images}) if signature else loaded(images)
    return (tf.argmax(scores[next(iter(made))] if signature else scores, axis=-1) == PERSON).numpy()

  return find


def list_ready(folder: str, person: str) -> list[str]:
  """Paths of the ready masks of a person, in the order of the frames: DIR/a/*.png or DIR/b/*.png.

  Raises:
    FileNotFoundError: if there are none.
  """
  place = os.path.join(folder, person)
  names = os.listdir(place) if os.path.isdir(place) else []
  found = sorted((name for name in names if name.lower().endswith('.png')), key=clips.frame_order)
  if not found:
    raise FileNotFoundError(
      f'--masks={folder}: {place} holds no PNG; one for each frame that is used is needed, in {folder}/a and {folder}/b'
    )
  return [os.path.join(place, name) for name in found]


def read_ready(path: str, shape: tuple[int, ...]) -> np.ndarray:
  """A ready mask of a frame of this shape (H, W, ...): [H, W] uint8, 255 wherever the file is not black.

  Raises:
    ValueError: if it is not a picture, or not as large as its frame.
  """
  mask = photos.read_photo(path).any(axis=-1)
  if mask.shape != shape[:2]:
    raise ValueError(
      f'{path}: the mask has {mask.shape[1]} x {mask.shape[0]} pixels, its frame {shape[1]} x {shape[0]}: they have to '
      'be alike'
    )
  return np.uint8(255) * mask
