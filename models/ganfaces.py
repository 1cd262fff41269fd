"""GANFaces: Semi-supervised Adversarial Learning to Generate Photorealistic Face Images of New Identities from 3D
Morphable Model (Gecer et al. 2018, https://arxiv.org/abs/1804.03675).

The generator G turns renders x of a face model into photographs, the inverse generator G' photographs into renders. D_R
knows photographs y, D_S renders; both are BEGAN's autoencoders. G' is also the discriminator of pairs (s, r): a
photograph r and the render s of its fit. C, a frozen face embedding, keeps the renders of one person one person. Where
the paper is silent or contradicts itself, the reading is a field of `GANFacesConfig`.
"""

import functools
from collections.abc import Callable
from typing import Any

import tensorflow as tf

import losses
from models import ganfaces_identity
from models.ganfaces_config import GANFacesConfig
from models.ganfaces_game import Game
from models.ganfaces_identity import CODE, View
from models.ganfaces_networks import autoencoder_network, generator_network, keep_shape
from models.layers import Adam, Halvings
from models.system import Batch, System

__all__ = ['GANFaces', 'GANFacesConfig', 'mean_distance']

_HALVED_AFTER = (128, 192, 224, 240, 244, 246, 247)  # Of 248 parts of the schedule.
_KNOWN = 14  # Visits after which a centroid is half way to where it belongs (1 - .95^14 = .51).
_ENOUGH = 60  # Visits that bring it there (1 - .95^60 = .95).


class GANFaces(System):
  """The game of GANFaces, see the module's page.

  Batches hold `render`, `photo` and, where `config.uses_pairs`, `pair_photo`, `pair_render` [B, S, S, 3] in [-1, 1];
  `render_mask` [B, S, S, 1]; `render_landmarks` [B, 68, 2]; `label` [B]; and `index` [B], a sample's place in the
  global batch.

  Attributes:
    generator: G.
    inverse: G', None in the simGAN arm.
    photo_discriminator: D_R.
    render_discriminator: D_S, None in the simGAN arm.
    balances: k_t of each game: `photo` (k_R), `render` (k_S) and `pair` (k_P).
    centroids: [identities, 128], of the identity losses that have them.
    visits: [identities], how often each was visited.
  """

  Config = GANFacesConfig

  def __init__(self, config: GANFacesConfig):
    super().__init__(config)
    self.generator = generator_network(config, skips=True)
    self.photo_discriminator = autoencoder_network(config, 'photo')
    self.inverse: Any = generator_network(config, skips=False) if config.inverse else None
    self.render_discriminator: Any = autoencoder_network(config, 'render') if config.inverse else None
    self.classifier: Any = _classifier(config) if config.identity_loss == 'softmax' else None
    self.game = Game(config, self.generator, self.inverse, self.photo_discriminator, self.render_discriminator)
    games = ['photo', *['render'] * config.inverse, *['pair'] * (config.pair_weight > 0 and config.cycle_weight > 0)]
    self.balances = {name: _state(config.balance_start, f'{name}_balance') for name in games}
    if config.keeps_centroids:
      self.centroids = _state(tf.zeros([config.identities, CODE]), 'centroids')
      self.visits = _state(tf.zeros([config.identities], tf.int64), 'visits')
    self._embedding: Any = None

    rate = Halvings(self.step, config.learning_rate,
                    [round(config.learning_rate_steps * part / 248) for part in _HALVED_AFTER],
                    config.learning_rate_floor)
    self.generator_optimizer = _adam(rate, self._generator_weights())
    self.inverse_optimizer = _adam(rate, self.inverse.trainable_variables) if self.inverse else None
    self.discriminator_optimizer = _adam(rate, self._discriminator_weights())
    self.warm_optimizer = _adam(tf.keras.optimizers.schedules.CosineDecay(
        config.warm_learning_rate, config.warm_steps, alpha=0.1), self._warm_weights()) if config.warm_steps else None
    self.average_weights(config.ema_decay)

  @classmethod
  def phases(cls, config: GANFacesConfig) -> dict[str, int]:
    return {**({'warm': config.warm_steps} if config.warm_steps else {}), 'train': config.train_steps}

  @classmethod
  def notes(cls, config: GANFacesConfig) -> list[str]:
    visits = config.train_steps * config.batch_size / config.identities
    if not config.keeps_centroids or visits >= _ENOUGH:
      return []
    most = int(config.train_steps * config.batch_size / _ENOUGH)
    return [f'each person is visited {visits:.1f} times, and centroids need {_ENOUGH}: the identity loss does little '
            f'unless --identities is at most {most:,}, or there are more steps']

  def _networks(self) -> list[tf.keras.Model]:
    networks = [self.generator, self.inverse, self.photo_discriminator, self.render_discriminator]
    return [network for network in networks if network is not None]

  def averaged_networks(self) -> list[tf.keras.Model]:
    return self._networks()

  def _generator_weights(self) -> list[tf.Variable]:
    return self.generator.trainable_variables + (self.classifier.trainable_variables if self.classifier else [])

  def _discriminator_weights(self) -> list[tf.Variable]:
    own = self.photo_discriminator.trainable_variables
    return own + (self.render_discriminator.trainable_variables if self.render_discriminator else [])

  def _warm_weights(self) -> list[tf.Variable]:
    if not self.config.warm_generators:
      return self._discriminator_weights()
    inverse = self.inverse.trainable_variables if self.inverse else []
    return self._discriminator_weights() + self.generator.trainable_variables + inverse

  def compile(self, *args, **kwargs) -> None:
    super().compile(*args, **kwargs)
    if self.config.identity_loss != 'none':
      with self.distribute_strategy.scope():
        self._load_embedding()

  @tf.__internal__.tracking.no_automatic_dependency_tracking
  def _load_embedding(self) -> Any:
    """C, loaded at its first use and no part of a checkpoint: a trained model makes pictures without it."""
    if self._embedding is None:
      with tf.init_scope():
        self._embedding = ganfaces_identity.load(self.config.embedding)
    return self._embedding

  # Randomness: functions of (seed, step, place in the global batch), so that replicas agree with a single device.

  def _draw(self, shape: list[int], stream: int) -> tf.Tensor:
    """Uniform noise of this step in [0, 1); the algorithm is named because XLA would choose another."""
    seed = tf.stack([tf.constant(self.config.seed + (stream << 31), tf.int64), self.step])
    return tf.random.stateless_uniform(shape, seed, alg='philox')

  def _keep(self, index: tf.Tensor, stream: int) -> tf.Tensor:
    """What the dropouts of G keep in its pass number `stream` of a step."""
    if self.config.dropout == 0:
      return tf.ones([1, 3, 1, 1, 1])
    return self._kept(tf.gather(self._draw([self.config.batch_size, *keep_shape(self.config)], stream), index))

  def _kept(self, noise: tf.Tensor) -> tf.Tensor:
    return tf.where(noise >= self.config.dropout, 1 / (1 - self.config.dropout), 0.0)

  def _view(self, index: tf.Tensor) -> View:
    """How C sees the pictures of this step."""
    turn, mirror = tf.unstack(tf.gather(self._draw([self.config.batch_size, 2], 3), index), axis=1)
    angle = (2 * turn - 1) * (self.config.rotation * 3.141592653589793 / 180)
    return View(self._draw([2], 4), angle, mirror < 0.5)

  # Training.

  def _pixel_weight(self) -> tf.Tensor:
    end, config = tf.constant(self.config.pixel_weight), self.config
    if not config.pixel_fall_steps:
      return end
    left = tf.maximum(1 - tf.cast(self.step, tf.float32) / config.pixel_fall_steps, 0.0)
    return end + (config.pixel_weight_start - end) * left

  def step_warm(self, batch: Batch) -> dict[str, tf.Tensor]:
    """Trains D_R and D_S to copy real pictures; with `warm_generators` G and G' too, by their image losses alone.

    A young autoencoder can only draw a mean face, and a generator that learns from it makes nothing else.
    """
    weights = self._warm_weights()
    gradients, logs = self.replica_local(functools.partial(self.game.warm, weights=weights))(
        batch, self._keep(batch['index'], 0))
    _apply(self.warm_optimizer, gradients, weights)
    return logs

  def step_train(self, batch: Batch) -> dict[str, tf.Tensor]:
    """One round: each network goes once over its pictures, and all are updated from that [paper, Eq. 8 to 10].

    G      L_G + lambda_s L_cyc + lambda_c L_C + lambda_p L_id
    G'     L_G' + lambda_s L_cyc + lambda_d L_DP
    D_R    L_DR, and D_S L_DS, by one Adam
    """
    config, index = self.config, batch['index']
    keeps = [self._keep(index, stream) for stream in range(3)]  # Those that no pass uses are not computed.
    generate = self.replica_local(lambda images, keep: self.generator([images, keep], training=True))
    with tf.GradientTape() as tape:
      fake = generate(batch['render'], keeps[0])
    balances = {name: tf.identity(value) for name, value in self.balances.items()}
    slope, gradients, errors, logs = self.replica_local(self.game.play)(
        batch, fake, balances, keeps, self._pixel_weight())
    if config.identity_loss != 'none':
      identity_slope, gradients['classifier'], identity_logs = self._identity_gradients(batch, fake)
      slope += config.identity_weight * identity_slope
      logs['generator_loss'] += config.identity_weight * identity_logs['identity_loss']
      logs |= identity_logs
    own = tape.gradient(fake, self.generator.trainable_variables, output_gradients=slope)
    gradients['generator'] = [tf.add_n(parts) for parts in zip(own, *gradients['generator'], strict=True)]

    _apply(self.generator_optimizer, gradients['generator'] + gradients.get('classifier', []),
           self._generator_weights())
    if self.inverse:
      _apply(self.inverse_optimizer, gradients['inverse'], self.inverse.trainable_variables)
    _apply(self.discriminator_optimizer, gradients['discriminators'], self._discriminator_weights())
    return {**logs, **self._update_balances(errors)}

  def _identity_gradients(self, batch: Batch, fake: tf.Tensor) -> tuple[tf.Tensor, list, dict[str, tf.Tensor]]:
    """The slope of L_C at G(x), and the gradients of the classifier's weights; moves the centroids."""
    weights = self.classifier.trainable_variables if self.classifier else []
    look = self.replica_local(functools.partial(ganfaces_identity.look, self._load_embedding()))
    with tf.GradientTape() as tape:
      tape.watch(fake)
      codes = look(fake, batch['render_landmarks'], self._view(batch['index']))
      loss = self.game.mean(self._identity_losses(codes, batch['label']))
    found: Any = tape.gradient(loss, [fake, weights])
    logs = {'identity_loss': loss}
    if self.config.keeps_centroids:
      known = tf.reduce_mean(tf.cast(self.visits >= _KNOWN, tf.float32))
      logs |= {'centroid_norm': tf.reduce_mean(tf.norm(self.centroids, axis=1)) / self.replicas,
               'centroids_visited': known / self.replicas}
    return found[0], found[1], logs

  def _identity_losses(self, codes: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    config = self.config
    if self.classifier:
      return tf.nn.sparse_softmax_cross_entropy_with_logits(labels, self.classifier(codes))
    seen, seen_labels = self._gather(tf.stop_gradient(codes)), self._gather(labels)
    centroids = losses.move_centroids(self.centroids, seen, seen_labels, config.centroid_momentum)
    self.centroids.assign(centroids)  # Before the distances are taken [released code].
    self.visits.assign(tf.tensor_scatter_nd_add(self.visits, seen_labels[:, tf.newaxis],
                                                tf.ones_like(seen_labels, tf.int64)))
    if config.identity_loss == 'center':
      return losses.squared_distance(codes, tf.gather(centroids, labels))
    distances = losses.centroid_distances(codes, centroids)
    spread = losses.set_spread(tf.gather(distances, labels, batch_dims=1), config.batch_size)
    sigma = tf.maximum(self.over_replicas(spread), config.sigma_floor)
    return losses.set_identity_loss(distances, labels, sigma, config.identity_margin)

  def _gather(self, values: tf.Tensor) -> tf.Tensor:
    """Rows of all replicas."""
    return tf.distribute.get_replica_context().all_gather(values, axis=0) if self.replicas > 1 else values

  def _update_balances(self, errors: dict[str, tuple[tf.Tensor, tf.Tensor]]) -> dict[str, tf.Tensor]:
    """Moves each k_t; returns what is logged of the games."""
    config, logs = self.config, {}
    names = list(errors)
    both = self.over_replicas(tf.stack([tf.stack(errors[name]) for name in names]))
    for place, name in enumerate(names):
      real, fake = tf.unstack(both[place])
      logs[f'{name}_real_error'] = errors[name][0]
      if name not in self.balances:  # Without the cycle the pairs have no fakes.
        continue
      balance = losses.update_balance(self.balances[name], real, fake, config.balance_gamma, config.balance_rate)
      self.balances[name].assign(balance)
      measure = losses.convergence_measure(real, fake, config.balance_gamma)
      logs |= {f'{name}_fake_error': errors[name][1], f'{name}_balance': balance / self.replicas,
               f'{name}_convergence': measure / self.replicas}
    return logs

  # Use.

  def translate(self, renders: tf.Tensor, seed: tf.Tensor | int = 0, index: tf.Tensor | None = None,
                deterministic: bool = False) -> tf.Tensor:
    """Renders -> photographs; the dropouts of G stay on, as in training.

    Args:
      renders: [B, S, S, 3] in [-1, 1].
      seed: of the dropouts.
      index: [B] int64, by which, and the seed, the dropouts of a picture are drawn; its place in the batch if not
        given.
      deterministic: leave the dropouts out.
    Returns:
      [B, S, S, 3] in [-1, 1].
    """
    if deterministic or self.config.dropout == 0:
      return self.generator([renders, tf.ones([1, 3, 1, 1, 1])], training=False)
    index = tf.range(tf.shape(renders)[0], dtype=tf.int64) if index is None else tf.cast(index, tf.int64)
    seed = tf.cast(seed, tf.int64)
    noise = tf.map_fn(lambda place: tf.random.stateless_uniform(
        keep_shape(self.config), tf.stack([seed, place]), alg='philox'), index, fn_output_signature=tf.float32)
    return self.generator([renders, self._kept(noise)], training=False)

  def invert(self, photos: tf.Tensor) -> tf.Tensor:
    """Photographs -> renders, by G': [B, S, S, 3] -> [B, S, S, 3], in [-1, 1]."""
    if self.inverse is None:
      raise ValueError('inverse=false has trained no inverse generator')
    return self.inverse(photos, training=False)

  def scores(self, renders: tf.Tensor, outputs: tf.Tensor) -> dict[str, tf.Tensor]:
    """How far each translation can be trusted, lower is better: [B] each.

    `photo_error`, what D_R cannot copy; `cycle_error`, how much of the render is lost (not in the simGAN arm).
    """
    found = {'photo_error': losses.l1_loss(outputs, self.photo_discriminator(outputs, training=False))}
    if self.inverse is not None:
      found['cycle_error'] = losses.l1_loss(renders, self.invert(outputs))
    return found

  def codes(self, images: tf.Tensor, landmarks: tf.Tensor) -> tf.Tensor:
    """Codes [B, 128] of length 1 that C has for pictures [B, S, S, 3] with landmarks [B, 68, 2], without chance."""
    view = ganfaces_identity.centre_view(tf.shape(images)[0])
    return ganfaces_identity.look(self._load_embedding(), images, landmarks, view)

  def sample(self, batch: Batch) -> dict[str, tf.Tensor]:
    columns = {'render': batch['render'], 'output': self.translate(batch['render'], self.config.seed)}
    if self.inverse is not None:
      columns['cycle'] = self.invert(columns['output'])
    columns |= {'photo': batch['photo'], 'photo_copy': self.photo_discriminator(batch['photo'], training=False),
                'output_copy': self.photo_discriminator(columns['output'], training=False)}
    if self.inverse is not None and self.config.uses_pairs:
      columns |= {'pair_photo': batch['pair_photo'], 'fitted': self.invert(batch['pair_photo']),
                  'pair_render': batch['pair_render']}
    return columns

  def inspect(self, batch: Batch) -> tuple[dict[str, float], list[str]]:
    """Mean distances between the pictures of a fixed batch: a generator that draws one face has healthy losses."""
    if self.phase == 'warm' and not self.config.warm_generators:
      return {}, []
    pictures = {'render': batch['render'], 'output': self.translate(batch['render'], self.config.seed)}
    figures = {f'{name}_spread': float(mean_distance(images)) for name, images in pictures.items()}
    if self.config.identity_loss != 'none':
      figures |= {f'{name}_code_spread': float(mean_distance(self.codes(images, batch['render_landmarks'])))
                  for name, images in pictures.items()}
    warnings = []
    for kind, words in (('spread', 'pixels'), ('code_spread', 'face codes')):
      of_output, of_render = (figures.get(f'{name}_{kind}', 0.0) for name in ('output', 'render'))
      if of_output < 0.5 * of_render and self.step > 0:
        warnings.append(f'the translations differ among each other by {of_output:.3f} ({words}), less than half of '
                        f'what their renders do ({of_render:.3f}): look whether they show one and the same face')
    return figures, warnings

  def signatures(self) -> dict[str, tf.types.experimental.GenericFunction]:
    """Functions of the SavedModel, uint8 [N, S, S, 3] in and out.

    `serving_default`: renders `images` -> photographs `images`, the same dropouts for each picture. `translate`:
    `images` and `seeds` int64 [N] -> `images`, the dropouts of each by its seed. `invert`: photographs -> renders.
    """
    images = tf.TensorSpec([None, self.config.image_size, self.config.image_size, 3], tf.uint8, name='images')
    seeds = tf.TensorSpec([None], tf.int64, name='seeds')

    def serve(function: Callable) -> Callable:
      def served(images: tf.Tensor, *rest: tf.Tensor) -> dict[str, tf.Tensor]:
        shown = function(tf.cast(images, tf.float32) / 127.5 - 1, *rest)
        return {'images': tf.cast(tf.round(tf.clip_by_value((shown + 1) * 127.5, 0, 255)), tf.uint8)}
      return served

    same = serve(lambda x: self.translate(x, 0, tf.zeros([tf.shape(x)[0]], tf.int64)))
    seeded, inverse = serve(lambda x, seeds: self.translate(x, 0, seeds)), serve(self.invert)
    functions = {'serving_default': tf.function(lambda images: same(images), [images]),
                 'translate': tf.function(lambda images, seeds: seeded(images, seeds), [images, seeds])}
    if self.inverse is not None:
      functions['invert'] = tf.function(lambda images: inverse(images), [images])
    return functions


def mean_distance(rows: tf.Tensor) -> tf.Tensor:
  """The mean over all pairs of [B, ...] of the root mean square difference."""
  rows = tf.reshape(rows, [rows.shape[0], -1])
  square = tf.reduce_mean(tf.math.squared_difference(rows[:, tf.newaxis], rows[tf.newaxis]), axis=-1)
  return tf.reduce_sum(tf.sqrt(square)) / max(rows.shape[0] * (rows.shape[0] - 1), 1)


def _state(value: Any, name: str) -> tf.Variable:
  """State that every replica computes alike from what all of them gave."""
  return tf.Variable(value, trainable=False, name=name, aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA)


def _classifier(config: GANFacesConfig) -> tf.keras.layers.Dense:
  """The layer of the softmax identity loss: codes [B, 128] -> logits [B, identities]."""
  layer = tf.keras.layers.Dense(config.identities, name='classifier', kernel_initializer=(
      tf.keras.initializers.GlorotUniform(seed=config.seed)))
  layer.build([None, CODE])
  return layer


def _adam(rate: Any, weights: list[tf.Variable]) -> Adam:
  optimizer = Adam(rate, beta_1=0.9, beta_2=0.999, epsilon=1e-8)
  optimizer.build(weights)
  return optimizer


def _apply(optimizer: Adam | None, gradients: list, weights: list[tf.Variable]) -> None:
  assert optimizer is not None
  optimizer.apply_gradients(zip(gradients, weights, strict=True))
