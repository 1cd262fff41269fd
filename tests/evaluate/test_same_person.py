"""Figures of verification against numbers worked by hand, and against scikit-learn."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score, roc_curve

from evaluate import same_person
from evaluate.results import find_row


def test_pairs_are_spread_and_none_comes_twice():
  people = np.repeat(np.arange(6), 5)
  pairs = same_person.make_pairs(people, 12)
  same = people[pairs.first] == people[pairs.second]
  assert (same == pairs.same).all() and same.sum() == 12 and len(same) == 24
  assert (np.bincount(people[pairs.first[same]], minlength=6) == 2).all()
  assert len({frozenset(p) for p in zip(pairs.first.tolist(), pairs.second.tolist(), strict=True)}) == 24
  assert same_person.make_pairs(people, 0).same.sum() == 60
  few = same_person.make_pairs(np.array([0, 0, 0, 0, 1]), 0)  # Four pairs of two people are all there are.
  assert few.same.sum() == 6 and (~few.same).sum() == 4
  with pytest.raises(ValueError, match='needs two people'):
    same_person.make_pairs(np.arange(5))


def test_equal_error_rate():
  # From .6 on one of four is refused and one of four accepted.
  assert same_person.equal_error_rate(np.array([0.9, 0.8, 0.7, 0.2]), np.array([0.6, 0.1, 0.1, 0.05])) == 0.25
  assert same_person.equal_error_rate(np.array([3.0, 4.0]), np.array([1.0, 2.0])) == 0
  random = np.random.default_rng(0)
  positive, negative = random.normal(1, 1, 500), random.normal(0, 1, 400)
  refused, accepted, _ = roc_curve([1] * 500 + [0] * 400, np.concatenate([positive, negative]))
  place = np.abs(1 - accepted - refused).argmin()
  expected = (1 - accepted + refused)[place] / 2
  assert same_person.equal_error_rate(positive, negative) == pytest.approx(expected, abs=2e-3)
  # A weight of two is a pair that stands there twice.
  weights = random.integers(0, 3, [3, 500]), random.integers(0, 3, [3, 400])
  received = same_person.equal_error_rate(positive, negative, *weights)
  for k in range(3):
    again = same_person.equal_error_rate(np.repeat(positive, weights[0][k]), np.repeat(negative, weights[1][k]))
    assert received[k] == pytest.approx(again, abs=1e-9)


def test_separation():
  assert same_person.separation(np.array([3.0, 5.0]), np.array([0.0, 2.0])) == pytest.approx(3)
  assert same_person.separation(np.array([3.0, 9.0]), np.array([0.0, 2.0]), np.array([2, 0]), np.array([1, 1])) == (
    pytest.approx(2 / np.sqrt(0.5)))


def test_the_threshold_is_that_of_the_others():
  assert same_person.best_threshold(np.array([1.0, 2.0, 3.0, 4.0]), np.array([False, False, True, True])) == 2.5
  assert same_person.best_threshold(np.array([1.0, 1.0]), np.array([True, False])) != 1.0  # Ties cannot be cut apart.
  people = np.repeat(np.arange(20), 4)
  pairs = same_person.make_pairs(people, 60)
  scores = np.where(pairs.same, 1.0, 0.0)
  assert same_person.accepted_rightly(scores, people, pairs).all()
  assert not same_person.accepted_rightly(-scores, people, pairs).all()


def test_rows():
  random = np.random.default_rng(0)
  people = np.repeat(np.arange(25), 6)
  good = np.eye(25)[people] + random.normal(0, 0.15, [150, 25])
  bad = random.normal(size=[150, 8])
  pairs = same_person.make_pairs(people, 200)
  rows = same_person.verification_rows('verification', {'model': good, 'raw_pixels': bad}, people, pairs)
  area = find_row(rows, 'auc')
  scores = -same_person.distances(good, pairs)
  assert area['value'] == pytest.approx(roc_auc_score(pairs.same, scores))
  assert area['low'] <= area['value'] <= area['high'] and (area['count'], area['identities']) == (400, 25)
  chance = find_row(rows, 'auc', 'raw_pixels')
  assert chance['low'] < 0.5 < chance['high']
  assert find_row(rows, 'verification_accuracy')['value'] > 0.9 > find_row(rows, 'eer', 'raw_pixels')['value'] > 0.35
  assert find_row(rows, 'auc', 'model_minus_raw_pixels')['low'] > 0.2
  # A person drawn twice gives each pair of their pictures twice.
  doubled = same_person.pair_weights(people, pairs, np.where(people == people[pairs.first[0]], 2.0, 1.0))
  assert doubled[0] == 2 and set(doubled[pairs.same]) == {1.0, 2.0}
