"""The fit command: what it writes, what it skips, what it refuses; the optimisation is tested with the face model."""

import csv
import pathlib

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from input_pipeline import fit, fits, landmarks
from models import commands
from models.face3d.morphable import load_face_model
from tests.input_pipeline import builders

PHOTOS = pathlib.Path(__file__).parents[3] / 'shared' / 'data' / 'clear' / 'london'
POINTS = np.stack([np.linspace(30, 90, 68), 60 + 25 * np.sin(np.arange(68))], 1)


class FakeFitter:
  """Answers without work; the second face of a batch is far off."""

  def __init__(self, model, batch):
    self.model, self.batch = model, batch

  def __call__(self, images, marks):
    count = len(images)
    assert images.shape[1:] == (48, 48, 3) and marks.shape == (count, 68, 2)
    sizes = [len(getattr(self.model, f'{name}_basis').numpy()) for name in ('identity', 'expression', 'albedo')]
    error = np.where(np.arange(count) == 1, 0.5, 0.02).astype(np.float32)
    return {
      **{
        name: np.zeros([count, n], np.float32)
        for name, n in zip(('identity', 'expression', 'albedo'), sizes, strict=True)
      },
      'pose': np.zeros([count, 3], np.float32),
      'translation': np.ones([count, 3], np.float32),
      'field_of_view': np.full(count, 0.3, np.float32),
      'light': np.ones([count, 9, 3], np.float32),
      'landmarks_error': error,
      'photometric_error': error,
    }


@pytest.fixture
def folder(tmp_path, monkeypatch):
  """Four pictures of two people, one without a face, one cut off."""
  random = np.random.default_rng(0)
  for name in ('ann/a.png', 'ann/b.png', 'bob/c.png', 'bob/empty.png', 'cut.png'):
    path = tmp_path / 'photos' / name
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(random.integers(0, 255, [120, 120, 3], dtype=np.uint8)).save(path)
  cut = tmp_path / 'photos' / 'cut.png'
  cut.write_bytes(cut.read_bytes()[:900])
  with Image.open(tmp_path / 'photos' / 'bob' / 'empty.png') as image:
    empty = np.asarray(image)
  monkeypatch.setattr(fit, 'Fitter', FakeFitter)
  monkeypatch.setattr(
    fits, 'render_parameters', lambda model, rows, size: (
      tf.zeros([len(rows['pose']), size, size, 3]), tf.zeros([1]), tf.zeros([len(rows['pose']), 68, 2])
    )
  )  # fmt: skip
  monkeypatch.setattr(landmarks, 'check_model', lambda path: path)
  monkeypatch.setattr(landmarks, 'find_landmarks', lambda image, model: None if (image == empty).all() else POINTS)
  return tmp_path


def run(*arguments):
  fit.main(['fit', *arguments])


def test_what_cannot_be_fitted_is_listed_and_stops_nothing(folder):
  output = folder / 'fits'
  run(f'--input={folder}/photos', f'--output={output}', '--crop_size=48', '--batch_size=2')
  rows = fits.read_fits(str(output))
  assert list(rows['file']) == ['ann/a.png', 'bob/c.png'] and list(rows['person']) == ['ann', 'bob']
  np.testing.assert_allclose(rows['landmarks'][0], POINTS, atol=1e-4)
  with open(output / 'skipped.csv') as file:
    skipped = {row['file']: row['reason'] for row in csv.DictReader(file)}
  assert skipped['bob/empty.png'] == 'no face found'
  assert skipped['cut.png'].startswith('the picture is damaged')
  assert skipped['ann/b.png'] == 'the fit is off: 50 % of the inter-ocular distance'
  with open(output / 'index.csv') as file:
    assert [row['row'] for row in csv.DictReader(file)] == ['0', '1']
  for kind in ('photos', 'renders'):
    assert sorted(path.name for path in (output / kind).iterdir()) == ['000000.png', '000001.png']
  with Image.open(output / 'contact_sheet.png') as sheet:
    assert sheet.width == 2 * (3 * fits.TILE + 6)
  with pytest.raises(FileExistsError, match='has fits already: --overwrite replaces them'):
    run(f'--input={folder}/photos', f'--output={output}')


def test_the_box_is_where_the_landmarks_of_the_crop_are(folder):
  image = np.zeros([120, 120, 3], np.uint8)
  found = fits.cut('a.png', '', image, POINTS, 48)
  marks = 2 * (POINTS - found.box[:2]) / found.box[2] - 1  # of the edges, from -.5
  np.testing.assert_allclose(marks, found.marks, atol=1e-6)


def test_faces_of_a_data_set_know_whose_they_are(tmp_path):
  count, faces = fit.faces_of_dataset(str(builders.write_faces(tmp_path / 'data', size=64)), 48)
  faces = list(faces)
  assert len(faces) == count == 6 * 2 * len(builders.EXPRESSIONS)
  assert {face.person for face in faces} == {f'person_{i}' for i in range(6)}
  assert all(isinstance(face.file, str) and face.crop.shape == (48, 48, 3) and not face.reason for face in faces)


def test_nothing_to_fit_is_one_line(folder, capsys):
  lonely = folder / 'lonely'
  lonely.mkdir()
  assert commands.run(fit.main, ['fit', f'--input={lonely}', f'--output={folder}/o']) == 2
  assert 'there is no picture in it' in capsys.readouterr().err
  (folder / 'photos' / 'cut.png').rename(lonely / 'cut.png')
  with pytest.raises(ValueError, match='no photograph could be fitted: cut.png: the picture is damaged'):
    run(f'--input={lonely}', f'--output={folder}/o')


@pytest.mark.parametrize(
  'arguments, message',
  [
    (['--input=x'], '--output is missing'),
    (['--output=x'], 'give one of --input and --dataset'),
    (['--output=x', '--dataset=y', '--layout=300w_3d'], 'reads files beside photographs'),
    (['--output=x', '--input=y', '--learn_albedo=z.mat'], 'ends in .npz'),
    (['--output=x', '--input=nowhere'], 'there is no such folder'),
  ],
)
def test_refusals(arguments, message):
  with pytest.raises((ValueError, OSError), match=message):
    run(*arguments)


def test_damaged_fits_are_refused(folder):
  output = folder / 'fits'
  with pytest.raises(FileNotFoundError, match='input_pipeline.fit --input=PHOTOS'):
    fits.read_fits(str(folder))
  run(f'--input={folder}/photos', f'--output={output}', '--crop_size=48')
  rows = fits.read_fits(str(output))
  path = output / fits.PARAMETERS
  whole = path.read_bytes()
  for name, value in (('light', np.zeros(3)), ('pose', rows['pose'] * np.nan)):
    fits.save_fits(str(output), rows | {name: value}, '')
    with pytest.raises(ValueError, match=f'{fits.PARAMETERS}: {name!r} has type'):
      fits.read_fits(str(output))
  path.write_bytes(whole[:-300])
  with pytest.raises(ValueError, match='is damaged or was not made by input_pipeline.fit') as caught:
    fits.read_fits(str(output))
  assert '\n' not in str(caught.value)


@pytest.mark.slow
@pytest.mark.skipif(not PHOTOS.is_dir(), reason='needs the photographs of ../shared/data')
def test_real_photographs(tmp_path):
  learnt = tmp_path / 'learnt.npz'
  run(f'--input={PHOTOS}', f'--output={tmp_path}/fits', '--limit=8', '--batch_size=8', f'--learn_albedo={learnt}')
  rows = fits.read_fits(str(tmp_path / 'fits'))
  assert len(rows['file']) == 8 and np.median(rows['landmarks_error']) < 0.04
  assert np.median(rows['photometric_error']) < 0.08
  model = load_face_model(str(learnt))
  assert 0.02 < model.albedo_mean.numpy().mean() < 0.9 and len(model.albedo_names) == 15
