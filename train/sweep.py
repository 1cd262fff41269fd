"""Trains many flagfiles with many seeds, one after another; the same command continues a sweep that was stopped.

    python -m train.sweep gcgan.cfg configs/ablations/gcgan_*.cfg --seeds=3 --workdir=runs/ablations
    python -m train.sweep gcgan.cfg --seeds=3 --workdir=runs/short --train_steps=100     # further flags go to every run

Each run is a process of its own in WORKDIR/FLAGFILE/seed-N; `evaluate.compare` makes tables of them.
"""

import json
import pathlib
import signal
import subprocess
import sys
from collections.abc import Sequence

import numpy as np

from evaluate.results import make_table
from models import commands
from models.config import ConfigError

_TRAIN = (sys.executable, '-m', 'train.main')


def sweep(flagfiles: Sequence[str], seeds: int, workdir: str, extra: Sequence[str] = (),
          train: Sequence[str] = _TRAIN) -> int:
  """Trains every flagfile with seeds 0..seeds-1.

  Args:
    flagfiles: their names without folder and ending name the runs.
    seeds: how many.
    workdir: holds the runs.
    extra: flags for every run.
    train: the command that trains.
  Returns:
    How many runs failed; a failed one does not stop the others.
  Raises:
    ConfigError: if a flagfile is missing, or two have one name.
  """
  names = [pathlib.Path(f).stem for f in flagfiles]
  for flagfile, name in zip(flagfiles, names, strict=True):
    if not pathlib.Path(flagfile).is_file():
      raise ConfigError(f'{flagfile}: there is no such flagfile')
    if names.count(name) > 1:
      raise ConfigError(f'{flagfile}: two flagfiles are called {name}, their runs would share a directory')
  codes = {}
  for flagfile, name in zip(flagfiles, names, strict=True):
    for seed in range(seeds):
      run = pathlib.Path(workdir).expanduser() / name / f'seed-{seed}'
      command = [*train, f'--flagfile={flagfile}', *extra, f'--seed={seed}', f'--workdir={run}']
      done = run / 'sweep.json'  # Written when the run has ended well; another command does it again.
      if done.exists() and json.loads(done.read_text()) == command[len(train):]:
        print(f'{run}: done before', flush=True)
        codes[name, seed] = 0
        continue
      print(f'{run}: {" ".join(command[len(train):])}', flush=True)
      codes[name, seed] = _run(command)
      if codes[name, seed] in (130, 143):
        raise SystemExit(codes[name, seed])
      if codes[name, seed] == 0:
        done.write_text(json.dumps(command[len(train):]) + '\n')
  _print_summary(codes, pathlib.Path(workdir).expanduser())
  return sum(code != 0 for code in codes.values())


def _run(command: Sequence[str]) -> int:
  """Runs a command to its end and returns its exit code. Signals are the command's, which saves before it ends."""
  with subprocess.Popen(command) as process:
    # Ctrl-C reaches the command by itself: a terminal sends it to both.
    handlers = {signal.SIGINT: lambda *_: None, signal.SIGTERM: lambda *_: process.terminate()}
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
      return process.wait()
    finally:
      for number, handler in before.items():
        signal.signal(number, handler)


def _print_summary(codes: dict[tuple[str, int], int], workdir: pathlib.Path) -> None:
  """One line for each flagfile: how its runs ended, mean and standard deviation over seeds."""
  tables = {}
  for (name, seed), code in codes.items():
    results = workdir / name / f'seed-{seed}' / 'eval' / 'results.json'
    rows = json.loads(results.read_text())['results'] if code == 0 and results.exists() else []
    values = {f'{r["protocol"]} {r["metric"]}': r['value'] for r in rows
              if r['subject'] == 'model' and r['slice'] == 'all' and r['value'] is not None}
    tables.setdefault(name, []).append((code, values))
  metrics = list(dict.fromkeys(m for runs in tables.values() for _, values in runs for m in values))
  lines = []
  for metric in ['ended well', *metrics]:
    cells = []
    for runs in tables.values():
      found = [values[metric] for _, values in runs if metric in values]
      if metric == 'ended well':
        cells.append(f'{sum(code == 0 for code, _ in runs)} of {len(runs)}')
      else:
        cells.append(f'{np.mean(found):.3f} +- {np.std(found):.3f}' if found else '-')
    lines.append([metric, *cells])
  print('\n' + make_table(['mean +- standard deviation over seeds', *tables], lines), flush=True)


def main(argv: list[str]) -> None:
  """The command: flagfiles, --seeds, --workdir, and flags for every run."""
  own, flagfiles, extra = {'seeds': '1', 'workdir': ''}, [], []
  for argument in argv[1:]:
    name, _, value = argument.lstrip('-').partition('=')
    if argument in ('--help', '-h', '--helpfull'):
      print((__doc__ or '').strip())
      raise SystemExit(0)
    if not argument.startswith('-'):
      flagfiles.append(argument)
    elif name in own:
      own[name] = value
    elif name == 'seed':
      raise ConfigError(f'{argument}: a sweep gives every run its seed; --seeds=N says how many')
    else:
      extra.append(argument)
  if not own['seeds'].isdigit() or int(own['seeds']) < 1:
    raise ConfigError(f'--seeds={own["seeds"]}: a number of at least 1 is needed')
  if not flagfiles or not own['workdir']:
    raise ConfigError('give at least one flagfile, and --workdir=DIR for the runs (--help shows how)')
  failed = sweep(flagfiles, int(own['seeds']), own['workdir'], extra)
  if failed:
    print(f'error: {failed} of the runs failed; the same command tries them again', file=sys.stderr)
    raise SystemExit(1)


if __name__ == '__main__':
  sys.exit(commands.run(main))
