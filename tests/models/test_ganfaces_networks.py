"""GANFaces' networks: their sizes, their first weights, and the layers they are made of."""

import math

import numpy as np
import pytest
import tensorflow as tf

from models.ganfaces_config import GANFacesConfig
from models.ganfaces_networks import autoencoder_network, generator_network
from models.layers import InstanceNorm, UpsampleConv


def size(network):
  return sum(math.prod(w.shape) for w in network.trainable_weights)


@pytest.mark.parametrize(['norm', 'generator', 'inverse'], [
    ('released', 1_103_136, 1_080_000), ('instance', 1_103_776, 1_080_640), ('none', 1_101_600, 1_078_464)])
def test_generator_parameters(norm, generator, inverse):
  networks = [generator_network(GANFacesConfig(norm=norm), skips) for skips in (True, False)]
  assert [size(n) for n in networks] == [generator, inverse]
  assert all('bias' not in w.name for n in networks for w in n.weights)
  assert networks[0].output_shape == networks[1].output_shape == (None, 108, 108, 3)


@pytest.mark.parametrize(['image_size', 'count', 'bottom'], [(108, 6_723_459, 14), (64, 4_011_651, 8)])
def test_autoencoder_parameters(image_size, count, bottom):
  network = autoencoder_network(GANFacesConfig(image_size=image_size), 'photo')
  assert size(network) == count and network.output_shape[1:] == (image_size, image_size, 3)
  heights = [layer.output.shape[1] for layer in network.layers if isinstance(layer, tf.keras.layers.Conv2D)]
  assert min(heights) == bottom and heights[-1] == 8 * bottom


def test_initial_weights():
  network = generator_network(GANFacesConfig(), True)
  kernels = np.concatenate([w.numpy().ravel() for w in network.weights if 'kernel' in w.name])
  scales = np.concatenate([w.numpy().ravel() for w in network.weights if 'gamma' in w.name])
  np.testing.assert_allclose([kernels.std(), scales.mean(), scales.std()], [0.02, 1, 0.02], atol=0.002)


def test_instance_norm_normalises_each_map():
  values = tf.random.stateless_normal([2, 5, 4, 3], [0, 0]) * 3 + 100
  layer = InstanceNorm()
  layer(values)
  layer.gamma.assign([1.0, 2.0, 3.0])
  layer.beta.assign([0.0, 1.0, 2.0])
  plain = (values - values.numpy().mean((1, 2), keepdims=True)) / np.sqrt(
      values.numpy().var((1, 2), keepdims=True) + 1e-5)
  np.testing.assert_allclose(layer(values), plain * [1.0, 2.0, 3.0] + [0.0, 1.0, 2.0], atol=1e-4)
  assert not InstanceNorm(affine=False)(values).numpy().mean().round(4) and not InstanceNorm(affine=False).weights


def test_upsampling_convolution_is_the_plain_one():
  inputs = tf.random.stateless_normal([2, 5, 4, 3], [0, 0])
  layer = UpsampleConv(6, 'elu', tf.keras.initializers.RandomNormal(seed=0))
  layer(inputs)
  layer.bias.assign(tf.range(6.0) - 3)
  with tf.GradientTape(persistent=True) as tape:
    tape.watch(inputs)
    received = layer(inputs)
    expected = tf.nn.elu(tf.nn.conv2d(tf.repeat(tf.repeat(inputs, 2, 1), 2, 2), layer.kernel, 1, 'SAME') + layer.bias)
  np.testing.assert_allclose(received, expected, atol=1e-6)
  for a, b in zip(*(tape.gradient(v, [inputs, layer.kernel, layer.bias]) for v in (received, expected)),
                  strict=True):
    np.testing.assert_allclose(a, b, atol=2e-5)
