"""FaceCycle in use: transfer and frontalisation in photographs, and embedding of folders."""

import types

import numpy as np
import pyarrow.parquet as pq
import pytest
import tensorflow as tf
from google.protobuf import text_format
from PIL import Image
from tensorboard.plugins import projector

from evaluate import embed, transfer
from evaluate.movers import ByPictures
from evaluate.provenance import read_provenance, save_video
from input_pipeline.landmarks import find_landmarks
from input_pipeline.video import read_video
from models import commands, runs
from models.facecycle_config import FaceCycleConfig
from models.gcgan import GCGANConfig
from tests.input_pipeline import builders


@pytest.fixture(scope='module')
def run(tmp_path_factory):
  """A tiny untrained run."""
  workdir = tmp_path_factory.mktemp('run')
  system = runs.build(FaceCycleConfig.tiny(enlargement=1.25))
  system.phase = 'train'
  runs.save_flags(system.config, workdir)
  runs.save_checkpoint(tf.train.Checkpoint(system=system), workdir, 'train', 0, keep=1)
  return workdir


@pytest.fixture(scope='module')
def photos(tmp_path_factory):
  """Three people, neutral and smiling, in folders of their own; a blank picture, a damaged one, and no picture."""
  folder = tmp_path_factory.mktemp('photos')
  for person, pictures in enumerate(builders.rendered_faces()):
    (folder / f'person {person}').mkdir()
    for name, picture in zip(('a', 'b'), pictures, strict=True):
      Image.fromarray(picture).save(folder / f'person {person}' / f'{name}.png')
  Image.new('RGB', (99, 99)).save(folder / 'blank.png')
  (folder / 'damaged.jpg').write_text('no picture')
  (folder / 'notes.txt').write_text('none either')
  return folder


def mover(transfer=lambda images, drivers: images, neutralise=lambda images: images):
  """A face that is moved by functions of crops; its photograph."""
  picture = builders.rendered_faces()[0, 0]
  give = lambda function: lambda **inputs: {  # noqa: E731
    'images': tf.constant(function(**{name: value.numpy() for name, value in inputs.items()}))}
  functions = {'transfer': give(transfer), 'neutralise': give(neutralise)}
  config = types.SimpleNamespace(image_size=64, enlargement=1.25)
  return ByPictures(picture, find_landmarks(picture), config, functions, 'relative'), picture


def difference(first, second):
  return np.abs(first.astype(float) - second).mean()


def test_a_model_that_copies_gives_the_photograph_again():
  still, picture = mover()
  assert difference(still.still(builders.rendered_faces()[1, 1], find_landmarks(picture)), picture) < 0.1
  assert difference(still.neutral(), picture) < 0.1


def test_a_neutral_face_that_is_smaller_and_lower_stays_where_the_head_is():
  def shrink(images):
    small = Image.fromarray(images[0]).resize((54, 54), Image.Resampling.BICUBIC)
    return np.pad(np.asarray(small), ((8, 2), (5, 5), (0, 0)), mode='edge')[None]

  moving, picture = mover(neutralise=shrink)
  points, made = find_landmarks(picture), moving.neutral()
  assert np.abs(find_landmarks(made) - points).mean() < 0.02 * np.ptp(points)
  assert difference(made, picture) < 2


def test_a_face_that_is_moved_is_moved_in_its_photograph_and_smoothly_in_a_film():
  shift = lambda images, drivers: np.roll(images, 3, axis=2) if (images != drivers).any() else images  # noqa: E731
  moving, picture = mover(transfer=shift)
  driver = builders.rendered_faces()[1, 1]
  points, there = find_landmarks(picture), find_landmarks(driver)
  side = 3 / 64 * 1.25 * np.ptp(points[:, 0])
  moved = find_landmarks(moving.still(driver, there)) - points
  assert 0.5 * side < np.median(moved[30:, 0]) < 2 * side and abs(np.median(moved[30:, 1])) < 0.5 * side
  nothing = np.full([68, 2], np.nan)  # A frame without a face.
  made = list(moving.film(lambda: iter([driver] * 6), np.stack([there, there, nothing, there, there, there]), 25.0))
  assert len(made) == 6 and all(difference(frame, made[0]) < 0.5 for frame in made)


def test_transfer_of_pictures_folders_and_videos(run, photos, tmp_path, capsys):
  who, frames = photos / 'person 0' / 'a.png', builders.rendered_faces()[1]
  save_video(tmp_path / 'driver.mp4', [frames[0], np.zeros_like(frames[0]), *frames, *frames], 10)
  capsys.readouterr()
  for driver, output, count in (
    (photos / 'person 1' / 'b.png', 'one.png', 1), (photos / 'person 1', 'all', 2),
    (tmp_path / 'driver.mp4', 'film.mp4', 6), ('', 'neutral.png', 1)):  # fmt: skip
    argv = ['transfer', f'--model={run}', f'--source={who}', f'--output={tmp_path / output}']
    assert commands.run(transfer.main, argv + [f'--driver={driver}'] * bool(driver)) == 0
    assert f'{tmp_path / output}: {count} picture' in capsys.readouterr().out
  for name in ('one.png', 'all/a.png', 'all/b.png', 'film.mp4', 'neutral.png'):
    assert read_provenance(tmp_path / name)['model'] == 'Personae facecycle'
  assert len(list(read_video(tmp_path / 'film.mp4'))) == 6
  original = np.asarray(Image.open(who))
  for name in ('one.png', 'neutral.png'):
    assert np.asarray(Image.open(tmp_path / name)).shape == original.shape


def test_embedding_leaves_out_what_shows_no_face(run, photos, tmp_path, capsys):
  argv = ['embed', f'--model={run}', f'--input={photos}', f'--output={tmp_path}/codes']
  assert commands.run(embed.main, argv) == 0
  out = capsys.readouterr().out
  assert out.count('skipped: ') == 2 and f'{tmp_path}/codes: codes of 6 pictures' in out
  assert f'skipped: {photos}/blank.png: no face was found' in out and f'skipped: {photos}/damaged.jpg: not a' in out
  arrays, table = np.load(tmp_path / 'codes' / 'codes.npz'), pq.read_table(tmp_path / 'codes' / 'codes.parquet')
  files = [f'person {person}/{name}.png' for person in range(3) for name in 'ab']
  assert arrays['files'].tolist() == table['file'].to_pylist() == files
  for name in ('expression', 'identity'):
    assert arrays[name].shape == (6, 256) and np.ptp(arrays[name], axis=0).max() > 0
    np.testing.assert_array_equal(np.array(table[name].to_pylist(), np.float32), arrays[name])
  assert table.schema.metadata == {b'model': b'facecycle', b'version': b'0.1.0 step 0'}
  folder = tmp_path / 'codes' / 'projector'
  shown = text_format.Parse((folder / 'projector_config.pbtxt').read_text(), projector.ProjectorConfig())
  assert [one.tensor_name for one in shown.embeddings] == ['expression', 'identity']
  for one in shown.embeddings:
    np.testing.assert_allclose(np.loadtxt(folder / one.tensor_path), arrays[one.tensor_name], rtol=1e-4, atol=1e-6)
    labels = (folder / one.metadata_path).read_text().splitlines()
    assert labels[:2] == ['file\tfolder', 'person 0/a.png\tperson 0'] and len(labels) == 7
    with Image.open(folder / one.sprite.image_path) as wall:
      assert wall.size == (3 * one.sprite.single_image_dim[0],) * 2


def test_what_cannot_be_done_is_one_line(run, photos, tmp_path, capsys):
  (tmp_path / 'gcgan').mkdir()
  system = runs.build(GCGANConfig.tiny())
  system.phase = 'train'
  runs.save_flags(system.config, tmp_path / 'gcgan')
  runs.save_checkpoint(tf.train.Checkpoint(system=system), tmp_path / 'gcgan', 'train', 0, keep=1)
  (tmp_path / 'blank').mkdir()
  Image.new('RGB', (99, 99)).save(tmp_path / 'blank' / 'blank.png')
  (tmp_path / 'empty').mkdir()
  who = photos / 'person 0' / 'a.png'
  for main, flags, message in (
    (transfer.main, {'model': tmp_path / 'gcgan', 'source': who, 'output': 'o.png'}, '--driver is missing'),
    (transfer.main, {'model': run, 'source': who, 'output': 'o.mp4'}, 'does not fit one picture without a driver'),
    (embed.main, {'model': tmp_path / 'gcgan', 'input': photos}, 'is a model of gcgan: one of facecycle is needed'),
    (embed.main, {'model': run, 'input': tmp_path / 'none'}, 'none: there is no such folder'),
    (embed.main, {'model': run, 'input': tmp_path / 'empty'}, 'empty: the folder holds no pictures'),
    (embed.main, {'model': run, 'input': tmp_path / 'blank'}, 'blank: no face was found in any of its 1 pictures'),
  ):
    output = tmp_path / flags.pop('output', 'out')
    argv = [main.__module__, f'--output={output}', *(f'--{name}={value}' for name, value in flags.items())]
    assert commands.run(main, argv) == 2
    error = capsys.readouterr().err
    assert message in error and error.count('\n') == 1
  assert not (tmp_path / 'out').exists()
