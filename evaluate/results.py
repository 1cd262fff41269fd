"""The rows of `RUN/eval/results.json`, their file, and the table on the screen.

A row is `{"protocol", "metric", "subject", "slice", "value", "low", "high", "count", "identities", "seeds",
"embedding"}`: `low` and `high` bound a 95 % bootstrap over people and their images; a value that could not be measured
is null with count 0.
"""

import json
import math
import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from evaluate import intervals
from evaluate.intervals import Estimate
from models import runs

Row = dict[str, Any]
_SHORT = {
  'mouth_change_explained': 'mouth_explained',
  'mouth_landmark_error': 'mouth_error',
  'mouth_and_brow_landmark_error': 'mouth_brow_error',
}  # In the table's head only.


class Measure(NamedTuple):
  """A figure of each picture. Its figure for a set is the mean, or a ratio of sums where there are denominators.

  Attributes:
    values: [N] values, or numerators; [K, N] of K seeds.
    denominators: as many, or None for a mean.
  """

  values: np.ndarray
  denominators: np.ndarray | None = None

  @property
  def seeds(self) -> int:
    return 1 if self.values.ndim == 1 else len(self.values)

  def statistic(self, chosen: np.ndarray) -> Any:
    """The figure of the pictures `chosen` ([N] bool) as a function of their weights; of several seeds, the mean."""
    if self.values.ndim == 2:
      rows = [None] * self.seeds if self.denominators is None else self.denominators
      return intervals.over_seeds([Measure(*row).statistic(chosen) for row in zip(self.values, rows, strict=True)])
    if self.denominators is None:
      return intervals.mean_of(self.values[chosen])
    return intervals.ratio_of(self.values[chosen], self.denominators[chosen])


def make_row(
  protocol: str,
  metric: str,
  subject: str,
  slice: str,
  estimate: Estimate,
  count: int,
  identities: int,
  seeds: int = 1,
  embedding: str | None = None,
) -> Row:
  """One row; a value that is missing or not finite becomes null with count 0."""
  missing = estimate.value is None or not math.isfinite(estimate.value)
  value, low, high = (None, None, None) if missing else estimate
  return {
    'protocol': protocol,
    'metric': metric,
    'subject': subject,
    'slice': slice,
    'value': value,
    'low': low,
    'high': high,
    'count': 0 if missing else int(count),
    'identities': 0 if missing else int(identities),
    'seeds': int(seeds),
    'embedding': embedding,
  }


def make_rows(
  protocol: str,
  measures: Mapping[str, Mapping[str, Measure]],
  people: np.ndarray,
  slices: Mapping[str, np.ndarray],
  differences: Iterable[str] = (),
  baselines: Collection[str] = ('copy_input',),
) -> list[Row]:
  """Rows of every subject, metric and slice.

  Args:
    protocol: such as `table1`.
    measures: subject -> metric -> figures of the N pictures.
    people: [N] the identity of each picture.
    slices: name -> [N] bool.
    differences: metrics for which also the paired difference `model_minus_BASELINE` is given.
    baselines: the subjects that the model is compared with.
  """
  rows = []
  for name, chosen in slices.items():
    weights = intervals.bootstrap_weights(people[chosen]) if chosen.any() else np.zeros((1, 0))
    size = int(chosen.sum()), len(np.unique(people[chosen]))
    for subject, metrics in measures.items():
      for metric, measure in metrics.items():
        statistic = measure.statistic(chosen)
        value, seeds = intervals.estimate(statistic, weights), measure.seeds
        rows.append(make_row(protocol, metric, subject, name, value, *size, seeds))
        if metric in differences and subject in baselines:
          ours = measures['model'][metric]
          of_model = ours.statistic(chosen)
          # What was not trained has no seeds: the model's are all there are.
          seeds = ours.seeds if measure.values.ndim == 1 else min(seeds, ours.seeds)
          paired = intervals.estimate(lambda w, a=of_model, b=statistic: a(w) - b(w), weights)
          rows.append(make_row(protocol, metric, f'model_minus_{subject}', name, paired, *size, seeds))
  return rows


def write_results(
  path: str | os.PathLike, system: str, step: int, data: str, rows: Sequence[Row], note: str = ''
) -> dict[str, Any]:
  """Writes and returns `{"system", "step", "data", "results"}`; the file appears whole or not at all.

  A `note`, such as that photographs were stand-ins, stands in the file too where there is one.

  Raises:
    ValueError: if a row holds a number that JSON does not have.
  """
  results: dict[str, Any] = {'system': system, 'step': int(step), 'data': data}
  results |= {'note': note} if note else {}
  results |= {'results': list(rows)}
  path = Path(path)
  path.parent.mkdir(parents=True, exist_ok=True)
  runs.write_file(path, json.dumps(results, indent=1, allow_nan=False) + '\n')
  return results


def read_results(workdir: str | os.PathLike) -> dict[str, Any]:
  """The results of a run.

  Raises:
    FileNotFoundError: if the run was not evaluated.
    ValueError: if the file is not one of ours.
  """
  path = Path(workdir) / 'eval' / 'results.json'
  if not path.is_file():
    raise FileNotFoundError(f'{path} does not exist: run `python -m evaluate.main --workdir={workdir}` first')
  try:
    results = json.loads(path.read_text())
    rows = results['results']
  except (json.JSONDecodeError, KeyError, TypeError) as error:
    raise ValueError(f'{path} is damaged ({error}): run `python -m evaluate.main --workdir={workdir}` again') from None
  return {**results, 'results': rows}


def save_samples(
  path: str | os.PathLike,
  names: np.ndarray,
  people: np.ndarray,
  measures: Mapping[str, Mapping[str, Measure]],
  slices: Mapping[str, np.ndarray],
) -> None:
  """Writes the figures of each picture, so that two runs can be compared picture by picture.

  Args:
    path: the `.npz`.
    names: [N] a name of each picture that is the same in every run.
    people: [N] identities.
    measures: subject -> metric -> figures of the N pictures.
    slices: name -> [N] bool.
  """
  arrays = {'sample': names, 'identity': people, **{f'slice/{name}': chosen for name, chosen in slices.items()}}
  for subject, metrics in measures.items():
    for metric, (values, denominators) in metrics.items():
      arrays[f'{subject}/{metric}'] = values
      if denominators is not None:
        arrays[f'{subject}/{metric}/denominator'] = denominators
  path = Path(path)
  path.parent.mkdir(parents=True, exist_ok=True)
  np.savez_compressed(path, **arrays)


def find_row(
  rows: Iterable[Row],
  metric: str,
  subject: str = 'model',
  slice: str = 'all',
  protocol: str = '',
  embedding: str | None = '',
) -> Row | None:
  """The first row with these names, None if there is none; an empty protocol or embedding stands for any."""
  for row in rows:
    if (
      (row['metric'], row['subject'], row['slice']) == (metric, subject, slice)
      and protocol in ('', row['protocol'])
      and embedding in ('', row['embedding'])
    ):
      return row
  return None


def write_value(row: Row | None) -> str:
  """`0.861 [0.852, 0.869]`, or `-` where nothing was measured."""
  if row is None or row['value'] is None:
    return '-'
  # Kernel distances are small: three places would show nothing of them.
  places = 3 if max(abs(row[k] or 0) for k in ('value', 'low', 'high')) >= 0.02 else 5
  if row['low'] is None:
    return f'{row["value"]:.{places}f}'
  return f'{row["value"]:.{places}f} [{row["low"]:.{places}f}, {row["high"]:.{places}f}]'


def make_table(header: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
  """Columns aligned by spaces: the first to the left, the others to the right."""
  widths = [max(len(str(line[k])) for line in [header, *lines]) for k in range(len(header))]
  return '\n'.join(
    '  '.join(
      str(cell).ljust(w) if k == 0 else str(cell).rjust(w) for k, (cell, w) in enumerate(zip(line, widths, strict=True))
    ).rstrip()
    for line in [header, *lines]
  )


def summary(rows: Sequence[Row], protocol: str) -> str:
  """A protocol's rows as text: all pictures with intervals, metrics down and subjects across; then a line a slice."""
  rows = [row for row in rows if row['protocol'] == protocol and '_minus_' not in row['subject']]
  whole = [row for row in rows if row['slice'] == 'all']
  subjects = list(dict.fromkeys(row['subject'] for row in whole))
  metrics = list(dict.fromkeys((row['metric'], row['embedding']) for row in whole))

  def find(metric, embedding, subject, name):
    keys = (metric, embedding, subject, name)
    return next((r for r in rows if (r['metric'], r['embedding'], r['subject'], r['slice']) == keys), None)

  lines = [
    [metric + (f' ({embedding})' if embedding else '')]
    + [write_value(find(metric, embedding, s, 'all')) for s in subjects]
    for metric, embedding in metrics
  ]
  largest = max((row for row in whole if row['metric'] == whole[0]['metric']), key=lambda row: row['count'])
  title = protocol
  if largest['identities']:
    people = 'person' if largest['identities'] == 1 else 'people'
    title += f' ({largest["count"]} pictures of {largest["identities"]} {people})'
  text = make_table([title, *subjects], lines)
  names = list(dict.fromkeys(row['slice'] for row in rows if row['slice'] != 'all'))
  of_slices = [m for m in metrics if any(find(*m, 'model', name) for name in names)]
  if not names or not of_slices:
    return text
  compared = [*dict.fromkeys(['model', *subjects])][:2]
  lines = []
  for name in names:
    cells = []
    for metric in of_slices:
      found = [find(*metric, s, name) for s in compared]
      values = ['-' if row is None or row['value'] is None else f'{row["value"]:.3f}' for row in found]
      cells.append(values[0] + ''.join(f' ({value})' for value in values[1:]))
    lines.append([name, str(max(r['count'] for r in rows if r['slice'] == name)), *cells])
  title = 'slice: model' + ''.join(f' ({s})' for s in compared[1:])
  header = [title, 'pictures', *(_SHORT.get(metric, metric) for metric, _ in of_slices)]
  return f'{text}\n\n{make_table(header, lines)}'
