"""The default data set: rendered people, arranged like Multi-PIE.

Each person is shown in some of the (pose, light) combinations and in each with all six expressions, so that pairs
differ in the expression alone. Labels, landmarks, masks and parameters are exact. Every picture is a function of the
world's seed and its place in the world. Pictures go through the same alignment as photographs.
"""

import dataclasses
import functools
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow as tf

from input_pipeline import alignment, dataset, worlds
from models.config import ConfigError
from models.face3d.expressions import EXPRESSIONS as WEIGHTS
from models.face3d.expressions import act
from models.face3d.morphable import MorphableModel, load_face_model
from models.face3d.people import LIGHTS, Person, draw_background, draw_light, draw_person, stack_people
from models.face3d.portrait import FIELD_OF_VIEW, frame, render_people
from models.face3d.render import make_camera, place, project

EXPRESSIONS = tuple(WEIGHTS)
# Cameras 051, 140 and 050 of Multi-PIE.
TURNS = tuple(math.radians(degrees) for degrees in (0, -15, 15))
COMBINATIONS = len(TURNS) * len(LIGHTS)
# Standard deviations of nodding, turning and tilting in radians: of a person's head in one pose and light, and of each
# of the pictures taken there.
SESSION_MOTION = tuple(math.radians(degrees) for degrees in (2.0, 1.5, 1.5))
PICTURE_MOTION = math.radians(0.6)
PEOPLE_PER_SHARD = 5
BATCH = 12  # pictures rendered at once
# The head fills the picture, so that few pixels are rendered that the crop leaves out.
ZOOM, SHIFT = 1.35, (0.0, 0.44)
# The modules of the face model on which the pictures depend.
_DRAW = ('expressions', 'hair', 'morphable', 'people', 'portrait', 'rasterize', 'render', 'shading')


def settings(config: Any) -> dict[str, Any]:
  """All that the data set depends on: its fingerprint.

  Raises:
    FileNotFoundError: if the face model is missing.
  """
  return {
    'kind': 'synthetic',
    'identities': config.identities,
    'images_per_identity': config.images_per_identity,
    'render_size': config.render_size,
    'world_seed': config.world_seed,
    'alignment': config.alignment,
    'template_scale': config.template_scale,
    'crop_size': max(128, getattr(config, 'image_size', 128)),
    'face_model': worlds.digest_model(config.face_model),
    'renderer': worlds.digest_code(*_DRAW, __file__, alignment.__file__),
  }


def dataset_path(config: Any) -> str:
  """The folder of the data set, in the cache."""
  return worlds.dataset_path(config, settings(config))


def is_rendered(config: Any) -> bool:
  """Whether the data set is in the cache, complete."""
  return worlds.is_rendered(dataset_path(config))


def people_of_splits(identities: int) -> dict[str, list[int]]:
  """Numbers of the people of each split: the last tenth is held out, two at least, since one drives the other."""
  first = identities - max(2, round(identities / 10))
  return {'train': list(range(first)), 'test': list(range(first, identities))}


def describe(config: Any) -> list[str]:
  """Lines about the data set for people."""
  count = config.identities * config.images_per_identity
  state = 'is in' if is_rendered(config) else 'will be rendered into'
  return [
    f'synthetic data set: {config.identities:,} people ({len(people_of_splits(config.identities)["test"]):,} '
    f'held out) x {config.images_per_identity} pictures = {count:,}, expressions {", ".join(EXPRESSIONS)}',
    f'it {state} {dataset_path(config)}',
  ]


def synthetic_dataset(config: Any, processes: int = 0, runner: str = '') -> str:
  """Renders the data set, unless it is in the cache; continues where it was stopped.

  Args:
    config: a `DataConfig`; where it has an `image_size` above 128, crops are stored at that size.
    processes: 0 means one per core.
    runner: name of an Apache Beam runner.

  Returns:
    its folder.

  Raises:
    ConfigError: if a person cannot have that many pictures, or the face model cannot be painted.
  """
  path = dataset_path(config)
  if is_rendered(config):
    return path
  most = COMBINATIONS * len(EXPRESSIONS)
  if config.images_per_identity > most:
    raise ConfigError(
      f'images_per_identity={config.images_per_identity} is more than the {most} combinations of '
      f'{len(TURNS)} poses, {len(LIGHTS)} lights and {len(EXPRESSIONS)} expressions',
      ('images_per_identity',),
    )
  model = worlds.load_painted_model(
    config.face_model, 'the synthetic data set can be rendered with the default model, or one built like it'
  )
  fingerprint = settings(config)
  people = people_of_splits(config.identities)
  splits = {split: [len(part) * config.images_per_identity for part in _parts(rows)] for split, rows in people.items()}
  width = sum(parameter_layout(model).values())
  features = dataset.face_features(
    [f'person_{i:04d}' for i in range(config.identities)], EXPRESSIONS, fingerprint['crop_size'], width
  )
  worlds.render(
    path,
    fingerprint,
    features,
    splits,
    functools.partial(make_examples, world=World(fingerprint, config.face_model)),
    pictures='pictures',
    description='Rendered people with exact labels, landmarks, masks and parameters. The parameters '
    f'of a picture are, in order: {parameter_layout(model)}.',
    face_model=config.face_model,
    processes=processes,
    runner=runner,
  )
  return path


def _parts(people: list[int]) -> list[list[int]]:
  return [people[i : i + PEOPLE_PER_SHARD] for i in range(0, len(people), PEOPLE_PER_SHARD)]


@dataclasses.dataclass(frozen=True)
class World:
  """What a worker needs to know; small, so that it travels easily. `made_from` is `settings(config)`."""

  made_from: dict[str, Any]
  face_model: str

  @property
  def model(self) -> MorphableModel:
    return load_face_model(self.face_model)

  def person(self, number: int) -> Person:
    return _person(self.face_model, self.seed(number))

  def seed(self, number: int) -> int:
    return self.made_from['world_seed'] * 2**24 + number

  def random(self, *place: int) -> np.random.Generator:
    return worlds.generator(self.made_from['world_seed'], *place)


@functools.lru_cache(maxsize=100)
def _person(face_model: str, seed: int) -> Person:
  return draw_person(load_face_model(face_model), seed)


@dataclasses.dataclass(frozen=True)
class Picture:
  """The plan of one picture; `number` counts a person's pictures."""

  person: int
  number: int
  expression: int
  pose: int
  light: int


def plan(world: World, person: int) -> list[Picture]:
  """A person's pictures: (pose, light) combinations drawn without repetition, all expressions in each but the last."""
  count, labels = world.made_from['images_per_identity'], len(EXPRESSIONS)
  combinations = world.random(person, 1).permutation(COMBINATIONS)
  pictures = []
  for number in range(count):
    pose, light = divmod(int(combinations[number // labels]), len(LIGHTS))
    # Who has fewer pictures than expressions lacks other ones than the next person.
    pictures.append(Picture(person, number, (number + person) % labels, pose, light))
  return pictures


def acted(world: World, picture: Picture) -> np.ndarray:
  """[E] weights of the face units: intensity .4 to 1 and asymmetry are the picture's own."""
  return act(world.model, EXPRESSIONS[picture.expression], world.random(picture.person, 2, picture.number))


def angles(world: World, picture: Picture) -> np.ndarray:
  """[3] nodding, turning, tilting in radians."""
  session = world.random(picture.person, 3, picture.pose, picture.light).normal(size=3) * SESSION_MOTION
  moment = world.random(picture.person, 4, picture.number).normal(size=3) * PICTURE_MOTION
  return session + moment + [0, TURNS[picture.pose], 0]


def _render_size(world: World) -> int:
  return world.made_from['render_size'] * world.made_from['crop_size'] // 128


def render_pictures(world: World, pictures: list[Picture]) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
  """Renders pictures: [S, S, 3] uint8, mask [S, S] uint8 in {0, 255}, landmarks [68, 2] in pixels (centres whole)."""
  size = _render_size(world)
  for start in range(0, len(pictures), BATCH):
    part = pictures[start : start + BATCH]
    full = part + part[-1:] * (BATCH - len(part))  # one compiled function for all
    sessions = [world.seed(p.person) * COMBINATIONS + p.pose * len(LIGHTS) + p.light for p in full]
    result = render_people(
      world.model,
      stack_people([world.person(p.person) for p in full]),
      np.stack([acted(world, p) for p in full]),
      frame(np.stack([angles(world, p) for p in full]), ZOOM, np.array(SHIFT)),
      draw_light(sessions, [LIGHTS[p.light] for p in full]),
      np.stack([draw_background(s) for s in sessions]),
      size,
    )
    images = np.clip(np.round((result['image'].numpy() + 1) * 127.5), 0, 255).astype(np.uint8)
    masks = np.where(result['mask'].numpy()[..., 0] >= 0.5, 255, 0).astype(np.uint8)
    yield from list(zip(images, masks, result['landmarks'].numpy() - 0.5, strict=True))[: len(part)]


def landmarks_of(world: World, people: list[int], expression: np.ndarray, turned: np.ndarray) -> np.ndarray:
  """[B, 68, 2] landmarks in pixels of people with the expressions [B, E] and angles [B, 3], without a picture."""
  size = _render_size(world)
  model = world.model
  vertices = model.vertices(tf.constant(np.stack([world.person(p).identity for p in people])), tf.constant(expression))
  points = place(model.landmark_points(vertices), frame(turned, ZOOM, np.array(SHIFT)))
  return project(points, make_camera(len(people), FIELD_OF_VIEW), size, size).numpy()[..., :2] - 0.5


def parameter_layout(model: MorphableModel) -> dict[str, int]:
  """Names and lengths of the parts of a picture's parameter vector."""
  person = draw_person(model, 0)
  return {
    'identity': len(person.identity),
    'albedo': len(person.albedo),
    'hair': len(person.hair),
    'expression': len(model.expression_names),
    'angles': 3,
  }


def make_examples(split: str, shard: int, *, world: World) -> Iterator[dict[str, Any]]:
  """Renders the pictures of one shard."""
  everyone = people_of_splits(world.made_from['identities'])[split]
  pictures = [picture for person in _parts(everyone)[shard] for picture in plan(world, person)]
  # Somebody else of the test split acts the same: the driver of the cross-subject test.
  drivers = [everyone[(everyone.index(p.person) + 1) % len(everyone)] if split == 'test' else -1 for p in pictures]
  driven = np.zeros([len(pictures), 68, 2])
  if split == 'test':
    driven = landmarks_of(
      world, drivers, np.stack([acted(world, p) for p in pictures]), np.stack([angles(world, p) for p in pictures])
    )
  size = world.made_from['crop_size']
  for picture, driver, points, (image, mask, own) in zip(
    pictures, drivers, driven, render_pictures(world, pictures), strict=True
  ):
    person = world.person(picture.person)
    matrix, marks = aligned(world, own)
    covered = alignment.warp(mask, matrix, size) >= 128
    yield {
      'image': worlds.png(alignment.warp(image, matrix, size)),
      'mask': worlds.png(np.where(covered, 255, 0).astype(np.uint8)),
      'landmarks': marks,
      'identity': picture.person,
      'expression': picture.expression,
      'pose': picture.pose,
      'light': picture.light,
      'file': f'person_{picture.person:04d}/{EXPRESSIONS[picture.expression]}_{picture.pose}_{picture.light}.png',
      'skin': person.skin,
      'parameters': np.concatenate(
        [person.identity, person.albedo, person.hair, acted(world, picture), angles(world, picture)]
      ).astype(np.float32),
      'driver': driver,
      'driver_landmarks': aligned(world, points)[1] if driver >= 0 else points.astype(np.float32),
    }


def aligned(world: World, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """The map of a face into its crop, and its landmarks there in [-1, 1]."""
  size = world.made_from['crop_size']
  matrix = alignment.align(points, world.made_from['alignment'], world.made_from['template_scale'], size)
  return matrix, alignment.normalize(alignment.transform_points(points, matrix), size).astype(np.float32)
