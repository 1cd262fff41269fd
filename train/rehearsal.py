"""Steps on made-up batches: how long one takes and how much it needs, without any data."""

import time
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from input_pipeline import PIPELINES
from models import runs
from models.system import System, use_xla
from train.strategies import Plan


def make_batch(spec: Mapping[str, tf.TensorSpec], seed: int = 0) -> dict[str, tf.Tensor]:
  """A batch of the given shapes: floats uniform in [-1, 1], int32 labels 0 or 1, int64 counting from 0."""
  random = np.random.default_rng(seed)
  batch = {}
  for name, wanted in spec.items():
    if wanted.dtype.is_floating:
      batch[name] = tf.constant(random.uniform(-1, 1, wanted.shape), wanted.dtype)
    elif wanted.dtype == tf.int32:
      batch[name] = tf.constant(random.integers(0, 2, wanted.shape), tf.int32)
    else:
      batch[name] = tf.reshape(tf.range(wanted.shape.num_elements(), dtype=wanted.dtype), wanted.shape)
  return batch


class Rehearsal:
  """A system that is ready to step, as in training, on one made-up batch over and over.

  Args:
    config: the settings.
    plan: where steps are computed.
    phase: which game; the last one if empty.
  Attributes:
    system: the system.
    spec: shapes of a batch.
  """

  def __init__(self, config: Any, plan: Plan, phase: str = ''):
    self.config = config
    with plan.strategy.scope():
      self.system: System = runs.build(config)
    self.system.start_phase(phase or list(self.system.phases(config))[-1])
    self.system.compile(config.steps_per_execution, use_xla(config) and plan.strategy.num_replicas_in_sync == 1)
    self.spec = PIPELINES[config.system](config).spec()
    batch = make_batch(self.spec)

    def read(worker: int, workers: int) -> tf.data.Dataset:
      part = config.batch_size // workers
      return tf.data.Dataset.from_tensors({k: v[worker * part:(worker + 1) * part] for k, v in batch.items()}).repeat()

    self._iterator = iter(plan.distribute(read))
    self._function = self.system.make_train_function()

  def milliseconds(self) -> Iterator[float]:
    """Steps without end; gives the wall time of each. The first one traces and compiles."""
    while True:
      start = time.perf_counter()
      losses = self._function(self._iterator)
      for value in losses.values():
        float(value)  # Waits until the step is done.
      yield 1000 * (time.perf_counter() - start) / self.config.steps_per_execution

  def tensor_mb(self) -> float:
    """Size of all tensors that a traced step makes in MB: more than what it needs at once, as most are freed on the way."""
    graph = self._function.get_concrete_function(self._iterator).graph
    sizes = [t.shape.num_elements() * t.dtype.size for op in graph.get_operations() for t in op.outputs
             if t.shape.is_fully_defined() and op.type not in ('Placeholder', 'Identity', 'ReadVariableOp', 'Reshape')]
    return sum(sizes) / 2**20

  def state_mb(self) -> float:
    """Size of everything that training keeps (weights, optimizer slots, averages) in MB."""
    optimizers = [o for o in vars(self.system).values() if isinstance(o, tf.keras.optimizers.Optimizer)]
    variables = [*self.system.weights, *(v for o in optimizers for v in o.variables)]
    return sum(v.shape.num_elements() * v.dtype.size for v in variables) / 2**20
