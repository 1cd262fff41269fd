"""Batches of face-off: frames of two people, unpaired; batch t is a function of (seed, phase, t)."""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from input_pipeline import augmentation, dataset, steps
from input_pipeline.dataset import PreparedDataset
from models.config import ConfigError

RENDERED = 'synthetic_actors'
DOMAINS = ('a', 'b')
# A pose is unseen where yaw or pitch lies outside of this range of training's.
_SEEN = (5.0, 95.0)
_FILM = 500  # Frames of a film at most.


class Side(NamedTuple):
  """Where one of the two people is found: `person` is a number of `data.identities`."""

  data: PreparedDataset
  person: int


class TwoDomains:
  """Frames of A and of B (sections 4a.3 and 4a.4 of the spec).

  A batch is a dict:
    a, b: [B, S, S, 3] float32 in [-1, 1]; the rows of one have nothing to do with those of the other.
    a_mask, b_mask: [B, S, S, 1] float32 in {0, 1}: the face, or the person (`config.masks`).
    critic_a, critic_b, critic_a_mask, critic_b_mask: [B, critic_steps, S, S, C], further frames; only where
      `config.critic_steps` is above 1.
    index: [B] int64, the row's place in the global batch.

  A frame is `config.load_size` pixels wide, of which a random square of `image_size` is cut out and mirrored or not,
  picture and mask alike. An epoch is as long as the longer video: it visits all frames of A in a new order; those of B
  are drawn at random.
  """

  def __init__(self, config: Any):
    """Reads nothing yet.

    Args:
      config: a `FaceOffConfig`.
    """
    self.config = config

  @property
  def rendered(self) -> bool:
    """Whether the people are rendered actors, of whom all is known."""
    return self.config.dataset == RENDERED

  @functools.cached_property
  def sides(self) -> dict[str, Side]:
    """Where A and B are found; rendered first where they are actors.

    Raises:
      ConfigError: if the data set does not fit the settings.
    """
    config = self.config
    if self.rendered:
      from input_pipeline import actors  # The renderer is not needed to read a data set.

      paths = [actors.render_dataset(config, actor) for actor in actors.PAIRS[config.pair]]
      return {d: Side(dataset.open_dataset(p, config.cache_gb), 0) for d, p in zip(DOMAINS, paths, strict=True)}
    if config.dataset == 'synthetic':
      raise ConfigError(
        f'dataset=synthetic has many people and no videos of two: set --dataset={RENDERED}, or prepare two videos',
        ('dataset',),
      )
    data = dataset.open_dataset(config.dataset, config.cache_gb)
    self._check(data)
    return {domain: Side(data, data.identities.index(domain)) for domain in DOMAINS}

  def _check(self, data: PreparedDataset) -> None:
    config, made = self.config, data.fingerprint
    if made.get('kind') != 'two_videos':
      raise ConfigError(
        f'dataset={data.path} does not hold the videos of two people: prepare them with --layout=two_videos',
        ('dataset',),
      )
    if data.crop_size < config.load_size:
      raise ConfigError(
        f'load_size={config.load_size} is larger than the frames of {data.path} ({data.crop_size}): prepare them with '
        f'--crop_size={config.load_size}, or set a smaller --load_size',
        ('load_size',),
      )
    for name in ('alignment', *['enlargement'] * (made['alignment'] == 'enlarged')):
      if made[name] != getattr(config, name):
        raise ConfigError(
          f'{name}={getattr(config, name)} is not how the frames of {data.path} were cut out: set '
          f'--{name}={made[name]}',
          (name,),
        )
    if made['masks'] not in (config.masks, 'ready'):
      raise ConfigError(
        f'masks={config.masks} is not what {data.path} has: set --masks={made["masks"]}, or prepare it with '
        f'--masks={config.masks}',
        ('masks',),
      )

  @functools.cache  # noqa: B019 - a pipeline lives as long as its process
  def rows(self, domain: str, split: str) -> np.ndarray:
    """Where the frames of a person stand in a split of the person's data set, in the order of time.

    Args:
      domain: a or b.
      split: train or test; of rendered actors also film, in which B does as A does, and of B truth, which is B with
        A's motion of the split test, row by row.
    """
    side = self.sides[domain]
    return np.flatnonzero(side.data.index(split)['identity'] == side.person)

  def count(self, domain: str, split: str) -> int:
    """How many frames there are of a person."""
    return len(self.rows(domain, split))

  @property
  def epoch(self) -> int:
    """Frames of an epoch: as many as the longer video has."""
    return max(self.count(domain, 'train') for domain in DOMAINS)

  @property
  def frame_rate(self) -> float:
    """Frames a second; 25 where nobody knows, see `known_rate`."""
    return self.known_rate or 25.0

  @property
  def known_rate(self) -> float:
    """A's frames a second; 0 where nobody knows: of a folder, and in data sets of before rates were stored."""
    return self.config.frame_rate if self.rendered else self.sides['a'].data.fingerprint.get('rates', {}).get('a', 0.0)

  @property
  def _mask(self) -> str:
    """The feature that holds the masks."""
    return f'{self.config.masks}_mask' if self.rendered else 'mask'

  @property
  def _held(self) -> bool:
    """Whether all training frames may be held in memory together."""
    frames = sum({id(side.data): side.data.count('train') for side in self.sides.values()}.values())
    return frames * self.config.load_size**2 * 4 <= self.config.cache_gb * 2**30

  def describe(self) -> list[str]:
    """Lines about the data for people. Renders nothing."""
    config, lines = self.config, [f'data set {self.config.dataset}']
    if self.rendered:
      from input_pipeline import actors

      lines = actors.describe(config)
      if not actors.is_rendered(config):
        return lines
    for domain in DOMAINS:
      train, test = (self.count(domain, split) for split in ('train', 'test'))
      lines.append(f'{domain}: {train:,} training frames, {test:,} held out')
    lines.append(f'masks of the {"rendered " * self.rendered}frames show the {self._masks_show}')
    lines.append('frames are ' + ('held in memory' if self._held else f'read by row (--cache_gb={config.cache_gb})'))
    return lines

  @property
  def _masks_show(self) -> str:
    made = None if self.rendered else self.sides['a'].data.fingerprint['masks']
    return 'ready ones' if made == 'ready' else self.config.masks

  def spec(self) -> dict[str, tf.TensorSpec]:
    """Shapes and types of a global batch. Known without any data."""
    config = self.config
    count, size, more = config.batch_size, config.image_size, config.critic_steps
    shapes = {domain: [count, size, size] for domain in DOMAINS}
    if more > 1:
      shapes |= {f'critic_{domain}': [count, more, size, size] for domain in DOMAINS}
    spec = {name: tf.TensorSpec([*shape, 3], tf.float32) for name, shape in shapes.items()}
    spec |= {f'{name}_mask': tf.TensorSpec([*shape, 1], tf.float32) for name, shape in shapes.items()}
    return spec | {'index': tf.TensorSpec([count], tf.int64)}

  def batches(self, start: int, stop: int, phase: str, worker: int = 0, workers: int = 1) -> tf.data.Dataset:
    """Batches start..stop-1 of a phase; of each the rows of one worker. Arguments and errors: `Triplets.batches`."""
    config = self.config
    part = steps.part_of(config, worker, workers)
    samplers = {domain: self._sampler(domain, f'{phase}/{domain}', part) for domain in DOMAINS}
    if config.critic_steps > 1:
      for domain in DOMAINS:
        name = f'critic_{domain}'
        samplers[name] = self._sampler(domain, f'{phase}/{name}', part, config.critic_steps)

    def load(step: tf.Tensor) -> dict[str, tf.Tensor]:
      batch = {'index': tf.range(config.batch_size, dtype=tf.int64)[part]}
      for name, sample in samplers.items():
        batch[name], batch[f'{name}_mask'] = sample(step)
      return batch

    return steps.by_step(load, start, stop)

  def _sampler(self, domain: str, name: str, part: slice, each: int = 0) -> Callable[[tf.Tensor], Sequence[tf.Tensor]]:
    """step -> pictures and masks of some rows of the global batch, [B', S, S, C], or [B', each, S, S, C]."""
    config, data = self.config, self.sides[domain].data
    load_size, size = config.load_size, config.image_size
    seeds = steps.phase_seeds(config, name)
    width = max(each, 1)
    count, own = config.batch_size * width, slice(part.start * width, part.stop * width)
    further = dataclasses.replace(config, batch_size=count, augment_flip=False)
    frames, epoch = self.count(domain, 'train'), self.epoch
    kept = [data.images('train', load_size), data.images('train', load_size, self._mask, 1)] if self._held else None
    with tf.device('/CPU:0'):
      rows = tf.constant(self.rows(domain, 'train'), tf.int64)

    def sample(step: tf.Tensor) -> Sequence[tf.Tensor]:
      seed = tf.stack([seeds[0] ^ seeds[1] ^ 0x1B873593, tf.cast(step, tf.int32)])
      noise = tf.random.stateless_uniform([count, 4], seed)
      if domain == 'a':
        element = step * count + tf.range(count, dtype=tf.int64)
        place = tf.math.floormod(steps.shuffled(element, epoch, seeds), frames)
      else:
        place = steps.pick(noise[:, 3], frames)
      chosen = tf.gather(rows, place)[own]
      if kept is None:
        found = [data.read('train', chosen, load_size), data.read('train', chosen, load_size, self._mask, 1)]
      else:
        found = [tf.gather(images, chosen) for images in kept]
      top, left = (steps.pick(noise[own, i], load_size - size + 1) for i in (0, 1))
      flip = (noise[own, 2] < 0.5) & config.augment_flip
      image, mask = (cut_out(pictures, top, left, flip, size) for pictures in found)
      image, mask = steps.to_float(image), tf.cast(mask > 127, tf.float32)
      changes = augmentation.draw_changes(further, seeds, step)
      if changes is not None:
        image, mask = _change(image, mask, {key: value[own] for key, value in changes.items()})
      return [tf.reshape(x, [-1, each, *x.shape[1:]]) for x in (image, mask)] if each else (image, mask)

    return sample

  def held_out(self, count: int | None = None) -> dict[str, np.ndarray]:
    """Held-out frames of A and of B, the middle of each, in the order of time.

    Args:
      count: how many, spread evenly over the held-out frames; as many as both people have where it is None.

    Returns:
      a, b, a_mask, b_mask and index as in a batch, and what `labels_of` says of them under `a_` and `b_` and its name.
      Of rendered actors also truth [N, S, S, 3], which is B with the expression and pose of each frame of A, with
      truth_mask and truth_landmarks; and unseen [N] bool, where A's yaw or pitch is outside the range in which nine
      tenths of the training frames lie.
    """
    most = min(self.count(domain, 'test') for domain in DOMAINS)
    count = most if count is None else min(count, most)
    batch: dict[str, np.ndarray] = {'index': np.arange(count, dtype=np.int64)}
    for domain in DOMAINS:
      chosen = self._spread(domain, count)
      batch[domain] = self.pictures(domain, 'test', chosen)
      batch[f'{domain}_mask'] = self.masks_of(domain, 'test', chosen)
      batch |= {f'{domain}_{key}': value for key, value in self.labels_of(domain, 'test', chosen).items()}
    if self.rendered:
      chosen = self._spread('a', count)
      batch['truth'] = self.pictures('b', 'truth', chosen)
      batch['truth_mask'] = self.masks_of('b', 'truth', chosen)
      batch['truth_landmarks'] = self.labels_of('b', 'truth', chosen)['landmarks']
      low, high = np.percentile(self.labels_of('a', 'train')['pose'][:, :2], _SEEN, axis=0)
      turned = batch['a_pose'][:, :2]
      batch['unseen'] = ((turned < low) | (turned > high)).any(axis=1)
    return batch

  def film(self) -> dict[str, np.ndarray]:
    """Frames of A in a row: of rendered actors their film, `actors.FILM_RATE` a second, else A's first held-out ones.

    Returns:
      a and a_mask, frames of A; a_landmarks, a_clip and a_frame: as of `held_out`. Of rendered actors also truth, B
      doing the same.
    """
    split = 'film' if self.rendered else 'test'
    frames = np.arange(min(self.count('a', split), _FILM))
    batch = {'a': self.pictures('a', split, frames), 'a_mask': self.masks_of('a', split, frames)}
    batch |= {f'a_{key}': value for key, value in self.labels_of('a', split, frames).items()}
    return batch | ({'truth': self.pictures('b', 'film', frames)} if self.rendered else {})

  def _spread(self, domain: str, count: int) -> np.ndarray:
    frames = self.count(domain, 'test')
    return np.arange(count) * frames // max(count, 1)

  def pictures(self, domain: str, split: str, frames: Sequence[int] | np.ndarray) -> np.ndarray:
    """[N, S, S, 3] float32 in [-1, 1], the middle of some frames of a person, numbered as in `rows`."""
    return self._middle(domain, split, frames, 'image', 3) / np.float32(127.5) - 1

  def masks_of(self, domain: str, split: str, frames: Sequence[int] | np.ndarray) -> np.ndarray:
    """[N, S, S, 1] float32 in {0, 1}: the masks of `pictures`."""
    return (self._middle(domain, split, frames, self._mask, 1) > 127).astype(np.float32)

  def _middle(self, domain: str, split: str, frames: Sequence[int] | np.ndarray, key: str, channels: int) -> np.ndarray:
    load_size, size = self.config.load_size, self.config.image_size
    rows = self.rows(domain, split)[np.asarray(frames, int)]
    found: Any = self.sides[domain].data.pictures(split, rows, load_size, key, channels)
    start = (load_size - size) // 2
    return found.numpy()[:, start : start + size, start : start + size].astype(np.float32)

  def labels_of(
    self, domain: str, split: str, frames: Sequence[int] | np.ndarray | None = None
  ) -> dict[str, np.ndarray]:
    """What is known of frames. For measures, never for training.

    Args:
      domain: a or b.
      split: see `rows`.
      frames: [N] numbered as in `rows`; all where it is None.

    Returns:
      landmarks [N, 68, 2] in [-1, 1] of the middle, clip and frame [N] int32: which clip of the split it is, and its
      number there; and of rendered actors expression [N, 6] coefficients of `talking_heads.EXPRESSIONS`, and pose
      [N, 3] degrees: yaw (positive: towards the picture's right), pitch, roll.
    """
    rows = self.rows(domain, split)
    data, rows = self.sides[domain].data, rows if frames is None else rows[np.asarray(frames, int)]
    table = data.index(split)
    names, _, numbers = zip(*(str(file).rpartition('#') for file in table['file'][rows]), strict=True)
    load_size, size = self.config.load_size, self.config.image_size
    pixels = ((table['landmarks'][rows] + 1) * load_size - 1) / 2 - (load_size - size) // 2
    order = list(dict.fromkeys(str(file).rpartition('#')[0] for file in table['file'][self.rows(domain, split)]))
    found = {
      'landmarks': ((2 * pixels + 1) / size - 1).astype(np.float32),
      'clip': np.array([order.index(name) for name in names], np.int32),
      'frame': np.array(numbers, np.int32),
    }
    if self.rendered:
      stored = data.builder.info.features
      spec = {key: tf.io.FixedLenFeature(stored[key].shape, tf.float32) for key in ('coefficients', 'angles')}
      raw = tf.io.parse_example(tf.constant(data.records(split, rows.tolist())), spec)
      found |= {
        'expression': raw['coefficients'].numpy(),
        'pose': np.degrees(raw['angles'].numpy())[:, [1, 0, 2]],
      }
    return found


def cut_out(images: tf.Tensor, top: tf.Tensor, left: tf.Tensor, flip: tf.Tensor, size: int) -> tf.Tensor:
  """Squares [B, size, size, C] of pictures [B, H, W, C], from `top` and `left` [B] on, mirrored where `flip` [B] is."""
  along = tf.range(size, dtype=tf.int64)
  columns = tf.where(flip[:, None], size - 1 - along, along) + left[:, None]
  found = tf.gather(images, along + top[:, None], axis=1, batch_dims=1)
  return tf.gather(found, columns, axis=2, batch_dims=1)


def _change(image: tf.Tensor, mask: tf.Tensor, changes: dict[str, tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor]:
  """Moves picture and mask alike, and colours the picture."""
  moves = changes | {'gains': tf.zeros_like(changes['gains'])}
  moved = augmentation.change_images(tf.repeat(mask, 3, axis=-1)[:, None], moves)[:, 0, ..., :1]
  return augmentation.change_images(image[:, None], changes)[:, 0], tf.cast(moved > 0.5, tf.float32)
