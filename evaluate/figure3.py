"""GC-GAN's Fig. 3: does the picture change evenly while the expression's code goes from one expression to another?"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from evaluate.intervals import Estimate
from evaluate.results import Measure, Row, make_row, make_rows
from input_pipeline.triplets import Triplets, spread_order, to_float

PROTOCOL = 'figure3'
STEPS = 10
# What data sets call the paper's expressions.
NAMES = {'smile': ('smile', 'happy', 'happiness'), 'scream': ('scream', 'surprise')}


def find_expression(name: str, expressions: list[str]) -> int | None:
  """The label of one of the paper's expressions, None where the data set has no such pictures."""
  return next((expressions.index(n) for n in NAMES.get(name, (name,)) if n in expressions), None)


def find_pairs(pipeline: Triplets, first: str, second: str, count: int | None = None) -> np.ndarray:
  """[P, 2] rows of the test split: one held-out person in one pose and light with two expressions; may be none.

  The first rows show different people.
  """
  a, b = (find_expression(name, pipeline.expressions) for name in (first, second))
  table, pairs = pipeline.data.index('test'), pipeline.pairs('test')
  labels = table['expression'][pairs]
  pairs = pairs[(labels[:, 0] == a) & (labels[:, 1] == b)] if a is not None and b is not None else pairs[:0]
  if not len(pairs):
    print(f'no held-out person shows {first} and {second}: that part of the figures is left out')
    return pairs
  people = table['identity'][pairs[:, 0]]
  return pairs[spread_order(people, np.zeros(len(people), int), 0)[:count]]


def interpolate(model: Any, pipeline: Triplets, pairs: np.ndarray, steps: int = STEPS, batch_size: int = 10) -> tuple:
  """Shows the first picture of each pair while its code goes to the second's in equal steps.

  Returns:
    pictures [P, steps + 1, S, S, 3] float32 in [-1, 1]; codes z_g [P, steps + 1, 32].
  """
  table, size = pipeline.data.index('test'), pipeline.config.image_size
  ends = [model.encode(table['landmarks'][pairs[:, k]]).numpy()[:, None] for k in (0, 1)]
  share = np.linspace(0, 1, steps + 1, dtype=np.float32)[:, None]
  codes = (1 - share) * ends[0] + share * ends[1]
  points = [table['landmarks'][pairs[:, k]][:, None].astype(np.float32) for k in (0, 1)]
  goals = (1 - share[..., None]) * points[0] + share[..., None] * points[1]  # What bend_input bends to.
  images: Any = to_float(pipeline.data.pictures('test', pairs[:, 0], size))
  shown = []
  for start in range(0, len(pairs), batch_size):
    part = slice(start, start + batch_size)
    repeated, own = (np.repeat(x[part], steps + 1, axis=0) for x in (images, points[0][:, 0]))
    of_part = codes[part].reshape(len(repeated), -1), own, goals[part].reshape(own.shape)
    shown.append(model.generate(repeated, *of_part).numpy())
  return np.concatenate(shown).reshape(len(pairs), steps + 1, size, size, 3), codes


def lipschitz(images: np.ndarray, codes: np.ndarray) -> np.ndarray:
  """|G(z') - G(z)| / |z' - z| of neighbouring steps, both l2, pictures as they are trained.

  Args:
    images: [P, T + 1, S, S, 3] in [-1, 1].
    codes: [P, T + 1, 32].
  Returns:
    [P, T]; NaN where the code does not change.
  """
  moved = np.sqrt((np.diff(images.astype(np.float64), axis=1) ** 2).sum((2, 3, 4)))
  length = np.linalg.norm(np.diff(codes.astype(np.float64), axis=1), axis=-1)
  return np.where(length > 1e-6, moved / np.maximum(length, 1e-6), np.nan)


def figure3(quotients: Mapping[str, Mapping[str, np.ndarray]], people: Mapping[str, np.ndarray]) -> list[Row]:
  """Rows `lipschitz_mean` and `lipschitz_max` (the bound, which has no interval) of each direction and time step.

  Args:
    quotients: direction such as `smile_to_neutral` -> arm -> [K, P, T] of K seeds; the same arms for each.
    people: direction -> [P] whom the pairs show.
  """
  if not quotients:
    return []
  arms = next(iter(quotients.values()))
  values = {arm: np.concatenate([of_arms[arm] for of_arms in quotients.values()], axis=1) for arm in arms}
  whose = np.concatenate([people[direction] for direction in quotients])
  directions = np.repeat(list(quotients), [len(people[direction]) for direction in quotients])
  # A pair whose codes agree has no quotient, and then counts in no arm.
  valid = np.all([np.isfinite(q).all((0, 2)) for q in values.values()], axis=0)
  slices = {'all': valid} | {direction: valid & (directions == direction) for direction in quotients}
  rows = _rows(values, whose, slices)
  for step in range(next(iter(values.values())).shape[-1]):
    of_step = {arm: q[..., step : step + 1] for arm, q in values.items()}
    rows += _rows(of_step, whose, {f'{name}_step_{step + 1}': chosen for name, chosen in slices.items()})
  return rows


def _rows(values: Mapping[str, np.ndarray], whose: np.ndarray, slices: Mapping[str, np.ndarray]) -> list[Row]:
  means = {arm: {'lipschitz_mean': Measure(np.nan_to_num(q.mean(-1)))} for arm, q in values.items()}
  rows = make_rows(PROTOCOL, means, whose, slices)
  for name, chosen in slices.items():
    for arm, q in values.items():
      bound = Estimate(float(q[:, chosen].max()), None, None) if chosen.any() else Estimate(None, None, None)
      size = int(chosen.sum()), len(np.unique(whose[chosen])), len(q)
      rows.append(make_row(PROTOCOL, 'lipschitz_max', arm, name, bound, *size))
  return rows
