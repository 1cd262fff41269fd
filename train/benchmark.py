"""Measures speed on this machine.

    python -m train.benchmark --target=train --flagfile=configs/paper/gcgan.cfg --output=speed.json
    python -m train.benchmark --target=input --flagfile=gcgan.cfg
    python -m train.benchmark --target=renderer --flagfile=gcgan.cfg

train: steps of the last phase on a made-up batch, nothing read. input: batches as training reads them, nothing
computed. renderer: see `train/benchmark_renderer.py`. `images_per_second` is batch times generator updates over wall
seconds.
"""

import dataclasses
import itertools
import json
import pathlib
import sys
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow as tf

from evaluate.results import make_table
from input_pipeline import PIPELINES
from models import SYSTEMS, commands, runs
from models.config import ConfigError, option
from train import environment, flags
from train.callbacks import peak_memory_mb
from train.loop import compute_lines, prepare_devices
from train.rehearsal import Rehearsal

_WARM_UP = 3  # Steps that trace, compile and fill buffers.


@dataclasses.dataclass(frozen=True)
class BenchmarkFlags:
  """What `train.benchmark` takes besides the settings of a system."""

  target: str = option('train', 'What is measured.', choices=('train', 'input', 'renderer'))
  output: str = option('', 'JSON file of the result; none if empty.')
  steps: int = option(20, 'Measured steps, after the warm-up; their median counts.', low=20)
  phase: str = option('', 'Phase whose steps are measured; the last one if empty.')


def benchmark(config: Any, target: str, steps: int = 20, phase: str = '') -> dict[str, Any]:
  """Measures one target.

  Args:
    config: settings of a system.
    target: 'train' or 'input'.
    steps: how many are measured.
    phase: whose steps; the last one if empty.
  Returns:
    `images_per_second`, `milliseconds_per_step` (median), its quartiles, `peak_memory_mb`, and `measured`: what was.
  Raises:
    ConfigError: if there is no such phase.
  """
  phases = list(SYSTEMS[config.system].phases(config))
  phase = phase or phases[-1]
  if phase not in phases:
    raise ConfigError(f'--phase={phase} is not one of {", ".join(phases)}', ())
  plan = prepare_devices(config)
  if target == 'train':
    what = f'{phase} steps on a made-up batch, without input'
    laps = Rehearsal(config, plan, phase).milliseconds()
  else:
    what = f'reading batches of {phase}, without training'
    laps = _input_milliseconds(config, phase, steps + _WARM_UP)
  times = list(itertools.islice(laps, _WARM_UP, _WARM_UP + steps))
  middle = float(np.median(times))
  return {
      'target': target, 'system': config.system, 'images_per_second': 1000 * config.batch_size / middle,
      'milliseconds_per_step': middle, 'quartiles_ms': np.percentile(times, [25, 75]).tolist(),
      'peak_memory_mb': peak_memory_mb(),
      'measured': {'what': what, 'steps': len(times), 'warm_up': _WARM_UP, 'batch_size': config.batch_size,
                   'devices': compute_lines(config, plan)},
  }


def _input_milliseconds(config: Any, phase: str, count: int) -> Iterator[float]:
  batches = iter(PIPELINES[config.system](config).batches(0, count, phase))
  while True:
    start = time.perf_counter()
    tf.nest.map_structure(lambda value: value.numpy(), next(batches))
    yield 1000 * (time.perf_counter() - start)


def main(argv: list[str]) -> None:
  """The command; `argv` as for `train.main.main`."""
  tf.get_logger().setLevel('ERROR')
  command = flags.parse(argv, BenchmarkFlags, __doc__)
  config, own = command.config, command.own
  if own.target == 'renderer':
    from train import benchmark_renderer  # The other targets need no renderer.
    if own.phase:
      raise ConfigError(f'--phase={own.phase} is of training: --target=renderer has no phases', ())
    result = benchmark_renderer.measure(config, steps=own.steps)
  else:
    result = benchmark(config, own.target, own.steps, own.phase)
    low, high = result['quartiles_ms']
    print(*result['measured']['devices'], sep='\n')
    print(make_table(['target', 'images/s', 'ms/step (quartiles)', 'peak MB', 'measured'], [[
        own.target, f'{result["images_per_second"]:.1f}',
        f'{result["milliseconds_per_step"]:.1f} ({low:.1f}-{high:.1f})',
        f'{result["peak_memory_mb"]:.0f}', f'{result["measured"]["steps"]} {result["measured"]["what"]}']]))
  result |= {'flags': runs.flags_text(config).split(), 'environment': environment.describe()}
  if own.output:
    path = pathlib.Path(own.output).expanduser()
    path.parent.mkdir(parents=True, exist_ok=True)
    runs.write_file(path, json.dumps(result, indent=1) + '\n')


if __name__ == '__main__':
  sys.exit(commands.run(main))
