import re
import resource
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from evaluate import charts, provenance, sheets
from evaluate.intervals import Estimate
from input_pipeline import video

SAYS = {
  'digital_source_type': 'http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia',
  'model': 'Personae gcgan <&>',
  'version': '0.1.0 step 7',
}


@pytest.mark.parametrize('name', ['new/face.png', 'face.jpg', 'face.JPEG'])
def test_pictures_say_who_made_them(tmp_path, name):
  image = np.random.default_rng(0).integers(0, 255, (40, 30, 3)).astype(np.uint8)
  provenance.save_image(tmp_path / name, image, 'gcgan <&>', provenance.model_version(7))
  assert provenance.read_provenance(tmp_path / name) == SAYS
  with Image.open(tmp_path / name) as read:
    assert read.size == (30, 40)
    if name.endswith('png'):
      np.testing.assert_array_equal(np.asarray(read), image)
  assert [p.name for p in (tmp_path / name).parent.iterdir()] == [Path(name).name]


def test_a_video_says_who_made_it_and_plays(tmp_path):
  frames = (np.full((33, 48, 3), v / 10 - 1, np.float32) for v in range(12))
  assert provenance.save_video(tmp_path / 'a.mp4', frames, 25, 'gcgan <&>', provenance.model_version(7)) == 12
  assert provenance.read_provenance(tmp_path / 'a.mp4') == SAYS
  read = list(video.read_video(tmp_path / 'a.mp4'))
  assert video.frame_rate(tmp_path / 'a.mp4') == 25
  assert len(read) == 12 and read[0].shape == (34, 48, 3)
  # Colours survive: the frames go from black to grey.
  np.testing.assert_allclose([frame.mean() for frame in read], np.arange(12) * 12.75, atol=4)


def test_what_is_no_video_is_named(tmp_path):
  (tmp_path / 'a.mp4').write_bytes(b'no video')
  with pytest.raises(ValueError, match='a.mp4: not a video, or a damaged one'):
    video.frame_rate(tmp_path / 'a.mp4')


def test_a_foreign_file_says_nothing(tmp_path):
  Image.new('RGB', (4, 4)).save(tmp_path / 'a.png')
  assert provenance.read_provenance(tmp_path / 'a.png') == {}


def test_an_unknown_kind_of_file_is_refused(tmp_path):
  with pytest.raises(ValueError, match='a.gif: pictures are written as .png, .jpg or .jpeg'):
    provenance.save_image(tmp_path / 'a.gif', np.zeros((4, 4, 3), np.uint8))
  with pytest.raises(ValueError, match='there is no frame'):
    provenance.save_video(tmp_path / 'a.mp4', [], 25)


def test_frames_of_another_size_are_refused(tmp_path):
  frames = [np.zeros([32, 48, 3], np.uint8)] * 2 + [np.zeros([64, 40, 3], np.uint8)]
  with pytest.raises(ValueError, match='frame 3 has 40 x 64 pixels, and the first one 48 x 32: a film has one size'):
    provenance.save_video(tmp_path / 'a.mp4', frames, 25)
  assert not list(tmp_path.iterdir())


def test_version_is_that_of_the_package():
  setup = Path(__file__).parents[2] / 'setup.py'
  assert re.search(r"version='(.*?)'", setup.read_text()).group(1) == provenance.VERSION


def test_sheet_places_every_picture_and_is_marked(tmp_path):
  images = np.stack([np.full((64, 64, 3), 8 * i, np.uint8) for i in range(16)])
  sheets.save_sheet(
    tmp_path / 's.png',
    {'input': images, 'output': images.astype(np.float32) / 127.5 - 1, 'target': images},
    [f'person {i}' for i in range(16)],
    model='gcgan',
  )
  assert provenance.read_provenance(tmp_path / 's.png')['digital_source_type'].endswith('trainedAlgorithmicMedia')
  sheet = np.asarray(Image.open(tmp_path / 's.png'))
  for i in range(16):
    assert ((sheet == 8 * i).all(-1).sum()) >= 3 * 100 * 100
  with pytest.raises(ValueError, match='the same number of pictures'):
    sheets.make_sheet({'a': images, 'b': images[:3]})


def test_a_chart_is_marked_as_drawn_from_data(tmp_path):
  gap = Estimate(None, None, None)
  charts.save_bars(tmp_path / 'c.png', ['a', 'b'], {'t': {'model': [Estimate(1, 0.5, 2), gap], 'copy': [gap, gap]}})
  assert provenance.read_provenance(tmp_path / 'c.png') == {
    'digital_source_type': 'http://cv.iptc.org/newscodes/digitalsourcetype/dataDrivenMedia'
  }


def test_a_video_that_cannot_be_written_leaves_what_was_there(tmp_path):
  """The limit on a file's size stands in for a full disk."""
  frames = np.random.default_rng(0).integers(0, 256, [60, 128, 128, 3], dtype=np.uint8)
  (tmp_path / 'a.mp4').write_bytes(b'before')
  soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
  resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
  try:
    with pytest.raises(OSError, match='a.mp4 cannot be written .ffmpeg: .* is there room on the disk'):
      provenance.save_video(tmp_path / 'a.mp4', frames, 25)
  finally:
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
  assert [path.name for path in tmp_path.iterdir()] == ['a.mp4']
  assert (tmp_path / 'a.mp4').read_bytes() == b'before'
