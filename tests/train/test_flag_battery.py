"""Every flag does something: for each field of each registered config, a second value and what it must change.

A field without an entry fails, and so does an entry without a field. An entry is (second value, effect): `losses` of
two steps, `shape` of the weights, their `values`, the `batches`, the rendered `world`, a refusal, the phases, or
`elsewhere`, a named test.
"""

import dataclasses
import functools
import pathlib

import pytest
import tensorflow as tf

from input_pipeline import PIPELINES, actors, augmentation, synthetic, talking_heads
from models import SYSTEMS, runs
from train.rehearsal import make_batch

pytestmark = pytest.mark.usefixtures('toy_system')
ROOT = pathlib.Path(__file__).parents[2]


def losses(phase='train', **base):
  """Losses of the first step or, where these are alike, of the second."""
  return lambda name, changes: any(
      _losses(name, phase, base, steps) != _losses(name, phase, {**base, **changes}, steps) for steps in (1, 2))


def weights(name, changes):
  return _weights(name, tuple(sorted(changes.items())))


@functools.lru_cache(maxsize=2)  # What the others of a system are compared with.
def _weights(name, changes):
  return runs.build(tiny(name, **dict(changes))).get_weights()


def trained(**base):
  """The weights after two steps: what the second step alone sees is in no loss yet."""
  def differs(name, changes):
    systems = [runs.build(tiny(name, **base, **c)) for c in ({}, changes)]
    for system in systems:
      spec = PIPELINES[name](system.config).spec()
      for t in range(2):
        system.train_step(make_batch(spec, t))
    first, second = (system.get_weights() for system in systems)
    return any((a != b).any() for a, b in zip(first, second, strict=True))
  return differs


def shape(**base):
  def differs(name, changes):
    first, second = ([w.shape for w in weights(name, {**base, **c})] for c in ({}, changes))
    return first != second
  return differs


def values(name, changes):
  return any((a != b).any() for a, b in zip(weights(name, {}), weights(name, changes), strict=True))


def phases(name, changes):
  system = SYSTEMS[name]
  return system.phases(tiny(name)) != system.phases(tiny(name, **changes))


def batch_shapes(name, changes):
  return PIPELINES[name](tiny(name)).spec() != PIPELINES[name](tiny(name, **changes)).spec()


def world(name, changes):
  return synthetic.dataset_path(tiny(name)) != synthetic.dataset_path(tiny(name, **changes))


def heads(name, changes):
  return talking_heads.dataset_path(tiny(name)) != talking_heads.dataset_path(tiny(name, **changes))


def stage(name, changes):
  return actors.dataset_path(tiny(name), 'B') != actors.dataset_path(tiny(name, **changes), 'B')


def augmented(name, changes):
  step = tf.constant(0, tf.int64)
  before, after = (augmentation.draw_changes(tiny(name, **c), (0, 0), step) for c in ({}, changes))
  assert before is None
  still = {'flip': 1.0, 'scale': 1.0, 'shift': 0.0, 'gains': 0.0}
  if {'warp', 'melanin'} & after.keys():
    return True
  return any((after[key].numpy() != value).any() for key, value in still.items())


def refused(text):
  def is_refused(name, changes):
    with pytest.raises((ValueError, OSError), match=text):
      PIPELINES[name](tiny(name, **changes)).held_out(1)
    return True
  return is_refused


def elsewhere(test):
  def exists(name, changes):
    path, _, function = test.partition('::')
    return f'def {function}(' in (ROOT / path).read_text()
  return exists


TRIPLETS = 'tests/input_pipeline/test_triplets.py::'
LOOP = 'tests/train/test_loop.py::'
GANFACES = 'tests/models/test_ganfaces.py::'
DOMAINS = 'tests/input_pipeline/test_ganfaces.py::'
FACECYCLE = 'tests/models/test_facecycle.py::'
RECOGNITION = 'tests/models/test_recognition.py::'
TWO_SETS = 'tests/input_pipeline/test_recognition.py::'
TRACKS = 'tests/input_pipeline/test_facecycle.py::'
STAGE = 'tests/input_pipeline/test_actors.py::'
PEOPLE = 'tests/input_pipeline/test_faceoff.py::'
MOVED = elsewhere(PEOPLE + 'test_further_augmentation_moves_the_mask_too')
WEIGHTS = elsewhere(FACECYCLE + 'test_weights_and_forms_change_the_losses')
RATES = elsewhere(FACECYCLE + 'test_the_papers_schedules')
RUN = {
    'train_steps': (3, phases),
    'batch_size': (6, batch_shapes),
    'log_every': (2, elsewhere(LOOP + 'test_a_run_directory')),
    'checkpoint_every': (2, elsewhere(LOOP + 'test_a_run_directory')),
    'keep_checkpoints': (2, elsewhere(LOOP + 'test_a_run_directory')),
    'sample_every': (4, elsewhere(LOOP + 'test_a_run_directory')),
    'evaluate': (False, elsewhere(LOOP + 'test_a_finished_run_says_so_and_is_evaluated')),
    'seed': (1, values),
    'deterministic': (True, elsewhere('tests/train/test_devices.py::test_deterministic_kernels')),
    'strategy': ('mirrored', elsewhere('tests/conformance/test_conformance.py::test_two_replicas_equal_one')),
    'cpu_devices': (2, refused('cpu_devices=2 leaves devices idle')),
    'worker_timeout': (1, elsewhere('tests/train/test_devices.py::test_a_worker_alone_waits_and_gives_up')),
    'xla': ('on', elsewhere('tests/train/test_devices.py::test_xla_compiles_the_step')),
    'precision': ('mixed_bfloat16', losses()),
    'steps_per_execution': (3, refused('is not a multiple of steps_per_execution=3')),
    'init_from': ('run', elsewhere(LOOP + 'test_init_from_takes_weights_and_nothing_else')),
}
# The toy draws noise, so these are shown on the systems that read faces.
DATA = {
    'dataset': ('nowhere', refused('dataset=nowhere')),
    'data_dir': ('elsewhere', world),
    'cache_gb': (0.0, elsewhere(TRIPLETS + 'test_reading_by_row_gives_the_same_batches')),
    'face_model': ('nowhere.npz', refused('nowhere.npz')),
    'alignment': ('similarity', world),
    'template_scale': (0.7, world),
    'identities': (5, world),
    'images_per_identity': (3, world),
    'render_size': (64, world),
    'world_seed': (1, world),
    'augment_flip': (True, augmented),
    'augment_shift': (0.1, augmented),
    'augment_scale': (0.1, augmented),
    'augment_colour': (0.1, augmented),
    'augment_tint': (0.1, augmented),
    'augment_melanin': (0.5, augmented),
    'augment_warp': (0.02, augmented),
}
OWN = {
    'toy': {
        'image_size': (16, batch_shapes),
        'learning_rate': (0.5, losses()),
        'warm_steps': (3, phases),
        'ema_decay': (0.0, shape()),
    },
    'gcgan': {
        'image_size': (64, shape()),
        'width': (1 / 8, shape()),
        'condition': ('onehot', shape(pretrain_steps=0, init_from='run')),
        'expressions': (7, shape(condition='onehot', pretrain_steps=0)),
        'n_skips': (3, losses()),
        'skip': ('concat', shape()),
        'composition': ('warp', shape()),
        'bend_input': (True, losses()),
        'output_norm': (False, shape()),
        'fix_norm': (True, losses()),
        'pretrain_steps': (3, phases),
        'warm_steps': (3, phases),
        'warm_learning_rate': (1e-2, losses('warm')),
        'learning_rate': (1e-2, losses()),
        'learning_rate_decay': (0.5, losses(learning_rate_decay_every=1)),
        'learning_rate_decay_every': (1, losses(learning_rate_decay=0.5)),
        'learning_rate_floor': (4.9e-5, losses(learning_rate_decay=0.5, learning_rate_decay_every=1)),
        'critic_steps': (3, losses()),
        'contrastive_weight': (0.5, losses('pretrain')),
        'landmark_weight': (0.5, losses('pretrain')),
        'image_weight': (2.0, losses()),
        'adversarial_weight': (0.1, losses()),
        'mask_weight': (1.0, losses(composition='warp')),
        'penalty_weight': (1.0, losses()),
        'margin': (50.0, losses('pretrain')),
        'contrastive_balance': ('class', losses('pretrain')),
        'image_loss_reduction': ('sum', losses()),
        'real_sample': ('target', losses()),
        'landmark_jitter': (0.1, losses('pretrain')),
        'balance_skin': (True, elsewhere(TRIPLETS + 'test_skin_tones_are_balanced_by_showing_the_rarer_again')),
        'auxiliary_dataset': ('nowhere', elsewhere(TRIPLETS + 'test_an_auxiliary_data_set_fills_the_end_of_a_batch')),
        'auxiliary_share': (0.25, elsewhere(TRIPLETS + 'test_an_auxiliary_data_set_fills_the_end_of_a_batch')),
        'ema_decay': (0.9, shape()),
    },
    'ganfaces': {
        'dataset': ('nowhere', elsewhere(DOMAINS + 'test_photographs_that_do_not_fit_are_refused')),
        'face_model': ('nowhere.npz', elsewhere(DOMAINS + 'test_a_model_without_paint_cannot_stand_in')),
        'pairs': ('nowhere', refused('nowhere')),
        'renders_per_identity': (3, elsewhere(DOMAINS + 'test_batch_keeps_the_contract')),
        'identities': (7, shape()),
        'images_per_identity': (3, elsewhere(DOMAINS + 'test_batch_keeps_the_contract')),
        'stand_ins': (6, elsewhere(DOMAINS + 'test_batch_keeps_the_contract')),
        'stand_in_pairs': (6, elsewhere(DOMAINS + 'test_batch_keeps_the_contract')),
        'alignment': ('paper', refused("alignment='paper' is not allowed")),
        'image_size': (32, shape()),
        'width': (1 / 4, shape()),
        'generator_channels': (16, shape()),
        'discriminator_channels': (32, shape()),
        'discriminator_code': (4, shape()),
        'norm': ('released', shape()),
        'dropout': (0.5, losses()),
        'inverse': (False, shape(cycle_weight=0.0, pair_weight=0.0)),
        'cycle_weight': (1.0, losses()),
        'backward_cycle_weight': (0.5, losses()),
        'photo_renders': (True, losses()),
        'pair_weight': (1.0, losses()),
        'reconstruction_weight': (0.5, losses()),
        'pixel_weight': (1.0, losses()),
        'pixel_mask': (False, losses()),
        'pixel_weight_start': (1.0, losses(pixel_weight_start=2.0, pixel_fall_steps=4)),
        'pixel_fall_steps': (8, losses(pixel_weight_start=2.0, pixel_fall_steps=4)),
        'identity_loss': ('center', losses()),
        'identity_weight': (0.1, losses()),
        'identity_margin': (2.0, losses()),
        'sigma_floor': (2.0, losses()),
        'centroid_momentum': (0.5, losses()),
        'embedding': ('nowhere.keras', elsewhere(GANFACES + 'test_an_embedding_that_is_not_there_is_told')),
        'rotation': (0.0, losses()),
        'balance_gamma': (0.7, losses()),
        'balance_rate': (0.1, losses()),
        'balance_start': (0.2, losses()),
        'warm_steps': (3, phases),
        'warm_learning_rate': (1e-2, losses('warm')),
        'warm_generators': (True, losses('warm')),
        'learning_rate': (1e-3, losses()),
        'learning_rate_steps': (124_000, elsewhere(GANFACES + 'test_rate_is_halved_seven_times')),
        'learning_rate_floor': (1e-5, elsewhere(GANFACES + 'test_rate_is_halved_seven_times')),
        'ema_decay': (0.0, shape()),
    },
    'facecycle': {
        'data_dir': ('elsewhere', heads),
        'alignment': ('paper', refused("alignment='paper' is not allowed")),
        'enlargement': (1.25, heads),
        'identities': (5, heads),
        'images_per_identity': (3, heads),
        'frames_per_track': (3, heads),
        'largest_yaw': (10.0, heads),
        'tracks': (3, elsewhere(TRACKS + 'test_fewer_tracks_may_be_used')),
        'world_seed': (1, heads),
        'p_flip': (1.0, elsewhere(TRACKS + 'test_mirror_pairs')),
        'shared_flip': (False, elsewhere(TRACKS + 'test_frames_of_a_pair_share_their_flip')),
        'augment_flip': (False, elsewhere(TRACKS + 'test_jitter_equals_a_plain_reference')),
        'augment_shift': (0.1, elsewhere(TRACKS + 'test_shift_tint_and_warp_change_both_frames_alike')),
        'augment_scale': (0.1, elsewhere(TRACKS + 'test_jitter_equals_a_plain_reference')),
        'augment_colour': (0.1, elsewhere(TRACKS + 'test_colours_change_as_said')),
        'augment_tint': (0.1, elsewhere(TRACKS + 'test_shift_tint_and_warp_change_both_frames_alike')),
        'augment_melanin': (0.5, elsewhere(TRIPLETS + 'test_melanin_darkens_skin_and_leaves_grey')),
        'augment_warp': (0.02, elsewhere(TRACKS + 'test_shift_tint_and_warp_change_both_frames_alike')),
        'image_size': (64, shape()),
        'width': (1 / 8, shape()),
        'vgg19_weights': ('nowhere.h5', elsewhere(FACECYCLE + 'test_weights_of_vgg19_are_loaded_when_a_run_begins')),
        'front_end': ('joint', shape()),
        'backward_flow': ('released', WEIGHTS),
        'code_end': ('l2', elsewhere(FACECYCLE + 'test_codes_end_as_the_settings_say')),
        'affine': ('linear', shape()),
        'flow_deviation': (0.01, values),
        'noise': (0.5, WEIGHTS),
        'pixel_weight': (2.0, WEIGHTS),
        'ssim_weight': (2.0, WEIGHTS),
        'symmetry_weight': (2.0, WEIGHTS),
        'gram_weight': (2.0, WEIGHTS),
        'warp_weight': (2.0, WEIGHTS),
        'identity_warp_weight': (2.0, WEIGHTS),
        'margin_weight': (2.0, WEIGHTS),
        'margin': (0.2, WEIGHTS),
        'margin_form': ('released', WEIGHTS),
        'ssim_range': ('normalised', WEIGHTS),
        'stage': ('1', phases),
        'front_steps': (3, phases),
        'front_learning_rate': (1e-2, losses('front')),
        'motion_steps': (3, phases),
        'motion_learning_rate': (1e-2, RATES),
        'learning_rate': (1e-2, RATES),
        'motion_schedule_steps': (50, RATES),
        'schedule_steps': (50, RATES),
        'schedule': ('cosine', elsewhere(FACECYCLE + 'test_a_cosine_schedule')),
        'ema_decay': (0.9, shape()),
    },
    'faceoff': {
        'data_dir': ('elsewhere', stage),
        'pair': ('A2D', elsewhere(STAGE + 'test_they_are_rendered_once_and_by_their_settings')),
        'images_per_identity': (3, stage),
        'test_frames': (5, stage),
        'frame_rate': (6.0, stage),
        'largest_yaw': (10.0, stage),
        'load_size': (40, stage),
        'world_seed': (1, stage),
        'masks': ('person', elsewhere(STAGE + 'test_masks_are_exact')),
        'alignment': ('enlarged', refused('stands still')),
        'enlargement': (2.0, elsewhere(PEOPLE + 'test_data_that_does_not_fit_is_refused')),
        'augment_flip': (False, elsewhere(PEOPLE + 'test_picture_and_mask_are_cut_out_and_mirrored_alike')),
        **{f'augment_{name}': (0.1, MOVED) for name in ('shift', 'scale', 'colour', 'tint', 'melanin', 'warp')},
        'image_size': (64, batch_shapes),
        'width': (1 / 8, shape()),
        'generator': ('unet', shape(blocks=0)),
        'blocks': (3, shape()),
        'dropout': (0.5, losses()),
        'discriminator_layers': (2, shape()),
        'second_discriminator_layers': (2, shape()),
        'discriminator_share': (0.9, losses(second_discriminator_layers=2)),
        'initial_weights': ('xavier', values),
        'adversarial': ('wgan', losses()),
        'critic_steps': (2, losses(pool_size=0)),
        'clip': (0.001, losses(adversarial='wgan')),
        'penalty_weight': (1.0, losses(adversarial='wgan_gp')),
        'cycle_weight': (5.0, losses()),
        'identity_weight': (0.5, losses()),
        'ssim_weight': (1.0, losses()),
        'ssim_form': ('single', losses(ssim_weight=1.0)),
        'mask_weight': (1.0, losses()),
        'crop_mask': (True, losses()),
        'pool_size': (0, shape()),
        'learning_rate': (1e-3, losses()),
        'constant_steps': (0, trained(decay_steps=2)),
        'decay_steps': (2, trained(constant_steps=0)),
        'optimizer': ('rmsprop', losses()),
        'ema_decay': (0.9, shape()),
    },
    'recognition': {
        'dataset': ('nowhere', refused('dataset=nowhere')),
        'face_model': ('nowhere.npz', refused('nowhere.npz')),
        'alignment': ('paper', refused('alignment=paper is not how stand-ins')),
        'classes': (7, shape()),
        'real_share': (0.5, shape()),
        'generated': ('', shape()),
        'generated_classes': (3, shape()),
        'generated_share': (0.5, elsewhere(TWO_SETS + 'test_a_fixed_share_of_each_batch_is_generated')),
        'stand_ins': (16, shape()),
        'images_per_identity': (4, shape()),
        'stand_in_pairs': (6, elsewhere(TWO_SETS + 'test_renders_and_stand_ins_are_those_of_ganfaces')),
        'identities': (5, shape()),
        'renders_per_identity': (3, elsewhere(TWO_SETS + 'test_renders_and_stand_ins_are_those_of_ganfaces')),
        'image_size': (64, elsewhere('tests/input_pipeline/test_identities.py::test_small_pictures_are_enlarged')),
        'augment_flip': (True, augmented),
        'backbone': ('nn4', shape()),
        'width': (1 / 8, shape()),
        'head': ('released', shape()),
        'vgg19_weights': (
            'nowhere.h5', elsewhere(RECOGNITION + 'test_weights_of_imagenet_are_loaded_when_a_run_begins')),
        'generated_gradient': (1.0, trained(learning_rate=0.01)),
        'uniform_weight': (1.0, losses()),
        'dropout': (0.5, losses()),
        'weight_decay': (10.0, losses()),
        'learning_rate': (1e-2, losses()),
        'head_learning_rate': (1e-1, losses()),
        'learning_rate_decay': (0.1, trained(learning_rate_decay_every=1)),
        'learning_rate_decay_every': (1, trained(learning_rate_decay=0.1)),
        'adam_epsilon': (1e-8, losses()),
        'ema_decay': (0.0, shape()),
    },
    'nn4': {
        'stand_ins': (12, elsewhere('tests/input_pipeline/test_identities.py::test_boxes_are_those_of_the_stand_ins')),
        'image_size': (64, elsewhere('tests/input_pipeline/test_identities.py::test_small_pictures_are_enlarged')),
        'width': (1 / 8, shape()),
        'loss': ('triplet', shape()),
        'classes': (7, shape()),
        'images_per_person': (3, elsewhere('tests/input_pipeline/test_identities.py::test_a_batch_of_triplets')),
        'margin': (0.5, losses(loss='triplet')),
        'dropout': (0.5, losses()),
        'weight_decay': (10.0, losses()),
        'learning_rate': (1e-2, losses()),
        'learning_rate_decay': (0.1, trained(learning_rate_decay_every=1)),
        'learning_rate_decay_every': (1, trained(learning_rate_decay=0.1)),
        'ema_decay': (0.0, shape()),
    },
}


def tiny(name, **changes):
  return SYSTEMS[name].Config.tiny(**changes)


class Steps:
  """The losses of a system's first steps on made-up batches, made when they are asked for."""

  def __init__(self, config, phase):
    self._system = runs.build(config)
    self._system.start_phase(phase)
    self._spec = PIPELINES[config.system](config).spec()
    self._losses = []

  def first(self, count):
    for t in range(len(self._losses), count):
      found = self._system.train_step(make_batch(self._spec, t))
      self._losses.append({k: float(v) for k, v in found.items()})
    return self._losses[:count]


@functools.lru_cache(maxsize=4)  # The plain config of a phase, and the one that is compared with it.
def _steps(name, phase, changes):
  return Steps(tiny(name, **dict(changes)), phase)


def _losses(name, phase, changes, steps):
  return _steps(name, phase, tuple(sorted(changes.items()))).first(steps)


@pytest.mark.parametrize('name', OWN)
def test_every_field_has_an_entry_and_every_entry_a_field(name):
  entries = {*RUN, *DATA, *OWN[name]}
  assert entries == {f.name for f in dataclasses.fields(SYSTEMS[name].Config)}
  assert set(SYSTEMS) == set(OWN)


@pytest.mark.parametrize('name, field', [(name, field) for name in OWN for field in
                                         [*RUN, *(DATA if name != 'toy' else ()), *OWN[name]]])
def test_a_second_value_changes_what_it_should(name, field):
  value, effect = {**RUN, **DATA, **OWN[name]}[field]
  first = getattr(tiny(name), field)
  assert value != first and type(value) is type(first), 'the entry tests nothing'
  assert effect(name, {field: value})
