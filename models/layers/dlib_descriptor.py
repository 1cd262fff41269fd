"""dlib's face descriptor in Keras: the same numbers, but a loss can be sent back through it.

The network is `anet_type` of dlib's examples/dnn_face_recognition_ex.cpp, a ResNet of 29 layers that King trained on
some 3 million faces (http://blog.dlib.net/2017/02/high-quality-face-recognition-with-deep.html); pictures of one person
lie within .6 of each other. It looks at a chip of 150 pixels that a similarity of the landmarks cuts out.
"""

import numpy as np
import tensorflow as tf

from models.layers.dlib_weights import BLOCKS, read_weights
from models.layers.sampling import sample_bilinear

SIZE = 150  # Pixels of a chip.
PADDING = 0.25  # Of a chip, beyond the box of the mean face, in parts of that box.
# A larger picture is shrunk first: dlib goes through an image pyramid where a chip would skip pixels.
_LARGEST_PICTURE = 300

# The points of dlib's `get_face_chip_details` (image_transforms/interpolation.h) and where they are in the mean face:
# nose, eyes and upper lip.
POINTS = (*range(27, 55), *range(60, 65))
MEAN_FACE = np.array(
  [
    *[(0.490127, 0.203352), (0.490127, 0.307009), (0.490127, 0.409805), (0.490127, 0.515625), (0.36688, 0.587326)],
    *[(0.426036, 0.609345), (0.490127, 0.628106), (0.554217, 0.609345), (0.613373, 0.587326)],
    *[(0.121737, 0.216423), (0.187122, 0.178758), (0.265825, 0.179852), (0.334606, 0.231733), (0.260918, 0.245099)],
    *[(0.182743, 0.244077), (0.645647, 0.231733), (0.714428, 0.179852), (0.793132, 0.178758), (0.858516, 0.216423)],
    *[(0.79751, 0.244077), (0.719335, 0.245099)],
    *[(0.254149, 0.780233), (0.340985, 0.745405), (0.428858, 0.727388), (0.490127, 0.742578), (0.551395, 0.727388)],
    *[(0.639268, 0.745405), (0.726104, 0.780233)],
    *[(0.290379, 0.784792), (0.428096, 0.778746), (0.490127, 0.785343), (0.552157, 0.778746), (0.689874, 0.784792)],
  ],
  np.float32,
)


class DlibDescriptor(tf.keras.Model):
  """chips [B, 150, 150, 3] RGB in [0, 255] -> descriptors [B, 128], not normalised (their length is near 1.4).

  The weights are fixed.

  Args:
    path: file of the weights; empty means the one of the package `face-recognition-models`.

  Raises:
    FileNotFoundError: if there is no such file.
    ValueError: if it holds something else.
  """

  def __init__(self, path: str = ''):
    weights = read_weights(path)
    chips = tf.keras.Input([SIZE, SIZE, 3], name='chips')
    super().__init__(chips, _network(chips, weights.mean), name='dlib_descriptor', trainable=False)
    self.set_weights([part for pair in weights.convolutions for part in pair] + [weights.dense])


def _network(chips: tf.Tensor, mean: np.ndarray) -> tf.Tensor:
  layers = tf.keras.layers

  def conv(filters: int, size: int, stride: int, relu: bool = True) -> tf.keras.layers.Layer:
    # dlib pads by half the filter, but not at all where it strides.
    padding, activation = ('same' if stride == 1 else 'valid'), ('relu' if relu else None)
    return layers.Conv2D(filters, size, stride, padding, activation=activation)

  values = layers.Rescaling(1 / 256, offset=(-mean / 256).tolist(), name='mean_colour')(chips)
  values = layers.MaxPool2D(3, 2)(conv(32, 7, 2)(values))
  for filters, halves in BLOCKS:
    shortcut = values
    values = conv(filters, 3, 1, relu=False)(conv(filters, 3, 2 if halves else 1)(values))
    if halves:
      shortcut = layers.AveragePooling2D(2, 2)(shortcut)
      # dlib adds tensors of different shape as if the smaller one went on with zeros.
      _, height, width, channels = shortcut.shape
      values = tf.pad(values, [[0, 0], [0, height - values.shape[1]], [0, width - values.shape[2]], [0, 0]])
      shortcut = tf.pad(shortcut, [[0, 0], [0, 0], [0, 0], [0, filters - channels]])
    values = layers.ReLU()(values + shortcut)
  return layers.Dense(128, use_bias=False, name='descriptor')(layers.GlobalAveragePooling2D()(values))


def chips(images: tf.Tensor, landmarks: tf.Tensor, size: int = SIZE) -> tf.Tensor:
  """Cuts faces out as dlib's `get_face_chip(..., size, padding=.25)` does; differentiable by the pictures.

  Args:
    images: [B, H, W, 3] in [-1, 1].
    landmarks: [B, 68, 2] in [-1, 1] of the picture, from edge to edge.
    size: pixels of a chip.

  Returns:
    [B, size, size, 3] in [0, 255], black beyond the picture. dlib rounds to whole numbers, this does not.

  Source: dlib's image_transforms/interpolation.h; Umeyama 1991 for the similarity, which in the plane is a quotient of
  two complex numbers.
  """
  longest = max(images.shape[1], images.shape[2])
  if longest > _LARGEST_PICTURE:
    factor = _LARGEST_PICTURE / longest
    images = tf.image.resize(
      images, [round(images.shape[1] * factor), round(images.shape[2] * factor)], 'bilinear', antialias=True
    )
  height, width = images.shape[1:3]
  pixels = ((landmarks + 1) * tf.constant([width, height], tf.float32) - 1) / 2
  return sample_bilinear((images + 1) * 127.5, _places(pixels, size))


def _places(pixels: tf.Tensor, size: int) -> tf.Tensor:
  """Where the pixels of the chips lie in the pictures: [B, size, size, 2] from landmarks [B, 68, 2] in pixels."""
  points = (PADDING + MEAN_FACE) / (2 * PADDING + 1) * size
  middle = points.mean(0)
  points -= middle
  found = tf.gather(pixels, POINTS, axis=1)
  centre = tf.reduce_mean(found, axis=1)
  found -= centre[:, tf.newaxis]
  square = float((points**2).sum())
  cosine = tf.reduce_sum(found * points, axis=[1, 2]) / square
  sine = tf.reduce_sum(found[..., 1] * points[:, 0] - found[..., 0] * points[:, 1], axis=1) / square

  def turn(x: np.ndarray, y: np.ndarray, scale: tf.Tensor) -> tf.Tensor:
    a, b = ((part * scale)[:, tf.newaxis] for part in (cosine, sine))
    return tf.stack([a * x - b * y, b * x + a * y], axis=-1)

  offset = np.array([size / 2 - middle], np.float32)
  centre = centre[:, tf.newaxis] + turn(offset[:, 0], offset[:, 1], tf.ones_like(cosine))
  # dlib's rectangle is `size * length` pixels wide, so that its outer pixels lie one pixel less apart.
  length = tf.maximum(tf.sqrt(cosine**2 + sine**2), 1e-6)
  y, x = np.mgrid[:size, :size].reshape(2, -1).astype(np.float32) - (size - 1) / 2
  places = centre + turn(x, y, (size * length - 1) / ((size - 1) * length))
  return tf.reshape(places, [-1, size, size, 2])
