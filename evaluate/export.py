"""Exports a run as a SavedModel: `python -m evaluate.export --workdir=RUN --output=EXPORT`.

EXPORT/1/                          the first version; the next export is 2: TensorFlow Serving takes the highest
EXPORT/1/assets.extra/flags.cfg    the settings of the run, which TensorFlow does not read
EXPORT/MODEL_CARD.md               data, licence, measured figures, intended use, limits
"""

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
from models import commands, runs

FLAGS = flags.FlagValues()
flags.DEFINE_string('workdir', None, 'The run.', flag_values=FLAGS, required=True)
flags.DEFINE_string(
  'output', None, 'Folder of the exported model; a new version is added to it.', flag_values=FLAGS, required=True
)


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
    difference = check_parity(model.signatures(), load(temporary))
    os.replace(temporary, version)
  finally:
    shutil.rmtree(temporary, ignore_errors=True)
  runs.write_file(output / 'MODEL_CARD.md', model_card(workdir, model.config, int(model.step), sorted(functions)))
  print(
    f'{version}: signatures {", ".join(sorted(functions))}; the loaded model differs from the Keras model by '
    f'{difference:g} at most'
  )
  return version


def versions(output: str | Path) -> list[int]:
  """Numbers of the versions in a folder of exports."""
  return sorted(int(p.name) for p in Path(output).glob('*') if p.name.isdigit() and (p / 'saved_model.pb').is_file())


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


def _keep(loaded: Any, name: str) -> Callable[..., Any]:
  """Calls a signature through its model: alone it would not keep the variables alive."""
  return lambda **inputs: loaded.signatures[name](**inputs)


def check_parity(ours: Mapping[str, Callable[..., Any]], loaded: Mapping[str, Callable[..., Any]]) -> float:
  """Compares each signature of the Keras model with that of the loaded one on two batches of different size.

  Returns:
    The largest difference of a number.
  Raises:
    ValueError: if pictures differ by more than one level of 255, or other numbers by more than 1e-4 of their size.
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
        allowed = 1.0 if value.dtype == tf.uint8 else 1e-4 * max(1.0, float(np.abs(a).max()))
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
    return tf.constant(rng.integers(0, 256, shape), tf.uint8)
  if spec.dtype.is_integer:
    return tf.zeros(shape, spec.dtype)
  return tf.constant(rng.uniform(-1, 1, shape), spec.dtype)


def main(argv: list[str]) -> None:
  commands.parse(FLAGS, argv, __doc__)
  export(FLAGS.workdir, FLAGS.output)


if __name__ == '__main__':
  sys.exit(commands.run(main))
