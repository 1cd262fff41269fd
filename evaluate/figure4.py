"""GC-GAN's Fig. 4: are the codes z_g of people who were not trained on grouped by expression?"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from sklearn.manifold import TSNE
from sklearn.metrics import davies_bouldin_score, silhouette_samples
from sklearn.neighbors import KNeighborsClassifier
from threadpoolctl import threadpool_limits

from evaluate import intervals
from evaluate.results import Measure, Row, make_row, make_rows

PROTOCOL = 'figure4'
BASELINE = 'raw_landmarks'  # No code at all, and so no seeds.
NEIGHBOURS = 5
PATH_STEPS = 20
_REPLICATES = 200  # Of the Davies-Bouldin index, which is computed anew in each.


class Codes(NamedTuple):
  """Codes of the training split [M, D] and of the test split [N, D]."""

  train: np.ndarray
  test: np.ndarray


def encode(model: Any, landmarks: np.ndarray, batch_size: int = 1000) -> np.ndarray:
  """z_g [N, 32] of landmarks [N, 68, 2] in [-1, 1]."""
  parts = range(0, len(landmarks), batch_size)
  return np.concatenate([model.encode(landmarks[k : k + batch_size].astype(np.float32)).numpy() for k in parts])


def draw_path(first: np.ndarray, second: np.ndarray, steps: int = PATH_STEPS) -> np.ndarray:
  """A straight line in landmark space: [steps + 1, 68, 2] from one face's landmarks [68, 2] to another's."""
  share = np.linspace(0, 1, steps + 1)[:, None, None]
  return ((1 - share) * first + share * second).astype(np.float32)


def figure4(
  codes: Mapping[str, Sequence[Codes]], train_labels: np.ndarray, test_labels: np.ndarray, people: np.ndarray
) -> list[Row]:
  """How well the expressions of unseen people lie apart.

  `knn_accuracy`: share of test pictures whose 5 nearest training pictures say their label. `silhouette` (more is
  better) and `davies_bouldin` (less is better) of the labels among the test pictures.

  Args:
    codes: subject, `model` among them -> codes of K seeds; one for `BASELINE`.
    train_labels: [M] expressions.
    test_labels: [N] expressions.
    people: [N] the test pictures' identities.
  """
  measures: dict[str, dict[str, Measure]] = {}
  with threadpool_limits(1):
    for subject, seeds in codes.items():
      right, apart = [], []
      for train, test in seeds:
        nearest = KNeighborsClassifier(min(NEIGHBOURS, len(train))).fit(train, train_labels)
        right.append(nearest.predict(test) == test_labels)
        apart.append(silhouette_samples(test, test_labels))
      figures = {'knn_accuracy': np.array(right) * 1.0, 'silhouette': np.array(apart)}
      measures[subject] = {name: Measure(v[0] if subject == BASELINE else v) for name, v in figures.items()}
    every = {'all': np.ones(len(people), bool)}
    others = [subject for subject in codes if subject != 'model']
    rows = make_rows(PROTOCOL, measures, people, every, ('knn_accuracy', 'silhouette'), others)
    weights = intervals.bootstrap_weights(people, _REPLICATES)
    for subject, seeds in codes.items():
      statistics = [lambda w, x=test: _davies_bouldin(x, test_labels, w) for _, test in seeds]
      value = intervals.estimate(intervals.over_seeds(statistics), weights)
      size = len(people), len(np.unique(people)), len(seeds)
      rows.append(make_row(PROTOCOL, 'davies_bouldin', subject, 'all', value, *size))
  return rows


def _davies_bouldin(codes: np.ndarray, labels: np.ndarray, weights: np.ndarray) -> np.ndarray:
  """The index of each replicate, [...] of weights [..., N]; NaN where fewer than two labels were drawn."""

  def one(counts):
    rows = np.repeat(np.arange(len(labels)), counts.astype(int))
    few = not 2 <= len(np.unique(labels[rows])) < len(rows)
    return np.nan if few else davies_bouldin_score(codes[rows], labels[rows])

  return np.apply_along_axis(one, -1, weights)


def embed(codes: np.ndarray) -> np.ndarray:
  """t-SNE of codes [N, D]: [N, 2]. It has no map for new points: those of a path must be among the N."""
  with threadpool_limits(1):
    tsne = TSNE(perplexity=min(30, (len(codes) - 1) / 3), init='pca', random_state=0, learning_rate='auto')
    return tsne.fit_transform(codes.astype(np.float64))
