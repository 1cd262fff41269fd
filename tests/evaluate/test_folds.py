"""Cross-validation: each person's pictures by the run that did not see that person."""

import json

import numpy as np
import pytest
import tensorflow as tf

from evaluate import folds, gcgan, unseen
from models import commands, runs
from models.gcgan import GCGANConfig
from tests.input_pipeline import builders


def make_run(workdir, seed=0, **settings):
  workdir.mkdir()
  config = GCGANConfig.tiny(**settings)
  system = runs.build(GCGANConfig.tiny(**settings | {'seed': seed}))
  system.phase = 'train'
  runs.save_flags(config, workdir)
  runs.save_checkpoint(tf.train.Checkpoint(system=system), workdir, 'train', 0, keep=1)
  return str(workdir)


@pytest.fixture(scope='module')
def three(tmp_path_factory):
  """Two runs that hold out other people, with weights that differ, and one that holds out the first one's."""
  folder = tmp_path_factory.mktemp('folds')
  late = builders.write_faces(folder / 'late', train=4, test=2, size=32)
  early = builders.write_faces(folder / 'early', train=2, test=2, size=32)
  return [
    make_run(folder / name, seed, dataset=str(data))
    for name, seed, data in (('a', 0, late), ('b', 1, early), ('c', 2, late))
  ]


def test_each_run_shows_the_people_it_held_out(three):
  together = folds.Folds(three[:2])
  held = together.held_out()
  assert len(held['fold']) == 48 and held['fold'][:4].tolist() == [0, 1, 0, 1]
  assert set(held['identity'][held['fold'] == 0]) == {2, 3} and set(held['identity'][held['fold'] == 1]) == {0, 1}
  shown = together.sample(held)['output']
  for number, workdir in enumerate(three[:2]):
    own = {key: value[held['fold'] == number] for key, value in held.items()}
    np.testing.assert_allclose(shown[held['fold'] == number], runs.restore(workdir).sample(own)['output'], atol=1e-5)


def test_the_command_measures_everybody_once(three, tmp_path, monkeypatch, capsys):
  read = gcgan.embeddings.read_faces
  monkeypatch.setattr(gcgan.embeddings, 'read_faces', lambda *a: read(*a[:2], np.zeros(len(a[0]), bool)))
  monkeypatch.setattr(gcgan, '_identity_rows', lambda *a: [])
  monkeypatch.setattr(gcgan, '_distribution_rows', lambda *a: [])
  assert commands.run(folds.main, ['folds', *three[:2], f'--output={tmp_path}']) == 0
  results = json.loads((tmp_path / 'results.json').read_text())
  whole = next(r for r in results['results'] if r['metric'] == 'ssim' and r['slice'] == 'all')
  assert (whole['count'], whole['identities'], results['data']) == (48, 4, '2 folds')
  parts = {r['slice']: r['count'] for r in results['results'] if r['slice'].startswith('fold_')}
  assert parts == {'fold_1': 24, 'fold_2': 24}
  assert (tmp_path / 'sheet.png').is_file() and 'table1 (48 pictures of 4 people)' in capsys.readouterr().out


def test_runs_that_are_no_folds_are_refused(three, tmp_path, capsys):
  assert commands.run(folds.main, ['folds', three[0], three[2], f'--output={tmp_path}']) == 2
  assert 'both hold out person_4: folds share nobody' in capsys.readouterr().err
  other = make_run(tmp_path / 'other', dataset=runs.load_config(three[1]).dataset, adversarial_weight=0.5)
  assert commands.run(folds.main, ['folds', three[0], other]) == 2
  assert 'differ in more than their data' in capsys.readouterr().err
  started = make_run(tmp_path / 'started', dataset=runs.load_config(three[1]).dataset, init_from=three[0])
  assert commands.run(folds.main, ['folds', three[0], started]) == 2
  assert 'holds out person_2, but started from a run that was trained on that person' in capsys.readouterr().err


def test_people_whom_a_run_knows_are_named(three):
  late = runs.load_config(three[0])
  shown = unseen.people_of(late, runs.load_config(three[1]).dataset, 'test')
  assert unseen.known(three[0], late, shown) == ['person_2', 'person_3']
  assert unseen.write_note(['person_2', 'person_3'], 2).startswith('2 of the 2 people shown are no strangers')
  assert not unseen.known(three[0], late, unseen.people_of(late, late.dataset, 'test')) and not unseen.write_note([], 2)
  # The model that comes along saw 540 people of the world with seed 1, among them the 30 whom a smaller one holds out.
  world = GCGANConfig(init_from='pretrained:gcgan', world_seed=1)
  assert len(unseen.known('run', world, unseen.people_of(world, 'synthetic', 'test'))) == 30
  other = GCGANConfig(init_from='pretrained:gcgan')
  assert not unseen.known('run', other, unseen.people_of(other, 'synthetic', 'test'))
