"""The six acted expressions as weights of face units, and how they vary from picture to picture."""

import numpy as np

from models.face3d.morphable import MorphableModel


def _both(**units: float) -> dict[str, float]:
  return {f'{name}{side}': weight for name, weight in units.items() for side in ('Left', 'Right')}


# As people act them for the camera in Multi-PIE; the paper's names.
EXPRESSIONS: dict[str, dict[str, float]] = {
  'neutral': {},
  'smile': _both(
    mouthSmile=1.0,
    cheekSquint=0.6,
    eyeSquint=0.25,
    mouthUpperUp=0.55,
    mouthLowerDown=0.30,
    mouthDimple=0.25,
    mouthStretch=0.30,
  )
  | {'jawOpen': 0.22},
  'surprise': _both(browOuterUp=1.0, eyeWide=1.0) | {'browInnerUp': 1.0, 'jawOpen': 0.55, 'mouthFunnel': 0.35},
  'squint': _both(
    eyeSquint=1.0,
    eyeBlink=0.16,
    cheekSquint=1.0,
    browDown=0.85,
    noseSneer=0.15,
    mouthStretch=0.60,
    mouthDimple=0.3,
    mouthPress=0.3,
  ),
  'disgust': _both(noseSneer=1.0, mouthUpperUp=0.85, browDown=0.65, eyeSquint=0.45, cheekSquint=0.5, mouthFrown=0.85)
  | {'mouthShrugLower': 0.6, 'mouthShrugUpper': 0.35, 'jawOpen': 0.06},
  'scream': _both(
    mouthStretch=0.7,
    mouthLowerDown=0.7,
    mouthUpperUp=0.45,
    eyeSquint=0.75,
    eyeBlink=0.4,
    browDown=0.7,
    noseSneer=0.5,
    cheekSquint=0.6,
  )
  | {'jawOpen': 1.05},
}


def act(model: MorphableModel, name: str, rng: np.random.Generator, intensity: float | None = None) -> np.ndarray:
  """One acted expression as coefficients `[E]`: intensity, left-right asymmetry and small involuntary motions vary.

  Args:
    model: the face model; units that it lacks are left out.
    name: of `EXPRESSIONS`.
    rng: numpy generator.
    intensity: in [0, 1]; drawn from [.4, 1] where None.
  """
  strength = rng.uniform(0.4, 1.0) if intensity is None else intensity
  lean = rng.normal() * 0.12  # Positive: the left half of the face acts more.
  weights = {}
  for unit, weight in EXPRESSIONS[name].items():
    side = lean if unit.endswith('Left') else -lean if unit.endswith('Right') else 0.0
    weights[unit] = weight * strength * (1 + np.clip(side, -0.3, 0.3)) * (1 + 0.04 * rng.normal())
  for unit, most in (('eyeBlink', 0.12), ('browOuterUp', 0.10), ('mouthSmile', 0.05), ('browDown', 0.08)):
    value = abs(rng.normal()) * most * 0.5
    for side in ('Left', 'Right'):
      weights[unit + side] = weights.get(unit + side, 0.0) + value
  gaze = rng.normal(size=2) * 0.10
  for side, inward in (('Left', -1), ('Right', 1)):
    weights['eyeLookIn' + side], weights['eyeLookOut' + side] = max(gaze[0] * inward, 0), max(-gaze[0] * inward, 0)
    weights['eyeLookUp' + side], weights['eyeLookDown' + side] = max(gaze[1], 0), max(-gaze[1], 0)
  known = set(model.expression_names)
  return model.expression({k: float(np.clip(v, 0, 1.2)) for k, v in weights.items() if k in known})
