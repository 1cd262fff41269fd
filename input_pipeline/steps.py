"""What every sampler shares: batch t of a phase is a function of (seed, phase, t), cut into equal parts for workers."""

import os
import zlib
from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf


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
