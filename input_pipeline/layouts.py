"""Known data sets by name, those of the papers and plain folders: which files are used, and how they are labelled.

Each data set is one pure function from its folder, as its authors hand it out, to rows. docs/data_sets.md says where to
get them, and which source each rule is from.
"""

import csv
import dataclasses
import os
import re
from collections.abc import Callable, Iterator

from input_pipeline import pair_layouts, photos
from input_pipeline.listing import Photo, Skipped

# Session and recording -> expression; cameras -> degrees (GC-GAN's authors: process_multipie.py, data_process.py).
MULTIPIE_EXPRESSIONS = {
  '01_01': 'neutral',
  '02_01': 'neutral',
  '03_01': 'neutral',
  '04_01': 'neutral',
  '04_02': 'neutral',
  '01_02': 'smile',
  '03_02': 'smile',
  '02_02': 'surprise',
  '02_03': 'squint',
  '03_03': 'disgust',
  '04_03': 'scream',
}
MULTIPIE_POSES = {'051': 0, '050': 15, '140': -15}
# CK+'s ReadMe; 0 is neutral and labels no sequence.
CKPLUS_EXPRESSIONS = ('neutral', 'anger', 'contempt', 'disgust', 'fear', 'happy', 'sadness', 'surprise')
UNLABELLED = 'unlabelled'  # where nobody said which expression it is
BU4DFE_EXPRESSIONS = ('Angry', 'Disgust', 'Fear', 'Happy', 'Sad', 'Surprise')


@dataclasses.dataclass(frozen=True)
class Layout:
  """A known data set: `tree` shows its files, `find` lists them, `split` is a rule of `splits.by_name`."""

  tree: str
  find: Callable[[str], tuple[list[Photo], Skipped]]
  split: str


def list_layout(name: str, folder: str) -> tuple[list[Photo], Skipped]:
  """Lists the pictures of a known data set, in the order of their names.

  Returns:
    the pictures, and what belongs to the data set and is not used, with the reason.

  Raises:
    FileNotFoundError: if the folder, or a part of the data set, is missing.
    ValueError: if the layout is unknown, or a file of labels makes no sense.
  """
  if name not in LAYOUTS:
    raise ValueError(f'--layout={name} is not one of {", ".join(LAYOUTS)}')
  if not os.path.isdir(folder):
    raise FileNotFoundError(f'--input={folder}: there is no such folder')
  found, skipped = LAYOUTS[name].find(folder)
  if not found and not skipped:
    raise FileNotFoundError(f'--layout={name}: {folder} holds none of its pictures; {_expected(name)}')
  return sorted(found, key=lambda photo: photo.file), skipped


def _expected(name: str) -> str:
  return f'--input must be the folder of {LAYOUTS[name].tree}'


def _need(name: str, folder: str, *parts: str) -> str:
  """The first of `parts` that is there."""
  for part in parts:
    if os.path.exists(os.path.join(folder, part)):
      return part
  raise FileNotFoundError(f'--layout={name}: {folder} has no {parts[0]}; {_expected(name)}')


def _folders(path: str) -> list[str]:
  return sorted(entry.name for entry in os.scandir(path) if entry.is_dir()) if os.path.isdir(path) else []


def _pictures(path: str) -> list[str]:
  return sorted(name for name in os.listdir(path) if photos.is_picture(name) and not name.startswith('.'))


def find_multipie(folder: str) -> tuple[list[Photo], Skipped]:
  """Multi-PIE: SUBJECT_SESSION_RECORDING_CAMERA_LIGHT.png in any subfolder; cameras at 0 and +-15 degrees, all lights.

  Other cameras are no part of the set; they are not even listed as skipped.
  """
  found, skipped = [], {}
  for root, folders, files in os.walk(folder):
    folders.sort()
    for name in files:
      match = re.fullmatch(r'(\d{3})_(\d{2}_\d{2})_(\d{3})_(\d{2})\.png', name)
      if not match or match[3] not in MULTIPIE_POSES:
        continue
      file = os.path.relpath(os.path.join(root, name), folder)
      if match[2] not in MULTIPIE_EXPRESSIONS:
        skipped[file] = f'session and recording {match[2]} have no known expression'
        continue
      expression, pose = MULTIPIE_EXPRESSIONS[match[2]], MULTIPIE_POSES[match[3]]
      found.append(Photo(file, match[1], expression, pose=pose, light=int(match[4])))
  return found, skipped


def find_ckplus(folder: str) -> tuple[list[Photo], Skipped]:
  """CK+: of each labelled sequence the first frame, which is neutral, and the labelled one, its last, the peak."""
  images, labels = (_need('ckplus', folder, part) for part in ('cohn-kanade-images', 'Emotion'))
  found, skipped = [], {}
  for subject in _folders(os.path.join(folder, images)):
    for number in _folders(os.path.join(folder, images, subject)):
      sequence = os.path.join(images, subject, number)
      frames = _pictures(os.path.join(folder, sequence))
      label = os.path.join(folder, labels, subject, number)
      names = sorted(os.listdir(label)) if os.path.isdir(label) else []
      files = [name for name in names if name.endswith('_emotion.txt') and not name.startswith('.')]
      if not files or not frames:
        skipped[sequence] = 'the sequence has no emotion label' if frames else 'the sequence has no frames'
        continue
      peak = files[0].removesuffix('_emotion.txt') + '.png'
      if peak not in frames[1:]:
        skipped[sequence] = f'the labelled frame {peak} is missing'
        continue
      expression = _ckplus_label(os.path.join(label, files[0]))
      found.append(Photo(os.path.join(sequence, frames[0]), subject, 'neutral'))
      found.append(Photo(os.path.join(sequence, peak), subject, expression))
  return found, skipped


def _ckplus_label(path: str) -> str:
  with open(path) as file:
    text = file.read().strip()
  # The files say `3.0000000e+00`.
  number = float(text) if re.fullmatch(r'\d(\.0+(e\+00)?)?', text) else 0
  if not 1 <= number < len(CKPLUS_EXPRESSIONS):
    raise ValueError(f'{path} says {text[:20]!r}, a number from 1 to {len(CKPLUS_EXPRESSIONS) - 1} is needed')
  return CKPLUS_EXPRESSIONS[int(number)]


def find_bu4dfe(folder: str) -> tuple[list[Photo], Skipped]:
  """BU-4DFE: of each sequence's texture pictures the first, which is neutral, and the middle one.

  A sequence goes from neutral to its apex and back. The paper's authors picked both frames by hand and did not publish
  them; own picks come from `frames.csv` in the folder: columns sequence (F001/Angry), neutral and apex (frame numbers).
  """
  picks = _bu4dfe_picks(os.path.join(folder, 'frames.csv'))
  found, skipped = [], {}
  for subject in _folders(folder):
    if not re.fullmatch(r'[FM]\d{3}', subject):
      continue
    for expression in BU4DFE_EXPRESSIONS:
      sequence = f'{subject}/{expression}'
      path = os.path.join(folder, subject, expression)
      frames = [name for name in _pictures(path) if re.fullmatch(r'\d{3}\.jpg', name)] if os.path.isdir(path) else []
      if len(frames) < 3:
        skipped[sequence] = f'the sequence has {len(frames)} texture pictures'
        continue
      neutral, apex = picks.pop(sequence, (frames[0], frames[len(frames) // 2]))
      missing = [name for name in (neutral, apex) if name not in frames]
      if missing:
        raise ValueError(f'{folder}/frames.csv: {sequence} has no frame {missing[0]}')
      found.append(Photo(os.path.join(sequence, neutral), subject, 'neutral'))
      found.append(Photo(os.path.join(sequence, apex), subject, expression.lower()))
  if picks and found:
    raise ValueError(f'{folder}/frames.csv: there is no sequence {next(iter(picks))}')
  return found, skipped


def _bu4dfe_picks(path: str) -> dict[str, tuple[str, str]]:
  if not os.path.isfile(path):
    return {}
  with open(path, newline='', encoding='utf-8-sig') as file:
    rows = list(csv.DictReader(file, restval=''))
  picks = {}
  for number, row in enumerate(rows, start=2):
    frames = [(row.get(key) or '').strip() for key in ('neutral', 'apex')]
    if not row.get('sequence') or not all(re.fullmatch(r'\d{1,3}', frame) for frame in frames):
      raise ValueError(f'{path}, row {number}: sequence (F001/Angry), neutral and apex (frame numbers) are needed')
    picks[row['sequence'].strip()] = (f'{int(frames[0]):03d}.jpg', f'{int(frames[1]):03d}.jpg')
  return picks


def find_celeba(folder: str) -> tuple[list[Photo], Skipped]:
  """CelebA, as driving faces only: no expression is known; who it is stands in identity_CelebA.txt, if that is there.

  Without that file each picture counts as a person of its own.
  """
  images = _need('celeba', folder, 'img_align_celeba', os.path.join('Img', 'img_align_celeba'))
  identities = {}
  for path in (os.path.join(folder, *part, 'identity_CelebA.txt') for part in ((), ('Anno',))):
    if os.path.isfile(path):
      identities = dict(_celeba_identities(path))
      break
  found, skipped = [], {}
  for name in _pictures(os.path.join(folder, images)):
    file = os.path.join(images, name)
    if identities and name not in identities:
      skipped[file] = 'identity_CelebA.txt does not name it'
      continue
    found.append(Photo(file, identities.get(name, os.path.splitext(name)[0]), UNLABELLED))
  return found, skipped


def _celeba_identities(path: str) -> Iterator[tuple[str, str]]:
  with open(path) as file:
    for number, line in enumerate(file, start=1):
      parts = line.split()
      if len(parts) != 2 or not parts[1].isdigit():
        raise ValueError(f'{path}, line {number}: {line.strip()[:40]!r} is not a file and a number')
      yield parts[0], parts[1]


def find_people(folder: str) -> tuple[list[Photo], Skipped]:
  """A folder for each person, of any pictures (CASIA-WebFace: 0000045/001.jpg; LFW: Aaron_Eckhart/*_0001.jpg)."""
  found, skipped = [], {}
  for name in _pictures(folder):
    skipped[name] = 'not in a folder that is named after the person'
  for person in _folders(folder):
    for root, folders, files in os.walk(os.path.join(folder, person)):
      folders.sort()
      for name in files:
        if photos.is_picture(name) and not name.startswith('.'):
          found.append(Photo(os.path.relpath(os.path.join(root, name), folder), person, UNLABELLED))
  return (found, skipped) if found else ([], {})


def find_vggface(folder: str) -> tuple[list[Photo], Skipped]:
  """VGGFace2: train/n000002/0001_01.jpg and test/n000001/0001_01.jpg, whose people are held out; VGGFace has no parts.

  A folder without train and test is taken as people, as they lie on the disk after VGGFace's lists were downloaded.
  """
  parts = [part for part in ('train', 'test') if os.path.isdir(os.path.join(folder, part))]
  if not parts:
    return find_people(folder)
  found, skipped = [], {}
  for part in parts:
    photos_of, skipped_of = find_people(os.path.join(folder, part))
    found += [
      dataclasses.replace(photo, file=os.path.join(part, photo.file), split=part if len(parts) == 2 else '')
      for photo in photos_of
    ]
    skipped |= {os.path.join(part, name): reason for name, reason in skipped_of.items()}
  return found, skipped


def find_lfw(folder: str) -> tuple[list[Photo], Skipped]:
  """LFW: NAME/NAME_0001.jpg, in the folder itself or in its `lfw`, `lfw-deepfunneled` or `lfw_funneled`."""
  for part in ('lfw', 'lfw-deepfunneled', 'lfw_funneled'):
    if os.path.isdir(os.path.join(folder, part)):
      found, skipped = find_people(os.path.join(folder, part))
      return [dataclasses.replace(photo, file=os.path.join(part, photo.file)) for photo in found], skipped
  return find_people(folder)


def find_plain(folder: str) -> tuple[list[Photo], Skipped]:
  """Any pictures in any folders: nobody knows who they are, so each counts as a person of its own."""
  found = []
  for root, folders, files in os.walk(folder):
    folders.sort()
    for name in files:
      if photos.is_picture(name) and not name.startswith('.'):
        file = os.path.relpath(os.path.join(root, name), folder)
        found.append(Photo(file, file, UNLABELLED))
  return found, {}


LAYOUTS = {
  'multipie': Layout('session01/multiview/001/01/05_1/001_01_01_051_07.png', find_multipie, 'last'),
  'ckplus': Layout(
    'cohn-kanade-images/S005/001/S005_001_00000001.png and Emotion/S005/001/S005_001_00000011_emotion.txt',
    find_ckplus,
    'last',
  ),
  # Women are F001 to F058 and men M001 to M043: the last ones would all be men.
  'bu4dfe': Layout('F001/Angry/000.jpg', find_bu4dfe, 'spread'),
  'celeba': Layout('img_align_celeba/000001.jpg (and identity_CelebA.txt, if you have it)', find_celeba, 'all'),
  'casia_webface': Layout('0000045/001.jpg', find_people, ''),
  'vggface': Layout('n000002/0001_01.jpg, or train/n000002 and test/n000001', find_vggface, ''),
  'lfw': Layout('Aaron_Eckhart/Aaron_Eckhart_0001.jpg, or lfw/Aaron_Eckhart', find_lfw, ''),
  # With --face_model=01_MorphableModel.mat their parameter files are rendered too.
  '300w_3d': Layout('AFW/134212_1.jpg and AFW/134212_1.mat', pair_layouts.find_300w_3d, ''),
  'aflw2000_3d': Layout('image00002.jpg and image00002.mat', pair_layouts.find_aflw2000_3d, ''),
  'people': Layout('PERSON/ANY_NAME.jpg', find_people, ''),
  'plain': Layout('ANY_NAME.jpg, also in subfolders', find_plain, ''),
}
