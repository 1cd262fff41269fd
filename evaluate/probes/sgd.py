"""The linear classifier of the released code (RAFDB/RAF_classify.py): one layer on E_exp's map, trained by SGD on
augmented pictures. The rate fits the map's small values; on raw pixels it diverges, so baselines take `solvers`.

torchvision's transforms: RandomResizedCrop (area and ratio .8 to 1.2; a part that would not fit is drawn again, ten
times, then it is the whole picture), ColorJitter (.05, .05, .05, .01) with probability .8, grey with .2, mirrored with
.5. Colours change in a fixed order.
"""

from collections.abc import Callable

import numpy as np
import tensorflow as tf

from evaluate.probes.features import to_pictures
from input_pipeline import jitter

EPOCHS = 300
BATCH, TEST_BATCH = 256, 100
_RATE, _MOMENTUM, _DECAY = 30.0, 0.9, 1e-4
_DROP = 80  # Epochs after which the rate falls to its tenth; the first epoch is number 1.
_COLOUR, _HUE = 0.05, 0.01


def train_sgd(
  read: Callable[[tf.Tensor], tf.Tensor],
  images: np.ndarray,
  labels: np.ndarray,
  classes: int,
  size: int,
  epochs: int = EPOCHS,
  seed: int = 1,
) -> Callable[[np.ndarray], np.ndarray]:
  """Trains a linear layer.

  Args:
    read: pictures [B, size, size, 3] in [-1, 1] -> features [B, D]; stays as it is.
    images: [N, H, W, 3] uint8.
    labels: [N] int below `classes`.
    classes: how many.
    size: of the pictures that `read` sees.
    epochs: how many; with fewer than the 300 of the recipe the rate falls sooner by as much.
    seed: of order, augmentation and first weights.

  Returns:
    Images [M, H, W, 3] uint8 -> labels [M].
  """
  penalty = tf.keras.regularizers.L2(_DECAY / 2)  # Its gradient is the decay times the weights, as PyTorch has it.
  layer = tf.keras.layers.Dense(
    classes, kernel_initializer=tf.keras.initializers.HeUniform(seed), kernel_regularizer=penalty,
    bias_regularizer=penalty
  )  # fmt: skip
  layer.build([None, read(to_pictures(tf.constant(images[:1]), size)).shape[-1]])
  optimizer = tf.keras.optimizers.SGD(_RATE, momentum=_MOMENTUM)
  optimizer.build(layer.trainable_variables)
  error = tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True)

  @tf.function(reduce_retracing=True)
  def step(pictures, truth, changes):
    features = read(_change(to_pictures(pictures, size), changes))
    with tf.GradientTape() as tape:
      loss = error(truth, layer(features)) + tf.add_n(layer.losses)
    optimizer.apply_gradients(
      zip(tape.gradient(loss, layer.trainable_variables), layer.trainable_variables, strict=True)
    )

  for epoch in range(1, epochs + 1):
    random = np.random.default_rng([seed, epoch])
    optimizer.learning_rate.assign(_RATE * 0.1 ** (epoch * EPOCHS // epochs // _DROP))
    order = random.permutation(len(images))
    for start in range(0, len(order), BATCH):
      rows = order[start : start + BATCH]
      changes = {name: tf.constant(value) for name, value in draw_changes(len(rows), random).items()}
      step(tf.constant(images[rows]), tf.constant(labels[rows]), changes)

  judge = tf.function(lambda x: tf.argmax(layer(read(to_pictures(x, size))), axis=1), reduce_retracing=True)
  return lambda given: np.concatenate(
    [judge(tf.constant(given[i : i + TEST_BATCH])).numpy() for i in range(0, len(given), TEST_BATCH)]
  )


def draw_changes(count: int, random: np.random.Generator) -> dict[str, np.ndarray]:
  """The changes of `count` pictures, as `jitter.apply_jitter` takes them, and `grey` [count] bool."""
  area = random.uniform(0.8, 1.2, [10, count])
  ratio = np.exp(random.uniform(np.log(0.8), np.log(1.2), [10, count]))
  sides = np.sqrt(np.stack([area * ratio, area / ratio], axis=-1))
  fits = (sides <= 1).all(axis=-1)
  chosen = np.where(fits.any(axis=0)[:, None], sides[fits.argmax(axis=0), np.arange(count)], 1.0)
  corner = random.uniform(size=[count, 2]) * (1 - chosen)
  coloured = random.uniform(size=count) < 0.8
  return {
    'part': np.concatenate([corner, chosen], axis=1).astype(np.float32),
    'flip': random.uniform(size=count) < 0.5,
    'gains': (1 + _COLOUR * coloured[:, None] * random.uniform(-1, 1, [count, 3])).astype(np.float32),
    'hue': (_HUE * coloured * random.uniform(-1, 1, count)).astype(np.float32),
    'grey': random.uniform(size=count) < 0.2,
  }


def _change(images: tf.Tensor, changes: dict[str, tf.Tensor]) -> tf.Tensor:
  images = jitter.apply_jitter(images, changes)
  grey = tf.repeat(tf.image.rgb_to_grayscale(images), 3, axis=-1)
  return tf.where(changes['grey'][:, None, None, None], grey, images)
