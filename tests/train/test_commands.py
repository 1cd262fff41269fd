"""Dry run, benchmark and sweep."""

import json
import os
import pathlib
import signal
import sys
import time

import pytest
import tensorflow as tf

from models import commands
from tests.conformance.toy import ToyConfig
from train import benchmark, main, rehearsal, sweep
from train.strategies import Plan

pytestmark = pytest.mark.usefixtures('toy_system')
ROOT = pathlib.Path(__file__).parents[2]
TOY = (sys.executable, str(ROOT / 'tests/conformance/toy.py'))


def test_a_dry_run_says_all_and_writes_nothing(tmp_path, capsys, monkeypatch):
  monkeypatch.chdir(tmp_path)
  (tmp_path / 'a.cfg').write_text('# Less rate: the reason.\n--system=toy\n--learning_rate=0.002\n--warm_steps=30\n')
  before = sorted(tmp_path.rglob('*'))
  main.main(['main', '--flagfile=a.cfg', '--dry_run', '--strategy=mirrored'])
  text = capsys.readouterr().out
  for part in ('Less rate: the reason.', 'learning_rate: 0.01 -> 0.002  (in a.cfg line 3)', 'runs/toy: a new run',
               'noise', 'image float32 (16, 8, 8, 3)', 'parameters', 'MB of weights', 'warm: 30 steps of',
               'train: 200,000 steps of', '2 replicas, here on CPU:0, CPU:1', 'images/s',
               'of training on this machine', 'nothing was written'):
    assert part in text, part
  assert sum(bool(sweep.SECONDS.match(line)) for line in text.splitlines()) == 1
  assert sorted(tmp_path.rglob('*')) == before


def test_benchmark_writes_what_it_measured(tmp_path, capsys):
  for target in ('train', 'input'):
    path = tmp_path / 'made' / f'{target}.json'
    benchmark.main(['benchmark', '--system=toy', f'--target={target}', f'--output={path}', '--batch_size=6'])
    result = json.loads(path.read_text())
    assert result['images_per_second'] == pytest.approx(6000 / result['milliseconds_per_step'])
    assert result['peak_memory_mb'] > 0 and result['measured']['steps'] == 20 and '--batch_size=6' in result['flags']
    assert target in capsys.readouterr().out
  assert commands.run(benchmark.main, ['benchmark', '--system=toy', '--phase=sleep']) == 2
  assert 'error: --phase=sleep is not one of warm, train' in capsys.readouterr().err


def test_a_sweep_goes_on_where_it_stopped_and_reports_failures(tmp_path, capfd, monkeypatch):
  monkeypatch.chdir(ROOT)
  monkeypatch.setenv('PYTHONPATH', str(ROOT))
  for name, rate in (('good', 0.01), ('bad', -1)):
    (tmp_path / f'{name}.cfg').write_text(f'--system=toy\n--learning_rate={rate}\n')
  files = [str(tmp_path / 'good.cfg'), str(tmp_path / 'bad.cfg')]
  extra = ['--train_steps=2', '--batch_size=4', '--log_every=1']
  assert sweep.sweep(files, 1, str(tmp_path / 'runs'), extra, TOY) == 1
  out, err = capfd.readouterr()
  assert '1 of 1' in out and '0 of 1' in out and 'error: --learning_rate=-1.0 is not allowed' in err
  assert (tmp_path / 'runs/good/seed-0/eval/results.json').exists()
  assert sweep.sweep([f'{files[0]}:2'], 1, str(tmp_path / 'runs'), extra, TOY) == 0
  assert 'seed-0: done before' in capfd.readouterr().out and (tmp_path / 'runs/good/seed-1/sweep.json').exists()


def test_a_dry_sweep_adds_up_and_writes_nothing(tmp_path, capsys):
  for name in ('short', 'long', 'bad'):
    (tmp_path / f'{name}.cfg').write_text('--system=toy\n')
  trainer = tmp_path / 'trainer.py'
  trainer.write_text('import sys\n'
                     'if sys.argv[1].endswith("bad.cfg"): sys.exit("error: no")\n'
                     'time = "1 h 0 min (3,600 s)" if sys.argv[1].endswith("long.cfg") else "26 min 3 s (1,563 s)"\n'
                     'print(f"phase     train\\ntime      {time} of training on this machine, without sheets")\n')
  files, workdir = [str(tmp_path / f'{name}.cfg') for name in ('short', 'long', 'bad')], tmp_path / 'runs'
  before = sorted(tmp_path.rglob('*'))
  trains = (sys.executable, str(trainer))
  assert sweep.sweep(files[:2], 3, str(workdir), ['--dry_run', '--batch_size=4'], trains) == 0
  out = capsys.readouterr().out
  assert out.count('--dry_run --batch_size=4 --seed=0') == 2 and '--seed=1' not in out
  assert 'time      26 min 3 s (1,563 s) of training' in out  # 3 x 1,563 + 3 x 3,600 s.
  assert out.endswith('\n6 runs (flagfiles x seeds = 2 x 3): 4 h 18 min of training on this machine; '
                      'evaluation comes on top\n')
  assert sweep.sweep(files[::2], 1, str(workdir), ['--dry_run=true'], trains) == 1
  assert capsys.readouterr().out.endswith(
      '\n2 runs (flagfiles x seeds = 2 x 1): 26 min 3 s of training on this machine, without what the 1 that failed '
      'would take; evaluation comes on top\n')
  assert sweep.sweep([*files[:2], f'{files[1]}:4'], 1, str(workdir), ['--dry_run'], trains) == 0
  text = '\n5 runs (flagfiles x seeds = 1 x 1 + 1 x 4): 4 h 26 min of'
  assert text in capsys.readouterr().out  # 1,563 + 4 x 3,600 s.
  assert sorted(tmp_path.rglob('*')) == before


def test_sigterm_ends_every_command_in_one_line(capsys):
  left = []

  def work(argv):
    try:
      os.kill(os.getpid(), signal.SIGTERM)
      time.sleep(5)
    finally:
      left.append('in order')

  before = signal.getsignal(signal.SIGTERM)
  assert commands.run(work, []) == 143
  assert left == ['in order'] and capsys.readouterr().err == 'stopped\n'
  assert signal.getsignal(signal.SIGTERM) == before


def test_the_last_word_on_dry_runs_counts():
  for words, dry in (('', False), ('--dry_run', True), ('-dry_run=1 --seed=3', True), ('--dry_run=false', False),
                     ('--dry_run --nodry_run', False), ('--nodry_run --dry_run', True)):
    assert sweep._is_dry(words.split()) == dry


@pytest.mark.parametrize('arguments, message', [
    (['--seeds=2'], 'give at least one flagfile'),
    (['a.cfg', '--workdir=w', '--seeds=none'], '--seeds=none: a number of at least 1 is needed'),
    (['a.cfg', '--workdir=w', '--seed=1'], 'a sweep gives every run its seed'),
    (['nowhere.cfg', '--workdir=w'], 'nowhere.cfg: there is no such flagfile'),
])
def test_sweep_refuses(arguments, message, capsys):
  assert commands.run(sweep.main, ['sweep', *arguments]) == 2
  assert message in capsys.readouterr().err


def test_a_steps_tensors_are_counted_inside_loops_and_functions():
  @tf.function
  def keep_all(x):  # Five sines, which their gradient needs: six tensors at once.
    with tf.GradientTape() as tape:
      tape.watch(x)
      y = x
      for _ in range(5):
        y = tf.sin(y)
    return tape.gradient(y, x)

  def steps(function, times):
    def loop():
      for _ in tf.range(times):
        function(tf.random.stateless_uniform([256, 1024], [0, 1]))

    graph = tf.function(loop).get_concrete_function().graph
    return sum(rehearsal.live_bytes(graph).values()) / 2**20

  free = tf.function(lambda x: tf.sin(tf.sin(tf.sin(tf.sin(x)))))
  assert 2 <= steps(free, 3) < 4.1
  assert 6 <= steps(keep_all, 3) < 10
  assert steps(keep_all, 3) == steps(keep_all, 30)


def test_a_steps_memory_does_not_depend_on_how_often_it_is_called():
  changes = {'batch_size': 256, 'log_every': 2, 'sample_every': 2, 'checkpoint_every': 2}
  once, twice = (
      rehearsal.Rehearsal(ToyConfig.tiny(steps_per_execution=steps, **changes), Plan(ToyConfig.tiny())).tensor_mb()
      for steps in (1, 2))
  assert once > 0.5  # Pictures, noise, four channels of features, and their gradients.
  assert twice == pytest.approx(once, rel=0.1)
