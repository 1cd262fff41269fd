"""`--dry_run`: says what a run would do, and writes nothing."""

import itertools
import os
import pathlib
from typing import Any

import numpy as np
import psutil
import tensorflow as tf

from input_pipeline import PIPELINES
from models import SYSTEMS, runs
from train import resume
from train.callbacks import duration, peak_memory_mb
from train.loop import compute_lines, prepare_devices
from train.rehearsal import Rehearsal

_BUDGET = 20.0  # Seconds that measuring the steps of one phase may take after the first step.


def dry_run(config: Any, workdir: str | os.PathLike) -> None:
  """Prints data set, shapes, parameters, memory, steps, expected time and device plan.

  Raises:
    As `train_and_evaluate` before its first step.
  """
  workdir = pathlib.Path(workdir).expanduser()
  phases = SYSTEMS[config.system].phases(config)
  runs.check_free(workdir)
  begun = resume.check_settings(workdir, config, list(phases))
  plan = prepare_devices(config)
  print(f'\nworkdir   {workdir}: {"continues the run in it" if begun else "a new run"}')
  print('data      ' + '\n          '.join(PIPELINES[config.system](config).describe()))
  print('devices   ' + '\n          '.join(compute_lines(config, plan)))
  for note in SYSTEMS[config.system].notes(config):
    print(f'note      {note}')
  total, rehearsal = 0.0, None
  for phase, steps in phases.items():
    if steps == 0:
      continue
    rehearsal = Rehearsal(config, plan, phase)
    if not total and config.init_from and not begun:
      runs.copy_weights(rehearsal.system, config.init_from)  # Refuses what does not fit.
    if not total:
      _print_model(rehearsal)
    total += _print_phase(rehearsal, phase, steps)
  # The whole seconds are for `train.sweep`, which adds up those of several runs.
  print(f'time      {duration(total)} ({round(total):,} s) of training on this machine, without reading the data, '
        'sheets and evaluation')
  print('this was a dry run: nothing was written')


def _print_model(rehearsal: Rehearsal) -> None:
  shapes = (f'{name} {spec.dtype.name} {tuple(spec.shape)}' for name, spec in rehearsal.spec.items())
  print('batch     ' + '\n          '.join(shapes))
  for layer in rehearsal.system.layers:
    print(f'network   {layer.name}: {layer.count_params():,} parameters, '
          f'{sum(int(np.prod(w.shape)) for w in layer.trainable_weights):,} trained')
  print(f'memory    {rehearsal.state_mb():,.1f} MB of weights, optimizer state and averages')


def _print_phase(rehearsal: Rehearsal, phase: str, steps: int) -> float:
  """Prints what a phase takes; returns its expected seconds."""
  size, free = rehearsal.tensor_mb(), psutil.virtual_memory().available / 2**20
  on_gpu = bool(tf.config.list_logical_devices('GPU'))
  if size > free and not on_gpu:
    print(f'phase     {phase}: {steps:,} steps; a step holds some {size:,.0f} MB of tensors at once, more than the '
          f'{free:,.0f} MB free: not timed')
    return 0.0
  laps, times, spent = rehearsal.milliseconds(), [], 0.0
  next(laps)
  for milliseconds in itertools.islice(laps, 5):
    times.append(milliseconds)
    spent += milliseconds / 1000
    if spent > _BUDGET:
      break
  step = float(np.median(times))
  print(f'phase     {phase}: {steps:,} steps of {step:,.1f} ms (median of {len(times)}), '
        f'{1000 * rehearsal.config.batch_size / step:,.1f} images/s: {duration(steps * step / 1000)}')
  print(f'          a step holds some {size:,.0f} MB of tensors at once; peak so far {peak_memory_mb():,.0f} MB')
  return steps * step / 1000
