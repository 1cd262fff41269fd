"""Two videos become frames with masks: one line for each thing that is not as it should be, and the rest is kept."""

import csv
import pathlib

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from input_pipeline import dataset, faceoff, landmarks, masks, prepare
from models import commands
from models.faceoff_config import FaceOffConfig
from tests.input_pipeline.test_prepare_tracks import CIRCLE, face, find_discs, nobody, write_frames, write_video

VIDEOS = pathlib.Path(__file__).parents[3] / 'shared' / 'data' / 'clear' / 'grid'
SIZE = 48


@pytest.fixture
def discs(monkeypatch):
  """Red discs are faces."""
  monkeypatch.setattr(landmarks, 'find_faces', find_discs)


@pytest.fixture(scope='module')
def people(tmp_path_factory):
  """A: an odd-sized video without sound, in three of whose frames nobody is; B: frames, one of them unreadable."""
  root = tmp_path_factory.mktemp('people')
  moving = [face(60 + 3 * t, 72, shape=(145, 177)) for t in range(20)]
  moving[4:7] = [face(-100, -100, shape=(145, 177))] * 3
  write_video(root / 'a.mp4', moving, '-pix_fmt', 'yuv444p')
  write_frames(root / 'b', [face(72, 50 + t, radius=20, shape=(144, 144)) for t in range(12)])
  (root / 'b' / '3.png').write_text('no picture')
  return root


def run(root, output, *more):
  arguments = ['prepare', '--layout=two_videos', f'--a={root}/a.mp4', f'--b={root}/b', f'--output={output}']
  return commands.run(prepare.main, [*arguments, f'--crop_size={SIZE}', '--processes=1', *more])


def red(images):
  return images[..., 0].astype(int) - images[..., 1] > 100


def test_videos_become_frames_and_each_lack_has_its_line(people, tmp_path, discs, capsys):
  output = tmp_path / 'data'
  assert run(people, output, '--test_fraction=0.25') == 0, capsys.readouterr().err
  lines = capsys.readouterr().out.splitlines()
  assert lines[:2] == ['a: 13 + 4 frames of a.mp4', 'b: 8 + 3 frames of b']
  assert 'a (a.mp4): no face found: in 3 of 20 frames' in lines
  assert 'a (a.mp4): no sound track: a film that is made of it is silent' in lines
  assert 'a (a.mp4): 177 x 145 pixels: the middle 145 x 145 are used' in lines
  assert 'b (b): a frame cannot be read: in 1 of 12 frames' in lines
  assert not any('irregular' in line or 'enlarged' in line for line in lines)
  with open(output / 'skipped.csv') as file:
    assert [row['file'] for row in csv.DictReader(file)] == ['a/a.mp4', 'b/b']
  data = dataset.open_dataset(str(output))
  found = {split: data.index(split) for split in ('train', 'test')}
  # The last ones in time are held out.
  frames = {
    (split, person): [file for file in table['file'] if file.startswith(person)]
    for split, table in found.items() for person in 'ab'
  }
  assert frames['train', 'a'][3:5] == ['a/a.mp4#000003', 'a/a.mp4#000007'] and len(frames['train', 'a']) == 13
  assert frames['test', 'a'] == [f'a/a.mp4#{n:06d}' for n in range(16, 20)]
  assert frames['test', 'b'] == [f'b/b#{n:06d}' for n in (9, 10, 11)] and 'b/b#000003' not in frames['train', 'b']
  # The middle square, shrunk; the mask is the hull, and the landmarks are on its edge.
  images, mask = data.images('train', SIZE).numpy(), data.images('train', SIZE, 'mask', 1).numpy()[..., 0]
  for row, (image, covered) in enumerate(zip(images, mask, strict=True)):
    assert set(np.unique(covered)) == {0, 255}
    assert (red(image) != (covered > 0)).sum() < 0.12 * (covered > 0).sum(), row
  scale = SIZE / 145
  expected = [(60 - 16 + 0.5) * scale - 0.5, (72 + 0.5) * scale - 0.5]
  marks = ((found['train']['landmarks'][0] + 1) * SIZE - 1) / 2
  np.testing.assert_allclose(marks.mean(axis=0), expected, atol=0.4)
  np.testing.assert_allclose(np.linalg.norm(marks - marks.mean(axis=0), axis=1), 30 * scale, atol=0.5)
  with Image.open(output / 'contact_sheet.png') as sheet:
    assert sheet.size == (8 * SIZE, 2 * SIZE)

  assert run(people, output, '--test_fraction=0.25') == 0 and 'is complete: it is reused' in capsys.readouterr().err
  assert run(people, output) == 2 and 'test_fraction=0.25 there, 0.1 now' in capsys.readouterr().err
  config = FaceOffConfig.tiny(dataset=str(output), load_size=SIZE)
  held_out = faceoff.TwoDomains(config).held_out()
  assert held_out['a'].shape == (3, 32, 32, 3) and held_out['b_mask'].max() == 1 and 'truth' not in held_out
  assert next(iter(faceoff.TwoDomains(config).batches(0, 1, 'train')))['b'].shape == (4, 32, 32, 3)


def test_damage_and_irregular_frames_cost_no_more_than_they_must(tmp_path, discs, capsys):
  random = np.random.default_rng(0)
  grain = [
    np.clip(face(60 + t, 70) + random.normal(0, 12, [144, 176, 1]), 0, 255).astype(np.uint8) for t in range(40)
  ]
  broken = write_video(tmp_path / 'a.mp4', grain, '-g', '10')
  content = bytearray(broken.read_bytes())
  middle = len(content) // 2
  content[middle : middle + 3000] = bytes(3000)
  broken.write_bytes(content)
  b = tmp_path / 'b.mp4'
  write_video(b, grain, '-vf', "select='not(mod(n,3))+not(mod(n,7))'", '-fps_mode', 'vfr', fps=10)
  arguments = ['prepare', '--layout=two_videos', f'--a={broken}', f'--b={b}', f'--output={tmp_path}/data']
  assert commands.run(prepare.main, [*arguments, f'--crop_size={SIZE}', '--processes=1']) == 0
  lines = capsys.readouterr().out.splitlines()
  (damage,) = [line for line in lines if 'damaged' in line]
  assert damage.startswith('a (a.mp4): the video is damaged or cut off, ') and 'could be read (' in damage
  (irregular,) = [line for line in lines if 'irregular' in line and line.startswith('b (b.mp4): ')]
  assert 'frames come irregularly: they are taken evenly, ' in irregular
  # What comes behind the damage is there.
  assert dataset.open_dataset(f'{tmp_path}/data').index('test')['file'][3] > 'a/a.mp4#000035'


def test_faces_beside_the_middle_square_are_left_out_and_said(people, tmp_path, discs, capsys):
  write_video(tmp_path / 'a.mp4', [face(40 + 40 * t, 72, shape=(144, 288)) for t in range(6)], '-pix_fmt', 'yuv444p')
  (tmp_path / 'b').symlink_to(people / 'b')
  assert run(tmp_path, tmp_path / 'data', '--test_fraction=0.25') == 0, capsys.readouterr().err
  lines = capsys.readouterr().out.splitlines()
  said = 'a (a.mp4): the face is outside of the middle square in 2 frames, which are left out: --align follows it'
  assert lines[0] == 'a: 3 + 1 frames of a.mp4' and said in lines
  assert run(tmp_path, tmp_path / 'aligned', '--test_fraction=0.25', '--align') == 0
  lines = capsys.readouterr().out.splitlines()
  assert lines[0].startswith('a: ') and not any('outside of the middle' in line for line in lines)


def test_aligned_frames_follow_the_face(people, tmp_path, discs, capsys):
  assert run(people, tmp_path / 'data', '--align', '--enlargement=1.5') == 0, capsys.readouterr().err
  data = dataset.open_dataset(str(tmp_path / 'data'))
  images = data.images('train', SIZE).numpy()
  assert red(images)[:, 22:26, 22:26].all() and not red(images)[:, :3, :3].any()
  sizes = red(images).sum(axis=(1, 2))[data.index('train')['identity'] == 1]
  assert np.ptp(sizes) < 0.2 * sizes.mean()
  assert data.fingerprint['alignment'] == 'enlarged' and data.fingerprint['enlargement'] == 1.5
  config = FaceOffConfig.tiny(dataset=str(tmp_path / 'data'), load_size=SIZE, alignment='enlarged', enlargement=1.5)
  assert faceoff.TwoDomains(config).held_out(1)['a'].shape == (1, 32, 32, 3)


def test_ready_masks(people, tmp_path, discs, capsys):
  for person, count, shape in (('a', 20, (145, 177)), ('b', 12, (144, 144))):
    (tmp_path / 'masks' / person).mkdir(parents=True)
    for number in range(count):
      mask = np.zeros(shape, np.uint8)
      mask[:, : shape[1] // 2] = 15  # A class, as PASCAL VOC's files have it.
      Image.fromarray(mask).save(tmp_path / 'masks' / person / f'{number}.png')
  assert run(people, tmp_path / 'data', f'--masks={tmp_path}/masks') == 0, capsys.readouterr().err
  mask = dataset.open_dataset(str(tmp_path / 'data')).images('train', SIZE, 'mask', 1).numpy()
  assert mask[:, :, :23].all() and not mask[:, :, 25:].any()
  (tmp_path / 'masks' / 'b' / '11.png').unlink()
  assert run(people, tmp_path / 'other', f'--masks={tmp_path}/masks') == 2
  assert 'b has 11 masks for at least 12 frames' in capsys.readouterr().err and not (tmp_path / 'other').exists()
  Image.new('L', (10, 10)).save(tmp_path / 'masks' / 'b' / '11.png')
  assert run(people, tmp_path / 'other', f'--masks={tmp_path}/masks') == 2
  assert 'the mask has 10 x 10 pixels, its frame 144 x 144' in capsys.readouterr().err
  assert run(people, tmp_path / 'none', f'--masks={tmp_path}/nowhere') == 2
  assert 'holds no PNG; one for each frame' in capsys.readouterr().err


class Segmenter(tf.Module):
  """Sees a person wherever a picture is red, on a map of half the size."""

  @tf.function(input_signature=[tf.TensorSpec([None, None, None, 3], tf.float32)])
  def __call__(self, images):
    small = images[:, ::2, ::2]
    return tf.one_hot(tf.where(small[..., 0] - small[..., 1] > 100, 15, 0), 21)


def keras_segmenter(channels=21):
  """The same, at a fixed size: class 15 grows with red, class 0 with green."""
  inputs = tf.keras.Input([24, 24, 3])
  layer = tf.keras.layers.Conv2D(channels, 1)
  network = tf.keras.Model(inputs, layer(inputs))
  kernel, bias = np.zeros([1, 1, 3, channels], np.float32), np.zeros([channels], np.float32)
  kernel[..., 0, channels - 6], kernel[..., 1, 0], bias[0] = 1, 1, 100
  layer.set_weights([kernel, bias])
  return network


def test_a_person_as_a_network_sees_it(people, tmp_path, discs, capsys):
  tf.saved_model.save(Segmenter(), str(tmp_path / 'saved'))
  keras_segmenter().save(tmp_path / 'net.keras')
  keras_segmenter(20).save(tmp_path / 'wrong.keras')
  (tmp_path / 'net.h5').touch()
  (tmp_path / 'bad.keras').touch()
  image = face(30, 24, 12, shape=(SIZE, SIZE))
  for model in ('saved', 'net.keras'):
    seen = masks.person_mask(image, str(tmp_path / model))
    assert seen.shape == (SIZE, SIZE) and (red(image) != (seen > 0)).mean() < 0.06
  for model, message in (
    ('nowhere', 'there is no such file or folder'),
    ('net.h5', 'other formats may run code when they are read'),
    ('bad.keras', 'cannot be read ('),
    ('wrong.keras', 'to scores (None, height, width, 21) of the classes of PASCAL VOC is needed'),
  ):
    assert run(people, tmp_path / 'data', '--masks=person', f'--segmentation_model={tmp_path}/{model}') == 2
    error = capsys.readouterr().err
    assert message in error and len(error.strip().splitlines()) == 1
  assert run(people, tmp_path / 'data', '--masks=person') == 2
  assert '--masks=person and --segmentation_model=PATH need each other' in capsys.readouterr().err
  assert run(people, tmp_path / 'data', '--masks=person', f'--segmentation_model={tmp_path}/saved') == 0
  data = dataset.open_dataset(str(tmp_path / 'data'))
  covered = data.images('train', SIZE, 'mask', 1).numpy()[..., 0] > 0
  assert (red(data.images('train', SIZE).numpy()) != covered).mean() < 0.05
  assert data.fingerprint['masks'] == 'person'


def test_flags_and_videos_that_make_no_sense(people, tmp_path, discs, capsys):
  write_frames(tmp_path / 'nobody', [nobody()] * 3)
  (tmp_path / 'empty').mkdir()
  (tmp_path / 'text.mp4').write_text('no video')
  (tmp_path / 'notes.txt').touch()
  given = {'a': f'{people}/a.mp4', 'b': f'{people}/b', 'layout': 'two_videos', 'output': f'{tmp_path}/data'}
  for changes, message in (
    ({'a': f'{people}/b'}, 'are the same: two people are needed'),
    ({'a': f'{tmp_path}/none.mp4'}, 'there is no such file or folder'),
    ({'b': f'{tmp_path}/empty'}, 'the folder holds no pictures'),
    ({'b': f'{tmp_path}/notes.txt'}, 'not a video (.mp4'),
    ({'b': f'{tmp_path}/nobody'}, '0 frames can be used, two are needed (no face found: in 3 of 3 frames)'),
    ({'b': f'{tmp_path}/text.mp4'}, '0 frames can be used, two are needed (not a video, or a damaged one'),
    ({'input': 'x'}, '--input is for other layouts, and this is --layout=two_videos'),
    ({'enlargement': '2'}, '--enlargement is for --align'),
    ({'layout': 'tracks'}, '--a is for --layout=two_videos, and this is --layout=tracks'),
    ({'b': ''}, '--b is missing'),
  ):
    arguments = [f'--{name}={value}' for name, value in (given | changes).items()]
    assert commands.run(prepare.main, ['prepare', '--processes=1', *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error.splitlines()[-1], error
  assert not (tmp_path / 'data').exists()


def test_the_hull_of_a_face():
  mask = masks.face_mask(CIRCLE * 10 + [20, 15], 40)
  rows, columns = np.mgrid[:40, :40]
  disc = (rows - 15) ** 2 + (columns - 20) ** 2 <= 100
  assert ((mask > 0) != disc).sum() < 20 and set(np.unique(mask)) == {0, 255}


@pytest.mark.skipif(not VIDEOS.is_dir(), reason='the videos of ../shared/data are not here')
def test_real_videos(tmp_path, capsys):
  clips = [next(iter(sorted(VIDEOS.glob(f'{name}*.mp4')))) for name in ('g04', 'g01')]
  arguments = ['prepare', '--layout=two_videos', f'--a={clips[0]}', f'--b={clips[1]}', f'--output={tmp_path}/data']
  assert commands.run(prepare.main, [*arguments, '--crop_size=72', '--frame_rate=2', '--processes=1']) == 0
  data = dataset.open_dataset(f'{tmp_path}/data')
  assert data.count('train') == 10 and data.count('test') == 2
  share = (data.images('train', 72, 'mask', 1).numpy() > 0).mean(axis=(1, 2, 3))
  assert 0.05 < share.min() and share.max() < 0.6
