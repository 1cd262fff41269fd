"""Rendered talking heads: `--dataset=synthetic_video`, a stand-in for videos of faces with known truth.

A track is a person in one light before one background. Expression, speech, gaze, pose and light move on smooth random
walks; the camera follows the head, as a crop around a detected face does. What a frame shows is stored with it, so that
the same head can be rendered otherwise later: without expression from the front (`neutralised`), or with the motion of
another frame (`transferred`). These labels are for probes and measures, never for training.
"""

import dataclasses
import functools
import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import tensorflow as tf
from scipy import ndimage, special

from input_pipeline import boxes, dataset, face_squares, scenes, shards, synthetic, worlds
from models.face3d.expressions import EXPRESSIONS as ACTED
from models.face3d.morphable import MorphableModel, load_face_model
from models.face3d.people import LIGHTS, Person, draw_background, draw_light, draw_person, stack_people
from models.face3d.portrait import People, render_people
from models.face3d.render import Pose
from models.face3d.shading import Light

KIND = 'synthetic_video'
FRAME_RATE = 1.0  # Frames a second of the tracks, VoxCeleb's.
MOTION_RATE = 5.0  # Moments a second of `draw_motion`, if nothing else is said.


def _both(**units: float) -> dict[str, float]:
  return {f'{name}{side}': weight for name, weight in units.items() for side in ('Left', 'Right')}


# The six expressions as weights of face units; a frame's coefficients say how much of each it shows.
EXPRESSIONS: dict[str, dict[str, float]] = {
  'happy': ACTED['smile'],
  'sad': _both(mouthFrown=1.0, browDown=0.15, eyeSquint=0.2, eyeLookDown=0.25)
  | {'browInnerUp': 1.0, 'mouthShrugLower': 0.5},
  'surprised': ACTED['surprise'],
  'angry': _both(browDown=1.0, noseSneer=0.35, mouthPress=0.8, eyeSquint=0.5, mouthFrown=0.2)
  | {'mouthRollLower': 0.35, 'jawForward': 0.4},
  'disgusted': ACTED['disgust'],
  'afraid': _both(browOuterUp=0.35, eyeWide=1.0, mouthStretch=1.0, mouthLowerDown=0.35)
  | {'browInnerUp': 1.0, 'jawOpen': 0.22},
}
# Of frames: neutral where all coefficients are below .15, an expression where its own is above .5, else mixed.
LABELS = ('neutral', *EXPRESSIONS, 'mixed')
NEUTRAL_BELOW, EXPRESSED_ABOVE = 0.15, 0.5
# How far a head nods and tilts where it turns by up to 1.
_NOD, _TILT = 0.5, 0.4
# Standard deviations of the walks' smoothing in seconds: expression, pose, gaze, speech and lids, light.
_SMOOTH = {'expression': 0.5, 'pose': 0.6, 'gaze': 0.3, 'speech': 0.14, 'light': 5.0}
_DECIDED = 4.0  # The larger, the more one expression rules at a time.
_FRAMES_PER_SHARD = 256
_FIRST_SEED = 2**21  # Of the people: nobody of another rendered data set is among them.
_DRAW = ('expressions', 'face_mesh', 'hair', 'morphable', 'people', 'portrait', 'rasterize', 'render', 'shading')


@dataclasses.dataclass(frozen=True)
class World:
  """What a worker needs to know; `made_from` is `settings(config)`."""

  made_from: dict[str, Any]
  face_model: str

  @property
  def model(self) -> MorphableModel:
    return load_face_model(self.face_model)

  def person(self, number: int) -> Person:
    return draw_person(self.model, self.made_from['world_seed'] * 2**24 + _FIRST_SEED + number)

  def track_lengths(self) -> list[int]:
    """Frames of each of a person's tracks."""
    return shards.shard_sizes(self.made_from['images_per_identity'], self.made_from['frames_per_track'])


def settings(config: Any) -> dict[str, Any]:
  """All that the frames depend on: their fingerprint.

  Args:
    config: a `DataConfig` with `image_size`, `frames_per_track`, `largest_yaw` and `enlargement`.

  Raises:
    FileNotFoundError: if the face model is missing.
  """
  return {
    'kind': KIND,
    'identities': config.identities,
    'images_per_identity': config.images_per_identity,
    'frames_per_track': config.frames_per_track,
    'largest_yaw': config.largest_yaw,
    'crop_size': config.image_size,
    'alignment': 'enlarged',
    'enlargement': config.enlargement,
    'world_seed': config.world_seed,
    'face_model': worlds.digest_model(config.face_model),
    'renderer': worlds.digest_code(*_DRAW, __file__, scenes.__file__, boxes.__file__, face_squares.__file__),
  }


def dataset_path(config: Any) -> str:
  """The folder of the data set, in the cache."""
  return worlds.dataset_path(config, settings(config))


def is_rendered(config: Any) -> bool:
  """Whether the data set is in the cache, complete."""
  return worlds.is_rendered(dataset_path(config))


def describe(config: Any) -> list[str]:
  """Lines about the data set for people."""
  world = World(settings(config), config.face_model)
  people = synthetic.people_of_splits(config.identities)
  state = 'is in' if is_rendered(config) else 'will be rendered into'
  return [
    f'rendered talking heads: {config.identities:,} people ({len(people["test"]):,} held out) x '
    f'{len(world.track_lengths())} tracks = {config.identities * config.images_per_identity:,} frames, '
    f'{FRAME_RATE:g} a second, heads turn by up to {config.largest_yaw:g} degrees',
    f'it {state} {dataset_path(config)}',
  ]


def render_dataset(config: Any, processes: int = 0, runner: str = '') -> str:
  """Renders the data set, unless it is in the cache; continues where it was stopped. Returns its folder.

  Args:
    config: see `settings`.
    processes: 0 means one per core.
    runner: name of an Apache Beam runner.

  Raises:
    ConfigError: if the face model cannot be painted.
  """
  path = dataset_path(config)
  if is_rendered(config):
    return path
  model = worlds.load_painted_model(
    config.face_model, 'talking heads are rendered with the default model, or one built like it'
  )
  world = World(settings(config), config.face_model)
  per_person, people = config.images_per_identity, synthetic.people_of_splits(config.identities)
  splits = {split: [len(part) * per_person for part in _parts(world, split)] for split in people}
  names = [f'person_{number:05d}' for number in range(config.identities)]
  features = dataset.face_features(names, LABELS, config.image_size)
  tfds = shards.import_tfds()
  sizes = parameter_sizes(model)
  features['coefficients'] = tfds.features.Tensor(shape=(len(EXPRESSIONS),), dtype=np.float32)
  features['parameters'] = tfds.features.Tensor(shape=(sum(sizes.values()),), dtype=np.float32)
  features['background'] = tfds.features.Scalar(dtype=np.int64)
  worlds.render(
    path,
    world.made_from,
    features,
    splits,
    functools.partial(make_examples, world=world),
    pictures='frames of talking heads',
    description=f'Rendered talking heads. Coefficients are of {", ".join(EXPRESSIONS)}. The parameters of a frame are, '
    f'in order: {sizes}.',
    face_model=config.face_model,
    processes=processes,
    runner=runner,
  )
  return path


def _parts(world: World, split: str) -> list[list[int]]:
  people = synthetic.people_of_splits(world.made_from['identities'])[split]
  step = max(1, _FRAMES_PER_SHARD // world.made_from['images_per_identity'])
  return [people[i : i + step] for i in range(0, len(people), step)]


def walk(random: np.random.Generator, count: int, smoothing: float, width: int) -> np.ndarray:
  """Smooth random walks [count, width] that stay where they are: each value is normal with variance 1.

  Args:
    random: of the walks.
    count: moments.
    smoothing: standard deviation of the Gaussian over time, in moments.
    width: how many walks.
  """
  reach = math.ceil(4 * smoothing)
  kernel = ndimage.gaussian_filter1d(np.eye(1, 2 * reach + 1, reach)[0], smoothing, mode='constant')
  noise = random.normal(size=[count + 2 * reach, width])
  return ndimage.gaussian_filter1d(noise, smoothing, axis=0)[reach : reach + count] / np.linalg.norm(kernel)


def draw_motion(world: World, person: int, track: int, rate: float = MOTION_RATE) -> dict[str, np.ndarray]:
  """What moves in a track of T moments.

  Args:
    world: whose track lengths, seed and largest turn count.
    person: of the world.
    track: of the person.
    rate: moments a second.

  Returns:
    coefficients [T, 6] in [0, 1] of `EXPRESSIONS`; expression [T, E] weights of the face units; angles [T, 3] radians
    (nodding, turning, tilting); shade [T] in [0, 1], how far the light has moved.
  """
  random = worlds.generator(world.made_from['world_seed'], 31, person, track)
  count, model = world.track_lengths()[track], world.model
  smooth = {name: seconds * rate for name, seconds in _SMOOTH.items()}
  pull = np.exp(_DECIDED * walk(random, count, smooth['expression'], len(LABELS) - 1))
  coefficients = random.uniform(0.8, 1.0) * pull[:, 1:] / pull.sum(axis=1, keepdims=True)
  largest = math.radians(world.made_from['largest_yaw']) * np.array([_NOD, 1.0, _TILT])
  angles = largest * (2 * special.ndtr(walk(random, count, smooth['pose'], 3)) - 1)
  lean = np.clip(random.normal() * 0.12, -0.3, 0.3)  # Positive: the left half of the face acts more.
  units = np.zeros([count, len(model.expression_names)])

  def add(name: str, weight: np.ndarray) -> None:
    if name in model.expression_names:
      side = lean if name.endswith('Left') else -lean if name.endswith('Right') else 0.0
      units[:, model.expression_names.index(name)] += weight * (1 + side)

  for number, weights in enumerate(EXPRESSIONS.values()):
    for unit, weight in weights.items():
      add(unit, coefficients[:, number] * weight)
  # Speech comes and goes, and is smaller where the mouth is busy.
  talks = special.ndtr(2 * walk(random, count, smooth['expression'], 1))
  talks *= 1 - 0.6 * coefficients.max(axis=1, keepdims=True)
  jaw, lips, lids = np.moveaxis(walk(random, count, smooth['speech'], 3)[:, :, None], 1, 0)
  add('jawOpen', (0.30 * talks * special.ndtr(1.5 * jaw))[:, 0])
  add('mouthFunnel', (0.35 * talks * np.maximum(lips, 0))[:, 0])
  add('mouthPucker', (0.30 * talks * np.maximum(-lips, 0))[:, 0])
  gaze = 0.22 * walk(random, count, smooth['gaze'], 2)
  for side, inward in (('Left', -1), ('Right', 1)):
    add(f'eyeBlink{side}', np.clip(2 * (lids[:, 0] - 1.5), 0, 0.9))
    add(f'eyeLookIn{side}', np.maximum(gaze[:, 0] * inward, 0))
    add(f'eyeLookOut{side}', np.maximum(-gaze[:, 0] * inward, 0))
    add(f'eyeLookUp{side}', np.maximum(gaze[:, 1], 0))
    add(f'eyeLookDown{side}', np.maximum(-gaze[:, 1], 0))
  return {
    'coefficients': coefficients.astype(np.float32),
    'expression': np.clip(units, 0, 1.2).astype(np.float32),
    'angles': angles.astype(np.float32),
    'shade': special.ndtr(walk(random, count, smooth['light'], 1))[:, 0].astype(np.float32),
  }


def draw_scene(world: World, person: int, track: int) -> tuple[int, Light, int]:
  """A track's number of `LIGHTS`, the two lights of that kind [2, ...] between which it moves, and its background."""
  random = worlds.generator(world.made_from['world_seed'], 32, person, track)
  kind = int(random.integers(len(LIGHTS)))
  seeds = [int(seed) for seed in random.integers(2**31, size=2)]
  return kind, draw_light(seeds, [LIGHTS[kind]] * 2), int(random.integers(2**31))


def labels_of(coefficients: np.ndarray) -> np.ndarray:
  """Numbers [N] of `LABELS` that coefficients [N, 6] mean."""
  coefficients = np.asarray(coefficients)
  strongest, most = coefficients.argmax(axis=1), coefficients.max(axis=1)
  shown = np.where(most > EXPRESSED_ABOVE, strongest + 1, len(LABELS) - 1)
  return np.where(most < NEUTRAL_BELOW, 0, shown).astype(np.int32)


def parameter_sizes(model: MorphableModel) -> dict[str, int]:
  """Names and lengths of the parts of a frame's parameter vector."""
  person = draw_person(model, 0)
  return {
    'identity': len(person.identity),
    'albedo': len(person.albedo),
    'hair': len(person.hair),
    'expression': len(model.expression_names),
    'angles': 3,
    'translation': 3,
    'harmonics': 27,
    'directions': 6,
    'colors': 6,
  }


def unpack(vectors: np.ndarray, background: np.ndarray, model: MorphableModel) -> dict[str, np.ndarray]:
  """The parameters of stored vectors [N, P] by name, with the seeds [N] of the backgrounds, as `render` wants them."""
  sizes = parameter_sizes(model)
  parts = np.split(np.asarray(vectors), np.cumsum(list(sizes.values()))[:-1], axis=1)
  return dict(zip(sizes, parts, strict=True)) | {'background': np.asarray(background)}


def stand(model: MorphableModel, parameters: Mapping[str, np.ndarray], enlargement: float) -> np.ndarray:
  """[N, 3] translations with which the square around each face is the whole picture. A moving mouth moves no head."""
  count = len(parameters['angles'])
  noise = np.tile(face_squares.box_offset(enlargement), (count, 1))
  still = np.zeros_like(parameters['expression'])
  return scenes.stand(model, parameters['identity'], still, parameters['angles'], noise)


def neutralised(
  model: MorphableModel, parameters: Mapping[str, np.ndarray], enlargement: float
) -> dict[str, np.ndarray]:
  """The same people in the same light, without expression and from the front."""
  still = {name: np.zeros_like(parameters[name]) for name in ('expression', 'angles')}
  changed = dict(parameters) | still
  return changed | {'translation': stand(model, changed, enlargement)}


def transferred(
  model: MorphableModel,
  targets: Mapping[str, np.ndarray],
  sources: Mapping[str, np.ndarray],
  enlargement: float,
) -> dict[str, np.ndarray]:
  """The targets' people in the targets' light, with the expressions and angles of the sources, row by row."""
  changed = dict(targets) | {name: sources[name] for name in ('expression', 'angles')}
  return changed | {'translation': stand(model, changed, enlargement)}


def render(model: MorphableModel, parameters: Mapping[str, np.ndarray], size: int) -> tuple[np.ndarray, np.ndarray]:
  """Renders frames.

  Args:
    model: the face model.
    parameters: of `unpack`, N of each.
    size: height and width.

  Returns:
    [N, size, size, 3] uint8, and landmarks [N, 68, 2] float32 in [-1, 1].
  """
  count = len(parameters['angles'])
  images, landmarks = [], []
  for start in range(0, count, scenes.BATCH):
    rows = np.minimum(np.arange(start, start + scenes.BATCH), count - 1)  # one compiled function for all
    part = {name: value[rows] for name, value in parameters.items()}
    result = render_people(
      model,
      People(part['identity'], part['albedo'], part['hair']),
      part['expression'],
      Pose(tf.constant(part['angles']), tf.constant(part['translation'])),
      Light(
        tf.constant(part['harmonics'].reshape(-1, 9, 3)),
        tf.constant(part['directions'].reshape(-1, 2, 3)),
        tf.constant(part['colors'].reshape(-1, 2, 3)),
      ),
      np.stack([draw_background(int(seed)) for seed in part['background']]),
      size,
    )
    images.append(np.clip(np.rint((result['image'].numpy() + 1) * 127.5), 0, 255).astype(np.uint8))
    landmarks.append(result['landmarks'].numpy() * 2 / size - 1)
  return np.concatenate(images)[:count], np.concatenate(landmarks)[:count].astype(np.float32)


def draw_track(world: World, person: int, track: int) -> tuple[dict[str, np.ndarray], np.ndarray, int]:
  """Parameters of a track's frames as `render` wants them, their coefficients [T, 6], and their number of `LIGHTS`."""
  motion = draw_motion(world, person, track, FRAME_RATE)
  kind, lights, background = draw_scene(world, person, track)
  count, share = len(motion['angles']), motion['shade'][:, None]
  looks = stack_people([world.person(person)])
  parameters = {name: np.repeat(value, count, axis=0) for name, value in looks._asdict().items()}
  parameters |= {'expression': motion['expression'], 'angles': motion['angles']}
  for name, part in lights._asdict().items():
    first, second = part.numpy().reshape(2, -1)
    parameters[name] = (first + share * (second - first)).astype(np.float32)
  parameters['background'] = np.full(count, background)
  parameters['translation'] = stand(world.model, parameters, world.made_from['enlargement'])
  return parameters, motion['coefficients'], kind


def make_examples(split: str, shard: int, *, world: World) -> Iterator[dict[str, Any]]:
  """Renders the frames of one shard."""
  names = list(parameter_sizes(world.model))
  people = _parts(world, split)[shard]
  places = [(person, track) for person in people for track in range(len(world.track_lengths()))]
  drawn = [draw_track(world, *place) for place in places]
  parameters = {name: np.concatenate([part[0][name] for part in drawn]) for name in drawn[0][0]}
  images, landmarks = render(world.model, parameters, world.made_from['crop_size'])
  vectors = np.concatenate([parameters[name] for name in names], axis=1).astype(np.float32)
  row = 0
  for (person, track), (_, coefficients, kind) in zip(places, drawn, strict=True):
    skin = world.person(person).skin
    for frame, label in enumerate(labels_of(coefficients)):
      yield {
        'image': worlds.png(images[row]),
        'landmarks': landmarks[row],
        'identity': person,
        'expression': int(label),
        'pose': round(math.degrees(parameters['angles'][row, 1])),
        'light': kind,
        'file': f'person_{person:05d}/{track:03d}#{frame:05d}',
        'skin': skin,
        'coefficients': coefficients[frame],
        'parameters': vectors[row],
        'background': int(parameters['background'][row]),
      }
      row += 1
