"""Faces in a clip: found in every frame, followed, cut into tracks, and framed by squares that move smoothly.

A track shows one face without interruption. A shot change, another frame size, a lost face, or one that leaps or grows
at once ends it.
"""

import collections
import dataclasses
import itertools
import os
from collections.abc import Iterator

import numpy as np
from PIL import Image
from scipy import ndimage

from input_pipeline import face_squares, landmarks, photos, skin, tracks, video
from input_pipeline.clips import Clip
from input_pipeline.faces import Face, Settings, cut_out, judge

# Seconds: standard deviation of the Gaussian over time that smooths the squares.
SMOOTHING = 0.2
# Two frames further apart than this (`difference`) are of different shots. On eight clips of faces, frames of one clip
# a second apart differed by .24 at most, and frames of different clips, seven of them of one studio, by .34 at least.
SHOT_CHANGE = 0.33
GROWTH = 1.6  # No face grows or shrinks by more from one frame to the next.


@dataclasses.dataclass(frozen=True)
class TrackSettings:
  """How clips become tracks.

  Attributes:
    crop_size: width and height of the stored crops.
    enlargement: side of the crop over that of the detector's square.
    frame_rate: frames a second that are used of videos (0: all), and that folders of frames are taken to have.
    frame_step: of a folder's frames every so many-th is used.
    min_frames: shorter tracks are left out.
    landmark_model: dlib's file of 68 points.
    strict: a damaged video ends at the damage; else what can be decoded behind it is used too.
  """

  crop_size: int = 128
  enlargement: float = face_squares.ENLARGEMENT
  frame_rate: float = 5.0
  frame_step: int = 1
  min_frames: int = 4
  landmark_model: str = ''
  strict: bool = True

  @property
  def faces(self) -> Settings:
    """How one face is cut out; its `Face.box` is made of the square."""
    return Settings('box', 1.0, self.crop_size, self.landmark_model, self.frame_rate)


@dataclasses.dataclass(frozen=True)
class Moment:
  """A frame of a clip: `file` holds it, `number` counts the clip's frames, `track` its tracks from 1 on."""

  file: str
  number: int
  track: int
  face: Face


def find_tracks(folder: str, clip: Clip, settings: TrackSettings) -> tuple[list[Moment], str]:
  """Finds the tracks of a clip. Pure.

  Returns:
    the frames that are used, and one line about what is not ('' where all of it is).
  """
  followed, damage = _follow_all(folder, clip, settings)
  moments: list[Moment] = []
  reasons: collections.Counter[str] = collections.Counter(face.reason.split(':')[0] for _, _, face in followed)
  ends: collections.Counter[str] = collections.Counter()
  short: list[int] = []
  number = 0
  for run, group in itertools.groupby(followed, key=lambda row: row[0]):
    rows = [(index, face) for _, index, face in group if not face.reason]
    if not run.place or not rows:
      continue
    if run.cause:
      ends[run.cause] += 1
    rows = _smooth(rows, settings)
    good = [(index, face) for index, face in rows if not face.reason]
    reasons.update(face.reason.split(':')[0] for _, face in rows if face.reason)
    if len(good) < settings.min_frames:
      short.append(len(good))
      continue
    number += 1
    for index, face in good:
      file = clip.frames[index * settings.frame_step] if clip.frames else clip.file
      moments.append(Moment(file, index * (settings.frame_step if clip.frames else 1), number, face))
  notes = [damage] if damage else []
  notes += [f'{why}: in {count} of {len(followed)} frames' for why, count in reasons.items() if why]
  notes += [f'{why}: {count} times' for why, count in ends.items()]
  if short:
    lengths = ', '.join(str(length) for length in sorted(short)[:5]) + ', ...' * (len(short) > 5)
    notes.append(f'too short: {len(short)} tracks of {lengths} frames, --min_frames={settings.min_frames} are needed')
  return moments, '; '.join(notes)


@dataclasses.dataclass(frozen=True)
class _Run:
  """A face seen without interruption; `place` counts them, 0 is none; `cause` says what cut the one before off."""

  place: int
  cause: str = ''


def _read(folder: str, clip: Clip, settings: TrackSettings) -> Iterator[np.ndarray | str]:
  """The frames of a clip, or why one of them cannot be read; raises ValueError where the rest cannot."""
  if clip.frames:
    for file in clip.frames[:: settings.frame_step]:
      try:
        yield photos.read_photo(os.path.join(folder, file))
      except (ValueError, FileNotFoundError) as error:
        yield 'a frame cannot be read: ' + str(error)
    return
  path = os.path.join(folder, clip.file)
  try:
    video.frame_rate(path)
  except ValueError:
    if video.has_sound(path):
      raise ValueError(f'{path}: sound without pictures') from None
    raise
  yield from video.read_video(path, settings.frame_rate, settings.strict)


def _follow_all(folder: str, clip: Clip, settings: TrackSettings) -> tuple[list[tuple[_Run, int, Face]], str]:
  """Each frame's run, number and face, and what is wrong with the rest of the clip."""
  rows: list[tuple[_Run, int, Face]] = []
  run, count, last, before, cause = _Run(0), 0, None, None, ''
  nobody = _Run(0)
  try:
    for number, frame in enumerate(_read(folder, clip, settings)):
      if isinstance(frame, str):
        rows.append((nobody, number, Face(frame, [])))
        last = before = None
        continue
      now = signature(frame)
      if before is not None and before.size != now.size:
        last, cause = None, 'the frame size changes'
      elif before is not None and difference(before, now) > SHOT_CHANGE:
        last, cause = None, 'shot change'
      before = now
      faces = landmarks.find_faces(frame, settings.landmark_model)
      if not faces:
        last = None
        rows.append((nobody, number, Face('no face found', [])))
        continue
      points = faces[0] if last is None else max(faces, key=lambda face: tracks.overlap(face, last))  # noqa: B023
      if last is None or not _continues(last, points):
        points, count = faces[0], count + 1
        run, cause = _Run(count, cause or ('another face' if last is not None else '')), ''
      last = points
      square = face_squares.face_square(points, settings.enlargement)
      crop, marks, _ = cut_out(frame, points, settings.faces, face_squares.as_box(square))
      angle = skin.typology_angle(crop, marks)
      rows.append((run, number, Face('', points.tolist(), 0.0, angle, None if clip.frames else number)))
  except (ValueError, FileNotFoundError) as error:
    reason = str(error).removeprefix(f'{os.path.join(folder, clip.file)}: ')
    return rows, reason + ': the frames before are used' * bool(rows)
  return rows, ''


def _continues(last: np.ndarray, points: np.ndarray) -> bool:
  """Whether two faces [68, 2] of consecutive frames are one."""
  sizes = [face_squares.face_square(face)[2] for face in (last, points)]
  return tracks.overlap(last, points) > 0 and max(sizes) < GROWTH * min(sizes)


def _smooth(rows: list[tuple[int, Face]], settings: TrackSettings) -> list[tuple[int, Face]]:
  """The faces of a run with squares that move smoothly."""
  points = [np.array(face.points) for _, face in rows]
  squares = np.stack([face_squares.face_square(face, settings.enlargement) for face in points])
  # A video's own rate is not known here; all its frames are as good as 25 a second.
  squares = ndimage.gaussian_filter1d(squares, SMOOTHING * (settings.frame_rate or 25.0), axis=0, mode='nearest')
  return [
    (index, judge(face, settings.faces, old.angle, old.frame, face_squares.as_box(square)))
    for (index, old), face, square in zip(rows, points, squares, strict=True)
  ]


@dataclasses.dataclass(frozen=True)
class Signature:
  """What shots are told apart by: `size` of the frame, `colours` [512] shares, `thumbnail` [16, 16, 3] in [0, 1]."""

  size: tuple[int, ...]
  colours: np.ndarray
  thumbnail: np.ndarray


def signature(frame: np.ndarray) -> Signature:
  """The signature of a frame [H, W, 3] uint8."""
  small = np.asarray(Image.fromarray(frame).resize((64, 64), Image.Resampling.BOX))
  bins = (small // 32).reshape(-1, 3) @ [64, 8, 1]
  thumbnail = small.reshape(16, 4, 16, 4, 3).mean(axis=(1, 3)) / 255
  return Signature(frame.shape[:2], np.bincount(bins, minlength=512) / len(bins), thumbnail)


def difference(first: Signature, second: Signature) -> float:
  """How far two frames are apart: the share of other colours, and three times the mean change of the thumbnail."""
  shared = np.minimum(first.colours, second.colours).sum()
  return float(1 - shared + 3 * np.abs(first.thumbnail - second.thumbnail).mean())
