"""Cross-validation: `python -m evaluate.folds RUN RUN... --output=DIR` evaluates runs that held out different people as
one: each person's pictures are made by the run that never saw that person, and the figures are of all people together.
"""

import dataclasses
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from absl import flags

from evaluate import unseen
from evaluate.gcgan import PROTOCOL, table1
from evaluate.results import Row, summary, write_results
from input_pipeline import PIPELINES
from models import commands, runs

FLAGS = flags.FlagValues()
flags.DEFINE_string('output', 'runs/folds', 'Folder for results.json and the sheets.', flag_values=FLAGS)
flags.DEFINE_string(
  'inception_weights', '', "Keras' Inception v3 weights without top (.h5), for Inception distances.", flag_values=FLAGS
)


class Folds:
  """Runs as one model and one pipeline: held-out pairs carry `fold` [N], and each run shows its own.

  Attributes:
    config: of the first run.
    step: of the first run.
    expressions: names of the expressions.
  """

  def __init__(self, workdirs: Sequence[str]):
    """Restores the runs.

    Raises:
      FileNotFoundError: if one is no run.
      ValueError: if they cannot be evaluated together: the message names the first that does not fit.
    """
    self._models = [runs.restore(workdir) for workdir in workdirs]
    configs = [model.config for model in self._models]
    self._pipelines = [PIPELINES[config.system](config) for config in configs]
    self.config, self.step = configs[0], int(self._models[0].step)
    for workdir, model, config in zip(workdirs, self._models, configs, strict=True):
      if config.system != 'gcgan':
        raise ValueError(f'{workdir} is a run of {config.system}: folds are of gcgan')
      if _without_data(config) != _without_data(self.config) or int(model.step) != self.step:
        raise ValueError(f'{workdir} and {workdirs[0]} differ in more than their data: folds are one experiment')
    self.expressions = self._pipelines[0].expressions
    seen: dict[str, str] = {}
    for workdir, pipeline in zip(workdirs, self._pipelines, strict=True):
      if pipeline.expressions != self.expressions:
        raise ValueError(f'{workdir} and {workdirs[0]} have other expressions')
      held_out = _held_out_names(pipeline)
      known = unseen.known(workdir, pipeline.config, held_out)
      if known:
        raise ValueError(f'{workdir} holds out {known[0]}, but started from a run that was trained on that person')
      for person in held_out:
        if person in seen:
          raise ValueError(f'{seen[person]} and {workdir} both hold out {person}: folds share nobody')
        seen[person] = workdir
    self._number = {person: i for i, person in enumerate(sorted(seen))}

  def held_out(self, count: int | None = None) -> dict[str, np.ndarray]:
    """All folds' held-out pairs, in turn, so that the first rows show different people; `identity` counts over all."""
    batches = []
    for fold, pipeline in enumerate(self._pipelines):
      batch = pipeline.held_out()
      names = np.array(pipeline.data.identities)
      batch['identity'] = np.array([self._number[name] for name in names[batch['identity']]], np.int32)
      batches.append(batch | {'fold': np.full(len(batch['identity']), fold)})
    ranks = np.concatenate([np.arange(len(batch['fold'])) for batch in batches])
    order = np.argsort(ranks, kind='stable')[:count]
    return {key: np.concatenate([batch[key] for batch in batches])[order] for key in batches[0]}

  def cross_subject(self, count: int | None = None) -> dict[str, np.ndarray]:
    """Nothing: folds are of photographs."""
    del count
    return {}

  def sample(self, batch: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Output pictures [N, S, S, 3], each by the run that held its person out."""
    output = np.zeros(np.shape(batch['input_image']), np.float32)
    for fold, model in enumerate(self._models):
      chosen = np.flatnonzero(batch['fold'] == fold)
      if len(chosen):
        output[chosen] = model.sample({key: value[chosen] for key, value in batch.items()})['output']
    return {'output': output}


def _without_data(config: Any) -> dict[str, Any]:
  return dataclasses.asdict(config) | {'dataset': '', 'data_dir': '', 'init_from': ''}


def _held_out_names(pipeline: Any) -> list[str]:
  names = pipeline.data.identities
  return [names[i] for i in np.unique(pipeline.data.index('test')['identity'])]


def evaluate_folds(workdirs: Sequence[str], output: str, inception_weights: str = '') -> list[Row]:
  """Writes `results.json`, `sheet.png`, `expressions.png` and `samples.npz` of all folds together; returns the rows.

  Raises:
    FileNotFoundError: if one of them is no run.
    ValueError: if they do not fit together.
  """
  folds = Folds(workdirs)
  rows = table1(folds, folds.config, output, 0, inception_weights, pipeline=folds)
  write_results(f'{output}/results.json', folds.config.system, folds.step, f'{len(workdirs)} folds', rows)
  return rows


def main(argv: Sequence[str]) -> None:
  workdirs = commands.parse(FLAGS, argv, __doc__ or '', 'RUN')
  rows = evaluate_folds(workdirs, FLAGS.output, FLAGS.inception_weights)
  print(f'\n{summary(rows, PROTOCOL)}\n\n{FLAGS.output}/results.json', flush=True)


if __name__ == '__main__':
  sys.exit(commands.run(main))
