"""The arms of GC-GAN's tables: which run is the full model, which leaves out a loss, which is a baseline."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

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
# What may differ between arms: what makes them arms, and where and when they ran.
_FREE = (
  *('seed', 'condition', 'image_weight', 'landmark_weight', 'contrastive_weight', 'pretrain_steps'),
  *('data_dir', 'cache_gb', 'log_every', 'checkpoint_every', 'sample_every', 'keep_checkpoints', 'evaluate'),
  *('strategy', 'cpu_devices', 'worker_timeout', 'xla', 'steps_per_execution'),
)
# Of the arm without image loss, which has no warm steps and needs its rate for longer.
_OF_RATE = ('warm_learning_rate', 'learning_rate_decay', 'learning_rate_decay_every')


def _settings(config: Any) -> dict[str, Any]:
  """What has to be equal in a fair comparison: each setting that is not free, and the number of generator updates."""
  values = {f.name: getattr(config, f.name) for f in dataclasses.fields(config) if f.name not in _FREE}
  values['warm_steps + train_steps'] = values.pop('warm_steps') + values.pop('train_steps')
  if config.image_weight == 0:
    values = {name: value for name, value in values.items() if name not in _OF_RATE}
  return values


def arm_of(config: Any) -> str:
  """The arm of a `GCGANConfig`: `model`, a baseline, or the losses that are left out."""
  parts = {'landmark_image': ['spg'], 'onehot': ['cdaae']}.get(config.condition, [])
  embeds = config.condition == 'embedding'
  parts += ['without_image_loss'] * (config.image_weight == 0)
  parts += ['without_landmark_loss'] * (embeds and config.landmark_weight == 0)
  parts += ['without_contrastive_loss'] * (embeds and config.contrastive_weight == 0)
  return '_'.join(parts) or 'model'


def read_arms(workdirs: Sequence[str | Path]) -> dict[str, dict[int, Path]]:
  """Sorts runs into arms by their settings, and says which arms are missing or were trained otherwise.

  Args:
    workdirs: runs of GC-GAN.
  Returns:
    arm -> seed -> run; arms in the order of `TITLES`, seeds ascending.
  Raises:
    FileNotFoundError: if one is no run.
    ValueError: if the full model is missing, two runs are the same, or they cannot be compared.
  """
  arms: dict[str, dict[int, Path]] = {}
  configs: dict[Path, Any] = {}
  for path in map(Path, workdirs):
    config = configs[path] = runs.load_config(path)
    if config.system != 'gcgan':
      raise ValueError(f'{path} is a run of {config.system}: these are the tables of gcgan')
    seeds = arms.setdefault(arm_of(config), {})
    if config.seed in seeds:
      raise ValueError(
        f'{path} and {seeds[config.seed]} are both {arm_of(config)} with seed {config.seed}: give one of them'
      )
    seeds[config.seed] = path
  if 'model' not in arms:
    raise ValueError('none of the runs is the full GC-GAN, whose embedding judges the others: give a run of it too')
  order = [*TITLES, *sorted(set(arms) - set(TITLES))]
  arms = {arm: dict(sorted(arms[arm].items())) for arm in order if arm in arms}
  for arm in order:
    where = ', '.join(f'{path} (seed {seed})' for seed, path in arms.get(arm, {}).items())
    print(f'{arm}: {where or "no run was given, left out"}')
  first = next(iter(arms['model'].values()))
  for path, config in configs.items():
    if config.image_size != configs[first].image_size:
      raise ValueError(
        f'{path} makes pictures of {config.image_size} pixels, {first} of {configs[first].image_size}: they cannot be '
        'compared'
      )
    wanted = _settings(configs[first])
    differing = [
      f'{name}={value} (not {wanted[name]})' for name, value in _settings(config).items() if value != wanted[name]
    ]
    if differing:
      print(f'no fair comparison: {path} was trained with {", ".join(differing)}')
  return arms
