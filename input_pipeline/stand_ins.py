"""Stand-ins for photographs, where there are none: rendered people as a camera would show them.

They have all that the plain renders of GANFaces lack: hair, specular skin and its texture, backgrounds, directed
light, a camera's blur, noise, exposure and compression. Each comes with the plain render of its own parameters, so that
they also stand in for photographs with a fitted model. Whatever is made from them has to say that they are no
photographs.
"""

import dataclasses
import functools
import io
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow as tf
from PIL import Image
from scipy import ndimage

from input_pipeline import boxes, dataset, scenes, shards, worlds
from models.face3d.expressions import EXPRESSIONS as WEIGHTS
from models.face3d.expressions import act
from models.face3d.morphable import load_face_model
from models.face3d.people import Person, draw_background, draw_light, draw_person, stack_people
from models.face3d.portrait import render_people
from models.face3d.render import Pose
from models.face3d.shading import Light

NOTE = 'the photographs are rendered stand-ins'
EXPRESSIONS = tuple(WEIGHTS)
# Photographs and pairs show different people, and each has some who are held out.
SPLITS = ('train', 'test', 'pairs', 'pairs_test')
_CHANCES = np.array([0.35 if name == 'neutral' else 0.33 if name == 'smile' else 0.08 for name in EXPRESSIONS])
# Standard deviations of nodding, turning and tilting in radians, and the farthest: dlib finds faces up to there.
MOTION = tuple(math.radians(degrees) for degrees in (6.0, 14.0, 5.0))
FARTHEST = tuple(math.radians(degrees) for degrees in (16.0, 36.0, 14.0))
_PICTURES_PER_SHARD = 96
_FIRST_SEED = 2**22  # Of the people: nobody of the renders is among them.
_DRAW = ('expressions', 'face_mesh', 'hair', 'morphable', 'people', 'portrait', 'rasterize', 'render', 'shading')


@dataclasses.dataclass(frozen=True)
class World:
  """What a worker needs to know; `made_from` is `settings(config)`."""

  made_from: dict[str, Any]
  face_model: str

  def people(self, split: str) -> list[int]:
    """Numbers of the people of a split, unique over all splits."""
    wanted = self.made_from['pairs' if split.startswith('pairs') else 'photographs']
    count = -(-wanted // self.made_from['images_per_identity'])
    if split.endswith('test'):
      count = max(2, round(count / 10))
    # A world with more people begins with the same ones.
    first = SPLITS.index(split) * 2**20
    return list(range(first, first + count))

  def person(self, number: int) -> Person:
    return draw_person(load_face_model(self.face_model), self.made_from['world_seed'] * 2**24 + _FIRST_SEED + number)


def settings(config: Any) -> dict[str, Any]:
  """All that the stand-ins depend on: their fingerprint.

  Raises:
    FileNotFoundError: if the face model is missing.
  """
  return {
    'kind': 'stand_ins',
    'photographs': config.stand_ins,
    'pairs': config.stand_in_pairs,
    'images_per_identity': config.images_per_identity,
    'crop_size': config.image_size,
    'world_seed': config.world_seed,
    'alignment': 'box',
    'face_model': worlds.digest_model(config.face_model),
    'renderer': worlds.digest_code(*_DRAW, __file__, scenes.__file__, boxes.__file__),
  }


def dataset_path(config: Any) -> str:
  """The folder of the stand-ins, in the cache."""
  return worlds.dataset_path(config, settings(config))


def is_rendered(config: Any) -> bool:
  """Whether they are in the cache, complete."""
  return worlds.is_rendered(dataset_path(config))


def describe(config: Any) -> list[str]:
  """Lines about the stand-ins for people."""
  world = World(settings(config), config.face_model)
  people = {split: len(world.people(split)) for split in SPLITS}
  state = 'are in' if is_rendered(config) else 'will be rendered into'
  return [
    f'real domain: {NOTE} with hair, specular skin, backgrounds and camera noise: {people["train"]:,} people '
    f'({people["test"]:,} more held out) x {config.images_per_identity} pictures',
    f'pairs: {people["pairs"]:,} other people ({people["pairs_test"]:,} more held out), each picture with the render '
    'of its own parameters',
    f'they {state} {dataset_path(config)}',
  ]


def stand_in_dataset(config: Any, processes: int = 0, runner: str = '') -> str:
  """Renders the stand-ins, unless they are in the cache; continues where it was stopped. Returns their folder.

  Args:
    config: a `GANFacesConfig`.
    processes: 0 means one per core.
    runner: name of an Apache Beam runner.

  Raises:
    ConfigError: if the face model cannot be painted.
  """
  path = dataset_path(config)
  if is_rendered(config):
    return path
  model = worlds.load_painted_model(
    config.face_model,
    'nothing else can stand in for photographs; give some with --dataset=PATH, or leave face_model away',
    ('face_model', 'dataset'),
  )
  world = World(settings(config), config.face_model)
  per_person = config.images_per_identity
  splits = {split: [len(part) * per_person for part in _parts(world, split)] for split in SPLITS}
  names = [_name(number) for split in SPLITS for number in world.people(split)]
  features = dataset.face_features(names, EXPRESSIONS, config.image_size)
  tfds = shards.import_tfds()
  features['render'] = tfds.features.Image(shape=(config.image_size, config.image_size, 3), encoding_format='png')
  sizes = scenes.parameter_sizes(model)
  features['parameters'] = tfds.features.Tensor(shape=(sum(sizes.values()),), dtype=np.float32)
  worlds.render(
    path,
    world.made_from,
    features,
    splits,
    functools.partial(make_examples, world=world),
    pictures='stand-ins for photographs',
    description='Rendered people as a camera would show them, stand-ins for photographs, each with the plain render '
    f'of its parameters, which are, in order: {sizes}.',
    face_model=config.face_model,
    processes=processes,
    runner=runner,
  )
  return path


def _name(number: int) -> str:
  return f'{SPLITS[number >> 20]}_{number & 0xFFFFF:06d}'


def _parts(world: World, split: str) -> list[list[int]]:
  people, step = world.people(split), max(1, _PICTURES_PER_SHARD // world.made_from['images_per_identity'])
  return [people[i : i + step] for i in range(0, len(people), step)]


def _draw_act(world: World, person: int, number: int) -> tuple[int, np.ndarray, np.ndarray, np.ndarray, int]:
  """A person's picture: number of the expression, [E] weights, [3] angles, [3] noise of the box, seed of its light."""
  random = worlds.generator(world.made_from['world_seed'], 11, person, number)
  expression = int(random.choice(len(EXPRESSIONS), p=_CHANCES))
  weights = act(load_face_model(world.face_model), EXPRESSIONS[expression], random)
  angles = np.clip(random.normal(size=3) * MOTION, np.negative(FARTHEST), FARTHEST)
  return expression, weights, angles, scenes.draw_noise(random), int(random.integers(2**31))


def pair_parameters(world: World, most: int = 2000) -> dict[str, np.ndarray]:
  """What a fit of the training pairs would find, without rendering them.

  Args:
    world: of the stand-ins.
    most: as many of the pairs at most.

  Returns:
    `expression` [N, E], `pose` [N, 3], `light` [N, 9, 3].
  """
  places = [(p, n) for p in world.people('pairs') for n in range(world.made_from['images_per_identity'])][:most]
  drawn = [_draw_act(world, *place) for place in places]
  return {
    'expression': np.stack([row[1] for row in drawn]),
    'pose': np.stack([row[2] for row in drawn]),
    'light': scenes.plain_light(draw_light([row[4] for row in drawn])),
  }


def make_examples(split: str, shard: int, *, world: World) -> Iterator[dict[str, Any]]:
  """Renders the pictures of one shard."""
  model, size = load_face_model(world.face_model), world.made_from['crop_size']
  numbers = _parts(world, split)[shard]
  places = [(p, n) for p in numbers for n in range(world.made_from['images_per_identity'])]
  people = {number: world.person(number) for number in numbers}
  drawn = [_draw_act(world, *place) for place in places]
  looks = [people[person] for person, _ in places]
  lights = draw_light([row[4] for row in drawn])
  parameters = {
    'identity': np.stack([look.identity for look in looks]),
    'expression': np.stack([row[1] for row in drawn]).astype(np.float32),
    'albedo': np.stack([look.albedo for look in looks]),
    'pose': np.stack([row[2] for row in drawn]).astype(np.float32),
  }
  shape = (parameters['identity'], parameters['expression'], parameters['pose'])
  parameters['translation'] = scenes.stand(model, *shape, np.stack([row[3] for row in drawn]))
  parameters['light'] = scenes.plain_light(lights)
  renders, landmarks = scenes.render_plain(model, parameters, size)
  vectors = scenes.pack(parameters)
  names = {number: place for place, number in enumerate(n for s in SPLITS for n in world.people(s))}
  for row, picture in enumerate(_render_portraits(model, looks, parameters, lights, [r[4] for r in drawn], size)):
    person, number = places[row]
    yield {
      'image': worlds.png(photograph(picture, worlds.generator(world.made_from['world_seed'], 12, person, number))),
      'render': worlds.png(renders[row]),
      'landmarks': landmarks[row],
      'identity': names[person],
      'expression': drawn[row][0],
      'pose': 0,
      'light': 0,
      'file': f'{_name(person)}/{number:04d}.png',
      'skin': looks[row].skin,
      'parameters': vectors[row],
    }


def _render_portraits(
  model: Any, looks: list[Person], parameters: dict[str, np.ndarray], lights: Light, seeds: list[int], size: int
) -> Iterator[np.ndarray]:
  """Pictures [size, size, 3] of display values in [0, 1]."""
  count = len(looks)
  for start in range(0, count, scenes.BATCH):
    rows = np.minimum(np.arange(start, start + scenes.BATCH), count - 1)  # one compiled function for all
    result = render_people(
      model,
      stack_people([looks[row] for row in rows]),
      parameters['expression'][rows],
      Pose(*(tf.constant(parameters[name][rows]) for name in ('pose', 'translation'))),
      Light(*(tf.gather(part, rows) for part in lights)),
      np.stack([draw_background(seeds[row]) for row in rows]),
      size,
    )
    yield from ((result['image'].numpy() + 1) / 2)[: min(scenes.BATCH, count - start)]


def photograph(picture: np.ndarray, random: np.random.Generator) -> np.ndarray:
  """What a camera makes of a picture: exposure, white balance, blur, the noise of light and sensor, tone, JPEG.

  Args:
    picture: [S, S, 3] display values in [0, 1].
    random: of the picture.

  Returns:
    [S, S, 3] uint8.
  """
  size = len(picture)
  light = np.clip(picture, 0, 1) ** 2.2 * np.exp(random.normal() * 0.18 + random.normal(size=3) * [0.04, 0.01, 0.04])
  light = ndimage.gaussian_filter(light, [random.uniform(0.15, 0.8) * size / 96] * 2 + [0])
  gain, floor = random.uniform(2e-4, 1.5e-3), random.uniform(1e-3, 5e-3)
  light += random.normal(size=light.shape) * np.sqrt(light * gain + floor**2)
  display = np.clip(light, 0, 1) ** (np.exp(random.normal() * 0.06) / 2.2)
  grey = display.mean(axis=-1, keepdims=True)
  display = grey + (display - grey) * np.exp(random.normal() * 0.1)
  file = io.BytesIO()
  Image.fromarray(np.clip(np.rint(display * 255), 0, 255).astype(np.uint8)).save(
    file, 'JPEG', quality=int(random.integers(70, 97))
  )
  with Image.open(file) as image:
    return np.asarray(image)
