"""The rooms may import what docs/architecture.md says and no more, nothing imports train, and files form no cycle."""

import ast
import functools
import graphlib
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).parents[1]
MAY_IMPORT = {
    'losses': set(),
    'models': {'losses'},
    'input_pipeline': {'models', 'losses'},
    'evaluate': {'models', 'input_pipeline', 'losses'},
    'train': {'models', 'input_pipeline', 'losses', 'evaluate'},
}
# Of models, the input pipeline may use the face model, the settings, and what every command shares.
PIPELINE_MODELS = ('models.face3d', 'models.config', 'models.commands')


def files():
  return [path for room in MAY_IMPORT for path in sorted((ROOT / room).rglob('*.py'))]


def module_of(path):
  parts = path.relative_to(ROOT).with_suffix('').parts
  return '.'.join(parts[:-1] if parts[-1] == '__init__' else parts)


def imports_of(path, modules):
  """Modules of ours that a file imports; `from package import name` counts as package.name where that is a module."""
  found = set()
  for node in ast.walk(ast.parse(path.read_text())):
    if isinstance(node, ast.Import):
      names = [alias.name for alias in node.names]
    elif isinstance(node, ast.ImportFrom):
      assert node.level == 0, f'{path}:{node.lineno}: imports are absolute'
      names = [f'{node.module}.{alias.name}' for alias in node.names]
    else:
      continue
    for name in names:
      while name and name not in modules:
        name = name.rpartition('.')[0]
      if name:
        found.add(name)
  return found


@functools.cache
def graph():
  modules = {module_of(path) for path in files()}
  # A file may name itself, for a worker process to find a function in.
  return {module_of(path): imports_of(path, modules) - {module_of(path)} for path in files()}


def test_each_room_imports_what_it_may():
  for module, imported in graph().items():
    room = module.partition('.')[0]
    for name in imported:
      other = name.partition('.')[0]
      assert other == room or other in MAY_IMPORT[room], f'{module} imports {name}'
      if room == 'input_pipeline' and other == 'models':
        assert name.startswith(PIPELINE_MODELS), f'{module} imports {name}'


def test_no_cycle_of_files():
  # Raises CycleError, which names the files, if there is one.
  order = list(graphlib.TopologicalSorter(graph()).static_order())
  assert 'train.loop' in order


def test_files_stay_short():
  for path in files():
    lines = len(path.read_text().splitlines())
    assert lines <= (100 if path == ROOT / 'train' / 'main.py' else 400), f'{path} has {lines} lines'


def test_only_one_file_imports_tensorflow_graphics():
  """Elsewhere the same import takes up to 40 seconds: see models/face3d/graphics.py."""
  importing = re.compile(r'^\s*(from|import) tensorflow_graphics', re.MULTILINE)
  using = [path.name for path in files() if importing.search(path.read_text())]
  assert using == ['graphics.py']


def test_imports_compute_nothing():
  """A run chooses devices and joins workers after the imports, which TensorFlow refuses once anything was computed."""
  modules = ', '.join(sorted(module_of(path) for path in files() if path.stem not in ('__main__',)))
  code = (
    f'import warnings; warnings.simplefilter("ignore"); import {modules}\n'
    'import tensorflow as tf\n'
    'tf.config.set_logical_device_configuration(\n'
    '  tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2)'
  )
  done = subprocess.run([sys.executable, '-c', code], cwd=ROOT, capture_output=True, text=True, check=False)
  assert done.returncode == 0, done.stderr[-500:]
