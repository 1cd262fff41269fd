"""Face-off's batches: unpaired frames of two people, cut and mirrored with their masks; and what is refused."""

import functools

import numpy as np
import pytest
import tensorflow as tf

from input_pipeline import dataset, faceoff, shards
from models.config import ConfigError
from models.faceoff_config import FaceOffConfig
from tests.input_pipeline.builders import assert_same, batches, png, write_faces

SIZE = 36
COUNTS = {'train': (7, 5), 'test': (4, 3)}
PLAIN = {'augment_flip': False}


def examples(split, shard, counts):
  """Row r of a person has the value 10 r (+ 100 of b); columns get brighter by 1; the mask is what is left of 18."""
  for person, name in enumerate('ab'):
    for row in range(counts[split][person]):
      image = np.full([SIZE, SIZE, 3], 10 * row + 100 * person, np.uint8) + np.arange(SIZE, dtype=np.uint8)[:, None]
      mask = np.zeros([SIZE, SIZE], np.uint8)
      mask[:, :18] = 255
      yield {
        'image': png(image),
        'mask': png(mask),
        'landmarks': np.tile(np.float32([-1 + 37 / 36, -1 + 5 / 36]), (68, 1)),  # The pixel (18, 2).
        'identity': person,
        'expression': 0,
        'pose': 0,
        'light': 0,
        'file': f'{name}/talk.mp4#{row:06d}',
        'skin': '',
      }


def write_videos(path, counts=COUNTS, **made_from):
  features = dataset.face_features(['a', 'b'], ['unlabelled'], SIZE)
  features['mask'] = shards.import_tfds().features.Image(shape=(SIZE, SIZE, 1), encoding_format='png')
  shards.write_dataset(
    str(path),
    dataset.NAME,
    features,
    {split: [sum(part)] for split, part in counts.items()},
    functools.partial(examples, counts=counts),
    {'kind': 'two_videos', 'alignment': 'centre', 'enlargement': 1.6, 'masks': 'face'} | made_from,
    processes=1,
  )
  return str(path)


@pytest.fixture(scope='module')
def path(tmp_path_factory):
  return write_videos(tmp_path_factory.mktemp('videos') / 'data')


def domains(path, **changes):
  return faceoff.TwoDomains(FaceOffConfig.tiny(**{'dataset': path, 'batch_size': 2} | changes))


def read(images):
  """Row of each plain frame, how far left it was cut out, and whether it is mirrored."""
  values = np.rint((images[:, 0, :, 0] + 1) * 127.5).astype(int)
  first, last = values[:, 0], values[:, -1]
  low = np.minimum(first, last) % 100
  return low // 10, low % 10, first > last


def test_an_epoch_visits_a_once_and_draws_b_at_random(path):
  pipeline = domains(path, **PLAIN)
  found = batches(pipeline, 0, 35, 'train')
  rows = {key: np.concatenate([read(batch[key])[0] for batch in found]) for key in 'ab'}
  for epoch in rows['a'].reshape(10, 7):
    assert sorted(epoch) == list(range(7))
  assert len({tuple(epoch) for epoch in rows['a'].reshape(10, 7)}) > 7
  assert set(rows['b']) == set(range(5))
  assert {len(set(few)) for few in rows['b'].reshape(14, 5)} != {5}  # Not one after the other.
  assert pipeline.epoch == 7 and (found[0]['b'].mean() > found[0]['a'].mean())
  assert {key: value.shape for key, value in found[0].items()} == {
    key: tuple(value.shape) for key, value in pipeline.spec().items()
  }
  # The longer video sets the epoch: frames of a shorter A come again in it.
  longer = faceoff.TwoDomains(pipeline.config)
  longer.sides = {'a': pipeline.sides['b'], 'b': pipeline.sides['a']}
  rows = np.concatenate([read(batch['a'])[0] for batch in batches(longer, 0, 7, 'train')]).reshape(2, 7)
  assert sorted(rows[0]) == sorted(rows[1]) == [0, 0, 1, 1, 2, 3, 4]


def test_picture_and_mask_are_cut_out_and_mirrored_alike(path):
  found = batches(domains(path), 0, 40, 'train')
  for key in 'ab':
    images, masks = (np.concatenate([batch[name] for batch in found]) for name in (key, f'{key}_mask'))
    _, left, mirrored = read(images)
    assert set(left) == {0, 1, 2, 3, 4} and 0.3 < mirrored.mean() < 0.7
    for mask, begin, flip in zip(masks, left, mirrored, strict=True):
      expected = np.arange(32) < 18 - begin
      np.testing.assert_array_equal(mask[..., 0], np.tile(expected[::-1] if flip else expected, (32, 1)))
  # Rows too: every place of a frame that has no two equal rows.
  image = tf.reshape(tf.range(2 * 36 * 36), [2, 36, 36, 1])
  top, left, flip = tf.constant([0, 3], tf.int64), tf.constant([4, 1], tf.int64), tf.constant([True, False])
  cut = faceoff.cut_out(image, top, left, flip, 32)
  np.testing.assert_array_equal(cut[0, ..., 0], image[0, 0:32, 4:36, 0].numpy()[:, ::-1])
  np.testing.assert_array_equal(cut[1, ..., 0], image[1, 3:35, 1:33, 0])
  left = [np.concatenate([read(batch[key])[1] for batch in found]) for key in 'ab']
  assert 0.05 < (left[0] == left[1]).mean() < 0.5  # Each person by itself.


def test_batch_t_is_a_function_of_seed_and_t(path):
  pipeline = domains(path, seed=3, critic_steps=3, pool_size=0)
  whole = batches(pipeline, 0, 5, 'train')
  assert_same(whole[4], batches(domains(path, seed=3, critic_steps=3, pool_size=0, cache_gb=0.0), 4, 5, 'train')[0])
  halves = [batches(pipeline, 3, 4, 'train', worker, 2)[0] for worker in range(2)]
  assert_same(whole[3], {key: np.concatenate([half[key] for half in halves]) for key in halves[0]})
  assert whole[0]['critic_a'].shape == (2, 3, 32, 32, 3) and whole[0]['critic_b_mask'].shape == (2, 3, 32, 32, 1)
  assert {key: value.shape for key, value in whole[0].items()} == {
    key: tuple(value.shape) for key, value in pipeline.spec().items()
  }
  assert not np.array_equal(whole[0]['a'], batches(domains(path, seed=4), 0, 1, 'train')[0]['a'])
  # A's critic sees each frame once in an epoch of its own, as the generators do.
  plain = batches(domains(path, critic_steps=3, pool_size=0, **PLAIN), 0, 7, 'train')
  rows = np.concatenate([read(batch['critic_a'].reshape(6, 32, 32, 3))[0] for batch in plain])
  assert (np.bincount(rows) == 6).all()


def test_further_augmentation_moves_the_mask_too(path):
  changes = {'augment_shift': 0.3, 'augment_colour': 0.3}
  plain, moved = (batches(domains(path, **PLAIN, **more), 0, 6, 'train') for more in ({}, changes))
  for before, after in zip(plain, moved, strict=True):
    assert set(np.unique(after['a_mask'])) <= {0, 1}
    assert not np.array_equal(before['a'], after['a'])
  shares = [np.mean([batch['a_mask'].mean(axis=(1, 2, 3)) for batch in found], axis=1) for found in (plain, moved)]
  assert np.std(shares[1]) > 2 * np.std(shares[0])


def test_held_out_frames_are_the_middle_in_the_order_of_time(path):
  found = domains(path).held_out()
  assert found['a'].shape == (3, 32, 32, 3) and 'truth' not in found and 'a_pose' not in found
  assert found['a_frame'].tolist() == [0, 1, 2] and found['b_frame'].tolist() == [0, 1, 2]
  assert (read(found['b'])[0] == [0, 1, 2]).all() and (read(found['b'])[1] == 2).all() and not read(found['b'])[2].any()
  assert found['a_mask'][..., 0].sum(axis=(1, 2)).tolist() == [32 * 16] * 3
  # The pixel (18, 2) is (16, 0) of the middle.
  np.testing.assert_allclose(found['a_landmarks'][0, 0], [33 / 32 - 1, 1 / 32 - 1], atol=1e-6)
  assert domains(path).held_out(2)['a_frame'].tolist() == [0, 2]
  labels = domains(path).labels_of('b', 'train')
  assert labels['frame'].tolist() == [0, 1, 2, 3, 4] and labels['clip'].tolist() == [0] * 5
  text = ' '.join(domains(path).describe())
  assert 'a: 7 training frames, 4 held out' in text and 'masks of the frames show the face' in text


def test_the_frame_rate_is_known_where_it_is_not_that_of_a_folder(tmp_path):
  for known, rate in ((2.0, 2.0), (0.0, 25.0)):
    pipeline = domains(write_videos(tmp_path / f'{known:g}', rates={'a': known, 'b': 7.0}))
    assert (pipeline.known_rate, pipeline.frame_rate) == (known, rate)


def test_data_that_does_not_fit_is_refused(path, tmp_path):
  aligned = write_videos(tmp_path / 'aligned', alignment='enlarged')
  ready = write_videos(tmp_path / 'ready', masks='ready')
  faces = str(write_faces(tmp_path / 'faces', size=SIZE))
  cases = [
    ({'dataset': 'synthetic'}, 'has many people and no videos of two: set --dataset=synthetic_actors'),
    ({'dataset': faces}, 'does not hold the videos of two people: prepare them with --layout=two_videos'),
    ({'load_size': 40}, r'load_size=40 is larger than the frames of .* \(36\)'),
    ({'dataset': aligned}, 'alignment=centre is not how the frames .* set --alignment=enlarged'),
    ({'dataset': aligned, 'alignment': 'enlarged', 'enlargement': 2.0}, 'set --enlargement=1.6'),
    ({'masks': 'person'}, 'masks=person is not what .* has: set --masks=face'),
  ]
  for changes, message in cases:
    with pytest.raises(ConfigError, match=message):
      domains(path, **changes).held_out()
  assert domains(ready, masks='person').held_out(1)['a'].shape[0] == 1
  with pytest.raises(ConfigError, match='image_size=32 is cut out of load_size=31'):
    FaceOffConfig.tiny(load_size=31)
  with pytest.raises(ConfigError, match='the camera of dataset=synthetic_actors stands still'):
    FaceOffConfig.tiny(alignment='enlarged')
