"""Which face tracks there are and whom they show: folders of frames and videos, and VoxCeleb as it is handed out.

Each layout is one pure function from its folder to clips. A clip is one video, or one folder with its frames in the
order of their names.
"""

import csv
import dataclasses
import os
import re
from collections.abc import Callable, Iterator

from input_pipeline import photos, video
from input_pipeline.listing import SPLITS, Skipped

SOUNDS = ('.m4a', '.mp3', '.wav', '.aac', '.flac', '.ogg', '.opus')


@dataclasses.dataclass(frozen=True)
class Clip:
  """A video, or a folder of frames; `file` is relative to the input folder, and so are `frames`, () of a video."""

  file: str
  identity: str
  frames: tuple[str, ...] = ()
  split: str = ''


@dataclasses.dataclass(frozen=True)
class Layout:
  """A known form: `tree` shows its files, `find` lists them."""

  tree: str
  find: Callable[[str], tuple[list[Clip], Skipped]]


def list_clips(layout: str, folder: str, manifest: str = '') -> tuple[list[Clip], Skipped]:
  """Lists the clips of a folder, in the order of their names.

  Args:
    layout: of `LAYOUTS`.
    folder: the clips.
    manifest: CSV file with columns file, identity and, where wanted, split (train or test): who the clips show. A clip
      that it does not name stays with its folder's name. Relative to `folder` where it is not found otherwise.

  Returns:
    the clips, and the files that are none with the reason.

  Raises:
    FileNotFoundError: if the folder or the manifest is missing, or holds nothing of the layout.
    ValueError: if the manifest makes no sense.
  """
  if not os.path.isdir(folder):
    raise FileNotFoundError(f'--input={folder}: there is no such folder')
  found, skipped = LAYOUTS[layout].find(folder)
  if not found:
    file, reason = next(iter(sorted(skipped.items())), ('', ''))
    cause = f' ({file}: {reason})' if file else ''
    raise FileNotFoundError(f'--layout={layout}: {folder} holds none of its clips{cause}; {LAYOUTS[layout].tree}')
  if manifest:
    found = _name_people(found, folder, manifest)
  return sorted(found, key=lambda clip: clip.file), skipped


def _walk(folder: str) -> Iterator[tuple[str, list[str]]]:
  """Folders (relative, '' is the input itself) with the names of their files, hidden ones left out."""
  for root, folders, files in os.walk(folder, followlinks=True):
    folders[:] = sorted(name for name in folders if not name.startswith('.'))
    place = os.path.relpath(root, folder)
    yield '' if place == '.' else place, sorted(name for name in files if not name.startswith('.'))


def frame_order(name: str) -> list[tuple[int, int, str]]:
  """Key to sort names of frames: 9.jpg comes before 10.jpg."""
  return [(0, int(part), '') if part.isdecimal() else (1, 0, part) for part in re.split(r'(\d+)', name) if part]


def _frames(place: str, names: list[str]) -> tuple[str, ...]:
  return tuple(os.path.join(place, name) for name in sorted(names, key=frame_order) if photos.is_picture(name))


def find_tracks(folder: str) -> tuple[list[Clip], Skipped]:
  """Any tree: each video is a clip, and each folder that holds pictures. The first folder is named after the person."""
  found, skipped = [], {}
  for place, names in _walk(folder):
    person = place.split(os.sep)[0]
    frames = _frames(place, names)
    if frames and place:
      found.append(Clip(place, person, frames))
    for name in names:
      file = os.path.join(place, name)
      if video.is_video(name):
        found.append(Clip(file, person or os.path.splitext(name)[0]))
      elif not photos.is_picture(name):
        skipped[file] = 'sound without pictures' if name.lower().endswith(SOUNDS) else 'not a picture or video'
      elif not place:
        skipped[file] = 'not in a folder: a folder of frames is a track'
    if place and not names and not os.listdir(os.path.join(folder, place)):
      skipped[place] = 'an empty folder'
  return found, skipped


def find_voxceleb1(folder: str) -> tuple[list[Clip], Skipped]:
  """VoxCeleb1's face frames (dense-face-frames.tar.gz): .../PERSON/1.6/VIDEO/SEGMENT/*.jpg."""
  found = []
  for place, names in _walk(folder):
    match = re.search(r'(?:^|/)([^/]+)/1\.6/[^/]+(?:/[^/]+)?$', place.replace(os.sep, '/'))
    frames = _frames(place, names)
    if match and frames:
      found.append(Clip(place, match[1], frames))
  return found, {}


def find_voxceleb2(folder: str) -> tuple[list[Clip], Skipped]:
  """VoxCeleb2's videos: dev/mp4/id00012/VIDEO/00001.mp4 and test/mp4/id00017/..., whose people are held out."""
  found, skipped = [], {}
  for place, names in _walk(folder):
    match = re.search(r'(?:^|/)(id\d{5})/[^/]+$', place.replace(os.sep, '/'))
    for name in names:
      file = os.path.join(place, name)
      if match and video.is_video(name):
        found.append(Clip(file, match[1], split='test' if place.split(os.sep)[0] == 'test' else 'train'))
      elif match and name.lower().endswith(SOUNDS):
        skipped[file] = 'sound without pictures'
  if len({clip.split for clip in found}) < 2:  # Of one part of the set some people are held out, as of any.
    found = [dataclasses.replace(clip, split='') for clip in found]
  return found, skipped


LAYOUTS = {
  'tracks': Layout('folders of frames or videos are needed: PERSON/TRACK/0001.jpg, PERSON/CLIP.mp4', find_tracks),
  'voxceleb1': Layout(
    '--input must be the folder of unzippedIntervalFaces/data/A.J._Buckley/1.6/VIDEO/SEGMENT/0000001.jpg',
    find_voxceleb1,
  ),
  'voxceleb2': Layout(
    '--input must be the folder of dev/mp4/id00012/VIDEO/00001.mp4 and test/mp4/id00017/VIDEO/00001.mp4',
    find_voxceleb2,
  ),
}


def _name_people(clips: list[Clip], folder: str, manifest: str) -> list[Clip]:
  path = manifest if os.path.isfile(manifest) else os.path.join(folder, manifest)
  if not os.path.isfile(path):
    raise FileNotFoundError(f'--manifest={manifest}: there is no such file, neither here nor in {folder}')
  with open(path, newline='', encoding='utf-8-sig') as file:
    try:
      rows = list(csv.DictReader(file, strict=True, restval=''))
    except (csv.Error, UnicodeDecodeError) as error:
      raise ValueError(f'--manifest={path} is not a CSV file in UTF-8 ({error})') from None
  for column in ('file', 'identity'):
    if not rows or column not in rows[0]:
      raise ValueError(f'--manifest={path} lacks the column {column!r}: file and identity are needed')
  named: dict[str, tuple[str, str]] = {}
  parts: dict[str, str] = {}
  for number, row in enumerate(rows, start=2):
    person, split = row['identity'].strip(), (row.get('split') or '').strip()
    if split not in ('', *SPLITS):
      raise ValueError(f'--manifest={path}, row {number}: split={split!r} is not train or test')
    if person and parts.setdefault(person, split) != split:
      raise ValueError(f'--manifest={path}, row {number}: {person} is in two splits; people must not be in two')
    if person:
      named[os.path.normpath(row['file'].strip())] = person, split
  if not any(clip.file in named for clip in clips):
    raise ValueError(f'--manifest={path} names none of the {len(clips)} clips (the first one is {clips[0].file})')
  result = []
  for clip in clips:
    person, split = named.get(clip.file, (clip.identity, clip.split))
    result.append(dataclasses.replace(clip, identity=person, split=split))
  splits = {clip.identity: clip.split for clip in result}
  if any(splits.values()) and not all(splits.values()):
    nobody = next(person for person, split in splits.items() if not split)
    raise ValueError(f'--manifest={path}: {nobody} has no split, others have one; give it for all or for none')
  return result
