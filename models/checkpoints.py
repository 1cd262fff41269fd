"""Files of a run that need no system: its settings, read, and its checkpoints. See `models.runs`."""

import dataclasses
import os
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import tensorflow as tf

from models.config import ConfigError, parse_value


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


def read_settings(workdir: str | os.PathLike, configs: Mapping[str, type]) -> Any:
  """Reads the settings of a run back.

  Args:
    workdir: the run.
    configs: the config class of each system that is known.

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
  if system not in configs:
    raise ConfigError(f'{path}: --system={system} is not one of {", ".join(configs)}')
  fields = {f.name: f for f in dataclasses.fields(configs[system])}
  unknown = sorted(set(values) - set(fields))
  if unknown:
    raise ConfigError(f'{path}: --{unknown[0]} is not a flag of {system}; the run was made by another version')
  try:
    return configs[system](**{name: parse_value(fields[name], text) for name, text in values.items()})
  except ConfigError as error:
    raise ConfigError(f'{path}: {error}', error.fields) from None


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
