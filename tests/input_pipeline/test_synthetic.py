import dataclasses

import numpy as np
import pytest
import tensorflow_datasets as tfds

from input_pipeline import alignment, dataset, landmarks, synthetic, triplets
from models.config import ConfigError, DataConfig, RunConfig


@dataclasses.dataclass(frozen=True)
class Config(DataConfig, RunConfig):
  image_size: int = 64


@pytest.fixture(scope='module')
def config(tmp_path_factory):
  return Config(data_dir=str(tmp_path_factory.mktemp('cache')), identities=5, images_per_identity=6, batch_size=4)


@pytest.fixture(scope='module')
def world(config):
  return synthetic.World(synthetic.settings(config), config.face_model)


@pytest.fixture(scope='module')
def rendered(config):
  """The data set of the small world, and what was said of it before it was rendered."""
  source = triplets.Triplets(config)
  before = '\n'.join(source.describe()), source.expressions, synthetic.is_rendered(config)
  path = synthetic.synthetic_dataset(config, processes=1)
  return path, before


def test_the_world_is_described_before_it_is_rendered(rendered, config):
  path, (text, expressions, was_rendered) = rendered
  assert not was_rendered and synthetic.is_rendered(config)
  assert 'will be rendered into' in text and '5 people (2 held out) x 6 pictures = 30' in text
  assert expressions == ['neutral', 'smile', 'surprise', 'squint', 'disgust', 'scream']
  assert 'is in' in '\n'.join(triplets.Triplets(config).describe())
  assert dataset.open_dataset(path).expressions == expressions


def test_labels_and_splits_are_those_of_the_plan(rendered, world):
  data = dataset.open_dataset(rendered[0])
  assert (data.count('train'), data.count('test'), data.crop_size) == (18, 12, 128)
  table = data.index('test')
  wanted = [p for person in (3, 4) for p in synthetic.plan(world, person)]
  for key, field in (('identity', 'person'), ('expression', 'expression'), ('pose', 'pose'), ('light', 'light')):
    assert table[key].tolist() == [getattr(p, field) for p in wanted]
  assert set(table['driver']) == {3, 4} and (table['driver'] != table['identity']).all()
  assert set(data.index('train')['driver']) == {-1}


def test_landmarks_are_where_dlib_sees_them_and_inside_the_mask(rendered):
  data = dataset.open_dataset(rendered[0])
  errors = []
  for example in tfds.builder_from_directory(rendered[0]).as_data_source('train'):
    own = alignment.denormalize(example['landmarks'], 128)
    mask = example['mask'][..., 0]
    assert set(np.unique(mask)) == {0, 255} and 0.2 < (mask == 255).mean() < 0.8
    x, y = np.round(own[27:]).astype(int).clip(0, 127).T  # nose, eyes and mouth; hair may hide brows
    assert (mask[y, x] == 255).mean() > 0.9
    found = landmarks.find_landmarks(example['image'])
    if found is not None:
      eyes = np.linalg.norm(own[36:42].mean(0) - own[42:48].mean(0))
      errors.append(np.linalg.norm(found - own, axis=1)[17:].mean() / eyes)
  assert len(errors) >= 9 and np.median(errors) < 0.08
  assert np.isfinite(data.index('train')['landmarks']).all()


def test_a_driver_acts_as_the_target_does(rendered, world):
  table = dataset.open_dataset(rendered[0]).index('test')
  pictures = [p for person in (3, 4) for p in synthetic.plan(world, person)]
  acted = np.stack([synthetic.acted(world, p) for p in pictures])
  angles = np.stack([synthetic.angles(world, p) for p in pictures])
  for people, key in (
    ([p.person for p in pictures], 'landmarks'),
    ([7 - p.person for p in pictures], 'driver_landmarks'),
  ):
    points = synthetic.landmarks_of(world, people, acted, angles)
    wanted = np.stack([synthetic.aligned(world, one)[1] for one in points])
    np.testing.assert_allclose(table[key], wanted, atol=1e-4)


def test_the_same_seed_renders_the_same_bytes(rendered, world):
  data = dataset.open_dataset(rendered[0])
  example = next(synthetic.make_examples('train', 0, world=world))
  record = tfds.builder_from_directory(rendered[0]).as_data_source('train')[0]
  assert np.array_equal(record['landmarks'], example['landmarks']) and np.array_equal(
    record['parameters'], example['parameters']
  )
  serialized = data.records('train', [0])[0]
  assert example['image'] in serialized and example['mask'] in serialized


def test_training_and_evaluation_read_it(config, rendered):
  source = triplets.Triplets(config)
  batch = next(source.batches(0, 1, 'train').as_numpy_iterator())
  assert batch['input_image'].shape == (4, 64, 64, 3) and np.ptp(batch['input_image']) > 0.5
  held, crossed = source.held_out(), source.cross_subject(10)
  assert len(held['identity']) == 2 * 6 * 5 and set(held['target_expression']) == set(range(6))
  assert crossed['driver_landmarks'].shape == (10, 68, 2)
  assert (crossed['driver'] != crossed['identity']).all()
  np.testing.assert_array_equal(crossed['target_image'], held['target_image'][:10])
  # The driver's head is another one, its face does the same.
  apart = np.abs(crossed['driver_landmarks'] - crossed['target_landmarks']).mean()
  assert 0.01 < apart < np.abs(crossed['driver_landmarks'] - crossed['target_landmarks'][::-1]).mean()


def test_plans_draw_combinations_and_depend_on_the_seed(config):
  plans = {}
  for seed in (0, 1):
    large = dataclasses.replace(config, images_per_identity=24, world_seed=seed)
    world = synthetic.World(synthetic.settings(large), '')
    plans[seed] = [synthetic.plan(world, person) for person in range(20)]
    for pictures in plans[seed]:
      sessions = [{(p.pose, p.light) for p in pictures[i : i + 6]} for i in range(0, 24, 6)]
      assert all(len(s) == 1 for s in sessions) and len(set.union(*sessions)) == 4
      assert all({p.expression for p in pictures[i : i + 6]} == set(range(6)) for i in range(0, 24, 6))
    everything = [p for pictures in plans[seed] for p in pictures]
    assert {p.pose for p in everything} == {0, 1, 2} and len({p.light for p in everything}) >= 5
  assert plans[0] != plans[1]
  assert synthetic.dataset_path(config) != synthetic.dataset_path(dataclasses.replace(config, world_seed=1))
  assert len(synthetic.people_of_splits(300)['test']) == 30


def test_impossible_worlds_are_refused(config, tmp_path):
  with pytest.raises(ConfigError, match='images_per_identity=109 is more than the 108 combinations'):
    synthetic.synthetic_dataset(dataclasses.replace(config, images_per_identity=109))
  with pytest.raises(FileNotFoundError, match='--face_model=none.npz'):
    synthetic.synthetic_dataset(dataclasses.replace(config, face_model='none.npz'))
