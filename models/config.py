"""Configuration: the shared settings, and the one way in which a default is written.

Every setting of the project is a dataclass field made by `option`; flags, help texts, range checks and `flags.cfg`
all derive from it. A system's own config (for example `models.gcgan.GCGANConfig`) extends `RunConfig` and `DataConfig`.
"""

import dataclasses
from typing import Any


class ConfigError(ValueError):
  """A setting has a value that is not allowed. `fields` names the settings involved, in order of blame."""

  def __init__(self, message: str, fields: tuple[str, ...] = ()):
    super().__init__(message)
    self.fields = fields


def option(default: Any, help: str, *, low: float | None = None, high: float | None = None,
           choices: tuple[str, ...] | None = None) -> Any:
  """A dataclass field that is also a flag.

  Args:
    default: the value when nobody says otherwise; its field's annotation (bool, int, float or str) is the flag's type.
    help: one sentence for `--help`.
    low: the smallest allowed number, inclusive.
    high: the largest allowed number, inclusive.
    choices: the allowed strings.
  """
  return dataclasses.field(default=default, metadata={'help': help, 'low': low, 'high': high, 'choices': choices})


def check_fields(config: Any) -> None:
  """Raises ConfigError if a field of the dataclass `config` has the wrong type or is out of its range."""
  for field in dataclasses.fields(config):
    value, meta = getattr(config, field.name), field.metadata
    wanted = field.type if isinstance(field.type, type) else type(field.default)
    if wanted is float and type(value) is int:
      object.__setattr__(config, field.name, float(value))
    elif type(value) is not wanted:
      raise ConfigError(f'{field.name}={value!r} is not of type {wanted.__name__}', (field.name,))
    low, high, choices = meta.get('low'), meta.get('high'), meta.get('choices')
    below = low is not None and not value >= low
    above = high is not None and not value <= high
    if below or above:
      allowed = ' and '.join([f'at least {low}'] * (low is not None) + [f'at most {high}'] * (high is not None))
      raise ConfigError(f'{field.name}={value!r} is out of range: {allowed} is allowed', (field.name,))
    if choices is not None and value not in choices:
      raise ConfigError(f'{field.name}={value!r} is not one of {", ".join(choices)}', (field.name,))


@dataclasses.dataclass(frozen=True)
class RunConfig:
  """How long, how often, where and how exactly a run computes. The same for every system."""

  train_steps: int = option(200_000, 'Adversarial steps (one step = one generator update).', low=0)
  batch_size: int = option(16, 'Images per step, over all replicas.', low=1)
  log_every: int = option(100, 'Steps between two rows of stats.jsonl and TensorBoard.', low=1)
  checkpoint_every: int = option(1000, 'Steps between two checkpoints.', low=1)
  keep_checkpoints: int = option(3, 'How many of the newest checkpoints of a phase are kept.', low=1)
  sample_every: int = option(1000, 'Steps between two sample sheets.', low=1)
  evaluate: bool = option(True, 'Evaluate the trained model when training ends.')
  seed: int = option(0, 'Seeds weights, batches and every random draw of a step.', low=0, high=2**31 - 1)
  deterministic: bool = option(False, "Use TensorFlow's deterministic kernels (slower; CPU float32 is exact without).")
  strategy: str = option('default', 'Device plan: one device, all local devices, or the workers of TF_CONFIG.',
                         choices=('default', 'mirrored', 'multi_worker'))
  worker_timeout: int = option(600, 'Seconds a worker waits for the others before it gives up.', low=1)
  xla: str = option('auto', 'Compile the step with XLA; auto means on GPU and TPU only.', choices=('auto', 'on', 'off'))
  precision: str = option('float32', 'Arithmetic of the networks.', choices=('float32', 'mixed_bfloat16'))
  steps_per_execution: int = option(1, 'Training steps per call of the compiled function.', low=1)
  init_from: str = option('', 'Start from the weights of this run (a workdir) instead of from random ones.')


@dataclasses.dataclass(frozen=True)
class DataConfig:
  """Which faces, and how they are read. The same for every system."""

  dataset: str = option('synthetic', 'synthetic (rendered on first use), or the path of a prepared data set.')
  data_dir: str = option('~/.cache/personae', 'Where rendered data sets are kept.')
  cache_gb: float = option(4.0, 'Encoded pictures are held in memory up to this size, read by row beyond it.', low=0.0)
  face_model: str = option('', 'Morphable model of the synthetic world: a .npz of ours or an ICT-FaceKit folder; '
                               'empty is the built-in one.')
  alignment: str = option('paper', "Crop of rendered faces: paper is the 3-point affine of the GC-GAN paper, similarity "
                                   "keeps a face's proportions.", choices=('paper', 'similarity'))
  template_scale: float = option(0.8, 'Size of the alignment template about the centre of the crop.', low=0.3, high=1.5)
  identities: int = option(300, 'People in the synthetic data set; one in ten is held out.', low=4)
  images_per_identity: int = option(24, 'Rendered images of each synthetic person.', low=2)
  world_seed: int = option(0, 'Seeds the synthetic data set.', low=0, high=2**31 - 1)
