"""How well a system that makes codes of faces (NN4, the recogniser) tells people apart who were not trained on."""

from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from evaluate import same_person
from evaluate.embeddings import DESCRIPTOR
from evaluate.results import Row
from evaluate.roc import save_pairs
from input_pipeline import PIPELINES
from models.embedding import load_embedding

_BATCH = 32
FARS = (0.01, 0.001)


def verify(model: Any, config: Any, output_dir: str | Path, pairs: int = 1000, **options: Any) -> list[Row]:
  """Verification of held-out people by the model, by the raw pixels of the same squares, and by dlib's descriptor.

  dlib's is what a strong embedding makes of these pictures: it never saw them either.

  Args:
    model: the trained `FaceCodes`.
    config: its settings, whose data set gives the people.
    output_dir: where `roc.png` and the file of the pairs go.
    pairs: of one person, and of two, at most; 0 means all.
    **options: of other systems' evaluations.
  """
  del options
  pipeline = PIPELINES[config.system](config)
  faces = pipeline.held_out()
  people = faces['label']
  chosen = same_person.make_pairs(people, pairs)
  # Only what is in a pair is looked at.
  used, places = np.unique(np.concatenate([chosen.first, chosen.second]), return_inverse=True)
  first, second = np.split(places.ravel(), 2)
  chosen = same_person.Pairs(first, second, chosen.same)
  images, landmarks, people = faces['image'][used], faces['landmarks'][used], people[used]
  small = images.reshape(len(images), 24, 4, 24, 4, 3).mean((2, 4))
  dlib = load_embedding('dlib')
  look = tf.function(lambda x, points: dlib(dlib.crops(x, points)), reduce_retracing=True)
  embed = tf.function(model.embed, reduce_retracing=True)
  starts = range(0, len(images), _BATCH)
  codes = {
    'model': np.concatenate([embed(tf.constant(images[i : i + _BATCH])).numpy() for i in starts]),
    'raw_pixels': (small - small.mean((1, 2), keepdims=True)).reshape(len(images), -1),
    DESCRIPTOR: np.concatenate(
      [look(tf.constant(images[i : i + _BATCH]), tf.constant(landmarks[i : i + _BATCH])).numpy() for i in starts]
    ),
  }
  scores = {name: -same_person.distances(values, chosen) for name, values in codes.items()}
  save_pairs(output_dir, faces['file'][used], people, chosen, scores, note=getattr(pipeline, 'note', ''))
  return same_person.score_rows('verification', scores, people, chosen, fars=FARS)
