"""Small trained models that come with the project, for `--model=pretrained:NAME` and `--init_from=pretrained:NAME`.

    models/pretrained/NAME/flags.cfg       the settings of the run that it was
    models/pretrained/NAME/weights.npz     the weights of its networks, averaged where they are averaged, as float16
    models/pretrained/NAME/labels.txt      as in a run, where it is driven by labels
    models/pretrained/NAME/MODEL_CARD.md   data, measured figures, intended use, limits

`python -m evaluate.export --format=pretrained` makes such a folder of a run. Wherever a run is only read, its path or
name stands for one.
"""

import io
import os
import pathlib
import zipfile
import zlib
from typing import Any

import numpy as np

from models.config import ConfigError

__all__ = ['FOLDER', 'PREFIX', 'WEIGHTS', 'is_pretrained', 'load_weights', 'locate', 'names', 'output_folder',
           'save_weights']

FOLDER = pathlib.Path(__file__).parent
PREFIX = 'pretrained:'
WEIGHTS = 'weights.npz'
_HEADER = 4096  # Bytes that an array's header may take.


def names() -> list[str]:
  """The names of the models that are there."""
  return sorted(path.parent.name for path in FOLDER.glob(f'*/{WEIGHTS}'))


def locate(workdir: str | os.PathLike) -> pathlib.Path:
  """The folder of a run, or that of the model which `pretrained:NAME` names.

  Raises:
    ConfigError: if there is no model of that name.
  """
  name = os.fspath(workdir)
  if not name.startswith(PREFIX):
    return pathlib.Path(name).expanduser()
  if name.removeprefix(PREFIX) not in names():
    there = ', '.join(PREFIX + known for known in names())
    raise ConfigError(f'{name} does not come with the project: {there or "nothing of that kind"} does', ())
  return FOLDER / name.removeprefix(PREFIX)


def is_pretrained(workdir: str | os.PathLike) -> bool:
  """Whether a folder, or what a name stands for, is such a model and no run."""
  return (locate(workdir) / WEIGHTS).is_file()


def output_folder(workdir: str | os.PathLike) -> pathlib.Path:
  """Where to write what is found out about a run: the run; `runs/pretrained-NAME` of a model, which is only read."""
  folder = locate(workdir)
  return pathlib.Path('runs', f'pretrained-{folder.name}') if is_pretrained(folder) else folder


def _named_weights(system: Any) -> dict[str, Any]:
  """The weights of a system's networks as `copy_weights` takes them, by names that are the same in every process."""
  return {f'{layer.name}/{place:03d}': weight for layer in system.layers for place, weight in enumerate(layer.weights)}


def save_weights(system: Any, folder: str | os.PathLike) -> None:
  """Writes weights.npz.

  Args:
    system: its networks hold the weights that are used.
    folder: where.
  Raises:
    ValueError: if a weight is too large for float16.
  """
  arrays = {name: weight.numpy() for name, weight in _named_weights(system).items()}
  for name, array in arrays.items():
    if not np.abs(array).max() <= np.finfo(np.float16).max:
      raise ValueError(f'{name} reaches {np.abs(array).max():g}, which float16 does not hold')
  np.savez(pathlib.Path(folder, WEIGHTS), **{n: np.ascontiguousarray(a, np.float16) for n, a in arrays.items()})


def load_weights(system: Any, folder: str | os.PathLike) -> None:
  """Puts the weights of weights.npz into a system's networks; its averages begin at them.

  Nothing is unpickled, and no more memory is taken than the networks have.

  Args:
    system: built from the folder's settings.
    folder: the model.
  Raises:
    ValueError: one line: the file is damaged or does not fit.
  """
  path, weights = pathlib.Path(folder, WEIGHTS), _named_weights(system)
  try:
    with zipfile.ZipFile(path) as archive:
      if sorted(archive.namelist()) != sorted(f'{name}.npy' for name in weights):
        raise ValueError('its arrays are not the weights of these networks')
      arrays = {name: _read(archive, name, tuple(weight.shape)) for name, weight in weights.items()}
  except (ValueError, SyntaxError, EOFError, OSError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
    reason = (str(error).splitlines() or [type(error).__name__])[0]
    raise ValueError(f'{path} is damaged or of another version ({reason}): install Personae again, or export it '
                     'again') from None
  for name, weight in weights.items():
    weight.assign(arrays[name])
  system.start_averages()


def _read(archive: zipfile.ZipFile, name: str, shape: tuple[int, ...]) -> np.ndarray:
  """One array as float32; raises ValueError unless it is finite float16 of that shape."""
  entry, size = archive.getinfo(f'{name}.npy'), 2 * int(np.prod(shape, dtype=np.int64))
  if entry.file_size > size + _HEADER:
    raise ValueError(f'{name} has {entry.file_size} bytes where {size} belong')
  stream = io.BytesIO(archive.read(entry))  # Compares its checksum.
  if np.lib.format.read_magic(stream) != (1, 0):
    raise ValueError(f'{name} is of another format')
  found, fortran, dtype = np.lib.format.read_array_header_1_0(stream)
  data = stream.read()
  if (found, fortran, dtype, len(data)) != (shape, False, np.float16, size):
    raise ValueError(f'{name} is {dtype} of shape {found} in {len(data)} bytes, not float16 of shape {shape}')
  values = np.frombuffer(data, np.float16).reshape(shape).astype(np.float32)
  if not np.isfinite(values).all():
    raise ValueError(f'{name} has values that are not finite')
  return values
