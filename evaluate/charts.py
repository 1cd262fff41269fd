"""Charts of figures and of losses. They carry IPTC's `dataDrivenMedia`: a program drew them from numbers."""

import os
from collections.abc import Mapping, Sequence
from typing import NamedTuple

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
  save_figure(path, figure)


def save_curves(
  path: str | os.PathLike, curves: Mapping[str, Mapping[str, tuple[Sequence[float], Sequence[float]]]], note: str = ''
) -> None:
  """Draws one panel per quantity.

  Args:
    path: the PNG.
    curves: quantity -> run -> (steps, values).
    note: a line at the bottom.
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
    if number == 0 or list(runs) != list(next(iter(curves.values()))):
      axes.legend(fontsize=8)
  if note:
    figure.supxlabel(note, fontsize=8)
  save_figure(path, figure)


def save_violins(path: str | os.PathLike, panels: Mapping[str, np.ndarray], label: str) -> None:
  """Draws the distribution of a quantity at each step, with its mean and its largest value.

  Args:
    path: the PNG.
    panels: title -> [N, T] values of T steps; rows with NaN are left out.
    label: of the y axis, which all panels share.
  """
  figure = Figure(figsize=(5.2 * len(panels), 4), layout='constrained')
  kept = {title: values[np.isfinite(values).all(-1)] for title, values in panels.items()}
  kept = {title: values for title, values in kept.items() if len(values)}
  for number, (title, values) in enumerate(kept.items()):
    axes = figure.add_subplot(1, len(kept), number + 1)
    steps = np.arange(1, values.shape[-1] + 1)
    axes.violinplot(list(values.T), steps, widths=0.9, showextrema=False)
    axes.plot(steps, values.mean(0), color='black', marker='o', markersize=3, linewidth=1, label='mean')
    bound = values.max()
    axes.axhline(bound, color='C3', linestyle='--', linewidth=1, label=f'largest, {bound:.1f}')
    axes.set_title(f'{title} ({len(values)} pairs)', fontsize=11)
    axes.set_xticks(steps)
    axes.set_xlabel('time step')
    axes.set_ylabel(label)
    axes.set_ylim(0, 1.25 * max(v.max() for v in kept.values()))  # Room for the legend.
    axes.legend(fontsize=8)
  save_figure(path, figure)


class Cloud(NamedTuple):
  """Points [N, 2] with a label [N] each (into `names`), and a line [T, 2] through them."""

  points: np.ndarray
  labels: np.ndarray
  line: np.ndarray


def save_clouds(path: str | os.PathLike, names: Sequence[str], panels: Mapping[str, Cloud], line: str) -> None:
  """Draws labelled points side by side, and over them a line from its start (circle) to its end (star).

  Args:
    path: the PNG.
    names: of the labels.
    panels: title -> points and line; an empty line is not drawn.
    line: what the line is.
  """
  figure = Figure(figsize=(6 * len(panels), 5.6), layout='constrained')
  for number, (title, cloud) in enumerate(panels.items()):
    axes = figure.add_subplot(1, len(panels), number + 1)
    for label in np.unique(cloud.labels):
      axes.scatter(*cloud.points[cloud.labels == label].T, s=12, alpha=0.7, color=f'C{label % 10}', label=names[label])
    if len(cloud.line):
      axes.plot(*cloud.line.T, color='black', linewidth=1.2, marker='.', markersize=4, label=line)
      for place, marker in ((0, 'o'), (-1, '*')):
        axes.scatter(*cloud.line[place], s=130, marker=marker, color='white', edgecolor='black', zorder=3)
    axes.set_title(title, fontsize=11)
    axes.set_xticks([])
    axes.set_yticks([])
    if number == 0:
      axes.legend(fontsize=8)
  save_figure(path, figure)


def save_figure(path: str | os.PathLike, figure: Figure) -> None:
  """Writes a drawing of numbers."""
  canvas = FigureCanvasAgg(figure)
  canvas.draw()
  save_image(path, np.asarray(canvas.buffer_rgba())[..., :3], source_type=DATA_CHART)
