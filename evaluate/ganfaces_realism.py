"""GANFaces judged by others: Fig. 7's verification, the distance to photographs, the spread of what it makes, and where
the landmarks went. Pure functions of pictures and codes; a subject is an arm with K seeds, or a baseline with one."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from threadpoolctl import threadpool_limits

from evaluate import embeddings, intervals, metrics, same_person
from evaluate.ganfaces_sets import Judge, Scene, hide_background
from evaluate.intervals import Estimate
from evaluate.results import Measure, Row, make_row, make_rows
from input_pipeline.alignment import denormalize

FIGURE7, REALISM = 'figure7', 'realism'
PAIRS = 1000  # Of one person, and of two.
FRECHET_LEAST = 1000  # Pictures a side: with fewer it measures their number.
_FRECHET_REPLICATES = 100
_OTHERS = 10**7  # Added to the numbers of photographed people: nobody of them is rendered.

Seeds = Mapping[str, np.ndarray]  # subject -> [K, N, ...]


class Codes(NamedTuple):
  """What a judge sees.

  Attributes:
    judge: its name.
    gamma: of its kernel.
    subjects: subject -> [K, N, D] codes.
    photos: [M, D] codes of held-out photographs.
    training: [L, D] codes of photographs that were trained on.
  """

  judge: str
  gamma: float
  subjects: Seeds
  photos: np.ndarray
  training: np.ndarray


def look(judge: Judge, outputs: Seeds, scene: Scene, face: bool = False) -> Codes:
  """Embeds everything.

  Args:
    judge: who looks.
    outputs: arm -> [K, N, S, S, 3] uint8.
    scene: see `ganfaces_sets`.
    face: hide everything but the face, jaw to brows.
  """
  sets: dict[str, np.ndarray] = {
    **outputs, 'renders': scene.renders.images[None], **{k: v[None] for k, v in scene.baselines.items()}}
  photos, training = scene.photos.images, scene.training.images
  if face:
    masks = scene.renders.masks()
    sets = {subject: hide_background(images, masks) for subject, images in sets.items()}
    photos, training = (hide_background(p.images, p.masks()) for p in (scene.photos, scene.training))
  codes = {subject: np.stack([judge.codes(images, scene.renders.landmarks) for images in seeds])
           for subject, seeds in sets.items()}
  return Codes(judge.name, judge.gamma, codes, judge.codes(photos, scene.photos.landmarks),
               judge.codes(training, scene.training.landmarks))


def figure7(codes: Codes, scene: Scene, arms: list[str], count: int = PAIRS) -> tuple[list[Row], dict[str, np.ndarray]]:
  """Verification within renders, translations and photographs.

  Returns:
    the rows, and subject -> ([P] bool same, [P] squared distances) stacked as [2, P], of the first seed, to be drawn.
  """
  people = scene.renders.people
  pairs = same_person.make_pairs(people, count)
  shown = {name: codes.subjects[name] for name in [*arms, 'renders']}
  rows = same_person.verification_rows(FIGURE7, shown, people, pairs, codes.judge, arms[0])
  drawn = {name: np.stack([pairs.same, same_person.distances(of[0], pairs)]) for name, of in shown.items()}
  try:
    pairs = same_person.make_pairs(scene.photos.people, count)
  except ValueError:
    print('photographs are left out of Fig. 7: nobody held out has two of them')
    return rows, drawn
  rows += same_person.verification_rows(
    FIGURE7, {'photos': codes.photos}, scene.photos.people, pairs, codes.judge)
  return rows, drawn | {'photos': np.stack([pairs.same, same_person.distances(codes.photos, pairs)])}


def distance_rows(codes: Codes, scene: Scene, slice: str, arms: list[str]) -> list[Row]:
  """Kernel distances to the held-out photographs, and Fréchet ones where there are enough pictures.

  `photos` are the training photographs: what a perfect translation would get. `share_of_renders_distance` is the
  distance over that of the renders.
  """
  a, b = scene.renders.people, scene.photos.people + _OTHERS
  drawn = np.concatenate([intervals.bootstrap_weights(a), intervals.bootstrap_weights(b, seed=1)], axis=1)

  def distance(x: np.ndarray, whose: np.ndarray):
    split = len(whose)
    return lambda w: metrics.kernel_distance(
      x, codes.photos, codes.gamma, whose, b, w[..., :split], w[..., split:])

  statistics: dict[str, Any] = {
    subject: intervals.over_seeds([distance(one, a) for one in seeds]) for subject, seeds in codes.subjects.items()}
  size = {'count': len(a), 'identities': len(np.unique(a)), 'embedding': codes.judge}

  def row(metric: str, subject: str, statistic: Any, of: str = '') -> Row:
    seeds = len(codes.subjects[of or subject])
    return make_row(REALISM, metric, subject, slice, estimate(statistic, drawn), seeds=seeds, **size)

  rows = [row('kernel_distance', subject, statistic) for subject, statistic in statistics.items()]
  for arm in arms:
    rows.append(row('share_of_renders_distance', arm,
                    lambda w, one=statistics[arm]: one(w) / statistics['renders'](w)))
  for subject, other in statistics.items():
    if subject != arms[0]:
      rows.append(row('kernel_distance', f'{arms[0]}_minus_{subject}',
                      lambda w, other=other: statistics[arms[0]](w) - other(w), arms[0]))
  whose = scene.training.people + _OTHERS
  weights = np.concatenate([intervals.bootstrap_weights(whose), intervals.bootstrap_weights(b, seed=1)], axis=1)
  rows.append(make_row(REALISM, 'kernel_distance', 'photos', slice, estimate(distance(codes.training, whose), weights),
                       len(whose), len(np.unique(whose)), embedding=codes.judge))
  if min(len(a), len(b)) < FRECHET_LEAST:
    return rows
  for subject, seeds in codes.subjects.items():
    value = frechet(list(seeds), a, codes.photos, b)
    rows.append(make_row(REALISM, 'frechet_distance', subject, slice, value, seeds=len(seeds), **size))
  return rows


def frechet(seeds: list[np.ndarray], a: np.ndarray, photos: np.ndarray, b: np.ndarray) -> Estimate:
  """The mean Fréchet distance of seeds [N, D] of people `a` to photographs [M, D] of people `b`, with its interval."""
  photos = photos.astype(np.float64)
  value = float(np.mean([metrics.frechet_distance(one.astype(np.float64), photos) for one in seeds]))
  drawn = []
  of_a = intervals.bootstrap_weights(a, _FRECHET_REPLICATES).astype(int)
  of_b = intervals.bootstrap_weights(b, _FRECHET_REPLICATES, seed=1).astype(int)
  with threadpool_limits(1):  # Small matrices: threads cost more than they give.
    for number, (u, v) in enumerate(zip(of_a, of_b, strict=True)):
      one = seeds[number % len(seeds)].astype(np.float64)
      drawn.append(metrics.frechet_distance(np.repeat(one, u, axis=0), np.repeat(photos, v, axis=0)))
  # Resamples hold fewer different pictures, which raises every Fréchet distance: only their spread is used.
  low, high = value + np.percentile(drawn, [2.5, 97.5]) - np.mean(drawn)
  return Estimate(value, max(0.0, float(low)), float(high))


def mean_pair_distance(distances: np.ndarray):
  """The statistic: mean of distances [N, N] over all pairs of two pictures."""
  apart = 1.0 - np.eye(len(distances))

  def statistic(weights):
    with np.errstate(divide='ignore', invalid='ignore'):
      return ((weights @ (distances * apart)) * weights).sum(-1) / ((weights @ apart) * weights).sum(-1)

  return statistic


def pair_distances(rows: np.ndarray) -> np.ndarray:
  """[N, N] Euclidean distances of [N, D]."""
  rows = rows.astype(np.float64)
  square = (rows**2).sum(1)
  return np.sqrt(np.maximum(square[:, None] + square - 2 * rows @ rows.T, 0))


def spread_rows(metric: str, sets: Seeds, people: np.ndarray, arms: list[str], judge: str | None = None) -> list[Row]:
  """Mean distance between two pictures, and its share of the renders'.

  Args:
    metric: its name; the share's is `METRIC_over_renders`.
    sets: subject, `renders` and all arms among them -> [K, N, D].
    people: [N].
    arms: the subjects that have a share.
    judge: who made the codes, if they are codes.
  """
  weights = intervals.bootstrap_weights(people)
  statistics = {subject: intervals.over_seeds([mean_pair_distance(pair_distances(one)) for one in seeds])
                for subject, seeds in sets.items()}
  size = len(people), len(np.unique(people))

  def row(name: str, subject: str, statistic: Any) -> Row:
    value = estimate(statistic, weights)
    return make_row(REALISM, name, subject, 'all', value, *size, len(sets[subject]), judge)

  rows = [row(metric, subject, statistic) for subject, statistic in statistics.items()]
  for arm in arms:
    rows.append(row(f'{metric}_over_renders', arm,
                    lambda w, one=statistics[arm]: one(w) / statistics['renders'](w)))
  return rows


def pixel_spread(outputs: Seeds, scene: Scene) -> list[Row]:
  """`spread`: root mean square difference of two pictures, of values in [-1, 1]."""
  def flat(images: np.ndarray) -> np.ndarray:
    rows = images.reshape(*images.shape[:2], -1).astype(np.float32) / 127.5
    return rows / np.sqrt(rows.shape[-1])

  sets = {**{arm: flat(images) for arm, images in outputs.items()}, 'renders': flat(scene.renders.images[None])}
  return spread_rows('spread', sets, scene.renders.people, list(outputs))


def landmark_rows(outputs: Seeds, scene: Scene) -> list[Row]:
  """Do translations show the face where the render has it?

  `landmark_error`: from dlib's points on a translation to the render's exact ones, over the distance of the eyes; of
  `renders`, dlib's own error. `landmark_shift`: from dlib's points on a translation to dlib's on its render.
  """
  renders = scene.renders
  exact = denormalize(renders.landmarks, renders.images.shape[1])
  sets = {'renders': renders.images[None], **outputs}
  every = np.arange(68)
  seen = {subject: [embeddings.read_faces(images, exact, describe=False) for images in seeds]
          for subject, seeds in sets.items()}
  own = seen['renders'][0].landmarks

  def measure(subject: str, function: Any) -> Measure:
    values = np.array([function(one) for one in seen[subject]])
    return Measure(values if subject in outputs else values[0])

  measures = {subject: {
    'landmark_error': measure(subject, lambda faces: metrics.landmark_error(faces.landmarks, exact, every)),
    'face_found': measure(subject, lambda faces: faces.found * 1.0),
  } for subject in [*outputs, 'renders']}
  for arm in outputs:
    measures[arm]['landmark_shift'] = measure(arm, lambda faces: metrics.landmark_error(faces.landmarks, own, every))
  return make_rows(REALISM, measures, renders.people, {'all': np.ones(len(renders.people), bool)})


def estimate(statistic: Any, weights: np.ndarray) -> Estimate:
  """As `intervals.estimate`; replicates that are no number are left out: of few people some have one only."""
  with np.errstate(divide='ignore', invalid='ignore'):
    return intervals.estimate(statistic, weights)


def realism(
  outputs: Seeds, scene: Scene, judges: list[Judge]
) -> tuple[list[Row], dict[str, dict[str, np.ndarray]], Codes]:
  """All rows of arms on one scene.

  Args:
    outputs: arm -> [K, N, S, S, 3] uint8 translations of the scene's renders; the first is what others are compared
      with.
    scene: see `ganfaces_sets`.
    judges: the first is the one to believe.
  Returns:
    the rows; judge -> what Fig. 7 draws, see `figure7`; and the first judge's codes.
  """
  arms = list(outputs)
  rows: list[Row] = []
  drawn, first = {}, None
  for judge in judges:
    codes = look(judge, outputs, scene)
    first = first or codes
    found, drawn[judge.name] = figure7(codes, scene, arms)
    rows += found + distance_rows(codes, scene, 'all', arms)
    shown = {name: codes.subjects[name] for name in [*arms, 'renders']}
    rows += spread_rows('code_spread', shown, scene.renders.people, arms, judge.name)
    rows += distance_rows(look(judge, outputs, scene, face=True), scene, 'face', arms)
  assert first is not None
  if min(len(scene.renders.people), len(scene.photos.people)) < FRECHET_LEAST:
    print(f'Fréchet distances are left out: they need {FRECHET_LEAST:,} pictures a side (--pairs={FRECHET_LEAST}), '
          f'here are {len(scene.renders.people):,} and {len(scene.photos.people):,}')
  return rows + pixel_spread(outputs, scene) + landmark_rows(outputs, scene), drawn, first
