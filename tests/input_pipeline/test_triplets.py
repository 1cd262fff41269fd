import dataclasses
import itertools
import json
import re
import shutil

import numpy as np
import pytest
import tensorflow as tf

from input_pipeline import alignment, augmentation, triplets
from models import GCGANConfig
from models.config import ConfigError, DataConfig, RunConfig
from tests.input_pipeline import builders
from tests.input_pipeline.builders import assert_same, batches


@dataclasses.dataclass(frozen=True)
class Config(DataConfig, RunConfig):
  image_size: int = 16


@dataclasses.dataclass(frozen=True)
class BalancedConfig(Config):
  balance_skin: bool = False


@pytest.fixture(scope='module')
def faces(tmp_path_factory):
  return builders.write_faces(tmp_path_factory.mktemp('faces') / 'data')


def pipeline(faces, **fields):
  return triplets.Triplets(Config(**{'dataset': str(faces), 'batch_size': 8} | fields))


def test_batch_keeps_the_contract(faces):
  spec = pipeline(faces).batches(0, 1, 'train').element_spec
  shapes = {key: (value.shape.as_list(), value.dtype) for key, value in spec.items()}
  image, points, label = ([8, 16, 16, 3], tf.float32), ([8, 68, 2], tf.float32), ([8], tf.int32)
  assert shapes == {
    'input_image': image,
    'target_image': image,
    'input_landmarks': points,
    'target_landmarks': points,
    'reference_landmarks': points,
    'input_expression': label,
    'target_expression': label,
    'reference_expression': label,
    'identity': label,
    'index': ([8], tf.int64),
  }


def test_pairs_share_person_pose_and_light_and_differ_in_expression(faces):
  source = pipeline(faces)
  table, pairs = source.data.index('train'), source.pairs('train')
  assert len(pairs) == 4 * 2 * 3 * 2  # people, (pose, light) combinations, ordered pairs of three expressions
  a, b = pairs[:, 0], pairs[:, 1]
  for key in ('identity', 'pose', 'light'):
    np.testing.assert_array_equal(table[key][a], table[key][b])
  assert (table['expression'][a] != table['expression'][b]).all()


def test_skin_tones_are_balanced_by_showing_the_rarer_again(tmp_path):
  faces = builders.write_faces(tmp_path / 'three', train=3)  # Two light people and a dark one, with twelve pairs each.

  def shown(balance, steps):
    source = triplets.Triplets(BalancedConfig(dataset=str(faces), batch_size=12, balance_skin=balance))
    people = np.concatenate([batch['identity'] for batch in batches(source, 0, steps, 'train')])
    return np.bincount(people).tolist()

  assert shown(False, 3) == [12, 12, 12] and shown(True, 4) == [12, 24, 12]
  alone = builders.write_faces(tmp_path / 'alone', train=1, test=2)
  with pytest.raises(ValueError, match='balance_skin=true needs people of dark and of light skin'):
    batches(triplets.Triplets(BalancedConfig(dataset=str(alone), balance_skin=True)), 0, 1, 'train')


def test_pictures_belong_to_their_landmarks(faces):
  source = pipeline(faces)
  table, images = source.data.index('train'), source.data.images('train', 16).numpy()
  batch = batches(source, 3, 4, 'train')[0]
  for side in ('input', 'target'):
    for image, points in zip(batch[f'{side}_image'], batch[f'{side}_landmarks'], strict=True):
      row = int(np.nonzero((table['landmarks'] == points).all(axis=(1, 2)))[0][0])
      np.testing.assert_allclose(image, images[row] / 127.5 - 1, atol=1e-6)
  targets, references = (sorted(batch[k].reshape(8, -1).tolist()) for k in ('target_landmarks', 'reference_landmarks'))
  assert targets == references
  assert sorted(batch['reference_expression']) == sorted(batch['target_expression'])


def test_batch_is_a_function_of_seed_phase_and_step(faces):
  for late in (0, 1_000_000):
    whole = batches(pipeline(faces), late, late + 5, 'train')
    assert_same(whole[3], batches(pipeline(faces), late + 3, late + 4, 'train')[0])
  other = [
    pipeline(faces, seed=1).batches(0, 1, 'train'),
    pipeline(faces).batches(0, 1, 'pretrain'),
    pipeline(faces).batches(1, 2, 'train'),
  ]
  first = batches(pipeline(faces), 0, 1, 'train')[0]
  for dataset in other:
    assert not np.array_equal(next(dataset.as_numpy_iterator())['target_landmarks'], first['target_landmarks'])


def test_every_epoch_visits_every_pair_once_in_another_order(faces):
  source = pipeline(faces)
  elements = tf.range(96, dtype=tf.int64)
  order = triplets.shuffled(elements, 48, (5, 6)).numpy().reshape(2, 48)
  assert (np.sort(order) == np.arange(48)).all() and not np.array_equal(*order)
  seen = np.concatenate([b['identity'] for b in batches(source, 0, 6, 'train')])
  assert np.bincount(seen).tolist() == [12] * 4


@pytest.mark.parametrize(
  'augment',
  [
    {},
    {
      'augment_flip': True,
      'augment_shift': 0.1,
      'augment_scale': 0.1,
      'augment_colour': 0.1,
      'augment_tint': 0.1,
      'augment_melanin': 0.5,
      'augment_warp': 0.01,
    },
  ],
)
def test_parts_of_two_workers_are_one_workers_whole(faces, augment):
  whole = batches(pipeline(faces, **augment), 7, 9, 'train')
  parts = [batches(pipeline(faces, **augment), 7, 9, 'train', worker=w, workers=2) for w in range(2)]
  for step, batch in enumerate(whole):
    assert_same(batch, {key: np.concatenate([parts[0][step][key], parts[1][step][key]]) for key in batch})
  with pytest.raises(ValueError, match='batch_size=8 is not a multiple of the 3 workers'):
    pipeline(faces).batches(0, 1, 'train', workers=3)


def test_an_auxiliary_data_set_fills_the_end_of_a_batch(tmp_path):
  faces = builders.write_faces(tmp_path / 'own', size=32)
  other = builders.write_faces(tmp_path / 'other', train=3, size=32)
  settings = {'dataset': str(faces), 'batch_size': 8, 'augment_warp': 0.01}
  mixed = triplets.Triplets(GCGANConfig.tiny(**settings, auxiliary_dataset=str(other), auxiliary_share=0.25))
  batch = batches(mixed, 3, 4, 'train')[0]
  own, rest = (
    batches(triplets.Triplets(GCGANConfig.tiny(**settings | {'batch_size': n, 'dataset': str(path)})), 3, 4, phase)[0]
    for n, path, phase in ((6, faces, 'train'), (2, other, 'train/auxiliary'))
  )
  for key in batch:
    if key not in ('identity', 'index'):
      np.testing.assert_array_equal(batch[key], np.concatenate([own[key], rest[key]]))
  assert batch['index'].tolist() == list(range(8))
  assert not set(batch['identity'][:6]) & set(batch['identity'][6:])
  parts = [batches(mixed, 3, 4, 'train', worker=w, workers=2)[0] for w in range(2)]
  together = {key: np.concatenate([part[key] for part in parts]) for key in batch}
  order = np.argsort(together['index'])
  assert_same(batch, {key: together[key][order] for key in batch})
  assert (
    mixed.held_out()['identity'].tolist()
    == triplets.Triplets(GCGANConfig.tiny(**settings)).held_out()['identity'].tolist()
  )
  with pytest.raises(FileNotFoundError, match='nowhere'):
    triplets.Triplets(GCGANConfig.tiny(**settings, auxiliary_dataset='nowhere')).batches(0, 1, 'train')
  with pytest.raises(ValueError, match='auxiliary_share=0.01 of batch_size=8 is 0 pictures'):
    GCGANConfig.tiny(**settings, auxiliary_dataset=str(other), auxiliary_share=0.01)
  with pytest.raises(ValueError, match="which condition=onehot cannot tell from dataset's"):
    GCGANConfig.tiny(**settings, auxiliary_dataset=str(other), condition='onehot', pretrain_steps=0)


def test_reading_by_row_gives_the_same_batches(faces):
  assert not pipeline(faces, cache_gb=0.0).data.fits('train', 16)
  assert_same(batches(pipeline(faces), 2, 3, 'train')[0], batches(pipeline(faces, cache_gb=0.0), 2, 3, 'train')[0])


def test_augmentation_moves_points_with_their_pixels():
  # A bright dot on each of the 68 points of a smooth layout; after the change it must be where the points say.
  points = np.stack([np.linspace(-0.5, 0.5, 68), np.linspace(0.4, -0.5, 68)], axis=1).astype(np.float32)
  changes = {
    'flip': tf.constant([-1.0]),
    'scale': tf.constant([1.2]),
    'shift': tf.constant([[0.1, -0.15]]),
    'gains': tf.zeros([1, 6]),
  }
  moved = augmentation.change_landmarks(tf.constant(points)[None, None].numpy().repeat(2, 1), changes).numpy()[0, 0]
  for i, mirrored in ((8, 8), (0, 16), (36, 45)):
    image = np.full([65, 65, 3], -1, np.float32)
    x, y = np.round(alignment.denormalize(points[i], 65)).astype(int)
    image[y - 1 : y + 2, x - 1 : x + 2] = 1
    result = (
      augmentation.change_images(tf.constant(image)[None, None].numpy().repeat(2, 1), changes).numpy()[0, 0, ..., 0] + 1
    )
    centre = np.array([(result.sum(axis) * np.arange(65)).sum() / result.sum() for axis in (0, 1)])
    np.testing.assert_allclose(alignment.denormalize(moved[mirrored], 65), centre, atol=0.8)


def test_a_warp_moves_points_with_their_pixels():
  still = {'flip': tf.ones([1]), 'scale': tf.ones([1]), 'shift': tf.zeros([1, 2]), 'gains': tf.zeros([1, 6])}
  grid = tf.random.stateless_normal([1, 5, 5, 2], [1, 2])
  changes = still | {'warp': tf.image.resize(0.06 * grid, [65, 65], 'bicubic')}
  for x, y in ((20, 20), (45, 25), (32, 44)):
    image = np.full([1, 1, 65, 65, 3], -1, np.float32)
    image[0, 0, y - 1 : y + 2, x - 1 : x + 2] = 1
    result = augmentation.change_images(tf.constant(image), changes).numpy()[0, 0, ..., 0] + 1
    centre = np.array([(result.sum(axis) * np.arange(65)).sum() / result.sum() for axis in (0, 1)])
    point = np.full([1, 1, 68, 2], (np.array([x, y]) * 2 + 1) / 65 - 1, np.float32)
    moved = alignment.denormalize(augmentation.change_landmarks(tf.constant(point), changes).numpy()[0, 0, 0], 65)
    np.testing.assert_allclose(moved, centre, atol=0.35)
    assert np.abs(moved - [x, y]).max() > 0.7


def test_melanin_darkens_skin_and_leaves_grey(faces):
  skin, teeth = [0.8, 0.6, 0.5], [0.8, 0.78, 0.7]  # Red exceeds green by a quarter, and by a fortieth.
  images = tf.constant(np.tile(2 * np.array([skin, teeth], np.float32) - 1, (2, 1, 4, 2, 1)))  # [2, 1, 4, 4, 3]
  still = {'flip': tf.ones(2), 'scale': tf.ones(2), 'shift': tf.zeros([2, 2]), 'gains': tf.zeros([2, 6])}
  changed = augmentation.change_images(images, still | {'melanin': tf.constant([0.0, 0.5])})
  np.testing.assert_allclose(changed[0], images[0], atol=1e-6)
  expected = [np.array(skin) * np.exp(-0.5 * np.array([0.71, 0.84, 1.0])), teeth]
  np.testing.assert_allclose(changed[1, 0, 0, :2], 2 * np.array(expected) - 1, atol=1e-5)
  config = pipeline(faces, augment_melanin=0.5).config
  drawn = [augmentation.draw_changes(config, (0, 0), tf.constant(step, tf.int64))['melanin'] for step in range(99)]
  assert 0.4 < np.mean(np.array(drawn) == 0) < 0.6 and 0.45 < np.max(drawn) <= 0.5


def test_augmentation_treats_both_pictures_alike_and_is_off_by_default(faces):
  plain = batches(pipeline(faces), 0, 1, 'train')[0]
  for field, value in (
    ('augment_flip', True),
    ('augment_shift', 0.2),
    ('augment_scale', 0.2),
    ('augment_colour', 0.2),
    ('augment_tint', 0.2),
    ('augment_melanin', 1.0),
    ('augment_warp', 0.02),
  ):
    changed = batches(pipeline(faces, **{field: value}), 0, 1, 'train')[0]
    assert not np.allclose(changed['input_image'], plain['input_image']), field
    points_change = not np.allclose(changed['input_landmarks'], plain['input_landmarks'])
    assert points_change == (field not in ('augment_colour', 'augment_tint', 'augment_melanin'))


def test_held_out_pairs_are_spread_and_do_not_depend_on_the_seed(faces):
  held = pipeline(faces).held_out()
  assert len(held['identity']) == 24 and set(held['identity']) == {4, 5}
  assert_same(held, pipeline(faces, seed=9).held_out())
  first = pipeline(faces).held_out(6)
  assert held['input_image'].dtype == np.float32
  np.testing.assert_array_equal(first['target_image'], held['target_image'][:6])
  assert set(first['target_expression']) == {0, 1, 2} and first['identity'][0] != first['identity'][1]
  assert set(held['skin']) == {'light', 'dark'}
  assert pipeline(faces).cross_subject() == {}


def test_spread_order_shows_new_people_first():
  identity, expression = (np.array(x) for x in zip(*itertools.product(range(20), [0, 1, 2, 2, 2]), strict=True))
  order = triplets.spread_order(identity, expression, seed=0)
  assert sorted(order) == list(range(100))
  assert len(set(identity[order[:20]])) == 20
  assert np.bincount(expression[order[:60]]).tolist() == [20, 20, 20]


def test_describe_counts(faces):
  text = '\n'.join(pipeline(faces).describe())
  assert (
    '24 pictures of 4 people, 48 ordered pairs' in text and 'neutral, happy, angry' in text and 'held in memory' in text
  )


@pytest.mark.parametrize(
  'options, message',
  [
    ({'absent': True}, "no picture of expression 'absent' in split 'train'"),
    ({'train': 1, 'test': 0}, 'one person only'),
    ({'expressions': ('neutral',)}, "nobody in split 'train' has two expressions"),
    ({'spoil': 'landmarks'}, "landmarks of row 0 of split 'train' are not finite"),
    ({'spoil': 'image'}, "a picture of split 'train' is damaged"),
    ({'name': 'tracks'}, "kind 'tracks'"),
    ({'test': 0}, "split 'test' has no pictures"),
  ],
)
def test_unusable_data_is_refused_in_one_line(tmp_path, options, message):
  path = builders.write_faces(tmp_path / 'data', **options)
  with pytest.raises(ValueError, match=message) as caught:
    batches(pipeline(path), 0, 1, 'train')
  assert '\n' not in str(caught.value)


def test_a_crop_smaller_than_the_pictures_is_refused(faces):
  with pytest.raises(ValueError, match='image_size=32 is larger than the crops'):
    pipeline(faces, image_size=32).batches(0, 1, 'train')


@pytest.mark.parametrize('count', [2, 4])
def test_onehot_labels_fit_the_data(faces, count):
  onehot = {'condition': 'onehot', 'pretrain_steps': 0, 'expressions': count}
  with pytest.raises(ConfigError, match=rf'^expressions={count} does not fit --dataset=.*has 3 \(.*--expressions=3$'):
    triplets.Triplets(GCGANConfig.tiny(**onehot, dataset=str(faces))).held_out(1)
  with pytest.raises(ConfigError, match=rf'^expressions={count} does not fit --dataset=synthetic, which has 6'):
    triplets.Triplets(GCGANConfig.tiny(**onehot)).describe()  # Before anything is rendered.


def test_only_a_onehot_model_is_driven_by_labels(faces):
  settings = {'dataset': str(faces), 'expressions': 3}
  assert triplets.Triplets(GCGANConfig.tiny(**settings)).labels == []
  onehot = GCGANConfig.tiny(**settings, condition='onehot', pretrain_steps=0)
  assert triplets.Triplets(onehot).labels == list(builders.EXPRESSIONS)


@pytest.mark.parametrize('setting, made', [('alignment', 'similarity'), ('template_scale', 0.7)])
def test_settings_of_another_crop_are_refused(faces, tmp_path, setting, made):
  folder = tmp_path / 'data'
  shutil.copytree(faces, folder)
  fingerprint = json.loads((folder / 'fingerprint.json').read_text())
  fingerprint['made_from'][setting] = made
  (folder / 'fingerprint.json').write_text(json.dumps(fingerprint))
  line = rf'^{setting}=\S+ is not how the faces of {re.escape(str(folder))} were cut out: set --{setting}={made}, or'
  with pytest.raises(ConfigError, match=line):
    pipeline(folder).held_out(1)
  assert pipeline(folder, **{setting: made}).held_out(1)
