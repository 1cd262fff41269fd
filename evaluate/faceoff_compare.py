"""Fig. 6 and Fig. 7 of face-off: what the variants draw of the same frames, and how their losses go."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from evaluate.arms import FACEOFF_TITLES, faceoff_arm, pair_of
from evaluate.charts import save_curves
from evaluate.provenance import model_version, save_image, to_uint8
from evaluate.results import make_table
from evaluate.sheets import make_grid
from input_pipeline import PIPELINES
from models import runs

_FRAMES = 3  # Of each pair.
_TILE = 128
_NOTHING = np.full([_TILE, _TILE, 3], 225, np.uint8)
_LAST = 0.1  # Share of the steps whose mean is the end of a curve.

Curves = Mapping[str, Mapping[str, tuple[Sequence[float], Sequence[float]]]]


def name_arms(configs: Sequence[Any]) -> Callable[[Any], str] | None:
  """How runs are sorted into the paper's variants; None where a variant holds runs that differ in more than seeds."""
  found: dict[str, Any] = {}
  seeds: set[tuple[str, int]] = set()
  for config in configs:
    name = faceoff_arm(config)
    alike = dataclasses.replace(config, seed=0, data_dir='')
    if found.setdefault(name, alike) != alike or (name, config.seed) in seeds:
      return None
    seeds.add((name, config.seed))
  return faceoff_arm


def save_figures(output: Path, arms: Mapping[str, Sequence[Path]], curves: Curves) -> str:
  """Writes figure6.png, figure7.png and figure7.txt; returns the table of the last one.

  Args:
    output: a folder that is there.
    arms: name -> its runs.
    curves: see `figure7`.
  """
  figure6(output / 'figure6.png', arms)
  table = figure7(output / 'figure7.png', arms, curves)
  runs.write_file(output / 'figure7.txt', table + '\n')
  return table


def figure6(path: Path, arms: Mapping[str, Sequence[Path]]) -> None:
  """Draws held-out frames, spread over the clips, their masks, and what each variant makes of them.

  Args:
    path: the PNG.
    arms: name -> its runs, of which the first one is shown; arms of several pairs that are named alike but for the
      pair share a column.
  """
  shown: dict[str, dict[str, Path]] = {}
  for name, workdirs in arms.items():
    pair = pair_of(runs.load_config(workdirs[0]))
    shown.setdefault(pair, {})[name.removesuffix(f'_{pair}')] = workdirs[0]
  given = [variant for variants in shown.values() for variant in variants]
  order = [name for name in FACEOFF_TITLES if name in given]
  order += [name for name in dict.fromkeys(given) if name not in order]
  rows, names, masks, step = [], [], [], 0
  for pair, variants in shown.items():
    config = runs.load_config(next(iter(variants.values())))
    pipeline = PIPELINES['faceoff'](config)
    batch = pipeline.held_out(_FRAMES)
    drawn = {'input': batch['a'], **_masks(pipeline, batch)}
    masks = [name for name in drawn if name != 'input']
    for variant, workdir in variants.items():
      model = runs.restore(workdir)
      step = max(step, int(model.step))
      own = batch
      if (model.config.image_size, model.config.load_size) != (config.image_size, config.load_size):
        own = PIPELINES['faceoff'](model.config).held_out(_FRAMES)
      with model.averaged_weights():
        drawn[variant] = np.asarray(model.translate(model.crop(own['a'], own['a_mask'])))
    if 'truth' in batch:
      drawn['truth'] = batch['truth']
    tiles = {name: [_tile(to_uint8(image)) for image in images] for name, images in drawn.items()}
    rows += [{name: images[k] for name, images in tiles.items()} for k in range(len(batch['a']))]
    names += [pair] * len(batch['a'])
  columns = ['input', *masks, *order, *['truth'] * any('truth' in row for row in rows)]
  images = np.array([[row.get(name, _NOTHING) for name in columns] for row in rows])
  titles = [FACEOFF_TITLES.get(name, name.replace('_', ' ')) for name in columns]
  save_image(path, make_grid(images, names, titles, _TILE), 'faceoff', model_version(step))


def _masks(pipeline: Any, batch: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
  """Masks of the inputs as pictures in [-1, 1]: of rendered actors those of person and face."""
  if not pipeline.rendered:
    return {f'{pipeline.config.masks} mask': np.repeat(batch['a_mask'], 3, -1) * 2 - 1}
  rows = batch['index'] * pipeline.count('a', 'test') // len(batch['index'])
  found = {}
  for kind in ('person', 'face'):
    masked = type(pipeline)(dataclasses.replace(pipeline.config, masks=kind)).masks_of('a', 'test', rows)
    found[f'{kind} mask'] = np.repeat(masked, 3, -1) * 2 - 1
  return found


def _tile(image: np.ndarray) -> np.ndarray:
  return np.asarray(Image.fromarray(image).resize((_TILE, _TILE), Image.Resampling.BICUBIC))


def figure7(path: Path, arms: Mapping[str, Sequence[Path]], curves: Curves) -> str:
  """Draws the losses of discriminators and generators, the mean of both directions and of an arm's seeds.

  Args:
    path: the PNG.
    arms: name -> its runs.
    curves: `phase: quantity` -> run -> (steps, values).
  Returns:
    A table of the means over the last tenth of the steps, by the authors' names: D_A judges pictures of B, Cyc_A is
    weighted.
  """
  panels: dict[str, dict[str, tuple[list[float], list[float]]]] = {name: {} for name in _PANELS}
  lines = []
  for arm, workdirs in arms.items():
    found = [_read(workdir, curves) for workdir in workdirs]
    found = [one for one in found if one]
    if not found:
      continue
    steps = sorted(set(found[0]['steps']).intersection(*(one['steps'] for one in found[1:])))
    mean = {
      name: np.mean([np.array(one[name])[np.isin(one['steps'], steps)] for one in found], axis=0) for name in _LOSSES
    }
    for title, names in _PANELS.items():
      panels[title][arm] = (steps, np.mean([mean[name] for name in names], axis=0).tolist())
    last = max(1, round(_LAST * len(steps)))
    lines.append([arm, *(f'{mean[name][-last:].mean():.3f}' for name in _LOSSES)])
  if not lines:
    return 'no losses were logged'
  save_curves(path, panels)
  return make_table(['losses at the end', *_LOSSES], lines)


_LOSSES = {
  'D_A': 'discriminator_b_loss',
  'G_A': 'a2b_adversarial_loss',
  'Cyc_A': 'a_cycle_loss',
  'D_B': 'discriminator_a_loss',
  'G_B': 'b2a_adversarial_loss',
  'Cyc_B': 'b_cycle_loss',
  'G total': 'generator_loss',
}
_PANELS = {
  'discriminators': ('D_A', 'D_B'),
  'cycle, weighted': ('Cyc_A', 'Cyc_B'),
  'generators, adversarial': ('G_A', 'G_B'),
  'generators, total': ('G total',),
}


def _read(workdir: Path, curves: Curves) -> dict[str, list[float]]:
  """The steps and losses of a run; nothing where it logged none."""
  weight = runs.load_config(workdir).cycle_weight
  found: dict[str, list[float]] = {}
  for name, quantity in _LOSSES.items():
    of_run = curves.get(f'train: {quantity}', {}).get(str(workdir))
    if of_run is None:
      return {}
    factor = weight if name.startswith('Cyc') else 1.0
    found |= {'steps': list(of_run[0]), name: [factor * value for value in of_run[1]]}
  return found
