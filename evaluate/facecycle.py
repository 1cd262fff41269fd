"""Without labels but who is who: whether neutral faces are alike for one person and upright, and mean faces for all."""

from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from evaluate.results import Measure, Row, make_rows
from input_pipeline import PIPELINES
from losses import symmetry_loss
from models.layers.warping import warp

PROTOCOL = 'label_free'
_BATCH = 32


def label_free(model: Any, config: Any, output_dir: str | Path, pairs: int = 300, **options: Any) -> list[Row]:
  """Figures of held-out pairs of frames, of the neutral faces (`model`) and of the frames themselves (`copy_input`).

  `within_over_between`: L1 between the two of a person over that to another person; `asymmetry`: of the halves;
  `spread`: L1 to the mean of all. Of the model also `mean_face_spread`, the same of mean faces, and `inversion_error`,
  |warp(warp(x, f), b) - x|, beside `flow_size`, the mean length of f (2 is a picture).

  Args:
    model: the trained `FaceCycle`.
    config: its settings, whose data set gives the people.
    output_dir: where figures would go; there are none.
    pairs: how many, at most; 0 means all.
    **options: of other systems' evaluations.
  """
  del output_dir, options
  held_out = PIPELINES[config.system](config).held_out(pairs or None)
  frames, people = [held_out[name] for name in ('first', 'second')], held_out['identity']
  neutral = [_in_batches(model.neutralise, images) for images in frames]
  other = _strangers(people)
  measures = {
    subject: {
      'within_over_between': Measure(_distance(first, second), _distance(first, second[other])),
      'asymmetry': Measure(np.asarray(symmetry_loss(tf.constant(first)))),
      'spread': Measure(_distance(first, first.mean(axis=0))),
    }
    for subject, (first, second) in {'model': neutral, 'copy_input': frames}.items()
  }
  means = _in_batches(model.mean_face, frames[0])
  measures['model'] |= {
    'mean_face_spread': Measure(_distance(means, means.mean(axis=0))),
    'inversion_error': Measure(_distance(_in_batches(lambda x: _there_and_back(model, x), frames[0]), frames[0])),
    'flow_size': Measure(_in_batches(lambda x: tf.reduce_mean(tf.norm(model.flow(x)[0], axis=-1), [1, 2]), frames[0])),
  }
  differences = ('within_over_between', 'asymmetry', 'spread')
  return make_rows(PROTOCOL, measures, people, {'all': np.ones(len(people), bool)}, differences)


def _strangers(people: np.ndarray) -> np.ndarray:
  """[N] for each the next one who is somebody else; itself where there is nobody else."""
  count = len(people)
  order = (np.arange(count)[:, None] + np.arange(count)) % count
  return order[np.arange(count), (people[order] != people[:, None]).argmax(axis=1)]


def _distance(first: np.ndarray, second: np.ndarray) -> np.ndarray:
  return np.abs(first - second).mean(axis=(1, 2, 3))


def _there_and_back(model: Any, images: tf.Tensor) -> tf.Tensor:
  flow, back = model.flow(images)
  return warp(warp(images, flow), back)


def _in_batches(function: Any, images: np.ndarray) -> np.ndarray:
  compiled = tf.function(function, reduce_retracing=True)
  return np.concatenate([compiled(tf.constant(images[i : i + _BATCH])).numpy() for i in range(0, len(images), _BATCH)])
