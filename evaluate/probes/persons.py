"""Are two photographs of one person? LFW (http://vis-www.cs.umass.edu/lfw/) and CPLFW (http://www.whdeng.cn/CPLFW/).

The paper says that it uses the representation as it is: here the angle between two codes decides, R_id's and, beside
it, R_exp's, and the threshold of each tenth of the 6,000 pairs, in the order of the list, is that of the other nine
[choice]. Pictures are cut out like the frames that the run was trained on; where dlib finds no face it is the middle of
the picture, which in LFW is 2.2 times as large as the face's box.
"""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from evaluate import verification
from evaluate.probes.features import identity_readers
from evaluate.results import Row
from input_pipeline import faces, landmarks
from input_pipeline.face_squares import as_box, face_square
from input_pipeline.photos import read_photo
from input_pipeline.workers import Progress

FOLDS = 10
_LFW_BOX = 2.2


class Listed(NamedTuple):
  """Pairs of a list.

  Attributes:
    files: [P, 2] str, relative to a folder of `_PICTURES`.
    people: [P, 2] str.
    same: [P] bool.
  """

  files: np.ndarray
  people: np.ndarray
  same: np.ndarray


_PICTURES = {
  'lfw': ('', 'lfw', 'lfw-deepfunneled', 'lfw_funneled'),
  'cplfw': ('images', 'aligned images', ''),
}


def probe_lfw(model: Any, folder: str | Path, epochs: int = 0) -> list[Row]:
  """LFW's rows of a `FaceCycle`; errors as `read_lfw`."""
  del epochs
  return _rows('lfw', model, folder, read_lfw(folder))


def probe_cplfw(model: Any, folder: str | Path, epochs: int = 0) -> list[Row]:
  """CPLFW's rows of a `FaceCycle`; errors as `read_cplfw`."""
  del epochs
  return _rows('cplfw', model, folder, read_cplfw(folder))


def read_lfw(folder: str | Path) -> Listed:
  """LFW's pairs.txt: lines `NAME 1 2` of one person and `NAME 1 OTHER 2` of two.

  Raises:
    FileNotFoundError: if it is not there.
    ValueError: if a line makes no sense.
  """
  path = _find_list(folder, 'pairs.txt')
  files, people, same = [], [], []
  for number, words in _lines(path)[1:]:  # The first line says how many there are.
    if len(words) not in (3, 4) or not (words[1] + words[-1]).isdecimal():
      raise ValueError(f'{path}, line {number}: {" ".join(words)[:60]!r} is not a pair of LFW')
    names = words[0], words[0] if len(words) == 3 else words[2]
    files.append([f'{name}/{name}_{int(k):04d}.jpg' for name, k in zip(names, (words[1], words[-1]), strict=True)])
    people.append(names)
    same.append(len(words) == 3)
  return _checked(path, files, people, same)


def read_cplfw(folder: str | Path) -> Listed:
  """CPLFW's pairs_CPLFW.txt: two lines a pair, `NAME_1.jpg 1` where it is of one person, else 0.

  Raises:
    FileNotFoundError: if it is not there.
    ValueError: if a line makes no sense.
  """
  path = _find_list(folder, 'pairs_CPLFW.txt')
  lines = _lines(path)
  files, people, same = [], [], []
  for (number, first), (_, second) in zip(lines[::2], lines[1::2], strict=False):
    if len(first) != 2 or len(second) != 2 or first[1] != second[1] or first[1] not in ('0', '1'):
      raise ValueError(f'{path}, line {number}: {" ".join(first)[:60]!r} and the next line are no pair of CPLFW')
    files.append([first[0], second[0]])
    people.append([name.rpartition('_')[0] for name in files[-1]])
    same.append(first[1] == '1')
  return _checked(path, files, people, same)


def _find_list(folder: str | Path, name: str) -> Path:
  path = Path(folder, name)
  if not path.is_file():
    raise FileNotFoundError(f'--input={folder} has no {name}: put it beside the pictures')
  return path


def _lines(path: Path) -> list[tuple[int, list[str]]]:
  """Number and words of each line that has any."""
  lines = path.read_text('utf-8', 'replace').splitlines()
  return [(number, line.split()) for number, line in enumerate(lines, start=1) if line.strip()]


def _checked(path: Path, files: list, people: list, same: list) -> Listed:
  if not any(same) or all(same) or len(same) < FOLDS:
    raise ValueError(f'{path} has {len(same)} pairs, {sum(same)} of one person: both kinds and {FOLDS} are needed')
  return Listed(np.array(files), np.array(people), np.array(same))


def _rows(protocol: str, model: Any, folder: str | Path, listed: Listed) -> list[Row]:
  names, first, place = np.unique(listed.files, return_index=True, return_inverse=True)
  first_of, second_of = place.reshape(listed.files.shape).T
  pairs = verification.Pairs(first_of, second_of, listed.same)
  people = np.unique(listed.people.ravel()[first], return_inverse=True)[1]
  images = _cut_out(folder, _PICTURES[protocol], names.tolist(), model.config)
  codes = {subject: read(images) for subject, read in identity_readers(model).items()}
  tenths = np.arange(len(listed.same)) * FOLDS // len(listed.same)
  return verification.verification_rows(protocol, codes, people, pairs, tenths=tenths)


def _cut_out(folder: str | Path, places: tuple[str, ...], names: list[str], config: Any) -> np.ndarray:
  """[N, S, S, 3] uint8: each face as the run's data has it.

  Raises:
    FileNotFoundError: if a picture is missing.
    ValueError: if one is damaged.
  """
  found = next((Path(folder, place) for place in places if Path(folder, place, names[0]).is_file()), None)
  if found is None:
    raise FileNotFoundError(f'--input={folder} has no {names[0]}, also not in {", ".join(filter(None, places))}')
  settings = faces.Settings('box', 1.0, config.image_size)
  progress, crops, missed = Progress('cutting faces out', len(names)), [], 0
  for name in names:
    image = read_photo(str(found / name))
    points = landmarks.find_landmarks(image)
    if points is None:
      missed += 1
      height, width = image.shape[:2]
      square = np.array([(width - 1) / 2, (height - 1) / 2, min(height, width) / _LFW_BOX * config.enlargement])
    else:
      square = face_square(points, config.enlargement)
    crops.append(faces.cut_out(image, np.zeros([68, 2]) if points is None else points, settings, as_box(square))[0])
    progress.add(1)
  progress.close()
  if missed:
    print(f'no face found in {missed:,} of {len(names):,} pictures: their middle is taken', flush=True)
  return np.stack(crops)
