"""Faces of other people, each beside the held-out person that it is to drive (Table 2 and Fig. 5 of GC-GAN)."""

from typing import Any

import numpy as np

from input_pipeline.dataset import INDEX, PreparedDataset, open_dataset
from input_pipeline.triplets import HELD_OUT_SEED, Triplets, spread_order, to_float


def driven_faces(pipeline: Triplets, count: int | None = None, drivers: str = '') -> dict[str, np.ndarray]:
  """Pairs of a held-out person and somebody else's face, in a fixed order; every driving face is used once.

  Labels only choose which of the own faces drives whom: where the data set allows, one in the same pose and with
  another expression. Faces of another data set drive anybody.

  Args:
    pipeline: gives the people of the test split.
    count: driving faces at most; all where it is None.
    drivers: a prepared data set, all of whose faces drive; the test split's own if empty.

  Returns:
    input_image [N, S, S, 3] float32 in [-1, 1], input_landmarks [N, 68, 2], identity [N], skin [N] str;
    driver_image, driver_landmarks likewise, and driver [N], a number of the drivers' data set.

  Raises:
    FileNotFoundError: if there is no such data set.
    ValueError: if it is cut otherwise than the pipeline's, or there is nobody else to drive.
  """
  data, size = pipeline.data, pipeline.config.image_size
  own = _read_table(data, ['test'])
  other = _open_drivers(drivers, data, size) if drivers else data
  faces = _read_table(other, other.splits) if drivers else own
  rows = spread_order(faces['identity'], faces['expression'], HELD_OUT_SEED)[:count]
  if drivers:
    chosen = _take_turns(own, [np.ones(len(own['file']), bool)] * len(rows))
  else:
    if len(np.unique(own['identity'])) < 2:
      raise ValueError(
        f'{data.path} holds out one person, nobody else can drive: hold out more, or give --drivers=DATA'
      )
    chosen = _take_turns(own, [_suitable(own, row) for row in rows])
  return {
    'input_image': _read_pictures(data, own, chosen, size),
    'input_landmarks': own['landmarks'][chosen],
    'identity': own['identity'][chosen],
    'skin': own['skin'][chosen],
    'driver_image': _read_pictures(other, faces, rows, size),
    'driver_landmarks': faces['landmarks'][rows],
    'driver': faces['identity'][rows],
  }


def _open_drivers(path: str, data: PreparedDataset, size: int) -> PreparedDataset:
  try:
    other = open_dataset(path)
  except (FileNotFoundError, ValueError) as error:
    raise type(error)(str(error).replace('--dataset=', '--drivers=')) from None
  for key in ('alignment', 'template_scale'):
    ours, theirs = (d.fingerprint.get(key) for d in (data, other))
    if ours != theirs:
      raise ValueError(
        f'--drivers={path} was prepared with {key}={theirs}, {data.path} with {key}={ours}: prepare it again with '
        f'--{key}={ours}'
      )
  if other.crop_size < size:
    raise ValueError(
      f'--drivers={path} has crops of {other.crop_size} pixels, the runs make {size}: prepare it with '
      f'--crop_size={size}'
    )
  return other


def _read_table(data: PreparedDataset, splits: list[str]) -> dict[str, np.ndarray]:
  """The index of some splits as one table, with `split` and `row`, where each picture is."""
  parts = [(split, data.index(split)) for split in splits if data.count(split)]
  table = {key: np.concatenate([part[key] for _, part in parts]) for key in INDEX}
  table['split'] = np.concatenate([np.full(len(part['file']), split) for split, part in parts])
  table['row'] = np.concatenate([np.arange(len(part['file'])) for _, part in parts])
  return table


def _read_pictures(data: PreparedDataset, table: dict[str, np.ndarray], rows: np.ndarray, size: int) -> np.ndarray:
  images = np.zeros([len(rows), size, size, 3], np.float32)
  for split in np.unique(table['split'][rows]):
    here = np.flatnonzero(table['split'][rows] == split)
    used, places = np.unique(table['row'][rows[here]], return_inverse=True)
    pictures: Any = to_float(data.pictures(str(split), used, size))
    images[here] = pictures.numpy()[places.ravel()]
  return images


def _suitable(own: dict[str, np.ndarray], driver: int) -> np.ndarray:
  """[N] bool, the pictures that a face of the same data set may drive."""
  others = own['identity'] != own['identity'][driver]
  posed = others & (own['pose'] == own['pose'][driver])
  changed = posed & (own['expression'] != own['expression'][driver])
  return next(mask for mask in (changed, posed, others) if mask.any())


def _take_turns(own: dict[str, np.ndarray], allowed: list[np.ndarray]) -> np.ndarray:
  """One row for each mask, so that people, then their pictures, come equally often."""
  rng = np.random.default_rng(HELD_OUT_SEED)
  of_person, of_picture = np.zeros(own['identity'].max() + 1), np.zeros(len(own['identity']))
  chosen = []
  for mask in allowed:
    rows = rng.permutation(np.flatnonzero(mask))
    people = own['identity'][rows]
    row = rows[np.lexsort((of_picture[rows], of_person[people]))[0]]
    of_person[own['identity'][row]] += 1
    of_picture[row] += 1
    chosen.append(row)
  return np.array(chosen, np.int64)
