"""FaceCycle: Learning Facial Representations from the Cycle-consistency of Face (Chang et al. 2021,
https://arxiv.org/abs/2108.03427).

Expression is what lies between a face and the neutral face of the same person, identity what lies between a neutral
face and the mean face of all. Stage 1 learns to take the expression of a frame away and to put it on the neutral face
of another frame of the same track; stage 2 takes the identity of neutral faces away, until one mean face is left, and
gives it back. Neither needs labels. Where the paper is silent or contradicts itself, the reading is a field of
`FaceCycleConfig`, named [paper], [released code] or [choice].
"""

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from models.facecycle_config import FaceCycleConfig
from models.facecycle_game import Game, Noise
from models.facecycle_networks import build_networks, widths
from models.layers import Adam, Pieces, vgg19
from models.layers.vgg19 import destandardize, standardize
from models.layers.warping import flow_colours
from models.system import Batch, System

__all__ = ['FaceCycle', 'FaceCycleConfig']

_MASK = 8  # Pixels along a square of the masks of the front end.


class FaceCycle(System):
  """The game of FaceCycle, see the module's page.

  Batches hold `first` and `second` [B, S, S, 3] in [-1, 1], in stage 1 two frames of one person's track, in stage 2 of
  different people; and `index` [B], a pair's place in the global batch.

  Attributes:
    front_end, texture, gram_front, front_decoder, expression_encoder, flow_decoder, noise_encoder, expression_decoder,
      identity_encoder, neutral_to_mean, mean_to_neutral, identity_decoder: see `models.facecycle_networks.Networks`.
  """

  Config = FaceCycleConfig

  def __init__(self, config: FaceCycleConfig):
    super().__init__(config)
    networks = build_networks(config)
    self.front_end, self.texture, self.gram_front = networks.front_end, networks.texture, networks.gram_front
    self.front_decoder = networks.front_decoder
    self.expression_encoder, self.flow_decoder = networks.expression_encoder, networks.flow_decoder
    self.noise_encoder, self.expression_decoder = networks.noise_encoder, networks.expression_decoder
    self.identity_encoder, self.identity_decoder = networks.identity_encoder, networks.identity_decoder
    self.neutral_to_mean, self.mean_to_neutral = networks.neutral_to_mean, networks.mean_to_neutral
    self._game = Game(config, networks)

    self.front_optimizer = None
    if 'front' in self.phases(config):
      self.front_optimizer = _adam(tf.keras.optimizers.schedules.CosineDecay(
          config.front_learning_rate, config.front_steps, alpha=0.1), 0.9, 0.999, self._front_weights())
    self.motion_optimizer = _adam(
        self._rate(config.motion_learning_rate, config.motion_schedule_steps, 1 / 40, (0.2, 1.0, 0.2)), 0.5, 0.999,
        self._weights(self._motion_networks()))
    self.identity_optimizer = _adam(
        self._rate(config.learning_rate, config.schedule_steps, 1 / 20, (0.5, 1.0, 0.1)), 0.5, 0.9,
        self._weights(self._identity_networks()))
    self.average_weights(config.ema_decay)

  @classmethod
  def phases(cls, config: FaceCycleConfig) -> dict[str, int]:
    front = {'front': config.front_steps} if config.front_steps and not config.init_from else {}
    motion = {**front, 'motion': config.motion_steps} if config.stage != '2' else {}
    return motion | ({'train': config.train_steps} if config.stage != '1' else {})

  @classmethod
  def notes(cls, config: FaceCycleConfig) -> list[str]:
    if config.vgg19_weights or config.init_from:
      return []
    kind = f'trained for {config.front_steps:,} steps on masked pictures' if config.front_steps else 'random'
    then = ', and goes on with the decoder of stage 1' if config.front_end == 'joint' else ''
    return [f'without the weights of VGG-19 (--vgg19_weights=imagenet or a path) the front end is {kind}{then}; the '
            'Gram network is fixed as it is before stage 1']

  def _motion_networks(self) -> list[tf.keras.Model]:
    own = [self.expression_encoder, self.flow_decoder, self.noise_encoder, self.expression_decoder]
    return own + [self.front_end] * (self.config.front_end == 'joint')

  def _identity_networks(self) -> list[tf.keras.Model]:
    return [self.identity_encoder, self.neutral_to_mean, self.mean_to_neutral, self.identity_decoder]

  def averaged_networks(self) -> list[tf.keras.Model]:
    return self._motion_networks() + self._identity_networks()

  def _weights(self, networks: list[tf.keras.Model]) -> list[tf.Variable]:
    return [weight for network in networks for weight in network.trainable_variables]

  def _front_weights(self) -> list[tf.Variable]:
    return self.front_end.weights + self.texture.weights + self.front_decoder.weights

  def _rate(self, rate: float, steps: int, first: float, factors: tuple[float, float, float]) -> Any:
    if self.config.schedule == 'paper':
      return Pieces(self.step, rate, [round(first * steps), steps // 2], factors)
    rise = max(steps // 100, 1)
    return tf.keras.optimizers.schedules.CosineDecay(0.0, max(steps - rise, 1), alpha=0.01, warmup_target=rate,
                                                     warmup_steps=rise)

  def start_phase(self, phase: str) -> None:
    config, phases = self.config, list(self.phases(self.config))
    if phase == phases[0] and config.vgg19_weights and not config.init_from:
      vgg19.load(config.vgg19_weights, *filter(None, (self.front_end, self.texture, self.gram_front)))
    if phase == 'motion' and self.gram_front is not None and not config.init_from:
      for kept, trained in zip(self.gram_front.weights, self.front_end.weights, strict=True):
        kept.assign(trained.numpy())
    if phase == 'train' and config.stage == 'both':
      self.use_averages()  # Stage 2 stands on the networks that stage 1 will be judged by.
    super().start_phase(phase)

  # Randomness: functions of (seed, step, place in the global batch), so that replicas agree with a single device.

  def _draw(self, distribution: Callable, shape: list[int], stream: int, index: tf.Tensor) -> tf.Tensor:
    """Noise [N, *shape] of this step; the algorithm is named because XLA would choose another."""
    seed = tf.stack([tf.constant(self.config.seed + (stream << 31), tf.int64), self.step])
    return tf.gather(distribution([2 * self.config.batch_size, *shape], seed, alg='philox'), index)

  def _noise_shapes(self) -> list[list[int]]:
    size = self.config.image_size
    return [[size // shrink, size // shrink, count]
            for shrink, count in zip((2, 4), widths(self.config, 128, 256), strict=True)]

  def _noise(self, index: tf.Tensor, number: int) -> Noise:
    """What fills uncovered places in D_exp's pass `number` of a step."""
    if self.config.noise == 0:
      return None
    half, quarter = (self.config.noise * self._draw(tf.random.stateless_normal, shape, 2 * number + place, index)
                     for place, shape in enumerate(self._noise_shapes()))
    return half, quarter

  # Training.

  def _read(self, batch: Batch) -> tuple[tf.Tensor, tf.Tensor]:
    """All frames of a batch [N, S, S, 3], standardised, and their places in the global batch [N]."""
    index = batch['index']
    return (standardize(tf.concat([batch['first'], batch['second']], axis=0)),
            tf.concat([index, index + self.config.batch_size], axis=0))

  def step_front(self, batch: Batch) -> dict[str, tf.Tensor]:
    """Trains the front end, where there is no VGG-19: pictures of which half is masked are drawn whole."""
    images, index = self._read(batch)
    squares = -(-self.config.image_size // _MASK)
    kept = self._draw(tf.random.stateless_uniform, [squares, squares, 1], 0, index) < 0.5
    mask = tf.repeat(tf.repeat(tf.cast(kept, tf.float32), _MASK, axis=1), _MASK, axis=2)
    mask = mask[:, :self.config.image_size, :self.config.image_size]
    return self._update(self.front_optimizer, self._front_weights(), self._game.front, images, mask)

  def step_motion(self, batch: Batch) -> dict[str, tf.Tensor]:
    """Stage 1: one update of E_exp, D_flow and D_exp by the facial-motion cycle."""
    images, index = self._read(batch)
    return self._update(self.motion_optimizer, self._weights(self._motion_networks()), self._game.motion, images,
                        [self._noise(index, number) for number in range(2)])

  def step_train(self, batch: Batch) -> dict[str, tf.Tensor]:
    """Stage 2: one update of E_id and D_id with its two MLPs by the identity cycle; stage 1 stays as it is.

    The mean face is that of the global batch, and gradients flow through it to all replicas.
    """
    images, index = self._read(batch)
    weights = self._weights(self._identity_networks())
    motion = self.replica_local(self._game.understand)(images, self._noise(index, 0))
    noise = self._noise(index, 1)
    with tf.GradientTape(watch_accessed_variables=False) as tape:
      tape.watch(weights)
      codes, means = self.replica_local(self._game.means)(images, motion.neutral)
      mean = self.over_replicas(tf.reduce_sum(means, axis=0, keepdims=True)) / (2 * self.config.batch_size)
      loss, logs = self.replica_local(self._game.identity)(images, motion, codes, mean, noise)
    gradients = tape.gradient(loss, weights)
    self.identity_optimizer.apply_gradients(zip(gradients, weights, strict=True))
    return {**logs, 'mean_spread': self._game.mean(tf.reduce_mean(tf.abs(means - mean), axis=[1, 2, 3]))}

  def _update(self, optimizer: Adam | None, weights: list[tf.Variable], cycle: Callable, *arguments: Any) -> dict:
    assert optimizer is not None
    gradients, logs = self.replica_local(lambda *given: self._game.gradients(weights, cycle, *given))(*arguments)
    optimizer.apply_gradients(zip(gradients, weights, strict=True))
    return logs

  # Use. Pictures are [B, S, S, 3] in [-1, 1]; noise is left out unless a seed is given.

  def encode_expression(self, images: tf.Tensor) -> tf.Tensor:
    """R_exp: codes [B, 256] in [-1, 1]."""
    return self.expression_encoder(standardize(images))

  def encode_identity(self, images: tf.Tensor) -> tf.Tensor:
    """R_id: codes [B, 256] in [-1, 1]."""
    return self.identity_encoder(standardize(images))

  def expression_map(self, images: tf.Tensor) -> tf.Tensor:
    """The last map of E_exp, which the paper's probes read: [B, H, W, 3] of any size -> [B, H/16, W/16, C]."""
    return self.expression_encoder.get_layer('maps')(standardize(images))

  def flow(self, images: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Flows [B, 16, 16, 2] to the neutral face and back, see `models.layers.warping`."""
    return self._game.move(standardize(images))

  def neutralise(self, images: tf.Tensor, noise_seed: int | None = None) -> tf.Tensor:
    """The neutral, frontal face of each picture."""
    return _show(self._neutral(images, noise_seed))

  def transfer(self, source: tf.Tensor, driver: tf.Tensor, noise_seed: int | None = None) -> tf.Tensor:
    """Shows the source as the driver moves: its neutral face, with the driver's expression and pose.

    Args:
      source: whom to show.
      driver: pictures of the motion.
      noise_seed: draws what fills uncovered places.
    """
    seen = self._game.see(self._neutral(source, noise_seed))
    return _show(self._game.draw(self._game.deform(seen, self.flow(driver)[1], self._given(driver, noise_seed, 1))))

  def mean_face(self, images: tf.Tensor) -> tf.Tensor:
    """What is left of each picture without expression and identity."""
    return _show(self._mean(images))

  def identity_swap(self, images: tf.Tensor, others: tf.Tensor) -> tf.Tensor:
    """Neutral faces made from what is left of `images`, with the identities of `others`."""
    affine = self.mean_to_neutral(self.encode_identity(others))
    return _show(self._game.turn(self._mean(images), affine))

  def _neutral(self, images: tf.Tensor, noise_seed: int | None = None) -> tf.Tensor:
    return self._game.understand(standardize(images), self._given(images, noise_seed, 0)).neutral

  def _mean(self, images: tf.Tensor) -> tf.Tensor:
    return self._game.means(standardize(images), self._neutral(images))[1]

  def _given(self, images: tf.Tensor, noise_seed: int | None, number: int) -> Noise:
    """Noise for use: of the same seed the same for each place of a batch."""
    if noise_seed is None:
      return None
    half, quarter = (self.config.noise * tf.random.stateless_normal(
        [tf.shape(images)[0], *shape], [noise_seed, 2 * number + place], alg='philox')
        for place, shape in enumerate(self._noise_shapes()))
    return half, quarter

  def sample(self, batch: Batch) -> dict[str, tf.Tensor]:
    images, driver = tf.convert_to_tensor(batch['first']), tf.roll(batch['first'], 1, axis=0)
    if self.phase == 'front':
      quarter = self.front_end(standardize(images))[1]
      drawn = self.front_decoder([quarter, self.texture(quarter)])
      return {'input': images, **{name: _show(value) for name, value in zip(('fine', 'coarse'), drawn, strict=True)}}
    size = self.config.image_size
    flow = tf.image.resize(flow_colours(self.flow(images)[0]), [size, size], 'nearest')
    columns = {'input': images, 'neutral': self.neutralise(images), 'flow': flow,
               'second': batch['second'], 'cycle': self.transfer(batch['second'], images),
               'driver': driver, 'transfer': self.transfer(images, driver)}
    if self.phase == 'train':
      columns |= {'mean': self.mean_face(images), 'swapped_identity': self.identity_swap(images, driver)}
    return columns

  def inspect(self, batch: Batch) -> tuple[dict[str, float], list[str]]:
    """L1 between neutral faces of one person, and of different people, beside that of the frames they came from; and
    the mean length of the flow that all pictures share, beside that of what each differs from it by."""
    if self.phase == 'front':
      return {}, []
    frames = [tf.convert_to_tensor(batch[name]) for name in ('first', 'second')]
    figures = {}
    for name, (first, second) in {'frame': frames, 'neutral': [self.neutralise(images) for images in frames]}.items():
      others = tf.roll(second, 1, axis=0)
      figures |= {f'{name}_within': float(tf.reduce_mean(tf.abs(first - second))),
                  f'{name}_between': float(tf.reduce_mean(tf.abs(first - others)))}
    flow = self.flow(frames[0])[0]
    shared = tf.reduce_mean(flow, axis=0)
    figures |= {'flow_shared': float(tf.reduce_mean(tf.norm(shared, axis=-1))),
                'flow_spread': float(tf.reduce_mean(tf.norm(flow - shared, axis=-1)))}
    between, of_frames = figures['neutral_between'], figures['frame_between']
    warnings = []
    if figures['flow_spread'] < 0.02 * figures['flow_shared'] and self.step > 0:
      warnings.append(f'all pictures are moved alike, by {figures["flow_shared"]:.3f}, and each by '
                      f'{figures["flow_spread"]:.1g} of its own: the codes say nothing; lower motion_learning_rate, or '
                      'set code_end=l2')
    if between < 0.25 * of_frames and self.step > 0:
      warnings.append(f'the neutral faces of different people differ by {between:.3f}, less than a quarter of what '
                      f'their frames do ({of_frames:.3f}): look whether they are all one picture')
    return figures, warnings

  def signatures(self) -> dict[str, tf.types.experimental.GenericFunction]:
    """Functions of the SavedModel; pictures are uint8 [N, S, S, 3], in and out.

    `serving_default` and `transfer`: `images` of whom to show and `drivers` -> `images`. `neutralise`: `images` ->
    `images`. `encode_expression`, `encode_identity`: `images` -> `codes` float32 [N, 256].
    """
    spec = [None, self.config.image_size, self.config.image_size, 3]
    images, drivers = (tf.TensorSpec(spec, tf.uint8, name=name) for name in ('images', 'drivers'))

    def read(values: tf.Tensor) -> tf.Tensor:
      return tf.cast(values, tf.float32) / 127.5 - 1

    def write(values: tf.Tensor) -> dict[str, tf.Tensor]:
      return {'images': tf.cast(tf.round(tf.clip_by_value((values + 1) * 127.5, 0, 255)), tf.uint8)}

    transfer = tf.function(lambda images, drivers: write(self.transfer(read(images), read(drivers))), [images, drivers])
    return {'serving_default': transfer, 'transfer': transfer,
            'neutralise': tf.function(lambda images: write(self.neutralise(read(images))), [images]),
            'encode_expression': tf.function(lambda images: {'codes': self.encode_expression(read(images))}, [images]),
            'encode_identity': tf.function(lambda images: {'codes': self.encode_identity(read(images))}, [images])}


def _show(images: tf.Tensor) -> tf.Tensor:
  return tf.clip_by_value(destandardize(images), -1.0, 1.0)


def _adam(rate: Any, beta_1: float, beta_2: float, weights: list[tf.Variable]) -> Adam:
  optimizer = Adam(rate, beta_1=beta_1, beta_2=beta_2, epsilon=1e-8)
  optimizer.build(weights)
  return optimizer
