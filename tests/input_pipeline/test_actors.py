"""Rendered actors: four people show the same motion, masks are exact, held-out poses are not in training."""

import numpy as np
import pytest
from scipy import ndimage

from input_pipeline import actors, dataset, faceoff, talking_heads
from models.config import ConfigError
from models.faceoff_config import FaceOffConfig


@pytest.fixture(scope='module')
def pipeline(tmp_path_factory):
  """A and B, four frames and four held-out ones each."""
  config = FaceOffConfig.tiny(data_dir=str(tmp_path_factory.mktemp('cache')))
  for actor in 'AB':
    actors.render_dataset(config, actor, processes=1)
  return faceoff.TwoDomains(config)


def world(actor='A', **changes):
  config = FaceOffConfig.tiny(**{'images_per_identity': 2000, 'test_frames': 200, 'frame_rate': 25.0} | changes)
  return actors.World(actors.settings(config, actor), '')


def test_the_cast_differs_from_a_as_the_pairs_say():
  cast = {actor: actors.draw_actor(world(), actor) for actor in actors.ROLES}
  assert [cast[actor].female for actor in 'ABCD'] == [0, 1, 0, 0]
  length = [cast[actor].hair[4] for actor in 'ABCD']
  assert length[2] > 1 and not length[0] and not length[1] and not length[3]
  assert actors.ROLES['D'].zoom < 0.8 * actors.ROLES['A'].zoom
  assert len({cast[actor].tone for actor in 'ABCD'}) == 4
  assert actors.draw_actor(world(world_seed=1), 'A').tone != cast['A'].tone


def test_heads_move_smoothly_and_farther_where_they_are_held_out():
  drawn = {clip: actors.draw_motion(world(), 'A', clip, 2000) for clip in ('train', 'near', 'far')}
  angles = {clip: np.degrees(motion['angles'])[:, :2] for clip, motion in drawn.items()}
  low, high = np.percentile(angles['train'], (5, 95), axis=0)
  beyond = {clip: ((value < low) | (value > high)).any(axis=1).mean() for clip, value in angles.items()}
  assert 0.05 < beyond['near'] < 0.35 and 0.45 < beyond['far'] < 0.8
  assert 18 < np.abs(angles['train'][:, 1]).max() < 21 and 27 < np.abs(angles['far'][:, 1]).max() < 32
  for motion in drawn.values():
    assert np.degrees(np.abs(np.diff(motion['angles'], axis=0))).max() < 6  # a frame
    assert np.abs(np.diff(motion['shift'], axis=0)).max() < 0.03
    assert 0 <= motion['expression'].min() and motion['expression'].max() <= 1.2001
  np.testing.assert_allclose(drawn['train']['shift'].std(axis=0), [0.16, 0.06], rtol=0.3)
  slow, fast = (actors.draw_motion(world(frame_rate=rate), 'A', 'train', 400)['angles'] for rate in (50.0, 5.0))
  assert 8 < np.abs(np.diff(fast, axis=0)).mean() / np.abs(np.diff(slow, axis=0)).mean() < 14
  assert not np.allclose(actors.draw_motion(world(), 'B', 'train', 2000)['angles'], drawn['train']['angles'])


def test_the_camera_and_the_light_stand_still():
  frames = actors.perform(world(), 'A', actors.draw_motion(world(), 'A', 'train', 50))
  for name in ('background', 'harmonics', 'directions', 'colors', 'identity', 'hair'):
    assert (frames[name] == frames[name][:1]).all(), name
  assert np.ptp(frames['translation'], axis=0).min() > 0.02  # The head moves, to and fro too.


def test_the_truth_is_b_with_the_motion_of_a(pipeline):
  config = pipeline.config
  found = pipeline.held_out()
  a, b = (actors.World(actors.settings(config, actor), '') for actor in 'AB')
  assert b.splits == {'train': [4], 'test': [4], 'film': [8], 'truth': [4]} and 'truth' not in a.splits
  # Turned as A is: the nose lies to the same side of the eyes, in B's face.
  turn = {key: found[f'{key}_landmarks'] for key in ('a', 'b', 'truth')}
  turn = {key: marks[:, 30, 0] - marks[:, [36, 45], 0].mean(axis=1) for key, marks in turn.items()}
  assert np.abs(turn['truth'] - turn['a']).max() < 0.12
  # Before B's wall.
  wall = {key: found[key][:, :5, :2] for key in ('a', 'b', 'truth')}
  assert np.abs(wall['truth'] - wall['b']).max() < 0.02 and np.abs(wall['a'] - wall['b']).mean() > 0.1
  again = actors.render(b.model, actors.perform(b, 'B', actors.draw_motion(b, 'A', 'near', 2)), 36)
  np.testing.assert_allclose(again['image'][:, 2:34, 2:34] / 127.5 - 1, found['truth'][:2], atol=0.02)
  assert found['a_clip'].tolist() == [0, 0, 1, 1] and found['a_frame'].tolist() == [0, 1, 0, 1]


def test_the_film_has_all_frames_whatever_is_left_out_elsewhere(pipeline):
  film = pipeline.film()
  sparse, dense = (actors.draw_motion(world(frame_rate=rate), 'A', 'film', 50)['angles'] for rate in (2.5, 25.0))
  np.testing.assert_array_equal(sparse, dense)
  assert np.degrees(np.abs(np.diff(sparse, axis=0))).max() < 6
  assert film['a'].shape == film['truth'].shape == (8, 32, 32, 3)
  a, b = (actors.World(actors.settings(pipeline.config, actor), '') for actor in 'AB')
  for actor, own, key in (('A', a, 'a'), ('B', b, 'truth')):
    shown = actors.render(own.model, actors.perform(own, actor, actors.draw_motion(own, 'A', 'film', 8)), 36)
    np.testing.assert_allclose(shown['image'][:, 2:34, 2:34] / 127.5 - 1, film[key], atol=0.02)


def test_masks_are_exact(pipeline):
  person = faceoff.TwoDomains(FaceOffConfig.tiny(data_dir=pipeline.config.data_dir, masks='person'))
  batch, whole = pipeline.held_out(), person.held_out()
  for key in ('a', 'b', 'truth'):
    face, body = batch[f'{key}_mask'], whole[f'{key}_mask']
    assert set(np.unique(body)) == {0, 1} and (body >= face).all() and 1.3 * face.sum() < body.sum()
    pixels = ((batch[f'{key}_landmarks'] + 1) * 16).astype(int).clip(0, 31)
    inside = np.take_along_axis(face[..., 0].reshape(4, -1), pixels[..., 1] * 32 + pixels[..., 0], axis=1)
    assert inside[:, 27:36].all() and inside[:, 60:].mean() > 0.9  # Nose; the mouth belongs to the face.
    # What is nobody is the wall, which does not move; at the edge of a person a pixel may show some of both.
    wall = ndimage.binary_erosion((body == 0).all(axis=0)[..., 0], iterations=2, border_value=1)
    assert wall.mean() > 0.05 and batch[key][:, wall].std(axis=0).max() < 0.01


def test_they_are_rendered_once_and_by_their_settings(pipeline, capsys):
  config = pipeline.config
  path = actors.dataset_path(config, 'B')
  assert actors.is_rendered(config) and actors.render_dataset(config, 'B') == path
  assert 'rendering' not in capsys.readouterr().err
  assert dataset.open_dataset(path).expressions == list(talking_heads.LABELS)
  text = ' '.join(pipeline.describe())
  assert 'actors A and B: 4 + 4 frames each, 5 a second' in text and f'B is in {path}' in text
  assert 'a: 4 training frames, 4 held out' in text and 'show the face' in text
  other = faceoff.TwoDomains(FaceOffConfig.tiny(pair='A2D', data_dir=config.data_dir))
  assert 'A is in' in other.describe()[1] and 'D will be rendered' in other.describe()[2]
  for changes in ({'frame_rate': 6.0}, {'largest_yaw': 10.0}, {'load_size': 40}, {'test_frames': 5}):
    assert actors.dataset_path(FaceOffConfig.tiny(data_dir=config.data_dir, **changes), 'B') != path


def test_a_model_without_paint_is_refused(tmp_path, monkeypatch):
  plain = type('Plain', (), {'extras': {}})()
  monkeypatch.setattr('input_pipeline.worlds.load_face_model', lambda path: plain)
  with pytest.raises(ConfigError, match='has no painted skin'):
    actors.render_dataset(FaceOffConfig.tiny(data_dir=str(tmp_path)), 'A')
