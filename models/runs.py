"""A run on disk: one directory that a person can read and that alone repeats the run.

    RUN/flags.cfg                          the effective settings; `train.main --flagfile=RUN/flags.cfg` repeats the run
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
from collections.abc import Callable, Iterator
from typing import Any

import tensorflow as tf

from models.config import ConfigError, check_fields, format_value, parse_value
from models.registry import SYSTEMS
from models.system import System

__all__ = ['build', 'checkpoint_path', 'checkpoint_steps', 'copy_weights', 'damage', 'last_checkpoint', 'load_config',
           'lock', 'remove_checkpoint', 'restore', 'save_checkpoint', 'save_flags', 'write_file']


# Settings.


def write_file(path: str | os.PathLike, text: str) -> None:
  """Writes a file that appears whole or not at all.

  Raises:
    OSError: if it cannot be written.
  """
  path = pathlib.Path(path)
  temporary = path.with_name(f'.{path.name}.part')
  try:
    with open(temporary, 'w') as file:
      file.write(text)
      file.flush()
      os.fsync(file.fileno())  # Else a power cut could leave the new name with nothing in it.
    os.replace(temporary, path)
  except OSError as error:
    temporary.unlink(missing_ok=True)
    raise OSError(f'{path} cannot be written ({error.strerror}): make room, or choose another folder') from None


def flags_text(config: Any) -> str:
  """The settings as a flagfile."""
  lines = [f'--{f.name}={format_value(getattr(config, f.name))}' for f in dataclasses.fields(config)]
  return '\n'.join([f'--system={config.system}', *lines]) + '\n'


def save_flags(config: Any, workdir: str | os.PathLike) -> None:
  """Writes RUN/flags.cfg, and who is at it into RUN/.lock."""
  write_file(pathlib.Path(workdir) / 'flags.cfg', '# The effective settings of this run.\n' + flags_text(config))
  pathlib.Path(workdir, '.lock').write_text(f'process {os.getpid()} on {os.uname().nodename}\n')


def load_config(workdir: str | os.PathLike) -> Any:
  """Reads the settings of a run back.

  Raises:
    FileNotFoundError: if there is no run.
    ConfigError: if its flags.cfg was damaged, or written for settings that no longer exist.
  """
  path = pathlib.Path(workdir).expanduser() / 'flags.cfg'
  if not path.is_file():
    raise FileNotFoundError(f'{workdir} holds no run (no flags.cfg): give the --workdir of a run of train.main')
  values = {}
  for line in path.read_text().splitlines():
    if line.strip() and not line.startswith('#'):
      name, equals, text = line.removeprefix('--').partition('=')
      if not equals:
        raise ConfigError(f'{path}: {line!r} is not of the form --name=value')
      values[name] = text
  system = values.pop('system', '')
  if system not in SYSTEMS:
    raise ConfigError(f'{path}: --system={system} is not one of {", ".join(SYSTEMS)}')
  fields = {f.name: f for f in dataclasses.fields(SYSTEMS[system].Config)}
  unknown = sorted(set(values) - set(fields))
  if unknown:
    raise ConfigError(f'{path}: --{unknown[0]} is not a flag of {system}; the run was made by another version')
  try:
    config = SYSTEMS[system].Config(**{name: parse_value(fields[name], text) for name, text in values.items()})
    check_fields(config)
  except ConfigError as error:
    raise ConfigError(f'{path}: {error}', error.fields) from None
  return config


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


# Checkpoints.


def checkpoint_path(workdir: str | os.PathLike, phase: str, step: int) -> pathlib.Path:
  """The prefix of a checkpoint's files."""
  return pathlib.Path(workdir) / 'checkpoints' / phase / f'ckpt-{step}'


def checkpoint_steps(workdir: str | os.PathLike, phase: str) -> list[int]:
  """Steps of the checkpoints of a phase, oldest first; their index is written last, so one without is not there."""
  folder = checkpoint_path(workdir, phase, 0).parent
  steps = [path.stem.removeprefix('ckpt-') for path in folder.glob('ckpt-*.index')]
  return sorted(int(step) for step in steps if step.isdigit())


def damage(path: str | os.PathLike) -> str:
  """What is wrong with a checkpoint's files; nothing if every tensor reads back with its checksum."""
  try:
    reader = tf.train.load_checkpoint(str(path))
    for name in reader.get_variable_to_shape_map():
      reader.get_tensor(name)
  except (tf.errors.OpError, IndexError, RuntimeError, ValueError) as error:  # Whatever the C++ reader makes of them.
    return (str(error).splitlines() or [type(error).__name__])[0]
  return ''


def remove_checkpoint(workdir: str | os.PathLike, phase: str, step: int) -> None:
  """Deletes a checkpoint; its index goes first, so that a kill in between leaves no half."""
  path = checkpoint_path(workdir, phase, step)
  path.with_name(f'{path.name}.index').unlink(missing_ok=True)
  for part in path.parent.glob(f'{path.name}.data-*'):
    part.unlink(missing_ok=True)


def save_checkpoint(checkpoint: tf.train.Checkpoint, workdir: str | os.PathLike, phase: str, step: int,
                    keep: int) -> None:
  """Writes a checkpoint and removes the oldest ones of the phase beyond `keep`.

  Raises:
    OSError: if it cannot be written; the earlier ones stay.
  """
  path = checkpoint_path(workdir, phase, step)
  path.parent.mkdir(parents=True, exist_ok=True)
  try:
    checkpoint.write(str(path))
  except tf.errors.OpError as error:
    remove_checkpoint(workdir, phase, step)
    reason = (str(error.message).splitlines() or [''])[0]
    raise OSError(f'{path} cannot be written ({reason}): make room and run the same command again, it continues from '
                  'the checkpoint before') from None
  for old in checkpoint_steps(workdir, phase)[:-keep]:
    remove_checkpoint(workdir, phase, old)


def last_checkpoint(workdir: str | os.PathLike, phases: list[str], say: Callable[[str], None] = print,
                    ) -> tuple[str, int] | None:
  """The newest undamaged checkpoint as (phase, step); a damaged one is named and passed over.

  Args:
    workdir: the run.
    phases: names of the phases, in order.
    say: takes the line about a damaged checkpoint.
  """
  for phase in reversed(phases):
    for step in reversed(checkpoint_steps(workdir, phase)):
      path = checkpoint_path(workdir, phase, step)
      reason = damage(path)
      if not reason:
        return phase, step
      say(f'{path} is damaged ({reason}); falling back to the checkpoint before')
  return None


# Systems.


def build(config: Any) -> System:
  """Builds the system of a config; the same config gives the same weights."""
  tf.keras.utils.set_random_seed(config.seed)
  return SYSTEMS[config.system](config)  # pyright: ignore[reportReturnType]  (Keras' own __new__ hides the class.)


def read_checkpoint(checkpoint: tf.train.Checkpoint, path: str | os.PathLike) -> None:
  """Reads a checkpoint into built objects.

  Raises:
    ValueError: if it is of a system of other shape.
  """
  try:
    checkpoint.read(str(path)).assert_existing_objects_matched().expect_partial()
  except (ValueError, AssertionError, tf.errors.InvalidArgumentError) as error:
    reason = (str(error).splitlines() or [''])[0]
    raise ValueError(f'{path} does not fit this system ({reason}): it was written with other settings') from None


def restore(workdir: str | os.PathLike, phase: str | None = None) -> System:
  """Builds the system of a run and loads its newest weights, the averaged ones in place where weights are averaged.

  Args:
    workdir: the run.
    phase: the phase whose last checkpoint is loaded; the last one that has any if not given.
  Raises:
    FileNotFoundError: if there is no run, or no undamaged checkpoint in it.
    ValueError: if the phase does not exist or the checkpoint does not fit.
  """
  workdir = pathlib.Path(workdir).expanduser()
  config = load_config(workdir)
  phases = list(SYSTEMS[config.system].phases(config))
  if phase is not None and phase not in phases:
    raise ValueError(f'phase={phase} is not one of {", ".join(phases)}')
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


def copy_weights(system: System, workdir: str) -> None:
  """Starts a system from the networks' weights of another run (`init_from`); its step, optimizers, averages stay new.

  Raises:
    ConfigError: if the run is of another system or its networks have other shapes.
  """
  source = restore(workdir)
  if source.name != system.name:
    raise ConfigError(f'init_from={workdir} is a run of {source.name}, not of {system.name}', ('init_from',))
  ours = [w for layer in system.layers for w in layer.weights]
  theirs = [w for layer in source.layers for w in layer.weights]
  if len(ours) != len(theirs):
    raise ConfigError(f'init_from={workdir} has {len(theirs)} weights, these networks have {len(ours)}: it was trained '
                      'with other settings', ('init_from',))
  for a, b in zip(ours, theirs, strict=True):
    if a.shape != b.shape:
      raise ConfigError(f'init_from={workdir}: {a.name} has shape {tuple(b.shape)} there and {tuple(a.shape)} here',
                        ('init_from',))
  for a, b in zip(ours, theirs, strict=True):
    a.assign(b.numpy())
