"""NN4: its table, its losses, and embeddings by name."""

import numpy as np
import pytest
import tensorflow as tf

from models import checkpoints, runs
from models.embedding import load_embedding
from models.nn4 import NN4, NN4Config, nn4_network, to_crop


def batch(config, seed=0):
  random = np.random.default_rng(seed)
  count = config.batch_size
  return {'image': tf.constant(random.uniform(-1, 1, [count, 96, 96, 3]), tf.float32),
          'label': tf.constant(np.arange(count) // 2, tf.int32), 'index': tf.range(count, dtype=tf.int64)}


def test_the_table_of_the_paper():
  network = nn4_network()
  assert sum(int(np.prod(v.shape)) for v in network.trainable_variables) == 6_959_088
  shapes = {layer.name: layer.output_shape[1:] for layer in network.layers}
  assert [shapes[f'module_{name}'] for name in ('3a', '3b', '3c', '4a', '4e', '5a', '5b')] == [
    (12, 12, 256), (12, 12, 320), (6, 6, 640), (6, 6, 640), (3, 3, 1024), (3, 3, 896), (3, 3, 896)]
  assert shapes['features'] == (896,)


def test_triplets_are_semi_hard():
  config = NN4Config.tiny(loss='triplet')
  system = NN4(config)
  # On a circle: two pictures each of two people, at these angles.
  angles = np.radians([0, 40, 45, 85])
  codes = np.zeros([4, 128], np.float32)
  codes[:, 0], codes[:, 1] = np.cos(angles), np.sin(angles)
  loss, logs = system._triplet(tf.constant(5 * codes), tf.constant([0, 0, 1, 1]), tf.range(4, dtype=tf.int64))
  square = lambda degrees: 2 - 2 * np.cos(np.radians(degrees))  # noqa: E731
  # From 0 the nearest negative is 45 away, and that is farther than 40. From 40 it is 5 away, too hard: 85 is taken, 45
  # away too. The other two see the mirror image.
  np.testing.assert_allclose([loss, logs['triplet_loss']], 0.2 + square(40) - square(45), rtol=1e-4)


def test_the_network_alone_is_averaged_and_dropout_is_of_the_step():
  config = NN4Config.tiny(dropout=0.5)
  system = NN4(config)
  features, index = tf.ones([4, 50]), tf.range(4, dtype=tf.int64)
  first = system.drop(features, index)
  assert set(np.unique(first)) == {0.0, 2.0}
  np.testing.assert_array_equal(system.drop(features[:2], index[2:]), first[2:])  # A second replica's share.
  system.step.assign_add(1)
  assert (system.drop(features, index).numpy() != first.numpy()).any()
  assert len(system._averages) == len(system.network.weights)


def test_pictures_are_cut_as_they_were_learnt():
  pictures = tf.random.stateless_uniform([2, 108, 108, 3], [0, 0], -1, 1)
  np.testing.assert_array_equal(to_crop(pictures), pictures[:, 6:102, 6:102])
  assert to_crop(pictures[:, :64, :64]).shape == (2, 96, 96, 3)
  large = tf.image.resize(pictures, [216, 216], 'nearest')
  assert np.corrcoef(np.ravel(to_crop(large)), np.ravel(to_crop(pictures)))[0, 1] > 0.8


class TestEmbeddings:
  @pytest.fixture(scope='class')
  @classmethod
  def run(cls, tmp_path_factory):
    workdir = tmp_path_factory.mktemp('runs') / 'faces'
    workdir.mkdir()
    config = NN4Config.tiny(width=1 / 32)
    system = runs.build(config)
    for average in system._averages:
      average.assign(average * 1.1 + 0.01)
    runs.save_flags(config, workdir)
    runs.save_checkpoint(tf.train.Checkpoint(system=system), workdir, 'train', 2, 1)
    return workdir

  def test_a_run(self, run):
    embedding = load_embedding(f'nn4:{run}')
    assert (embedding.name, embedding.input_size, embedding.chip, embedding.dimensions) == ('nn4:faces', 96, False, 128)
    pictures = tf.random.stateless_uniform([2, 108, 108, 3], [0, 0], -1, 1)
    crops = embedding.crops(pictures, tf.zeros([2, 68, 2]))
    with tf.GradientTape() as tape:
      tape.watch(crops)
      codes = embedding(crops)
    system = runs.restore(run)  # With the averaged weights.
    np.testing.assert_allclose(codes, system.embed(pictures), atol=1e-5)
    np.testing.assert_allclose(tf.norm(codes, axis=1), 1, atol=1e-5)
    assert tf.norm(tape.gradient(codes, crops)) > 0
    assert not isinstance(embedding, tf.Module)  # So that no checkpoint of its user holds it.
    with pytest.raises(ValueError, match='nn4:faces takes crops of 96 x 96 x 3, not 64 x 64 x 3'):
      embedding(crops[:, :64, :64])

  def test_a_keras_file_and_dlib(self, tmp_path):
    path = tmp_path / 'net.keras'
    tf.keras.Sequential([tf.keras.layers.Rescaling(1 / 255, input_shape=[32, 32, 3]),
                         tf.keras.layers.GlobalAveragePooling2D()]).save(path)
    embedding = load_embedding(str(path))
    assert (embedding.input_size, embedding.dimensions) == (32, 3)
    pictures = tf.fill([1, 64, 64, 3], 1.0)
    np.testing.assert_allclose(embedding(embedding.crops(pictures, tf.zeros([1, 68, 2]))), [[1, 1, 1]], atol=1e-6)
    own = load_embedding('pretrained:nn4')
    assert (own.name, own.dimensions, own.alignment) == ('pretrained:nn4', 128, 'box')
    assert (load_embedding('dlib').input_size, load_embedding('dlib').chip) == (150, True)

  def test_what_is_none_is_told_in_a_line(self, run, tmp_path):
    other = tmp_path / 'other'
    other.mkdir()
    (other / 'flags.cfg').write_text('--system=gcgan\n')
    empty = tmp_path / 'empty'
    empty.mkdir()
    (empty / 'flags.cfg').write_text((run / 'flags.cfg').read_text())
    (tmp_path / 'net.h5').write_bytes(b'no')
    (tmp_path / 'net.keras').write_bytes(b'no')
    flat = tmp_path / 'flat.keras'
    tf.keras.Sequential([tf.keras.layers.Dense(3, input_shape=[5])]).save(flat)
    (tmp_path / 'net.dat').write_bytes(b'no')
    for name, text in {
        'nn5': '--embedding=nn5: there is no such file; dlib, nn4:RUN, pretrained:nn4, or a file is needed',
        'nn4:nowhere': '--embedding=nn4:nowhere: there is no such run',
        'nn4:': '--embedding=nn4:: there is no such run',
        str(run): f'--embedding={run} is a run: write --embedding=nn4:{run}',
        f'nn4:{other}': f'--embedding=nn4:{other}: .*--system=gcgan is not one of nn4',
        f'nn4:{empty}': 'the run has no checkpoint to load: train it first',
        str(tmp_path / 'net.h5'): 'a .keras or .dat file is needed',
        str(tmp_path / 'net.keras'): 'net.keras cannot be read',
        str(flat): 'a network from pictures',
        str(tmp_path / 'net.dat'): 'is not dlib_face_recognition_resnet_model_v1.dat, or is damaged',
    }.items():
      with pytest.raises((ValueError, OSError), match=text) as error:
        load_embedding(name)
      assert '\n' not in str(error.value)
    assert checkpoints.checkpoint_steps(run, 'train') == [2]
