"""The battery that every registered system passes by existing: its real layers, `Config.tiny()`, made-up batches."""

import dataclasses
import functools

import numpy as np
import pytest
import tensorflow as tf

import input_pipeline
from input_pipeline import PIPELINES
from models import SYSTEMS, runs
from train import train_and_evaluate
from train.rehearsal import make_batch
from train.strategies import Plan

# A new system is one line: its name, and the losses that its adversaries drive (float32 Adam amplifies rounding there).
ADVERSARIAL = {
    'toy': (),
    'gcgan': ('generator_loss', 'critic_loss', 'gradient_penalty', 'adversarial_loss'),
    'ganfaces': ('generator_loss', 'inverse_loss', 'cycle_loss', 'pixel_loss', 'identity_loss', 'centroid_norm',
                 *(f'{game}_{part}' for game in ('photo', 'render', 'pair')
                   for part in ('fake_error', 'balance', 'convergence'))),
    'facecycle': (),
    'faceoff': ('generator_loss', 'a2b_adversarial_loss', 'b2a_adversarial_loss', 'discriminator_a_loss',
                'discriminator_b_loss'),
    'nn4': (),
    'recognition': (),
}
# The paper's networks, for the slow tests. Batch norms of four pictures that are nearly alike amplify rounding, and so
# does the sign that Adam's first steps take: eight, and low rates.
_CALM = {'batch_size': 8, 'learning_rate': 1e-6}
FULL = {'toy': {},
        'gcgan': {'width': 1.0, 'image_size': 64, 'critic_steps': 5, 'warm_learning_rate': 1e-6,
                  'learning_rate_floor': 0.0, **_CALM},
        'nn4': {'width': 1.0, **_CALM},
        'recognition': {'width': 1.0, 'head_learning_rate': 1e-6, **_CALM},
        'facecycle': {'width': 1.0, 'image_size': 64},
        'faceoff': {'width': 1.0},
        'ganfaces': {'width': 1.0, 'image_size': 32, 'discriminator_code': 64}}
pytestmark = [pytest.mark.usefixtures('toy_system'), pytest.mark.parametrize('name', ADVERSARIAL)]


def tiny(name, **changes):
  return SYSTEMS[name].Config.tiny(**{'evaluate': False, **changes})


def phases(name):
  return SYSTEMS[name].phases(tiny(name))


def fresh(config, phase=''):
  system = runs.build(config)
  system.start_phase(phase or list(system.phases(config))[-1])
  return system


def batch_of(config, step=0):
  return make_batch(PIPELINES[config.system](config).spec(), seed=step)


def numbers(losses):
  return {k: float(v) for k, v in losses.items()}


class MadeUp:
  """Stands in for a system's pipeline: batch t is a function of t, and no data is needed."""

  def __init__(self, config):
    self._config = config
    self._spec = PIPELINES_OF[config.system](config).spec()

  def spec(self):
    return self._spec

  def describe(self):
    return ['made-up batches']

  def held_out(self, count):
    return {k: v.numpy() for k, v in make_batch(self._spec).items()}

  def batches(self, start, stop, phase, worker=0, workers=1):
    part = self._config.batch_size // workers
    steps = [make_batch(self._spec, seed) for seed in range(start, stop)]
    return tf.data.Dataset.from_tensor_slices(
        {k: tf.stack([step[k][worker * part:(worker + 1) * part] for step in steps]) for k in self._spec})


PIPELINES_OF = dict(PIPELINES)


@pytest.fixture(autouse=True)
def made_up(monkeypatch, name, toy_system):
  PIPELINES_OF.update(PIPELINES)
  monkeypatch.setitem(input_pipeline.PIPELINES, name, MadeUp)


def test_every_registered_system_is_in_the_battery(name):
  assert set(SYSTEMS) == set(ADVERSARIAL)


class Stepper:
  """A phase of a tiny system, traced once by Keras for all tests; every use begins at its first weights."""

  def __init__(self, config, phase):
    self.config, self.phase = config, phase
    self.system = fresh(config, phase)
    self.system.compile()
    self._step = self.system.make_train_function()
    self.variables = {id(v): v for o in vars(self.system).values() if isinstance(o, tf.keras.optimizers.Optimizer)
                      for v in o.variables} | {id(v): v for v in self.system.weights}
    self._start = {key: v.numpy() for key, v in self.variables.items()}

  def restart(self):
    for key, variable in self.variables.items():
      variable.assign(self._start[key])
    return self

  def step(self, t):
    return numbers(self._step(iter(tf.data.Dataset.from_tensors(batch_of(self.config, t)))))


@functools.cache
def stepper(name, phase):
  return Stepper(tiny(name), phase)


def test_a_step_gives_finite_scalars_and_counts(name):
  for phase in phases(name):
    steps = stepper(name, phase).restart()
    logs = [steps.step(t) for t in range(3)]
    assert int(steps.system.step) == 3
    assert all(np.isfinite(v) for row in logs for v in row.values()) and logs[0] != logs[1]


def test_graph_equals_eager(name):
  for phase in phases(name):
    steps, eager = stepper(name, phase).restart(), fresh(tiny(name), phase)
    for t in range(2):
      received = steps.step(t)
      for key, value in numbers(eager.train_step(batch_of(steps.config, t))).items():
        np.testing.assert_allclose(received[key], value, rtol=1e-4, atol=1e-6, err_msg=f'{phase} {key}')


def test_the_same_seed_gives_the_same_weights_and_steps(name):
  for phase in phases(name):
    steps = stepper(name, phase)
    first, second = ([steps.restart().step(0)] + [steps.step(t) for t in range(3)] for _ in range(2))
    assert first == second
  again, other = (fresh(tiny(name, seed=seed)) for seed in (0, 7))
  first = stepper(name, again.phase).restart().system.get_weights()
  same, again, other = first, again.get_weights(), other.get_weights()
  assert all((a == b).all() for a, b in zip(same, again, strict=True))
  assert any((a != b).any() for a, b in zip(same, other, strict=True))


def test_checkpoint_round_trip(name, tmp_path):
  for phase in phases(name):
    steps = stepper(name, phase).restart()
    steps.step(0)
    runs.save_checkpoint(tf.train.Checkpoint(system=steps.system), tmp_path, phase, 1, 3)
    path = runs.checkpoint_path(tmp_path, phase, 1)
    assert runs.damage(path) == ''
    saved, everything = steps.system.get_weights(), {key: v.numpy() for key, v in steps.variables.items()}
    expected = [steps.step(t) for t in (1, 2)]
    runs.read_checkpoint(tf.train.Checkpoint(system=steps.system), path)
    assert all((v.numpy() == everything[key]).all() for key, v in steps.variables.items())
    assert [steps.step(t) for t in (1, 2)] == expected  # Nothing that training changes was left out.
    other = fresh(tiny(name, seed=1), phase)
    runs.read_checkpoint(tf.train.Checkpoint(system=other), path)
    assert all((a == b).all() for a, b in zip(saved, other.get_weights(), strict=True))


def test_one_trace(name):
  """Last of those that step: whatever they did, Keras traced once."""
  for phase in phases(name):
    steps = stepper(name, phase)
    steps.step(0)
    assert steps.system.train_tf_function.experimental_get_tracing_count() == 1


def _weights(system):
  return np.concatenate([np.ravel(variable) for variable in system.trainable_variables])


def _one_device(steps, count):
  """Losses of the first steps, and where the weights moved."""
  start = _weights(steps.system)
  return [steps.step(t) for t in range(count)], _weights(steps.system) - start


def _mirrored(config, phase, steps, build=runs.build):
  """The same under two replicas; losses as `fit` hands them to callbacks."""
  plan = Plan(config)
  assert plan.strategy.num_replicas_in_sync == 2
  with plan.strategy.scope():
    system = build(config)
  system.start_phase(phase)
  system.compile()
  data = plan.distribute(lambda worker, workers: MadeUp(config).batches(0, steps, phase, worker, workers))
  logs, start = [], _weights(system)
  system.fit(data, steps_per_epoch=steps, verbose=0, callbacks=[
      tf.keras.callbacks.LambdaCallback(on_train_batch_end=lambda step, values: logs.append(numbers(values)))])
  return logs, _weights(system) - start


def _assert_equal(name, phase, on_one, on_two, adversarial):
  (one, moved), (two, moved_by_two) = on_one, on_two
  # At low rates losses show the first weights alone.
  assert np.corrcoef(moved, moved_by_two)[0, 1] > 0.95, f'{phase}: weights went elsewhere'
  for key in one[0]:
    np.testing.assert_allclose(two[0][key], one[0][key], rtol=1e-4, atol=1e-6, err_msg=f'{phase} {key}, first step')
    rtol = adversarial if key in ADVERSARIAL[name] else 1e-4
    np.testing.assert_allclose(two[-1][key], one[-1][key], rtol=rtol, atol=1e-5, err_msg=f'{phase} {key}, last step')


def _unsynchronized(config):
  """The system with batch normalisation that looks at one replica only."""
  norm = tf.keras.layers.BatchNormalization
  plain = lambda *args, synchronized=False, **kwargs: norm(*args, **kwargs)  # noqa: E731
  tf.keras.layers.BatchNormalization = plain
  try:
    return runs.build(config)
  finally:
    tf.keras.layers.BatchNormalization = norm


def test_two_replicas_equal_one(name):
  if name not in ('toy', 'gcgan'):
    pytest.skip('it takes a minute to trace: compared at full width, among the slow tests')
  phase = list(phases(name))[-1]  # All of them at full width, among the slow tests.
  one = _one_device(stepper(name, phase).restart(), 5)
  # At this width a critic has so few weights that Adam amplifies rounding ten times more than at the paper's.
  two = _mirrored(tiny(name, strategy='mirrored'), phase, 5)
  _assert_equal(name, phase, one, two, adversarial=2e-2)


@pytest.mark.slow
def test_plain_norms_would_be_seen(name):
  first = next(iter(phases(name)))
  layers = [layer for network in stepper(name, first).system.layers for layer in getattr(network, 'layers', [])]
  if not any(isinstance(layer, tf.keras.layers.BatchNormalization) for layer in layers):
    pytest.skip('it has no batch normalisation that could be left unsynchronised')
  one = stepper(name, first).restart().step(0)
  (apart,), _ = _mirrored(tiny(name, strategy='mirrored'), first, 1, build=_unsynchronized)
  assert any(abs(apart[key] - one[key]) > 1e-4 * abs(one[key]) for key in one), 'the test would not see plain norms'


@pytest.mark.slow
def test_two_replicas_equal_one_at_full_width(name):
  for phase in phases(name):
    one = _one_device(Stepper(tiny(name, **FULL[name]), phase), 5)
    two = _mirrored(tiny(name, strategy='mirrored', **FULL[name]), phase, 5)
    _assert_equal(name, phase, one, two, adversarial=2e-3)


def test_resuming_repeats_the_rows_bit_for_bit(name, tmp_path):
  durations = {f'{phase}_steps': 4 for phase in phases(name)}
  config = tiny(name, **durations, log_every=1, checkpoint_every=2, sample_every=4)
  train_and_evaluate(config, tmp_path)
  first = _rows(tmp_path)
  last = list(durations)[-1].removesuffix('_steps')
  runs.remove_checkpoint(tmp_path, last, 4)
  system = train_and_evaluate(config, tmp_path)
  assert _rows(tmp_path) == first
  assert len(first) == 4 * len(durations)
  shown = system.sample(MadeUp(config).held_out(2))
  assert all(np.isfinite(v).all() and v.shape[-1] in (1, 3) for v in shown.values())


def _rows(workdir):
  import json
  lines = [json.loads(line) for line in (workdir / 'stats.jsonl').read_text().splitlines()]
  return [{k: v for k, v in line.items() if not k.startswith('perf/')} for line in lines]


def test_a_saved_model_gives_what_the_system_gives(name, tmp_path):
  system = fresh(tiny(name))
  signatures = system.signatures()
  assert 'serving_default' in signatures
  # As evaluate.export saves it: Keras would trace every layer once more.
  tf.saved_model.save(tf.train.Checkpoint(variables=system.weights), str(tmp_path), signatures=signatures)
  loaded = tf.saved_model.load(str(tmp_path))
  for key, function in signatures.items():
    _, specs = loaded.signatures[key].structured_input_signature
    for count in (1, 3):
      inputs = {n: _any_value(s, count) for n, s in specs.items()}
      expected = function(**inputs)
      received = loaded.signatures[key](**inputs)
      for n in expected:
        tolerance = 1 if expected[n].dtype == tf.uint8 else 1e-5
        np.testing.assert_allclose(
            np.asarray(received[n], np.float64), np.asarray(expected[n], np.float64), atol=tolerance)
        assert received[n].shape[0] == count


def _any_value(spec, count):
  shape = [count if d is None else d for d in spec.shape]
  random = np.random.default_rng(count)
  if spec.dtype.is_floating:
    return tf.constant(random.uniform(-1, 1, shape), spec.dtype)
  return tf.constant(random.integers(0, 256 if spec.dtype == tf.uint8 else 2, shape), spec.dtype)


def test_bfloat16_is_finite_and_keeps_float32_weights(name):
  config = tiny(name, precision='mixed_bfloat16')
  for phase in phases(name):
    system = fresh(config, phase)
    losses = numbers(system.train_step(batch_of(config)))
    assert all(np.isfinite(v) for v in losses.values()), losses
    assert all(w.dtype == tf.float32 for w in system.weights if w.dtype.is_floating)


@pytest.mark.slow
def test_a_compiled_step_is_the_plain_one(name):
  config = tiny(name)
  if hasattr(config, 'dropout'):  # Whose draws differ under XLA.
    config = dataclasses.replace(config, dropout=0.0)
  for phase in phases(name):
    plain, compiled = Stepper(config, phase), fresh(config, phase)
    expected, received = plain.step(0), numbers(tf.function(compiled.train_step, jit_compile=True)(batch_of(config)))
    for key, value in expected.items():
      # Stateless draws differ under XLA, even with the algorithm named; what the penalty drives differs with them.
      if key in ADVERSARIAL[name]:
        assert np.isfinite(received[key])
      else:
        np.testing.assert_allclose(received[key], value, rtol=0.02, err_msg=f'{phase} {key}')
