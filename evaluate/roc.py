"""ROC curves of verification, and the file of the scored pairs that they are made of, by which seeds are averaged."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from sklearn.metrics import roc_curve

from evaluate.charts import save_figure
from evaluate.results import Measure, save_samples
from evaluate.same_person import Pairs, accepted_rightly

_FILE = 'pairs.npz'


class Scored(NamedTuple):
  """Scored pairs.

  Attributes:
    names: [N] of the pictures or templates.
    people: [N] who is on them.
    pairs: of them.
    tenths: [P] see `same_person.accepted_rightly`; None where folds are of people.
    scores: subject -> [P], larger is more alike.
  """

  names: np.ndarray
  people: np.ndarray
  pairs: Pairs
  tenths: np.ndarray | None
  scores: dict[str, np.ndarray]


def save_pairs(
  folder: str | os.PathLike,
  names: Sequence[str] | np.ndarray,
  people: np.ndarray,
  pairs: Pairs,
  scores: Mapping[str, np.ndarray],
  tenths: np.ndarray | None = None,
  note: str = '',
) -> None:
  """Writes `samples.npz`, by which runs are compared pair by pair, `pairs.npz`, and `roc.png`.

  Args:
    folder: where they go.
    names: [N] of the pictures or templates, the same in every run.
    people: [N] who is on them.
    pairs: of them.
    scores: subject -> [P], larger is more alike.
    tenths: see `same_person.accepted_rightly`.
    note: a line under the drawing.
  """
  listed = np.asarray(names)
  measures = {
    subject: {'verification_accuracy': Measure(accepted_rightly(values, people, pairs, tenths=tenths) * 1.0)}
    for subject, values in scores.items()
  }
  both = np.array([f'{a} {b}' for a, b in zip(listed[pairs.first], listed[pairs.second], strict=True)])
  save_samples(Path(folder, 'samples.npz'), both, people[pairs.first], measures, {'all': np.ones(len(both), bool)})
  known = {} if tenths is None else {'tenths': tenths}
  saved = {f'score/{subject}': values for subject, values in scores.items()}
  np.savez_compressed(Path(folder, _FILE), names=listed, people=people, **pairs._asdict(), **known, **saved)
  figure = Figure(figsize=(5.2, 4.6), layout='constrained')
  draw_roc(figure.add_subplot(), {subject: (pairs.same, values) for subject, values in scores.items()})
  if note:
    figure.supxlabel(note, fontsize=8)
  save_figure(Path(folder, 'roc.png'), figure)


def read_pairs(folder: str | os.PathLike) -> Scored | None:
  """What `save_pairs` wrote; None if it did not."""
  path = Path(folder, _FILE)
  if not path.is_file():
    return None
  with np.load(path, allow_pickle=False) as arrays:
    found = dict(arrays)
  scores = {name.removeprefix('score/'): values for name, values in found.items() if name.startswith('score/')}
  pairs = Pairs(*(found[name] for name in Pairs._fields))
  return Scored(found['names'], found['people'], pairs, found.get('tenths'), scores)


def draw_roc(axes: Axes, curves: Mapping[str, tuple[np.ndarray, np.ndarray]], styles: Mapping[str, dict] = {}) -> None:
  """Draws which share of pairs of one person is accepted (TPR) against that of two (FAR, logarithmic).

  Args:
    axes: where.
    curves: name -> pairs of one person [P] bool, scores [P].
    styles: name -> arguments of its line, where it has some.
  """
  lowest = 1.0
  for name, (same, scores) in curves.items():
    far, tpr, _ = roc_curve(same, scores)
    lowest = min(lowest, 1 / max(1, (~same).sum()))
    axes.step(far, tpr, where='post', linewidth=1.2, label=name, **styles.get(name, {}))
  axes.set_xscale('log')
  axes.set_xlim(lowest, 1)
  axes.set_ylim(0, 1.02)
  axes.set_xlabel('pairs of two people accepted (FAR)', fontsize=9)
  axes.set_ylabel('pairs of one person accepted (TPR)', fontsize=9)
  axes.grid(alpha=0.3)
  axes.legend(fontsize=8, loc='lower right')
