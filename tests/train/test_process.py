"""The command as a process: killed at any moment, stopped, told nonsense."""

import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import tensorflow as tf

from models import runs
from models.gcgan import GCGANConfig
from tests.input_pipeline import builders

ROOT = pathlib.Path(__file__).parents[2]
TOY = ['tests/conformance/toy.py', '--system=toy', '--batch_size=4', '--log_every=1', '--checkpoint_every=5',
       '--sample_every=20', '--noevaluate']


def start(*flags, command=TOY):
  return subprocess.Popen([sys.executable, *command, *flags], cwd=ROOT, env={**os.environ, 'PYTHONPATH': '.'},
                          text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def wait_for_step(workdir, step):
  stats, deadline = workdir / 'stats.jsonl', time.monotonic() + 120
  while not stats.exists() or len(stats.read_text().splitlines()) < step:
    assert time.monotonic() < deadline
    time.sleep(0.005)


def rows(workdir):
  lines = [json.loads(line) for line in (workdir / 'stats.jsonl').read_text().splitlines()]
  return [{k: v for k, v in line.items() if not k.startswith('perf/')} for line in lines]


def test_kill_then_the_same_command_gives_the_undisturbed_rows(tmp_path):
  faces = builders.write_faces(tmp_path / 'faces', train=4, test=2, size=32)
  config = GCGANConfig.tiny(dataset=str(faces), composition='warp', bend_input=True, pretrain_steps=4, warm_steps=4,
                            train_steps=60, ema_decay=0.9, steps_per_execution=2, log_every=2, checkpoint_every=6,
                            sample_every=60, evaluate=False, augment_flip=True, augment_warp=0.01)
  (tmp_path / 'run.cfg').write_text(runs.flags_text(config))

  def train(name):
    return start('-m', 'train.main', f'--flagfile={tmp_path / "run.cfg"}', f'--workdir={tmp_path / name}', command=[])

  undisturbed, killed = train('a'), train('b')
  wait_for_step(tmp_path / 'b', 2 + 2 + 10)
  killed.send_signal(signal.SIGKILL)
  killed.communicate()
  assert killed.returncode == -signal.SIGKILL
  _, errors = undisturbed.communicate()
  assert undisturbed.returncode == 0, errors
  again = train('b')
  text, errors = again.communicate()
  assert again.returncode == 0, errors
  assert 'continuing train at step' in text
  assert rows(tmp_path / 'b') == rows(tmp_path / 'a') and len(rows(tmp_path / 'a')) == 2 + 2 + 30
  events = tf.data.TFRecordDataset([str(path) for path in (tmp_path / 'a/events/train').iterdir()])
  tags = {value.tag for event in events for value in tf.compat.v1.Event.FromString(event.numpy()).summary.value}
  assert tags >= {'samples', 'landmarks', 'generator_loss'}


def test_a_sweep_that_is_stopped_lets_its_run_save(tmp_path):
  (tmp_path / 'a.cfg').write_text('--system=toy\n')
  program = ('import signal, sys; from train import sweep; '
             f'sweep.sweep([{str(tmp_path / "a.cfg")!r}], 1, {str(tmp_path)!r}, '
             f'{TOY[1:] + ["--train_steps=100000"]}, {[sys.executable, TOY[0]]})')
  run = subprocess.Popen([sys.executable, '-c', program], cwd=ROOT, env={**os.environ, 'PYTHONPATH': '.'}, text=True,
                         stdout=subprocess.PIPE, stderr=subprocess.PIPE)
  wait_for_step(tmp_path / 'a/seed-0', 3)
  run.send_signal(signal.SIGTERM)
  text, errors = run.communicate(timeout=60)
  assert run.returncode == 143 and 'saved; the same command continues' in text and 'Traceback' not in errors


def test_ctrl_c_and_sigterm_save_and_leave_without_a_traceback(tmp_path):
  started = {number: start('--train_steps=100000', f'--workdir={tmp_path / str(number)}') for number in (2, 15)}
  for number, run in started.items():
    wait_for_step(tmp_path / str(number), 3)
    run.send_signal(number)
  for number, run in started.items():
    text, errors = run.communicate(timeout=60)
    assert run.returncode == 128 + number
    assert 'saved; the same command continues' in text and 'Traceback' not in errors
    last = max(int(p.stem[5:]) for p in (tmp_path / str(number) / 'checkpoints/train').glob('*.index'))
    assert f'stopped at step {last} of train' in text


def test_an_error_is_one_line(tmp_path):
  run = start('--batch_size=0', f'--workdir={tmp_path / "run"}')
  _, errors = run.communicate()
  assert run.returncode == 2
  assert errors == ('error: --batch_size=0 is not allowed: an integer of at least 1 is needed '
                    '[--batch_size=0 (on the command line)]\n')
  assert not (tmp_path / 'run').exists()
