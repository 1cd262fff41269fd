"""Contrastive losses: near where labels agree, far where they differ."""

import tensorflow as tf


def squared_distance(first: tf.Tensor, second: tf.Tensor) -> tf.Tensor:
  """The squared Euclidean distance over the last axis: [..., C], [..., C] -> [...]."""
  return tf.reduce_sum(tf.math.squared_difference(first, second), axis=-1)


def contrastive_loss(first: tf.Tensor, second: tf.Tensor, different: tf.Tensor, margin: float) -> tf.Tensor:
  """Pulls pairs of one label together and pushes others apart, for each pair.

  a/2 max(0, m - d^2) + (1 - a)/2 d^2 with d^2 = ||first - second||_2^2 and a = 1 where the labels differ: Eq. 4 of
  GC-GAN. Unlike in Hadsell et al. (2006) the margin is on the squared distance.

  Args:
    first: [B, C] codes.
    second: [B, C] codes of the partners.
    different: [B] bool, whether the two labels of a pair differ.
    margin: m, the squared distance beyond which a pair of different labels is left alone.
  Returns:
    [B] losses.
  """
  squared = squared_distance(first, second)
  return 0.5 * tf.where(different, tf.maximum(0.0, margin - squared), squared)


def class_balance(different: tf.Tensor, same_count: tf.Tensor, different_count: tf.Tensor) -> tf.Tensor:
  """Weights of pairs by which a plain sum becomes the mean over same pairs plus the mean over different pairs.

  So the released GC-GAN weighs its pairs; Eq. 4 of the paper takes one mean over all. A kind without pairs counts 0.

  Args:
    different: [B] bool, whether the two labels of a pair differ.
    same_count: scalar, the pairs of one label in the whole (global) batch.
    different_count: scalar, the pairs of two labels in the whole (global) batch.
  Returns:
    [B] float32 weights.
  """
  one = tf.constant(1.0)
  return tf.where(different, one / tf.maximum(tf.cast(different_count, tf.float32), one),
                  one / tf.maximum(tf.cast(same_count, tf.float32), one))
