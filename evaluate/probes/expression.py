"""Expression in photographs: RAF-DB and FER-2013.

RAF-DB (http://www.whdeng.cn/raf/model1.html), basic emotions, its own split of 12,271 and 3,068 aligned pictures; as
the released code has it they are 100 x 100, and the features are the whole last map of E_exp, 6,272 numbers at the
paper's width. FER-2013 has no code: the same probe on its 48 x 48 grey pictures, enlarged to 100 [choice]; public and
private test stand apart.

`expression_accuracy` is of a logistic regression, its strength chosen on every fifth training picture, for all
subjects alike. `expression_accuracy_sgd` is of the released recipe (`sgd`), and `..._batches` the mean of the
accuracies of batches of 100 that the released code prints, in which a last smaller batch counts as much.
"""

import csv
import os
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from evaluate.probes import sgd, solvers
from evaluate.probes.features import expression_readers, map_networks
from evaluate.results import Measure, Row, make_rows
from input_pipeline.photos import read_photo

SIZE = 100
RAFDB = ('surprise', 'fear', 'disgust', 'happiness', 'sadness', 'anger', 'neutral')
FER2013 = ('anger', 'disgust', 'fear', 'happiness', 'sadness', 'surprise', 'neutral')
_FER_SIZE = 48
_FER_PARTS = {'Training': 'train', 'PublicTest': 'public_test', 'PrivateTest': 'private_test'}


class Labelled(NamedTuple):
  """Pictures with expressions.

  Attributes:
    images: [N, S, S, 3] uint8.
    labels: [N] int.
    part: [N] str, `train` or the name of a test set.
  """

  images: np.ndarray
  labels: np.ndarray
  part: np.ndarray


def probe_rafdb(model: Any, folder: str | Path, epochs: int = 0) -> list[Row]:
  """RAF-DB's rows of a `FaceCycle`; errors as `read_rafdb`. `epochs` is of SGD, 0 means the recipe's."""
  return _rows('rafdb', model, read_rafdb(folder), RAFDB, epochs)


def probe_fer2013(model: Any, folder: str | Path, epochs: int = 0) -> list[Row]:
  """FER-2013's rows of a `FaceCycle`; errors as `read_fer2013`. `epochs` is of SGD, 0 means the recipe's."""
  return _rows('fer2013', model, read_fer2013(folder), FER2013, epochs)


def read_rafdb(folder: str | Path) -> Labelled:
  """RAF-DB: EmoLabel/list_patition_label.txt and Image/aligned/train_00001_aligned.jpg, in the folder or its `basic`.

  Raises:
    FileNotFoundError: if a file is missing.
    ValueError: if a line of the list makes no sense, or a picture is damaged.
  """
  name = Path('EmoLabel', 'list_patition_label.txt')
  root = next((path for path in (Path(folder), Path(folder, 'basic')) if (path / name).is_file()), None)
  if root is None:
    raise FileNotFoundError(f"--input={folder} has no {name}: give RAF-DB's folder `basic`")
  images, labels, part = [], [], []
  for number, line in enumerate((root / name).read_text().splitlines(), start=1):
    words = line.split()
    if not words:
      continue
    stem = os.path.splitext(words[0])[0]
    kind = stem.partition('_')[0]
    if len(words) != 2 or kind not in ('train', 'test') or words[1] not in tuple('1234567'):
      raise ValueError(f'{root / name}, line {number}: {line[:60]!r} is not a picture of train or test and 1 to 7')
    image = Image.fromarray(read_photo(str(root / 'Image' / 'aligned' / f'{stem}_aligned.jpg')))
    images.append(np.asarray(image.resize((SIZE, SIZE), Image.Resampling.BILINEAR)))
    labels.append(int(words[1]) - 1)
    part.append(kind)
  return _checked(folder, images, labels, part)


def read_fer2013(folder: str | Path) -> Labelled:
  """FER-2013: fer2013.csv (or icml_face_data.csv) with columns emotion, pixels and Usage; pictures are grey.

  Raises:
    FileNotFoundError: if the file is missing.
    ValueError: if it is another one.
  """
  names = ('fer2013.csv', 'icml_face_data.csv')
  path = next((Path(folder, name) for name in names if Path(folder, name).is_file()), None)
  if path is None:
    raise FileNotFoundError(f'--input={folder} has no {" or ".join(names)}')
  images, labels, part = [], [], []
  with open(path, newline='') as file:
    rows = csv.reader(file, skipinitialspace=True)
    columns = [name.strip() for name in next(rows, [])]
    if not {'emotion', 'pixels', 'Usage'} <= set(columns):
      raise ValueError(f'{path} has columns {", ".join(columns)[:80]}; emotion, pixels and Usage are needed')
    for number, row in enumerate(rows, start=2):
      found = dict(zip(columns, row, strict=False))
      try:
        pixels = np.frombuffer(bytes(map(int, found['pixels'].split())), np.uint8).reshape(_FER_SIZE, _FER_SIZE, 1)
        labels.append(range(len(FER2013)).index(int(found['emotion'])))
        part.append(_FER_PARTS[found['Usage'].strip()])
      except (KeyError, ValueError):
        raise ValueError(f'{path}, line {number}: not a row of FER-2013') from None
      images.append(np.repeat(pixels, 3, axis=-1))
  return _checked(folder, images, labels, part)


def _checked(folder: str | Path, images: list, labels: list, part: list) -> Labelled:
  for kind in ('training', 'test'):
    if not any((name == 'train') == (kind == 'training') for name in part):
      raise ValueError(f'--input={folder} has no {kind} pictures')
  return Labelled(np.stack(images), np.array(labels, np.int32), np.array(part))


def _rows(protocol: str, model: Any, faces: Labelled, names: tuple[str, ...], epochs: int) -> list[Row]:
  learned, tested = np.flatnonzero(faces.part == 'train'), np.flatnonzero(faces.part != 'train')
  chosen = np.arange(len(learned)) % 5 == 4
  train, validation, truth = learned[~chosen], learned[chosen], faces.labels[tested]
  print(
    f'{protocol}: {len(train):,} pictures to learn from, {len(validation):,} to choose the strength on, '
    f'{len(tested):,} to test',
    flush=True,
  )

  def measure(found: np.ndarray) -> Measure:
    return Measure(np.where(np.isnan(found), np.nan, found == truth))

  measures: dict[str, dict[str, Measure]] = {}
  for subject, read in expression_readers(model, SIZE).items():
    found = solvers.predict_labels(read(faces.images), faces.labels, train, validation, tested)
    measures[subject] = {'expression_accuracy': measure(found)}
  for subject, network in map_networks(model).items():
    judge = sgd.train_sgd(
      network, faces.images[learned], faces.labels[learned], len(names), SIZE, epochs or sgd.EPOCHS
    )
    right = measure(judge(faces.images[tested]).astype(float))
    measures[subject]['expression_accuracy_sgd'] = right
    if protocol == 'rafdb':
      batch = np.arange(len(tested)) // sgd.TEST_BATCH
      share = 1 / np.bincount(batch)[batch]
      measures[subject]['expression_accuracy_sgd_batches'] = Measure(right.values * share, share)
  slices = {'all': np.ones(len(tested), bool)}
  if protocol == 'fer2013':
    slices |= {part: faces.part[tested] == part for part in _FER_PARTS.values() if part != 'train'}
  slices |= {name: truth == label for label, name in enumerate(names)}
  # Nobody knows who is on them: each picture counts as a person.
  people = np.arange(len(tested))
  return make_rows(protocol, measures, people, slices, ['expression_accuracy'], [s for s in measures if s != 'model'])
