"""GC-GAN's Table 2: people driven by other people's faces, where there is no true picture.

Is the output still the same person, and does it show the driver's expression? Nothing here knows a label. An output in
which dlib's detector sees no face counts as a failure of both.
"""

from collections.abc import Callable, Mapping

import numpy as np
from sklearn.metrics.pairwise import cosine_similarity, euclidean_distances

from evaluate import embeddings, intervals, metrics
from evaluate.embeddings import DESCRIPTOR, Faces
from evaluate.provenance import to_uint8
from evaluate.results import Measure, Row, make_row, make_rows
from input_pipeline.alignment import denormalize, normalize

PROTOCOL = 'table2'
MAX_DISTANCE = 0.6  # Of dlib's descriptors: its own rule for one person.
MIN_COSINE = 0.65  # Of any other embedding: the paper's rule for VGG-Face.
DIFFERENCES = ('verification_accuracy', 'expression_similarity', 'landmark_distance', 'mouth_landmark_distance')
_NEGATIVES = 10  # Pictures of other people that each output is compared with.
Encode = Callable[[np.ndarray], np.ndarray]


def cosine(a: np.ndarray, b: np.ndarray) -> np.ndarray:
  """Cosines of features [..., D]: [...]; 0 where one is the zero vector."""
  a, b = a.astype(np.float64), b.astype(np.float64)
  lengths = np.linalg.norm(a, axis=-1) * np.linalg.norm(b, axis=-1)
  return (a * b).sum(-1) / np.where(lengths > 0, lengths, 1)


def likeness(a: np.ndarray, b: np.ndarray, embedding: str) -> np.ndarray:
  """How alike each face of features [N, D] is to each of [M, D], more is more: [N, M].

  Minus dlib's distance, or the cosine of others, which is 0 where one is the zero vector.
  """
  if embedding == DESCRIPTOR:
    return -euclidean_distances(a.astype(np.float64), b.astype(np.float64))
  return cosine_similarity(a, b)


def is_match(score: np.ndarray, embedding: str) -> np.ndarray:
  """Whether a `likeness` says one person: a distance below .6, a cosine of at least .65."""
  return score > -MAX_DISTANCE if embedding == DESCRIPTOR else score >= MIN_COSINE


def draw_strangers(people: np.ndarray, count: int = 1) -> np.ndarray | None:
  """[N, count] rows of other people for each of the people [N]; None where there is one person only."""
  rng = np.random.default_rng(0)
  if len(np.unique(people)) < 2:
    return None
  return np.array([rng.choice(np.flatnonzero(people != person), count) for person in people])


def table2(
  outputs: Mapping[str, np.ndarray], batch: Mapping[str, np.ndarray], encode: Encode, embedding: str = ''
) -> list[Row]:
  """The rows of Table 2.

  Args:
    outputs: arm, `model` among them -> [K, N, S, S, 3] uint8 of K seeds.
    batch: N pairs of `input_pipeline.drivers.driven_faces`.
    encode: the one E that judges all arms: landmarks [N, 68, 2] in [-1, 1] -> z_g [N, 32].
    embedding: a `.keras` file that judges identity too.
  """
  size = batch['input_image'].shape[1]
  inputs, drivers = to_uint8(batch['input_image']), to_uint8(batch['driver_image'])
  asked = denormalize(batch['driver_landmarks'], size)
  of_inputs = embeddings.read_faces(inputs, denormalize(batch['input_landmarks'], size))
  of_drivers = embeddings.read_faces(drivers, asked, describe=False)
  seen = {arm: [embeddings.read_faces(pictures, asked) for pictures in seeds] for arm, seeds in outputs.items()}

  copied = _follow(of_inputs, asked, encode, size)
  measures = {arm: _stack([_follow(faces, asked, encode, size, copied) for faces in seen[arm]]) for arm in seen}
  measures |= {'copy_input': copied, 'driver': _follow(of_drivers, asked, encode, size)}
  strangers = draw_strangers(batch['driver'])
  if strangers is not None:
    # Found by dlib on one side, as those of the arms are.
    stranger = Faces(of_drivers.found[strangers[:, 0]], of_drivers.landmarks[strangers[:, 0]], None)
    chance = _follow(stranger, asked, encode, size)
    measures['random_pairs'] = {'expression_similarity': chance['expression_similarity']}
  people = batch['identity']
  slices = {'all': np.ones(len(people), bool)}
  slices.update({f'skin_{s}': batch['skin'] == s for s in ('light', 'dark') if (batch['skin'] == s).any()})
  others = [subject for subject in measures if subject not in ('model', 'driver')]
  rows = make_rows(PROTOCOL, measures, people, slices, DIFFERENCES, others)

  names: dict[bytes, int] = {}
  pictures = np.array([names.setdefault(picture.tobytes(), len(names)) for picture in inputs])
  found = {arm: np.array([faces.found for faces in seen[arm]]) for arm in seen} | {'copy_input': of_inputs.found[None]}
  # Only how alike faces are is kept: of the paper's embedding the features of one run fill 400 MB.
  source = of_inputs.descriptors
  alike = {arm: np.stack([likeness(f.descriptors, source, DESCRIPTOR) for f in faces]) for arm, faces in seen.items()}
  alike['copy_input'] = likeness(source, source, DESCRIPTOR)[None]
  rows += identity_rows(alike, found, people, pictures, slices, DESCRIPTOR)
  if embedding:
    source = embeddings.keras_features(inputs, embedding)
    alike = {
      arm: np.stack([likeness(embeddings.keras_features(one, embedding), source, embedding) for one in seeds])
      for arm, seeds in outputs.items()
    }
    alike['copy_input'] = likeness(source, source, embedding)[None]
    rows += identity_rows(alike, found, people, pictures, slices, embedding)
  return rows


def _follow(
  faces: Faces, asked: np.ndarray, encode: Encode, size: int, copied: Mapping[str, Measure] | None = None
) -> dict[str, Measure]:
  """How well faces follow landmarks `asked` [N, 68, 2]: without a face not at all, and no nearer than the input is."""
  similarity = cosine(encode(normalize(faces.landmarks, size).astype(np.float32)), encode(normalize(asked, size)))
  figures = {'expression_similarity': Measure(np.where(faces.found, similarity, 0))}
  for name, which in (('landmark_distance', np.arange(68)), ('mouth_landmark_distance', metrics.MOUTH)):
    distance = metrics.landmark_error(faces.landmarks, asked, which)
    if copied is not None:
      distance = np.where(faces.found, distance, np.maximum(distance, copied[name].values))
    figures[name] = Measure(distance)
  return {**figures, 'face_found': Measure(faces.found.astype(np.float64))}


def _stack(seeds: list[dict[str, Measure]]) -> dict[str, Measure]:
  return {metric: Measure(np.array([one[metric].values for one in seeds])) for metric in seeds[0]}


def identity_rows(
  alike: Mapping[str, np.ndarray],
  found: Mapping[str, np.ndarray],
  people: np.ndarray,
  pictures: np.ndarray,
  slices: Mapping[str, np.ndarray],
  embedding: str,
) -> list[Row]:
  """Verification against the input (`verification_accuracy`), and AUC against another picture of the person.

  The AUC's positive is another input picture of the person where there is one, its negatives are other people's.

  Args:
    alike: arm, and `copy_input` -> [K, N, N] `likeness` of each output (column: input) of K seeds.
    found: the same -> [K, N] bool; without a face an output is nobody.
    people: [N].
    pictures: [N] a number for each input picture, the same for the same one.
    slices: name -> [N] bool.
    embedding: `DESCRIPTOR`, or any other name for the cosine rule.
  """
  own = np.arange(len(people))
  matches = {arm: is_match(scores[:, own, own], embedding) & found[arm] for arm, scores in alike.items()}
  matches['copy_input'] = matches['copy_input'][0]  # Not trained: it has no seeds.
  measures = {arm: {'verification_accuracy': Measure(match * 1.0)} for arm, match in matches.items()}
  strangers = draw_strangers(people, _NEGATIVES)
  if strangers is not None:
    accepted = is_match(alike['copy_input'][0][own, strangers[:, 0]], embedding)
    measures['random_pairs'] = {'verification_accuracy': Measure(accepted * 1.0)}
  rows = make_rows(PROTOCOL, measures, people, slices, DIFFERENCES, [arm for arm in measures if arm != 'model'])
  if strangers is not None:
    same = _other_pictures(pictures, people)
    to_same = {arm: np.where(found[arm], s[:, own, same], -np.inf) for arm, s in alike.items()}
    to_others = {arm: s[:, own[:, None], strangers] for arm, s in alike.items()}
    for name, chosen in slices.items():
      rows += _auc_rows(to_same, to_others, people, name, chosen)
  return [{**row, 'embedding': embedding} for row in rows]


def _auc_rows(
  to_same: Mapping[str, np.ndarray],
  to_others: Mapping[str, np.ndarray],
  people: np.ndarray,
  name: str,
  chosen: np.ndarray,
) -> list[Row]:
  """AUC of each arm by its scores [K, N] and [K, N, negatives], and the model's minus each other's."""
  size = int(chosen.sum()), len(np.unique(people[chosen]))
  weights, rows, statistics = intervals.bootstrap_weights(people[chosen]), [], {}
  for arm in to_same:
    pairs = zip(to_same[arm][:, chosen], to_others[arm][:, chosen].reshape(len(to_same[arm]), -1), strict=True)
    statistics[arm] = intervals.over_seeds(
      [lambda w, a=a, b=b: metrics.auc(a, b, w, np.repeat(w, _NEGATIVES, -1)) for a, b in pairs]
    )
    value = intervals.estimate(statistics[arm], weights)
    rows.append(make_row(PROTOCOL, 'auc', arm, name, value, *size, len(to_same[arm])))
  for arm in [arm for arm in statistics if arm != 'model']:
    paired = intervals.estimate(lambda w, arm=arm: statistics['model'](w) - statistics[arm](w), weights)
    seeds = [len(to_same[one]) for one in ('model', arm) if one != 'copy_input']
    rows.append(make_row(PROTOCOL, 'auc', f'model_minus_{arm}', name, paired, *size, min(seeds)))
  return rows


def _other_pictures(pictures: np.ndarray, people: np.ndarray) -> np.ndarray:
  """[N] rows of another input picture of each person, its own row where there is none."""
  rng = np.random.default_rng(0)
  rows = np.arange(len(people))
  for i, person in enumerate(people):
    others = np.flatnonzero((people == person) & (pictures != pictures[i]))
    rows[i] = rng.choice(others) if len(others) else i
  return rows
