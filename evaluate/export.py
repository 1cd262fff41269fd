"""Exports a run as a SavedModel: `python -m evaluate.export --workdir=RUN --output=EXPORT`.

EXPORT/1/                          the first version; the next export is 2: TensorFlow Serving takes the highest
EXPORT/1/assets.extra/flags.cfg    the settings of the run, which TensorFlow does not read
EXPORT/1/assets.extra/step         the training step of the weights
EXPORT/MODEL_CARD.md               data, licence, measured figures, intended use, limits

`--format=pretrained --output=models/pretrained/NAME` writes a small model that can come with the project instead (see
`models.pretrained`), of a finished and evaluated run on rendered people.
"""

import dataclasses
import os
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from absl import flags

from evaluate.model_card import model_card
from evaluate.provenance import model_version
from evaluate.results import read_results
from models import commands, pretrained, runs

FLAGS = flags.FlagValues()
flags.DEFINE_string('workdir', None, 'The run.', flag_values=FLAGS, required=True)
flags.DEFINE_string(
  'output', None, 'Folder of the exported model; a new version is added to it (a pretrained model is replaced).',
  flag_values=FLAGS, required=True
)
flags.DEFINE_enum(
  'format', 'savedmodel', ['savedmodel', 'pretrained'],
  'savedmodel: for TensorFlow and its Serving; pretrained: small, for --model=pretrained:NAME and --init_from.',
  flag_values=FLAGS,
)

_MOST_BYTES = 8_000_000  # A pretrained model comes with every copy of the project.
# What each setting may be where nothing but the project's own rendered people was used. dlib's descriptor, which a loss
# may listen to, is CC0 itself.
_OURS = {
  'dataset': ('synthetic', 'synthetic_video', 'synthetic_actors'),
  'auxiliary_dataset': ('', 'synthetic'),
  'face_model': ('',),
  'vgg19_weights': ('',),
  'pairs': ('',),
  'generated': ('', 'renders'),
  'embedding': ('dlib', 'untrained'),
}


def export(workdir: str | Path, output: str | Path) -> Path:
  """Writes the newest weights of a run (the averaged ones where there are such) as a new version of a SavedModel.

  The model is loaded again and each signature compared with the Keras model before the version appears.

  Args:
    workdir: the run.
    output: the folder of all versions.
  Returns:
    The folder of the new version.
  Raises:
    FileNotFoundError: if there is no run.
    ValueError: if the loaded model answers otherwise than the Keras model.
  """
  model, output = runs.restore(workdir), Path(output).expanduser()
  functions: dict[str, Any] = {name: function.get_concrete_function() for name, function in model.signatures().items()}
  # Only what the signatures use is saved: no critic, no optimizer.
  variables = {id(v): v for function in functions.values() for v in function.variables}
  root = tf.train.Checkpoint(variables=list(variables.values()))
  version = output / str(max(versions(output), default=0) + 1)
  temporary = output / f'.{version.name}.part'
  shutil.rmtree(temporary, ignore_errors=True)
  temporary.mkdir(parents=True)
  try:
    tf.saved_model.save(root, str(temporary), signatures=functions)
    (temporary / 'assets.extra').mkdir()
    runs.write_file(temporary / 'assets.extra' / 'flags.cfg', runs.flags_text(model.config))
    runs.write_file(temporary / 'assets.extra' / 'step', f'{int(model.step)}\n')
    difference = check_parity(model.signatures(), load(temporary))
    os.replace(temporary, version)
  finally:
    shutil.rmtree(temporary, ignore_errors=True)
  facts = {
    'Signatures': ', '.join(f'`{name}`' for name in sorted(functions)) + '; pictures are uint8, any batch size',
    'Licence': 'The code is Apache-2.0. The weights may be used as far as the licence of the data below allows',
  }
  runs.write_file(output / 'MODEL_CARD.md', model_card(workdir, model.config, int(model.step), facts))
  print(
    f'{version}: signatures {", ".join(sorted(functions))}; the loaded model differs from the Keras model by '
    f'{difference:g} at most'
  )
  return version


def versions(output: str | Path) -> list[int]:
  """Numbers of the versions in a folder of exports."""
  return sorted(int(p.name) for p in Path(output).glob('*') if p.name.isdigit() and (p / 'saved_model.pb').is_file())


def exported_step(version: Path) -> int | None:
  """The training step of an exported version's weights; None where it does not say."""
  file = version / 'assets.extra' / 'step'
  return int(file.read_text()) if file.is_file() else None


def load(path: str | Path, wanted: Sequence[str] = ('serving_default',)) -> Mapping[str, Callable[..., Any]]:
  """Loads an exported model.

  Args:
    path: a version, or the folder of all versions: then the highest is taken.
    wanted: signatures that have to be there.
  Returns:
    signature -> function.
  Raises:
    FileNotFoundError: if there is no SavedModel.
    ValueError: if it lacks a signature.
  """
  path = Path(path).expanduser()
  if not (path / 'saved_model.pb').is_file():
    if not versions(path):
      raise FileNotFoundError(
        f'{path} holds no SavedModel (no saved_model.pb): make one with `python -m evaluate.export`'
      )
    path = path / str(versions(path)[-1])
  loaded = tf.saved_model.load(str(path))
  missing = [name for name in wanted if name not in loaded.signatures]
  if missing:
    raise ValueError(
      f'{path} has no signature {missing[0]} (it has {", ".join(sorted(loaded.signatures)) or "none"}): '
      'export the run again with `python -m evaluate.export`'
    )
  return {name: _keep(loaded, name) for name in loaded.signatures}


def open_model(
  path: str | Path, wanted: Mapping[str, Sequence[str]]
) -> tuple[Any, str, Mapping[str, Callable[..., Any]]]:
  """Opens a run, an exported model, or a pretrained one by its name.

  Args:
    path: one of them.
    wanted: system -> signatures that have to be there; models of other systems are refused.
  Returns:
    its config; its version; signature -> function.
  Raises:
    FileNotFoundError: if there is neither.
    ValueError: if it is of another system, or its export lacks a signature.
  """
  path = runs.locate(path)
  is_run = (path / 'flags.cfg').is_file()
  if not is_run and not (path / 'saved_model.pb').is_file():
    if not versions(path):
      raise FileNotFoundError(
        f'--model={path} is neither a run (flags.cfg) nor an exported model (saved_model.pb); pretrained:gcgan comes '
        'with the project'
      )
    path = path / str(versions(path)[-1])
  config = runs.load_config(path if is_run else path / 'assets.extra')
  if config.system not in wanted:
    raise ValueError(f'--model={path} is a model of {config.system}: one of {" or ".join(wanted)} is needed')
  if not is_run:
    return config, model_version(exported_step(path)), load(path, wanted[config.system])
  model = runs.restore(path)
  return config, model_version(int(model.step)), model.signatures()


def _keep(loaded: Any, name: str) -> Callable[..., Any]:
  """Calls a signature through its model: alone it would not keep the variables alive."""
  return lambda **inputs: loaded.signatures[name](**inputs)


def export_pretrained(workdir: str | Path, output: str | Path) -> Path:
  """Writes the weights of a finished run (the averaged ones where there are such) as a model of `models.pretrained`.

  Args:
    workdir: the run.
    output: the model's folder; its last part is the name. A model that is there is replaced.
  Returns:
    The folder.
  Raises:
    FileNotFoundError: if there is no run, or it was not evaluated.
    ValueError: if it saw more than rendered people, is not finished, was trained further since its evaluation, is too
      large, or answers otherwise when it is read again.
  """
  config, output = runs.load_config(workdir), Path(output).expanduser()
  if foreign := _foreign(config):
    raise ValueError(
      f'--workdir={workdir} was trained with {foreign}: a pretrained model saw rendered people (--dataset=synthetic) '
      'only, whose licence is known'
    )
  results, model = read_results(workdir), runs.restore(workdir)
  phase, steps = list(model.phases(config).items())[-1]
  if (model.phase, int(model.step)) != (phase, steps):
    raise ValueError(f'--workdir={workdir} is not finished: repeat the train.main command that began it')
  if results['step'] != steps:
    raise ValueError(
      f'--workdir={workdir} was evaluated at step {results["step"]:,} of {steps:,}: run `python -m evaluate.main '
      f'--workdir={workdir}` first'
    )
  if output.exists() and any(output.iterdir()) and not runs.is_pretrained(output):
    raise ValueError(f'--output={output} holds something else: choose another folder')
  temporary = output.with_name(f'.{output.name}.part')
  shutil.rmtree(temporary, ignore_errors=True)
  temporary.mkdir(parents=True)
  try:
    config = dataclasses.replace(config, data_dir=type(config).data_dir)  # Where renders lie on this machine.
    runs.write_file(temporary / 'flags.cfg', '# The effective settings of the run.\n' + runs.flags_text(config))
    runs.save_labels(runs.load_labels(workdir), temporary)
    pretrained.save_weights(model, temporary)
    # Rounding adds up from layer to layer.
    difference = check_parity(model.signatures(), runs.restore(temporary).signatures(), levels=4, relative=0.02)
    weights = (temporary / pretrained.WEIGHTS).stat().st_size
    facts = {
      'Use': f'`--model=pretrained:{output.name}`, `--init_from=pretrained:{output.name}`',
      'Flagfile': f'`python -m train.main --flagfile=models/pretrained/{output.name}/flags.cfg --workdir=RUN` trains '
      'one like it',
      'Weights': f"float16, {weights / 1e6:.1f} MB; on smooth noise, what it gives differs from the run's by "
      f'{difference:.2g} at most (pictures: levels of 255)',
      'Licence': 'Code and weights are Apache-2.0',
    }
    runs.write_file(temporary / 'MODEL_CARD.md', model_card(workdir, config, steps, facts))
    size = sum(file.stat().st_size for file in temporary.iterdir())
    if size > _MOST_BYTES:
      raise ValueError(
        f'--workdir={workdir} takes {size / 1e6:.1f} MB, and a pretrained model at most {_MOST_BYTES / 1e6:.0f}: train '
        'one with a smaller --width'
      )
    shutil.rmtree(output, ignore_errors=True)
    os.replace(temporary, output)
  finally:
    shutil.rmtree(temporary, ignore_errors=True)
  print(f"{output}: {size / 1e6:.1f} MB; what it gives differs from the run's by {difference:.2g} at most")
  return output


def _foreign(config: Any) -> str:
  """The setting by which a run saw something else than our rendered people; empty if there is none."""
  for name, allowed in _OURS.items():
    value = getattr(config, name, allowed[0])
    if value not in allowed:
      return f'--{name}={value}'
  foreign = _foreign(runs.load_config(config.init_from)) if config.init_from else ''
  return foreign and f'--init_from={config.init_from}, and that with {foreign}'


def check_parity(
  ours: Mapping[str, Callable[..., Any]],
  loaded: Mapping[str, Callable[..., Any]],
  levels: float = 1.0,
  relative: float = 1e-4,
) -> float:
  """Compares each signature of the Keras model with that of the loaded one on two batches of different size.

  Args:
    ours: signature -> function of the Keras model.
    loaded: the same of the loaded model.
    levels: by how many of 255 pictures may differ.
    relative: by which part of their size other numbers may.
  Returns:
    The largest difference of a number.
  Raises:
    ValueError: if something differs by more.
  """
  largest = 0.0
  rng = np.random.default_rng(0)
  for name, function in ours.items():
    specs = tf.nest.flatten(function.get_concrete_function().structured_input_signature)
    for count in (1, 3):
      inputs = {spec.name: _example(spec, count, rng) for spec in specs}
      expected, found = function(**inputs), loaded[name](**inputs)
      for key, value in expected.items():
        a, b = (x.numpy().astype(np.float64) for x in (value, found[key]))
        difference = float(np.abs(a - b).max())
        allowed = levels if value.dtype == tf.uint8 else relative * max(1.0, float(np.abs(a).max()))
        if a.shape != b.shape or not difference <= allowed:
          raise ValueError(
            f'the exported signature {name} gives {key} that differ from the Keras model by {difference:g} '
            f'({allowed:g} is allowed)'
          )
        largest = max(largest, difference)
  return largest


def _example(spec: tf.TensorSpec, count: int, rng: np.random.Generator) -> tf.Tensor:
  shape = [count, *spec.shape[1:]]
  if spec.dtype == tf.uint8:
    # Smooth, as pictures are: where a model moves its input, pixel noise would magnify the rounding of how far.
    smooth = tf.image.resize(rng.integers(0, 256, [count, 8, 8, shape[-1]]), shape[1:3])
    return tf.cast(tf.round(smooth), tf.uint8)
  if spec.dtype.is_integer:
    return tf.zeros(shape, spec.dtype)
  return tf.constant(rng.uniform(-1, 1, shape), spec.dtype)


def main(argv: list[str]) -> None:
  commands.parse(FLAGS, argv, __doc__)
  make = {'savedmodel': export, 'pretrained': export_pretrained}[FLAGS.format]
  make(FLAGS.workdir, FLAGS.output)


if __name__ == '__main__':
  sys.exit(commands.run(main))
