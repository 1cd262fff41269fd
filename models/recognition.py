"""The recogniser of GANFaces' experiments (Gecer et al. 2018, https://arxiv.org/abs/1804.03675, section 5.3): does a
face network learn more from real identities when generated ones are added?

VGG-19 with two softmax layers, one that names the real people and one that names the generated ones. The gradient of
the second into the backbone is halved; heads and backbone have rates of their own. Of the released code
(barisgecer/facenet, train_softmax.py) the batches are taken, which are of both sets together, but not its slip by which
the generated head learnt the labels of the real one. What is evaluated is the code before the heads.
"""

from typing import Any

import tensorflow as tf

from models.face_codes import FaceCodes, standardize
from models.layers import Adam, StepDecay, vgg19
from models.nn4 import nn4_network
from models.recognition_config import RecognitionConfig
from models.system import Batch

__all__ = ['Recognition', 'RecognitionConfig']


class Recognition(FaceCodes):
  """The network and its training, see the module's page.

  Batches hold `image` [B, 96, 96, 3] in [-1, 1], `generated` [B] in {0, 1}, `label` [B], who it is among the real or
  among the generated people, and `index` [B], a sample's place in the global batch.

  Attributes:
    network: standardised squares -> codes of length 1: 4096 width numbers, 1,000 with head=released, 128 of NN4.
    real_head: code [B, D] -> logits [B, real people].
    generated_head: code [B, D] -> logits [B, generated people]; None without generated pictures.
  """

  Config = RecognitionConfig

  def __init__(self, config: RecognitionConfig):
    super().__init__(config)
    released = config.head == 'released'
    if config.backbone == 'nn4':
      self.network = nn4_network(config.width, config.seed, config.precision, self.synchronized)
    else:
      self.network = vgg19.code_network(config.width, [config.seed, 8], config.precision, scores=released)
    self.real_head = self._head('real_head', config.people, 1)
    self.generated_head: Any = None
    if config.generated:
      self.generated_head = self._head('generated_head', config.generated_people, 2)
    self._find_stages()
    part = 0.1 if released else 1.0
    self.backbone_optimizer = self._adam(part * config.learning_rate, self.network.trainable_variables)
    self.head_optimizer = self._adam(part * config.head_learning_rate, self._head_weights())
    self.average_weights(config.ema_decay)

  @classmethod
  def notes(cls, config: RecognitionConfig) -> list[str]:
    if config.backbone != 'vgg19' or config.vgg19_weights or config.init_from:
      return []
    return ['without the weights of ImageNet (--vgg19_weights=imagenet or a path) VGG-19 starts from random ones, and '
            'without normalisation it learns slowly: backbone=nn4 is made for that']

  def _head(self, name: str, people: int, stream: int) -> tf.keras.Model:
    initial = tf.keras.initializers.TruncatedNormal(stddev=0.01, seed=self.config.seed * 4 + stream)
    code = tf.keras.Input(self.network.output_shape[1:], name='code')
    return tf.keras.Model(code, tf.keras.layers.Dense(people, kernel_initializer=initial)(code), name=name)

  @tf.__internal__.tracking.no_automatic_dependency_tracking
  def _find_stages(self) -> None:
    """The parts of the network between which features are dropped; its weights are not to be counted twice."""
    small = self.config.backbone == 'nn4'
    first, *others = ('features', 'bottleneck') if small else ('fc1', 'fc2', 'predictions')
    layers = {layer.name: layer for layer in self.network.layers}
    self._stages = [tf.keras.Model(self.network.input, layers[first].output)]
    self._stages += [layers[name] for name in others if name in layers]
    self._drops = 1 if small else 2  # Behind so many of them.

  def _adam(self, rate: float, weights: list[tf.Variable]) -> Adam:
    config = self.config
    schedule = StepDecay(self.step, rate, config.learning_rate_decay, config.learning_rate_decay_every, 0.0)
    optimizer = Adam(schedule, epsilon=config.adam_epsilon)
    optimizer.build(weights)
    return optimizer

  def _head_weights(self) -> list[tf.Variable]:
    heads = [self.real_head, *[self.generated_head] * (self.generated_head is not None)]
    return [weight for head in heads for weight in head.trainable_variables]

  def start_phase(self, phase: str) -> None:
    if self.config.vgg19_weights and not self.config.init_from:
      vgg19.load(self.config.vgg19_weights, self.network, top=True)
    super().start_phase(phase)

  def step_train(self, batch: Batch) -> dict[str, tf.Tensor]:
    """One step of both Adams on the two cross-entropies."""
    gradients, logs = self.replica_local(self._gradients)(
        batch['image'], batch['label'], batch['generated'], batch['index'])
    weights = self.network.trainable_variables, self._head_weights()
    for optimizer, some, their in zip((self.backbone_optimizer, self.head_optimizer), weights, gradients, strict=True):
      optimizer.apply_gradients(zip(their, some, strict=True))
    return logs

  def _gradients(self, images: tf.Tensor, labels: tf.Tensor, generated: tf.Tensor,
                 index: tf.Tensor) -> tuple[tuple[list, list], dict[str, tf.Tensor]]:
    config, weights = self.config, (self.network.trainable_variables, self._head_weights())
    with tf.GradientTape() as tape:
      codes = self._codes(standardize((images + 1) * 127.5), index)
      loss, logs = self._classify(codes, labels, tf.equal(generated, 1))
      if config.weight_decay > 0:
        logs['weight_penalty'] = self.weight_penalty([*weights[0], *weights[1]])
        loss += config.weight_decay * logs['weight_penalty']
    gradients: Any = tape.gradient(loss, weights)
    return gradients, logs

  def _codes(self, squares: tf.Tensor, index: tf.Tensor) -> tf.Tensor:
    """Codes [B, D] as training sees them, of any length."""
    values = squares
    for place, stage in enumerate(self._stages):
      values = stage(values, training=True)
      if place < self._drops:
        values = self.drop(values, index, place)
    return tf.cast(values, tf.float32)

  def _classify(self, codes: tf.Tensor, labels: tf.Tensor,
                generated: tf.Tensor) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
    """This replica's share of both cross-entropies, each a sum over its pictures over the size of the whole batch, and
    of the share of all pictures that their head names rightly."""
    config, real = self.config, tf.logical_not(generated)

    def named(logits: tf.Tensor, own: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
      mine = tf.where(own, labels, 0)  # The other set's labels may be beyond this head.
      entropy = tf.nn.sparse_softmax_cross_entropy_with_logits(mine, logits)
      right = own & tf.equal(tf.argmax(logits, axis=1, output_type=tf.int32), labels)
      return share(entropy, own), tf.reduce_sum(tf.cast(right, tf.float32)) / config.batch_size

    def share(values: tf.Tensor, own: tf.Tensor) -> tf.Tensor:
      return tf.reduce_sum(tf.where(own, values, 0.0)) / config.batch_size

    logits = self.real_head(codes)
    loss, accuracy = named(logits, real)
    logs = {'real_cross_entropy': loss}
    if self.generated_head is not None:
      kept = config.generated_gradient
      slowed = kept * codes + (1 - kept) * tf.stop_gradient(codes)
      logs['generated_cross_entropy'], right = named(self.generated_head(slowed), generated)
      loss, accuracy = loss + logs['generated_cross_entropy'], accuracy + right
      if config.uniform_weight > 0:
        logs['uniform_loss'] = share(-tf.reduce_mean(tf.nn.log_softmax(logits), axis=1), generated)
        loss += config.uniform_weight * logs['uniform_loss']
    return loss, {**logs, 'accuracy': accuracy}
