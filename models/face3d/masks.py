"""Where the painted layers of the default face model lie: masks on the atlas around the head (build time only)."""

import dataclasses

import numpy as np
from PIL import Image, ImageDraw
from scipy import ndimage
from scipy.interpolate import make_interp_spline
from scipy.spatial import KDTree

from models.face3d.hair import hair_line

WIDTH, HEIGHT, HEAD_ROWS = 720, 640, 552  # Of the atlas; the head is above, swatches below.
AXIS_Z = -0.3  # The axis of the atlas' cylinder.
BROW_STYLES = 5
MOTTLES = 8


def _gauss(x, y, cx, cy, sx, sy, angle=0.0):
  c, s = np.cos(angle), np.sin(angle)
  u, v = (x - cx) * c + (y - cy) * s, -(x - cx) * s + (y - cy) * c
  return np.exp(-0.5 * ((u / sx) ** 2 + (v / sy) ** 2))


def noise(rng, shape, sigma):
  n = ndimage.gaussian_filter(rng.randn(*shape), sigma, mode='wrap')
  return n / n.std()


class _Front:
  """A canvas in front of the face: strokes drawn in (x, y) model units, read back at the atlas' texels."""

  scale, low, high = 500, (-1.0, -1.3), (1.0, 1.1)

  def __init__(self):
    size = [int((h - l) * self.scale) for l, h in zip(self.low, self.high, strict=True)]
    self.image = Image.new('L', size)
    self.draw = ImageDraw.Draw(self.image)

  def _pixel(self, p):
    return (p[0] - self.low[0]) * self.scale, (self.high[1] - p[1]) * self.scale

  def stroke(self, points, width, value=255):
    points = [self._pixel(p) for p in points]
    self.draw.line(points, fill=int(value), width=max(1, int(round(width * self.scale))), joint='curve')

  def read(self, position, blur=1.0):
    image = ndimage.gaussian_filter(np.asarray(self.image, np.float32) / 255, blur * self.scale / 230)
    x, y = position[..., 0], position[..., 1]
    column, row = self._pixel((x, y))
    value = ndimage.map_coordinates(image, [row, column], order=1, mode='constant')
    return value * (position[..., 2] > AXIS_Z)


def _spline(points, n=60):
  points = np.asarray(points, float)
  t = np.linspace(0, 1, len(points))
  return make_interp_spline(t, points, k=min(3, len(points) - 1))(np.linspace(0, 1, n))


def _brow(style: int, landmarks, rng):
  """Hair strokes of both brows, along the brow landmarks (where dlib and a person see the brow)."""
  front = _Front()
  thickness = (0.050, 0.034, 0.068, 0.045, 0.058)[style]
  arch = (0.010, 0.030, 0.0, 0.02, -0.012)[style]
  tilt = (0.0, 0.012, -0.012, -0.02, 0.015)[style]
  count = (330, 240, 470, 300, 380)[style]
  for side in (1, -1):
    points = landmarks[17:22] if side < 0 else landmarks[22:27][::-1]  # From the tail to the nose.
    curve = np.array(points)[:, :2].copy()
    s = np.linspace(0, 1, 5)
    curve[0] += [-0.03 * side, 0.022]  # The landmark at the tail droops; hair thins out before it.
    curve[:, 1] += arch * np.exp(-0.5 * ((s - 0.35) / 0.25) ** 2) + tilt * (s - 0.5) * -2
    curve = _spline(curve, 100)
    for _ in range(count):
      t = 0.04 + 0.96 * rng.beta(1.35, 1.1)
      i = min(int(t * 99), 98)
      tangent = curve[i] - curve[i + 1]  # Towards the tail.
      tangent /= np.linalg.norm(tangent)
      taper = np.interp(t, [0, 0.3, 0.75, 1], [0.12, 0.7, 1.05, 0.85])
      across = rng.uniform(-0.5, 0.5) * thickness * taper
      start = curve[i] + [0, across]
      length = rng.uniform(0.045, 0.085)
      lift = (
        np.interp(t, [0, 0.6, 0.9, 1], [-0.25, 0.35, 0.9, 1.5]) - 3.5 * across / thickness * 0.25 + rng.randn() * 0.12
      )
      direction = tangent + np.array([0, 1.0]) * lift
      direction /= np.linalg.norm(direction)
      front.stroke(
        [start, start + direction * length * 0.5, start + direction * length + tangent * 0.008],
        0.0065,
        rng.uniform(90, 255) * np.interp(t, [0, 0.15, 0.4, 0.9, 1], [0.12, 0.45, 1, 1, 0.6]),
      )
  return front


@dataclasses.dataclass
class _Face:
  """The places on the mean face that painting goes by, and the state that it draws from."""

  x: np.ndarray  # [H, W] of each texel, model units.
  y: np.ndarray
  z: np.ndarray
  lm: np.ndarray  # [68, 3]
  lips: np.ndarray  # [H, W] in [0, 1].
  rng: np.random.RandomState

  def __post_init__(self):
    lm = self.lm
    self.ax, self.shape = np.abs(self.x), self.x.shape
    self.eye = np.array([np.abs(lm[36:48, 0]).mean(), lm[36:48, 1].mean()])
    self.mouth = lm[48:68, :2].mean(0)
    self.chin, self.nose, self.brow_y = lm[8, 1], lm[33, 1], lm[17:27, 1].mean()
    self.front = np.clip((self.z - (AXIS_Z + 0.15)) / 0.2, 0, 1)
    self.fine, self.hair = noise(self.rng, self.shape, 0.7), noise(self.rng, self.shape, (1.3, 0.6))

  def near(self, points):
    """Distance of each texel to the nearest of `points` [N, 2], and height above it."""
    d, i = KDTree(points).query(np.stack([self.x, self.y], -1).reshape(-1, 2))
    return d.reshape(self.shape), (self.y.ravel() - points[i, 1]).reshape(self.shape)


def paint_masks(position, landmarks, lips, margin, rng):
  """All masks of the skin.

  Args:
    position: [H, W, 3] mean-face position of each texel. landmarks: [68, 3]. lips: [H, W] in [0, 1].
    margin: (upper, lower) [N, 2] points of the lid margins of both eyes, in the front view.
    rng: numpy random state.

  Returns:
    dict of name -> [H, W] in [-1, 1].
  """
  f = _Face(*np.moveaxis(position, -1, 0), landmarks, lips, rng)
  m = {'tone': np.ones(f.shape), 'blood': np.ones(f.shape), 'olive': np.ones(f.shape)}
  _tones(f, m)
  _eyes(f, m, margin)
  for i in range(BROW_STYLES):
    m[f'brow_{i}'] = np.clip(_brow(i, f.lm, f.rng).read(position, 0.8) * 1.25, 0, 1)
  _facial_hair(f, m)
  _marks(f, m)
  lines = _wrinkles(f).read(position, 2.0)
  m['wrinkles'] = np.clip(lines * 1.3, 0, 1)
  m['age_spots'] = np.clip(noise(f.rng, f.shape, 5) - 1.4, 0, 1) * (1 - f.lips)
  for i in range(MOTTLES):
    m[f'mottle_{i}'] = np.clip(noise(f.rng, f.shape, (1.2, 3.0, 6.0, 12.0)[i % 4]) / 2.5, -1, 1) * (1 - f.lips)
  _scalp_and_clothes(f, m, position)
  oily = (
    0.55 * _gauss(f.ax, f.y, 0, 0.45, 0.3, 0.16)
    + 0.9 * _gauss(f.ax, f.y, 0, f.nose + 0.1, 0.07, 0.16)
    + 0.5 * _gauss(f.ax, f.y, 0.38, -0.2, 0.13, 0.1)
    + 0.5 * _gauss(f.ax, f.y, 0, f.chin + 0.13, 0.1, 0.05)
  )
  m['gloss'] = np.clip(0.30 + oily * 0.6 + 0.5 * f.lips + 0.06 * f.fine, 0, 1) * (1 - 0.8 * (m['clothes'] > 0.5))
  pores = noise(f.rng, f.shape, 0.8) * 0.35 + noise(f.rng, f.shape, 1.8) * 0.45
  m['bump'] = np.clip(
    pores * 0.22 - 0.8 * lines + 0.3 * (m['lip_red'] * noise(f.rng, f.shape, (3.0, 0.7))) * 0.4, -1, 1
  )
  return m


def _tones(f, m):
  m['cheeks'] = _gauss(f.ax, f.y, 0.43, f.nose + 0.02, 0.15, 0.13, 0.4) * (1 + 0.12 * noise(f.rng, f.shape, 4))
  m['nose'] = (
    _gauss(f.ax, f.y, 0, f.nose + 0.06, 0.13, 0.09)
    + 0.5 * _gauss(f.ax, f.y, 0, f.chin + 0.1, 0.12, 0.06)
    + 0.7 * (f.ax > 0.66) * (f.y > -0.4)
  )
  m['sockets'] = _gauss(f.ax, f.y, f.eye[0] - 0.06, f.eye[1] - 0.13, 0.13, 0.045, 0.25) + 0.5 * _gauss(
    f.ax, f.y, 0.13, f.eye[1] + 0.01, 0.035, 0.07
  )
  m['lids'] = _gauss(f.ax, f.y, f.eye[0], f.eye[1] + 0.075, 0.14, 0.04) + 0.4 * _gauss(
    f.ax, f.y, f.eye[0], f.eye[1] - 0.05, 0.13, 0.02
  )
  m['lip_red'] = f.lips * (1 + 0.08 * noise(f.rng, f.shape, (2.5, 0.8)))
  m['lip_dark'] = f.lips * np.clip(1.2 - 4 * np.abs(f.y - f.lm[[62, 66], 1].mean()), 0.3, 1)


def _eyes(f, m, margin):
  d, above = f.near(margin[0])
  outer = np.clip((f.ax - f.eye[0] + 0.16) / 0.3, 0.2, 1)
  m['lash'] = (
    np.exp(-0.5 * (d / np.where(above > 0, 0.013 + 0.013 * outer, 0.012)) ** 2) * (0.7 + 0.3 * outer) * f.front
  )
  crease = (
    np.exp(-0.5 * ((above - 0.045) / 0.012) ** 2) * (f.ax > f.eye[0] - 0.15) * (f.ax < f.eye[0] + 0.17) * (d < 0.12)
  )
  d, _ = f.near(margin[1])
  m['lash'] = np.clip(m['lash'] + 0.45 * np.exp(-0.5 * (d / 0.010) ** 2) * f.front, 0, 1)
  m['lids'] = np.clip(m['lids'] * (f.y < f.brow_y - 0.04) + 0.8 * crease, 0, 1)


def _facial_hair(f, m):
  """Where hair grows on a face, times strands."""
  line = np.interp(
    f.ax,
    [0, 0.2, 0.38, 0.55, 0.68, 0.9],
    [f.mouth[1] - 0.07, f.mouth[1] + 0.0, f.mouth[1] + 0.02, f.nose - 0.05, f.eye[1] - 0.2, f.eye[1] - 0.05],
  )
  full = (
    1
    / (1 + np.exp((f.y - line + 0.03 * noise(f.rng, f.shape, 3) * 0.5) / 0.04))
    * np.clip((f.y - (f.chin - 0.22)) / 0.12, 0, 1)
    * (f.z > AXIS_Z + 0.02)
  )
  lip_gap = 1 - ndimage.gaussian_filter((ndimage.grey_dilation(f.lips, 5) > 0.3).astype(float), 1.5)
  top = _gauss(f.ax, f.y, 0.08, (f.nose + f.lm[51, 1]) / 2 - 0.015, 0.15, 0.038) + 0.8 * _gauss(
    f.ax, f.y, 0.26, f.mouth[1] + 0.02, 0.035, 0.07
  )
  moustache = np.clip(top * 1.4, 0, 1) * (f.y < f.nose - 0.02)
  goatee = np.clip(1.6 * _gauss(f.ax, f.y, 0, f.chin + 0.05, 0.20, 0.15), 0, 1) * (
    f.y < f.mouth[1] - 0.05
  ) + 0.5 * _gauss(f.ax, f.y, 0.27, f.mouth[1] - 0.08, 0.04, 0.1)
  strands = np.clip(0.60 + 0.33 * f.hair, 0, 1)
  dots = np.clip((f.fine - 0.55) * 1.2, 0, 1)
  field = np.clip(full + moustache, 0, 1) * lip_gap
  m['shadow'] = ndimage.gaussian_filter(field, 4)
  m['stubble'] = field * (0.25 + 0.75 * dots)
  m['beard'] = np.clip(full, 0, 1) * lip_gap * strands
  m['moustache'] = ndimage.gaussian_filter(moustache, 2) * lip_gap * strands
  m['goatee'] = np.clip(goatee, 0, 1) * lip_gap * strands


def _marks(f, m):
  spots = np.zeros(f.shape)
  for _ in range(2600):
    r, c = f.rng.randint(HEAD_ROWS), f.rng.randint(WIDTH)
    px, py = f.x[r, c], f.y[r, c]
    if (
      f.rng.rand() < np.exp(-0.5 * ((abs(px) - 0.25) / 0.28) ** 2 - 0.5 * ((py + 0.2) / 0.25) ** 2) and not f.lips[r, c]
    ):
      spots[r, c] = f.rng.uniform(0.1, 1) ** 2
  m['freckles'] = np.clip(ndimage.gaussian_filter(ndimage.grey_dilation(spots, 2), 1.0) * 2, 0, 1)
  for name in ('moles_a', 'moles_b'):
    spots = np.zeros(f.shape)
    for _ in range(6):
      a, b = f.rng.uniform(-0.6, 0.6), f.rng.uniform(-0.95, 0.5)
      spots = np.maximum(
        spots,
        f.rng.uniform(0.3, 1)
        * np.exp(-0.5 * (((f.x - a) ** 2 + (f.y - b) ** 2) / f.rng.uniform(0.005, 0.011) ** 2) ** 2)
        * f.front,
      )
    m[name] = spots * (1 - f.lips)


def _wrinkles(f):
  """Strokes where folds form: beside nose and mouth, crow's feet, under the eyes, between the brows, forehead."""
  folds = _Front()
  for sign in (-1, 1):
    a, b = f.lm[31 if sign < 0 else 35, :2], f.lm[48 if sign < 0 else 54, :2]
    folds.stroke(
      _spline([a + [sign * 0.05, 0.03], [sign * (abs(b[0]) - 0.01), (a[1] + b[1]) / 2], b + [sign * 0.09, 0.0]]),
      0.022,
      190,
    )
    folds.stroke(_spline([b + [sign * 0.03, -0.03], b + [sign * 0.055, -0.14]]), 0.016, 130)
    for k, t in enumerate((-0.05, 0.0, 0.05, 0.09)):
      folds.stroke([[sign * 0.50, f.eye[1] + t * 0.6], [sign * (0.60 + 0.01 * k), f.eye[1] + t * 1.6]], 0.010, 130)
    folds.stroke(
      _spline([[sign * 0.17, f.eye[1] - 0.08], [sign * 0.30, f.eye[1] - 0.155], [sign * 0.45, f.eye[1] - 0.11]]),
      0.014,
      150,
    )
    folds.stroke([[sign * 0.05, f.brow_y + 0.0], [sign * 0.055, f.brow_y + 0.1]], 0.010, 120)
  for k in range(4):
    h = f.brow_y + 0.15 + 0.095 * k
    folds.stroke(
      _spline(
        [
          [-0.42 + 0.03 * k, h],
          [-0.2, h + 0.03],
          [0, h + f.rng.uniform(0.0, 0.02)],
          [0.2, h + 0.03],
          [0.42 - 0.03 * k, h],
        ]
      ),
      0.011,
      140,
    )
  return folds


def _scalp_and_clothes(f, m, position):
  angle, beyond = np.arctan2(f.ax, f.z - AXIS_Z), hair_line(position)
  m['hair_shadow'] = np.exp(-0.5 * (beyond / 0.07) ** 2) * (beyond < 0.0) * (angle < 1.35) + (beyond >= 0)
  m['scalp'] = np.clip(beyond / 0.10 + 0.35 * f.hair * np.exp(-((beyond / 0.12) ** 2)), 0, 1) * np.clip(
    0.80 + 0.2 * f.hair, 0, 1
  )
  m['scalp'] *= 1 - ((f.ax > 0.68) & (f.y < 0.2) & (f.z > -0.45) & (f.y > -0.45))  # Not on the ears.
  neck = np.interp(angle, np.radians([0, 25, 55, 90, 125]), [-1.78, -1.70, -1.52, -1.40, -1.34])
  m['clothes'] = np.clip((neck - f.y) / 0.012, 0, 1)
  shade = 1 + 0.10 * noise(f.rng, f.shape, (14, 7))
  for k in ('clothes_red', 'clothes_blue'):
    m[k] = m['clothes']
  for k in m:
    if not k.startswith('clothes'):
      m[k] = m[k] * (1 - m['clothes'])
  m['clothes'] = m['clothes'] * shade
