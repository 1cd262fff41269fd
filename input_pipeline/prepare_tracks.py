"""Clips of faces -> tracks for FaceCycle: what `prepare` does for --layout=tracks, voxceleb1 and voxceleb2.

The data set is one of faces (`dataset`), whose `file` names the track before its `#` and the frame behind it.
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

from input_pipeline import clips, dataset, face_tracks, landmarks, reports, shards, skin, tracks, workers
from input_pipeline.clips import Clip
from input_pipeline.face_tracks import Moment, TrackSettings
from input_pipeline.faces import Face, cut_out_face
from input_pipeline.layouts import UNLABELLED
from input_pipeline.listing import Photo, Skipped
from input_pipeline.splits import choose_split

PER_CHUNK = 8
PER_SHARD = 1000
# Flags of `prepare` that are of the tracks alone, and those that say nothing of them.
OWN_FLAGS = ('enlargement', 'frame_step', 'min_frames')
FOREIGN_FLAGS = ('alignment', 'template_scale', 'detector', 'where', 'face_model')


@dataclasses.dataclass(frozen=True)
class Row:
  """A frame of the data set."""

  photo: Photo
  face: Face
  name: str
  tone: str = ''


def define_flags(values: flags.FlagValues) -> None:
  """Defines the flags that are of the tracks alone."""
  default = TrackSettings
  flags.DEFINE_float(
    'enlargement',
    default(0).enlargement,
    "Of tracks: side of the crop over that of the face detector's square; 1.6 is VoxCeleb's.",
    0.8,
    4.0,
    flag_values=values,
  )
  flags.DEFINE_integer(
    'frame_step', 1, "Of tracks: every so many-th of a folder's frames is used.", 1, flag_values=values
  )
  flags.DEFINE_integer(
    'min_frames', default(0).min_frames, 'Of tracks: shorter ones are left out.', 1, flag_values=values
  )


def check_flags(values: flags.FlagValues) -> bool:
  """Whether the layout is one of tracks.

  Raises:
    ValueError: if a flag is given that the layout does not use.
  """
  is_tracks = values.layout in clips.LAYOUTS
  for name in FOREIGN_FLAGS if is_tracks else OWN_FLAGS:
    if values[name].present:
      wanted = 'sets of photographs' if is_tracks else f'--layout={" or ".join(clips.LAYOUTS)}'
      raise ValueError(f'--{name} is for {wanted}, and this is --layout={values.layout}: leave it out')
  return is_tracks


def run(values: flags.FlagValues) -> None:
  """What the command does for a layout of tracks."""
  settings = TrackSettings(
    values.crop_size,
    values.enlargement,
    values.frame_rate,
    values.frame_step,
    values.min_frames,
    values.landmark_model,
  )
  statistics = prepare_tracks(
    values.input,
    values.output,
    settings,
    layout=values.layout,
    manifest=values.manifest,
    limit=values.limit,
    test_identities=values.test_identities,
    test_fraction=values.test_fraction,
    overwrite=values.overwrite,
    runner=values.runner,
    processes=values.processes,
  )
  for split, part in statistics['splits'].items():
    print(f'{split}: {part["tracks"]:,} tracks of {part["pictures"]:,} frames')
  reports.report(statistics, values.output, 'box')


def find_chunk(
  chunk: int, *, folder: str, found: Sequence[Sequence[Clip]], output: str, settings: TrackSettings
) -> int:
  """Finds the tracks of some clips and keeps them in a file; returns the number of clips."""
  path = os.path.join(output, f'.detected-{chunk:06d}')
  if not os.path.isfile(path):
    rows = [face_tracks.find_tracks(folder, clip, settings) for clip in found[chunk]]
    text = json.dumps([[[dataclasses.asdict(moment) for moment in moments], note] for moments, note in rows])
    shards.write_atomically(path, text)
  return len(found[chunk])


def name_rows(clip: Clip, moments: Sequence[Moment]) -> list[Row]:
  """The frames of a clip as rows of the data set; the tracks of a clip that was cut are numbered."""
  cut = len({moment.track for moment in moments}) > 1
  return [
    Row(
      Photo(moment.file, clip.identity, UNLABELLED, clip.split),
      moment.face,
      f'{clip.file}{f"~{moment.track}" if cut else ""}#{moment.number:06d}',
    )
    for moment in moments
  ]


def make_examples(
  split: str,
  shard: int,
  *,
  folder: str,
  plan: dict[str, list[Row]],
  identities: Sequence[str],
  settings: TrackSettings,
) -> Iterator[dict[str, Any]]:
  """Cuts the faces of one shard out."""
  sizes = shards.shard_sizes(len(plan[split]), PER_SHARD)
  start = sum(sizes[:shard])
  rows = [(row.photo, row.face, row) for row in plan[split][start : start + sizes[shard]]]
  numbers = {name: number for number, name in enumerate(identities)}
  for (photo, face, row), image in tracks.read_images(folder, rows, settings.faces):
    crop, marks = cut_out_face(image, face, settings.faces)
    file = io.BytesIO()
    Image.fromarray(crop).save(file, 'PNG')
    yield {
      'image': file.getvalue(),
      'landmarks': marks,
      'identity': numbers[photo.identity],
      'expression': 0,
      'pose': 0,
      'light': 0,
      'file': row.name,
      'skin': row.tone,
    }


def prepare_tracks(
  folder: str,
  output: str,
  settings: TrackSettings,
  *,
  layout: str = 'tracks',
  manifest: str = '',
  limit: int = 0,
  test_identities: str = '',
  test_fraction: float = 0.1,
  overwrite: bool = False,
  runner: str = '',
  processes: int = 0,
) -> dict[str, Any]:
  """Makes a data set of face tracks. Continues where it was stopped.

  Args:
    folder: the clips.
    output: folder of the data set.
    settings: how clips become tracks.
    layout: of `clips.LAYOUTS`.
    manifest: see `clips.list_clips`.
    limit: use this many of the clips, drawn by a fixed seed; 0 means all.
    test_identities: how many people are held out, or their names with commas between, or a fold such as `2/5`.
    test_fraction: share of the people who are held out, where `test_identities` is empty.
    overwrite: replace a data set that was made otherwise.
    runner: name of an Apache Beam runner.
    processes: 0 means one per core.

  Returns:
    the content of statistics.json.

  Raises:
    ValueError: if no clip can be used, or settings make no sense.
    OSError: if files are missing or in the way.
  """
  model = landmarks.check_model(settings.landmark_model)
  workers.check_runner(runner)
  listed, skipped = clips.list_clips(layout, folder, manifest)
  if 0 < limit < len(listed):
    listed = [listed[i] for i in sorted(np.random.default_rng(0).choice(len(listed), limit, replace=False))]
  stats = [[shards.stamp(os.path.join(folder, file)) for file in clip.frames or (clip.file,)] for clip in listed]
  made_from = {
    'kind': 'tracks',
    'layout': layout,
    'clips': len(listed),
    'alignment': 'enlarged',
    'enlargement': settings.enlargement,
    'crop_size': settings.crop_size,
    'frame_rate': settings.frame_rate,
    'frame_step': settings.frame_step,
    'min_frames': settings.min_frames,
    'landmark_model': f'{os.path.basename(model)}, {os.path.getsize(model)} bytes',
    'test_identities': test_identities,
    'test_fraction': test_fraction,
    'files': shards.digest([[dataclasses.astuple(clip), stat] for clip, stat in zip(listed, stats, strict=True)]),
  }
  existed = os.path.isdir(output)
  with shards.exclusive(output):
    state = shards.claim(output, made_from, overwrite)
    if state != 'new':
      done = 'complete: it is reused' if state == 'complete' else 'begun: it is continued'
      print(f'{output} was made from the same clips and settings and is {done}', file=sys.stderr)
    if state == 'complete':
      with open(os.path.join(output, 'statistics.json')) as file:
        return json.load(file)
    chunks = [listed[i : i + PER_CHUNK] for i in range(0, len(listed), PER_CHUNK)]
    job = functools.partial(
      find_chunk, folder=os.path.abspath(folder), found=chunks, output=os.path.abspath(output), settings=settings
    )
    workers.map_units(
      job, range(len(chunks)), len(listed), runner=runner, processes=processes, label='finding faces', counted='clips'
    )
    rows: list[Row] = []
    partly: Skipped = {}
    for chunk, part in enumerate(chunks):
      with open(os.path.join(output, f'.detected-{chunk:06d}')) as file:
        for clip, (moments, note) in zip(part, json.load(file), strict=True):
          rows += name_rows(clip, [Moment(**moment | {'face': Face(**moment['face'])}) for moment in moments])
          if note:
            (partly if moments else skipped)[clip.file] = note
    try:
      if not rows:
        raise ValueError(reports.nothing_kept(folder, [Photo(c.file, c.identity, UNLABELLED) for c in listed], skipped))
      angles = _typology(rows)
      test = choose_split([(row.photo, row.face) for row in rows], angles, test_identities, test_fraction)
    except ValueError:
      shards.discard(output, folder_too=not existed)  # A set that cannot be is not left behind half-made.
      raise
  plan = {
    split: [
      dataclasses.replace(row, tone=skin.label(angles[row.photo.identity]))
      for row in rows
      if (row.photo.identity in test) == (split == 'test')
    ]
    for split in ('train', 'test')
  }
  statistics = _summarize(plan, angles, skipped, partly)
  reports.write_skipped(os.path.join(output, 'skipped.csv'), skipped | partly)
  shards.write_atomically(os.path.join(output, 'statistics.json'), json.dumps(statistics, indent=1))
  shown = [(row.photo, row.face) for row in rows]
  reports.write_sheet(os.path.join(output, 'contact_sheet.png'), folder, shown, settings.faces)
  identities = sorted(angles)
  shards.write_dataset(
    output,
    dataset.NAME,
    dataset.face_features(identities, [UNLABELLED], settings.crop_size),
    {split: shards.shard_sizes(len(part), PER_SHARD) for split, part in plan.items()},
    functools.partial(
      make_examples, folder=os.path.abspath(folder), plan=plan, identities=identities, settings=settings
    ),
    made_from,
    description=f'Face tracks of {len(identities)} people, prepared from videos.',
    runner=runner,
    processes=processes or min(len(os.sched_getaffinity(0)), 1 + len(rows) // 500),
    label='cutting faces out',
  )
  shards.remove_parts(output, '.detected-')
  return statistics


def _typology(rows: Sequence[Row]) -> dict[str, float]:
  """The typology angle of each person: the median of the frames where it is known, else NaN."""
  people = collections.defaultdict(list)
  for row in rows:
    people[row.photo.identity].append(row.face.angle)
  known = {person: [value for value in values if not math.isnan(value)] for person, values in people.items()}
  return {person: float(np.median(values)) if values else math.nan for person, values in known.items()}


def _summarize(
  plan: dict[str, list[Row]], angles: dict[str, float], skipped: Skipped, partly: Skipped
) -> dict[str, Any]:
  parts = {split: [(row.photo, row.face, row.tone) for row in part] for split, part in plan.items()}
  statistics = reports.summarize(parts, angles, skipped, [UNLABELLED], 0, 0)
  # One line each in skipped.csv; here, how often each first reason came.
  statistics['partly_used'] = len(partly)
  for split, part in plan.items():
    statistics['splits'][split]['tracks'] = len({row.name.rpartition('#')[0] for row in part})
  return statistics
