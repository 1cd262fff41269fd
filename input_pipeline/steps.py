"""What every sampler shares: its data set; and batch t of a phase is a function of (seed, phase, t), cut into equal
parts for workers."""

import os
import zlib
from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

from input_pipeline import dataset
from input_pipeline.dataset import PreparedDataset


def open_data(config: Any) -> PreparedDataset:
  """The data set of a config; rendered first where it is the synthetic one.

  Args:
    config: a `DataConfig` with `image_size`.

  Raises:
    ConfigError: if its faces are not cut out as the settings say, or are too small.
  """
  path = config.dataset
  if path == 'synthetic':
    from input_pipeline import stand_ins, synthetic  # The renderer is not needed to read a data set.

    render = stand_ins.stand_in_dataset if config.alignment == 'box' else synthetic.synthetic_dataset
    path = render(config)
  data = dataset.open_dataset(path, config.cache_gb)
  dataset.check_crops(config, data)
  dataset.check_size(config, data)
  return data


def describe_data(config: Any) -> tuple[list[str], bool]:
  """Lines about the data set of a config for people, and whether it is there to be read. Renders nothing."""
  if config.dataset != 'synthetic':
    return [f'data set {config.dataset}'], True
  from input_pipeline import stand_ins, synthetic

  rendered = stand_ins if config.alignment == 'box' else synthetic
  return rendered.describe(config), rendered.is_rendered(config)


def phase_seeds(config: Any, phase: str) -> tuple[int, int]:
  """Two numbers below 2**31 for the random draws of a phase; each phase, or sampler of one, has its own."""
  return config.seed, zlib.crc32(phase.encode()) & 0x7FFFFFFF


def part_of(config: Any, worker: int, workers: int) -> slice:
  """The rows of every global batch that are one worker's.

  Raises:
    ValueError: if the batch cannot be cut into that many parts.
  """
  count = config.batch_size
  if count % workers:
    raise ValueError(f'batch_size={count} is not a multiple of the {workers} workers')
  return slice(worker * count // workers, (worker + 1) * count // workers)


def by_step(load: Callable[[tf.Tensor], dict[str, tf.Tensor]], start: int, stop: int) -> tf.data.Dataset:
  """The batches `load(step)` of steps start..stop-1, in order, made ahead on half of the cores."""
  options = tf.data.Options()
  options.deterministic = True
  options.autotune.enabled = False
  # The network's own threads must not wait for the input's.
  options.threading.private_threadpool_size = max(1, len(os.sched_getaffinity(0)) // 2)
  options.threading.max_intra_op_parallelism = 1
  options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.OFF
  steps = tf.data.Dataset.range(start, stop)
  return steps.map(load, num_parallel_calls=2, deterministic=True).prefetch(4).with_options(options)


def shuffled(element: tf.Tensor, count: int, seeds: Sequence[int]) -> tf.Tensor:
  """Where element number e of an endless series stands: a new permutation of 0..count-1 each epoch, nothing kept.

  Args:
    element: [B] int64.
    count: length of an epoch.
    seeds: two numbers below 2**31.
  """
  epoch, position = tf.math.floordiv(element, count), tf.math.floormod(element, count)
  seed = tf.stack([tf.fill(tf.shape(epoch), tf.constant(s, tf.int64)) for s in seeds] + [epoch], axis=1)
  return tf.raw_ops.RandomIndexShuffle(index=position, seed=seed, max_index=tf.constant(count - 1, tf.int64), rounds=4)


def to_float(image: tf.Tensor) -> tf.Tensor:
  """uint8 -> float32 in [-1, 1]."""
  return tf.cast(image, tf.float32) / 127.5 - 1


def pick(noise: tf.Tensor, count: Any) -> tf.Tensor:
  """Whole numbers [B] below count (one, or [B]), from noise [B] in [0, 1)."""
  return tf.minimum(tf.cast(noise * tf.cast(count, tf.float32), tf.int64), count - 1)
