import dataclasses
import shutil

import numpy as np
import pytest
import tensorflow as tf

from evaluate import export
from evaluate.intervals import Estimate
from evaluate.results import make_row, write_results
from models import SYSTEMS, commands, pretrained, runs
from models.config import ConfigError
from models.gcgan import GCGANConfig
from train import resume

CONFIG = GCGANConfig.tiny(ema_decay=0.9, data_dir='/home/me/renders')
SHIPPED = pretrained.names()


def write_run(workdir, config=CONFIG, step=2):
  """A run whose averages are not its weights, with results."""
  system = runs.build(config)
  for average in system._averages:
    average.assign_add(0.01 * tf.ones_like(average))
  system.phase = 'train'
  system.step.assign(step)
  workdir.mkdir(parents=True, exist_ok=True)
  runs.save_flags(config, workdir)
  runs.save_labels(['neutral', 'happy'], workdir)
  runs.save_checkpoint(tf.train.Checkpoint(system=system), workdir, 'train', step, keep=1)
  rows = [make_row('table1', 'ssim', 'model', 'all', Estimate(0.861, 0.852, 0.869), 500, 30)]
  write_results(workdir / 'eval' / 'results.json', 'gcgan', 2, 'synthetic', rows)
  return workdir


@pytest.fixture(scope='module')
def run(tmp_path_factory):
  return write_run(tmp_path_factory.mktemp('runs') / 'run')


@pytest.fixture(scope='module')
def folder(run):
  output = run.parent / 'models' / 'small'
  argv = ['export', '--format=pretrained', f'--workdir={run}', f'--output={output}']
  assert commands.run(export.main, argv) == 0
  return output


def all_weights(system):
  return [weight.numpy() for layer in system.layers for weight in layer.weights]


def test_it_is_the_run_but_for_rounding(run, folder, monkeypatch):
  monkeypatch.setattr(pretrained, 'FOLDER', folder.parent)
  expected, found = runs.restore(run), runs.restore('pretrained:small')
  for a, b in zip(all_weights(expected), all_weights(found), strict=True):
    np.testing.assert_allclose(b, a, rtol=2**-11, atol=2**-25)
  assert (found.phase, int(found.step)) == ('train', 2)
  assert runs.load_labels('pretrained:small') == ['neutral', 'happy']
  rng = np.random.default_rng(0)
  faces, landmarks = (rng.uniform(-1, 1, shape).astype(np.float32) for shape in ([2, 32, 32, 3], [2, 68, 2]))
  shown = found.transfer(faces, landmarks).numpy()
  np.testing.assert_allclose(shown, expected.transfer(faces, landmarks), atol=0.01)
  with found.averaged_weights():  # As the evaluation does.
    np.testing.assert_array_equal(found.transfer(faces, landmarks), shown)


def test_a_run_starts_from_it(run, folder, monkeypatch, tmp_path):
  monkeypatch.setattr(pretrained, 'FOLDER', folder.parent)
  config = dataclasses.replace(CONFIG, seed=1, pretrain_steps=0, init_from='pretrained:small')
  assert not resume.check_settings(tmp_path / 'new', config, ['train'])
  system = runs.build(config)
  runs.copy_weights(system, config.init_from)
  for a, b in zip(all_weights(runs.restore(run)), all_weights(system), strict=True):
    np.testing.assert_allclose(b, a, rtol=2**-11, atol=2**-25)
  assert int(system.step) == 0
  for workdir in (folder, 'pretrained:small'):
    with pytest.raises(ConfigError, match='is a trained model that is only read: --init_from='):
      resume.check_settings(workdir, CONFIG, ['train'])
  assert str(runs.output_folder('pretrained:small')) == 'runs/pretrained-small'  # Where evaluate.main writes.


def test_it_holds_what_it_promises_and_nothing_of_this_machine(folder):
  assert sorted(path.name for path in folder.iterdir()) == ['MODEL_CARD.md', 'flags.cfg', 'labels.txt', 'weights.npz']
  assert runs.load_config(folder) == dataclasses.replace(CONFIG, data_dir=GCGANConfig.data_dir)
  card = (folder / 'MODEL_CARD.md').read_text()
  for text in ('0.861 [0.852, 0.869] | 500 | 30', 'Rendered faces only', 'No photograph', 'seed 0', '2 training steps',
               '`--init_from=pretrained:small`', '## Limits', '| Labels | 0 neutral, 1 happy |', 'float16, 0.'):
    assert text in card
  assert '/home/me' not in card


@pytest.mark.parametrize('name', ['pretrained:big', 'pretrained:', 'pretrained:../small', 'pretrained:small/'])
def test_an_unknown_name_lists_those_that_exist(folder, name, monkeypatch):
  monkeypatch.setattr(pretrained, 'FOLDER', folder.parent)
  with pytest.raises(ConfigError) as caught:
    runs.restore(name)
  assert str(caught.value) == f'{name} does not come with the project: pretrained:small does'


def cut(path):
  path.write_bytes(path.read_bytes()[:-1000])


def flip(path):
  content = bytearray(path.read_bytes())
  content[len(content) // 2] ^= 255
  path.write_bytes(content)


def rewrite(change):
  def damage(path):
    with np.load(path) as file:
      arrays = dict(file)
    change(arrays)
    np.savez(path, **arrays)
  return damage


@pytest.mark.parametrize('damage, reason', [
  (cut, 'zip'),
  (flip, 'Bad'),
  (rewrite(lambda arrays: arrays.pop('critic/000')), 'its arrays are not the weights of these networks'),
  (rewrite(lambda arrays: arrays.update({'critic/000': arrays['critic/000'].astype('f4')})), 'float32 of shape'),
  (rewrite(lambda arrays: arrays.update({'critic/000': np.array([{}])})), 'object'),
  (rewrite(lambda arrays: arrays.update({'critic/000': arrays['critic/000'].T})), 'of shape'),
  (rewrite(lambda arrays: arrays['critic/000'].fill(np.nan)), 'not finite'),
])  # fmt: skip
def test_a_damaged_file_is_one_line(folder, tmp_path, damage, reason):
  copy = shutil.copytree(folder, tmp_path / 'small')
  damage(copy / 'weights.npz')
  pattern = rf'^{copy}/weights.npz is damaged or of another version \(.*{reason}'
  with pytest.raises(ValueError, match=pattern) as caught:
    pretrained.load_weights(runs.build(CONFIG), copy)
  assert '\n' not in str(caught.value)


def test_what_must_not_be_shipped_is_refused(run, tmp_path, monkeypatch):
  photos = dataclasses.replace(CONFIG, dataset='/data/photos')
  (tmp_path / 'photos').mkdir()
  runs.save_flags(photos, tmp_path / 'photos')
  cases = [
    (write_run(tmp_path / 'unfinished', step=1), 'is not finished'),
    (tmp_path / 'photos', 'was trained with --dataset=/data/photos: a pretrained model saw rendered people'),
  ]
  for name, changes, message in [
    ('started', {'init_from': str(tmp_path / 'photos')}, 'and that with --dataset=/data/photos'),
    ('helped', {'auxiliary_dataset': '/data/photos'}, '--auxiliary_dataset=/data/photos'),
    ('licensed', {'face_model': 'bfm.mat'}, '--face_model=bfm.mat'),
  ]:
    (tmp_path / name).mkdir()
    runs.save_flags(dataclasses.replace(CONFIG, **changes), tmp_path / name)
    cases.append((tmp_path / name, message))
  other = tmp_path / 'other'
  other.mkdir()
  (other / 'thesis.tex').touch()
  for workdir, message in cases:
    with pytest.raises(ValueError, match=message):
      export.export_pretrained(workdir, tmp_path / 'm' / 'small')
  with pytest.raises(ValueError, match='holds something else'):
    export.export_pretrained(run, other)
  monkeypatch.setattr(export, '_MOST_BYTES', 10_000)
  with pytest.raises(ValueError, match=r'takes 0\.\d MB, and a pretrained model at most 0: train one with a smaller'):
    export.export_pretrained(run, tmp_path / 'm' / 'small')
  assert not list((tmp_path / 'm').glob('*')) and [path.name for path in other.iterdir()] == ['thesis.tex']


@pytest.mark.parametrize('name', list(SYSTEMS))
def test_every_system_keeps_its_weights(name, tmp_path):
  config = SYSTEMS[name].Config.tiny()
  system, other = runs.build(config), runs.build(dataclasses.replace(config, seed=1))
  pretrained.save_weights(system, tmp_path)
  pretrained.load_weights(other, tmp_path)
  for a, b in zip(all_weights(system), all_weights(other), strict=True):
    np.testing.assert_array_equal(b, a.astype(np.float16))


@pytest.mark.parametrize('name', SHIPPED)
def test_the_models_of_the_project_are_whole_and_small(name):
  folder = pretrained.locate(f'pretrained:{name}')
  files = {path.name: path.stat().st_size for path in folder.iterdir()}
  assert {'flags.cfg', 'weights.npz', 'MODEL_CARD.md'} <= set(files) and sum(files.values()) <= 8_000_000
  assert 'Rendered faces only' in (folder / 'MODEL_CARD.md').read_text()
  assert export._foreign(runs.load_config(folder)) == ''
  runs.restore(folder)  # The networks of this version are still those of the file.
