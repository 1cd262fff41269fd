"""Charts of figures and of losses. They carry IPTC's `dataDrivenMedia`: a program drew them from numbers."""

import os
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from evaluate.intervals import Estimate
from evaluate.provenance import DATA_CHART, save_image

Panels = Mapping[str, Mapping[str, Sequence[Estimate]]]


def save_bars(path: str | os.PathLike, groups: Sequence[str], panels: Panels) -> None:
  """Draws bars with their intervals.

  Args:
    path: the PNG.
    groups: G names along the x axis, such as target expressions.
    panels: title -> subject -> G estimates; a missing value leaves a gap.
  """
  figure = Figure(figsize=(max(6, 1.3 * len(groups) + 2), 3.1 * len(panels)), layout='constrained')
  for number, (title, subjects) in enumerate(panels.items()):
    axes = figure.add_subplot(len(panels), 1, number + 1)
    width = 0.8 / len(subjects)
    for k, (subject, estimates) in enumerate(subjects.items()):
      x = np.arange(len(groups)) + (k - (len(subjects) - 1) / 2) * width
      values = np.array([np.nan if e.value is None else e.value for e in estimates], float)
      ends = np.array(
        [
          [np.nan] * 2 if e.value is None or e.low is None or e.high is None else [e.value - e.low, e.high - e.value]
          for e in estimates
        ],
        float,
      )
      axes.bar(
        x,
        values,
        width * 0.95,
        yerr=np.maximum(ends.T, 0),
        capsize=3,
        label=subject,
        color=f'C{k}',
        error_kw={'linewidth': 1},
      )
    axes.set_xticks(np.arange(len(groups)), groups)
    axes.set_title(title, fontsize=11)
    axes.axhline(0, color='black', linewidth=0.8)
    if len(subjects) > 1:
      axes.legend(fontsize=8)
  _save(path, figure)


def save_curves(
  path: str | os.PathLike, curves: Mapping[str, Mapping[str, tuple[Sequence[float], Sequence[float]]]]
) -> None:
  """Draws one panel per quantity.

  Args:
    path: the PNG.
    curves: quantity -> run -> (steps, values).
  """
  across = min(3, len(curves))
  down = -(-len(curves) // across)
  figure = Figure(figsize=(5 * across, 3 * down), layout='constrained')
  for number, (title, runs) in enumerate(curves.items()):
    axes = figure.add_subplot(down, across, number + 1)
    for run, (steps, values) in runs.items():
      axes.plot(steps, values, linewidth=1, label=run)
    axes.set_title(title, fontsize=10)
    axes.tick_params(labelsize=8)
    if number == 0:
      axes.legend(fontsize=8)
  _save(path, figure)


def _save(path: str | os.PathLike, figure: Figure) -> None:
  canvas = FigureCanvasAgg(figure)
  canvas.draw()
  save_image(path, np.asarray(canvas.buffer_rgba())[..., :3], source_type=DATA_CHART)
