"""Mapping a pure function over units of work: on the cores of this machine, or on Apache Beam."""

import contextlib
import importlib.util
import os
import pickle
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any


def map_units(
  function: Callable[[Any], int],
  units: Sequence[Any],
  total: int,
  *,
  runner: str = '',
  processes: int = 0,
  label: str = 'working',
  counted: str = 'pictures',
) -> None:
  """Calls `function` on each unit of work; it returns how many pictures it finished, of `total`.

  Args:
    function: pure and picklable, from an importable module; running it again on a finished unit must be cheap.
    units: picklable arguments.
    total: sum of what the calls will return, for the progress line.
    runner: name of an Apache Beam runner, for example DirectRunner, DataflowRunner or FlinkRunner.
    processes: 0 means one per core, 1 means this one.
    label: what the progress line says is going on.
    counted: what it says is counted, where that is not pictures.

  Raises:
    ValueError: if `runner` is given and Beam is not installed.
    ChildProcessError: if a worker died.
  """
  if runner:
    _map_on_beam(function, units, runner)
    return
  progress = Progress(label, total, counted)
  count = min(processes or len(os.sched_getaffinity(0)), len(units))
  if count <= 1:
    for unit in units:
      progress.add(function(unit))
  else:
    _map_on_processes(function, units, count, progress)
  progress.close()


class Progress:
  """A line on the error stream: how far, how fast, how much longer."""

  def __init__(self, label: str, total: int, counted: str = 'pictures'):
    self.label, self.total, self.counted, self.done = label, total, counted, 0
    self.start = self.shown = time.monotonic()
    self.terminal = sys.stderr.isatty()

  def add(self, count: int) -> None:
    self.done += count
    now = time.monotonic()
    if now - self.shown >= (0.5 if self.terminal else 10):
      self.shown = now
      rate = self.done / max(now - self.start, 1e-9)
      left = int((self.total - self.done) / max(rate, 1e-9))
      line = (
        f'{self.label}: {self.done:,} of {self.total:,} {self.counted} ({100 * self.done // max(self.total, 1)} %), '
        f'{rate:.0f}/s, {left // 60} min {left % 60:02d} s left'
      )
      print(
        f'\r{line}\033[K' if self.terminal else line, end='' if self.terminal else '\n', file=sys.stderr, flush=True
      )

  def close(self) -> None:
    seconds = time.monotonic() - self.start
    if self.terminal:
      print('\r\033[K', end='', file=sys.stderr)
    print(f'{self.label}: {self.done:,} {self.counted} in {seconds:.0f} s', file=sys.stderr, flush=True)


def _map_on_processes(function: Callable[[Any], int], units: Sequence[Any], count: int, progress: Progress) -> None:
  """A pool of fresh Python processes (TensorFlow must not be forked), one thread here feeding each.

  Not `multiprocessing`: its spawned children import the caller's main module again, so a user's script without a main
  guard would start itself in an endless chain.
  """
  environment = {
    **os.environ,
    'PYTHONPATH': os.pathsep.join(p or os.getcwd() for p in sys.path),
    'OMP_NUM_THREADS': '1',
    'TF_NUM_INTRAOP_THREADS': '1',
    'TF_NUM_INTEROP_THREADS': '1',
    'TF_CPP_MIN_LOG_LEVEL': '3',
    'CUDA_VISIBLE_DEVICES': '-1',
  }
  # As a script of its own: what a worker needs is imported with the function that it is sent.
  command = [sys.executable, '-P', '-W', 'ignore', os.path.abspath(__file__)]
  waiting: queue.SimpleQueue[Any] = queue.SimpleQueue()
  for unit in units:
    waiting.put(unit)
  results: queue.SimpleQueue[int | Exception] = queue.SimpleQueue()
  workers = [
    subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment) for _ in range(count)
  ]

  def feed(worker: subprocess.Popen) -> None:
    assert worker.stdin and worker.stdout
    unit = None
    try:
      pickle.dump(function, worker.stdin)
      while True:
        unit = waiting.get_nowait()
        pickle.dump(unit, worker.stdin)
        worker.stdin.flush()
        results.put(pickle.load(worker.stdout))
    except queue.Empty:
      with contextlib.suppress(BrokenPipeError):
        worker.stdin.close()
    except (EOFError, BrokenPipeError, pickle.UnpicklingError):
      results.put(
        ChildProcessError(
          f'a worker process died (exit code {worker.wait()}) on {unit}: not enough memory? '
          'The same command continues; --processes=1 uses less'
        )
      )

  threads = [threading.Thread(target=feed, args=(worker,), daemon=True) for worker in workers]
  try:
    for thread in threads:
      thread.start()
    for _ in units:
      result = results.get()
      if isinstance(result, Exception):
        raise result
      progress.add(result)
    for thread in threads:
      thread.join()
  finally:
    for worker in workers:
      worker.kill()
      worker.wait()
    for thread in threads:  # each ends at the end of its worker's pipe
      thread.join()
    for worker in workers:
      assert worker.stdin and worker.stdout
      with contextlib.suppress(BrokenPipeError):
        worker.stdin.close()
      worker.stdout.close()


def serve() -> None:
  """A worker process: reads a pickled function and then units from standard input, answers with results."""
  signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C ends the parent, and the end of its pipe ends this one
  answers = os.fdopen(os.dup(1), 'wb')
  os.dup2(2, 1)  # whatever a library prints must not mix with the answers
  function = pickle.load(sys.stdin.buffer)
  while True:
    try:
      unit = pickle.load(sys.stdin.buffer)
    except EOFError:
      return
    try:
      result: int | Exception = function(unit)
    except Exception as error:  # handed to the parent, which raises it
      result = error
    pickle.dump(result, answers)
    answers.flush()


def check_runner(runner: str) -> None:
  """Raises ValueError if `runner` names a Beam runner and Beam is not installed."""
  if runner and importlib.util.find_spec('apache_beam') is None:
    raise ValueError(f"--runner={runner} needs Apache Beam: pip install -e '.[beam]'")


def _map_on_beam(function: Callable[[Any], int], units: Sequence[Any], runner: str) -> None:
  check_runner(runner)
  import apache_beam as beam  # pyright: ignore[reportMissingImports] - an extra
  from apache_beam.options.pipeline_options import PipelineOptions  # pyright: ignore[reportMissingImports]

  local = {'direct_running_mode': 'multi_processing', 'direct_num_workers': 0} if runner == 'DirectRunner' else {}
  with beam.Pipeline(runner=runner, options=PipelineOptions.from_dictionary(local)) as pipeline:
    _ = pipeline | beam.Create(list(units)) | beam.Reshuffle() | beam.Map(function)


if __name__ == '__main__':
  serve()
