"""TensorFlow Addons, imported where it is first needed: that takes a second, and it announces its end of life."""

import types
import warnings


def addons() -> types.ModuleType:
  """The package `tensorflow_addons`."""
  with warnings.catch_warnings():
    warnings.filterwarnings('ignore', message=r'\s*TensorFlow Addons', category=UserWarning)
    import tensorflow_addons

  return tensorflow_addons
