"""Evaluates a run: `python -m evaluate.main --workdir=RUN` writes `RUN/eval/results.json` and figures, and prints the
table. With `--dataset=DATA` they go to `RUN/eval/DATA/` (its last part; `DATA-2` where another data set of that name
was there first), so that the run's own figures stay."""

import dataclasses
import itertools
import json
import sys
import time
from pathlib import Path
from typing import Any

from absl import flags

from evaluate import EVALUATIONS, unseen
from evaluate.results import summary, write_results
from input_pipeline import PIPELINES
from models import commands, runs

FLAGS = flags.FlagValues()
flags.DEFINE_string('workdir', None, 'The run, or pretrained:NAME.', flag_values=FLAGS, required=True)
flags.DEFINE_string('dataset', '', "Held-out faces of this data set instead of the run's own.", flag_values=FLAGS)
flags.DEFINE_integer(
  'pairs', 600, 'Held-out pairs at most (of GANFaces, pictures of each kind); 0 means all.', flag_values=FLAGS,
  lower_bound=0
)
flags.DEFINE_string(
  'embedding', '', "GANFaces' judge beside dlib: nn4:RUN, or a .keras file that the run did not train with; empty is "
  'pretrained:nn4.', flag_values=FLAGS
)
flags.DEFINE_string(
  'inception_weights', '', "Keras' Inception v3 weights without top (.h5), for Inception distances.", flag_values=FLAGS
)


def evaluate_run(
  workdir: str | Path, model: Any = None, config: Any = None, dataset: str = '', **options: Any
) -> dict[str, Any]:
  """Evaluates a run with its averaged weights.

  Args:
    workdir: the run; `eval/` in it is written, or `eval/NAME/` for a data set that is not the run's own. What is
      measured of `pretrained:NAME` goes to `runs/pretrained-NAME/eval/`.
    model: the trained system; restored from the newest checkpoint if not given.
    config: its config; read from the run if not given.
    dataset: held-out faces of this data set instead of the run's own.
    **options: of the system's evaluation.
  Returns:
    What `results.json` holds.
  Raises:
    FileNotFoundError: if there is no run.
    ConfigError: if the model is driven by labels that mean something else in the data set.
  """
  start = time.time()
  own = config = config or runs.load_config(workdir)
  output = runs.output_folder(workdir) / 'eval'
  if dataset and dataset != config.dataset:
    config = dataclasses.replace(config, dataset=dataset)
    output = _folder(output, dataset)
  pipeline = PIPELINES[config.system](config)
  runs.check_labels(getattr(pipeline, 'labels', []), workdir, config.dataset)
  if model is None:
    model = runs.restore(workdir)
  with model.averaged_weights():
    rows = EVALUATIONS[config.system](model, config, output, **options)
  # Of what was trained on, too, where that is not what is measured on.
  notes = [getattr(PIPELINES[of.system](of), 'note', '') for of in (config, own)]
  if config.system == 'gcgan':
    shown = unseen.people_of(config, config.dataset, 'test')
    notes.append(unseen.write_note(unseen.known(workdir, own, shown), len(shown)))
  note = '\n'.join(dict.fromkeys(filter(None, notes)))
  results = write_results(output / 'results.json', config.system, int(model.step), config.dataset, rows, note)
  for protocol in dict.fromkeys(row['protocol'] for row in rows):
    print(f'\n{summary(rows, protocol)}')
  if note:
    print(f'\n{note}')
  print(f'\n{output / "results.json"} ({time.time() - start:.0f} s)', flush=True)
  return results


def _folder(output: Path, dataset: str) -> Path:
  """Where the figures on a data set go that is not the run's own; two data sets of one name get a folder each."""
  wanted = Path(dataset).expanduser().resolve()
  folders = (output / (wanted.name + f'-{number}' * (number > 1)) for number in itertools.count(1))
  return next(folder for folder in folders if _measured_on(folder / 'results.json') in (None, wanted))


def _measured_on(file: Path) -> Path | None:
  """The data set of a results.json; None where there is no such file, or a damaged one."""
  try:
    return Path(json.loads(file.read_text())['data']).expanduser().resolve()
  except (OSError, ValueError, KeyError, TypeError):
    return None


def main(argv: list[str]) -> None:
  commands.parse(FLAGS, argv, __doc__)
  options = {'embedding': FLAGS.embedding} if FLAGS.embedding else {}
  if options and (system := runs.load_config(FLAGS.workdir).system) != 'ganfaces':
    raise ValueError(f'--embedding={FLAGS.embedding} judges runs of ganfaces, {FLAGS.workdir} is one of {system}')
  evaluate_run(
    FLAGS.workdir, dataset=FLAGS.dataset, pairs=FLAGS.pairs, inception_weights=FLAGS.inception_weights, **options
  )


if __name__ == '__main__':
  sys.exit(commands.run(main))
