"""What the systems share that learn a code of faces by naming people: NN4 and the recogniser of GANFaces' experiments.

A code is made of a square of 96 pixels, cut out of a picture of 108: anywhere in training, in the middle in use.
"""

from typing import Any

import tensorflow as tf

from models.system import Batch, System

__all__ = ['FaceCodes', 'SIZE', 'standardize', 'to_crop']

SIZE = 96  # Pixels of the square.
_PICTURE = 108  # Pixels of the pictures of the paper, of which the square is cut.


def standardize(images: tf.Tensor) -> tf.Tensor:
  """What the networks want of crops [B, 96, 96, 3] in [0, 255]: (x - mean) / max(deviation, 1 / sqrt(27648)) of each.

  Source: Sandberg's facenet, prewhiten.
  """
  return tf.image.per_image_standardization(images)


def to_crop(images: tf.Tensor) -> tf.Tensor:
  """The middle [B, 96, 96, 3] of pictures [B, S, S, 3]: of more than 108 pixels they are shrunk to that first, of less
  than 96 enlarged (bilinear)."""
  if images.shape[1] < SIZE:
    return tf.image.resize(images, [SIZE, SIZE])
  if images.shape[1] > _PICTURE:
    images = tf.image.resize(images, [_PICTURE, _PICTURE], antialias=True)
  start = (images.shape[1] - SIZE) // 2
  return images[:, start:start + SIZE, start:start + SIZE]


class FaceCodes(System):
  """A system whose `network` makes codes [B, D] of length 1 of standardised squares [B, 96, 96, 3].

  Its config has `image_size` and `dropout`.
  """

  network: Any

  def averaged_networks(self) -> list[tf.keras.Model]:
    return [self.network]

  def drop(self, features: tf.Tensor, index: tf.Tensor, stream: int = 0) -> tf.Tensor:
    """Dropout [B, D] that is a function of (seed, step, place in the global batch); each stream has its own."""
    config = self.config
    if config.dropout == 0:
      return features
    seed = tf.stack([tf.constant(config.seed + (stream << 31), tf.int64), self.step])
    noise = tf.random.stateless_uniform([config.batch_size, features.shape[1]], seed, alg='philox')
    keep = tf.gather(noise, index) >= config.dropout
    return tf.where(keep, features / (1 - config.dropout), tf.zeros([], features.dtype))

  def weight_penalty(self, weights: list[tf.Variable]) -> tf.Tensor:
    """This replica's share of half the sum of squares of all kernels: replicas' gradients are added up, and each has
    all of them."""
    return tf.add_n([tf.nn.l2_loss(w) for w in weights if len(w.shape) > 1]) / self.replicas

  def embed(self, images: tf.Tensor) -> tf.Tensor:
    """Codes of faces: [B, S, S, 3] in [-1, 1], cropped like the training pictures -> [B, D] of length 1."""
    size = self.config.image_size
    if images.shape[1] != size and images.shape[1] != SIZE:
      images = tf.image.resize(images, [size, size], antialias=True)
    return self.network(standardize((to_crop(images) + 1) * 127.5), training=False)

  def sample(self, batch: Batch) -> dict[str, tf.Tensor]:
    """Each picture, and the one of the others in the batch that is nearest to it."""
    codes = self.embed(batch['image'])
    likeness = tf.linalg.set_diag(codes @ tf.transpose(codes), tf.fill([codes.shape[0]], -2.0))
    return {'picture': batch['image'], 'nearest other': tf.gather(batch['image'], tf.argmax(likeness, axis=1))}

  def signatures(self) -> dict[str, tf.types.experimental.GenericFunction]:
    """Functions of the SavedModel: `serving_default`, `images` uint8 [N, 96, 96, 3] -> `codes` [N, D]."""
    images = tf.TensorSpec([None, SIZE, SIZE, 3], tf.uint8, name='images')
    return {'serving_default': tf.function(
        lambda images: {'codes': self.network(standardize(tf.cast(images, tf.float32)), training=False)}, [images])}
