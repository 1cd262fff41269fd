"""Trains many flagfiles with many seeds, one after another; the same command continues a sweep that was stopped.

    python -m train.sweep gcgan.cfg configs/ablations/gcgan_*.cfg --seeds=3 --workdir=runs/ablations
    python -m train.sweep gcgan.cfg --seeds=3 --workdir=runs/short --train_steps=100     # further flags go to every run
    python -m train.sweep gcgan.cfg --seeds=3 --workdir=runs/short --dry_run             # how long that would take
    python -m train.sweep configs/ablations/gcgan_*.cfg configs/ablations/gcgan_spg.cfg:3     # of one more seeds

Each run is a process of its own in WORKDIR/FLAGFILE/seed-N; WORKDIR is runs/sweep where it is not given.
`evaluate.compare` makes tables of them.
"""

import json
import os
import pathlib
import re
import signal
import subprocess
import sys
from collections.abc import Sequence

import numpy as np

from evaluate.results import make_table
from models import commands
from models.config import ConfigError
from train.callbacks import duration

_TRAIN = (sys.executable, '-m', 'train.main')
SECONDS = re.compile(r'^time .*\(([\d,]+) s\) of training')  # What `train.dry_run` expects.


def sweep(flagfiles: Sequence[str], seeds: int, workdir: str, extra: Sequence[str] = (),
          train: Sequence[str] = _TRAIN) -> int:
  """Trains every flagfile with seeds 0..seeds-1.

  Args:
    flagfiles: their names without folder and ending name the runs. `FLAGFILE:N` has N seeds, also where FLAGFILE is
      among the others.
    seeds: how many the others have.
    workdir: holds the runs.
    extra: flags for every run; with `--dry_run` nothing is trained, see `_try`.
    train: the command that trains.
  Returns:
    How many runs failed; a failed one does not stop the others.
  Raises:
    ConfigError: if a flagfile is missing, or two have one name.
  """
  counts = _count_seeds(flagfiles, seeds)
  names = [pathlib.Path(f).stem for f in counts]
  for flagfile, name in zip(counts, names, strict=True):
    if not pathlib.Path(flagfile).is_file():
      raise ConfigError(f'{flagfile}: there is no such flagfile')
    if names.count(name) > 1:
      raise ConfigError(f'{flagfile}: two flagfiles are called {name}, their runs would share a directory')
  if _is_dry(extra):
    return _try(counts, workdir, extra, train)
  codes = {}
  for flagfile, name in zip(counts, names, strict=True):
    for seed in range(counts[flagfile]):
      run, command = _command(flagfile, seed, workdir, extra, train)
      done = run / 'sweep.json'  # Written when the run has ended well; another command does it again.
      if done.exists() and json.loads(done.read_text()) == command[len(train):]:
        print(f'{run}: done before', flush=True)
        codes[name, seed] = 0
        continue
      print(f'{run}: {" ".join(command[len(train):])}', flush=True)
      codes[name, seed], _ = _run(command)
      if codes[name, seed] in (130, 143, -signal.SIGINT, -signal.SIGTERM):
        raise SystemExit(abs(codes[name, seed]) % 128 + 128)
      if codes[name, seed] == 0:
        done.write_text(json.dumps(command[len(train):]) + '\n')
  _print_summary(codes, pathlib.Path(workdir).expanduser())
  return sum(code != 0 for code in codes.values())


def _count_seeds(flagfiles: Sequence[str], seeds: int) -> dict[str, int]:
  """How many seeds each flagfile has."""
  counts = {}
  for text in flagfiles:
    name, _, number = text.rpartition(':')
    if name and number.isdigit():
      if int(number) < 1:
        raise ConfigError(f'{text}: a number of seeds of at least 1 is needed')
      counts[name] = int(number)
    else:
      counts.setdefault(text, seeds)
  return counts


def _command(flagfile: str, seed: int, workdir: str, extra: Sequence[str],
             train: Sequence[str]) -> tuple[pathlib.Path, list[str]]:
  """The directory of a run, and the command that trains it."""
  run = pathlib.Path(workdir).expanduser() / pathlib.Path(flagfile).stem / f'seed-{seed}'
  return run, [*train, f'--flagfile={flagfile}', *extra, f'--seed={seed}', f'--workdir={run}']


def _is_dry(extra: Sequence[str]) -> bool:
  """Whether flags for every run say --dry_run; the last one counts."""
  dry = False
  for text in extra:
    name, _, value = text.lstrip('-').partition('=')
    dry = value.lower() in ('', 'true', '1') if name == 'dry_run' else dry and name != 'nodry_run'
  return dry


def _try(counts: dict[str, int], workdir: str, extra: Sequence[str], train: Sequence[str]) -> int:
  """Dry runs of every flagfile with one seed, since all take as long; says how long all runs would take together.

  Returns:
    How many failed.
  """
  failed, total = 0, 0
  for flagfile, seeds in counts.items():
    run, command = _command(flagfile, 0, workdir, extra, train)
    print(f'{run}: {" ".join(command[len(train):])}', flush=True)
    code, lines = _run(command, hear=True)
    if code in (130, 143, -signal.SIGINT, -signal.SIGTERM):  # A dry run has nothing to save: signals end it.
      raise SystemExit(abs(code) % 128 + 128)
    found = [int(match[1].replace(',', '')) for line in lines if (match := SECONDS.match(line))]
    failed += code != 0 or not found
    total += sum(found) * seeds
  runs = sum(counts.values())
  left_out = f', without what the {failed} that failed would take' * bool(failed)
  seeds_of = ' + '.join(f'{list(counts.values()).count(n)} x {n}' for n in dict.fromkeys(counts.values()))
  print(f'\n{runs:,} run{"s" * (runs != 1)} (flagfiles x seeds = {seeds_of}): {duration(total)} of training on this '
        f'machine{left_out}; evaluation comes on top', flush=True)
  return failed


def _run(command: Sequence[str], hear: bool = False) -> tuple[int, list[str]]:
  """Runs a command to its end. Signals are the command's, which saves before it ends.

  Args:
    command: program and arguments.
    hear: whether to keep what it prints, beside showing it.
  Returns:
    Its exit code, and the lines that were kept.
  """
  pipe, environment = (subprocess.PIPE, {**os.environ, 'PYTHONUNBUFFERED': '1'}) if hear else (None, None)
  lines = []
  with subprocess.Popen(command, stdout=pipe, env=environment, text=True) as process:
    # Ctrl-C reaches the command by itself: a terminal sends it to both.
    handlers = {signal.SIGINT: lambda *_: None, signal.SIGTERM: lambda *_: process.terminate()}
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
      for line in process.stdout or ():
        print(line, end='', flush=True)
        lines.append(line)
      return process.wait(), lines
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
  own, flagfiles, extra = {'seeds': '1', 'workdir': 'runs/sweep'}, [], []
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
  if not flagfiles:
    raise ConfigError('give at least one flagfile (--help shows how)')
  failed = sweep(flagfiles, int(own['seeds']), own['workdir'], extra)
  if failed:
    print(f'error: {failed} of the runs failed; the same command tries them again', file=sys.stderr)
    raise SystemExit(1)


if __name__ == '__main__':
  sys.exit(commands.run(main))
