"""300W-3D and AFLW2000-3D: photographs with the parameters of a fit of Basel's face model beside them, as `.mat` files.

The convention of 3DDFA (Zhu et al., CVPR 2016; read as face3d's `transform_3ddfa` and `8_generate_posmap_300WLP` do):

- `Pose_Para` [1, 7] is pitch, yaw, roll in radians, then x, y, z in pixels, then the scale in pixels per micrometre;
- a vertex v of the model goes to scale * R v + (x, y, z), R = Rx(pitch) Ry(yaw) Rz(roll) with the transposed
  Rx = [1 0 0; 0 cos sin; 0 -sin cos], Ry = [cos 0 -sin; 0 1 0; sin 0 cos], Rz = [cos sin 0; -sin cos 0; 0 0 1];
- the picture's row is height - 1 - y: y points up; the camera is weak perspective;
- `Shape_Para` [199], `Exp_Para` [29], `Tex_Para` [199] multiply the raw bases: over their standard deviations they are
  unit normal (expressions of 3DDFA are kept relative to w_exp and are divided by sigma_exp);
- `Illum_Para` [10] is ambient RGB, directed RGB, its height and azimuth in radians, and gloss; `Color_Para` [7] gains
  RGB, offsets RGB, contrast.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from input_pipeline import photos, workers
from input_pipeline.fits import Writer, cut
from input_pipeline.listing import Skipped
from input_pipeline.pair_layouts import find_pairs
from models.face3d.licensed_files import read_mat
from models.face3d.morphable import MorphableModel, load_face_model
from models.face3d.shading import harmonics_basis

_MICROMETRES = 1e5  # in a unit of our face models, 10 cm
_FIELD_OF_VIEW = 0.002  # as good as weak perspective
_SIZES = {'Pose_Para': 7, 'Shape_Para': 199, 'Exp_Para': 29, 'Tex_Para': 199, 'Illum_Para': 10, 'Color_Para': 7}
_GAMMA = 2.2


def read_parameters(path: str) -> dict[str, np.ndarray]:
  """One parameter file.

  Returns:
    the vectors of `_SIZES` by their names, float64, and `landmarks` [68, 2], pixels of the photograph, y down.

  Raises:
    ValueError: one line: it is no such file.
  """
  content = read_mat(Path(path), dict.fromkeys(_SIZES, 'needed') | {'pt3d_68': 'optional', 'pt2d': 'optional'})
  found = {}
  for name, size in _SIZES.items():
    found[name] = np.asarray(content[name], np.float64).ravel()
    if len(found[name]) != size:
      raise ValueError(f'{path}: {name} has {len(found[name])} numbers; expected {size}')
  for name in ('pt3d_68', 'pt2d'):
    points = content.get(name)
    if points is not None and points.ndim == 2 and points.shape[1] == 68 and points.shape[0] in (2, 3):
      found['landmarks'] = np.asarray(points[:2], np.float64).T
      break
  else:
    raise ValueError(f'{path} has no 68 landmarks (pt3d_68 or pt2d)')
  if not found['Pose_Para'][6] > 0:
    raise ValueError(f'{path}: its scale is {found["Pose_Para"][6]}')
  return found


def rotation(pitch: float, yaw: float, roll: float) -> np.ndarray:
  """The matrix [3, 3] of 3DDFA's angles in radians; see the module's text."""
  (sx, sy, sz), (cx, cy, cz) = np.sin([pitch, yaw, roll]), np.cos([pitch, yaw, roll])
  about_x = np.array([[1, 0, 0], [0, cx, sx], [0, -sx, cx]])
  about_y = np.array([[cy, 0, -sy], [0, 1, 0], [sy, 0, cy]])
  about_z = np.array([[cz, sz, 0], [-sz, cz, 0], [0, 0, 1]])
  return about_x @ about_y @ about_z


def euler_angles(matrix: np.ndarray) -> np.ndarray:
  """Radians about x, y, z, applied in this order (`render.Pose`), of a rotation matrix [3, 3]."""
  return np.array(
    [
      np.arctan2(matrix[2, 1], matrix[2, 2]),
      -np.arcsin(np.clip(matrix[2, 0], -1, 1)),
      np.arctan2(matrix[1, 0], matrix[0, 0]),
    ]
  )


def place(pose: np.ndarray, height: int, box: np.ndarray) -> dict[str, np.ndarray]:
  """3DDFA's pose as our camera sees it.

  Args:
    pose: [7] `Pose_Para`.
    height: of the photograph in pixels.
    box: [3] left, top, side of the square that the camera looks at.

  Returns:
    `pose` [3], `translation` [3] and `field_of_view` of `render_parameters`, for a model in units of 10 cm whose origin
    and axes are those of Basel's files.
  """
  scale = pose[6] * _MICROMETRES  # pixels per unit
  distance = box[2] / 2 / np.tan(_FIELD_OF_VIEW / 2) / scale
  centre = box[:2] + box[2] / 2
  shift = [(pose[3] - centre[0]) / scale, (centre[1] - (height - 1 - pose[4])) / scale, -distance]
  return {
    'pose': euler_angles(rotation(*pose[:3])),
    'translation': np.array(shift),
    'field_of_view': np.array(_FIELD_OF_VIEW),
  }


def light(illumination: np.ndarray, colour: np.ndarray) -> np.ndarray:
  """Ambient and directed light times the gains as harmonics [9, 3]; gloss, offsets, contrast are left out."""
  height, azimuth = illumination[6:8]
  direction = [np.cos(height) * np.sin(azimuth), np.sin(height), np.cos(height) * np.cos(azimuth)]
  basis = harmonics_basis(np.array(direction, np.float32)).numpy()
  # Their shading multiplies display values; ours is linear.
  gains = np.maximum(colour[:3], 0.05) ** _GAMMA
  harmonics = np.pi * basis[:, None] * np.maximum(illumination[3:6], 0.0)
  harmonics[0] += np.sqrt(4 * np.pi) * np.maximum(illumination[:3], 0.0) ** _GAMMA
  return harmonics * gains


def coefficients(content: dict[str, np.ndarray], model: MorphableModel, path: str) -> dict[str, np.ndarray]:
  """Shape, expression and texture as unit-normal coefficients of the Basel model that the file at `path` holds.

  Raises:
    ValueError: if it is another kind of model.
  """
  modes = [basis.shape[0] for basis in (model.identity_basis, model.expression_basis, model.albedo_basis)]
  folder = Path(path).parent
  expressions = folder / 'Model_Expression.mat'
  if modes != [199, 29, 199] or not expressions.is_file():
    raise ValueError(
      f'--face_model={path or "(ours)"}: the parameters of 300W-3D and AFLW2000-3D need Basel 2009 '
      '(01_MorphableModel.mat) with Model_Expression.mat and model_info.mat of 3DDFA beside it'
    )
  deviations = read_mat(Path(path), {'shapeEV': 'needed', 'texEV': 'needed'})
  spread = read_mat(expressions, {'sigma_exp': 'needed'})['sigma_exp'].ravel()
  return {
    'identity': content['Shape_Para'] / deviations['shapeEV'].ravel(),
    'expression': content['Exp_Para'] / spread,
    'albedo': content['Tex_Para'] / deviations['texEV'].ravel(),
  }


def render_pairs(
  layout: str, folder: str, output: str, face_model: str, size: int, batch_size: int = 16
) -> tuple[dict[str, np.ndarray], Skipped]:
  """Renders the parameter files of a data set; writes the same folder as a fit does (see `fits`).

  Args:
    layout: of `pair_layouts.FOLDERS`.
    folder: of the data set.
    output: folder to make.
    face_model: Basel 2009's file.
    size: width and height of the pictures.
    batch_size: how many are rendered at a time.

  Returns:
    rows and skipped files, as `fit.fit_faces`.

  Raises:
    ValueError: if the model is another one, or nothing can be rendered.
    FileNotFoundError: if there is no such folder.
  """
  if not os.path.isdir(folder):
    raise FileNotFoundError(f'--input={folder}: there is no such folder')
  model = load_face_model(face_model)
  listed, skipped = find_pairs(layout, folder)
  progress, writer = workers.Progress('rendering pairs', len(listed)), Writer(output, model)
  waiting: list[tuple[Any, dict[str, np.ndarray]]] = []

  def flush():
    writer.add([face for face, _ in waiting], _stack([p for _, p in waiting]), batch_size)
    progress.add(len(waiting))
    waiting.clear()

  for photo in listed:
    path = os.path.join(folder, photo.file)
    try:
      content = read_parameters(os.path.splitext(path)[0] + '.mat')
      image = photos.read_photo(path)
      face = cut(photo.file, '', image, content['landmarks'], size)
    except (ValueError, OSError) as error:
      skipped[photo.file] = str(error)
      progress.add(1)
      continue
    row = coefficients(content, model, face_model) | place(content['Pose_Para'], image.shape[0], face.box)
    row['light'] = light(content['Illum_Para'], content['Color_Para'])
    waiting.append((face, row))
    if len(waiting) == batch_size:
      flush()
  if waiting:
    flush()
  progress.close()
  return writer.finish(face_model, skipped), skipped


def _stack(rows: Sequence[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
  stacked = {name: np.stack([row[name] for row in rows]).astype(np.float32) for name in rows[0]}
  unknown = np.zeros(len(rows), np.float32)
  return stacked | {'landmarks_error': unknown, 'photometric_error': unknown}
