"""NN4: the face embedding of FaceNet (Schroff et al. 2015, https://arxiv.org/abs/1503.03832) that GANFaces keeps
identities by (Gecer et al. 2018, https://arxiv.org/abs/1804.03675).

A square of 96 pixels gives a code of length 1, near those of the same person. Layers and widths are those of the
released code (barisgecer/facegan, facenet/src/models/nn4.py; it pools by the maximum and has no response
normalisation). It is trained to name the people of a labelled set, or by semi-hard triplets.
"""

from typing import Any

import numpy as np
import tensorflow as tf

from models.face_codes import SIZE, FaceCodes, standardize, to_crop
from models.layers import Adam, StepDecay
from models.layers.addons import load_addons
from models.nn4_config import NN4Config
from models.system import Batch

__all__ = ['CODE', 'NN4', 'NN4Config', 'SIZE', 'nn4_network', 'standardize', 'to_crop']

CODE = 128

# Filters of each inception module: 1x1, reduction and 3x3, reduction and 5x5, and what pooling is projected to. A
# module without 1x1 halves the picture, and what it pools stays as it is. None is a branch that is not there.
MODULES: dict[str, tuple[int | None, ...]] = {
  '3a': (64, 96, 128, 16, 32, 32),
  '3b': (64, 96, 128, 32, 64, 64),
  '3c': (None, 128, 256, 32, 64, None),
  '4a': (256, 96, 192, 32, 64, 128),
  '4b': (224, 112, 224, 32, 64, 128),
  '4c': (192, 128, 256, 32, 64, 128),
  '4d': (160, 144, 288, 32, 64, 128),
  '4e': (None, 160, 256, 64, 128, None),
  '5a': (384, 192, 384, None, None, 128),
  '5b': (384, 192, 384, None, None, 128),
}


class _Offset(tf.keras.layers.Layer):
  """Adds a number to each channel. The released code has it behind the normalisation, which has one of its own."""

  def build(self, input_shape: tf.TensorShape) -> None:
    self.offset = self.add_weight(name='offset', shape=[input_shape[-1]], initializer='zeros')

  def call(self, inputs: tf.Tensor) -> tf.Tensor:
    return inputs + tf.cast(self.offset, inputs.dtype)


def nn4_network(
  width: float = 1.0, seed: int = 0, precision: str = 'float32', synchronized: bool = False
) -> tf.keras.Model:
  """images [B, 96, 96, 3], standardised -> codes [B, 128] of length 1. At width 1 it has 6,959,088 trained parameters.

  Its layer `features` gives what the dense layer `bottleneck` makes the code of, before its length is taken away.

  Args:
    width: multiplies all channels but the code's.
    seed: of the weights.
    precision: arithmetic.
    synchronized: whether batch moments are taken over all replicas.
  """
  layers, policy = tf.keras.layers, tf.keras.mixed_precision.Policy(precision)
  seeds = np.random.default_rng([seed, 4])

  def initial() -> tf.keras.initializers.Initializer:
    return tf.keras.initializers.TruncatedNormal(stddev=0.1, seed=int(seeds.integers(2**31)))

  def conv(values: tf.Tensor, size: int, filters: int, strides: int = 1) -> tf.Tensor:
    values = layers.Conv2D(max(1, round(filters * width)), size, strides, 'same', use_bias=False,
                           kernel_initializer=initial(), dtype=policy)(values)
    values = layers.BatchNormalization(momentum=0.9, epsilon=1e-3, synchronized=synchronized, dtype=policy)(values)
    return layers.ReLU(dtype=policy)(_Offset(dtype=policy)(values))

  def pool(values: tf.Tensor, strides: int) -> tf.Tensor:
    return layers.MaxPool2D(3, strides, 'same', dtype=policy)(values)

  images = tf.keras.Input([SIZE, SIZE, 3], name='images')
  values = pool(conv(images, 7, 64, 2), 2)
  values = pool(conv(conv(values, 1, 64), 3, 192), 2)
  for name, (one, reduce_three, three, reduce_five, five, projected) in MODULES.items():
    strides = 1 if one else 2
    branches = [conv(values, 1, one)] if one else []
    branches.append(conv(conv(values, 1, reduce_three), 3, three, strides))
    if five:
      branches.append(conv(conv(values, 1, reduce_five), 5, five, strides))
    pooled = pool(values, strides)
    branches.append(conv(pooled, 1, projected) if projected else pooled)
    values = layers.Concatenate(name=f'module_{name}', dtype=policy)(branches)
  values = layers.GlobalAveragePooling2D(name='features', dtype='float32')(values)
  values = layers.Dense(CODE, kernel_initializer=initial(), name='bottleneck', dtype='float32')(values)
  return tf.keras.Model(images, tf.math.l2_normalize(values, axis=1, epsilon=1e-10), name='nn4')


class NN4(FaceCodes):
  """The embedding and its training, see the module's page.

  Batches hold `image` [B, 96, 96, 3] in [-1, 1], `label` [B], and `index` [B], a sample's place in the global batch.

  Attributes:
    network: see `nn4_network`.
    classifier: code [B, 128] -> logits [B, people], None unless loss=softmax.
  """

  Config = NN4Config

  def __init__(self, config: NN4Config):
    super().__init__(config)
    self.network = nn4_network(config.width, config.seed, config.precision, self.synchronized)
    self.classifier: Any = None
    if config.loss == 'softmax':
      initial = tf.keras.initializers.TruncatedNormal(stddev=0.1, seed=config.seed)
      code = tf.keras.Input([CODE], name='code')
      self.classifier = tf.keras.Model(
          code, tf.keras.layers.Dense(config.people, kernel_initializer=initial)(code), name='classifier')
    self._find_parts()
    self.optimizer_of_network = Adam(
        StepDecay(self.step, config.learning_rate, config.learning_rate_decay, config.learning_rate_decay_every, 0.0),
        epsilon=1e-8)
    self.optimizer_of_network.build(self._trained())
    self.average_weights(config.ema_decay)

  @tf.__internal__.tracking.no_automatic_dependency_tracking
  def _find_parts(self) -> None:
    """The network's two halves, between which features are dropped; its weights are not to be counted twice."""
    self._bottleneck = self.network.get_layer('bottleneck')
    self._trunk = tf.keras.Model(self.network.input, self.network.get_layer('features').output)

  def _trained(self) -> list[tf.Variable]:
    return self.network.trainable_variables + (self.classifier.trainable_variables if self.classifier else [])

  # Training.

  def step_train(self, batch: Batch) -> dict[str, tf.Tensor]:
    """One step of Adam on the softmax or the triplet loss."""
    gradients, logs = self.replica_local(self._gradients)(batch['image'], batch['label'], batch['index'])
    self.optimizer_of_network.apply_gradients(zip(gradients, self._trained(), strict=True))
    return logs

  def _gradients(self, images: tf.Tensor, labels: tf.Tensor,
                 index: tf.Tensor) -> tuple[list, dict[str, tf.Tensor]]:
    config = self.config
    with tf.GradientTape() as tape:
      features = self._trunk(standardize((images + 1) * 127.5), training=True)
      codes = self._bottleneck(self.drop(features, index))
      loss, logs = self._softmax(codes, labels) if self.classifier else self._triplet(codes, labels, index)
      if config.weight_decay > 0:
        logs['weight_penalty'] = self.weight_penalty(self._trained())
        loss += config.weight_decay * logs['weight_penalty']
    return tape.gradient(loss, self._trained()), logs

  def _softmax(self, codes: tf.Tensor, labels: tf.Tensor) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
    """This replica's share of the mean cross-entropy of the right name, and of the share of right guesses."""
    logits = self.classifier(codes)
    entropy = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
    right = tf.cast(tf.equal(tf.argmax(logits, axis=1, output_type=tf.int32), labels), tf.float32)
    size = self.config.batch_size
    loss = tf.reduce_sum(entropy) / size
    return loss, {'cross_entropy': loss, 'accuracy': tf.reduce_sum(right) / size}

  def _triplet(self, codes: tf.Tensor, labels: tf.Tensor,
               index: tf.Tensor) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
    """Semi-hard triplets of the global batch: a positive against the nearest negative that is farther away."""
    codes = tf.math.l2_normalize(codes, axis=1, epsilon=1e-10)
    if self.synchronized:
      # Everybody's codes; gradients flow to this replica's own, and the replicas' gradients are added up.
      places = index[:, tf.newaxis]
      own = tf.scatter_nd(places, codes, [self.config.batch_size, CODE])
      names = tf.scatter_nd(places, labels, [self.config.batch_size])
      everybody, labels = self.over_replicas(tf.stop_gradient(own)), self.over_replicas(names)
      codes = everybody + own - tf.stop_gradient(own)
    semihard = load_addons('losses').triplet_semihard_loss
    triplet = semihard(labels, codes, self.config.margin, distance_metric='squared-L2')
    # Each replica has the whole loss, or the loss of its own pictures: the mean over replicas either way.
    shown = triplet / self.replicas
    return (triplet if self.synchronized else shown), {'triplet_loss': shown}
