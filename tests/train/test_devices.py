"""Strategies, compilation, and workers that wait for or lose each other."""

import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import pytest
import tensorflow as tf

from models import runs
from models.config import ConfigError
from models.gcgan import GCGANConfig
from models.system import use_xla
from tests.conformance.toy import ToyConfig
from tests.input_pipeline import builders
from train import train_and_evaluate
from train.rehearsal import Rehearsal
from train.strategies import Plan, read_tf_config, split_cpu

pytestmark = pytest.mark.usefixtures('toy_system')
ROOT = pathlib.Path(__file__).parents[2]
# What the critic drives: float32 Adam amplifies rounding there.
ADVERSARIAL = ('generator_loss', 'critic_loss', 'gradient_penalty', 'adversarial_loss')


def test_a_batch_that_does_not_divide_is_refused():
  with pytest.raises(ConfigError, match='batch_size=3 is not a multiple of the 2 replicas of strategy=mirrored'):
    Plan(ToyConfig.tiny(batch_size=3, strategy='mirrored'))


def test_replicas_get_equal_parts_in_order():
  plan = Plan(ToyConfig.tiny(strategy='mirrored'))
  rows = {'index': tf.range(4), 'image': tf.zeros([4, 2, 2, 3])}
  batch = next(iter(plan.distribute(lambda worker, workers: tf.data.Dataset.from_tensors(rows))))
  parts = plan.strategy.experimental_local_results(batch['index'])
  assert [p.numpy().tolist() for p in parts] == [[0, 1], [2, 3]]
  assert plan.describe() == '2 replicas, here on CPU:0, CPU:1'


def test_devices_cannot_be_split_later():
  split_cpu(2)  # The tests have two already.
  with pytest.raises(ConfigError, match='cpu_devices=3 comes too late'):
    split_cpu(3)


def test_xla_compiles_the_step():
  assert [use_xla(ToyConfig.tiny(xla=x)) for x in ('auto', 'on', 'off')] == [False, True, False]
  plain, compiled = (Rehearsal(ToyConfig.tiny(xla=x), Plan(ToyConfig.tiny())) for x in ('off', 'on'))
  assert compiled.system.jit_compile and not plain.system.jit_compile
  for rehearsal in (plain, compiled):
    next(rehearsal.milliseconds())
  # Stateless draws differ under XLA, so the two agree as two seeds would.
  moments = [r.system.generator.layers[1].moving_variance.numpy() for r in (plain, compiled)]
  np.testing.assert_allclose(*moments, rtol=0.05)


def test_deterministic_kernels():
  """In a process of its own, since TensorFlow cannot go back."""
  code = ('from tests.conformance import toy; toy.register(); from train.loop import prepare_devices; '
          'prepare_devices(toy.ToyConfig.tiny(deterministic=True)); '
          'from tensorflow.python.framework import config; print(config.is_op_determinism_enabled())')
  run = subprocess.run([sys.executable, '-c', code], cwd=ROOT, capture_output=True, text=True, check=True)
  assert run.stdout == 'True\n'


def test_tf_config(monkeypatch):
  monkeypatch.setenv('TF_CONFIG', json.dumps({'cluster': {'chief': ['a:1'], 'worker': ['b:2', 'c:3']},
                                              'task': {'type': 'worker', 'index': 1}}))
  assert read_tf_config() == (['a:1', 'b:2', 'c:3'], 2)
  for text in ('', '{}', 'nonsense', '{"cluster": {"worker": ["a:1"]}, "task": {"type": "worker", "index": 3}}'):
    monkeypatch.setenv('TF_CONFIG', text)
    with pytest.raises(ConfigError, match='strategy=multi_worker needs the workers in the environment'):
      read_tf_config()


def free_ports(count):
  sockets = [socket.socket() for _ in range(count)]
  for s in sockets:
    s.bind(('localhost', 0))
  ports = [s.getsockname()[1] for s in sockets]
  for s in sockets:
    s.close()
  return ports


TOY = ['tests/conformance/toy.py', '--system=toy', '--batch_size=4', '--noevaluate', '--log_every=5',
       '--checkpoint_every=5']


def start_workers(ports, which, *flags, command=TOY):
  processes = []
  for index in which:
    workers = [f'localhost:{port}' for port in ports]
    cluster = {'cluster': {'worker': workers}, 'task': {'type': 'worker', 'index': index}}
    processes.append(subprocess.Popen(
        [sys.executable, *command, '--strategy=multi_worker', *flags], cwd=ROOT, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        env={**os.environ, 'PYTHONPATH': '.', 'TF_CONFIG': json.dumps(cluster)}))
  return processes


def rows(workdir):
  lines = [json.loads(line) for line in (workdir / 'stats.jsonl').read_text().splitlines()]
  return [{k: v for k, v in line.items() if not k.startswith('perf/')} for line in lines]


def test_a_worker_alone_waits_and_gives_up(tmp_path):
  alone, = start_workers(free_ports(2), [0], '--worker_timeout=2', f'--workdir={tmp_path / "run"}')
  text, errors = alone.communicate()
  assert alone.returncode == 75
  assert 'waiting for worker 1 (localhost:' in text
  assert errors.startswith('error: worker 1 (localhost:') and 'did not come within 2 s (--worker_timeout)' in errors
  assert len(errors.splitlines()) == 1 and not (tmp_path / 'run').exists()


def test_two_workers_equal_one_device(tmp_path):
  """With GC-GAN's networks and the command itself, through both phases."""
  faces = builders.write_faces(tmp_path / 'faces', size=32)
  # Rounding grows where Adam takes a sign of it, where a leaky ReLU changes sides (one unit is much of so small a
  # critic), and where a batch norm finds four pictures alike. So rates are low, and weights are compared as well.
  config = GCGANConfig.tiny(
      dataset=str(faces), batch_size=8, pretrain_steps=5, warm_steps=0, train_steps=5, learning_rate=1e-6,
      learning_rate_floor=0.0, log_every=1, checkpoint_every=5, sample_every=5, evaluate=False)
  (tmp_path / 'run.cfg').write_text(runs.flags_text(config))
  command = ['-m', 'train.main', f'--flagfile={tmp_path / "run.cfg"}']
  workers = start_workers(free_ports(2), [0, 1], f'--workdir={tmp_path / "two"}', command=command)
  train_and_evaluate(config, tmp_path / 'one')
  for process in workers:
    _, errors = process.communicate(timeout=600)
    assert process.returncode == 0, errors
  compared = list(zip(rows(tmp_path / 'two'), rows(tmp_path / 'one'), strict=True))
  assert [one['phase'] for _, one in compared] == ['pretrain'] * 5 + ['train'] * 5
  for two, one in compared:
    assert two.keys() == one.keys()
    for name in one.keys() - {'phase', 'step'}:
      rtol = 2e-3 if name in ADVERSARIAL else 1e-4
      np.testing.assert_allclose(two[name], one[name], rtol, 1e-6, err_msg=f'{one["phase"]} {one["step"]} {name}')
  two, one, start = runs.restore(tmp_path / 'two'), runs.restore(tmp_path / 'one'), runs.build(config)
  for name in ('embedding', 'generator', 'critic'):
    weights = [np.concatenate([np.ravel(v) for v in getattr(s, name).trainable_variables]) for s in (two, one, start)]
    assert np.corrcoef(weights[0] - weights[2], weights[1] - weights[2])[0, 1] > 0.99, name


@pytest.mark.slow
@pytest.mark.parametrize('victim', [0, 1])
def test_a_lost_worker_is_named_and_all_started_again_resume(tmp_path, victim):
  flags = '--train_steps=100', f'--workdir={tmp_path / "run"}'
  ports = free_ports(2)
  workers = start_workers(ports, [0, 1], *flags)
  stats, deadline = tmp_path / 'run' / 'stats.jsonl', time.monotonic() + 240
  while not stats.exists() or len(stats.read_text().splitlines()) < 3:
    assert time.monotonic() < deadline
    time.sleep(0.02)
  workers[victim].send_signal(signal.SIGKILL)
  lost, survivor = time.monotonic(), workers[1 - victim]
  _, errors = survivor.communicate(timeout=120)
  assert time.monotonic() - lost < 60
  assert survivor.returncode == 75
  assert errors == (f'error: worker {victim} (localhost:{ports[victim]}) is lost; '
                    'start all workers again with the same command, '
                    'they continue from the last checkpoint\n')
  workers[victim].communicate()

  again = start_workers(free_ports(2), [0, 1], *flags)
  undisturbed = start_workers(free_ports(2), [0, 1], '--train_steps=100', f'--workdir={tmp_path / "undisturbed"}')
  for process in (*again, *undisturbed):
    _, errors = process.communicate()
    assert process.returncode == 0, errors
  assert rows(tmp_path / 'run') == rows(tmp_path / 'undisturbed')
