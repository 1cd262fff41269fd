"""FaceCycle's figures on pictures whose figures are known, and all of its evaluation on a model that learnt nothing."""

import numpy as np
import pytest
import tensorflow as tf

from evaluate import facecycle, facecycle_faces, facecycle_identity, facecycle_truth
from evaluate.facecycle_faces import Truth, Unseen
from evaluate.provenance import read_provenance
from evaluate.results import find_row
from input_pipeline import PIPELINES, talking_heads
from input_pipeline.video import read_video
from models import runs
from models.facecycle_config import FaceCycleConfig


class Model:
  """Takes half of the brightness away, and all of it from mean faces; flows are constant and go back."""

  phase = 'train'

  def mean_face(self, images):
    return images * 0

  def transfer(self, source, driver):
    return (source + driver) / 2

  def flow(self, images):
    flow = tf.constant([0.3, 0.4]) * tf.ones([tf.shape(images)[0], 16, 16, 2])
    return flow, -flow


def grey_people():
  """Six grey pairs of three people; a person's two frames are .1 apart, people are .3 and more apart."""
  people = np.repeat(np.int32([0, 1, 2]), 2)
  first = np.repeat(np.float32([-0.5, 0, 0.5]), 2)[:, None, None, None] * np.ones([6, 32, 32, 3], np.float32)
  second = first + np.float32(0.1)
  batch = {'first': first, 'second': second, 'identity': people, 'file': [f'{k}.png' for k in range(6)]}
  return Unseen(batch, facecycle_faces.strangers(people), first / 2, second / 2, first)


def test_label_free(tmp_path):
  rows = facecycle.label_free(Model(), grey_people(), tmp_path)
  found = {(row['subject'], row['metric']): row['value'] for row in rows}
  # To the next stranger's second frame: .6, .6, .9 of brightness; in the model half of each.
  np.testing.assert_allclose(found['copy_input', 'within_over_between'], 0.1 / ((0.6 + 0.6 + 0.9) / 3), rtol=1e-4)
  np.testing.assert_allclose(found['model', 'within_over_between'], 0.1 / 0.7, rtol=1e-4)
  np.testing.assert_allclose([found['model', name] for name in ('within', 'between')], [0.05, 0.35], rtol=1e-4)
  np.testing.assert_allclose([found[s, 'cycle_l1'] for s in ('copy_input', 'model')], [0.1, 0.05], rtol=1e-4)
  with np.load(tmp_path / 'samples-label_free.npz') as kept:
    assert kept['sample'].tolist() == [f'{k}.png' for k in range(6)] and kept['identity'].tolist() == [0, 0, 1, 1, 2, 2]
    np.testing.assert_allclose(kept['model/cycle_l1'], 0.05, rtol=1e-4)
  np.testing.assert_allclose([found[s, 'spread'] for s in ('copy_input', 'model')], [1 / 3, 1 / 6], rtol=1e-4)
  assert found['model', 'asymmetry'] == found['model', 'mean_face_spread'] == 0
  np.testing.assert_allclose(found['model', 'flow_size'], 0.5, rtol=1e-5)
  assert 0 < found['model', 'inversion_error'] < 0.3  # Only what left the picture is lost.
  assert found['model_minus_copy_input', 'spread'] < 0
  untrained = Model()
  untrained.phase = 'motion'
  metrics = {row['metric'] for row in facecycle.label_free(untrained, grey_people(), tmp_path)}
  assert 'spread' in metrics and 'mean_face_spread' not in metrics  # Nobody was taught to make mean faces.


def test_the_next_stranger_and_the_next_of_the_same():
  people = np.array([4, 4, 7, 4])
  assert facecycle_faces.strangers(people).tolist() == [2, 2, 3, 2]
  assert facecycle_faces.others_of_the_same(people).tolist() == [1, 3, 2, 0]


def test_turn_is_that_of_the_nose_whatever_the_tilt():
  points = np.zeros([68, 2])
  points[36], points[45], points[30] = (10, 20), (30, 20), (25, 30)
  assert facecycle_truth.turn(points) == pytest.approx(0.25)
  tilted = 3 * points @ np.array([[np.cos(0.4), np.sin(0.4)], [-np.sin(0.4), np.cos(0.4)]]) + 7
  assert facecycle_truth.turn(tilted[None]) == pytest.approx(0.25)


def test_correlation_by_weights():
  random = np.random.default_rng(0)
  a, b = random.normal(size=[2, 30])
  counts = random.integers(0, 3, [2, 30])
  statistic = facecycle_truth.correlation_of(a, b)
  for weights in counts:
    drawn = np.repeat(np.arange(30), weights)
    assert statistic(weights.astype(float)) == pytest.approx(np.corrcoef(a[drawn], b[drawn])[0, 1])
  assert np.isnan(facecycle_truth.correlation_of(np.ones(30), b)(counts)).all()


def test_a_transfer_without_a_face_moved_nothing():
  """Three of six transfers follow exactly; where no face is seen in the others they count as their inputs do."""
  count = 6
  people = np.arange(count)
  drivers = facecycle_faces.strangers(people)
  yaws = np.array([0.3, -0.2, 0.1, -0.3, 0.2, 0.0])
  points = np.tile(np.random.default_rng(0).uniform(-0.3, 0.3, [68, 2]), (count, 1, 1))
  points[:, 36], points[:, 45] = (-0.5, 0), (0.5, 0)
  points[:, 30] = np.stack([yaws, np.full(count, 0.3)], axis=1)
  points[:, 66] = points[:, 62] + np.stack([np.zeros(count), yaws**2], axis=1)
  skin = np.array(['light'] * count)
  batch = {'landmarks': points, 'identity': people, 'skin': skin, 'pose': np.stack([90 * yaws, yaws, yaws], axis=1)}
  unseen = Unseen(batch, drivers, *[np.zeros([count, 32, 32, 3], np.float32)] * 3)
  own = facecycle_truth.Faces(np.ones(count, bool), unseen.pixels(points), np.zeros([count, 128]))
  moved = own._replace(landmarks=own.landmarks[drivers])
  rows = facecycle_truth._motion_rows(unseen, {'first': own, 'transferred': moved})
  for metric in ('yaw_correlation', 'mouth_correlation'):
    assert find_row(rows, metric)['value'] == pytest.approx(1)
    assert find_row(rows, metric, 'copy_input')['value'] < 0.5
  half = moved._replace(found=np.arange(count) < 3)
  rows = facecycle_truth._motion_rows(unseen, {'first': own, 'transferred': half})
  value = find_row(rows, 'yaw_correlation')['value']
  expected = np.where(half.found, yaws[drivers], yaws)
  assert value == pytest.approx(np.corrcoef(expected, yaws[drivers])[0, 1])
  assert find_row(rows, 'face_found')['value'] == 0.5


def test_both_sides_are_compared_after_the_best_similarity():
  random = np.random.default_rng(0)
  image = tf.image.resize(random.uniform(-1, 1, [2, 6, 6, 3]), [64, 64], 'bicubic').numpy().clip(-1, 1)
  points = random.uniform(-0.4, 0.4, [2, 68, 2])
  shifted = np.roll(image, 5, axis=1)
  found = facecycle_truth.compare(shifted, Truth(image, points))
  assert (found['psnr_face'].values > 35).all() and (found['ssim'].values > 0.6).all()
  same = facecycle_truth.compare(image, Truth(image, points))
  assert (same['ssim'].values == 1).all() and (same['psnr_face'].values == 100).all()


def test_identity_that_is_kept_and_lost():
  """Codes of twelve people: transfers keep them, neutral faces are all the same one."""
  people = np.repeat(np.arange(12), 3)
  random = np.random.default_rng(0)
  base = random.normal(size=[12, 16])[people]

  def near():
    return (base + 0.05 * random.normal(size=base.shape)).astype(np.float32)

  codes = {'first': near(), 'second': near(), 'transferred': near(), 'neutral': 0 * base.astype(np.float32) + 1}
  rows = facecycle_identity.kept_rows(codes, people, 'judge')
  accuracy = {s: find_row(rows, 'verification_accuracy', slice=s)['value'] for s in ('all', 'frontalised', 'moved')}
  assert accuracy['moved'] == 1 and accuracy['frontalised'] < 0.7 and accuracy['frontalised'] < accuracy['all'] < 0.95
  real = find_row(rows, 'verification_accuracy', 'real_pairs', 'frontalised')
  assert real['value'] == 1 and real['count'] == 72 and real['identities'] == 12 and real['embedding'] == 'judge'


@pytest.fixture(scope='module')
def evaluated(tmp_path_factory):
  """All rows of a FaceCycle that learnt nothing, on two held-out people, and the folder of its figures."""
  folder = tmp_path_factory.mktemp('facecycle')
  config = FaceCycleConfig.tiny(
    identities=4, images_per_identity=4, frames_per_track=2, enlargement=1.25, data_dir=str(folder / 'cache')
  )
  talking_heads.render_dataset(config, processes=1)
  model = runs.build(config)
  model.phase = 'train'
  return facecycle.new_people(model, config, folder / 'eval', pairs=0), folder / 'eval', PIPELINES['facecycle'](config)


def test_every_protocol_has_rows_beside_copies(evaluated):
  rows, _, _ = evaluated
  assert {row['protocol'] for row in rows} == {
    'label_free', 'neutral_truth', 'transfer_truth', 'neutral_identity', 'identity_kept'}
  for protocol in ('neutral_truth', 'transfer_truth'):
    for metric in ('ssim', 'psnr', 'psnr_face'):
      ours, copied, paired = (find_row(rows, metric, subject, protocol=protocol)
                              for subject in ('model', 'copy_input', 'model_minus_copy_input'))  # fmt: skip
      assert ours['count'] == 4 and ours['identities'] == 2
      assert paired['value'] == pytest.approx(ours['value'] - copied['value'])
  assert find_row(rows, 'yaw_correlation', 'truth')['value'] > 0.8
  judges = {row['embedding'] for row in rows if row['protocol'] == 'identity_kept'}
  assert judges == {'dlib_face_recognition_resnet_v1', 'identity_code'}


def test_figures_say_who_made_them(evaluated):
  _, folder, pipeline = evaluated
  for name in ('figure6.png', 'figure7.png', 'figure7.mp4'):
    assert read_provenance(folder / name)['model'] == 'Personae facecycle'
  frames = list(read_video(folder / 'figure7.mp4'))
  assert len(frames) == 2 and frames[0].shape == (160, 3 * 160, 3)  # The driver, and two people.
  assert len(pipeline.tracks('test').start) == 4
