"""FaceCycle's batches: pairs of one track, strangers in the identity stage, mirrors and jitter; and what is refused."""

import dataclasses
import functools

import numpy as np
import pytest
import tensorflow as tf

from input_pipeline import dataset, facecycle, jitter, shards
from models.config import ConfigError
from models.facecycle_config import FaceCycleConfig
from tests.input_pipeline.builders import assert_same, batches, png

SIZE = 32
PLAIN = {'augment_flip': False, 'augment_scale': 0.0, 'augment_colour': 0.0}
# Person -> frames of each track; the last two are held out. Person 3's second track has one frame.
PEOPLE = [[3, 2], [2], [4, 3], [3, 1], [5], [2, 2], [3], [4, 2]]


def examples(split, shard, people):
  row = 0
  for person in range(6) if split == 'train' else range(6, 8):
    for track, frames in enumerate(people[person]):
      for frame in range(frames):
        image = np.full([SIZE, SIZE, 3], 20 + 5 * row, np.uint8)
        image[:, : SIZE // 2] += 100  # The left half is brighter: a mirrored frame is known.
        row += 1
        yield {
          'image': png(image),
          'landmarks': np.zeros([68, 2], np.float32),
          'identity': person,
          'expression': 0,
          'pose': 0,
          'light': 0,
          # Out of order in name, but not in number.
          'file': f'{person}/t{track}.mp4#{9 + frame}',
          'skin': '',
        }


def write_tracks(path, people=PEOPLE, **made_from):
  count = {'train': sum(map(sum, people[:6])), 'test': sum(map(sum, people[6:]))}
  shards.write_dataset(
    str(path),
    dataset.NAME,
    dataset.face_features([f'p{i}' for i in range(8)], ['unlabelled'], SIZE),
    {split: [number] for split, number in count.items()},
    functools.partial(examples, people=people),
    {'alignment': 'enlarged', 'enlargement': 1.6} | made_from,
    processes=1,
  )
  return str(path)


@pytest.fixture(scope='module')
def path(tmp_path_factory):
  return write_tracks(tmp_path_factory.mktemp('tracks') / 'data')


def tracks(path, **changes):
  return facecycle.Tracks(FaceCycleConfig.tiny(dataset=path, batch_size=4, **changes))


def read(images):
  """Row of each plain frame, and whether it is mirrored."""
  values = np.rint((images[:, 0, :, 0] + 1) * 127.5)
  left, right = values[:, 0], values[:, -1]
  return np.rint((np.minimum(left, right) - 20) / 5).astype(int), left < right


def test_a_pair_is_two_frames_of_a_track_and_an_epoch_visits_each_once(path):
  pipeline = tracks(path, **PLAIN)
  found = pipeline.tracks('train')
  assert found.length.tolist() == [3, 2, 2, 4, 3, 3, 1, 5, 2, 2] and found.clip(0).tolist() == [0, 1, 2]
  track_of = np.repeat(np.arange(len(found.start)), found.length)[np.argsort(found.rows)]
  batch = batches(pipeline, 0, 27, 'motion')  # Three times four epochs of the nine tracks that have two frames.
  first, second = (np.concatenate([read(b[key])[0] for b in batch]) for key in ('first', 'second'))
  np.testing.assert_array_equal(track_of[first], track_of[second])
  assert not (first == second).any() and not any(read(b[key])[1].any() for b in batch for key in ('first', 'second'))
  for epoch in track_of[first].reshape(12, 9):
    assert sorted(epoch) == [0, 1, 2, 3, 4, 5, 7, 8, 9]
  assert len({tuple(epoch) for epoch in track_of[first].reshape(12, 9)}) > 9
  # Each frame comes, the last of a track too, which the released loader never draws.
  assert {*first, *second} == set(range(27)) - {int(found.clip(6)[0])}
  assert [value.shape for value in pipeline.spec().values()] == [value.shape for value in batch[0].values()]


def test_batch_t_is_a_function_of_seed_and_t(path):
  pipeline = tracks(path, seed=3)
  for phase in ('motion', 'train'):
    whole = batches(pipeline, 0, 5, phase)
    assert_same(whole[4], batches(tracks(path, seed=3, cache_gb=0.0), 4, 5, phase)[0])  # resumed, and read by row
    halves = [batches(pipeline, 3, 4, phase, worker, 2)[0] for worker in range(2)]
    assert_same(whole[3], {key: np.concatenate([half[key] for half in halves]) for key in halves[0]})
    assert not np.array_equal(whole[0]['first'], batches(tracks(path, seed=4), 0, 1, phase)[0]['first'])
  assert not np.array_equal(whole[0]['first'], batches(pipeline, 0, 1, 'motion')[0]['first'])


def test_the_identity_stage_shows_strangers(tmp_path):
  people = [[2]] * 8
  pipeline = facecycle.Tracks(FaceCycleConfig.tiny(dataset=write_tracks(tmp_path / 'd', people), batch_size=2, **PLAIN))
  person = np.repeat(np.arange(6), 2)
  rows = [np.concatenate([read(b[key])[0] for key in ('first', 'second')]) for b in batches(pipeline, 0, 20, 'train')]
  assert all(len(set(person[row])) == 4 for row in rows) and set(np.concatenate(rows)) == set(range(12))
  crowd = facecycle.Tracks(dataclasses.replace(pipeline.config, batch_size=4))  # 8 frames a batch, 6 people
  rows = [np.concatenate([read(b[key])[0] for key in ('first', 'second')]) for b in batches(crowd, 0, 9, 'train')]
  assert np.bincount(person[np.concatenate(rows)]).tolist() == [12] * 6


def test_fewer_tracks_may_be_used(path):
  few = tracks(path, tracks=4, p_flip=1.0, **PLAIN)
  more = tracks(path, tracks=5, p_flip=1.0)
  assert len(few.used.start) == 4 and set(few.used.names) < set(more.used.names)
  allowed = {int(row) for track in range(4) for row in few.used.clip(track)}
  for phase in ('motion', 'train'):
    rows = np.concatenate([read(batch['first'])[0] for batch in batches(few, 0, 6, phase)])
    assert set(rows) <= allowed
  assert '4 of the training tracks are used' in few.describe()
  with pytest.raises(ConfigError, match='tracks=99 is more than the 10 training tracks'):
    _ = tracks(path, tracks=99).used


def test_mirror_pairs(path):
  for batch in batches(tracks(path, p_flip=1.0), 0, 3, 'motion'):
    np.testing.assert_array_equal(batch['second'], batch['first'][:, :, ::-1])
  alone = tracks(path, p_flip=1.0)
  assert len(alone.paired.start) == 10  # One frame is enough.
  mixed = batches(tracks(path, p_flip=0.5, **PLAIN), 0, 25, 'motion')
  mirrored = np.concatenate([read(batch['second'])[1] for batch in mixed])
  assert 0.3 < mirrored.mean() < 0.7


def test_frames_of_a_pair_share_their_flip(path):
  only = PLAIN | {'augment_flip': True}

  def flips(phase='motion', **changes):
    found = batches(tracks(path, **(only | changes)), 0, 12, phase)
    return [np.concatenate([read(batch[key])[1] for batch in found]) for key in ('first', 'second')]

  first, second = flips()
  np.testing.assert_array_equal(first, second)
  assert 0.25 < first.mean() < 0.75
  for first, second in (flips(shared_flip=False), flips('train')):
    assert 0.25 < (first == second).mean() < 0.75


def test_shift_tint_and_warp_change_both_frames_alike(path):
  plain = batches(tracks(path, **PLAIN), 0, 1, 'motion')[0]
  tinted = batches(tracks(path, augment_tint=0.3, **PLAIN), 0, 1, 'motion')[0]
  gains = [(tinted[key] + 1) / (plain[key] + 1) for key in ('first', 'second')]
  np.testing.assert_allclose(gains[0], gains[1], rtol=1e-4)
  assert gains[0].std() > 0.02


def test_jitter_equals_a_plain_reference():
  random = np.random.default_rng(0)
  images = random.uniform(-1, 1, [2, 8, 8, 3]).astype(np.float32)
  part = np.array([[0.0, 0.1, 1.0, 0.9], [0.05, 0.0, 0.9, 0.95]], np.float32)
  changes = {'part': part, 'flip': [False, True], 'gains': np.ones([2, 3], np.float32), 'hue': np.zeros(2, np.float32)}
  found = jitter.apply_jitter(tf.constant(images), {key: tf.constant(value) for key, value in changes.items()}).numpy()
  for n, (left, top, width, height) in enumerate(part):
    for y in range(8):
      for x in range(8):
        # Where the pixel's centre looks, in pixels of the frame; beyond the edge pixels repeat.
        column = (left + (7.5 - x if n else x + 0.5) / 8 * width) * 8 - 0.5
        row = (top + (y + 0.5) / 8 * height) * 8 - 0.5
        value = 0
        for dy in (0, 1):
          for dx in (0, 1):
            i, j = int(np.floor(row)) + dy, int(np.floor(column)) + dx
            weight = (1 - abs(row - i)) * (1 - abs(column - j))
            value = value + weight * images[n, np.clip(i, 0, 7), np.clip(j, 0, 7)]
        np.testing.assert_allclose(found[n, y, x], value, atol=2e-5)


def test_colours_change_as_said():
  image = tf.constant([[[[0.2, 0.4, 0.6]], [[0.5, 0.5, 0.5]]]])
  plain = jitter.change_colours(image, tf.ones([1, 3]), tf.zeros([1]))
  np.testing.assert_allclose(plain, image, atol=1e-6)
  bright = jitter.change_colours(image, tf.constant([[1.2, 1.0, 1.0]]), tf.zeros([1]))
  np.testing.assert_allclose(bright, image * 1.2, atol=1e-6)
  grey = jitter.change_colours(image, tf.constant([[1.0, 1.0, 0.0]]), tf.zeros([1])).numpy()
  np.testing.assert_allclose(grey[0, 0, 0], [0.299 * 0.2 + 0.587 * 0.4 + 0.114 * 0.6] * 3, atol=1e-6)
  third = jitter.change_colours(image, tf.ones([1, 3]), tf.constant([1 / 3])).numpy()
  np.testing.assert_allclose(third[0, 0, 0], [0.6, 0.2, 0.4], atol=1e-5)
  config = FaceCycleConfig.tiny(image_size=32)
  drawn = jitter.draw_jitter(config, 4000, (1, 2), tf.constant(0, tf.int64))
  area = (drawn['part'][:, 2] * drawn['part'][:, 3]).numpy()
  assert 0.94 < area.min() and area.max() <= 1 and drawn['part'].numpy()[:, :2].min() >= 0
  assert 0.17 < (drawn['gains'].numpy() == 1).all(axis=1).mean() < 0.23
  assert np.abs(drawn['gains'].numpy() - 1).max() <= 0.05 and np.abs(drawn['hue'].numpy()).max() <= 0.01


def test_held_out_pairs_are_of_the_test_people_and_no_frame_comes_twice(path):
  pipeline = tracks(path)
  found = pipeline.held_out()
  assert found['rows'].shape == (4, 2) and len(set(found['rows'].ravel())) == 8
  assert set(found['identity'][:2]) == {6, 7}
  np.testing.assert_array_equal(found['identity'], found['second_identity'])
  # Raw: rows of the test split are numbered from 0 in its pictures.
  np.testing.assert_array_equal(read(found['second'])[0], found['rows'][:, 1])
  assert_same(pipeline.held_out(2), {key: value[:2] for key, value in found.items()})
  with pytest.raises(ValueError, match='holds photographs: what they show is not known'):
    pipeline.neutral_truth('test', [0])


def test_data_that_does_not_fit_is_refused(path, tmp_path):
  cases = [
    ({'dataset': 'synthetic'}, 'has pictures and no tracks: set --dataset=synthetic_video'),
    ({'dataset': path, 'enlargement': 1.25}, 'set --enlargement=1.6, or prepare them again with --enlargement=1.25'),
    ({'dataset': path, 'image_size': 64}, 'is larger than the crops'),
    ({'dataset': write_tracks(tmp_path / 'a', alignment='paper')}, 'cut out with alignment=paper'),
  ]
  for changes, message in cases:
    with pytest.raises(ConfigError, match=message):
      _ = facecycle.Tracks(FaceCycleConfig.tiny(**changes)).data
  single = write_tracks(tmp_path / 'b', [[1, 1]] * 8)
  with pytest.raises(ConfigError, match='prepare videos, or set --p_flip=1'):
    tracks(single).batches(0, 1, 'motion')
  assert 'held in memory' in tracks(single, p_flip=1.0).describe()[-1]
  with pytest.raises(ValueError, match='no held-out track has two frames'):
    tracks(single, p_flip=1.0).held_out()
  assert 'one frame have no pair' in tracks(path).describe()[-2]
