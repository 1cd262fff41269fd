"""Rendered talking heads: smooth walks, exact labels, and the truth rendered from what is stored."""

import numpy as np
import pytest

from input_pipeline import dataset, facecycle, talking_heads, worlds
from models.config import ConfigError
from models.facecycle_config import FaceCycleConfig

SETTINGS = {'identities': 4, 'images_per_identity': 4, 'frames_per_track': 2, 'image_size': 32, 'enlargement': 1.25}


@pytest.fixture(scope='module')
def pipeline(tmp_path_factory):
  """Two people who are trained on and two who are held out, two tracks of two frames each."""
  config = FaceCycleConfig.tiny(data_dir=str(tmp_path_factory.mktemp('cache')), **SETTINGS)
  talking_heads.render_dataset(config, processes=1)
  return facecycle.Tracks(config)


def world(**changes):
  long = {'identities': 300, 'images_per_identity': 300, 'frames_per_track': 300}
  config = FaceCycleConfig.tiny(**(SETTINGS | long | changes))
  return talking_heads.World(talking_heads.settings(config), '')


def test_walks_are_smooth_and_stay():
  values = talking_heads.walk(np.random.default_rng(0), 20_000, 3.0, 2)
  np.testing.assert_allclose(values.std(axis=0), 1, atol=0.06)
  # The correlation of a Gaussian's walk at lag t is exp(-t^2 / 4 sigma^2).
  near = np.mean(values[3:] * values[:-3], axis=0) / np.mean(values**2, axis=0)
  np.testing.assert_allclose(near, np.exp(-1 / 4), atol=0.05)


def test_motion_covers_what_probes_ask_for():
  drawn = [talking_heads.draw_motion(world(largest_yaw=30.0), person, 0) for person in range(8)]
  angles = np.degrees(np.concatenate([row['angles'] for row in drawn]))
  assert 29 < np.abs(angles[:, 1]).max() <= 30 and 14 < np.abs(angles[:, 0]).max() <= 15
  assert np.abs(np.diff(drawn[0]['angles'], axis=0)).max() < np.radians(20)  # of 60
  coefficients = np.concatenate([row['coefficients'] for row in drawn])
  assert 0 <= coefficients.min() and coefficients.max() <= 1
  shares = np.bincount(talking_heads.labels_of(coefficients), minlength=8) / len(coefficients)
  assert shares[:7].min() > 0.04 and shares[7] < 0.4
  known = np.array([[0.1] * 6, [0, 0, 0.6, 0, 0, 0], [0.4] * 6])
  assert [talking_heads.LABELS[i] for i in talking_heads.labels_of(known)] == ['neutral', 'surprised', 'mixed']


def test_frames_are_labelled_and_fill_the_picture(pipeline):
  data = pipeline.data
  assert (data.count('train'), data.count('test')) == (8, 8) and data.expressions[0] == 'neutral'
  found = pipeline.tracks('test')
  assert found.length.tolist() == [2] * 4 and found.person.tolist() == [2, 2, 3, 3]
  labels = pipeline.labels_of('test', range(8))
  np.testing.assert_array_equal(labels['label'], talking_heads.labels_of(labels['expression']))
  assert np.abs(labels['pose']).max() <= 20
  marks = labels['landmarks']
  assert 0.55 < np.abs(marks).max() < 1.15  # The chin may be cut by a wide open mouth, no more.
  images = pipeline.pictures('test', range(8))
  assert images[:, 12:20, 12:20].std() > 0.05
  # Another track of a person has another light and background, and the same look.
  parameters = pipeline.parameters('test', [0, 1, 2])
  np.testing.assert_array_equal(parameters['albedo'][0], parameters['albedo'][2])
  assert parameters['background'][0] == parameters['background'][1] != parameters['background'][2]
  assert (parameters['directions'][0] != parameters['directions'][1]).any()


def test_the_truth_is_rendered_from_what_is_stored(pipeline):
  rows = np.arange(4)
  images, marks = pipeline.pictures('test', rows), pipeline.labels_of('test', rows)['landmarks']
  # With its own motion a frame is itself again.
  same, same_marks = pipeline.transfer_truth('test', rows, rows)
  assert np.abs(same - images).max() < 0.03 and np.abs(same_marks - marks).max() < 1e-3
  neutral, still = pipeline.neutral_truth('test', rows)
  # Both frames of a track become one picture but for the light that moved.
  np.testing.assert_allclose(still[0], still[1], atol=1e-4)
  assert np.abs(neutral[0] - neutral[1]).mean() < 0.5 * np.abs(images[0] - images[1]).mean() + 0.05
  nose = still[:, 30, 0] - still[:, [36, 45], 0].mean(axis=1)
  assert np.abs(nose).max() < 0.05 and np.abs(still[:, 62, 1] - still[:, 66, 1]).max() < 0.05
  moved, moved_marks = pipeline.transfer_truth('test', rows, rows[::-1])
  labels = pipeline.labels_of('test', rows)
  # The source's turn: the nose is where the eyes' middle and its yaw say, in the target's face.
  turn = (moved_marks[:, 30, 0] - moved_marks[:, [36, 45], 0].mean(axis=1)) - nose
  assert np.corrcoef(turn, labels['pose'][::-1, 0])[0, 1] > 0.9
  assert moved.shape == images.shape and moved.min() >= -1 and moved.max() <= 1
  found = pipeline.held_out()
  assert found['second_pose'].shape == (4, 3) and found['expression'].shape == (4, 6)


def test_it_is_rendered_once(pipeline, capsys):
  path = talking_heads.dataset_path(pipeline.config)
  assert talking_heads.is_rendered(pipeline.config) and talking_heads.render_dataset(pipeline.config) == path
  assert 'rendering' not in capsys.readouterr().err
  assert dataset.open_dataset(path).fingerprint['enlargement'] == 1.25
  text = ' '.join(pipeline.describe())
  assert '4 people (2 held out) x 2 tracks = 16 frames' in text and f'is in {path}' in text
  other = FaceCycleConfig.tiny(**{**SETTINGS, 'largest_yaw': 10.0}, data_dir=pipeline.config.data_dir)
  assert 'will be rendered into' in facecycle.Tracks(other).describe()[-1]


def test_a_model_without_paint_is_refused(tmp_path, monkeypatch):
  plain = type('Plain', (), {'extras': {}})()
  monkeypatch.setattr(worlds, 'load_face_model', lambda path: plain)
  with pytest.raises(ConfigError, match='has no painted skin'):
    talking_heads.render_dataset(FaceCycleConfig.tiny(data_dir=str(tmp_path), **SETTINGS))
