"""Reading any photograph as upright 8-bit RGB."""

import io
import os
import struct

import numpy as np
from PIL import ExifTags, Image, ImageCms, UnidentifiedImageError

PICTURES = ('.jpg', '.jpeg', '.png', '.bmp', '.tif', '.tiff', '.webp', '.gif', '.pgm', '.ppm')
# A larger one is refused before it is unpacked: a file of a few kilobytes can claim terabytes.
MAX_PIXELS = 200_000_000
STRIP = 256
_TURNS = {
  2: Image.Transpose.FLIP_LEFT_RIGHT,
  3: Image.Transpose.ROTATE_180,
  4: Image.Transpose.FLIP_TOP_BOTTOM,
  5: Image.Transpose.TRANSPOSE,
  6: Image.Transpose.ROTATE_270,
  7: Image.Transpose.TRANSVERSE,
  8: Image.Transpose.ROTATE_90,
}


def is_picture(path: str) -> bool:
  """Whether the file's name is that of a picture."""
  return os.path.splitext(path)[1].lower() in PICTURES


def read_photo(path: str) -> np.ndarray:
  """Reads a picture of any common kind.

  EXIF rotation is applied, CMYK, grey and palette pictures become RGB, 16-bit ones are scaled (not clipped) to 8 bits,
  transparent pixels become white, colours of another profile (Display P3, Adobe RGB) sRGB; of an animation it is the
  first frame.

  Returns:
    [H, W, 3] uint8.

  Raises:
    FileNotFoundError: if there is no such file.
    ValueError: if it is not a whole picture; one line with the path and the reason.
  """
  if not os.path.isfile(path):
    raise FileNotFoundError(f'{path}: there is no such file')
  try:
    # Pillow only warns of large pictures, and a warning of damaged EXIF data concerns nobody.
    with Image.open(path) as file:
      if file.width * file.height > MAX_PIXELS:
        raise ValueError(f'{path}: {file.width} x {file.height} pixels are more than the {MAX_PIXELS:,} allowed')
      file.load()
      image = _upright(file)
      own_colours = _to_srgb(image)
      pixels = np.empty([image.height, image.width, 3], np.uint8)
      # By strips, since every step of the conversion copies: a picture of 50 megapixels took six times its size.
      for top in range(0, image.height, STRIP):
        strip = image.crop((0, top, image.width, min(top + STRIP, image.height)))
        if own_colours is not None:
          ImageCms.applyTransform(strip, own_colours, inPlace=True)
        pixels[top : top + STRIP] = _to_rgb(strip)
      return pixels
  except UnidentifiedImageError:
    raise ValueError(f'{path}: not a picture, or of an unknown kind') from None
  except Image.DecompressionBombError:
    raise ValueError(f'{path}: has more than the {MAX_PIXELS:,} pixels allowed') from None
  except (OSError, SyntaxError, EOFError) as error:
    reason = ' '.join(str(error).split()) or type(error).__name__
    raise ValueError(f'{path}: the picture is damaged or cut off ({reason})') from None


def _upright(image: Image.Image) -> Image.Image:
  """As EXIF says it is to be shown. Pillow's own function writes all of EXIF anew, which damaged tags make fail."""
  try:
    turn = _TURNS.get(image.getexif().get(ExifTags.Base.Orientation))
  except (OSError, SyntaxError, struct.error, TypeError, ValueError, LookupError):
    turn = None
  return image if turn is None else image.transpose(turn)


def _to_srgb(image: Image.Image) -> ImageCms.ImageCmsTransform | None:
  """From the colours that a picture says it has, such as a phone's Display P3, to sRGB; None where those are its."""
  if image.mode not in ('RGB', 'RGBA') or not image.info.get('icc_profile'):
    return None
  try:
    profile = ImageCms.ImageCmsProfile(io.BytesIO(image.info['icc_profile']))
    if 'srgb' in ImageCms.getProfileDescription(profile).lower():
      return None
    return ImageCms.buildTransform(profile, ImageCms.createProfile('sRGB'), image.mode, image.mode)
  except (ImageCms.PyCMSError, OSError):  # A damaged profile says nothing.
    return None


def _to_rgb(image: Image.Image) -> np.ndarray:
  if image.mode in ('I', 'F') or image.mode.startswith('I;16'):
    values = np.asarray(image, np.float64)
    if image.mode == 'F':  # the convention of float TIFFs
      values = values * 65535
    grey = np.clip(np.round(values / 257), 0, 255).astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=-1)
  if image.mode in ('RGBA', 'LA', 'PA') or 'transparency' in image.info:
    image = image.convert('RGBA')
    image = Image.alpha_composite(Image.new('RGBA', image.size, 'white'), image)
  return np.asarray(image.convert('RGB'))
