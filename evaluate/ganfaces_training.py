"""How a run of GANFaces went: its three games from stats.jsonl, and the same renders at moments of the training."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from evaluate.charts import save_curves
from evaluate.ganfaces_sets import Pictures, draw_people, translator
from evaluate.intervals import Estimate
from evaluate.provenance import to_uint8
from evaluate.results import Row, make_row
from models import runs

PROTOCOL = 'training'
PHASE = 'train'
MOMENTS = 10
_PEOPLE, _EACH = 3, 3  # Of Fig. 3.

History = dict[str, tuple[np.ndarray, np.ndarray]]  # quantity -> (steps, values)


class Moments(NamedTuple):
  """Fig. 3: nine renders of three people who are trained on, at moments of the training.

  Attributes:
    renders: the nine.
    steps: [T] of the kept checkpoints.
    images: [T, 9, S, S, 3] uint8.
    loss: (steps, values) of the identity loss; empty where there is none.
  """

  renders: Pictures
  steps: list[int]
  images: np.ndarray
  loss: tuple[np.ndarray, np.ndarray]


def find_run(output_dir: str | Path) -> Path | None:
  """The run that an evaluation's folder lies in, None where there is none."""
  folders = Path(output_dir).expanduser().resolve().parents
  return next((folder for folder in folders if (folder / 'flags.cfg').is_file()), None)


def read_history(workdir: Path | None) -> History:
  """What the game logged: quantity -> (steps, values)."""
  file = workdir / 'stats.jsonl' if workdir else None
  found: dict[str, tuple[list[int], list[float]]] = {}
  for line in file.read_text().splitlines() if file and file.is_file() else []:
    row = json.loads(line)
    if row.get('phase') == PHASE:
      for name, value in row.items():
        if isinstance(value, float):
          steps, values = found.setdefault(name, ([], []))
          steps.append(row['step'])
          values.append(value)
  return {name: (np.array(steps), np.array(values)) for name, (steps, values) in found.items()}


def game_rows(history: Mapping[str, tuple[np.ndarray, np.ndarray]], subject: str = 'model') -> list[Row]:
  """Each game's k_t and by how much its convergence measure fell.

  `GAME_balance_lowest`, `_highest` and `_end`: k_t. `GAME_convergence_fall`: 1 minus the mean of its last tenth over
  that of its first; `count` is the number of logged steps.
  """
  rows = []

  def add(metric: str, value: float, count: int) -> None:
    rows.append(make_row(PROTOCOL, metric, subject, 'all', Estimate(value, None, None), count, 0))

  for game in ('photo', 'render', 'pair'):
    _, balance = history.get(f'{game}_balance', ((), np.zeros(0)))
    if len(balance):
      for name, value in (('lowest', balance.min()), ('highest', balance.max()), ('end', balance[-1])):
        add(f'{game}_balance_{name}', float(value), len(balance))
    _, measure = history.get(f'{game}_convergence', ((), np.zeros(0)))
    if len(measure) >= 2:
      tenth = max(1, len(measure) // 10)
      add(f'{game}_convergence_fall', float(1 - measure[-tenth:].mean() / measure[:tenth].mean()), len(measure))
  return rows


def draw_games(path: Path, history: History, note: str = '') -> None:
  """Draws k_t, the convergence measures, and what was measured on the fixed samples."""
  panels = {
    'k_t': {name.removesuffix('_balance'): curve for name, curve in history.items() if name.endswith('_balance')},
    'convergence': {
      name.removesuffix('_convergence'): curve for name, curve in history.items() if name.endswith('_convergence')},
    'spread (pixels)': {
      name[8:-7]: curve for name, curve in history.items() if name in ('samples/render_spread', 'samples/output_spread')
    },
    'identity loss': {'L_C': history['identity_loss']} if 'identity_loss' in history else {},
  }
  panels = {title: curves for title, curves in panels.items() if curves}
  if panels:
    save_curves(path, panels, note)


def moments(workdir: Path | None, config: Any, pipeline: Any) -> Moments | None:
  """Translates the nine renders by the kept checkpoints; None where there are fewer than two."""
  steps = runs.checkpoint_steps(workdir, PHASE) if workdir else []
  steps = [step for step in steps if step]
  if workdir is None or len(steps) < 2:
    print('Fig. 3 is left out: it takes checkpoints of several moments (--keep_checkpoints=10)')
    return None
  if len(steps) > MOMENTS:
    steps = [steps[place] for place in np.linspace(0, len(steps) - 1, MOMENTS).round().astype(int)]
  elif len(steps) < MOMENTS:
    print(f'Fig. 3 has {len(steps)} moments: {MOMENTS} take --keep_checkpoints={MOMENTS}, and --checkpoint_every of a '
          'tenth of the steps')
  renders = draw_people(pipeline, range(_PEOPLE), _EACH)
  system, images = runs.build(config), []
  translate = translator(system)
  for step in steps:
    runs.read_checkpoint(tf.train.Checkpoint(system=system), runs.checkpoint_path(workdir, PHASE, step))
    with system.averaged_weights():
      images.append(to_uint8(translate(renders.images)))
  return Moments(renders, steps, np.array(images), read_history(workdir).get('identity_loss', (np.zeros(0),) * 2))
