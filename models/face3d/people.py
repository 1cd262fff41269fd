"""Draws people: who they are, how they look, how they are lit, as pure functions of a seed."""

from typing import NamedTuple

import numpy as np
import tensorflow as tf

from models.face3d.hair import HAIR_NAMES
from models.face3d.morphable import MorphableModel
from models.face3d.portrait import People
from models.face3d.shading import Light

# Linear colours of hair: black, dark brown, brown, light brown, blond, red, grey, white.
_HAIR = np.array(
  [
    [0.012, 0.010, 0.010],
    [0.028, 0.017, 0.012],
    [0.065, 0.038, 0.022],
    [0.13, 0.08, 0.045],
    [0.33, 0.22, 0.115],
    [0.17, 0.06, 0.022],
    [0.20, 0.19, 0.18],
    [0.48, 0.47, 0.45],
  ]
)


class Person(NamedTuple):
  """One person.

  Attributes:
    identity: [I]. albedo: [A]. hair: [len(HAIR_NAMES)]. As in `People`.
    female: 0 or 1. age: about 20 to 75 years. tone: skin tone from -1.8 (lightest) to 1.8 (darkest).
  """

  identity: np.ndarray
  albedo: np.ndarray
  hair: np.ndarray
  female: int
  age: float
  tone: float

  @property
  def skin(self) -> str:
    """'dark' or 'light', for fairness slices."""
    return 'dark' if self.tone > 0.45 else 'light'


def stack_people(people: list[Person]) -> People:
  """A batch of people for `render_people`."""
  return People(*(np.stack([getattr(p, f) for p in people]).astype(np.float32) for f in People._fields))


def _generator(*seed: int) -> np.random.Generator:
  return np.random.Generator(np.random.PCG64(np.random.SeedSequence(list(seed))))


def draw_person(model: MorphableModel, seed: int) -> Person:
  """A random adult, the same for the same seed; sexes, ages, ancestries and skin tones are balanced.

  Args:
    model: the default face model.
    seed: any integer >= 0.
  """
  rng = _generator(seed, 1)
  female = int(rng.random() < 0.5)
  old = float(np.clip(rng.beta(1.0, 1.7), 0, 0.85))  # 0 is 25 years, 1 is 90.
  ancestry = rng.choice(3, p=[0.34, 0.26, 0.40])
  races = rng.dirichlet(np.eye(3)[ancestry] * 5 + 0.35)
  # (african, asian, caucasian); tones overlap widely, so that tone is not a function of shape.
  tone = float(np.clip(races @ [1.05, -0.25, -0.85] + rng.normal() * 0.55, -1.75, 1.75))
  attributes = {
    'female': np.clip(female * 0.84 + 0.08 + rng.normal() * 0.1, 0, 1),
    'age': old,
    'african': races[0],
    'asian': races[1],
    'weight': np.clip(rng.normal() * 0.38, -1, 1),
  }
  a = np.array([1.0] + [attributes[str(n)] for n in model.extras['attribute_names']])
  residual = model.extras['attribute_residual']
  identity = a @ model.extras['attribute_line'] + residual * rng.normal(size=len(residual))
  hair, colour = _draw_hair(rng, female, old, tone, races, seed)
  albedo = _draw_albedo(model, rng, female, old, tone, races, hair, colour)
  years = 25 + old * 65 - 5 * (1 - old) * rng.random()
  return Person(identity.astype(np.float32), albedo, hair, female, float(years), tone)


def _draw_hair(rng, female, old, tone, races, seed):
  p = np.exp(-0.5 * ((np.arange(6) - np.interp(tone, [-1.75, -0.6, 0.2, 1.0], [3.0, 1.9, 0.7, 0.2])) / 0.95) ** 2)
  p[5] = 0.08 * (tone < -0.4)
  p[:2] += 3.0 * races[1] + 1.5 * races[0]
  colour = _HAIR[rng.choice(6, p=p / p.sum())] * np.exp(rng.normal() * 0.18)
  grey = float(np.clip((old - 0.38) * 2.6 + rng.normal() * 0.3, 0, 1)) if old > 0.3 else 0.0
  if female and rng.random() < 0.5:
    grey = 0.0  # Dyed.
  colour = colour * (1 - grey) + _HAIR[6 + (grey > 0.8)] * grey
  kinky = rng.random() < races[0] * 0.75
  h = dict.fromkeys(HAIR_NAMES, 0.0)
  h.update(
    cap=1.0,
    opening=1.35,
    gloss=rng.uniform(0.2, 1.0),
    seed=seed % 2**20,
    recede=abs(rng.normal()) * 0.15,
    curl=rng.uniform(0.05, 0.35),
    frizz=rng.uniform(0.05, 0.3),
    wave=rng.random() ** 2,
    sweep=rng.uniform(0.1, 0.5) * (rng.random() < 0.7),
    part=rng.choice([0.0, rng.uniform(-0.09, 0.09)]),
  )
  volume = rng.uniform(0.05, 0.20)
  if female:
    style = rng.choice(['long', 'bob', 'back', 'short'], p=[0.42, 0.2, 0.26, 0.12])
    if kinky:
      style = rng.choice(['afro', 'back', 'long', 'short'], p=[0.35, 0.25, 0.25, 0.15])
  else:
    style = rng.choice(['crop', 'short', 'quiff', 'buzz', 'bald', 'long'], p=[0.27, 0.33, 0.17, 0.09, 0.08, 0.06])
    if kinky:
      style = rng.choice(['crop', 'afro', 'buzz', 'bald', 'short'], p=[0.3, 0.15, 0.32, 0.1, 0.13])
    h['recede'] += max(old - 0.1, 0) * abs(rng.normal()) * 1.1
    h['bald'] = float(rng.random() < max(old - 0.15, 0) * 0.6) * rng.uniform(0.7, 1.0) if style != 'bald' else 0.0
  if style == 'long' or style == 'bob':
    length = rng.uniform(1.3, 2.2) if style == 'long' else rng.uniform(0.55, 1.05)
    h.update(
      top=volume * 0.7 + 0.03,
      side=volume * 0.9 + 0.05,
      edge=rng.uniform(0.0, 0.25),
      length=length,
      opening=rng.uniform(0.95, 1.5),
      flare=rng.uniform(-0.12, 0.18),
    )
    if rng.random() < 0.3:
      h.update(fringe=rng.uniform(0.35, 0.75), fringe_side=rng.uniform(-0.8, 0.8))
  elif style == 'back':
    h.update(top=rng.uniform(0.03, 0.08), side=rng.uniform(0.015, 0.04), edge=rng.uniform(0, 0.12), sweep=0.0)
  elif style == 'short':
    h.update(
      top=rng.uniform(0.10, 0.24),
      side=rng.uniform(0.03, 0.10),
      edge=rng.uniform(0.05, 0.4),
      frizz=rng.uniform(0.2, 0.7),
    )
    if rng.random() < 0.55:
      h.update(fringe=rng.uniform(0.15, 0.6), fringe_side=rng.uniform(-1.0, 1.0))
  elif style == 'quiff':
    h.update(
      top=rng.uniform(0.16, 0.32), side=rng.uniform(0.02, 0.06), edge=rng.uniform(0.5, 1.0), frizz=rng.uniform(0.1, 0.5)
    )
  elif style == 'crop':
    h.update(top=rng.uniform(0.03, 0.09), side=rng.uniform(0.012, 0.035), edge=rng.uniform(0, 0.3))
  elif style == 'afro':
    size = rng.uniform(0.12, 0.55)
    h.update(
      top=size,
      side=size * rng.uniform(0.6, 1.0),
      edge=rng.uniform(0.5, 0.9),
      curl=rng.uniform(0.2, 0.5),
      frizz=rng.uniform(0.4, 0.9),
      gloss=0.1,
      wave=2.0,
    )
  else:
    h['cap'] = 0.0
  if h['bald']:
    h.update(top=0.02, side=min(h['side'], 0.05), edge=0.0, fringe=0.0, recede=min(h['recede'], 0.3), frizz=0.1)
  h['red'], h['green'], h['blue'] = colour
  if style == 'bald':
    h['frizz'] = -1.0  # Marks a shaved head for `_draw_albedo`; without a cap nothing reads it.
  return np.array([h[n] for n in HAIR_NAMES], np.float32), colour


def _draw_albedo(model, rng, female, old, tone, races, hair, colour):
  h = dict(zip(HAIR_NAMES, hair, strict=True))
  skin = -1.78 - 0.78 * tone  # Log albedo of the skin in green.
  strand = np.log(colour[1])
  contrast = max(skin - strand, 0.15)
  light = float(np.clip((0.6 - tone) / 1.6, 0, 1))
  n = rng.normal
  c = {
    'tone': tone,
    'blood': n() * 0.5 + 0.35 * light,
    'olive': n() * 0.5 + 0.6 * races[1] - 0.35 * light,
    'cheeks': (0.25 + abs(n()) * 0.5) * (0.4 + light),
    'nose': (0.3 + abs(n()) * 0.5) * (0.3 + light),
    'sockets': 0.35 + abs(n()) * 0.5 + 0.5 * old,
    'lids': abs(n()) * 0.5 + female * (rng.random() < 0.4) * 1.0,
    'lip_red': 0.85 * (0.45 + 0.55 * light) + n() * 0.22 + female * (0.1 + 0.6 * (rng.random() < 0.25)),
    'lip_dark': 0.3 + n() * 0.2 + 0.2 * (1 - light),
    'lash': np.clip((skin + 4.5) * 0.62, 0.4, 2.4) * (1.0 + 0.35 * female) * rng.uniform(0.6, 1.1),
    'hair_shadow': 0.5 * h['cap'] * (1 - h['bald']),
    'sclera': abs(n()) * 0.5 + 0.6 * old,
    'teeth_yellow': n() * 0.5 + 0.6 * old,
    'gloss': np.exp(n() * 0.35),
    'bump': rng.uniform(0.15, 0.4) + 0.35 * old,
    'freckles': max(n() - 0.6, 0) * 1.4 * light,
    'moles_a': (rng.random() < 0.25) * rng.uniform(0.2, 0.8),
    'moles_b': (rng.random() < 0.25) * rng.uniform(0.2, 0.8),
    'wrinkles': max(old * 1.7 - 0.1 + n() * 0.15, 0),
    'age_spots': max(old - 0.3, 0) * abs(n()) * 2,
  }
  c.update({f'mottle_{i}': n() * (0.10, 0.22, 0.4, 0.5)[i % 4] * (0.6 + 0.6 * old) for i in range(8)})
  eye = rng.random()
  blue = float(np.clip(0.75 - (tone + 0.9) * 0.8, 0, 0.75)) * (1 - races[1]) * (1 - races[0])
  if eye < blue * 0.6:
    c['iris_light'], c['iris_blue'] = 1.1 + n() * 0.25, 1.1 + n() * 0.3
  elif eye < blue:
    c['iris_light'], c['iris_blue'] = 0.8 + n() * 0.25, 0.4 + n() * 0.2
  else:
    c['iris_light'], c['iris_blue'] = 0.15 + n() * 0.3, abs(n()) * 0.1
  style = rng.integers(5) if not female else rng.choice([1, 0, 3])
  c[f'brow_{style}'] = contrast * rng.uniform(0.5, 0.85) + 0.15
  c[f'brow_{rng.integers(5)}'] = c.get(f'brow_{style}', 0) * 0.3 if rng.random() < 0.3 else c.get(f'brow_{style}', 0)
  for i in range(5):
    if i != style and c.get(f'brow_{i}', 0) > contrast * 0.4:
      c[f'brow_{i}'] = 0.0
  if h['cap']:
    c['scalp'] = contrast * (0.75 - 0.4 * h['bald'])
  else:
    c['scalp'] = contrast * (rng.uniform(0.3, 0.6) if h['frizz'] >= 0 else rng.uniform(0.0, 0.15))
  if h['bald']:
    c['scalp'] = contrast * 0.1
  if not female:
    beard = rng.random()
    c['shadow'] = rng.uniform(0.1, 0.9) * min(contrast, 2) * 0.4
    c['stubble'] = rng.uniform(0.05, 0.5) * contrast * 0.5
    if beard < 0.14:
      c['beard'] = c['moustache'] = contrast * rng.uniform(0.5, 0.9)
    elif beard < 0.24:
      c['goatee'] = c['moustache'] = contrast * rng.uniform(0.4, 0.85)
    elif beard < 0.28:
      c['moustache'] = contrast * rng.uniform(0.5, 0.9)
    elif beard < 0.48:
      c['stubble'] += contrast * rng.uniform(0.15, 0.4)
  c['clothes'], c['clothes_red'], c['clothes_blue'] = n() * 0.9, n() * 0.7, n() * 0.7
  unknown = set(c) - set(model.albedo_names)
  if unknown:
    raise ValueError(f'the face model has no layers {sorted(unknown)}')
  return np.array([c.get(k, 0.0) for k in model.albedo_names], np.float32)


def draw_background(seed: int, size: int = 24) -> np.ndarray:
  """A blurred room or wall: [size, size, 3] display values in [0, 1]; a pure function of the seed."""
  rng = _generator(seed, 2)
  y, x = np.mgrid[-1 : 1 : size * 1j, -1 : 1 : size * 1j]
  base = np.clip(rng.uniform(0.12, 0.9) + rng.normal(size=3) * 0.06, 0.03, 0.97)
  image = np.broadcast_to(base, (size, size, 3)).copy()
  angle = rng.uniform(0, 2 * np.pi)
  image *= (1 + 0.3 * rng.normal() * (x * np.cos(angle) + y * np.sin(angle)))[..., None]
  image *= (1 - 0.15 * abs(rng.normal()) * (x**2 + y**2))[..., None]
  if rng.random() < 0.55:
    for _ in range(rng.integers(2, 9)):
      cx, cy, sx, sy = *rng.uniform(-1.2, 1.2, 2), *rng.uniform(0.1, 0.6, 2)
      blob = np.clip(1.5 - (np.abs(x - cx) / sx) ** 3 - (np.abs(y - cy) / sy) ** 3, 0, 1)
      tint = np.clip(base * np.exp(rng.normal() * 0.5) + rng.normal(size=3) * 0.12, 0, 1)
      image += (tint - image) * blob[..., None] * rng.uniform(0.3, 0.9)
  return np.clip(image, 0, 1).astype(np.float32)


LIGHTS = ('front', 'left', 'right', 'top', 'soft', 'window')


def draw_light(seeds: list[int], kind: list[str] | None = None) -> Light:
  """Light for B pictures, pure functions of their seeds: of `LIGHTS`, each with its own direction and colour."""
  rows = [_one_light(_generator(s, 3), kind[i] if kind else None) for i, s in enumerate(seeds)]
  return Light(*(tf.constant(np.stack(x).astype(np.float32)) for x in zip(*rows, strict=True)))


def _one_light(rng, kind):
  kind = kind or LIGHTS[rng.integers(len(LIGHTS))]
  azimuth, height, key, fill = {
    'front': (0.0, 0.55, 0.72, 0.50),
    'left': (-0.95, 0.4, 0.85, 0.42),
    'right': (0.95, 0.4, 0.85, 0.42),
    'top': (0.2, 0.95, 0.80, 0.46),
    'soft': (0.3, 0.6, 0.35, 0.82),
    'window': (-0.6, 0.35, 0.95, 0.36),
  }[kind]
  azimuth, height = azimuth + rng.normal() * 0.2, height + rng.normal() * 0.12
  warmth = rng.normal() * 0.07
  tint = np.array([1 + warmth, 1.0, 1 - warmth])
  sky = np.array([1 - 0.5 * warmth, 1.0, 1 + 0.5 * warmth])
  level = np.exp(rng.normal() * 0.10)
  direction = np.array([np.sin(azimuth) * np.cos(height), np.sin(height), np.cos(azimuth) * np.cos(height)])
  rim_side = -np.sign(azimuth) or 1.0
  rim = np.array([rim_side * 0.9, 0.3, -0.25])
  rim_strength = rng.uniform(0, 0.5) * (rng.random() < 0.6)
  harmonics = np.zeros((9, 3))
  harmonics[0] = fill * level * sky * 3.545
  harmonics[1] = fill * level * sky * rng.uniform(0.4, 1.1)  # More from above.
  harmonics[2] = fill * level * sky * rng.uniform(0.2, 0.8)
  harmonics[3] = fill * level * sky * rng.normal() * 0.35
  return harmonics, np.stack([direction, rim]), np.stack([key * level * tint, rim_strength * level * tint])
