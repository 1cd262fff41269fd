"""GANFaces on people whom nobody trained on: are translations photographs, of whom, and what was lost on the way?"""

from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from evaluate import ganfaces_figures as figures
from evaluate import ganfaces_training as training
from evaluate.ganfaces_realism import realism
from evaluate.ganfaces_sets import Scene, find_judges, make_scene, translator
from evaluate.provenance import model_version, to_uint8
from evaluate.results import Measure, Row, make_rows
from evaluate.sheets import save_sheet
from input_pipeline import PIPELINES

_BATCH = 16



def new_faces(
  model: Any, config: Any, output_dir: str | Path, pairs: int = 400, embedding: str = '', **options: Any
) -> list[Row]:
  """Rows of protocols `figure7`, `realism`, `memorisation`, `errors` and `training`, and the figures of one run.

  Args:
    model: the trained `GANFaces`.
    config: its settings, or those with another data set, whose held-out photographs are compared with then.
    output_dir: where the figures go; the run that it lies in gives the history of the training.
    pairs: pictures of each kind at most; 0 means all photographs.
    embedding: a judge beside dlib, see `ganfaces_sets.find_judges`.
    **options: of other systems' evaluations.
  """
  del options
  output_dir = Path(output_dir)
  judges = find_judges([model.config], embedding)
  own = PIPELINES[config.system](model.config)
  judged = own if config.dataset == model.config.dataset else PIPELINES[config.system](config)
  note = '; '.join(dict.fromkeys(filter(None, (own.note, judged.note))))
  label = {'model': config.system, 'version': model_version(int(model.step))}
  scene = make_scene(own, judged, pairs or figures.MOST_RENDERS)
  print(f'judging {len(scene.renders.people):,} renders of {len(np.unique(scene.renders.people))} new people and '
        f'{len(scene.photos.people):,} photographs by {" and ".join(judge.name for judge in judges)}', flush=True)
  shown = translator(model)(scene.renders.images)
  outputs = to_uint8(shown)
  rows, drawn, codes = realism({'model': outputs[None]}, scene, judges)
  figures.save_figure7(output_dir / 'figure7.png', drawn, rows, note)
  rows += figures.memorisation(output_dir / 'memorisation.png', outputs, codes, scene, own, label, note)
  rows += _error_rows(model, own, scene, shown, pairs)
  _draw(model, own, scene, outputs, output_dir, label, note)
  workdir = training.find_run(output_dir)
  history = training.read_history(workdir)
  training.draw_games(output_dir / 'training.png', history, note)
  if moments := training.moments(workdir, model.config, own):
    figures.save_figure3(output_dir / 'figure3.png', moments, label, note)
  return rows + training.game_rows(history)


def _draw(
  model: Any, own: Any, scene: Scene, outputs: np.ndarray, output_dir: Path, label: dict[str, str], note: str
) -> None:
  """The sheet, Fig. 4 and Fig. 6."""
  people = scene.renders.people
  first = np.unique(people, return_index=True)[1]
  rows = np.concatenate([first, first + 1])[:figures.SAMPLES]  # Two pictures of a person where people are few.
  photos = scene.photos.images[np.arange(len(rows)) % len(scene.photos.images)]
  columns = {'render': scene.renders.images[rows], 'translation': outputs[rows],
             **{name: images[rows] for name, images in scene.baselines.items()}, 'a photograph': photos}
  save_sheet(output_dir / 'sheet.png', columns, note=note, **label)
  figures.save_figure4(output_dir / 'figure4.png', outputs, people, label, note)
  figures.save_figure6(output_dir / 'figure6.png', model, own, label, note)


def _error_rows(model: Any, own: Any, scene: Scene, shown: np.ndarray, pairs: int) -> list[Row]:
  """What the run's own networks say of the translations, and E|s - G'(r)| of held-out pairs."""
  renders = scene.renders.images.astype(np.float32) / 127.5 - 1
  parts = [model.scores(tf.constant(renders[i:i + _BATCH]), tf.constant(shown[i:i + _BATCH]))
           for i in range(0, len(shown), _BATCH)]
  measures = {'model': {name: Measure(np.concatenate([part[name] for part in parts])) for name in parts[0]}}
  rows = make_rows('errors', measures, scene.renders.people, {'all': np.ones(len(shown), bool)})
  if model.inverse is None or not own.config.uses_pairs:
    return rows
  faces = own.held_out_of('pairs', pairs or None)
  fitted = np.concatenate([model.invert(tf.constant(faces['pair_photo'][i:i + _BATCH]))
                           for i in range(0, len(faces['pair_photo']), _BATCH)])
  measures = {name: {'pair_error': Measure(np.abs(faces['pair_render'] - images).mean((1, 2, 3)))}
              for name, images in (('model', fitted), ('copy_input', faces['pair_photo']))}
  return rows + make_rows('errors', measures, faces['identity'], {'all': np.ones(len(fitted), bool)}, ['pair_error'])
