"""Asks by linear probes what FaceCycle's representations know: `python -m evaluate.probe --workdir=RUN --protocol=NAME`
prints the table and writes `RUN/eval/NAME/results.json`. Beside the run's own networks stand raw pixels, LBP, HoG and a
network that was not trained.
"""

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from absl import flags

from evaluate.probes.expression import probe_fer2013, probe_rafdb
from evaluate.probes.head_pose import probe_aflw2000
from evaluate.probes.persons import probe_cplfw, probe_lfw
from evaluate.probes.renders import probe_renders
from evaluate.results import summary, write_results
from models import commands, runs

# (model, folder of the data set, epochs of SGD) -> rows; each function's page has the protocol.
PROTOCOLS: dict[str, Callable[..., list[dict[str, Any]]]] = {
  'renders': probe_renders,
  'rafdb': probe_rafdb,
  'fer2013': probe_fer2013,
  'aflw2000': probe_aflw2000,
  'lfw': probe_lfw,
  'cplfw': probe_cplfw,
}

FLAGS = flags.FlagValues()
flags.DEFINE_string('workdir', None, 'The run, or pretrained:NAME.', flag_values=FLAGS, required=True)
flags.DEFINE_enum(
  'protocol', 'renders', list(PROTOCOLS), 'What is asked: renders (expression, pose, person of rendered heads), or the '
  "paper's question to a data set of photographs.", flag_values=FLAGS
)  # fmt: skip
flags.DEFINE_string('input', '', 'Folder of the data set of photographs.', flag_values=FLAGS)
flags.DEFINE_integer(
  'epochs', 0, "Epochs of the released SGD recipe (rafdb, fer2013); 0 means its 300.", flag_values=FLAGS, lower_bound=0
)


def probe_run(workdir: str | Path, protocol: str = 'renders', folder: str = '', epochs: int = 0) -> dict[str, Any]:
  """Probes a run with its averaged weights.

  Args:
    workdir: the run, or pretrained:NAME.
    protocol: of `PROTOCOLS`.
    folder: of the data set; none for renders.
    epochs: of SGD, 0 means the recipe's.

  Returns:
    What `results.json` holds.

  Raises:
    FileNotFoundError: if there is no run, or a file of the data set is missing.
    ValueError: if the run is of another system, or a file of the data set makes no sense.
  """
  start = time.time()
  system = runs.load_config(workdir).system
  if system != 'facecycle':
    raise ValueError(f'{workdir} is a run of {system}: probes are of facecycle')
  if bool(folder) == (protocol == 'renders'):
    wanted = 'reads no folder: leave --input out' if folder else 'reads a data set: set --input=FOLDER'
    raise ValueError(f'--protocol={protocol} {wanted}')
  if folder and not Path(folder).is_dir():
    raise FileNotFoundError(f'--input={folder}: there is no such folder')
  model = runs.restore(workdir)
  rows = PROTOCOLS[protocol](model, folder, epochs)
  path = runs.output_folder(workdir) / 'eval' / protocol / 'results.json'
  results = write_results(path, system, int(model.step), folder or 'synthetic_video', rows)
  for name in dict.fromkeys(row['protocol'] for row in rows):
    print(f'\n{summary(rows, name)}')
  print(f'\n{path} ({time.time() - start:.0f} s)', flush=True)
  return results


def main(argv: list[str]) -> None:
  commands.parse(FLAGS, argv, __doc__)
  probe_run(FLAGS.workdir, FLAGS.protocol, FLAGS.input, FLAGS.epochs)


if __name__ == '__main__':
  sys.exit(commands.run(main))
