"""Fits of a face model to photographs on disk: parameters, index, pairs of photograph and render, contact sheet.

A folder of fits holds, beside each other,

- `parameters.npz`: arrays of one row a photograph, see `ROWS`, and `face_model`, the model's path ('' for the default);
- `photos/000000.png` and `renders/000000.png`: the square of the photograph and the render of its fit in the same
  square, by row; a render is black where there is no face;
- `index.csv` (row, file, person, errors), `skipped.csv` (file, reason), `contact_sheet.png`.
"""

import csv
import io
import math
import os
import zipfile
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, ImageDraw

from input_pipeline import alignment, boxes, reports, shards
from input_pipeline.listing import Skipped
from models.face3d.face_mesh import render_parameters

PARAMETERS = 'parameters.npz'
# Name -> number of further dimensions; -1: text. Those that `render_parameters` takes keep its names and meaning.
ROWS = {
  'file': -1,  # relative to the folder of photographs
  'person': -1,  # '' where nobody knows
  'identity': 1,
  'expression': 1,
  'albedo': 1,
  'pose': 1,  # radians about x (nodding), y (turning) and z (tilting), as `render.Pose`
  'translation': 1,
  'field_of_view': 0,  # of the camera that looks at the box
  'light': 2,  # 9 harmonics x RGB
  'box': 1,  # left, top and side in pixels; the first pixel of the photograph reaches from -.5 to .5
  'landmarks': 2,  # 68 x 2, as found, in pixels of the photograph
  'landmarks_error': 0,  # mean distance as a share of the inter-ocular distance
  'photometric_error': 0,  # mean absolute difference on the face, display values in [0, 1]
}
SHEET_ROWS, TILE = 60, 108


def photo_name(row: int) -> str:
  """Name of a row's pictures in `photos` and `renders`."""
  return f'{row:06d}.png'


def save_fits(folder: str, rows: Mapping[str, Any], face_model: str) -> None:
  """Writes parameters.npz and index.csv."""
  table = {name: np.asarray(rows[name]) for name in ROWS}
  content = io.BytesIO()
  # Not np.savez_compressed(**arrays), which cannot store an array that is called `file`.
  with zipfile.ZipFile(content, 'w', zipfile.ZIP_DEFLATED) as archive:
    for name, array in {**table, 'face_model': np.array(face_model)}.items():
      with archive.open(f'{name}.npy', 'w') as stream:
        np.lib.format.write_array(stream, array, allow_pickle=False)
  shards.write_atomically(os.path.join(folder, PARAMETERS), content.getvalue())
  text = io.StringIO(newline='')
  writer = csv.writer(text)
  writer.writerow(['row', 'file', 'person', 'landmarks_error', 'photometric_error'])
  for i, file in enumerate(table['file']):
    errors = [f'{table[name][i]:.5f}' for name in ('landmarks_error', 'photometric_error')]
    writer.writerow([i, file, table['person'][i], *errors])
  shards.write_atomically(os.path.join(folder, 'index.csv'), text.getvalue())


def read_fits(folder: str) -> dict[str, np.ndarray]:
  """Reads parameters.npz.

  Returns:
    the arrays of `ROWS` (texts as str, numbers as float32), and `face_model`.

  Raises:
    FileNotFoundError: if there is none.
    ValueError: one line: it is damaged or something else. Nothing is unpickled.
  """
  path = os.path.join(os.path.expanduser(folder), PARAMETERS)
  if not os.path.isfile(path):
    raise FileNotFoundError(
      f'{folder} has no {PARAMETERS}: `python -m input_pipeline.fit --input=PHOTOS --output={folder}` makes one'
    )
  try:
    with open(path, 'rb') as stream, np.load(stream, allow_pickle=False) as file:
      content = {name: file[name] for name in (*ROWS, 'face_model')}
  except (ValueError, KeyError, OSError, EOFError, zipfile.BadZipFile) as error:
    raise ValueError(
      f'{path} is damaged or was not made by input_pipeline.fit ({str(error).splitlines()[0]})'
    ) from None
  count = len(content['file']) if content['file'].ndim else -1
  for name, dimensions in ROWS.items():
    array, text = content[name], dimensions < 0
    wrong = array.dtype.kind != ('U' if text else 'f') or array.ndim != 1 + max(dimensions, 0) or len(array) != count
    if wrong or (not text and not np.isfinite(array).all()):
      raise ValueError(
        f'{path}: {name!r} has type {array.dtype} and shape {array.shape}, or values that are not finite'
      )
  return content


def write_sheet(folder: str, rows: Mapping[str, Any], marks: Sequence[np.ndarray]) -> None:
  """Draws contact_sheet.png: photograph, render, and the render over the photograph with both kinds of landmarks.

  Args:
    folder: of the fits, with its pictures.
    rows: as saved.
    marks: `[68, 2]` of each row, the fit's landmarks in [-1, 1] of its box; the found ones are green, these red.
  """
  count = len(rows['file'])
  shown = sorted({count * i // min(count, SHEET_ROWS) for i in range(min(count, SHEET_ROWS))})
  columns = min(4, len(shown))
  wide, high = 3 * TILE + 6, TILE + 12
  sheet = Image.new('RGB', (columns * wide, math.ceil(len(shown) / columns) * high), 'white')
  draw = ImageDraw.Draw(sheet)
  for place, row in enumerate(shown):
    left, top = place % columns * wide, place // columns * high
    photo, render = (
      Image.open(os.path.join(folder, kind, photo_name(row))).convert('RGB').resize((TILE, TILE))
      for kind in ('photos', 'renders')
    )
    face = np.asarray(render).max(-1, keepdims=True) > 0
    overlay = Image.fromarray(np.where(face, render, photo))
    for x, picture in enumerate((photo, render, overlay)):
      sheet.paste(picture, (left + x * TILE, top))
    box = rows['box'][row]
    found = 2 * (np.asarray(rows['landmarks'][row]) - box[:2]) / box[2] - 1
    for points, colour in ((found, 'lime'), (marks[row], 'red')):
      for x, y in alignment.denormalize(points, TILE):
        if 0 <= x < TILE and 0 <= y < TILE:
          draw.point((left + 2 * TILE + x, top + y), colour)
    errors = f'{100 * rows["landmarks_error"][row]:.1f} % {255 * rows["photometric_error"][row]:.0f}/255'
    draw.text((left + 1, top + TILE), f'{rows["file"][row][-40:]} {errors}', 'black')
  content = io.BytesIO()
  sheet.save(content, 'PNG')
  shards.write_atomically(os.path.join(folder, 'contact_sheet.png'), content.getvalue())


class Found(NamedTuple):
  """A photograph's face: `crop` [S, S, 3] uint8, `marks` [68, 2] in [-1, 1] of it; or why there is none.

  `points` [68, 2] and `box` [3] (left, top, side) are in pixels of the photograph.
  """

  file: str
  person: str
  reason: str = ''
  crop: np.ndarray = np.zeros((0, 0, 3), np.uint8)
  marks: np.ndarray = np.zeros((68, 2))
  points: np.ndarray = np.zeros((68, 2))
  box: np.ndarray = np.zeros(3)


def cut(file: str, person: str, image: np.ndarray, points: np.ndarray, size: int) -> Found:
  """The face with landmarks `points` [68, 2], cut out as GANFaces does."""
  box = boxes.crop_box(boxes.detector_box(points))
  matrix = boxes.align(points, size)
  marks = alignment.normalize(alignment.transform_points(points, matrix), size)
  # From the edge of the first pixel, which is at -.5.
  return Found(file, person, '', alignment.warp(image, matrix, size), marks, points, box)


class Writer:
  """Writes the pictures of fits as they come, and the tables at the end."""

  def __init__(self, output: str, model: Any):
    self.output, self.model = output, model
    self.faces: list[Found] = []
    self.parameters: list[dict[str, np.ndarray]] = []
    self.marks: list[np.ndarray] = []
    for kind in ('photos', 'renders'):
      os.makedirs(os.path.join(output, kind), exist_ok=True)

  def add(self, faces: Sequence[Found], parameters: dict[str, np.ndarray], batch: int) -> None:
    """Takes fitted faces, `batch` at most; renders are compiled for this number."""
    if not faces:
      return
    rows = np.arange(batch) % len(faces)
    size = len(faces[0].crop)
    drawn = {name: value[rows] for name, value in parameters.items()}
    images, _, marks = (value.numpy() for value in render_parameters(self.model, drawn, size))
    for i, face in enumerate(faces):
      name = photo_name(len(self.faces))
      render = np.rint((images[i] + 1) * 127.5).astype(np.uint8)
      Image.fromarray(face.crop).save(os.path.join(self.output, 'photos', name))
      Image.fromarray(render).save(os.path.join(self.output, 'renders', name))
      self.faces.append(face)
    self.marks += list(marks[: len(faces)])
    self.parameters.append(parameters)

  def finish(self, face_model: str, skipped: Skipped) -> dict[str, np.ndarray]:
    """Writes parameters.npz, index.csv and the contact sheet.

    Raises:
      ValueError: if there is nothing to write.
    """
    if not self.faces:
      file, reason = next(iter(skipped.items()), ('', 'there is no photograph'))
      raise ValueError(f'no photograph could be fitted: {file}: {reason}')
    joined = {name: np.concatenate([p[name] for p in self.parameters]) for name in self.parameters[0]}
    rows = joined | {
      'file': np.array([face.file for face in self.faces]),
      'person': np.array([face.person for face in self.faces]),
      'box': np.array([face.box for face in self.faces], np.float32),
      'landmarks': np.array([face.points for face in self.faces], np.float32),
    }
    save_fits(self.output, rows, face_model)
    reports.write_skipped(os.path.join(self.output, 'skipped.csv'), skipped)
    write_sheet(self.output, rows, self.marks)
    return rows
