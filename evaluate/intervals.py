"""Intervals by a bootstrap that resamples people first, then their images: two pictures of a person are not two
witnesses."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

REPLICATES = 1000
MIN_PEOPLE, MIN_SEEDS = 20, 3  # Below these a comparison says "too few".


class Estimate(NamedTuple):
  """A value with the bounds of its 95 % interval; all None where nothing was measured."""

  value: float | None
  low: float | None
  high: float | None


def bootstrap_weights(people: np.ndarray, replicates: int = REPLICATES, seed: int = 0) -> np.ndarray:
  """How often each image counts in each replicate.

  Args:
    people: [N] the identity of each image.
    replicates: R.
    seed: of the draws; the same people and seed give the same replicates, so differences can be paired.
  Returns:
    [R, N] float64; a replicate draws as many people as there are, then as many of each one's images as there are.
  """
  rng = np.random.default_rng(seed)
  names, member = np.unique(people, return_inverse=True)
  drawn = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), size=replicates)
  weights = np.zeros((replicates, len(people)))
  for person in range(len(names)):
    images = np.flatnonzero(member == person)
    # A person drawn c times gives c times their number of images, each drawn anew.
    weights[:, images] = rng.multinomial(drawn[:, person] * len(images), np.full(len(images), 1 / len(images)))
  return weights


def estimate(statistic: Callable[[np.ndarray], np.ndarray], weights: np.ndarray) -> Estimate:
  """A statistic of images with its 95 % interval.

  Args:
    statistic: weights [..., N] -> [...]; called with ones and with the bootstrap's weights.
    weights: [R, N] of `bootstrap_weights`.
  """
  if weights.shape[1] == 0:
    return Estimate(None, None, None)
  value = float(statistic(np.ones(weights.shape[1])))
  drawn = np.asarray(statistic(weights))
  drawn = drawn[np.isfinite(drawn)]
  if not np.isfinite(value) or not len(drawn):
    return Estimate(None, None, None)
  low, high = np.percentile(drawn, [2.5, 97.5])
  return Estimate(value, float(low), float(high))


def mean_of(values: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
  """The statistic: weighted mean of [N] values."""
  return lambda weights: weights @ values / weights.sum(-1)


def ratio_of(numerators: np.ndarray, denominators: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
  """The statistic: sum of numerators over sum of denominators."""

  def statistic(weights):
    with np.errstate(divide='ignore', invalid='ignore'):
      return weights @ numerators / (weights @ denominators)

  return statistic


def over_seeds(statistics: Sequence[Callable[[np.ndarray], np.ndarray]]) -> Callable[[np.ndarray], np.ndarray]:
  """The statistic: mean of one statistic a seed. Replicates draw seeds too; two arms with as many draw the same."""
  count = len(statistics)

  def statistic(weights):
    figures = np.stack([one(weights) for one in statistics], axis=-1)
    draws = np.random.default_rng(0).multinomial(count, np.full(count, 1 / count), size=figures.shape[:-1])
    return (figures * (draws if weights.ndim > 1 else 1)).sum(-1) / count

  return statistic
