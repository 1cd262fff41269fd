"""Losses against numbers worked out by hand; the Wasserstein vectors are those of TF-GAN's tests."""

import numpy as np
import pytest
import tensorflow as tf

import losses

REAL = tf.constant([-5.0, 1.4, 12.5, 2.7])
FAKE = tf.constant([10.0, 4.4, -5.5, 3.6])


def test_wasserstein():
  np.testing.assert_allclose(tf.reduce_mean(losses.wasserstein_generator_loss(FAKE)), -3.125)
  np.testing.assert_allclose(tf.reduce_mean(losses.wasserstein_critic_loss(REAL, FAKE)), 0.225, rtol=1e-6)
  patches = [tf.reshape(scores, [2, 2]) for scores in (REAL, FAKE)]
  assert losses.wasserstein_critic_loss(*patches).shape == [2, 2]


def test_least_squares():
  np.testing.assert_allclose(tf.reduce_mean(losses.least_squares_discriminator_loss(REAL, FAKE)), 41.73375, rtol=1e-6)
  np.testing.assert_allclose(tf.reduce_mean(losses.least_squares_generator_loss(FAKE)), 2 * 17.69625, rtol=1e-6)


@pytest.mark.parametrize('shape', [(4,), (2, 3, 2)])
def test_gradient_penalty_of_a_linear_critic_is_exact(shape):
  weights = tf.random.stateless_normal(shape, [0, 1]) * 3
  critic = lambda samples: tf.reduce_sum(samples * weights, axis=list(range(1, samples.shape.rank)))  # noqa: E731
  penalty = losses.gradient_penalty(critic, tf.random.stateless_normal((5, *shape), [2, 3]))
  np.testing.assert_allclose(penalty, np.full(5, (np.linalg.norm(weights) - 1)**2), rtol=1e-5)


def test_gradient_penalty_teaches_the_critic_and_survives_a_dead_one():
  for start, slope in ((3.0, 4.0), (0.0, 0.0)):  # d/dw (|w| - 1)^2 = 2 (|w| - 1) sign(w); at zero no NaN.
    weight = tf.Variable(start)
    with tf.GradientTape() as tape:
      penalty = losses.gradient_penalty(lambda samples, w=weight: w * samples[:, 0], tf.ones([1, 1]))
    np.testing.assert_allclose(tape.gradient(penalty, weight), slope)


def test_interpolation_uses_one_number_a_sample():
  mixed = losses.interpolate(tf.ones([2, 3, 1]), tf.zeros([2, 3, 1]), tf.constant([0.25, 1.0]))
  np.testing.assert_allclose(mixed[:, :, 0], [[0.25] * 3, [1.0] * 3])


@pytest.mark.parametrize(['distance', 'different', 'expected'], [
    (2.0, False, 2.0),  # d^2 / 2
    (2.0, True, 0.5),  # (5 - 4) / 2: the margin is on the squared distance.
    (5.0**0.5, True, 0.0),  # at the margin
    (3.0, True, 0.0),  # beyond it
    (0.0, True, 2.5),
])
def test_contrastive(distance, different, expected):
  first, second = tf.constant([[0.6 * distance, 0.8 * distance]]), tf.zeros([1, 2])
  loss = losses.contrastive_loss(first, second, tf.constant([different]), 5.0)
  np.testing.assert_allclose(loss, [expected], atol=1e-6)


def test_class_balance_is_the_mean_over_each_kind():
  different = tf.constant([True, True, True, False])
  values = tf.constant([1.0, 2.0, 6.0, 5.0])
  weights = losses.class_balance(different, tf.constant(1.0), tf.constant(3.0))
  np.testing.assert_allclose(tf.reduce_sum(values * weights), 3.0 + 5.0)
  alone = losses.class_balance(tf.fill([4], True), tf.constant(0.0), tf.constant(4.0))
  np.testing.assert_allclose(tf.reduce_sum(values * alone), 3.5)


def test_l1():
  target, output = tf.constant([[[1.0, -1.0]], [[0.0, 3.0]]]), tf.constant([[[0.5, 1.0]], [[0.0, 0.0]]])
  np.testing.assert_allclose(losses.l1_loss(target, output), [1.25, 1.5])
  np.testing.assert_allclose(losses.l1_loss(target, output, 'sum'), [2.5, 3.0])
  weights = tf.constant([[[2.0, 1.0]], [[1.0, 3.0]]])
  np.testing.assert_allclose(losses.l1_loss(target, output, weights=weights), [1.5, 4.5])
  with pytest.raises(ValueError, match="reduction='max' is not one of mean, sum"):
    losses.l1_loss(target, output, 'max')


def test_landmark_loss_sums_over_points():
  np.testing.assert_allclose(losses.landmark_loss(tf.zeros([2, 68, 2]), tf.fill([2, 68, 2], 0.5)), [34.0, 34.0])
