"""Trains a system and evaluates it: the one loop of all systems, over Keras' `fit`."""

import contextlib
import dataclasses
import math
import os
import pathlib
import re
import signal
import tempfile
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from evaluate.export import export, exported_step, versions
from evaluate.main import evaluate_run
from input_pipeline import PIPELINES
from models import SYSTEMS, runs
from models.config import ConfigError
from models.system import System, use_xla
from train import environment, resume
from train.callbacks import Clock, Recorder, Signals
from train.strategies import Plan, split_cpu

_SAMPLES = 16


def train_and_evaluate(config: Any, workdir: str | os.PathLike, saved_model: bool = False) -> System:
  """Trains a config's system through all its phases, or goes on where an earlier call was stopped, and evaluates it.

  Args:
    config: settings of a registered system, for example `GCGANConfig()`.
    workdir: the run's directory, see `models.runs`.
    saved_model: whether to write a SavedModel of the last step to `export/` in it too, after the evaluation.
  Returns:
    The trained system; its networks hold the averaged weights where weights are averaged.
  Raises:
    ConfigError: if the settings contradict the machine, the data, or the run that the directory holds.
    OSError: if the directory cannot be written or is in use.
    NonFiniteError: if a loss or a weight became NaN or infinite.
    SystemExit: after SIGTERM or Ctrl-C (128 + the signal's number), or when a worker was lost (75).
  """
  workdir = pathlib.Path(workdir).expanduser()
  phases = SYSTEMS[config.system].phases(config)
  runs.check_free(workdir)
  resume.check_settings(workdir, config, list(phases))
  plan = prepare_devices(config)
  say = print if plan.chief else _quiet
  with contextlib.ExitStack() as stack:
    with plan.watched():
      pipeline, samples = _open_data(config, plan, workdir, say)
      if plan.chief:
        stack.enter_context(runs.lock(workdir))
        writes_to = workdir
      else:  # All workers save, since saving reduces variables over them; only the chief's files are kept.
        writes_to = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory()))
      system = Run(config, plan, phases, pipeline, samples, workdir, writes_to, say).train()
      plan.any_worker(False)  # A barrier: nobody leaves while another still trains.
    if plan.strategy.num_replicas_in_sync > 1:
      system = runs.restore(workdir)  # Free of the strategy: reading a spread variable would take all workers.
    if config.evaluate and plan.chief:
      evaluate_run(workdir, system, config)
      if saved_model and not _is_exported(workdir / 'export', int(system.step)):
        export(workdir, workdir / 'export')
  return system


def _is_exported(output: pathlib.Path, step: int) -> bool:
  """Whether the newest SavedModel has the weights of that step: a run may have been stopped before it was written."""
  return bool(versions(output)) and exported_step(output / str(versions(output)[-1])) == step


def prepare_devices(config: Any) -> Plan:
  """Sets TensorFlow up as the config says and plans where its steps are computed."""
  split_cpu(config.cpu_devices)
  if config.deterministic:
    tf.config.experimental.enable_op_determinism()
  return Plan(config)


def _quiet(line: str) -> None:
  del line


def _open_data(config: Any, plan: Plan, workdir: pathlib.Path,
               say: Callable[[str], None]) -> tuple[Any, dict[str, np.ndarray]]:
  """The pipeline and its first held-out samples. The chief goes first: opening may render the data set."""
  if not plan.chief:
    plan.any_worker(False)
  pipeline = PIPELINES[config.system](config)
  for run in filter(None, (workdir, config.init_from)):
    runs.check_labels(getattr(pipeline, 'labels', []), run, config.dataset)
  samples = pipeline.held_out(_SAMPLES)
  if plan.chief:
    plan.any_worker(False)
  for line in [*pipeline.describe(), *compute_lines(config, plan), *SYSTEMS[config.system].notes(config)]:
    say(line)
  return pipeline, samples


def compute_lines(config: Any, plan: Plan) -> list[str]:
  """How steps are computed, for people."""
  xla = use_xla(config)
  lines = [f'{plan.describe()}; {config.precision}, XLA {"on" if xla else "off"}']
  if xla and plan.strategy.num_replicas_in_sync > 1:
    lines.append('XLA does not compile collectives: batch statistics are those of each replica, not of the whole batch '
                 '(--xla=off makes them global)')
  return lines


@dataclasses.dataclass
class Run:
  """One call of `train_and_evaluate` while it trains.

  Attributes:
    config: the settings.
    plan: where steps are computed.
    phases: name -> steps.
    pipeline: gives the batches.
    samples: what the sheets show.
    workdir: the run.
    writes_to: the same for the chief, a directory that nobody reads for other workers.
    say: takes lines for people.
  """

  config: Any
  plan: Plan
  phases: dict[str, int]
  pipeline: Any
  samples: dict[str, np.ndarray]
  workdir: pathlib.Path
  writes_to: pathlib.Path
  say: Callable[[str], None]

  def train(self) -> System:
    """Builds or restores the system and brings it to the end of its last phase."""
    config, names = self.config, list(self.phases)
    with self.plan.strategy.scope():
      system = runs.build(config)
      clock = Clock()
      checkpoint = tf.train.Checkpoint(system=system, clock=clock)
    if config.init_from and not any(runs.checkpoint_steps(self.workdir, name) for name in names):
      runs.copy_weights(system, config.init_from)
    phase, start = resume.resume(system, checkpoint, self.workdir, self.phases, self.plan.chief, self.say)
    if self.plan.chief:
      runs.save_flags(config, self.workdir)
      runs.save_labels(getattr(self.pipeline, 'labels', []), self.workdir)
      environment.write(self.workdir, self.say)
    self.plan.any_worker(False)  # The chief has written.
    if not (self.workdir / 'flags.cfg').is_file():
      raise ConfigError(f'--workdir={self.workdir} is another folder here than on the chief: several workers need one '
                        'that all of them see', ())
    with Signals() as signals:
      for name in names[names.index(phase):]:
        done = start if name == phase else 0
        if done == 0:
          system.start_phase(name)
        if done < self.phases[name]:
          self._fit(system, checkpoint, clock, done, signals)
    last = names[-1]
    if (phase, start) == (last, self.phases[last]):
      self.say(f'{self.workdir} is finished: {last} has its {start} steps')
    if not any(runs.checkpoint_steps(self.writes_to, name) for name in names) and self.plan.chief:
      runs.save_checkpoint(checkpoint, self.writes_to, last, 0, config.keep_checkpoints)  # A run of no steps.
    system.use_averages()
    return system

  def _fit(self, system: System, checkpoint: tf.train.Checkpoint, clock: Clock, done: int, signals: Signals) -> None:
    """Brings the phase of the system to its end, or to a signal."""
    config, plan, phase = self.config, self.plan, system.phase
    stop = self.phases[phase]

    def wants_stop(step: int) -> bool:
      # Several workers must agree on the step, which costs a collective; rows are often enough.
      if plan.workers > 1 and step % config.log_every:
        return False
      return plan.any_worker(signals.received != 0)

    # After an end that was no multiple, smaller groups still meet the multiples that rows and checkpoints want.
    together = math.gcd(config.steps_per_execution, done)
    system.compile(together, use_xla(config) and plan.strategy.num_replicas_in_sync == 1)
    data = plan.distribute(lambda worker, workers: self.pipeline.batches(done, stop, phase, worker, workers))
    recorder = Recorder(system, checkpoint, clock, self.writes_to, done, self.samples, wants_stop, plan.chief,
                        getattr(self.pipeline, 'note', ''))
    try:
      with recorder:
        system.fit(data, epochs=1, steps_per_epoch=stop - done, verbose=0, callbacks=[recorder])
    except tf.errors.ResourceExhaustedError:
      raise ConfigError(f'batch_size={config.batch_size} needs more memory than there is: lower --batch_size, '
                        '--image_size or --width, or use --precision=mixed_bfloat16', ('batch_size',)) from None
    except tf.errors.OpError as error:
      # What the pipeline's own functions raise in tf.data comes wrapped in TensorFlow's error and traceback.
      own = re.search(r'^(?:ValueError|OSError|FileNotFoundError): (.+)$', str(error), re.MULTILINE)
      if own is None:
        raise
      raise ValueError(own[1]) from None
    if recorder.stopped or (signals.received and plan.workers == 1):  # Several workers stop when all of them know.
      self.say(f'stopped at step {recorder.step} of {phase}, saved; the same command continues')
      raise SystemExit(128 + (signals.received or signal.SIGTERM))
