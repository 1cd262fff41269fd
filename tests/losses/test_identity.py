"""The identity losses of GANFaces against numbers worked by hand."""

import math

import numpy as np
import pytest
import tensorflow as tf

import losses

CENTROIDS = tf.constant([[0.6, 0.0], [0.0, 1.0], [-1.0, 0.0]])
CODES = tf.constant([[1.0, 0.0], [0.0, 1.0]])  # Squared distances to them: .16, 2, 4 and 1.36, 0, 2.


def test_distances_to_all_centroids():
  np.testing.assert_allclose(losses.centroid_distances(CODES, CENTROIDS), [[0.16, 2, 4], [1.36, 0, 2]], atol=1e-6)
  codes = tf.math.l2_normalize(tf.random.stateless_normal([50, 128], [0, 0]), axis=1)
  assert float(tf.reduce_min(losses.centroid_distances(codes, codes))) >= 0  # Rounding makes no negative squares.


@pytest.mark.parametrize('label, sigma, expected', [
    # -log(exp(-.08 - 1) / (exp(-1) + exp(-2))) = -log(.339596 / .503215)
    (0, 1.0, 0.393260),
    # -log(exp(-2 - 1) / (exp(-.08) + exp(-1))) = -log(.049787 / 1.290996). Eq. 7 as printed would give -2.94, so 0.
    (2, 1.0, 3.255416),
    # exp(-.5 - 1) / (exp(-6.25) + exp(-12.5)) = 115 is above 1: the hinge.
    (0, 0.4, 0.0)])
def test_set_identity_loss(label, sigma, expected):
  """Eq. 7 with its sign corrected, margin 1."""
  distances = losses.centroid_distances(CODES, CENTROIDS)[:1]
  received = losses.set_identity_loss(distances, tf.constant([label]), tf.constant(sigma), 1.0)
  np.testing.assert_allclose(received, [expected], atol=2e-5)


def test_a_sample_is_drawn_to_its_own_centroid_and_away_from_the_next():
  code = tf.Variable([[0.0, 0.0]])
  centroids, labels = tf.constant([[1.0, 0.0], [-1.0, 0.0]]), tf.constant([0])
  with tf.GradientTape() as tape:
    loss = losses.set_identity_loss(losses.centroid_distances(code, centroids), labels, tf.constant(1.0), 1.0)
  assert tape.gradient(loss, code)[0, 0] < -1  # Downhill is towards (1, 0).


def test_with_centroids_at_zero_it_is_the_margin_plus_the_logarithm_of_the_others():
  distances = tf.ones([16, 10_000])
  spread = losses.set_spread(tf.ones([16]), 16)
  np.testing.assert_allclose(spread, 16 / 15, rtol=1e-6)
  received = losses.set_identity_loss(distances, tf.range(16), spread, 1.0)
  np.testing.assert_allclose(received, 1 + math.log(9_999), rtol=1e-4)
  np.testing.assert_allclose(received[0], 10.210, atol=1e-3)


def test_spread_is_the_sum_over_one_less():
  np.testing.assert_allclose(losses.set_spread(tf.constant([0.16, 1.36, 0.48]), 3), 1.0, rtol=1e-6)
  code = tf.Variable([0.5])
  with tf.GradientTape() as tape:
    spread = losses.set_spread(tf.square(code), 2)
  np.testing.assert_allclose(tape.gradient(spread, code), [1.0])  # Gradients flow through it.


def test_a_centroid_moves_by_five_per_cent_of_each_visit():
  moved = losses.move_centroids(tf.constant([[0.2, 0.0], [0, 0]]), tf.constant([[1.0, 0.0]]), tf.constant([0]), 0.95)
  np.testing.assert_allclose(moved, [[0.24, 0], [0, 0]], rtol=1e-6)
  twice = losses.move_centroids(tf.constant([[0.2, 0.0]]), tf.constant([[1.0, 0.0]] * 2), tf.constant([0, 0]), 0.95)
  np.testing.assert_allclose(twice, [[0.28, 0]], rtol=1e-6)
  centroid = tf.zeros([1, 2])
  for _ in range(14):
    centroid = losses.move_centroids(centroid, tf.constant([[1.0, 0.0]]), tf.constant([0]), 0.95)
  np.testing.assert_allclose(centroid[0, 0], 0.512, atol=1e-3)
