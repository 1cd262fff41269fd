"""The lists of verification protocols, as their authors hand them out: LFW's and CPLFW's pairs, the templates of IJB-A,
and any folders of people.

IJB-A, 1:1 (https://www.nist.gov/itl/iad/ig/ijb-a-dataset-request-form): `splitN/verify_metadata_N.csv` says which
pictures a template is made of, whom they show and which of them are frames of one video; `verify_comparisons_N.csv` has
two templates a line.
"""

import csv
import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from evaluate.same_person import FOLDS, Pairs, make_pairs
from input_pipeline.layouts import find_people


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

  def tabulate(self) -> tuple[list[str], np.ndarray, Pairs, np.ndarray]:
    """The N pictures [N], who is on them [N], the pairs of them, and in which tenth of the list each pair is."""
    names, first, place = np.unique(self.files, return_index=True, return_inverse=True)
    first_of, second_of = place.reshape(self.files.shape).T
    people = np.unique(self.people.ravel()[first], return_inverse=True)[1]
    tenths = np.arange(len(self.same)) * FOLDS // len(self.same)
    return names.tolist(), people, Pairs(first_of, second_of, self.same), tenths


class Templates(NamedTuple):
  """Comparisons of sets of pictures.

  Attributes:
    files: [I] str, one row a picture in a template, relative to a folder of `PICTURES`.
    boxes: [I, 4] left, top, width and height of the face in pixels; NaN where the list does not say.
    template: [I] number of the template, from 0.
    media: [I] number of the photograph or video; frames of one video are pooled.
    people: [T] whom each template shows.
    pairs: of the T templates.
    split: [P] in which split each pair is.
  """

  files: np.ndarray
  boxes: np.ndarray
  template: np.ndarray
  media: np.ndarray
  people: np.ndarray
  pairs: Pairs
  split: np.ndarray


# Folders in which the pictures may lie.
PICTURES = {
  'lfw': ('', 'lfw', 'lfw-deepfunneled', 'lfw_funneled'),
  'cplfw': ('images', 'aligned images', ''),
  'ijba': ('', 'images', 'IJB-A_images'),
  'people': ('',),
}


def read_lfw(folder: str | Path) -> Listed:
  """LFW's pairs.txt: lines `NAME 1 2` of one person and `NAME 1 OTHER 2` of two.

  Raises:
    FileNotFoundError: if it is not there.
    ValueError: if a line makes no sense.
  """
  path = _find_list(folder, 'pairs.txt')
  files, people, same = [], [], []
  (_, header), *lines = _lines(path) or [(1, [])]  # The first line says how many there are.
  for number, words in lines:
    if len(words) not in (3, 4) or not (words[1] + words[-1]).isdecimal():
      raise ValueError(f'{path}, line {number}: {" ".join(words)[:60]!r} is not a pair of LFW')
    names = words[0], words[0] if len(words) == 3 else words[2]
    files.append([f'{name}/{name}_{int(k):04d}.jpg' for name, k in zip(names, (words[1], words[-1]), strict=True)])
    people.append(names)
    same.append(len(words) == 3)
  listed = _checked(path, files, people, same)
  if len(header) == 2 and all(map(str.isdecimal, header)) and len(same) != 2 * int(header[0]) * int(header[1]):
    raise ValueError(f'{path} says {header[0]} x 2 x {header[1]} pairs and has {len(same)}: it is cut off, or damaged')
  return listed


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


def read_people(folder: str | Path, count: int, seed: int = 0) -> Listed:
  """Pairs drawn from folders of people, PERSON/ANY_NAME.jpg; see `make_pairs`.

  Raises:
    FileNotFoundError: if there is no such folder, or no picture in it.
    ValueError: if nobody has two pictures, or there is one person only.
  """
  if not Path(folder).is_dir():
    raise FileNotFoundError(f'--input={folder}: there is no such folder')
  found, _ = find_people(str(folder))
  if not found:
    raise FileNotFoundError(f'--input={folder} has no folder of a person with pictures in it: PERSON/ANY_NAME.jpg')
  found = sorted(found, key=lambda photo: photo.file)
  people = np.array([photo.identity for photo in found])
  try:
    pairs = make_pairs(people, count, seed)
  except ValueError as error:
    raise ValueError(f'--input={folder}: {error}') from None
  rows = np.stack([pairs.first, pairs.second], axis=1)
  return Listed(np.array([photo.file for photo in found])[rows], people[rows], pairs.same)


_COLUMNS = ('TEMPLATE_ID', 'SUBJECT_ID', 'FILE', 'MEDIA_ID')
_BOX = ('FACE_X', 'FACE_Y', 'FACE_WIDTH', 'FACE_HEIGHT')


def read_ijba(folder: str | Path) -> Templates:
  """The 1:1 lists of IJB-A, of all splits that are there.

  Raises:
    FileNotFoundError: if there are none.
    ValueError: if a line makes no sense, a template has no picture or shows two people, or there are not two splits.
  """
  home = next((Path(folder, part) for part in ('', 'IJB-A_11_sets') if Path(folder, part, 'split1').is_dir()), None)
  if home is None:
    raise FileNotFoundError(f'--input={folder} has no split1, also not in IJB-A_11_sets: put the 1:1 lists there')
  images, people, pairs, splits = [], [], [], []
  numbers = sorted(int(path.name[5:]) for path in home.glob('split*') if path.name[5:].isdigit())
  for split in numbers:
    metadata = home / f'split{split}' / f'verify_metadata_{split}.csv'
    comparisons = home / f'split{split}' / f'verify_comparisons_{split}.csv'
    for path in (metadata, comparisons):
      if not path.is_file():
        raise FileNotFoundError(f'{path}: there is no such file')
    found = _read_metadata(metadata)
    used: dict[int, int] = {}  # Template -> its number over all splits.
    for line, words in _csv_lines(comparisons):
      if len(words) != 2 or not all(word.isdecimal() for word in words):
        raise ValueError(f'{comparisons}, line {line}: {",".join(words)[:60]!r} are not two numbers of templates')
      for template in map(int, words):
        if template not in found:
          raise ValueError(f'{comparisons}, line {line}: template {template} has no picture in {metadata.name}')
        if template not in used:
          used[template] = len(people)
          subject, rows = found[template]
          people.append(subject)
          images += [(file, box, used[template], f'{used[template]}/{media}') for file, box, media in rows]
      pairs.append([used[int(word)] for word in words])
      splits.append(split)
  first, second = np.array(pairs, int).reshape(-1, 2).T
  named = np.array(people)
  same = named[first] == named[second]
  if len(numbers) < 2 or not same.any() or same.all():
    raise ValueError(
      f'{home} has {len(numbers)} split{"s" * (len(numbers) != 1)} with {len(same)} comparisons, {same.sum()} of one '
      'person: both kinds are needed, and two splits, as the thresholds of one are chosen on the others'
    )
  files, boxes, template, media = zip(*images, strict=True)
  return Templates(
    np.array(files), np.array(boxes, float), np.array(template), np.unique(media, return_inverse=True)[1], named,
    Pairs(first, second, same), np.array(splits),
  )  # fmt: skip


def _read_metadata(path: Path) -> dict[int, tuple[str, list[tuple[str, list[float], str]]]]:
  """Template -> whom it shows, and file, box and medium of each of its pictures."""
  (_, header), *lines = [*_csv_lines(path)] or [(1, [])]
  header = [name.strip().upper() for name in header]
  missing = [name for name in _COLUMNS if name not in header]
  if missing:
    raise ValueError(f'{path} has no column {missing[0]}: {", ".join(_COLUMNS)} are needed')
  found: dict[int, tuple[str, list]] = {}
  for number, words in lines:
    row = dict(zip(header, map(str.strip, words), strict=False))
    template, subject, file, media = (row.get(name, '') for name in _COLUMNS)
    if not template.isdecimal() or not subject or not file:
      raise ValueError(f'{path}, line {number}: {",".join(words)[:60]!r} is not a picture of a template')
    try:
      box = [float(row.get(name) or 'nan') for name in _BOX]
    except ValueError:
      raise ValueError(f'{path}, line {number}: {", ".join(_BOX)} have to be numbers') from None
    known, rows = found.setdefault(int(template), (subject, []))
    if known != subject:
      raise ValueError(f'{path}, line {number}: template {template} shows {subject}, and above {known}')
    rows.append((file, box, media))
  return found


def _csv_lines(path: Path) -> list[tuple[int, list[str]]]:
  """Number and cells of each line that has any."""
  with open(path, newline='', encoding='utf-8-sig', errors='replace') as file:
    return [(number, words) for number, words in enumerate(csv.reader(file), start=1) if any(map(str.strip, words))]


def find_files(folder: str | Path, protocol: str, names: Sequence[str]) -> list[str]:
  """Paths of pictures, all in one of the folders where a protocol's may lie.

  Raises:
    FileNotFoundError: if one is missing.
  """
  places = PICTURES[protocol]
  found = next((Path(folder, place) for place in places if Path(folder, place, names[0]).is_file()), None)
  if found is None:
    raise FileNotFoundError(f'--input={folder} has no {names[0]}, also not in {", ".join(filter(None, places))}')
  for name in names:
    if not os.path.isfile(found / name):
      raise FileNotFoundError(f'--input={folder}: {found / name} is missing, which the list names')
  return [str(found / name) for name in names]
