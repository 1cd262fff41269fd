"""Paints the colour of the default face model: a stack of hand-made masks on an atlas around the head (build time only).

The logarithm of the albedo is linear in the coefficients, as light through pigment is (Beer-Lambert):
`log albedo(u, v) = mean(u, v) + sum_k c_k mask_k(u, v) colour_k`. The atlas unrolls the head on a cylinder, y upwards; eyes,
teeth and tongue have swatches below it. Nothing in here is learnt from, or traced over, anybody's photograph.
"""

import numpy as np
from PIL import Image, ImageDraw
from scipy import ndimage

from models.face3d.hair import hair_line
from models.face3d.rasterize import rasterize

WIDTH, HEIGHT, HEAD_ROWS = 720, 640, 552
TOP, BOTTOM = 1.12, -2.0  # y of the first and the last head row, in model units (1 = 10 cm).
AXIS_Z, TURN = -.3, np.radians(125)  # The cylinder's axis, and how far around it the atlas reaches on each side.
SWATCHES = {'eye': (4, HEAD_ROWS + 4, 80, 80), 'teeth': (100, HEAD_ROWS + 4, 80, 80), 'tongue': (200, HEAD_ROWS + 4, 80, 80)}
BROW_STYLES = 5
MOTTLES = 8

# name: (log colour change in red, green, blue per unit of coefficient)
MELANIN, BLOOD = (-.62, -.78, -.88), (-.03, -.16, -.13)
DARK = (-1., -.90, -.76)  # Hair over skin: the darker, the less of the skin's colour is left.
COLOURS = {
    'tone': MELANIN, 'blood': BLOOD, 'olive': (-.02, .01, -.13), 'cheeks': (-.03, -.24, -.17), 'nose': (-.03, -.18, -.12),
    'sockets': (-.16, -.22, -.19), 'lids': (-.20, -.25, -.2), 'lip_red': (-.12, -.52, -.36), 'lip_dark': (-.3, -.34, -.3), 'lash': DARK,
    'iris_light': (1., 1., 1.), 'iris_blue': (-.45, .12, .75), 'sclera': (-.05, -.12, -.15), 'teeth_yellow': (-.05, -.1, -.3),
    'freckles': (-.16, -.34, -.42), 'moles_a': (-.5, -.75, -.8), 'moles_b': (-.5, -.75, -.8), 'wrinkles': (-.2, -.25, -.25),
    'age_spots': (-.12, -.2, -.25), 'shadow': (-.24, -.17, -.11), 'stubble': DARK, 'beard': DARK, 'moustache': DARK,
    'goatee': DARK, 'scalp': DARK, 'clothes': (1., 1., 1.), 'clothes_red': (.5, -.2, -.2), 'clothes_blue': (-.3, -.05, .5),
    **{f'brow_{i}': DARK for i in range(BROW_STYLES)},
    **{f'mottle_{i}': ((-.06, -.09, -.10), (-.02, -.12, -.08))[i % 2] for i in range(MOTTLES)},
    'hair_shadow': (-.45, -.5, -.5), 'gloss': (0., 0., 0.), 'bump': (0., 0., 0.),
}


def atlas_coordinates(points):
  """[..., 3] model units -> [..., 2] (column, row) of the head part of the atlas."""
  x, y, z = np.moveaxis(points, -1, 0)
  angle = np.arctan2(x, z - AXIS_Z)
  column = (np.clip(angle / TURN, -1, 1) + 1) / 2 * (WIDTH - 1)
  row = np.clip((TOP - y) / (TOP - BOTTOM), 0, 1) * (HEAD_ROWS - 1)
  return np.stack([column, row], -1)


def _unroll(columns_rows, depth, triangles, values):
  """Interpolates `values` [V, C] over the atlas, the smallest depth in front. Returns [HEIGHT, WIDTH, C] and the mask."""
  screen = np.concatenate([columns_rows + .5, 1000 + depth[:, None]], 1)[None].astype(np.float32)
  raster = rasterize(screen, triangles, HEIGHT, WIDTH)
  corners = values[raster.vertex_ids.numpy()[0]]
  return (corners * raster.barycentrics.numpy()[0][..., None]).sum(2), raster.mask.numpy()[0, ..., 0] > 0


def _fill(image, known):
  """Gives unknown pixels the value of the nearest known one."""
  near = ndimage.distance_transform_edt(~known, return_distances=False, return_indices=True)
  return image[tuple(near)]


def occlusion(vertices, triangles, directions: int = 160, pixels: int = 224):
  """Share of the sky that each vertex sees, cosine-weighted, by shadow maps from many directions. Returns [V] in [0, 1]."""
  faces = vertices[triangles]
  normals = np.zeros_like(vertices)
  np.add.at(normals, triangles.ravel(), np.repeat(np.cross(faces[:, 1] - faces[:, 0], faces[:, 2] - faces[:, 0]), 3, 0))
  normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-9)
  k = np.arange(directions) + .5
  height, angle = 1 - 2 * k / directions, np.pi * (1 + 5 ** .5) * k
  sky = np.stack([np.cos(angle) * np.sqrt(1 - height ** 2), height, np.sin(angle) * np.sqrt(1 - height ** 2)], 1)
  seen, total = np.zeros(len(vertices)), np.zeros(len(vertices))
  for d in sky:
    side = np.cross(d, [.3, .9, .31])
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
    seen += facing * (depth < buffer[cell[:, 1], cell[:, 0]] + .06)
    total += facing
  return seen / np.maximum(total, 1e-9)


def _gauss(x, y, cx, cy, sx, sy, angle=0.):
  c, s = np.cos(angle), np.sin(angle)
  u, v = (x - cx) * c + (y - cy) * s, -(x - cx) * s + (y - cy) * c
  return np.exp(-.5 * ((u / sx) ** 2 + (v / sy) ** 2))


def _noise(rng, shape, sigma):
  n = ndimage.gaussian_filter(rng.randn(*shape), sigma, mode='wrap')
  return n / n.std()


class _Front:
  """A canvas in front of the face: strokes drawn in (x, y) model units, read back at the atlas' texels."""
  scale, low, high = 500, (-1., -1.3), (1., 1.1)

  def __init__(self):
    size = [int((h - l) * self.scale) for l, h in zip(self.low, self.high)]
    self.image = Image.new('L', size)
    self.draw = ImageDraw.Draw(self.image)

  def _pixel(self, p):
    return (p[0] - self.low[0]) * self.scale, (self.high[1] - p[1]) * self.scale

  def stroke(self, points, width, value=255):
    points = [self._pixel(p) for p in points]
    self.draw.line(points, fill=int(value), width=max(1, int(round(width * self.scale))), joint='curve')

  def read(self, position, blur=1.):
    image = ndimage.gaussian_filter(np.asarray(self.image, np.float32) / 255, blur * self.scale / 230)
    x, y = position[..., 0], position[..., 1]
    column, row = self._pixel((x, y))
    value = ndimage.map_coordinates(image, [row, column], order=1, mode='constant')
    return value * (position[..., 2] > AXIS_Z)


def _spline(points, n=60):
  from scipy.interpolate import make_interp_spline
  points = np.asarray(points, float)
  t = np.linspace(0, 1, len(points))
  return make_interp_spline(t, points, k=min(3, len(points) - 1))(np.linspace(0, 1, n))


def _brow(style: int, landmarks, rng):
  """Hair strokes of both brows. The lower edge follows the brow landmarks (where dlib and a person see the brow)."""
  front = _Front()
  thickness = (.050, .034, .068, .045, .058)[style]
  arch = (.010, .030, .0, .02, -.012)[style]
  tilt = (0., .012, -.012, -.02, .015)[style]
  count = (330, 240, 470, 300, 380)[style]
  for side in (1, -1):
    points = landmarks[17:22] if side < 0 else landmarks[22:27][::-1]  # From the tail to the nose.
    curve = np.array(points)[:, :2].copy()
    s = np.linspace(0, 1, 5)
    curve[0] += [-.03 * side, .022]  # The landmark at the tail droops; hair thins out before it.
    curve[:, 1] += arch * np.exp(-.5 * ((s - .35) / .25) ** 2) + tilt * (s - .5) * -2
    curve = _spline(curve, 100)
    for _ in range(count):
      t = .04 + .96 * rng.beta(1.35, 1.1)
      i = min(int(t * 99), 98)
      tangent = curve[i] - curve[i + 1]  # Towards the tail.
      tangent /= np.linalg.norm(tangent)
      taper = np.interp(t, [0, .3, .75, 1], [.12, .7, 1.05, .85])
      across = rng.uniform(-.5, .5) * thickness * taper
      start = curve[i] + [0, across]
      length = rng.uniform(.045, .085)
      lift = np.interp(t, [0, .6, .9, 1], [-.25, .35, .9, 1.5]) - 3.5 * across / thickness * .25 + rng.randn() * .12
      direction = tangent + np.array([0, 1.]) * lift
      direction /= np.linalg.norm(direction)
      front.stroke([start, start + direction * length * .5, start + direction * length + tangent * .008], .0065,
                   rng.uniform(90, 255) * np.interp(t, [0, .15, .4, .9, 1], [.12, .45, 1, 1, .6]))
  return front


def paint_masks(position, landmarks, lips, margin, rng):
  """All masks of the skin.

  Args:
    position: [H, W, 3] mean-face position of each texel. landmarks: [68, 3]. lips: [H, W] in [0, 1].
    margin: (upper, lower) [N, 2] points of the lid margins of both eyes, in the front view.
    rng: numpy random state.

  Returns:
    dict of name -> [H, W] in [-1, 1].
  """
  x, y, z = np.moveaxis(position, -1, 0)
  ax, shape = np.abs(x), x.shape
  lm = landmarks
  eye = np.array([np.abs(lm[36:48, 0]).mean(), lm[36:48, 1].mean()])
  mouth = lm[48:68, :2].mean(0)
  chin, nose, brow_y = lm[8, 1], lm[33, 1], lm[17:27, 1].mean()
  front = np.clip((z - (AXIS_Z + .15)) / .2, 0, 1)
  fine, hair = _noise(rng, shape, .7), _noise(rng, shape, (1.3, .6))
  m = {'tone': np.ones(shape), 'blood': np.ones(shape), 'olive': np.ones(shape)}
  m['cheeks'] = _gauss(ax, y, .43, nose + .02, .15, .13, .4) * (1 + .12 * _noise(rng, shape, 4))
  m['nose'] = _gauss(ax, y, 0, nose + .06, .13, .09) + .5 * _gauss(ax, y, 0, chin + .1, .12, .06) + .7 * (ax > .66) * (y > -.4)
  m['sockets'] = _gauss(ax, y, eye[0] - .06, eye[1] - .13, .13, .045, .25) + .5 * _gauss(ax, y, .13, eye[1] + .01, .035, .07)
  m['lids'] = _gauss(ax, y, eye[0], eye[1] + .075, .14, .04) + .4 * _gauss(ax, y, eye[0], eye[1] - .05, .13, .02)
  m['lip_red'] = lips * (1 + .08 * _noise(rng, shape, (2.5, .8)))
  m['lip_dark'] = lips * np.clip(1.2 - 4 * np.abs(y - lm[[62, 66], 1].mean()), .3, 1)
  def near(points):
    from scipy.spatial import cKDTree
    d, i = cKDTree(points).query(np.stack([x, y], -1).reshape(-1, 2))
    above = y.ravel() - points[i, 1]
    return d.reshape(shape), above.reshape(shape)
  d, above = near(margin[0])
  outer = np.clip((ax - eye[0] + .16) / .3, .2, 1)
  m['lash'] = np.exp(-.5 * (d / np.where(above > 0, .013 + .013 * outer, .012)) ** 2) * (.7 + .3 * outer) * front
  crease = np.exp(-.5 * ((above - .045) / .012) ** 2) * (ax > eye[0] - .15) * (ax < eye[0] + .17) * (d < .12)
  d, _ = near(margin[1])
  m['lash'] = np.clip(m['lash'] + .45 * np.exp(-.5 * (d / .010) ** 2) * front, 0, 1)
  m['lids'] = np.clip(m['lids'] * (y < brow_y - .04) + .8 * crease, 0, 1)
  for i in range(BROW_STYLES):
    m[f'brow_{i}'] = np.clip(_brow(i, lm, rng).read(position, .8) * 1.25, 0, 1)
  # Facial hair: where it grows, times strands.
  jaw = _spline(np.stack([np.abs(lm[:9, 0]), lm[:9, 1]], 1), 50)
  side = np.interp(y, jaw[::-1, 1], jaw[::-1, 0])  # |x| of the jaw's outline at this height.
  line = np.interp(ax, [0, .2, .38, .55, .68, .9], [mouth[1] - .07, mouth[1] + .0, mouth[1] + .02, nose - .05, eye[1] - .2, eye[1] - .05])
  del side
  full = 1 / (1 + np.exp((y - line + .03 * _noise(rng, shape, 3) * .5) / .04)) * np.clip((y - (chin - .22)) / .12, 0, 1) * (z > AXIS_Z + .02)
  lip_gap = 1 - ndimage.gaussian_filter((ndimage.grey_dilation(lips, 5) > .3).astype(float), 1.5)
  top = _gauss(ax, y, .08, (nose + lm[51, 1]) / 2 - .015, .15, .038) + .8 * _gauss(ax, y, .26, mouth[1] + .02, .035, .07)
  moustache = np.clip(top * 1.4, 0, 1) * (y < nose - .02)
  goatee = np.clip(1.6 * _gauss(ax, y, 0, chin + .05, .20, .15), 0, 1) * (y < mouth[1] - .05) + .5 * _gauss(ax, y, .27, mouth[1] - .08, .04, .1)
  strands = np.clip(.60 + .33 * hair, 0, 1)
  dots = np.clip((fine - .55) * 1.2, 0, 1)
  field = np.clip(full + moustache, 0, 1) * lip_gap
  m['shadow'] = ndimage.gaussian_filter(field, 4)
  m['stubble'] = field * (.25 + .75 * dots)
  m['beard'] = np.clip(full, 0, 1) * lip_gap * strands
  m['moustache'] = ndimage.gaussian_filter(moustache, 2) * lip_gap * strands
  m['goatee'] = np.clip(goatee, 0, 1) * lip_gap * strands
  # Marks.
  spots = np.zeros(shape)
  for _ in range(2600):
    r, c = rng.randint(HEAD_ROWS), rng.randint(WIDTH)
    px, py = x[r, c], y[r, c]
    if rng.rand() < np.exp(-.5 * ((abs(px) - .25) / .28) ** 2 - .5 * ((py + .2) / .25) ** 2) and not lips[r, c]:
      spots[r, c] = rng.uniform(.1, 1) ** 2
  m['freckles'] = np.clip(ndimage.gaussian_filter(ndimage.grey_dilation(spots, 2), 1.) * 2, 0, 1)
  for name in ('moles_a', 'moles_b'):
    spots = np.zeros(shape)
    for _ in range(6):
      a, b = rng.uniform(-.6, .6), rng.uniform(-.95, .5)
      spots = np.maximum(spots, rng.uniform(.3, 1) * np.exp(-.5 * (((x - a) ** 2 + (y - b) ** 2) / rng.uniform(.005, .011) ** 2) ** 2) * front)
    m[name] = spots * (1 - lips)
  folds = _Front()
  for sign in (-1, 1):
    a, b = lm[31 if sign < 0 else 35, :2], lm[48 if sign < 0 else 54, :2]
    folds.stroke(_spline([a + [sign * .05, .03], [sign * (abs(b[0]) - .01), (a[1] + b[1]) / 2], b + [sign * .09, .0]]), .022, 190)
    folds.stroke(_spline([b + [sign * .03, -.03], b + [sign * .055, -.14]]), .016, 130)
    for k, t in enumerate((-.05, 0., .05, .09)):
      folds.stroke([[sign * .50, eye[1] + t * .6], [sign * (.60 + .01 * k), eye[1] + t * 1.6]], .010, 130)
    folds.stroke(_spline([[sign * .17, eye[1] - .08], [sign * .30, eye[1] - .155], [sign * .45, eye[1] - .11]]), .014, 150)
    folds.stroke([[sign * .05, brow_y + .0], [sign * .055, brow_y + .1]], .010, 120)
  for k in range(4):
    h = brow_y + .15 + .095 * k
    folds.stroke(_spline([[-.42 + .03 * k, h], [-.2, h + .03], [0, h + rng.uniform(.0, .02)], [.2, h + .03], [.42 - .03 * k, h]]), .011, 140)
  lines = folds.read(position, 2.)
  m['wrinkles'] = np.clip(lines * 1.3, 0, 1)
  m['age_spots'] = np.clip(_noise(rng, shape, 5) - 1.4, 0, 1) * (1 - lips)
  for i in range(MOTTLES):
    m[f'mottle_{i}'] = np.clip(_noise(rng, shape, (1.2, 3., 6., 12.)[i % 4]) / 2.5, -1, 1) * (1 - lips)
  # The hair line: where the scalp's hair starts.
  angle, beyond = np.arctan2(ax, z - AXIS_Z), hair_line(position)
  m['hair_shadow'] = np.exp(-.5 * (beyond / .07) ** 2) * (beyond < .0) * (angle < 1.35) + (beyond >= 0)
  m['scalp'] = np.clip(beyond / .10 + .35 * hair * np.exp(-(beyond / .12) ** 2), 0, 1) * np.clip(.80 + .2 * hair, 0, 1)
  m['scalp'] *= 1 - ((ax > .68) & (y < .2) & (z > -.45) & (y > -.45))  # Not on the ears.
  neck = np.interp(angle, np.radians([0, 25, 55, 90, 125]), [-1.78, -1.70, -1.52, -1.40, -1.34])
  m['clothes'] = np.clip((neck - y) / .012, 0, 1)
  shade = 1 + .10 * _noise(rng, shape, (14, 7))
  for k in ('clothes_red', 'clothes_blue'):
    m[k] = m['clothes']
  for k in m:
    if not k.startswith('clothes'):
      m[k] = m[k] * (1 - m['clothes'])
  m['clothes'] = m['clothes'] * shade
  oily = .55 * _gauss(ax, y, 0, .45, .3, .16) + .9 * _gauss(ax, y, 0, nose + .1, .07, .16) + .5 * _gauss(ax, y, .38, -.2, .13, .1) + .5 * _gauss(ax, y, 0, chin + .13, .1, .05)
  m['gloss'] = np.clip(.30 + oily * .6 + .5 * lips + .06 * fine, 0, 1) * (1 - .8 * (m['clothes'] > .5))
  pores = _noise(rng, shape, .8) * .35 + _noise(rng, shape, 1.8) * .45
  m['bump'] = np.clip(pores * .22 - .8 * lines + .3 * (m['lip_red'] * _noise(rng, shape, (3., .7))) * .4, -1, 1)
  return m


def paint_swatches(masks, mean, rng):
  """Adds eyes, teeth and tongue to the masks and to the mean log albedo [H, W, 3], in place."""
  for name, (left, top, w, h) in SWATCHES.items():
    box = (slice(top, top + h), slice(left, left + w))
    b, a = np.mgrid[-1:1:h * 1j, -1:1:w * 1j]
    for m in masks.values():
      m[box] = 0
    if name == 'eye':
      r, angle = np.hypot(a, b), np.arctan2(b, a)
      iris_r, pupil_r = .475, .19
      iris = 1 / (1 + np.exp((r - iris_r) / .018))
      pupil = 1 / (1 + np.exp((r - pupil_r) / .02))
      spokes = np.interp(angle, np.linspace(-np.pi, np.pi, 90), rng.randn(90)) * .10 + np.sin(angle * 37) * .05
      limbal = np.exp(-.5 * ((r - iris_r) / .045) ** 2)
      sclera = np.array([-.58, -.68, -.72]) - .35 * np.clip(r - .6, 0, 1)[..., None] * [.4, 1.2, 1.]
      brown = np.array([-2.1, -2.85, -3.5]) + (spokes - .55 * limbal + .25 * np.exp(-.5 * ((r - .26) / .06) ** 2))[..., None]
      value = sclera * (1 - iris[..., None]) + brown * iris[..., None]
      lid = -.75 * np.clip(-b - .05, 0, 1)[..., None] - .15 * np.clip(np.abs(a) - .35, 0, 1)[..., None]  # The upper lid's shadow.
      mean[box] = value * (1 - pupil[..., None]) + np.log(.012) * pupil[..., None] + lid
      ring = iris * (1 - pupil)
      masks['iris_light'][box] = ring * np.clip(1 + spokes * 1.5 - .4 * limbal, 0, 1)
      masks['iris_blue'][box] = ring
      masks['sclera'][box] = (1 - iris) * np.clip(1 + .3 * _noise(rng, (h, w), 2), 0, 1)
      masks['gloss'][box] = 1.
    elif name == 'teeth':
      mean[box] = np.array([-.40, -.50, -.68])
      masks['teeth_yellow'][box] = 1
      masks['gloss'][box] = .7
    else:
      mean[box] = np.array([-.95, -1.85, -1.75]) + .08 * _noise(rng, (h, w), 2)[..., None]
      masks['gloss'][box] = .5


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
  red = np.flatnonzero((lips_vertex > .6) & ~inner)
  nearest = red[np.argmin(((mean[inner][:, None] - mean[red][None]) ** 2).sum(-1), 1)]
  uv[inner] = uv[nearest]
  radius = np.hypot(mean[:, 0], mean[:, 2] - AXIS_Z)
  outside = skin & ~inner[triangles].any(1) & (np.ptp(uv[triangles][..., 0], axis=1) < WIDTH / 2)  # Not across the back.
  values, known = _unroll(uv, -radius, triangles[outside], np.concatenate([mean, np.clip(lips_vertex, 0, 1)[:, None]], 1))
  values[:HEAD_ROWS] = _fill(values[:HEAD_ROWS], known[:HEAD_ROWS])
  position, lips = values[..., :3], values[..., 3]
  lips = np.clip((lips - .25) / .5, 0, 1)
  masks = paint_masks(position, landmarks, lips, _lid_margins(mean, triangles, part), rng)
  log_mean = np.broadcast_to(np.array([-1.18, -1.78, -2.22]), position.shape).copy()
  cloth = np.clip(masks['clothes_red'], 0, 1)[..., None]
  log_mean = log_mean * (1 - cloth) + cloth * np.log(.22)
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
    flat = ray[:, :2] / np.maximum(np.linalg.norm(ray[:, :2], axis=1, keepdims=True), 1e-6) * np.clip(bend, 0, 1)[:, None]
    uv[ball] = [left + w / 2, top + h / 2] + flat * [w / 2 - 2, -(h / 2 - 2)]
  units = list(model['expression_names'])
  jaw = model['expression_basis'][units.index('jawOpen')].astype(float)
  light = occlusion(mean, triangles)
  hidden = inner | (part >= 2)
  light = np.where(hidden, occlusion(mean + jaw, triangles), light)
  front_teeth = (part == 2) & (mean[:, 2] > np.quantile(mean[part == 2, 2], .35))
  light[front_teeth] = np.maximum(light[front_teeth], .55)
  light[part == 1] = np.maximum(light[part == 1], .6)
  stack = np.stack([masks[k] for k in names], -1)
  return {
      'atlas_uv': ((uv + .5) / [WIDTH, HEIGHT]).astype(np.float32),
      'paint': np.clip(np.round(stack * 127), -127, 127).astype(np.int8), 'paint_names': np.array(names),
      'paint_colours': np.array([COLOURS[k] for k in names], np.float32), 'paint_mean': log_mean.astype(np.float16),
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
    return np.stack([(columns + .5) / scale - 1, 1 - (rows + .5) / scale], 1)
  return unit(first), unit(last)
