"""Linear solvers with an L2 penalty, whose strength is chosen on validation data: one for all whom a probe compares."""

import warnings
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from sklearn.decomposition import PCA
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

# Penalty a training row; features are standardised first.
_LOGISTIC, _RIDGE = 10.0 ** np.arange(-4, 2), 10.0 ** np.arange(-3, 3)


def predict_labels(
  features: np.ndarray,
  labels: np.ndarray,
  train: np.ndarray,
  validation: np.ndarray,
  tested: np.ndarray,
  refit: bool = True,
) -> np.ndarray:
  """Labels that a logistic regression gives to rows, NaN where it has fewer than two classes to learn from.

  Args:
    features: [N, D].
    labels: [N] int.
    train: rows that it learns from.
    validation: rows on which the strength is chosen, by accuracy; the training rows where there are none.
    tested: T rows.
    refit: whether it learns from the validation rows too, once the strength is chosen.

  Returns:
    [T] float.
  """
  if len(np.unique(labels[train])) < 2:
    return np.full(len(tested), np.nan)
  solver = _choose(
    lambda strength, count: LogisticRegression(C=1 / (strength * count), tol=1e-3, max_iter=200),
    _LOGISTIC,
    lambda found, truth: np.mean(found != truth),
    features, labels, train, validation, refit,
  )  # fmt: skip
  return solver.predict(features[tested]).astype(float)


def predict_values(
  features: np.ndarray,
  values: np.ndarray,
  train: np.ndarray,
  validation: np.ndarray,
  tested: np.ndarray,
  refit: bool = True,
) -> np.ndarray:
  """As `predict_labels`, by a ridge regression of values [N, K], its strength chosen by the mean error: [T, K]."""
  if len(train) < 2:
    return np.full([len(tested), values.shape[1]], np.nan)
  solver = _choose(
    lambda strength, count: Ridge(alpha=strength * count),
    _RIDGE,
    lambda found, truth: np.abs(found.reshape(truth.shape) - truth).mean(),
    features, values.astype(np.float32), train, validation, refit,
  )  # fmt: skip
  return solver.predict(features[tested]).reshape(len(tested), -1)  # Of one value it gives no second axis.


def _choose(
  make: Callable[[float, int], Any],
  strengths: Iterable[float],
  error: Callable[[np.ndarray, np.ndarray], float],
  features: np.ndarray,
  targets: np.ndarray,
  train: np.ndarray,
  validation: np.ndarray,
  refit: bool,
) -> Any:
  """The solver of the best strength; of two that are as good, the stronger."""
  judges = validation if len(validation) else train
  prepare, seen = _prepare(features[train])
  judged = prepare.transform(features[judges])
  tried: dict[float, tuple[float, Any]] = {}
  for strength in sorted(strengths, reverse=True):
    solver = _fit(make(strength, len(train)), seen, targets[train])
    tried[strength] = error(solver.predict(judged), targets[judges]), solver
  best = min(tried, key=lambda strength: tried[strength][0])
  if not refit or not len(validation):
    return make_pipeline(prepare, tried[best][1])
  rows = np.concatenate([train, validation])
  prepare, seen = _prepare(features[rows])
  return make_pipeline(prepare, _fit(make(best, len(rows)), seen, targets[rows]))


def _prepare(features: np.ndarray) -> tuple[Any, np.ndarray]:
  """Standardises features [N, D]; few rows are also turned into their own space of N dimensions, which changes nothing
  for a solver with an L2 penalty but its time."""
  steps = [StandardScaler(), PCA(svd_solver='full')] if 4 * len(features) < features.shape[1] else [StandardScaler()]
  prepare = make_pipeline(*steps)
  return prepare, prepare.fit_transform(features)


def _fit(solver: Any, features: np.ndarray, targets: np.ndarray) -> Any:
  with warnings.catch_warnings():
    warnings.simplefilter('ignore', ConvergenceWarning)  # A weak penalty may need more steps; validation judges it.
    return solver.fit(features, targets)
