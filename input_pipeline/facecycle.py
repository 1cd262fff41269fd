"""Batches of FaceCycle: pairs of frames of one track, or of strangers; batch t is a function of (seed, phase, t)."""

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from input_pipeline import augmentation, dataset, jitter, steps, triplets
from input_pipeline.dataset import PreparedDataset
from models.config import ConfigError

RENDERED = 'synthetic_video'


class TrackTable(NamedTuple):
  """The tracks of a split, ordered by person.

  Attributes:
    rows: [N] rows of the split, those of each track together and in the order of time.
    start, length: [T] where each track lies in `rows`.
    person: [T] whom it shows.
    names: [T].
  """

  rows: np.ndarray
  start: np.ndarray
  length: np.ndarray
  person: np.ndarray
  names: np.ndarray

  def clip(self, track: int) -> np.ndarray:
    """Rows of one track in the order of time."""
    return self.rows[self.start[track] : self.start[track] + self.length[track]]

  def only(self, chosen: np.ndarray) -> 'TrackTable':
    """Some of the tracks [T] bool; `rows` stay."""
    return TrackTable(self.rows, *(value[chosen] for value in self[1:]))


def find_tracks(table: dict[str, np.ndarray]) -> TrackTable:
  """The tracks of an index table: a frame's `file` names its track before the `#`; a file without one is a track."""
  files = table['file'].tolist()
  parts = [file.rpartition('#') if '#' in file else (file, '', '0') for file in files]
  names = np.array([part[0] for part in parts])
  frames = np.array([int(part[2]) if part[2].isdecimal() else 0 for part in parts])
  rows = np.lexsort((frames, names, table['identity']))
  ordered, person = names[rows], table['identity'][rows]
  begins = np.ones(len(rows), bool)
  begins[1:] = (ordered[1:] != ordered[:-1]) | (person[1:] != person[:-1])
  start = np.flatnonzero(begins)
  return TrackTable(rows, start, np.diff(np.append(start, len(rows))), person[start], ordered[start])


class Tracks:
  """Pairs of frames (sections 2a.8 to 2a.10 of the spec).

  A batch is a dict:
    first, second: [B, S, S, 3] float32 in [-1, 1].
    index: [B] int64, the pair's place in the global batch.

  In the phases before `train` a pair is of one track: two distinct frames, or with probability `p_flip` a frame and its
  own mirror image, to which nothing is done after. An epoch visits each track once, in a new order. In `train` all 2 B
  frames of a batch show different people, where there are as many; an epoch then visits each person once at most.
  """

  def __init__(self, config: Any):
    """Reads nothing yet.

    Args:
      config: a `FaceCycleConfig`.
    """
    self.config = config

  @property
  def rendered(self) -> bool:
    """Whether the data set is of renders whose truth is known."""
    return self.data.fingerprint.get('kind') == RENDERED

  @functools.cached_property
  def data(self) -> PreparedDataset:
    """The data set; rendered first where it is the synthetic one.

    Raises:
      ConfigError: if it does not fit the settings.
      ValueError: if nobody is held out.
    """
    config, path = self.config, self.config.dataset
    self._check_name()
    if path == RENDERED:
      from input_pipeline import talking_heads  # The renderer is not needed to read a data set.

      path = talking_heads.render_dataset(config)
    data = dataset.open_dataset(path, config.cache_gb)
    made = data.fingerprint.get('alignment')
    if made != 'enlarged':
      raise ConfigError(
        f'dataset={path} was cut out with alignment={made}, FaceCycle needs squares around faces: prepare it with '
        '--layout=tracks',
        ('dataset',),
      )
    if data.fingerprint['enlargement'] != config.enlargement:
      raise ConfigError(
        f'enlargement={config.enlargement:g} is not how the faces of {path} were cut out: set '
        f'--enlargement={data.fingerprint["enlargement"]:g}, or prepare them again with '
        f'--enlargement={config.enlargement:g}',
        ('enlargement',),
      )
    dataset.check_size(config, data)
    for split in ('train', 'test'):
      data.index(split)
    return data

  def _check_name(self) -> None:
    if self.config.dataset == 'synthetic':
      raise ConfigError(
        f'dataset=synthetic has pictures and no tracks: set --dataset={RENDERED}, or a prepared set of tracks',
        ('dataset',),
      )

  @functools.cache  # noqa: B019 - a pipeline lives as long as its process
  def tracks(self, split: str) -> TrackTable:
    """All tracks of a split."""
    return find_tracks(self.data.index(split))

  @functools.cached_property
  def used(self) -> TrackTable:
    """The training tracks that are used: all, or `config.tracks` of them.

    Raises:
      ConfigError: if there are fewer.
    """
    found, count = self.tracks('train'), self.config.tracks
    if count > len(found.start):
      raise ConfigError(
        f'tracks={count} is more than the {len(found.start)} training tracks of {self.data.path}', ('tracks', 'dataset')
      )
    if not count:
      return found
    drawn = np.random.default_rng(0).permutation(len(found.start))[:count]  # More tracks include the fewer ones.
    return found.only(np.isin(np.arange(len(found.start)), drawn))

  @functools.cached_property
  def paired(self) -> TrackTable:
    """The training tracks of which pairs are made.

    Raises:
      ConfigError: if none has two frames, and other frames are wanted.
    """
    found = self.used
    if self.config.p_flip == 1:
      return found
    if found.length.max() < 2:
      raise ConfigError(
        f'p_flip={self.config.p_flip:g} wants other frames of a track, and every track of {self.data.path} has one: '
        'prepare videos, or set --p_flip=1',
        ('p_flip', 'dataset'),
      )
    return found.only(found.length > 1)

  @property
  def _held(self) -> bool:
    return self.data.fits('train', self.config.image_size)

  def describe(self) -> list[str]:
    """Lines about the data for people. Renders nothing."""
    config, lines = self.config, [f'data set {self.config.dataset}']
    self._check_name()
    if config.dataset == RENDERED:
      from input_pipeline import talking_heads

      lines = talking_heads.describe(config)
      if not talking_heads.is_rendered(config):
        return lines
    for split in ('train', 'test'):
      found = self.tracks(split)
      lines.append(
        f'{split}: {self.data.count(split):,} frames in {len(found.start):,} tracks of '
        f'{len(np.unique(found.person)):,} people'
      )
    if config.tracks:
      lines.append(f'{len(self.used.start):,} of the training tracks are used')
    alone = len(self.used.start) - len(self.paired.start)
    if alone:
      lines.append(f'{alone:,} tracks of one frame have no pair: stage 1 leaves them out (--p_flip=1 uses them)')
    lines.append('frames are ' + ('held in memory' if self._held else f'read by row (--cache_gb={config.cache_gb})'))
    return lines

  def spec(self) -> dict[str, tf.TensorSpec]:
    """Shapes and types of a global batch. Known without any data."""
    count, size = self.config.batch_size, self.config.image_size
    picture = tf.TensorSpec([count, size, size, 3], tf.float32)
    return {'first': picture, 'second': picture, 'index': tf.TensorSpec([count], tf.int64)}

  def batches(self, start: int, stop: int, phase: str, worker: int = 0, workers: int = 1) -> tf.data.Dataset:
    """Batches start..stop-1 of a phase; of each the rows of one worker. Arguments and errors: `Triplets.batches`."""
    config, data, size = self.config, self.data, self.config.image_size
    part = steps.part_of(config, worker, workers)
    seeds = steps.phase_seeds(config, phase)
    strangers = phase == 'train'
    choose = self._stranger_chooser(seeds) if strangers else self._pair_chooser(seeds)
    images = data.images('train', size) if self._held else None

    def load(step: tf.Tensor) -> dict[str, tf.Tensor]:
      rows, mirrored = choose(step)
      rows = tf.concat([half[part] for half in tf.split(rows, 2)], axis=0)
      found = data.read('train', rows, size) if images is None else tf.gather(images, rows)
      alike = config.shared_flip and not strangers
      changes = jitter.draw_jitter(config, 2 * config.batch_size, seeds, step, alike)
      halves = {key: [half[part] for half in tf.split(value, 2)] for key, value in changes.items()}
      changes = {key: tf.concat(value, axis=0) for key, value in halves.items()}
      first, second = tf.split(jitter.apply_jitter(steps.to_float(found), changes), 2)
      more = augmentation.draw_changes(self._further, seeds, step)
      if more is not None:
        both = augmentation.change_images(
          tf.stack([first, second], axis=1), {key: value[part] for key, value in more.items()}
        )
        first, second = tf.unstack(both, axis=1)
      second = tf.where(mirrored[part][:, None, None, None], tf.reverse(first, [2]), second)
      return {'first': first, 'second': second, 'index': tf.range(config.batch_size, dtype=tf.int64)[part]}

    return steps.by_step(load, start, stop)

  @functools.cached_property
  def _further(self) -> Any:
    """The settings for what changes both frames alike: shift, tint and warp; the rest is `jitter`'s."""
    return dataclasses.replace(self.config, augment_flip=False, augment_scale=0.0, augment_colour=0.0)

  def _pair_chooser(self, seeds: Sequence[int]) -> Any:
    """step -> rows [2 B] of the first and second frames, and [B] bool where the second is to be the mirrored first."""
    count, found = self.config.batch_size, self.paired
    with tf.device('/CPU:0'):
      start, length, rows = (tf.constant(part, tf.int64) for part in (found.start, found.length, found.rows))

    def choose(step: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
      element = step * count + tf.range(count, dtype=tf.int64)
      track = steps.shuffled(element, len(found.start), seeds)
      noise = self._noise(seeds, step, 3)
      frames = tf.gather(length, track)
      first = steps.pick(noise[:, 0], frames)
      second = tf.math.floormod(first + 1 + steps.pick(noise[:, 1], tf.maximum(frames - 1, 1)), frames)
      begin = tf.gather(start, track)
      chosen = tf.gather(rows, tf.concat([begin + first, begin + second], axis=0))
      return chosen, noise[:, 2] < self.config.p_flip

    return choose

  def _stranger_chooser(self, seeds: Sequence[int]) -> Any:
    """As `_pair_chooser`: rows of different people."""
    count, found = 2 * self.config.batch_size, self.used
    people, first_track, track_count = np.unique(found.person, return_index=True, return_counts=True)
    # Whole batches of an epoch; where there are too few people they come again as late as can be.
    batches = len(people) // count
    with tf.device('/CPU:0'):
      start, length, rows, first_track, track_count = (
        tf.constant(part, tf.int64) for part in (found.start, found.length, found.rows, first_track, track_count)
      )

    def choose(step: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
      element = step * count + tf.range(count, dtype=tf.int64)
      if batches:
        element += step // batches * (len(people) - batches * count)
      person = steps.shuffled(element, len(people), seeds)
      noise = tf.concat(tf.split(self._noise(seeds, step, 4), 2, axis=1), axis=0)
      track = tf.gather(first_track, person) + steps.pick(noise[:, 0], tf.gather(track_count, person))
      chosen = tf.gather(start, track) + steps.pick(noise[:, 1], tf.gather(length, track))
      return tf.gather(rows, chosen), tf.zeros([self.config.batch_size], tf.bool)

    return choose

  def _noise(self, seeds: Sequence[int], step: tf.Tensor, width: int) -> tf.Tensor:
    seed = tf.stack([seeds[0] ^ seeds[1] ^ 0x1B873593, tf.cast(step, tf.int32)])
    return tf.random.stateless_uniform([self.config.batch_size, width], seed)

  def held_out(self, count: int | None = None) -> dict[str, np.ndarray]:
    """Pairs of distinct frames of people who are not trained on, in an order that does not depend on the seed.

    Args:
      count: how many; as many as there are where it is None or there are fewer. No frame comes twice.

    Returns:
      first, second and index as in a batch; rows [N, 2] of the split `test`; and the labels of the first frames, see
      `labels_of`, and of the second ones under `second_` and their name.
    """
    found = self.tracks('test')
    pairs = []
    for track in range(len(found.start)):
      order = np.random.default_rng(track).permutation(found.clip(track))
      pairs += [(lap, track, order[2 * lap], order[2 * lap + 1]) for lap in range(len(order) // 2)]
    if not pairs:
      raise ValueError(f'{self.data.path}: no held-out track has two frames: hold out other people')
    table = np.array(pairs)
    # Of each lap, spread over the people.
    person = found.person[table[:, 1]]
    turns = triplets.spread_order(person, np.zeros_like(person), triplets.HELD_OUT_SEED)
    order = turns[np.argsort(table[turns, 0], kind='stable')][:count]
    rows = table[order, 2:]
    first, second = (self.pictures('test', rows[:, side]) for side in (0, 1))
    batch = {'first': first, 'second': second, 'index': np.arange(len(rows), dtype=np.int64), 'rows': rows}
    second_labels = self.labels_of('test', rows[:, 1])
    return batch | self.labels_of('test', rows[:, 0]) | {f'second_{key}': value for key, value in second_labels.items()}

  def pictures(self, split: str, rows: Sequence[int] | np.ndarray) -> np.ndarray:
    """[N, S, S, 3] float32 in [-1, 1] of some rows of a split, as they are."""
    pictures: Any = steps.to_float(self.data.pictures(split, np.asarray(rows), self.config.image_size))
    return pictures.numpy()

  def labels_of(self, split: str, rows: Sequence[int] | np.ndarray) -> dict[str, np.ndarray]:
    """What is known of frames. For probes and measures, never for training.

    Returns:
      identity [N] int32, landmarks [N, 68, 2], file, skin [N] str; and of renders light [N] int32, expression [N, 6]
      coefficients of `talking_heads.EXPRESSIONS`, label [N] int32 of `talking_heads.LABELS`, and pose [N, 3] degrees:
      yaw (positive: towards the picture's right), pitch, roll.
    """
    table, rows = self.data.index(split), np.asarray(rows)
    found = {key: table[key][rows] for key in ('identity', 'landmarks', 'file', 'skin')}
    if self.rendered:
      parameters = self.parameters(split, rows)
      found |= {
        'light': table['light'][rows],
        'expression': parameters['coefficients'],
        'label': table['expression'][rows],
        'pose': np.degrees(parameters['angles'])[:, [1, 0, 2]],
      }
    return found

  def parameters(self, split: str, rows: Sequence[int] | np.ndarray) -> dict[str, np.ndarray]:
    """The parameters of rendered frames, as `talking_heads.render` takes them, and their `coefficients`.

    Raises:
      ValueError: if the frames are no renders.
    """
    from input_pipeline import talking_heads
    from models.face3d.morphable import load_face_model

    if not self.rendered:
      raise ValueError(f'{self.data.path} holds photographs: what they show is not known, only --dataset={RENDERED} is')
    model = load_face_model(self.config.face_model)
    spec = {
      'coefficients': tf.io.FixedLenFeature([len(talking_heads.EXPRESSIONS)], tf.float32),
      'parameters': tf.io.FixedLenFeature([sum(talking_heads.parameter_sizes(model).values())], tf.float32),
      'background': tf.io.FixedLenFeature([], tf.int64),
    }
    raw = tf.io.parse_example(tf.constant(self.data.records(split, np.asarray(rows).tolist())), spec)
    found = talking_heads.unpack(raw['parameters'].numpy(), raw['background'].numpy(), model)
    return found | {'coefficients': raw['coefficients'].numpy()}

  def neutral_truth(self, split: str, rows: Sequence[int] | np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The people of rendered frames in their light, without expression and from the front.

    Returns:
      [N, S, S, 3] float32 in [-1, 1], and landmarks [N, 68, 2].
    """
    return self._truth(self.parameters(split, rows))

  def transfer_truth(
    self, split: str, targets: Sequence[int] | np.ndarray, sources: Sequence[int] | np.ndarray
  ) -> tuple[np.ndarray, np.ndarray]:
    """The people of `targets` in their light with expression and pose of `sources`; see `neutral_truth`."""
    return self._truth(self.parameters(split, targets), self.parameters(split, sources))

  def _truth(
    self, targets: dict[str, np.ndarray], sources: dict[str, np.ndarray] | None = None
  ) -> tuple[np.ndarray, np.ndarray]:
    from input_pipeline import talking_heads
    from models.face3d.morphable import load_face_model

    model, enlargement = load_face_model(self.config.face_model), self.config.enlargement
    changed = (
      talking_heads.neutralised(model, targets, enlargement)
      if sources is None
      else talking_heads.transferred(model, targets, sources, enlargement)
    )
    images, landmarks = talking_heads.render(model, changed, self.config.image_size)
    return (images / np.float32(127.5) - 1).astype(np.float32), landmarks
