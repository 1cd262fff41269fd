"""Matrices of numbers in MATLAB 5 and HDF5 files that users bring: nothing is unpickled, sizes are checked first."""

import struct
import zlib
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import scipy.io

MOST_BYTES = 4 << 30
_FAILURES = (
  ValueError, TypeError, KeyError, IndexError, OSError, NotImplementedError, EOFError, zlib.error, struct.error,
  MemoryError, OverflowError, RuntimeError, AttributeError,
  scipy.io.matlab.MatReadError,
)  # fmt: skip


def list_mat(path: Path) -> list[tuple[str, tuple[int, ...], str]]:
  """Name, shape and kind of what is in a MATLAB 5 file; raises ValueError, one line, for another file."""
  try:
    listed = scipy.io.whosmat(str(path))
  except _FAILURES as error:
    raise ValueError(f'{path} is not a MATLAB 5 file ({_first_line(error)})') from None
  return listed


def read_mat(path: Path, wanted: dict[str, str]) -> dict[str, np.ndarray]:
  """Matrices of numbers of a MATLAB 5 file.

  Args:
    path: the file.
    wanted: names, and for each 'needed' or 'optional'.

  Raises:
    ValueError: one line: the file is something else, lacks a matrix, or one is no matrix of finite numbers.
  """
  listed = {name: (shape, kind) for name, shape, kind in list_mat(path)}
  total = 0
  for name, need in wanted.items():
    if name not in listed:
      if need == 'needed':
        raise ValueError(f'{path} has no matrix {name!r}; it has {", ".join(sorted(listed)[:9]) or "nothing"}')
      continue
    shape, kind = listed[name]
    if kind not in ('double', 'single', 'logical') and not kind.startswith(('int', 'uint')):
      raise ValueError(f'{path}: {name!r} is a {kind}, not a matrix of numbers')
    total += 8 * int(np.prod([int(s) for s in shape], dtype=object))
  if total > MOST_BYTES or any(int(s) < 0 for n in wanted if n in listed for s in listed[n][0]):
    raise ValueError(f'{path} would take more than {MOST_BYTES >> 30} GiB of memory')
  try:
    content = scipy.io.loadmat(str(path), variable_names=[name for name in wanted if name in listed])
  except _FAILURES as error:
    raise ValueError(f'{path} is damaged ({_first_line(error)})') from None
  found = {name: np.asarray(content[name]) for name in wanted if name in content}
  for name, array in found.items():
    if array.dtype.kind not in 'fiub' or (array.dtype.kind == 'f' and not np.isfinite(array).all()):
      raise ValueError(f'{path}: {name!r} is not a matrix of finite numbers')
  return found


def read_h5(path: Path, names: list[str]) -> dict[str, np.ndarray]:
  """Data sets of numbers of an HDF5 file; raises ValueError, one line, if one is missing or something else."""
  found, total = {}, 0
  try:
    with h5py.File(path, 'r') as file:
      for name in names:
        entry: Any = file.get(name, getclass=False)
        if not isinstance(entry, h5py.Dataset):
          raise ValueError(f'has no data set {name!r}')
        if entry.dtype.kind not in 'fiu' or entry.external or entry.is_virtual:
          raise ValueError(f'{name!r} is not a data set of numbers in this file')
        total += entry.size * entry.dtype.itemsize
        if total > MOST_BYTES:
          raise ValueError(f'would take more than {MOST_BYTES >> 30} GiB of memory')
        found[name] = np.asarray(entry[()])
        if found[name].dtype.kind == 'f' and not np.isfinite(found[name]).all():
          raise ValueError(f'{name!r} has values that are not finite')
  except _FAILURES as error:
    raise ValueError(f'{path} is not a Basel 2017 model: {_first_line(error)}') from None
  return found


def _first_line(error: BaseException) -> str:
  return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
