"""What GANFaces' embedding sees of a picture, and the identity losses beside the set-based one."""

import math

import numpy as np
import pytest
import tensorflow as tf

from models import ganfaces_identity
from models.ganfaces_identity import View, cut_square, turn_points
from tests.models.builders import ganfaces as make_system
from tests.models.builders import ganfaces_batch as make_batch


@pytest.mark.parametrize('kind', ['softmax', 'center'])
def test_other_identity_losses(kind):
  system = make_system(identity_loss=kind)
  batch = make_batch(system.config)
  before = system.classifier.kernel.numpy() if kind == 'softmax' else None
  codes = tf.math.l2_normalize(tf.random.stateless_normal([4, 128], [0, 0]), axis=1)
  received = system._identity_losses(codes, tf.constant([0, 1, 2, 2]))
  if kind == 'softmax':
    logits = system.classifier(codes).numpy()
    expected = np.log(np.exp(logits).sum(1)) - logits[range(4), [0, 1, 2, 2]]
    system.train_step(batch)
    assert (system.classifier.kernel.numpy() != before).any()
  else:
    centroids = np.zeros([6, 128])
    np.add.at(centroids, [0, 1, 2, 2], 0.05 * codes.numpy())
    expected = ((codes - centroids[[0, 1, 2, 2]])**2).numpy().sum(1)
    np.testing.assert_array_equal(system.visits, [1, 1, 2, 0, 0, 0])
    np.testing.assert_allclose(system.centroids, centroids, atol=1e-6)
  np.testing.assert_allclose(received, expected, rtol=1e-5)


def test_crops_are_copies_where_upright_and_turn_about_their_middle():
  images = tf.constant(np.random.default_rng(0).uniform(0, 255, [2, 18, 18, 3]), tf.float32)
  for offset, corner in ((0.0, 0), (0.5, 1), (0.99, 2)):
    view = View(tf.constant([0.0, offset]), tf.zeros([2]), tf.zeros([2], tf.bool))
    np.testing.assert_allclose(cut_square(images, view, 16), images[:, corner:corner + 16, :16], atol=1e-3)
  view = View(tf.fill([2], 0.5), tf.constant([0.0, math.pi / 2]), tf.zeros([2], tf.bool))
  turned = cut_square(images, view, 16)
  np.testing.assert_allclose(turned[1], np.rot90(images[1, 1:17, 1:17]), atol=0.1)
  halved = tf.nn.avg_pool2d(images[:1, 1:17, 1:17], 2, 2, 'VALID')  # The same share of a larger picture.
  np.testing.assert_allclose(cut_square(images, view, 8)[0], halved[0], atol=0.1)
  np.testing.assert_allclose(
      cut_square(images, view, 40)[0], tf.image.resize(images[:1], [40, 40])[0], atol=1e-2)  # Enlarged whole.
  points = tf.constant([[[0.0, 0.0], [1.0, 0.0], [0.5, 0.3]]])
  np.testing.assert_allclose(turn_points(points, tf.constant([math.pi / 2]))[0], [[0.6, -0.4], [0.6, 0.6], [0.3, 0.1]],
                             atol=1e-6)


def test_a_keras_file_sees_colours_of_0_to_255(tmp_path):
  layers, path = tf.keras.layers, tmp_path / 'net.keras'
  tf.keras.Sequential([layers.GlobalAveragePooling2D(input_shape=[24, 24, 3]),
                       layers.Dense(128, kernel_initializer='identity')]).save(path)
  images = tf.tile(tf.constant([[[[1.0, 0.0, -1.0]]]]), [2, 20, 20, 1])
  codes = ganfaces_identity.look(ganfaces_identity.load(str(path)), images, tf.zeros([2, 68, 2]),
                                 ganfaces_identity.centre_view(2))
  np.testing.assert_allclose(codes[:, :4], [np.array([2, 1, 0, 0]) / 5**0.5] * 2, atol=1e-5)


def test_what_the_embedding_sees_depends_on_step_and_place():
  system = make_system(rotation=10.0, batch_size=64)
  index = tf.range(64, dtype=tf.int64)
  view = system._view(index)
  degrees = np.degrees(view.angle)
  assert -10 <= degrees.min() < -5 and 5 < degrees.max() <= 10 and 10 < view.mirrored.numpy().sum() < 54
  np.testing.assert_array_equal(system._view(tf.constant([5, 3], tf.int64)).angle, tf.gather(view.angle, [5, 3]))
  system.step.assign(1)
  assert (system._view(index).offset != view.offset).numpy().any()
  kept = system._keep(index, 0)
  np.testing.assert_allclose([tf.reduce_mean(kept), tf.reduce_max(kept)], [1, 1 / 0.9], rtol=0.02)
