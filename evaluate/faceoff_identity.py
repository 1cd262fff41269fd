"""Whom do the pictures of a face-off model show, and are they distributed as the other person's?"""

from collections.abc import Mapping

import numpy as np

from evaluate import embeddings, intervals, metrics
from evaluate.embeddings import DESCRIPTOR, GAMMA, INCEPTION, Faces
from evaluate.faceoff_scene import Scene
from evaluate.results import Measure, Row, make_row, make_rows
from evaluate.same_person import best_threshold


def identity_rows(protocol: str, scene: Scene, faces: Mapping[str, Faces], inception_weights: str = '') -> list[Row]:
  """Rows `verified_as_target`, `verified_as_source`, `nearer_to_target` and `kernel_distance`.

  dlib's descriptors say who is who; no loss of face-off listens to them. A picture is verified as a person by the share
  of the person's training frames that are no farther from it than the threshold which best tells pairs of training
  frames of one person from those of two. `nearer_to_target`: how many pictures are nearer to B's frames than to A's.
  A picture in which dlib sees no face shows nobody.

  Args:
    protocol: its name.
    scene: held-out frames.
    faces: what dlib saw in the pictures of its subjects.
    inception_weights: see `embeddings.inception_features`; '' leaves its kernel distance out.
  """
  known = [embeddings.read_faces(*scene.references[domain]).descriptors for domain in ('a', 'b')]
  threshold = find_threshold(*known)
  measures = {subject: verify(seen, *known, threshold) for subject, seen in faces.items()}
  rows = make_rows(protocol, measures, scene.stretches, scene.slices)
  targets = embeddings.read_faces(scene.targets, scene.target_landmarks).descriptors
  features = {DESCRIPTOR: ({name: seen.descriptors for name, seen in faces.items()}, targets)}
  if inception_weights:
    read = lambda images: embeddings.inception_features(images, inception_weights)  # noqa: E731
    features[INCEPTION] = {name: read(images) for name, images in scene.subjects.items()}, read(scene.targets)
  else:
    print('Inception distances are skipped: --inception_weights=PATH was not given', flush=True)
  rows = [{**row, 'embedding': DESCRIPTOR} for row in rows]
  for embedding, (of_subjects, of_targets) in features.items():
    for subject, found in of_subjects.items():
      value = distance_of_sets(found, of_targets, scene.stretches, scene.target_stretches, GAMMA[embedding])
      rows.append(make_row(protocol, 'kernel_distance', subject, 'all', value, len(found), 1, embedding=embedding))
  return rows


def _apart(first: np.ndarray, second: np.ndarray) -> np.ndarray:
  return np.linalg.norm(first[:, None] - second[None], axis=-1)


def find_threshold(source: np.ndarray, target: np.ndarray) -> float:
  """The distance of descriptors that best tells pairs of one person from pairs of two, of frames [R, D] of each."""
  same = [_apart(one, one)[np.triu_indices(len(one), 1)] for one in (source, target)]
  other = _apart(source, target).ravel()
  scores = -np.concatenate([*same, other])
  return -best_threshold(scores, np.arange(len(scores)) < len(scores) - len(other))


def verify(seen: Faces, source: np.ndarray, target: np.ndarray, threshold: float) -> dict[str, Measure]:
  """Whether the faces of N pictures are the person's of frames `source` or of `target` [R, D]; 0 where none is seen."""
  to_source, to_target = _apart(seen.descriptors, source), _apart(seen.descriptors, target)
  return {
    'verified_as_target': Measure((to_target <= threshold).mean(1) * seen.found),
    'verified_as_source': Measure((to_source <= threshold).mean(1) * seen.found),
    'nearer_to_target': Measure((to_target.mean(1) < to_source.mean(1)) * 1.0 * seen.found),
  }


def distance_of_sets(
  first: np.ndarray, second: np.ndarray, stretches: np.ndarray, other_stretches: np.ndarray, gamma: float
) -> intervals.Estimate:
  """Kernel distance of features [N, D] and [M, D]; pairs of one stretch do not count, as they are nearly one frame."""
  count = len(first)
  weights = [intervals.bootstrap_weights(s, seed=k) for k, s in enumerate((stretches, other_stretches))]
  apart = other_stretches + stretches.max() + 1
  if len(np.unique(stretches)) < 2 or len(np.unique(other_stretches)) < 2:
    return intervals.Estimate(None, None, None)
  return intervals.estimate(
    lambda w: metrics.kernel_distance(first, second, gamma, stretches, apart, w[..., :count], w[..., count:]),
    np.concatenate(weights, axis=1),
  )
