"""GANFaces' arms side by side: Figs. 3, 5 and 7, and all that `ganfaces_realism` measures, from trained runs."""

import dataclasses
from pathlib import Path

import numpy as np

from evaluate import ganfaces_figures as figures
from evaluate import ganfaces_training as training
from evaluate.arms import GANFACES_TITLES
from evaluate.ganfaces_realism import realism
from evaluate.ganfaces_sets import find_judges, make_scene, translator
from evaluate.provenance import model_version, to_uint8
from evaluate.results import Row
from input_pipeline import PIPELINES
from models import runs

_FIGURE3 = ('model', 'softmax')
_FIGURE5 = 10  # People.


def study(
  arms: dict[str, dict[int, Path]], output: Path, dataset: str, pairs: int, embedding: str
) -> tuple[list[Row], int, str, str]:
  """Judges all arms on one scene, and draws.

  Args:
    arms: arm, `model` first -> seed -> run.
    output: a folder.
    dataset: whose held-out photographs are compared with; the full model's if empty.
    pairs: pictures of each kind at most; 0 means all photographs.
    embedding: a judge beside dlib, see `ganfaces_sets.find_judges`.
  Returns:
    the rows, the full model's step, its data, and a note.
  """
  first = next(iter(arms['model'].values()))
  config = runs.load_config(first)
  configs = [runs.load_config(path) for seeds in arms.values() for path in seeds.values()]
  judges = find_judges(configs, embedding)
  own = PIPELINES['ganfaces'](config)
  judged = PIPELINES['ganfaces'](dataclasses.replace(config, dataset=dataset)) if dataset else own
  note = '; '.join(dict.fromkeys(filter(None, (own.note, judged.note))))
  scene = make_scene(own, judged, pairs or figures.MOST_RENDERS)
  rows: list[Row] = []
  outputs: dict[str, np.ndarray] = {}
  step = 0
  for arm, seeds in arms.items():
    shown = []
    for number, path in enumerate(seeds.values()):
      model = runs.restore(path)
      print(f'{arm}: {path}', flush=True)
      step = int(model.step) if path == first else step
      shown.append(to_uint8(translator(model)(scene.renders.images)))
      if number == 0:
        rows += training.game_rows(training.read_history(path), arm)
    outputs[arm] = np.array(shown)
    if arm in _FIGURE3 and (found := training.moments(next(iter(seeds.values())), model.config, own)):
      label = {'model': 'ganfaces', 'version': model_version(found.steps[-1])}
      figures.save_figure3(output / f'figure3_{arm}.png', found, label, note)
  label = {'model': 'ganfaces', 'version': model_version(step)}
  chosen = np.unique(scene.renders.people, return_index=True)[1][:_FIGURE5]
  columns = {'render': scene.renders.images[chosen]}
  columns |= {GANFACES_TITLES.get(arm, arm): seeds[0][chosen] for arm, seeds in outputs.items()}
  figures.save_figure5(output / 'figure5.png', columns, label, note)
  found, drawn, _ = realism(outputs, scene, judges)
  figures.save_figure7(output / 'figure7.png', drawn, found, note)
  return found + rows, step, dataset or config.dataset, note
