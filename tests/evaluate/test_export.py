import dataclasses
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from evaluate import export
from evaluate.intervals import Estimate
from evaluate.model_card import model_card
from evaluate.results import make_row, write_results
from models import commands, runs
from models.gcgan import GCGANConfig


@pytest.fixture(scope='module')
def run(tmp_path_factory):
  """A tiny untrained run with results."""
  workdir = tmp_path_factory.mktemp('run')
  config = GCGANConfig.tiny(ema_decay=0.9)
  system = runs.build(config)
  system.phase = 'train'
  system.step.assign(2)
  runs.save_flags(config, workdir)
  runs.save_checkpoint(tf.train.Checkpoint(system=system), workdir, 'train', 2, keep=1)
  rows = [
    make_row('table1', 'ssim', 'model', 'all', Estimate(0.861, 0.852, 0.869), 500, 30),
    make_row('table1', 'auc', 'model', 'all', Estimate(None, None, None), 0, 0, embedding='dlib'),
  ]
  write_results(workdir / 'eval' / 'results.json', 'gcgan', 2, 'synthetic', rows)
  return workdir


@pytest.fixture(scope='module')
def exported(run, tmp_path_factory):
  output = tmp_path_factory.mktemp('export')
  assert commands.run(export.main, ['export', f'--workdir={run}', f'--output={output}']) == 0
  return output


def test_the_model_answers_alike_in_a_fresh_process(run, exported):
  rng = np.random.default_rng(0)
  images, landmarks = (
    rng.integers(0, 256, (5, 32, 32, 3)).astype(np.uint8),
    rng.uniform(-1, 1, (5, 68, 2)).astype(np.float32),
  )
  np.savez(exported / 'in.npz', images=images, landmarks=landmarks)
  # Nothing of ours is imported: this is how somebody else loads it.
  program = (
    'import numpy as np, tensorflow as tf\n'
    f'inputs = np.load("{exported}/in.npz")\n'
    f'f = tf.saved_model.load("{exported}/1").signatures["serving_default"]\n'
    f'np.save("{exported}/out.npy", f(**{{k: tf.constant(v) for k, v in inputs.items()}})["images"])\n'
  )
  subprocess.run([sys.executable, '-c', program], check=True, cwd=exported, capture_output=True)
  found = np.load(exported / 'out.npy')
  shown = runs.restore(run).transfer(images.astype(np.float32) / 127.5 - 1, landmarks).numpy()
  expected = np.rint((shown + 1) * 127.5)
  assert found.dtype == np.uint8 and np.ptp(found) > 0
  assert np.abs(found.astype(int) - expected).max() <= 1


@pytest.fixture(scope='module')
def bending(tmp_path_factory):
  """The export of a model that needs the landmarks of its input too."""
  workdir, output = (tmp_path_factory.mktemp(name) for name in ('bending', 'bent'))
  config = GCGANConfig.tiny(bend_input=True, composition='warp')
  runs.save_flags(config, workdir)
  runs.save_checkpoint(tf.train.Checkpoint(system=runs.build(config)), workdir, 'train', 0, keep=1)
  export.export(workdir, output)
  return output


@pytest.mark.parametrize('kind', ['exported', 'bending'])
def test_what_the_page_shows_runs_and_names_the_same_inputs(kind, tmp_path, monkeypatch, request):
  page = (Path(__file__).parents[2] / 'docs' / 'export.md').read_text()
  program = re.search(r'^```python\n(.*?)^```', page, re.S | re.M)[1]
  assert len([line for line in program.splitlines() if line]) <= 10
  (tmp_path / 'EXPORT').symlink_to(request.getfixturevalue(kind))
  images, landmarks = np.zeros([2, 32, 32, 3], np.uint8), np.random.default_rng(0).uniform(-1, 1, [2, 68, 2])
  np.savez(tmp_path / 'faces.npz', images=images, landmarks=landmarks, source_landmarks=landmarks)
  monkeypatch.chdir(tmp_path)
  names = {}
  exec(program, names)
  assert names['output'].shape == (2, 32, 32, 3) and names['output'].dtype == np.uint8
  # Serving's requests name the signature's inputs, which are typed by it, and have as many axes.
  inputs = names['show'].structured_input_signature[1]
  shown = json.loads(re.search(r'^```json\n(.*?)^```', page, re.S | re.M)[1])
  assert shown['signature_name'] == 'serving_default'
  assert inputs.keys() == shown['inputs'].keys() | ({'source_landmarks'} if kind == 'bending' else set())
  for name, value in shown['inputs'].items():
    assert np.ndim(value) == inputs[name].shape.rank
  assert 'for name, value in inputs.items():\n  request.inputs[name].CopyFrom(' in page
  outputs = names['show'].structured_outputs
  assert list(outputs) == ['images'] and "outputs['images']" in page


def test_only_what_the_signatures_use_is_saved(exported):
  names = [name for name, _ in tf.train.list_variables(str(exported / '1' / 'variables' / 'variables'))]
  assert names and not any('optimizer' in name or 'critic' in name for name in names)


def test_the_next_export_is_the_next_version(run, exported, capsys):
  export.export(run, exported)
  assert export.versions(exported) == [1, 2]
  assert 'differs from the Keras model by' in capsys.readouterr().out
  assert runs.load_config(exported / '2' / 'assets.extra') == runs.load_config(run)


def test_the_card_gives_data_use_and_figures_with_intervals(exported):
  card = (exported / 'MODEL_CARD.md').read_text()
  for text in (
    '0.861 [0.852, 0.869] | 500 | 30',
    'Rendered faces only',
    '## Intended use',
    '## Limits',
    'Apache-2.0',
    '`width = 0.0625`',
    '`encode`, `serving_default`',
  ):
    assert text in card
  assert 'nan' not in card.lower().split() and 'None |' not in card
  assert 'No photograph' in card and 'data_dir' not in card
  started = GCGANConfig.tiny(init_from='/home/me/photos_run')
  card = model_card(exported, started, 2, {})
  assert 'No photograph' not in card and 'from the weights of `photos_run`' in card
  card = model_card(exported, GCGANConfig.tiny(auxiliary_dataset='/home/me/friends'), 2, {})
  assert 'No photograph' not in card and 'rendered faces only' not in card and 'data set `friends`: its' in card


def test_a_wrong_answer_is_not_exported(run):
  model = runs.restore(run)
  ours = model.signatures()
  other = runs.build(dataclasses.replace(model.config, seed=1)).signatures()
  loaded = {name: f.get_concrete_function() for name, f in other.items()}
  with pytest.raises(ValueError, match='the exported signature .* differ from the Keras model by'):
    export.check_parity(ours, loaded)


def test_a_missing_signature_is_one_line(tmp_path, capsys):
  module = tf.Module()
  function = tf.function(lambda x: {'y': x}, [tf.TensorSpec([None], tf.float32, name='x')])
  module.f = function
  tf.saved_model.save(module, str(tmp_path / '3'), signatures={'other': function.get_concrete_function()})
  assert commands.run(lambda argv: export.load(tmp_path), ['x']) == 2
  assert capsys.readouterr().err == (
    f'error: {tmp_path}/3 has no signature serving_default (it has other): export the run again '
    'with `python -m evaluate.export`\n'
  )


@pytest.mark.parametrize(
  'argv, message',
  [
    (['--workdir=/none', '--output=/none/e'], 'error: /none holds no run (no flags.cfg)'),
    (['--workdir=/none'], 'error: flag --output'),
    (['--workdir=/none', '--output=x', '--wrong=1'], "error: Unknown command line flag 'wrong'"),
    (['--workdir=/none', '--output=x', 'word'], "error: 'word' is not a flag"),
  ],
)
def test_user_errors_are_one_line(argv, message, capsys):
  assert commands.run(export.main, ['export', *argv]) == 2
  error = capsys.readouterr().err
  assert error.startswith(message) and error.count('\n') == 1


def test_results_are_json_without_nan(run):
  text = (Path(run) / 'eval' / 'results.json').read_text()
  row = json.loads(text)['results'][1]
  assert row['value'] is None and row['count'] == 0 and 'NaN' not in text
