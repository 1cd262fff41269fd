"""What happens beside the steps: rows, checkpoints, samples, and the end of a run, wanted or not."""

import contextlib
import json
import math
import os
import pathlib
import resource
import signal
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from evaluate.provenance import model_version, to_uint8
from evaluate.sheets import make_sheet, save_sheet
from models import runs
from models.system import System


class NonFiniteError(ValueError):
  """A loss or weight is NaN or infinite."""


class Clock(tf.Module):
  """Seconds spent on steps and on everything else; a part of the checkpoint, so that a resumed run goes on counting."""

  def __init__(self):
    super().__init__()
    self.training = tf.Variable(0.0, dtype=tf.float64, trainable=False)
    self.other = tf.Variable(0.0, dtype=tf.float64, trainable=False)
    self.row = 0.0  # Training seconds since the last row.
    self._mark = time.perf_counter()

  def lap(self, training: bool) -> None:
    """Counts the seconds since the last call to one of the two."""
    now = time.perf_counter()
    seconds, self._mark = now - self._mark, now
    if training:
      self.training.assign_add(seconds)
      self.row += seconds
    else:
      self.other.assign_add(seconds)


class Recorder(tf.keras.callbacks.Callback):
  """Writes a run while Keras' `fit` goes through a phase: rows, scalars, checkpoints, sheets; guards and stops it.

  One object, since the order at a step is what makes resuming exact: check, row, checkpoint, sample, stop.

  Args:
    system: the model; its phase is set.
    checkpoint: saves all of the state.
    clock: is part of it.
    workdir: the run, or where a worker that is not the chief writes what nobody reads.
    start: finished steps of the phase.
    samples: a held-out batch for the sheets, or None.
    wants_stop: whether to stop after this step; called after every execution of steps.
    chief: whether this process prints.
    note: a line under the sheets.
  """

  _supports_tf_logs = True  # Losses stay on the device until a row needs them.

  def __init__(self, system: System, checkpoint: tf.train.Checkpoint, clock: Clock, workdir: pathlib.Path, start: int,
               samples: dict[str, np.ndarray] | None, wants_stop: Callable[[int], bool], chief: bool = True,
               note: str = ''):
    super().__init__()
    self._system, self._checkpoint, self._clock = system, checkpoint, clock
    self._config, self._phase = system.config, system.phase
    self._stop_step = system.phases(system.config)[system.phase]
    self._workdir, self._start, self._step, self._saved = workdir, start, start, start
    self._samples, self._wants_stop, self._chief = samples, wants_stop, chief
    self._note = note
    self._window: list[tuple[int, dict[str, tf.Tensor]]] = []
    self._checked = start
    self._row_step = start  # Finished steps at the last row.
    self._printed = 0.0
    self.stopped = False

  def __enter__(self) -> 'Recorder':
    self._stats = open(self._workdir / 'stats.jsonl', 'a')  # noqa: SIM115 (held open for the phase).
    self._board = tf.summary.create_file_writer(str(self._workdir / 'events' / self._phase))
    return self

  def __exit__(self, *error: Any) -> None:
    with contextlib.suppress(OSError):  # Of a full disk, which was told.
      self._stats.close()
    self._board.close()

  def on_train_begin(self, logs: Any = None) -> None:
    if self._start == 0:
      with self._board.as_default(step=0):
        tf.summary.text('flags', ''.join(f'    {line}\n' for line in runs.flags_text(self._config).splitlines()))
      self._sample()

  def on_train_batch_end(self, batch: int, logs: dict[str, tf.Tensor]) -> None:
    config = self._config
    first, self._step = self._step == self._start, self._start + batch + 1
    step, last = self._step, self._step == self._stop_step
    self._window.append((step, logs))
    if first:  # It traces and compiles, which is no training.
      self._clock.lap(training=False)
      self._row_step = step
      self._say(f'{self._phase}: first step done, {duration(self._clock.other.numpy())} of preparation so far')
    sampled = step % config.sample_every == 0 or last
    figures = self._inspect() if sampled else {}
    if step % config.log_every == 0:
      self._row(figures)
    stop = self._wants_stop(step)
    if step % config.checkpoint_every == 0 or last or stop:
      self._save()
    if sampled:
      self._sample()
    if stop:
      self.stopped = self.model.stop_training = True

  @property
  def step(self) -> int:
    """Finished steps."""
    return self._step

  def _say(self, line: str) -> None:
    if self._chief:
      print(line, flush=True)

  def _inspect(self) -> dict[str, float]:
    """The system's figures of the held-out samples; says its warnings."""
    if self._samples is None:
      return {}
    self._clock.lap(training=True)
    with self._system.averaged_weights():
      figures, warnings = self._system.inspect(self._sample_batch())
    for warning in warnings:
      self._say(f'warning: {self._phase} {self._step}: {warning}')
    with self._board.as_default(step=self._step):
      for name, value in figures.items():
        tf.summary.scalar(f'samples/{name}', value)
    self._clock.lap(training=False)
    return {f'samples/{name}': value for name, value in figures.items()}

  def _sample_batch(self) -> dict[str, tf.Tensor]:
    assert self._samples is not None
    return {k: tf.constant(v) for k, v in self._samples.items() if v.dtype.kind in 'biuf'}

  def _row(self, figures: dict[str, float]) -> None:
    losses = self._check()
    self._clock.lap(training=True)
    training, other = float(self._clock.training.numpy()), float(self._clock.other.numpy())
    perf = {'perf/seconds': training + other, 'perf/other_seconds': other, 'perf/peak_memory_mb': peak_memory_mb()}
    steps = self._step - self._row_step
    if steps:
      images = steps * self._config.batch_size
      perf |= {'perf/images_per_second': images / self._clock.row,
               'perf/seconds_per_kimg': 1000 * self._clock.row / images,
               'perf/milliseconds_per_step': 1000 * self._clock.row / steps}
    self._row_step, self._clock.row = self._step, 0.0
    try:
      self._stats.write(json.dumps({'phase': self._phase, 'step': self._step, **losses, **figures, **perf}) + '\n')
      self._stats.flush()
    except OSError as error:
      raise OSError(f'{self._stats.name} cannot be written ({error.strerror}): make room and run the same command '
                    'again, it continues from the last checkpoint') from None
    with self._board.as_default(step=self._step):
      for name, value in (losses | perf).items():
        tf.summary.scalar(name, value)
    self._clock.lap(training=False)
    now = time.monotonic()
    if now - self._printed > 2 or self._step == self._stop_step:
      self._printed = now
      self._say(self._status(losses, perf))

  def _status(self, losses: dict[str, float], perf: dict[str, float]) -> str:
    parts = [f'{self._phase} {self._step}/{self._stop_step} ({100 * self._step / self._stop_step:.0f} %)',
             ', '.join(f'{name} {value:.4g}' for name, value in losses.items())]
    if 'perf/images_per_second' in perf:
      left = (self._stop_step - self._step) * perf['perf/milliseconds_per_step'] / 1000
      parts.append(f'{perf["perf/images_per_second"]:.1f} img/s, {perf["perf/seconds_per_kimg"]:.2f} s/kimg, '
                   f'{duration(left)} left')
    parts.append(f'{duration(perf["perf/other_seconds"])} not training, peak {perf["perf/peak_memory_mb"]:.0f} MB')
    return ' | '.join(parts)

  def _check(self) -> dict[str, float]:
    """The losses of this step. Raises NonFiniteError if one since the last check is not finite."""
    names = list(self._window[-1][1])
    values = np.array([[np.asarray(logs[name], np.float64) for name in names] for _, logs in self._window])
    bad = np.argwhere(~np.isfinite(values))
    if len(bad):
      place, name = bad[0]
      before = self._window[place - 1][0] if place else self._checked
      self._fail(f'{names[name]} became {values[place, name]}', before, self._window[place][0])
    self._window.clear()
    self._checked = self._step
    return dict(zip(names, values[-1].tolist(), strict=True))

  def _fail(self, what: str, before: int, step: int) -> None:
    steps = f'step {step}' if step == before + 1 else f'one of the steps {before + 1} to {step}'
    kept = f'the last checkpoint (step {self._saved}) is kept' if self._saved else 'no checkpoint was written before it'
    raise NonFiniteError(
        f'{what} in {steps} of {self._phase}; batches({before}, {step}, {self._phase!r}) of the pipeline with '
        f'seed={self._config.seed} gives its batch again; {kept}; a lower learning rate or precision=float32 may help')

  def _save(self) -> None:
    if self._window:
      self._check()
    for variable in self._system.weights:
      if variable.dtype.is_floating and not bool(tf.reduce_all(tf.math.is_finite(variable))):
        self._fail(f'{variable.name} became nan or infinite', self._saved, self._step)
    self._clock.lap(training=True)
    os.fsync(self._stats.fileno())
    self._board.flush()
    runs.save_checkpoint(self._checkpoint, self._workdir, self._phase, self._step, self._config.keep_checkpoints)
    self._saved = self._step
    self._clock.lap(training=False)

  def _sample(self) -> None:
    if self._samples is None:
      return
    self._clock.lap(training=True)
    with self._system.averaged_weights():
      columns = self._system.sample(self._sample_batch())
    columns = {name: to_uint8(images) for name, images in columns.items()}
    save_sheet(self._workdir / 'samples' / f'{self._phase}-{self._step:07d}.png', columns, model=self._system.name,
               version=model_version(self._step), note=self._note)
    overlays = {name: draw_landmarks(images, self._samples[points]) for name, images in columns.items()
                if (points := 'target_landmarks' if name == 'output' else f'{name}_landmarks') in self._samples}
    with self._board.as_default(step=self._step):
      tf.summary.image('samples', make_sheet(columns, note=self._note)[np.newaxis])
      if overlays:
        tf.summary.image('landmarks', make_sheet(overlays)[np.newaxis])
    self._clock.lap(training=False)


def draw_landmarks(images: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
  """Draws points as green pixels on pictures enlarged to at least 128 pixels.

  Args:
    images: [B, H, W, 3] uint8.
    landmarks: [B, P, 2] in [-1, 1] from edge to edge of the picture; points outside are left out.
  Returns:
    [B, H', W', 3] uint8.
  """
  times = max(1, math.ceil(128 / images.shape[1]))
  images = images.repeat(times, axis=1).repeat(times, axis=2)
  height, width = images.shape[1:3]
  place = np.floor((landmarks + 1) / 2 * [width, height]).astype(int)
  inside = ((place >= 0) & (place < [width, height])).all(-1)
  sample, point = np.nonzero(inside)
  images[sample, place[sample, point, 1], place[sample, point, 0]] = (0, 255, 0)
  return images


def peak_memory_mb() -> float:
  """The most memory used so far in MB: of the first GPU where there is one, of this process otherwise."""
  if tf.config.list_logical_devices('GPU'):
    return tf.config.experimental.get_memory_info('GPU:0')['peak'] / 2**20
  return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def duration(seconds: float) -> str:
  """'42 s', '3 min 20 s' or '5 h 12 min'."""
  seconds = round(seconds)
  if seconds < 60:
    return f'{seconds} s'
  if seconds < 3600:
    return f'{seconds // 60} min {seconds % 60} s'
  return f'{seconds // 3600} h {seconds % 3600 // 60} min'


class Signals:
  """SIGTERM and Ctrl-C ask for an end at the next step; a second one ends the process at once."""

  def __init__(self):
    self.received = 0
    self._before: dict[int, Any] = {}

  def _take(self, number: int, frame: Any) -> None:
    del frame
    self.received = number
    print(f'{signal.Signals(number).name}: saving at the end of this step; once more to stop at once', flush=True)
    signal.signal(number, signal.SIG_DFL)

  def __enter__(self) -> 'Signals':
    if threading.current_thread() is threading.main_thread():  # Python allows handlers only there.
      for number in (signal.SIGINT, signal.SIGTERM):
        self._before[number] = signal.signal(number, self._take)
    return self

  def __exit__(self, *error: Any) -> None:
    for number, handler in self._before.items():
      signal.signal(number, handler)
