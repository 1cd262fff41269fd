"""Turns pictures of faces into FaceCycle's two codes: of expression and pose, and of identity.

    python -m evaluate.embed --model=RUN --input=PHOTOS --output=CODES
    tensorboard --logdir=CODES/projector

CODES/codes.parquet   one row a picture: file, square (centre x, y and side in pixels of what was cut out), expression,
                      identity (256 numbers each)
CODES/codes.npz       the same as arrays: files [N], square [N, 3], expression [N, 256], identity [N, 256]
CODES/projector/      what TensorBoard's projector shows: the codes, files and folders, and the faces

Pictures are found in all folders below --input. Of each the largest face is taken; what cannot be read or shows no face
is left out with a line.
"""

import io
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
from absl import flags
from PIL import Image

from evaluate.export import open_model
from evaluate.generation import list_column
from evaluate.progress import progress
from input_pipeline import alignment, boxes, face_squares
from input_pipeline.landmarks import find_landmarks
from input_pipeline.photos import is_picture, read_photo
from input_pipeline.shards import write_atomically
from models import commands

FLAGS = flags.FlagValues()
flags.DEFINE_string('model', None, 'A run of FaceCycle (its --workdir), an exported model, or pretrained:NAME.',
                    flag_values=FLAGS, required=True)
flags.DEFINE_string('input', None, 'Folder of pictures.', flag_values=FLAGS, required=True)
flags.DEFINE_string('output', None, 'Folder to write.', flag_values=FLAGS, required=True)

CODES = ('expression', 'identity')
_BATCH = 32
_TILE, _MOST_PIXELS = 48, 8192  # Of a face in the projector, and along all of them, which is TensorBoard's limit.


class Codes(NamedTuple):
  """Of N pictures.

  Attributes:
    file: [N] paths below the folder, with `/`.
    square: [N, 3] centre x, y and side of what was cut out, pixels of the picture.
    faces: [N, S, S, 3] uint8, what was cut out.
    codes: `expression` and `identity` -> [N, 256] float32.
  """

  file: list[str]
  square: np.ndarray
  faces: np.ndarray
  codes: dict[str, np.ndarray]


def embed(model: str | Path, folder: str | Path, output: str | Path) -> int:
  """Writes the codes of all pictures of a folder; see the module's page.

  Args:
    model: a run of FaceCycle, an exported model, or `pretrained:NAME`.
    folder: where the pictures are.
    output: where the files go; those of the same names are replaced.
  Returns:
    The number of pictures that have codes.
  Raises:
    FileNotFoundError: if there is no such folder or model.
    ValueError: if the model has no such codes, or no picture shows a face.
  """
  folder, output = Path(folder), Path(output)
  files = _list_pictures(folder)
  config, version, functions = open_model(model, {'facecycle': [f'encode_{name}' for name in CODES]})
  found = list(progress('read', _find_faces(folder, files, config), len(files), 'pictures'))
  if not found:
    raise ValueError(f'--input={folder}: no face was found in any of its {len(files)} pictures')
  faces = np.stack([face for _, _, face in found])
  codes = {name: _in_batches(functions[f'encode_{name}'], faces) for name in CODES}
  result = Codes([file for file, _, _ in found], np.stack([square for _, square, _ in found]), faces, codes)
  output.mkdir(parents=True, exist_ok=True)
  _write_tables(output, result, {'model': config.system, 'version': version})
  _write_projector(output / 'projector', result)
  return len(found)


def _list_pictures(folder: Path) -> list[str]:
  if not folder.is_dir():
    raise FileNotFoundError(f'--input={folder}: there is no such folder')
  files = sorted(p.relative_to(folder).as_posix() for p in folder.rglob('*') if p.is_file() and is_picture(str(p)))
  if not files:
    raise ValueError(f'--input={folder}: the folder holds no pictures')
  return files


def _find_faces(folder: Path, files: Sequence[str], config: Any) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
  """Each file with a face, its square [3] and what is cut out [S, S, 3]; a line about each of the others."""
  for file in files:
    try:
      picture = read_photo(str(folder / file))
    except (ValueError, OSError) as error:
      print(f'skipped: {error}')
      continue
    points = find_landmarks(picture)
    if points is None:
      print(f'skipped: {folder / file}: no face was found')
      continue
    square = face_squares.face_square(points, config.enlargement)
    matrix = boxes.align(points, config.image_size, face_squares.as_box(square))
    yield file, square, alignment.warp(picture, matrix, config.image_size)


def _in_batches(function: Any, faces: np.ndarray) -> np.ndarray:
  parts = [function(images=tf.constant(faces[i : i + _BATCH]))['codes'].numpy() for i in range(0, len(faces), _BATCH)]
  return np.concatenate(parts).astype(np.float32)


def _write_tables(output: Path, found: Codes, made_by: dict[str, str]) -> None:
  import pyarrow as pa  # Nothing else needs it, and it takes a while.
  import pyarrow.parquet as pq

  columns = {'file': pa.array(found.file), 'square': list_column(found.square)}
  columns |= {name: list_column(values) for name, values in found.codes.items()}
  content = io.BytesIO()
  pq.write_table(pa.table(columns).replace_schema_metadata(made_by), content)
  write_atomically(str(output / 'codes.parquet'), content.getvalue())
  content = io.BytesIO()
  np.savez_compressed(content, files=np.array(found.file), square=found.square.astype(np.float32), **found.codes)
  write_atomically(str(output / 'codes.npz'), content.getvalue())


def _write_projector(folder: Path, found: Codes) -> None:
  """Both codes as text, files and folders as labels, and the faces as one square picture of tiles."""
  from tensorboard.plugins import projector

  folder.mkdir(exist_ok=True)
  across = int(np.ceil(np.sqrt(len(found.file))))
  tile = min(_TILE, _MOST_PIXELS // across)
  config: Any = projector.ProjectorConfig()
  for name, values in found.codes.items():
    lines = ('\t'.join(f'{value:.6g}' for value in row) for row in values)
    write_atomically(str(folder / f'{name}.tsv'), '\n'.join(lines) + '\n')
    one = config.embeddings.add()
    one.tensor_name, one.tensor_path, one.metadata_path = name, f'{name}.tsv', 'files.tsv'
    if tile:
      one.sprite.image_path = 'faces.png'
      one.sprite.single_image_dim.extend([tile, tile])
  names = [(file, os.path.dirname(file) or '.') for file in found.file]
  lines = ['\t'.join(' '.join(word.split()) for word in row) for row in [('file', 'folder'), *names]]
  write_atomically(str(folder / 'files.tsv'), '\n'.join(lines) + '\n')
  if tile:
    wall = Image.new('RGB', (across * tile, across * tile))
    for place, face in enumerate(found.faces):
      small = Image.fromarray(face).resize((tile, tile), Image.Resampling.BICUBIC)
      wall.paste(small, (place % across * tile, place // across * tile))
    content = io.BytesIO()
    wall.save(content, 'PNG')
    write_atomically(str(folder / 'faces.png'), content.getvalue())
  projector.visualize_embeddings(str(folder), config)


def main(argv: list[str]) -> None:
  commands.parse(FLAGS, argv, __doc__)
  count = embed(FLAGS.model, FLAGS.input, FLAGS.output)
  print(f'{FLAGS.output}: codes of {count} picture{"s" * (count != 1)}')


if __name__ == '__main__':
  sys.exit(commands.run(main))
