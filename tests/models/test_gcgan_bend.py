"""GC-GAN with --bend_input: the generator sees the input with its landmarks where the target has them."""

import numpy as np
import pytest
import tensorflow as tf

from input_pipeline import PIPELINES
from models.config import ConfigError
from models.gcgan import GCGAN, GCGANConfig
from models.layers.bending import bend_face
from models.layers.warping import cubic_sample, warp
from train.rehearsal import make_batch


@pytest.fixture(scope='module')
def system():
  """It lays nothing over its input, and moves it by 0.1 in x and -0.05 in y once it is bent."""
  system = GCGAN(GCGANConfig.tiny(bend_input=True, composition='warp'))
  maps = system.generator.get_layer('maps')
  maps.kernel.assign(tf.zeros_like(maps.kernel))
  maps.bias.assign([-100.0, 1.0, -0.5])
  return system


def faces(system):
  batch = make_batch(PIPELINES['gcgan'](system.config).spec())
  smooth = tf.image.resize(batch['input_image'][:, :5, :5], [32, 32], 'bicubic')
  # An expression moves landmarks a little.
  return smooth, 0.6 * batch['input_landmarks'], 0.6 * batch['input_landmarks'] + 0.03 * batch['target_landmarks']


def test_the_generator_sees_the_bent_input(system):
  image, own, goals = faces(system)
  expected = warp(bend_face(image, own, goals), tf.broadcast_to([0.1, -0.05], [len(image), 32, 32, 2]), cubic_sample)
  np.testing.assert_allclose(system.transfer(image, goals, own), expected, atol=1e-5)
  landmarks = {'input_landmarks': own, 'target_landmarks': goals}
  shown = system.sample({'input_image': image, 'target_image': image, **landmarks})
  np.testing.assert_allclose(shown['output'], expected, atol=1e-5)
  assert np.abs(system.transfer(image, own, own) - shown['output']).max() > 0.01


def test_the_flow_of_both_moves_is_one(system):
  image, own, goals = faces(system)
  flow = system.flow(image, goals, own)
  # Sampled once along the joint flow it differs by the second sampling's blur only.
  error = np.abs(warp(image, flow, cubic_sample) - system.transfer(image, goals, own))[:, 4:-4, 4:-4]
  assert error.mean() < 0.01 and np.abs(warp(image, flow, cubic_sample) - image).mean() > 5 * error.mean()


def test_signatures_take_the_landmarks_of_the_input(system, tmp_path):
  image, own, goals = faces(system)
  given = {'images': tf.cast((image + 1) * 127.5, tf.uint8), 'landmarks': goals, 'source_landmarks': own}
  tf.saved_model.save(system, str(tmp_path), signatures=system.signatures())
  loaded = tf.saved_model.load(str(tmp_path)).signatures
  for name, key in (('serving_default', 'images'), ('move', 'flow')):
    expected = system.signatures()[name](**given)[key].numpy().astype(float)
    np.testing.assert_allclose(loaded[name](**given)[key].numpy().astype(float), expected, atol=1)


def test_what_is_missing_is_told(system):
  image, own, _ = faces(system)
  with pytest.raises(ValueError, match='needs the landmarks of its input too'):
    system.transfer(image, own)
  with pytest.raises(ConfigError, match='bend_input=true bends by landmarks, which condition=onehot does not have'):
    GCGANConfig.tiny(bend_input=True, condition='onehot', pretrain_steps=0)
