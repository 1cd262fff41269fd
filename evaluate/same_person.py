"""Are two pictures of one person? The figures of face verification, with intervals over people.

A pair's score is minus the squared distance of its codes. LFW's protocol (http://vis-www.cs.umass.edu/lfw/): as many
pairs of one person as of two; the threshold of each tenth of the pairs is chosen on the other nine, and here the people
of a tenth are in no other.
"""

import collections
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from evaluate import intervals, metrics
from evaluate.results import Row, make_row

FOLDS = 10
_MANY = 20_000  # Pairs beyond which fewer replicates are drawn: each weighs every pair.


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
  right = np.zeros(len(scores), bool)
  for mine, others in _folds(people, pairs, folds, tenths):
    right[mine] = (scores[mine] >= best_threshold(scores[others], pairs.same[others])) == pairs.same[mine]
  return right


def accepted_at_far(
  scores: np.ndarray,
  people: np.ndarray,
  pairs: Pairs,
  far: float,
  folds: int = FOLDS,
  tenths: np.ndarray | None = None,
) -> np.ndarray:
  """[P] bool: whether each pair is accepted by the lowest threshold that accepts no more than the share `far` of the
  other folds' pairs of two people; folds as in `accepted_rightly`. None where those have no such pair."""
  accepted = np.zeros(len(scores), bool)
  for mine, others in _folds(people, pairs, folds, tenths):
    strangers = np.sort(scores[others & ~pairs.same])[::-1]
    if len(strangers):
      allowed = min(int(far * len(strangers) + 1e-9), len(strangers) - 1)
      accepted[mine] = scores[mine] > strangers[allowed]
  return accepted


def _folds(
  people: np.ndarray, pairs: Pairs, folds: int, tenths: np.ndarray | None
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
  """Of each fold its pairs [P] bool, and those by which its threshold is chosen."""
  names, member = np.unique(people, return_inverse=True)
  folds = min(folds, len(names))
  fold = np.random.default_rng(0).permutation(len(names))[member] % folds
  first, second = (fold[pairs.first], fold[pairs.second]) if tenths is None else (tenths, tenths)
  for number in np.unique(first):
    mine, others = first == number, (first != number) & (second != number)
    if others.any() and mine.any():
      yield mine, others


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
  """As `score_rows`, of minus the squared distances of codes.

  Args:
    protocol: its name.
    codes: subject -> [N, D] codes of the same N pictures, or [K, N, D] of K seeds.
    people: [N] who is on them.
    pairs: see `make_pairs`.
    embedding: who made the codes, where a subject is a set of pictures and not an embedding.
    subject: the one that the others are compared with.
    tenths: [P] in which tenth each pair is, where the data set says so.
  """
  scores = {
    name: -np.stack([distances(one, pairs) for one in values]) if values.ndim == 3 else -distances(values, pairs)
    for name, values in codes.items()
  }
  return score_rows(protocol, scores, people, pairs, embedding, subject, tenths)


def score_rows(
  protocol: str,
  scores: Mapping[str, np.ndarray],
  people: np.ndarray,
  pairs: Pairs,
  embedding: str | None = None,
  subject: str = 'model',
  tenths: np.ndarray | None = None,
  fars: Sequence[float] = (),
) -> list[Row]:
  """Rows `auc`, `eer`, `verification_accuracy`, `d_prime` and, of each rate in `fars`, `tpr_at_far_RATE` of each
  subject, and `SUBJECT_minus_OTHER` of AUC and d'.

  Args:
    protocol: its name.
    scores: subject -> [P] scores of the pairs, larger is more alike, or [K, P] of K seeds.
    people: [N] who is on the N pictures, or templates of pictures.
    pairs: of them.
    embedding: who made the scores, where a subject is a set of pictures and not an embedding.
    subject: the one that the others are compared with.
    tenths: [P] in which tenth, or split, each pair is, where the data set says so.
    fars: rates at which two people may be taken for one; the thresholds are chosen on the other folds.
  """
  replicates, kind = (intervals.REPLICATES, float) if len(pairs.first) <= _MANY else (200, np.float32)
  weights = pair_weights(people, pairs, intervals.bootstrap_weights(people, replicates).astype(kind))
  used = np.unique(np.concatenate([pairs.first, pairs.second]))
  size = len(pairs.first), len(np.unique(people[used]))
  rows: list[Row] = []
  compared: dict[str, dict[str, Any]] = {metric: {} for metric in ('auc', 'd_prime')}
  for name, values in scores.items():
    statistics: dict[str, list] = collections.defaultdict(list)
    for one in np.atleast_2d(values):
      statistics['auc'].append(_over_pairs(metrics.auc, one, pairs.same))
      statistics['eer'].append(_over_pairs(equal_error_rate, one, pairs.same))
      right = accepted_rightly(one, people, pairs, tenths=tenths)
      statistics['verification_accuracy'].append(intervals.mean_of(right * 1.0))
      statistics['d_prime'].append(_over_pairs(separation, one, pairs.same))
      for far in fars:
        accepted = accepted_at_far(one, people, pairs, far, tenths=tenths)
        statistics[f'tpr_at_far_{far:g}'].append(intervals.ratio_of(accepted * pairs.same, pairs.same * 1.0))
    for metric, of_seeds in statistics.items():
      statistic = intervals.over_seeds(of_seeds) if values.ndim == 2 else of_seeds[0]
      value = _estimate(statistic, weights)
      rows.append(make_row(protocol, metric, name, 'all', value, *size, len(of_seeds), embedding=embedding))
      if metric in compared:
        compared[metric][name] = statistic
  seeds = len(np.atleast_2d(scores[subject])) if subject in scores else 1
  for metric, found in compared.items():
    for name, other in found.items():
      if name != subject and subject in found:
        value = _estimate(lambda w, a=found[subject], b=other: a(w) - b(w), weights)
        row = f'{subject}_minus_{name}'
        rows.append(make_row(protocol, metric, row, 'all', value, *size, seeds, embedding=embedding))
  return rows


def _estimate(statistic, weights: np.ndarray) -> intervals.Estimate:
  """As `intervals.estimate`, which leaves out replicates that are no number: of few people some have one only."""
  with np.errstate(divide='ignore', invalid='ignore'):
    return intervals.estimate(statistic, weights)


def _over_pairs(function, scores: np.ndarray, same: np.ndarray):
  """The statistic of pair weights [..., P] that compares pairs of one person with pairs of two."""
  return lambda weights: function(scores[same], scores[~same], weights[..., same], weights[..., ~same])
