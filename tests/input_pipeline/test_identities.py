"""Batches of labelled faces: who is in them, what is seen of a picture, and that a number gives a batch."""

import numpy as np
import pytest

from input_pipeline import Identities
from models.config import ConfigError
from models.nn4_config import NN4Config
from tests.input_pipeline import builders


@pytest.fixture(scope='module')
def faces(tmp_path_factory):
  return builders.write_faces(tmp_path_factory.mktemp('faces') / 'set', train=5, test=3, size=108)


def pipeline(path, **changes):
  return Identities(NN4Config.tiny(dataset=str(path), **changes))


def arrays(pipeline, start, stop, **part):
  return [{k: v.numpy() for k, v in batch.items()} for batch in pipeline.batches(start, stop, 'train', **part)]


def test_an_epoch_of_softmax_shows_every_picture_with_its_person(faces):
  made = pipeline(faces, classes=5, image_size=96, batch_size=6)
  batches = arrays(made, 0, 5)  # 5 people with 6 pictures each.
  labels = np.concatenate([batch['label'] for batch in batches])
  assert sorted(labels) == sorted([*range(5)] * 6) and list(labels) != sorted(labels)
  pictures = (made.data.images('train', 96).numpy() / np.float32(127.5) - 1).reshape(30, -1)
  seen = np.concatenate([batch['image'] for batch in batches]).reshape(30, -1)
  rows = np.abs(seen[:, None, ::997] - pictures[None, :, ::997]).sum(-1).argmin(1)
  assert len(set(rows)) == 30 and (made.people_of('train')[rows] == labels).all()
  np.testing.assert_allclose(seen, pictures[rows], atol=1e-6)


def test_a_batch_is_a_function_of_its_number_and_workers_share_it(faces):
  for changes in ({'classes': 5}, {'loss': 'triplet'}):
    made = pipeline(faces, augment_flip=True, augment_colour=0.1, **changes)
    whole, = arrays(made, 3, 4)
    late = arrays(pipeline(faces, augment_flip=True, augment_colour=0.1, cache_gb=0.0, **changes), 2, 4)[1]
    parts = [arrays(made, 3, 4, worker=worker, workers=2)[0] for worker in range(2)]
    for key in whole:
      assert (whole[key] == late[key]).all()
      assert (whole[key] == np.concatenate([part[key] for part in parts])).all()
    assert {k: (v.shape, v.dtype) for k, v in whole.items()} == {
      k: (tuple(v.shape), v.dtype.as_numpy_dtype) for k, v in made.spec().items()}
    assert np.abs(whole['image']).max() <= 1
  assert any((a['image'] != b['image']).any()
             for a, b in zip(arrays(made, 0, 2), arrays(pipeline(faces, loss='triplet', seed=1), 0, 2), strict=True))


def test_a_batch_of_triplets(faces):
  made = pipeline(faces, loss='triplet', batch_size=6, images_per_person=3, image_size=96)
  batches = arrays(made, 0, 5)  # Each person twice: all their six pictures.
  labels = np.stack([batch['label'] for batch in batches]).reshape(10, 3)
  assert (labels == labels[:, :1]).all() and sorted(labels[:5, 0]) == sorted(labels[5:, 0]) == [*range(5)]
  seen = np.concatenate([batch['image'] for batch in batches])
  assert len(np.unique(seen.reshape(30, -1)[:, ::997], axis=0)) == 30


def test_squares_lie_anywhere_and_mirror_only_when_asked(faces):
  made = pipeline(faces, classes=5, batch_size=30)
  pictures = made.data.images('train', 108).numpy() / np.float32(127.5) - 1
  corners = set()
  for image in arrays(made, 0, 1)[0]['image']:
    for row, column in np.ndindex(13, 13):
      near = np.abs(pictures[:, row:row + 96:19, column:column + 96:19] - image[::19, ::19]).max((1, 2, 3)) < 1e-6
      if near.any():
        corners.add((row, column))
  assert len(corners) > 20 and any(row != column for row, column in corners)
  plain, mirrored = (arrays(pipeline(faces, classes=5, batch_size=30, augment_flip=flip), 0, 1)[0]['image']
                     for flip in (False, True))
  kept = np.isclose(plain, mirrored, atol=1e-5).all((1, 2, 3))
  assert 5 < kept.sum() < 25


def test_small_pictures_are_enlarged(faces):
  batch, = arrays(pipeline(faces, classes=5, image_size=64), 0, 1)
  assert batch['image'].shape == (4, 96, 96, 3)
  held = pipeline(faces, classes=5, image_size=64).held_out(4)
  full = pipeline(faces, classes=5).held_out(4)
  table = pipeline(faces, classes=5).data.index('test')['landmarks']
  assert any(np.allclose(held['landmarks'][0], points) for points in table)
  np.testing.assert_allclose(full['landmarks'], held['landmarks'] * 108 / 96, atol=1e-5)


def test_held_out_pictures_come_in_pairs_of_a_person(faces):
  held = pipeline(faces, classes=5).held_out()
  assert held['label'].tolist() == [0, 0, 1, 1, 2, 2] * 3
  assert (pipeline(faces, classes=5).held_out(4)['image'] == held['image'][:4]).all()


def test_boxes_are_those_of_the_stand_ins(tmp_path):
  box = {'alignment': 'box', 'image_size': 32, 'images_per_identity': 2, 'stand_ins': 8, 'data_dir': str(tmp_path)}
  made = pipeline('synthetic', **box)
  assert 'real domain: the photographs are rendered stand-ins' in made.describe()[0] and made.config.people == 4
  assert made.people_of('train').tolist() == [0, 0, 1, 1, 2, 2, 3, 3] and len(made.held_out()['label']) == 4
  assert made.data.fingerprint['kind'] == 'stand_ins' and made.note == 'the photographs are rendered stand-ins'
  assert pipeline('synthetic').note == ''


def test_what_does_not_fit_is_told(faces, tmp_path):
  with pytest.raises(ConfigError, match='has 5 to train on: set --classes=5'):
    pipeline(faces).held_out(1)
  with pytest.raises(ValueError, match='image_size=108 is larger than the crops'):
    pipeline(builders.write_faces(tmp_path / 'small', size=96), classes=4).held_out(1)
  with pytest.raises(ValueError, match='batch_size=4 is not a multiple of the 3 workers'):
    pipeline(faces, classes=5).batches(0, 1, 'train', workers=3)
  with pytest.raises(ConfigError, match='images_per_person=3 pictures each'):
    NN4Config.tiny(loss='triplet', images_per_person=3)
  with pytest.raises(ConfigError, match='classes=3 names people that loss=triplet does not'):
    NN4Config.tiny(loss='triplet', classes=3)
