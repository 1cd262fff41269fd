"""The front end is VGG-19: Keras' network gives the same maps from the same weights."""

import numpy as np
import pytest
import tensorflow as tf

from models.layers import vgg19


def test_standardized_pictures_are_those_of_imagenet():
  white = vgg19.standardize(tf.ones([1, 1, 3]))
  np.testing.assert_allclose(white[0, 0], [0.515 / 0.229, 0.544 / 0.224, 0.594 / 0.225], rtol=1e-5)
  np.testing.assert_allclose(vgg19.destandardize(white), np.ones([1, 1, 3]), rtol=1e-6)


@pytest.fixture(scope='module')
def keras_vgg19(tmp_path_factory):
  network = tf.keras.applications.VGG19(include_top=False, weights=None)
  draw = np.random.default_rng(0)
  network.set_weights([w + 5 * draw.normal(size=w.shape) * (w.ndim == 1) for w in network.get_weights()])
  path = tmp_path_factory.mktemp('vgg') / 'weights.h5'
  network.save_weights(path)
  return network, path


def test_weights_of_keras_are_taken(keras_vgg19):
  network, path = keras_vgg19
  features, texture = vgg19.features_network(1.0, 0), vgg19.texture_network(1.0, 0)
  assert features.count_params() == 555_328
  vgg19.load(str(path), features, texture)
  images = tf.random.stateless_uniform([2, 16, 16, 3], [0, 0], -1, 1)
  half, quarter = features(vgg19.standardize(images))
  taps = [network.get_layer(name).output for name in ('block2_conv1', 'block3_conv1', 'block4_conv1')]
  pixels = (images + 1) * 127.5
  expected = tf.keras.Model(network.input, taps)(tf.keras.applications.vgg19.preprocess_input(pixels))
  for received, wanted in zip((half, quarter, texture(quarter)), expected, strict=True):
    wanted = wanted / 57.5
    # The two means of ImageNet are half a grey level apart.
    np.testing.assert_allclose(received, wanted, atol=0.05 * float(tf.math.reduce_std(wanted)))


def test_weights_that_cannot_be_loaded_are_told(tmp_path):
  with pytest.raises(ValueError, match='--vgg19_weights=nowhere.h5 is no file: give imagenet'):
    vgg19.load('nowhere.h5')
  bad = tmp_path / 'bad.h5'
  bad.write_text('no weights')
  with pytest.raises(ValueError, match=r'--vgg19_weights=.*bad\.h5 cannot be loaded \(.*\): give imagenet'):
    vgg19.load(str(bad))
