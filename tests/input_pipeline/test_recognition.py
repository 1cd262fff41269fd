"""Batches of two sets: whose pictures come, under which label, and which sets are refused together."""

import dataclasses

import numpy as np
import pytest

from input_pipeline import Domains, TwoSets, renders, stand_ins
from models.config import ConfigError
from models.ganfaces_config import GANFacesConfig
from models.recognition_config import RecognitionConfig
from tests.input_pipeline import builders


@pytest.fixture(scope='module')
def sets(tmp_path_factory):
  """A real set of 5 people (3 more held out) and a generated one of 4, six pictures each."""
  folder = tmp_path_factory.mktemp('sets')
  real = builders.write_faces(folder / 'real', train=5, test=3, size=108)
  generated = builders.write_faces(folder / 'generated', train=4, test=2, size=108, prefix='new')
  return {'dataset': str(real), 'classes': 5, 'generated': str(generated), 'generated_classes': 4}


def pipeline(sets, **changes):
  return TwoSets(RecognitionConfig.tiny(**sets | changes))


def seen(made, steps, **part):
  batches = builders.batches(made, 0, steps, 'train', **part)
  return {key: np.concatenate([batch[key] for batch in batches]) for key in batches[0]}


def test_an_epoch_shows_every_picture_of_both_sets_once(sets):
  made = pipeline(sets, batch_size=6, image_size=96)
  found = seen(made, 9)  # 5 and 4 people with 6 pictures each.
  for number, people in enumerate((made.real, made.generated)):
    mine = found['generated'] == number
    pictures = (people.data.images('train', 96).numpy() / np.float32(127.5) - 1).reshape(mine.sum(), -1)[:, ::997]
    rows = np.abs(found['image'][mine].reshape(mine.sum(), -1)[:, None, ::997] - pictures).sum(-1).argmin(1)
    assert sorted(rows) == list(range(len(pictures)))
    assert (people.people_of('train')[rows] == found['label'][mine]).all()
  assert 0 < found['generated'][:6].sum() < 6  # Both in one batch.


def test_a_batch_is_a_function_of_its_number_and_workers_share_it(sets):
  for changes in ({}, {'generated': '', 'generated_classes': 0}):
    made = pipeline(sets, augment_flip=True, **changes)
    whole, = builders.batches(made, 3, 4, 'train')
    read = pipeline(sets, augment_flip=True, cache_gb=0.0, **changes)
    late = builders.batches(read, 2, 4, 'train')
    parts = [builders.batches(made, 3, 4, 'train', worker=worker, workers=2)[0] for worker in range(2)]
    builders.assert_same(whole, late[1])
    builders.assert_same(whole, {key: np.concatenate([part[key] for part in parts]) for key in whole})
    assert {k: (v.shape, v.dtype) for k, v in whole.items()} == {
      k: (tuple(v.shape), v.dtype.as_numpy_dtype) for k, v in made.spec().items()}


def test_a_fixed_share_of_each_batch_is_generated(sets):
  found = seen(pipeline(sets, batch_size=8, generated_share=0.25), 12)
  assert found['generated'].reshape(12, 8).tolist() == [[0] * 6 + [1] * 2] * 12
  labels = found['label'].reshape(12, 8)
  assert np.bincount(labels[:5, :6].ravel()).tolist() == [6] * 5  # The real set's own epoch: 30 pictures.
  assert np.bincount(labels[:, 6:].ravel()).tolist() == [6] * 4


def test_a_share_is_of_whole_people_and_part_of_a_larger_one(sets):
  kept = {}
  for share, people in ((0.4, 2), (0.61, 4), (1.0, 5)):
    made = pipeline(sets, real_share=share)
    rows = made.real.rows('train')
    kept[share] = set(made.data.index('train')['identity'][rows].tolist())
    assert len(kept[share]) == people == made.config.people and len(rows) == 6 * people
    assert made.real.people_of('train').max() == people - 1
  assert kept[0.4] < kept[0.61] < kept[1.0]
  others = [set(pipeline(sets, real_share=0.4, seed=seed).real.rows('train').tolist()) for seed in range(6)]
  assert len(set(map(frozenset, others))) > 1  # The seed draws them.
  few = pipeline(sets, generated_classes=2)
  assert set(few.generated.data.index('train')['identity'][few.generated.rows('train')]) == {0, 1}
  with pytest.raises(ConfigError, match='real_share=0.2 leaves 1 of the real people: 2 are needed'):
    pipeline(sets, real_share=0.2)


def test_held_out_people_are_real_and_never_trained_on(sets):
  held = pipeline(sets, real_share=0.4).held_out()
  assert held['label'].tolist() == [0, 0, 1, 1, 2, 2] * 3 and not held['generated'].any()
  assert len(set(held['file'])) == 18
  other = pipeline(sets, dataset=sets['generated'])  # Tested on another set, of whose training people nothing is asked.
  assert other.held_out()['label'].tolist() == [0, 0, 1, 1] * 3


def test_sets_that_do_not_fit_are_told_in_a_line(sets, tmp_path):
  holes = builders.write_faces(tmp_path / 'holes', train=4, test=2, size=108, absent_people=2)
  for changes, text in {
      ('classes', 7): 'classes=7 stands for 7 people, and .* has 5 to train on: set --classes=5',
      ('dataset', str(holes)): r'has 4 to train on \(no picture of person_6, person_7\): set --classes=4',
      ('generated_classes', 9): 'generated_classes=9 are more people than .* has to train on, 4: set --generated_',
      ('generated', sets['dataset']): r'shares 5 people with dataset=.* \(person_0, person_1, person_2 and 2 more\)',
      ('generated', 'nowhere'): '--generated=nowhere: there is no such folder',
      ('generated_classes', 0): 'needs --generated_classes, how many of its people',
      ('classes', 0): 'classes=0 stands for 4 people, and .* has 5 to train on: set --classes=5',
      ('generated', ''): 'generated_classes=4, .* are of a generated set',
  }.items():
    with pytest.raises((ValueError, OSError), match=text) as error:
      pipeline(sets, **dict([changes])).describe()
    assert '\n' not in str(error.value)
  with pytest.raises(ConfigError, match='image_size=108 is larger than the crops'):
    small = builders.write_faces(tmp_path / 'small', train=4, size=64, prefix='new')
    pipeline(sets, generated=str(small)).describe()


def test_renders_and_stand_ins_are_those_of_ganfaces(tmp_path):
  shared = {'image_size': 32, 'identities': 4, 'renders_per_identity': 3, 'stand_ins': 8, 'stand_in_pairs': 6,
            'images_per_identity': 2, 'data_dir': str(tmp_path)}
  config, other = RecognitionConfig.tiny(**shared), GANFacesConfig.tiny(**shared)
  made, path = TwoSets(config), renders.dataset_path(other, Domains(other).world)
  assert made.note == stand_ins.NOTE
  *lines, last = made.describe()
  assert last == f'generated: 4 people, 12 plain renders, to be rendered into {path}'
  assert lines[-1] == f'they will be rendered into {stand_ins.dataset_path(other)}'
  for changes in ({'renders_per_identity': 2}, {'stand_in_pairs': 8}):
    assert TwoSets(dataclasses.replace(config, **changes)).describe()[-1] != last
