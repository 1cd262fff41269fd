"""Pictures bent by their landmarks, against SciPy's spline."""

import numpy as np
import tensorflow as tf
from scipy.interpolate import RBFInterpolator
from scipy.ndimage import map_coordinates

from models.layers.bending import FaceBend, bend, bend_flow

SIZE = 24


def places(size):
  """x and y of the pixels' middles, from edge to edge of the picture: [S, S, 2]."""
  line = (2 * np.arange(size) + 1) / size - 1
  return np.stack(np.meshgrid(line, line), axis=-1)


def ramps(count):
  """Pictures that show where one looks: x in the first channel and y in the second."""
  return tf.constant(np.repeat(places(SIZE)[None], count, axis=0), tf.float32)


def test_points_come_to_lie_at_their_goals_and_the_frame_stays():
  draw = np.random.default_rng(0)
  points = draw.uniform(-0.6, 0.6, [2, 9, 2])
  goals = points + draw.uniform(-0.04, 0.04, points.shape)
  bent = bend(ramps(2), tf.constant(points), tf.constant(goals)).numpy()
  for picture, start, goal in zip(bent, points, goals, strict=True):
    # Each channel is nearly linear between pixels, so it can be read at a goal.
    pixels = (goal + 1) * SIZE / 2 - 0.5
    seen = np.stack([map_coordinates(picture[..., i], pixels.T[::-1], order=1) for i in (0, 1)], axis=-1)
    np.testing.assert_allclose(seen, start, atol=0.02)
  np.testing.assert_allclose(bent[:, [0, -1]], ramps(2)[:, ::SIZE - 1], atol=0.02)
  np.testing.assert_allclose(bend(ramps(2), points, points), ramps(2), atol=1e-5)


def test_the_flow_is_scipys_spline():
  draw = np.random.default_rng(1)
  points = draw.uniform(-0.6, 0.6, [1, 12, 2])
  goals = points + draw.uniform(-0.1, 0.1, points.shape)
  line = np.linspace(-1, 1, 9)
  frame = np.unique([(x, y) for x in line for y in line if 1 in (abs(x), abs(y))], axis=0)
  known = np.concatenate([goals[0], frame])
  pull = np.concatenate([(points - goals)[0], np.zeros_like(frame)])
  spline = RBFInterpolator(5 * known, pull, kernel='thin_plate_spline', smoothing=1e-2)
  expected = spline(5 * places(SIZE).reshape(-1, 2)).reshape(SIZE, SIZE, 2)
  # A flow has 2 from the middle of the first pixel to that of the last one.
  np.testing.assert_allclose(bend_flow(points, goals, SIZE)[0] * (SIZE - 1) / SIZE, expected, atol=5e-3)


def test_between_lips_that_open_nothing_is_known():
  face = np.random.default_rng(2).uniform(-0.7, -0.1, [1, 68, 2])
  face[0, 48:68] = [(0.25 * np.cos(a), 0.4) for a in np.linspace(0, 2 * np.pi, 20, endpoint=False)]  # A closed mouth.
  open_mouth = face.copy()
  open_mouth[0, 48:68, 1] += [0.25 * np.sin(a) for a in np.linspace(0, 2 * np.pi, 20, endpoint=False)]
  flow, known = FaceBend(SIZE)([face, open_mouth])
  np.testing.assert_allclose(flow, bend_flow(face, open_mouth, SIZE), atol=1e-6)
  opened = known.numpy()[0, ..., 0]
  row, column = int((0.4 + 1) * SIZE / 2), SIZE // 2
  assert opened[row, column] == 0 and 0 < (opened == 0).sum() < 0.1 * SIZE**2
  assert opened[: SIZE // 2].all()
  for other in ((open_mouth, face), (face, face), (open_mouth, open_mouth)):  # What closes, or stays, is known.
    assert FaceBend(SIZE)(list(other))[1].numpy().all()
