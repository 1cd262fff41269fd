"""Steps on made-up batches: how long one takes and how much it needs, without any data."""

import collections
import time
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from input_pipeline import PIPELINES
from models import runs
from models.system import System, use_xla
from train.strategies import Plan

_VIEWS = ('Identity', 'Reshape', 'ExpandDims', 'Squeeze', 'StopGradient', 'PreventGradient')
_GIVEN = ('Placeholder', 'ReadVariableOp')  # Arguments and weights.


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
    """Size of the tensors that a step holds at once, on all devices, in MB; without the scratch of the kernels."""
    return sum(live_bytes(self._function.get_concrete_function(self._iterator).graph).values()) / 2**20

  def state_mb(self) -> float:
    """Size of everything that training keeps (weights, optimizer slots, averages) in MB."""
    optimizers = [o for o in vars(self.system).values() if isinstance(o, tf.keras.optimizers.Optimizer)]
    variables = [*self.system.weights, *(v for o in optimizers for v in o.variables)]
    return sum(v.shape.num_elements() * v.dtype.size for v in variables) / 2**20


def live_bytes(graph: Any) -> dict[str, int]:
  """The most bytes that the tensors of a traced function take at once, by device.

  Operations are gone through in the order of their tracing; a tensor is freed after the last one that reads it.
  A function that an operation calls counts while that runs, the body of a loop once, the larger branch of a condition.

  Args:
    graph: of a concrete function.
  """
  operations = graph.get_operations()
  last = {_origin(tensor).ref(): place for place, op in enumerate(operations) for tensor in op.inputs}
  freed = collections.defaultdict(list)
  for tensor, place in last.items():
    freed[place].append(tensor.deref())
  now, most = collections.Counter(), collections.Counter()
  for place, op in enumerate(operations):
    now.update({op.device: sum(map(_bytes, op.outputs))})
    inside = [live_bytes(graph._get_function(name).graph) for name in _called(op)]
    for device in {op.device}.union(*inside):
      most[device] = max(most[device], now[device] + max((part.get(device, 0) for part in inside), default=0))
    unread = [tensor for tensor in op.outputs if tensor.ref() not in last]
    for tensor in [*freed[place], *unread]:
      now[tensor.device] -= _bytes(tensor)
  return dict(most)


def _called(op: tf.Operation) -> list[str]:
  """Names of the functions that an operation calls."""
  single = [op.get_attr(a.name).name for a in op.op_def.attr if a.type == 'func']
  return single + [function.name for a in op.op_def.attr if a.type == 'list(func)' for function in op.get_attr(a.name)]


def _origin(tensor: tf.Tensor) -> tf.Tensor:
  """The tensor whose memory this one shares."""
  while tensor.op.type in _VIEWS and tensor.op.inputs:
    tensor = tensor.op.inputs[0]
  return tensor


def _bytes(tensor: tf.Tensor) -> int:
  """What a tensor adds to memory: nothing if it is a view, was given from outside, or has no fixed size."""
  if tensor.op.type in (*_VIEWS, *_GIVEN) or not tensor.shape.is_fully_defined() or tensor.dtype.size is None:
    return 0
  return tensor.shape.num_elements() * tensor.dtype.size
