"""Does a video that was made follow its driver? Measured on the two files, with landmarks found anew in both."""

from pathlib import Path

import numpy as np
from scipy.ndimage import gaussian_filter1d
from skimage.draw import polygon2mask

from input_pipeline import alignment
from input_pipeline.tracks import follow_face
from input_pipeline.video import whole_frames

_SIZE = 96
_SMOOTHING = 1.5  # frames


def _silent(line: str) -> None:
  """The damage of a video was said when it was used."""


def mouth_opening(points: np.ndarray) -> np.ndarray:
  """Height of the gap between the lips in units of the distance of the outer eye corners: [..., 68, 2] -> [...]."""
  distance = lambda a, b: np.linalg.norm(points[..., a, :] - points[..., b, :], axis=-1)  # noqa: E731
  return distance(62, 66) / distance(36, 45)


def skin(points: np.ndarray, size: int) -> np.ndarray:
  """[size, size] bool: the face within jaw and brows, without brows, eyes and mouth and what is next to them.

  Args:
    points: [68, 2] in pixels of a crop of `size`.
  """
  def inside(outline, grow):
    centre = outline.mean(axis=0)
    return polygon2mask((size, size), (centre + grow * (outline - centre))[:, ::-1])

  face = inside(np.concatenate([points[:17], points[26:16:-1]]), 0.9)
  for part in (points[48:60], points[36:42], points[42:48], points[17:22], points[22:27]):
    low, high = part.min(axis=0) - 0.06 * size, part.max(axis=0) + 0.06 * size
    rows, columns = np.mgrid[:size, :size]
    face &= ~((columns > low[0]) & (columns < high[0]) & (rows > low[1]) & (rows < high[1]))
  return face


def flicker(path: str | Path) -> tuple[float, np.ndarray]:
  """How much the skin changes from frame to frame, and the landmarks.

  The head's motion is taken out: each frame is cut out by a similarity on eye corners and nose bridge, smoothed over
  time, so that what is left is light, noise and skin that swims.

  Args:
    path: of a video; frames without a face are left out.
  Returns:
    mean absolute difference of the skin between neighbouring frames, levels of 255; landmarks [F, 68, 2], NaN where
    there is no face.
  Raises:
    ValueError: if no two frames that follow one another show a face.
  """
  nothing = np.full([68, 2], np.nan)
  points = np.array([nothing if p is None else p for p in follow_face(whole_frames(path, _silent))])
  seen = np.isfinite(points[:, 0, 0])
  if not (seen[1:] & seen[:-1]).any():
    raise ValueError(f'{path}: no two frames that follow one another show a face: its flicker cannot be measured')
  steady = iter(gaussian_filter1d(points[seen], _SMOOTHING, axis=0))
  total, pixels, before = 0.0, 0, None
  for frame, has_face in zip(whole_frames(path, _silent), seen, strict=True):  # Again, since all would fill the memory.
    now = None
    if has_face:
      place = next(steady)
      matrix = alignment.align(place, 'similarity', 0.8, _SIZE)
      crop = alignment.warp(frame, matrix, _SIZE).astype(np.float32)
      now = crop, skin(alignment.transform_points(place, matrix), _SIZE)
    if now and before:
      both = now[1] & before[1]
      total += float(np.abs(now[0] - before[0]).mean(axis=-1)[both].sum())
      pixels += int(both.sum())
    before = now
  return total / max(pixels, 1), points


def report(driver: str | Path, output: str | Path) -> str:
  """One line: the correlation of the mouths' opening, and the flicker of both videos.

  Raises:
    ValueError: if one of the videos shows hardly a face, or fewer than three frames show one in both.
  """
  (before, theirs), (after, ours) = (flicker(path) for path in (driver, output))
  count = min(len(theirs), len(ours))
  openings = mouth_opening(theirs[:count]), mouth_opening(ours[:count])
  both = np.isfinite(openings[0]) & np.isfinite(openings[1])
  if both.sum() < 3:
    raise ValueError(f'{output}: {both.sum()} of its frames and of the driver\'s show a face: too few to compare')
  times = f'{after / before:.2f} times ' if before else ''  # A still driver does not flicker.
  correlation = np.corrcoef(openings[0][both], openings[1][both])[0, 1]
  return (
    f'mouth opening: correlation {correlation:.2f} with the driver over {both.sum()} of {count} frames, those in which '
    'dlib sees both faces; skin flicker '
    f'{after:.2f} levels, {times}the driver\'s {before:.2f}'
  )
