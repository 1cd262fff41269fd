"""Reads the meshes of ICT-FaceKit (MIT licence, https://github.com/ICT-VGL/ICT-FaceKit, folder `FaceXModel`)."""

import gzip
import zlib
from pathlib import Path

import numpy as np

NEUTRAL = 'generic_neutral_mesh'
_CENTIMETRES = 0.1  # One of our units is 10 cm.
_MOST_BYTES = 256 << 20
# The 68 points in iBUG order, as vertices of ICT-FaceKit's full topology (its own list of landmark vertices).
_LANDMARKS = (
  1225,
  1888,
  1052,
  367,
  1719,
  1722,
  2199,
  1447,
  966,
  3661,
  4390,
  3927,
  3924,
  2608,
  3272,
  4088,
  3443,
  268,
  493,
  1914,
  2044,
  1401,
  3615,
  4240,
  4114,
  2734,
  2509,
  978,
  4527,
  4942,
  4857,
  1140,
  2075,
  1147,
  4269,
  3360,
  1507,
  1542,
  1537,
  1528,
  1518,
  1511,
  3742,
  3751,
  3756,
  3721,
  3725,
  3732,
  5708,
  5695,
  2081,
  0,
  4275,
  6200,
  6213,
  6346,
  6461,
  5518,
  5957,
  5841,
  5702,
  5711,
  5533,
  6216,
  6207,
  6470,
  5517,
  5966,
)


def read_obj(path: Path, faces: bool = True) -> tuple[np.ndarray, np.ndarray]:
  """Reads an `.obj` or `.obj.gz` of triangles and quads.

  Args:
    path: the file.
    faces: whether to read the triangles too.

  Returns:
    vertices [V, 3] float32, triangles [T, 3] int32 (quads are cut in two; [0, 3] without `faces`).

  Raises:
    ValueError: one line that names the file and the line number.
  """
  opened = gzip.open(path, 'rb') if path.suffix == '.gz' else open(path, 'rb')
  try:
    with opened as stream:
      data = stream.read(_MOST_BYTES + 1)
  except (EOFError, gzip.BadGzipFile, zlib.error) as error:
    raise ValueError(f'mesh {path} is damaged: {error}') from None
  if len(data) > _MOST_BYTES:
    raise ValueError(f'mesh {path} is larger than {_MOST_BYTES >> 20} MiB')
  vertices, triangles = [], []
  for number, line in enumerate(data.splitlines(), 1):
    try:
      if line.startswith(b'v '):
        x, y, z = line.split()[1:4]
        vertices.append((float(x), float(y), float(z)))
      elif faces and line.startswith(b'f '):
        corners = [int(c.split(b'/')[0]) - 1 for c in line.split()[1:]]
        triangles += [(corners[0], corners[i], corners[i + 1]) for i in range(1, len(corners) - 1)]
    except ValueError:
      raise ValueError(f'mesh {path}, line {number} cannot be read: {line[:60]!r}') from None
  points = np.array(vertices, np.float32).reshape(-1, 3)
  if not len(points) or not np.isfinite(points).all():
    raise ValueError(f'mesh {path} has {"values that are not finite" if len(points) else "no vertices"}')
  return points, np.array(triangles, np.int32).reshape(-1, 3)


def load_ict_folder(folder: Path) -> dict[str, np.ndarray]:
  """The arrays of a model (see `morphable.py`) from a folder of ICT-FaceKit meshes.

  Whichever of the identity (`identity*`) and expression meshes are there become modes, in the order of their names;
  `_L` and `_R` become ARKit's `Left` and `Right`. Lengths become units of 10 cm, the origin lies between eyes and ears.

  Raises:
    ValueError: no neutral mesh, or a mesh of another topology.
  """
  files = {f.name.split('.obj')[0]: f for f in sorted(folder.iterdir()) if f.name.endswith(('.obj', '.obj.gz'))}
  if NEUTRAL not in files:
    raise ValueError(
      f'{folder} has no {NEUTRAL}.obj or .obj.gz; --face_model takes a folder of ICT-FaceKit meshes or an .npz'
    )
  neutral, triangles = read_obj(files.pop(NEUTRAL))
  if len(neutral) <= max(_LANDMARKS):
    raise ValueError(
      f'mesh {folder / NEUTRAL} has {len(neutral)} vertices; ICT-FaceKit has {max(_LANDMARKS) + 1} or more'
    )
  if triangles.size and not 0 <= triangles.min() <= triangles.max() < len(neutral):
    raise ValueError(f'mesh {folder / NEUTRAL} has a face with vertex {triangles.max() + 1} of {len(neutral)}')
  modes: dict[bool, list[np.ndarray]] = {True: [], False: []}
  names = []
  for name, path in files.items():
    points, _ = read_obj(path, faces=False)
    if points.shape != neutral.shape:
      raise ValueError(f'mesh {path} has {len(points)} vertices; {NEUTRAL} has {len(neutral)}')
    identity = name.startswith('identity')
    modes[identity].append((points - neutral) * _CENTIMETRES)
    if not identity:
      names.append(name.replace('_L', 'Left').replace('_R', 'Right'))
  marks = np.array(_LANDMARKS)
  origin = (neutral[marks[36:48]].mean(0) + neutral[marks[[0, 16]]].mean(0)) / 2

  def stack(rows):
    return np.stack(rows) if rows else np.zeros((0, *neutral.shape), np.float32)

  return {
    'mean': (neutral - origin) * _CENTIMETRES,
    'identity_basis': stack(modes[True]),
    'expression_basis': stack(modes[False]),
    'expression_names': np.array(names, dtype=np.str_),
    'triangles': triangles,
    'landmarks': marks.astype(np.int32),
  }
