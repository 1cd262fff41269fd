"""Configuration: the shared settings, and the one way in which a default is written.

Every setting of the project is a dataclass field made by `option`; flags, help texts, range checks and `flags.cfg`
all derive from it. A system's own config (for example `models.gcgan.GCGANConfig`) extends `RunConfig` and `DataConfig`.
"""

import dataclasses
import math
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
  """Raises ConfigError if a field of `config` has a wrong type or value, or shared settings contradict each other."""
  for field in dataclasses.fields(config):
    value, meta = getattr(config, field.name), field.metadata
    wanted = type(field.default)
    if wanted is float and type(value) is int:
      value = float(value)
      object.__setattr__(config, field.name, value)
    low, high, choices = meta.get('low'), meta.get('high'), meta.get('choices')
    bad = (type(value) is not wanted
           or (wanted is float and not math.isfinite(value))
           or (low is not None and value < low)
           or (high is not None and value > high)
           or (choices is not None and value not in choices)
           or (isinstance(value, str) and any(ord(c) < 32 for c in value)))
    if bad:
      raise ConfigError(f'{field.name}={value!r} is not allowed: {allowed(field)} is needed', (field.name,))
  if isinstance(config, RunConfig):
    _check_run(config)


def _check_run(config: 'RunConfig') -> None:
  every = config.steps_per_execution
  for name in ('log_every', 'checkpoint_every', 'sample_every'):
    if getattr(config, name) % every:
      raise ConfigError(f'{name}={getattr(config, name)} is not a multiple of steps_per_execution={every}: '
                        'set one so that it is', (name, 'steps_per_execution'))
  if config.strategy == 'default' and config.cpu_devices > 1:
    raise ConfigError(f'cpu_devices={config.cpu_devices} leaves devices idle under strategy=default: set '
                      'strategy=mirrored or cpu_devices=1', ('cpu_devices', 'strategy'))


def allowed(field: dataclasses.Field) -> str:
  """Says in words which values a field takes: 'an integer of at least 1'."""
  meta = field.metadata
  if meta.get('choices'):
    return 'one of ' + ', '.join(repr(c) if not c else c for c in meta['choices'])
  words = {bool: 'true or false', int: 'an integer', float: 'a number', str: 'one line of text'}[type(field.default)]
  low, high = meta.get('low'), meta.get('high')
  bounds = [f'at least {low}'] * (low is not None) + [f'at most {high}'] * (high is not None)
  return words + (' of ' + ' and '.join(bounds) if bounds else '')


def parse_value(field: dataclasses.Field, text: str) -> Any:
  """Turns the text of a flag into the value of its field.

  Raises:
    ConfigError: if the text is not of the field's type. Ranges are left to `check_fields`.
  """
  kind = type(field.default)
  if kind is str:
    return text
  try:
    return {'true': True, 'false': False, '1': True, '0': False}[text.lower()] if kind is bool else kind(text)
  except (KeyError, ValueError):
    raise ConfigError(f'{field.name}={text!r} is not allowed: {allowed(field)} is needed', (field.name,)) from None


def format_value(value: Any) -> str:
  """The text of a value; `parse_value` reads the same value from it."""
  return str(value).lower() if isinstance(value, bool) else str(value)


def differences(first: Any, second: Any) -> dict[str, tuple[Any, Any]]:
  """The fields in which two configs of one class differ: name -> (value in the first, value in the second)."""
  pairs = {f.name: (getattr(first, f.name), getattr(second, f.name)) for f in dataclasses.fields(first)}
  return {name: (a, b) for name, (a, b) in pairs.items() if a != b}


@dataclasses.dataclass(frozen=True)
class RunConfig:
  """How long, how often, where and how exactly a run computes. The same for every system.

  A phase `p` of a system lasts `p_steps` steps: `train_steps`, and for example `pretrain_steps`.
  """

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
  cpu_devices: int = option(1, 'Split the CPU into this many devices, to try --strategy=mirrored without GPUs.',
                            low=1, high=64)
  worker_timeout: int = option(600, 'Seconds a worker waits for the others before it gives up.', low=1)
  xla: str = option('auto', 'Compile the step with XLA; auto means on GPU and TPU only.', choices=('auto', 'on', 'off'))
  precision: str = option('float32', 'Arithmetic of the networks.', choices=('float32', 'mixed_bfloat16'))
  steps_per_execution: int = option(1, 'Training steps per call of the compiled function.', low=1)
  init_from: str = option('', 'Start from the weights of this run (a workdir), or of a small model that comes with the '
                              'project (pretrained:gcgan), instead of from random ones.')

  def __post_init__(self):
    check_fields(self)
    for wrong, message, fields in self._contradictions():
      if wrong:
        raise ConfigError(message, fields)

  def _contradictions(self) -> list[tuple[bool, str, tuple[str, ...]]]:
    """What a system's settings must not say together: whether they do, the message, and the settings to blame."""
    return []


@dataclasses.dataclass(frozen=True)
class DataConfig:
  """Which faces, and how they are read. The same for every system."""

  dataset: str = option('synthetic', 'synthetic (rendered on first use), or the path of a prepared data set.')
  data_dir: str = option('~/.cache/personae', 'Where rendered data sets are kept.')
  cache_gb: float = option(4.0, 'Decoded pictures are held in memory up to this size, read by row beyond it.', low=0.0)
  face_model: str = option('', 'Face model of rendered people: an .npz of ours (worlds with hair need a painted one); '
                               'empty is the built-in one.')
  alignment: str = option('paper', 'Crop of rendered faces: paper is the 3-point affine of the GC-GAN paper, '
                                   "similarity keeps a face's proportions.", choices=('paper', 'similarity'))
  template_scale: float = option(0.8, 'Size of the alignment template about the centre of the crop.', low=0.3, high=1.5)
  identities: int = option(300, 'People in the synthetic data set; one in ten is held out.', low=4)
  images_per_identity: int = option(24, 'Rendered images of each synthetic person.', low=2)
  render_size: int = option(116, 'Pixels along a render from which a crop of 128 is cut (larger crops: in proportion); '
                                 'fewer are drawn faster and look softer.', low=32, high=512)
  world_seed: int = option(0, 'Seeds the synthetic data set.', low=0, high=2**31 - 1)
  augment_flip: bool = option(False, 'Mirror half of the training pairs.')
  augment_shift: float = option(0.0, 'Shift training pairs by up to this share of the crop.', low=0.0, high=0.5)
  augment_scale: float = option(0.0, 'Grow or shrink training pairs by up to this share.', low=0.0, high=0.5)
  augment_colour: float = option(0.0, 'Change brightness, contrast and saturation of training pairs by up to this '
                                      'share.', low=0.0, high=0.5)
  augment_tint: float = option(0.0, 'Change red, green and blue of training pairs, each by up to this share.', low=0.0,
                               high=0.5)
  augment_melanin: float = option(0.0, 'Darken the skin of half of the training pairs by up to this optical density in '
                                       'blue (1 makes light skin dark); teeth and grey stay.', low=0.0, high=2.0)
  augment_warp: float = option(0.0, 'Warp both pictures of a training pair alike, by a smooth random field of this '
                                    'standard deviation as a share of the crop: faces of other shapes.', low=0.0,
                               high=0.1)
