"""Face-off to look at: the held-out frames as a sheet, and a film of input, output and truth."""

from pathlib import Path
from typing import Any

import numpy as np

from evaluate.faceoff_scene import Scene
from evaluate.provenance import model_version, save_video
from evaluate.sheets import make_grid, save_sheet

_SAMPLES = 16
_TILE = 256  # Pixels of a picture in the film.


def save_figures(folder: Path, model: Any, scene: Scene) -> None:
  """Writes `sheet.png`, frames spread over the held-out ones, and `translation.mp4`, the scene's film.

  Args:
    folder: where to.
    model: the model, for what the files say inside.
    scene: the frames.
  """
  label = {'model': model.config.system, 'version': model_version(model.step)}
  columns = {'input': scene.inputs, 'output': scene.outputs}
  columns |= {} if scene.truth is None else {'truth': scene.truth}
  chosen = np.arange(min(_SAMPLES, len(scene.inputs))) * len(scene.inputs) // min(_SAMPLES, len(scene.inputs))
  more = columns | {'nearest frame': scene.nearest, 'input again': scene.cycles}
  turned = [''] * len(scene.inputs) if scene.yaw is None else [f', yaw {yaw:.0f}' for yaw in scene.yaw]
  unseen = np.zeros(len(scene.inputs), bool) if scene.unseen is None else scene.unseen
  save_sheet(
    folder / 'sheet.png',
    {name: images[chosen] for name, images in more.items()},
    [f'{scene.clips[i]} {scene.frames[i]}{turned[i]}{", unseen pose" * bool(unseen[i])}' for i in chosen],
    **label,
  )
  film = scene.film
  shown = {'input': film.inputs, 'output': film.subjects['model']}
  shown |= {'truth': film.subjects['truth']} if 'truth' in film.subjects else {}
  frames = (
    make_grid(np.stack([images[i] for images in shown.values()])[None], [''], list(shown), _TILE, margin=0)
    for i in range(len(film.inputs))
  )
  save_video(folder / 'translation.mp4', frames, film.rate, **label)
