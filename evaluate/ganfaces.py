"""What GANFaces' own networks say of held-out renders, photographs and pairs: errors that its paper never reported."""

from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from evaluate.intervals import Estimate
from evaluate.results import Measure, Row, make_row, make_rows
from input_pipeline import PIPELINES
from models.ganfaces import mean_distance

_BATCH = 16
_MOST = 200  # Pictures, unless told.


def errors(model: Any, config: Any, output_dir: str | Path, pairs: int = _MOST, **options: Any) -> list[Row]:
  """Rows of held-out people: E|s - G'(r)| of pairs, the cycle's error, D_R's, and how much the translations differ.

  Args:
    model: the trained `GANFaces`.
    config: its settings, whose data give the people.
    output_dir: where figures would go; there are none.
    pairs: of each domain at most; 0 means all.
    **options: of other systems' evaluations.
  """
  del output_dir, options
  pipeline = PIPELINES[config.system](config)
  renders = pipeline.held_out_of('renders', pairs or None)
  translate = tf.function(model.translate, reduce_retracing=True)
  parts = []
  for start in range(0, len(renders['render']), _BATCH):
    index = tf.range(start, min(start + _BATCH, len(renders['render'])), dtype=tf.int64)
    render = tf.constant(renders['render'][start:start + _BATCH])
    output = translate(render, tf.constant(0, tf.int64), index)
    parts.append({'output': output, **model.scores(render, output)})
  scores = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
  output = scores.pop('output')
  measures = {'model': {name: Measure(values) for name, values in scores.items()}}
  rows = make_rows('errors', measures, renders['identity'], {'all': np.ones(len(output), bool)})
  for subject, pictures in (('model', output), ('renders', renders['render'])):
    spread = Estimate(float(mean_distance(tf.constant(pictures[:_BATCH]))), None, None)
    rows.append(make_row('errors', 'spread', subject, 'all', spread, len(pictures[:_BATCH]),
                         len(np.unique(renders['identity'][:_BATCH]))))
  if model.inverse is not None and config.uses_pairs:
    faces = pipeline.held_out_of('pairs', pairs or None)
    fitted = np.concatenate([model.invert(tf.constant(faces['pair_photo'][i:i + _BATCH]))
                             for i in range(0, len(faces['pair_photo']), _BATCH)])
    measures = {name: {'pair_error': Measure(np.abs(faces['pair_render'] - shown).mean((1, 2, 3)))}
                for name, shown in (('model', fitted), ('copy_input', faces['pair_photo']))}
    rows += make_rows('errors', measures, faces['identity'], {'all': np.ones(len(fitted), bool)}, ['pair_error'])
  return rows
