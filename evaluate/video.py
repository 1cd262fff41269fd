"""What transfer needs to know of videos; `input_pipeline.video` reads them, since data sets are made of them too."""

import os
import re
import subprocess
from collections.abc import Callable, Iterator

import imageio_ffmpeg
import numpy as np

from input_pipeline.video import frame_rate, is_video, read_video

__all__ = ['frame_rate', 'has_sound', 'is_video', 'read_video', 'seconds', 'whole_frames']


def _describe(path: str | os.PathLike) -> str:
  command = [imageio_ffmpeg.get_ffmpeg_exe(), '-hide_banner', '-i', str(path)]
  return subprocess.run(command, capture_output=True, stdin=subprocess.DEVNULL).stderr.decode(errors='replace')


def has_sound(path: str | os.PathLike) -> bool:
  """Whether a video has an audio track."""
  return bool(re.search(r'Stream.*Audio:', _describe(path)))


def seconds(path: str | os.PathLike) -> float:
  """How long a video says it is; 0 where it does not say."""
  found = re.search(r'Duration: (\d+):(\d+):([\d.]+)', _describe(path))
  return int(found[1]) * 3600 + int(found[2]) * 60 + float(found[3]) if found else 0.0


def whole_frames(path: str | os.PathLike, say: Callable[[str], None] = print) -> Iterator[np.ndarray]:
  """The frames of a video [H, W, 3] uint8; of a damaged one those before the damage, and one line about it.

  Raises:
    ValueError: if there is no whole frame.
  """
  count = 0
  try:
    for frame in read_video(path):
      yield frame
      count += 1
  except ValueError as error:
    if not count:
      raise
    say(f'{error}: the frames before are used')
