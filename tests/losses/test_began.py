"""BEGAN's losses against numbers worked by hand."""

import numpy as np
import pytest
import tensorflow as tf

import losses


def test_errors_are_means_over_pixels():
  """Eq. 1 to 3: |G'(G(x)) - x|, |G(x) - D_R(G(x))| and |G'(G(x)) - D_S(G'(G(x)))| are all this mean."""
  first, second = tf.constant([[[[0.2, -0.4]], [[0.0, 1.0]]]]), tf.constant([[[[0.5, -0.1]], [[0.2, 0.0]]]])
  np.testing.assert_allclose(losses.l1_loss(first, second), [(0.3 + 0.3 + 0.2 + 1.0) / 4], rtol=1e-6)


@pytest.mark.parametrize('real, fake, balance, expected', [(0.5, 0.2, 0.3, 0.44), (0.5, 0.2, 0.0, 0.5),
                                                          (0.1, 0.4, 1.0, -0.3)])
def test_discriminator_loss(real, fake, balance, expected):
  """Eq. 4 to 6."""
  np.testing.assert_allclose(losses.began_discriminator_loss(tf.constant(real), tf.constant(fake), balance), expected,
                             rtol=1e-6)


@pytest.mark.parametrize('balance, real, fake, rate, expected', [
    (0.3, 0.5, 0.2, 0.001, 0.30005),  # .3 + .001 (.25 - .2). With the whole L_D = .44 in place of .5 it were .30002.
    (0.3, 0.2, 0.5, 0.1, 0.26), (0.0, 0.2, 0.5, 0.001, 0.0), (0.9999, 1.0, 0.1, 0.01, 1.0)])
def test_balance_follows_the_real_error_and_stays_in_bounds(balance, real, fake, rate, expected):
  received = losses.update_balance(balance, tf.constant(real), tf.constant(fake), 0.5, rate)
  np.testing.assert_allclose(received, expected, rtol=1e-6)


def test_convergence_measure():
  np.testing.assert_allclose(losses.convergence_measure(tf.constant(0.5), tf.constant([0.2, 0.4]), 0.5), [0.55, 0.65],
                             rtol=1e-6)
