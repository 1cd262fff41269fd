"""FaceCycle on people whom it was not trained on: with labels of who is who only, and against the truth of renders."""

from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from evaluate import metrics
from evaluate.facecycle_faces import Unseen, in_batches, make_unseen, strangers
from evaluate.facecycle_figures import save_figures
from evaluate.facecycle_identity import identity_rows
from evaluate.facecycle_truth import read_unseen, truth_rows
from evaluate.provenance import to_uint8
from evaluate.results import Measure, Row, make_rows, save_samples
from input_pipeline import PIPELINES
from losses import symmetry_loss
from models.layers.warping import warp

PROTOCOL = 'label_free'


def new_people(model: Any, config: Any, output_dir: str | Path, pairs: int = 600, **options: Any) -> list[Row]:
  """Rows `label_free`, `neutral_truth`, `transfer_truth`, `neutral_identity` and `identity_kept`, and the figures.

  Args:
    model: the trained `FaceCycle`.
    config: its settings, whose data set gives the people.
    output_dir: where the figures go.
    pairs: pairs of frames at most; 0 means all.
    **options: of other systems' evaluations.
  """
  del options
  pipeline = PIPELINES[config.system](config)
  unseen = make_unseen(model, pipeline, pairs or None)
  save_figures(Path(output_dir), model, pipeline, unseen)
  rows = label_free(model, unseen, output_dir)
  print(f'reading faces in {len(unseen.people)} held-out pairs of {len(np.unique(unseen.people))} people', flush=True)
  faces = read_unseen(unseen)
  return rows + truth_rows(unseen, faces, output_dir) + identity_rows(model, unseen, faces)


def label_free(model: Any, unseen: Unseen, folder: str | Path) -> list[Row]:
  """Figures of held-out pairs of frames, of the neutral faces (`model`) and of the frames themselves (`copy_input`).

  `within`, `between`, `within_over_between`: L1 between the two of a person, to another person, and their ratio;
  `asymmetry`: of the halves; `spread`: L1 to the mean of all. `cycle_l1`, `cycle_ssim`: between a frame and the other
  one of the person moved as it moves (of `copy_input`: not moved). Of the model also `inversion_error`,
  |warp(warp(x, f), b) - x|, beside `flow_size`, the mean length of f (2 is a picture); and once stage 2 has begun,
  `mean_face_spread`, the spread of mean faces.

  Args:
    model: the trained `FaceCycle`.
    unseen: held-out frames and what it made of them.
    folder: where samples-label_free.npz goes.
  """
  first, people = unseen.batch['first'], unseen.people
  other = strangers(people)
  pairs = {'model': (unseen.neutral, unseen.second_neutral), 'copy_input': (first, unseen.batch['second'])}
  measures = {
    subject: {
      'within_over_between': Measure(_distance(one, two), _distance(one, two[other])),
      'within': Measure(_distance(one, two)),
      'between': Measure(_distance(one, two[other])),
      'asymmetry': Measure(np.asarray(symmetry_loss(tf.constant(one)))),
      'spread': Measure(_distance(one, one.mean(axis=0))),
    }
    for subject, (one, two) in pairs.items()
  }
  second = unseen.batch['second']
  for subject, images in (('model', in_batches(model.transfer, second, first)), ('copy_input', second)):
    measures[subject]['cycle_l1'] = Measure(_distance(images, first))
    measures[subject]['cycle_ssim'] = Measure(metrics.ssim(to_uint8(images), to_uint8(first)))
  if model.phase == 'train':  # Before, nothing has learnt to take identities away.
    means = in_batches(model.mean_face, first)
    measures['model']['mean_face_spread'] = Measure(_distance(means, means.mean(axis=0)))
  measures['model'] |= {
    'inversion_error': Measure(_distance(in_batches(lambda x: _there_and_back(model, x), first), first)),
    'flow_size': Measure(in_batches(lambda x: tf.reduce_mean(tf.norm(model.flow(x)[0], axis=-1), [1, 2]), first)),
  }
  differences = ('within_over_between', 'asymmetry', 'spread', 'cycle_l1', 'cycle_ssim')
  slices = {'all': np.ones(len(people), bool)}
  save_samples(Path(folder) / f'samples-{PROTOCOL}.npz', unseen.names, people, measures, slices)
  return make_rows(PROTOCOL, measures, people, slices, differences)


def _distance(first: np.ndarray, second: np.ndarray) -> np.ndarray:
  return np.abs(first - second).mean(axis=(1, 2, 3))


def _there_and_back(model: Any, images: tf.Tensor) -> tf.Tensor:
  flow, back = model.flow(images)
  return warp(warp(images, flow), back)
