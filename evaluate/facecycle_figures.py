"""The pictures of FaceCycle's evaluation, after Figs. 6 and 7 of the supplementary: what is taken away from a face and
given back, and people who move as another one does."""

from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from PIL import Image

from evaluate.facecycle_faces import Unseen, in_batches
from evaluate.provenance import model_version, save_image, save_video, to_uint8
from evaluate.sheets import make_grid, save_sheet
from models.layers.warping import flow_colours

_PEOPLE, _TARGETS, _FRAMES = 8, 4, 12  # Of Fig. 6 and Fig. 7.
_TILE, _FILM_TILE = 96, 160
_FILM_RATE = 5.0  # Frames a second: those of tracks, unless they are prepared otherwise.


def save_figures(folder: Path, model: Any, pipeline: Any, unseen: Unseen) -> None:
  """Writes `figure6.png`, `figure7.png` and `figure7.mp4`; nobody is chosen, they are the first held-out people."""
  label = {'model': model.config.system, 'version': model_version(int(model.step))}
  first = np.sort(np.unique(unseen.people, return_index=True)[1])
  columns, note = figure6(model, unseen, first[:_PEOPLE])
  save_sheet(folder / 'figure6.png', columns, tile=_TILE, note=note, **label)
  drivers = driving_clip(pipeline, unseen.people[first[:_TARGETS]])
  targets = unseen.batch['first'][first[:_TARGETS]]
  table = figure7(model, targets, drivers)
  names = ['driver', *(f'person {number + 1}' for number in range(len(targets)))]
  heads = ['target', *(f'frame {number + 1}' for number in range(len(drivers)))]
  save_image(folder / 'figure7.png', make_grid(table, names, heads, _TILE), **label)
  save_video(folder / 'figure7.mp4', _film(table), _FILM_RATE, **label)


def figure6(model: Any, unseen: Unseen, rows: np.ndarray) -> tuple[dict[str, np.ndarray], str]:
  """Columns of Fig. 6 for some rows, and a line about them.

  Args:
    model: the trained `FaceCycle`.
    unseen: held-out frames and what it made of them.
    rows: of `unseen`.
  """
  images, drivers = unseen.batch['first'][rows], unseen.batch['first'][unseen.drivers[rows]]
  flow = in_batches(lambda x: model.flow(x)[0], images)
  longest = max(float(np.linalg.norm(flow, axis=-1).max()), 1e-6)
  columns = {'input': images, 'neutral': unseen.neutral[rows]}
  if unseen.true_neutral is not None:
    columns['true neutral'] = unseen.true_neutral.images[rows]
  columns['flow'] = _enlarge(flow_colours(tf.constant(flow), longest).numpy(), images.shape[1])
  trained = model.phase == 'train'
  if trained:
    columns['mean face'] = in_batches(model.mean_face, images)
  columns |= {'driver': drivers, 're-expressed': unseen.transferred[rows]}
  if unseen.true_transfer is not None:
    columns['true transfer'] = unseen.true_transfer.images[rows]
  if trained:
    columns['new identity'] = in_batches(model.identity_swap, images, drivers)
  note = f'flow: white is no motion, full colour {longest / 2:.3f} of the width'
  if trained:
    note += '; new identity: the mean face of the input with the identity of the driver'
  return columns, note


def driving_clip(pipeline: Any, targets: np.ndarray) -> np.ndarray:
  """[T, S, S, 3] consecutive frames of the longest held-out track of somebody who is not among the targets."""
  found = pipeline.tracks('test')
  foreign = ~np.isin(found.person, targets)
  length = np.where(foreign, found.length, 0) if foreign.any() else found.length
  return pipeline.pictures('test', found.clip(int(length.argmax()))[:_FRAMES])


def figure7(model: Any, targets: np.ndarray, drivers: np.ndarray) -> np.ndarray:
  """[1 + R, 1 + T, S, S, 3] uint8: the driver above, the targets to the left, and each target as the driver moves."""
  people, frames = np.repeat(targets, len(drivers), axis=0), np.tile(drivers, (len(targets), 1, 1, 1))
  moved = in_batches(model.transfer, people, frames).reshape(len(targets), len(drivers), *targets.shape[1:])
  above = np.concatenate([np.ones_like(targets[:1]), drivers])[None]
  return to_uint8(np.concatenate([above, np.concatenate([targets[:, None], moved], axis=1)]))


def _film(table: np.ndarray) -> np.ndarray:
  """[T, H, W, 3] uint8: the table's columns behind its first one as frames, side by side and enlarged."""
  frames = np.concatenate(list(table[:, 1:]), axis=2)
  size = (frames.shape[2] * _FILM_TILE // table.shape[2], _FILM_TILE)
  return np.stack([np.asarray(Image.fromarray(x).resize(size, Image.Resampling.BICUBIC)) for x in frames])


def _enlarge(images: np.ndarray, size: int) -> np.ndarray:
  return tf.image.resize(images, [size, size], 'bicubic').numpy()
