"""A driver's motion in the shape of another face: landmarks in, landmarks out.

`shape()` brings a face into the frame of the face model (its mean seen from the front), which takes away size, place
and tilt. There a face is taken to be mean + identity + expression + noise, all normal, with the covariances of the face
model's bases: `neutral()` is the expected shape of the same person without expression. It was fitted to no photograph.
What a driver does is the difference to its own neutral shape; added to the source's it gives the source's landmarks
with the driver's expression. On 71 people of the London set, from another person's picture, this lay .051 (neutral to
smile) and .037 (smile to neutral) inter-ocular units off the mouth's true landmarks; the driver's own ones .074 and
.065, their difference to a mean face .060 and .066, not moving at all .050.
"""

import functools

import numpy as np
from scipy.signal import savgol_filter

from models.face3d import load_face_model

# Outer and inner eye corners and the bridge of the nose: what no expression moves.
STABLE = (36, 39, 42, 45, 27, 28, 29, 30)
# Prior of the face model: how far a unit of expression is on, the head's turn (radians), dlib's noise (inter-ocular).
_UNIT, _TURN, _NOISE = 0.3, 0.08, 0.02
# What the smoothing parabola spans, in seconds and at least in frames: lips and eyelids are quick, the rest is not.
_WINDOWS = ((slice(48, 68), 0.2), (slice(36, 48), 0.28), (slice(0, 36), 0.36))
_WINDOW_LEAST = 5


def similarity(source: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """Scale and turn [2, 2], shift [2] that bring the stable points of `source` [68, 2] closest to those of `target`."""
  z, w = source[list(STABLE)] @ [1, 1j], target[list(STABLE)] @ [1, 1j]
  a = np.vdot(z - z.mean(), w - w.mean()) / np.vdot(z - z.mean(), z - z.mean()).real
  b = w.mean() - a * z.mean()
  return np.array([[a.real, -a.imag], [a.imag, a.real]]), np.array([b.real, b.imag])


def shape(points: np.ndarray) -> np.ndarray:
  """Landmarks [68, 2] in the face model's frame, in units of its distance of the outer eye corners."""
  linear, shift = similarity(points, _mean_shape())
  return points @ linear.T + shift


def _front(vertices: np.ndarray) -> np.ndarray:
  return vertices[..., :2] * [1, -1]


@functools.cache
def _landmarks() -> tuple[np.ndarray, np.ndarray, np.ndarray, tuple[str, ...]]:
  model = load_face_model()
  chosen = model.landmarks.numpy()
  bases = (model.mean, model.identity_basis, model.expression_basis)
  mean, identity, expression = (b.numpy()[..., chosen, :].astype(np.float64) for b in bases)
  unit = np.linalg.norm(mean[45] - mean[36])
  return mean / unit, identity / unit, expression / unit, model.expression_names


@functools.cache
def _mean_shape() -> np.ndarray:
  return _front(_landmarks()[0])


@functools.cache
def _neutral_map() -> np.ndarray:
  """[136, 136]: deviation of a shape from the mean -> that of the neutral shape."""
  mean, identity, expression, names = _landmarks()

  def modes(displacements):
    return np.stack([(shape(_front(mean + d)) - _mean_shape()).ravel() for d in displacements])

  # Units of both sides mostly go together.
  pairs = [(i, names.index(n[:-4] + 'Right')) for i, n in enumerate(names) if n.endswith('Left')]
  units = _UNIT * modes([*expression, *(expression[i] + expression[j] for i, j in pairs)])
  zero = np.zeros(len(mean))
  nod = np.stack([zero, -mean[:, 2], mean[:, 1]], axis=1)
  turn = np.stack([mean[:, 2], zero, -mean[:, 0]], axis=1)
  people = np.concatenate([modes(identity), modes([_TURN * nod, _TURN * turn])])
  kept = people.T @ people
  return np.linalg.solve(kept + units.T @ units + _NOISE**2 * np.eye(2 * len(mean)), kept)


def neutral(shapes: np.ndarray) -> np.ndarray:
  """The expected shapes without expression of shapes [..., 68, 2]."""
  deviation = (shapes - _mean_shape()).reshape(*shapes.shape[:-2], -1)
  return _mean_shape() + (deviation @ _neutral_map()).reshape(shapes.shape)


def smooth(shapes: np.ndarray, fps: float) -> np.ndarray:
  """Shapes [F, 68, 2] of a video without dlib's jitter: a local parabola over time, which leaves fast lips their peaks.

  Args:
    shapes: one shape a frame; NaN where no face was found: filled in between the neighbours in time.
    fps: frames per second.
  """
  flat = shapes.reshape(len(shapes), -1)
  seen = np.flatnonzero(np.isfinite(flat).all(axis=1))
  frames = np.arange(len(flat))
  filled = np.stack([np.interp(frames, seen, column) for column in flat[seen].T], axis=1)
  smoothed = filled.reshape(shapes.shape)
  for part, span in _WINDOWS:
    window = max(_WINDOW_LEAST, 2 * round((span * fps - 1) / 2) + 1)
    if len(flat) >= window:
      smoothed[:, part] = savgol_filter(smoothed[:, part], window, 2, axis=0)
  return smoothed


def place(shapes: np.ndarray, points: np.ndarray) -> np.ndarray:
  """Shapes [..., 68, 2] in the picture of the face `points` [68, 2]: the inverse of `shape(points)`."""
  linear, shift = similarity(points, _mean_shape())
  return (shapes - shift) @ np.linalg.inv(linear).T


def follow(points: np.ndarray, shapes: np.ndarray, own: np.ndarray) -> np.ndarray:
  """The source's landmarks with the driver's expressions.

  Args:
    points: [68, 2] of the source, pixels.
    shapes: [F, 68, 2] of the driver.
    own: the driver's neutral shape, [68, 2] or [F, 68, 2].
  Returns:
    [F, 68, 2] pixels of the source's picture.
  """
  return place(neutral(shape(points)) + shapes - own, points)


def move_lip(points: np.ndarray, shapes: np.ndarray) -> np.ndarray:
  """The source's landmarks with the lower lip (57) where the driver has it.

  The paper's crop pins the inner eye corners and the lower lip, so an opened mouth squashes the face, and a crop has to
  be undone with the three points of the face that it shows: the source's eyes, and the lip as far below them as the
  driver's. (The height of the driver's mouth, 51 to 57, is no measure: a smile lifts the upper lip.)

  Args:
    points: [68, 2] of the source, pixels.
    shapes: [F, 68, 2] of the driver.
  Returns:
    [F, 68, 2] pixels.
  """
  moved = np.repeat(points[None], len(shapes), axis=0)
  moved[:, 57] = place(shapes, points)[:, 57]
  return moved
