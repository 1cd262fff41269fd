"""What `prepare` says of its work: statistics.json, skipped.csv, the contact sheet, and lines for people."""

import collections
import csv
import io
import math
import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from input_pipeline import alignment, shards, skin, tracks
from input_pipeline.faces import Face, Settings, cut_out_face
from input_pipeline.listing import Photo, Skipped

SHEET_ROWS = 10


def nothing_listed(layout: str, manifest: str, where: Sequence[str], skipped: Skipped) -> str:
  """The likely cause when a folder, layout or manifest lists no picture."""
  if layout:
    reasons = collections.Counter(reason.split(':')[0] for reason in skipped.values()).most_common(1)
    return f': {reasons[0][1]} times {reasons[0][0]}' if reasons else f': none meets --where={" --where=".join(where)}'
  if skipped:
    file, reason = next(iter(skipped.items()))
    if manifest:
      return f' among {len(skipped)} rows of {manifest} ({file}: {reason})'
    return f' among {len(skipped)} files ({file}: {reason}); a tree IDENTITY/EXPRESSION*.jpg is needed, or --manifest'
  if where:
    return f': no row of {manifest} meets --where={" --where=".join(where)}'
  return ': it is empty' if not manifest else f': {manifest} has no rows'


def nothing_kept(folder: str, listed: Sequence[Photo], skipped: Skipped) -> str:
  """The likely cause when no picture can be used, from the most frequent reason."""
  reasons = collections.Counter(skipped[photo.file].split(':')[0] for photo in listed)
  reason, count = reasons.most_common(1)[0]
  example = next(photo.file for photo in listed if skipped[photo.file].startswith(reason))
  hints = {
    'no face found': 'are the faces upright, frontal and at least 80 pixels wide?',
    'too small': 'smaller --crop_size, or larger pictures',
    'there is no such file': 'are the names in the manifest relative to --input?',
  }
  return (
    f'--input={folder}: none of {len(listed)} pictures can be used; {count} times: {reason} (for example '
    f'{example})' + (f'; {hints[reason]}' if reason in hints else '')
  )


def summarize(
  plan: dict[str, list[tuple[Photo, Face, str]]],
  angles: dict[str, float],
  skipped: Skipped,
  expressions: Sequence[str],
  frames: int,
  lost: int,
) -> dict[str, Any]:
  """What statistics.json says.

  Args:
    plan: the pictures of each split with their faces and skin tones.
    angles: typology angle of each person.
    skipped: files of which nothing is used.
    expressions: names.
    frames: frames of videos that were looked at.
    lost: those of them that are not used.
  """
  rows = [row for part in plan.values() for row in part]
  tones = {
    split: collections.Counter(skin.label(angles[p]) or 'unknown' for p in {row[0].identity for row in part})
    for split, part in plan.items()
  }
  return {
    'pictures': len(rows),
    'skipped': dict(collections.Counter(reason.split(':')[0] for reason in skipped.values())),
    'video_frames': {'read': frames, 'skipped': lost},
    'landmarks_outside': float(np.mean([face.outside for _, face, _ in rows])),
    'splits': {
      split: {
        'pictures': len(part),
        'people': sorted({photo.identity for photo, _, _ in part}),
        'skin': dict(tones[split]),
        'expressions': {name: sum(photo.expression == name for photo, _, _ in part) for name in expressions},
      }
      for split, part in plan.items()
    },
    'typology_angle': {person: None if math.isnan(angle) else round(angle, 1) for person, angle in angles.items()},
  }


def write_skipped(path: str, skipped: Skipped) -> None:
  """Writes skipped.csv: file, reason."""
  text = io.StringIO(newline='')
  writer = csv.writer(text)
  writer.writerow(['file', 'reason'])
  writer.writerows(sorted(skipped.items()))
  shards.write_atomically(path, text.getvalue())


def write_sheet(path: str, folder: str, kept: Sequence[tuple[Photo, Face]], settings: Settings) -> None:
  """Draws up to 100 of the crops, spread over the set, with their landmarks."""
  shown = [kept[len(kept) * i // min(len(kept), SHEET_ROWS**2)] for i in range(min(len(kept), SHEET_ROWS**2))]
  size = settings.crop_size
  columns = min(SHEET_ROWS, len(shown))
  sheet = Image.new('RGB', (columns * size, -(-len(shown) // columns) * (size + 12)), 'white')
  draw = ImageDraw.Draw(sheet)
  for i, ((photo, face), image) in enumerate(tracks.read_images(folder, shown, settings)):
    crop, marks = cut_out_face(image, face, settings)
    left, top = i % columns * size, i // columns * (size + 12)
    sheet.paste(Image.fromarray(crop), (left, top))
    for x, y in alignment.denormalize(marks, size):
      inside = 0 <= x < size and 0 <= y < size
      draw.rectangle((left + x - 0.5, top + y - 0.5, left + x + 0.5, top + y + 0.5), fill='lime' if inside else 'red')
    draw.text((left + 1, top + size), f'{photo.identity} {photo.expression}'[: size // 6], fill='black')
  file = io.BytesIO()
  sheet.save(file, 'PNG')
  shards.write_atomically(path, file.getvalue())


def report(statistics: dict[str, Any], output: str, alignment: str = '') -> None:
  """Prints what was made, and warns of what training would suffer from."""
  skipped = statistics['skipped']
  print(
    f'{output}: {statistics["pictures"]:,} pictures kept, {sum(skipped.values()):,} skipped'
    + (f' ({", ".join(f"{count} {reason}" for reason, count in skipped.items())}; see skipped.csv)' if skipped else '')
  )
  frames = statistics['video_frames']
  if frames['read']:
    print(f'videos: {frames["read"]:,} frames read, {frames["skipped"]:,} skipped')
  for split, part in statistics['splits'].items():
    print(
      f'{split}: {part["pictures"]:,} pictures of {len(part["people"]):,} people '
      f'(skin {", ".join(f"{count} {tone}" for tone, count in part["skin"].items())}); '
      f'{", ".join(f"{count} {name}" for name, count in part["expressions"].items())}'
    )
    for name, count in part['expressions'].items():
      if not count:
        print(f'warning: no picture of expression {name!r} in split {split!r}: training will refuse this data set')
  outside = statistics['landmarks_outside']
  print(f'landmarks outside the crop: {100 * outside:.2f} %')
  if outside > 0.01 and alignment != 'box':  # a detector's box cuts chins and jaws off, by intention
    print('warning: more than 1 % of the landmarks lie outside the crop: a smaller --template_scale keeps them in')
  print(f'look at {os.path.join(output, "contact_sheet.png")}')
