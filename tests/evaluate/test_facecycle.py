"""FaceCycle's figures without labels, on pictures whose figures are known."""

import numpy as np
import tensorflow as tf

from evaluate import facecycle
from models.facecycle_config import FaceCycleConfig


class Pipeline:
  """Six grey pairs of three people; a person's two frames are .1 apart, people are .3 and more apart."""

  def __init__(self, config):
    del config

  def held_out(self, count=None):
    people = np.repeat(np.int32([0, 1, 2]), 2)
    grey = np.repeat(np.float32([-0.5, 0, 0.5]), 2)[:, None, None, None] * np.ones([6, 32, 32, 3], np.float32)
    return {'first': grey, 'second': grey + np.float32(0.1), 'identity': people}


class Model:
  """Takes half of the brightness away, and all of it from mean faces; flows are constant and go back."""

  def neutralise(self, images):
    return images / 2

  def mean_face(self, images):
    return images * 0

  def flow(self, images):
    flow = tf.constant([0.3, 0.4]) * tf.ones([tf.shape(images)[0], 16, 16, 2])
    return flow, -flow


def test_label_free(tmp_path, monkeypatch):
  monkeypatch.setitem(facecycle.PIPELINES, 'facecycle', Pipeline)
  rows = facecycle.label_free(Model(), FaceCycleConfig.tiny(), tmp_path)
  found = {(row['subject'], row['metric']): row['value'] for row in rows}
  # To the next stranger's second frame: .6, .6, .9 of brightness; in the model half of each.
  np.testing.assert_allclose(found['copy_input', 'within_over_between'], 0.1 / ((0.6 + 0.6 + 0.9) / 3), rtol=1e-4)
  np.testing.assert_allclose(found['model', 'within_over_between'], 0.1 / 0.7, rtol=1e-4)
  np.testing.assert_allclose([found[s, 'spread'] for s in ('copy_input', 'model')], [1 / 3, 1 / 6], rtol=1e-4)
  assert found['model', 'asymmetry'] == found['model', 'mean_face_spread'] == 0
  np.testing.assert_allclose(found['model', 'flow_size'], 0.5, rtol=1e-5)
  assert 0 < found['model', 'inversion_error'] < 0.3  # Only what left the picture is lost.
  assert found['model_minus_copy_input', 'spread'] < 0


def test_a_stranger_is_somebody_else():
  assert facecycle._strangers(np.array([4, 4, 7, 4])).tolist() == [2, 2, 3, 2]
