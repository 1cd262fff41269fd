"""Pictures to look at: labelled sheets of generated faces, and charts of the figures."""

import math
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from evaluate.provenance import save_image, to_uint8

_PAPER, _INK, _GREY = (255, 255, 255), (20, 20, 20), (110, 110, 110)


def make_sheet(
  columns: Mapping[str, Any], captions: Sequence[str] = (), tile: int = 128, width: int = 1640, note: str = ''
) -> np.ndarray:
  """Draws samples side by side, each as a block with one picture per column.

  Args:
    columns: name -> images [N, H, W, 3] (or [N, H, W, 1]), uint8 or float in [-1, 1]; the same N, sizes may differ.
    captions: one line below each sample; none if empty.
    tile: pictures smaller than this are enlarged to it (smooth interpolation), so that a face can be judged.
    width: the sheet is not wider than this unless one sample needs it.
    note: a line at the bottom.
  Returns:
    [height, width, 3] uint8.
  Raises:
    ValueError: if the columns differ in length, are empty, or do not fit the captions.
  """
  pictures = {name: to_uint8(images) for name, images in columns.items()}
  counts = {name: len(images) for name, images in pictures.items()}
  if len(set(counts.values())) != 1 or not all(counts.values()):
    raise ValueError(f'columns of a sheet need the same number of pictures, at least one: {counts}')
  count = next(iter(counts.values()))
  if captions and len(captions) != count:
    raise ValueError(f'{len(captions)} captions for {count} samples')
  side = max([tile] + [max(p.shape[1:3]) for p in pictures.values()])
  font = ImageFont.load_default(13)
  gap, line = 4, 20
  block = len(pictures) * (side + gap)
  across = min(count, max(1, width // (block + 3 * gap)))
  down = math.ceil(count / across)
  height_of_row = side + (line if captions else gap) + gap
  height = line + down * height_of_row
  sheet = Image.new('RGB', (across * (block + 3 * gap), height + line * bool(note)), _PAPER)
  draw = ImageDraw.Draw(sheet)
  for sample in range(count):
    x0 = sample % across * (block + 3 * gap) + gap
    y0 = sample // across * height_of_row + line
    for place, (name, images) in enumerate(pictures.items()):
      x = x0 + place * (side + gap)
      if sample < across:
        draw.text((x + 2, 2), _fit(draw, name, side, font), _INK, font)
      image = images[sample]
      image = Image.fromarray(np.repeat(image, 3, -1) if image.shape[-1] == 1 else image)
      sheet.paste(image.resize((side, side), Image.Resampling.BICUBIC), (x, y0))
    if captions:
      draw.text((x0 + 2, y0 + side + 1), _fit(draw, captions[sample], block, font), _GREY, font)
  draw.text((gap + 2, height + 1), _fit(draw, note, sheet.width, font), _INK, font)
  return np.asarray(sheet)


def make_grid(
  images: Any, rows: Sequence[str], columns: Sequence[str], tile: int = 96, note: str = '', margin: int = 84
) -> np.ndarray:
  """Draws a table of pictures.

  Args:
    images: [R, C, H, W, 3] uint8 or float in [-1, 1].
    rows: R names, to the left.
    columns: C names, above.
    tile: pixels along a picture; smaller ones are enlarged, larger ones shrunk.
    note: a line at the bottom.
    margin: pixels for the names of the rows.
  Returns:
    [height, width, 3] uint8.
  """
  pictures, font, gap, line = to_uint8(images), ImageFont.load_default(13), 2, 20
  height = line + len(rows) * (tile + gap)
  sheet = Image.new('RGB', (margin + len(columns) * (tile + gap), height + line * bool(note)), _PAPER)
  draw = ImageDraw.Draw(sheet)
  for column, name in enumerate(columns):
    draw.text((margin + column * (tile + gap) + 2, 2), _fit(draw, name, tile, font), _INK, font)
  for row, name in enumerate(rows):
    y = line + row * (tile + gap)
    draw.text((4, y + tile // 2 - 8), _fit(draw, name, margin, font), _INK, font)
    for column, picture in enumerate(pictures[row]):
      shown = Image.fromarray(picture).resize((tile, tile), Image.Resampling.BICUBIC)
      sheet.paste(shown, (margin + column * (tile + gap), y))
  draw.text((4, height + 1), _fit(draw, note, sheet.width, font), _INK, font)
  return np.asarray(sheet)


def save_sheet(
  path: str | os.PathLike,
  columns: Mapping[str, Any],
  captions: Sequence[str] = (),
  tile: int = 128,
  model: str = '',
  version: str = '',
  note: str = '',
) -> None:
  """Writes `make_sheet(columns, captions, tile, note=note)` as a PNG that says which model made it."""
  save_image(path, make_sheet(columns, captions, tile, note=note), model, version)


def draw_points(points: np.ndarray, side: int = 128) -> np.ndarray:
  """Landmarks [68, 2] in [-1, 1] as dots on white: [side, side, 3] uint8; points outside are not seen."""
  image = Image.new('RGB', (side, side), _PAPER)
  draw = ImageDraw.Draw(image)
  for x, y in ((np.asarray(points) + 1) / 2 * side).tolist():
    draw.ellipse((x - 1.5, y - 1.5, x + 1.5, y + 1.5), fill=_INK)
  return np.asarray(image)


def _fit(draw: ImageDraw.ImageDraw, text: str, width: int, font: Any) -> str:
  text = str(text)
  while text and draw.textlength(text, font) > width - 4:
    text = text[:-1]
  return text
