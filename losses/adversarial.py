"""Adversarial games: what critics and generators minimise."""

from collections.abc import Callable
from typing import Any

import tensorflow as tf


def wasserstein_critic_loss(real_scores: tf.Tensor, fake_scores: tf.Tensor) -> tf.Tensor:
  """The critic's side of the Wasserstein game, D(fake) - D(real), for each sample.

  Arjovsky et al., Wasserstein GAN (https://arxiv.org/abs/1701.07875); Eq. 5 of GC-GAN.

  Args:
    real_scores: [A1, ..., An] scores of real samples, any range.
    fake_scores: [A1, ..., An] scores of generated samples.
  Returns:
    [A1, ..., An] loss.
  """
  return fake_scores - real_scores


def wasserstein_generator_loss(fake_scores: tf.Tensor) -> tf.Tensor:
  """The generator's side of the Wasserstein game, -D(fake), for each sample; Eq. 6 of GC-GAN.

  Args:
    fake_scores: [A1, ..., An] scores of generated samples.
  Returns:
    [A1, ..., An] loss.
  """
  return -fake_scores


def least_squares_discriminator_loss(real_scores: tf.Tensor, fake_scores: tf.Tensor) -> tf.Tensor:
  """The discriminator's side of the least-squares game, ((D(real) - 1)^2 + D(fake)^2) / 2, for each sample.

  Mao et al., Least Squares Generative Adversarial Networks (https://arxiv.org/abs/1611.04076), Eq. 9.

  Args:
    real_scores: [A1, ..., An] scores of real samples, any range.
    fake_scores: [A1, ..., An] scores of generated samples.
  Returns:
    [A1, ..., An] loss.
  """
  return 0.5 * (tf.square(real_scores - 1) + tf.square(fake_scores))


def least_squares_generator_loss(fake_scores: tf.Tensor) -> tf.Tensor:
  """The generator's side of the least-squares game, (D(fake) - 1)^2, for each sample; without the half, as in CycleGAN.

  Args:
    fake_scores: [A1, ..., An] scores of generated samples.
  Returns:
    [A1, ..., An] loss.
  """
  return tf.square(fake_scores - 1)


def gradient_penalty(critic: Callable[[tf.Tensor], tf.Tensor], samples: tf.Tensor, target: float = 1.0) -> tf.Tensor:
  """The penalty (||d critic / d sample||_2 - target)^2 of each sample, in float32.

  Gulrajani et al., Improved Training of Wasserstein GANs, Eq. 3 (https://arxiv.org/abs/1704.00028). The norm runs over
  all axes but the first; the released GC-GAN sums over rows only, an error copied from a version for flat vectors.

  Args:
    critic: maps [B, ...] samples to [B] scores; sample b must influence score b only (so no batch normalisation).
    samples: [B, ...] where to measure, usually drawn by `interpolate`.
    target: the wanted norm.
  Returns:
    [B] penalties.
  """
  with tf.GradientTape(watch_accessed_variables=False) as tape:
    tape.watch(samples)
    scores = critic(samples)
  slopes: Any = tape.gradient(scores, samples)
  squares = tf.reduce_sum(tf.square(tf.cast(slopes, tf.float32)), axis=list(range(1, samples.shape.rank)))
  # The root has no gradient at zero, where a dead critic would turn every weight into NaN.
  return (tf.sqrt(tf.maximum(squares, 1e-12)) - target)**2


def interpolate(real: tf.Tensor, fake: tf.Tensor, epsilon: tf.Tensor) -> tf.Tensor:
  """Points on the lines between real and generated samples, epsilon * real + (1 - epsilon) * fake.

  Args:
    real: [B, ...] real samples.
    fake: [B, ...] generated samples.
    epsilon: [B] in [0, 1], one for each sample.
  Returns:
    [B, ...] samples.
  """
  epsilon = tf.reshape(epsilon, [-1] + [1] * (real.shape.rank - 1))
  return fake + epsilon * (real - fake)
