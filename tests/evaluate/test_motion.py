import csv
from pathlib import Path

import numpy as np
import pytest

from evaluate import motion
from input_pipeline import alignment
from models import face3d
from models.face3d.render import make_camera, place, project

DATA = Path(__file__).parents[3] / 'shared' / 'data'
needs_photos = pytest.mark.skipif(not DATA.is_dir(), reason='the photographs of ../shared/data are not here')


def rendered(expression, count=8):
  """[count, 68, 2] exact landmarks in pixels of people seen from the front, always the same people."""
  model = face3d.load_face_model()
  people = np.stack([face3d.draw_person(model, seed).identity for seed in range(count)])
  rng = np.random.default_rng(0)
  acted = np.stack([face3d.act(model, expression, rng, intensity=1.0) for _ in range(count)])
  points = place(model.landmark_points(model.vertices(people, acted)), face3d.frame(np.zeros([count, 3])))
  return project(points, make_camera(count), 256, 256).numpy()[..., :2].astype(np.float64)


def photographed(expression):
  """[10, 68, 2] of the Yale people, who hardly move their heads."""
  with open(DATA / 'landmarks68.csv') as file:
    rows = {row[0]: row[1:137] for row in csv.reader(file)}
  names = [f'noncommercial/yale/s{i:02d}_{expression}.jpg' for i in range(1, 11)]
  return np.array([rows[name] for name in names], np.float64).reshape(-1, 68, 2)


def shapes(points):
  return np.stack([motion.shape(p) for p in points])


def unit(points):
  return np.linalg.norm(points[:, 45] - points[:, 36], axis=-1)


def turned(points, angle=0.3, scale=1.7):
  c, s = scale * np.cos(angle), scale * np.sin(angle)
  return points @ np.array([[c, s], [-s, c]]) + [40, -25]


def test_the_neutral_face_is_found_below_an_expression():
  true = shapes(rendered('neutral'))
  for expression in ('smile', 'scream', 'surprise', 'disgust'):
    acted = shapes(rendered(expression))
    before, after = (np.abs(s - true)[:, 48:].mean() for s in (acted, motion.neutral(acted)))
    assert after < 0.7 * before, expression


def test_a_motion_is_added_in_the_sources_own_frame():
  neutral, smile = rendered('neutral', 2), rendered('smile', 2)
  source, driver = neutral[0], motion.shape(smile[1])
  same = motion.shape(source)
  np.testing.assert_allclose(motion.follow(source, same[None], motion.neutral(same))[0], source, atol=1e-6)
  plain = motion.follow(source, driver[None], motion.neutral(driver))[0]
  moved = motion.follow(turned(source), motion.shape(turned(smile[1], -0.2, 0.4))[None], motion.neutral(driver))[0]
  np.testing.assert_allclose(moved, turned(plain), atol=1e-6)
  before, after = (np.linalg.norm(p - smile[0], axis=-1)[48:].mean() for p in (source, plain))
  assert after < 0.7 * before


def placed(source, target, matrix):
  """Where the target's crop, put back by `matrix`, shows its chin and lower lip."""
  crop = alignment.transform_points(target, alignment.align(target, 'paper', 0.8, 64))
  return alignment.transform_points(crop, alignment.invert(matrix))[[8, 57]]


@pytest.mark.parametrize('expression', ['scream', 'surprise', 'smile'])
def test_chin_and_lip_of_rendered_people_land_where_they_are(expression):
  sources, targets = rendered('neutral'), rendered(expression)
  for source, target, width in zip(sources, targets, unit(sources), strict=True):
    moved = motion.move_lip(source, motion.shape(turned(target))[None])[0]
    found = placed(source, target, alignment.align(moved, 'paper', 0.8, 64))
    # Nobody moves the head, so the truth needs no alignment.
    assert np.linalg.norm(found - target[[8, 57]], axis=-1).max() < 0.05 * width


@needs_photos
def test_chin_and_lip_of_photographed_people_land_where_they_are():
  sources, targets = photographed('normal'), photographed('surprised')
  errors, ignored = [], []
  for source, target, width in zip(sources, targets, unit(sources), strict=True):
    truth = motion.place(motion.shape(target), source)[[8, 57]]
    for list_, points in (
      (errors, motion.move_lip(source, motion.shape(target)[None])[0]),
      (ignored, source),
    ):
      found = placed(source, target, alignment.align(points, 'paper', 0.8, 64))
      list_.append(np.linalg.norm(found - truth, axis=-1) / width)
  assert np.max(errors) < 0.05
  assert np.mean(ignored) > 0.15  # With the source's own lip they do not.


def test_smoothing_fills_gaps_and_takes_jitter_away():
  time = np.arange(40)
  clean = np.zeros([40, 68, 2])
  clean[:, 57, 1] = 0.1 * np.sin(time / 4)
  noisy = clean + np.random.default_rng(0).normal(size=clean.shape) * 0.01
  noisy[10:12] = np.nan
  noisy[-1] = np.nan
  smoothed = motion.smooth(noisy, 25)
  assert np.isfinite(smoothed).all()
  assert np.abs(np.diff(smoothed[:, 0], axis=0)).mean() < 0.5 * np.nanmean(np.abs(np.diff(noisy[:, 0], axis=0)))
  assert np.ptp(smoothed[:, 57, 1]) > 0.19
  np.testing.assert_array_equal(motion.smooth(clean[:3], 25), clean[:3])  # Too short to smooth.
