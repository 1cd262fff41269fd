import dataclasses

import numpy as np
import pytest
from PIL import Image

from evaluate import motion
from evaluate.paste import Face
from input_pipeline import alignment
from input_pipeline.landmarks import find_landmarks
from input_pipeline.photos import read_photo
from tests.evaluate.test_motion import DATA, needs_photos, photographed, rendered


@dataclasses.dataclass
class Config:
  alignment: str = 'paper'
  template_scale: float = 0.8
  image_size: int = 64


def keep(crops, landmarks):
  return crops


def texture(height, width, cell=3):
  rng = np.random.default_rng(0)
  small = rng.integers(90, 160, (height // cell, width // cell, 3)).astype(np.uint8)
  return np.asarray(Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC))


@pytest.mark.parametrize('shift', [(0, 0), (-70, 0), (50, 60), (0, -90)], ids=str)
def test_nothing_changed_gives_the_photograph_again(shift):
  picture, points = texture(256, 256), rendered('neutral', 1)[0] + shift  # Some faces are cut by the edge.
  face = Face(picture, points, Config(), keep)
  again = face.paste(face.show(face.landmarks(points[None], face.align(points)[None]))[0], points, face.align(points))
  assert np.abs(again.astype(int) - picture).max() <= 1


def test_a_small_change_leaves_the_detail_and_a_large_one_replaces_it():
  picture, points = texture(256, 256), rendered('neutral', 1)[0]
  face = Face(picture, points, Config(), keep)
  matrix = face.align(points)
  crop = face.show(np.zeros([1, 68, 2], np.float32))[0]
  x, y = np.rint(points[51:58:6].mean(axis=0)).astype(int)
  box = np.s_[y - 5 : y + 5, x - 8 : x + 8]  # The lips.
  lighter = face.paste(crop + 6, points, matrix)[box].astype(float) - picture[box]
  assert abs(lighter.mean() - 6) < 0.7 and lighter.std() < 1
  plain = face.paste(np.full_like(crop, 10), points, matrix)
  assert plain[box].std() < 0.25 * picture[box].std() and plain[box].mean() < 40
  np.testing.assert_array_equal(plain[:10], picture[:10])
  np.testing.assert_array_equal(plain[:, :10], picture[:, :10])


@pytest.mark.parametrize('moves', [False, True])
def test_the_error_of_the_model_cancels(moves):
  picture, points = texture(256, 256), rendered('neutral', 1)[0]
  still = lambda crops, landmarks: np.zeros([len(crops), 64, 64, 2])  # noqa: E731
  show = (lambda crops, landmarks: crops + 30) if moves else (lambda crops, landmarks: crops // 2 + 90)
  face = Face(picture, points, Config(), show, still if moves else None)  # Wrong colours, always alike.
  none = np.zeros([1, 68, 2], np.float32)
  again = face.paste(face.show(none)[0], points, face.align(points), face.flows(none)[0])
  assert np.abs(again.astype(int) - picture).max() <= 1


def test_the_photograph_moves_with_the_landmarks():
  picture = np.full((256, 256, 3), 128, np.uint8)
  points = rendered('neutral', 1)[0]
  x, y = np.rint(points[57]).astype(int)
  picture[y - 2 : y + 3, x - 2 : x + 3] = (255, 0, 0)
  moved = points.copy()
  moved[[56, 57, 58, 7, 8, 9], 1] += 8
  face = Face(picture, points, Config(), keep)
  result = face.paste(face.show(np.zeros([1, 68, 2], np.float32))[0], moved, face.align(moved))
  rows, columns = np.nonzero(result[..., 0].astype(int) - result[..., 1] > 100)
  assert abs(rows.mean() - (y + 8)) < 1.5 and abs(columns.mean() - x) < 1.5


def test_the_photograph_moves_as_the_model_moved_its_input():
  picture = np.full((256, 256, 3), 128, np.uint8)
  points = rendered('neutral', 1)[0]
  x, y = np.rint(points[30]).astype(int)  # The tip of the nose.
  picture[y - 2 : y + 3, x - 2 : x + 3] = (255, 0, 0)
  flow = np.tile(np.float32([2 * 2 / 63, 0]), (1, 64, 64, 1))  # From two columns further right.
  face = Face(picture, points, Config(), keep, lambda crops, landmarks: flow)
  landmarks, matrix = np.zeros([1, 68, 2], np.float32), face.align(points)
  shown = np.roll(face.show(landmarks)[0], -2, axis=1)
  result = face.paste(shown, points, matrix, face.flows(landmarks)[0])
  rows, columns = np.nonzero(result[..., 0].astype(int) - result[..., 1] > 100)
  moved = 2 / matrix[0, 0]  # The alignment of this face neither turns nor shears it much.
  assert abs(rows.mean() - y) < 1.5 and abs(columns.mean() - (x - moved)) < 1.5 and moved > 4
  assert len(rows) <= 30  # As sharp as it was, not the crop's blur.


@needs_photos
@pytest.mark.parametrize('person', range(1, 11))
def test_a_true_crop_shows_chin_and_lip_where_they_are(person):
  source, target = (photographed(expression)[person - 1] for expression in ('normal', 'surprised'))
  plain, open_ = (
    read_photo(str(DATA / f'noncommercial/yale/s{person:02d}_{name}.jpg')) for name in ('normal', 'surprised')
  )
  shape = motion.shape(target)[None]
  face = Face(plain, source, Config(), keep)
  matrix = face.align(motion.move_lip(source, shape)[0])
  crop = alignment.warp(open_, face.align(target), 64)
  found = find_landmarks(face.paste(crop, motion.follow(source, shape, motion.shape(source))[0], matrix))
  # The head's own motion between the two photographs is taken out.
  errors = np.linalg.norm(found - motion.place(shape[0], source), axis=-1)[[8, 57]]
  assert errors.max() < 0.05 * np.linalg.norm(source[45] - source[36])
