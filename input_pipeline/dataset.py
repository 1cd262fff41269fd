"""A prepared data set: aligned crops with landmarks and labels, read as an index table and as pictures by row."""

import dataclasses
import functools
import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from input_pipeline import shards
from models.config import ConfigError

NAME = 'faces'
# What every face data set has; renders add mask, parameters, driver and driver_landmarks.
INDEX = {
  'landmarks': ((68, 2), np.float32),
  'identity': ((), np.int64),
  'expression': ((), np.int64),
  'pose': ((), np.int64),
  'light': ((), np.int64),
  'file': ((), np.bytes_),
  'skin': ((), np.bytes_),
}
RENDERED = {'driver': ((), np.int64), 'driver_landmarks': ((68, 2), np.float32)}


def face_features(
  identities: Sequence[str], expressions: Sequence[str], size: int, parameters: int = 0
) -> dict[str, Any]:
  """TFDS features of a face data set.

  Args:
    identities: names of the people.
    expressions: names of the expressions; `neutral` stands first where there is one.
    size: width and height of the crops.
    parameters: length of the coefficient vector of a render; 0 for photographs, which then have no mask either.
  """
  tfds = shards.import_tfds()
  features = {
    'image': tfds.features.Image(shape=(size, size, 3), encoding_format='png'),
    'landmarks': tfds.features.Tensor(shape=(68, 2), dtype=np.float32),
    'identity': tfds.features.ClassLabel(names=list(identities)),
    'expression': tfds.features.ClassLabel(names=list(expressions)),
    'pose': tfds.features.Scalar(dtype=np.int32),
    'light': tfds.features.Scalar(dtype=np.int32),
    'file': tfds.features.Text(),
    'skin': tfds.features.Text(),
  }
  if parameters:
    features |= {
      'mask': tfds.features.Image(shape=(size, size, 1), encoding_format='png'),
      'parameters': tfds.features.Tensor(shape=(parameters,), dtype=np.float32),
      'driver': tfds.features.Scalar(dtype=np.int32),
      'driver_landmarks': tfds.features.Tensor(shape=(68, 2), dtype=np.float32),
    }
  return features


def open_dataset(path: str, cache_gb: float = 4.0) -> 'PreparedDataset':
  """Opens a data set made by `input_pipeline.prepare` or `input_pipeline.synthetic`.

  Args:
    path: its folder.
    cache_gb: decoded pictures are held in memory up to this size.

  Raises:
    FileNotFoundError: if there is no folder.
    ValueError: if it is not a finished face data set.
  """
  folder = os.path.expanduser(path)
  if not os.path.isdir(folder):
    raise FileNotFoundError(
      f'--dataset={path}: there is no such folder; `synthetic` renders a data set, '
      '`python -m input_pipeline.prepare` makes one from photographs'
    )
  fingerprint = shards.read_fingerprint(folder)
  if fingerprint is None:
    raise ValueError(
      f'--dataset={path} holds no prepared data set (no {shards.FINGERPRINT}): '
      f'make one with `python -m input_pipeline.prepare --input={path} --output=DATA`'
    )
  if not fingerprint['complete']:
    raise ValueError(f'--dataset={path} is not finished: run the command that makes it again, it continues')
  builder = shards.import_tfds().builder_from_directory(folder)
  missing = [key for key in ('image', *INDEX) if key not in builder.info.features]
  if missing or builder.name != NAME:
    raise ValueError(
      f'--dataset={path} is a data set of kind {builder.name!r} with '
      f'{", ".join(builder.info.features)}; '
      f'this system needs kind {NAME!r} with {", ".join(("image", *INDEX))}'
    )
  if builder.info.features['image'].np_dtype != np.uint8:
    raise ValueError(
      f'--dataset={path}: its pictures are stored as '
      f'{np.dtype(builder.info.features["image"].np_dtype).name}, '
      '8-bit pictures are needed: prepare it again'
    )
  return PreparedDataset(folder, builder, fingerprint['made_from'], cache_gb)


@dataclasses.dataclass(frozen=True, eq=False)
class PreparedDataset:
  """See `open_dataset`. Everything is read lazily and once.

  Attributes:
    path: its folder.
    builder: its TFDS builder.
    fingerprint: what it was made from.
    cache_gb: decoded pictures are held in memory up to this size.
  """

  path: str
  builder: Any
  fingerprint: dict[str, Any]
  cache_gb: float = 4.0

  @property
  def identities(self) -> list[str]:
    """Names of the people; an `identity` of the index points into it."""
    return self.builder.info.features['identity'].names

  @property
  def expressions(self) -> list[str]:
    """Names of the expressions; an `expression` of the index points into it."""
    return self.builder.info.features['expression'].names

  @property
  def splits(self) -> list[str]:
    return list(self.builder.info.splits)

  @property
  def crop_size(self) -> int:
    return self.builder.info.features['image'].shape[0]

  @property
  def rendered(self) -> bool:
    """Whether the pictures are renders, with masks, parameters and drivers."""
    return 'driver_landmarks' in self.builder.info.features

  def count(self, split: str) -> int:
    return self.builder.info.splits[split].num_examples if split in self.splits else 0

  @functools.cache  # noqa: B019 - a data set lives as long as its process
  def source(self, split: str) -> Any:
    """The raw records of a split: `source(split).__getitems__(rows)` is a list of serialized examples."""
    return self.builder.as_data_source(split).data_source

  def records(self, split: str, rows: Sequence[int]) -> list[bytes]:
    """Serialized examples of the given rows.

    Raises:
      ValueError: if a shard is damaged.
    """
    try:
      return list(self.source(split).__getitems__([int(r) for r in rows]))
    except (OSError, ValueError, RuntimeError, IndexError, SystemError) as error:
      detail = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
      raise ValueError(
        f'{self.path}: a shard of split {split!r} is damaged ({detail[:200]}): prepare the data set '
        'again with --overwrite'
      ) from error

  @functools.cache  # noqa: B019
  def index(self, split: str) -> dict[str, np.ndarray]:
    """All but the pictures of a split, one row a picture.

    Returns:
      landmarks [N, 68, 2] float32 in [-1, 1] of the crop, identity, expression, pose, light [N] int32, file and skin
      [N] str; of renders also driver [N] int32 (-1: none) and driver_landmarks [N, 68, 2].

    Raises:
      ValueError: if the split is empty or damaged, or has landmarks that are not finite.
    """
    count = self.count(split)
    if not count:
      raise ValueError(f'{self.path}: split {split!r} has no pictures')
    wanted = INDEX | (RENDERED if self.rendered else {})
    kinds = {np.float32: tf.float32, np.int64: tf.int64, np.bytes_: tf.string}
    spec = {key: tf.io.FixedLenFeature(shape, kinds[kind]) for key, (shape, kind) in wanted.items()}
    parts = []
    for start in range(0, count, 1000):
      serialized = self.records(split, range(start, min(start + 1000, count)))
      parts.append({key: value.numpy() for key, value in tf.io.parse_example(tf.constant(serialized), spec).items()})
    table = {key: np.concatenate([part[key] for part in parts]) for key in wanted}
    for key, value in table.items():
      if value.dtype == np.int64:
        table[key] = value.astype(np.int32)
      elif value.dtype == object:
        table[key] = np.array([text.decode() for text in value])
      elif not np.isfinite(value).all():
        row = int(np.nonzero(~np.isfinite(value).all(axis=(1, 2)))[0][0])
        raise ValueError(
          f'{self.path}: {key} of row {row} of split {split!r} are not finite: prepare the data set '
          'again with --overwrite'
        )
    return table

  def fits(self, split: str, size: int) -> bool:
    """Whether the pictures of a split, decoded at `size`, may be held in memory."""
    return self.count(split) * size * size * 3 <= self.cache_gb * 2**30

  @functools.cache  # noqa: B019
  def images(self, split: str, size: int, key: str = 'image', channels: int = 3) -> tf.Tensor:
    """All pictures of a split: [N, size, size, channels] uint8, on the CPU.

    Args:
      split: its name.
      size: width and height.
      key: the feature that holds them.
      channels: 3, or 1 of masks.

    Raises:
      ValueError: if a picture is damaged.
    """
    count = self.count(split)
    rows = tf.data.Dataset.range(0, count, 64)

    def load(start: tf.Tensor) -> tf.Tensor:
      return self.read(split, tf.range(start, tf.minimum(start + 64, count)), size, key, channels)

    options = tf.data.Options()
    options.threading.private_threadpool_size = len(os.sched_getaffinity(0))
    parts = rows.map(load, num_parallel_calls=len(os.sched_getaffinity(0))).with_options(options)
    try:
      with tf.device('/CPU:0'):
        return tf.concat(list(parts), axis=0)
    except tf.errors.OpError as error:
      raise self._damaged(split) from error

  def pictures(self, split: str, rows: Sequence[int], size: int, key: str = 'image', channels: int = 3) -> tf.Tensor:
    """Pictures of the given rows, read now: [len(rows), size, size, channels] uint8.

    Raises:
      ValueError: if one is damaged.
    """
    try:
      return self.read(split, tf.constant(rows), size, key, channels)
    except tf.errors.OpError as error:
      raise self._damaged(split) from error

  def _damaged(self, split: str) -> ValueError:
    return ValueError(
      f'{self.path}: a picture of split {split!r} is damaged: prepare the data set again with --overwrite'
    )

  def read(self, split: str, rows: tf.Tensor, size: int, key: str = 'image', channels: int = 3) -> tf.Tensor:
    """Graph function: pictures of the given rows read from the shards, [len(rows), size, size, channels] uint8."""
    serialized = tf.numpy_function(
      lambda r: np.array(self.records(split, r), object), [rows], tf.string, stateful=False
    )
    serialized = tf.ensure_shape(serialized, rows.shape)
    encoded = tf.io.parse_example(serialized, {key: tf.io.FixedLenFeature([], tf.string)})[key]
    return tf.map_fn(lambda one: self.decode(one, size, channels), encoded, fn_output_signature=tf.uint8)

  def decode(self, encoded: tf.Tensor, size: int, channels: int = 3) -> tf.Tensor:
    """Graph function: one encoded crop -> [size, size, channels] uint8, antialiased."""
    image = tf.io.decode_image(encoded, channels=channels, expand_animations=False)
    image = tf.ensure_shape(image, [self.crop_size, self.crop_size, channels])
    return resize(image, size)


def check_crops(config: Any, data: PreparedDataset) -> None:
  """The settings say how faces are cut out later, for the trained model: they have to be those of its data."""
  for name in ('alignment', 'template_scale'):
    made = data.fingerprint.get(name)
    if made is not None and made != getattr(config, name):
      raise ConfigError(
        f'{name}={getattr(config, name)} is not how the faces of {data.path} were cut out: set --{name}={made}, or '
        f'prepare the data again with --{name}={getattr(config, name)}',
        (name,),
      )


def check_size(config: Any, data: PreparedDataset) -> None:
  """Pictures are not enlarged."""
  if config.image_size > data.crop_size:
    raise ConfigError(
      f'image_size={config.image_size} is larger than the crops of {data.path} ({data.crop_size}): prepare it with '
      f'--crop_size={config.image_size}, or set a smaller --image_size',
      ('image_size',),
    )


def check_labels(config: Any, expressions: Sequence[str]) -> None:
  """A one-hot condition has one place for each expression; a label beyond the last would be no condition at all."""
  if getattr(config, 'condition', '') == 'onehot' and config.expressions != len(expressions):
    raise ConfigError(
      f'expressions={config.expressions} does not fit --dataset={config.dataset}, which has {len(expressions)} '
      f'({", ".join(expressions)}): with condition=onehot train with --expressions={len(expressions)}',
      ('expressions',),
    )


def resize(image: tf.Tensor, size: int) -> tf.Tensor:
  """Shrinks [H, H, C] uint8 to [size, size, C] uint8, antialiased: the mean of the covered pixels by whole factors."""
  height: Any = image.shape[0]
  if height == size:
    return image
  if height % size == 0:
    factor = height // size
    small = tf.reduce_mean(tf.reshape(tf.cast(image, tf.float32), [size, factor, size, factor, -1]), axis=[1, 3])
  else:
    small = tf.image.resize(image, [size, size], 'bilinear', antialias=True)
  return tf.cast(tf.clip_by_value(tf.round(small), 0, 255), tf.uint8)
