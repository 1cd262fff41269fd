"""Reads licensed face models that users bring: Basel 2009 and 2017, LSFM, and a FaceWarehouse-style expression basis.

| file | what | keys |
| --- | --- | --- |
| `01_MorphableModel.mat` | Basel 2009 | shapeMU, shapePC, shapeEV, texMU, texPC, texEV, tl |
| `model2017-1_*.h5`, `model2019_*.h5` | Basel 2017 | shape/, color/, expression/ with model/mean, /pcaBasis, \
/pcaVariance; shape/representer/cells |
| `all_all_all.mat` | LSFM | mean, trilist, components, eigenvalues |
| `Exp_Pca.bin`, `std_exp.txt` | 53,215 vertices | int32 E, then float32: mean [V, 3], modes [E, V, 3] |
| `Model_Expression.mat` | the same by 3DDFA | w_exp, sigma_exp |
| `BFM_exp_idx.mat`, `model_info.mat` | which of Basel's 53,490 vertices these are, from 1 | trimIndex |

Names after public readers: face3d and 3DDFA (Basel 2009), eos' convert-bfm2017-to-eos.py (2017), menpo3d's
lsfm_model_importer (LSFM), Deep3DFaceReconstruction's transferBFM09 and LoadExpBasis (expressions, index).

Name the model's file; expressions, the index, and for LSFM Basel's colours are taken from files of these names beside
it. `landmarks68.txt` beside it (68 vertex numbers from 0, iBUG order) says where the landmarks are. Without it they
are found by laying the default model's face over the mesh, guided by the vertices that eos knows (share/ibug_to_bfm*).

Nothing is unpickled: `.mat` files are MATLAB 5 matrices of numbers, `.h5` plain HDF5 data sets.
"""

import struct
from pathlib import Path

import numpy as np
from scipy.interpolate import RBFInterpolator
from scipy.spatial import KDTree

from models.face3d.licensed_files import MOST_BYTES, list_mat, read_h5, read_mat

_GAMMA = 2.2
# Vertices of landmarks that eos knows (number from 0 in iBUG order -> vertex), by the number of vertices.
_KNOWN = {
  53490: {
    17: 38792, 19: 40087, 21: 40514, 22: 41091, 24: 41511, 26: 42825, 30: 8319, 33: 8334, 36: 2088, 39: 5959,
    42: 10603, 45: 14472, 48: 5006, 51: 8344, 54: 11714, 57: 8374, 62: 8354, 66: 8366,
  },
  53149: {
    8: 47846, 30: 8156, 36: 2602, 39: 5830, 42: 10390, 45: 13481, 48: 5522, 49: 6026, 50: 7355, 51: 8181, 52: 9007,
    53: 10329, 54: 10857, 55: 9730, 56: 8670, 57: 8199, 58: 7726, 59: 6898, 60: 6291, 61: 7364, 62: 8190, 63: 9016,
    64: 10088, 65: 8663, 66: 8191, 67: 7719,
  },
}  # fmt: skip


def is_licensed(path: Path) -> bool:
  """Whether the name is that of a file that `load_licensed` reads."""
  return path.suffix.lower() in ('.mat', '.h5', '.hdf5')


def load_licensed(path: Path) -> dict[str, np.ndarray]:
  """The arrays of a face model (see `morphable.py`) from a Basel or LSFM file and what lies beside it.

  Args:
    path: the model's file; see the module's text.

  Returns:
    the arrays; a unit is 10 cm, coefficients of every basis are unit normal, colours are linear, the origin and the
    axes are those of the file.

  Raises:
    ValueError: one line that names the file and what is wrong with it.
  """
  if path.suffix.lower() == '.mat':
    keys = {entry[0] for entry in list_mat(path)}
    arrays = _read_lsfm(path) if 'components' in keys else _read_2009(path)
  else:
    arrays = _read_2017(path)
  arrays['triangles'] = _outwards(arrays['mean'], arrays['triangles'], path)
  arrays['mean'], scale = _to_units(arrays['mean'], path)
  for name in ('identity_basis', 'expression_basis'):
    arrays[name] = (arrays[name] * scale).astype(np.float32)
  modes = len(arrays['expression_basis'])
  arrays['expression_names'] = np.array([f'expression_{i}' for i in range(modes)], dtype=np.str_)
  known = arrays.pop('known')
  arrays['landmarks'] = _landmarks(arrays['mean'], {int(k): int(v) for k, v in known}, path)
  return arrays


# Formats.


def _basis(matrix: np.ndarray, deviations: np.ndarray, count: int, what: str, path: Path) -> np.ndarray:
  """Columns `[3 V, M]` times their deviations as modes `[M, V, 3]`."""
  deviations = np.asarray(deviations, np.float64).ravel()
  if matrix.ndim != 2 or matrix.shape[0] != 3 * count or matrix.shape[1] != len(deviations):
    raise ValueError(
      f'{path}: {what} has shape {matrix.shape} and {len(deviations)} deviations; expected ({3 * count}, M) and M'
    )
  return np.ascontiguousarray((matrix * deviations).T, np.float32).reshape(len(deviations), count, 3)


def _mean(array: np.ndarray, what: str, path: Path) -> np.ndarray:
  if not array.size or array.size % 3:
    raise ValueError(f'{path}: {what} has {array.size} numbers; expected three for each vertex')
  return array.reshape(-1, 3).astype(np.float64)


def _colours(mean: np.ndarray, basis: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """Display values in [0, 1] to linear ones; the basis to first order about the mean."""
  mean = np.clip(mean, 0.01, 1.0)
  return mean**_GAMMA, (basis * (_GAMMA * mean ** (_GAMMA - 1.0))).astype(np.float32)


def _read_2009(path: Path, colours_only: bool = False) -> dict[str, np.ndarray]:
  texture = dict.fromkeys(('texMU', 'texPC', 'texEV'), 'needed')
  shape = {} if colours_only else dict.fromkeys(('shapeMU', 'shapePC', 'shapeEV', 'tl'), 'needed')
  content = read_mat(path, {**shape, **texture})
  colour = _mean(content['texMU'], 'texMU', path) / 255.0
  count = len(colour)
  albedo = _colours(colour, _basis(content['texPC'], content['texEV'] / 255.0, count, 'texPC', path))
  arrays = {'albedo_mean': albedo[0], 'albedo_basis': albedo[1]}
  if colours_only:
    return arrays
  arrays['mean'] = _mean(content['shapeMU'], 'shapeMU', path)
  if len(arrays['mean']) != count:
    raise ValueError(f'{path}: shapeMU has {len(arrays["mean"])} vertices, texMU {count}')
  arrays['identity_basis'] = _basis(content['shapePC'], content['shapeEV'], count, 'shapePC', path)
  arrays['triangles'] = _triangles(content['tl'], 1, count, path)
  arrays['known'] = np.array(list(_KNOWN.get(count, {}).items()), np.int64).reshape(-1, 2)
  arrays['expression_basis'] = np.zeros((0, count, 3), np.float32)
  found = _expressions(path)
  if found is None:
    return arrays
  modes, source = found
  if modes.shape[1] != count:
    arrays = _trim(arrays, modes.shape[1], source, path)
  return arrays | {'expression_basis': modes}


def _read_2017(path: Path) -> dict[str, np.ndarray]:
  parts = [f'{part}/model/{name}' for part in ('shape', 'color', 'expression')
           for name in ('mean', 'pcaBasis', 'pcaVariance')]  # fmt: skip
  content = read_h5(path, [*parts, 'shape/representer/cells'])

  def part(name):
    mean = _mean(content[f'{name}/model/mean'], f'{name}/model/mean', path)
    deviations = np.sqrt(np.maximum(content[f'{name}/model/pcaVariance'], 0.0))
    return mean, _basis(content[f'{name}/model/pcaBasis'], deviations, len(mean), f'{name}/model/pcaBasis', path)

  (mean, identity), (colour, albedo), (still, expression) = part('shape'), part('color'), part('expression')
  if not len(mean) == len(colour) == len(still):
    raise ValueError(f'{path}: shape has {len(mean)} vertices, color {len(colour)}, expression {len(still)}')
  colour, albedo = _colours(colour, albedo)
  return {
    'mean': mean + still,
    'identity_basis': identity,
    'expression_basis': expression,
    'triangles': _triangles(content['shape/representer/cells'], 0, len(mean), path),
    'albedo_mean': colour,
    'albedo_basis': albedo,
    'known': np.array(list(_KNOWN.get(len(mean), {}).items()), np.int64).reshape(-1, 2),
  }


def _read_lsfm(path: Path) -> dict[str, np.ndarray]:
  content = read_mat(path, dict.fromkeys(('mean', 'trilist', 'components', 'eigenvalues'), 'needed'))
  mean = _mean(content['mean'], 'mean', path)
  count = len(mean)
  deviations = np.sqrt(np.maximum(np.asarray(content['eigenvalues'], np.float64), 0.0))
  arrays = {
    'mean': mean,
    'identity_basis': _basis(content['components'], deviations, count, 'components', path),
    'triangles': _triangles(content['trilist'], 0, count, path),
    'expression_basis': np.zeros((0, count, 3), np.float32),
    'known': np.zeros((0, 2), np.int64),
  }
  found = _expressions(path)
  if found is not None:
    if found[0].shape[1] != count:
      raise ValueError(f'{found[1]} has {found[0].shape[1]} vertices, {path} {count}')
    arrays['expression_basis'] = found[0] / _to_units(mean, path)[1] * 1e-5  # Basel's micrometres
  basel = path.parent / '01_MorphableModel.mat'
  if basel.exists():
    colours = _read_2009(basel, colours_only=True)
    kept = np.arange(len(colours['albedo_mean']))
    if len(kept) != count:
      kept = _trim_index(path, count, len(kept), basel)
    arrays |= {'albedo_mean': colours['albedo_mean'][kept], 'albedo_basis': colours['albedo_basis'][:, kept]}
    arrays['known'] = _renumber(np.array(list(_KNOWN.get(len(colours['albedo_mean']), {}).items())), kept)
  return arrays


def _triangles(array: np.ndarray, first: int, count: int, path: Path) -> np.ndarray:
  """`[T, 3]` or `[3, T]` vertex numbers from `first` on."""
  if array.ndim == 2 and array.shape[1] != 3 and array.shape[0] == 3:
    array = array.T
  if array.ndim != 2 or array.shape[1] != 3 or not array.size:
    raise ValueError(f'{path}: its triangles have shape {array.shape}; expected (T, 3)')
  numbers = array.astype(np.int64) - first
  if numbers.min() < 0 or numbers.max() >= count:
    raise ValueError(f'{path}: its triangles name vertices from {numbers.min()} to {numbers.max()} of {count}')
  return numbers.astype(np.int32)


def _expressions(path: Path) -> tuple[np.ndarray, Path] | None:
  """Modes `[E, V, 3]` in Basel's micrometres from a file beside the model, and that file."""
  binary, matrix = path.parent / 'Exp_Pca.bin', path.parent / 'Model_Expression.mat'
  if binary.exists():
    return _read_exp_pca(binary), binary
  if matrix.exists():
    content = read_mat(matrix, {'w_exp': 'needed', 'sigma_exp': 'needed'})
    return _basis(content['w_exp'], content['sigma_exp'], len(content['w_exp']) // 3, 'w_exp', matrix), matrix
  return None


def _read_exp_pca(path: Path) -> np.ndarray:
  size = path.stat().st_size
  if size > MOST_BYTES or size < 8:
    raise ValueError(f'{path} has {size} bytes; an expression basis has more than 8 and less than 4 GiB')
  data = path.read_bytes()
  modes = struct.unpack_from('<i', data)[0]
  numbers = (size - 4) // 4
  if not 0 < modes <= 1000 or (size - 4) % (12 * (modes + 1)):
    raise ValueError(f'{path} says that it has {modes} modes, which {numbers} numbers do not hold')
  count = numbers // 3 // (modes + 1)
  values = np.frombuffer(data, '<f4', offset=4)
  basis = values[3 * count :].reshape(modes, count, 3)
  if not np.isfinite(basis).all():
    raise ValueError(f'{path} has values that are not finite')
  spread = path.parent / 'std_exp.txt'
  if not spread.exists():
    raise ValueError(f'{path} needs std_exp.txt beside it: {modes} standard deviations')
  try:
    deviations = np.array(spread.read_text().split(), np.float32)
  except (ValueError, UnicodeDecodeError):
    raise ValueError(f'{spread} is not a list of numbers') from None
  if len(deviations) < modes or not np.isfinite(deviations).all():
    raise ValueError(f'{spread} has {len(deviations)} standard deviations; {path.name} has {modes} modes')
  return basis * deviations[:modes, None, None]


def _trim_index(path: Path, wanted: int, count: int, source: Path) -> np.ndarray:
  for name in ('BFM_exp_idx.mat', 'model_info.mat'):
    file = path.parent / name
    if file.exists():
      kept = read_mat(file, {'trimIndex': 'needed'})['trimIndex'].ravel().astype(np.int64) - 1
      if len(kept) != wanted or kept.min() < 0 or kept.max() >= count or len(np.unique(kept)) != wanted:
        raise ValueError(f'{file}: trimIndex is not {wanted} different vertices of {count}')
      return kept
  raise ValueError(
    f'{source} goes with {wanted} of the {count} vertices: put BFM_exp_idx.mat or model_info.mat (trimIndex) beside it'
  )


def _renumber(known: np.ndarray, kept: np.ndarray) -> np.ndarray:
  place = {int(vertex): new for new, vertex in enumerate(kept)}
  rows = [(mark, place[int(vertex)]) for mark, vertex in known.reshape(-1, 2) if int(vertex) in place]
  return np.array(rows, np.int64).reshape(-1, 2)


def _trim(arrays: dict[str, np.ndarray], wanted: int, source: Path, path: Path) -> dict[str, np.ndarray]:
  count = len(arrays['mean'])
  kept = _trim_index(path, wanted, count, source)
  new = np.full(count, -1)
  new[kept] = np.arange(wanted)
  triangles = new[arrays['triangles']]
  return {
    'mean': arrays['mean'][kept],
    'identity_basis': arrays['identity_basis'][:, kept],
    'albedo_mean': arrays['albedo_mean'][kept],
    'albedo_basis': arrays['albedo_basis'][:, kept],
    'triangles': triangles[(triangles >= 0).all(axis=1)].astype(np.int32),
    'known': _renumber(arrays['known'], kept),
  }


# Geometry.


def _outwards(mean: np.ndarray, triangles: np.ndarray, path: Path) -> np.ndarray:
  """Counter-clockwise seen from outside: of a face, most of its surface looks away from a point behind it."""
  a, b, c = (mean[triangles[:, i]] for i in range(3))
  normals = np.cross(b - a, c - a)
  behind = mean.mean(0) - [0, 0, np.ptp(mean[:, 2])]
  if not np.abs(normals).sum() > 0:
    raise ValueError(f'{path}: its triangles have no area')
  return triangles if np.einsum('ij,ij->', normals, (a + b + c) / 3 - behind) > 0 else triangles[:, ::-1].copy()


def _to_units(mean: np.ndarray, path: Path) -> tuple[np.ndarray, float]:
  """Micrometres, millimetres or metres to 10 cm: a face is some 2 units high."""
  height = float(np.ptp(mean[:, 1]))
  if not height > 0:
    raise ValueError(f'{path}: its mean shape is flat')
  scale = 10.0 ** round(np.log10(2.0 / height))
  return (mean * scale).astype(np.float32), scale


def _landmarks(mean: np.ndarray, known: dict[int, int], path: Path) -> np.ndarray:
  file = path.parent / 'landmarks68.txt'
  if file.exists():
    try:
      numbers = np.array(file.read_text().split(), np.int64)
    except (ValueError, UnicodeDecodeError):
      raise ValueError(f'{file} is not a list of vertex numbers') from None
    if len(numbers) != 68 or numbers.min() < 0 or numbers.max() >= len(mean):
      raise ValueError(f'{file}: 68 vertex numbers from 0 to {len(mean) - 1} are needed')
    return numbers.astype(np.int32)
  with np.load(Path(__file__).parent / 'face_model.npz', allow_pickle=False) as default:
    source, marks, parts = default['mean'].astype(np.float64), default['landmarks'], default['part']
    face = source[(parts == 0) & (source[:, 2] > 0.0) & (source[:, 1] > -1.1) & (source[:, 1] < 0.5)]
  points = source[marks]
  if len(known) >= 8:
    ours, theirs = points[list(known)], mean[list(known.values())].astype(np.float64)
    placed = RBFInterpolator(ours, theirs, kernel='linear', degree=1, smoothing=1e-3)(points)
  else:
    placed = _lay_over(face, points, mean.astype(np.float64))
  numbers = np.array(KDTree(mean).query(placed)[1], np.int32)
  for mark, vertex in known.items():
    numbers[mark] = vertex
  return numbers


def _lay_over(face: np.ndarray, points: np.ndarray, mesh: np.ndarray) -> np.ndarray:
  """Where `points` of `face` come to lie on a mesh that looks the same way: nose on nose, then closest points."""
  tree = KDTree(mesh)
  tip = mesh[np.argmax(mesh[:, 2] - np.abs(mesh[:, 0] - np.median(mesh[:, 0])))]
  shift = tip - points[30]
  moved, marks = face + shift, points + shift
  for _ in range(40):
    distance, nearest = (np.asarray(v) for v in tree.query(moved))
    close = distance <= np.quantile(distance, 0.8)
    design = np.concatenate([moved[close], np.ones((close.sum(), 1))], 1)
    # An affine map close to none, so that the head's proportions may differ a little.
    pull = 0.02 * close.sum() * np.diag([1, 1, 1, 0.0])
    right = design.T @ mesh[nearest[close]] + pull @ np.eye(4, 3)
    affine = np.linalg.solve(design.T @ design + pull, right)
    moved = np.concatenate([moved, np.ones((len(moved), 1))], 1) @ affine
    marks = np.concatenate([marks, np.ones((68, 1))], 1) @ affine
  return marks
