"""CycleGAN face-off: video face translation with CycleGAN, and what its authors tried to make it better.

Two videos of two people, without pairs. G turns frames of A into frames of B, F those of B into those of A; what comes
back of F(G(a)) should be a, and D_Y and D_X should not tell G(a) from b and F(b) from a. Around this baseline stand the
paper's variants: an SSIM loss, other games (WGAN), the face's mask as weight or as crop, a U-Net for G and F, deeper
discriminators, and two of them. Where the paper is silent or contradicts its code, the reading is a field of
`FaceOffConfig`, named [paper], [released code], [CycleGAN] or [choice].
"""

from typing import Any

import tensorflow as tf

from models.faceoff_config import FaceOffConfig
from models.faceoff_game import DIRECTIONS, Game, Keeps, Pictures
from models.faceoff_networks import build_networks, keep_shapes
from models.ganfaces import mean_distance
from models.layers import Adam, LinearDecay
from models.system import Batch, System

__all__ = ['FaceOff', 'FaceOffConfig']

_PASSES = 6  # Of the generators in their own update; the critics' fakes are made in further ones.


class FaceOff(System):
  """The game of face-off, see the module's page.

  Batches hold `a` and `b` [B, S, S, 3] in [-1, 1], which are no pairs; `a_mask`, `b_mask` [B, S, S, 1], 1 on the face;
  and `index` [B], a sample's place in the global batch. Where `config.critic_steps` is more than 1, each update of the
  critics has pictures of its own: `critic_a`, `critic_b` [B, critic_steps, S, S, 3], `critic_a_mask`, `critic_b_mask`.

  Attributes:
    a2b: G.
    b2a: F.
    discriminators_a, discriminators_b: D_X and D_Y, one or two each.
    pools: older fakes by the domain that they should be of, [batch_size * pool_size, S, S, 3]; each place of the global
      batch owns `pool_size` of them.
  """

  Config = FaceOffConfig

  def __init__(self, config: FaceOffConfig):
    super().__init__(config)
    networks = build_networks(config)
    self.a2b, self.b2a = networks.generators['a2b'], networks.generators['b2a']
    self.discriminators_a, self.discriminators_b = networks.discriminators['a'], networks.discriminators['b']
    self._game = Game(config, networks)
    self.generator_optimizer = self._optimizer(self._game.generator_weights)
    self.discriminator_optimizer = self._optimizer(self._game.discriminator_weights)
    self.pools = {domain: _pool(config) for domain in ('a', 'b')} if config.pool_size else {}
    self.average_weights(config.ema_decay)

  def averaged_networks(self) -> list[tf.keras.Model]:
    return [self.a2b, self.b2a]

  def _optimizer(self, weights: list[tf.Variable]) -> Any:
    """One for all networks of a side: it treats each weight by itself, as one for each network would."""
    config = self.config
    rate = LinearDecay(self.step, config.learning_rate, config.constant_steps, config.decay_steps)
    if config.optimizer == 'rmsprop':
      # PyTorch's, squared, as Keras adds it under the root; there its own 1e-7 would drown a clipped critic's slopes.
      optimizer = tf.keras.optimizers.RMSprop(rate, rho=0.99, epsilon=1e-16)
    else:
      moments = (0.0, 0.9) if config.adversarial == 'wgan_gp' else (0.5, 0.999)
      optimizer = Adam(rate, *moments, epsilon=1e-8)
    optimizer.build(weights)
    return optimizer

  # Randomness: functions of (seed, step, place in the global batch), so that replicas agree with a single device.

  def _draw(self, shape: list[int], stream: int) -> tf.Tensor:
    """Uniform noise [B, *shape] of this step in [0, 1), B of the global batch; XLA would choose another algorithm."""
    seed = tf.stack([tf.constant(self.config.seed + (stream << 31), tf.int64), self.step])
    return tf.random.stateless_uniform([self.config.batch_size, *shape], seed, alg='philox')

  def _keeps(self, index: tf.Tensor, first: int, count: int) -> Keeps:
    """What the dropouts keep in `count` passes of a step, which are numbered from `first`."""
    sizes = [height * width * channels for height, width, channels in keep_shapes(self.config)]
    if not sizes:
      return [[]] * count
    return [self._kept(tf.gather(self._draw([sum(sizes)], 2 + number), index))
            for number in range(first, first + count)]

  def _kept(self, noise: tf.Tensor) -> list[tf.Tensor]:
    """[B, all features] in [0, 1) -> what each dropout keeps."""
    shapes, drop = keep_shapes(self.config), self.config.dropout
    parts = tf.split(tf.where(noise >= drop, 1 / (1 - drop), 0.0), [h * w * c for h, w, c in shapes], axis=1)
    return [tf.reshape(part, [-1, *shape]) for part, shape in zip(parts, shapes, strict=True)]

  # Training.

  def crop(self, images: tf.Tensor, masks: tf.Tensor) -> tf.Tensor:
    """What the networks see of pictures [B, S, S, 3] with masks [B, S, S, 1]: all, or with `crop_mask` the face."""
    return tf.where(masks > 0.5, images, -1.0) if self.config.crop_mask else tf.convert_to_tensor(images)

  def _see(self, batch: Batch, update: int | None = None) -> Pictures:
    """The pictures of the generators, or those of one update of the critics."""
    if update is None:
      return {domain: self.crop(batch[domain], batch[f'{domain}_mask']) for domain in ('a', 'b')}
    return {domain: self.crop(batch[f'critic_{domain}'][:, update], batch[f'critic_{domain}_mask'][:, update])
            for domain in ('a', 'b')}

  def step_train(self, batch: Batch) -> dict[str, tf.Tensor]:
    """One update of the generators and `critic_steps` of the discriminators.

    With one of these, both learn from the same fakes, the discriminators by way of the pools [CycleGAN]. With more, the
    discriminators are critics, who go first, each time on fresh pictures and fakes (Arjovsky et al., Algorithm 1).
    """
    index = batch['index']
    if self.config.critic_steps == 1:
      pictures = self._see(batch)
      fakes, logs = self._update_generators(batch, pictures)
      older = {domain: self._exchange(domain, fakes[domain], index) for domain in fakes}
      return {**logs, **self._update_discriminators(pictures, older, index, 0)}
    judged = {}
    for update in range(self.config.critic_steps):
      pictures = self._see(batch, update)
      keeps = self._keeps(index, _PASSES + 2 * update, 2)
      fakes = self.replica_local(self._game.translate)(pictures, keeps)
      judged = self._update_discriminators(pictures, fakes, index, update)
    _, logs = self._update_generators(batch, self._see(batch))
    return {**logs, **judged}

  def _update_generators(self, batch: Batch, pictures: Pictures) -> tuple[Pictures, dict[str, tf.Tensor]]:
    masks = {domain: batch[f'{domain}_mask'] for domain in ('a', 'b')}
    gradients, fakes, logs = self.replica_local(self._game.generate)(
        pictures, masks, self._keeps(batch['index'], 0, _PASSES))
    self.generator_optimizer.apply_gradients(zip(gradients, self._game.generator_weights, strict=True))
    return fakes, logs

  def _update_discriminators(self, pictures: Pictures, fakes: Pictures, index: tf.Tensor,
                             update: int) -> dict[str, tf.Tensor]:
    epsilon = tf.gather(self._draw([2], _PASSES + 2 + 2 * self.config.critic_steps + update), index)
    gradients, logs = self.replica_local(self._game.judge)(pictures, fakes, epsilon)
    weights = self._game.discriminator_weights
    self.discriminator_optimizer.apply_gradients(zip(gradients, weights, strict=True))
    if self.config.adversarial == 'wgan':
      for weight in weights:
        weight.assign(tf.clip_by_value(weight, -self.config.clip, self.config.clip))
    return logs

  def _exchange(self, domain: str, fakes: tf.Tensor, index: tf.Tensor) -> tf.Tensor:
    """What the discriminators of a domain see for these fakes: themselves, or by a coin older ones, which they replace.

    Shrivastava et al. (2017). A pool fills first, one fake a step, so how full it is follows from the step. Every
    replica keeps all pools and does all exchanges: a checkpoint holds what one replica has.

    Args:
      domain: the one that the fakes should be of.
      fakes: [B, S, S, 3] of this replica; replicas hold the places of the global batch in order.
      index: [B] these places.
    Returns:
      [B, S, S, 3].
    """
    size = self.config.pool_size
    if not size:
      return fakes
    if self.replicas > 1:
      fakes = tf.distribute.get_replica_context().all_gather(fakes, axis=0)
    coin, place = tf.unstack(self._draw([2], ('a', 'b').index(domain)), axis=1)
    filling = self.step < size
    older = tf.logical_and(coin < 0.5, tf.logical_not(filling))
    place = tf.where(filling, self.step, tf.cast(place * size, tf.int64))
    rows = tf.range(self.config.batch_size, dtype=tf.int64) * size + place
    found, older = tf.gather(self.pools[domain], rows), older[:, tf.newaxis, tf.newaxis, tf.newaxis]
    # Where nothing is exchanged, what is there is written again.
    kept = tf.where(tf.logical_or(older, filling), fakes, found)
    self.pools[domain].scatter_update(tf.IndexedSlices(kept, rows))
    return tf.gather(tf.where(older, found, fakes), index)

  # Use. Pictures are [B, S, S, 3] in [-1, 1]; with `crop_mask` they come from `crop`.

  def translate(self, images: tf.Tensor, direction: str = 'a2b', noise_seed: int | None = None) -> tf.Tensor:
    """Shows who is in the pictures of one domain as who is in the other, in the same pose and expression.

    Args:
      images: pictures of the one domain.
      direction: a2b or b2a.
      noise_seed: draws what the dropouts remove, the same in each picture; nothing is removed if not given. (The
        released code removes at random in use too, so that every frame gets another draw.)
    Raises:
      ValueError: for another direction.
    """
    if direction not in ('a2b', 'b2a'):
      raise ValueError(f'direction={direction} is not one of a2b, b2a')
    shapes = keep_shapes(self.config)
    if noise_seed is None or not shapes:
      keeps = [tf.ones([1, 1, 1, 1])] * len(shapes)
    else:
      count = sum(height * width * channels for height, width, channels in shapes)
      keeps = self._kept(tf.random.stateless_uniform([1, count], [noise_seed, 0], alg='philox'))
    return getattr(self, direction)([images, *keeps])

  def transfer(self, source: tf.Tensor | None, driver: tf.Tensor, direction: str = 'a2b') -> tf.Tensor:
    """Shows the other person as the driver moves; a model knows its two people, so the source is not looked at."""
    del source
    return self.translate(driver, direction)

  def sample(self, batch: Batch) -> dict[str, tf.Tensor]:
    pictures, columns = self._see(batch), {}
    for one, other in DIRECTIONS:
      fake = self.translate(pictures[one], f'{one}2{other}')
      columns |= {one: pictures[one], f'{one}2{other}': fake,
                  f'{one}2{other}2{one}': self.translate(fake, f'{other}2{one}')}
    return columns

  def inspect(self, batch: Batch) -> tuple[dict[str, float], list[str]]:
    """Mean distances between the pictures of a fixed batch: generators that draw one picture have healthy losses."""
    pictures, figures, warnings = self._see(batch), {}, []
    for one, other in DIRECTIONS:
      translated = float(mean_distance(self.translate(pictures[one], f'{one}2{other}')))
      real = float(mean_distance(pictures[other]))
      figures |= {f'{one}2{other}_spread': translated, f'{other}_spread': real}
      if translated < 0.5 * real and self.step > 0:
        warnings.append(f'the pictures of {other} that are made of {one} differ among each other by {translated:.3f}, '
                        f'less than half of what real ones do ({real:.3f}): look whether they show one and the same')
    return figures, warnings

  def signatures(self) -> dict[str, tf.types.experimental.GenericFunction]:
    """Functions of the SavedModel, uint8 `images` [N, S, S, 3] in and out: `a2b` (also `serving_default`), `b2a`."""
    spec = tf.TensorSpec([None, self.config.image_size, self.config.image_size, 3], tf.uint8, name='images')

    def serve(direction: str) -> Any:
      def served(images: tf.Tensor) -> dict[str, tf.Tensor]:
        shown = self.translate(tf.cast(images, tf.float32) / 127.5 - 1, direction)
        return {'images': tf.cast(tf.round(tf.clip_by_value((shown + 1) * 127.5, 0, 255)), tf.uint8)}
      return tf.function(served, [spec])

    a2b, b2a = serve('a2b'), serve('b2a')
    return {'serving_default': a2b, 'a2b': a2b, 'b2a': b2a}


def _pool(config: FaceOffConfig) -> tf.Variable:
  """Empty pools of all places. Every replica writes what all others write, so nothing is to be aggregated."""
  shape = [config.batch_size * config.pool_size, config.image_size, config.image_size, 3]
  return tf.Variable(tf.zeros(shape), trainable=False, name='pool', aggregation=tf.VariableAggregation.NONE)
