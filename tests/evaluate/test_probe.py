"""Linear probes on rendered heads: features, solvers, frames, and the command."""

import json
import types

import numpy as np
import pytest
import tensorflow as tf
from sklearn.pipeline import make_pipeline

from evaluate import probe, same_person
from evaluate.probes import features, renders, solvers
from evaluate.results import find_row
from models import commands, runs
from models.facecycle import FaceCycle, FaceCycleConfig

WORLD = {'identities': 8, 'images_per_identity': 6, 'frames_per_track': 3, 'image_size': 32, 'enlargement': 1.25}


@pytest.fixture(scope='module')
def model(tmp_path_factory):
  """An untrained FaceCycle whose data set is six and two tiny people."""
  config = FaceCycleConfig.tiny(**WORLD, data_dir=str(tmp_path_factory.mktemp('cache')))
  return FaceCycle(config)


def test_features_are_what_they_are_called(model):
  images = np.random.default_rng(0).integers(0, 256, [3, 64, 64, 3], dtype=np.uint8)
  found = {name: read(images) for name, read in features.expression_readers(model, 64).items()}
  pictures = features.to_pictures(images, 64)
  # Without fusion: what a graph computes must not depend on whether a gradient is asked for.
  np.testing.assert_allclose(found['model'], model.expression_map(pictures).numpy().reshape(3, -1), atol=1e-5)
  code = model.encode_expression(features.to_pictures(images, 32)).numpy()
  np.testing.assert_allclose(found['expression_code'], code, atol=1e-5)
  assert found['random_network'].shape == found['model'].shape
  assert np.abs(found['random_network'] - found['model']).max() > 1e-3
  # 2 x 2 pixels become one; 4 x 4 patches of 59 codes that sum to 1; 7 x 7 blocks of 2 x 2 cells and 9 directions.
  small = images.reshape(3, 32, 2, 32, 2, 3).mean((2, 4))
  assert np.abs(found['raw_pixels'].reshape(small.shape) - (small / 127.5 - 1)).mean() < 0.2
  np.testing.assert_allclose(found['lbp'].reshape(3, 16, 59).sum(-1), 1, rtol=1e-5)
  assert found['hog'].shape == (3, 7 * 7 * 36)
  assert features._patterns(np.zeros([100, 100], np.uint8)).shape == (25 * 59,)  # The authors' patches.
  who = {name: read(images) for name, read in features.identity_readers(model).items()}
  assert who['model'].shape == who['random_network'].shape == (3, 256)
  np.testing.assert_allclose(who['raw_pixels'].mean(1), 0, atol=1e-6)


def test_the_strength_is_chosen_on_the_validation_rows(monkeypatch):
  random = np.random.default_rng(0)
  values = random.normal(size=[600, 120])
  signal = 2 * values[:, :1] + random.normal(size=[600, 1])
  rows = np.split(np.arange(600), [150, 300])
  found = solvers.predict_values(values.astype(np.float32), signal, *rows)
  assert found.shape == (300, 1) and np.abs(found - signal[300:]).mean() < 1.2  # Without any features 1.7.
  # A weak penalty fits the noise of 150 rows: the choice did something.
  weak = solvers.Ridge(alpha=1e-3).fit(values[:150], signal[:150]).predict(values[300:])
  assert np.abs(weak.reshape(-1) - signal[300:, 0]).mean() > 1.2 * np.abs(found - signal[300:]).mean()
  labels = (values[:, 0] > 0).astype(int)
  assert (solvers.predict_labels(values.astype(np.float32), labels, *rows) == labels[300:]).mean() > 0.7
  # Few rows take another way to the same solution.
  few, plain = rows[0][:40], make_pipeline(solvers.StandardScaler(), solvers.Ridge(alpha=40.0))
  monkeypatch.setattr(solvers, '_RIDGE', [1.0])
  wide = np.concatenate([values, random.normal(size=[600, 100])], axis=1)
  np.testing.assert_allclose(
    solvers.predict_values(wide, signal, few, rows[1], rows[2], refit=False)[:, 0],
    plain.fit(wide[few], signal[few, 0]).predict(wide[rows[2]]), atol=1e-4)  # fmt: skip
  assert np.isnan(solvers.predict_labels(values, np.zeros(600, int), *rows)).all()  # One class: nothing to learn.
  assert np.isnan(solvers.predict_values(values, signal, rows[0][:0], rows[1], rows[2])).all()


def scene(people=20, each=14):
  """Frames whose pixels say label and pose: `people` people, two tracks each."""
  count = people * each
  random, number = np.random.default_rng(0), np.arange(count)
  person, label = number // each, number % 7
  pose = random.uniform(-20, 20, [count, 3])
  part = np.where(person >= people - 5, 2, np.where(person % 5 == 4, 1, 0))
  return renders.Frames(
    np.zeros([count, 8, 8, 3], np.uint8), label, pose, person, number % 6, np.array([f'{k}.png' for k in number]),
    np.array([f'{p}/{n % each // 7}' for p, n in zip(person, number, strict=True)]),
    np.where(person % 2, 'dark', 'light'), part)  # fmt: skip


def test_whoever_sees_the_truth_is_right_in_all_regimes(tmp_path):
  frames = scene()
  random = np.random.default_rng(1)
  known = np.concatenate([np.eye(7)[frames.label], frames.pose], axis=1)
  seen = {'model': (known + 0.01 * random.normal(size=known.shape)).astype(np.float32),
          'raw_pixels': random.normal(size=known.shape).astype(np.float32)}
  regimes = renders._all_frames, renders._few_labels, renders._unseen_lights
  rows = [row for regime in regimes for row in regime(seen, frames, tmp_path)]
  for protocol in ('probe', 'probe_few_labels', 'probe_unseen_lights'):
    right = find_row(rows, 'expression_accuracy', protocol=protocol)
    assert right['value'] > 0.99 and (right['count'], right['identities']) == (70, 5)
    assert right['seeds'] == (5 if protocol == 'probe_few_labels' else 1)
    assert find_row(rows, 'expression_accuracy', 'raw_pixels', protocol=protocol)['value'] < 0.4
    assert find_row(rows, 'yaw_error', protocol=protocol)['value'] < 2
    assert find_row(rows, 'roll_error', 'raw_pixels', protocol=protocol)['value'] > 5
    assert find_row(rows, 'yaw_error', 'model_minus_raw_pixels', protocol=protocol)['high'] < 0
    with np.load(tmp_path / f'samples-{protocol}.npz') as kept:
      assert kept['model/expression_accuracy'].mean() == pytest.approx(right['value'])
      assert kept['sample'].tolist() == [f'{k}.png' for k in range(210, 280)]
  assert find_row(rows, 'expression_accuracy', slice='surprised')['count'] == 10
  assert find_row(rows, 'pitch_error', slice='skin_dark')['identities'] == 3


def test_a_probe_never_sees_the_lights_that_it_is_tested_on(monkeypatch):
  frames, asked = scene(), []

  def predict(values, frames, train, validation, tested, refit=True):
    asked.append([set((frames.light[rows] % 2).tolist()) for rows in (train, validation, tested)])
    return np.zeros(len(tested)), np.zeros([len(tested), 3])

  monkeypatch.setattr(renders, '_predict', predict)
  rows = renders._unseen_lights({'model': np.zeros([280, 1])}, frames, '')
  assert asked == [[{0}, {0}, {1}], [{1}, {1}, {0}]]
  assert find_row(rows, 'expression_accuracy')['count'] == 70  # Each frame once.


def test_pairs_of_a_person_are_of_two_tracks():
  frames = scene()
  pairs = renders.across_tracks(frames.person, frames.track, 60)
  assert pairs.same.sum() == 60 and (~pairs.same).sum() == 60
  one, other = frames.track[pairs.first], frames.track[pairs.second]
  assert (one != other).all() and (frames.person[pairs.first] == frames.person[pairs.second])[pairs.same].all()
  alone = renders.across_tracks(frames.person, frames.person, 60)  # Nobody has two.
  np.testing.assert_array_equal(alone.first, same_person.make_pairs(frames.person, 60).first)


def test_the_command_probes_rendered_people(model, tmp_path, capsys, monkeypatch):
  run = tmp_path / 'run'
  run.mkdir()
  model.phase = 'train'
  monkeypatch.setattr(renders, 'DRAWS', 2)
  runs.save_flags(model.config, run)
  runs.save_checkpoint(tf.train.Checkpoint(system=model), run, 'train', 0, keep=1)
  assert commands.run(probe.main, ['probe', f'--workdir={run}']) == 0
  results = json.loads((run / 'eval' / 'renders' / 'results.json').read_text())
  rows = results['results']
  assert {row['protocol'] for row in rows} == {
    'probe_frames', 'probe', 'probe_few_labels', 'probe_unseen_lights', 'probe_verification'}  # fmt: skip
  assert [find_row(rows, part, 'frames')['identities'] for part in ('train', 'validation', 'test')] == [5, 1, 2]
  for subject in ('model', 'expression_code', 'random_network', 'raw_pixels', 'lbp', 'hog'):
    assert 0 <= find_row(rows, 'yaw_error', subject, protocol='probe')['value'] < 40
    assert 0 <= find_row(rows, 'auc', subject)['value'] <= 1
  shown = capsys.readouterr().out
  assert 'probes, train: ' in shown and 'probe_verification (' in shown
  # What does not fit is refused before any work.
  for argument, message in (
    ('--input=x', '--protocol=renders reads no folder: leave --input out'),
    ('--protocol=rafdb', '--protocol=rafdb reads a data set: set --input=FOLDER'),
  ):
    assert commands.run(probe.main, ['probe', f'--workdir={run}', argument]) == 2
    assert message in capsys.readouterr().err
  assert commands.run(probe.main, ['probe', f'--workdir={run}', '--protocol=lfw', f'--input={tmp_path}/none']) == 2
  assert '/none: there is no such folder' in capsys.readouterr().err
  assert commands.run(probe.main, ['probe', '--workdir=pretrained:gcgan']) == 2
  assert 'pretrained:gcgan is a run of gcgan: probes are of facecycle' in capsys.readouterr().err


def test_people_are_verified_once_stage_2_has_begun(monkeypatch):
  monkeypatch.setitem(renders.PIPELINES, 'facecycle', lambda config: types.SimpleNamespace(rendered=True))
  monkeypatch.setattr(renders, 'read_frames', lambda pipeline: scene())
  monkeypatch.setattr(renders, 'expression_readers', lambda model, size: {})
  for name in ('_all_frames', '_unseen_lights', '_few_labels'):
    monkeypatch.setattr(renders, name, lambda features, frames, folder: [])
  monkeypatch.setattr(renders, '_verification', lambda model, frames, pairs: [{'protocol': 'probe_verification'}])
  config = types.SimpleNamespace(system='facecycle', image_size=8)
  for phase, verified in (('front', False), ('motion', False), ('train', True)):
    rows = renders.render_probes(types.SimpleNamespace(phase=phase), config, '')
    assert ('probe_verification' in {row['protocol'] for row in rows}) == verified


def test_photographs_have_no_rows(model, monkeypatch):
  class Photographs:
    rendered = False

  monkeypatch.setitem(renders.PIPELINES, 'facecycle', lambda config: Photographs())
  assert renders.render_probes(model, model.config, '') == []
