"""The recogniser: its networks, what reaches the backbone, and the weights it may start from."""

import pathlib

import numpy as np
import pytest
import tensorflow as tf

from evaluate.recognition_figures import arm_name, is_experiment
from models import runs
from models.config import ConfigError
from models.layers import vgg19
from models.recognition import Recognition, RecognitionConfig
from train import flags

ROOT = pathlib.Path(__file__).parents[2]


def batch(generated, labels=(0, 1, 2, 3)):
  random = np.random.default_rng(0)
  return {'image': tf.constant(random.uniform(-1, 1, [4, 96, 96, 3]), tf.float32),
          'generated': tf.constant(generated, tf.int32), 'label': tf.constant(labels, tf.int32),
          'index': tf.range(4, dtype=tf.int64)}


def gradients(system, given):
  (backbone, heads), logs = system._gradients(given['image'], given['label'], given['generated'], given['index'])
  return [tf.convert_to_tensor(g).numpy() for g in backbone], [tf.convert_to_tensor(g).numpy() for g in heads], logs


def test_the_networks_of_the_paper():
  config = RecognitionConfig(dataset='x', classes=2622, generated='y', generated_classes=10_000)
  assert (config.people, config.generated_people) == (2622, 10_000)
  assert [RecognitionConfig(dataset='x', classes=2622, real_share=s).people for s in (0.2, 0.5)] == [525, 1311]
  network = vgg19.code_network(1.0, 0)
  # 16 convolutions, fc6 of 3 x 3 x 512 places, fc7.
  assert network.count_params() == 20_024_384 + (4608 + 1) * 4096 + (4096 + 1) * 4096
  assert network.output_shape == (None, 4096)
  small = [Recognition(RecognitionConfig.tiny(**c)) for c in ({}, {'head': 'released'})]
  assert [s.network.output_shape[1] for s in small] == [256, 1000]
  assert [s.backbone_optimizer.learning_rate.numpy() for s in small] == pytest.approx([1e-4, 1e-5])
  assert [s.head_optimizer.learning_rate.numpy() for s in small] == pytest.approx([1e-3, 1e-4])
  assert small[0].real_head.output_shape == small[0].generated_head.output_shape == (None, 4)


def test_half_of_the_generated_heads_gradient_reaches_the_backbone():
  found = [gradients(Recognition(RecognitionConfig.tiny(generated_gradient=share, weight_decay=0.0, dropout=0.0)),
                     batch([1, 1, 1, 1])) for share in (1.0, 0.5, 0.0)]
  (whole, heads, _), (half, same, _), (none, _, _) = found
  assert max(np.abs(g).max() for g in whole) > 0 == max(np.abs(g).max() for g in none)
  for a, b in zip(whole, half, strict=True):
    np.testing.assert_allclose(a / 2, b, rtol=1e-4, atol=1e-9)
  for a, b in zip(heads, same, strict=True):
    np.testing.assert_allclose(a, b, rtol=1e-5)
  assert not np.abs(heads[0]).any() and np.abs(heads[2]).any()  # No real picture, so the real head learns nothing.
  real = [gradients(Recognition(RecognitionConfig.tiny(generated_gradient=share)), batch([0, 0, 0, 0]))[0]
          for share in (1.0, 0.5)]
  np.testing.assert_array_equal(real[0][0], real[1][0])


def test_each_head_names_its_own_set():
  """By hand: logits whose right answers are known; a label beyond the other head's people disturbs nothing."""
  system = Recognition(RecognitionConfig.tiny(identities=6))
  codes = tf.one_hot([0, 1, 0, 1], system.network.output_shape[1])
  for head, people in ((system.real_head, 4), (system.generated_head, 6)):
    kernel = np.zeros(head.layers[-1].kernel.shape, np.float32)
    kernel[0, 1], kernel[1, people - 1] = 5, 5  # Code 0 is person 1, code 1 the last one.
    head.set_weights([kernel, np.zeros(people, np.float32)])
  loss, logs = system._classify(codes, tf.constant([1, 0, 1, 5]), tf.constant([False, False, True, True]))
  right, wrong = (np.log(np.exp(5) + people - 1) - 5 for people in (4, 6)), np.log(np.exp(5) + 3)
  real, generated = right
  assert float(logs['real_cross_entropy']) == pytest.approx((real + wrong) / 4, rel=1e-5)
  assert float(logs['generated_cross_entropy']) == pytest.approx(2 * generated / 4, rel=1e-5)
  assert float(logs['accuracy']) == 0.75
  assert float(loss) == pytest.approx((real + wrong + 2 * generated) / 4, rel=1e-5)


def test_the_real_head_may_be_made_to_know_nobody_of_the_generated():
  system = Recognition(RecognitionConfig.tiny(uniform_weight=2.0))
  system.real_head.set_weights([np.zeros_like(w) for w in system.real_head.get_weights()])
  codes = tf.ones([4, system.network.output_shape[1]])
  loss, logs = system._classify(codes, tf.zeros([4], tf.int32), tf.constant([False, True, True, True]))
  assert float(logs['uniform_loss']) == pytest.approx(3 / 4 * np.log(4), rel=1e-5)
  others = float(logs['real_cross_entropy'] + logs['generated_cross_entropy'])
  assert float(loss) == pytest.approx(2 * 3 / 4 * np.log(4) + others, rel=1e-5)


def test_the_weights_of_keras_give_what_keras_gives():
  """fc6 takes the middle 3 x 3 of 7 x 7: a network of 224 pixels whose other places are not read says the same."""
  source, small = (vgg19.code_network(1 / 64, 0, size=size, scores=True) for size in (224, 96))
  draw = np.random.default_rng(0)
  for layer in source.layers:
    if layer.weights:
      layer.set_weights([w + 0.1 * draw.normal(size=w.shape) * (w.ndim == 1) for w in layer.get_weights()])
  vgg19.copy(source, small)
  whole = source.get_layer('fc1').get_weights()[0].reshape(7, 7, 8, -1)
  np.testing.assert_array_equal(small.get_layer('fc1').get_weights()[0], whole[2:5, 2:5].reshape(72, -1))
  np.testing.assert_array_equal(small.get_layer('fc2').get_weights()[0], source.get_layer('fc2').get_weights()[0])
  # Every layer comes out divided by one number, and the code has length 1: what Keras' network would say of it.
  images = tf.random.stateless_uniform([2, 96, 96, 3], [0, 0], -2, 2)
  values = images.numpy()[..., ::-1] * (255 * np.float32([0.229, 0.224, 0.225]))[::-1]
  for layer in small.layers[1:]:
    if hasattr(layer, 'get_config') and layer.__class__.__name__ in ('Conv2D', 'Dense', 'MaxPooling2D', 'Flatten'):
      if layer.weights:
        kernel, bias = source.get_layer(layer.name).get_weights()
        kernel = whole[2:5, 2:5].reshape(72, -1) if layer.name == 'fc1' else kernel
        values = tf.nn.conv2d(values, kernel, 1, 'SAME') if kernel.ndim == 4 else values @ kernel
        values = values + bias
        values = values if layer.name == 'predictions' else tf.nn.relu(values)
      else:
        values = layer(values)
  np.testing.assert_allclose(small(images), tf.math.l2_normalize(values, axis=1), atol=1e-4)


def test_weights_of_imagenet_are_loaded_when_a_run_begins(monkeypatch, tmp_path):
  loaded = []
  monkeypatch.setattr(vgg19, 'load', lambda weights, network, top: loaded.append((weights, network.name, top)))
  system = Recognition(RecognitionConfig.tiny())
  system.start_phase('train')
  assert not loaded
  monkeypatch.setattr(system, 'config', RecognitionConfig.tiny(width=1.0, vgg19_weights='imagenet'))
  system.start_phase('train')
  assert loaded == [('imagenet', 'vgg19', True)]
  monkeypatch.undo()
  with pytest.raises(ValueError, match='--vgg19_weights=nowhere.h5 is no file: .*tf_kernels.h5$'):
    vgg19.load('nowhere.h5', top=True)
  assert 'without the weights of ImageNet' in Recognition.notes(RecognitionConfig.tiny())[0]
  assert not Recognition.notes(RecognitionConfig.tiny(backbone='nn4'))


def test_what_is_evaluated_is_the_averaged_backbone(tmp_path):
  system = runs.build(RecognitionConfig.tiny())
  assert len(system._averages) == len(system.network.weights)
  codes = system.embed(tf.random.stateless_uniform([2, 128, 128, 3], [0, 0], -1, 1))
  np.testing.assert_allclose(tf.norm(codes, axis=1), 1, atol=1e-5)


@pytest.mark.parametrize('changes, text', [
    ({'alignment': 'paper'}, 'alignment=paper is not how stand-ins and renders are cut out'),
    ({'generated': '', 'generated_share': 0.5}, 'generated_share=0.5 are of a generated set'),
    ({'generated_classes': 9}, 'generated_classes=9 are more people than identities=4'),
    ({'generated': '', 'uniform_weight': 1.0}, 'uniform_weight=1.0 is of generated pictures'),
    ({'backbone': 'nn4', 'head': 'released'}, "head=released and vgg19_weights='' are of VGG-19"),
    ({'vgg19_weights': 'imagenet'}, 'vgg19_weights=imagenet is as wide as VGG-19, and width=0.0625 is not'),
    ({'backbone': 'nn4', 'batch_size': 1}, 'batch_size=1 leaves the batch normalisation'),
    ({'generated_share': 0.9}, 'generated_share=0.9 leaves no real picture in batch_size=4'),
])
def test_contradictions(changes, text):
  with pytest.raises(ConfigError, match=text):
    RecognitionConfig.tiny(**changes)


def test_the_flagfiles_are_the_paper_and_each_arm_of_its_experiment():
  read = lambda file: flags.parse(['train.main', f'--flagfile={ROOT / file}'], flags.TrainFlags).config  # noqa: E731
  assert read('configs/paper/recognition.cfg') == RecognitionConfig()
  assert read('configs/ablations/recognition_released.cfg') == RecognitionConfig(head='released')
  arms = [read(file) for file in ROOT.glob('configs/ablations/recognition_[0-9]*.cfg')]
  assert is_experiment(arms) and is_experiment([*arms, read('recognition.cfg')])
  assert {arm_name(config) for config in arms} == {
      f'{share} %{generated}' for share in (20, 50, 100)
      for generated in ('', ' + renders', ' + translations (100 people)')}
  # The people and pictures of GANFaces' quick start, which are then there already.
  ours, theirs = read('recognition.cfg'), read('ganfaces.cfg')
  for name in ('image_size', 'stand_ins', 'stand_in_pairs', 'images_per_identity', 'identities',
               'renders_per_identity'):
    assert getattr(ours, name) == getattr(theirs, name), name
