"""TensorFlow Addons, of which some layers and losses take a function."""

import importlib
import warnings
from typing import Any

import tensorflow as tf


@tf.autograph.experimental.do_not_convert
def load_addons(name: str) -> Any:
  """The module `tensorflow_addons.NAME`; called where it is needed, as the import takes a second."""
  with warnings.catch_warnings():  # Addons announces its end of life; we know.
    warnings.filterwarnings('ignore', message=r'\s*TensorFlow Addons', category=UserWarning)
    return importlib.import_module(f'tensorflow_addons.{name}')
