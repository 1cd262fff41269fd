"""GC-GAN's table: worked by hand on small arrays, then the whole of it on pictures of blobs."""

import json
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from evaluate import embeddings, gcgan, metrics
from evaluate import main as evaluate_main
from evaluate.embeddings import Faces
from evaluate.provenance import read_provenance
from input_pipeline.alignment import normalize
from models import commands, runs
from models.gcgan import GCGANConfig

SIZE = 32
KEYS = {'protocol', 'metric', 'subject', 'slice', 'value', 'low', 'high', 'count', 'identities', 'seeds', 'embedding'}


def face_points(rng):
  """[68, 2] pixels: eyes above, mouth below, everything inside the picture."""
  points = rng.uniform(6, 26, (68, 2))
  points[36], points[45] = [10, 10], [22, 10]
  points[48:68] = rng.uniform([11, 19], [21, 25], (20, 2))
  return points


@pytest.fixture
def batch():
  rng = np.random.default_rng(0)
  count = 12
  points = np.array([face_points(rng) for _ in range(2 * count)])
  blobs = [
    np.asarray(
      Image.fromarray(rng.integers(0, 255, (6, 6, 3)).astype(np.uint8)).resize((SIZE, SIZE), Image.Resampling.BICUBIC)
    )
    for _ in range(2 * count)
  ]
  images = np.array(blobs, np.float32) / 127.5 - 1
  landmarks = normalize(points, SIZE).astype(np.float32)
  expression = np.arange(count) % 3
  return {
    'input_image': images[::2],
    'target_image': images[1::2],
    'input_landmarks': landmarks[::2],
    'target_landmarks': landmarks[1::2],
    'input_expression': expression,
    'target_expression': (expression + 1) % 3,
    'identity': np.arange(count) // 3,
    'index': np.arange(count),
    'skin': np.array(['dark', ''] * (count // 2)),
  }


class Pipeline:
  """Held-out pairs of `batch`."""

  expressions = ['neutral', 'smile', 'scream']

  def __init__(self, batch):
    self._batch = batch

  def held_out(self, count=None):
    return {key: value[:count] for key, value in self._batch.items()}

  def cross_subject(self, count=None):
    half = self.held_out(count)
    return {**half, 'driver': half['identity'] + 1, 'driver_landmarks': half['target_landmarks'][::-1]}


class Oracle:
  """A model that mixes the target into the input and keeps what it was asked."""

  step = tf.Variable(7)

  def __init__(self, share):
    self.share, self.drivers = share, []

  def sample(self, batch):
    self.drivers.append(batch['target_landmarks'])
    return {'output': self.share * batch['target_image'] + (1 - self.share) * batch['input_image']}


def seen(landmarks, found=True):
  return Faces(np.broadcast_to(found, len(landmarks)), landmarks, np.zeros((len(landmarks), 128), np.float32))


def test_share_of_the_change_is_that_of_the_mixture(batch):
  points = {k: (batch[f'{k}_landmarks'] + 1) * SIZE / 2 - 0.5 for k in ('input', 'target')}
  faces = {'output': seen(points['target']), 'input': seen(points['input']), 'target': seen(points['target'])}
  measures = gcgan.compare_with_targets(gcgan.generate(Oracle(0.5), batch), batch, faces)
  every = np.ones(12, bool)

  def figure(subject, metric):
    return measures[subject][metric].statistic(every)(np.ones(12))

  assert figure('model', 'mouth_change_explained') == pytest.approx(0.75, abs=0.01)  # 1 - 0.5^2
  assert figure('copy_input', 'mouth_change_explained') == 0
  assert figure('model', 'mouth_landmark_error') == 0 and figure('target', 'mouth_landmark_error') == pytest.approx(
    0, abs=1e-6
  )
  error = metrics.landmark_error(points['input'], points['target'], metrics.MOUTH).mean()
  assert figure('copy_input', 'mouth_landmark_error') == pytest.approx(error)
  assert figure('copy_input', 'sharpness') == pytest.approx(
    metrics.laplacian_energy(
      gcgan.to_uint8(batch['input_image']), metrics.face_masks(points['target'], SIZE, SIZE)
    ).sum()
    / metrics.laplacian_energy(
      gcgan.to_uint8(batch['target_image']), metrics.face_masks(points['target'], SIZE, SIZE)
    ).sum()
  )
  perfect = gcgan.compare_with_targets(gcgan.to_uint8(batch['target_image']), batch, faces)['model']
  assert perfect['ssim'].values.min() == pytest.approx(1) and perfect['psnr_mouth'].values.min() == 100


def test_an_output_without_a_face_gets_at_least_the_inputs_error(batch):
  points = {k: (batch[f'{k}_landmarks'] + 1) * SIZE / 2 - 0.5 for k in ('input', 'target')}
  found = np.arange(12) % 2 == 0
  faces = {'output': seen(points['target'], found), 'input': seen(points['input']), 'target': seen(points['target'])}
  measures = gcgan.compare_with_targets(gcgan.to_uint8(batch['target_image']), batch, faces)
  ours, copied = (measures[s]['mouth_landmark_error'].values for s in ('model', 'copy_input'))
  np.testing.assert_allclose(ours, np.where(found, 0, copied))
  assert measures['model']['face_found'].values.mean() == 0.5


def test_identity_auc_tells_people_apart(batch):
  rng = np.random.default_rng(0)
  people = batch['identity']
  centres = 5 * np.eye(128, dtype=np.float32)[:4]

  def described(centre):
    return Faces(
      np.ones(12, bool), np.zeros((12, 68, 2)), centre[people] + rng.normal(0, 0.1, (12, 128)).astype(np.float32)
    )

  faces = {'output': described(centres), 'input': described(centres), 'target': described(centres)}
  every = {'all': np.ones(12, bool)}
  row = gcgan._identity_rows(batch, faces, every)[0]
  assert (row['value'], row['count'], row['identities'], row['subject']) == (1, 12, 4, 'model')
  faces['output'] = faces['output']._replace(found=np.arange(12) != 5)  # No face is nobody, however alike.
  assert gcgan._identity_rows(batch, faces, every)[0]['value'] == pytest.approx(11 / 12)
  faces['output'] = described(centres[[1, 2, 3, 0]])  # Everybody looks like somebody else.
  assert gcgan._identity_rows(batch, faces, every)[0]['value'] < 0.5
  alone = gcgan._identity_rows({**batch, 'identity': np.zeros(12, int)}, faces, every)[0]
  assert alone['value'] is None and alone['count'] == 0


def test_set_distances_have_intervals_around_them():
  rng = np.random.default_rng(0)
  people = np.repeat(np.arange(30), 3)
  a, b = rng.normal(size=(90, 8)), rng.normal(0.5, 1, (90, 8))
  once = gcgan.set_distances(a, b, people, 1 / 8)
  low, high = once['kernel_distance'][1:]
  assert 0 < low < once['kernel_distance'].value < high
  assert gcgan.set_distances(a, a, people, 1 / 8)['kernel_distance'] == (0, 0, 0)
  low, high = once['frechet_distance'][1:]
  assert low < once['frechet_distance'].value < high


def test_the_whole_table(batch, tmp_path, monkeypatch, capsys):
  monkeypatch.setattr(embeddings, '_run', lambda *args: pytest.fail('so few pictures need no other process'))
  model, config = Oracle(0.5), GCGANConfig.tiny()
  rows = gcgan.table1(model, config, tmp_path, pairs=8, pipeline=Pipeline(batch))
  assert all(set(row) == KEYS and row['protocol'] == 'table1' for row in rows)
  json.dumps(rows, allow_nan=False)
  assert {row['slice'] for row in rows} == {
    'all',
    'to_neutral',
    'to_smile',
    'to_scream',
    'neutral_to_smile',
    'smile_to_scream',
    'scream_to_neutral',
    'skin_dark',
    'cross_subject',
  }
  assert {row['subject'] for row in rows} == {
    'model', 'copy_input', 'warped_input', 'target', 'model_minus_copy_input', 'model_minus_warped_input'}
  counts = {row['slice']: row['count'] for row in rows if row['metric'] == 'ssim' and row['subject'] == 'model'}
  assert counts['all'] == 8 and counts['skin_dark'] == 4 and counts['cross_subject'] == 4
  assert {r['embedding'] for r in rows if r['metric'] in ('auc', 'kernel_distance', 'frechet_distance')} == {
    embeddings.DESCRIPTOR
  }
  assert 'Inception distances are skipped: --inception_weights=PATH was not given' in capsys.readouterr().out
  np.testing.assert_array_equal(model.drivers[1], batch['target_landmarks'][:4][::-1])  # Somebody else's landmarks.
  for name in ('sheet.png', 'cross_subject.png'):
    assert read_provenance(tmp_path / name)['version'].endswith('step 7')
  assert (tmp_path / 'expressions.png').is_file()
  with np.load(tmp_path / 'samples.npz') as arrays:
    assert len(set(arrays['sample'])) == 8 and arrays['slice/to_smile'].sum() == 3
    assert arrays['model/mouth_change_explained/denominator'].min() > 0


def test_the_command_writes_results_and_prints_the_table(batch, tmp_path, monkeypatch, capsys):
  config = GCGANConfig.tiny()
  system = runs.build(config)
  system.phase = 'train'
  runs.save_flags(config, tmp_path)
  runs.save_checkpoint(tf.train.Checkpoint(system=system), tmp_path, 'train', 0, keep=1)
  monkeypatch.setitem(gcgan.PIPELINES, 'gcgan', lambda config: Pipeline(batch))
  assert commands.run(evaluate_main.main, ['main', f'--workdir={tmp_path}', '--pairs=6']) == 0
  results = json.loads((tmp_path / 'eval' / 'results.json').read_text())
  assert (results['system'], results['step'], results['data']) == ('gcgan', 0, 'synthetic')
  out = capsys.readouterr().out
  assert 'table1 (6 pictures of 2 people)' in out and 'cross_subject' in out
  evaluate_main.evaluate_run(tmp_path, dataset='some/others', pairs=4)
  assert json.loads((tmp_path / 'eval' / 'others' / 'results.json').read_text())['data'] == 'some/others'
  assert json.loads((tmp_path / 'eval' / 'results.json').read_text()) == results
  assert (
    commands.run(evaluate_main.main, ['main', f'--workdir={tmp_path}', '--pairs=4', '--inception_weights=/none.h5'])
    == 2
  )
  assert capsys.readouterr().err.startswith('error: --inception_weights=/none.h5: there is no such file')


def test_two_data_sets_of_one_name_keep_their_results(tmp_path, monkeypatch):
  monkeypatch.setitem(evaluate_main.EVALUATIONS, 'gcgan', lambda model, config, output: [])
  config = GCGANConfig.tiny()
  model = runs.build(config)
  for dataset in ('some/others', 'more/others', 'some/others', 'more/others/'):
    evaluate_main.evaluate_run(tmp_path, model, config, dataset)
  files = sorted((tmp_path / 'eval').rglob('results.json'))
  assert [json.loads(file.read_text())['data'] for file in files] == ['some/others', 'more/others/']
  assert [file.parent.name for file in files] == ['others', 'others-2']


PHOTOS = Path(__file__).parents[3] / 'shared' / 'data' / 'clear' / 'london'


@pytest.mark.skipif(not PHOTOS.is_dir(), reason='the photographs of ../shared/data are not here')
def test_faces_of_photographs_are_found():
  files = sorted(PHOTOS.glob('0*_neutral.jpg'))[:8]
  photos = np.stack([np.asarray(Image.open(f).resize((96, 96), Image.Resampling.BOX)) for f in files])
  images = np.concatenate([photos, photos[:1], np.full((1, 96, 96, 3), 90, np.uint8)])
  known = np.tile(np.random.default_rng(0).uniform(20, 80, (68, 2)), (10, 1, 1))
  describe = np.arange(10) < 3
  here = embeddings.read_faces(images, known, describe)
  assert here.found.tolist() == [True] * 9 + [False]
  np.testing.assert_array_equal(here.landmarks[8], here.landmarks[0])
  assert np.isfinite(here.descriptors[[0, 1, 2, 8]]).all() and np.isnan(here.descriptors[3:8]).all()
  assert 20 < here.landmarks[9].mean() < 80  # On the known place.
  assert (np.abs(here.landmarks[:8, 30] - [48, 52]) < 10).all()  # Noses.


@pytest.mark.slow  # Inception v3 is large.
def test_inception_features_from_a_file_of_weights(tmp_path):
  network = tf.keras.applications.InceptionV3(include_top=False, pooling='avg', weights=None)
  network.save_weights(tmp_path / 'w.h5')
  images = np.random.default_rng(0).integers(0, 255, (3, 64, 64, 3)).astype(np.uint8)
  features = embeddings.inception_features(images, tmp_path / 'w.h5', batch_size=2)
  large = tf.image.resize(images, (299, 299), 'bicubic', antialias=True)
  expected = network(tf.clip_by_value(large, 0, 255) / 127.5 - 1, training=False)
  np.testing.assert_allclose(features, expected, rtol=1e-4, atol=1e-5)
