"""Batches of GC-GAN: an input picture, the same person with another expression, and landmarks to compare with."""

import dataclasses
import functools
from typing import Any

import numpy as np
import tensorflow as tf

from input_pipeline import dataset, steps
from input_pipeline.augmentation import change_images, change_landmarks, draw_changes
from input_pipeline.dataset import PreparedDataset
from input_pipeline.steps import shuffled, to_float

# The order of the evaluation pairs is the same for every seed of a run, so that runs are compared on the same pairs.
HELD_OUT_SEED = 0


class Triplets:
  """Pairs of pictures of one person in one pose and light with different expressions (GC-GAN, section 3a.3 of the
  spec).

  A batch is a dict:
    input_image, target_image: [B, S, S, 3] float32 in [-1, 1].
    input_landmarks, target_landmarks: [B, 68, 2] float32 in [-1, 1] of the crop (may lie outside).
    input_expression, target_expression: [B] int32, into `expressions`.
    reference_landmarks, reference_expression: the targets', permuted over the global batch.
    identity: [B] int32.
    index: [B] int64, the sample's place in the global batch.

  Every epoch goes through all ordered training pairs in a new order. Batch t depends on (seed, phase, t) and nothing
  else.
  """

  def __init__(self, config: Any):
    """Reads nothing yet.

    Args:
      config: a `DataConfig` that is a `RunConfig` too, with `image_size`.
    """
    self.config = config

  @functools.cached_property
  def data(self) -> PreparedDataset:
    """The data set; rendered on first use where it is the synthetic one.

    Raises:
      ValueError: if it cannot give pairs: the message says what is missing.
    """
    dataset.check_labels(self.config, self.expressions)
    data = steps.open_data(self.config)
    if len(data.identities) < 2:
      raise ValueError(
        f'{data.path} shows one person only ({data.identities[0]}): nobody can be held out, '
        'at least 2 people are needed'
      )
    for split in ('train', 'test'):
      present = data.index(split)['expression']
      absent = [name for i, name in enumerate(data.expressions) if i not in present]
      if absent:
        raise ValueError(
          f'{data.path}: no picture of expression {absent[0]!r} in split {split!r}: add pictures, leave '
          'the expression out (--where), or hold out other people'
        )
    return data

  @functools.cached_property
  def expressions(self) -> list[str]:
    """Names of the expressions. Known without rendering."""
    if self.config.dataset == 'synthetic':
      from input_pipeline import synthetic

      return list(synthetic.EXPRESSIONS)
    return dataset.open_dataset(self.config.dataset).expressions

  @property
  def labels(self) -> list[str]:
    """Names of the labels that drive the model: the expressions with condition=onehot, else none."""
    return self.expressions if getattr(self.config, 'condition', '') == 'onehot' else []

  @functools.lru_cache  # noqa: B019 - a pipeline lives as long as its run
  def pairs(self, split: str) -> np.ndarray:
    """[P, 2] int32: rows (input, target) of all ordered pairs of a split.

    Raises:
      ValueError: if there are none.
    """
    table = self.data.index(split)
    found = ordered_pairs(table['identity'], table['pose'], table['light'], table['expression'])
    if not len(found):
      raise ValueError(
        f'{self.data.path}: nobody in split {split!r} has two expressions in the same pose and light: '
        'no pair can be made'
      )
    return found

  def describe(self) -> list[str]:
    """Lines about the data set for people. Renders nothing."""
    config = self.config
    if getattr(config, 'auxiliary_dataset', ''):
      line = f'{config.auxiliary_count} of the {config.batch_size} samples of a batch come from an auxiliary data set:'
      return [*self._own().describe(), line, *self.auxiliary.describe()]
    dataset.check_labels(config, self.expressions)
    lines, ready = steps.describe_data(config)
    if not ready:
      return lines
    for split in ('train', 'test'):
      table = self.data.index(split)
      lines.append(
        f'{split}: {len(table["file"]):,} pictures of {len(np.unique(table["identity"])):,} people, '
        f'{len(self.pairs(split)):,} ordered pairs'
      )
    lines.append(f'expressions: {", ".join(self.expressions)}')
    memory = self.data.count('train') * config.image_size**2 * 3 / 2**30
    held = self.data.fits('train', config.image_size)
    lines.append(
      f'pictures at {config.image_size} px: {memory:.2f} GB, '
      + ('held in memory' if held else f'read by row (more than --cache_gb={config.cache_gb})')
    )
    return lines

  def spec(self) -> dict[str, tf.TensorSpec]:
    """Shapes and types of a global batch. Known without any data."""
    count, size = self.config.batch_size, self.config.image_size
    kinds = {
      'image': ([size, size, 3], tf.float32),
      'landmarks': ([68, 2], tf.float32),
      'expression': ([], tf.int32),
      'identity': ([], tf.int32),
      'index': ([], tf.int64),
    }
    names = [
      'input_image',
      'input_landmarks',
      'input_expression',
      'target_image',
      'target_landmarks',
      'target_expression',
      'reference_landmarks',
      'reference_expression',
      'identity',
      'index',
    ]
    return {
      name: tf.TensorSpec([count, *kinds[name.split('_')[-1]][0]], kinds[name.split('_')[-1]][1]) for name in names
    }

  def batches(
    self, start: int, stop: int, phase: str, worker: int = 0, workers: int = 1, stream: str = ''
  ) -> tf.data.Dataset:
    """Batches start..stop-1 of a phase; of each the rows of one worker.

    Args:
      start: first step.
      stop: step after the last.
      phase: name of the training phase: each goes through the data in its own order.
      worker: which part of every batch, of `workers` equal ones.
      workers: number of parts.
      stream: of random draws, where a batch has several samplers.

    Raises:
      ValueError: if the batch cannot be cut into that many parts.
    """
    if getattr(self.config, 'auxiliary_dataset', ''):
      return self._mixed(start, stop, phase, worker, workers)
    config, data = self.config, self.data
    size, count = config.image_size, config.batch_size
    part = steps.part_of(config, worker, workers)
    with tf.device('/CPU:0'):
      pairs = tf.constant(self._training_pairs())
      table = {key: tf.constant(data.index('train')[key]) for key in ('landmarks', 'expression', 'identity')}
    images = data.images('train', size) if data.fits('train', size) else None
    seeds = steps.phase_seeds(config, phase + stream)

    def load(step: tf.Tensor) -> dict[str, tf.Tensor]:
      index = tf.range(count, dtype=tf.int64)
      rows = tf.gather(pairs, shuffled(step * count + index, len(pairs), seeds))
      changes = draw_changes(config, seeds, step)
      landmarks = tf.gather(table['landmarks'], rows)
      if changes is not None:
        landmarks = change_landmarks(landmarks, changes)
      expression = tf.gather(table['expression'], rows)
      noise = tf.random.stateless_uniform([count], tf.stack([seeds[0] ^ seeds[1], tf.cast(step, tf.int32)]))
      order = tf.argsort(noise, stable=True)
      reference, reference_expression = tf.gather(landmarks[:, 1], order), tf.gather(expression[:, 1], order)
      rows = rows[part]
      flat = tf.reshape(rows, [-1])
      pictures = data.read('train', flat, size) if images is None else tf.gather(images, flat)
      pictures = tf.reshape(to_float(pictures), [-1, 2, size, size, 3])
      if changes is not None:
        pictures = change_images(pictures, {key: value[part] for key, value in changes.items()})
      return {
        'input_image': pictures[:, 0],
        'input_landmarks': landmarks[part, 0],
        'input_expression': expression[part, 0],
        'target_image': pictures[:, 1],
        'target_landmarks': landmarks[part, 1],
        'target_expression': expression[part, 1],
        'reference_landmarks': reference[part],
        'reference_expression': reference_expression[part],
        'identity': tf.gather(table['identity'], rows[:, 0]),
        'index': index[part],
      }

    return steps.by_step(load, start, stop)

  def _training_pairs(self) -> np.ndarray:
    """[P, 2] int32: the pairs of an epoch; with `balance_skin` the rarer tone's again until there are as many."""
    pairs = self.pairs('train')
    if not getattr(self.config, 'balance_skin', False):
      return pairs
    tones = self.data.index('train')['skin'][pairs[:, 0]]
    groups = [np.flatnonzero(tones == tone) for tone in ('light', 'dark')]
    missing = abs(len(groups[0]) - len(groups[1]))
    rarer = min(groups, key=len)
    if not len(rarer):
      raise ValueError(
        f'{self.data.path}: balance_skin=true needs people of dark and of light skin, and all who train are alike'
      )
    return np.concatenate([pairs, pairs[np.resize(rarer, missing)]])

  def _mixed(self, *steps_and_part: Any) -> tf.data.Dataset:
    """Batches whose last samples come from the auxiliary data set, numbered on, as people who stand alone."""
    people = len(self.data.identities)
    own, auxiliary = self._own(), self.auxiliary

    def join(first: dict[str, tf.Tensor], last: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
      last = last | {'identity': last['identity'] + people, 'index': last['index'] + own.config.batch_size}
      return {key: tf.concat([first[key], last[key]], axis=0) for key in first}

    # Draws of their own: else the first of each would be mirrored, moved and tinted alike.
    last = auxiliary.batches(*steps_and_part, stream='/auxiliary')
    both = tf.data.Dataset.zip((own.batches(*steps_and_part), last))
    return both.map(join)

  def _own(self) -> 'Triplets':
    config = self.config
    rest = Triplets(
      dataclasses.replace(config, batch_size=config.batch_size - config.auxiliary_count, auxiliary_dataset='')
    )
    if 'data' in self.__dict__:  # Read once.
      rest.data = self.data
    return rest

  @functools.cached_property
  def auxiliary(self) -> 'Triplets':
    """The sampler of the auxiliary data set."""
    config = self.config
    return Triplets(
      dataclasses.replace(
        config, batch_size=config.auxiliary_count, dataset=config.auxiliary_dataset, auxiliary_dataset=''
      )
    )

  def held_out(self, count: int | None = None) -> dict[str, np.ndarray]:
    """The evaluation pairs of people who are not trained on, in a fixed order.

    All ordered expression pairs of the test split; any first part of them is spread over people and target
    expressions, and the first rows show different people.

    Args:
      count: how many; all where there are fewer, or where it is None.

    Returns:
      the keys of a batch as numpy arrays, and `skin`: [N] str, '' where unknown.
    """
    rows = self._held_out_rows(count)
    data, size = self.data, self.config.image_size
    table = data.index('test')
    order = np.random.default_rng(HELD_OUT_SEED).permutation(len(rows))
    used, places = np.unique(rows, return_inverse=True)
    pictures = np.asarray(to_float(data.pictures('test', used, size)))[places.reshape(rows.shape)]
    first, second = rows[:, 0], rows[:, 1]
    return {
      'input_image': pictures[:, 0],
      'input_landmarks': table['landmarks'][first],
      'input_expression': table['expression'][first],
      'target_image': pictures[:, 1],
      'target_landmarks': table['landmarks'][second],
      'target_expression': table['expression'][second],
      'reference_landmarks': table['landmarks'][second][order],
      'reference_expression': table['expression'][second][order],
      'identity': table['identity'][first],
      'index': np.arange(len(rows), dtype=np.int64),
      'skin': table['skin'][first],
    }

  def cross_subject(self, count: int | None = None) -> dict[str, np.ndarray]:
    """The evaluation pairs with somebody else's landmarks (k != j in Eq. 1 of the paper); renders only.

    Args:
      count: as for `held_out`, whose rows these are.

    Returns:
      `held_out(count)` with `driver_landmarks` [N, 68, 2]: those of another test person whose head was rendered with
      the target's expression coefficients and pose, so that `target_image` is the true answer; and `driver` [N] int32,
      that person. Empty where the data set holds photographs.
    """
    if not self.data.rendered:
      return {}
    targets = self._held_out_rows(count)[:, 1]
    table = self.data.index('test')
    return self.held_out(count) | {key: table[key][targets] for key in ('driver', 'driver_landmarks')}

  def _held_out_rows(self, count: int | None) -> np.ndarray:
    table = self.data.index('test')
    rows = self.pairs('test')
    order = spread_order(table['identity'][rows[:, 0]], table['expression'][rows[:, 1]], HELD_OUT_SEED)
    return rows[order[:count]]


def ordered_pairs(identity: np.ndarray, pose: np.ndarray, light: np.ndarray, expression: np.ndarray) -> np.ndarray:
  """[P, 2] int32 rows (a, b) of the same person, pose and light with different expressions; from [N] columns."""
  groups: dict[tuple[int, ...], list[int]] = {}
  for row, key in enumerate(zip(identity.tolist(), pose.tolist(), light.tolist(), strict=True)):
    groups.setdefault(key, []).append(row)
  parts = [np.zeros([0, 2], np.int32)]
  for members in groups.values():
    rows = np.array(members, np.int32)
    first, second = np.nonzero(expression[rows][:, None] != expression[rows][None])
    parts.append(np.stack([rows[first], rows[second]], axis=1))
  return np.concatenate(parts)


def spread_order(identity: np.ndarray, expression: np.ndarray, seed: int) -> np.ndarray:
  """[P] integers: an order whose every first part is spread over the people, and each person's over the expressions."""
  random = np.random.default_rng(seed)
  shuffled_rows = random.permutation(len(identity))
  people = {person: place for place, person in enumerate(random.permutation(np.unique(identity)).tolist())}
  labels = int(expression.max()) + 1 if len(expression) else 0
  taken: dict[tuple[int, int], int] = {}
  keys = []
  for row in shuffled_rows.tolist():
    place, label = people[int(identity[row])], int(expression[row])
    lap = taken.get((place, label), 0)
    taken[place, label] = lap + 1
    # Person number p starts at another expression than person p - 1.
    keys.append((lap * labels + (label + place) % labels, place))
  # Ranks, since a person who lacks a label would otherwise fall behind.
  ranks: dict[int, int] = {}
  final = []
  for _turn, place, row in sorted(
    (turn, place, row) for (turn, place), row in zip(keys, shuffled_rows.tolist(), strict=True)
  ):
    rank = ranks.get(place, 0)
    ranks[place] = rank + 1
    final.append((rank, place, row))
  return np.array([row for _, _, row in sorted(final)], np.int64)
