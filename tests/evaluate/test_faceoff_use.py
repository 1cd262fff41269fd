"""Face-off in use: pictures, folders and films by the driver alone."""

import subprocess
import types

import imageio_ffmpeg
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from evaluate import export, transfer
from evaluate.faceoff_film import Translator
from evaluate.provenance import read_provenance, save_video
from input_pipeline.landmarks import find_landmarks
from input_pipeline.video import has_sound, read_video
from models import commands, runs
from models.faceoff_config import FaceOffConfig
from models.gcgan import GCGANConfig
from tests.input_pipeline import builders


def save_run(workdir, config):
  workdir.mkdir(exist_ok=True)
  system = runs.build(config)
  system.phase = 'train'
  runs.save_flags(config, workdir)
  runs.save_checkpoint(tf.train.Checkpoint(system=system), workdir, 'train', 0, keep=1)
  return workdir


@pytest.fixture(scope='module')
def run(tmp_path_factory):
  return save_run(tmp_path_factory.mktemp('run'), FaceOffConfig.tiny())


def translator(function=lambda images: images, side_by_side=False, **changes):
  config = types.SimpleNamespace(**{
    'image_size': 64, 'load_size': 72, 'alignment': 'centre', 'enlargement': 1.6, 'crop_mask': False, 'masks': 'face'}
    | changes)  # fmt: skip
  functions = {name: lambda images: {'images': tf.constant(function(images.numpy()))} for name in Translator.wanted}
  return Translator(config, functions, 'a2b', side_by_side)


def smooth_picture(height=90, width=161):
  y, x = np.mgrid[:height, :width]
  waves = np.stack([np.sin(x / 9), np.cos(y / 7), np.sin((x + y) / 11)], axis=-1)
  return np.uint8(127.5 + 120 * waves)


def test_a_model_that_copies_gives_the_picture_again():
  picture = smooth_picture()
  made = translator().still(picture)
  assert made.shape == picture.shape and np.abs(made.astype(int) - picture).mean() < 1.5
  np.testing.assert_array_equal(made[:, :30], picture[:, :30])  # Beside the middle square.


def test_what_is_drawn_lies_in_the_middle_and_fades():
  picture = np.zeros([144, 200, 3], np.uint8)
  made = translator(lambda images: images + np.uint8(200)).still(picture)[..., 0]
  assert made[72, 100] == 200 and not made[:7].any() and not made[:, :35].any()  # 128 of the 144 rows are seen.
  assert 0 < made[72, 40] < 200 and (made[30:110, 50:150] == 200).all()


def test_side_by_side_shows_what_the_model_saw():
  picture = smooth_picture(144, 144)
  made = translator(side_by_side=True).still(picture)
  assert made.shape == (256, 512, 3)
  assert np.abs(made[:, :256].astype(int) - made[:, 256:]).mean() < 6


def test_squares_follow_the_face_smoothly_where_no_face_is_seen_too():
  picture = builders.rendered_faces()[0, 0]
  points = find_landmarks(picture)
  moving = translator(lambda images: 255 - images, alignment='enlarged')
  assert moving.needs_faces
  still = moving.still(picture, points)
  assert np.abs(still.astype(int) - picture).mean() > 10
  nothing = np.full([68, 2], np.nan)
  made = list(moving.film(lambda: iter([picture] * 5), np.stack([points, nothing, points, points, points]), 25.0))
  assert len(made) == 5 and all(np.abs(frame.astype(int) - still).mean() < 1 for frame in made)


def test_a_cropped_face_stands_on_black_and_replaces_the_face_alone():
  picture, seen = builders.rendered_faces()[0, 0], []
  moving = translator(lambda images: seen.append(images) or 255 - images, crop_mask=True)
  made = moving.still(picture, find_landmarks(picture))
  share = (seen[0][0] == 0).all(-1).mean()
  assert 0.3 < share < 0.95
  assert 0.03 < (np.abs(made.astype(int) - picture).sum(-1) > 30).mean() < 1 - share + 0.05
  with pytest.raises(ValueError, match='a new video has no masks of them'):
    translator(crop_mask=True, masks='person')


def test_films_keep_their_sound_and_need_no_source(run, tmp_path, capsys):
  frames = [smooth_picture(91, 121) + np.uint8(k) for k in range(6)]
  save_video(tmp_path / 'silent.mp4', frames, 10)
  command = [imageio_ffmpeg.get_ffmpeg_exe(), '-v', 'error', '-i', tmp_path / 'silent.mp4', '-f', 'lavfi', '-i',
             'sine=duration=0.6', '-c:v', 'copy', tmp_path / 'driver.mp4']  # fmt: skip
  subprocess.run(list(map(str, command)), check=True)
  export.export(run, tmp_path / 'export')
  for driver, model, sound in (('driver', run, True), ('silent', tmp_path / 'export', False)):
    output = tmp_path / f'{driver}-out.mp4'
    argv = ['transfer', f'--model={model}', f'--driver={tmp_path / driver}.mp4', f'--output={output}']
    assert commands.run(transfer.main, argv) == 0
    assert ('it has no sound track: the film is silent' in capsys.readouterr().out) is not sound
    assert has_sound(output) is sound and np.shape(list(read_video(output))) == (6, 92, 122, 3)
    assert read_provenance(output)['model'] == 'Personae faceoff'
  (tmp_path / 'folder').mkdir()
  Image.fromarray(frames[0]).save(tmp_path / 'folder' / 'x.png')
  assert transfer.transfer(run, '', tmp_path / 'folder', tmp_path / 'made', direction='b2a', side_by_side=True) == 1
  with Image.open(tmp_path / 'made' / 'x.png') as picture:
    assert picture.size == (512, 256)


def test_a_sound_that_cannot_be_read_costs_no_film(tmp_path, capsys):
  frames = [smooth_picture(32, 32)] * 4
  save_video(tmp_path / 'heard.mp4', frames, 10)
  command = [imageio_ffmpeg.get_ffmpeg_exe(), '-v', 'error', '-i', tmp_path / 'heard.mp4', '-f', 'lavfi', '-i',
             'sine=duration=0.4', '-c:v', 'copy', '-c:a', 'aac', tmp_path / 'sound.mp4']  # fmt: skip
  subprocess.run(list(map(str, command)), check=True)
  content = (tmp_path / 'sound.mp4').read_bytes()
  (tmp_path / 'sound.mp4').write_bytes(content.replace(b'mp4a', b'apac').replace(b'esds', b'free'))  # No codec.
  assert has_sound(tmp_path / 'sound.mp4')
  capsys.readouterr()
  assert save_video(tmp_path / 'out.mp4', frames, 10, sound=tmp_path / 'sound.mp4') == 4
  out = capsys.readouterr().out
  assert out.startswith(f'{tmp_path / "sound.mp4"}: its sound cannot be read (') and out.count('\n') == 1
  assert out.endswith('): the film is silent\n')
  assert len(list(read_video(tmp_path / 'out.mp4'))) == 4 and not has_sound(tmp_path / 'out.mp4')
  assert sorted(path.name for path in tmp_path.iterdir()) == ['heard.mp4', 'out.mp4', 'sound.mp4']


def test_a_film_that_shows_two_faces_is_not_measured(tmp_path, capsys):
  argv = ['transfer', f'--model={tmp_path}', '--driver=a.mp4', '--output=out.mp4', '--report', '--side_by_side']
  assert commands.run(transfer.main, argv) == 2
  assert capsys.readouterr().err == (
    'error: --report measures one face, and --side_by_side shows input and output in one film: leave one out\n')


def test_a_film_needs_pictures_of_one_size(run, tmp_path):
  for name, width in (('a', 120), ('b', 90)):
    Image.fromarray(smooth_picture(90, width)).save(tmp_path / f'{name}.png')
  with pytest.raises(ValueError, match='frame 2 has 90 x 90 pixels, and the first one 120 x 90'):
    transfer.transfer(run, '', tmp_path, tmp_path / 'out.mp4')
  assert not (tmp_path / 'out.mp4').exists()


@pytest.mark.parametrize('source, driver, message', [
  ('x.png', 'x.png', 'knows whom it shows: give --driver alone'),
  ('', '', '--driver is missing: the picture, folder or video that face-off translates'),
])  # fmt: skip
def test_arguments_that_do_not_fit(run, tmp_path, source, driver, message):
  Image.fromarray(builders.rendered_faces()[0, 0]).save(tmp_path / 'x.png')
  source, driver = (tmp_path / name if name else '' for name in (source, driver))
  with pytest.raises(ValueError, match=message):
    transfer.transfer(run, source, driver, tmp_path / 'out.png')


def test_other_systems_need_a_source(tmp_path):
  save_run(tmp_path / 'run', GCGANConfig.tiny())
  Image.fromarray(builders.rendered_faces()[0, 0]).save(tmp_path / 'x.png')
  with pytest.raises(ValueError, match='--source is missing: a model of gcgan shows the person of a photograph'):
    transfer.transfer(tmp_path / 'run', '', tmp_path / 'x.png', tmp_path / 'out.png')
