"""Rendered actors: `--dataset=synthetic_actors`, a stand-in for videos of four people, with known truth.

An actor is filmed by a camera that stands still, in one light before one background: the head moves in the picture.
Expression, speech, gaze and pose move on smooth random walks (`talking_heads`), and so does the head's place. A differs
from B in sex, from C in the length of hair, from D in scale; these are the face-off paper's pairs. With each frame
come exact masks of face and person, landmarks and pose; and B, C and D are rendered with A's held-out motion too,
which is the truth of the translation. Frames are as far apart as `frame_rate` says, so that few show much; a short
film of A, and of the others doing the same, has all its frames: whoever sees it sees flicker.
"""

import dataclasses
import functools
import itertools
import math
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
from scipy import interpolate

from input_pipeline import dataset, scenes, shards, talking_heads, worlds
from models.face3d.hair import HAIR_NAMES
from models.face3d.morphable import MorphableModel, load_face_model
from models.face3d.people import Person, draw_background, draw_light, draw_person, stack_people
from models.face3d.portrait import People, frame, render_people
from models.face3d.render import Pose
from models.face3d.shading import Light

KIND = 'synthetic_actors'
PAIRS = {'A2B': 'AB', 'A2C': 'AC', 'A2D': 'AD'}
FILM_RATE = 25.0
_FILM = 500  # Frames at most: twenty seconds.
_CLIPS = ('train', 'near', 'far', 'film')
_FRAMES_PER_SHARD = 128
_FIRST_SEED = 3 * 2**21  # Of the people: nobody of another rendered data set is among them.
_OLDEST = 55.0
_LONG = 1.3  # Hair that falls so far (10 cm) is long.
_SWAY = (0.16, 0.06)  # Standard deviation of the head's place across and up (10 cm), and of its nearness to the camera.
_NEARNESS = 0.03
_SMOOTH = 0.8  # Seconds: standard deviation of the smoothing of the place.
_SPEAKS_UP = 1.6  # How much wider than in `talking_heads` mouths open: speech has to be seen in small pictures.
_BEYOND = 1.5  # How much farther heads turn in the second held-out clip.
_DRAW = ('expressions', 'face_mesh', 'hair', 'morphable', 'people', 'portrait', 'rasterize', 'render', 'shading')


class Role(NamedTuple):
  """What an actor has to be like.

  Attributes:
    female: 0 or 1.
    long_hair: whether the hair falls below the chin.
    zoom: as in `portrait.frame`, 1 shows head and shoulders.
    home: where the head rests, to the right of and above the middle (10 cm).
    light: of `people.LIGHTS`.
  """

  female: int
  long_hair: bool
  zoom: float
  home: tuple[float, float]
  light: str


ROLES = {
  # So near that a mouth is 23 pixels wide at 96: at head and shoulders it had 17, and generators left it out.
  'A': Role(0, False, 1.40, (0.00, 0.30), 'front'),
  'B': Role(1, False, 1.40, (0.08, 0.24), 'soft'),
  'C': Role(0, True, 1.40, (-0.08, 0.26), 'top'),
  'D': Role(0, False, 1.07, (0.12, 0.06), 'left'),
}


@dataclasses.dataclass(frozen=True)
class World:
  """What a worker needs to know; `made_from` is `settings(config, actor)`."""

  made_from: dict[str, Any]
  face_model: str

  @property
  def model(self) -> MorphableModel:
    return load_face_model(self.face_model)

  @property
  def actor(self) -> str:
    return self.made_from['actor']

  def clips(self, split: str) -> dict[str, int]:
    """Names and lengths of the clips of a split, in the order of its rows."""
    if split == 'train':
      return {'train': self.made_from['frames']}
    if split == 'film':
      return {'film': self.made_from['film_frames']}
    far = self.made_from['test_frames'] // 2
    return {'near': self.made_from['test_frames'] - far, 'far': far}

  @property
  def splits(self) -> dict[str, list[int]]:
    """Frames of each shard. `truth` is the actor with A's motion of the split `test`; in `film` all do as A does."""
    names = ('train', 'test', 'film', *['truth'] * (self.actor != 'A'))
    return {name: shards.shard_sizes(sum(self.clips(name).values()), _FRAMES_PER_SHARD) for name in names}


def settings(config: Any, actor: str) -> dict[str, Any]:
  """All that an actor's frames depend on: their fingerprint.

  Args:
    config: a `DataConfig` with `test_frames`, `frame_rate`, `largest_yaw` and `load_size`.
    actor: of `ROLES`.

  Raises:
    FileNotFoundError: if the face model is missing.
  """
  return {
    'kind': KIND,
    'actor': actor,
    'frames': config.images_per_identity,
    'test_frames': config.test_frames,
    'film_frames': min(_FILM, 2 * config.test_frames),
    'frame_rate': config.frame_rate,
    'largest_yaw': config.largest_yaw,
    'crop_size': config.load_size,
    'alignment': 'centre',
    'world_seed': config.world_seed,
    'face_model': worlds.digest_model(config.face_model),
    'renderer': worlds.digest_code(*_DRAW, __file__, talking_heads.__file__),
  }


def dataset_path(config: Any, actor: str) -> str:
  """The folder of an actor's data set, in the cache."""
  return worlds.dataset_path(config, settings(config, actor))


def is_rendered(config: Any) -> bool:
  """Whether both actors of the pair are in the cache, complete."""
  return all(worlds.is_rendered(dataset_path(config, actor)) for actor in PAIRS[config.pair])


def describe(config: Any) -> list[str]:
  """Lines about the data for people."""
  lines = [
    f'rendered actors {" and ".join(PAIRS[config.pair])}: {config.images_per_identity:,} + {config.test_frames:,} '
    f'frames each, {config.frame_rate:g} a second, heads turn by up to {config.largest_yaw:g} degrees, and by up to '
    f'{_BEYOND * config.largest_yaw:g} in half of the held-out frames; and a film of A, {FILM_RATE:g} frames a second'
  ]
  for actor in PAIRS[config.pair]:
    path = dataset_path(config, actor)
    lines.append(f'{actor} {"is in" if worlds.is_rendered(path) else "will be rendered into"} {path}')
  return lines


def render_dataset(config: Any, actor: str, processes: int = 0, runner: str = '') -> str:
  """Renders an actor's data set, unless it is in the cache; continues where it was stopped. Returns its folder.

  Args:
    config: see `settings`.
    actor: of `ROLES`.
    processes: 0 means one per core.
    runner: name of an Apache Beam runner.

  Raises:
    ConfigError: if the face model cannot be painted.
  """
  path = dataset_path(config, actor)
  if worlds.is_rendered(path):
    return path
  worlds.load_painted_model(config.face_model, 'actors are rendered with the default model, or one built like it')
  world = World(settings(config, actor), config.face_model)
  size = config.load_size
  tfds = shards.import_tfds()
  features = dataset.face_features([actor], talking_heads.LABELS, size)
  for name in ('face_mask', 'person_mask'):
    features[name] = tfds.features.Image(shape=(size, size, 1), encoding_format='png')
  features['coefficients'] = tfds.features.Tensor(shape=(len(talking_heads.EXPRESSIONS),), dtype=np.float32)
  features['angles'] = tfds.features.Tensor(shape=(3,), dtype=np.float32)
  worlds.render(
    path,
    world.made_from,
    features,
    world.splits,
    functools.partial(make_examples, world=world),
    pictures=f'frames of actor {actor}',
    description=f'Rendered frames of one actor. Coefficients are of {", ".join(talking_heads.EXPRESSIONS)}; angles are '
    'in radians: nodding, turning, tilting.',
    face_model=config.face_model,
    processes=processes,
    runner=runner,
  )
  return path


@functools.lru_cache(maxsize=8)
def _first_suitable(model: MorphableModel, role: Role, first: int) -> Person:
  for seed in itertools.count(first):
    person = draw_person(model, seed)
    hair = dict(zip(HAIR_NAMES, person.hair, strict=True))
    suits = hair['length'] > _LONG if role.long_hair else not hair['length']
    if person.female == role.female and person.age < _OLDEST and hair['cap'] and not hair['bald'] and suits:
      return person
  raise AssertionError  # The series has no end.


def draw_actor(world: World, actor: str) -> Person:
  """Who plays a role: the first drawn person who suits it."""
  first = world.made_from['world_seed'] * 2**24 + _FIRST_SEED + 2**12 * list(ROLES).index(actor)
  return _first_suitable(world.model, ROLES[actor], first)


def draw_motion(world: World, performer: str, clip: str, count: int) -> dict[str, np.ndarray]:
  """What an actor does in a clip of T frames, whatever the actor looks like.

  Args:
    world: whose seed, frame rate and largest turn count.
    performer: of `ROLES`.
    clip: train, near, far or film; in `far` heads turn beyond what training shows.
    count: T.

  Returns:
    coefficients [T, 6] and expression [T, E], see `talking_heads.draw_motion`; angles [T, 3] radians (nodding, turning,
    tilting); shift [T, 2] (10 cm) and nearness [T, 1], where the head is, as seen from where it rests.
  """
  made = world.made_from
  place = 4 * _CLIPS.index(clip) + list(ROLES).index(performer)
  rate = FILM_RATE if clip == 'film' else made['frame_rate']
  step = talking_heads.MOTION_RATE / rate
  moments = max(4, math.ceil((count - 1) * step) + 1)
  sizes = {'images_per_identity': moments, 'frames_per_track': moments}
  heads = talking_heads.World(sizes | {key: made[key] for key in ('world_seed', 'largest_yaw')}, world.face_model)
  drawn = talking_heads.draw_motion(heads, _FIRST_SEED + place, 0)
  motion = {
    name: interpolate.make_interp_spline(np.arange(moments), drawn[name], axis=0)(step * np.arange(count))
    for name in ('coefficients', 'expression', 'angles')
  }
  motion['coefficients'] = np.clip(motion['coefficients'], 0.0, 1.0)
  if 'jawOpen' in world.model.expression_names:
    motion['expression'][:, world.model.expression_names.index('jawOpen')] *= _SPEAKS_UP
  motion['expression'] = np.clip(motion['expression'], 0.0, 1.2)
  motion['angles'] *= _BEYOND if clip == 'far' else 1.0
  random = worlds.generator(made['world_seed'], 43, place)
  walks = talking_heads.walk(random, count, _SMOOTH * rate, 3)
  motion |= {'shift': walks[:, :2] * _SWAY, 'nearness': 1 + walks[:, 2:] * _NEARNESS}
  return {name: value.astype(np.float32) for name, value in motion.items()}


def perform(world: World, actor: str, motion: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
  """The frames of an actor who does what `draw_motion` says, as `render` takes them."""
  role, count = ROLES[actor], len(motion['angles'])
  random = worlds.generator(world.made_from['world_seed'], 44, list(ROLES).index(actor))
  light, background = (int(seed) for seed in random.integers(2**31, size=2))
  one: dict[str, Any] = stack_people([draw_actor(world, actor)])._asdict()
  one |= {name: part.numpy() for name, part in draw_light([light], [role.light])._asdict().items()}
  one['background'] = draw_background(background)[None]
  parameters = {name: np.repeat(value, count, axis=0) for name, value in one.items()}
  pose = frame(motion['angles'], role.zoom * motion['nearness'][:, 0], motion['shift'] + np.array(role.home))
  return parameters | {
    'expression': motion['expression'],
    'angles': motion['angles'],
    'translation': pose.translation.numpy(),
  }


def render(model: MorphableModel, parameters: Mapping[str, np.ndarray], size: int) -> dict[str, np.ndarray]:
  """Renders frames.

  Args:
    model: the face model.
    parameters: of `perform`, N of each.
    size: height and width.

  Returns:
    image [N, size, size, 3] uint8; face_mask, from hair line to chin where no hair hides it, and person_mask
    [N, size, size] uint8, 0 or 255; landmarks [N, 68, 2] float32 in [-1, 1].
  """
  count = len(parameters['angles'])
  found: dict[str, list[np.ndarray]] = {'image': [], 'face_mask': [], 'person_mask': [], 'landmarks': []}
  for start in range(0, count, scenes.BATCH):
    rows = np.minimum(np.arange(start, start + scenes.BATCH), count - 1)  # one compiled function for all
    part = {name: tf.constant(value[rows]) for name, value in parameters.items()}
    people = People(part['identity'], part['albedo'], part['hair'].numpy())
    pose = Pose(part['angles'], part['translation'])
    light = Light(part['harmonics'], part['directions'], part['colors'])
    shown = render_people(model, people, part['expression'], pose, light, part['background'], size)
    # In the dark before a white wall people are what is black.
    dark = light._replace(harmonics=tf.zeros_like(light.harmonics), colors=tf.zeros_like(light.colors))
    wall = tf.ones([len(rows), 1, 1, 3])
    outline = render_people(model, people, part['expression'], pose, dark, wall, size, supersample=1)
    half = 2 * 0.5 ** (1 / 2.2) - 1  # How a pixel of which half is wall is displayed.
    face = shown['mask'].numpy()[..., 0] > 0.5
    found['image'].append(np.clip(np.rint((shown['image'].numpy() + 1) * 127.5), 0, 255).astype(np.uint8))
    found['face_mask'].append(np.uint8(255) * face)
    found['person_mask'].append(np.uint8(255) * (face | (outline['image'].numpy()[..., 0] < half)))
    found['landmarks'].append(np.float32(shown['landmarks'].numpy() * 2 / size - 1))
  return {name: np.concatenate(value)[:count] for name, value in found.items()}


def make_examples(split: str, shard: int, *, world: World) -> Iterator[dict[str, Any]]:
  """Renders the frames of one shard."""
  actor = world.actor
  as_a = split in ('truth', 'film') and actor != 'A'
  performer, name = ('A', f'{actor} as A') if as_a else (actor, actor)
  clips = world.clips(split)
  drawn = [draw_motion(world, performer, clip, count) for clip, count in clips.items() if count]
  files = [f'{name}/{clip}#{number:06d}' for clip, count in clips.items() for number in range(count)]
  sizes = world.splits[split]
  rows = slice(sum(sizes[:shard]), sum(sizes[: shard + 1]))
  motion = {key: np.concatenate([part[key] for part in drawn])[rows] for key in drawn[0]}
  frames = render(world.model, perform(world, actor, motion), world.made_from['crop_size'])
  labels, skin = talking_heads.labels_of(motion['coefficients']), draw_actor(world, actor).skin
  for row, file in enumerate(files[rows]):
    yield {
      'image': worlds.png(frames['image'][row]),
      'face_mask': worlds.png(frames['face_mask'][row]),
      'person_mask': worlds.png(frames['person_mask'][row]),
      'landmarks': frames['landmarks'][row],
      'identity': 0,
      'expression': int(labels[row]),
      'pose': round(math.degrees(motion['angles'][row, 1])),
      'light': 0,
      'file': file,
      'skin': skin,
      'coefficients': motion['coefficients'][row],
      'angles': motion['angles'][row],
    }
