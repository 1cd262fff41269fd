"""Says inside every generated file that a trained model made it: an XMP packet with IPTC's digital source type.

Properties: `Iptc4xmpExt:DigitalSourceType` with the value of IPTC's vocabulary for trained models, and the two that
IPTC's Photo Metadata Standard 2025.1 gives to the model and its version, `Iptc4xmpExt:AISystemUsed` and
`Iptc4xmpExt:AISystemVersionUsed`. The packet stands where XMP Part 3 wants it: PNG `iTXt` chunk, JPEG APP1 segment, MP4
`uuid` box. Source: https://iptc.org/standards/photo-metadata
"""

import contextlib
import io
import os
import re
import struct
import subprocess
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape, unescape

import imageio_ffmpeg
import numpy as np
from PIL import Image, PngImagePlugin

VERSION = '0.1.0'
TRAINED_MODEL = 'http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia'
ALGORITHM = 'http://cv.iptc.org/newscodes/digitalsourcetype/algorithmicMedia'
DATA_CHART = 'http://cv.iptc.org/newscodes/digitalsourcetype/dataDrivenMedia'
_EXTENSION = 'http://iptc.org/std/Iptc4xmpExt/2008-02-29/'
_PNG_KEY = 'XML:com.adobe.xmp'
_FULL = 'No space left on device'
_MP4_UUID = bytes.fromhex('be7acfcb97a942e89c71999491e3afac')


def _packet(model: str, version: str, source_type: str = TRAINED_MODEL) -> bytes:
  fields = {'DigitalSourceType': source_type}
  if source_type == TRAINED_MODEL:
    fields.update(AISystemUsed=f'Personae {model}'.strip(), AISystemVersionUsed=version or VERSION)
  body = ''.join(f'<Iptc4xmpExt:{k}>{escape(v)}</Iptc4xmpExt:{k}>' for k, v in fields.items())
  return (
    '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/">'
    '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    f'<rdf:Description rdf:about="" xmlns:Iptc4xmpExt="{_EXTENSION}">{body}</rdf:Description></rdf:RDF></x:xmpmeta>'
    '<?xpacket end="w"?>'
  ).encode()


def model_version(step: int | None = None) -> str:
  """The version that generated files carry: the project's, and the training step where there is one."""
  return VERSION if step is None else f'{VERSION} step {int(step)}'


def to_uint8(images: Any) -> np.ndarray:
  """Images as uint8: float pictures are taken to lie in [-1, 1] and rounded; uint8 ones are returned as they are."""
  images = np.asarray(images)
  if images.dtype == np.uint8:
    return images
  return np.rint((np.clip(images.astype(np.float32), -1, 1) + 1) * 127.5).astype(np.uint8)


def encode_image(
  image: Any, kind: str = 'PNG', model: str = '', version: str = '', source_type: str = TRAINED_MODEL
) -> bytes:
  """A generated picture as a file's content, with its provenance; see `save_image`. `kind` is PNG or JPEG."""
  packet, options = _packet(model, version, source_type), {}
  if kind == 'PNG':
    options['pnginfo'] = PngImagePlugin.PngInfo()
    options['pnginfo'].add_itxt(_PNG_KEY, packet.decode())
  else:
    options.update(xmp=packet, quality=95, subsampling=0)
  content = io.BytesIO()
  Image.fromarray(to_uint8(image)).save(content, kind, **options)
  return content.getvalue()


def save_image(
  path: str | os.PathLike, image: Any, model: str = '', version: str = '', source_type: str = TRAINED_MODEL
) -> None:
  """Writes a generated PNG or JPEG with its provenance.

  Args:
    path: ends in .png, .jpg or .jpeg; its folder is made. The file appears whole or not at all.
    image: [H, W, 3] uint8, or float in [-1, 1].
    model: name of the system that made it.
    version: version of the model; the project's if empty.
    source_type: IPTC's digital source type; `ALGORITHM` for what nothing was trained for, such as a render,
      and `DATA_CHART` for a drawing of numbers; these name no model.
  Raises:
    ValueError: if the name ends otherwise.
    OSError: if the file cannot be written; then nothing is left of it.
  """
  path = Path(path)
  kind = {'.png': 'PNG', '.jpg': 'JPEG', '.jpeg': 'JPEG'}.get(path.suffix.lower())
  if kind is None:
    raise ValueError(f'{path}: pictures are written as .png, .jpg or .jpeg')
  path.parent.mkdir(parents=True, exist_ok=True)
  content = encode_image(image, kind, model, version, source_type)
  temporary = path.with_name(f'.{path.name}.part')
  try:
    temporary.write_bytes(content)
    os.replace(temporary, path)
  except OSError as error:
    temporary.unlink(missing_ok=True)
    raise OSError(f'{path} cannot be written ({error.strerror}): make room, or choose another folder') from None


def save_video(
  path: str | os.PathLike,
  frames: Iterable[Any],
  fps: float,
  model: str = '',
  version: str = '',
  sound: str | os.PathLike | None = None,
) -> int:
  """Writes generated frames as an H.264 MP4 with provenance, one frame in memory at a time.

  Args:
    path: ends in .mp4; its folder is made. The file appears whole or not at all.
    frames: [H, W, 3] uint8 or float in [-1, 1], all of one size; for odd sizes, which H.264 has not, the last row or
      column is written twice.
    fps: frames per second.
    model: name of the system that made it.
    version: version of the model; the project's if empty.
    sound: a video whose first audio track is kept, as far as the frames go. Where it cannot be read the film is silent,
      and a line says so.
  Returns:
    The number of frames.
  Raises:
    ValueError: if the name ends otherwise, there is no frame, or one is of another size than the first.
    OSError: if the file cannot be written, as on a full disk; then nothing is left of it.
  """
  path = Path(path)
  if path.suffix.lower() != '.mp4':
    raise ValueError(f'{path}: videos are written as .mp4')
  path.parent.mkdir(parents=True, exist_ok=True)
  temporary = path.with_name(f'.{path.stem}.part.mp4')
  try:
    count = _encode(temporary, frames, fps)
    if not count:
      raise ValueError(f'{path}: there is no frame to write')
    if sound is not None:
      _add_sound(temporary, sound, count / fps)
    add_provenance(temporary, model, version)
    os.replace(temporary, path)
  except _EncodingError as error:
    raise OSError(f'{path} cannot be written ({error}): nothing was; is there room on the disk?') from None
  finally:
    temporary.unlink(missing_ok=True)
  return count


class _EncodingError(Exception):
  """What ffmpeg complains of."""


def _encode(path: Path, frames: Iterable[Any], fps: float) -> int:
  """Writes frames as H.264 without sound; returns how many.

  Raises:
    ValueError: if a frame is of another size than the first.
    _EncodingError: if ffmpeg ends before all frames are in the file.
  """
  command, ffmpeg, count = [imageio_ffmpeg.get_ffmpeg_exe(), '-v', 'error', '-y', '-f', 'rawvideo'], None, 0
  size = ''
  with tempfile.TemporaryFile() as errors:  # Since a pipe that nobody empties would stop ffmpeg.
    try:
      for frame in frames:
        frame = to_uint8(frame)
        own = f'{frame.shape[1]} x {frame.shape[0]}'
        size = size or own
        if own != size:  # ffmpeg is told one size, and cuts what comes into frames of that.
          raise ValueError(
            f'frame {count + 1} has {own} pixels, and the first one {size}: a film has one size, so make all pictures '
            'alike, or write a folder of them'
          )
        frame = np.pad(frame, [(0, frame.shape[0] % 2), (0, frame.shape[1] % 2), (0, 0)], 'edge')
        if ffmpeg is None:
          height, width = frame.shape[:2]
          if own != f'{width} x {height}':
            print(f'{own} pixels become {width} x {height} in the film: it needs even numbers')
          command += ['-pix_fmt', 'rgb24', '-s', f'{width}x{height}', '-r', f'{fps:.6f}', '-i', '-', '-an']
          command += ['-c:v', 'libx264', '-pix_fmt', 'yuv420p', '-crf', '10', str(path)]
          ffmpeg = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=errors)
        assert ffmpeg.stdin is not None
        ffmpeg.stdin.write(frame.tobytes())
        count += 1
      if ffmpeg is not None and ffmpeg.stdin is not None:
        ffmpeg.stdin.close()
        if ffmpeg.wait():
          raise BrokenPipeError
    except BrokenPipeError:
      assert ffmpeg is not None
      code = ffmpeg.wait()
      errors.seek(0)
      lines = errors.read().decode(errors='replace').strip().splitlines()
      reason = next((line for line in lines if _FULL in line), lines[-1] if lines else f'it ended with {code}')
      raise _EncodingError(f'ffmpeg: {_without_address(reason)}') from None
    finally:
      if ffmpeg is not None and ffmpeg.stdin is not None:
        ffmpeg.kill()
        ffmpeg.wait()
        with contextlib.suppress(BrokenPipeError):
          ffmpeg.stdin.close()
  return count


def _without_address(line: str) -> str:
  """A line of ffmpeg's without the part of it that speaks."""
  return re.sub(r'^(\[[^\]]*\] *)+', '', line)


def _add_sound(path: Path, sound: str | os.PathLike, seconds: float) -> None:
  """Gives a video the sound of another for as long as its frames last; silence follows a sound that is too short."""
  silent = path.with_suffix('.silent.mp4')
  os.replace(path, silent)
  command = [imageio_ffmpeg.get_ffmpeg_exe(), '-v', 'error', '-y', '-i', str(silent), '-i', str(sound)]
  command += ['-map', '0:v', '-map', '1:a:0', '-c:v', 'copy', '-c:a', 'aac', '-af', 'apad', '-t', f'{seconds:.6f}']
  try:
    subprocess.run([*command, str(path)], check=True, capture_output=True, stdin=subprocess.DEVNULL)
  except subprocess.CalledProcessError as error:
    text = error.stderr.decode(errors='replace')
    if _FULL in text:
      raise _EncodingError(f'ffmpeg: {_FULL}') from None
    os.replace(silent, path)  # Hours of translating are not thrown away for a sound.
    reason = next(iter(text.strip().splitlines()), 'ffmpeg does not say why')
    print(f'{sound}: its sound cannot be read ({_without_address(reason)}): the film is silent')
  finally:
    silent.unlink(missing_ok=True)


def add_provenance(path: str | os.PathLike, model: str, version: str = '') -> None:
  """Appends the packet to an MP4 file that was written elsewhere, as a `uuid` box behind the last one."""
  packet = _packet(model, version)
  with open(path, 'ab') as file:
    file.write(struct.pack('>I4s16s', 24 + len(packet), b'uuid', _MP4_UUID) + packet)


def read_provenance(path: str | os.PathLike) -> dict[str, str]:
  """Reads what `save_image` and `save_video` wrote.

  Returns:
    `digital_source_type`, `model` and `version`; empty if the file has no such packet.
  """
  path = Path(path)
  if path.suffix.lower() == '.mp4':
    packet = _mp4_packet(path)
  else:
    with Image.open(path) as image:
      packet = image.info.get(_PNG_KEY) or image.info.get('xmp') or b''
  text = packet.decode() if isinstance(packet, bytes) else packet
  found = dict(re.findall(r'<Iptc4xmpExt:(\w+)>(.*?)</Iptc4xmpExt:\1>', text))
  names = {'DigitalSourceType': 'digital_source_type', 'AISystemUsed': 'model', 'AISystemVersionUsed': 'version'}
  return {names[k]: unescape(v) for k, v in found.items() if k in names}


def _mp4_packet(path: Path) -> bytes:
  with open(path, 'rb') as file:
    while len(head := file.read(8)) == 8:
      size, kind = struct.unpack('>I4s', head)
      start = file.tell() - 8
      if size == 1:
        size = struct.unpack('>Q', file.read(8))[0]
      if kind == b'uuid' and file.read(16) == _MP4_UUID:
        return file.read(size - 24)
      if size < 8:
        break
      file.seek(start + size)
  return b''
