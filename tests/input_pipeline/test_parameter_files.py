"""3DDFA's parameter files: the documented convention on made-up vertices and on AFLW2000-3D's own files."""

import pathlib

import numpy as np
import pytest
import scipy.io
import tensorflow as tf

from input_pipeline import pair_layouts, parameter_files
from models.face3d.morphable import load_face_model
from models.face3d.render import Camera, Pose, place, project

SAMPLES = pathlib.Path(__file__).parents[3] / 'shared' / 'data' / 'noncommercial' / 'aflw2000'


def as_3ddfa(points, pose, height):
  """[N, 3] points in micrometres to pixels, as the module's text says."""
  moved = pose[6] * points @ parameter_files.rotation(*pose[:3]).T + pose[3:6]
  return np.stack([moved[:, 0], height - 1 - moved[:, 1]], 1)


def test_a_rotation_of_each_axis():
  # Pitch takes y to -z, yaw takes x to z, roll takes x to -y, each by the sine.
  for angle, (start, end) in enumerate((([0, 1, 0], [0, 0, -1]), ([1, 0, 0], [0, 0, 1]), ([1, 0, 0], [0, -1, 0]))):
    angles = np.zeros(3)
    angles[angle] = np.pi / 2
    np.testing.assert_allclose(parameter_files.rotation(*angles) @ start, end, atol=1e-12)


def test_our_camera_sees_what_3ddfa_draws():
  points = np.random.default_rng(0).normal(size=[20, 3]) * 5e4
  pose, height, box = np.array([0.2, -0.7, 0.3, 210.0, 190.0, -60.0, 1.2e-3]), 450, np.array([80.0, 90.0, 250.0])
  ours = parameter_files.place(pose, height, box)
  placed = place(
    tf.constant(points[None] / 1e5, tf.float32),
    Pose(tf.constant(ours['pose'][None], tf.float32), tf.constant(ours['translation'][None], tf.float32)),
  )
  camera = Camera(tf.constant([float(ours['field_of_view'])]), tf.constant([[0.5, 0.5]]))
  seen = project(placed, camera, 250, 250)[0, :, :2].numpy() + box[:2]
  np.testing.assert_allclose(seen, as_3ddfa(points, pose, height), atol=0.6)  # weak perspective of a far camera


def write(path, **changes):
  content = {name: np.zeros((1, size)) for name, size in parameter_files._SIZES.items()}
  content['Pose_Para'][0, 6] = 1e-3
  content['pt3d_68'] = np.zeros((3, 68))
  scipy.io.savemat(path, {k: v for k, v in (content | changes).items() if v is not None})


@pytest.mark.parametrize(
  'changes, message',
  [
    ({'Pose_Para': np.zeros((1, 6))}, 'Pose_Para has 6 numbers; expected 7'),
    ({'Pose_Para': np.zeros((1, 7))}, 'its scale is 0'),
    ({'pt3d_68': np.zeros((2, 21))}, 'no 68 landmarks'),
    ({'Exp_Para': None}, "no matrix 'Exp_Para'"),
  ],
)
def test_other_files_are_refused(tmp_path, changes, message):
  write(tmp_path / 'a.mat', **changes)
  with pytest.raises(ValueError, match=message):
    parameter_files.read_parameters(str(tmp_path / 'a.mat'))


def test_pairs_need_their_model(tmp_path):
  write(tmp_path / 'a.mat')
  content = parameter_files.read_parameters(str(tmp_path / 'a.mat'))
  with pytest.raises(ValueError, match='need Basel 2009'):
    parameter_files.coefficients(content, load_face_model(), '')


@pytest.mark.skipif(not SAMPLES.is_dir(), reason='needs the photographs of ../shared/data')
def test_the_axes_of_real_files():
  """The mean head of our model, posed as a file says, lies on its landmarks; no other order of axes does as well."""
  model = load_face_model()
  head = model.mean.numpy()[model.landmarks.numpy()]
  listed, skipped = pair_layouts.find_aflw2000_3d(str(SAMPLES))
  assert len(listed) == 9 and not skipped
  errors = {order: [] for order in ((0, 1, 2), (1, 0, 2), (2, 1, 0), (0, 2, 1))}
  for photo in listed:
    content = parameter_files.read_parameters(str(SAMPLES / photo.file).replace('.jpg', '.mat'))
    marks = content['landmarks']
    size = np.linalg.norm(marks - marks.mean(0), axis=1).mean()
    for order, found in errors.items():
      turned = head @ parameter_files.rotation(*content['Pose_Para'][list(order)]).T * [1, -1, 1]
      seen = turned[:, :2] * content['Pose_Para'][6] * 1e5
      found.append(np.linalg.norm(seen - seen.mean(0) - marks + marks.mean(0), axis=1).mean() / size)
  means = {order: np.mean(found) for order, found in errors.items()}
  assert means[(0, 1, 2)] < 0.2, means
  assert min(value for order, value in means.items() if order != (0, 1, 2)) > 1.5 * means[(0, 1, 2)], means
