"""What transfer needs to know of videos; `input_pipeline.video` reads them, since data sets are made of them too."""

import os
import re
import subprocess

import imageio_ffmpeg

from input_pipeline.video import frame_rate, is_video, read_video

__all__ = ['frame_rate', 'has_sound', 'is_video', 'read_video', 'seconds']


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
