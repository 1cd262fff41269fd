"""Identity losses: embeddings of one person near that person's centroid, and far from everybody else's (GANFaces)."""

import tensorflow as tf

_TINY = 1e-8  # Of the released code: keeps the logarithm finite where all other centroids, or the own one, are far.


def centroid_distances(embeddings: tf.Tensor, centroids: tf.Tensor) -> tf.Tensor:
  """Squared distances of each embedding to each centroid: [B, C], [N, C] -> [B, N], at least 0."""
  products = tf.matmul(embeddings, centroids, transpose_b=True)
  squares = tf.reduce_sum(tf.square(embeddings), axis=1, keepdims=True) + tf.reduce_sum(tf.square(centroids), axis=1)
  return tf.maximum(squares - 2 * products, 0.0)


def move_centroids(centroids: tf.Tensor, embeddings: tf.Tensor, labels: tf.Tensor, momentum: float) -> tf.Tensor:
  """Centroids after a visit of each embedding: c <- momentum c + (1 - momentum) e.

  The formula of GANFaces moves a centroid by 95 %, its words ("momentum of .95") and the released code by 5 %; the
  latter is done here. Visits of one centroid in a batch add up, as in the released code.

  Args:
    centroids: [N, C].
    embeddings: [B, C], of the global batch.
    labels: [B] int, which centroid each embedding visits, 0-based.
    momentum: what is left of a centroid after one visit.
  Returns:
    [N, C]; no gradient flows through it.
  """
  moves = (1 - momentum) * (embeddings - tf.gather(centroids, labels))
  return tf.stop_gradient(tf.tensor_scatter_nd_add(centroids, labels[:, tf.newaxis], moves))


def set_spread(own_distances: tf.Tensor, count: int) -> tf.Tensor:
  """This replica's part of sigma = sum ||e - c_own||^2 / (M - 1), M the size of the global batch; sum over replicas.

  It is a mean of squared distances and is squared again in Eq. 7: the paper and its released code agree on that,
  although the Magnet loss, which they follow, has sigma^2 in its place.

  Args:
    own_distances: [B] squared distances to the own centroids.
    count: M, at least 2.
  """
  return tf.reduce_sum(own_distances) / (count - 1)


def set_identity_loss(distances: tf.Tensor, labels: tf.Tensor, sigma: tf.Tensor, margin: float) -> tf.Tensor:
  """The set-based identity loss of each sample, Eq. 7 of GANFaces with its sign corrected.

  max(0, -log(exp(-d_own / 2 sigma^2 - margin) / sum over j != own of exp(-d_j / 2 sigma^2))), d_j the squared distance
  to centroid j. As printed, the exponents are positive, which would push a sample away from its own centroid; the sign
  here, the hinge at 0 and the small constants are the released code's. With all centroids at 0 it is
  margin + ln(N - 1).

  Args:
    distances: [B, N] squared distances to all centroids.
    labels: [B] int, the own centroid.
    sigma: scalar above 0, see `set_spread`; gradients flow through it.
    margin: eta.
  Returns:
    [B] losses.
  """
  closeness = tf.exp(-distances / (2 * tf.square(sigma)))
  own = tf.gather(closeness, labels, batch_dims=1)
  others = tf.reduce_sum(closeness * (1 - tf.one_hot(labels, closeness.shape[-1])), axis=1)
  ratio = tf.exp(tf.constant(-margin)) * own / (others + _TINY)
  return tf.maximum(0.0, -tf.math.log(ratio + _TINY))
