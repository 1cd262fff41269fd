"""Morphable face models: coefficients to vertices, colours and landmarks.

A model file is an `.npz` with these arrays (V vertices, T triangles, I identity, E expression and A albedo modes):

| name | shape | what |
| --- | --- | --- |
| `mean` | V x 3 float | y up, z to the front, origin between eyes and ears; the default model's unit is 10 cm |
| `identity_basis` | I x V x 3 float | displacement for one standard deviation of each mode |
| `expression_basis` | E x V x 3 float | displacement of each unit fully on |
| `expression_names` | E text | ARKit names where they apply |
| `triangles` | T x 3 int | counter-clockwise seen from outside |
| `landmarks` | 68 int | vertices of the 68 points in iBUG order |
| `albedo_mean`, `albedo_basis` | V x 3, A x V x 3 float | linear colours in [0, 1]; optional |
| `region_names`, `regions` | R text, R x V float | soft masks in [0, 1]; optional |

The default model instead carries a painted atlas (`paint.py`), hair and attributes; their names are in `_DEFAULT_ONLY`.
"""

import dataclasses
import functools
import math
import zipfile
import zlib
from pathlib import Path

import numpy as np
import tensorflow as tf

from models.face3d.basel import is_licensed, load_licensed
from models.face3d.ict import load_ict_folder

DEFAULT_MODEL = Path(__file__).parent / 'face_model.npz'
_REQUIRED = ('mean', 'identity_basis', 'expression_basis', 'expression_names', 'triangles', 'landmarks')
_OPTIONAL = ('albedo_mean', 'albedo_basis', 'region_names', 'regions')
_DEFAULT_ONLY = (
  'part',
  'attribute_names',
  'attribute_line',
  'attribute_residual',
  'atlas_uv',
  'paint',
  'paint_names',
  'paint_colours',
  'paint_mean',
  'occlusion',
  'hair_ids',
  'hair_weights',
  'hair_root',
  'hair_out',
)
_MOST_BYTES = 2**31


@dataclasses.dataclass(frozen=True, eq=False)
class MorphableModel:
  """A face model as tensors; every method is batched and differentiable.

  Attributes:
    mean: `[V, 3]`.
    identity_basis: `[I, V, 3]`, standard deviations folded in: coefficients are unit normal.
    expression_basis: `[E, V, 3]`; coefficients are in [0, 1] by custom.
    expression_names: E names.
    triangles: `[T, 3]` int32.
    landmarks: `[68]` int32 vertex numbers, iBUG order.
    albedo_mean: `[V, 3]`.
    albedo_basis: `[A, V, 3]`.
    albedo_names: A names.
    log_albedo: whether mean and basis are of the logarithm of the albedo (pigments multiply), as in the default model.
    regions: name -> `[V]` mask in [0, 1].
    extras: numpy arrays that only the default model has (atlas, hair, attributes), by name; see `build.py`.
  """

  mean: tf.Tensor
  identity_basis: tf.Tensor
  expression_basis: tf.Tensor
  expression_names: tuple[str, ...]
  triangles: tf.Tensor
  landmarks: tf.Tensor
  albedo_mean: tf.Tensor
  albedo_basis: tf.Tensor
  albedo_names: tuple[str, ...]
  log_albedo: bool
  regions: dict[str, tf.Tensor]
  extras: dict[str, np.ndarray]

  def vertices(self, identity: tf.Tensor, expression: tf.Tensor) -> tf.Tensor:
    """`[B, I]` and `[B, E]` coefficients to vertices `[B, V, 3]`. Fewer coefficients than modes: the rest are 0."""
    shape = self._displace(self.identity_basis, identity, 'identity') + self._displace(
      self.expression_basis, expression, 'expression'
    )
    return self.mean + tf.reshape(shape, [-1, *self.mean.shape])

  def albedo(self, coefficients: tf.Tensor) -> tf.Tensor:
    """`[B, A]` coefficients to the colours of the vertices `[B, V, 3]` in [0, 1], linear in light."""
    colour = self.albedo_mean + tf.reshape(
      self._displace(self.albedo_basis, coefficients, 'albedo'), [-1, *self.albedo_mean.shape]
    )
    return tf.minimum(tf.exp(colour), 1.0) if self.log_albedo else tf.clip_by_value(colour, 0.0, 1.0)

  def landmark_points(self, vertices: tf.Tensor) -> tf.Tensor:
    """`[B, V, 3]` (or `[B, V, 2]`) to the 68 landmarks `[B, 68, 3]` among them."""
    return tf.gather(vertices, self.landmarks, axis=1)

  def expression(self, weights: dict[str, float]) -> np.ndarray:
    """Named units to coefficients `[E]`; raises ValueError for an unknown name."""
    unknown = set(weights) - set(self.expression_names)
    if unknown:
      raise ValueError(
        f'expression units {sorted(unknown)} are not in this model; it has {", ".join(self.expression_names)}'
      )
    return np.array([weights.get(n, 0.0) for n in self.expression_names], np.float32)

  def _displace(self, basis, coefficients, name):
    coefficients = tf.convert_to_tensor(coefficients, tf.float32)
    if coefficients.shape.rank != 2 or (coefficients.shape[1] or 0) > basis.shape[0]:
      raise ValueError(f'{name} coefficients have shape {coefficients.shape}; expected [B, at most {basis.shape[0]}]')
    used = basis[: coefficients.shape[1]]
    return tf.matmul(coefficients, tf.reshape(used, [used.shape[0], int(np.prod(basis.shape[1:]))]))


@functools.lru_cache(maxsize=4)
def load_face_model(path: str = '') -> MorphableModel:
  """Loads a face model.

  Args:
    path: an `.npz` of our format, a folder of ICT-FaceKit meshes (`.obj` or `.obj.gz`), a Basel or LSFM file (`.mat`,
      `.h5`; see `basel.py`), or '' for the default model.

  Returns:
    The model; the same object for the same path.

  Raises:
    ValueError: one line that names the file and what is wrong with it. Nothing in a file is ever unpickled.
    OSError: the file cannot be read.
  """
  source = Path(path).expanduser() if path else DEFAULT_MODEL
  if source.is_dir():
    return _make(load_ict_folder(source), source)
  if not source.exists():
    raise FileNotFoundError(f'face model {source} does not exist')
  if is_licensed(source):
    return _make(load_licensed(source), source)
  return _make(read_npz(source), source)


def read_npz(path: Path) -> dict[str, np.ndarray]:
  """All arrays of an `.npz`, refusing pickles and headers that promise more than the file holds.

  Raises:
    ValueError: one line.
  """
  known = _REQUIRED + _OPTIONAL + _DEFAULT_ONLY
  arrays, total = {}, 0
  try:
    archive = zipfile.ZipFile(path)
  except zipfile.BadZipFile:
    raise ValueError(f'face model {path} is not an .npz file') from None
  with archive:
    for entry in archive.infolist():
      name = entry.filename.removesuffix('.npy')
      if name not in known:
        raise ValueError(f'face model {path} has an unknown array {entry.filename!r}')
      total += entry.file_size
      if total > _MOST_BYTES:
        raise ValueError(f'face model {path} would take more than {_MOST_BYTES >> 20} MiB of memory')
      try:
        with archive.open(entry) as stream:
          version = np.lib.format.read_magic(stream)
          header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
          shape, fortran, dtype = header(stream)
          if dtype.hasobject:
            raise ValueError('holds pickled Python objects, which are never loaded')
          size = math.prod(shape) * dtype.itemsize
          if size != entry.file_size - stream.tell():
            raise ValueError(f'has a header that promises {size} bytes where {entry.file_size - stream.tell()} follow')
          data = np.frombuffer(stream.read(size), dtype)
          arrays[name] = data.reshape(shape[::-1]).T if fortran else data.reshape(shape)
      except (ValueError, SyntaxError, zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError) as error:
        raise ValueError(f'face model {path}: array {name!r} {str(error).splitlines()[0]}') from None
  return arrays


def _check(arrays: dict[str, np.ndarray], path: Path) -> None:
  def refuse(name, problem):
    raise ValueError(f'face model {path}: array {name!r} {problem}')

  for name in _REQUIRED:
    if name not in arrays:
      refuse(name, 'is missing')
  sizes: dict[str, int] = {}
  shapes = {
    'mean': 'V3',
    'identity_basis': 'IV3',
    'expression_basis': 'EV3',
    'expression_names': 'E',
    'triangles': 'T3',
    'landmarks': 'L',
    'albedo_mean': 'V3',
    'albedo_basis': 'AV3',
    'region_names': 'R',
    'regions': 'RV',
    'part': 'V',
    'atlas_uv': 'V2',
    'paint': 'hwK',
    'paint_names': 'K',
    'paint_colours': 'K3',
    'paint_mean': 'hw3',
    'occlusion': 'V',
    'hair_ids': 'uv3',
    'hair_weights': 'uv3',
    'hair_root': 'uv3',
    'hair_out': 'uv3',
  }
  for name, letters in shapes.items():
    if name not in arrays:
      continue
    array = arrays[name]
    text = 'names' in name
    integer = name in ('triangles', 'landmarks', 'part', 'paint', 'hair_ids')
    if array.dtype.kind not in ('U' if text else 'iu' if integer else 'fu'):
      refuse(name, f'has type {array.dtype}; expected {"text" if text else "integers" if integer else "floats"}')
    if array.ndim != len(letters):
      refuse(name, f'has shape {array.shape}; expected {len(letters)} dimensions')
    for letter, size in zip(letters, array.shape, strict=True):
      wanted = 68 if letter == 'L' else int(letter) if letter.isdigit() else sizes.setdefault(letter, size)
      if size != wanted:
        refuse(name, f'has shape {array.shape}; expected {wanted} where it has {size}')
    if array.dtype.kind == 'f' and not np.isfinite(array).all():
      refuse(name, 'has values that are not finite')
    if (
      name in ('triangles', 'landmarks', 'hair_ids')
      and array.size
      and not (0 <= array.min() and array.max() < sizes['V'])
    ):
      refuse(name, f'names vertices up to {array.max()} (from {array.min()}) of {sizes["V"]}')
  if not sizes['V'] or not sizes['T']:
    refuse('triangles' if sizes['V'] else 'mean', 'is empty')


def _make(arrays: dict[str, np.ndarray], path: Path) -> MorphableModel:
  _check(arrays, path)
  count = len(arrays['mean'])
  extras = {k: v for k, v in arrays.items() if k in _DEFAULT_ONLY}
  names: tuple[str, ...] = ()
  log_albedo = 'paint' in extras
  if log_albedo:
    height, width, _ = extras['paint'].shape
    column, row = (np.clip((extras['atlas_uv'] * [width, height]).astype(int), 0, [width - 1, height - 1])).T
    masks = extras['paint'][row, column].astype(np.float32) / 127  # [V, K]
    albedo_mean = extras['paint_mean'][row, column].astype(np.float32)
    albedo_basis = masks.T[:, :, None] * extras['paint_colours'][:, None, :]
    names = tuple(str(n) for n in extras['paint_names'])
  else:
    albedo_mean = arrays.get('albedo_mean', np.full((count, 3), 0.6))
    albedo_basis = arrays.get('albedo_basis', np.zeros((0, count, 3)))
    names = tuple(f'albedo_{i}' for i in range(len(albedo_basis)))
  regions = dict(zip((str(n) for n in arrays.get('region_names', ())), arrays.get('regions', ()), strict=True))
  constant = functools.partial(tf.constant, dtype=tf.float32)
  with tf.init_scope():
    return MorphableModel(
      mean=constant(arrays['mean']),
      identity_basis=constant(arrays['identity_basis'].astype(np.float32)),
      expression_basis=constant(arrays['expression_basis'].astype(np.float32)),
      expression_names=tuple(str(n) for n in arrays['expression_names']),
      triangles=tf.constant(arrays['triangles'].astype(np.int32)),
      landmarks=tf.constant(arrays['landmarks'].astype(np.int32)),
      albedo_mean=constant(albedo_mean),
      albedo_basis=constant(albedo_basis.astype(np.float32)),
      albedo_names=names,
      log_albedo=log_albedo,
      regions={k: constant(v.astype(np.float32)) for k, v in regions.items()},
      extras=extras,
    )
