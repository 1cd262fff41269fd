import csv
import pathlib

import numpy as np
import pytest

from input_pipeline import alignment, boxes, faces, photos

SHARED = pathlib.Path(__file__).parents[3] / 'shared' / 'data'
POINTS = np.random.default_rng(0).uniform(40, 120, [68, 2])


def test_the_crop_is_the_specs():
  # A box of 112 pixels is enlarged by 144 / 112 and drawn 144 wide, of which the middle 108 are used.
  left, top, side = boxes.crop_box(np.array([100.0, 80.0, 112.0]))
  assert (left, top, side) == (46, 26, 108)
  # Edge to edge: the first of 108 pixels has its centre half a pixel behind the left edge.
  matrix = boxes.align(POINTS, 108, np.array([99.5, 79.5, 112.0]))
  np.testing.assert_allclose(alignment.transform_points([[46.0, 26.0], [153.0, 133.0]], matrix), [[0, 0], [107, 107]])
  image = np.random.default_rng(1).integers(0, 256, [160, 200, 3], dtype=np.uint8)
  settings = faces.Settings('box', 0.8, 108)
  crop, marks, _ = faces.cut_out(image, POINTS, settings, np.array([99.5, 79.5, 112.0]))
  np.testing.assert_array_equal(crop, image[26:134, 46:154])
  np.testing.assert_allclose(alignment.denormalize(marks, 108), POINTS - [46, 26], atol=1e-4)


def test_the_box_follows_the_landmarks():
  box = boxes.detector_box(POINTS)
  np.testing.assert_allclose(boxes.detector_box(3 * POINTS + [5, 7]), box * 3 + [5, 7, 0])
  np.testing.assert_allclose(boxes.detector_box(np.stack([POINTS, POINTS + 1])), [box, box + [1, 1, 0]])
  with pytest.raises(ValueError, match='the landmarks lie in one place'):
    boxes.align(np.ones([68, 2]), 108)


def test_of_several_faces_the_largest_near_the_middle_is_taken(monkeypatch):
  class Detector:
    def detect_faces(self, image, **options):
      assert options['min_face_size'] == 20 and max(image.shape) <= 1024
      scale = image.shape[1] / 1000
      found = [[0, 0, 210, 210], [420, 380, 160, 200], [480, 480, 50, 50]]
      return [{'box': [value * scale for value in box]} for box in found]

  monkeypatch.setattr(boxes, '_mtcnn', Detector)
  for zoom in (1, 3):  # the second is searched in a smaller picture
    box = boxes.find_box(np.zeros([1000 * zoom, 1000 * zoom, 3], np.uint8))
    np.testing.assert_allclose(box, [500 * zoom - 0.5, 480 * zoom - 0.5, 200 * zoom])
  monkeypatch.setattr(Detector, 'detect_faces', lambda *_, **__: [])
  assert boxes.find_box(np.zeros([50, 50, 3], np.uint8)) is None


def test_mtcnn_is_asked_for_by_name(monkeypatch):
  monkeypatch.setattr(boxes, 'has_mtcnn', lambda: False)
  assert boxes.choose_detector('auto') == 'dlib'
  with pytest.raises(ValueError, match=r"--detector=mtcnn needs the package mtcnn: pip install -e '\.\[mtcnn\]'"):
    boxes.choose_detector('mtcnn')
  monkeypatch.setattr(boxes, 'has_mtcnn', lambda: True)
  assert boxes.choose_detector('auto') == 'mtcnn'


@pytest.mark.skipif(not boxes.has_mtcnn(), reason='the extra mtcnn is not installed')
@pytest.mark.skipif(not SHARED.is_dir(), reason='the photographs of ../shared/data are not here')
def test_mtcnn_and_dlib_frame_a_photograph_alike():
  with open(SHARED / 'landmarks68.csv') as file:
    rows = [row for row in csv.reader(file) if row[0].startswith('clear/london')][::40]
  for row in rows:
    image, points = photos.read_photo(str(SHARED / row[0])), np.array(row[1:137], float).reshape(68, 2)
    face = faces.find_face(str(SHARED / row[0]), faces.Settings('box', 0.8, 108, detector='mtcnn'))
    distance = np.linalg.norm(points[36] - points[45])
    assert np.linalg.norm(face.points - points, axis=1).mean() < 0.04 * distance
    mean = boxes.detector_box(points)
    np.testing.assert_allclose(boxes.find_box(image), mean, atol=0.15 * mean[2])
