"""Batches of GANFaces: labelled renders, photographs, and pairs of a photograph and the render of its fit."""

import functools
from typing import Any

import numpy as np
import tensorflow as tf

from input_pipeline import augmentation, dataset, steps, triplets
from input_pipeline.dataset import PreparedDataset
from models.config import ConfigError

# The pictures of each domain, by their name in a batch: name of the feature they are stored as.
PICTURES = {
  'renders': {'render': 'image'},
  'photos': {'photo': 'image'},
  'pairs': {'pair_photo': 'image', 'pair_render': 'render'},
}


class Domains:
  """The three data sets of GANFaces, drawn from independently (section 1a.4 of the spec).

  A batch is a dict:
    render: [B, S, S, 3] float32 in [-1, 1], exactly -1 around the face.
    render_mask: [B, S, S, 1] float32 in {0, 1}, the rendered face.
    render_landmarks: [B, 68, 2] float32 in [-1, 1] of the crop (may lie outside).
    label: [B] int32, whom it shows, in [0, identities).
    photo: [B, S, S, 3] of the real domain.
    pair_photo, pair_render: [B, S, S, 3] a photograph and the render of its fit in the same box; only where
      `config.uses_pairs`.
    index: [B] int64, the sample's place in the global batch.

  Every epoch of each of the three goes through all its pictures in a new order. Batch t depends on (seed, phase, t) and
  nothing else. Augmentation changes the photographs alone, since a pair's pixels and a render's have to stay together.
  """

  def __init__(self, config: Any):
    """Reads nothing yet.

    Args:
      config: a `GANFacesConfig`.
    """
    self.config = config

  @property
  def stand_ins(self) -> bool:
    """Whether the photographs are rendered stand-ins, which everything made from them has to say."""
    return self.config.dataset == 'synthetic'

  @property
  def note(self) -> str:
    """What has to stand under every picture and figure, '' where there is nothing to say."""
    from input_pipeline import stand_ins

    return stand_ins.NOTE if self.stand_ins else ''

  @functools.cached_property
  def _parameters(self) -> dict[str, np.ndarray]:
    """`expression`, `pose` and `light` of the pairs, of which those of the renders are drawn."""
    from input_pipeline import pairs, stand_ins

    if self.config.pairs:
      return pairs.read_parameters(self.config)
    return stand_ins.pair_parameters(stand_ins.World(stand_ins.settings(self.config), self.config.face_model))

  @functools.cached_property
  def world(self) -> Any:
    """What the renders are drawn from: a `renders.World`; it has more people than are rendered."""
    from input_pipeline import renders  # The renderer is not needed to read a data set.

    return renders.make_world(self.config, self._parameters)

  @functools.cached_property
  def renders(self) -> PreparedDataset:
    """The synthetic domain; rendered on first use, once the real one is seen to be fit."""
    from input_pipeline import renders

    self._check()
    path = renders.render_dataset(self.config, self.world)
    return dataset.open_dataset(path, self.config.cache_gb)

  @functools.cached_property
  def photos(self) -> PreparedDataset:
    """The real domain: prepared photographs, or stand-ins that are rendered on first use.

    Raises:
      ConfigError: if they were cut out otherwise than renders are, or are too small.
      ValueError: if nobody is held out.
    """
    config, path = self.config, self.config.dataset
    if self.stand_ins:
      from input_pipeline import stand_ins

      path = stand_ins.stand_in_dataset(config)
    data = dataset.open_dataset(path, config.cache_gb)
    made = data.fingerprint.get('alignment')
    if made != 'box':
      raise ConfigError(
        f'dataset={path} was cut out with alignment={made}; renders are cut out by the box of a face detector: prepare '
        'the photographs with --alignment=box',
        ('dataset',),
      )
    dataset.check_size(config, data)
    for split in ('train', 'test'):
      data.index(split)
    return data

  @functools.cached_property
  def pairs(self) -> PreparedDataset:
    """Photographs with the renders of their fits: `--pairs`, or the stand-ins', whose parameters are known.

    Raises:
      ConfigError: if photographs come without pairs.
      ValueError, OSError: if the pairs cannot be used.
    """
    config = self.config
    self._check()
    if not config.pairs:
      return self.photos
    from input_pipeline import pairs

    test = self.photos.index('test')['identity']
    held_out = [] if self.stand_ins else [self.photos.identities[i] for i in np.unique(test)]
    return dataset.open_dataset(pairs.pair_dataset(config, held_out), config.cache_gb)

  def _check(self) -> None:
    """Photographs that cannot be used are refused before anything is rendered."""
    config = self.config
    if config.uses_pairs and not config.pairs and not self.stand_ins:
      raise ConfigError(
        f'dataset={config.dataset} has no pairs: fit its photographs (python -m input_pipeline.fit '
        f'--dataset={config.dataset} --output=FITS) and pass --pairs=FITS, or set pair_weight=0',
        ('pairs', 'dataset'),
      )
    if not self.stand_ins:
      _ = self.photos

  @property
  def domains(self) -> list[str]:
    """`renders`, `photos` and, where a loss needs them, `pairs`."""
    return ['renders', 'photos', *['pairs'] * self.config.uses_pairs]

  def split(self, domain: str, held_out: bool = False) -> str:
    """The name of a domain's split."""
    if domain == 'pairs' and not self.config.pairs:
      return 'pairs_test' if held_out else 'pairs'
    return 'test' if held_out else 'train'

  def data(self, domain: str) -> PreparedDataset:
    """The data set of a domain."""
    return getattr(self, domain)

  @functools.cached_property
  def _held(self) -> bool:
    """Whether all training pictures may be held in memory together."""
    size = self.config.image_size
    pictures = sum(self.data(d).count(self.split(d)) * len(PICTURES[d]) for d in self.domains)
    return pictures * size * size * 3 <= self.config.cache_gb * 2**30

  def describe(self) -> list[str]:
    """Lines about the data for people. Renders nothing.

    Raises:
      ConfigError: if photographs come without pairs.
    """
    from input_pipeline import renders, stand_ins, worlds

    config = self.config
    self._check()
    world = self.world
    path = renders.dataset_path(config, world)
    ready = worlds.is_rendered(path)
    people = {split: len(world.people(split)) for split in ('train', 'test')}
    lines = [
      f'renders: {people["train"]:,} people ({people["test"]:,} more held out) x {config.renders_per_identity} '
      f'pictures = {people["train"] * config.renders_per_identity:,}',
      f'they {"are in" if ready else "will be rendered into"} {path}',
    ]
    if self.stand_ins:
      lines += stand_ins.describe(config)
      ready &= stand_ins.is_rendered(config)
    else:
      lines.append(f'real domain: photographs of {config.dataset}')
    if not ready:
      return lines
    for domain in self.domains[1:]:
      data = self.data(domain)
      counts = [
        (self.split(domain, held), len(np.unique(data.index(self.split(domain, held))['identity'])))
        for held in (False, True)
      ]
      lines.append(f'{domain}: ' + ', '.join(f'{data.count(s):,} of {n:,} people in {s}' for s, n in counts))
    lines.append('pictures are ' + ('held in memory' if self._held else f'read by row (--cache_gb={config.cache_gb})'))
    return lines

  def spec(self) -> dict[str, tf.TensorSpec]:
    """Shapes and types of a global batch. Known without any data."""
    count, size = self.config.batch_size, self.config.image_size
    pictures = [name for domain in self.domains for name in PICTURES[domain]]
    return {
      **{name: tf.TensorSpec([count, size, size, 3], tf.float32) for name in pictures},
      'render_mask': tf.TensorSpec([count, size, size, 1], tf.float32),
      'render_landmarks': tf.TensorSpec([count, 68, 2], tf.float32),
      'label': tf.TensorSpec([count], tf.int32),
      'index': tf.TensorSpec([count], tf.int64),
    }

  def batches(self, start: int, stop: int, phase: str, worker: int = 0, workers: int = 1) -> tf.data.Dataset:
    """Batches start..stop-1 of a phase; of each the rows of one worker. Arguments and errors: `Triplets.batches`."""
    config, size = self.config, self.config.image_size
    part = steps.part_of(config, worker, workers)
    seeds = {domain: steps.phase_seeds(config, f'{phase}/{domain}') for domain in self.domains}
    with tf.device('/CPU:0'):
      table = {key: tf.constant(self.renders.index('train')[key]) for key in ('landmarks', 'identity')}
    kept = {
      name: self.data(domain).images(self.split(domain), size, key) if self._held else None
      for domain in self.domains
      for name, key in PICTURES[domain].items()
    }

    def load(step: tf.Tensor) -> dict[str, tf.Tensor]:
      index = tf.range(config.batch_size, dtype=tf.int64)
      batch = {'index': index[part]}
      for domain in self.domains:
        data, split = self.data(domain), self.split(domain)
        rows = steps.shuffled(step * config.batch_size + index, data.count(split), seeds[domain])[part]
        for name, key in PICTURES[domain].items():
          images = kept[name]
          batch[name] = steps.to_float(data.read(split, rows, size, key) if images is None else tf.gather(images, rows))
        if domain == 'renders':
          batch |= {
            'label': tf.gather(table['identity'], rows),
            'render_mask': face_mask(batch['render']),
            'render_landmarks': tf.gather(table['landmarks'], rows),
          }
      changes = augmentation.draw_changes(config, seeds['photos'], step)
      if changes is not None:
        changes = {key: value[part] for key, value in changes.items()}
        batch['photo'] = augmentation.change_images(batch['photo'][:, None], changes)[:, 0]
      return batch

    return steps.by_step(load, start, stop)

  def held_out(self, count: int | None = None) -> dict[str, np.ndarray]:
    """Pictures of people who are not trained on, in an order that does not depend on the seed.

    The rows of the three domains have nothing to do with each other; the first rows of each show different people.

    Args:
      count: how many; as many as every domain has where there are fewer, or where it is None.

    Returns:
      the keys of a batch as numpy arrays; the labels are not below `identities`.
    """
    most = min(self.data(domain).count(self.split(domain, True)) for domain in self.domains)
    count = most if count is None else min(count, most)
    batch: dict[str, np.ndarray] = {'index': np.arange(count, dtype=np.int64)}
    for domain in self.domains:
      found = self.held_out_of(domain, count)
      batch |= {name: found[name] for name in PICTURES[domain]}
      if domain == 'renders':
        batch |= {name: found[name] for name in ('render_mask', 'render_landmarks', 'label')}
    return batch

  def held_out_of(self, domain: str, count: int | None = None) -> dict[str, np.ndarray]:
    """Held-out pictures of one domain, see `pictures_of`."""
    return self.pictures_of(domain, True, count)

  def pictures_of(self, domain: str, held_out: bool, count: int | None = None) -> dict[str, np.ndarray]:
    """Pictures of one domain, spread over its people, in an order that does not depend on the seed.

    Args:
      domain: renders, photos or pairs.
      held_out: those of the people who are held out, or of those who are trained on.
      count: how many; all where there are fewer, or where it is None.

    Returns:
      the domain's pictures as in a batch, `landmarks` [N, 68, 2], `identity` [N] int32, `file` and `skin` [N] str; of
      renders also `render_mask`, `render_landmarks`, `label`.
    """
    data, split = self.data(domain), self.split(domain, held_out)
    table = data.index(split)
    order = triplets.spread_order(table['identity'], np.zeros_like(table['identity']), triplets.HELD_OUT_SEED)[:count]
    found = {key: table[key][order] for key in ('landmarks', 'identity', 'file', 'skin')}
    for name, key in PICTURES[domain].items():
      found[name] = steps.to_float(data.pictures(split, order, self.config.image_size, key)).numpy()
    if domain == 'renders':
      found |= {
        'render_mask': face_mask(tf.constant(found['render'])).numpy(),
        'label': found['identity'],
        'render_landmarks': found['landmarks'],
      }
    return found


def face_mask(renders: tf.Tensor) -> tf.Tensor:
  """[..., 1] float32 in {0, 1}: where renders [..., 3] show a face, which is nowhere as black as what is around it."""
  return tf.cast(tf.reduce_any(renders > -1.0, axis=-1, keepdims=True), tf.float32)


def eye_centres(landmarks: np.ndarray) -> np.ndarray:
  """[2] the mean place of both eyes of landmarks [N, 68, 2], in their unit; it has to agree between the domains."""
  return np.asarray(landmarks)[:, 36:48].mean(axis=(0, 1))
