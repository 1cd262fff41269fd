"""What all tests share: two logical CPU devices, and the toy system on request."""

import os

os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')  # As models/__init__.py does, which tests import later.
os.environ.setdefault('TF_ENABLE_ONEDNN_OPTS', '1')

import pytest
import tensorflow as tf

# Logical devices can only be made before TensorFlow runs its first operation.
tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices('CPU')[0], [tf.config.LogicalDeviceConfiguration()] * 2)


@pytest.fixture
def toy_system(monkeypatch):
  """Registers the toy system of tests/conformance for one test."""
  import evaluate
  import input_pipeline
  import models
  from tests.conformance import toy
  monkeypatch.setitem(models.SYSTEMS, 'toy', toy.Toy)
  monkeypatch.setitem(input_pipeline.PIPELINES, 'toy', toy.ToyPipeline)
  monkeypatch.setitem(evaluate.EVALUATIONS, 'toy', lambda model, config, output_dir: [])
