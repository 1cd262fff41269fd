"""The six acted expressions as weights of face units, and how they vary from person to person and picture to picture."""

import numpy as np

from models.face3d.morphable import MorphableModel


def _both(**units: float) -> dict[str, float]:
  return {f'{name}{side}': weight for name, weight in units.items() for side in ('Left', 'Right')}


# As people act them for the camera in Multi-PIE; the paper's names.
EXPRESSIONS: dict[str, dict[str, float]] = {
    'neutral': {},
    'smile': _both(mouthSmile=.9, cheekSquint=.6, eyeSquint=.30, mouthUpperUp=.55, mouthLowerDown=.30, mouthDimple=.2,
                   mouthStretch=.15) | {'jawOpen': .14},
    'surprise': _both(browOuterUp=1., eyeWide=1.) | {'browInnerUp': 1., 'jawOpen': .55, 'mouthFunnel': .35},
    'squint': _both(eyeSquint=1., eyeBlink=.22, cheekSquint=.8, browDown=.8, noseSneer=.25, mouthStretch=.35, mouthUpperUp=.15)
              | {'mouthPressLeft': .2, 'mouthPressRight': .2},
    'disgust': _both(noseSneer=1., mouthUpperUp=.75, browDown=.75, eyeSquint=.55, cheekSquint=.6, mouthFrown=.75)
               | {'mouthShrugLower': .5, 'mouthShrugUpper': .35},
    'scream': _both(mouthStretch=.7, mouthLowerDown=.7, mouthUpperUp=.45, eyeSquint=.75, eyeBlink=.4, browDown=.7,
                    noseSneer=.5, cheekSquint=.6) | {'jawOpen': 1.05},
}


def act(model: MorphableModel, name: str, rng: np.random.Generator, intensity: float | None = None) -> np.ndarray:
  """One acted expression as coefficients `[E]`: intensity, left-right asymmetry and small involuntary motions vary.

  Args:
    model: the face model; units that it lacks are left out.
    name: of `EXPRESSIONS`.
    rng: numpy generator.
    intensity: in [0, 1]; drawn from [.4, 1] where None.
  """
  strength = rng.uniform(.4, 1.) if intensity is None else intensity
  lean = rng.normal() * .12  # Positive: the left half of the face acts more.
  weights = {}
  for unit, weight in EXPRESSIONS[name].items():
    side = lean if unit.endswith('Left') else -lean if unit.endswith('Right') else 0.
    weights[unit] = weight * strength * (1 + np.clip(side, -.3, .3)) * (1 + .10 * rng.normal())
  for unit, most in (('eyeBlink', .12), ('browOuterUp', .10), ('mouthSmile', .05), ('browDown', .08)):
    value = abs(rng.normal()) * most * .5
    for side in ('Left', 'Right'):
      weights[unit + side] = weights.get(unit + side, 0.) + value
  gaze = rng.normal(size=2) * .10
  for side, inward in (('Left', -1), ('Right', 1)):
    weights['eyeLookIn' + side], weights['eyeLookOut' + side] = max(gaze[0] * inward, 0), max(-gaze[0] * inward, 0)
    weights['eyeLookUp' + side], weights['eyeLookDown' + side] = max(gaze[1], 0), max(-gaze[1], 0)
  known = set(model.expression_names)
  return model.expression({k: float(np.clip(v, 0, 1.2)) for k, v in weights.items() if k in known})
