import subprocess
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from evaluate import export, transfer
from evaluate.provenance import read_provenance, save_video
from input_pipeline.video import has_sound, read_video, seconds
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


def photo(name):
  return np.asarray(Image.open(PHOTOS / f'{name}.jpg'))


def ffmpeg(*arguments):
  subprocess.run([imageio_ffmpeg.get_ffmpeg_exe(), '-v', 'error', '-y', *map(str, arguments)], check=True)


@pytest.fixture(scope='module')
def video(tmp_path_factory):
  """Eight frames, two without a face, and a sound that is shorter."""
  path = tmp_path_factory.mktemp('video') / 'driver.mp4'
  happy, neutral, blank = photo('003_happy'), photo('003_neutral'), np.full((256, 256, 3), 128, np.uint8)
  save_video(path.with_name('silent.mp4'), [blank, happy, neutral, blank, happy, happy, neutral, neutral], 10)
  ffmpeg('-i', path.with_name('silent.mp4'), '-f', 'lavfi', '-i', 'sine=duration=0.5', '-c:v', 'copy', path)
  return path


@needs_photos
def test_a_video_drives_a_video_with_its_sound(run, video, tmp_path, capsys):
  assert transfer.transfer(run, PHOTOS / '002_neutral.jpg', video, tmp_path / 'out.mp4') == 8
  assert '2 of 8 frames show no face: they get the expression between those of their neighbours' in (
    capsys.readouterr().out
  )
  assert read_provenance(tmp_path / 'out.mp4')['digital_source_type'].endswith('trainedAlgorithmicMedia')
  assert has_sound(tmp_path / 'out.mp4') and seconds(tmp_path / 'out.mp4') == pytest.approx(0.8, abs=0.11)
  assert len(list(read_video(tmp_path / 'out.mp4'))) == 8  # The sound is shorter and cuts nothing off.


@needs_photos
def test_of_a_damaged_video_all_is_used_that_can_be_decoded(run, video, tmp_path, capsys):
  cut = tmp_path / 'cut.mp4'
  ffmpeg('-i', video, '-an', '-c:v', 'libx264', '-g', '1', '-movflags', 'faststart', cut)
  content = cut.read_bytes()
  middle = slice(len(content) // 2, len(content) // 2 + 200)  # Of a frame.
  damaged = tmp_path / 'damaged.mp4'
  damaged.write_bytes(content[: middle.start] + bytes(200) + content[middle.stop :])
  assert transfer.transfer(run, PHOTOS / '002_neutral.jpg', damaged, tmp_path / 'all.mp4') == 8
  assert capsys.readouterr().out.count(f'{damaged}: the video is damaged or cut off, 8 frames could be read') == 1
  cut.write_bytes(content[: len(content) * 2 // 3])
  count = transfer.transfer(run, PHOTOS / '002_neutral.jpg', cut, tmp_path / 'out.mp4')
  assert 2 <= count < 8
  out = [line for line in capsys.readouterr().out.splitlines() if 'is damaged' in line]
  assert len(out) == 1 and f'{cut}: the video is damaged or cut off, {count} frames could be read' in out[0]


@needs_photos
def test_an_uneven_video_keeps_its_time(run, video, tmp_path, capsys):
  uneven = tmp_path / 'uneven.mkv'
  ffmpeg('-i', video, '-an', '-vf', "select='not(eq(n,2)+eq(n,3)+eq(n,5))'", '-fps_mode', 'vfr', uneven)
  transfer.transfer(run, PHOTOS / '002_neutral.jpg', uneven, tmp_path / 'out.mp4')
  assert seconds(tmp_path / 'out.mp4') == pytest.approx(0.8, abs=0.21)
  assert capsys.readouterr().out.count('its frames come irregularly; the film has') == 1


@needs_photos
def test_a_folder_drives_a_folder_and_what_is_wrong_is_left_out(run, tmp_path, capsys):
  folder = tmp_path / 'driver'
  folder.mkdir()
  for name in ('x.png', 'x.bmp'):
    Image.fromarray(photo('003_happy')).save(folder / name)
  Image.new('RGB', (200, 200)).save(folder / 'blank.png')
  (folder / 'text.jpg').write_text('no picture')
  Image.fromarray(photo('003_happy')).resize((24, 24)).save(folder / 'tiny.png')
  Image.new('RGB', (8192, 100)).save(folder / 'wide.png')
  assert transfer.transfer(run, PHOTOS / '002_neutral.jpg', folder, tmp_path / 'out') == 2
  assert sorted(p.name for p in (tmp_path / 'out').iterdir()) == ['x.bmp.png', 'x.png.png']
  with pytest.raises(ValueError, match='is the folder of --driver: choose another one'):
    transfer.transfer(run, PHOTOS / '002_neutral.jpg', folder, f'{folder}/')
  Image.fromarray(photo('003_happy')).resize((90, 90)).save(tmp_path / 'small.png')
  small = tmp_path / 'small.png'
  assert transfer.transfer('pretrained:gcgan', small, folder / 'x.png', tmp_path / 'small_out.png') == 1
  out = capsys.readouterr().out
  assert out.count(f'--source={small}: its face is small: the model sees it enlarged ') == 1
  for line in (
    f'skipped: {folder}/blank.png: no face was found',
    f'skipped: {folder}/tiny.png: no face was found; a frontal, well lit face of at least 80 pixels is needed',
    f'skipped: {folder}/wide.png: no face was found; a frontal, well lit face of at least 160 pixels is needed',
    f'skipped: {folder}/text.jpg: not a picture',
  ):
    assert out.count(line) == 1
  assert transfer.transfer(run, PHOTOS / '002_neutral.jpg', folder, tmp_path / 'out.mp4') == 5


@needs_photos
def test_each_person_of_a_folder_is_shown(run, video, tmp_path, capsys):
  people = tmp_path / 'people'
  people.mkdir()
  for name in ('002', '003'):
    (people / f'{name}.jpg').symlink_to(PHOTOS / f'{name}_neutral.jpg')
  Image.new('RGB', (200, 200)).save(people / 'blank.png')
  (people / 'text.jpg').write_text('no picture')
  driver = PHOTOS / '006_happy.jpg'
  assert transfer.transfer(run, people, driver, tmp_path / 'out') == 2
  transfer.transfer(run, people / '003.jpg', driver, tmp_path / 'alone.png')
  np.testing.assert_array_equal(Image.open(tmp_path / 'out' / '003.png'), Image.open(tmp_path / 'alone.png'))
  transfer.transfer(run, people, video, tmp_path / 'films')
  assert sorted(p.name for p in (tmp_path / 'films').iterdir()) == ['002.mp4', '003.mp4']
  out = capsys.readouterr().out
  assert out.count(f'skipped: --source={people}/blank.png: no face was found') == 2
  assert out.count(f'skipped: {people}/text.jpg: not a picture') == 2
  for output, message in ((tmp_path / 'o.png', 'does not fit a source that is a folder: a folder is needed'),
                          (people, 'is the folder of --source: choose another one')):
    with pytest.raises(ValueError, match=message):
      transfer.transfer(run, people, driver, output)
  (people / '002.jpg').unlink()
  (people / '003.jpg').unlink()
  with pytest.raises(ValueError, match='no face was found in any of its 2 pictures'):
    transfer.transfer(run, people, driver, tmp_path / 'out')


@needs_photos
def test_a_huge_photograph_keeps_its_size_and_a_video_of_it_does_not(run, tmp_path, capsys):
  huge = tmp_path / 'huge.jpg'
  canvas = Image.new('RGB', (7100, 7100), 'gray')  # 50 megapixels.
  canvas.paste(Image.fromarray(photo('002_neutral')).resize((420, 420)), (4000, 3000))  # A face of 200 pixels.
  canvas.save(huge)
  assert transfer.transfer(run, huge, PHOTOS / '003_happy.jpg', tmp_path / 'out.jpg') == 1
  with Image.open(tmp_path / 'out.jpg') as made:
    assert made.size == (7100, 7100)
  assert transfer._fit_video(np.zeros([3000, 4000, 3], np.uint8), huge).shape == (1440, 1920, 3)
  out = capsys.readouterr().out
  assert f'--source={huge}: 4000 x 3000 pixels are too many for a video: 1920 x 1440 are made' in out


@needs_photos
def test_absolute_gives_another_picture_and_report_measures_videos(run, video, tmp_path, capsys):
  base = ['transfer', f'--model={run}', f'--source={PHOTOS}/002_neutral.jpg', '--report']
  video_flags = [f'--driver={video}', f'--output={tmp_path}/a.mp4', '--landmark_transfer=absolute']
  assert commands.run(transfer.main, base + video_flags) == 0
  assert 'mouth opening: correlation' in capsys.readouterr().out
  assert commands.run(transfer.main, [*base, f'--driver={PHOTOS}/003_happy.jpg', f'--output={tmp_path}/a.png']) == 2
  assert f'--report measures videos, and --output={tmp_path}/a.png is none' in capsys.readouterr().err
  assert commands.run(transfer.main, [*base, f'--driver={tmp_path}', f'--output={tmp_path}/b.mp4']) == 2
  assert f'--report compares two videos, and --driver={tmp_path} is a folder' in capsys.readouterr().err


def test_user_errors_are_one_line(run, tmp_path, capsys):
  blank = tmp_path / 'blank.png'
  Image.new('RGB', (200, 200)).save(blank)
  text = tmp_path / 'text.mp4'
  text.write_text('no video')
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
    (run, blank, text, tmp_path / 'o.mp4', f'--source={blank}: no face was found'),
    (run, text, blank, tmp_path / 'o.png', f'--source={text} is a video: the person to show is a photograph'),
    (run, blank, blank, tmp_path / 'o.mp4', 'does not fit a driver that is a picture: .png or .jpg or .jpeg is needed'),
  ):
    argv = ['transfer', f'--model={model}', f'--source={source}', f'--driver={driver}', f'--output={output}']
    assert commands.run(transfer.main, argv) == 2
    error = capsys.readouterr().err
    assert message in error and error.count('\n') == 1
  with pytest.raises(FileNotFoundError, match='is neither a run'):
    export.open_model(empty, {})
