"""What fits expect of coefficients before they see a photograph."""

import functools

import numpy as np

from models.face3d.morphable import MorphableModel
from models.face3d.people import draw_person

# Standard deviation of expression units that run from 0 to 1: what faces do in photographs, other units, and units that
# 68 landmarks mistake for others.
_USUAL, _UNIT, _RARE = 0.4, 0.2, 0.08
_ONE_SIDED = 0.08  # of the left unit minus the right one: faces move both sides alike
_USUAL_UNITS = ('jawOpen', 'mouthSmile', 'browInnerUp', 'browDown', 'browOuterUp', 'eyeBlink', 'eyeSquint', 'eyeWide')
_RARE_UNITS = ('tongueOut', 'cheekPuff', 'mouthClose', 'jawForward', 'eyeLook', 'mouthFunnel', 'jawLeft', 'jawRight')
# Units that move to one side by their nature.
_TO_A_SIDE = ('jaw', 'mouthLeft', 'eyeLook')


def expression_prior(model: MorphableModel) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """Least and greatest values of the expression coefficients `[E]`, and their standard deviations about 0.

  Units such as ARKit's run from 0 to 1; the modes of a statistical basis are unit normal.
  """
  names = model.expression_names
  if all(name.startswith('expression_') for name in names):
    deviations, low, high = np.ones(len(names)), -3.0, 3.0
  else:
    kinds = ((_USUAL_UNITS, _USUAL), (_RARE_UNITS, _RARE))
    deviations = np.array([next((d for units, d in kinds if n.startswith(units)), _UNIT) for n in names])
    low, high = 0.0, 1.0
  ones = np.ones(len(names), np.float32)
  return low * ones, high * ones, deviations.astype(np.float32)


@functools.lru_cache(maxsize=4)
def albedo_prior(model: MorphableModel) -> tuple[np.ndarray, np.ndarray]:
  """Mean and standard deviation of the albedo's coefficients `[A]`.

  Unit normal for a learnt basis; the painted layers of the default model have the distribution of drawn people.
  """
  count = len(model.albedo_names)
  if not model.log_albedo:
    return np.zeros(count, np.float32), np.ones(count, np.float32)
  drawn = np.stack([draw_person(model, seed).albedo for seed in range(200)])
  return drawn.mean(0), np.maximum(drawn.std(0), 0.02)


def symmetry_precision(names: tuple[str, ...]) -> np.ndarray:
  """Precision `[E, E]` of left minus right of the units that come in pairs."""
  precision = np.zeros([len(names), len(names)], np.float32)
  for left, name in enumerate(names):
    right = name.removesuffix('Left') + 'Right'
    if name.endswith('Left') and right in names and not name.startswith(_TO_A_SIDE):
      pair = [left, names.index(right)]
      precision[np.ix_(pair, pair)] += np.array([[1, -1], [-1, 1]]) / _ONE_SIDED**2
  return precision
