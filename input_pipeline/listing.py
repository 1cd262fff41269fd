"""Which pictures and videos there are and whom they show: a folder tree or a manifest."""

import csv
import dataclasses
import os
import re
from collections.abc import Mapping, Sequence

from input_pipeline import photos, video

SPLITS = ('train', 'test')


@dataclasses.dataclass(frozen=True)
class Photo:
  """One picture, or a video: all of its frames.

  `file` is relative to the input folder; `split` is '' where the input does not say.
  """

  file: str
  identity: str
  expression: str
  split: str = ''
  pose: int = 0
  light: int = 0


Skipped = dict[str, str]  # file -> why it is not used


def list_photos(
  folder: str, manifest: str = '', where: Sequence[str] = (), videos: bool = True
) -> tuple[list[Photo], Skipped]:
  """Lists pictures and videos in the order of their names.

  Args:
    folder: the pictures and videos: `IDENTITY/EXPRESSION*.jpg` (or .mp4, ...) where there is no manifest; the
      expression is the leading letters of the file's name.
    manifest: CSV file with columns file, identity, expression and, where wanted, split (train or test), pose and light
      (numbers; pairs are formed within one pose and light). Relative to `folder` where it is not found otherwise.
    where: `COLUMN=VALUE` or `COLUMN=PREFIX*`: a row is used if each column that is named has one of its values.
    videos: whether a manifest's videos are wanted: in most, their rows tell of no single expression.

  Returns:
    the pictures and videos, and the files that are neither with the reason.

  Raises:
    FileNotFoundError: if the folder or the manifest is missing.
    ValueError: if the manifest or a condition makes no sense.
  """
  if not os.path.isdir(folder):
    raise FileNotFoundError(f'--input={folder}: there is no such folder')
  if not manifest:
    if where:
      raise ValueError(f'--where={where[0]} selects rows of a manifest: pass --manifest=FILE.csv too')
    return _from_tree(folder)
  path = manifest if os.path.isfile(manifest) else os.path.join(folder, manifest)
  if not os.path.isfile(path):
    raise FileNotFoundError(f'--manifest={manifest}: there is no such file, neither here nor in {folder}')
  return _from_manifest(path, where, videos)


def is_usable(file: str) -> bool:
  """Whether the name is that of a picture or a video."""
  return photos.is_picture(file) or video.is_video(file)


def _from_tree(folder: str) -> tuple[list[Photo], Skipped]:
  found, skipped = [], {}
  for root, folders, files in os.walk(folder):
    folders.sort()
    for name in sorted(files):
      file = os.path.relpath(os.path.join(root, name), folder)
      letters = re.match(r'[^\W\d_]+', name)
      if not is_usable(name):
        skipped[file] = 'not a picture or video'
      elif root == folder:
        skipped[file] = 'not in a folder that is named after the person'
      elif not letters:
        skipped[file] = 'the name does not begin with the expression'
      else:
        found.append(Photo(file, file.split(os.sep)[0], letters[0].lower()))  # Folders in a person's are hers.
  return found, skipped


def _conditions(where: Sequence[str], columns: Sequence[str]) -> dict[str, list[str]]:
  wanted: dict[str, list[str]] = {}
  for condition in where:
    column, equals, value = condition.partition('=')
    if not equals:
      raise ValueError(f'--where={condition} is not COLUMN=VALUE')
    if column not in columns:
      raise ValueError(f'--where={condition}: there is no column {column!r}, only {", ".join(columns)}')
    wanted.setdefault(column, []).append(value)
  return wanted


def _matches(row: Mapping[str, str], wanted: dict[str, list[str]]) -> bool:
  return all(
    any(row[column].startswith(value[:-1]) if value.endswith('*') else row[column] == value for value in values)
    for column, values in wanted.items()
  )


def select(found: Sequence[Photo], where: Sequence[str]) -> list[Photo]:
  """The pictures that meet conditions (see `list_photos`) on their own fields.

  Raises:
    ValueError: if a condition makes no sense.
  """
  columns = [field.name for field in dataclasses.fields(Photo)]
  wanted = _conditions(where, columns)
  return [photo for photo in found if _matches({name: str(getattr(photo, name)) for name in columns}, wanted)]


def _from_manifest(path: str, where: Sequence[str], videos: bool) -> tuple[list[Photo], Skipped]:
  with open(path, newline='', encoding='utf-8-sig') as file:
    try:
      rows = list(csv.DictReader(file, strict=True, restval=''))
    except (csv.Error, UnicodeDecodeError) as error:
      raise ValueError(f'--manifest={path} is not a CSV file in UTF-8 ({error})') from None
  columns = [column for column in (rows[0] if rows else []) if column]
  missing = [column for column in ('file', 'identity', 'expression') if column not in columns]
  if missing:
    raise ValueError(
      f'--manifest={path} lacks the column {missing[0]!r}: file, identity and expression are needed'
      + (f', it has {", ".join(columns)}' if columns else ', it is empty')
    )
  wanted = _conditions(where, columns)
  found: list[Photo] = []
  skipped: Skipped = {}
  seen: set[str] = set()
  splits: dict[str, str] = {}
  for number, row in enumerate(rows, start=2):
    if not _matches(row, wanted):
      continue
    file, identity, expression = (row[key].strip() for key in ('file', 'identity', 'expression'))
    split = (row.get('split') or '').strip()
    reason = (
      'not a picture or video'
      if not is_usable(file)
      else 'a video: --frame_rate=RATE takes its frames'
      if video.is_video(file) and not videos
      else 'no identity is given'
      if not identity
      else 'no expression is given'
      if not expression
      else 'listed twice'
      if file in seen
      else ''
    )
    if reason:
      skipped.setdefault(file or f'(row {number})', reason)
      continue
    seen.add(file)
    if split not in ('', *SPLITS):
      raise ValueError(f'--manifest={path}, row {number}: split={split!r} is not train or test')
    if splits.setdefault(identity, split) != split:
      raise ValueError(
        f'--manifest={path}, row {number}: {identity} is in split {splits[identity] or "(none)"} and in '
        f'split {split or "(none)"}; people must not be in two'
      )
    numbers = {}
    for key in ('pose', 'light'):
      text = (row.get(key) or '0').strip()
      if not re.fullmatch(r'-?\d{1,9}', text):
        raise ValueError(f'--manifest={path}, row {number}: {key}={text!r} is not a whole number')
      numbers[key] = int(text)
    found.append(Photo(file, identity, expression.lower(), split, **numbers))
  if any(splits.values()) and not all(splits.values()):
    nobody = next(identity for identity, split in splits.items() if not split)
    raise ValueError(f'--manifest={path}: {nobody} has no split, others have one; give it for all or for none')
  return sorted(found, key=lambda photo: photo.file), skipped
