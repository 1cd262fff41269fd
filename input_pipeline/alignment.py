"""Where a face lies in its crop: one function for photographs and renders.

Pixel coordinates count from the centre of the top left pixel (0, 0), as dlib's do. Normalized coordinates run from -1
at the crop's left (top) edge to 1 at its right (bottom) edge, so that they mean the same at every crop size:
`normalized = (2 px + 1) / size - 1`. The GC-GAN code's own `px / 31.5 - 1` differs by at most half a pixel of 64.
"""

import math

import numpy as np
from PIL import Image

# OpenFace's AlignDlib.INNER_EYES_AND_BOTTOM_LIP (Amos et al. 2016) in pixels of a 64-pixel crop, which is what the
# GC-GAN paper's "inner eyes and bottom lip" are.
PAPER_POINTS = (39, 42, 57)
PAPER_TEMPLATE = np.array([[23.28, 11.39], [39.61, 11.06], [32.01, 48.04]])

# Eye corners and nose bridge. The template is the mean of 142 frontal photographs (London set), brought to the inner
# eye corners of the paper's template by similarities, then made symmetric.
SIMILARITY_POINTS = (36, 39, 42, 45, 27)
SIMILARITY_TEMPLATE = np.array([[12.07, 10.83], [23.28, 11.2], [39.61, 11.2], [50.82, 10.83], [31.45, 8.76]])

# dlib's 68 points seen in a mirror: entry i is the point that stands at i's place in the mirrored picture.
MIRROR = np.array(
  [
    *range(16, -1, -1),
    *range(26, 16, -1),
    27,
    28,
    29,
    30,
    35,
    34,
    33,
    32,
    31,
    45,
    44,
    43,
    42,
    47,
    46,
    39,
    38,
    37,
    36,
    41,
    40,
    54,
    53,
    52,
    51,
    50,
    49,
    48,
    59,
    58,
    57,
    56,
    55,
    64,
    63,
    62,
    61,
    60,
    67,
    66,
    65,
  ]
)


def align(points: np.ndarray, alignment: str, template_scale: float, size: int) -> np.ndarray:
  """The affine map from picture pixels to crop pixels.

  Args:
    points: [68, 2] dlib landmarks in pixels of the picture.
    alignment: `paper` maps inner eye corners and lower lip (39, 42, 57) onto OpenFace's template exactly; `similarity`
      keeps the face's proportions and fits eye corners and nose bridge by least squares.
    template_scale: size of the template about the centre of the crop; 0.8 keeps 99.9 % of the points inside.
    size: width and height of the crop in pixels.

  Returns:
    [2, 3] matrix M: crop = M @ (x, y, 1).

  Raises:
    ValueError: for an unknown alignment, or for points that determine no map.
  """
  templates = {'paper': (PAPER_POINTS, PAPER_TEMPLATE), 'similarity': (SIMILARITY_POINTS, SIMILARITY_TEMPLATE)}
  if alignment not in templates:
    raise ValueError(f'alignment={alignment!r} is not one of {", ".join(templates)}')
  indices, template = templates[alignment]
  source = np.asarray(points, np.float64)[list(indices)]
  # Half pixels, because 64 of the template's pixels become `size` of the crop, edge to edge.
  target = ((template - 31.5) * template_scale + 32) * size / 64 - 0.5
  # Pictures with all the points in one place (or NaN) would give a map that shows nothing.
  spread = np.ptp(source, axis=0).max()
  if not spread > 1e-3:
    raise ValueError(f'landmarks {", ".join(map(str, indices))} lie in one place: no alignment is possible')
  if alignment == 'paper':
    design = np.concatenate([source, np.ones((3, 1))], axis=1)
    if abs(np.linalg.det(design)) < 1e-3 * spread**2:
      raise ValueError('landmarks 39, 42 and 57 lie on one line: no alignment is possible')
    return np.linalg.solve(design, target).T
  # A similarity is z -> a z + b in the complex plane: least squares in closed form.
  z, w = source @ [1, 1j], target @ [1, 1j]
  a = np.vdot(z - z.mean(), w - w.mean()) / np.vdot(z - z.mean(), z - z.mean()).real
  b = w.mean() - a * z.mean()
  return np.array([[a.real, -a.imag, b.real], [a.imag, a.real, b.imag]])


def transform_points(points: np.ndarray, matrix: np.ndarray) -> np.ndarray:
  """Applies the [2, 3] affine `matrix` to points [..., 2]."""
  return np.asarray(points) @ matrix[:, :2].T + matrix[:, 2]


def invert(matrix: np.ndarray) -> np.ndarray:
  """The inverse of a [2, 3] affine map: crop pixels to picture pixels."""
  linear = np.linalg.inv(matrix[:, :2])
  return np.concatenate([linear, -linear @ matrix[:, 2:]], axis=1)


def normalize(points: np.ndarray, size: int) -> np.ndarray:
  """Pixels of a crop of `size` -> [-1, 1], edge to edge; points outside the crop lie beyond."""
  return (2 * np.asarray(points) + 1) / size - 1


def denormalize(points: np.ndarray, size: int) -> np.ndarray:
  """[-1, 1] -> pixels of a crop of `size`: the inverse of `normalize`."""
  return ((np.asarray(points) + 1) * size - 1) / 2


def enlargement(matrix: np.ndarray) -> float:
  """Crop pixels per picture pixel in the direction that is enlarged most."""
  return float(np.linalg.svd(matrix[:, :2], compute_uv=False)[0])


def warp(image: np.ndarray, matrix: np.ndarray, size: int) -> np.ndarray:
  """Cuts the crop out of a picture, antialiased; beyond the picture its edge pixels repeat.

  The crop is sampled as densely as the picture's own pixels lie and then averaged, so no picture is too large for it.

  Args:
    image: [H, W, 3] or [H, W] uint8.
    matrix: [2, 3] affine from picture to crop pixels (`align`).
    size: width and height of the crop.

  Returns:
    [size, size, 3] or [size, size] uint8.
  """
  inverse = invert(matrix)
  corners = transform_points(np.array([[-1, -1], [size, -1], [-1, size], [size, size]]), inverse)
  height, width = image.shape[:2]
  margin = 3
  left, top = np.floor(corners.min(axis=0)).astype(int) - margin
  right, bottom = np.ceil(corners.max(axis=0)).astype(int) + margin + 1
  rows = np.clip(np.arange(top, bottom), 0, height - 1)
  columns = np.clip(np.arange(left, right), 0, width - 1)
  patch = image[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
  edges = [
    (int((rows == rows[0]).sum()) - 1, int((rows == rows[-1]).sum()) - 1),
    (int((columns == columns[0]).sum()) - 1, int((columns == columns[-1]).sum()) - 1),
  ]
  if np.any(edges):
    # A side on which all of the crop lies outside repeats one row: then both ends count the same pixels once.
    edges = [
      (before, 0 if ends[0] == ends[-1] else after)
      for (before, after), ends in zip(edges, (rows, columns), strict=True)
    ]
    patch = np.pad(patch, edges + [(0, 0)] * (image.ndim - 2), mode='edge')
  density = np.linalg.svd(inverse[:, :2], compute_uv=False)[0]
  fine = max(1, math.ceil(density))
  # Pillow's affine counts from pixel corners and maps output to input: shift by half a pixel on both sides.
  linear = inverse[:, :2] / fine
  offset = inverse[:, :2] @ [-0.5, -0.5] + inverse[:, 2] - [left, top] + 0.5
  coefficients = (*linear[0], offset[0], *linear[1], offset[1])
  resample = Image.Resampling.BICUBIC if fine == 1 else Image.Resampling.BILINEAR
  channels = patch[..., None] if image.ndim == 2 else patch
  averaged = []
  for c in range(channels.shape[-1]):
    # Pillow truncates 8-bit results, which darkens by half a level: sample in float and round once.
    sampled = Image.fromarray(np.ascontiguousarray(channels[..., c], np.float32)).transform(
      (size * fine, size * fine), Image.Transform.AFFINE, coefficients, resample
    )
    averaged.append(np.asarray(sampled).reshape(size, fine, size, fine).mean(axis=(1, 3)))
  crop = np.clip(np.round(np.stack(averaged, axis=-1)), 0, 255).astype(np.uint8)
  return crop[..., 0] if image.ndim == 2 else crop
