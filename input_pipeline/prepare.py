"""Photographs and videos -> data set: `python -m input_pipeline.prepare --input=PHOTOS --output=DATA`.

PHOTOS is a folder tree IDENTITY/EXPRESSION*.jpg (or .mp4, ...), a folder with a manifest (--manifest), or of a known
kind (--layout; `plain` takes any pictures). The largest face of each picture, and of each frame of a video, is found,
its 68 landmarks are marked, and the face is cut out aligned. DATA is a TensorFlow Datasets folder with skipped.csv,
statistics.json and contact_sheet.png beside the pictures.
"""

import collections
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
from PIL import Image

from input_pipeline import (
  boxes,
  clips,
  dataset,
  landmarks,
  layouts,
  pair_layouts,
  prepare_tracks,
  prepare_two_videos,
  reports,
  shards,
  skin,
  tracks,
  video,
  workers,
)
from input_pipeline.faces import ALIGNMENTS, Face, Settings, cut_out_face, find_face
from input_pipeline.listing import Photo, Skipped, list_photos, select
from input_pipeline.splits import choose_split
from models import commands
from models.config import DataConfig, check_fields

PER_CHUNK = 16
PER_SHARD = 1000


def split_into_chunks(files: Sequence[str]) -> list[list[str]]:
  """What one process looks at before it keeps what it found: some pictures, or one video."""
  chunks: list[list[str]] = []
  for file in files:
    if not chunks or len(chunks[-1]) == PER_CHUNK or video.is_video(file) or video.is_video(chunks[-1][0]):
      chunks.append([])
    chunks[-1].append(file)
  return chunks


def find_chunk(chunk: int, *, folder: str, chunks: Sequence[Sequence[str]], output: str, settings: Settings) -> int:
  """Finds the faces of one chunk of files and keeps them in a file; returns the number of files."""
  path = os.path.join(output, f'.detected-{chunk:06d}')
  if not os.path.isfile(path):
    found = []
    for file in chunks[chunk]:
      source = os.path.join(folder, file)
      found.append(tracks.find_track(source, settings) if video.is_video(file) else [find_face(source, settings)])
    shards.write_atomically(path, json.dumps([[dataclasses.asdict(face) for face in faces] for faces in found]))
  return len(chunks[chunk])


def sort_out(listed: Sequence[Photo], found: Sequence[Sequence[Face]]) -> tuple[list[tuple[Photo, Face]], Skipped]:
  """Faces that are used, and the reason for each file of which some or all are not."""
  kept, skipped = [], {}
  for photo, faces in zip(listed, found, strict=True):
    kept += [(photo, face) for face in faces if not face.reason]
    reasons = collections.Counter(face.reason.split(':')[0] for face in faces if face.reason)
    if faces[0].frame is not None and reasons:
      count = len(faces)
      skipped[photo.file] = ', '.join(f'{reason}: in {n} of {count} frames' for reason, n in reasons.items())
    elif reasons:
      skipped[photo.file] = faces[0].reason
  return kept, skipped


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
  numbers = {name: number for number, name in enumerate(identities)}
  rows = photos_of_split[start : start + sizes[shard]]
  for (photo, face, tone), image in tracks.read_images(folder, rows, settings):
    crop, marks = cut_out_face(image, face, settings)
    file = io.BytesIO()
    Image.fromarray(crop).save(file, 'PNG')
    yield {
      'image': file.getvalue(),
      'landmarks': marks,
      'identity': numbers[photo.identity],
      'expression': expressions.index(photo.expression),
      'pose': photo.pose,
      'light': photo.light,
      'file': photo.file if face.frame is None else f'{photo.file}#{face.frame}',
      'skin': tone,
    }


def prepare(
  folder: str,
  output: str,
  settings: Settings,
  *,
  layout: str = '',
  manifest: str = '',
  where: Sequence[str] = (),
  videos: bool = True,
  limit: int = 0,
  test_identities: str = '',
  test_fraction: float = 0.1,
  overwrite: bool = False,
  runner: str = '',
  processes: int = 0,
) -> dict[str, Any]:
  """Makes a data set of photographs; see the module's text. Continues where it was stopped.

  Args:
    folder: the photographs and videos.
    output: folder of the data set.
    settings: how faces are cut out.
    layout: name of a known data set, see `layouts`.
    manifest: see `list_photos`.
    where: see `list_photos`; of a layout it selects by `Photo`'s fields.
    videos: see `list_photos`.
    limit: use this many of the files, drawn by a fixed seed; 0 means all.
    test_identities: how many people are held out, or their names with commas between, or a fold such as `2/5`.
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
  if layout and manifest:
    raise ValueError(f'--layout={layout} contradicts --manifest={manifest}: give one of them')
  if layout:
    listed, skipped = layouts.list_layout(layout, folder)
    listed = select(listed, where)
  else:
    listed, skipped = list_photos(folder, manifest, where, videos)
  if not listed:
    cause = reports.nothing_listed(layout, manifest, where, skipped)
    raise ValueError(f'--input={folder}: no picture was found{cause}')
  if 0 < limit < len(listed):
    listed = [listed[i] for i in sorted(np.random.default_rng(0).choice(len(listed), limit, replace=False))]
  stats = [shards.stamp(os.path.join(folder, photo.file)) for photo in listed]
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
  # Only where they matter, so that data sets from before these settings are still known.
  if any(video.is_video(photo.file) for photo in listed):
    fingerprint['frame_rate'] = settings.frame_rate
  fingerprint |= {key: value for key, value in (('layout', layout), ('limit', limit)) if value}
  if settings.alignment == 'box':
    fingerprint['detector'] = settings.detector
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
    chunks = split_into_chunks(files)
    # Starting a worker takes as long as some hundred pictures.
    cores = len(os.sched_getaffinity(0))
    finders, cutters = (processes or min(cores, 1 + len(files) // 200)), min(processes or cores, 1 + len(files) // 500)
    job = functools.partial(
      find_chunk, folder=os.path.abspath(folder), chunks=chunks, output=os.path.abspath(output), settings=settings
    )
    workers.map_units(job, range(len(chunks)), len(files), runner=runner, processes=finders, label='finding faces')
    found = []
    for chunk in range(len(chunks)):
      with open(os.path.join(output, f'.detected-{chunk:06d}')) as file:
        found += [[Face(**face) for face in faces] for faces in json.load(file)]
    kept, reasons = sort_out(listed, found)
    used = {photo.file for photo, _ in kept}
    partly = {file: reason for file, reason in reasons.items() if file in used}
    skipped |= {file: reason for file, reason in reasons.items() if file not in used}
    rule = layouts.LAYOUTS[layout].split if layout else ''
    try:
      if not kept:
        raise ValueError(reports.nothing_kept(folder, listed, skipped))
      people = collections.defaultdict(list)
      for photo, face in kept:
        people[photo.identity].append(face.angle)
      angles = {person: _median(values) for person, values in people.items()}
      test = choose_split(kept, angles, test_identities, test_fraction, rule)
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
    if split == 'test' or len(test) < len(angles)
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
  frames = [face for faces in found for face in faces if face.frame is not None]
  lost = sum(bool(face.reason) for face in frames)
  statistics = reports.summarize(plan, angles, skipped, expressions, len(frames), lost)
  reports.write_skipped(os.path.join(output, 'skipped.csv'), skipped | partly)
  shards.write_atomically(os.path.join(output, 'statistics.json'), json.dumps(statistics, indent=1))
  reports.write_sheet(os.path.join(output, 'contact_sheet.png'), folder, kept, settings)
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
  shards.remove_parts(output, '.detected-')
  return statistics


def _median(values: Sequence[float]) -> float:
  known = [value for value in values if not math.isnan(value)]
  return float(np.median(known)) if known else math.nan


_DEFAULTS: dict[str, Any] = {field.name: field.default for field in dataclasses.fields(DataConfig)}
FLAGS = flags.FlagValues()
flags.DEFINE_string(
  'input', None, 'Folder of IDENTITY/EXPRESSION*.jpg or .mp4; any with --manifest or --layout.', flag_values=FLAGS
)
flags.DEFINE_string('output', None, 'Folder of the data set to make.', flag_values=FLAGS)
flags.DEFINE_enum(
  'layout',
  '',
  ['', *layouts.LAYOUTS, *clips.LAYOUTS, prepare_two_videos.LAYOUT],
  'A data set of the papers, as its authors hand it out; people: a folder for each person; plain: any pictures; '
  'tracks: videos or folders of frames; two_videos: --a and --b.',
  flag_values=FLAGS,
)
flags.DEFINE_string(
  'face_model',
  '',
  'For --layout=300w_3d or aflw2000_3d: 01_MorphableModel.mat; the pairs of photograph and render go to OUTPUT/pairs.',
  flag_values=FLAGS,
)
flags.DEFINE_integer(
  'limit', 0, 'Use this many of the files, drawn by a fixed seed; 0 means all.', 0, flag_values=FLAGS
)
flags.DEFINE_float(
  'frame_rate', Settings.frame_rate, 'Frames a second of videos; 0 means every frame. A manifest\'s videos are skipped '
  'where this is not given.', 0.0, 1000.0, flag_values=FLAGS
)
flags.DEFINE_string(
  'manifest', '', 'CSV with columns file, identity, expression and optionally split, pose, light.', flag_values=FLAGS
)
flags.DEFINE_multi_string(
  'where', [], 'Use only rows with COLUMN=VALUE or COLUMN=PREFIX* (repeatable).', flag_values=FLAGS
)
flags.DEFINE_enum(
  'alignment',
  _DEFAULTS['alignment'],
  ALIGNMENTS,
  "paper or similarity (GC-GAN); box is GANFaces': the detector's box.",
  flag_values=FLAGS,
)
flags.DEFINE_enum(
  'detector',
  'auto',
  ['auto', 'dlib', 'mtcnn'],
  'What finds the faces of photographs for --alignment=box; auto is mtcnn where it is installed, else dlib.',
  flag_values=FLAGS,
)
flags.DEFINE_float(
  'template_scale',
  _DEFAULTS['template_scale'],
  'Size of the template of paper and similarity about the centre.',
  flag_values=FLAGS,
)
flags.DEFINE_integer('crop_size', 128, 'Width and height of the stored crops.', 16, 1024, flag_values=FLAGS)
flags.DEFINE_string('landmark_model', '', "dlib's file of 68 points; empty means the installed one.", flag_values=FLAGS)
flags.DEFINE_string(
  'test_identities',
  '',
  'How many people to hold out, or their names with commas, or a fold of them: 1/5 to 5/5.',
  flag_values=FLAGS,
)
flags.DEFINE_float('test_fraction', 0.1, 'Share of the people to hold out.', 0.0, 1.0, flag_values=FLAGS)
flags.DEFINE_string('runner', '', 'Apache Beam runner; empty uses processes on this machine.', flag_values=FLAGS)
flags.DEFINE_integer('processes', 0, 'Number of processes; 0 means one per core.', 0, 1024, flag_values=FLAGS)
prepare_tracks.define_flags(FLAGS)
prepare_two_videos.define_flags(FLAGS)
flags.DEFINE_bool('overwrite', False, 'Replace a data set that was made otherwise.', flag_values=FLAGS)


def main(argv: Sequence[str]) -> None:
  """The command."""
  values = FLAGS
  commands.parse(values, argv, __doc__ or '')
  if prepare_two_videos.run_if_wanted(values):
    return
  for name in ('input', 'output'):
    if not values[name].value:
      raise ValueError(f'--{name} is missing')
  if prepare_tracks.check_flags(values):
    prepare_tracks.run(values)
    return
  if values.face_model and values.layout not in pair_layouts.FOLDERS:
    raise ValueError(f'--face_model={values.face_model} is for --layout={" or ".join(pair_layouts.FOLDERS)}')
  check_fields(DataConfig(template_scale=values.template_scale))
  if values.detector == 'mtcnn' and values.alignment != 'box':
    raise ValueError(f'--detector=mtcnn is for --alignment=box: --alignment={values.alignment} needs landmarks only')
  detector = boxes.choose_detector(values.detector) if values.alignment == 'box' else 'dlib'
  settings = Settings(
    *(values.alignment, values.template_scale, values.crop_size, values.landmark_model, values.frame_rate), detector
  )
  statistics = prepare(
    values.input,
    values.output,
    settings,
    layout=values.layout,
    manifest=values.manifest,
    where=values.where,
    videos=values['frame_rate'].present > 0,
    limit=values.limit,
    test_identities=values.test_identities,
    test_fraction=values.test_fraction,
    overwrite=values.overwrite,
    runner=values.runner,
    processes=values.processes,
  )
  reports.report(statistics, values.output, values.alignment)
  if values.face_model:
    from input_pipeline import parameter_files  # the renderer takes seconds to import

    pairs = os.path.join(values.output, 'pairs')
    rows, skipped = parameter_files.render_pairs(
      values.layout, values.input, pairs, values.face_model, values.crop_size
    )
    print(f'{pairs}: {len(rows["file"]):,} pairs, {len(skipped):,} skipped')


if __name__ == '__main__':
  # Worker processes find functions by the module's name, which is `__main__` here.
  from input_pipeline import prepare as module

  sys.exit(commands.run(module.main))
