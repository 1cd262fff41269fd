"""Reads videos through the ffmpeg that imageio-ffmpeg brings, one frame in memory at a time."""

import os
import re
import subprocess
from collections.abc import Iterator

import imageio_ffmpeg
import numpy as np


def frame_rate(path: str | os.PathLike) -> float:
  """Frames per second.

  Raises:
    FileNotFoundError: if there is no such file.
    ValueError: if it is not a video.
  """
  if not os.path.isfile(path):
    raise FileNotFoundError(f'{path}: there is no such file')
  command = [imageio_ffmpeg.get_ffmpeg_exe(), '-hide_banner', '-i', str(path)]
  text = subprocess.run(command, capture_output=True, stdin=subprocess.DEVNULL).stderr.decode(errors='replace')
  found = re.search(r'Stream.*Video:.*?([\d.]+) (?:fps|tbr)', text)
  if not found:
    raise ValueError(f'{path}: not a video, or a damaged one ({text.strip().splitlines()[-1]})')
  return float(found.group(1))


def read_video(path: str | os.PathLike) -> Iterator[np.ndarray]:
  """Frames [H, W, 3] uint8, upright as the video says.

  Raises:
    ValueError: if it ends in the middle of a frame.
  """
  command = [imageio_ffmpeg.get_ffmpeg_exe(), '-v', 'error', '-i', str(path), '-f', 'image2pipe', '-c:v', 'ppm', '-']
  with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL) as ffmpeg:
    stream = ffmpeg.stdout
    assert stream is not None
    try:
      while stream.readline():  # P6
        width, height = map(int, stream.readline().split())
        stream.readline()  # 255
        data = stream.read(width * height * 3)
        if len(data) != width * height * 3:
          raise ValueError(f'{path}: the video ends in the middle of a frame')
        yield np.frombuffer(data, np.uint8).reshape(height, width, 3)
    finally:
      ffmpeg.kill()
