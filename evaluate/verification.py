"""Are two pictures of one person? The figures of face verification, with intervals over people.

A pair's score is minus the squared distance of its codes. LFW's protocol (http://vis-www.cs.umass.edu/lfw/): as many
pairs of one person as of two; the threshold of each tenth of the pairs is chosen on the other nine, and here the people
of a tenth are in no other.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from evaluate import intervals, metrics
from evaluate.results import Row, make_row

FOLDS = 10


class Pairs(NamedTuple):
  """Pairs of N pictures.

  Attributes:
    first, second: [P] numbers of the pictures.
    same: [P] bool, whether they show one person.
  """

  first: np.ndarray
  second: np.ndarray
  same: np.ndarray


def make_pairs(people: np.ndarray, count: int = 1000, seed: int = 0) -> Pairs:
  """Draws `count` pairs of one person, spread over the people, and as many of two; fewer where there are no more.

  Args:
    people: [N] whose picture each is.
    count: of each kind; 0 means all of one person.
    seed: of the draws.

  Raises:
    ValueError: if nobody has two pictures, or there is one person only.
  """
  random = np.random.default_rng(seed)
  rounds: list[tuple[int, int, int]] = []  # (lap, first, second): everybody's first pair, then everybody's second, ...
  for person in np.unique(people):
    mine = random.permutation(np.flatnonzero(people == person))
    own = mine[np.stack(np.triu_indices(len(mine), 1), axis=1)]
    rounds += [(lap, *pair) for lap, pair in enumerate(random.permutation(own).tolist())]
  if not rounds or len(np.unique(people)) < 2:
    raise ValueError('verification needs two people, and somebody with two pictures')
  rounds.sort(key=lambda one: one[0])
  positive = np.array([one[1:] for one in rounds[: count or None]])
  negative: set[tuple[int, int]] = set()
  sizes = np.unique(people, return_counts=True)[1]
  most = min(len(positive), int(len(people) ** 2 - (sizes**2).sum()) // 2)
  while len(negative) < most:
    a, b = random.integers(0, len(people), [2, 4 * most])
    found = [(min(x, y), max(x, y)) for x, y in zip(a.tolist(), b.tolist(), strict=True) if people[x] != people[y]]
    for pair in found:
      if len(negative) < most:
        negative.add(pair)
  both = np.concatenate([positive, np.array(sorted(negative))])
  return Pairs(both[:, 0], both[:, 1], np.arange(len(both)) < len(positive))


def distances(codes: np.ndarray, pairs: Pairs) -> np.ndarray:
  """[P] squared distances of codes [N, D], brought to length 1: between 0 and 4."""
  codes = codes / np.maximum(np.linalg.norm(codes, axis=1, keepdims=True), 1e-12)
  return ((codes[pairs.first] - codes[pairs.second]) ** 2).sum(1).astype(np.float64)


def pair_weights(people: np.ndarray, pairs: Pairs, weights: np.ndarray) -> np.ndarray:
  """How often each pair counts where each picture counts so often: [..., P] from [..., N].

  A person drawn twice gives twice the pairs, not four times: those of one person are divided by how often it was drawn.
  """
  result = weights[..., pairs.first] * weights[..., pairs.second]
  owner = people[pairs.first]
  for person in np.unique(owner[pairs.same]):
    mine = pairs.same & (owner == person)
    drawn = weights[..., people == person].mean(-1, keepdims=True)
    result[..., mine] /= np.maximum(drawn, 1e-12)
  return result


def equal_error_rate(
  positive: np.ndarray,
  negative: np.ndarray,
  positive_weights: np.ndarray | None = None,
  negative_weights: np.ndarray | None = None,
) -> np.ndarray:
  """The error where as many pairs of one person are refused as of two are accepted.

  Args: as `metrics.auc`, of the scores of pairs; larger is more alike.

  Returns:
    [...] in [0, 1]; the mean of the two rates at the threshold where they are nearest to each other.
  """
  a = np.ones(len(positive)) if positive_weights is None else positive_weights
  b = np.ones(len(negative)) if negative_weights is None else negative_weights
  scores = np.unique(np.concatenate([positive, negative]))
  thresholds = np.concatenate([scores, [np.inf]])  # Accepted from the threshold on, and nobody at the last.
  below = [metrics.weight_below(*one, thresholds) for one in ((positive, a), (negative, b))]
  refused, refused_rightly = (weight / weight[..., -1:] for weight in below)
  accepted = 1 - refused_rightly
  place = np.abs(refused - accepted).argmin(-1)[..., np.newaxis]
  return (np.take_along_axis(refused, place, -1) + np.take_along_axis(accepted, place, -1))[..., 0] / 2


def separation(
  positive: np.ndarray,
  negative: np.ndarray,
  positive_weights: np.ndarray | None = None,
  negative_weights: np.ndarray | None = None,
) -> np.ndarray:
  """d': difference of the mean scores over the root of the mean of their variances; arguments as above."""

  def moments(values: np.ndarray, weights: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    weights = np.ones(len(values)) if weights is None else weights
    mean = weights @ values / weights.sum(-1)
    return mean, np.maximum(weights @ values**2 / weights.sum(-1) - mean**2, 0)

  (mean_a, a), (mean_b, b) = moments(positive, positive_weights), moments(negative, negative_weights)
  with np.errstate(divide='ignore', invalid='ignore'):
    return (mean_a - mean_b) / np.sqrt((a + b) / 2)


def accepted_rightly(
  scores: np.ndarray, people: np.ndarray, pairs: Pairs, folds: int = FOLDS, tenths: np.ndarray | None = None
) -> np.ndarray:
  """[P] bool: whether each pair is judged rightly by the best threshold of the other people's pairs, or of the other
  `tenths` [P], where a data set says in which each pair is."""
  names, member = np.unique(people, return_inverse=True)
  folds = min(folds, len(names))
  fold = np.random.default_rng(0).permutation(len(names))[member] % folds
  first, second = (fold[pairs.first], fold[pairs.second]) if tenths is None else (tenths, tenths)
  right = np.zeros(len(scores), bool)
  for number in np.unique(first):
    mine = first == number
    others = (first != number) & (second != number)
    if others.any() and mine.any():
      right[mine] = (scores[mine] >= best_threshold(scores[others], pairs.same[others])) == pairs.same[mine]
  return right


def best_threshold(scores: np.ndarray, same: np.ndarray) -> float:
  """The threshold, between two scores, from which on accepting makes the fewest errors."""
  order = np.argsort(scores)
  ordered, truth = scores[order], same[order]
  # Errors with the first k refused: the same ones among them, and the others behind.
  errors = np.concatenate([[0], np.cumsum(truth)]) + (~truth).sum() - np.concatenate([[0], np.cumsum(~truth)])
  tied = np.concatenate([[False], ordered[1:] == ordered[:-1], [False]])
  place = int(np.where(tied, len(scores) + 1, errors).argmin())
  ends = np.concatenate([[ordered[0] - 1], ordered, [ordered[-1] + 1]])
  return float((ends[place] + ends[place + 1]) / 2)


def verification_rows(
  protocol: str,
  codes: Mapping[str, np.ndarray],
  people: np.ndarray,
  pairs: Pairs,
  embedding: str | None = None,
  subject: str = 'model',
  tenths: np.ndarray | None = None,
) -> list[Row]:
  """Rows `auc`, `eer`, `verification_accuracy` and `d_prime` of each subject, and `SUBJECT_minus_OTHER` of AUC and d'.

  Args:
    protocol: its name.
    codes: subject -> [N, D] codes of the same N pictures, or [K, N, D] of K seeds.
    people: [N] who is on them.
    pairs: see `make_pairs`.
    embedding: who made the codes, where a subject is a set of pictures and not an embedding.
    subject: the one that the others are compared with.
    tenths: [P] in which tenth each pair is, where the data set says so.
  """
  weights = pair_weights(people, pairs, intervals.bootstrap_weights(people))
  used = np.unique(np.concatenate([pairs.first, pairs.second]))
  size = len(pairs.first), len(np.unique(people[used]))
  rows: list[Row] = []
  compared: dict[str, dict[str, Any]] = {metric: {} for metric in ('auc', 'd_prime')}
  seeds = {name: len(values) if values.ndim == 3 else 1 for name, values in codes.items()}
  for name, values in codes.items():
    statistics: dict[str, list] = {metric: [] for metric in ('auc', 'eer', 'verification_accuracy', 'd_prime')}
    for one in values if values.ndim == 3 else [values]:
      scores = -distances(one, pairs)
      statistics['auc'].append(_over_pairs(metrics.auc, scores, pairs.same))
      statistics['eer'].append(_over_pairs(equal_error_rate, scores, pairs.same))
      right = accepted_rightly(scores, people, pairs, tenths=tenths)
      statistics['verification_accuracy'].append(intervals.mean_of(right * 1.0))
      statistics['d_prime'].append(_over_pairs(separation, scores, pairs.same))
    for metric, of_seeds in statistics.items():
      statistic = intervals.over_seeds(of_seeds) if values.ndim == 3 else of_seeds[0]
      rows.append(
        make_row(protocol, metric, name, 'all', _estimate(statistic, weights), *size, seeds[name], embedding=embedding)
      )
      if metric in compared:
        compared[metric][name] = statistic
  for metric, found in compared.items():
    for name, other in found.items():
      if name != subject and subject in found:
        value = _estimate(lambda w, a=found[subject], b=other: a(w) - b(w), weights)
        row = f'{subject}_minus_{name}'
        rows.append(make_row(protocol, metric, row, 'all', value, *size, seeds[subject], embedding=embedding))
  return rows


def _estimate(statistic, weights: np.ndarray) -> intervals.Estimate:
  """As `intervals.estimate`, which leaves out replicates that are no number: of few people some have one only."""
  with np.errstate(divide='ignore', invalid='ignore'):
    return intervals.estimate(statistic, weights)


def _over_pairs(function, scores: np.ndarray, same: np.ndarray):
  """The statistic of pair weights [..., P] that compares pairs of one person with pairs of two."""
  return lambda weights: function(scores[same], scores[~same], weights[..., same], weights[..., ~same])
