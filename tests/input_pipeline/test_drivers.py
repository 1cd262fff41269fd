import dataclasses

import numpy as np
import pytest

from input_pipeline import drivers, triplets
from models.config import DataConfig, RunConfig
from tests.input_pipeline import builders


@dataclasses.dataclass(frozen=True)
class Config(DataConfig, RunConfig):
  image_size: int = 16


@pytest.fixture(scope='module')
def faces(tmp_path_factory):
  return builders.write_faces(tmp_path_factory.mktemp('faces') / 'data', test=3)


def pipeline(faces):
  return triplets.Triplets(Config(dataset=str(faces)))


def rows_of(data, split, landmarks):
  """The rows of a split that have these landmarks."""
  table = data.index(split)
  return [int(np.flatnonzero((table['landmarks'] == points).all((1, 2)))[0]) for points in landmarks]


def test_own_faces_drive_other_people_in_the_same_pose_with_another_expression(faces):
  source = pipeline(faces)
  batch = drivers.driven_faces(source)
  table = source.data.index('test')
  driving, driven = (rows_of(source.data, 'test', batch[f'{k}_landmarks']) for k in ('driver', 'input'))
  assert sorted(driving) == list(range(18))  # Each once.
  assert (table['identity'][driving] != table['identity'][driven]).all()
  assert (table['pose'][driving] == table['pose'][driven]).all()
  assert (table['expression'][driving] != table['expression'][driven]).all()
  np.testing.assert_array_equal(batch['identity'], table['identity'][driven])
  assert np.unique(batch['identity'], return_counts=True)[1].tolist() == [6, 6, 6]
  pictures = triplets.to_float(source.data.pictures('test', driven, 16))
  np.testing.assert_array_equal(batch['input_image'], pictures)
  first = drivers.driven_faces(source, 6)
  for key, values in first.items():
    np.testing.assert_array_equal(values, batch[key][:6])


def test_faces_of_another_data_set_come_from_all_of_its_splits(faces, tmp_path):
  other = builders.write_faces(tmp_path / 'other', train=1, test=1, size=32, expressions=('sad',))
  source = pipeline(faces)
  batch = drivers.driven_faces(source, drivers=str(other))
  assert batch['driver_image'].shape == (4, 16, 16, 3) and sorted(batch['driver']) == [0, 0, 1, 1]
  there = drivers.open_dataset(str(other))
  for split, person in (('train', 0), ('test', 1)):
    mine = batch['driver'] == person
    rows = rows_of(there, split, batch['driver_landmarks'][mine])
    pictures = triplets.to_float(there.pictures(split, rows, 16))
    np.testing.assert_array_equal(batch['driver_image'][mine], pictures)


def test_drivers_that_do_not_fit_are_refused(faces, tmp_path, monkeypatch):
  source = pipeline(faces)
  with pytest.raises(FileNotFoundError, match='--drivers=/none: there is no such folder'):
    drivers.driven_faces(source, drivers='/none')
  small = builders.write_faces(tmp_path / 'small', train=1, test=1, size=8)
  with pytest.raises(ValueError, match=r'has crops of 8 pixels, the runs make 16: prepare it with --crop_size=16'):
    drivers.driven_faces(source, drivers=str(small))
  monkeypatch.setitem(source.data.fingerprint, 'alignment', 'paper')
  with pytest.raises(ValueError, match=r'alignment=None, .* alignment=paper: prepare it again with --alignment=paper'):
    drivers.driven_faces(source, drivers=str(faces))
  alone = builders.write_faces(tmp_path / 'alone', train=1, test=1)
  with pytest.raises(ValueError, match='holds out one person, nobody else can drive'):
    drivers.driven_faces(pipeline(alone))
