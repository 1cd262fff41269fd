"""Hair as a shell of strands over the scalp: a grid from the crown to the hair line, and beyond it where hair hangs.

The grid's columns go around the crown, its rows from the crown outwards: `SCALP_ROWS` rows on the scalp up to the hair
line, then `HANG_ROWS` that fall over the forehead, fall past the ears, or close the shell, by style. Every grid point
is bound to a triangle of the head, so hair follows the identity.
"""

import numpy as np
from scipy import ndimage

COLUMNS, SCALP_ROWS, HANG_ROWS = 72, 14, 9
ROWS = SCALP_ROWS + HANG_ROWS
CENTRE = np.array([0.0, 0.22, -0.36])
CROWN = np.array([0.0, 0.92, -0.39])
# What describes a person's hair, in this order; lengths in model units (10 cm).
HAIR_NAMES = (
  'cap',
  'top',
  'side',
  'edge',
  'length',
  'opening',
  'flare',
  'fringe',
  'fringe_side',
  'recede',
  'bald',
  'curl',
  'frizz',
  'wave',
  'sweep',
  'part',
  'red',
  'green',
  'blue',
  'gloss',
  'seed',
)


def hair_line(points):
  """Height above the hair line of points [..., 3] on the mean head: positive where hair grows."""
  x, y, z = np.moveaxis(points, -1, 0)
  angle = np.arctan2(np.abs(x), z + 0.3)
  start = np.interp(
    angle, np.radians([0, 30, 48, 62, 72, 80, 100, 130, 180]), [0.66, 0.66, 0.58, 0.40, 0.14, 0.0, -0.30, -0.55, -0.62]
  )
  return y - start


def grid_directions(polar):
  """Unit vectors from `CENTRE` for polar angles [R, C] from the crown; columns go from the front to the left."""
  crown = CROWN / np.linalg.norm(CROWN)
  front = np.array([0.0, -crown[2], crown[1]])
  left = np.array([1.0, 0.0, 0.0])
  azimuth = 2 * np.pi * np.arange(COLUMNS) / COLUMNS
  flat = np.cos(azimuth)[:, None] * front + np.sin(azimuth)[:, None] * left
  return np.cos(polar)[..., None] * crown + np.sin(polar)[..., None] * flat


def bind(mean, triangles, ear):
  """Binds the grid to the mean head (build time).

  Args:
    mean: [V, 3]. triangles: [T, 3] of the skin only. ear: [V] bool, vertices that rays pass through.

  Returns:
    `hair_ids` [R, C, 3] int32, `hair_weights`, `hair_root` (place on the mean) and `hair_out` (outwards), [R, C, 3].
  """
  solid = triangles[~ear[triangles].any(1) & (mean[triangles][..., 1] > -1.0).all(1)]  # Not through to the shoulders.
  a, b, c = (mean[solid[:, i]] for i in range(3))
  fine = np.linspace(0.02, 2.5, 120)
  rays = grid_directions(np.repeat(fine[:, None], COLUMNS, 1)).reshape(-1, 3)
  far, face, weight = np.full(len(rays), -1.0), np.zeros(len(rays), int), np.zeros((len(rays), 3))
  e1, e2, s = b - a, c - a, CENTRE - a
  q = np.cross(s, e1)
  for i, ray in enumerate(rays):  # Moeller-Trumbore against all triangles.
    p = np.cross(ray, e2)
    det = (p * e1).sum(1)
    with np.errstate(all='ignore'):
      u, v, t = (s * p).sum(1) / det, (q @ ray) / det, (e2 * q).sum(1) / det
    hit = (u >= -1e-6) & (v >= -1e-6) & (u + v <= 1 + 1e-6) & (t > 0) & np.isfinite(t)
    if hit.any():
      k = np.flatnonzero(hit)[t[hit].argmax()]
      far[i], face[i], weight[i] = t[k], k, (1 - u[k] - v[k], u[k], v[k])
  far, face, weight = far.reshape(120, -1), face.reshape(120, -1), weight.reshape(120, -1, 3)
  for j in range(COLUMNS):  # Through the ear: the nearest ray that hit.
    good = np.flatnonzero(far[:, j] > 0)
    pick = good[np.abs(good[None] - np.arange(120)[:, None]).argmin(1)]
    far[:, j], face[:, j], weight[:, j] = np.interp(np.arange(120), good, far[good, j]), face[pick, j], weight[pick, j]
  points = CENTRE + rays.reshape(120, -1, 3) * far[..., None]
  # Only as far as the neck: below the skull the rays leave through the shoulders.
  bare = (hair_line(points) < 0).argmax(0)
  bare = np.where(bare == 0, 119, bare)
  bare = ndimage.gaussian_filter1d(bare.astype(float), 1.0, mode='wrap')
  scalp = bare[None] * (np.arange(SCALP_ROWS) / (SCALP_ROWS - 1))[:, None] ** 0.9
  hang = bare[None] + (np.arange(1, HANG_ROWS + 1) / HANG_ROWS)[:, None] * 26
  rows = np.clip(np.round(np.concatenate([scalp, hang])).astype(int), 0, 119)
  columns = np.arange(COLUMNS)[None]
  azimuth = np.abs((2 * np.pi * np.arange(COLUMNS) / COLUMNS + np.pi) % (2 * np.pi) - np.pi)
  rows[SCALP_ROWS:] = np.where(azimuth < np.radians(62), rows[SCALP_ROWS:], rows[SCALP_ROWS - 1])
  out = ndimage.gaussian_filter(points - CENTRE, (3, 1, 0), mode=('nearest', 'wrap', 'nearest'))
  out /= np.linalg.norm(out, axis=-1, keepdims=True)
  ids, weights = solid[face[rows, columns]], weight[rows, columns]
  root = (mean[ids] * weights[..., None]).sum(-2)
  return {
    'hair_ids': ids.astype(np.int32),
    'hair_weights': weights.astype(np.float32),
    'hair_root': root.astype(np.float32),
    'hair_out': out[rows, columns].astype(np.float32),
  }


def grid_triangles():
  """[T, 3] int32 over the grid's ROWS * COLUMNS points, closed around."""
  r, c = np.mgrid[: ROWS - 1, :COLUMNS]
  d = (c + 1) % COLUMNS
  p, q, s, t = r * COLUMNS + c, r * COLUMNS + d, (r + 1) * COLUMNS + c, (r + 1) * COLUMNS + d
  return np.concatenate([np.stack([p, s, q], -1).reshape(-1, 3), np.stack([q, s, t], -1).reshape(-1, 3)]).astype(
    np.int32
  )


def _smooth(x, low, high):
  t = np.clip((x - low) / (high - low), 0, 1)
  return t * t * (3 - 2 * t)


def hair_shape(hair, root, out):
  """Shapes one person's hair over the mean head.

  Args:
    hair: [len(HAIR_NAMES)] see `HAIR_NAMES`.
    root: [R, C, 3] `hair_root`. out: [R, C, 3] `hair_out`.

  Returns:
    offsets [R * C, 3] from the bound points, cover [R * C] in [0, 1].
  """
  h = dict(zip(HAIR_NAMES, np.asarray(hair, float), strict=True))
  rng = np.random.default_rng(int(h['seed']))
  azimuth = (2 * np.pi * np.arange(COLUMNS) / COLUMNS + np.pi) % (2 * np.pi) - np.pi  # Positive: the left half.
  around = np.abs(azimuth)
  height = _smooth(root[..., 1], 0.15, 0.85)  # 0 at the sides, 1 on top.
  lumps = ndimage.gaussian_filter(rng.normal(size=(ROWS, COLUMNS)), (1.5, 1.5), mode=('nearest', 'wrap'))
  fine = ndimage.gaussian_filter(rng.normal(size=(ROWS, COLUMNS)), (1.2, 0.7), mode=('nearest', 'wrap'))
  volume = h['side'] + (h['top'] - h['side']) * height
  volume = volume * (1 + h['curl'] * lumps / lumps.std() * 0.5 + h['frizz'] * fine / fine.std() * 0.35)
  volume = np.maximum(volume, 0.012)
  hang = _smooth(around, h['opening'] - 0.15, h['opening'] + 0.15) * (h['length'] > 0)
  fall = _smooth(-around, -1.05, -0.75) * (h['fringe'] > 0)
  fringe = np.clip(
    h['fringe'] * (1 + h['fringe_side'] * np.sin(azimuth * 1.4)) + 0.10 * fine[-1] / fine.std() * (h['fringe'] > 0),
    0.02,
    1.0,
  )
  lift = np.maximum.reduce([np.full(COLUMNS, h['edge']), hang, fall * 0.75])
  t = np.arange(SCALP_ROWS) / (SCALP_ROWS - 1)
  down = 1 - _smooth(t, 0.62, 1.0)[:, None] * (1 - lift)[None]
  points = root.astype(float).copy()
  scalp = slice(0, SCALP_ROWS)
  points[scalp] += out[scalp] * (volume[scalp] * down)[..., None]
  # A hair line that recedes moves the last rows back towards the crown, most at the temples.
  back = h['recede'] * (0.35 + 0.65 * np.exp(-0.5 * ((around - 0.72) / 0.28) ** 2)) * _smooth(-around, -1.5, -1.0)
  pulled = np.clip(np.arange(SCALP_ROWS)[:, None] * (1 - 0.45 * back)[None], 0, SCALP_ROWS - 1)
  low = np.minimum(pulled.astype(int), SCALP_ROWS - 2)
  part = (pulled - low)[..., None]
  columns = np.arange(COLUMNS)[None]
  points[scalp] = points[low, columns] * (1 - part) + points[low + 1, columns] * part
  # Beyond the hair line.
  edge = points[SCALP_ROWS - 1]
  s = (np.arange(1, HANG_ROWS + 1) / HANG_ROWS)[:, None]
  close = edge * (1 - s[..., None]) + root[SCALP_ROWS - 1] * s[..., None]
  ragged = 1 + 0.10 * fine[-1] / fine.std()
  length = h['length'] * ragged * (1 - 0.15 * _smooth(-around, -1.7, -1.2))
  drop = np.zeros((HANG_ROWS, COLUMNS, 3))
  drop[..., 1] = -s * length
  side = np.stack([np.sin(azimuth), 0 * azimuth, np.cos(azimuth)], -1)
  bulge = 0.10 * np.sin(np.pi * np.clip(s * 1.2, 0, 1)) + h['flare'] * s**1.5
  wave = h['wave'] * 0.05 * np.sin(s * length * 7 + lumps[-1] / lumps.std() * 2)
  hanging = edge + drop + side * (bulge + wave)[..., None]
  hanging[..., 2] = np.minimum(hanging[..., 2], np.maximum(edge[..., 2], -0.02))  # Not in front of the cheeks.
  # Rows along the forehead's own surface, resampled to the fringe's length.
  reach = s * fringe[None] * HANG_ROWS - 1
  low = np.clip(np.floor(reach).astype(int), -1, HANG_ROWS - 2)
  f = (reach - low)[..., None]
  track = np.concatenate([root[SCALP_ROWS - 1 : SCALP_ROWS], root[SCALP_ROWS:]])
  on = track[low + 1, columns] * (1 - f) + track[low + 2, columns] * f
  thick = volume[SCALP_ROWS - 1][None] * 0.8 * (1 - 0.75 * s) + 0.02
  falling = on + out[SCALP_ROWS:] * thick[..., None] + np.array([0, 0, 0.03])
  points[SCALP_ROWS:] = (
    close * (1 - np.maximum(hang, fall))[:, None] + falling * (fall * (1 - hang))[:, None] + hanging * hang[:, None]
  )
  cover = np.ones((ROWS, COLUMNS))
  ramp = np.clip((SCALP_ROWS - 1 - np.arange(SCALP_ROWS)) / 1.4, 0, 1)[:, None]
  cover[scalp] = np.maximum(ramp, np.clip(lift * 2.5, 0, 1)[None])
  tips = np.clip((1.02 - s) * 2.6, 0, 1)
  cover[SCALP_ROWS:] = np.where(lift[None] > 0.15, np.where(np.maximum(hang, fall)[None] > 0.3, tips, 1.0), 0.0)
  cover *= 1 - h['bald'] * _smooth(root[..., 1] + 0.25 * root[..., 2], 0.30, 0.75)
  cover *= h['cap']
  return (points - root).reshape(-1, 3), cover.reshape(-1)


def strand_texture(seed: int = 11):
  """[256, 1024] in [0, 1]: strands along the first axis, tileable."""
  rng = np.random.RandomState(seed)

  def layer(along, across):
    n = ndimage.gaussian_filter(rng.randn(256, 1024), (along, across), mode='wrap')
    return n / n.std()

  return np.clip(0.5 + 0.19 * layer(40, 0.7) + 0.10 * layer(50, 1.8) + 0.03 * layer(25, 6.0), 0, 1).astype(np.float32)
