"""Videos as input: frames at the right times, faces followed and smoothed, what is broken is named."""

import csv
import json
import shutil
import subprocess

import imageio_ffmpeg
import numpy as np
import pytest
from PIL import Image

from input_pipeline import dataset, faces, landmarks, prepare, tracks, video
from models import commands
from tests.input_pipeline import builders

SETTINGS = faces.Settings('paper', 0.8, 64, frame_rate=0)


def write_video(path, frames, fps=10):
  height, width = frames[0].shape[:2]
  source = ['-f', 'rawvideo', '-pix_fmt', 'rgb24', '-s', f'{width}x{height}', '-r', str(fps), '-i', '-']
  command = [imageio_ffmpeg.get_ffmpeg_exe(), '-v', 'error', *source, '-b:v', '2M', path]
  subprocess.run(command, input=b''.join(frame.tobytes() for frame in frames), check=True)
  return path


def clock(count):
  """Frames that are brighter by five levels each."""
  return [np.full([48, 64, 3], 20 + 5 * i, np.uint8) for i in range(count)]


def hours(frames):
  return [(float(frame.mean()) - 20) / 5 for frame in frames]


@pytest.mark.parametrize('ending', ['.mp4', '.avi', '.webm'])
def test_frames_come_at_the_wanted_rate(ending, tmp_path):
  path = write_video(tmp_path / f'clock{ending}', clock(40), fps=20)
  assert video.frame_rate(path) == 20
  np.testing.assert_allclose(hours(video.read_video(path)), np.arange(40), atol=0.7)
  np.testing.assert_allclose(hours(video.read_video(path, 5)), np.arange(0, 40, 4), atol=2.1)
  assert len(list(video.read_video(path, 1000))) == 40  # none twice


def test_frames_of_a_variable_rate_stand_at_their_times(tmp_path):
  even = write_video(tmp_path / 'even.mp4', clock(40), fps=20)
  path = tmp_path / 'uneven.mp4'
  # The second half has one frame in five.
  command = [imageio_ffmpeg.get_ffmpeg_exe(), '-v', 'error', '-i', even, '-vf', "select='lt(n,20)+not(mod(n,5))'"]
  subprocess.run([*command, '-fps_mode', 'vfr', path], check=True, stdin=subprocess.DEVNULL)
  assert video.frame_rate(path) < 19 and video.is_irregular(path)
  rate = video.read_rate(path, 4)
  seen = hours(video.read_video(path, rate))
  assert rate == 4 and 7 <= len(seen) <= 8
  np.testing.assert_allclose(seen, 20 * np.arange(len(seen)) / rate, atol=5)


def test_frames_without_times_are_even(tmp_path):
  path, even = tmp_path / 'even.avi', write_video(tmp_path / 'even.mp4', clock(40), fps=20)
  command = [imageio_ffmpeg.get_ffmpeg_exe(), '-v', 'error', '-i', even]
  subprocess.run([*command, '-c:v', 'mpeg4', '-bf', '2', path], check=True, stdin=subprocess.DEVNULL)
  assert not video.is_irregular(even) and not video.is_irregular(path)


def test_a_film_that_states_no_rate_has_that_of_its_frames(tmp_path):
  path = write_video(tmp_path / 'browser.webm', clock(40), fps=20)
  data, stated = path.read_bytes(), b'\x23\xe3\x83\x84'  # DefaultDuration, four bytes; browsers leave it out.
  at = data.index(stated)
  path.write_bytes(data[:at] + b'\xec\x86' + bytes(6) + data[at + 8 :])  # Void, six bytes.
  assert video.frame_rate(path) == pytest.approx(20, rel=0.01)


def test_who_goes_on_is_who_overlaps(monkeypatch):
  left, right = np.zeros([68, 2]), np.full([68, 2], 50.0)
  left[0], right[0] = 10, 75  # The right one is larger.
  seen = iter([[left], [right, left + 1], [], [right, left]])
  monkeypatch.setattr(landmarks, 'find_faces', lambda image: next(seen))
  found = list(tracks.follow_face([np.zeros([1, 1, 3])] * 4))
  assert [None if points is None else points[0, 0] for points in found] == [10, 11, None, 75]


def track_of(monkeypatch, found):
  """The track where dlib would find these faces, one list a frame."""
  seen = iter(found)
  monkeypatch.setattr(landmarks, 'find_faces', lambda image, model: next(seen))
  monkeypatch.setattr(video, 'read_rate', lambda path, rate: 25.0)
  monkeypatch.setattr(video, 'read_video', lambda path, rate: (np.zeros([400, 400, 3], np.uint8) for _ in found))
  return tracks.find_track('x.mp4', SETTINGS)


def test_a_face_is_followed_and_smoothed_and_lost_frames_are_told(monkeypatch):
  random = np.random.default_rng(0)
  face = random.uniform(0, 100, [68, 2])
  face[[39, 42, 57]] = (40, 40), (60, 40), (50, 80)
  near = face * 1.5 + [220, 200]
  shaken = [face + [t, 0] + random.normal(0, 1, [68, 2]) for t in range(30)]
  # Somebody comes nearer from frame 10 on; frames 20 to 22 show nobody; at 25 the camera turns to the other one.
  found = [[near, points] if 10 <= t < 20 else [points] for t, points in enumerate(shaken)]
  found[20:23] = [[], [], []]
  found[25:] = [[near]] * 5
  result = track_of(monkeypatch, found)
  assert [f.frame for f in result] == list(range(30))
  assert [f.frame for f in result if f.reason] == [20, 21, 22] and result[21].reason == 'no face found'
  points = np.array([result[t].points for t in range(20)])
  true = np.array([face + [t, 0] for t in range(20)])
  before = np.abs(np.diff(np.array(shaken[:20]), 2, axis=0)).mean()
  assert np.abs(points - true).max() < 5 and np.abs(np.diff(points, 2, axis=0)).mean() < 0.5 * before
  # Nothing of one face leaks into the other.
  np.testing.assert_allclose(np.array(result[25].points), near)


def test_frames_far_apart_are_not_mixed(monkeypatch):
  random = np.random.default_rng(0)
  face = random.uniform(0, 100, [68, 2])
  face[[39, 42, 57]] = (40, 40), (60, 40), (50, 80)
  found = [[face + 4 * t] for t in range(4)]
  monkeypatch.setattr(tracks, 'SMOOTHING', 0.03 / 5)  # as at 5 frames a second
  np.testing.assert_allclose([f.points for f in track_of(monkeypatch, found)], [points for (points,) in found])


@pytest.fixture(scope='module')
def videos(tmp_path_factory):
  """Two people: one nods through a video with three frames of nobody, one is in a photograph and in broken videos."""
  folder = tmp_path_factory.mktemp('videos')
  anna, bob = builders.rendered_faces()[:2, 0]
  blank = np.full_like(anna, 128)
  nodding = [np.roll(anna, 3 * (t % 4), axis=0) for t in range(10)]
  for name in ('anna', 'bob'):
    (folder / name).mkdir()
  write_video(folder / 'anna' / 'happy.mp4', nodding[:4] + [blank] * 3 + nodding[7:])
  Image.fromarray(bob).save(folder / 'bob' / 'happy.png')
  whole = write_video(folder / 'bob' / 'sad.webm', [bob] * 10)
  whole.write_bytes(whole.read_bytes()[: whole.stat().st_size * 2 // 3])
  write_video(folder / 'bob' / 'angry.mp4', [blank] * 2)
  (folder / 'bob' / 'fear.avi').write_text('no video')
  return folder


def test_videos_and_photographs_become_one_data_set(videos, tmp_path, capsys):
  output = tmp_path / 'data'
  arguments = [f'--input={videos}', f'--output={output}', '--frame_rate=10', '--processes=1', '--test_identities=bob']
  assert commands.run(prepare.main, ['prepare', *arguments]) == 0
  text = capsys.readouterr().out
  data = dataset.open_dataset(str(output))
  index = data.index('train')
  assert index['file'].tolist() == [f'anna/happy.mp4#{t}' for t in (0, 1, 2, 3, 7, 8, 9)]
  assert set(index['expression']) == {0} and data.expressions == ['happy']
  # Each crop is cut out of its own frame: the face stands still, while it nods in the video.
  images = data.images('train', data.crop_size).numpy().astype(float)
  assert (
    np.abs(images - images.mean(axis=0)).mean() < 6
    and np.abs(index['landmarks'][0] - index['landmarks'][3]).mean() < 0.04
  )
  with open(output / 'skipped.csv') as file:
    reasons = {row['file']: row['reason'] for row in csv.DictReader(file)}
  assert reasons.pop('anna/happy.mp4') == 'no face found: in 3 of 10 frames'
  assert reasons.pop('bob/angry.mp4') == 'no face found: in 2 of 2 frames'
  assert 'the video is damaged or cut off after' in reasons.pop('bob/sad.webm')
  assert 'not a video, or a damaged one' in reasons.pop('bob/fear.avi')
  assert not reasons and '8 pictures kept, 3 skipped' in text and 'videos: 12 frames read, 5 skipped' in text
  assert json.loads((output / 'statistics.json').read_text())['video_frames'] == {'read': 12, 'skipped': 5}


def test_another_frame_rate_is_another_data_set(videos, tmp_path, capsys):
  for name in ('anna', 'bob'):
    (tmp_path / 'in' / name).mkdir(parents=True)
    shutil.copy(videos / 'anna' / 'happy.mp4', tmp_path / 'in' / name / 'happy.mp4')
  arguments = ['prepare', f'--input={tmp_path}/in', f'--output={tmp_path}/data', '--processes=1']
  assert commands.run(prepare.main, [*arguments, '--frame_rate=2']) == 0
  assert commands.run(prepare.main, [*arguments, '--frame_rate=3']) == 2
  assert 'frame_rate=2.0 there, 3.0 now' in capsys.readouterr().err
