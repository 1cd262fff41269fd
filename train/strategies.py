"""Where a step is computed: one device, all devices of this machine, or the workers of `TF_CONFIG`."""

import contextlib
import functools
import json
import os
import socket
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import tensorflow as tf

from models.config import ConfigError

RESTART = 75  # Exit code (EX_TEMPFAIL) that asks a scheduler to start the job again.
_POLL = 2.0  # Seconds between two looks at the other workers.
_PATIENCE = 3  # Failed looks in a row before a worker counts as lost.


def split_cpu(count: int) -> None:
  """Makes `count` logical devices of the CPU.

  Raises:
    ConfigError: if TensorFlow already runs with another number of them.
  """
  cpu = tf.config.list_physical_devices('CPU')[0]
  if count == 1:
    return
  try:
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * count)
  except RuntimeError:  # Already running: fine if somebody else made the same number.
    there = len(tf.config.list_logical_devices('CPU'))
    if there != count:
      raise ConfigError(f'cpu_devices={count} comes too late, TensorFlow already runs with {there}: set it before '
                        'anything else', ('cpu_devices',)) from None


def local_devices() -> list[str]:
  """Names of the devices that train: all GPUs, or all logical CPUs where there is no GPU."""
  return [d.name for d in tf.config.list_logical_devices('GPU') or tf.config.list_logical_devices('CPU')]


@functools.cache
def _mirrored(devices: tuple[str, ...]) -> tf.distribute.Strategy:
  """One strategy a process: a second one on the same devices would use the first one's collectives again, and fail."""
  return tf.distribute.MirroredStrategy(devices)


@functools.cache
def _multi_worker() -> tf.distribute.Strategy:
  return tf.distribute.MultiWorkerMirroredStrategy()


class Plan:
  """A strategy and this process's part in it.

  Attributes:
    strategy: of `tf.distribute`.
    worker: this worker's number; its part of every batch.
    workers: how many there are.
    chief: whether this worker writes the run.
    watch: looks after the other workers; None without any.
  """

  def __init__(self, config: Any):
    self.worker, self.workers, self.watch = 0, 1, None
    if config.strategy == 'default':
      self.strategy = tf.distribute.get_strategy()
    elif config.strategy == 'mirrored':
      self.strategy = _mirrored(tuple(local_devices()))
    else:
      self._join_workers(config.worker_timeout)
    self.chief = self.worker == 0
    replicas = self.strategy.num_replicas_in_sync
    if config.batch_size % replicas:
      raise ConfigError(f'batch_size={config.batch_size} is not a multiple of the {replicas} replicas of '
                        f'strategy={config.strategy}', ('batch_size', 'strategy'))

  def _join_workers(self, timeout: int) -> None:
    addresses, self.worker = read_tf_config()
    self.workers = len(addresses)
    if self.workers > 1:
      wait_for_workers(addresses, self.worker, timeout)
    self.strategy = _multi_worker()
    if self.workers > 1:
      self.watch = Watch(addresses, self.worker)

  def distribute(self, dataset_of: Any) -> Any:
    """What `fit` reads.

    Args:
      dataset_of: (worker, workers) -> dataset of that worker's rows of every batch.
    """
    if self.strategy.num_replicas_in_sync == 1:
      return dataset_of(self.worker, self.workers)
    here = self.strategy.num_replicas_in_sync // self.workers

    def read(context: tf.distribute.InputContext) -> tf.data.Dataset:
      del context  # Each worker reads its own rows; each replica takes one equal part after another.
      dataset = dataset_of(self.worker, self.workers)
      if here == 1:
        return dataset
      return dataset.flat_map(lambda batch: tf.data.Dataset.from_tensor_slices(
          {k: tf.reshape(v, [here, v.shape[0] // here, *v.shape[1:]]) for k, v in batch.items()}))

    return self.strategy.distribute_datasets_from_function(read)

  def any_worker(self, flag: bool) -> bool:
    """Whether the flag is set on any worker; all workers must ask at the same step."""
    if self.workers == 1:
      return flag
    return bool(self._sum(tf.constant(float(flag))) > 0)

  @tf.function
  def _sum(self, value: tf.Tensor) -> tf.Tensor:
    per_replica = self.strategy.run(lambda: value)
    return self.strategy.reduce(tf.distribute.ReduceOp.SUM, per_replica, axis=None)

  def describe(self) -> str:
    """One line for people."""
    count = self.strategy.num_replicas_in_sync
    devices = self.strategy.extended.worker_devices if count > 1 else local_devices()[:1]
    names = ', '.join(d.rpartition('device:')[2] for d in devices)
    worker = f'worker {self.worker} of {self.workers}, ' if self.workers > 1 else ''
    return f'{worker}{count} replica{"s" * (count > 1)}, here on {names}'

  @contextlib.contextmanager
  def watched(self) -> Iterator[None]:
    """Within this context a failure that a lost worker caused ends the process with one line and exit code 75."""
    try:
      yield
    except (tf.errors.OpError, RuntimeError, OSError) as error:  # Saving takes all workers too, and raises an OSError.
      if self.watch is None:
        raise
      self.watch.explain(error)
      raise
    finally:
      if self.watch is not None:
        self.watch.stop()


def read_tf_config() -> tuple[list[str], int]:
  """The workers' addresses and this process's number, from `TF_CONFIG`; a chief counts as worker 0.

  Raises:
    ConfigError: if `TF_CONFIG` is missing or names no such worker.
  """
  text = os.environ.get('TF_CONFIG', '')
  example = ("""TF_CONFIG='{"cluster": {"worker": ["host0:2222", "host1:2222"]}, """
             """"task": {"type": "worker", "index": 0}}'""")
  try:
    parsed = json.loads(text)
    cluster, task = parsed['cluster'], parsed['task']
    jobs = [(job, place) for job in ('chief', 'worker') for place in range(len(cluster.get(job, [])))]
    addresses = [cluster[job][place] for job, place in jobs]
    number = jobs.index((task['type'], int(task['index'])))
  except (ValueError, KeyError, TypeError, AttributeError):
    raise ConfigError(f'strategy=multi_worker needs the workers in the environment, like {example}; received {text!r}',
                      ('strategy',)) from None
  return addresses, number


def wait_for_workers(addresses: list[str], worker: int, timeout: int) -> None:
  """Returns when every worker listens on its port; ends the process with a line if one has not come in time.

  TensorFlow's own server would wait inside C++, without a word and for an hour; so this comes before it, with a socket
  that stands in for the server until the others were seen.
  """
  others = {n: a for n, a in enumerate(addresses) if n != worker}
  start, said = time.monotonic(), 0.0
  with socket.create_server(('', int(addresses[worker].rpartition(':')[2])), reuse_port=True):
    while missing := [f'{n} ({a})' for n, a in others.items() if not _answers(a)]:
      waited = time.monotonic() - start
      if waited > timeout:
        leave(f'worker {", ".join(missing)} did not come within {timeout} s (--worker_timeout)')
      if not said or waited - said >= 10:
        print(f'waiting for worker {", ".join(missing)}: {waited:.0f} s of {timeout} s', flush=True)
        said = waited or 1e-9
      time.sleep(0.5)


class Watch:
  """A thread that notices when another worker is gone.

  TensorFlow 2.15 cannot take a lost worker back, and its own messages do not say which one is missing: so each worker
  looks whether the others' ports still answer.
  """

  def __init__(self, addresses: list[str], worker: int):
    self._others = {n: a for n, a in enumerate(addresses) if n != worker}
    self._stopped = threading.Event()
    self._thread = threading.Thread(target=self._run, daemon=True)
    self._thread.start()

  def _run(self) -> None:
    misses = dict.fromkeys(self._others, 0)
    while not self._stopped.wait(_POLL):
      for number, address in self._others.items():
        misses[number] = 0 if _answers(address) else misses[number] + 1
        if misses[number] >= _PATIENCE and not self._stopped.is_set():
          leave(f'worker {number} ({address}) is lost')

  def explain(self, error: Exception) -> None:
    """Gives the watch time to find who is lost, since TensorFlow often fails first; then speaks for it."""
    deadline = time.monotonic() + _POLL * (_PATIENCE + 2)
    while time.monotonic() < deadline:  # The thread ends the process when it has found the worker.
      time.sleep(0.2)
    text = str(error)
    for number, address in self._others.items():
      if f'task:{number}' in text or address in text:
        leave(f'worker {number} ({address}) is lost')

  def stop(self) -> None:
    """The others may go now."""
    self._stopped.set()


def _answers(address: str) -> bool:
  host, _, port = address.rpartition(':')
  try:
    socket.create_connection((host, int(port)), timeout=_POLL).close()
  except OSError:
    return False
  return True


def leave(reason: str) -> None:
  """Ends this process at once: TensorFlow's threads may hang in a collective that nobody will finish."""
  print(f'error: {reason}; start all workers again with the same command, they continue from the last checkpoint',
        file=sys.stderr, flush=True)
  sys.stdout.flush()
  os._exit(RESTART)
