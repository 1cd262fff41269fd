"""Photographs -> data set: `python -m input_pipeline.prepare --input=PHOTOS --output=DATA`.

PHOTOS is a folder tree IDENTITY/EXPRESSION*.jpg, or a folder with a manifest (--manifest). The largest face of each
picture is found, its 68 landmarks are marked, and the face is cut out aligned. DATA is a TensorFlow Datasets folder
with skipped.csv, statistics.json and contact_sheet.png beside the pictures.
"""

import collections
import csv
import dataclasses
import functools
import io
import json
import math
import os
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from absl import flags
from PIL import Image, ImageDraw

from input_pipeline import alignment, dataset, landmarks, photos, shards, skin, workers
from input_pipeline.faces import Face, Settings, cut_out, find_face
from input_pipeline.listing import Photo, Skipped, list_photos
from input_pipeline.splits import choose_split
from models import commands
from models.config import DataConfig, check_fields

PER_CHUNK = 16
PER_SHARD = 1000
SHEET_ROWS = 10


def find_chunk(chunk: int, *, folder: str, files: Sequence[str], output: str, settings: Settings) -> int:
  """Finds the faces of one chunk of pictures and keeps them in a file; returns the number of pictures."""
  part = files[chunk * PER_CHUNK : (chunk + 1) * PER_CHUNK]
  path = os.path.join(output, f'.detected-{chunk:06d}')
  if not os.path.isfile(path):
    faces = [dataclasses.asdict(find_face(os.path.join(folder, file), settings)) for file in part]
    shards.write_atomically(path, json.dumps(faces))
  return len(part)


def make_examples(
  split: str,
  shard: int,
  *,
  folder: str,
  plan: dict[str, list[tuple[Photo, Face, str]]],
  identities: Sequence[str],
  expressions: Sequence[str],
  settings: Settings,
) -> Iterator[dict[str, Any]]:
  """Cuts the faces of one shard out."""
  photos_of_split = plan[split]
  sizes = shards.shard_sizes(len(photos_of_split), PER_SHARD)
  start = sum(sizes[:shard])
  for photo, face, tone in photos_of_split[start : start + sizes[shard]]:
    crop, marks, _ = cut_out(photos.read_photo(os.path.join(folder, photo.file)), np.array(face.points), settings)
    file = io.BytesIO()
    Image.fromarray(crop).save(file, 'PNG')
    yield {
      'image': file.getvalue(),
      'landmarks': marks,
      'identity': identities.index(photo.identity),
      'expression': expressions.index(photo.expression),
      'pose': photo.pose,
      'light': photo.light,
      'file': photo.file,
      'skin': tone,
    }


def prepare(
  folder: str,
  output: str,
  settings: Settings,
  *,
  manifest: str = '',
  where: Sequence[str] = (),
  test_identities: str = '',
  test_fraction: float = 0.1,
  overwrite: bool = False,
  runner: str = '',
  processes: int = 0,
) -> dict[str, Any]:
  """Makes a data set of photographs; see the module's text. Continues where it was stopped.

  Args:
    folder: the photographs.
    output: folder of the data set.
    settings: how faces are cut out.
    manifest: see `list_photos`.
    where: see `list_photos`.
    test_identities: how many people are held out, or their names with commas between.
    test_fraction: share of the people who are held out, where `test_identities` is empty.
    overwrite: replace a data set that was made otherwise.
    runner: name of an Apache Beam runner.
    processes: 0 means one per core.

  Returns:
    the content of statistics.json.

  Raises:
    ValueError: if no picture can be used, or settings make no sense.
    OSError: if files are missing or in the way.
  """
  model = landmarks.check_model(settings.landmark_model)
  workers.check_runner(runner)
  listed, skipped = list_photos(folder, manifest, where)
  if not listed:
    raise ValueError(f'--input={folder}: no picture was found' + nothing_listed(manifest, where, skipped))
  stats = [_stamp(os.path.join(folder, photo.file)) for photo in listed]
  fingerprint = {
    'kind': 'photographs',
    'pictures': len(listed),
    'alignment': settings.alignment,
    'template_scale': settings.template_scale,
    'crop_size': settings.crop_size,
    'landmark_model': f'{os.path.basename(model)}, {os.path.getsize(model)} bytes',
    'test_identities': test_identities,
    'test_fraction': test_fraction,
    'files': shards.digest([[dataclasses.astuple(photo), stat] for photo, stat in zip(listed, stats, strict=True)]),
  }
  existed = os.path.isdir(output)
  with shards.exclusive(output):
    state = shards.claim(output, fingerprint, overwrite)
    if state == 'complete':
      print(f'{output} is complete and was made from the same pictures and settings: it is reused', file=sys.stderr)
      with open(os.path.join(output, 'statistics.json')) as file:
        return json.load(file)
    if state == 'continued':
      print(f'{output} was begun with the same pictures and settings: it is continued', file=sys.stderr)
    files = [photo.file for photo in listed]
    chunks = range(-(-len(files) // PER_CHUNK))
    # Starting a worker takes as long as some hundred pictures.
    cores = len(os.sched_getaffinity(0))
    finders, cutters = (processes or min(cores, 1 + len(files) // 200)), min(processes or cores, 1 + len(files) // 500)
    job = functools.partial(
      find_chunk, folder=os.path.abspath(folder), files=files, output=os.path.abspath(output), settings=settings
    )
    workers.map_units(job, chunks, len(files), runner=runner, processes=finders, label='finding faces')
    faces = []
    for chunk in chunks:
      with open(os.path.join(output, f'.detected-{chunk:06d}')) as file:
        faces += [Face(**face) for face in json.load(file)]
    kept = [(photo, face) for photo, face in zip(listed, faces, strict=True) if not face.reason]
    skipped |= {photo.file: face.reason for photo, face in zip(listed, faces, strict=True) if face.reason}
    try:
      if not kept:
        raise ValueError(nothing_kept(folder, listed, skipped))
      people = collections.defaultdict(list)
      for photo, face in kept:
        people[photo.identity].append(face.angle)
      angles = {person: _median(values) for person, values in people.items()}
      test = choose_split(kept, angles, test_identities, test_fraction)
    except ValueError:
      # A set that cannot be is not left behind half-made.
      shards.discard(output, folder_too=not existed)
      raise
  plan = {
    split: [
      (photo, face, skin.label(angles[photo.identity]))
      for photo, face in kept
      if (photo.identity in test) == (split == 'test')
    ]
    for split in ('train', 'test')
  }
  expressions = sorted({photo.expression for photo, _ in kept}, key=lambda name: (name != 'neutral', name))
  identities = sorted(angles)
  examples = functools.partial(
    make_examples,
    folder=os.path.abspath(folder),
    plan=plan,
    identities=identities,
    expressions=expressions,
    settings=settings,
  )
  statistics = summarize(plan, angles, skipped, expressions)
  os.makedirs(output, exist_ok=True)
  write_skipped(os.path.join(output, 'skipped.csv'), skipped)
  shards.write_atomically(os.path.join(output, 'statistics.json'), json.dumps(statistics, indent=1))
  write_sheet(os.path.join(output, 'contact_sheet.png'), folder, kept, settings)
  shards.write_dataset(
    output,
    dataset.NAME,
    dataset.face_features(identities, expressions, settings.crop_size),
    {split: shards.shard_sizes(len(rows), PER_SHARD) for split, rows in plan.items()},
    examples,
    fingerprint,
    description=f'Aligned faces of {len(identities)} people, prepared from photographs.',
    runner=runner,
    processes=cutters,
    label='cutting faces out',
  )
  for chunk in chunks:
    os.unlink(os.path.join(output, f'.detected-{chunk:06d}'))
  return statistics


def _stamp(path: str) -> list[int]:
  return [os.path.getsize(path), os.stat(path).st_mtime_ns] if os.path.isfile(path) else []


def _median(values: Sequence[float]) -> float:
  known = [value for value in values if not math.isnan(value)]
  return float(np.median(known)) if known else math.nan


def nothing_listed(manifest: str, where: Sequence[str], skipped: Skipped) -> str:
  """The likely cause when a folder or manifest lists no picture."""
  if skipped:
    file, reason = next(iter(skipped.items()))
    return f' among {len(skipped)} files ({file}: {reason}); a tree IDENTITY/EXPRESSION*.jpg is needed, or --manifest'
  if where:
    return f': no row of {manifest} meets --where={" --where=".join(where)}'
  return ': it is empty' if not manifest else f': {manifest} has no rows'


def nothing_kept(folder: str, listed: Sequence[Photo], skipped: Skipped) -> str:
  """The likely cause when no picture can be used, from the most frequent reason."""
  reasons = collections.Counter(skipped[photo.file].split(':')[0] for photo in listed)
  reason, count = reasons.most_common(1)[0]
  example = next(photo.file for photo in listed if skipped[photo.file].startswith(reason))
  hints = {
    'no face found': 'are the faces upright, frontal and at least 80 pixels wide?',
    'too small': 'smaller --crop_size, or larger pictures',
    'there is no such file': 'are the names in the manifest relative to --input?',
  }
  return (
    f'--input={folder}: none of {len(listed)} pictures can be used; {count} times: {reason} (for example '
    f'{example})' + (f'; {hints[reason]}' if reason in hints else '')
  )


def summarize(
  plan: dict[str, list[tuple[Photo, Face, str]]], angles: dict[str, float], skipped: Skipped, expressions: Sequence[str]
) -> dict[str, Any]:
  """What statistics.json says."""
  rows = [row for part in plan.values() for row in part]
  tones = {
    split: collections.Counter(skin.label(angles[p]) or 'unknown' for p in {row[0].identity for row in part})
    for split, part in plan.items()
  }
  return {
    'pictures': len(rows),
    'skipped': dict(collections.Counter(reason.split(':')[0] for reason in skipped.values())),
    'landmarks_outside': float(np.mean([face.outside for _, face, _ in rows])),
    'splits': {
      split: {
        'pictures': len(part),
        'people': sorted({photo.identity for photo, _, _ in part}),
        'skin': dict(tones[split]),
        'expressions': {name: sum(photo.expression == name for photo, _, _ in part) for name in expressions},
      }
      for split, part in plan.items()
    },
    'typology_angle': {person: None if math.isnan(angle) else round(angle, 1) for person, angle in angles.items()},
  }


def write_skipped(path: str, skipped: Skipped) -> None:
  """Writes skipped.csv: file, reason."""
  text = io.StringIO(newline='')
  writer = csv.writer(text)
  writer.writerow(['file', 'reason'])
  writer.writerows(sorted(skipped.items()))
  shards.write_atomically(path, text.getvalue())


def write_sheet(path: str, folder: str, kept: Sequence[tuple[Photo, Face]], settings: Settings) -> None:
  """Draws up to 100 of the crops, spread over the set, with their landmarks."""
  shown = [kept[len(kept) * i // min(len(kept), SHEET_ROWS**2)] for i in range(min(len(kept), SHEET_ROWS**2))]
  size = settings.crop_size
  columns = min(SHEET_ROWS, len(shown))
  sheet = Image.new('RGB', (columns * size, -(-len(shown) // columns) * (size + 12)), 'white')
  draw = ImageDraw.Draw(sheet)
  for i, (photo, face) in enumerate(shown):
    crop, marks, _ = cut_out(photos.read_photo(os.path.join(folder, photo.file)), np.array(face.points), settings)
    left, top = i % columns * size, i // columns * (size + 12)
    sheet.paste(Image.fromarray(crop), (left, top))
    for x, y in alignment.denormalize(marks, size):
      inside = 0 <= x < size and 0 <= y < size
      draw.rectangle((left + x - 0.5, top + y - 0.5, left + x + 0.5, top + y + 0.5), fill='lime' if inside else 'red')
    draw.text((left + 1, top + size), f'{photo.identity} {photo.expression}'[: size // 6], fill='black')
  file = io.BytesIO()
  sheet.save(file, 'PNG')
  shards.write_atomically(path, file.getvalue())


def report(statistics: dict[str, Any], output: str) -> None:
  """Prints what was made, and warns of what training would suffer from."""
  skipped = statistics['skipped']
  print(
    f'{output}: {statistics["pictures"]:,} pictures kept, {sum(skipped.values()):,} skipped'
    + (f' ({", ".join(f"{count} {reason}" for reason, count in skipped.items())}; see skipped.csv)' if skipped else '')
  )
  for split, part in statistics['splits'].items():
    print(
      f'{split}: {part["pictures"]:,} pictures of {len(part["people"]):,} people '
      f'(skin {", ".join(f"{count} {tone}" for tone, count in part["skin"].items())}); '
      f'{", ".join(f"{count} {name}" for name, count in part["expressions"].items())}'
    )
    for name, count in part['expressions'].items():
      if not count:
        print(f'warning: no picture of expression {name!r} in split {split!r}: training will refuse this data set')
  outside = statistics['landmarks_outside']
  print(f'landmarks outside the crop: {100 * outside:.2f} %')
  if outside > 0.01:
    print('warning: more than 1 % of the landmarks lie outside the crop: a smaller --template_scale keeps them in')
  print(f'look at {os.path.join(output, "contact_sheet.png")}')


_DEFAULTS: dict[str, Any] = {field.name: field.default for field in dataclasses.fields(DataConfig)}
FLAGS = flags.FlagValues()
flags.DEFINE_string(
  'input', None, 'Folder of photographs: IDENTITY/EXPRESSION*.jpg, or any with --manifest.', flag_values=FLAGS
)
flags.DEFINE_string('output', None, 'Folder of the data set to make.', flag_values=FLAGS)
flags.DEFINE_string(
  'manifest', '', 'CSV with columns file, identity, expression and optionally split, pose, light.', flag_values=FLAGS
)
flags.DEFINE_multi_string(
  'where', [], 'Use only rows with COLUMN=VALUE or COLUMN=PREFIX* (repeatable).', flag_values=FLAGS
)
flags.DEFINE_string('alignment', _DEFAULTS['alignment'], 'paper or similarity.', flag_values=FLAGS)
flags.DEFINE_float(
  'template_scale', _DEFAULTS['template_scale'], 'Size of the alignment template about the centre.', flag_values=FLAGS
)
flags.DEFINE_integer('crop_size', 128, 'Width and height of the stored crops.', 16, 1024, flag_values=FLAGS)
flags.DEFINE_string('landmark_model', '', "dlib's file of 68 points; empty means the installed one.", flag_values=FLAGS)
flags.DEFINE_string(
  'test_identities', '', 'How many people to hold out, or their names with commas.', flag_values=FLAGS
)
flags.DEFINE_float('test_fraction', 0.1, 'Share of the people to hold out.', 0.0, 1.0, flag_values=FLAGS)
flags.DEFINE_string('runner', '', 'Apache Beam runner; empty uses processes on this machine.', flag_values=FLAGS)
flags.DEFINE_integer('processes', 0, 'Number of processes; 0 means one per core.', 0, 1024, flag_values=FLAGS)
flags.DEFINE_bool('overwrite', False, 'Replace a data set that was made otherwise.', flag_values=FLAGS)


def main(argv: Sequence[str]) -> None:
  """The command."""
  values = FLAGS
  commands.parse(values, argv, __doc__ or '')
  for name in ('input', 'output'):
    if not values[name].value:
      raise ValueError(f'--{name} is missing')
  check_fields(DataConfig(alignment=values.alignment, template_scale=values.template_scale))
  settings = Settings(values.alignment, values.template_scale, values.crop_size, values.landmark_model)
  statistics = prepare(
    values.input,
    values.output,
    settings,
    manifest=values.manifest,
    where=values.where,
    test_identities=values.test_identities,
    test_fraction=values.test_fraction,
    overwrite=values.overwrite,
    runner=values.runner,
    processes=values.processes,
  )
  report(statistics, values.output)


if __name__ == '__main__':
  # Worker processes find functions by the module's name, which is `__main__` here.
  from input_pipeline import prepare as module

  sys.exit(commands.run(module.main))
