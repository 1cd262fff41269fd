"""Batches of the recogniser: faces of real and of generated people, each seen through a random square."""

import functools
from typing import Any

import numpy as np
import tensorflow as tf

from input_pipeline import dataset, steps
from input_pipeline.dataset import PreparedDataset
from input_pipeline.identities import SIZE, Identities, look
from models.config import ConfigError

_NAMED = 3  # People whom a message names.


class RealPeople(Identities):
  """The real set: stand-ins, or a data set of which `real_share` of the people are trained on."""

  @functools.cached_property
  def data(self) -> PreparedDataset:
    """The data set; the stand-ins are rendered on first use.

    Raises:
      ConfigError: if it was cut out otherwise than the settings say.
      ValueError: if nobody is held out.
    """
    config, path = self.config, self.config.dataset
    if path == 'synthetic':
      from input_pipeline import stand_ins  # The renderer is not needed to read a data set.

      path = stand_ins.stand_in_dataset(config)
    data = _open(config, path)
    data.index('test')
    return data

  @functools.lru_cache  # noqa: B019 - a pipeline lives as long as its run
  def rows(self, split: str) -> np.ndarray:
    """[N] the rows of a split that are used.

    Raises:
      ConfigError: if the settings say another number of people.
    """
    config, data = self.config, self.data
    people = data.index(split)['identity']
    if split != 'train':
      return np.arange(len(people))
    count = len(np.unique(people))
    if count != config.real_people:
      raise ConfigError(
        f'classes={config.classes} stands for {config.real_people} people, and {data.path} has {count} to train on'
        f'{_without_pictures(data)}: set --classes={count}',
        ('classes',),
      )
    # Of one seed, the people of a small share are among those of a larger one.
    drawn = np.random.default_rng([config.seed, 9]).permutation(np.unique(people))
    return np.flatnonzero(np.isin(people, drawn[: config.people]))


class GeneratedPeople(Identities):
  """The generated set: the renders of GANFaces, or a data set, of which the first people are trained on."""

  @functools.cached_property
  def data(self) -> PreparedDataset:
    """The data set; renders are made on first use.

    Raises:
      ConfigError: if it was cut out otherwise than the real set, or has too few people.
    """
    config, path = self.config, self.config.generated
    if path == 'renders':
      from input_pipeline import renders

      path = renders.render_dataset(config, _world(config))
    data = _open(config, path, 'generated')
    count = len(np.unique(data.index('train')['identity']))
    if count < config.generated_people:
      raise ConfigError(
        f'generated_classes={config.generated_people} are more people than {data.path} has to train on, {count}'
        f'{_without_pictures(data)}: set --generated_classes={count} or less',
        ('generated_classes',),
      )
    return data

  @functools.lru_cache  # noqa: B019
  def rows(self, split: str) -> np.ndarray:
    people = self.data.index(split)['identity']
    return np.flatnonzero(np.isin(people, np.unique(people)[: self.config.generated_people]))


class TwoSets:
  """Real and generated people in one batch.

  A batch is a dict:
    image: [B, 96, 96, 3] float32 in [-1, 1], a random square of the picture (one place each), or all of it enlarged
      where pictures are smaller.
    generated: [B] int32, 1 for a picture of the generated set, else 0.
    label: [B] int32, who it is: from 0 among the people of its set who are trained on.
    index: [B] int64, the sample's place in the global batch.

  Every epoch goes through all training pictures of both sets in a new order. With `generated_share` each set has its
  own order, and the last places of each batch are the generated set's. Batch t depends on (seed, phase, t) and nothing
  else.
  """

  def __init__(self, config: Any):
    """Reads nothing yet.

    Args:
      config: a `RecognitionConfig`.
    """
    self.config = config
    self.real = RealPeople(config)
    self.generated = GeneratedPeople(config) if config.generated else None

  @property
  def data(self) -> PreparedDataset:
    """The real data set."""
    return self.real.data

  @property
  def note(self) -> str:
    """What has to stand under every picture and figure, '' where there is nothing to say."""
    if self.config.dataset != 'synthetic':
      return ''
    from input_pipeline import stand_ins

    return stand_ins.NOTE

  def describe(self) -> list[str]:
    """Lines about the data for people. Renders nothing.

    Raises:
      ConfigError: if the sets do not fit the settings, or each other.
    """
    from input_pipeline import renders, stand_ins, worlds

    config = self.config
    if config.dataset == 'synthetic' and not stand_ins.is_rendered(config):
      lines = stand_ins.describe(config)
    else:
      lines = self._count(self.real, 'real', config.real_people)
    if self.generated is None:
      return [*lines, 'no generated people']
    if config.generated == 'renders' and not worlds.is_rendered(path := renders.dataset_path(config, _world(config))):
      count = config.identities * config.renders_per_identity
      return [*lines, f'generated: {config.identities:,} people, {count:,} plain renders, to be rendered into {path}']
    if config.dataset != 'synthetic' or stand_ins.is_rendered(config):
      self._check()
    people = len(np.unique(self.generated.data.index('train')['identity']))
    return lines + self._count(self.generated, 'generated', people)

  def _count(self, people: Identities, name: str, among: int) -> list[str]:
    labels = people.people_of('train')
    return [f'{name}: {len(labels):,} pictures of {labels.max() + 1:,} of {among:,} people, {people.data.path}']

  def _check(self) -> None:
    """Nobody may be in both sets: both heads would name the person, or a person who is held out would be trained on.

    Raises:
      ConfigError: if somebody is.
    """
    if self.generated is None:
      return
    names = []
    for people, splits in ((self.real, ('train', 'test')), (self.generated, ('train',))):
      numbers = np.unique(np.concatenate([people.data.index(split)['identity'] for split in splits]))
      names.append({people.data.identities[number] for number in numbers})
    if shared := sorted(names[0] & names[1]):
      raise ConfigError(
        f'generated={self.config.generated} shares {len(shared)} people with dataset={self.config.dataset} '
        f'({_listed(shared)}): both heads would name them, take sets of different people',
        ('generated', 'dataset'),
      )

  def spec(self) -> dict[str, tf.TensorSpec]:
    """Shapes and types of a global batch. Known without any data."""
    count = self.config.batch_size
    return {
      'image': tf.TensorSpec([count, SIZE, SIZE, 3], tf.float32),
      'generated': tf.TensorSpec([count], tf.int32),
      'label': tf.TensorSpec([count], tf.int32),
      'index': tf.TensorSpec([count], tf.int64),
    }

  def batches(self, start: int, stop: int, phase: str, worker: int = 0, workers: int = 1) -> tf.data.Dataset:
    """Batches start..stop-1 of a phase; of each the rows of one worker. Arguments and errors: `Triplets.batches`."""
    config, count = self.config, self.config.batch_size
    part = steps.part_of(config, worker, workers)
    seeds = steps.phase_seeds(config, phase)
    self._check()
    sets = [self.real, *[self.generated] * (self.generated is not None)]
    readers = [people.reader('train') for people in sets]
    with tf.device('/CPU:0'):
      labels = [tf.constant(people.people_of('train')) for people in sets]
    place_of = self._sampler([len(some) for some in labels], steps.phase_seeds(config, f'{phase}/sets'))

    def load(step: tf.Tensor) -> dict[str, tf.Tensor]:
      generated, rows = (values[part] for values in place_of(step))
      # A place reads from both sets, the first picture of that which it does not show.
      own = [tf.where(generated == number, rows, 0) for number in range(len(sets))]
      pictures, label = readers[0](own[0]), tf.gather(labels[0], own[0])
      if len(sets) > 1:
        pictures = tf.where((generated == 1)[:, None, None, None], readers[1](own[1]), pictures)
        label = tf.where(generated == 1, tf.gather(labels[1], own[1]), label)
      index = tf.range(count, dtype=tf.int64)[part]
      image = look(config, pictures, seeds, step, part)
      return {'image': image, 'generated': generated, 'label': label, 'index': index}

    return steps.by_step(load, start, stop)

  def _sampler(self, sizes: list[int], seeds: tuple[int, int]) -> Any:
    """The function from a step to [B] int32, of which set each place shows a picture, and [B] int64, which one."""
    count, total = self.config.batch_size, sum(sizes)
    fixed = round(count * self.config.generated_share)

    def mixed(step: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
      rows = steps.shuffled(step * count + tf.range(count, dtype=tf.int64), total, seeds)
      generated = rows >= sizes[0]
      return tf.cast(generated, tf.int32), tf.where(generated, rows - sizes[0], rows)

    def apart(step: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
      parts = (count - fixed, seeds), (fixed, (seeds[0], seeds[1] ^ 1))
      rows = [
        steps.shuffled(step * number + tf.range(number, dtype=tf.int64), size, own)
        for (number, own), size in zip(parts, sizes, strict=True)
      ]
      return tf.repeat([0, 1], [count - fixed, fixed]), tf.concat(rows, axis=0)

    return apart if fixed else mixed

  def held_out(self, count: int | None = None) -> dict[str, np.ndarray]:
    """Pictures of real people who are not trained on, see `Identities.held_out`; `generated` is 0."""
    batch = self.real.held_out(count)
    return batch | {'generated': np.zeros(len(batch['label']), np.int32)}


def _open(config: Any, path: str, flag: str = 'dataset') -> PreparedDataset:
  try:
    data = dataset.open_dataset(path, config.cache_gb)
  except (ValueError, OSError) as error:
    raise type(error)(str(error).replace('--dataset=', f'--{flag}=')) from None
  dataset.check_crops(config, data)
  dataset.check_size(config, data)
  return data


def _world(config: Any) -> Any:
  """The `renders.World` that renders are drawn from: that of a GANFaces which has stand-ins for photographs."""
  from input_pipeline import renders, stand_ins

  return renders.make_world(
    config, stand_ins.pair_parameters(stand_ins.World(stand_ins.settings(config), config.face_model))
  )


def _without_pictures(data: PreparedDataset) -> str:
  """Who is named among the people and is on no picture of any split: a hole in the labels."""
  seen = {number for split in data.splits for number in np.unique(data.index(split)['identity']).tolist()}
  missing = [name for number, name in enumerate(data.identities) if number not in seen]
  return f' (no picture of {_listed(missing)})' if missing else ''


def _listed(names: list[str]) -> str:
  return ', '.join(names[:_NAMED]) + f' and {len(names) - _NAMED} more' * (len(names) > _NAMED)
