"""Whether a film follows its driver, by films whose answer is known."""

import re

import numpy as np
import pytest

from evaluate import follow
from evaluate.provenance import save_video
from tests.input_pipeline import builders


def test_the_mouths_opening_by_hand():
  points = np.zeros([2, 68, 2])
  points[:, 36], points[:, 45] = (10, 20), (50, 50)  # 50 apart.
  points[:, 66, 1] = 40
  points[:, 62, 1] = 40, 30
  np.testing.assert_allclose(follow.mouth_opening(points), [0, 0.2])


def test_flicker_is_what_the_skin_changes_by(tmp_path):
  face = builders.rendered_faces()[0, 0]
  still, moving = [face] * 8, [np.clip(face.astype(int) + 6 * (k % 2), 0, 255).astype(np.uint8) for k in range(8)]
  for name, frames in (('still', still), ('moving', moving)):
    save_video(tmp_path / f'{name}.mp4', frames, 10)
  before, points = follow.flicker(tmp_path / 'still.mp4')
  assert before < 0.3 and points.shape == (8, 68, 2)
  assert follow.flicker(tmp_path / 'moving.mp4')[0] == pytest.approx(6, abs=1)


def test_a_film_follows_itself_and_a_still_one_nobody(tmp_path):
  shown, other = builders.rendered_faces()[0, :2]
  save_video(tmp_path / 'a.mp4', [shown, other, other, shown, other, shown], 10)
  found = re.search(r'correlation (\S+) with .* over 6 of 6 frames.* ([\d.]+) times', follow.report(
    tmp_path / 'a.mp4', tmp_path / 'a.mp4'))
  assert found and float(found[1]) == float(found[2]) == 1


def test_a_film_without_a_face_is_one_line(tmp_path):
  face = builders.rendered_faces()[0, 0]
  blank = np.full_like(face, 128)
  save_video(tmp_path / 'a.mp4', [blank, face, blank, blank], 10)
  with pytest.raises(ValueError, match='a.mp4: no two frames that follow one another show a face'):
    follow.flicker(tmp_path / 'a.mp4')
