"""Batches of NN4: labelled faces, each seen through a random square, mirrored half of the time."""

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from input_pipeline import augmentation, steps, triplets
from input_pipeline.dataset import PreparedDataset
from models.config import ConfigError

SIZE = 96  # Pixels of the square.


class Identities:
  """Pictures with the number of who is on them.

  A batch is a dict:
    image: [B, 96, 96, 3] float32 in [-1, 1], a random square of the picture (one place each), or all of it enlarged
      where pictures are smaller.
    label: [B] int32, from 0 among the people who are trained on.
    index: [B] int64, the sample's place in the global batch.

  For loss=softmax every epoch goes through all training pictures in a new order. For loss=triplet a batch has
  `images_per_person` pictures each of batch_size / images_per_person people; people come in a new order each time
  round, and each one's pictures likewise. Batch t depends on (seed, phase, t) and nothing else.
  """

  def __init__(self, config: Any):
    """Reads nothing yet.

    Args:
      config: an `NN4Config`.
    """
    self.config = config

  @property
  def note(self) -> str:
    """What has to stand under every picture and figure, '' where there is nothing to say."""
    from input_pipeline import stand_ins  # The renderer is not needed to read a data set.

    return stand_ins.NOTE if self.config.dataset == 'synthetic' and self.config.alignment == 'box' else ''

  @functools.cached_property
  def data(self) -> PreparedDataset:
    """The data set; rendered on first use where it is the synthetic one.

    Raises:
      ValueError: if nothing can be learnt from it: the message says what is missing.
    """
    config = self.config
    data = steps.open_data(config)
    names, counts = np.unique(data.index('train')['identity'], return_counts=True)
    if config.loss == 'softmax' and config.people != len(names):
      raise ConfigError(
        f'classes={config.classes} stands for {config.people} people, and {data.path} has {len(names)} to train on: '
        f'set --classes={len(names)}',
        ('classes',),
      )
    if len(names) < 2:
      raise ValueError(f'{data.path} has one person only to train on: at least 2 people are needed')
    if config.loss == 'triplet' and counts.max() < 2:
      raise ValueError(
        f'{data.path} has one picture of each person: loss=triplet needs two of somebody, set --loss=softmax'
      )
    return data

  def rows(self, split: str) -> np.ndarray:
    """[N] the rows of a split that are used."""
    return np.arange(self.data.count(split))

  @functools.lru_cache  # noqa: B019 - a pipeline lives as long as its run
  def people_of(self, split: str) -> np.ndarray:
    """[N] int32: of each picture that is used of a split the number of its person, from 0 among them."""
    people = self.data.index(split)['identity'][self.rows(split)]
    return np.unique(people, return_inverse=True)[1].astype(np.int32)

  def reader(self, split: str) -> Callable[[tf.Tensor], tf.Tensor]:
    """The function from numbers [B] of pictures that are used of a split to them, [B, S, S, 3] float32 in [-1, 1]."""
    data, size = self.data, self.config.image_size
    with tf.device('/CPU:0'):
      rows = tf.constant(self.rows(split), tf.int64)
    if not data.fits(split, size):
      return lambda numbers: steps.to_float(data.read(split, tf.gather(rows, numbers), size))
    images = data.images(split, size)
    return lambda numbers: steps.to_float(tf.gather(images, tf.gather(rows, numbers)))

  def describe(self) -> list[str]:
    """Lines about the data set for people. Renders nothing."""
    config = self.config
    lines, ready = steps.describe_data(config)
    if not ready:
      return lines
    for split in ('train', 'test'):
      labels = self.people_of(split)
      lines.append(f'{split}: {len(labels):,} pictures of {labels.max() + 1:,} people')
    held = self.data.fits('train', config.image_size)
    lines.append('pictures are ' + ('held in memory' if held else f'read by row (--cache_gb={config.cache_gb})'))
    return lines

  def spec(self) -> dict[str, tf.TensorSpec]:
    """Shapes and types of a global batch. Known without any data."""
    count = self.config.batch_size
    return {
      'image': tf.TensorSpec([count, SIZE, SIZE, 3], tf.float32),
      'label': tf.TensorSpec([count], tf.int32),
      'index': tf.TensorSpec([count], tf.int64),
    }

  def batches(self, start: int, stop: int, phase: str, worker: int = 0, workers: int = 1) -> tf.data.Dataset:
    """Batches start..stop-1 of a phase; of each the rows of one worker. Arguments and errors: `Triplets.batches`."""
    config, count = self.config, self.config.batch_size
    part = steps.part_of(config, worker, workers)
    seeds = steps.phase_seeds(config, phase)
    rows_of, read = self._sampler(seeds), self.reader('train')
    with tf.device('/CPU:0'):
      labels = tf.constant(self.people_of('train'))

    def load(step: tf.Tensor) -> dict[str, tf.Tensor]:
      index = tf.range(count, dtype=tf.int64)
      rows = rows_of(step * count + index)[part]
      image = look(config, read(rows), seeds, step, part)
      return {'image': image, 'label': tf.gather(labels, rows), 'index': index[part]}

    return steps.by_step(load, start, stop)

  def _sampler(self, seeds: tuple[int, int]) -> Any:
    """The function from places [B] in the endless series of samples to rows [B] of the training split."""
    labels = self.people_of('train')
    if self.config.loss == 'softmax':
      return lambda places: steps.shuffled(places, len(labels), seeds)
    each = self.config.images_per_person
    order = np.argsort(labels, kind='stable')
    first, counts = np.unique(labels[order], return_index=True, return_counts=True)[1:]

    def rows_of(places: tf.Tensor) -> tf.Tensor:
      turn, member = places // each, places % each
      person = steps.shuffled(turn, len(counts), seeds)
      # A person's pictures make an endless series too, of which each turn takes the next ones.
      element, count = turn // len(counts) * each + member, tf.gather(tf.constant(counts, tf.int64), person)
      seed = tf.stack([tf.fill(tf.shape(person), tf.constant(s, tf.int64)) for s in seeds], axis=1)
      seed = tf.concat([seed, (person * 2**31 + element // count)[:, tf.newaxis]], axis=1)
      taken = tf.raw_ops.RandomIndexShuffle(index=element % count, seed=seed, max_index=count - 1, rounds=4)
      return tf.gather(tf.constant(order, tf.int64), tf.gather(tf.constant(first, tf.int64), person) + taken)

    return rows_of

  def held_out(self, count: int | None = None) -> dict[str, np.ndarray]:
    """Pictures of people who are not trained on, in a fixed order: two of each person, then two more, and so on.

    Args:
      count: how many; all where there are fewer, or where it is None.

    Returns:
      the keys of a batch as numpy arrays, with the middle square and labels among the people of the test split; and
      `landmarks`: [N, 68, 2] float32 in [-1, 1] of the square; `file`: [N] str.
    """
    data, size = self.data, self.config.image_size
    labels = self.people_of('test')
    random = np.random.default_rng(triplets.HELD_OUT_SEED)
    rank = np.zeros(len(labels), int)
    for person in np.unique(labels):
      mine = np.flatnonzero(labels == person)
      rank[random.permutation(mine)] = np.arange(len(mine))
    rows = np.lexsort((rank, labels, rank // 2))[:count]
    pictures = steps.to_float(data.pictures('test', rows, size))
    corner = max(0, size - SIZE) // 2
    seen = min(size, SIZE)  # Pixels of the picture that the square shows.
    pixels = (data.index('test')['landmarks'][rows] + 1) / 2 * size - corner
    return {
      'image': cut(pictures, tf.fill([len(rows), 2], corner)).numpy(),
      'label': labels[rows],
      'index': np.arange(len(rows), dtype=np.int64),
      'landmarks': (pixels / seen * 2 - 1).astype(np.float32),
      'file': data.index('test')['file'][rows],
    }


def look(config: Any, pictures: tf.Tensor, seeds: tuple[int, int], step: tf.Tensor, part: slice) -> tf.Tensor:
  """What training sees of pictures: changed at random, and of each a random square.

  Args:
    config: with `image_size`, `batch_size` and the augmentation.
    pictures: [N, S, S, 3] in [-1, 1], a worker's part of the batch.
    seeds: of the phase.
    step: number of the batch.
    part: the worker's rows.

  Returns:
    [N, 96, 96, 3].
  """
  changes = augmentation.draw_changes(config, seeds, step)
  if changes is not None:
    changes = {key: value[part] for key, value in changes.items()}
    pictures = augmentation.change_images(pictures[:, tf.newaxis], changes)[:, 0]
  room = max(0, config.image_size - SIZE) + 1
  seed = tf.stack([seeds[0] ^ seeds[1] ^ 0x2545F491, tf.cast(step, tf.int32)])
  return cut(pictures, tf.random.stateless_uniform([config.batch_size, 2], seed, 0, room, tf.int32)[part])


def cut(pictures: tf.Tensor, corners: tf.Tensor) -> tf.Tensor:
  """Squares [B, 96, 96, 3] of pictures [B, S, S, 3] from the corners [B, 2] (row, column) on; smaller ones enlarged."""
  if pictures.shape[1] < SIZE:
    return tf.image.resize(pictures, [SIZE, SIZE])
  places = corners[:, :, tf.newaxis] + tf.range(SIZE)
  pictures = tf.gather(pictures, places[:, 0], batch_dims=1)
  pictures = tf.gather(tf.transpose(pictures, [0, 2, 1, 3]), places[:, 1], batch_dims=1)
  return tf.ensure_shape(tf.transpose(pictures, [0, 2, 1, 3]), [None, SIZE, SIZE, 3])
