"""Face-off's figures: worked by hand, and all of them of a model that learnt nothing on four rendered frames."""

import json

import numpy as np
import pytest

from evaluate import faceoff, faceoff_identity, metrics
from evaluate.embeddings import Faces
from evaluate.faceoff_scene import find_person, stretch_length, stretches_of
from evaluate.provenance import read_provenance
from evaluate.results import find_row
from input_pipeline import actors
from input_pipeline.video import frame_rate, read_video
from models import runs
from models.faceoff_config import FaceOffConfig


def test_neighbouring_frames_are_drawn_together_within_their_clip():
  clips, frames = np.repeat([3, 5], [23, 12]), np.concatenate([np.arange(23), np.arange(4, 16)])
  found = stretches_of(clips, frames, 10)
  assert found.tolist() == [0] * 10 + [1] * 10 + [2] * 3 + [3] * 10 + [4] * 2
  # Of every fourth frame two or three are left in a stretch, and a clip of one stretch differs from the one before.
  assert stretches_of(np.repeat([0, 1], [6, 2]), np.array([0, 4, 8, 12, 16, 20, 0, 4]), 10).tolist() == [
    0, 0, 0, 1, 1, 2, 3, 3]  # fmt: skip
  assert stretches_of(np.repeat([0, 1], 2), np.arange(4), 10).tolist() == [0, 0, 1, 1]


def test_a_stretch_is_of_two_seconds():
  assert [stretch_length(rate) for rate in (5.0, 25.0, 29.97, 0.2, 0.0)] == [10, 50, 60, 1, 10]


def test_change_over_time_does_not_reach_over_clips():
  pictures = np.zeros([4, 2, 2, 3], np.uint8)
  pictures[1], pictures[2], pictures[3] = 10, 200, 206
  assert faceoff.frame_changes(pictures, np.array(['x', 'x', 'y', 'y'])).tolist() == [0, 10, 0, 6]


def test_masks_that_jump_are_not_steady():
  masks = np.zeros([4, 4, 4], bool)
  masks[0, :2], masks[1, :2], masks[2, 1:3], masks[3] = True, True, True, True  # The last one begins another clip.
  statistic = faceoff.mask_steadiness(masks, np.array(['x', 'x', 'x', 'y'])).statistic(np.ones(4, bool))
  assert statistic(np.ones(4)) == pytest.approx((1 + 4 / 12) / 2)


def test_one_picture_for_all_has_no_diversity():
  pictures = np.random.default_rng(0).integers(0, 256, [5, 128, 128, 3], dtype=np.uint8)
  distances = faceoff.pairwise(pictures)
  small = pictures.reshape(5, 64, 2, 64, 2, 3).mean((2, 4))
  assert distances[1, 3] == pytest.approx(np.abs(small[1] - small[3]).mean() / 127.5, rel=1e-5)
  mean = faceoff.mean_distance(distances)
  every = [distances[i, k] for i in range(5) for k in range(5) if i != k]
  assert mean(np.ones(5)) == pytest.approx(np.mean(every))
  drawn = mean(np.array([[1, 1, 0, 0, 0], [2, 2, 2, 2, 2.0]]))
  assert drawn[0] == pytest.approx(distances[0, 1]) and drawn[1] == pytest.approx(np.mean(every))
  assert faceoff.mean_distance(faceoff.pairwise(pictures[[0, 0, 0]]))(np.ones(3)) == 0


def test_whom_a_picture_shows():
  random = np.random.default_rng(0)
  a, b = (random.normal(0, 0.01, [8, 16]) + centre for centre in (np.zeros(16), np.full(16, 0.2)))
  threshold = faceoff_identity.find_threshold(a, b)
  assert 0.05 < threshold < 0.8
  codes = np.concatenate([b[:1], a[:1], np.full([1, 16], 9.0), b[:1], a[:1]])
  seen = Faces(np.array([True, True, True, False, False]), np.zeros([5, 68, 2]), codes)
  found = faceoff_identity.verify(seen, a, b, threshold)
  assert found['verified_as_target'].values.tolist() == [1, 0, 0, 0, 0]
  assert found['verified_as_source'].values.tolist() == [0, 1, 0, 0, 0]
  assert found['nearer_to_target'].values.tolist() == [1, 0, 1, 0, 0]  # Of strangers it says the nearer one.


def test_mouths_are_compared_where_a_face_is_seen():
  true = np.random.default_rng(0).uniform(0, 64, [3, 68, 2])
  true[:, 36], true[:, 45] = (10, 20), (50, 20)  # The eyes are 40 pixels apart.
  moved = true + np.array([4.0, 20.0, 8.0])[:, None, None] * [1, 0]
  nobody = np.zeros([3, 128])
  seen, truth = Faces(np.array([True, False, True]), moved, nobody), Faces(np.ones(3, bool), true, nobody)
  statistic = faceoff.mouth_error(seen, truth).statistic(np.ones(3, bool))
  assert statistic(np.ones(3)) == pytest.approx((0.1 + 0.2) / 2)
  unseen = faceoff.mouth_error(seen._replace(found=np.zeros(3, bool)), truth)
  assert np.isnan(unseen.statistic(np.ones(3, bool))(np.ones(3)))


def test_a_person_is_what_is_not_background():
  background = np.zeros([32, 32, 3])
  picture = np.zeros([1, 32, 32, 3], np.uint8)
  picture[0, 8:20, 8:20] = 200
  hidden = np.zeros([32, 32], bool)
  hidden[28:] = True
  person = find_person(picture, background, hidden)[0]
  assert person[10:18, 10:18].all() and person[30].all() and not person[:6].any() and not person[23:27].any()


def test_similarity_within_a_mask():
  random = np.random.default_rng(0)
  first = random.integers(0, 256, [2, 32, 32, 3], dtype=np.uint8)
  second = first.copy()
  second[:, :, 16:] = 128
  masks = np.zeros([2, 32, 32], bool)
  masks[0, :, :8] = True  # The second picture's holds nothing.
  whole, left = metrics.ssim(first, second), metrics.ssim(first, second, masks)
  assert left[0] == pytest.approx(1) and np.isnan(left[1]) and (whole < 0.9).all()


def test_similarity_of_parts_is_that_of_each_by_itself():
  random = np.random.default_rng(0)
  first, second = random.integers(0, 256, [2, 3, 32, 32, 3], dtype=np.uint8)
  face, mouth = np.zeros([2, 3, 32, 32], bool)
  face[:, 4:28, 4:28], mouth[:, 16:22, 10:20] = True, True
  found = faceoff.compare_with_truth(first, second, face, mouth)
  assert list(found) == ['ssim', 'psnr', 'ssim_face', 'psnr_face', 'ssim_mouth', 'psnr_mouth']
  for name, mask in (('ssim', None), ('ssim_face', face), ('ssim_mouth', mouth)):
    np.testing.assert_array_equal(found[name].values, metrics.ssim(first, second, mask))


@pytest.fixture(scope='module')
def evaluated(tmp_path_factory):
  """All rows of a face-off that learnt nothing, and the folder of its figures."""
  folder = tmp_path_factory.mktemp('faceoff')
  config = FaceOffConfig.tiny(data_dir=str(folder / 'cache'), test_frames=24, image_size=48)
  for actor in 'AB':
    actors.render_dataset(config, actor, processes=1)
  model = runs.build(config)
  model.phase = 'train'
  return faceoff.two_people(model, config, folder / 'eval', pairs=0), folder / 'eval'


def test_rows_beside_copies_nearest_frames_and_the_truth(evaluated):
  rows, folder = evaluated
  json.dumps(rows, allow_nan=False)
  for metric in faceoff.TRUTH:
    values = {subject: find_row(rows, metric, subject)['value'] for subject in ('model', *faceoff.BASELINES)}
    for subject in faceoff.BASELINES:
      paired = find_row(rows, metric, f'model_minus_{subject}')
      assert paired['value'] == pytest.approx(values['model'] - values[subject]) and paired['count'] == 24
  value = lambda *names: find_row(rows, *names)['value']  # noqa: E731
  assert value('psnr_face', 'nearest_target_frame') > value('psnr_face', 'copy_input')
  assert value('nearer_to_target', 'truth') == value('face_found', 'truth') > 0  # All that are seen are B's.
  assert value('nearer_to_target', 'copy_input') == 0
  assert value('silhouette_iou', 'truth') > 0.6
  assert value('diversity_share') > 0 and value('yaw_correlation', 'truth') > 0.5
  assert {row['slice'] for row in rows} >= {'all', 'near', 'far'}
  assert 0.4 < value('flicker', 'truth') < 1.3 and find_row(rows, 'flicker')['count'] == 48
  with np.load(folder / 'frames.npz', allow_pickle=False) as arrays:
    assert arrays['yaw_correlation/model'].shape == (24,) and arrays['distances/target'].shape == (24, 24)


def test_figures_say_who_made_them(evaluated):
  _, folder = evaluated
  for name in ('sheet.png', 'translation.mp4'):
    assert read_provenance(folder / name)['model'] == 'Personae faceoff'
  frames = list(read_video(folder / 'translation.mp4'))
  assert len(frames) == 48 and frames[0].shape[1] > 3 * 256 and frame_rate(folder / 'translation.mp4') == 25
