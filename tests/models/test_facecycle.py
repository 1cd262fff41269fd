"""FaceCycle: its networks' sizes, its cycles against a plain reading of the paper, and what each setting does."""

import functools
import pathlib

import numpy as np
import pytest
import tensorflow as tf

import losses
from models.config import ConfigError, differences
from models.facecycle import FaceCycle, FaceCycleConfig
from models.facecycle_networks import (
  affine_network,
  encoder_network,
  expression_decoder,
  flow_network,
  identity_decoder,
  noise_network,
)
from models.layers import vgg19
from models.layers.vgg19 import destandardize, standardize
from models.layers.warping import grid_sample, warp
from tests.models.builders import assert_steps_agree
from train import flags

ROOT = pathlib.Path(__file__).parents[2]


def make_batch(config, seed=0):
  draw = np.random.default_rng(seed)
  shape = [config.batch_size, config.image_size, config.image_size, 3]
  return {**{name: tf.constant(draw.uniform(-1, 1, shape), tf.float32) for name in ('first', 'second')},
          'index': tf.range(config.batch_size, dtype=tf.int64)}


def make_system(phase='motion', **changes):
  system = FaceCycle(FaceCycleConfig.tiny(**changes))
  system.phase = phase
  return system


@functools.cache
def shared_system():
  return make_system(image_size=32)


def test_parameters_at_the_papers_size():
  """And the initial weights, of the networks that are at hand."""
  config = FaceCycleConfig()
  encoder = encoder_network(config, 'expression_encoder')
  flow = flow_network(config)
  decoder = expression_decoder(config)
  assert encoder.count_params() == 4_240_000 and flow.count_params() == 2_996_544
  assert decoder.count_params() + noise_network(config).count_params() == 12_854_147
  assert decoder.output_shape == (None, 64, 64, 3) and flow.output_shape == (None, 16, 16, 2)
  for affine, count in (('mlp', 9_426_691), ('linear', 9_458_947)):
    config = FaceCycleConfig(affine=affine)
    heads = 2 * affine_network(config, 'neutral_to_mean').count_params()
    assert identity_decoder(config).count_params() + heads == count
  assert vgg19.features_network(1.0, 0).count_params() == 555_328

  maps = encoder.get_layer('maps')
  first, last = (w.numpy() for w in (maps.weights[0], encoder.weights[-2]))
  np.testing.assert_allclose(first.std(), (2 / (49 * 64))**0.5, rtol=0.03)
  np.testing.assert_allclose([last.std(), encoder.weights[-1].numpy().max()], [0.01, 0], rtol=0.03)
  np.testing.assert_allclose(flow.weights[-1].numpy().std(), 0.05, rtol=0.3)
  kernel, bias = (w.numpy() for w in decoder.layers[1].weights)
  np.testing.assert_allclose([abs(kernel).max(), abs(bias).max()], [1 / 48, 1 / 48], rtol=0.03)  # 1 / sqrt(9 * 256)


@pytest.mark.parametrize(['size', 'code_map'], [(64, 4), (128, 4)])
def test_maps_of_the_encoder(size, code_map):
  """The probes' 6,272 numbers at 100 pixels; at 128 one more layer halves."""
  encoder = encoder_network(FaceCycleConfig.tiny(image_size=size), 'expression_encoder')
  maps = encoder.get_layer('maps')
  assert maps(tf.zeros([1, size, size, 3])).shape == [1, code_map, code_map, 8]
  if size == 64:
    assert maps(tf.zeros([1, 100, 100, 3])).shape == [1, 7, 7, 8]


def test_strided_convolutions_see_the_zeros_of_pytorch():
  """The first cell of a convolution 7, stride 2, is centred on the first pixel, not on the third."""
  encoder = encoder_network(FaceCycleConfig.tiny(), 'expression_encoder')
  first = next(layer for layer in encoder.get_layer('maps').layers if isinstance(layer, tf.keras.layers.Conv2D))
  picture = np.random.default_rng(0).normal(size=[1, 32, 32, 3]).astype(np.float32)
  padding = next(layer for layer in encoder.get_layer('maps').layers if layer.name.startswith('zero'))
  received = first(padding(picture))[0, 0, 0]
  wanted = np.einsum('hwc,hwcd->d', picture[0, :4, :4], first.kernel.numpy()[3:, 3:])
  np.testing.assert_allclose(received, np.where(wanted > 0, wanted, 0.1 * wanted), rtol=1e-4, atol=1e-5)


# The cycles in plain words: each network is called on its own, whatever could be shared is not.


def plain_backward(flow):
  grid = tf.stack(tf.meshgrid(tf.linspace(-1.0, 1.0, 16), tf.linspace(-1.0, 1.0, 16)), axis=-1)
  back = -flow
  for _ in range(5):
    back = -grid_sample(flow, tf.clip_by_value(grid + back, -1, 1))
  return back


def plain_decoder(system, images, flow=None, noise=None):
  features = system.front_end(images)
  if flow is not None:
    ground = [n + tf.reduce_mean(f, [1, 2], keepdims=True) for f, n in zip(features, noise, strict=True)]
    features = [warp(f, flow) + r for f, r in zip(features, system.noise_encoder(ground), strict=True)]
  return system.expression_decoder(list(features))


def swapped(images):
  return tf.roll(images, images.shape[0] // 2, axis=0)


def l1(first, second):
  return tf.reduce_mean(tf.abs(first - second))


def apart(first, second):
  """1 - SSIM."""
  return 1 - tf.reduce_mean(losses.structural_similarity(*((destandardize(x) + 1) / 2 for x in (first, second))))


def symmetry(images):
  return l1(images, images[:, :, ::-1])


def gram(system, outputs, images):
  total = 0.0
  for output in outputs:
    for of in (0, 1, 2):
      (got, want) = ([*maps, system.texture(maps[1])][of] for maps in map(system.front_end, (output, images)))
      total += tf.reduce_mean((losses.gram_matrix(got) - losses.gram_matrix(want))**2) / len(outputs)
  return total


def plain_motion(system, batch):
  x = standardize(tf.concat([batch['first'], batch['second']], 0))
  index = tf.range(8, dtype=tf.int64)
  with tf.GradientTape() as tape:
    flow = system.flow_decoder(system.expression_encoder(x))
    back = plain_backward(flow)
    n = plain_decoder(system, x, flow, system._noise(index, 0))
    w = warp(x, flow)
    w_b, n_b = warp(swapped(w), back), warp(swapped(n), back)
    closed = plain_decoder(system, swapped(n), back, system._noise(index, 1))
    copy = plain_decoder(system, x)
    parts = {
        'pixel_loss': l1(closed, x) + l1(copy, x) + l1(n_b, x) + 1.5 * l1(w_b, x),
        'ssim_loss': apart(x, closed) + apart(x, copy) + 1.5 * apart(x, w_b),
        'symmetry_loss': symmetry(n) + 0.5 * symmetry(w),
        'gram_loss': gram(system, [n, n_b, w_b, closed], x)}
    loss = sum(weight * value for weight, value in zip((1, 5, 1.5, 0.01), parts.values(), strict=True))
  weights = system._weights([system.expression_encoder, system.flow_decoder, system.noise_encoder,
                             system.expression_decoder])
  system.motion_optimizer.apply_gradients(zip(tape.gradient(loss, weights), weights, strict=True))
  system.step.assign_add(1)
  size = tf.reduce_mean(tf.sqrt(flow[..., 0]**2 + flow[..., 1]**2))
  return {'motion_loss': loss, **parts, 'flow_size': size}


def plain_identity(system, batch):
  x = standardize(tf.concat([batch['first'], batch['second']], 0))
  index = tf.range(8, dtype=tf.int64)

  def turn(images, affine):
    features = system.front_end(images)[1]
    mean, variance = tf.nn.moments(features, [1, 2], keepdims=True)
    scale, offset = affine
    return system.identity_decoder(
        (features - mean) / tf.sqrt(variance + 1e-5) * scale[:, None, None] + offset[:, None, None])

  flow = system.flow_decoder(system.expression_encoder(x))
  back = plain_backward(flow)
  n = plain_decoder(system, x, flow, system._noise(index, 0))
  with tf.GradientTape() as tape:
    r = system.identity_encoder(x)
    means = turn(n, system.neutral_to_mean(r))
    mean = tf.reduce_mean(means, 0, keepdims=True)
    identified = turn(tf.repeat(mean, 8, 0), system.mean_to_neutral(r))
    warped = warp(identified, back)
    closed = plain_decoder(system, identified, back, system._noise(index, 1))
    parts = {
        'pixel_loss': l1(closed, x) + 0.8 * l1(warped, x) + l1(identified, n),
        'ssim_loss': apart(x, closed) + 0.8 * apart(x, warped),
        'symmetry_loss': symmetry(identified),
        'gram_loss': gram(system, [warped, closed], x),
        'margin_loss': tf.reduce_mean(tf.maximum(tf.abs(mean - n) - 0.1, 0))}
    loss = sum(weight * value for weight, value in zip((1, 5, 1.5, 0.01, 1), parts.values(), strict=True))
  weights = system._weights([system.identity_encoder, system.neutral_to_mean, system.mean_to_neutral,
                             system.identity_decoder])
  system.identity_optimizer.apply_gradients(zip(tape.gradient(loss, weights), weights, strict=True))
  system.step.assign_add(1)
  return {'identity_loss': loss, **parts, 'mean_spread': l1(means, mean)}


def test_weights_and_forms_change_the_losses():
  """Each on one batch, of which all else is computed as before."""
  system = make_system(flow_deviation=1.0)
  game, config, batch = system._game, system.config, make_batch(system.config)
  images, index = system._read(batch)

  def loss(stage, **changes):
    game.config = system.config = FaceCycleConfig.tiny(**changes)
    noises = [system._noise(index, number) for number in range(2)]
    if stage == 1:
      return float(game.motion(images, noises)[0])
    motion = game.understand(images, noises[0])
    codes, means = game.means(images, motion.neutral)
    return float(game.identity(images, motion, codes, tf.reduce_mean(means, 0, keepdims=True), noises[1])[0])

  before = {stage: loss(stage) for stage in (1, 2)}
  common = {'backward_flow': 'released', 'noise': 0.5, 'pixel_weight': 2.0, 'ssim_weight': 0.0, 'gram_weight': 2.0,
            'symmetry_weight': 0.0, 'ssim_range': 'normalised'}
  for stage, changes in ((1, {**common, 'warp_weight': 2.0}), (2, {
      **common, 'identity_warp_weight': 2.0, 'margin_weight': 0.0, 'margin': 0.2, 'margin_form': 'released'})):
    for name, value in changes.items():
      assert loss(stage, **{name: value}) != before[stage], f'{name} in stage {stage}'
  system.config = config


@pytest.mark.parametrize(['phase', 'plain_round'], [('motion', plain_motion), ('train', plain_identity)])
def test_a_step_is_the_papers_cycle(phase, plain_round):
  # Strong first flows, so that what is warped where shows in the losses.
  fast, plain = (make_system(phase, flow_deviation=1.0) for _ in range(2))
  fixed = [w.numpy() for w in fast._weights(fast._motion_networks())] + fast.front_end.get_weights()
  assert_steps_agree(fast, plain, plain_round, make_batch, rtol=1e-5)
  now = [w.numpy() for w in fast._weights(fast._motion_networks())] + fast.front_end.get_weights()
  same = [np.array_equal(a, b) for a, b in zip(fixed, now, strict=True)]
  assert all(same) if phase == 'train' else all(same[-10:]) and not any(same[:4])
  assert [fast.motion_optimizer.beta_2, fast.identity_optimizer.beta_2] == [0.999, 0.9]


def test_the_papers_schedules():
  system = make_system(motion_learning_rate=5e-5, motion_schedule_steps=400, learning_rate=1e-4, schedule_steps=200)
  for optimizer, rates in ((system.motion_optimizer, {0: 1e-5, 9: 1e-5, 10: 5e-5, 199: 5e-5, 200: 1e-5, 900: 1e-5}),
                           (system.identity_optimizer, {0: 5e-5, 9: 5e-5, 10: 1e-4, 99: 1e-4, 100: 1e-5, 300: 1e-5})):
    for step, rate in rates.items():
      system.step.assign(step)
      np.testing.assert_allclose(optimizer._learning_rate(7), rate, rtol=1e-5)


def test_a_cosine_schedule():
  rate = make_system(schedule='cosine', learning_rate=1e-3, schedule_steps=1000).identity_optimizer._learning_rate
  np.testing.assert_allclose([rate(step) for step in (0, 5, 10, 505, 1000, 2000)],
                             [0, 5e-4, 1e-3, 5.05e-4, 1e-5, 1e-5], rtol=1e-3, atol=1e-9)


def test_stages_are_phases():
  phases = lambda **changes: list(FaceCycle.phases(FaceCycleConfig.tiny(**changes)))  # noqa: E731
  assert phases() == ['front', 'motion', 'train'] and phases(front_steps=0, stage='1') == ['motion']
  assert phases(stage='2', init_from='run') == ['train']
  assert phases(init_from='run') == ['motion', 'train']  # The front end came along.


def test_stage_2_stands_on_averages_and_the_gram_network_stays():
  system = make_system(ema_decay=0.9, front_end='joint')
  system.start_phase('motion')
  gram_front = system.gram_front.get_weights()
  assert all((a == b).all() for a, b in zip(gram_front, system.front_end.get_weights(), strict=True))
  system.train_step(make_batch(system.config))
  assert all((a == b).all() for a, b in zip(gram_front, system.gram_front.get_weights(), strict=True))
  assert any((a != b).any() for a, b in zip(gram_front, system.front_end.get_weights(), strict=True))
  average = system._averages[0].numpy()
  assert (average != system.expression_encoder.weights[0].numpy()).any()
  system.start_phase('train')
  np.testing.assert_array_equal(system.expression_encoder.weights[0].numpy(), average)


def test_weights_of_vgg19_are_loaded_when_a_run_begins(monkeypatch):
  loaded = []
  monkeypatch.setattr(vgg19, 'load', lambda weights, *networks: loaded.append((weights, [n.name for n in networks])))
  system = shared_system()
  monkeypatch.setattr(system, 'config', FaceCycleConfig.tiny(width=1.0, vgg19_weights='imagenet', front_steps=0))
  for phase in ('motion', 'train'):
    system.start_phase(phase)
  assert loaded == [('imagenet', ['front_end', 'texture'])]


def test_what_the_front_end_is_is_said_once():
  notes = lambda **changes: FaceCycle.notes(FaceCycleConfig.tiny(**changes))  # noqa: E731
  assert 'the front end is trained for 2 steps on masked pictures; the Gram' in notes()[0]
  assert 'the front end is random, and goes on with the decoder of stage 1;' in notes(front_steps=0,
                                                                                      front_end='joint')[0]
  assert not notes(vgg19_weights='imagenet', width=1.0, front_steps=0)


@pytest.mark.parametrize(['changes', 'message'], [
    ({'image_size': 40}, 'image_size=40 is not a multiple of 16'),
    ({'vgg19_weights': 'imagenet', 'front_steps': 0}, 'vgg19_weights=imagenet is as wide as VGG-19, and width=0.0625'),
    ({'vgg19_weights': 'imagenet', 'width': 1.0}, 'front_steps=2 would train over vgg19_weights=imagenet'),
    ({'stage': '2'}, 'stage=2 needs the networks of stage 1'),
    ({'margin_weight': 0.0, 'margin_form': 'released'}, 'margin_form=released has no effect'),
    ({'pixel_weight': 0.0, 'ssim_weight': 0.0}, 'leave nothing that has to look like the picture')])
def test_settings_that_contradict_each_other(changes, message):
  with pytest.raises(ConfigError, match=message):
    FaceCycleConfig.tiny(**changes)


def test_every_arm_of_table_1_has_a_flagfile():
  """All tracks, few of them, and of those mirrored frames and 128 pixels; none trains what Table 1 does not look at."""
  read = lambda file: flags.parse(['train.main', f'--flagfile={ROOT / file}'], flags.TrainFlags).config  # noqa: E731
  changed = {'configs/paper/facecycle.cfg': {'stage': ('both', '1'), 'tracks': (0, 8000)},
             'configs/ablations/quick/facecycle_model.cfg': {'tracks': (0, 54)}}
  for whole, folder in zip(changed, ('configs/ablations', 'configs/ablations/quick'), strict=True):
    few, flip, large = (read(f'{folder}/facecycle_{name}.cfg') for name in ('few', 'flip', '128'))
    assert differences(read(whole), few) == changed[whole]
    assert differences(few, flip) == {'p_flip': (0.0, 1.0)} and differences(few, large) == {'image_size': (64, 128)}
    assert 'train' not in FaceCycle.phases(few) and few.motion_steps == few.motion_schedule_steps
  whole = read('facecycle.cfg')
  assert differences(whole, read('configs/ablations/quick/facecycle_model.cfg')) == {
      'stage': ('both', '1'), 'motion_steps': (5000, 2500), 'motion_schedule_steps': (5000, 2500)}
  # A tenth of the tracks of nine tenths of the people.
  assert 10 * 54 == whole.identities * 9 // 10 * whole.images_per_identity // whole.frames_per_track


def test_use():
  """Transfers are made of neutral faces and backward flows; noise comes only with a seed."""
  system = shared_system()
  batch = make_batch(system.config)
  images, drivers = batch['first'], batch['second']
  neutral = system._neutral(images)
  np.testing.assert_allclose(system.neutralise(images), tf.clip_by_value(destandardize(neutral), -1, 1), atol=1e-6)
  zeros = [tf.zeros([4, 16, 16, 8]), tf.zeros([4, 8, 8, 16])]
  expected = plain_decoder(system, neutral, system.flow(drivers)[1], zeros)
  np.testing.assert_allclose(system.transfer(images, drivers), tf.clip_by_value(destandardize(expected), -1, 1),
                             atol=1e-5)
  np.testing.assert_array_equal(system.neutralise(images, 3), system.neutralise(images, 3))
  assert (system.neutralise(images, 3) != system.neutralise(images, 4)).numpy().any()
  np.testing.assert_allclose(system.identity_swap(images, images)[1:2], system.identity_swap(images[1:2], images[1:2]),
                             atol=1e-5)
  assert system.mean_face(images).shape == images.shape
  assert system.encode_expression(images).shape == system.encode_identity(images).shape == [4, 256]


def test_faces_that_became_one_picture_are_told(monkeypatch):
  system = shared_system()
  system.phase = 'motion'
  batch = make_batch(system.config)
  system.step.assign(1)
  flow = tf.random.stateless_normal([4, 16, 16, 2], [0, 0])
  monkeypatch.setattr(system, 'flow', lambda images: (flow, -flow))
  monkeypatch.setattr(system, 'neutralise', tf.zeros_like)
  figures, (warning,) = system.inspect(batch)
  assert figures['neutral_between'] == 0 and 'look whether they are all one picture' in warning
  monkeypatch.setattr(system, 'neutralise', tf.identity)
  figures, warnings = system.inspect(batch)
  assert figures['neutral_within'] == figures['frame_within'] and not warnings
  monkeypatch.setattr(system, 'flow', lambda images: (0.3 + 1e-4 * flow, -flow))
  figures, (warning,) = system.inspect(batch)
  assert figures['flow_shared'] == pytest.approx(0.3 * 2**0.5, rel=1e-3)
  assert 'all pictures are moved alike, by 0.424, and each by 0.0001' in warning


def test_codes_end_as_the_settings_say():
  images = tf.random.stateless_uniform([2, 32, 32, 3], [0, 0], -1, 1)
  code = FaceCycle(FaceCycleConfig.tiny(code_end='l2')).encode_expression(images)
  np.testing.assert_allclose(tf.norm(code, axis=1), 1, atol=1e-5)
  plain, unit = (FaceCycle(FaceCycleConfig.tiny(code_end=end)).encode_identity(images) for end in ('tanh', 'l2'))
  before = tf.atanh(plain)  # The weights are the same.
  np.testing.assert_allclose(unit, before / tf.norm(before, axis=1, keepdims=True), atol=1e-4)
