"""Fits of pictures that we rendered ourselves: what was put in comes out; plain renders of parameters."""

import functools

import numpy as np
import pytest

from models.face3d.albedo import principal_colours
from models.face3d.face_mesh import CONTOUR, FIELD_OF_VIEW, ambient, face_mesh, render_parameters
from models.face3d.fitting import Fitter, Schedule
from models.face3d.morphable import load_face_model
from models.face3d.priors import albedo_prior

SIZE = 64


@functools.cache
def drawn():
  """Parameters of two faces, the second turned far, and their picture, mask and landmarks."""
  model = load_face_model()
  random = np.random.default_rng(3)
  light = ambient(2, 0.8)
  light[:, 1:4] += random.normal(size=[2, 3, 1]) * 0.5
  parameters = {
    'identity': np.float32(random.normal(size=[2, len(model.identity_basis.numpy())]) * 0.7),
    'expression': np.stack([model.expression({'jawOpen': 0.4}), model.expression({'browInnerUp': 0.6})]),
    'albedo': np.tile(albedo_prior(model)[0], [2, 1]),
    'pose': np.float32([[0.1, -0.15, 0.05], [0.0, 0.6, -0.1]]),
    'translation': np.float32([[0.02, 0.25, -7.5], [0.0, 0.2, -7.0]]),
    'light': light,
  }
  return model, parameters, [value.numpy() for value in render_parameters(model, parameters, SIZE)]


def test_pictures_are_black_where_there_is_no_face_and_nowhere_else():
  _, _, (image, mask, landmarks) = drawn()
  assert set(np.unique(mask)) == {0, 1} and 0.2 < mask.mean() < 0.9
  assert (image[mask[..., 0] == 0] == -1).all()
  assert (image.max(-1)[mask[..., 0] == 1] > -1).mean() > 0.999
  assert np.abs(landmarks).max() < 1.2


def test_contour_landmarks_slide_to_the_outline_of_a_turned_head():
  model, _, (_, mask, landmarks) = drawn()
  mesh = face_mesh(model)
  assert mesh.candidates.shape[0] == len(CONTOUR)
  pixels = (landmarks[1] + 1) * SIZE / 2
  for number in (1, 2, 3, 4) if landmarks[1, 0, 0] > -0.6 else (12, 13, 14, 15):
    row = mask[1, int(np.clip(pixels[number, 1], 0, SIZE - 1)), :, 0]
    edge = np.flatnonzero(row)[[0, -1]]
    assert np.abs(edge + [0, 1] - pixels[number, 0]).min() < 4, (number, pixels[number], edge)


def test_another_box_shows_the_same_scene():
  model, parameters, (_, mask, landmarks) = drawn()
  box = np.float32([[10, 20, 128]] * 2)
  other = np.float32([[10 + 32, 20 + 32, 64]] * 2)  # the middle, twice as large
  _, near, marks = (value.numpy() for value in render_parameters(model, parameters | {'box': box}, SIZE, box=other))
  np.testing.assert_allclose(marks, landmarks * 2, atol=2e-3)
  middle = mask[:, 16:48, 16:48].repeat(2, 1).repeat(2, 2)
  assert (near == middle).mean() > 0.97


def test_a_fit_finds_pose_landmarks_and_colours_again():
  model, parameters, (image, mask, landmarks) = drawn()
  fitter = Fitter(model, 2, Schedule(photometric_steps=6, size=48))
  photo = np.where(mask > 0, image, 0.3)
  found = fitter(photo, landmarks)
  assert (found['landmarks_error'] < 0.02).all(), found['landmarks_error']
  np.testing.assert_allclose(found['pose'], parameters['pose'], atol=0.12)
  assert (found['photometric_error'] < 0.05).all(), found['photometric_error']
  assert 0 <= found['expression'].min() and found['expression'].max() <= 1
  assert found['expression'][0][model.expression_names.index('jawOpen')] > 0.15
  np.testing.assert_allclose(found['field_of_view'], FIELD_OF_VIEW)
  # A short batch gives the same rows.
  alone = fitter(photo[:1], landmarks[:1])
  for name in found:
    np.testing.assert_allclose(alone[name][0], found[name][0], atol=1e-4, err_msg=name)
  with pytest.raises(ValueError, match=r'expected \[1 to 2, S, S, 3\]'):
    fitter(np.zeros([3, 8, 8, 3]), np.zeros([3, 68, 2]))
  with pytest.raises(ValueError, match=r'expected \[2, 68, 2\]'):
    fitter(photo, landmarks[:, :5])


def test_hidden_colours_are_told_by_the_seen_ones():
  random = np.random.default_rng(0)
  mode = random.normal(size=[40, 3])
  true = 0.5 + random.normal(size=[30, 1, 1]) * 0.1 * mode
  trust = np.ones([30, 40])
  seen = true.copy()
  trust[::3, :10], seen[::3, :10] = 0, 9.0
  mean, basis = principal_colours(seen, trust, 1)
  assert basis.shape == (1, 40, 3)
  direction = np.abs((basis[0] * mode).sum()) / np.linalg.norm(basis[0]) / np.linalg.norm(mode)
  assert direction > 0.99 and np.abs(mean - true.mean(0)).max() < 0.05
