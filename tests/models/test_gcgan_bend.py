"""GC-GAN with --bend_input: the generator starts from the input with its landmarks where the target has them."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from input_pipeline import PIPELINES
from models.config import ConfigError
from models.gcgan import GCGAN, GCGANConfig
from models.layers.bending import FaceBend
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
  # An expression moves landmarks a little, and opens the mouth.
  own, moved = np.clip(0.6 * batch['input_landmarks'], -0.7, -0.1), 0.03 * batch['target_landmarks'].numpy()
  around = np.linspace(0, 2 * np.pi, 20, endpoint=False)
  own[:, 48:] = np.stack([0.25 * np.cos(around), np.full(20, 0.4)], axis=-1)
  moved[:, 48:] = np.stack([np.zeros(20), 0.25 * np.sin(around)], axis=-1)
  return smooth, tf.constant(own), tf.constant(own + moved)


def test_it_shows_the_input_along_the_bend_and_its_own_flow_at_once_and_draws_what_opens(system):
  image, own, goals = faces(system)
  bend, known = FaceBend(32)([own, goals])
  flow = bend + tf.constant([0.1, -0.05])
  np.testing.assert_allclose(system.flow(image, goals, own), flow, atol=1e-5)
  assert 0.01 < np.mean(known < 0.5) < 0.5  # Between lips that open.
  bias = system.generator.get_layer('maps').bias
  bias.assign([100.0, 1.0, -0.5])
  drawn = system.transfer(image, goals, own)
  bias.assign([-100.0, 1.0, -0.5])
  expected = known * warp(image, flow, cubic_sample) + (1 - known) * drawn
  np.testing.assert_allclose(system.transfer(image, goals, own), expected, atol=1e-5)
  landmarks = {'input_landmarks': own, 'target_landmarks': goals}
  shown = system.sample({'input_image': image, 'target_image': image, **landmarks})
  np.testing.assert_allclose(shown['output'], expected, atol=1e-5)
  assert np.abs(system.transfer(image, own, own) - shown['output']).max() > 0.01


def test_it_encodes_the_bent_input_and_blends_with_it():
  system = GCGAN(GCGANConfig.tiny(bend_input=True, composition='blend'))
  image, own, goals = faces(system)
  maps, plain = system.generator.get_layer('maps'), GCGAN(GCGANConfig.tiny(composition='blend'))
  bend, known = FaceBend(32)([own, goals])
  bent = warp(image, bend, cubic_sample)
  maps.kernel.assign(tf.zeros_like(maps.kernel))
  maps.bias.assign([100.0])  # All of it is drawn.
  plain.generator.set_weights(system.generator.get_weights())
  drawn = plain.transfer(known * bent, goals)
  np.testing.assert_allclose(system.transfer(image, goals, own), drawn, atol=1e-5)
  maps.bias.assign([-100.0])  # Only what the bend does not know.
  np.testing.assert_allclose(system.transfer(image, goals, own), known * bent + (1 - known) * drawn, atol=1e-5)


def test_drawing_has_its_price():
  system = GCGAN(GCGANConfig.tiny(composition='warp', mask_weight=0.3))
  maps = system.generator.get_layer('maps')
  maps.kernel.assign(tf.zeros_like(maps.kernel))
  batch = make_batch(PIPELINES['gcgan'](system.config).spec())
  system.start_phase('warm')
  logs = system.train_step(batch)
  assert logs['mask'] == 0.5
  np.testing.assert_allclose(logs['generator_loss'], logs['image_loss'] + 0.15, rtol=1e-6)
  system.config = dataclasses.replace(system.config, mask_weight=1e3)
  for _ in range(3):
    logs = system.train_step(batch)
  assert logs['mask'] < 0.5
  with pytest.raises(ConfigError, match='composition=image has no mask for mask_weight=0.3: set composition=warp'):
    GCGANConfig.tiny(mask_weight=0.3)


def test_signatures_take_the_landmarks_of_the_input(system, tmp_path):
  image, own, goals = faces(system)
  given = {'images': tf.cast((image + 1) * 127.5, tf.uint8), 'landmarks': goals, 'source_landmarks': own}
  functions = system.signatures()
  tf.saved_model.save(tf.train.Checkpoint(variables=system.weights), str(tmp_path), signatures=functions)
  loaded = tf.saved_model.load(str(tmp_path)).signatures
  for name, key in (('serving_default', 'images'), ('move', 'flow')):
    expected = functions[name](**given)[key].numpy().astype(float)
    np.testing.assert_allclose(loaded[name](**given)[key].numpy().astype(float), expected, atol=1)


def test_what_is_missing_is_told(system):
  image, own, _ = faces(system)
  with pytest.raises(ValueError, match='needs the landmarks of its input too'):
    system.transfer(image, own)
  with pytest.raises(ConfigError, match='bend_input=true bends by landmarks, which condition=onehot does not have'):
    GCGANConfig.tiny(bend_input=True, condition='onehot', pretrain_steps=0)
