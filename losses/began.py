"""BEGAN's game: a discriminator that is an autoencoder, and the balance k_t of its two errors.

Berthelot et al., BEGAN: Boundary Equilibrium Generative Adversarial Networks (https://arxiv.org/abs/1703.10717).
GANFaces plays it three times, the third time with the inverse generator as the discriminator of pairs.
"""

import tensorflow as tf


def began_discriminator_loss(real_error: tf.Tensor, fake_error: tf.Tensor, balance: tf.Tensor | float) -> tf.Tensor:
  """What a discriminator minimises, L(real) - k_t L(fake); Eq. 4 to 6 of GANFaces.

  The generator minimises L(fake). An error is the mean absolute difference of a picture and what the autoencoder makes
  of it (`l1_loss`); for the pair discriminator of Eq. 6, of a render and what G' makes of its photograph.

  Args:
    real_error: [...] L(real), at least 0.
    fake_error: [...] L(fake), at least 0.
    balance: k_t in [0, 1].
  Returns:
    [...] loss.
  """
  return real_error - balance * fake_error


def update_balance(balance: tf.Tensor | float, real_error: tf.Tensor, fake_error: tf.Tensor, gamma: float,
                   rate: float) -> tf.Tensor:
  """The next k_t: k + lambda_k (gamma L(real) - L(fake)), clipped to [0, 1]; BEGAN, section 3.3, its last equation.

  The paper of GANFaces writes the discriminator's whole loss in place of L(real), by which its equilibrium would drift
  with k, and leaves the clipping out; BEGAN and the released code are followed.

  Args:
    balance: k_t in [0, 1].
    real_error: mean L(real) over the global batch.
    fake_error: mean L(fake) over the global batch.
    gamma: the wanted L(fake) / L(real).
    rate: lambda_k.
  """
  return tf.clip_by_value(balance + rate * (gamma * real_error - fake_error), 0.0, 1.0)


def convergence_measure(real_error: tf.Tensor, fake_error: tf.Tensor, gamma: float) -> tf.Tensor:
  """BEGAN's measure of how far a game is, L(real) + |gamma L(real) - L(fake)| (section 3.4); it falls as both agree."""
  return real_error + tf.abs(gamma * real_error - fake_error)
