"""Goes back to a checkpoint: what was written after it is taken out of the run's records."""

import json
import pathlib
import struct
from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

from models import runs
from models.config import ConfigError, differences, format_value
from models.system import System


def check_settings(workdir: pathlib.Path, config: Any, phases: Sequence[str]) -> bool:
  """Whether the directory holds this run already. It may have become longer, in its last begun phase or those after it.

  Raises:
    ConfigError: if it holds another run; names every setting that differs; or if there is no run to start from.
  """
  if runs.is_pretrained(workdir):
    raise ConfigError(f'--workdir={workdir} is a trained model that is only read: --init_from={workdir} starts a run '
                      'from it, with a --workdir of its own', ())
  begun = [phase for phase in phases if runs.checkpoint_steps(workdir, phase)]
  if config.init_from and not begun and not (runs.locate(config.init_from) / 'flags.cfg').is_file():
    raise ConfigError(f'init_from={config.init_from} holds no run: train that first, or name another with '
                      '--init_from=RUN', ('init_from',))
  if not (workdir / 'flags.cfg').is_file():
    return False
  old = runs.load_config(workdir)
  if old.system != config.system:
    raise ConfigError(f'--workdir={workdir} holds a run of {old.system}, not of {config.system}: choose another', ())
  open_phases = phases[phases.index(begun[-1]):] if begun else phases
  changed = differences(old, config)
  refused = [name for name, (before, now) in changed.items()
             if not (name.removesuffix('_steps') in open_phases and name.endswith('_steps') and now > before)]
  if refused:
    words = {name: [format_value(value) or 'empty' for value in changed[name]] for name in refused}
    text = ', '.join(f'--{name} was {before} and is now {now}' for name, (before, now) in words.items())
    raise ConfigError(f'--workdir={workdir} holds a run with other settings: {text}; choose another --workdir, or '
                      'repeat the settings (only a longer duration may change)', ())
  return True


def rewind(workdir: pathlib.Path, phases: Sequence[str], phase: str, step: int) -> None:
  """Removes rows, TensorBoard points, sheets and checkpoints beyond a step of a phase.

  Args:
    workdir: the run.
    phases: all phases, in order.
    phase: where the run goes on.
    step: finished steps of that phase.
  """
  limits = {p: step if p == phase else 2**62 if phases.index(p) < phases.index(phase) else -1 for p in phases}
  stats = workdir / 'stats.jsonl'
  if stats.exists():
    # A killed process may have left half a line at the end.
    whole = [line for line in stats.read_text().splitlines(keepends=True) if line.endswith('\n')]
    kept = [line for line in whole if (row := json.loads(line))['step'] <= limits[row['phase']]]
    runs.write_file(stats, ''.join(kept))
  for p, limit in limits.items():
    for events in sorted((workdir / 'events' / p).glob('events.*')):
      _cut_events(events, limit or -1)  # Step 0 is shown again by a run that begins again.
    for sheet in (workdir / 'samples').glob(f'{p}-*.png'):
      if int(sheet.stem.rpartition('-')[2]) > limit:
        sheet.unlink()
    for newer in runs.checkpoint_steps(workdir, p):
      if newer > limit:
        runs.remove_checkpoint(workdir, p, newer)


def _cut_events(path: pathlib.Path, limit: int) -> None:
  """Cuts a TensorBoard file before its first event beyond a step, or before a record that is not whole.

  A record of the TFRecord format: length (8 bytes), its checksum (4), the data, their checksum (4).
  """
  data = path.read_bytes()
  place, steps = 0, 0
  while place + 12 <= len(data):
    end = place + 12 + struct.unpack('<Q', data[place:place + 8])[0] + 4
    if end > len(data):
      break
    event = tf.compat.v1.Event.FromString(data[place + 12:end - 4])
    if event.HasField('summary'):
      if event.step > limit:
        break
      steps += 1
    place = end
  if not steps:
    path.unlink()
  elif place < len(data):
    with open(path, 'r+b') as file:
      file.truncate(place)


def resume(system: System, checkpoint: tf.train.Checkpoint, workdir: pathlib.Path, phases: dict[str, int],
           write: bool, say: Callable[[str], None]) -> tuple[str, int]:
  """Loads the newest undamaged checkpoint; returns (phase, finished steps), the beginning where there is none.

  Args:
    system: built; its phase is set.
    checkpoint: of the system and whatever else is saved.
    workdir: the run.
    phases: name -> steps, in order.
    write: whether to rewind the records; one worker does.
    say: takes lines for people.
  """
  names = list(phases)
  found = runs.last_checkpoint(workdir, names, say)
  if found is None:
    place = names[0], 0
    if any(runs.checkpoint_steps(workdir, p) for p in names):
      raise ValueError(f'{workdir}: every checkpoint is damaged; choose another --workdir')
  else:
    place = found
    system.phase = found[0]
    runs.read_checkpoint(checkpoint, runs.checkpoint_path(workdir, *found))
    say(f'continuing {found[0]} at step {found[1]}')
  if write:
    rewind(workdir, names, *place)
  return place
