"""Videos of two people -> frames for face-off: what `prepare` does for --layout=two_videos.

Frames are the middle square of each picture, or with --align a square that follows the face; the last ones of each
video are held out. The data set is one of faces (`dataset`) of the people `a` and `b`, with a `mask` beside each frame.
"""

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
  alignment,
  dataset,
  landmarks,
  masks,
  prepare_tracks,
  reports,
  shards,
  skin,
  video_frames,
  workers,
  worlds,
)
from input_pipeline.clips import Clip
from input_pipeline.face_tracks import Moment
from input_pipeline.faces import Face
from input_pipeline.video_frames import Part, VideoSettings

LAYOUT = 'two_videos'
PEOPLE = ('a', 'b')
PER_SHARD = 1000
OWN_FLAGS = ('a', 'b', 'masks', 'segmentation_model', 'align')
FOREIGN_FLAGS = (
  *('input', 'manifest', 'where', 'limit', 'alignment', 'template_scale', 'detector', 'test_identities', 'face_model'),
  *('frame_step', 'min_frames'),
)
_SHEET = 8


def define_flags(values: flags.FlagValues) -> None:
  """Defines the flags that are of two videos alone."""
  for person in PEOPLE:
    flags.DEFINE_string(
      person, None, f'Of two_videos: video or folder of frames of the person {person.upper()}.', flag_values=values
    )
  flags.DEFINE_string(
    'masks',
    'face',
    'Of two_videos: face, the hull of the 68 points; person, by --segmentation_model; or a folder with a PNG for each '
    'frame in a/ and b/.',
    flag_values=values,
  )
  flags.DEFINE_string(
    'segmentation_model',
    '',
    'Of two_videos: .keras file or SavedModel from pictures in [0, 255] to scores of the 21 classes of PASCAL VOC.',
    flag_values=values,
  )
  flags.DEFINE_bool(
    'align',
    False,
    'Of two_videos: frames follow the face (--enlargement) instead of standing still.',
    flag_values=values,
  )


def run_if_wanted(values: flags.FlagValues) -> bool:
  """Prepares two videos if the layout is that. Returns whether it is.

  Raises:
    ValueError: if a flag is given that the layout does not use.
  """
  wanted = values.layout == LAYOUT
  for name in FOREIGN_FLAGS if wanted else OWN_FLAGS:
    if values[name].present:
      other = 'other layouts' if wanted else f'--layout={LAYOUT}'
      raise ValueError(f'--{name} is for {other}, and this is --layout={values.layout}: leave it out')
  if not wanted:
    return False
  for name in ('a', 'b', 'output'):
    if not values[name].value:
      raise ValueError(f'--{name} is missing')
  if values['enlargement'].present and not values.align:
    raise ValueError('--enlargement is for --align: without it frames are the middle of the picture')
  settings = VideoSettings(
    values.crop_size if values['crop_size'].present else VideoSettings.size,
    values.align,
    values.enlargement,
    values.frame_rate if values['frame_rate'].present else 0.0,
    values.masks,
    values.segmentation_model,
    values.landmark_model,
  )
  statistics = prepare_two_videos(
    values.a,
    values.b,
    values.output,
    settings,
    test_fraction=values.test_fraction,
    overwrite=values.overwrite,
    runner=values.runner,
    processes=values.processes,
  )
  for name, part in statistics['people'].items():
    print(f'{name}: {part["train"]:,} + {part["test"]:,} frames of {part["file"]}')
  for name, notes in statistics['notes'].items():
    for note in notes:
      print(f'{name}: {note}')
  print(f'look at {os.path.join(values.output, "contact_sheet.png")}')
  return True


def make_examples(
  split: str, shard: int, *, plan: dict[str, list[tuple[Part, list[Moment]]]], settings: VideoSettings
) -> Iterator[dict[str, Any]]:
  """Cuts the frames of one shard out; a shard is of one person."""
  part, rows = plan[split][shard]
  for moment, (frame, mask, points) in part.cut(rows, settings):
    yield {
      'image': worlds.png(frame),
      'mask': worlds.png(mask),
      'landmarks': alignment.normalize(points, settings.size).astype(np.float32),
      'identity': PEOPLE.index(part.clip.identity),
      'expression': 0,
      'pose': 0,
      'light': 0,
      'file': f'{part.clip.identity}/{os.path.basename(part.clip.file)}#{moment.number:06d}',
      'skin': part.tone,
    }


def prepare_two_videos(
  a: str,
  b: str,
  output: str,
  settings: VideoSettings,
  *,
  test_fraction: float = 0.1,
  overwrite: bool = False,
  runner: str = '',
  processes: int = 0,
) -> dict[str, Any]:
  """Makes a data set of the videos of two people. Continues where it was stopped.

  Args:
    a: video or folder of frames of A.
    b: the same of B.
    output: folder of the data set.
    settings: how videos become frames.
    test_fraction: share of the frames of each, the last ones, that are held out.
    overwrite: replace a data set that was made otherwise.
    runner: name of an Apache Beam runner.
    processes: 0 means one per core.

  Returns:
    the content of statistics.json.

  Raises:
    ValueError: if a video cannot be used, or settings make no sense.
    OSError: if files are missing or in the way.
  """
  model = landmarks.check_model(settings.landmark_model)
  workers.check_runner(runner)
  if os.path.abspath(a) == os.path.abspath(b):
    raise ValueError(f'--a={a} and --b={b} are the same: two people are needed')
  found = [video_frames.list_clip(person, path) for person, path in zip(PEOPLE, (a, b), strict=True)]
  if (settings.masks == 'person') != bool(settings.segmentation_model):
    raise ValueError('--masks=person and --segmentation_model=PATH need each other: give both or none')
  if settings.segmentation_model:
    masks.load_network(settings.segmentation_model)
  ready = [masks.list_ready(settings.masks, person) if settings.has_ready_masks else [] for person in PEOPLE]
  read = [file for clip in found for file in clip.frames or (clip.file,)] + [file for part in ready for file in part]
  made_from = {
    'kind': LAYOUT,
    'alignment': 'enlarged' if settings.align else 'centre',
    'enlargement': settings.enlargement,
    'crop_size': settings.size,
    'frame_rate': settings.frame_rate,
    'rates': {clip.identity: video_frames.rate_of(clip, settings.frame_rate) for clip in found},
    'masks': 'ready' if settings.has_ready_masks else settings.masks,
    'segmentation_model': os.path.basename(settings.segmentation_model.rstrip(os.sep)),
    'landmark_model': f'{os.path.basename(model)}, {os.path.getsize(model)} bytes',
    'test_fraction': test_fraction,
    'a': os.path.basename(found[0].file),
    'b': os.path.basename(found[1].file),
    'files': shards.digest([[os.path.basename(file), *shards.stamp(file)] for file in read]),
  }
  existed = os.path.isdir(output)
  with shards.exclusive(output):
    state = shards.claim(output, made_from, overwrite)
    if state != 'new':
      done = 'complete: it is reused' if state == 'complete' else 'begun: it is continued'
      print(f'{output} was made from the same videos and settings and is {done}', file=sys.stderr)
    if state == 'complete':
      with open(os.path.join(output, 'statistics.json')) as file:
        return json.load(file)
    job = functools.partial(
      prepare_tracks.find_chunk,
      folder='',
      found=[[clip] for clip in found],
      output=os.path.abspath(output),
      settings=settings.tracks,
    )
    workers.map_units(job, range(2), 2, runner=runner, processes=processes, label='finding faces', counted='videos')
    try:
      parts, notes = _read_found(output, found, ready, settings)
    except (ValueError, OSError):
      shards.discard(output, folder_too=not existed)  # A set that cannot be is not left behind half-made.
      raise
  splits = {split: [_in_time(part, test_fraction, split) for part in parts] for split in ('train', 'test')}
  plan = {
    split: [
      (part, rows[sum(sizes[:i]) : sum(sizes[: i + 1])])
      for part, rows in zip(parts, rows_of, strict=True)
      for sizes in [shards.shard_sizes(len(rows), PER_SHARD)]
      for i in range(len(sizes))
    ]
    for split, rows_of in splits.items()
  }
  statistics = {
    'people': {
      part.clip.identity: {'file': os.path.basename(part.clip.file), 'skin': part.tone}
      | {split: len(splits[split][i]) for split in splits}
      for i, part in enumerate(parts)
    },
    'notes': {f'{c.identity} ({os.path.basename(c.file)})': n for c, n in zip(found, notes, strict=True)},
  }
  said = {f'{c.identity}/{os.path.basename(c.file)}': '; '.join(n) for c, n in zip(found, notes, strict=True) if n}
  reports.write_skipped(os.path.join(output, 'skipped.csv'), said)
  shards.write_atomically(os.path.join(output, 'statistics.json'), json.dumps(statistics, indent=1))
  write_sheet(os.path.join(output, 'contact_sheet.png'), parts, settings)
  features = dataset.face_features(PEOPLE, ['unlabelled'], settings.size)
  mask = shards.import_tfds().features.Image(shape=(settings.size, settings.size, 1), encoding_format='png')
  shards.write_dataset(
    output,
    dataset.NAME,
    features | {'mask': mask},
    {split: [len(rows) for _, rows in chunks] for split, chunks in plan.items()},
    functools.partial(make_examples, plan=plan, settings=settings),
    made_from,
    description='Frames of the videos of two people.',
    runner=runner,
    processes=processes,
    label='cutting frames out',
  )
  for number in range(2):
    os.unlink(os.path.join(output, f'.detected-{number:06d}'))
  return statistics


def _read_found(
  output: str, found: Sequence[Clip], ready: Sequence[list[str]], settings: VideoSettings
) -> tuple[list[Part], list[list[str]]]:
  """The usable frames of both people, and the lines about them."""
  parts, notes = [], []
  for number, clip in enumerate(found):
    with open(os.path.join(output, f'.detected-{number:06d}')) as file:
      ((rows, note),) = json.load(file)
    moments = [Moment(**row | {'face': Face(**row['face'])}) for row in rows]
    note = note.replace(': the frames before are used', '')
    moments, outside = _leave_out_cut_off(clip, moments, settings)
    if outside:
      cut_off = f'the face is outside of the middle square in {outside} frames, which are left out: --align follows it'
      note = '; '.join(filter(None, [note, cut_off]))
    if len(moments) < 2:
      raise ValueError(
        f'--{clip.identity}={clip.file}: {len(moments)} frames can be used, two are needed ({note or "it has no more"})'
      )
    last = moments[-1].number
    if ready[number] and len(ready[number]) <= last:
      raise ValueError(
        f'--masks={settings.masks}: {clip.identity} has {len(ready[number])} masks for at least {last + 1} frames: one '
        'for each frame that is used is needed'
      )
    angles = [moment.face.angle for moment in moments if not math.isnan(moment.face.angle)]
    tone = skin.label(float(np.median(angles)) if angles else math.nan)
    parts.append(Part(clip, moments, tone, ready[number]))
    notes.append(video_frames.describe_clip(clip, settings) + note.split('; ') * bool(note))
  return parts, notes


def _leave_out_cut_off(clip: Clip, moments: list[Moment], settings: VideoSettings) -> tuple[list[Moment], int]:
  """The moments whose faces the frames show, and how many do not: faces are sought in whole pictures."""
  if settings.align or not moments:
    return moments, 0
  shown, by_number = [], {moment.number: moment for moment in moments}
  for number, picture in video_frames.read_frames(clip, settings.frame_rate, list(by_number)):
    face = by_number[number].face
    matrix = video_frames.frame_matrix(picture.shape, face, settings)
    points = alignment.transform_points(np.array(face.points), matrix)
    if ((points >= 0) & (points < settings.size)).all(-1).mean() > 0.5:
      shown.append(by_number[number])
  return shown, len(moments) - len(shown)


def _in_time(part: Part, test_fraction: float, split: str) -> list[Moment]:
  """The frames of a split: the last ones are held out, at least one of them, and at least one is trained on."""
  count = len(part.moments)
  held_out = min(max(1, round(test_fraction * count)), count - 1)
  return part.moments[: count - held_out] if split == 'train' else part.moments[count - held_out :]


def write_sheet(path: str, parts: Sequence[Part], settings: VideoSettings) -> None:
  """Draws some frames of both people, what is outside of their masks darkened, with their landmarks."""
  size, rows = settings.size, []
  for part in parts:
    moments = [part.moments[i * len(part.moments) // _SHEET] for i in range(_SHEET)]
    drawn = []
    for _, (frame, mask, points) in part.cut(moments, settings):
      shown = np.where(mask[..., None] > 0, frame, frame // 3)
      for x, y in np.round(points).astype(int):
        if 0 <= x < size and 0 <= y < size:
          shown[y, x] = (0, 255, 0)
      drawn.append(shown)
    rows.append(np.concatenate(drawn + [np.zeros_like(drawn[0])] * (_SHEET - len(drawn)), axis=1))
  file = io.BytesIO()
  Image.fromarray(np.concatenate(rows)).save(file, 'PNG')
  shards.write_atomically(path, file.getvalue())
