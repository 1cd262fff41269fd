from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from evaluate import export, transfer
from evaluate.provenance import read_provenance, save_video
from input_pipeline import alignment
from models import commands, runs
from models.gcgan import GCGANConfig

PHOTOS = Path(__file__).parents[3] / 'shared' / 'data' / 'clear' / 'london'
needs_photos = pytest.mark.skipif(not PHOTOS.is_dir(), reason='the photographs of ../shared/data are not here')


@pytest.fixture(scope='module')
def run(tmp_path_factory):
  workdir = tmp_path_factory.mktemp('run')
  config = GCGANConfig.tiny()
  system = runs.build(config)
  system.phase = 'train'
  runs.save_flags(config, workdir)
  runs.save_checkpoint(tf.train.Checkpoint(system=system), workdir, 'train', 0, keep=1)
  return workdir


def face_points(mouth_opening=0.0):
  points = np.random.default_rng(0).uniform(60, 140, (68, 2))
  points[[39, 42, 51, 57]] = [[90, 80], [110, 80], [100, 120], [100, 130 + mouth_opening]]
  return points


def test_pasting_the_crop_back_gives_the_picture_again():
  rng = np.random.default_rng(0)
  picture = np.asarray(
    Image.fromarray(rng.integers(0, 255, (14, 12, 3)).astype(np.uint8)).resize((180, 210), Image.Resampling.BICUBIC)
  )
  for points in (face_points(), face_points() - 70):  # The second lies partly outside.
    matrix = alignment.align(points, 'paper', 0.8, 64)
    again = transfer.paste(picture, alignment.warp(picture, matrix, 64), matrix)
    assert np.abs(again.astype(int) - picture).mean() < 1.0
  marked = transfer.paste(picture, np.zeros((64, 64, 3), np.uint8), matrix)
  assert (marked != picture).any() and (marked[-20:] == picture[-20:]).all()


def test_the_lip_moves_as_far_as_the_driver_opens_the_mouth():
  source, driver = face_points(), 2 * face_points(15) + 30  # Twice as large: 15 of its source's pixels all the same.
  moved = transfer.move_lip(source, driver)
  np.testing.assert_allclose(moved[57], [100, 145])
  np.testing.assert_array_equal(np.delete(moved, 57, 0), np.delete(source, 57, 0))
  turn = np.array([[0.0, 1], [-1, 0]])
  np.testing.assert_allclose(transfer.move_lip(source @ turn, driver)[57], np.array([100, 145]) @ turn, atol=1e-9)


@needs_photos
def test_a_picture_from_run_and_from_export_alike(run, tmp_path):
  export.export(run, tmp_path / 'e')
  for name, model in (('a', run), ('b', tmp_path / 'e')):
    assert (
      commands.run(
        transfer.main,
        [
          'transfer',
          f'--model={model}',
          f'--source={PHOTOS}/002_neutral.jpg',
          f'--driver={PHOTOS}/003_happy.jpg',
          f'--output={tmp_path}/{name}.png',
        ],
      )
      == 0
    )
  first, second = (np.asarray(Image.open(tmp_path / f'{name}.png')).astype(int) for name in 'ab')
  original = np.asarray(Image.open(PHOTOS / '002_neutral.jpg')).astype(int)
  assert first.shape == original.shape and np.abs(first - original).max() > 20
  np.testing.assert_array_equal(first[:5], original[:5])
  assert np.abs(first - second).max() <= 1
  assert read_provenance(tmp_path / 'a.png')['model'] == 'Personae gcgan'


@needs_photos
def test_a_video_drives_a_video_and_a_folder_a_folder(run, tmp_path, capsys):
  happy, blank = (np.asarray(Image.open(PHOTOS / '003_happy.jpg')), np.full((256, 256, 3), 128, np.uint8))
  save_video(tmp_path / 'driver.mp4', [blank, happy, happy, blank], 10)
  (tmp_path / 'driver').mkdir()
  Image.fromarray(happy).save(tmp_path / 'driver' / 'x.png')
  source = PHOTOS / '002_neutral.jpg'
  assert transfer.transfer(run, source, tmp_path / 'driver.mp4', tmp_path / 'out.mp4') == 4
  assert '2 of 4 frames show no face' in capsys.readouterr().out
  assert transfer.transfer(run, source, tmp_path / 'driver', tmp_path / 'out') == 1
  for path in (tmp_path / 'out.mp4', tmp_path / 'out' / 'x.png'):
    assert read_provenance(path)['digital_source_type'].endswith('trainedAlgorithmicMedia')


def test_user_errors_are_one_line(run, tmp_path, capsys):
  blank = tmp_path / 'blank.png'
  Image.new('RGB', (200, 200)).save(blank)
  empty = tmp_path / 'empty'
  empty.mkdir()
  for model, source, driver, output, message in (
    (run, blank, blank, tmp_path / 'o.png', f'--source={blank}: no face was found'),
    (run, tmp_path / 'none.jpg', blank, tmp_path / 'o.png', f'{tmp_path}/none.jpg: there is no such file'),
    (
      run,
      blank,
      tmp_path / 'none.mp4',
      tmp_path / 'o.mp4',
      f'--driver={tmp_path}/none.mp4: there is no such file or folder',
    ),
    (run, blank, blank, tmp_path / 'o.mp4', 'does not fit a driver that is a picture: .png or .jpg or .jpeg is needed'),
  ):
    argv = ['transfer', f'--model={model}', f'--source={source}', f'--driver={driver}', f'--output={output}']
    assert commands.run(transfer.main, argv) == 2
    error = capsys.readouterr().err
    assert message in error and error.count('\n') == 1
  with pytest.raises(FileNotFoundError, match='is neither a run'):
    transfer.open_model(empty)
