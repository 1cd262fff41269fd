"""Compares evaluated runs: `python -m evaluate.compare RUN RUN...`.

Runs that differ in their seed only are one arm. The first arm is compared with each other one by paired differences on
the pictures and seeds that they share; the interval resamples seeds, people and their pictures. With fewer than 20
people or 3 seeds it says "too few". `OUTPUT/compare.json` holds all slices, `OUTPUT/compare.txt` what is printed,
`OUTPUT/curves.png` the losses. Of runs of the recogniser that differ in their people, OUTPUT/figure8.png and table1.txt
are GANFaces' experiment, of all protocols that were measured. Of runs of face-off there are OUTPUT/figure6.png, what
each draws of the same frames, and figure7.png and figure7.txt, the losses of its game.
"""

import dataclasses
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from absl import flags

from evaluate import faceoff_compare, intervals, recognition_figures
from evaluate.charts import save_curves
from evaluate.intervals import MIN_PEOPLE, MIN_SEEDS, Estimate
from evaluate.results import Measure, Row, find_row, make_row, make_table, read_results, write_value
from models import SYSTEMS, commands, runs

FLAGS = flags.FlagValues()
flags.DEFINE_string('output', 'runs/compare', 'Folder for compare.json and curves.png.', flag_values=FLAGS)
flags.DEFINE_string(
  'slice', 'all', 'The part of the pictures that the printed table is about, such as to_smile.', flag_values=FLAGS
)


class Run(NamedTuple):
  """An evaluated run.

  Attributes:
    path: its folder.
    config: its settings.
    rows: of results.json.
    samples: arrays of samples.npz under '', those of samples-PROTOCOL.npz under PROTOCOL.
    step: the one that all these are of.
  """

  path: Path
  config: Any
  rows: list[Row]
  samples: dict[str, dict[str, np.ndarray]]
  step: int

  def samples_of(self, protocol: str) -> dict[str, np.ndarray]:
    """What was kept picture by picture of a protocol."""
    return self.samples.get(protocol, self.samples.get('', {}))


@dataclasses.dataclass(frozen=True)
class Arm:
  """Runs that differ in their seed only."""

  name: str
  runs: dict[int, Run]


def read_run(path: str | Path, part: str = '') -> Run:
  """Reads an evaluated run.

  Args:
    path: the run.
    part: folder in its eval/, of a protocol that `evaluate.verification` measured.

  Raises:
    FileNotFoundError: if it is no run or was not evaluated.
  """
  path = Path(path)
  folder = path / 'eval' / part
  config = runs.load_config(path)
  results = json.loads((folder / 'results.json').read_text()) if part else read_results(path)
  samples = {}
  for file in sorted(folder.glob('samples*.npz')):
    with np.load(file, allow_pickle=False) as arrays:
      samples[file.stem.partition('-')[2]] = dict(arrays)
  return Run(path, config, results['results'], samples, results['step'])


def stale(run: Run) -> str:
  """One line where a run was trained further after its evaluation, else nothing."""
  phases = SYSTEMS[run.config.system].phases(run.config)
  steps = next((found for phase in reversed(phases) if (found := runs.checkpoint_steps(run.path, phase))), [run.step])
  if steps[-1] == run.step:
    return ''
  return (
    f'{run.path} was evaluated at step {run.step:,} and is at step {steps[-1]:,} now: its figures are the old ones '
    f'(python -m evaluate.main --workdir={run.path})'
  )


def group(given: Sequence[Run], arm_of: Callable[[Any], str] | None = None) -> list[Arm]:
  """Arms in the order of their first runs, named by the settings in which they differ.

  Args:
    given: runs.
    arm_of: config -> the name of its arm, where that is not told by all settings but the seed.
  Raises:
    ValueError: if two runs have all settings and the seed in common, or are of different systems.
  """
  if len({run.config.system for run in given}) > 1:
    raise ValueError(
      f'runs of different systems cannot be compared: {", ".join(f"{r.path} is {r.config.system}" for r in given)}'
    )
  keys = [
    {'arm': arm_of(run.config)}
    if arm_of
    else {f.name: getattr(run.config, f.name) for f in dataclasses.fields(run.config) if f.name != 'seed'}
    for run in given
  ]
  members: list[tuple[dict[str, Any], dict[int, Run]]] = []
  for key, run in zip(keys, given, strict=True):
    arm = next((found for other, found in members if other == key), None)
    if arm is None:
      members.append((key, arm := {}))
    if run.config.seed in arm:
      raise ValueError(
        f'{run.path} and {arm[run.config.seed].path} are the same: equal settings and seed {run.config.seed}'
      )
    arm[run.config.seed] = run
  if arm_of:
    return [Arm(key['arm'], arm) for key, arm in members]
  varying = [name for name in keys[0] if len({repr(key[name]) for key, _ in members}) > 1]
  return [Arm(' '.join(f'{name}={key[name]}' for name in varying) or given[0].path.name, arm) for key, arm in members]


def arm_rows(arm: Arm) -> list[Row]:
  """The figures of an arm: the mean over its seeds.

  Of several seeds, the interval resamples seeds too, where a figure is kept picture by picture in `samples.npz`.
  """
  first = next(iter(arm.runs.values()))
  rows, weights = [], {}
  for row in first.rows:
    same = [
      find_row(run.rows, row['metric'], row['subject'], row['slice'], row['protocol'], row['embedding'])
      for run in arm.runs.values()
    ]
    values = [r['value'] for r in same if r is not None and r['value'] is not None]
    if len(arm.runs) > 1:
      estimate = (
        Estimate(float(np.mean(values)), None, None) if len(values) == len(arm.runs) else Estimate(None, None, None)
      )
      if row['embedding'] is None and (measure := _stack(arm, row)) is not None:
        samples, part = first.samples_of(row['protocol']), (row['protocol'], row['slice'])
        chosen = samples[f'slice/{row["slice"]}']
        if part not in weights:
          weights[part] = intervals.bootstrap_weights(samples['identity'][chosen])
        estimate = intervals.estimate(measure.statistic(chosen), weights[part])
      row = make_row(
        row['protocol'],
        row['metric'],
        row['subject'],
        row['slice'],
        estimate,
        row['count'],
        row['identities'],
        len(arm.runs),
        row['embedding'],
      )
    rows.append(row)
  return rows


def _stack(arm: Arm, row: Row) -> Measure | None:
  """A row's figure of each seed's pictures; None where the seeds were not evaluated on the same ones."""
  samples = [run.samples_of(row['protocol']) for run in arm.runs.values()]
  key = f'{row["subject"]}/{row["metric"]}'
  if any(key not in s or f'slice/{row["slice"]}' not in s for s in samples):
    return None
  if any(not np.array_equal(s['sample'], samples[0]['sample']) for s in samples):
    return None
  denominators = [s[f'{key}/denominator'] for s in samples if f'{key}/denominator' in s]
  return Measure(np.array([s[key] for s in samples]), np.array(denominators) if denominators else None)


def difference(
  first: Arm, second: Arm, metric: str, slice: str, protocol: str = '', replicates: int = intervals.REPLICATES
) -> Row:
  """The paired difference second - first of the model's figure, on shared pictures and seeds.

  Without a shared seed, seeds are paired in their order. `protocol` is needed where several have such a metric.
  """
  shared = sorted(set(first.runs) & set(second.runs))
  pairs = [(first.runs[s], second.runs[s]) for s in shared] or list(
    zip(first.runs.values(), second.runs.values(), strict=False)
  )
  key, part = f'model/{metric}', f'slice/{slice}'
  everything = [run.samples_of(protocol) for pair in pairs for run in pair]
  nothing = make_row(
    'compare', metric, f'{second.name} minus {first.name}', slice, Estimate(None, None, None), 0, 0, len(pairs)
  )
  if any(key not in samples or part not in samples for samples in everything):
    return nothing
  places = [{name: row for row, name in enumerate(samples['sample']) if samples[part][row]} for samples in everything]
  common = sorted(set(places[0]).intersection(*places[1:]))
  if not common:
    return nothing
  rows = [[place[name] for name in common] for place in places]
  people = everything[0]['identity'][rows[0]]
  numerators = np.array([samples[key][r] for samples, r in zip(everything, rows, strict=True)])
  denominators = np.array(
    [
      samples.get(f'{key}/denominator', np.ones(len(samples['sample'])))[r]
      for samples, r in zip(everything, rows, strict=True)
    ]
  )
  rng = np.random.default_rng(0)
  seeds = rng.multinomial(len(pairs), np.full(len(pairs), 1 / len(pairs)), size=replicates)

  def statistic(weights):
    of_seeds = np.ones(len(pairs)) if weights.ndim == 1 else seeds
    with np.errstate(divide='ignore', invalid='ignore'):
      figures = [
        ((weights @ numerators[k::2].T) * of_seeds).sum(-1) / ((weights @ denominators[k::2].T) * of_seeds).sum(-1)
        for k in (0, 1)
      ]
    return figures[1] - figures[0]

  value = intervals.estimate(statistic, intervals.bootstrap_weights(people, replicates))
  return {
    **nothing,
    **make_row('compare', metric, nothing['subject'], slice, value, len(common), len(np.unique(people)), len(pairs)),
  }


def verdict(row: Row) -> str:
  """What a difference allows to say."""
  if row['value'] is None:
    return 'no shared pictures'
  few = [
    f'{row[name]} {word if row[name] != 1 else one}'
    for name, word, one, least in (
      ('identities', 'people', 'person', MIN_PEOPLE),
      ('seeds', 'seeds', 'seed', MIN_SEEDS),
    )
    if row[name] < least
  ]
  if few:
    return f'too few ({", ".join(few)})'
  return 'no difference shown' if row['low'] <= 0 <= row['high'] else 'higher' if row['value'] > 0 else 'lower'


def read_curves(given: Sequence[Run]) -> dict[str, dict[str, tuple[list[float], list[float]]]]:
  """Logged quantities of the runs: `phase/name` -> run -> (steps, values). Clock and memory are left out."""
  curves: dict[str, dict[str, tuple[list[float], list[float]]]] = {}
  for run in given:
    file = run.path / 'stats.jsonl'
    for line in file.read_text().splitlines() if file.is_file() else []:
      row = json.loads(line)
      for name, value in row.items():
        if name not in ('phase', 'step') and not name.startswith('perf/') and isinstance(value, int | float):
          steps, values = curves.setdefault(f'{row["phase"]}: {name}', {}).setdefault(str(run.path), ([], []))
          steps.append(row['step'])
          values.append(value)
  return curves


def compare(
  workdirs: Sequence[str | Path],
  output: str | Path,
  slice: str = 'all',
  arm_of: Callable[[Any], str] | None = None,
) -> dict[str, Any]:
  """Compares runs, prints the table of a slice, and writes `compare.json`, `compare.txt` and `curves.png`.

  Args:
    workdirs: evaluated runs.
    output: folder for the three files.
    slice: which part of the pictures the printed table is about.
    arm_of: see `group`.
  Returns:
    What `compare.json` holds: `arms` (name -> runs and rows) and `differences` (rows with a verdict).
  Raises:
    FileNotFoundError: if a run is missing or was not evaluated.
    ValueError: if the runs cannot be compared, or nothing was measured on the slice.
  """
  given = [read_run(path) for path in workdirs]
  if arm_of is None and all(run.config.system == 'faceoff' for run in given):
    arm_of = faceoff_compare.name_arms([run.config for run in given])
  experiment = recognition_figures.is_experiment([run.config for run in given])
  arms = group(given, recognition_figures.arm_name if experiment else arm_of)
  slices = list(dict.fromkeys(row['slice'] for run in given for row in run.rows))
  if slice not in slices:
    raise ValueError(f'--slice={slice} was not measured: {", ".join(slices)} were')
  rows = {arm.name: arm_rows(arm) for arm in arms}
  metrics = list(
    dict.fromkeys(
      (row['protocol'], row['metric'], row['embedding'])
      for row in rows[arms[0].name]
      if row['subject'] == 'model' and row['slice'] == slice
    )
  )
  # FaceCycle has an SSIM of neutral faces and one of transfers; elsewhere the metric says all.
  protocols = {metric: {p for p, m, _ in metrics if m == metric} for _, metric, _ in metrics}
  titles = {(p, m): f'{p} {m}' if len(protocols[m]) > 1 else m for p, m, _ in metrics}
  differences = []
  pairs = [(arms[0], arm) for arm in arms[1:]]
  if experiment:
    pairs = recognition_figures.opponents(arms, [next(iter(arm.runs.values())).config for arm in arms])
  for first, second in pairs:
    for name in slices:
      for protocol, metric in dict.fromkeys((p, m) for p, m, embedding in metrics if embedding is None):
        row = difference(first, second, metric, name, protocol)
        differences.append({**row, 'metric': titles[protocol, metric], 'verdict': verdict(row)})
  text = []
  for arm in arms:
    seeds = ', '.join(str(seed) for seed in arm.runs)
    where = ', '.join(str(run.path) for run in arm.runs.values())
    text.append(f'{arm.name}: seed{"s" * (len(arm.runs) > 1)} {seeds} ({where})')
  text += filter(None, map(stale, given))
  lines = [
    [titles[protocol, metric] + (f' ({embedding})' if embedding else '')]
    + [write_value(find_row(rows[arm.name], metric, 'model', slice, protocol, embedding)) for arm in arms]
    for protocol, metric, embedding in metrics
  ]
  text += ['', make_table([f'model, {slice}', *(arm.name for arm in arms)], lines)]
  if len(arms) > 1:
    shown = [row for row in differences if row['slice'] == slice and row['value'] is not None]
    text += ['', difference_table(shown) if shown else 'no paired differences: the runs share no pictures']
  print('\n'.join(text))
  result = {
    'arms': {arm.name: {'runs': [str(run.path) for run in arm.runs.values()], 'rows': rows[arm.name]} for arm in arms},
    'differences': differences,
  }
  output = Path(output)
  output.mkdir(parents=True, exist_ok=True)
  if experiment:
    _write_experiment(arms, output)
  runs.write_file(output / 'compare.json', json.dumps(result, indent=1, allow_nan=False) + '\n')
  runs.write_file(output / 'compare.txt', '\n'.join(text) + '\n')
  if curves := read_curves(given):
    save_curves(output / 'curves.png', curves)
  if given[0].config.system == 'faceoff':
    workdirs_of = {arm.name: [run.path for run in arm.runs.values()] for arm in arms}
    print(f'\n{faceoff_compare.save_figures(output, workdirs_of, curves)}')
  print(f'\n{output / "compare.json"}, {output / "curves.png"}' if curves else f'\n{output / "compare.json"}')
  return result


def _write_experiment(arms: Sequence[Arm], output: Path) -> None:
  """GANFaces' Fig. 8 and Table 1, of each protocol that all seeds of an arm were measured by."""
  firsts = {arm.name: next(iter(arm.runs.values())) for arm in arms}
  configs = {name: run.config for name, run in firsts.items()}
  rows: dict[str, dict[str, list[Row]]] = {}
  for protocol, part in recognition_figures.PARTS.items():
    for arm in arms:
      if all((run.path / 'eval' / part / 'results.json').is_file() for run in arm.runs.values()):
        measured = {seed: read_run(run.path, part) for seed, run in arm.runs.items()}
        found = recognition_figures.seed_rows(protocol, [run.path for run in arm.runs.values()])
        rows.setdefault(protocol, {})[arm.name] = found or arm_rows(Arm(arm.name, measured))
  text = recognition_figures.table1(configs, rows)
  note = next((found for run in firsts.values() if (found := read_results(run.path).get('note'))), '')
  runs.write_file(output / 'table1.txt', f'{text}\n' + f'\n{note}\n' * bool(note))
  workdirs = {name: run.path for name, run in firsts.items()}
  recognition_figures.save_figure8(output / 'figure8.png', configs, rows, workdirs, note)
  print(f'\n{text}\n\n{output / "figure8.png"}, {output / "table1.txt"}')


def difference_table(rows: Sequence[Row]) -> str:
  """Paired differences with what each allows to say."""
  lines = [
    [
      r['metric'] + (f' ({r["embedding"]})' if r['embedding'] else ''),
      r['subject'],
      write_value(r),
      str(r['count']),
      str(r['identities']),
      verdict(r),
    ]
    for r in rows
  ]
  return make_table(['paired difference', 'arms', 'value', 'pictures', 'people', 'says'], lines)


def main(argv: list[str]) -> None:
  words = commands.parse(FLAGS, argv, __doc__, 'RUN')
  compare(words, FLAGS.output, FLAGS.slice)


if __name__ == '__main__':
  sys.exit(commands.run(main))
