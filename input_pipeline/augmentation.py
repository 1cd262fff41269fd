"""Augmentation: every sample is moved, warped and coloured by numbers drawn from (seed, step)."""

import types
import warnings
from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from input_pipeline import alignment

# A warp is a smooth field between the vectors of a grid of this size: another shape of a face, not of a lip.
WARP_GRID = 5

# What melanin takes of red, green and blue, as optical densities of 8-bit sRGB values relative to blue's [choice]: it
# leads from a light skin (225, 175, 150) to a dark one (110, 75, 55). It absorbs blue most.
MELANIN = (0.71, 0.84, 1.0)

# From this share by which red exceeds green on, a pixel is skin in part, and whole skin from the second on.
SKIN_REDNESS = (0.06, 0.16)


def draw_changes(config: Any, seeds: Sequence[int], step: tf.Tensor) -> dict[str, tf.Tensor] | None:
  """The augmentation of every sample of the global batch, or None where all of it is off.

  Returns:
    flip [B] in {-1, 1}, scale [B], shift [B, 2] (normalized units), gains [B, 6] (brightness, contrast, saturation, and
    of red, green and blue); where there are such, melanin [B] (density in blue), and warp [B, S, S, 2], where a pixel
    looks (x, y) away from itself (normalized units).
  """
  if not (
    config.augment_flip
    or config.augment_shift
    or config.augment_scale
    or config.augment_colour
    or config.augment_tint
    or config.augment_melanin
    or config.augment_warp
  ):
    return None

  def seed(stream: int) -> tf.Tensor:
    return tf.stack([seeds[0] ^ seeds[1] ^ stream, tf.cast(step, tf.int32)])

  noise = tf.random.stateless_uniform([config.batch_size, 10], seed(0x5BD1E995), -1.0, 1.0)
  flip = tf.where(noise[:, 0] < 0, -1.0, 1.0) if config.augment_flip else tf.ones_like(noise[:, 0])
  # The crop is 2 units wide.
  changes = {
    'flip': flip,
    'scale': 1 + config.augment_scale * noise[:, 1],
    'shift': 2 * config.augment_shift * noise[:, 2:4],
    'gains': tf.concat([config.augment_colour * noise[:, 4:7], config.augment_tint * noise[:, 7:]], axis=1),
  }
  if config.augment_melanin:
    signed = tf.random.stateless_uniform([config.batch_size], seed(0x68E31DA4), -1.0, 1.0)
    changes['melanin'] = config.augment_melanin * tf.nn.relu(signed)
  if config.augment_warp:
    grid = tf.random.stateless_normal([config.batch_size, WARP_GRID, WARP_GRID, 2], seed(0x2545F491))
    changes['warp'] = tf.image.resize(2 * config.augment_warp * grid, [config.image_size] * 2, 'bicubic')
  return changes


def change_landmarks(landmarks: tf.Tensor, changes: dict[str, tf.Tensor]) -> tf.Tensor:
  """Moves the points [B, N, 68, 2] of N pictures of each sample as `change_images` moves the pictures."""
  flip = changes['flip'][:, None, None]
  mirrored = tf.gather(landmarks, tf.constant(alignment.MIRROR), axis=2)
  landmarks = tf.where(tf.expand_dims(flip, -1) < 0, mirrored, landmarks)
  landmarks *= tf.stack([flip, tf.ones_like(flip)], axis=-1) * changes['scale'][:, None, None, None]
  landmarks += changes['shift'][:, None, None]
  return _warp_landmarks(landmarks, changes['warp']) if 'warp' in changes else landmarks


def _warp_landmarks(landmarks: tf.Tensor, warp: tf.Tensor) -> tf.Tensor:
  """Solves p + warp(p) = landmark for p: where the pixel under a landmark goes."""
  size: Any = warp.shape[1]
  goals = tf.reshape(landmarks, [tf.shape(landmarks)[0], -1, 2])
  points = goals
  for _ in range(3):  # The field is smooth and small: each round divides the error by ten or more.
    pixels = tf.clip_by_value(((points + 1) * size - 1) / 2, 0.0, size - 1.0)
    points = goals - _image_addons().interpolate_bilinear(warp, pixels, indexing='xy')
  return tf.reshape(points, tf.shape(landmarks))


def change_images(images: tf.Tensor, changes: dict[str, tf.Tensor]) -> tf.Tensor:
  """Moves and colours the pictures [B, N, S, S, 3] of each sample alike; the edge pixels repeat beyond the picture."""
  size: Any = images.shape[2]
  scale, shift = changes['scale'], changes['shift']
  zero = tf.zeros_like(scale)

  def row(sign: tf.Tensor, move: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    # Output pixel -> input pixel, from n' = sign scale n + move and n = (2 px + 1) / size - 1.
    return sign / scale, sign / (2 * scale) * (1 - size - size * move) + (size - 1) / 2

  (a, c), (e, f) = row(changes['flip'], shift[:, 0]), row(tf.ones_like(scale), shift[:, 1])
  transforms = tf.repeat(tf.stack([a, zero, c, zero, e, f, zero, zero], axis=1), images.shape[1], axis=0)
  flat = tf.raw_ops.ImageProjectiveTransformV3(
    images=tf.reshape(images, [-1, size, size, 3]),
    transforms=transforms,
    output_shape=[size, size],
    fill_value=0.0,
    interpolation='BILINEAR',
    fill_mode='NEAREST',
  )
  if 'warp' in changes:
    # Addons' flow is (y, x), in pixels, and is subtracted.
    flow = tf.repeat(changes['warp'][..., ::-1], images.shape[1], axis=0)
    flat = _image_addons().dense_image_warp(flat, -flow * size / 2)
  images = tf.reshape(flat, tf.shape(images))
  if 'melanin' in changes:
    images = _darken_skin(images, changes['melanin'])
  brightness, contrast, saturation = (changes['gains'][:, i, None, None, None, None] for i in range(3))
  grey = tf.reduce_mean(images, axis=-1, keepdims=True)
  images = grey + (images - grey) * (1 + saturation)
  images = (images + 1) * (1 + changes['gains'][:, None, None, None, 3:]) - 1
  return tf.clip_by_value(images * (1 + contrast) + brightness, -1, 1)


def _darken_skin(images: tf.Tensor, melanin: tf.Tensor) -> tf.Tensor:
  """Lays melanin over what is redder than grey in the pictures [B, N, S, S, 3]; melanin [B] is a density in blue."""
  light = (images + 1) / 2
  redness = (light[..., :1] - light[..., 1:2]) / tf.maximum(light[..., :1], 1 / 255)
  skin = tf.clip_by_value((redness - SKIN_REDNESS[0]) / (SKIN_REDNESS[1] - SKIN_REDNESS[0]), 0, 1)
  density = melanin[:, None, None, None, None] * skin * tf.constant(MELANIN)
  return 2 * light * tf.exp(-density) - 1


def _image_addons() -> types.ModuleType:
  """`tensorflow_addons.image`, imported where it is needed, as that takes a second."""
  with warnings.catch_warnings():  # Addons announces its end of life; we know.
    warnings.filterwarnings('ignore', message=r'\s*TensorFlow Addons', category=UserWarning)
    from tensorflow_addons import image

  return image
