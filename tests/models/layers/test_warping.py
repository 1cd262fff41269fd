"""Warps against a plain reading of PyTorch's grid_sample, and inverses of flows."""

import numpy as np
import pytest
import tensorflow as tf

from models.layers.warping import backward_flow, cubic_sample, flow_colours, grid_sample, resize_aligned, warp


def plain_grid_sample(image, places):
  """One picture [H, W, C] at places [h, w, 2], with zeros beyond it."""
  height, width, channels = image.shape
  out = np.zeros([*places.shape[:2], channels])
  for row, column in np.ndindex(*places.shape[:2]):
    x, y = (places[row, column] + 1) / 2 * [width - 1, height - 1]
    for j in (int(np.floor(y)), int(np.floor(y)) + 1):
      for i in (int(np.floor(x)), int(np.floor(x)) + 1):
        if 0 <= i < width and 0 <= j < height:
          out[row, column] += image[j, i] * (1 - abs(x - i)) * (1 - abs(y - j))
  return out


def smooth_flow(size, seed=0, largest=0.1):
  random = np.random.default_rng(seed).normal(size=[2, 4, 4, 2])
  flow = resize_aligned(tf.constant(random, tf.float32), size, size)
  return largest * flow / tf.reduce_max(tf.abs(flow), axis=[1, 2, 3], keepdims=True)


def test_grid_sample():
  draw = np.random.default_rng(0)
  images, places = draw.normal(size=[2, 5, 7, 3]), draw.uniform(-1.6, 1.6, [2, 6, 4, 2])
  places[0, 0, :] = [[-1, -1], [1, 1], [0, 0], [1, -1]]
  places[0, 1, :] = [[1 + 1 / 6, 0], [-3, 0.2], [9, 9], [-1 - 1 / 6, 0]]  # Half a cell outside, and far outside.
  received = grid_sample(tf.constant(images, tf.float32), tf.constant(places, tf.float32))
  expected = [plain_grid_sample(image, place) for image, place in zip(images, places, strict=True)]
  np.testing.assert_allclose(received, expected, atol=1e-5)
  np.testing.assert_allclose(received[0, 0, :2], images[0, [0, -1], [0, -1]], atol=1e-6)
  np.testing.assert_allclose(received[0, 1, 0], images[0, 2, -1] / 2, atol=1e-6)


def test_gradients_of_grid_sample():
  draw = np.random.default_rng(1)
  images = tf.constant(draw.normal(size=[1, 4, 5, 2]), tf.float32)
  places = tf.constant(draw.uniform(-1.2, 1.2, [1, 2, 3, 2]), tf.float32)
  target = draw.normal(size=[1, 2, 3, 2])

  def loss(image, place):
    return np.sum(target[0] * plain_grid_sample(image[0], place[0]))

  with tf.GradientTape() as tape:
    tape.watch([images, places])
    value = tf.reduce_sum(grid_sample(images, places) * target)
  for variable, gradient in zip((0, 1), tape.gradient(value, [images, places]), strict=True):
    for cell in np.ndindex(*gradient.shape):
      step = np.zeros(gradient.shape)
      step[cell] = 1e-5
      there, back = ([*[images.numpy().astype(float), places.numpy().astype(float)]] for _ in range(2))
      there[variable] += step
      back[variable] -= step
      np.testing.assert_allclose(gradient[cell], (loss(*there) - loss(*back)) / 2e-5, atol=2e-4)


def test_resize_keeps_the_corners():
  row = tf.reshape(tf.constant([0.0, 1.0, 4.0]), [1, 1, 3, 1])
  np.testing.assert_allclose(resize_aligned(row, 1, 5)[0, 0, :, 0], [0, 0.5, 1, 2.5, 4])


def test_a_warp_looks_where_the_flow_points():
  """On 5 cells a flow of .5 is one cell: each cell shows its right neighbour, and the last one nothing."""
  image = tf.reshape(tf.range(1.0, 6.0), [1, 1, 5, 1]) * tf.ones([1, 5, 5, 1])
  flow = tf.constant([0.5, 0.0]) * tf.ones([1, 2, 2, 2])
  np.testing.assert_allclose(warp(image, flow)[0, 2, :, 0], [2, 3, 4, 5, 0], atol=1e-5)


@pytest.mark.parametrize('form', ['fixed_point', 'released'])
def test_a_constant_flow_goes_back_the_same_way(form):
  flow = tf.constant([0.1, -0.2]) * tf.ones([1, 16, 16, 2])
  back = backward_flow(flow, form)
  np.testing.assert_allclose(back[:, 3:-3, 3:-3], -flow[:, 3:-3, 3:-3], atol=1e-6)


def test_a_smooth_flow_is_inverted():
  """b = -f(id + b) inside: the released form misses it by more than -f does."""
  flow = smooth_flow(16)
  grid = np.stack(np.meshgrid(np.linspace(-1, 1, 16), np.linspace(-1, 1, 16)), axis=-1)
  residual = {}
  for name, back in {'fixed_point': backward_flow(flow), 'released': backward_flow(flow, 'released'),
                     'minus': -flow}.items():
    there = grid + back.numpy()
    inside = (abs(there) <= 1).all(-1)
    residual[name] = abs(back + grid_sample(flow, tf.constant(there, tf.float32))).numpy()[inside].mean()
  assert residual['fixed_point'] < 1e-3 < residual['minus'] < residual['released']


def test_colours_of_a_flow():
  flow = tf.constant([[[[0.0, 0.0], [0.5, 0.0], [-0.5, 0.0]]]])
  still, right, left = flow_colours(flow)[0, 0].numpy()
  np.testing.assert_allclose(still, [1, 1, 1])
  np.testing.assert_allclose(right, -left, atol=1e-5)  # Opposite directions have opposite hues.


def test_cubic_sampling_equals_a_plain_loop_and_shows_places_of_cells_as_they_are():
  draw = np.random.default_rng(0)
  images, places = draw.normal(size=[2, 5, 7, 3]), draw.uniform(-1.2, 1.2, [2, 3, 4, 2])
  expected, padded = np.zeros([2, 3, 4, 3]), np.pad(images, [(0, 0), (1, 1), (1, 1), (0, 0)], 'edge')

  def weights(t):  # Keys 1981 with a = -1/2, by the distance of each of the four cells.
    d = np.abs(np.array([1 + t, t, 1 - t, 2 - t]))
    return np.where(d <= 1, 1.5 * d**3 - 2.5 * d**2 + 1, -0.5 * d**3 + 2.5 * d**2 - 4 * d + 2)

  for place in np.ndindex(2, 3, 4):
    x, y = (np.clip(places[place], -1, 1) + 1) / 2 * [6, 4]
    column, row = min(int(x), 5), min(int(y), 3)
    cells = padded[place[0], row:row + 4, column:column + 4]
    expected[place] = np.einsum('r,c,rck->k', weights(y - row), weights(x - column), cells)
  sampled = cubic_sample(*(tf.constant(v, tf.float32) for v in (images, places)))
  np.testing.assert_allclose(sampled, expected, atol=1e-5)
  still = warp(tf.constant(images, tf.float32), tf.zeros([2, 2, 2, 2]), cubic_sample)
  np.testing.assert_allclose(still, images, atol=1e-5)
