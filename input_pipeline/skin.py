"""A coarse label of skin tone, so that held-out people and results can be looked at by it."""

import math

import numpy as np

from input_pipeline import alignment

# The individual typology angle below which skin counts as dark: `tan 2`, brown and dark of Kinyanjui et al. (2020),
# "Fairness of classifiers across skin tones in dermatology". It is measured on the picture, so light and camera enter
# it.
DARK_BELOW = 19.0


def typology_angle(crop: np.ndarray, landmarks: np.ndarray) -> float:
  """The individual typology angle (ITA) of the cheeks: arctan((L* - 50) / b*) in degrees, about 70 (light) to -70
  (dark).

  Args:
    crop: [S, S, 3] uint8, sRGB.
    landmarks: [68, 2] in [-1, 1] of the crop.

  Returns:
    degrees; NaN for a grey picture, which says nothing about skin.
  """
  size = crop.shape[0]
  points = alignment.denormalize(landmarks, size)
  radius = max(1, round(0.04 * size))
  patches = []
  for nose, jaw in ((31, 2), (35, 14)):  # half-way between the nose's wing and the edge of the face
    x, y = np.round((points[nose] + points[jaw]) / 2).astype(int).clip(radius, size - 1 - radius)
    patches.append(crop[y - radius : y + radius + 1, x - radius : x + radius + 1].reshape(-1, 3))
  pixels = np.concatenate(patches)
  if np.ptp(pixels.astype(int), axis=1).max() <= 2:
    return math.nan
  lightness, _, yellow = np.median(to_lab(pixels / 255.0), axis=0)
  return math.degrees(math.atan2(lightness - 50, yellow))


def label(angle: float) -> str:
  """`dark`, `light`, or '' where the angle is unknown."""
  return '' if math.isnan(angle) else 'dark' if angle <= DARK_BELOW else 'light'


def to_lab(rgb: np.ndarray) -> np.ndarray:
  """sRGB in [0, 1] -> CIELAB (D65); [..., 3] both."""
  linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
  matrix = np.array(
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
  )
  x, y, z = np.moveaxis(linear @ matrix.T / [0.95047, 1.0, 1.08883], -1, 0)
  x, y, z = (np.where(t > 216 / 24389, np.cbrt(t), (24389 / 27 * t + 16) / 116) for t in (x, y, z))
  return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=-1)
