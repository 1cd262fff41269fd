"""FaceCycle's augmentation of single frames: a random part of nearly the whole frame, slight changes of colour, mirror.

The released code's torchvision transforms: RandomResizedCrop (area and aspect ratio .95 to 1.05), ColorJitter (.05,
.05, .05, .01) with probability .8, RandomHorizontalFlip. A part that would reach beyond the frame is cut to it
[choice], and the colours change in a fixed order [choice]. All is drawn from (seed, step).
"""

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

_COLOURED = 0.8  # How often a frame's colours change.
_HUE = 0.2  # Hue moves by this share of what brightness does.
_GREY = (0.299, 0.587, 0.114)


def draw_jitter(
  config: Any, count: int, seeds: Sequence[int], step: tf.Tensor, alike: bool = False
) -> dict[str, tf.Tensor]:
  """The changes of `count` frames.

  Args:
    config: has `augment_flip`, `augment_scale` and `augment_colour`.
    count: how many, even.
    seeds: two numbers below 2**31.
    step: scalar.
    alike: frame count / 2 + i is mirrored where frame i is.

  Returns:
    part [N, 4] float32: left, top, width and height as shares of the frame; flip [N] bool; gains [N, 3] of brightness,
    contrast and saturation; hue [N] shares of the circle.
  """
  seed = tf.stack([seeds[0] ^ seeds[1] ^ 0x3C6EF372, tf.cast(step, tf.int32)])
  noise = tf.random.stateless_uniform([count, 10], seed)
  signed = 2.0 * noise - 1.0
  area = 1.0 + config.augment_scale * signed[:, 0]
  # Ratios of .95 and 1 / .95 are equally likely.
  ratio = tf.exp(signed[:, 1] * tf.math.log(1.0 + config.augment_scale))
  sides = tf.minimum(tf.sqrt(tf.stack([area * ratio, area / ratio], axis=1)), 1.0)
  corner = noise[:, 2:4] * (1.0 - sides)
  flip = noise[:, 4] < 0.5 if config.augment_flip else tf.zeros([count], tf.bool)
  if alike:
    flip = tf.tile(flip[: count // 2], [2])
  coloured = tf.cast(noise[:, 5] < _COLOURED, tf.float32) * config.augment_colour
  return {
    'part': tf.concat([corner, sides], axis=1),
    'flip': flip,
    'gains': 1.0 + coloured[:, None] * signed[:, 6:9],
    'hue': _HUE * coloured * signed[:, 9],
  }


def apply_jitter(images: tf.Tensor, changes: dict[str, tf.Tensor]) -> tf.Tensor:
  """Changes frames [N, S, S, 3] in [-1, 1], each by its own row of `draw_jitter`."""
  size: Any = images.shape[1]
  left, top, width, height = tf.unstack(changes['part'], axis=1)
  zero = tf.zeros_like(left)
  # Output pixel -> input pixel; a mirrored frame is read from its right end.
  sign = tf.where(changes['flip'], -1.0, 1.0)
  start = tf.where(changes['flip'], (size - 0.5) * width, 0.5 * width) + left * size - 0.5
  transforms = tf.stack([sign * width, zero, start, zero, height, 0.5 * height + top * size - 0.5, zero, zero], axis=1)
  images = tf.raw_ops.ImageProjectiveTransformV3(
    images=images,
    transforms=transforms,
    output_shape=[size, size],
    fill_value=0.0,
    interpolation='BILINEAR',
    fill_mode='NEAREST',
  )
  return change_colours((images + 1.0) / 2.0, changes['gains'], changes['hue']) * 2.0 - 1.0


def change_colours(images: tf.Tensor, gains: tf.Tensor, hue: tf.Tensor) -> tf.Tensor:
  """Brightness, contrast, saturation and then hue of images [N, H, W, 3] in [0, 1].

  Args:
    images: the images.
    gains: [N, 3], 1 changes nothing.
    hue: [N] shares of the circle, 0 changes nothing.
  """
  brightness, contrast, saturation = (gains[:, i, None, None, None] for i in range(3))
  images = tf.clip_by_value(images * brightness, 0.0, 1.0)
  mean = tf.reduce_mean(_grey(images), axis=[1, 2, 3], keepdims=True)
  images = tf.clip_by_value(mean + contrast * (images - mean), 0.0, 1.0)
  grey = _grey(images)
  images = tf.clip_by_value(grey + saturation * (images - grey), 0.0, 1.0)
  hsv = tf.image.rgb_to_hsv(images)
  turned = tf.math.floormod(hsv[..., :1] + hue[:, None, None, None], 1.0)
  return tf.image.hsv_to_rgb(tf.concat([turned, hsv[..., 1:]], axis=-1))


def _grey(images: tf.Tensor) -> tf.Tensor:
  return tf.reduce_sum(images * tf.constant(_GREY), axis=-1, keepdims=True)
