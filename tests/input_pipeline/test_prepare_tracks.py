"""Clips become tracks: what is cut, smoothed and left out, one line for each; layouts; real videos where there are."""

import csv
import json
import math
import pathlib
import subprocess
import wave

import imageio_ffmpeg
import numpy as np
import pytest
from PIL import Image

from input_pipeline import boxes, clips, dataset, face_squares, face_tracks, facecycle, landmarks, prepare
from models import commands
from models.facecycle_config import FaceCycleConfig

VIDEOS = pathlib.Path(__file__).parents[3] / 'shared' / 'data' / 'clear' / 'grid'
ANGLES = np.linspace(0, 2 * np.pi, 68, endpoint=False)
CIRCLE = np.stack([np.cos(ANGLES), np.sin(ANGLES)], axis=1)


def face(x, y, radius=30, room=120, shape=(144, 176)):
  """A frame [H, W, 3] with a red disc, which the finder below takes for a face, in a room of some brightness."""
  height, width = shape
  rows, columns = np.mgrid[:height, :width]
  frame = np.full([height, width, 3], room, np.uint8)
  frame[:, : width // 3] = room // 2
  frame[(rows - y) ** 2 + (columns - x) ** 2 < radius**2] = (250, 40, 40)
  return frame


def nobody(room=120):
  return face(-100, -100, room=room)


def find_discs(image, model=''):
  found = (image[..., 0].astype(int) - image[..., 1] > 100).nonzero()
  if len(found[0]) < 50:
    return []
  centre = np.array([found[1].mean(), found[0].mean()])
  return [centre + CIRCLE * math.sqrt(len(found[0]) / math.pi)]


@pytest.fixture
def discs(monkeypatch):
  """Red discs are faces."""
  monkeypatch.setattr(landmarks, 'find_faces', find_discs)


def write_video(path, frames, *options, fps=5):
  height, width = frames[0].shape[:2]
  source = ['-f', 'rawvideo', '-pix_fmt', 'rgb24', '-s', f'{width}x{height}', '-r', str(fps), '-i', '-']
  command = [imageio_ffmpeg.get_ffmpeg_exe(), '-v', 'error', *source, *options, '-b:v', '4M', path]
  subprocess.run(command, input=b''.join(frame.tobytes() for frame in frames), check=True)
  return path


def write_sound(path):
  with wave.open(str(path.with_suffix('.wav')), 'wb') as file:
    file.setnchannels(1)
    file.setsampwidth(2)
    file.setframerate(8000)
    file.writeframes(bytes(8000))
  command = [imageio_ffmpeg.get_ffmpeg_exe(), '-v', 'error', '-i', path.with_suffix('.wav'), '-vn', path]
  subprocess.run(command, check=True, stdin=subprocess.DEVNULL)


def write_frames(folder, frames):
  folder.mkdir(parents=True)
  for number, frame in enumerate(frames):
    Image.fromarray(frame).save(folder / f'{number}.png')


@pytest.fixture(scope='module')
def tree(tmp_path_factory):
  """All that goes wrong with clips, and some that do not."""
  root = tmp_path_factory.mktemp('clips')
  for name in ('anna', 'cara', 'bad'):
    (root / name).mkdir()
  moving = [face(70 + 2 * t, 70) for t in range(11)]
  write_video(root / 'anna' / 'lost.mp4', moving[:4] + [nobody()] * 3 + moving[7:])
  write_frames(root / 'bob' / 'first', moving)  # 10.png comes after 9.png
  write_frames(root / 'bob' / 'single', moving[:1])
  write_video(root / 'cara' / 'cut.avi', [face(70, 70)] * 5 + [face(72, 70, room=230)] * 4)
  sizes = [face(70, 70)] * 4 + [face(70, 70, shape=(160, 160))] * 3
  write_frames(root / 'dora' / 'sizes', sizes)
  (root / 'dora' / 'sizes' / '1.png').write_text('no picture')
  write_frames(root / 'emil' / 'nobody', [nobody()] * 3)
  (root / 'bad' / 'empty').mkdir()
  (root / 'bad' / 'text.mp4').write_text('no video')
  (root / 'bad' / 'readme.txt').write_text('hello')
  write_sound(root / 'bad' / 'sound.mp4')
  noise = np.random.default_rng(0)
  grain = [np.clip(frame + noise.normal(0, 20, frame.shape), 0, 255).astype(np.uint8) for frame in moving]
  broken = write_video(root / 'bad' / 'broken.webm', grain * 2)
  broken.write_bytes(broken.read_bytes()[: broken.stat().st_size * 2 // 3])
  return root


def test_clips_become_tracks_and_each_that_does_not_has_its_line(tree, tmp_path, discs, capsys):
  output = tmp_path / 'data'
  arguments = ['prepare', '--layout=tracks', f'--input={tree}', f'--output={output}', '--crop_size=32']
  arguments += ['--min_frames=3', '--enlargement=1.5', '--processes=1', '--test_identities=bob,cara']
  assert commands.run(prepare.main, arguments) == 0, capsys.readouterr().err
  with open(output / 'skipped.csv') as file:
    reasons = {row['file']: row['reason'] for row in csv.DictReader(file)}
  assert len(reasons) == len((output / 'skipped.csv').read_text().splitlines()) - 1  # One line each.
  assert reasons.pop('anna/lost.mp4') == 'no face found: in 3 of 11 frames'
  assert reasons.pop('bob/single') == 'too short: 1 tracks of 1 frames, --min_frames=3 are needed'
  assert reasons.pop('cara/cut.avi') == 'shot change: 1 times'
  sizes = reasons.pop('dora/sizes')
  assert 'a frame cannot be read: in 1 of 7 frames' in sizes and 'the frame size changes: 1 times' in sizes
  assert 'too short: 2 tracks of 1, 2 frames' in sizes
  assert reasons.pop('emil/nobody') == 'no face found: in 3 of 3 frames'
  assert reasons.pop('bad/sound.mp4') == 'sound without pictures'
  assert 'not a video, or a damaged one' in reasons.pop('bad/text.mp4')
  assert reasons.pop('bad/sound.wav') == 'sound without pictures'
  assert reasons.pop('bad/empty') == 'an empty folder' and reasons.pop('bad/readme.txt') == 'not a picture or video'
  damaged = reasons.pop('bad/broken.webm')
  assert 'the video is damaged or cut off after' in damaged and 'the frames before are used' in damaged
  assert not reasons

  data = dataset.open_dataset(str(output))
  test = facecycle.find_tracks(data.index('test'))
  assert test.names.tolist() == ['bob/first', 'cara/cut.avi~1', 'cara/cut.avi~2'] and test.length.tolist() == [11, 5, 4]
  train = facecycle.find_tracks(data.index('train'))
  lengths = dict(zip(train.names.tolist(), train.length.tolist(), strict=True))
  assert lengths['anna/lost.mp4~1'] == lengths['anna/lost.mp4~2'] == 4
  # In the order of time: the frames of bob are numbered as they lie, 10 after 9.
  assert data.index('test')['file'][test.clip(0)][-1] == 'bob/first#000010'
  # Each frame is cut out of its own picture: the face stands in the middle, while it moves in the clip.
  images = data.images('test', 32).numpy()[test.clip(0)]
  assert (images[..., 0].astype(int) - images[..., 1] > 100)[:, 14:18, 14:18].all()
  assert np.abs(data.index('test')['landmarks'].mean(axis=1)).max() < 0.15
  statistics = json.loads((output / 'statistics.json').read_text())
  assert statistics['splits']['test']['tracks'] == 3
  out = capsys.readouterr()
  assert 'test: 3 tracks of 20 frames' in out.out

  assert commands.run(prepare.main, arguments) == 0 and 'is complete: it is reused' in capsys.readouterr().err
  assert commands.run(prepare.main, [*arguments, '--enlargement=1.25']) == 2
  assert 'enlargement=1.5 there, 1.25 now' in capsys.readouterr().err
  # What was prepared can be trained on.
  pipeline = facecycle.Tracks(FaceCycleConfig.tiny(dataset=str(output), enlargement=1.5))
  assert next(iter(pipeline.batches(0, 1, 'motion')))['first'].shape == (4, 32, 32, 3)


def test_squares_move_smoothly_and_leaps_end_a_track(tmp_path, discs):
  random = np.random.default_rng(0)
  shaken = [face(70 + t + random.normal() * 2, 70 + random.normal() * 2) for t in range(20)]
  write_frames(tmp_path / 'clip', shaken + [face(140, 70, 12)] * 4)
  (clip,), _ = clips.list_clips('tracks', str(tmp_path))
  settings = face_tracks.TrackSettings(32, 1.5, frame_rate=10)
  moments, note = face_tracks.find_tracks(str(tmp_path), clip, settings)
  assert [m.track for m in moments] == [1] * 20 + [2] * 4 and note == 'another face: 1 times'
  boxes = np.array([m.face.box for m in moments[:20]])
  raw = np.array([face_squares.as_box(face_squares.face_square(np.array(m.face.points), 1.5)) for m in moments[:20]])
  assert np.abs(np.diff(boxes, 2, axis=0)).mean() < 0.4 * np.abs(np.diff(raw, 2, axis=0)).mean()
  np.testing.assert_allclose(np.diff(boxes[4:16, 0]).mean(), 1, atol=0.3)
  every_other, _ = face_tracks.find_tracks(str(tmp_path), clip, face_tracks.TrackSettings(32, 1.5, frame_step=2))
  assert [m.file for m in every_other[:3]] == ['clip/0.png', 'clip/2.png', 'clip/4.png']


def test_the_square_is_the_detectors_times_the_enlargement():
  points = CIRCLE * 40 + [100, 90]
  square = face_squares.face_square(points, 1.0)
  np.testing.assert_allclose(face_squares.face_square(points, 2.0), square * [1, 1, 2])
  left, top, side = boxes.crop_box(face_squares.as_box(square))
  np.testing.assert_allclose([left + side / 2, top + side / 2, side], square)
  box = boxes.detector_box(points)
  moved = box + face_squares.box_offset(1.0) * box[2]
  np.testing.assert_allclose(moved, face_squares.as_box(square))


def touch(root, *files):
  for file in files:
    path = root / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()


def test_voxceleb_as_it_is_handed_out(tmp_path):
  one = tmp_path / 'one'
  touch(one, 'data/x/1.3/v/1/1.jpg')
  touch(one, *(f'data/A.J._Buckley/1.6/1zcIwhmdeo4/{s}/00{n}.jpg' for s in (1, 2) for n in (1, 2)))
  found, _ = clips.list_clips('voxceleb1', str(one))
  assert [(c.identity, c.file, len(c.frames)) for c in found] == [
    ('A.J._Buckley', f'data/A.J._Buckley/1.6/1zcIwhmdeo4/{s}', 2) for s in (1, 2)
  ]
  two = tmp_path / 'two'
  touch(two, 'dev/mp4/id00012/21Uxsk56VDQ/00001.mp4', 'test/mp4/id00017/01dfn2spqyE/00001.mp4')
  touch(two, 'dev/aac/id00012/21Uxsk56VDQ/00001.m4a')
  found, skipped = clips.list_clips('voxceleb2', str(two))
  assert [(c.identity, c.split) for c in found] == [('id00012', 'train'), ('id00017', 'test')]
  assert skipped == {'dev/aac/id00012/21Uxsk56VDQ/00001.m4a': 'sound without pictures'}
  found, _ = clips.list_clips('voxceleb2', str(two / 'dev'))
  assert [c.split for c in found] == ['']
  with pytest.raises(FileNotFoundError, match=r'holds none of its clips; --input must be the folder of unzipped'):
    clips.list_clips('voxceleb1', str(two))


def test_a_manifest_says_who_the_clips_show(tmp_path):
  touch(tmp_path, 'a.mp4', 'b.mp4', 'c/1.jpg')
  table = tmp_path / 'people.csv'
  table.write_text('file,identity\na.mp4,anna\nb.mp4,anna\n')
  found, skipped = clips.list_clips('tracks', str(tmp_path), str(table))
  assert [c.identity for c in found] == ['anna', 'anna', 'c'] and list(skipped) == ['people.csv']
  for text, message in (
    ('file\na.mp4\n', "lacks the column 'identity'"),
    ('file,identity\nz.mp4,anna\n', 'names none of the 3 clips'),
    ('file,identity,split\na.mp4,anna,dev\n', "split='dev' is not train or test"),
    ('file,identity,split\na.mp4,anna,test\nb.mp4,anna,train\n', 'anna is in two splits'),
    ('file,identity,split\na.mp4,anna,test\n', 'has no split, others have one'),
  ):
    table.write_text(text)
    with pytest.raises(ValueError, match=message):
      clips.list_clips('tracks', str(tmp_path), str(table))


def test_flags_of_the_other_kind_and_sets_of_nobody_are_refused(tmp_path, discs, capsys):
  write_frames(tmp_path / 'in' / 'emil' / 'nobody', [nobody()] * 2)
  arguments = ['prepare', f'--input={tmp_path}/in', f'--output={tmp_path}/out', '--processes=1']
  for more, message in (
    (['--layout=tracks', '--alignment=paper'], '--alignment is for sets of photographs'),
    (['--layout=people', '--min_frames=3'], '--min_frames is for --layout=tracks or voxceleb1 or voxceleb2'),
    (['--layout=tracks'], 'none of 1 pictures can be used; 1 times: no face found'),
    (['--layout=voxceleb2'], 'holds none of its clips'),
  ):
    assert commands.run(prepare.main, [*arguments, *more]) == 2
    assert message in capsys.readouterr().err
  assert not (tmp_path / 'out').exists()


@pytest.mark.skipif(not VIDEOS.is_dir(), reason='the videos of ../shared/data are not here')
def test_real_videos(tmp_path, capsys):
  (tmp_path / 'in').mkdir()
  for name in ('g01_bbaf2n.mp4', 'g02_brbk7n.mp4'):
    (tmp_path / 'in' / name).symlink_to(VIDEOS / name)
  arguments = ['prepare', '--layout=tracks', f'--input={tmp_path}/in', f'--output={tmp_path}/out', '--processes=1']
  assert commands.run(prepare.main, [*arguments, '--frame_rate=2', '--crop_size=64', '--test_identities=1']) == 0
  data = dataset.open_dataset(str(tmp_path / 'out'))
  found = facecycle.find_tracks(data.index('train'))
  assert found.length.tolist() == [6] and not (tmp_path / 'out' / 'skipped.csv').read_text().splitlines()[1:]
  # The whole face is inside, and the square 1.6 times as large as the detector's leaves room around it.
  marks = data.index('train')['landmarks']
  assert np.abs(marks).max() < 0.9 and np.abs(marks).max() > 0.4
