"""GANFaces' Fig. 8 and Table 1 from runs of the recogniser: does a generated set help, at each share of real people?"""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from evaluate.charts import save_figure
from evaluate.results import Row, find_row, make_table, write_value
from evaluate.roc import draw_roc, read_pairs
from evaluate.same_person import score_rows

# Of RUN/eval: where `evaluate.main` writes, and `evaluate.verification` by its protocols.
PARTS = {'verification': '', 'people': 'people', 'lfw': 'lfw', 'cplfw': 'cplfw', 'ijba': 'ijba'}
_TITLES = {'verification': 'held-out people', 'people': 'people', 'lfw': 'LFW', 'cplfw': 'CPLFW', 'ijba': 'IJB-A'}
# Of the sets of GANFaces' arms, by the names of their folders.
_SETS = {'simgan': 'simGAN', 'cyclegan': 'cycleGAN', 'reconstruction': 'recons. err.'}
_RATE = 'tpr_at_far_'
_METRICS = {
  'verification_accuracy': 'accuracy',
  'eer': '1 - EER',
  f'{_RATE}0.01': 'TPR at FAR .01',
  f'{_RATE}0.001': 'TPR at FAR .001',
}
# What makes an arm of the experiment, and seeds.
_FREE = ('seed', 'real_share', 'generated', 'generated_classes', 'generated_share')


def set_name(config: Any) -> str:
  """The generated set of a `RecognitionConfig`, '' where there is none."""
  name = Path(config.generated).name
  return _SETS.get(name, name)


def arm_name(config: Any) -> str:
  """`20 %`, or `20 % + renders`."""
  number = f' ({config.generated_classes:,} people)' if config.generated_classes else ''
  return f'{100 * config.real_share:g} %' + (f' + {set_name(config)}{number}' if config.generated else '')


def is_experiment(configs: Sequence[Any]) -> bool:
  """Whether runs differ in nothing but their real and generated people and seeds, so that `arm_name` tells arms."""
  if any(config.system != 'recognition' for config in configs):
    return False
  fixed = [{k: v for k, v in dataclasses.asdict(config).items() if k not in _FREE} for config in configs]
  mixed = {config.generated_share for config in configs if config.generated}
  return all(one == fixed[0] for one in fixed) and len(mixed) <= 1


def opponents(arms: Sequence[Any], first: Sequence[Any]) -> list[tuple[Any, Any]]:
  """Whom each arm is compared with: the others of its share of real people that stand before it.

  Args:
    arms: in the order in which they were given.
    first: the config of each arm's first run.
  Returns:
    (earlier arm, later arm).
  """
  shares = [config.real_share for config in first]
  # Without generated people comes first, whatever the order was.
  order = sorted(range(len(arms)), key=lambda place: bool(first[place].generated))
  return [
    (arms[a], arms[b]) for number, a in enumerate(order) for b in order[number + 1 :] if shares[a] == shares[b]
  ]


def seed_rows(protocol: str, workdirs: Sequence[Path]) -> list[Row]:
  """The figures of an arm with intervals over seeds, people and pictures; none where its runs scored other pairs.

  Args:
    protocol: of `PARTS`.
    workdirs: its runs, each measured by the protocol.
  """
  folders = [path / 'eval' / PARTS[protocol] for path in workdirs]
  found = [one for one in map(read_pairs, folders) if one is not None]
  if len(found) < len(folders):
    return []
  first = found[0]
  for one in found[1:]:
    if not all(np.array_equal(a, b) for a, b in zip((one.names, *one.pairs), (first.names, *first.pairs), strict=True)):
      return []
  scores = np.stack([one.scores['model'] for one in found])
  measured = {row['metric'] for row in json.loads((folders[0] / 'results.json').read_text())['results']}
  rates = sorted(float(metric.removeprefix(_RATE)) for metric in measured if metric.startswith(_RATE))
  given = {'model': scores if len(scores) > 1 else scores[0]}
  return score_rows(protocol, given, first.people, first.pairs, tenths=first.tenths, fars=rates)


def table1(configs: Mapping[str, Any], rows: Mapping[str, Mapping[str, Sequence[Row]]]) -> str:
  """Table 1 of the paper as text: a line an arm.

  Args:
    configs: arm -> settings of its first run.
    rows: protocol -> arm -> figures of the arm.
  """
  metrics = {
    (part, metric): f'{_TITLES[part]}: {title}'
    for part, of_arms in rows.items()
    for metric, title in _METRICS.items()
    if any(_figure(found, metric) is not None for found in of_arms.values())
  }
  lines = [
    [name, f'{config.people:,}', f'{config.generated_people:,}', str(config.image_size)]
    + [write_value(_figure(rows[part].get(name, ()), metric)) for part, metric in metrics]
    for name, config in configs.items()
  ]
  return make_table(['trained on', 'real people', 'generated', 'pixels', *metrics.values()], lines)


def save_figure8(
  path: Path,
  configs: Mapping[str, Any],
  rows: Mapping[str, Mapping[str, Sequence[Row]]],
  workdirs: Mapping[str, Path],
  note: str = '',
) -> None:
  """Draws Fig. 8: figures against the share of real people, dashed without a generated set; and ROC curves.

  Args:
    path: the PNG.
    configs: arm -> settings of its first run.
    rows: protocol -> arm -> figures of the arm.
    workdirs: arm -> its first run, whose ROC curve is drawn: of the smallest share, where generated people matter most.
    note: a line at the bottom.
  """
  sets = list(dict.fromkeys(set_name(config) for config in configs.values()))
  sets.sort(key=bool)
  styles = {name: {'color': f'C{place}', 'linestyle': '-' if name else '--'} for place, name in enumerate(sets)}
  panels = [
    (part, metric)
    for part, of_arms in rows.items()
    for metric in _METRICS
    if any(_figure(found, metric) is not None for found in of_arms.values())
  ]
  smallest = min(config.real_share for config in configs.values())
  curves = {}
  for part in rows:
    found = {
      arm: read_pairs(workdirs[arm] / 'eval' / PARTS[part])
      for arm, config in configs.items()
      if config.real_share == smallest
    }
    if any(found.values()):
      curves[part] = {arm: (one.pairs.same, one.scores['model']) for arm, one in found.items() if one}
  count = len(panels) + len(curves)
  across = min(3, count)
  down = -(-count // across)
  figure = Figure(figsize=(4.6 * across, 3.6 * down), layout='constrained')
  for number, (part, metric) in enumerate(panels, start=1):
    axes = figure.add_subplot(down, across, number)
    for place, name in enumerate(sets):
      points = _points(configs, rows[part], metric, name)
      if not points:
        continue
      x, values, lows, highs = zip(*points, strict=True)
      # Side by side, as intervals would hide each other.
      axes.errorbar(
        np.array(x) + place - (len(sets) - 1) / 2,
        values,
        [lows, highs],
        marker='o',
        markersize=4,
        capsize=3,
        linewidth=1.3,
        label=f'real + {name}' if name else 'real only',
        **styles[name],
      )
    axes.set_title(f'{_TITLES[part]}: {_METRICS[metric]}', fontsize=10)
    axes.set_xticks(sorted({100 * config.real_share for config in configs.values()}))
    axes.set_xlabel('real people trained on, %', fontsize=9)
    axes.grid(alpha=0.3)
    if number == 1:
      axes.legend(fontsize=8)
  for number, (part, chosen) in enumerate(curves.items(), start=len(panels) + 1):
    axes = figure.add_subplot(down, across, number)
    draw_roc(axes, chosen, {arm: styles[set_name(configs[arm])] for arm in chosen})
    axes.set_title(f'{_TITLES[part]}: ROC, first seed', fontsize=10)
  if note:
    figure.supxlabel(note, fontsize=8)
  save_figure(path, figure)


def _points(
  configs: Mapping[str, Any], rows: Mapping[str, Sequence[Row]], metric: str, name: str
) -> list[tuple[float, float, float, float]]:
  """Share in %, value, and how far the interval reaches down and up, of the arms with one generated set."""
  points = []
  for arm, config in configs.items():
    row = _figure(rows.get(arm, ()), metric)
    if set_name(config) == name and row is not None:
      value = row['value']
      low, high = (value if row[end] is None else row[end] for end in ('low', 'high'))
      points.append((100 * config.real_share, value, max(0.0, value - low), max(0.0, high - value)))
  return sorted(points)


def _figure(rows: Sequence[Row], metric: str) -> Row | None:
  """The model's row of a metric, of the equal error rate what is left of 1; None where nothing was measured."""
  row = find_row(rows, metric)
  if row is None or row['value'] is None:
    return None
  if metric != 'eer':
    return row
  ends = [None if row[end] is None else 1 - row[end] for end in ('high', 'low')]
  return {**row, 'value': 1 - row['value'], 'low': ends[0], 'high': ends[1]}
