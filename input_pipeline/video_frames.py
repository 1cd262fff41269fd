"""The video of one person as frames for face-off: read, cut out by one map a frame, with masks and landmarks."""

import dataclasses
import os
from collections.abc import Iterator, Sequence

import numpy as np

from input_pipeline import alignment, boxes, clips, masks, photos, video
from input_pipeline.clips import Clip
from input_pipeline.face_tracks import Moment, TrackSettings
from input_pipeline.faces import Face

# A frame, its mask, its landmarks.
Cut = tuple[np.ndarray, np.ndarray, np.ndarray]
_SMALLEST_FACE = 48  # Pixels of the square around a face where frames are not aligned.


@dataclasses.dataclass(frozen=True)
class VideoSettings:
  """How videos become frames.

  Attributes:
    size: width and height of the frames.
    align: whether frames follow the face.
    enlargement: then, the side of the square over that of the detector's.
    frame_rate: frames a second; 0 is every frame.
    masks: face, person, or a folder of ready ones (see `masks`).
    segmentation_model: path of the network that finds the person.
    landmark_model: dlib's file of 68 points.
  """

  size: int = 286
  align: bool = False
  enlargement: float = 1.6
  frame_rate: float = 0.0
  masks: str = 'face'
  segmentation_model: str = ''
  landmark_model: str = ''

  @property
  def tracks(self) -> TrackSettings:
    """How faces are found and followed."""
    size = self.size if self.align else 2 * _SMALLEST_FACE
    return TrackSettings(size, self.enlargement, self.frame_rate, 1, 1, self.landmark_model, strict=False)

  @property
  def has_ready_masks(self) -> bool:
    """Whether `masks` is a folder."""
    return self.masks not in ('face', 'person')


def list_clip(person: str, path: str) -> Clip:
  """The video or folder of frames of a person.

  Raises:
    FileNotFoundError: if it is missing.
    ValueError: if it is neither.
  """
  full = os.path.abspath(path)
  if os.path.isdir(full):
    names = sorted((name for name in os.listdir(full) if photos.is_picture(name)), key=clips.frame_order)
    if not names:
      raise ValueError(f'--{person}={path}: the folder holds no pictures')
    return Clip(full, person, tuple(os.path.join(full, name) for name in names))
  if not os.path.isfile(full):
    raise FileNotFoundError(f'--{person}={path}: there is no such file or folder')
  if not video.is_video(full):
    raise ValueError(f'--{person}={path}: not a video ({", ".join(video.VIDEOS)}) or a folder of frames')
  return Clip(full, person)


def read_frames(clip: Clip, frame_rate: float, numbers: Sequence[int]) -> Iterator[tuple[int, np.ndarray]]:
  """Frames [H, W, 3] uint8 of a clip with their numbers, in the order of time, as far as they can be read."""
  if clip.frames:
    for number in numbers:
      yield number, photos.read_photo(clip.frames[number])
    return
  wanted = set(numbers)
  try:
    for number, image in enumerate(video.read_video(clip.file, frame_rate, strict=False)):
      if number in wanted:
        yield number, image
      if number >= max(wanted):
        return
  except ValueError as error:  # Said once, when faces were sought.
    if 'could be read' not in str(error):
      raise


def rate_of(clip: Clip, frame_rate: float) -> float:
  """How many frames a second `read_frames` numbers; 0 where nobody knows, as of folders and broken videos."""
  if clip.frames:
    return frame_rate
  try:
    return video.read_rate(clip.file, frame_rate)
  except ValueError:  # Said where its frames are read.
    return 0.0


def frame_matrix(shape: tuple[int, ...], face: Face, settings: VideoSettings) -> np.ndarray:
  """The [2, 3] map from the pixels of a picture of shape (H, W, ...) to those of its frame."""
  if settings.align:
    return boxes.align(np.array(face.points), settings.size, np.array(face.box))
  side = min(shape[:2])
  scale = settings.size / side
  top, left = ((length - side) / 2 - 0.5 for length in shape[:2])  # Edges: the first pixel begins at -.5.
  return np.array([[scale, 0, -left * scale - 0.5], [0, scale, -top * scale - 0.5]])


def cut_frame(
  image: np.ndarray, face: Face, settings: VideoSettings, ready: str = ''
) -> Cut:
  """The frame [S, S, 3] uint8 of a picture, its mask [S, S] uint8 (0 or 255), and landmarks [68, 2] in its pixels."""
  matrix = frame_matrix(image.shape, face, settings)
  frame = alignment.warp(image, matrix, settings.size)
  points = alignment.transform_points(np.array(face.points), matrix)
  if ready:
    covered = alignment.warp(masks.read_ready(ready, image.shape), matrix, settings.size)
    return frame, np.uint8(255) * (covered > 127), points
  if settings.masks == 'person':
    return frame, masks.person_mask(frame, settings.segmentation_model), points
  return frame, masks.face_mask(points, settings.size), points


def describe_clip(clip: Clip, settings: VideoSettings) -> list[str]:
  """What a person should know of a video, one line each."""
  notes = []
  first = next(iter(read_frames(clip, settings.frame_rate, [0])), None) if not clip.frames else None
  if not clip.frames:
    if not video.has_sound(clip.file):
      notes.append('no sound track: a film that is made of it is silent')
    if video.is_irregular(clip.file):
      notes.append(f'frames come irregularly: they are taken evenly, {video.read_rate(clip.file):g} a second')
  if first is not None and not settings.align:
    height, width = first[1].shape[:2]
    if height != width:
      notes.append(f'{width} x {height} pixels: the middle {min(height, width)} x {min(height, width)} are used')
    if min(height, width) < settings.size:
      notes.append(f'frames are enlarged {settings.size / min(height, width):.1f} times, to {settings.size} pixels')
  return notes


@dataclasses.dataclass(frozen=True)
class Part:
  """The frames of a person that go into a split; `tone` is the person's skin, `ready` lists masks or is empty."""

  clip: Clip
  moments: list[Moment]
  tone: str
  ready: list[str]

  def cut(self, rows: Sequence[Moment], settings: VideoSettings) -> Iterator[tuple[Moment, Cut]]:
    """Some of the frames with what `cut_frame` makes of them."""
    moments = {moment.number: moment for moment in rows}
    for number, image in read_frames(self.clip, settings.frame_rate, list(moments)):
      ready = self.ready[number] if self.ready else ''
      yield moments[number], cut_frame(image, moments[number].face, settings, ready)
