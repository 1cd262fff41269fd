"""The arms of the papers' tables: which run is the full model, which leaves out a loss, which is a baseline."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from models import runs

# Subject in the results -> what the paper calls it, in the order of its tables.
TITLES = {
  'model': 'GC-GAN',
  'without_image_loss': 'w/o L_ir',
  'without_landmark_loss': 'w/o L_gr',
  'without_contrastive_loss': 'w/o L_contr',
  'cdaae': 'CDAAE',
  'spg': 'SPG',
}
GANFACES_TITLES = {
  'model': 'GANFaces',
  'without_pair_discriminator': 'w/o D_P',
  'without_identity': 'w/o C',
  'without_cycle': 'w/o cycle',
  'backward_cycle': 'backward cycle',
  'simgan': 'simGAN',
  'cyclegan': 'CycleGAN',
  'reconstruction': '+ reconstruction',
  'softmax': 'softmax for C',
  'center': 'centres for C',
  'released': 'released code',
}
FACEOFF_TITLES = {
  'model': 'baseline',
  'ssim': 'SSIM .01',
  'ssim_0.0001': 'SSIM .0001',
  'ssim_0.001': 'SSIM .001',
  'ssim_1': 'SSIM 1',
  'ssim_released': 'SSIM, released',
  'unet': 'U-Net as G',
  'wgan': 'WGAN',
  'wgan_released': 'WGAN, released',
  'wgan_gp': 'WGAN-GP',
  'crop_mask': 'crop mask',
  'weight_mask': 'weight mask',
  'five_layers': '5-layer D',
  'double': 'double D (3+5)',
  'double_equal': 'double D (3+3)',
  'released': 'released code',
}
FACECYCLE_TITLES = {
  'model': 'all tracks, 64 px, other frames',
  'few': 'few tracks',
  'few_flip': 'few tracks, flip',
  'few_128': 'few tracks, 128 px',
}
FIRST_PAIR = 'A2B'
# What may differ between arms: where and when they ran, and what makes them arms.
_WHERE = (
  *('seed', 'data_dir', 'cache_gb', 'log_every', 'checkpoint_every', 'sample_every', 'keep_checkpoints', 'evaluate'),
  *('strategy', 'cpu_devices', 'worker_timeout', 'xla', 'steps_per_execution'),
)
_FREE = (*_WHERE, 'condition')
_OF_EMBEDDING = ('landmark_weight', 'contrastive_weight', 'pretrain_steps')
_GANFACES_FREE = (
  *_WHERE,
  *('inverse', 'cycle_weight', 'backward_cycle_weight', 'photo_renders', 'pair_weight', 'reconstruction_weight'),
  *('identity_loss', 'identity_weight', 'pixel_mask', 'norm', 'learning_rate_floor', 'rotation'),
)
_FACEOFF_FREE = (
  *_WHERE,
  *('pair', 'generator', 'blocks', 'dropout', 'initial_weights', 'discriminator_layers', 'discriminator_share'),
  *('second_discriminator_layers', 'adversarial', 'critic_steps', 'clip', 'penalty_weight', 'pool_size', 'optimizer'),
  *('learning_rate', 'ssim_weight', 'ssim_form', 'mask_weight', 'crop_mask', 'identity_weight'),
)
_FACECYCLE_FREE = (*_WHERE, 'tracks', 'p_flip', 'shared_flip', 'image_size')
# Of the arm without image loss, which has no warm steps: it needs its rate for longer, and has no norms yet to keep.
_OF_GAME = ('warm_learning_rate', 'learning_rate_decay', 'learning_rate_decay_every', 'fix_norm')


def _but(config: Any, free: Sequence[str]) -> dict[str, Any]:
  """All settings but the free ones."""
  return {f.name: getattr(config, f.name) for f in dataclasses.fields(config) if f.name not in free}


def _settings(config: Any) -> dict[str, Any]:
  """What has to be equal in a fair comparison: each setting that is not free, and the number of generator updates.

  A weight may be 0, which makes an arm; what the embedding learns by is of no account where there is none.
  """
  free = [*_FREE, *(f'{name}_weight' for name in ('image', 'landmark', 'contrastive')
                    if getattr(config, f'{name}_weight') == 0)]
  free += _OF_EMBEDDING if config.condition != 'embedding' else ()
  values = _but(config, free)
  values['warm_steps + train_steps'] = values.pop('warm_steps') + values.pop('train_steps')
  if config.image_weight == 0:
    values = {name: value for name, value in values.items() if name not in _OF_GAME}
  return values


def arm_of(config: Any) -> str:
  """The arm of a `GCGANConfig`: `model`, a baseline, the losses that are left out, or `sum` and `released`."""
  parts = {'landmark_image': ['spg'], 'onehot': ['cdaae']}.get(config.condition, [])
  embeds = config.condition == 'embedding'
  parts += ['without_image_loss'] * (config.image_weight == 0)
  parts += ['without_landmark_loss'] * (embeds and config.landmark_weight == 0)
  parts += ['without_contrastive_loss'] * (embeds and config.contrastive_weight == 0)
  released = config.n_skips == 3 and not config.output_norm
  parts += ['released'] * released + ['sum'] * (config.image_loss_reduction == 'sum' and not released)
  return '_'.join(parts) or 'model'


def _ganfaces_settings(config: Any) -> dict[str, Any]:
  """As `_settings`; an arm without C has no embedding."""
  values = _but(config, _GANFACES_FREE)
  return values if config.identity_loss != 'none' else {k: v for k, v in values.items() if k != 'embedding'}


def ganfaces_arm(config: Any) -> str:
  """The arm of a `GANFacesConfig`: `model`, simGAN, CycleGAN, or how it leaves the paper."""
  if not config.inverse:
    return 'simgan'
  if config.photo_renders:
    return 'cyclegan'
  parts = ['released'] * (config.norm == 'released')
  parts += ['reconstruction'] * (config.reconstruction_weight > 0)
  parts += ['without_cycle'] * (config.cycle_weight == 0) + ['backward_cycle'] * (config.backward_cycle_weight > 0)
  parts += ['without_pair_discriminator'] * (config.pair_weight == 0)
  parts += {'none': ['without_identity'], 'set': []}.get(config.identity_loss, [config.identity_loss])
  return '_'.join(parts) or 'model'


def pair_of(config: Any) -> str:
  """Whom a `FaceOffConfig` is about: the pair of rendered actors, or the name of the two videos' data set."""
  return config.pair if config.dataset == 'synthetic_actors' else Path(config.dataset).name


def faceoff_variant(config: Any) -> str:
  """The variant of a `FaceOffConfig`: `model` is the baseline."""
  parts = ['unet'] * (config.generator == 'unet')
  if config.adversarial != 'lsgan':
    parts.append(config.adversarial if config.critic_steps > 1 else f'{config.adversarial}_released')
  if config.ssim_form != 'multi_scale':
    parts.append(f'ssim_{config.ssim_form}')
  elif config.ssim_weight:
    parts.append('ssim' if config.ssim_weight == 0.01 else f'ssim_{config.ssim_weight:g}')
  parts += ['weight_mask'] * (config.mask_weight > 0) + ['crop_mask'] * config.crop_mask
  layers = config.discriminator_layers, config.second_discriminator_layers
  usual = {(3, 0): [], (5, 0): ['five_layers'], (3, 5): ['double'], (3, 3): ['double_equal']}
  parts += usual.get(layers, [f'layers_{layers[0]}_{layers[1]}'])
  parts += ['identity'] * (config.identity_weight > 0)
  parts += ['released'] * (config.dropout > 0)
  return '_'.join(parts) or 'model'


def faceoff_arm(config: Any) -> str:
  """The arm of a `FaceOffConfig`: its variant, and the pair of actors where it is not the first one."""
  pair = pair_of(config)
  other = config.dataset == 'synthetic_actors' and pair != FIRST_PAIR
  return faceoff_variant(config) + f'_{pair}' * other


def facecycle_arm(config: Any) -> str:
  """The arm of a `FaceCycleConfig`: `model` is all tracks, 64 pixels, other frames."""
  parts = ['few'] * (config.tracks > 0) + {0.0: [], 1.0: ['flip']}.get(config.p_flip, [f'flip_{config.p_flip:g}'])
  return '_'.join(parts + [f'{config.image_size}'] * (config.image_size != 64)) or 'model'


class Table(NamedTuple):
  """The arms of a system.

  Attributes:
    system: what the paper calls it.
    titles: subject in the results -> name, in the order of the tables.
    arm_of: config -> arm.
    settings: config -> what has to be equal in a fair comparison.
    one_size: whether pictures are compared, which must be of one size.
  """

  system: str
  titles: Mapping[str, str]
  arm_of: Callable[[Any], str]
  settings: Callable[[Any], dict[str, Any]]
  one_size: bool = True


TABLES = {
  'gcgan': Table('GC-GAN', TITLES, arm_of, _settings),
  'ganfaces': Table('GANFaces', GANFACES_TITLES, ganfaces_arm, _ganfaces_settings),
  'faceoff': Table('face-off', FACEOFF_TITLES, faceoff_arm, lambda config: _but(config, _FACEOFF_FREE)),
  'facecycle': Table('FaceCycle', FACECYCLE_TITLES, facecycle_arm, lambda config: _but(config, _FACECYCLE_FREE), False),
}


def table_of(workdir: str | Path) -> Table:
  """The table that a run belongs to.

  Raises:
    FileNotFoundError: if it is no run.
    ValueError: if its system has none.
  """
  system = runs.load_config(workdir).system
  if system not in TABLES:
    raise ValueError(f'{workdir} is a run of {system}: there are tables of {" and ".join(TABLES)}')
  return TABLES[system]


def read_arms(workdirs: Sequence[str | Path]) -> tuple[dict[str, dict[int, Path]], dict[str, str]]:
  """Sorts runs into arms by their settings, and says which arms are missing or were trained otherwise.

  Args:
    workdirs: runs of one system.
  Returns:
    arm -> seed -> run, arms in the order of the table's titles, seeds ascending; and what makes the comparison with an
    arm unfair.
  Raises:
    FileNotFoundError: if one is no run.
    ValueError: if the full model is missing, two runs are the same, or they cannot be compared.
  """
  arms: dict[str, dict[int, Path]] = {}
  configs: dict[Path, Any] = {}
  table = table_of(workdirs[0])
  for path in map(Path, workdirs):
    config = configs[path] = runs.load_config(path)
    if TABLES.get(config.system) is not table:
      raise ValueError(f'{path} is a run of {config.system}: these are the tables of {table.system}')
    seeds = arms.setdefault(table.arm_of(config), {})
    if config.seed in seeds:
      raise ValueError(
        f'{path} and {seeds[config.seed]} are both {table.arm_of(config)} with seed {config.seed}: give one of them'
      )
    seeds[config.seed] = path
  if 'model' not in arms:
    raise ValueError(
      f'none of the runs is the full {table.system}, with which the others are compared: give a run of it too'
    )
  order = [*table.titles, *sorted(set(arms) - set(table.titles))]
  arms = {arm: dict(sorted(arms[arm].items())) for arm in order if arm in arms}
  for arm in order:
    where = ', '.join(f'{path} (seed {seed})' for seed, path in arms.get(arm, {}).items())
    print(f'{arm}: {where or "no run was given, left out"}')
  first, unfair = next(iter(arms['model'].values())), {}
  for path, config in configs.items():
    if table.one_size and config.image_size != configs[first].image_size:
      raise ValueError(
        f'{path} makes pictures of {config.image_size} pixels, {first} of {configs[first].image_size}: they cannot be '
        'compared'
      )
    wanted = table.settings(configs[first])
    differing = [
      f'{name}={value} (not {wanted[name]})' for name, value in table.settings(config).items() if value != wanted[name]
    ]
    if differing:
      arm, line = table.arm_of(config), f'no fair comparison: {path} was trained with {", ".join(differing)}'
      print(line)
      unfair[arm] = f'{unfair[arm]}\n{line}' if arm in unfair else line
  return arms, unfair
