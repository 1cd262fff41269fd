"""What all rendered data sets share: their random numbers, what they depend on, their place in the cache, writing them.

A world is described by a dict of all that its pictures depend on, its fingerprint, whose `kind` names it. Every picture
is a function of the world's seed and of its place in the world.
"""

import ast
import hashlib
import io
import os
import pathlib
import sys
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from PIL import Image

from input_pipeline import dataset, shards
from models import face3d
from models.config import ConfigError
from models.face3d.morphable import MorphableModel, load_face_model


def generator(*place: int) -> np.random.Generator:
  """Random numbers of a place in a world: a pure function of whole numbers of at least 0."""
  return np.random.Generator(np.random.PCG64(np.random.SeedSequence(list(place))))


def png(image: np.ndarray) -> bytes:
  """A picture [H, W] or [H, W, 3] uint8 as a file."""
  file = io.BytesIO()
  Image.fromarray(image).save(file, 'PNG', compress_level=3)
  return file.getvalue()


def digest_code(*files: str) -> str:
  """A short hash of modules as Python reads them: a comment or a line break renders nothing anew.

  Args:
    *files: paths, or names of modules of the face model.
  """
  home = pathlib.Path(face3d.__file__).parent
  paths = [pathlib.Path(file) if file.endswith('.py') else home / f'{file}.py' for file in files]
  trees = ''.join(ast.dump(ast.parse(path.read_bytes())) for path in paths)
  return hashlib.sha256(trees.encode()).hexdigest()[:16]


def digest_model(path: str) -> str:
  """A short hash of a face model's files; '' is the default model.

  Raises:
    FileNotFoundError: if it is missing.
  """
  source = pathlib.Path(os.path.expanduser(path)) if path else pathlib.Path(face3d.__file__).parent / 'face_model.npz'
  if not source.exists():
    raise FileNotFoundError(f'--face_model={path}: there is no such file')
  total = hashlib.sha256()
  for file in sorted(file for file in source.iterdir() if file.is_file()) if source.is_dir() else [source]:
    total.update(file.read_bytes())
  return total.hexdigest()[:16]


def load_painted_model(path: str, without: str, fields: tuple[str, ...] = ('face_model',)) -> MorphableModel:
  """A face model with painted skin, eyes and hair.

  Args:
    path: of the model; '' is the default one.
    without: what to say of a model that has none.
    fields: the settings that this is about.

  Raises:
    ConfigError: if it has none.
  """
  model = load_face_model(path)
  if 'paint' not in model.extras:
    raise ConfigError(f'face_model={path!r} has no painted skin, eyes and hair: {without}', fields)
  return model


def dataset_path(config: Any, made_from: dict[str, Any]) -> str:
  """The folder of a rendered data set, in the cache.

  Args:
    config: a `DataConfig`.
    made_from: the fingerprint of the world.
  """
  return os.path.join(os.path.expanduser(config.data_dir), f'{made_from["kind"]}-{shards.digest(made_from)}')


def is_rendered(path: str) -> bool:
  """Whether a folder holds a complete data set."""
  found = shards.read_fingerprint(path)
  return found is not None and found['complete']


def render(
  path: str,
  made_from: dict[str, Any],
  features: dict[str, Any],
  splits: dict[str, list[int]],
  make_examples: Callable[[str, int], Iterable[dict[str, Any]]],
  *,
  pictures: str,
  description: str,
  face_model: str,
  processes: int = 0,
  runner: str = '',
) -> None:
  """Renders a data set into the cache, or continues; see `shards.write_dataset`.

  Args:
    path: `dataset_path`.
    made_from: the fingerprint.
    features: by name.
    splits: number of pictures of each shard.
    make_examples: renders a shard.
    pictures: what they are called: faces, frames.
    description: for the metadata.
    face_model: path of the face model, whose licence is that of the pictures.
    processes: 0 means one per core.
    runner: name of an Apache Beam runner.
  """
  count = sum(map(sum, splits.values()))
  print(f'rendering {count:,} {pictures} into {path} (once; later runs reuse them)', file=sys.stderr, flush=True)
  shards.write_dataset(
    path,
    dataset.NAME,
    features,
    splits,
    make_examples,
    made_from,
    processes=processes,
    runner=runner,
    label=f'rendering {pictures}',
    description=description,
    license=f'that of {os.path.basename(face_model)}' if face_model else 'CC0-1.0',
  )
