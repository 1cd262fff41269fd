"""A run on disk: one directory that a person can read and that alone repeats the run.

    RUN/flags.cfg                          the effective settings; `train.main --flagfile=RUN/flags.cfg` repeats the run
    RUN/labels.txt                         what the numbers of the labels mean that the model is driven by, if it is
    RUN/environment.json                   versions, commit and devices
    RUN/stats.jsonl                        one row a log step
    RUN/checkpoints/PHASE/ckpt-STEP.*      everything that training changes
    RUN/samples/PHASE-STEP.png             what the model shows
    RUN/events/PHASE/                      TensorBoard
    RUN/eval/                              results.json and figures
"""

import contextlib
import dataclasses
import fcntl
import os
import pathlib
import shutil
from collections.abc import Iterator
from typing import Any

import tensorflow as tf

from models.checkpoints import (
  checkpoint_path,
  checkpoint_steps,
  damage,
  last_checkpoint,
  read_checkpoint,
  read_settings,
  remove_checkpoint,
  save_checkpoint,
  write_file,
)
from models.config import ConfigError, DataConfig, RunConfig, differences, format_value
from models.pretrained import is_pretrained, load_weights, locate, output_folder
from models.registry import SYSTEMS
from models.system import System

__all__ = ['build', 'check_labels', 'checkpoint_path', 'checkpoint_steps', 'copy_weights', 'damage', 'last_checkpoint',
           'is_pretrained', 'load_config', 'load_labels', 'locate', 'lock', 'output_folder', 'read_checkpoint',
           'remove_checkpoint', 'restore', 'save_checkpoint', 'save_flags', 'save_labels', 'write_file']


# Settings.


def flags_text(config: Any) -> str:
  """The settings as a flagfile."""
  lines = [f'--{f.name}={format_value(getattr(config, f.name))}' for f in dataclasses.fields(config)]
  return '\n'.join([f'--system={config.system}', *lines]) + '\n'


def save_flags(config: Any, workdir: str | os.PathLike) -> None:
  """Writes RUN/flags.cfg, and who is at it into RUN/.lock."""
  write_file(pathlib.Path(workdir) / 'flags.cfg', '# The effective settings of this run.\n' + flags_text(config))
  pathlib.Path(workdir, '.lock').write_text(f'process {os.getpid()} on {os.uname().nodename}\n')


def load_config(workdir: str | os.PathLike) -> Any:
  """Reads the settings of a run or a pretrained model back; see `checkpoints.read_settings`."""
  return read_settings(locate(workdir), {name: system.Config for name, system in SYSTEMS.items()})


def save_labels(labels: list[str], workdir: str | os.PathLike) -> None:
  """Writes RUN/labels.txt, the names of the labels 0, 1, ... that the model is driven by; nothing if there are none."""
  if labels:
    write_file(pathlib.Path(workdir) / 'labels.txt', '\n'.join(labels) + '\n')


def load_labels(workdir: str | os.PathLike) -> list[str]:
  """What `save_labels` wrote; empty if nothing."""
  path = locate(workdir) / 'labels.txt'
  return path.read_text().splitlines() if path.is_file() else []


def check_labels(labels: list[str], workdir: str | os.PathLike, dataset: str) -> None:
  """Raises ConfigError if a data set's labels do not mean what those of a run do; there may be none."""
  known = load_labels(workdir)
  if known and labels and known != labels:
    raise ConfigError(f'{workdir} is driven by the labels {", ".join(known)}; those of --dataset={dataset} are '
                      f'{", ".join(labels)}: take a data set with the same names in the same order', ('dataset',))


@contextlib.contextmanager
def lock(workdir: str | os.PathLike) -> Iterator[None]:
  """Makes the run's directory and keeps other processes out of it; leaves nothing of a new run that makes no step.

  Raises:
    OSError: if the directory cannot be written, or another process holds it.
  """
  workdir = pathlib.Path(workdir)
  path, made = workdir / '.lock', not workdir.exists()
  try:
    workdir.mkdir(parents=True, exist_ok=True)
    handle = open(path, 'a')  # noqa: SIM115 (held open as long as the lock).
  except OSError as error:
    raise OSError(f'--workdir={workdir} cannot be written ({error.strerror}): choose another') from None
  with handle:
    _take(handle, path)
    try:
      yield
    finally:
      if made and not _has_begun(workdir):
        shutil.rmtree(workdir)
      elif not (workdir / 'flags.cfg').exists():
        path.unlink()


def _has_begun(workdir: pathlib.Path) -> bool:
  """Whether there is a checkpoint or a row."""
  stats = workdir / 'stats.jsonl'
  return any(workdir.glob('checkpoints/*/*.index')) or (stats.exists() and stats.stat().st_size > 0)


def check_free(workdir: str | os.PathLike) -> None:
  """Raises OSError if another process holds the directory or it cannot be written; changes nothing."""
  workdir = pathlib.Path(workdir)
  path = workdir / '.lock'
  if path.exists():
    with open(path) as handle:
      _take(handle, path)
  there = next(p for p in [workdir, *workdir.absolute().parents] if p.exists())
  if not there.is_dir():
    raise OSError(f'--workdir={workdir} cannot be written ({there} is no directory): choose another')
  if not os.access(there, os.W_OK):
    raise OSError(f'--workdir={workdir} cannot be written ({there} is read-only): choose another')


def _take(handle: Any, path: pathlib.Path) -> None:
  try:
    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
  except BlockingIOError:
    holder = path.read_text().strip() or 'another process'
    raise OSError(f'--workdir={path.parent} is in use by {holder}: wait for it, or choose another') from None


# Systems.


def build(config: Any) -> System:
  """Builds the system of a config; the same config gives the same weights."""
  tf.keras.utils.set_random_seed(config.seed)
  return SYSTEMS[config.system](config)  # pyright: ignore[reportReturnType]  (Keras' own __new__ hides the class.)


def restore(workdir: str | os.PathLike, phase: str | None = None) -> System:
  """Builds the system of a run and loads its newest weights, the averaged ones in place where weights are averaged.

  Args:
    workdir: the run, or a pretrained model, see `models.pretrained`.
    phase: the phase whose last checkpoint is loaded; the last one that has any if not given.
  Raises:
    FileNotFoundError: if there is no run, or no undamaged checkpoint in it.
    ValueError: if the phase does not exist or the checkpoint does not fit.
  """
  workdir = locate(workdir)
  config = load_config(workdir)
  durations = SYSTEMS[config.system].phases(config)
  phases = list(durations)[-1:] if is_pretrained(workdir) else list(durations)
  if phase is not None and phase not in phases:
    raise ValueError(f'phase={phase} is not one of {", ".join(phases)}')
  if is_pretrained(workdir):
    system = build(config)
    load_weights(system, workdir)
    system.phase = phases[-1]
    system.step.assign(durations[system.phase])
    return system
  found = last_checkpoint(workdir, phases if phase is None else [phase])
  if found is None:
    raise FileNotFoundError(f'{workdir} has no checkpoint to load: train it first')
  system = build(config)
  system.phase = found[0]
  if phase is None and found[0] != phases[-1]:
    print(f'{workdir} was stopped in its phase {found[0]!r}, step {found[1]:,}: it is not trained yet')
  read_checkpoint(tf.train.Checkpoint(system=system), checkpoint_path(workdir, *found))
  system.use_averages()
  return system


def _other_settings(theirs: Any, ours: Any) -> str:
  """The settings of the system itself in which two configs differ, as words for an error."""
  shared = {f.name for base in (RunConfig, DataConfig) for f in dataclasses.fields(base)}
  changed = {name: pair for name, pair in differences(theirs, ours).items() if name not in shared}
  if not changed:
    return 'it was trained by another version'
  return 'it was trained with ' + ', '.join(f'--{name}={format_value(a)} (here {format_value(b)})'
                                            for name, (a, b) in changed.items())


def copy_weights(system: System, workdir: str) -> None:
  """Starts a system from the weights of another run or pretrained model (`init_from`); all else stays new: step,
  optimizers, averages.

  Raises:
    ConfigError: if the run is of another system or its networks have other shapes.
  """
  source = restore(workdir)
  if source.name != system.name:
    raise ConfigError(f'init_from={workdir} is a run of {source.name}, not of {system.name}', ('init_from',))
  ours = [w for layer in system.layers for w in layer.weights]
  theirs = [w for layer in source.layers for w in layer.weights]
  if len(ours) != len(theirs):
    raise ConfigError(f'init_from={workdir} has {len(theirs)} weights, these networks have {len(ours)}: '
                      f'{_other_settings(source.config, system.config)}', ('init_from',))
  for a, b in zip(ours, theirs, strict=True):
    if a.shape != b.shape:
      raise ConfigError(f'init_from={workdir}: {a.name} has shape {tuple(b.shape)} there and {tuple(a.shape)} here: '
                        f'{_other_settings(source.config, system.config)}', ('init_from',))
  for a, b in zip(ours, theirs, strict=True):
    a.assign(b.numpy())
