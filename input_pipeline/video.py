"""Reads videos through the ffmpeg that imageio-ffmpeg brings, one frame in memory at a time."""

import os
import re
import subprocess
import tempfile
from collections.abc import Callable, Iterator

import imageio_ffmpeg
import numpy as np

VIDEOS = ('.mp4', '.mov', '.avi', '.mkv', '.webm', '.m4v', '.mpg', '.mpeg')


def is_video(path: str | os.PathLike) -> bool:
  """Whether the file's name is that of a video."""
  return os.path.splitext(path)[1].lower() in VIDEOS


def _reason(text: str) -> str:
  """The first thing that ffmpeg complains of, without its own name and address."""
  lines = [re.sub(r'^(\[[^\]]*\] *)+', '', line).strip() for line in text.splitlines()]
  return next((line for line in lines if line), 'ffmpeg says nothing')


def _describe(path: str | os.PathLike) -> str:
  """What ffmpeg says about a file."""
  command = [imageio_ffmpeg.get_ffmpeg_exe(), '-hide_banner', '-i', str(path)]
  return subprocess.run(command, capture_output=True, stdin=subprocess.DEVNULL).stderr.decode(errors='replace')


def frame_rate(path: str | os.PathLike) -> float:
  """Frames per second, on average where they come irregularly.

  Raises:
    FileNotFoundError: if there is no such file.
    ValueError: if it is not a video.
  """
  if not os.path.isfile(path):
    raise FileNotFoundError(f'{path}: there is no such file')
  text = _describe(path)
  found = re.search(r'Stream.*Video:.*?([\d.]+)(k?) fps', text)
  if found and float(found[1]):
    return float(found[1]) * (1000 if found[2] else 1)
  times = _frame_times(path)  # What browsers record states no rate.
  if times.size > 1 and times[-1] > times[0]:
    return float((times.size - 1) / (times[-1] - times[0]))
  errors = '\n'.join(line for line in text.splitlines() if re.search('error|invalid|not found', line, re.I))
  raise ValueError(f'{path}: not a video, or a damaged one ({_reason(errors)})')


def is_irregular(path: str | os.PathLike) -> bool:
  """Whether the frames of a video come irregularly, as a phone films them: some follow half as late again as others."""
  gaps = np.diff(_frame_times(path))
  return bool(gaps.size) and bool(gaps.max() > 1.5 * gaps.min())


def _frame_times(path: str | os.PathLike) -> np.ndarray:
  """Seconds at which a video's frames are shown, ascending; none where one has no time, as in AVI, which is even."""
  copied = ['-map', '0:v:0', '-c', 'copy', '-f', 'framecrc', '-']  # Nothing is decoded; a line for each frame.
  command = [imageio_ffmpeg.get_ffmpeg_exe(), '-v', 'error', '-i', str(path), *copied]
  text = subprocess.run(command, capture_output=True, stdin=subprocess.DEVNULL).stdout.decode(errors='replace')
  times = np.array([int(line.split(',')[2]) for line in text.splitlines() if line.startswith('0,')], np.int64)
  base = re.search(r'^#tb 0: (\d+)/(\d+)', text, re.M)
  if base is None or not times.size or times.min() == np.iinfo(np.int64).min:
    return np.zeros(0)
  return np.sort(times) * (int(base[1]) / int(base[2]))


def has_sound(path: str | os.PathLike) -> bool:
  """Whether a video has an audio track."""
  return bool(re.search(r'Stream.*Audio:', _describe(path)))


def seconds(path: str | os.PathLike) -> float:
  """How long a video says it is; 0 where it does not say."""
  found = re.search(r'Duration: (\d+):(\d+):([\d.]+)', _describe(path))
  return int(found[1]) * 3600 + int(found[2]) * 60 + float(found[3]) if found else 0.0


def read_rate(path: str | os.PathLike, rate: float = 0) -> float:
  """How many frames a second `read_video` gives: `rate`, but no more than the video has; 0 means those."""
  own = frame_rate(path)
  return min(rate, own) if rate else own


def read_video(path: str | os.PathLike, rate: float = 0, strict: bool = True) -> Iterator[np.ndarray]:
  """Frames [H, W, 3] uint8, upright as the video says, evenly spaced in time.

  Frames that come irregularly (phones, screen recordings) are repeated or left out where needed, so that frame i is
  what is seen at second i / `read_rate(path, rate)`.

  Args:
    path: the video.
    rate: frames per second, see `read_rate`.
    strict: a damaged frame ends the video; else what can be decoded behind it is read too, and what cannot be decoded
      shows the frame before.

  Raises:
    FileNotFoundError: if there is no such file.
    ValueError: if it is not a video; after the last frame, if it is damaged or cut off.
  """
  rate = read_rate(path, rate)
  command = [
    *(imageio_ffmpeg.get_ffmpeg_exe(), '-v', 'error', *['-xerror'] * strict, '-i', str(path), '-map', '0:v:0'),
    *('-vf', f'fps={rate:g}', '-f', 'image2pipe', '-c:v', 'ppm', '-'),
  ]
  count = 0
  # In a file, since a pipe that nobody empties would stop ffmpeg.
  with (
    tempfile.TemporaryFile() as errors,
    subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, stdin=subprocess.DEVNULL) as ffmpeg,
  ):
    stream = ffmpeg.stdout
    assert stream is not None
    try:
      while stream.readline():  # P6
        width, height = map(int, stream.readline().split())
        stream.readline()  # 255
        data = stream.read(width * height * 3)
        if len(data) != width * height * 3:
          break
        yield np.frombuffer(data, np.uint8).reshape(height, width, 3)
        count += 1
      code = ffmpeg.wait()
      errors.seek(0)
      text = errors.read().decode(errors='replace')
    finally:
      ffmpeg.kill()
  # A file that is cut off may end without an exit code.
  if code or text or not count:
    where = f'or cut off after {count} frames' if strict or not count else f'or cut off, {count} frames could be read'
    raise ValueError(f'{path}: the video is damaged {where} ({_reason(text)})')


def whole_frames(path: str | os.PathLike, say: Callable[[str], None] = print) -> Iterator[np.ndarray]:
  """The frames of a video [H, W, 3] uint8; of a damaged one those that can be decoded, and one line about it.

  Raises:
    ValueError: if there is no whole frame.
  """
  count = 0
  try:
    for frame in read_video(path, strict=False):
      yield frame
      count += 1
  except ValueError as error:
    if not count:
      raise
    say(f'{error}: these are used')
