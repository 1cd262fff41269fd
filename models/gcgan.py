"""GC-GAN: Geometry-Contrastive GAN for Facial Expression Transfer (Qiao et al. 2018, https://arxiv.org/abs/1802.01822).

A picture of a person and the landmarks of an expression give the picture of that person with that expression. The
embedding E turns landmarks into a code of the expression and is trained first, by a contrastive loss; then E is fixed,
and the generator G and the critic D play WGAN-GP beside an L1 loss. Where the paper is silent or contradicts itself,
the reading is a field of `GCGANConfig`, named [paper], [released code] or [choice].
"""

from collections.abc import Callable
from typing import Any

import tensorflow as tf

import losses
from models.gcgan_config import GCGANConfig
from models.gcgan_networks import (
  LANDMARKS,
  critic_network,
  draw_landmarks,
  embedding_network,
  generator_network,
)
from models.layers import Adam, StepDecay
from models.system import Batch, System

__all__ = ['GCGAN', 'GCGANConfig']


class GCGAN(System):
  """The game of GC-GAN, see the module's page.

  Batches hold `input_image`, `target_image` [B, S, S, 3]; `target_landmarks`, `reference_landmarks` (with bend_input
  also `input_landmarks`) [B, 68, 2]; `target_expression`, `reference_expression` [B]; and `index` [B], a sample's place
  in the global batch.

  Attributes:
    embedding: E, None unless condition=embedding.
    generator: G.
    critic: D.
  """

  Config = GCGANConfig

  def __init__(self, config: GCGANConfig):
    super().__init__(config)
    self.embedding: Any = embedding_network(config, self.synchronized) if config.condition == 'embedding' else None
    self.generator = generator_network(config, self.synchronized)
    self.critic = critic_network(config)
    self._show_mask()
    self.embedding_optimizer = self._adam(self.embedding) if self.embedding else None
    self.generator_optimizer = self._adam(self.generator)
    self.warm_optimizer = self._warm_adam() if config.warm_steps else None
    self.critic_optimizer = self._adam(self.critic)
    self.average_weights(config.ema_decay)

  @classmethod
  def phases(cls, config: GCGANConfig) -> dict[str, int]:
    pretrain = {'pretrain': config.pretrain_steps} if config.condition == 'embedding' else {}
    warm = {'warm': config.warm_steps} if config.warm_steps else {}
    return {**pretrain, **warm, 'train': config.train_steps}

  def averaged_networks(self) -> list[tf.keras.Model]:
    return [self.generator]

  @tf.__internal__.tracking.no_automatic_dependency_tracking  # It has no weights of its own.
  def _show_mask(self) -> None:
    """`_drawn`: the generator, with its mask where that has a loss."""
    names = ['mask'] if self.config.mask_weight > 0 else []
    outputs = [self.generator.output, *(self.generator.get_layer(name).output for name in names)]
    self._drawn = tf.keras.Model(self.generator.inputs, outputs)

  def _adam(self, network: tf.keras.Model) -> Adam:
    config = self.config
    return _build_adam(network, StepDecay(self.step, config.learning_rate, config.learning_rate_decay,
                                          config.learning_rate_decay_every, config.learning_rate_floor))

  def _warm_adam(self) -> Adam:
    config = self.config
    return _build_adam(self.generator, tf.keras.optimizers.schedules.CosineDecay(
        config.warm_learning_rate, config.warm_steps, alpha=0.1))

  # Training.

  def start_phase(self, phase: str) -> None:
    if phase == 'train' and self.config.fix_norm and self.config.warm_steps:
      self.use_averages()  # The generator's own statistics are of the last ten batches.
    super().start_phase(phase)

  def _draw(self, distribution: Callable, shape: list, stream: int, index: tf.Tensor) -> tf.Tensor:
    """Noise [B, *shape] of this step for the samples of this replica.

    It is drawn for the global batch, from (seed, stream, step), so that replicas agree with a single device. The
    algorithm is named because XLA would choose another.
    """
    seed = tf.stack([tf.constant(self.config.seed + (stream << 31), tf.int64), self.step])
    return tf.gather(distribution([self.config.batch_size, *shape], seed, alg='philox'), index)

  def _epsilon(self, index: tf.Tensor, iteration: int) -> tf.Tensor:
    """[B] in [0, 1): where critic update `iteration` measures its slope."""
    return self._draw(tf.random.stateless_uniform, [], 2 + iteration, index)

  def _landmarks(self, batch: Batch, name: str) -> tf.Tensor:
    landmarks = batch[f'{name}_landmarks']
    if self.config.landmark_jitter == 0:
      return landmarks
    stream = ('target', 'reference').index(name)
    noise = self._draw(tf.random.stateless_normal, landmarks.shape[1:].as_list(), stream, batch['index'])
    return landmarks + self.config.landmark_jitter * noise

  def _mean(self, values: tf.Tensor) -> tf.Tensor:
    """This replica's share of the mean over the global batch."""
    return tf.reduce_sum(values) / self.config.batch_size

  def step_pretrain(self, batch: Batch) -> dict[str, tf.Tensor]:
    """Trains E: L_E = lambda_1 L_contr + lambda_2 L_gr.

    Targets and references go through E in one pass. The references are the batch's own landmarks in another order, so
    the batch moments are those of two passes.
    """
    target, reference = self._landmarks(batch, 'target'), self._landmarks(batch, 'reference')
    different = tf.not_equal(batch['target_expression'], batch['reference_expression'])
    gradients, logs = self.replica_local(self._embedding_gradients)(
        target, reference, different, self._pair_weights(different))
    _apply(self.embedding_optimizer, gradients, self.embedding)
    return logs

  def _embedding_gradients(self, target: tf.Tensor, reference: tf.Tensor, different: tf.Tensor,
                           weights: tf.Tensor) -> tuple[list, dict[str, tf.Tensor]]:
    config = self.config
    with tf.GradientTape() as tape:
      codes, rebuilt = self.embedding(tf.concat([target, reference], axis=0), training=True)
      first, second = tf.split(codes, 2)
      contrastive = tf.reduce_sum(weights * losses.contrastive_loss(first, second, different, config.margin))
      landmark = self._mean(losses.landmark_loss(target, tf.split(rebuilt, 2)[0]))
      loss = tf.constant(0.0)
      if config.contrastive_weight > 0:
        loss += config.contrastive_weight * contrastive
      if config.landmark_weight > 0:
        loss += config.landmark_weight * landmark
    logs = {'embedding_loss': loss, 'contrastive_loss': contrastive, 'landmark_loss': landmark}
    return tape.gradient(loss, self.embedding.trainable_variables), logs

  def _pair_weights(self, different: tf.Tensor) -> tf.Tensor:
    if self.config.contrastive_balance == 'pair':
      return tf.fill(tf.shape(different), 1 / self.config.batch_size)
    count = self.over_replicas(tf.reduce_sum(tf.cast(different, tf.float32)))
    return losses.class_balance(different, self.config.batch_size - count, count)

  def step_warm(self, batch: Batch) -> dict[str, tf.Tensor]:
    """Trains G by lambda_3 L_ir alone: what moves where is learnt in less than half the time without a critic."""
    tape, shown = self._generate(batch)
    towards, logs = self.replica_local(self._image_gradients)(shown, batch['target_image'], adversarial=False)
    gradients = tape.gradient(shown, self.generator.trainable_variables, output_gradients=towards)
    _apply(self.warm_optimizer, gradients, self.generator)
    return logs

  def step_train(self, batch: Batch) -> dict[str, tf.Tensor]:
    """One round of WGAN-GP: `critic_steps` updates of D, then one of G, all on this batch, with E fixed.

    As in the released code the critic's updates see the same batch; they differ in the penalty's epsilon only. G does
    not change in between, so it runs once a step, and its moving statistics move once a step. (A loop that runs G again
    for each critic update moves them six times towards the same batch.)
    """
    config = self.config
    tape, shown = self._generate(batch, training=not config.fix_norm)
    critic_gradients = self.replica_local(self._critic_gradients)
    logs = {}
    real = batch[f'{config.real_sample}_image']
    for iteration in range(config.critic_steps):
      gradients, logs = critic_gradients(real, shown[0], self._epsilon(batch['index'], iteration))
      _apply(self.critic_optimizer, gradients, self.critic)

    towards, generator_logs = self.replica_local(self._image_gradients)(shown, batch['target_image'])
    gradients = tape.gradient(shown, self.generator.trainable_variables, output_gradients=towards)
    _apply(self.generator_optimizer, gradients, self.generator)
    return {**generator_logs, **logs}

  def _generate(self, batch: Batch, training: bool = True) -> tuple[tf.GradientTape, list[tf.Tensor]]:
    """The tape that watched G make of a batch: fake images [B, S, S, 3]; with mask_weight their masks [B, S, S, 1]."""
    condition = self._condition(self._landmarks(batch, 'target'), batch['target_expression'])
    inputs = self._inputs(batch['input_image'], condition, batch.get('input_landmarks'), batch['target_landmarks'])
    generate = self.replica_local(lambda *inputs: tf.nest.flatten(self._drawn(list(inputs), training=training)))
    with tf.GradientTape() as tape:
      shown = generate(*inputs)
    return tape, shown

  def _critic_gradients(self, real: tf.Tensor, fake: tf.Tensor,
                        epsilon: tf.Tensor) -> tuple[list, dict[str, tf.Tensor]]:
    """Of L_D = D(fake) - D(real) + lambda_gp (||grad D|| - 1)^2, Eq. 5 with WGAN-GP. Real and fake share a pass."""
    with tf.GradientTape() as tape:
      real_scores, fake_scores = tf.split(self.critic(tf.concat([real, fake], axis=0)), 2)
      critic = loss = self._mean(losses.wasserstein_critic_loss(real_scores, fake_scores))
      logs = {'critic_loss': critic}
      if self.config.penalty_weight > 0:
        penalty = self._mean(losses.gradient_penalty(self.critic, losses.interpolate(real, fake, epsilon)))
        logs['gradient_penalty'] = penalty
        loss += self.config.penalty_weight * penalty
    return tape.gradient(loss, self.critic.trainable_variables), logs

  def _image_gradients(self, shown: list[tf.Tensor], target: tf.Tensor,
                       adversarial: bool = True) -> tuple[list, dict[str, tf.Tensor]]:
    """Of L_G = lambda_3 L_ir + lambda_4 L_gen, and the mask's, by what `_generate` made; lambda_4 scales L_gen only."""
    config, fake = self.config, shown[0]
    with tf.GradientTape(watch_accessed_variables=False) as tape:
      tape.watch(shown)
      image = self._mean(losses.l1_loss(target, fake, config.image_loss_reduction))
      logs = {'image_loss': image}
      loss = tf.constant(0.0)
      if config.image_weight > 0:
        loss += config.image_weight * image
      if adversarial and config.adversarial_weight > 0:
        logs['adversarial_loss'] = self._mean(losses.wasserstein_generator_loss(self.critic(fake)))
        loss += config.adversarial_weight * logs['adversarial_loss']
      if config.mask_weight > 0:
        logs['mask'] = self._mean(tf.reduce_mean(shown[1], axis=[1, 2, 3]))
        loss += config.mask_weight * logs['mask']
    return tape.gradient(loss, shown), {'generator_loss': loss, **logs}

  # Use.

  def _inputs(self, images: tf.Tensor, condition: tf.Tensor, own: tf.Tensor | None,
              goals: tf.Tensor | None) -> list[tf.Tensor]:
    """What the generator takes; with bend_input also the landmarks of the images and where they are to lie."""
    if not self.config.bend_input:
      return [images, condition]
    if own is None or goals is None:
      raise ValueError('a model with bend_input=true needs the landmarks of its input too')
    return [images, condition, own, goals]

  def _condition(self, landmarks: tf.Tensor, expression: tf.Tensor) -> tf.Tensor:
    if self.config.condition == 'embedding':
      return self.encode(landmarks)
    if self.config.condition == 'onehot':
      return tf.one_hot(expression, self.config.expressions)
    return draw_landmarks(landmarks, self.config.image_size)

  def encode(self, landmarks: tf.Tensor) -> tf.Tensor:
    """The expression code z_g of landmarks, for condition=embedding: [B, 68, 2] in [-1, 1] -> [B, 32], at least 0."""
    if self.embedding is None:
      raise ValueError(f'condition={self.config.condition} has no embedding and so no codes')
    return self.embedding(landmarks, training=False)[0]

  def generate(self, images: tf.Tensor, condition: tf.Tensor, own: tf.Tensor | None = None,
               goals: tf.Tensor | None = None) -> tf.Tensor:
    """Shows people with the expression of a condition, for example of a code between two of `encode`'s.

    Args:
      images: [B, S, S, 3] in [-1, 1].
      condition: codes [B, 32], one-hot labels [B, expressions] or drawn landmarks [B, S, S, 1].
      own, goals: [B, 68, 2] for bend_input: landmarks of the images, and where they are to lie.
    Returns:
      [B, S, S, 3] in [-1, 1].
    Raises:
      ValueError: if bend_input lacks its landmarks.
    """
    return self.generator(self._inputs(images, condition, own, goals), training=False)

  def transfer(self, source: tf.Tensor, driver: tf.Tensor, source_landmarks: tf.Tensor | None = None) -> tf.Tensor:
    """Shows the source with the expression of the driver.

    Args:
      source: [B, S, S, 3] images in [-1, 1] of whom to show.
      driver: [B, 68, 2] landmarks in [-1, 1] of the crop; with condition=onehot [B] labels of expressions.
      source_landmarks: [B, 68, 2] of the source, for bend_input.
    Returns:
      [B, S, S, 3] images in [-1, 1].
    Raises:
      ValueError: if they are missing.
    """
    return self.generate(source, self._condition(driver, driver), source_landmarks, driver)

  def flow(self, source: tf.Tensor, driver: tf.Tensor, source_landmarks: tf.Tensor | None = None) -> tf.Tensor:
    """Where in the source each place of `transfer`'s picture comes from, for composition=warp.

    Args:
      source, driver, source_landmarks: as of `transfer`.
    Returns:
      [B, S, S, 2] offsets in x and y; 2 is the distance from the first to the last column or row.
    """
    flow = tf.keras.Model(self.generator.inputs, self.generator.get_layer('flow').output)
    return flow(self._inputs(source, self._condition(driver, driver), source_landmarks, driver), training=False)

  def sample(self, batch: Batch) -> dict[str, tf.Tensor]:
    driver = batch['target_expression' if self.config.condition == 'onehot' else 'target_landmarks']
    output = self.transfer(batch['input_image'], driver, batch.get('input_landmarks'))
    return {'input': batch['input_image'], 'output': output, 'target': batch['target_image']}

  def signatures(self) -> dict[str, tf.types.experimental.GenericFunction]:
    """Functions of the SavedModel.

    `serving_default`: `images` uint8 [N, S, S, 3] and `landmarks` float32 [N, 68, 2] in [-1, 1] (with condition=onehot
    `expressions` int32 [N]) -> `images` uint8. With condition=embedding also `encode`: `landmarks` -> `codes` [N, 32];
    with composition=warp also `move`: `images`, `landmarks` -> `flow` [N, S, S, 2], see `flow`. With bend_input both
    pictures' functions take `source_landmarks` [N, 68, 2] too.
    """
    size = self.config.image_size
    images = tf.TensorSpec([None, size, size, 3], tf.uint8, name='images')
    landmarks = tf.TensorSpec([None, LANDMARKS, 2], tf.float32, name='landmarks')

    def read(source: tf.Tensor) -> tf.Tensor:
      return tf.cast(source, tf.float32) / 127.5 - 1

    def show(source: tf.Tensor, driver: tf.Tensor, source_landmarks: tf.Tensor | None = None) -> dict[str, tf.Tensor]:
      shown = self.transfer(read(source), driver, source_landmarks)
      return {'images': tf.cast(tf.round(tf.clip_by_value((shown + 1) * 127.5, 0, 255)), tf.uint8)}

    if self.config.condition == 'onehot':
      labels = tf.TensorSpec([None], tf.int32, name='expressions')
      return {'serving_default': tf.function(lambda images, expressions: show(images, expressions), [images, labels])}

    def of_landmarks(answer: Callable) -> tf.types.experimental.GenericFunction:
      if self.config.bend_input:
        own = tf.TensorSpec([None, LANDMARKS, 2], tf.float32, name='source_landmarks')
        return tf.function(
            lambda images, landmarks, source_landmarks: answer(images, landmarks, source_landmarks),
            [images, landmarks, own])
      return tf.function(lambda images, landmarks: answer(images, landmarks), [images, landmarks])

    functions = {'serving_default': of_landmarks(show)}
    if self.config.condition == 'embedding':
      functions['encode'] = tf.function(lambda landmarks: {'codes': self.encode(landmarks)}, [landmarks])
    if self.config.composition == 'warp':
      functions['move'] = of_landmarks(lambda source, *landmarks: {'flow': self.flow(read(source), *landmarks)})
    return functions


def _build_adam(network: tf.keras.Model, rate: tf.keras.optimizers.schedules.LearningRateSchedule) -> Adam:
  optimizer = Adam(rate, beta_1=0.5, beta_2=0.999, epsilon=1e-8)
  optimizer.build(network.trainable_variables)
  return optimizer


def _apply(optimizer: Adam, gradients: list, network: tf.keras.Model) -> None:
  optimizer.apply_gradients(zip(gradients, network.trainable_variables, strict=True))
