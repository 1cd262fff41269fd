import numpy as np

from evaluate import intervals


def test_people_are_resampled_before_their_images():
  people = np.repeat(np.arange(30), 20)
  rng = np.random.default_rng(0)
  values = np.repeat(rng.normal(size=30), 20) + 0.01 * rng.normal(size=600)
  found = intervals.estimate(intervals.mean_of(values), intervals.bootstrap_weights(people))
  # 600 pictures, but 30 witnesses: the interval is that of 30 values.
  expected = 2 * 1.96 * values.reshape(30, 20).mean(1).std() / np.sqrt(30)
  assert found.value == np.mean(values)
  np.testing.assert_allclose(found.high - found.low, expected, rtol=0.1)


def test_a_single_person_varies_by_images_only():
  weights = intervals.bootstrap_weights(np.zeros(50), 200)
  assert weights.shape == (200, 50) and (weights.sum(1) == 50).all() and weights.std() > 0.5


def test_ratio_is_of_sums():
  statistic = intervals.ratio_of(np.array([1.0, 5.0]), np.array([2.0, 4.0]))
  np.testing.assert_allclose(statistic(np.array([[1, 1], [2, 0]])), [1.0, 0.5])


def test_nothing_measured_is_none_and_never_nan():
  assert intervals.estimate(intervals.mean_of(np.zeros(0)), np.zeros((1, 0))) == (None, None, None)
  zero = intervals.ratio_of(np.zeros(3), np.zeros(3))
  assert intervals.estimate(zero, intervals.bootstrap_weights(np.arange(3))) == (None, None, None)
