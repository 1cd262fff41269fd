"""A second system in a hundred lines, its data included: proof that the frame holds for more than GC-GAN."""

import dataclasses
import sys
from typing import ClassVar

import numpy as np
import tensorflow as tf

import evaluate
import input_pipeline
import models
from models import commands
from models.config import DataConfig, RunConfig, option
from models.system import System


@dataclasses.dataclass(frozen=True)
class ToyConfig(DataConfig, RunConfig):
  system: ClassVar[str] = 'toy'
  image_size: int = option(8, 'Height and width.', low=4)
  learning_rate: float = option(0.01, 'Rate of SGD.', low=0.0)
  warm_steps: int = option(0, 'Steps of the first phase.', low=0)
  ema_decay: float = option(0.9, 'Average of the weights.', low=0.0, high=0.999)

  @classmethod
  def tiny(cls, **changes) -> 'ToyConfig':
    return cls(**{'batch_size': 4, 'train_steps': 2, 'warm_steps': 2, **changes})


class Toy(System):
  """Learns the identity on pictures, with dropout (randomness), batch norm (statistics) and a balance rate (state)."""

  Config = ToyConfig

  def __init__(self, config: ToyConfig):
    super().__init__(config)
    self.generator = tf.keras.Sequential([
        tf.keras.layers.Conv2D(4, 3, padding='same', input_shape=[config.image_size, config.image_size, 3],
                               dtype=config.precision),
        tf.keras.layers.BatchNormalization(synchronized=self.synchronized, dtype=config.precision),
        tf.keras.layers.Conv2D(3, 3, padding='same', dtype='float32')])
    self.optimizer_g = tf.keras.optimizers.Adam(config.learning_rate)
    self.optimizer_g.build(self.generator.trainable_variables)
    self.balance = tf.Variable(0.0, trainable=False, aggregation=tf.VariableAggregation.SUM)
    self.average_weights(config.ema_decay)

  @classmethod
  def phases(cls, config: ToyConfig) -> dict[str, int]:
    return {'warm': config.warm_steps, 'train': config.train_steps}

  def averaged_networks(self) -> list[tf.keras.Model]:
    return [self.generator]

  def step_warm(self, batch: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    noise = tf.random.stateless_uniform([self.config.batch_size, self.config.image_size, self.config.image_size, 3],
                                        [self.config.seed, tf.cast(self.step, tf.int32)], -1, 1, alg='philox')
    with tf.GradientTape() as tape:
      output = self.generator(batch['image'] + 0.1 * tf.gather(noise, batch['index']), training=True)
      loss = tf.reduce_sum(tf.reduce_mean(abs(output - batch['image']), [1, 2, 3])) / self.config.batch_size
    variables = self.generator.trainable_variables
    self.optimizer_g.apply_gradients(zip(tape.gradient(loss, variables), variables, strict=True))
    self.balance.assign_add(loss)
    return {'loss': loss, 'balance': self.balance / self.replicas}

  step_train = step_warm

  def sample(self, batch: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    return {'input': batch['image'], 'output': self.generator(batch['image'], training=False)}

  def transfer(self, source: tf.Tensor, driver: tf.Tensor) -> tf.Tensor:
    return self.generator(source, training=False)

  def signatures(self) -> dict:
    spec = tf.TensorSpec([None, self.config.image_size, self.config.image_size, 3], tf.uint8)
    return {'serving_default': tf.function(lambda images: {'images': tf.cast(tf.clip_by_value(
        (self.transfer(tf.cast(images, tf.float32) / 127.5 - 1, images) + 1) * 127.5, 0, 255), tf.uint8)}, [spec])}


class ToyPipeline:
  """Noise pictures; batch t is a function of (seed, t)."""

  def __init__(self, config: ToyConfig):
    self.config = config

  def spec(self) -> dict[str, tf.TensorSpec]:
    config = self.config
    return {'image': tf.TensorSpec([config.batch_size, config.image_size, config.image_size, 3]),
            'index': tf.TensorSpec([config.batch_size], tf.int64)}

  def batches(self, start: int, stop: int, phase: str, worker: int = 0, workers: int = 1) -> tf.data.Dataset:
    config, part = self.config, self.config.batch_size // workers

    def load(step: tf.Tensor) -> dict[str, tf.Tensor]:
      images = tf.random.stateless_uniform([config.batch_size, config.image_size, config.image_size, 3],
                                           [config.seed + len(phase), tf.cast(step, tf.int32)], -1, 1)
      rows = slice(worker * part, (worker + 1) * part)
      return {'image': images[rows], 'index': tf.range(config.batch_size, dtype=tf.int64)[rows]}

    return tf.data.Dataset.range(start, stop).map(load)

  def held_out(self, count: int | None = None) -> dict[str, np.ndarray]:
    size = self.config.image_size
    return {'image': np.random.default_rng(0).uniform(-1, 1, [count or 20, size, size, 3]).astype(np.float32)}

  def describe(self) -> list[str]:
    return ['noise']


def register() -> None:
  models.SYSTEMS['toy'] = Toy
  input_pipeline.PIPELINES['toy'] = ToyPipeline
  evaluate.EVALUATIONS['toy'] = lambda model, config, output_dir: []


if __name__ == '__main__':
  register()
  from train.main import main
  sys.exit(commands.run(main))
