import numpy as np
import pytest
from PIL import Image

from input_pipeline import boxes, dataset, fits, pairs
from models.config import ConfigError
from models.ganfaces_config import GANFacesConfig

SIZE, COUNT = 24, 12


def write_fits(folder, *, persons=('a', 'b', 'c'), spoil=''):
  """A folder as `input_pipeline.fit` writes it: pictures of one grey each, row r of level 10 r, renders 10 r + 5."""
  random = np.random.default_rng(0)
  landmarks = random.uniform(40, 120, [COUNT, 68, 2]).astype(np.float32)
  box = boxes.crop_box(boxes.detector_box(landmarks)).astype(np.float32)
  if spoil == 'box':
    box[:, 2] *= 1.5
  rows = {
    name: np.zeros([COUNT, *[3] * dimensions], np.float32) for name, dimensions in fits.ROWS.items() if dimensions >= 0
  }
  rows |= {'landmarks': landmarks, 'box': box}
  rows |= {
    'file': np.array([f'{i}.jpg' for i in range(COUNT)]),
    'person': np.array([persons[i % len(persons)] for i in range(COUNT)]),
  }
  for kind, more in (('photos', 0), ('renders', 5)):
    (folder / kind).mkdir(parents=True)
    for row in range(COUNT):
      size = SIZE + (spoil == 'size' and row == 3)
      Image.new('RGB', (size, size), (10 * row + more,) * 3).save(folder / kind / f'{row:06d}.png')
  fits.save_fits(str(folder), rows, 'other.npz' if spoil == 'model' else '')
  return folder


def config(tmp_path, **fields):
  return GANFacesConfig.tiny(**{'pairs': str(tmp_path / 'fits'), 'data_dir': str(tmp_path / 'cache')} | fields)


def grey(data, split, key):
  return data.images(split, 16, key).numpy()[:, 8, 8, 0].tolist()


def test_pairs_stay_together_and_people_apart(tmp_path):
  write_fits(tmp_path / 'fits')
  path = pairs.pair_dataset(config(tmp_path), ['b', 'somebody else'])
  data = dataset.open_dataset(path)
  assert grey(data, 'test', 'image') == [10, 40, 70, 100] and data.count('train') == 8
  for split in ('train', 'test'):
    assert grey(data, split, 'render') == [level + 5 for level in grey(data, split, 'image')]
  assert {data.identities[i] for i in data.index('test')['identity']} == {'b'}
  assert np.abs(data.index('train')['landmarks']).max() < 1.5
  assert pairs.pair_dataset(config(tmp_path), ['b', 'somebody else']) == path  # reused
  assert pairs.pair_dataset(config(tmp_path), ['c']) != path


def test_pictures_without_names_are_people_of_their_own(tmp_path):
  write_fits(tmp_path / 'fits', persons=('',))
  data = dataset.open_dataset(pairs.pair_dataset(config(tmp_path), []))
  assert len(data.identities) == COUNT and data.count('test') == 2


@pytest.mark.parametrize(
  'options, fields, message',
  [
    ({'spoil': 'box'}, {}, r'^pairs=.* shows faces \d+ % of the picture away from where renders'),
    ({'spoil': 'size'}, {}, r'000003.png has 25 x 25 pixels, the others have 24'),
    ({'persons': ('a',)}, {}, 'shows one person only'),
    (
      {},
      {'image_size': 32},
      r'^image_size=32 is larger than the pictures of --pairs=.*\(24\): fit with --crop_size=32',
    ),
    ({}, {'pairs': '/nowhere'}, '/nowhere has no parameters.npz'),
    ({'spoil': 'model'}, {}, 'other.npz'),
  ],
)
def test_pairs_that_do_not_fit_are_refused(options, fields, message, tmp_path):
  write_fits(tmp_path / 'fits', **options)
  with pytest.raises((ValueError, OSError), match=message) as caught:
    pairs.pair_dataset(config(tmp_path, **fields), [])
  assert '\n' not in str(caught.value)


def test_another_face_model_is_refused(tmp_path):
  write_fits(tmp_path / 'fits')
  (tmp_path / 'mine.npz').write_bytes(b'another')
  with pytest.raises(ConfigError, match=r"^face_model='.*mine.npz' is not the model that --pairs=.* was fitted with"):
    pairs.read_parameters(config(tmp_path, face_model=str(tmp_path / 'mine.npz')))
