"""The synthetic domain of GANFaces: plain renders of new people, each with a label.

Who they are is drawn from the face model; expression, pose and light are drawn from normal distributions that were
fitted to the parameters of the pairs, yaw included (the authors' script sets it to 0).
"""

import dataclasses
import functools
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from input_pipeline import boxes, dataset, scenes, shards, worlds
from input_pipeline.scenes import Gaussian
from models.face3d.morphable import load_face_model
from models.face3d.people import draw_person

_PICTURES_PER_SHARD = 256
_DRAW = ('face_mesh', 'morphable', 'people', 'rasterize', 'render', 'shading')
_FIRST_SEED = 2**23  # Of the people: nobody of the stand-ins is among them.


@dataclasses.dataclass(frozen=True)
class World:
  """What a worker needs to know; `made_from` is the fingerprint."""

  made_from: dict[str, Any]
  face_model: str
  expression: Gaussian
  pose: Gaussian
  light: Gaussian

  def people(self, split: str) -> range:
    """Numbers of the people of a split, which are their labels."""
    return people_of(self.made_from['identities'])[split]


def people_of(identities: int) -> dict[str, range]:
  """Numbers of the people who are trained on, `identities`, and of those held out, a tenth as many more."""
  held_out = min(1000, max(2, round(identities / 10)))
  return {'train': range(identities), 'test': range(identities, identities + held_out)}


def make_world(config: Any, found: Mapping[str, np.ndarray]) -> World:
  """The world of a config's renders.

  Args:
    config: a `GANFacesConfig`.
    found: `expression` [N, E], `pose` [N, 3] and `light` [N, 9, 3] of the pairs.

  Raises:
    FileNotFoundError: if the face model is missing.
  """
  # Rounded, as the last digits depend on the machine.
  rows = {name: np.round(np.asarray(found[name], np.float64), 4) for name in ('expression', 'pose', 'light')}
  made_from = {
    'kind': 'renders',
    'identities': config.identities,
    'renders_per_identity': config.renders_per_identity,
    'crop_size': config.image_size,
    'world_seed': config.world_seed,
    'alignment': 'box',
    'drawn_from': shards.digest({name: value.tolist() for name, value in rows.items()}),
    'face_model': worlds.digest_model(config.face_model),
    'renderer': worlds.digest_code(*_DRAW, __file__, scenes.__file__, boxes.__file__),
  }
  return World(made_from, config.face_model, **{name: Gaussian.fit(value) for name, value in rows.items()})


def dataset_path(config: Any, world: World) -> str:
  """The folder of the renders, in the cache."""
  return worlds.dataset_path(config, world.made_from)


def render_dataset(config: Any, world: World, processes: int = 0, runner: str = '') -> str:
  """Renders the data set, unless it is in the cache; continues where it was stopped. Returns its folder.

  Args:
    config: a `GANFacesConfig`.
    world: of `make_world`.
    processes: 0 means one per core.
    runner: name of an Apache Beam runner.
  """
  path = dataset_path(config, world)
  if worlds.is_rendered(path):
    return path
  model = load_face_model(config.face_model)
  splits = {
    split: [len(part) * config.renders_per_identity for part in _parts(world, split)] for split in ('train', 'test')
  }
  sizes = scenes.parameter_sizes(model)
  names = [f'render_{number:07d}' for split in ('train', 'test') for number in world.people(split)]
  features = dataset.face_features(names, ['unlabelled'], config.image_size)
  features['parameters'] = shards.import_tfds().features.Tensor(shape=(sum(sizes.values()),), dtype=np.float32)
  worlds.render(
    path,
    world.made_from,
    features,
    splits,
    functools.partial(make_examples, world=world),
    pictures='faces',
    description='Plain renders of a morphable model, a label for each person. The parameters of a picture are, in '
    f'order: {sizes}.',
    face_model=config.face_model,
    processes=processes,
    runner=runner,
  )
  return path


def _parts(world: World, split: str) -> list[range]:
  people, step = world.people(split), max(1, _PICTURES_PER_SHARD // world.made_from['renders_per_identity'])
  return [people[i : i + step] for i in range(0, len(people), step)]


def draw_parameters(world: World, places: list[tuple[int, int]]) -> dict[str, np.ndarray]:
  """Parameters of pictures: rows of `scenes.PARAMETERS`.

  Args:
    world: of the renders.
    places: person and number of each picture. What a picture shows depends on these and the world alone.
  """
  model, seed = load_face_model(world.face_model), world.made_from['world_seed']
  looks = {person: _draw_look(world, person) for person, _ in places}
  random = [worlds.generator(seed, 22, *place) for place in places]
  parameters = {
    'identity': np.stack([looks[person][0] for person, _ in places]),
    'albedo': np.stack([looks[person][1] for person, _ in places]),
    'expression': np.stack([world.expression.draw(r) for r in random]),
    'pose': np.stack([world.pose.draw(r) for r in random]),
    'light': np.stack([world.light.draw(r).reshape(9, 3) for r in random]),
  }
  noise = np.stack([scenes.draw_noise(r) for r in random])
  shape = (parameters['identity'], parameters['expression'], parameters['pose'])
  return parameters | {'translation': scenes.stand(model, *shape, noise)}


def _draw_look(world: World, person: int) -> tuple[np.ndarray, np.ndarray]:
  """A person's shape [I] and albedo [A].

  Coefficients of a model are normal; of the default one, whose pigments are never negative, they are those of its
  population.
  """
  model, seed = load_face_model(world.face_model), world.made_from['world_seed']
  if 'paint' in model.extras:
    drawn = draw_person(model, seed * 2**24 + _FIRST_SEED + person)
    return drawn.identity, drawn.albedo
  random = worlds.generator(seed, 21, person)
  modes = (model.identity_basis.shape[0], model.albedo_basis.shape[0])
  identity, albedo = (random.normal(size=count).astype(np.float32) for count in modes)
  return identity, albedo


def make_examples(split: str, shard: int, *, world: World) -> Iterator[dict[str, Any]]:
  """Renders the pictures of one shard."""
  places = [(p, n) for p in _parts(world, split)[shard] for n in range(world.made_from['renders_per_identity'])]
  parameters = draw_parameters(world, places)
  images, landmarks = scenes.render_plain(load_face_model(world.face_model), parameters, world.made_from['crop_size'])
  for (person, number), image, points, vector in zip(places, images, landmarks, scenes.pack(parameters), strict=True):
    yield {
      'image': worlds.png(image),
      'landmarks': points,
      'identity': person,
      'expression': 0,
      'pose': 0,
      'light': 0,
      'file': f'{person:07d}/{number:04d}.png',
      'skin': '',
      'parameters': vector,
    }
