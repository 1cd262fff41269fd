"""What a run writes, and that stopping it at any point changes nothing."""

import dataclasses
import json
import os
import pathlib
import signal

import numpy as np
import pytest
import tensorflow as tf

from models import SYSTEMS, runs
from models.config import ConfigError
from tests.conformance.toy import ToyConfig, ToyPipeline
from train import resume, train_and_evaluate
from train.callbacks import NonFiniteError, Recorder, draw_landmarks
from train.strategies import Plan

pytestmark = pytest.mark.usefixtures('toy_system')
CONFIG = ToyConfig.tiny(warm_steps=4, train_steps=8, log_every=2, checkpoint_every=2, sample_every=4,
                        keep_checkpoints=2, evaluate=False)


@pytest.fixture(scope='module')
def undisturbed(tmp_path_factory):
  """A finished run; tests that change it copy it."""
  workdir = tmp_path_factory.mktemp('undisturbed')
  with pytest.MonkeyPatch.context() as patch:
    import input_pipeline
    from tests.conformance.toy import Toy
    patch.setitem(SYSTEMS, 'toy', Toy)
    patch.setitem(input_pipeline.PIPELINES, 'toy', ToyPipeline)
    train_and_evaluate(CONFIG, workdir)
  return workdir


def copy(source, target):
  import shutil
  shutil.copytree(source, target)
  return target


def rows(workdir):
  lines = (workdir / 'stats.jsonl').read_text().splitlines()
  return [{k: v for k, v in json.loads(line).items() if not k.startswith('perf/')} for line in lines]


def points(workdir, phase):
  """(step, tag) of every TensorBoard point, as its own reader gives them."""
  found = []
  for path in sorted((workdir / 'events' / phase).glob('events.*')):
    for record in tf.data.TFRecordDataset(str(path)):
      event = tf.compat.v1.Event.FromString(record.numpy())
      found += [(event.step, value.tag) for value in event.summary.value]
  return sorted(found)


def test_a_run_directory(undisturbed):
  files = [p for p in undisturbed.rglob('*') if p.is_file() and 'events' not in str(p)]
  names = {p.relative_to(undisturbed).as_posix() for p in files}
  checkpoints = {f'checkpoints/{phase}/ckpt-{step}.{part}' for phase, steps in (('warm', (2, 4)), ('train', (6, 8)))
                 for step in steps for part in ('index', 'data-00000-of-00001')}
  samples = {f'samples/{phase}-{step:07d}.png' for phase, step in
             (('warm', 0), ('warm', 4), ('train', 0), ('train', 4), ('train', 8))}
  assert names == checkpoints | samples | {'.lock', 'flags.cfg', 'environment.json', 'stats.jsonl'}
  assert [(r['phase'], r['step']) for r in rows(undisturbed)] == (
      [('warm', 2), ('warm', 4), ('train', 2), ('train', 4), ('train', 6), ('train', 8)])
  last = json.loads((undisturbed / 'stats.jsonl').read_text().splitlines()[-1])
  assert last['perf/images_per_second'] > 0 and last['perf/peak_memory_mb'] > 0
  tags = {tag for _, tag in points(undisturbed, 'train')}
  assert tags >= {'loss', 'balance', 'samples', 'flags', 'perf/images_per_second'}
  environment = json.loads((undisturbed / 'environment.json').read_text())
  assert environment['packages']['tensorflow'] == tf.__version__ and environment['devices']


def test_landmarks_are_drawn_where_they_are():
  points = np.array([[[-0.89, 0.9], [0.61, -0.39], [1.1, 0.0], [0.0, -1.1]]])  # The last two are outside.
  drawn = draw_landmarks(np.zeros([1, 50, 40, 3], np.uint8), points)
  assert drawn.shape == (1, 150, 120, 3)
  assert np.argwhere(drawn[0].any(-1)).tolist() == [[45, 96], [142, 6]] and drawn[0, 45, 96].tolist() == [0, 255, 0]


def test_logged_losses_are_those_of_the_step(undisturbed):
  system = runs.build(CONFIG)
  system.start_phase('warm')
  losses = [float(system.train_step(batch)['loss']) for batch in ToyPipeline(CONFIG).batches(0, 4, 'warm')]
  np.testing.assert_allclose([r['loss'] for r in rows(undisturbed)[:2]], losses[1::2], rtol=1e-5)


@pytest.mark.parametrize('phase, step', [('warm', 2), ('warm', 4), ('train', 6)])
def test_going_on_from_any_checkpoint_repeats_the_run_exactly(undisturbed, tmp_path, phase, step):
  workdir = copy(undisturbed, tmp_path / 'run')
  for later in [(p, s) for p in ('warm', 'train') for s in (2, 4, 6, 8) if (p, s) > (phase, step) or p < phase]:
    if (later[0] == phase and later[1] > step) or (phase == 'warm' and later[0] == 'train'):
      runs.remove_checkpoint(workdir, *later)
  with open(workdir / 'stats.jsonl', 'a') as stats:
    stats.write('{"phase": "train", "st')  # What kill -9 leaves.
  events = max((workdir / 'events' / phase).glob('events.*'))
  with open(events, 'ab') as file:
    file.write(b'\x20\0\0\0')
  train_and_evaluate(CONFIG, workdir)
  assert rows(workdir) == rows(undisturbed)
  for name in ('warm', 'train'):
    assert points(workdir, name) == points(undisturbed, name)
  expected, received = (
      tf.train.load_checkpoint(str(runs.checkpoint_path(w, 'train', 8))) for w in (undisturbed, workdir))
  for name in expected.get_variable_to_shape_map():
    if 'clock' not in name and 'CHECKPOINTABLE' not in name:
      np.testing.assert_array_equal(expected.get_tensor(name), received.get_tensor(name), err_msg=name)


def test_a_damaged_checkpoint_is_passed_over(undisturbed, tmp_path, capsys):
  workdir = copy(undisturbed, tmp_path / 'run')
  data = workdir / 'checkpoints/train/ckpt-8.data-00000-of-00001'
  data.write_bytes(data.read_bytes()[:-100])
  train_and_evaluate(CONFIG, workdir)
  text = capsys.readouterr().out
  assert 'ckpt-8 is damaged' in text and 'continuing train at step 6' in text
  assert rows(workdir) == rows(undisturbed)
  with open(workdir / 'checkpoints/train/ckpt-8.data-00000-of-00001', 'r+b') as file:
    file.seek(200)
    file.write(b'flip')
  assert runs.damage(workdir / 'checkpoints/train/ckpt-8')
  (workdir / 'checkpoints/train/ckpt-6.index').write_bytes(b'')
  assert runs.last_checkpoint(workdir, ['warm', 'train']) == ('warm', 4)


def test_a_finished_run_says_so_and_is_evaluated(undisturbed, tmp_path, capsys, monkeypatch):
  import evaluate
  from evaluate import export
  from evaluate.intervals import Estimate
  from evaluate.results import make_row
  row = make_row('toy', 'ssim', 'model', 'all', Estimate(0.5, 0.4, 0.6), 3, 2)
  workdir = copy(undisturbed, tmp_path / 'run')

  def evaluation(model, config, output_dir):
    with pytest.raises(OSError, match='is in use by'):  # Nobody else gets in before all of it is written.
      runs.check_free(workdir)
    return [row]

  monkeypatch.setitem(evaluate.EVALUATIONS, 'toy', evaluation)
  # Only whether it evaluates differs; nothing else may.
  text = (workdir / 'flags.cfg').read_text().replace('--evaluate=false', '--evaluate=true')
  (workdir / 'flags.cfg').write_text(text)
  for _ in range(2):
    train_and_evaluate(dataclasses.replace(CONFIG, evaluate=True), workdir, saved_model=True)
    assert f'{workdir} is finished' in capsys.readouterr().out
  assert export.versions(workdir / 'export') == [1]
  results = json.loads((workdir / 'eval' / 'results.json').read_text())
  assert (results['system'], results['step'], results['results']) == ('toy', 8, [row])
  further = dataclasses.replace(CONFIG, evaluate=True, train_steps=10)
  train_and_evaluate(further, workdir)  # As a run that is killed before its SavedModel is written.
  train_and_evaluate(further, workdir, saved_model=True)
  assert export.versions(workdir / 'export') == [1, 2]
  assert export.exported_step(workdir / 'export' / '2') == 10


def test_labels_that_mean_something_else_are_refused(tmp_path, monkeypatch):
  from evaluate.main import evaluate_run
  monkeypatch.setattr(ToyPipeline, 'labels', ['sad', 'glad'], raising=False)
  config = ToyConfig.tiny(warm_steps=0, evaluate=False)
  train_and_evaluate(config, tmp_path / 'run')
  monkeypatch.setattr(ToyPipeline, 'labels', ['glad', 'sad'])
  started = dataclasses.replace(config, init_from=str(tmp_path / 'run'))
  for use in (lambda: train_and_evaluate(config, tmp_path / 'run'),
              lambda: train_and_evaluate(started, tmp_path / 'new'),
              lambda: evaluate_run(tmp_path / 'run', dataset='others')):
    with pytest.raises(ConfigError, match=r'driven by the labels sad, glad; those of --dataset=\w+ are glad, sad'):
      use()
  assert not (tmp_path / 'new').exists() and not (tmp_path / 'run' / 'eval').exists()


def test_only_a_longer_duration_is_taken(undisturbed, tmp_path):
  workdir = copy(undisturbed, tmp_path / 'run')
  before = {p: p.read_bytes() for p in workdir.rglob('*') if p.is_file()}
  for changes, names in [({'learning_rate': 0.5, 'log_every': 4},
                          ['--learning_rate was 0.01 and is now 0.5', '--log_every']),
                         ({'train_steps': 6}, ['--train_steps was 8 and is now 6']),
                         ({'warm_steps': 6}, ['--warm_steps was 4 and is now 6'])]:  # That phase is over.
    with pytest.raises(ConfigError) as caught:
      train_and_evaluate(dataclasses.replace(CONFIG, **changes), workdir)
    assert all(name in str(caught.value) for name in names) and '\n' not in str(caught.value)
  assert before == {p: p.read_bytes() for p in workdir.rglob('*') if p.is_file()}
  train_and_evaluate(dataclasses.replace(CONFIG, train_steps=10), workdir)
  assert rows(workdir)[:-1] == rows(undisturbed) and rows(workdir)[-1]['step'] == 10
  assert runs.load_config(workdir).train_steps == 10


def test_restore_gives_the_averaged_weights(undisturbed):
  system = runs.restore(undisturbed)
  assert (system.phase, int(system.step)) == ('train', 8)
  reader = tf.train.load_checkpoint(str(runs.checkpoint_path(undisturbed, 'train', 8)))
  trained = reader.get_tensor('system/generator/layer_with_weights-0/kernel/.ATTRIBUTES/VARIABLE_VALUE')
  assert np.abs(system.generator.layers[0].kernel.numpy() - trained).max() > 1e-4
  assert int(runs.restore(undisturbed, 'warm').step) == 4
  with pytest.raises(ValueError, match='phase=sleep is not one of warm, train'):
    runs.restore(undisturbed, 'sleep')


def test_init_from_takes_weights_and_nothing_else(undisturbed, tmp_path):
  config = dataclasses.replace(CONFIG, warm_steps=0, train_steps=0, init_from=str(undisturbed))
  system = train_and_evaluate(config, tmp_path / 'new')
  np.testing.assert_array_equal(system.generator.get_weights()[0], runs.restore(undisturbed).generator.get_weights()[0])
  assert int(system.step) == 0 and float(system.balance) == 0
  assert int(runs.restore(tmp_path / 'new').step) == 0  # A run of no steps can be used.
  runs.remove_checkpoint(tmp_path / 'new', 'train', 0)  # Killed before its first checkpoint: it takes them again.
  system = train_and_evaluate(config, tmp_path / 'new')
  np.testing.assert_array_equal(system.generator.get_weights()[0], runs.restore(undisturbed).generator.get_weights()[0])
  with pytest.raises(ConfigError, match='no holds no run: train that first'):
    train_and_evaluate(dataclasses.replace(config, init_from=str(tmp_path / 'no')), tmp_path / 'other')
  assert not (tmp_path / 'other').exists()


def test_a_signal_saves_and_the_same_command_continues(undisturbed, tmp_path, capsys, monkeypatch):
  steps = Recorder.on_train_batch_end

  def interrupt(self, batch, logs):
    if self._phase == 'train' and batch == 2:
      os.kill(os.getpid(), signal.SIGTERM)
    steps(self, batch, logs)

  with monkeypatch.context() as patch:
    patch.setattr(Recorder, 'on_train_batch_end', interrupt)
    with pytest.raises(SystemExit) as caught:
      train_and_evaluate(CONFIG, tmp_path / 'run')
  assert caught.value.code == 143
  assert 'stopped at step 3 of train, saved; the same command continues' in capsys.readouterr().out
  assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
  train_and_evaluate(CONFIG, tmp_path / 'run')
  assert 'continuing train at step 3' in capsys.readouterr().out
  assert rows(tmp_path / 'run') == rows(undisturbed)


def test_a_bad_loss_stops_the_run_and_is_named(tmp_path, monkeypatch):
  class Bad(ToyPipeline):
    def batches(self, start, stop, phase, worker=0, workers=1):
      steps = tf.data.Dataset.range(start, stop)
      good = super().batches(start, stop, phase, worker, workers)
      return tf.data.Dataset.zip((steps, good)).map(
          lambda step, batch: {**batch, 'image': batch['image'] / tf.where(step == 4, 0.0, 1.0)})

  import input_pipeline
  monkeypatch.setitem(input_pipeline.PIPELINES, 'toy', Bad)
  config = dataclasses.replace(CONFIG, warm_steps=0, log_every=4)
  with pytest.raises(NonFiniteError) as caught:
    train_and_evaluate(config, tmp_path / 'run')
  text = str(caught.value)
  assert 'loss became nan in step 5 of train' in text and "batches(4, 5, 'train')" in text and 'seed=0' in text
  assert 'step 4) is kept' in text and '\n' not in text
  assert runs.checkpoint_steps(tmp_path / 'run', 'train') == [2, 4]
  assert [r['step'] for r in rows(tmp_path / 'run')] == [4]


def test_an_error_in_the_input_keeps_its_line(tmp_path, monkeypatch):
  def fail(step):
    raise ValueError(f'data: shard {step} is damaged')

  class Bad(ToyPipeline):
    def batches(self, start, stop, phase, worker=0, workers=1):
      good = super().batches(start, stop, phase, worker, workers)
      steps = tf.data.Dataset.range(start, stop).map(lambda step: tf.numpy_function(fail, [step], tf.int64))
      return tf.data.Dataset.zip((steps, good)).map(lambda step, batch: batch)

  import input_pipeline
  monkeypatch.setitem(input_pipeline.PIPELINES, 'toy', Bad)
  with pytest.raises(ValueError, match='^data: shard 0 is damaged$'):
    train_and_evaluate(CONFIG, tmp_path / 'run')
  assert not (tmp_path / 'run').exists()  # It had its settings and a first sheet, and made no step.


def test_steps_per_execution_changes_nothing_but_speed(undisturbed, tmp_path):
  train_and_evaluate(dataclasses.replace(CONFIG, steps_per_execution=2), tmp_path / 'run')
  for row, expected in zip(rows(tmp_path / 'run'), rows(undisturbed), strict=True):
    assert row.keys() == expected.keys()
    np.testing.assert_allclose(row['loss'], expected['loss'], rtol=1e-5)


def test_two_processes_cannot_share_a_workdir(undisturbed, tmp_path):
  workdir = copy(undisturbed, tmp_path / 'run')
  with runs.lock(workdir), pytest.raises(OSError, match='is in use by process .*: wait for it, or choose another'):
    train_and_evaluate(CONFIG, workdir)


def test_a_workdir_that_cannot_be_written(tmp_path):
  (tmp_path / 'file').write_text('')
  with pytest.raises(OSError, match='--workdir=.*file.*cannot be written'):
    train_and_evaluate(CONFIG, tmp_path / 'file' / 'run')
  with pytest.raises(OSError, match='cannot be written'):
    train_and_evaluate(CONFIG, '/proc/run')


def test_a_disk_that_fills_up_is_told(tmp_path, monkeypatch):
  import resource
  limits = resource.getrlimit(resource.RLIMIT_FSIZE)
  write = Recorder._row

  def fill(recorder, figures):
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, limits[1]))
    write(recorder, figures)

  monkeypatch.setattr(Recorder, '_row', fill)
  try:
    with pytest.raises(OSError, match='stats.jsonl cannot be written .File too large.: make room'):
      train_and_evaluate(CONFIG, tmp_path / 'run')
  finally:
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_several_workers_need_one_workdir(tmp_path, monkeypatch):
  begin = Plan.__init__

  def begin_as_another(plan, config):
    begin(plan, config)
    plan.chief = False

  monkeypatch.setattr(Plan, '__init__', begin_as_another)
  with pytest.raises(ConfigError, match='is another folder here than on the chief'):
    train_and_evaluate(CONFIG, tmp_path / 'run')


def test_a_full_disk_keeps_the_checkpoint_before(undisturbed, tmp_path):
  import resource
  workdir = copy(undisturbed, tmp_path / 'run')
  checkpoint = tf.train.Checkpoint(system=runs.build(CONFIG))
  limits = resource.getrlimit(resource.RLIMIT_FSIZE)
  resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))  # As a full disk, for this process.
  try:
    with pytest.raises(OSError, match='ckpt-9 cannot be written .*: make room'):
      runs.save_checkpoint(checkpoint, workdir, 'train', 9, 2)
  finally:
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)
  assert runs.checkpoint_steps(workdir, 'train') == [6, 8]
  assert runs.last_checkpoint(workdir, ['train']) == ('train', 8)


def test_a_checkpoint_of_another_shape_is_refused(undisturbed, tmp_path):
  workdir = copy(undisturbed, tmp_path / 'run')
  other = dataclasses.replace(CONFIG, ema_decay=0.0)
  runs.save_flags(other, workdir)
  copy(undisturbed, tmp_path / 'other')
  system = runs.build(CONFIG)
  system.generator = tf.keras.Sequential([tf.keras.layers.Conv2D(5, 3, input_shape=[8, 8, 3])])
  with pytest.raises(ValueError, match='does not fit this system'):
    runs.read_checkpoint(tf.train.Checkpoint(system=system), runs.checkpoint_path(undisturbed, 'train', 8))


def test_rewinding_keeps_earlier_phases_whole(undisturbed, tmp_path):
  workdir = copy(undisturbed, tmp_path / 'run')
  resume.rewind(pathlib.Path(workdir), ['warm', 'train'], 'train', 0)
  assert [r['phase'] for r in rows(workdir)] == ['warm', 'warm']
  assert runs.checkpoint_steps(workdir, 'train') == [] and runs.checkpoint_steps(workdir, 'warm') == [2, 4]
  assert not [p for p in (workdir / 'samples').glob('train-*') if p.stem != 'train-0000000']
  assert {step for step, _ in points(workdir, 'train')} <= {0}


def test_a_run_with_a_row_stays(tmp_path):
  with pytest.raises(RuntimeError), runs.lock(tmp_path / 'run'):
    (tmp_path / 'run' / 'stats.jsonl').write_text('{}')
    runs.save_flags(CONFIG, tmp_path / 'run')
    raise RuntimeError
  assert (tmp_path / 'run' / 'flags.cfg').exists()
  (tmp_path / 'there').mkdir()
  with pytest.raises(RuntimeError), runs.lock(tmp_path / 'there'):
    raise RuntimeError
  assert not list((tmp_path / 'there').iterdir())


def test_a_run_killed_before_its_first_checkpoint_begins_again(tmp_path, monkeypatch):
  config = dataclasses.replace(CONFIG, warm_steps=4, train_steps=0)
  with monkeypatch.context() as patch:
    patch.setattr(runs, 'save_checkpoint', lambda *args: 1 / 0)
    with pytest.raises(ZeroDivisionError):
      train_and_evaluate(config, tmp_path / 'run')
  assert [r['step'] for r in rows(tmp_path / 'run')] == [2]
  train_and_evaluate(config, tmp_path / 'run')
  assert [r['step'] for r in rows(tmp_path / 'run')] == [2, 4]
  found = points(tmp_path / 'run', 'warm')
  assert len(found) == len(set(found))  # Nothing is shown twice.


def test_a_longer_run_after_an_odd_end_keeps_its_rows(tmp_path):
  config = dataclasses.replace(CONFIG, warm_steps=0, train_steps=3, steps_per_execution=2)
  train_and_evaluate(config, tmp_path / 'run')
  train_and_evaluate(dataclasses.replace(config, train_steps=8), tmp_path / 'run')
  assert [r['step'] for r in rows(tmp_path / 'run')] == [2, 4, 6, 8]
