"""Photographs with the renders of their fits, as `input_pipeline.fit` makes them, as a prepared data set.

`--pairs=FITS` names its folder: `parameters.npz`, `photos/000000.png`, `renders/000000.png`. The pairs are stored once
in the cache as shards, so that they are read like any data set, and some people are held out.
"""

import dataclasses
import functools
import os
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np

from input_pipeline import boxes, dataset, photos, shards, worlds
from input_pipeline.splits import by_name
from models.config import ConfigError

_PER_SHARD = 500
# How far crops may be from ours in the mean, as shares of their side: two pixels of 108.
_TOLERANCE = 0.02


@dataclasses.dataclass(frozen=True)
class Fits:
  """What a worker needs to know of a folder of fits; `rows` are the numbers of the pairs of each split."""

  folder: str
  size: int
  rows: dict[str, list[int]]
  person: list[str]
  file: list[str]
  landmarks: np.ndarray


def read_parameters(config: Any) -> dict[str, np.ndarray]:
  """The parameters of a config's `--pairs=FITS`, checked against its settings.

  Raises:
    ConfigError: if they belong to another face model, or the photographs were cut out otherwise.
    ValueError, OSError: if they cannot be read.
  """
  from input_pipeline.fits import read_fits

  found = read_fits(os.path.expanduser(config.pairs))
  model = str(found['face_model'])
  if worlds.digest_model(model) != worlds.digest_model(config.face_model):
    raise ConfigError(
      f'face_model={config.face_model!r} is not the model that --pairs={config.pairs} was fitted with ({model!r}): '
      'renders and pairs have to show the same one',
      ('face_model', 'pairs'),
    )
  wanted = boxes.crop_box(boxes.detector_box(found['landmarks']))
  side = wanted[:, 2:]
  away = np.abs(np.mean((found['box'] - wanted) / side, axis=0)).max()
  if away > _TOLERANCE:
    raise ConfigError(
      f'pairs={config.pairs} shows faces {100 * away:.0f} % of the picture away from where renders and photographs '
      'show them: fit photographs that were cut out with --alignment=box',
      ('pairs',),
    )
  return found


def pair_dataset(config: Any, held_out: list[str]) -> str:
  """Stores the pairs of `--pairs=FITS` as a data set in the cache, unless they are there. Returns its folder.

  Args:
    config: a `GANFacesConfig`.
    held_out: people of the real domain who are not trained on, and neither are their pairs; where the fits name none
      of them, a tenth of the fitted people is held out.

  Raises:
    ValueError: if all pairs show one person, or they are smaller than `config.image_size`.
    OSError: if files are missing.
  """
  folder = os.path.abspath(os.path.expanduser(config.pairs))
  found = read_parameters(config)
  # Where nobody said who it is, each picture counts as a person of its own.
  files = [str(file) for file in found['file']]
  person = [str(name) or file for name, file in zip(found['person'], files, strict=True)]
  people = sorted(set(person))
  size = len(photos.read_photo(_picture(folder, 'photos', 0)))
  if size < config.image_size:
    raise ConfigError(
      f'image_size={config.image_size} is larger than the pictures of --pairs={config.pairs} ({size}): fit with '
      f'--crop_size={config.image_size}',
      ('image_size', 'pairs'),
    )
  if len(people) < 2:
    raise ValueError(f'--pairs={config.pairs} shows one person only: nobody can be held out, at least 2 are needed')
  test = set(people) & set(held_out)
  if not test or len(test) == len(people):
    if held_out:
      print(
        f'--pairs={config.pairs} names none of the people whom --dataset={config.dataset} holds out, or no others: if '
        'these are the same photographs, fit the data set itself (input_pipeline.fit --dataset), or they leak into '
        'training'
      )
    test = by_name(people, 0.1, 'spread')
  rows = {
    split: [i for i, name in enumerate(person) if (name in test) == (split == 'test')] for split in ('train', 'test')
  }
  marks = (found['landmarks'] - found['box'][:, None, :2]) / found['box'][:, None, 2:] * 2 - 1
  fits = Fits(folder, size, rows, person, files, marks.astype(np.float32))
  made_from = {
    'kind': 'pairs',
    'alignment': 'box',
    'crop_size': size,
    'test': sorted(test),
    'parameters': shards.digest({k: np.asarray(found[k]).tolist() for k in ('file', 'person', 'box', 'pose', 'light')}),
    'stamps': shards.digest([os.stat(_picture(folder, kind, 0)).st_mtime_ns for kind in ('photos', 'renders')]),
  }
  output = os.path.join(os.path.expanduser(config.data_dir), f'pairs-{shards.digest(made_from)}')
  existing = shards.read_fingerprint(output)
  if existing is not None and existing['complete']:
    return output
  print(f'storing {len(person):,} pairs of {folder} in {output}', file=sys.stderr, flush=True)
  features = dataset.face_features(people, ['unlabelled'], size)
  features['render'] = shards.import_tfds().features.Image(shape=(size, size, 3), encoding_format='png')
  shards.write_dataset(
    output,
    dataset.NAME,
    features,
    {split: shards.shard_sizes(len(part), _PER_SHARD) for split, part in rows.items()},
    functools.partial(make_examples, fits=fits, people=people),
    made_from,
    processes=1,
    label='storing pairs',
    description=f'Photographs and the renders of their fits, of {folder}.',
  )
  return output


def _picture(folder: str, kind: str, row: int) -> str:
  return os.path.join(folder, kind, f'{row:06d}.png')


def make_examples(split: str, shard: int, *, fits: Fits, people: list[str]) -> Iterator[dict[str, Any]]:
  """Reads the pictures of one shard.

  Raises:
    ValueError: if one has another size.
  """
  sizes = shards.shard_sizes(len(fits.rows[split]), _PER_SHARD)
  start = sum(sizes[:shard])
  numbers = {name: number for number, name in enumerate(people)}
  for row in fits.rows[split][start : start + sizes[shard]]:
    pictures = {}
    for key, kind in (('image', 'photos'), ('render', 'renders')):
      path = _picture(fits.folder, kind, row)
      picture = photos.read_photo(path)
      if picture.shape != (fits.size, fits.size, 3):
        raise ValueError(f'{path} has {picture.shape[1]} x {picture.shape[0]} pixels, the others have {fits.size}')
      pictures[key] = worlds.png(picture)
    yield pictures | {
      'landmarks': fits.landmarks[row],
      'identity': numbers[fits.person[row]],
      'expression': 0,
      'pose': 0,
      'light': 0,
      'file': fits.file[row],
      'skin': '',
    }
