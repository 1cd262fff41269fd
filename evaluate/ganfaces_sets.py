"""The pictures that GANFaces is judged on, and who judges: renders of people whom nobody trained on, photographs, cheap
ways to make renders look like photographs, and the codes that face embeddings have for all of them."""

import dataclasses
import functools
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
from scipy import ndimage
from skimage.exposure import match_histograms

from evaluate.embeddings import DESCRIPTOR
from evaluate.metrics import face_masks
from evaluate.provenance import to_uint8
from input_pipeline import renders as rendering
from input_pipeline import scenes
from input_pipeline.alignment import denormalize
from models.embedding import PRETRAINED, Embedding, load_embedding
from models.face3d.morphable import load_face_model

PER_PERSON = 10  # Renders of each new person.
_BATCH = 16
_CODED = 32  # Pictures embedded at once.
_BLUR, _NOISE = 1.0, 4.0  # Of a cheap camera: pixels of a picture of 96, levels of 255.
_GREY = 128  # What hides the background.


class Pictures(NamedTuple):
  """N pictures of faces.

  Attributes:
    images: [N, S, S, 3] uint8.
    landmarks: [N, 68, 2] in [-1, 1]; exact for renders.
    people: [N] integers.
  """

  images: np.ndarray
  landmarks: np.ndarray
  people: np.ndarray

  def masks(self) -> np.ndarray:
    """[N, S, S] bool: the face from jaw to brows."""
    size = self.images.shape[1]
    return face_masks(denormalize(self.landmarks, size), size, size)


class Scene(NamedTuple):
  """What all arms are judged on.

  Attributes:
    renders: of new people, `PER_PERSON` each.
    photos: held-out photographs.
    training: photographs that were trained on.
    baselines: name -> [N, S, S, 3] uint8, the renders made to look like photographs without any training.
  """

  renders: Pictures
  photos: Pictures
  training: Pictures
  baselines: Mapping[str, np.ndarray]


def make_scene(own: Any, judged: Any, count: int) -> Scene:
  """Renders and reads the pictures.

  Args:
    own: the run's pipeline, whose world gives the renders and whose photographs were trained on.
    judged: the pipeline whose held-out photographs are compared with; may be the same.
    count: pictures of each kind at most.
  """
  people = max(2, round(count / PER_PERSON))
  first = own.config.identities
  renders = draw_people(own, range(first, first + people), min(PER_PERSON, max(2, count // 2)))
  photos = _pictures(judged.pictures_of('photos', True, count))
  training = _pictures(own.pictures_of('photos', False, count))
  faces = renders.images.max(axis=-1) > 0
  baselines = {'blur_and_noise': blur_and_noise(renders.images),
               'matched_colours': match_colours(renders.images, faces, training.images, training.masks())}
  return Scene(renders, photos, training, baselines)


def _pictures(found: Mapping[str, np.ndarray]) -> Pictures:
  return Pictures(to_uint8(found['photo']), found['landmarks'], found['identity'])


def draw_people(pipeline: Any, people: range, per_person: int) -> Pictures:
  """Renders people of the world of a run's renders; those beyond its `identities` were never trained on."""
  world = pipeline.world
  places = [(person, number) for person in people for number in range(per_person)]
  images, landmarks = scenes.render_plain(
    load_face_model(world.face_model), rendering.draw_parameters(world, places), pipeline.config.image_size)
  return Pictures(images, landmarks, np.array([person for person, _ in places]))


def translator(model: Any) -> Callable[[np.ndarray], np.ndarray]:
  """The function: renders [N, S, S, 3] uint8 -> photographs [N, S, S, 3] float32; dropouts by each one's place."""
  size = model.config.image_size
  function = tf.function(lambda *arguments: model.translate(*arguments), [
    tf.TensorSpec([None, size, size, 3], tf.float32), tf.TensorSpec([], tf.int64), tf.TensorSpec([None], tf.int64)])

  def translate(images: np.ndarray) -> np.ndarray:
    parts = []
    for start in range(0, len(images), _BATCH):
      renders = tf.constant(images[start:start + _BATCH].astype(np.float32) / 127.5 - 1)
      index = tf.range(start, start + len(renders), dtype=tf.int64)
      parts.append(function(renders, tf.constant(0, tf.int64), index).numpy())
    return np.concatenate(parts)

  return translate


def blur_and_noise(images: np.ndarray) -> np.ndarray:
  """What a camera would do: a Gaussian blur, and noise.

  Args:
    images: [N, S, S, 3] uint8.
  """
  sigma = _BLUR * images.shape[1] / 96
  blurred = ndimage.gaussian_filter(images.astype(np.float32), [0, sigma, sigma, 0])
  noisy = blurred + np.random.default_rng(0).normal(0, _NOISE, images.shape)
  return np.clip(np.rint(noisy), 0, 255).astype(np.uint8)


def match_colours(images: np.ndarray, faces: np.ndarray, photos: np.ndarray, photo_faces: np.ndarray) -> np.ndarray:
  """Gives each render the histogram of a photograph: face to face, and background to background.

  What has one colour only, as the black around renders, becomes the middle one of the photograph's.

  Args:
    images: [N, S, S, 3] uint8 renders.
    faces: [N, S, S] bool.
    photos: [M, S, S, 3] uint8, drawn from at random.
    photo_faces: [M, S, S] bool.
  """
  result = np.empty_like(images)
  for row, like in enumerate(np.random.default_rng(0).integers(len(photos), size=len(images))):
    for inside, there in ((faces[row], photo_faces[like]), (~faces[row], ~photo_faces[like])):
      if inside.any() and there.any():
        own, wanted = images[row][inside], photos[like][there]
        flat = (own == own[0]).all()
        matched = np.median(wanted, axis=0) if flat else match_histograms(own, wanted, channel_axis=-1)
        result[row][inside] = np.clip(np.rint(matched), 0, 255)
  return result


def hide_background(images: np.ndarray, masks: np.ndarray) -> np.ndarray:
  """[..., N, S, S, 3] uint8 with everything but the face grey."""
  return np.where(masks[..., np.newaxis], images, np.uint8(_GREY))


# Judges.


@dataclasses.dataclass(frozen=True)
class Judge:
  """An embedding, and whether the run trained against it.

  Attributes:
    embedding: see `models.embedding`.
    player: whether a loss of the run used it: then it measures nothing, and its name says so.
  """

  embedding: Embedding
  player: bool

  @property
  def name(self) -> str:
    """What stands in results.json."""
    return self.embedding.name + ' (trained against)' * self.player

  @property
  def gamma(self) -> float:
    """Of `metrics.kernel_distance`: 1 for dlib's and for codes of length 1."""
    known = self.embedding.name in (DESCRIPTOR, PRETRAINED) or self.embedding.name.startswith('nn4:')
    return 1.0 if known else 1 / self.embedding.dimensions

  @functools.cached_property
  def _look(self) -> Any:
    return tf.function(lambda x, points: self.embedding(self.embedding.crops(x, points)), reduce_retracing=True)

  def codes(self, images: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
    """[N, D] float32 of pictures [N, S, S, 3] uint8 with landmarks [N, 68, 2] in [-1, 1]."""
    parts = []
    for start in range(0, len(images), _CODED):
      chunk = tf.constant(images[start:start + _CODED].astype(np.float32) / 127.5 - 1)
      parts.append(self._look(chunk, tf.constant(landmarks[start:start + _CODED], tf.float32)).numpy())
    return np.concatenate(parts)


def played(config: Any) -> str:
  """The name of the embedding that a run trained against, '' where there is none."""
  if config.identity_loss == 'none':
    return ''
  name = config.embedding
  if name == 'dlib' or name.endswith('.dat'):
    return DESCRIPTOR
  if name == PRETRAINED:
    return name
  return f'nn4:{os.path.basename(os.path.abspath(name[4:]))}' if name.startswith('nn4:') else Path(name).name


def find_judges(configs: list[Any], embedding: str = '') -> list[Judge]:
  """The judges of runs, an impartial one first: the given one or else the project's NN4, and dlib's descriptor.

  Args:
    configs: of the runs.
    embedding: see `models.embedding.load_embedding`; `pretrained:nn4` if empty.
  Raises:
    ValueError, OSError: if it cannot be read, or has learnt from faces that were cut out otherwise.
  """
  players = {played(config) for config in configs}
  found = [load_embedding(name) for name in dict.fromkeys((embedding or PRETRAINED, 'dlib'))]
  for name, one in zip((embedding, 'dlib'), found, strict=False):
    if one.alignment not in ('', 'box'):
      raise ValueError(
        f'--embedding={name} has learnt from faces cut out with alignment={one.alignment}, and GANFaces are cut out '
        'with box: train it with --flagfile=nn4.cfg, or take pretrained:nn4'
      )
  judges = [Judge(one, one.name in players) for one in found]
  for judge in judges:
    if judge.player:
      print(f'{judge.embedding.name} was trained against: what it says of these translations is no evidence')
  return sorted(judges, key=lambda judge: judge.player)
