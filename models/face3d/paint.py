"""Paints the colour of the default face model: hand-made masks on an atlas around the head (build time only).

The logarithm of the albedo is linear in the coefficients, as light through pigment is (Beer-Lambert):
`log albedo(u, v) = mean(u, v) + sum_k c_k mask_k(u, v) colour_k`. The atlas unrolls the head on a cylinder, y
upwards; eyes, teeth and tongue have swatches below it. Nothing in here is learnt from, or traced over, anybody's
photograph.
"""

import numpy as np
from scipy import ndimage

from models.face3d.masks import AXIS_Z, BROW_STYLES, HEAD_ROWS, HEIGHT, MOTTLES, WIDTH, noise, paint_masks
from models.face3d.rasterize import rasterize

TOP, BOTTOM = 1.12, -2.0  # y of the first and the last head row, in model units (1 = 10 cm).
TURN = np.radians(125)  # How far around the axis the atlas reaches on each side.
SWATCHES = {
  'eye': (4, HEAD_ROWS + 4, 80, 80),
  'teeth': (100, HEAD_ROWS + 4, 80, 80),
  'tongue': (200, HEAD_ROWS + 4, 80, 80),
}

# name: (log colour change in red, green, blue per unit of coefficient)
MELANIN, BLOOD = (-0.62, -0.78, -0.88), (-0.03, -0.16, -0.13)
DARK = (-1.0, -0.90, -0.76)  # Hair over skin: the darker, the less of the skin's colour is left.
COLOURS = {
  'tone': MELANIN,
  'blood': BLOOD,
  'olive': (-0.02, 0.01, -0.13),
  'cheeks': (-0.03, -0.24, -0.17),
  'nose': (-0.03, -0.18, -0.12),
  'sockets': (-0.16, -0.22, -0.19),
  'lids': (-0.20, -0.25, -0.2),
  'lip_red': (-0.12, -0.52, -0.36),
  'lip_dark': (-0.3, -0.34, -0.3),
  'lash': DARK,
  'iris_light': (1.0, 1.0, 1.0),
  'iris_blue': (-0.45, 0.12, 0.75),
  'sclera': (-0.05, -0.12, -0.15),
  'teeth_yellow': (-0.05, -0.1, -0.3),
  'freckles': (-0.16, -0.34, -0.42),
  'moles_a': (-0.5, -0.75, -0.8),
  'moles_b': (-0.5, -0.75, -0.8),
  'wrinkles': (-0.2, -0.25, -0.25),
  'age_spots': (-0.12, -0.2, -0.25),
  'shadow': (-0.24, -0.17, -0.11),
  'stubble': DARK,
  'beard': DARK,
  'moustache': DARK,
  'goatee': DARK,
  'scalp': DARK,
  'clothes': (1.0, 1.0, 1.0),
  'clothes_red': (0.5, -0.2, -0.2),
  'clothes_blue': (-0.3, -0.05, 0.5),
  **{f'brow_{i}': DARK for i in range(BROW_STYLES)},
  **{f'mottle_{i}': ((-0.06, -0.09, -0.10), (-0.02, -0.12, -0.08))[i % 2] for i in range(MOTTLES)},
  'hair_shadow': (-0.45, -0.5, -0.5),
  'gloss': (0.0, 0.0, 0.0),
  'bump': (0.0, 0.0, 0.0),
}
_COARSE = ('bump', 'gloss', 'scalp', 'stubble', 'beard', 'goatee', 'moustache', 'clothes')


def atlas_coordinates(points):
  """[..., 3] model units -> [..., 2] (column, row) of the head part of the atlas."""
  x, y, z = np.moveaxis(points, -1, 0)
  angle = np.arctan2(x, z - AXIS_Z)
  column = (np.clip(angle / TURN, -1, 1) + 1) / 2 * (WIDTH - 1)
  row = np.clip((TOP - y) / (TOP - BOTTOM), 0, 1) * (HEAD_ROWS - 1)
  return np.stack([column, row], -1)


def _unroll(columns_rows, depth, triangles, values):
  """`values` [V, C] interpolated over the atlas, the smallest depth in front: [HEIGHT, WIDTH, C] and the mask."""
  screen = np.concatenate([columns_rows + 0.5, 1000 + depth[:, None]], 1)[None].astype(np.float32)
  raster = rasterize(screen, triangles, HEIGHT, WIDTH)
  corners = values[raster.vertex_ids.numpy()[0]]
  return (corners * raster.barycentrics.numpy()[0][..., None]).sum(2), raster.mask.numpy()[0, ..., 0] > 0


def _fill(image, known):
  """Gives unknown pixels the value of the nearest known one."""
  near = ndimage.distance_transform_edt(~known, return_distances=False, return_indices=True)
  return image[tuple(near)]


def occlusion(vertices, triangles, directions: int = 160, pixels: int = 224):
  """[V] in [0, 1]: the share of the sky that each vertex sees, cosine-weighted, by shadow maps from all around."""
  faces = vertices[triangles]
  normals = np.zeros_like(vertices)
  np.add.at(normals, triangles.ravel(), np.repeat(np.cross(faces[:, 1] - faces[:, 0], faces[:, 2] - faces[:, 0]), 3, 0))
  normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-9)
  k = np.arange(directions) + 0.5
  height, angle = 1 - 2 * k / directions, np.pi * (1 + 5**0.5) * k
  sky = np.stack([np.cos(angle) * np.sqrt(1 - height**2), height, np.sin(angle) * np.sqrt(1 - height**2)], 1)
  seen, total = np.zeros(len(vertices)), np.zeros(len(vertices))
  for d in sky:
    side = np.cross(d, [0.3, 0.9, 0.31])
    side /= np.linalg.norm(side)
    up = np.cross(side, d)
    scale = pixels / 4.8
    xy = np.stack([vertices @ side, vertices @ up], 1) * scale + pixels / 2
    depth = 100 - vertices @ d
    raster = rasterize(np.concatenate([xy, depth[:, None]], 1)[None].astype(np.float32), triangles, pixels, pixels)
    buffer = np.where(raster.mask.numpy()[0, ..., 0] > 0, raster.depth.numpy()[0, ..., 0], 1e9)
    buffer = ndimage.maximum_filter(buffer * (buffer < 1e8), 1) + 1e9 * (buffer >= 1e8)
    cell = np.clip(xy.astype(int), 0, pixels - 1)
    facing = np.maximum(normals @ d, 0)
    seen += facing * (depth < buffer[cell[:, 1], cell[:, 0]] + 0.06)
    total += facing
  return seen / np.maximum(total, 1e-9)


def paint_swatches(masks, mean, rng):
  """Adds eyes, teeth and tongue to the masks and to the mean log albedo [H, W, 3], in place."""
  for name, (left, top, w, h) in SWATCHES.items():
    box = (slice(top, top + h), slice(left, left + w))
    b, a = np.mgrid[-1 : 1 : h * 1j, -1 : 1 : w * 1j]
    for m in masks.values():
      m[box] = 0
    if name == 'eye':
      r, angle = np.hypot(a, b), np.arctan2(b, a)
      iris_r, pupil_r = 0.475, 0.19
      iris = 1 / (1 + np.exp((r - iris_r) / 0.018))
      pupil = 1 / (1 + np.exp((r - pupil_r) / 0.02))
      spokes = np.interp(angle, np.linspace(-np.pi, np.pi, 90), rng.randn(90)) * 0.10 + np.sin(angle * 37) * 0.05
      limbal = np.exp(-0.5 * ((r - iris_r) / 0.045) ** 2)
      sclera = np.array([-0.58, -0.68, -0.72]) - 0.35 * np.clip(r - 0.6, 0, 1)[..., None] * [0.4, 1.2, 1.0]
      brown = (
        np.array([-2.1, -2.85, -3.5])
        + (spokes - 0.55 * limbal + 0.25 * np.exp(-0.5 * ((r - 0.26) / 0.06) ** 2))[..., None]
      )
      value = sclera * (1 - iris[..., None]) + brown * iris[..., None]
      lid = (
        -0.75 * np.clip(-b - 0.05, 0, 1)[..., None] - 0.15 * np.clip(np.abs(a) - 0.35, 0, 1)[..., None]
      )  # The upper lid's shadow.
      mean[box] = value * (1 - pupil[..., None]) + np.log(0.012) * pupil[..., None] + lid
      ring = iris * (1 - pupil)
      masks['iris_light'][box] = ring * np.clip(1 + spokes * 1.5 - 0.4 * limbal, 0, 1)
      masks['iris_blue'][box] = ring
      masks['sclera'][box] = (1 - iris) * np.clip(1 + 0.3 * noise(rng, (h, w), 2), 0, 1)
      masks['gloss'][box] = 1.0
    elif name == 'teeth':
      between = np.exp(
        -0.5 * (np.sin(np.pi * 5.5 * np.sign(a) * np.abs(a) ** 1.15) / 0.16) ** 2
      )  # Dark lines between the teeth.
      mean[box] = np.array([-0.28, -0.34, -0.46]) - 0.22 * between[..., None] - 0.25 * np.abs(a[..., None])
      masks['teeth_yellow'][box] = 1
      masks['gloss'][box] = 0.7
    else:
      mean[box] = np.array([-0.95, -1.85, -1.75]) + 0.08 * noise(rng, (h, w), 2)[..., None]
      masks['gloss'][box] = 0.5


def paint_atlas(model, lips_vertex, seed: int = 5) -> dict[str, np.ndarray]:
  """The atlas for a built shape.

  Args:
    model: `mean`, `triangles`, `landmarks`, `part`, `expression_basis`, `expression_names`.
    lips_vertex: [V] in [0, 1], 1 on the red of the lips and inside the mouth.
    seed: of the painted noise.

  Returns:
    `atlas_uv` [V, 2] in [0, 1], `paint` [H, W, K] int8 (127 = 1), `paint_names` [K], `paint_colours` [K, 3],
    `paint_mean` [H, W, 3] float16 log albedo, `occlusion` [V].
  """
  rng = np.random.RandomState(seed)
  mean, triangles, part = model['mean'].astype(float), model['triangles'], model['part']
  landmarks = mean[model['landmarks']]
  skin = (part[triangles] == 0).all(1)
  uv = atlas_coordinates(mean)
  # Inside the mouth everything looks like the lip next to it, only darker.
  inner = lips_vertex >= 1.5
  red = np.flatnonzero((lips_vertex > 0.6) & ~inner)
  nearest = red[np.argmin(((mean[inner][:, None] - mean[red][None]) ** 2).sum(-1), 1)]
  uv[inner] = uv[nearest]
  radius = np.hypot(mean[:, 0], mean[:, 2] - AXIS_Z)
  outside = (
    skin & ~inner[triangles].any(1) & (np.ptp(uv[triangles][..., 0], axis=1) < WIDTH / 2)
  )  # Not across the back.
  values, known = _unroll(
    uv, -radius, triangles[outside], np.concatenate([mean, np.clip(lips_vertex, 0, 1)[:, None]], 1)
  )
  values[:HEAD_ROWS] = _fill(values[:HEAD_ROWS], known[:HEAD_ROWS])
  position, lips = values[..., :3], values[..., 3]
  lips = np.clip((lips - 0.25) / 0.5, 0, 1)
  masks = paint_masks(position, landmarks, lips, _lid_margins(mean, triangles, part), rng)
  log_mean = np.broadcast_to(np.array([-1.18, -1.78, -2.22]), position.shape).copy()
  cloth = np.clip(masks['clothes_red'], 0, 1)[..., None]
  log_mean = log_mean * (1 - cloth) + cloth * np.log(0.22)
  names = list(COLOURS)
  for name in names:
    masks.setdefault(name, np.zeros(position.shape[:2]))
  paint_swatches(masks, log_mean, rng)
  for name, number in (('teeth', 2), ('tongue', 3)):
    left, top, w, h = SWATCHES[name]
    box = mean[part == number]
    unit = (box[:, :2] - box[:, :2].min(0)) / np.ptp(box[:, :2], axis=0)
    uv[part == number] = [left + 3, top + 3] + unit * [w - 7, h - 7]
  left, top, w, h = SWATCHES['eye']
  for side in (-1, 1):
    ball = (part == 1) & (np.sign(mean[:, 0]) == side)
    centre = (mean[ball].max(0) + mean[ball].min(0)) / 2
    ray = mean[ball] - centre
    ray /= np.linalg.norm(ray, axis=1, keepdims=True)
    # Equal angles around the line of sight; the back of the ball (never seen) stays at the rim.
    bend = np.arccos(np.clip(ray[:, 2], -1, 1)) / np.radians(62)
    flat = (
      ray[:, :2] / np.maximum(np.linalg.norm(ray[:, :2], axis=1, keepdims=True), 1e-6) * np.clip(bend, 0, 1)[:, None]
    )
    uv[ball] = [left + w / 2, top + h / 2] + flat * [w / 2 - 2, -(h / 2 - 2)]
  units = list(model['expression_names'])
  jaw = model['expression_basis'][units.index('jawOpen')].astype(float)
  light = occlusion(mean, triangles)
  hidden = inner | (part >= 2)
  light = np.where(hidden, occlusion(mean + jaw, triangles), light)
  front_teeth = (part == 2) & (mean[:, 2] > np.quantile(mean[part == 2, 2], 0.35))
  upper = mean[:, 1] > np.median(mean[part == 2, 1])
  light[front_teeth] = np.maximum(light[front_teeth], np.where(upper, 0.78, 0.5)[front_teeth])
  light[part == 1] = np.maximum(light[part == 1], 0.6)
  stack = np.stack([masks[k] for k in names], -1)
  levels = np.clip(np.round(stack * 127), -127, 127)
  for k, name in enumerate(names):  # Noise costs space, and nobody sees its last bits.
    step = 16 if name.startswith('mottle') else 8 if name in _COARSE else 1
    levels[..., k] = np.clip(np.round(levels[..., k] / step) * step, -127, 127)
  return {
    'atlas_uv': ((uv + 0.5) / [WIDTH, HEIGHT]).astype(np.float32),
    'paint': np.asfortranarray(levels.astype(np.int8)),  # Layer by layer on disk: that compresses best.
    'paint_names': np.array(names),
    'paint_colours': np.array([COLOURS[k] for k in names], np.float32),
    'paint_mean': log_mean.astype(np.float16),
    'occlusion': light.astype(np.float16),  # Inside the mouth: with the jaw open.
  }


def _lid_margins(mean, triangles, part, scale: int = 500):
  """Edges of the visible eyeballs in the front view: (upper [N, 2], lower [M, 2]) in model units."""
  size = int(2 * scale)
  screen = np.stack([(mean[:, 0] + 1) * scale, (1 - mean[:, 1]) * scale, 100 - mean[:, 2]], 1)
  raster = rasterize(screen[None].astype(np.float32), triangles, size, size)
  ball = (part[raster.vertex_ids.numpy()[0, ..., 0]] == 1) & (raster.mask.numpy()[0, ..., 0] > 0)
  columns = np.flatnonzero(ball.any(0))
  first, last = ball.argmax(0)[columns], size - 1 - ball[::-1].argmax(0)[columns]

  def unit(rows):
    return np.stack([(columns + 0.5) / scale - 1, 1 - (rows + 0.5) / scale], 1)

  return unit(first), unit(last)
