"""dlib's descriptor network in Keras against dlib's own, and files that are not its weights."""

import dlib
import numpy as np
import pytest
import tensorflow as tf

from input_pipeline.landmarks import find_landmarks
from models.layers import dlib_descriptor, dlib_weights
from tests.input_pipeline import builders


@pytest.fixture(scope='module')
def network():
  return dlib_descriptor.DlibDescriptor()


@pytest.fixture(scope='module')
def data():
  with open(dlib_weights.descriptor_file(), 'rb') as file:
    return file.read()


def detection(points):
  return dlib.full_object_detection(dlib.rectangle(0, 0, 9, 9), [dlib.point(int(x), int(y)) for x, y in points])


def normalized(points, size):
  return tf.constant((2 * points + 1) / size - 1, tf.float32)


def test_descriptors_are_those_of_dlib(network):
  pictures = builders.rendered_faces()[:, 0]
  known = dlib.face_recognition_model_v1(dlib_weights.descriptor_file())
  points = [np.rint(find_landmarks(picture)) for picture in pictures]
  found = [detection(p) for p in points]
  cut = np.stack([dlib.get_face_chip(image, face, 150, 0.25) for image, face in zip(pictures, found, strict=True)])
  expected = [known.compute_face_descriptor(image, face) for image, face in zip(pictures, found, strict=True)]
  np.testing.assert_allclose(network(cut), expected, atol=1e-5)
  ours = dlib_descriptor.chips(pictures / np.float32(127.5) - 1, normalized(np.stack(points), pictures.shape[1]))
  # dlib cuts the fraction of each pixel off.
  assert np.abs(ours - 0.5 - cut).max() <= 0.51
  assert np.linalg.norm(network(ours) - np.array(expected), axis=1).max() < 0.02


@pytest.mark.parametrize('size', (64, 108, 250))
def test_chips_are_those_of_dlib_where_the_head_is_tilted_or_cut(size):
  random = np.random.default_rng(size)
  picture = random.integers(0, 256, [size, size, 3], dtype=np.uint8)
  for turn, shift in ((0.4, 0.0), (-2.0, 0.1), (0.0, 0.5)):
    face = random.uniform(0, 1, [68, 2])
    face[list(dlib_descriptor.POINTS)] = dlib_descriptor.MEAN_FACE + random.normal(0, 0.02, [33, 2])
    rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    points = np.rint(((face - 0.5) @ rotation.T * 0.5 + 0.5 + shift) * size)
    expected = dlib.get_face_chip(picture, detection(points), 150, 0.25)
    received = dlib_descriptor.chips(picture[None] / np.float32(127.5) - 1, normalized(points[None], size))[0]
    # Beside the picture's edge, rounding decides whether a pixel is in it.
    assert (np.abs(received - 0.5 - expected) <= 0.51).mean() > 0.999
  assert (expected == 0).any() and (expected > 0).any()


def test_a_loss_goes_back_to_the_picture_by_its_own_amount(network):
  size = 64
  points = np.zeros([1, 68, 2], np.float32)
  points[:, list(dlib_descriptor.POINTS)] = dlib_descriptor.MEAN_FACE - 0.5
  picture = tf.random.stateless_uniform([1, size, size, 3], [0, 1], -0.5, 0.5)
  direction = tf.random.stateless_uniform(picture.shape, [0, 2], -1e-3, 1e-3)

  @tf.function(jit_compile=True)  # A compiled step calls this.
  def loss(images):
    with tf.GradientTape() as tape:
      tape.watch(images)
      value = tf.reduce_sum(dlib_descriptor.chips(images, points) ** 2) / 1e6
    return value, tape.gradient(value, images)

  _, gradient = loss(picture)
  change = loss(picture + direction)[0] - loss(picture - direction)[0]
  np.testing.assert_allclose(change, 2 * tf.reduce_sum(gradient * direction), rtol=1e-2)
  with tf.GradientTape() as tape:
    tape.watch(picture)
    length = tf.norm(network(dlib_descriptor.chips(picture, points)))
  assert tf.norm(tape.gradient(length, picture)) > 0 and not network.trainable_variables


def test_a_large_picture_is_shrunk_first():
  picture = np.indices([1000, 1000]).sum(0)[None, :, :, None] % 2 * np.ones(3, np.float32) * 2 - 1  # A chess board.
  points = np.zeros([1, 68, 2], np.float32)
  points[:, list(dlib_descriptor.POINTS)] = dlib_descriptor.MEAN_FACE - 0.5
  assert np.abs(dlib_descriptor.chips(tf.constant(picture, tf.float32), points) - 127.5).max() < 20


class TestDamagedFiles:
  def refused(self, path, data, text):
    path.write_bytes(data)
    with pytest.raises(ValueError, match=text) as error:
      dlib_weights.read_weights(str(path))
    assert '\n' not in str(error.value) and str(path) in str(error.value)

  def test_cut(self, data, tmp_path):
    for length in (0, 1, 5, 300, 340, 400, 19_200, 1_000_000, len(data) - 1):
      self.refused(tmp_path / 'cut.dat', data[:length], 'is damaged: .* are left')
    self.refused(tmp_path / 'long.dat', data + b'0', '1 bytes follow the network')

  def test_changed_bytes_never_crash(self, data, tmp_path):
    random = np.random.default_rng(0)
    for place in [*random.integers(0, 352, 60), *range(0x4B60, 0x4BC0, 3)]:
      changed = bytearray(data[:40_000])
      changed[place] ^= int(random.integers(1, 256))
      self.refused(tmp_path / 'changed.dat', changed, 'is damaged')

  def test_huge_shapes_are_refused_before_they_are_read(self, data, tmp_path):
    place = data.index(b'con_4') + 5 + 2
    huge = data[:place] + b'\x08' + b'\xff' * 7 + b'\x7f' + data[place + 3 :]
    self.refused(tmp_path / 'huge.dat', huge, r'the shape of the weights of a convolution is \(9223372036854775807')
    name = data[:2] + b'\x04\xff\xff\xff\xff' + data[4:]
    self.refused(tmp_path / 'name.dat', name, 'a name of 4294967295 characters')

  def test_numbers_that_are_none(self, data, tmp_path):
    place = data.index(b'con_4') + 100
    self.refused(tmp_path / 'nan.dat', data[:place] + b'\xff' * 8 + data[place + 8 :], 'are not finite')

  def test_too_large_and_missing(self, tmp_path):
    path = tmp_path / 'large.dat'
    with open(path, 'wb') as file:
      file.truncate(10 * 2**30)  # A hole: it takes no room.
    with pytest.raises(ValueError, match='has 10,737,418,240 bytes'):
      dlib_weights.read_weights(str(path))
    with pytest.raises(FileNotFoundError, match='there is no such file of dlib weights'):
      dlib_weights.read_weights(str(tmp_path / 'none.dat'))
