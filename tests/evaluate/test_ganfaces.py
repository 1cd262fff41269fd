"""GANFaces' evaluation: its figures by hand on small arrays, then all of it from tiny runs."""

import itertools
import json
import pathlib
import types

import numpy as np
import pytest
import tensorflow as tf

from evaluate import arms, ganfaces_figures, ganfaces_realism, ganfaces_sets, ganfaces_training, main, paper
from evaluate.embeddings import DESCRIPTOR
from evaluate.ganfaces_realism import Codes
from evaluate.ganfaces_sets import Pictures, Scene
from evaluate.provenance import read_provenance
from evaluate.results import find_row
from input_pipeline import PIPELINES, renders, stand_ins
from models import commands, runs
from models.ganfaces_config import GANFacesConfig
from models.nn4_config import NN4Config
from train import flags

ROOT = pathlib.Path(__file__).parents[2]
NOTHING = np.zeros([0, 68, 2], np.float32)


def scene(people, photographed):
  """A scene of so many people, one picture each, without pictures."""
  both = (Pictures(np.zeros([n, 4, 4, 3], np.uint8), NOTHING, np.arange(n)) for n in (people, photographed))
  found, photos = both
  return Scene(found, photos, photos, {})


def test_kernel_distances_by_hand():
  """(x y + 1)^3 of constants: renders at 1, translations at .5, photographs at 0."""
  subjects = {'model': np.full([2, 3, 1], 0.5), 'renders': np.ones([1, 3, 1])}
  codes = Codes('judge', 1.0, subjects, np.zeros([4, 1]), np.zeros([4, 1]))
  rows = ganfaces_realism.distance_rows(codes, scene(3, 4), 'face', ['model'])

  def value(metric, subject='model'):
    row = find_row(rows, metric, subject, 'face', 'realism', 'judge')
    return row['value'], row['low'], row['high'], row['seeds']

  of_model, of_renders = 1.25**3 + 1 - 2, 8 + 1 - 2
  assert value('kernel_distance') == pytest.approx((of_model, of_model, of_model, 2))
  assert value('kernel_distance', 'renders') == pytest.approx((7, 7, 7, 1))
  assert value('kernel_distance', 'photos') == pytest.approx((0, 0, 0, 1))
  assert value('kernel_distance', 'model_minus_renders') == pytest.approx(3 * (of_model - of_renders,) + (2,))
  assert value('share_of_renders_distance') == pytest.approx(3 * (of_model / of_renders,) + (2,))
  assert find_row(rows, 'frechet_distance', slice='face') is None  # Too few pictures.


def test_frechet_distance_of_seeds_by_hand():
  line = np.arange(1000.0)[:, None]
  people = np.arange(1000)
  found = ganfaces_realism.frechet([line, line + 2], people, line, people)
  assert found.value == pytest.approx(2)  # The mean of 0 and 2^2: the variances agree.
  assert found.low <= 2 <= found.high


def test_spread_by_hand():
  people = np.arange(3)
  sets = {'model': np.array([[[0.0], [3.0], [4.0]]]), 'renders': np.array([[[0.0], [6.0], [8.0]]])}
  rows = ganfaces_realism.spread_rows('spread', sets, people, ['model'])
  assert find_row(rows, 'spread')['value'] == pytest.approx(8 / 3)
  share = find_row(rows, 'spread_over_renders')
  assert [share[key] for key in ('value', 'low', 'high')] == pytest.approx([0.5] * 3)
  # A picture that a replicate has twice is at no distance from itself, and that pair does not count.
  distances = ganfaces_realism.pair_distances(sets['model'][0])
  assert ganfaces_realism.mean_pair_distance(distances)(np.array([[2.0, 1.0, 0.0]]))[0] == pytest.approx(3)


def test_landmarks_are_compared_with_the_render(monkeypatch):
  exact = np.random.default_rng(0).uniform(-0.5, 0.5, [2, 68, 2]).astype(np.float32)
  faces = Pictures(np.zeros([2, 8, 8, 3], np.uint8), exact, np.arange(2))
  pixels = ganfaces_realism.denormalize(exact, 8)
  eyes = np.linalg.norm(pixels[:, 36] - pixels[:, 45], axis=1)

  def read_faces(images, known, describe=True):
    shift = 0.5 if images.max() == 0 else -1.0  # dlib is half a pixel off on renders.
    return ganfaces_realism.embeddings.Faces(np.array([True, images.max() == 0]), known + [shift, 0], None)

  monkeypatch.setattr(ganfaces_realism.embeddings, 'read_faces', read_faces)
  outputs = {'model': np.ones([1, 2, 8, 8, 3], np.uint8)}
  rows = ganfaces_realism.landmark_rows(outputs, Scene(faces, faces, faces, {}))
  assert find_row(rows, 'landmark_error')['value'] == pytest.approx((1 / eyes).mean())
  assert find_row(rows, 'landmark_error', 'renders')['value'] == pytest.approx((0.5 / eyes).mean())
  assert find_row(rows, 'landmark_shift')['value'] == pytest.approx((1.5 / eyes).mean())
  assert find_row(rows, 'face_found')['value'] == 0.5


def test_cheap_baselines():
  image = np.zeros([1, 2, 3, 3], np.uint8)
  face = np.array([[[True, True, False], [False, False, False]]])
  image[0, 0, 0], image[0, 0, 1] = 10, 20
  photo = np.full([1, 2, 3, 3], 50, np.uint8)
  photo[0, 1, 0] = 90
  photo[0, 0, 0] = 20
  photo[0, 1, 1], photo[0, 1, 2] = (200, 100, 0), (220, 120, 30)
  there = np.array([[[False, False, False], [False, True, True]]])
  matched = ganfaces_sets.match_colours(image, face, photo, there)
  assert matched[0, 0].tolist() == [[200, 100, 0], [220, 120, 30], [50, 50, 50]] and (matched[0, 1] == 50).all()
  flat = ganfaces_sets.blur_and_noise(np.full([2, 64, 64, 3], 100, np.uint8))
  assert abs(flat.mean() - 100) < 0.1 and flat.std() == pytest.approx(ganfaces_sets._NOISE, rel=0.05)
  edge = np.zeros([1, 64, 64, 3], np.uint8)
  edge[:, :, 32:] = 200
  assert 20 < ganfaces_sets.blur_and_noise(edge)[0, :, 31].mean() < 80
  hidden = ganfaces_sets.hide_background(np.stack([image, image]), face)
  assert hidden[1, 0, 0, 1].tolist() == [20] * 3 and (hidden[:, 0, 1] == 128).all()


def test_a_player_is_no_judge(capsys):
  config = GANFacesConfig.tiny
  assert {ganfaces_sets.played(config(embedding=name)) for name in ('dlib', 'a/b.dat')} == {DESCRIPTOR}
  assert ganfaces_sets.played(config(embedding='nn4:runs/mine/')) == 'nn4:mine'
  assert ganfaces_sets.played(config(embedding='nets/own.keras')) == 'own.keras'
  assert ganfaces_sets.played(config(embedding='dlib', identity_loss='none')) == ''
  assert ganfaces_sets.played(config(embedding='pretrained:nn4')) == 'pretrained:nn4'
  of = lambda name, given='': [judge.name for judge in ganfaces_sets.find_judges([config(embedding=name)], given)]  # noqa: E731
  assert of('dlib') == ['pretrained:nn4', f'{DESCRIPTOR} (trained against)']
  assert f'{DESCRIPTOR} was trained against: what it says' in capsys.readouterr().out
  assert of('pretrained:nn4') == [DESCRIPTOR, 'pretrained:nn4 (trained against)']
  capsys.readouterr()
  assert of('untrained') == ['pretrained:nn4', DESCRIPTOR] and not capsys.readouterr().out


def test_a_judge_has_learnt_from_the_same_crops(tmp_path):
  run = NN4Config.tiny(width=1 / 32)
  runs.save_flags(run, tmp_path)
  runs.save_checkpoint(tf.train.Checkpoint(system=runs.build(run)), tmp_path, 'train', 2, 1)
  with pytest.raises(ValueError, match='has learnt from faces cut out with alignment=paper, and GANFaces are cut out'):
    ganfaces_sets.find_judges([GANFacesConfig.tiny()], f'nn4:{tmp_path}')


def test_games_by_hand(tmp_path):
  lines = [{'phase': 'warm', 'step': 10, 'photo_balance': 0.9}]
  lines += [{'phase': 'train', 'step': 10 * k, 'photo_balance': 0.01 * k, 'photo_convergence': 2.0 - 0.05 * k}
            for k in range(1, 21)]
  (tmp_path / 'stats.jsonl').write_text(''.join(json.dumps(line) + '\n' for line in lines))
  history = ganfaces_training.read_history(tmp_path)
  assert history['photo_balance'][0].tolist() == list(range(10, 201, 10))
  rows = ganfaces_training.game_rows(history)
  found = {row['metric']: row['value'] for row in rows}
  # The first two of twenty are 1.95 and 1.9, the last two 1.05 and 1.
  assert found == pytest.approx({'photo_balance_lowest': 0.01, 'photo_balance_highest': 0.2, 'photo_balance_end': 0.2,
                                 'photo_convergence_fall': 1 - 1.025 / 1.925})
  assert ganfaces_training.game_rows(ganfaces_training.read_history(tmp_path / 'none')) == []


def test_the_nearest_training_photograph(monkeypatch):
  monkeypatch.setattr(ganfaces_figures, '_CHUNK', 2)
  photos = np.random.default_rng(0).integers(0, 256, [5, 4, 4, 3], dtype=np.uint8)
  read = lambda split, rows, size: tf.constant(photos[list(rows)])  # noqa: E731
  data = types.SimpleNamespace(count=lambda split: 5, pictures=read)
  pipeline = types.SimpleNamespace(photos=data, split=lambda domain: 'train',
                                   config=types.SimpleNamespace(image_size=4))
  near = photos[[4, 1]].copy()
  near[1, 0, 0] ^= 16  # Three numbers differ by 16 of 127.5.
  distance, shown = ganfaces_figures.nearest(near, pipeline)
  assert (shown == photos[[4, 1]]).all()
  assert distance == pytest.approx([0, (3 * (16 / 127.5)**2 / 48)**0.5], abs=1e-3)


def test_arms_are_told_by_their_settings(monkeypatch):
  monkeypatch.chdir(ROOT)
  for file in sorted(ROOT.glob('configs/ablations/quick/ganfaces_*.cfg')):
    config = flags.parse(['train.main', f'--flagfile={file}'], flags.TrainFlags).config
    assert arms.ganfaces_arm(config) == file.stem.removeprefix('ganfaces_')
    assert not set(arms._GANFACES_FREE) - {field for field in config.__dataclass_fields__}
  assert arms.ganfaces_arm(GANFacesConfig()) == 'model'


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
  """A run of the full model with two checkpoints, and one without C, on a tiny world; nothing was trained."""
  folder = tmp_path_factory.mktemp('runs')
  changes = {'data_dir': str(folder / 'cache'), 'image_size': 32, 'warm_steps': 0, 'stand_ins': 8, 'stand_in_pairs': 8,
             'images_per_identity': 4}
  made = {'full': GANFacesConfig.tiny(**changes), 'none': GANFacesConfig.tiny(**changes, identity_loss='none')}
  world = stand_ins.World(stand_ins.settings(made['full']), '')
  # One process, since starting others takes longer than these few pictures.
  stand_ins.stand_in_dataset(made['full'], processes=1)
  renders.render_dataset(made['full'], renders.make_world(made['full'], stand_ins.pair_parameters(world)), processes=1)
  for name, config in made.items():
    system = runs.build(config)
    system.phase = 'train'
    (folder / name).mkdir()
    runs.save_flags(config, folder / name)
    for step in (1, 2):
      system.step.assign(step)
      runs.save_checkpoint(tf.train.Checkpoint(system=system), folder / name, 'train', step, keep=2)
    rows = [{'phase': 'train', 'step': k, 'photo_balance': 0.1, 'photo_convergence': 1.0, 'identity_loss': 2.0}
            for k in (1, 2)]
    (folder / name / 'stats.jsonl').write_text(''.join(json.dumps(row) + '\n' for row in rows))
  return {name: folder / name for name in made}


def test_a_run_is_evaluated(trained, capsys):
  assert commands.run(main.main, ['main', f'--workdir={trained["full"]}', '--pairs=40']) == 0
  out = capsys.readouterr().out
  assert stand_ins.NOTE in out and 'Fréchet distances are left out' in out
  results = json.loads((trained['full'] / 'eval' / 'results.json').read_text())
  rows = results['results']
  assert results['note'] == stand_ins.NOTE
  for subject, judge in itertools.product(('model', 'renders', 'photos'), ('pretrained:nn4', DESCRIPTOR)):
    assert find_row(rows, 'auc', subject, protocol='figure7', embedding=judge)['count'] > 0
    for part in ('all', 'face'):
      assert find_row(rows, 'kernel_distance', subject, part, embedding=judge)['value'] is not None
  for baseline in ('blur_and_noise', 'matched_colours'):
    assert find_row(rows, 'kernel_distance', f'model_minus_{baseline}', 'face')['value'] is not None
  for metric in ('spread_over_renders', 'code_spread_over_renders', 'landmark_error', 'landmark_shift', 'pair_error',
                 'cycle_error', 'photo_error', 'nearest_photo_distance', 'photo_convergence_fall', 'photo_balance_end'):
    assert find_row(rows, metric)['value'] is not None, metric
  for name in ('sheet', 'figure3', 'figure4', 'figure6', 'memorisation'):
    assert read_provenance(trained['full'] / 'eval' / f'{name}.png')['model'] == 'Personae ganfaces'
  for name in ('figure7', 'training'):
    found = read_provenance(trained['full'] / 'eval' / f'{name}.png')
    assert found['digital_source_type'].endswith('dataDrivenMedia')


def test_arms_are_judged_together(trained, tmp_path, capsys):
  given = [str(trained['full']), str(trained['none'])]
  assert commands.run(paper.main, ['paper', *given, f'--output={tmp_path}', '--pairs=40']) == 0
  out = capsys.readouterr().out
  assert 'simgan: no run was given, left out' in out
  rows = json.loads((tmp_path / 'results.json').read_text())['results']
  for subject in ('model', 'without_identity', 'renders'):
    assert find_row(rows, 'auc', subject, protocol='figure7')['value'] is not None
  assert find_row(rows, 'kernel_distance', 'model_minus_without_identity')['value'] == 0  # The same weights.
  assert stand_ins.NOTE in (tmp_path / 'tables.txt').read_text()
  for name in ('figure3_model', 'figure5'):
    assert read_provenance(tmp_path / f'{name}.png')['model'] == 'Personae ganfaces'
  assert commands.run(paper.main, ['paper', *given, f'--output={tmp_path}', '--drivers=x']) == 2
  assert '--drivers=x: nothing drives GANFaces' in capsys.readouterr().err


def test_figure_6_turns_people_further_than_they_were_trained(trained):
  pipeline = PIPELINES['ganfaces'](runs.load_config(trained['full']))
  images, yaws = ganfaces_figures.figure6_renders(pipeline)
  widest = np.degrees(np.abs([pipeline.world.pose.low[1], pipeline.world.pose.high[1]]).max())
  assert images.shape == (5, 2, 7, 32, 32, 3) and yaws[[0, -1]] == pytest.approx([-1.25 * widest, 1.25 * widest])
  assert (images[0, 0] != images[0, 1]).any() and (images[0] != images[1]).any()
  opened = ganfaces_figures.open_mouth(pipeline)
  assert np.count_nonzero(opened) == 1
