"""One shard of a generated data set: new people are drawn and rendered, G makes photographs of the renders, and three
errors say how far each can be trusted.

All of it is a function of the job and the shard's number. A shard is its records, its pictures as files where they are
wanted, and, written last, its part of the table, which holds the records' checksum: where the two agree it is whole.
"""

import dataclasses
import hashlib
import io
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from evaluate.provenance import encode_image
from input_pipeline import dataset, renders, scenes, shards, steps
from models import ganfaces_identity, runs
from models.face3d.morphable import load_face_model

MODEL = '.model.npz'
SCORES = ('photo_error', 'cycle_error', 'identity_distance')
PICTURES_PER_SHARD = 256
MOST_PEOPLE = 2**22  # Those of the reference are numbered from here on.
_REFERENCE, _EACH = 256, 8  # Pictures of the reference, and of each of its people at most.
_FIRST_WORLD = 2**31  # No world that is trained on has a seed as large, so nobody of theirs is among the people.
_BATCH = 16


@dataclasses.dataclass(frozen=True)
class Reference:
  """Errors of pictures of other people, against which a picture's are held.

  Attributes:
    scores: name -> mean and standard deviation.
    errors: their pictures' errors (`error`), sorted.
  """

  scores: dict[str, tuple[float, float]]
  errors: list[float]

  @classmethod
  def of(cls, scores: Mapping[str, np.ndarray]) -> 'Reference':
    """The reference of scores [N] by name; those that do not vary say nothing and are left out."""
    spread = {name: (float(np.mean(v, dtype=float)), float(np.std(v, dtype=float))) for name, v in scores.items()}
    reference = cls({name: value for name, value in spread.items() if value[1] > 0}, [])
    return dataclasses.replace(reference, errors=sorted(reference.error(scores).tolist()))

  def error(self, scores: Mapping[str, np.ndarray]) -> np.ndarray:
    """[N] the mean of the scores, each in standard deviations from its mean."""
    parts = [(np.asarray(scores[name], float) - mean) / deviation for name, (mean, deviation) in self.scores.items()]
    return np.mean(parts, axis=0) if parts else np.zeros(len(next(iter(scores.values()))))

  def confidence(self, scores: Mapping[str, np.ndarray]) -> np.ndarray:
    """[N] float32 in [0, 1], the share of the reference that is no better."""
    better = np.searchsorted(self.errors, self.error(scores), 'left')
    return (1 - better / len(self.errors)).astype(np.float32)


@dataclasses.dataclass(frozen=True)
class Job:
  """What a worker needs to know.

  Attributes:
    output: folder of the data set; the weights lie there while it is made.
    config: of the run, a `GANFacesConfig`.
    world: what renders are drawn from, of `new_world`.
    embedding: name of C.
    weights: digest of the weights.
    version: of the model, for the provenance.
    seed: of the dropouts.
    images: pictures of each person.
    people: split -> numbers of its people, from 0 on over all splits.
    reference: of the confidence.
    min_confidence: pictures below it are left out.
    folders: also write each picture as a file.
  """

  output: str
  config: Any
  world: renders.World
  embedding: str
  weights: str
  version: str
  seed: int
  images: int
  people: dict[str, range]
  reference: Reference
  min_confidence: float
  folders: bool

  def name(self, person: int) -> str:
    return f'{self.seed}-{person:07d}'

  def shards(self, split: str) -> list[range]:
    """The people of each shard; a larger data set begins with the shards of a smaller one."""
    people, step = self.people[split], max(1, PICTURES_PER_SHARD // self.images)
    return [people[i : i + step] for i in range(0, len(people), step)]

  def units(self) -> list[tuple[str, int]]:
    return [(split, shard) for split in self.people for shard in range(len(self.shards(split)))]

  def records(self, unit: tuple[str, int]) -> str:
    split, shard = unit
    return os.path.join(self.output, shards.shard_name(dataset.NAME, split, shard, len(self.shards(split))))

  def table(self, unit: tuple[str, int]) -> str:
    split, shard = unit
    return os.path.join(self.output, 'table', f'{split}-{shard:05d}-of-{len(self.shards(split)):05d}.parquet')

  def features(self) -> dict[str, Any]:
    """TFDS features: those of any face data set, the parameters and the scores."""
    features = shards.import_tfds().features
    names = [self.name(person) for people in self.people.values() for person in people]
    model = load_face_model(self.world.face_model)
    return {
      **dataset.face_features(names, ['unlabelled'], self.config.image_size),
      'parameters': features.Tensor(shape=(sum(scenes.parameter_sizes(model).values()),), dtype=np.float32),
      **{name: features.Scalar(dtype=np.float32) for name in (*score_names(self.config), 'confidence')},
    }


def score_names(config: Any) -> list[str]:
  """The scores that a run's pictures have: simGAN's know no cycle."""
  return [name for name in SCORES if config.inverse or name != 'cycle_error']


def new_world(world: renders.World, seed: int) -> renders.World:
  """A world whose people nobody was trained on, with the expressions, poses and lights of another."""
  return dataclasses.replace(world, made_from=world.made_from | {'world_seed': _FIRST_WORLD + seed})


# Weights.


def _networks(system: Any) -> list[Any]:
  return [n for n in (system.generator, system.inverse, system.photo_discriminator) if n is not None]


def pack_weights(system: Any) -> tuple[bytes, str]:
  """The weights that make and judge pictures as a .npz file, and their digest."""
  weights = [weight.numpy() for network in _networks(system) for weight in network.weights]
  content, total = io.BytesIO(), hashlib.sha256()
  np.savez(content, **{f'{place:04d}': weight for place, weight in enumerate(weights)})
  for weight in weights:
    total.update(weight.tobytes())
  return content.getvalue(), total.hexdigest()[:16]


class Translator:
  """Makes photographs of renders and judges them, always `_BATCH` at a time, so that each comes out the same."""

  def __init__(self, system: Any, embedding: Any, seed: int):
    self.system, self.embedding, self.seed = system, embedding, seed
    size = system.config.image_size
    self._compiled = tf.function(
      self._translate,
      [
        tf.TensorSpec([_BATCH, size, size, 3], tf.uint8),
        tf.TensorSpec([_BATCH, 68, 2], tf.float32),
        tf.TensorSpec([_BATCH], tf.int64),
      ],
    )

  def _translate(self, images: tf.Tensor, landmarks: tf.Tensor, index: tf.Tensor) -> dict[str, tf.Tensor]:
    drawn = steps.to_float(images)
    output = tf.cast(self.system.translate(drawn, self.seed, index), tf.float32)
    output = tf.cast(tf.round((tf.clip_by_value(output, -1.0, 1.0) + 1) * 127.5), tf.uint8)
    shown = steps.to_float(output)  # The scores are those of the picture that is stored.
    view = ganfaces_identity.centre_view(_BATCH)
    codes = ganfaces_identity.look(self.embedding, shown, landmarks, view)
    return {'image': output, 'code': codes, **self.system.scores(drawn, shown)}

  def __call__(self, images: np.ndarray, landmarks: np.ndarray, index: np.ndarray) -> dict[str, np.ndarray]:
    """Photographs and what is known of them.

    Args:
      images: renders [N, S, S, 3] uint8.
      landmarks: [N, 68, 2] in [-1, 1].
      index: [N], by which the dropouts are drawn.
    Returns:
      `image` [N, S, S, 3] uint8; `code` [N, 128], C's; `photo_error` and `cycle_error` [N].
    """
    parts = []
    for start in range(0, len(images), _BATCH):
      rows = np.minimum(np.arange(start, start + _BATCH), len(images) - 1)
      found = self._compiled(images[rows], landmarks[rows], index[rows].astype(np.int64))
      parts.append({name: value.numpy() for name, value in found.items()})
    return {name: np.concatenate([part[name] for part in parts])[: len(images)] for name in parts[0]}


_LOADED: dict[tuple, Translator] = {}  # The last one.


def _load_translator(job: Job) -> Translator:
  """The model of a job, built once a process."""
  key = (job.weights, job.config, job.embedding, job.seed)
  if key not in _LOADED:
    system = runs.build(job.config)
    variables = [variable for network in _networks(system) for variable in network.weights]
    with np.load(os.path.join(job.output, MODEL), allow_pickle=False) as content:
      for place, variable in enumerate(variables):
        variable.assign(content[f'{place:04d}'])
    _LOADED.clear()
    _LOADED[key] = Translator(system, ganfaces_identity.load(job.embedding), job.seed)
  return _LOADED[key]


# Pictures.


def make_pictures(
  translator: Translator, world: renders.World, people: Sequence[int], images: int
) -> dict[str, np.ndarray]:
  """Pictures of some people, all of each, as it needs all of them to say how far one is from the rest.

  Args:
    translator: the model.
    world: of `new_world`.
    people: their numbers.
    images: pictures of each.
  Returns:
    rows, people in order and each one's pictures in order: `person`, `number`, `image` [N, S, S, 3] uint8, `landmarks`
    [N, 68, 2] float32 in [-1, 1], `parameters` [N, P] as `scenes.pack` has them, and the scores [N] float32.
  """
  places = [(person, number) for person in people for number in range(images)]
  parameters = renders.draw_parameters(world, places)
  drawn, landmarks = scenes.render_plain(load_face_model(world.face_model), parameters, world.made_from['crop_size'])
  person, number = np.array(places).T
  # Of person and number alone: a data set with more pictures of each begins with the same ones.
  found = translator(drawn, landmarks, person * 2**20 + number)
  return {
    'person': person,
    'number': number,
    'landmarks': landmarks,
    'parameters': scenes.pack(parameters),
    'identity_distance': identity_distance(found.pop('code'), images),
    **found,
  }


def identity_distance(codes: np.ndarray, images: int) -> np.ndarray:
  """[N] float32 squared distances of codes [N, D] to the mean of their person's, `images` in a row.

  Times M / (M - 1), so that the mean over a person is sigma of the identity loss (Eq. 7) whatever M is; 0 where M is 1.
  """
  codes = np.reshape(codes.astype(float), [-1, images, codes.shape[-1]])
  distance = np.square(codes - codes.mean(axis=1, keepdims=True)).sum(axis=-1)
  return (distance * (images / max(images - 1, 1))).reshape(-1).astype(np.float32)


def make_reference(job: Job) -> Reference:
  """The reference of a job: scores of people of their own, of whom there are pictures for this only."""
  each = min(job.images, _EACH)
  people = range(MOST_PEOPLE, MOST_PEOPLE + _REFERENCE // each)
  made = make_pictures(_load_translator(job), job.world, people, each)
  return Reference.of({name: made[name] for name in score_names(job.config)})


def write_shard(unit: tuple[str, int], *, job: Job) -> int:
  """Makes one shard, unless it is there and whole. Returns the number of its pictures, those left out among them."""
  split, shard = unit
  people = job.shards(split)[shard]
  if is_whole(unit, job):
    return len(people) * job.images
  made = make_pictures(_load_translator(job), job.world, people, job.images)
  names = score_names(job.config)
  made['confidence'] = job.reference.confidence({name: made[name] for name in names})
  kept = made['confidence'] >= job.min_confidence
  files = [_file(job, *place) for place in zip(made['person'], made['number'], strict=True)]
  examples = []
  for row in np.flatnonzero(kept):
    content = encode_image(made['image'][row], 'PNG', job.config.system, job.version)
    if job.folders:
      path = os.path.join(job.output, 'pictures', files[row])
      os.makedirs(os.path.dirname(path), exist_ok=True)
      shards.write_atomically(path, content)
    examples.append(
      {
        'image': content,
        'landmarks': made['landmarks'][row],
        'identity': int(made['person'][row]),
        'expression': 0,
        'pose': 0,
        'light': 0,
        'file': files[row],
        'skin': '',
        'parameters': made['parameters'][row],
        **{name: made[name][row] for name in (*names, 'confidence')},
      }
    )
  shards.write_records(job.records(unit), job.features(), examples)
  _write_table(unit, job, made, files, kept)
  return len(files)


def _file(job: Job, person: int, number: int) -> str:
  return f'{job.name(person)}/{number:05d}.png'


def _write_table(
  unit: tuple[str, int], job: Job, made: Mapping[str, np.ndarray], files: Sequence[str], kept: np.ndarray
) -> None:
  import pyarrow as pa  # Nothing else needs it, and it takes a while.
  import pyarrow.parquet as pq

  sizes = scenes.parameter_sizes(load_face_model(job.world.face_model))
  parts = np.split(made['parameters'], np.cumsum(list(sizes.values()))[:-1], axis=1)
  columns = {
    'file': pa.array(files),
    'split': pa.array([unit[0]] * len(files)),
    'identity': pa.array(made['person'].astype(np.int32)),
    'number': pa.array(made['number'].astype(np.int32)),
    'kept': pa.array(kept),
    **{name: pa.array(made[name]) for name in (*score_names(job.config), 'confidence')},
    'landmarks': list_column(made['landmarks'].reshape(len(files), -1)),
    **{f'{name}_parameters': list_column(part) for name, part in zip(sizes, parts, strict=True)},
  }
  with open(job.records(unit), 'rb') as file:
    checksum = hashlib.file_digest(file, 'sha256').hexdigest()
  content = io.BytesIO()
  table = pa.table(columns).replace_schema_metadata({'sha256': checksum})
  pq.write_table(table, content, write_page_checksum=True)
  os.makedirs(os.path.dirname(job.table(unit)), exist_ok=True)
  shards.write_atomically(job.table(unit), content.getvalue())


def list_column(values: np.ndarray) -> Any:
  """[N, D] as a column of N lists of length D, float32."""
  import pyarrow as pa

  flat = pa.array(np.ascontiguousarray(values, np.float32).reshape(-1))
  return pa.FixedSizeListArray.from_arrays(flat, values.shape[1])


def is_whole(unit: tuple[str, int], job: Job) -> bool:
  """Whether a shard is there as it was written; of pictures as files, whether they are there."""
  import pyarrow as pa
  import pyarrow.parquet as pq

  path = job.table(unit)
  if not os.path.isfile(path):
    return False
  try:
    table = pq.ParquetFile(path, page_checksum_verification=True).read()
    with open(job.records(unit), 'rb') as file:
      checksum = hashlib.file_digest(file, 'sha256').hexdigest()
  except (OSError, pa.ArrowException):
    return False
  if (table.schema.metadata or {}).get(b'sha256') != checksum.encode():
    return False
  if not job.folders:
    return True
  wanted = table.filter(table['kept'])['file'].to_pylist()
  return all(os.path.isfile(os.path.join(job.output, 'pictures', file)) for file in wanted)


def read_kept(unit: tuple[str, int], job: Job, columns: Sequence[str]) -> dict[str, np.ndarray]:
  """Columns of a shard's part of the table, of the pictures that were kept."""
  import pyarrow.parquet as pq

  table = pq.read_table(job.table(unit), columns=['kept', *columns])
  return {name: table.filter(table['kept'])[name].to_numpy() for name in columns}
