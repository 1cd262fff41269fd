"""RUN/environment.json: which software on which machine made a run."""

import importlib.metadata
import json
import os
import pathlib
import platform
import shutil
import subprocess
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from models import runs

_PACKAGES = ('personae', 'tensorflow', 'keras', 'tensorflow-addons', 'tensorflow-graphics', 'tensorflow-datasets',
             'numpy', 'dlib-bin')


def describe() -> dict[str, Any]:
  """Versions, commit and devices."""
  return {
      'python': platform.python_version(),
      'platform': platform.platform(),
      'host': platform.node(),
      'packages': {name: _version(name) for name in _PACKAGES},
      'commit': _commit(),
      'cpus': len(os.sched_getaffinity(0)),
      'devices': [_device(d) for d in tf.config.list_physical_devices()],
      'logical_devices': [d.name for d in tf.config.list_logical_devices()],
  }


def write(workdir: pathlib.Path, say: Callable[[str], None]) -> None:
  """Writes the file; a run that goes on elsewhere is told, as its numbers may then differ in their last bits."""
  path, now = workdir / 'environment.json', describe()
  if path.exists():
    before = json.loads(path.read_text())
    changed = [key for key in ('python', 'packages', 'commit', 'devices') if before.get(key) != now[key]]
    if changed:
      say(f'the environment has changed since this run began ({", ".join(changed)}): it may not continue bit for bit')
  runs.write_file(path, json.dumps(now, indent=1) + '\n')


def _version(package: str) -> str | None:
  try:
    return importlib.metadata.version(package)
  except importlib.metadata.PackageNotFoundError:
    return None


def _device(device: Any) -> dict[str, str]:
  details = tf.config.experimental.get_device_details(device)
  return {'name': device.name, 'type': device.device_type, 'model': details.get('device_name', '')}


def _commit() -> str | None:
  """The commit of this clone, with '+' if files were changed; None outside a clone or without git."""
  if shutil.which('git') is None:
    return None
  root = pathlib.Path(__file__).parent
  commit = subprocess.run(['git', 'rev-parse', 'HEAD'], cwd=root, capture_output=True, text=True, check=False)
  status = subprocess.run(['git', 'status', '--porcelain', '--untracked-files=no'], cwd=root, capture_output=True,
                          text=True, check=False)
  return commit.stdout.strip() + '+' * bool(status.stdout.strip()) if commit.returncode == 0 else None
