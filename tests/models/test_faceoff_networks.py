"""Face-off's networks: sizes, maps, receptive fields, and PyTorch's geometry."""

import math

import numpy as np
import pytest
import tensorflow as tf

from models.config import ConfigError
from models.faceoff_config import FaceOffConfig, patch_map
from models.faceoff_networks import discriminator_network, generator_network, keep_shapes


def size(network):
  return sum(math.prod(w.shape) for w in network.trainable_weights)


@pytest.mark.parametrize(['changes', 'count'], [
    ({}, 11_378_179), ({'generator': 'unet'}, 54_409_603), ({'generator': 'unet', 'image_size': 128}, 41_825_667)])
def test_generator_parameters(changes, count):
  config = FaceOffConfig(**changes)
  network = generator_network(config, 'a2b')
  assert size(network) == count and network.output_shape == (None, config.image_size, config.image_size, 3)


def test_blocks_and_depth_follow_the_size():
  blocks = lambda **changes: FaceOffConfig(**changes).residual_blocks  # noqa: E731
  assert [blocks(), blocks(image_size=128), blocks(image_size=128, blocks=9)] == [9, 6, 9]
  network = generator_network(FaceOffConfig.tiny(generator='unet', blocks=0), 'a2b')
  assert min(layer.output.shape[1] for layer in network.layers if isinstance(layer, tf.keras.layers.Conv2D)) == 1


def test_dropouts_stand_where_the_authors_have_them():
  assert keep_shapes(FaceOffConfig()) == []
  assert keep_shapes(FaceOffConfig(dropout=0.5)) == [[64, 64, 256]] * 9
  assert keep_shapes(FaceOffConfig(dropout=0.5, generator='unet')) == [[n, n, 512] for n in (4, 8, 16)]
  for changes in ({}, {'generator': 'unet', 'image_size': 64, 'blocks': 0}):
    config = FaceOffConfig.tiny(dropout=0.5, **changes)
    network, shapes = generator_network(config, 'a2b'), keep_shapes(config)
    image = tf.random.stateless_uniform([1, config.image_size, config.image_size, 3], [0, 0])
    whole = network([image, *[tf.ones([1, 1, 1, 1])] * len(shapes)])
    for place in range(len(shapes)):
      keeps = [tf.cast(tf.random.stateless_uniform([1, *shape], [1, n]) < 0.5, tf.float32) if n == place
               else tf.ones([1, *shape]) for n, shape in enumerate(shapes)]
      assert (network([image, *keeps]) != whole).numpy().any()


def convolutions(network):
  return [layer for layer in network.layers if isinstance(layer, tf.keras.layers.Conv2D)]


def receptive_field(network):
  field = 1
  for layer in reversed(convolutions(network)):
    field = (field - 1) * layer.strides[0] + layer.kernel_size[0]
  return field


@pytest.mark.parametrize(['layers', 'count', 'cells', 'field'], [(3, 2_764_737, 30, 70), (5, 11_154_369, 6, 286)])
def test_discriminator(layers, count, cells, field):
  """The number of layers is true: the released code builds three whatever it is asked for."""
  network = discriminator_network(FaceOffConfig(discriminator_layers=layers), 'a', 0)
  assert size(network) == count and network.output_shape == (None, cells, cells, 1)
  assert receptive_field(network) == field


@pytest.mark.parametrize(['image_size', 'layers', 'cells'], [(128, 5, 2), (96, 5, 1), (64, 5, 0), (100, 3, 10)])
def test_maps_of_other_sizes(image_size, layers, cells):
  assert patch_map(image_size, layers) == cells
  if cells < 2:
    with pytest.raises(ConfigError, match=f'discriminator_layers=5 leaves {cells} x {cells} scores at image_size='
                       f'{image_size}, and 2 x 2 are needed: set at most 4'):
      FaceOffConfig(image_size=image_size, discriminator_layers=layers)
  else:
    config = FaceOffConfig(image_size=image_size, discriminator_layers=layers, width=1 / 64)
    assert discriminator_network(config, 'a', 0).output_shape == (None, cells, cells, 1)


def test_convolutions_see_the_zeros_of_pytorch():
  """The first cell of k 4, stride 2 begins a pixel before the picture, and so does that of k 4, stride 1."""
  network = discriminator_network(FaceOffConfig.tiny(), 'a', 0)
  first, *_, last = convolutions(network)
  for layer, strides in ((first, 2), (last, 1)):
    index = network.layers.index(layer)
    part = tf.keras.Model(network.layers[index - 1].input, layer.output)
    maps = np.random.default_rng(0).normal(size=[1, *part.input_shape[1:]]).astype(np.float32)
    padded = np.pad(maps, [[0, 0], [1, 1], [1, 1], [0, 0]])
    wanted = np.einsum('hwc,hwcd->d', padded[0, -4:, -4:] if strides == 1 else padded[0, :4, :4], layer.kernel.numpy())
    received = part(maps)[0, -1, -1] if strides == 1 else part(maps)[0, 0, 0]
    np.testing.assert_allclose(received, wanted, rtol=1e-4, atol=1e-5)


def test_transposed_convolutions_are_those_of_pytorch():
  """Each input cell adds its kernel at 2 i - 1, for both sizes of it; Keras' `same` of size 3 begins at 2 i."""
  draw = np.random.default_rng(0)
  for changes, kernel in (({}, 3), ({'generator': 'unet', 'blocks': 0}, 4)):
    network = generator_network(FaceOffConfig.tiny(**changes), 'a2b')
    ups = [layer for layer in network.layers if isinstance(layer, tf.keras.layers.Conv2DTranspose)]
    layer = ups[0]
    assert layer.kernel_size == (kernel, kernel)
    following = network.layers[network.layers.index(layer) + 1]
    output = following.output if kernel == 3 else layer.output  # Behind the slice.
    part = tf.keras.Model(layer.input, output)
    maps = draw.normal(size=[1, *part.input_shape[1:]]).astype(np.float32)
    cells = maps.shape[1]
    wanted = np.zeros([2 * cells + 4, 2 * cells + 4, layer.filters])
    for i, j in np.ndindex(cells, cells):
      wanted[2 * i:2 * i + kernel, 2 * j:2 * j + kernel] += np.einsum(
          'c,hwfc->hwf', maps[0, i, j], layer.kernel.numpy())
    np.testing.assert_allclose(part(maps)[0], wanted[1:2 * cells + 1, 1:2 * cells + 1], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(['initial', 'deviation'], [('normal', 0.02), ('xavier', (2 / (9 * 128))**0.5)])
def test_initial_weights(initial, deviation):
  network = generator_network(FaceOffConfig(initial_weights=initial, blocks=1, width=0.25), 'a2b')
  kernel = next(layer.kernel.numpy() for layer in convolutions(network) if layer.kernel.shape == [3, 3, 64, 64])
  np.testing.assert_allclose(kernel.std(), deviation, rtol=0.02)
  assert abs(kernel).max() > 4 * deviation  # Not cut off.
  assert all(not layer.bias.numpy().any() for layer in convolutions(network))
  others = [generator_network(FaceOffConfig.tiny(seed=seed), name).weights[0].numpy()
            for seed, name in ((0, 'a2b'), (0, 'b2a'), (1, 'a2b'))]
  assert not any((others[0] == other).all() for other in others[1:])
