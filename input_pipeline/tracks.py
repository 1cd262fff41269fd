"""A face in a video, followed and smoothed over time."""

import itertools
import os
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from scipy import ndimage

from input_pipeline import landmarks, photos, skin, video
from input_pipeline.faces import Face, Settings, cut_out, judge

# Seconds: standard deviation of the Gaussian over time. On three clips of 25 and 30 frames a second it took the
# trembling of nose and eye corners to a third and left over nine tenths of the spread of the opening mouth; at 5 frames
# a second it does nothing.
SMOOTHING = 0.03


def find_track(path: str, settings: Settings) -> list[Face]:
  """Looks for one person's face in each frame of a video. Pure.

  It begins with the largest face and follows the one that overlaps it from frame to frame, so that somebody who comes
  nearer to the camera does not take its place; after a cut, or where the face was lost, it begins anew.

  Args:
    path: the video.
    settings: `frame_rate` frames a second are looked at.

  Returns:
    one Face a frame; or a single one without a frame, with the reason, if the video cannot be read to its end.
  """
  try:
    sigma = SMOOTHING * video.read_rate(path, settings.frame_rate)
    followed = list(_follow(video.read_video(path, settings.frame_rate), settings))
  except (ValueError, FileNotFoundError) as error:
    return [Face(str(error).removeprefix(f'{path}: '), [])]
  found = []
  frame = 0
  for run, group in itertools.groupby(followed, key=lambda part: part[0]):
    part = list(group)
    points = np.stack([points for _, points, _ in part])
    if run:
      points = ndimage.gaussian_filter1d(points, sigma, axis=0, mode='nearest')
    for moment, (_, _, angle) in zip(points, part, strict=True):
      found.append(judge(moment, settings, angle, frame) if run else Face('no face found', [], frame=frame))
      frame += 1
  return found


def _follow(frames: Iterator[np.ndarray], settings: Settings) -> Iterator[tuple[int, np.ndarray, float]]:
  """Per frame: the number of its run (a face seen without interruption; 0 where there is none), points, skin angle."""
  run, last = 0, None
  for frame in frames:
    faces = landmarks.find_faces(frame, settings.landmark_model)
    if not faces:
      last = None
      yield 0, np.zeros([68, 2]), 0.0
      continue
    points = next_face(faces, last)
    run += last is None or not overlap(points, last)
    last = points
    crop, marks, _ = cut_out(frame, points, settings)
    yield run, points, skin.typology_angle(crop, marks)


def next_face(faces: Sequence[np.ndarray], last: np.ndarray | None) -> np.ndarray:
  """Which of a frame's faces [68, 2], largest first, goes on: that which overlaps `last` most, or else the largest."""
  nearest = faces[0] if last is None else max(faces, key=lambda face: overlap(face, last))
  return nearest if last is not None and overlap(nearest, last) else faces[0]


def follow_face(frames: Iterable[np.ndarray]) -> Iterator[np.ndarray | None]:
  """The 68 landmarks of one person in each frame, None where no face is found: see `find_track`."""
  last = None
  for frame in frames:
    faces = landmarks.find_faces(frame)
    last = next_face(faces, last) if faces else None
    yield last


def overlap(a: np.ndarray, b: np.ndarray) -> float:
  """Area that the bounding boxes of two sets of points [N, 2] share."""
  sides = np.minimum(a.max(axis=0), b.max(axis=0)) - np.maximum(a.min(axis=0), b.min(axis=0))
  return float(np.prod(np.maximum(sides, 0)))


def read_images(
  folder: str, rows: Sequence[tuple[Any, ...]], settings: Settings
) -> Iterator[tuple[tuple[Any, ...], np.ndarray]]:
  """Each row (Photo, Face, ...) with its picture [H, W, 3] uint8; rows of one video stand together, by frame."""
  for file, group in itertools.groupby(rows, key=lambda row: row[0].file):
    path = os.path.join(folder, file)
    if not video.is_video(file):
      image = photos.read_photo(path)
      yield from ((row, image) for row in group)
      continue
    wanted = {row[1].frame: row for row in group}
    for number, frame in enumerate(video.read_video(path, settings.frame_rate)):
      if number in wanted:
        yield wanted.pop(number), frame
      if not wanted:
        break
