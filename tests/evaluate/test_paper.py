"""Table 2 and Figs. 3 and 4: rules by hand on small arrays, then all of it from tiny runs."""

import dataclasses
import json
import pathlib

import numpy as np
import pytest
import tensorflow as tf

from evaluate import arms, embeddings, figure3, figure4, paper, table2
from evaluate.embeddings import DESCRIPTOR, Faces
from evaluate.provenance import read_provenance
from evaluate.results import find_row
from models import commands, runs
from models.gcgan import GCGAN, GCGANConfig
from tests.input_pipeline import builders
from train import flags

ROOT = pathlib.Path(__file__).parents[2]
EVERY = {'all': np.ones(4, bool)}
PEOPLE = np.array([0, 0, 1, 1])


def features(*first):
  """[N, 128] descriptors that lie at these places of a line."""
  return np.array([[x, *[0.0] * 127] for x in first], np.float32)


def test_dlibs_rule_is_a_distance_below_six_tenths_and_no_face_is_nobody():
  inputs = features(0, 0.1, 2, 2.1)
  made = features(0.59, 0.71, 2.1, 2.1)  # Distances .59, .61, .1 and 0.
  alike = {arm: table2.likeness(a, inputs, DESCRIPTOR)[None] for arm, a in (('model', made), ('copy_input', inputs))}
  found = {'model': np.array([[True, True, True, False]]), 'copy_input': np.ones([1, 4], bool)}
  rows = table2.identity_rows(alike, found, PEOPLE, np.arange(4), EVERY, DESCRIPTOR)
  assert find_row(rows, 'verification_accuracy')['value'] == 0.5
  assert find_row(rows, 'verification_accuracy', 'copy_input')['value'] == 1
  assert find_row(rows, 'verification_accuracy', 'random_pairs')['value'] == 0  # Strangers are 1.9 to 2.1 apart.
  # The other picture of the person is nearer than strangers' for three; the fourth is nobody.
  assert find_row(rows, 'auc')['value'] == 0.75 and find_row(rows, 'auc', 'copy_input')['value'] == 1
  assert find_row(rows, 'auc', 'model_minus_copy_input')['value'] == -0.25
  assert {row['embedding'] for row in rows} == {DESCRIPTOR}


def test_other_embeddings_are_judged_by_the_papers_cosine():
  a = np.array([[1.0, 0.0], [1.0, 0.0], [2.0, 0.0], [0.0, 0.0]])
  angles = np.arccos([0.651, 0.649])
  b = np.array([[np.cos(angles[0]), np.sin(angles[0])], [np.cos(angles[1]), np.sin(angles[1])], [1, 1], [1, 0]])
  b[0] *= 3
  np.testing.assert_allclose(table2.cosine(a, b), [0.651, 0.649, 0.5**0.5, 0], atol=1e-12)
  alike = np.diag(table2.likeness(a, b, 'net.keras'))
  assert table2.is_match(alike, 'net.keras').tolist() == [True, False, True, False]


def test_outputs_follow_their_drivers_or_fail(monkeypatch):
  """E says the mouth's height; the first output copies the driver, the second the input, the third shows no face."""
  rng = np.random.default_rng(0)
  drivers, inputs = rng.uniform(-0.8, 0.8, (2, 4, 68, 2)).astype(np.float32)
  pictures = rng.integers(0, 256, (3, 4, 16, 16, 3), dtype=np.uint8)
  outputs = pictures[:1]
  batch = {
    'input_image': pictures[1], 'input_landmarks': inputs, 'identity': PEOPLE, 'skin': np.array(['dark', '', '', '']),
    'driver_image': pictures[2], 'driver_landmarks': drivers, 'driver': np.array([5, 6, 7, 8]),
  }  # fmt: skip
  points = {'driver': table2.denormalize(drivers, 16), 'input': table2.denormalize(inputs, 16)}
  shown = np.stack([points['driver'][0], points['input'][1], points['driver'][2], points['driver'][3]])

  def read_faces(images, known, describe=True):
    which = next(k for k in range(3) if np.array_equal(images, pictures[k]))
    found = np.array([True, True, which != 0, True])
    return Faces(found, [shown, points['input'], points['driver']][which], features(0, 0.1, 2, 2.1))

  monkeypatch.setattr(table2.embeddings, 'read_faces', read_faces)

  def encode(landmarks):
    return np.stack([np.ones(len(landmarks)), landmarks[:, 57, 1]], -1)

  rows = table2.table2({'model': outputs}, batch, encode)
  cosines = table2.cosine(encode(drivers), encode(inputs))
  similarity = find_row(rows, 'expression_similarity')
  assert similarity['value'] == pytest.approx((1 + cosines[1] + 0 + 1) / 4, abs=1e-6)
  assert (similarity['protocol'], similarity['count'], similarity['identities']) == ('table2', 4, 2)
  assert find_row(rows, 'expression_similarity', 'copy_input')['value'] == pytest.approx(cosines.mean(), abs=1e-6)
  assert find_row(rows, 'expression_similarity', 'driver')['value'] == pytest.approx(1, abs=1e-6)
  strangers = table2.draw_strangers(batch['driver'])[:, 0]
  expected = table2.cosine(encode(drivers), encode(drivers[strangers])).mean()
  assert find_row(rows, 'expression_similarity', 'random_pairs')['value'] == pytest.approx(expected)
  copied = table2.metrics.landmark_error(points['input'], points['driver'], np.arange(68))
  distance = find_row(rows, 'landmark_distance')['value']
  assert distance == pytest.approx((copied[1] + copied[2]) / 4)  # The third copies the driver, but shows no face.
  paired = find_row(rows, 'landmark_distance', 'model_minus_copy_input')['value']
  assert paired == pytest.approx(distance - copied.mean())
  assert find_row(rows, 'face_found')['value'] == 0.75
  assert find_row(rows, 'face_found', slice='skin_dark')['count'] == 1


def test_lipschitz_quotients_by_hand():
  images = np.zeros([2, 3, 1, 1, 3])
  images[0, :, 0, 0] = [[0, 0, 0], [0.3, 0.4, 0], [0.3, 0.4, 0.1]]
  codes = np.zeros([2, 3, 2])
  codes[0] = [[0, 0], [0, 0.1], [0, 0.3]]  # The second pair's codes are all the same.
  quotients = figure3.lipschitz(images, codes)
  np.testing.assert_allclose(quotients, [[5, 0.5], [np.nan, np.nan]])
  both = {'smile_to_neutral': {'model': quotients[None]}, 'smile_to_disgust': {'model': 2 * quotients[None, :1]}}
  rows = figure3.figure3(both, {'smile_to_neutral': np.array([3, 4]), 'smile_to_disgust': np.array([3])})
  values = {(r['metric'], r['slice']): (r['value'], r['count']) for r in rows}
  assert values['lipschitz_mean', 'smile_to_neutral'] == pytest.approx((2.75, 1))
  assert values['lipschitz_mean', 'all'] == pytest.approx((4.125, 2))
  assert values['lipschitz_max', 'smile_to_disgust'] == pytest.approx((10, 1))
  assert values['lipschitz_mean', 'smile_to_disgust_step_2'] == pytest.approx((1, 1))


def test_neighbours_are_training_pictures_and_seeds_are_averaged():
  train, labels = np.repeat([[0.0], [10.0]], 6, axis=0), np.repeat([0, 1], 6)
  test, truth = np.array([[1.0], [2.0], [9.0], [8.0]]), np.array([0, 1, 1, 1])
  good, people = figure4.Codes(train, np.array([[1.0], [9.5], [9.0], [8.0]])), np.array([1, 1, 2, 3])
  rows = figure4.figure4({'model': [figure4.Codes(train, test), good], figure4.BASELINE: [good]}, labels, truth, people)
  row = find_row(rows, 'knn_accuracy')
  assert (row['value'], row['seeds'], row['count'], row['identities']) == (0.875, 2, 4, 3)
  assert find_row(rows, 'knn_accuracy', 'raw_landmarks')['value'] == 1
  difference = find_row(rows, 'knn_accuracy', 'model_minus_raw_landmarks')
  assert (difference['value'], difference['seeds']) == (-0.125, 2)  # Landmarks have no seeds.
  # One cluster is a single point; the other's mean distance from its centre 53 / 6 is 5 / 9.
  index = find_row(rows, 'davies_bouldin', 'raw_landmarks')['value']
  assert index == pytest.approx((5 / 9) / (53 / 6 - 1))


def test_a_path_is_straight_in_landmark_space():
  first, second = np.random.default_rng(0).normal(size=(2, 68, 2))
  path = figure4.draw_path(first, second, 4)
  np.testing.assert_allclose(path[[0, 4]], [first, second], rtol=1e-6)
  np.testing.assert_allclose(np.diff(path, axis=0), np.tile((second - first) / 4, (4, 1, 1)), atol=1e-6)


def test_arms_are_told_by_their_settings():
  names = [
    arms.arm_of(GCGANConfig(**settings))
    for settings in (
      {}, {'contrastive_weight': 0}, {'landmark_weight': 0}, {'image_weight': 0, 'contrastive_weight': 0},
      {'condition': 'onehot', 'pretrain_steps': 0}, {'condition': 'landmark_image', 'pretrain_steps': 0},
      {'image_loss_reduction': 'sum'}, {'image_loss_reduction': 'sum', 'n_skips': 3, 'output_norm': False},
    )
  ]  # fmt: skip
  assert names == [
    'model', 'without_contrastive_loss', 'without_landmark_loss', 'without_image_loss_without_contrastive_loss',
    'cdaae', 'spg', 'sum', 'released',
  ]  # fmt: skip


def test_the_shipped_arms_are_a_fair_comparison(tmp_path, monkeypatch):
  monkeypatch.chdir(ROOT)
  files = sorted(ROOT.glob('configs/ablations/quick/gcgan_*.cfg'))
  for file in files:
    (tmp_path / file.stem).mkdir()
    config = flags.parse(['train.main', f'--flagfile={file}'], flags.TrainFlags).config
    runs.save_flags(config, tmp_path / file.stem)
  found, unfair = arms.read_arms([tmp_path / file.stem for file in files])
  assert list(found) == list(arms.TITLES) and not unfair


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
  """A run of each arm of Table 2, two seeds of the full model, on faces of noise; nothing was trained."""
  folder = tmp_path_factory.mktemp('runs')
  names = ('neutral', 'happy', 'disgust', 'scream')
  faces = builders.write_faces(folder / 'faces', train=3, test=3, size=32, expressions=names)
  changes = {
    'full0': {}, 'full1': {'seed': 1}, 'nocontr': {'contrastive_weight': 0.0},
    'spg': {'condition': 'landmark_image', 'pretrain_steps': 0},
    'cdaae': {'condition': 'onehot', 'pretrain_steps': 0, 'expressions': 4},
  }  # fmt: skip
  for name, change in changes.items():
    config = GCGANConfig.tiny(dataset=str(faces), **change)
    system = runs.build(config)
    system.phase = 'train'
    (folder / name).mkdir()
    runs.save_flags(config, folder / name)
    runs.save_checkpoint(tf.train.Checkpoint(system=system), folder / name, 'train', 0, keep=1)
  return {name: folder / name for name in changes}


def test_all_tables_and_figures_from_runs(trained, tmp_path, capsys):
  layers = tf.keras.layers
  network = tf.keras.Sequential([layers.AveragePooling2D(4, input_shape=(16, 16, 3)), layers.Flatten()])
  network.save(tmp_path / 'net.keras')
  argv = [*map(str, trained.values()), f'--output={tmp_path}/out', '--pairs=5', f'--embedding={tmp_path}/net.keras']
  assert commands.run(paper.main, ['paper', *argv]) == 0
  out = capsys.readouterr().out
  assert 'without_image_loss: no run was given, left out' in out and 'cdaae: driven by labels' in out
  assert 'Table 1 is left out' in out and 'was not evaluated (python -m evaluate.main --workdir=' in out
  rows = json.loads((tmp_path / 'out' / 'results.json').read_text())['results']
  subjects = {p: {r['subject'] for r in rows if r['protocol'] == p and '_minus_' not in r['subject']} for p in
              ('table2', 'figure3', 'figure4')}  # fmt: skip
  assert subjects == {
    'table2': {'model', 'without_contrastive_loss', 'spg', 'copy_input', 'driver', 'random_pairs'},
    'figure3': {'model', 'without_contrastive_loss'},
    'figure4': {'model', 'without_contrastive_loss', 'raw_landmarks'},
  }
  assert find_row(rows, 'expression_similarity')['seeds'] == 2
  assert find_row(rows, 'verification_accuracy', embedding=str(tmp_path / 'net.keras'))['count'] == 5
  assert find_row(rows, 'verification_accuracy', 'spg', embedding=DESCRIPTOR)['value'] == 0  # No faces in noise.
  tables = (tmp_path / 'out' / 'tables.txt').read_text()
  assert 'knn_accuracy' in tables and 'Fig. 4: contrast groups the codes by expression' in tables
  assert find_row(rows, 'knn_accuracy', 'model_minus_without_contrastive_loss', protocol='claims')['seeds'] == 1
  for name in ('figure2', 'figure3_strips', 'figure5'):
    assert read_provenance(tmp_path / 'out' / f'{name}.png')['model'] == 'Personae gcgan'
  for name in ('figure3_violins', 'figure4'):
    assert read_provenance(tmp_path / 'out' / f'{name}.png')['digital_source_type'].endswith('dataDrivenMedia')


def test_steps_lead_from_one_code_to_the_other(trained):
  model = runs.restore(trained['full0'])
  pipeline = paper.PIPELINES['gcgan'](model.config)
  pairs = figure3.find_pairs(pipeline, 'smile', 'disgust')
  table = pipeline.data.index('test')
  names = np.array(pipeline.expressions)[table['expression'][pairs]]
  assert (names == ['happy', 'disgust']).all() and len(set(table['identity'][pairs[:3, 0]])) == 3
  images, codes = figure3.interpolate(model, pipeline, pairs, steps=4)
  assert images.shape == (6, 5, 32, 32, 3) and codes.shape == (6, 5, 32)
  np.testing.assert_allclose(codes[:, 0], model.encode(table['landmarks'][pairs[:, 0]]), atol=1e-6)
  np.testing.assert_allclose(np.diff(codes, axis=1), np.diff(codes, axis=1)[:, :1].repeat(4, 1), atol=1e-6)
  source = figure3.to_float(pipeline.data.pictures('test', pairs[2:3, 0], 32))
  np.testing.assert_allclose(images[2, 3], model.generate(source, codes[2, 3:4])[0], atol=1e-5)


def test_a_model_that_bends_its_input_bends_it_step_by_step(trained):
  config = dataclasses.replace(runs.restore(trained['full0']).config, bend_input=True)
  model, pipeline = GCGAN(config), paper.PIPELINES['gcgan'](config)
  pairs = figure3.find_pairs(pipeline, 'smile', 'disgust', 2)
  images, _ = figure3.interpolate(model, pipeline, pairs, steps=2)
  own, goals = (pipeline.data.index('test')['landmarks'][pairs[:, k]] for k in (0, 1))
  source = figure3.to_float(pipeline.data.pictures('test', pairs[:, 0], 32))
  for step, landmarks in ((0, own), (2, goals)):
    np.testing.assert_allclose(images[:, step], model.transfer(source, landmarks, own), atol=1e-5)
  codes = (model.encode(own) + model.encode(goals)) / 2
  np.testing.assert_allclose(images[:, 1], model.generate(source, codes, own, (own + goals) / 2), atol=1e-5)


def test_runs_that_do_not_fit_are_refused_in_one_line(trained, tmp_path, capsys):
  other = GCGANConfig.tiny(image_size=64, contrastive_weight=0.0, seed=9)
  (tmp_path / 'large').mkdir()
  runs.save_flags(other, tmp_path / 'large')
  for given, message in (
    ([trained['spg']], 'none of the runs is the full GC-GAN'),
    ([trained['full0'], trained['full0']], 'are both model with seed 0'),
    ([trained['full0'], tmp_path / 'large'], 'makes pictures of 64 pixels'),
    ([tmp_path / 'none'], 'holds no run'),
    ([trained['full0'], '--embedding=net.h5', '--pairs=2'], '--embedding=net.h5: there is no such file'),
  ):
    assert commands.run(paper.main, ['paper', *map(str, given), f'--output={tmp_path}/out']) == 2
    error = capsys.readouterr().err
    assert message in error and error.count('\n') == 1
  arms.read_arms([trained['full0'], trained['nocontr']])
  assert 'no fair comparison' not in capsys.readouterr().out
  runs.save_flags(GCGANConfig.tiny(contrastive_weight=0.0, train_steps=9), tmp_path / 'large')
  _, unfair = arms.read_arms([trained['full0'], tmp_path / 'large'])
  assert 'warm_steps + train_steps=11 (not 4)' in capsys.readouterr().out and len(unfair) == 1
  for name, value in (('contrastive_weight', 0.01), ('pretrain_steps', 90)):  # Another seed of the model it is not.
    runs.save_flags(GCGANConfig.tiny(seed=1, **{name: value}), tmp_path / 'large')
    _, unfair = arms.read_arms([trained['full0'], tmp_path / 'large'])
    assert f'{name}={value}' in unfair['model']


def test_an_embedding_may_not_bring_code(tmp_path):
  (tmp_path / 'net.h5').write_bytes(b'x')
  images = np.zeros([1, 8, 8, 3], np.uint8)
  with pytest.raises(ValueError, match='a .keras file is needed, other formats may run code'):
    embeddings.keras_features(images, tmp_path / 'net.h5')
  risky = tf.keras.Sequential([tf.keras.layers.Lambda(lambda x: x, input_shape=(8, 8, 3))])
  risky.save(tmp_path / 'risky.keras')
  with pytest.raises(ValueError, match='risky.keras cannot be read'):
    embeddings.keras_features(images, tmp_path / 'risky.keras')
