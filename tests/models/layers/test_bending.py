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


def scattered(draw, most):
  """68 points apart from each other, and goals that are up to so far away; the inner points of the lips move alike."""
  grid = np.stack(np.meshgrid(np.linspace(-0.7, 0.7, 9), np.linspace(-0.7, 0.7, 8)), axis=-1).reshape(-1, 2)
  points = draw.permutation(grid)[:68] + draw.uniform(-0.02, 0.02, [68, 2])
  moves = draw.uniform(-most, most, [68, 2])
  moves[60:68] = moves[60]
  return points[None], points[None] + moves


def mouth(face, gap):
  """A face of which the lips are so far apart."""
  face = face.copy()
  for rows, across, down in ((range(48, 60), 0.3, 0.12 + gap / 2), (range(60, 68), 0.2, gap / 2)):
    angles = np.pi + 2 * np.pi * np.arange(len(rows)) / len(rows)  # From the left corner over the upper lip.
    face[0, rows] = np.stack([across * np.cos(angles), 0.4 + down * np.sin(angles)], axis=-1)
  return face


def test_points_come_to_lie_at_their_goals_and_the_frame_stays():
  points, goals = scattered(np.random.default_rng(0), 0.03)
  picture = bend(ramps(1), tf.constant(points), tf.constant(goals)).numpy()[0]
  # Each channel is nearly linear between pixels, so it can be read at a goal.
  pixels = (goals[0] + 1) * SIZE / 2 - 0.5
  seen = np.stack([map_coordinates(picture[..., i], pixels.T[::-1], order=1) for i in (0, 1)], axis=-1)
  np.testing.assert_allclose(seen, points[0], atol=0.02)
  np.testing.assert_allclose(picture[[0, -1]], ramps(1)[0, :: SIZE - 1], atol=0.02)
  np.testing.assert_allclose(bend(ramps(1), points, points), ramps(1), atol=1e-5)


def test_the_flow_is_scipys_spline():
  points, goals = scattered(np.random.default_rng(1), 0.05)
  line = np.linspace(-1, 1, 9)
  frame = np.unique([(x, y) for x in line for y in line if 1 in (abs(x), abs(y))], axis=0)
  known = np.concatenate([goals[0], frame])
  pull = np.concatenate([(points - goals)[0], np.zeros_like(frame)])
  spline = RBFInterpolator(5 * known, pull, kernel='thin_plate_spline', smoothing=1e-2)
  expected = spline(5 * places(SIZE).reshape(-1, 2)).reshape(SIZE, SIZE, 2)
  # A flow has 2 from the middle of the first pixel to that of the last one.
  np.testing.assert_allclose(bend_flow(points, goals, SIZE)[0] * (SIZE - 1) / SIZE, expected, atol=5e-3)


def test_lips_that_close_leave_no_teeth_between_them():
  face = np.random.default_rng(2).uniform(-0.7, -0.1, [1, 68, 2])
  seen = bend(ramps(1), mouth(face, 0.24), mouth(face, 0)).numpy()[0, :, SIZE // 2, 1]
  rows = places(SIZE)[:, 0, 1]
  above, below = seen[rows < 0.4], seen[rows > 0.4]
  assert above[-1] < 0.4 - 0.11 and below[0] > 0.4 + 0.11  # What is seen was above the upper lip's rim, or below.
  half = bend(ramps(1), mouth(face, 0.24), mouth(face, 0.12)).numpy()[0, :, SIZE // 2, 1]
  # What is left between them moves with the lip that is nearer.
  np.testing.assert_allclose(half[rows < 0.4][-1], rows[rows < 0.4][-1] - 0.06, atol=0.015)
  np.testing.assert_allclose(half[rows > 0.4][0], rows[rows > 0.4][0] + 0.06, atol=0.015)


def test_between_lips_that_open_nothing_is_known():
  face = np.random.default_rng(2).uniform(-0.7, -0.1, [1, 68, 2])
  face, open_mouth = mouth(face, 0), mouth(face, 0.4)
  flow, known = FaceBend(SIZE)([face, open_mouth])
  np.testing.assert_allclose(flow, bend_flow(face, open_mouth, SIZE), atol=1e-6)
  opened = known.numpy()[0, ..., 0]
  row, column = int((0.4 + 1) * SIZE / 2), SIZE // 2
  assert opened[row, column] == 0 and 0 < (opened == 0).sum() < 0.1 * SIZE**2
  assert opened[: SIZE // 2].all()
  for other in ((open_mouth, face), (face, face), (open_mouth, open_mouth)):  # What closes, or stays, is known.
    assert FaceBend(SIZE)(list(other))[1].numpy().all()
