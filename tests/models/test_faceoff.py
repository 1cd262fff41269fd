"""Face-off: its steps against a plain reading of CycleGAN and WGAN, its pools on replicas and after a resume; use."""

import dataclasses
import functools
import pathlib

import numpy as np
import pytest
import tensorflow as tf

import losses
from models import runs
from models.config import ConfigError
from models.faceoff import FaceOff, FaceOffConfig
from models.layers import LinearDecay
from tests.models.builders import assert_steps_agree, numbers
from train import flags
from train.strategies import Plan

ROOT = pathlib.Path(__file__).parents[2]

WGAN = {'adversarial': 'wgan', 'critic_steps': 2, 'pool_size': 0, 'optimizer': 'rmsprop'}
ALL = {'second_discriminator_layers': 1, 'discriminator_share': 0.3, 'ssim_weight': 0.5, 'mask_weight': 2.0,
       'identity_weight': 0.5, 'crop_mask': True}


def make_batch(config, seed=0):
  draw = np.random.default_rng(seed)
  whole = [config.batch_size, config.image_size, config.image_size]
  further = [whole[0], config.critic_steps, *whole[1:]]
  batch = {'index': tf.range(config.batch_size, dtype=tf.int64)}
  for prefix, shape in (('', whole), *[('critic_', further)] * (config.critic_steps > 1)):
    for domain in ('a', 'b'):
      batch[f'{prefix}{domain}'] = tf.constant(draw.uniform(-1, 1, [*shape, 3]), tf.float32)
      batch[f'{prefix}{domain}_mask'] = tf.constant(draw.integers(0, 2, [*shape, 1]), tf.float32)
  return batch


def tiny(**changes):
  return FaceOffConfig.tiny(**{'image_size': 16, 'discriminator_layers': 2, 'blocks': 1, **changes})


def make_system(**changes):
  return FaceOff(tiny(**changes))


@functools.cache
def shared_system():
  return make_system()


# The step in plain words: each network is called on its own, whatever could be shared is not.


class PlainPool:
  """CycleGAN's pool, of one place of the batch."""

  def __init__(self):
    self.held = []

  def query(self, fake, size, coin, place):
    if len(self.held) < size:
      self.held.append(fake)
    elif coin < 0.5:
      position = int(place * size)
      fake, self.held[position] = self.held[position], fake
    return fake


def l1(first, second, weight=1.0):
  return tf.reduce_mean(weight * tf.abs(first - second))


def plain_step(system, batch, pools):
  config = system.config
  see = lambda name, part=slice(None): tf.where(  # noqa: E731
      batch[f'{name}_mask'][part] > 0, batch[name][part], -1.0) if config.crop_mask else batch[name][part]
  wasserstein = config.adversarial != 'lsgan'

  def judge(network, real, fake):
    if wasserstein:
      return tf.reduce_mean(network(fake)) - tf.reduce_mean(network(real))
    return tf.reduce_mean((network(real) - 1)**2) / 2 + tf.reduce_mean(network(fake)**2) / 2

  def update_discriminators(real, fake):
    logs, pairs = {}, []
    for domain in 'ab':
      found = []
      for network in getattr(system, f'discriminators_{domain}'):
        with tf.GradientTape() as tape:
          found.append(judge(network, real[domain], fake[domain]))
        pairs += zip(tape.gradient(found[-1], network.trainable_variables), network.trainable_variables, strict=True)
      logs[f'discriminator_{domain}_loss'] = np.mean(found)
    system.discriminator_optimizer.apply_gradients(pairs)
    if config.adversarial == 'wgan':
      for _, weight in pairs:
        weight.assign(np.clip(weight, -config.clip, config.clip))
    return logs

  def fool(networks, fake):
    each = [tf.reduce_mean(-n(fake) if wasserstein else (n(fake) - 1)**2) for n in networks]
    share = config.discriminator_share
    return each[0] if len(each) == 1 else share * each[0] + (1 - share) * each[1]

  def update_generators():
    a, b = see('a'), see('b')
    with tf.GradientTape() as tape:
      fake_b, fake_a = system.a2b([a]), system.b2a([b])
      closed_a, closed_b = system.b2a([fake_b]), system.a2b([fake_a])
      logs = {'a2b_adversarial_loss': fool(system.discriminators_b, fake_b),
              'b2a_adversarial_loss': fool(system.discriminators_a, fake_a),
              'a_cycle_loss': l1(a, closed_a, 1 + config.mask_weight * batch['a_mask']),
              'b_cycle_loss': l1(b, closed_b, 1 + config.mask_weight * batch['b_mask'])}
      loss = (logs['a2b_adversarial_loss'] + logs['b2a_adversarial_loss']
              + 10 * (logs['a_cycle_loss'] + logs['b_cycle_loss']))
      if config.identity_weight:
        logs |= {'b_identity_loss': l1(b, system.a2b([b])), 'a_identity_loss': l1(a, system.b2a([a]))}
        loss += 5 * (logs['a_identity_loss'] + logs['b_identity_loss'])
      if config.ssim_weight:
        for name, real, closed in (('a', a, closed_a), ('b', b, closed_b)):
          similar = losses.multi_scale_similarity((real + 1) / 2, (closed + 1) / 2)
          logs[f'{name}_ssim_loss'] = 1 - tf.reduce_mean(similar)
          loss += config.ssim_weight * logs[f'{name}_ssim_loss']
    weights = system.a2b.trainable_variables + system.b2a.trainable_variables
    system.generator_optimizer.apply_gradients(zip(tape.gradient(loss, weights), weights, strict=True))
    return {'a': fake_a, 'b': fake_b}, {'generator_loss': loss, **logs}

  judged = {}
  if config.critic_steps > 1:
    for update in range(config.critic_steps):
      part = (slice(None), update)
      real = {'a': see('critic_a', part), 'b': see('critic_b', part)}
      judged = update_discriminators(real, {'a': system.b2a([real['b']]), 'b': system.a2b([real['a']])})
    _, logs = update_generators()
  else:
    fakes, logs = update_generators()
    if config.pool_size:
      for domain in 'ab':
        draws = system._draw([2], 'ab'.index(domain)).numpy()
        fakes[domain] = tf.stack([pools[domain, slot].query(fake, config.pool_size, *draws[slot])
                                  for slot, fake in enumerate(fakes[domain])])
    judged = update_discriminators({'a': see('a'), 'b': see('b')}, fakes)
  system.step.assign_add(1)
  return {**logs, **judged}


def kernels(system):
  """Of the discriminators; what a bias in front of a norm learns is rounding."""
  return np.concatenate([w.numpy().ravel() for w in system._game.discriminator_weights if w.shape.rank > 1])


@pytest.mark.parametrize('changes', [{**ALL, 'pool_size': 1}, WGAN])
def test_a_step_is_the_papers_game(changes):
  fast, plain = make_system(**changes), make_system(**changes)
  start, pools = kernels(fast), {(domain, slot): PlainPool() for domain in 'ab' for slot in range(4)}
  assert_steps_agree(fast, plain, lambda system, batch: plain_step(system, batch, pools), make_batch, rtol=1e-4)
  assert np.corrcoef(kernels(fast) - start, kernels(plain) - start)[0, 1] > 0.99
  if fast.config.adversarial == 'wgan':
    assert max(abs(w.numpy()).max() for w in fast._game.discriminator_weights) <= np.float32(0.01)
    assert int(fast.discriminator_optimizer.iterations) == 4 and int(fast.generator_optimizer.iterations) == 2


def test_penalty_is_of_the_mean_score_between_real_and_fake():
  system = make_system(adversarial='wgan_gp', pool_size=0)
  real, fake = ({domain: tf.random.stateless_uniform([4, 16, 16, 3], [seed, n], -1, 1)
                 for n, domain in enumerate('ab')} for seed in range(2))
  epsilon = tf.constant([[0.0, 1.0]] * 4)  # At the fakes of a and the pictures of b.
  gradients, logs = system._game.judge(real, fake, epsilon)
  for domain, network, images in (('a', system.discriminators_a[0], fake['a']),
                                  ('b', system.discriminators_b[0], real['b'])):
    with tf.GradientTape() as tape:
      tape.watch(images)
      scores = tf.reduce_sum(tf.reduce_mean(network(images), [1, 2, 3]))
    steep = tf.sqrt(tf.reduce_sum(tape.gradient(scores, images)**2, [1, 2, 3]))
    np.testing.assert_allclose(logs[f'{domain}_penalty'], np.mean((steep - 1)**2), rtol=1e-4)
  assert all(np.isfinite(gradient).all() for gradient in gradients)


def test_pools_are_cyclegans():
  """Of every place by itself, over more steps than they hold."""
  system = make_system(pool_size=3)
  pools = [PlainPool() for _ in range(4)]
  older = 0
  exchange = tf.function(system._exchange)
  for step in range(12):
    system.step.assign(step)
    fakes = tf.random.stateless_uniform([4, 16, 16, 3], [step, 0])
    received = exchange('b', fakes, tf.range(4, dtype=tf.int64))
    draws = system._draw([2], 1).numpy()
    expected = [pool.query(fake, 3, *draw) for pool, fake, draw in zip(pools, fakes.numpy(), draws, strict=True)]
    np.testing.assert_array_equal(received, expected)
    older += sum((a != b).any() for a, b in zip(expected, fakes.numpy(), strict=True))
  held = tf.reshape(system.pools['b'], [4, 3, 16, 16, 3])
  np.testing.assert_array_equal(held, [pool.held for pool in pools])
  assert 6 < older < 30 and not system.pools['a'].numpy().any()


@pytest.mark.slow  # The losses alone: tests/conformance.
def test_two_replicas_equal_one_in_losses_and_pools():
  changes = {'adversarial': 'wgan', 'optimizer': 'rmsprop', 'dropout': 0.5, 'train_steps': 5}
  config, one = tiny(strategy='mirrored', **changes), make_system(**changes)
  batches = [make_batch(config, t) for t in range(5)]
  expected = [numbers(step(batch)) for step in [tf.function(one.train_step)] for batch in batches]
  plan = Plan(config)
  with plan.strategy.scope():
    two = FaceOff(config)
  two.compile()
  received = []
  two.fit(plan.distribute(lambda worker, workers: tf.data.Dataset.from_tensor_slices(
      {k: tf.stack([batch[k] for batch in batches]) for k in batches[0]})), steps_per_epoch=5, verbose=0, callbacks=[
          tf.keras.callbacks.LambdaCallback(on_train_batch_end=lambda step, logs: received.append(numbers(logs)))])
  for t, rtol in ((0, 1e-4), (4, 2e-2)):
    for key, value in expected[t].items():
      np.testing.assert_allclose(received[t][key], value, rtol=rtol, atol=1e-4, err_msg=f'{key}, step {t}')
  for domain, pool in two.pools.items():
    first, second = (local.numpy() for local in plan.strategy.experimental_local_results(pool))
    np.testing.assert_array_equal(first, second)
    np.testing.assert_allclose(first, one.pools[domain], atol=1e-2)


def test_a_resumed_run_has_its_pools(tmp_path):
  system = make_system(dropout=0.5)
  step = tf.function(system.train_step)
  steps = lambda *numbers_of: [numbers(step(make_batch(system.config, t))) for t in numbers_of]  # noqa: E731
  steps(0, 1, 2)
  checkpoint = tf.train.Checkpoint(system=system)
  runs.save_checkpoint(checkpoint, tmp_path, 'train', 3, 3)
  path = runs.checkpoint_path(tmp_path, 'train', 3)
  expected = steps(3, 4, 5)
  runs.read_checkpoint(checkpoint, path)
  assert steps(3, 4, 5) == expected
  runs.read_checkpoint(checkpoint, path)
  for pool in system.pools.values():
    pool.assign(tf.zeros_like(pool))
  assert steps(3, 4, 5) != expected  # They are part of what decides.
  other = make_system(dropout=0.5, seed=1)
  runs.read_checkpoint(tf.train.Checkpoint(system=other), path)
  assert other.pools['a'].numpy().any() and int(other.step) == 3


def test_rate_is_constant_and_then_falls_on_a_line():
  step = tf.Variable(0, dtype=tf.int64)
  rate = LinearDecay(step, 1e-3, 100, 50)
  for number, value in {0: 1e-3, 100: 1e-3, 125: 5e-4, 149: 2e-5, 150: 0.0, 900: 0.0}.items():
    step.assign(number)
    np.testing.assert_allclose(rate(7), value, rtol=1e-4, atol=1e-9)
  np.testing.assert_allclose(LinearDecay(step, 1e-3, 100, 0)(7), 1e-3)
  system = shared_system()
  for name, value in {'start': 2e-5, 'constant': 200_000, 'fall': 200_000}.items():
    assert system.generator_optimizer._learning_rate.get_config()[name] == value


def test_optimizers_of_the_papers():
  adam, penalised = shared_system().discriminator_optimizer, make_system(adversarial='wgan_gp').generator_optimizer
  assert [adam.beta_1, adam.beta_2] == [0.5, 0.999]
  assert [penalised.beta_1, penalised.beta_2] == [0.0, 0.9]
  # RMSProp moves a weight by about its rate however flat the critic is; with Keras' epsilon it would stand still.
  flat = tf.Variable(0.0)
  optimizer = make_system(optimizer='rmsprop', learning_rate=5e-5)._optimizer([flat])
  optimizer.apply_gradients([(tf.constant(1e-6), flat)])
  np.testing.assert_allclose(flat, -5e-5 / 0.1, rtol=1e-2)  # The first mean square is a hundredth.


@pytest.mark.parametrize(['changes', 'message'], [
    ({'image_size': 30}, 'image_size=30 is not a multiple of 4'),
    ({'generator': 'unet', 'blocks': 0, 'image_size': 96}, 'generator=unet halves image_size=96 down to one cell'),
    ({'generator': 'unet'}, 'blocks=2 are those of a resnet'),
    ({'generator': 'unet', 'blocks': 0, 'dropout': 0.5}, 'dropout=0.5 has no place in a unet of image_size=32'),
    ({'second_discriminator_layers': 5}, 'second_discriminator_layers=5 leaves 0 x 0 scores'),
    ({'discriminator_share': 0.7}, 'discriminator_share=0.7 needs a second discriminator'),
    ({'train_steps': 9, 'constant_steps': 5, 'decay_steps': 3},
     'train_steps=9 go on where the rate is 0, beyond constant_steps=5 and decay_steps=3: raise one of these'),
    ({'critic_steps': 5}, 'critic_steps=5 see fresh fakes, and pool_size=2 keeps old ones: set pool_size=0'),
    ({'identity_weight': 0.5, 'cycle_weight': 0.0}, 'identity_weight=0.5 is a share of cycle_weight=0'),
    ({'ssim_form': 'single'}, 'ssim_form=single has no effect'),
    ({'mask_weight': 1.0, 'cycle_weight': 0.0}, 'mask_weight=1.0 weighs the cycle loss')])
def test_settings_that_contradict_each_other(changes, message):
  with pytest.raises(ConfigError, match=message):
    FaceOffConfig.tiny(**changes)


def test_steps_may_end_with_the_rate_or_before_or_hold_it():
  for steps, decay in ((8, 3), (7, 3), (9, 0)):
    assert FaceOffConfig.tiny(train_steps=steps, constant_steps=5, decay_steps=decay).train_steps == steps


def test_every_variant_has_a_flagfile_that_holds_at_128_pixels_too():
  read = lambda file: flags.parse(['train.main', f'--flagfile={file}'], flags.TrainFlags).config  # noqa: E731
  assert read(ROOT / 'configs/paper/faceoff.cfg') == FaceOffConfig()
  variants = [read(file) for file in ROOT.glob('configs/ablations/faceoff_*.cfg')]
  assert len({FaceOffConfig(), *variants}) == 1 + len(variants) == 16
  for config in variants:
    dataclasses.replace(config, image_size=128)


def test_use():
  system = shared_system()
  batch = make_batch(system.config)
  columns = system.sample(batch)
  assert list(columns) == ['a', 'a2b', 'a2b2a', 'b', 'b2a', 'b2a2b']
  np.testing.assert_array_equal(columns['b2a2b'], system.a2b([system.b2a([batch['b']])]))
  np.testing.assert_array_equal(system.transfer(None, batch['a']), columns['a2b'])
  with pytest.raises(ValueError, match='direction=a is not one of a2b, b2a'):
    system.translate(batch['a'], 'a')
  served = system.signatures()['b2a'](tf.cast((batch['b'] + 1) * 127.5, tf.uint8))['images']
  assert served.dtype == tf.uint8 and served.shape == batch['b'].shape


def test_dropouts_remove_nothing_in_use_unless_asked():
  system, images = make_system(dropout=0.5), tf.repeat(make_batch(tiny())['a'][:1], 2, axis=0)
  still, first, again, other = (system.translate(images, noise_seed=seed) for seed in (None, 0, 0, 1))
  np.testing.assert_array_equal(first, again)
  np.testing.assert_allclose(first[0], first[1], atol=1e-6)
  assert (first != still).numpy().any() and (first != other).numpy().any()


def test_a_cropped_face_stands_on_black():
  system = make_system(crop_mask=True)
  batch = make_batch(system.config)
  face = tf.broadcast_to(batch['a_mask'] > 0, batch['a'].shape)
  seen = system.sample(batch)['a']
  assert (seen[~face] == -1).numpy().all() and (seen[face] == batch['a'][face]).numpy().all()


def test_collapse_is_told(monkeypatch):
  system = shared_system()
  batch = make_batch(system.config)
  system.step.assign(1)
  monkeypatch.setattr(system, 'translate', lambda images, direction: images if direction == 'a2b' else 0 * images)
  figures, (warning,) = system.inspect(batch)
  assert figures['b2a_spread'] == 0 and figures['a2b_spread'] > 0.5
  assert 'the pictures of a that are made of b' in warning and 'look whether they show one and the same' in warning
