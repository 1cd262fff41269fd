"""GC-GAN's Table 2: people driven by other people's faces, where there is no true picture.

Is the output still the same person, and does it show the driver's expression? Nothing here knows a label. An output in
which dlib's detector sees no face counts as a failure of both.
"""

from collections.abc import Callable, Mapping

import numpy as np

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
  """How alike faces are by their features [..., D], more is more: minus dlib's distance, or the cosine of others."""
  return -np.linalg.norm(a - b, axis=-1) if embedding == DESCRIPTOR else cosine(a, b)


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

  features = {DESCRIPTOR: (of_inputs.descriptors, {arm: [f.descriptors for f in faces] for arm, faces in seen.items()})}
  if embedding:
    features[embedding] = (
      embeddings.keras_features(inputs, embedding),
      {arm: [embeddings.keras_features(pictures, embedding) for pictures in seeds] for arm, seeds in outputs.items()},
    )
  found = {arm: np.array([faces.found for faces in seen[arm]]) for arm in seen} | {'copy_input': of_inputs.found[None]}
  for name, (source, made) in features.items():
    made = {'copy_input': source[None], **{arm: np.array(features) for arm, features in made.items()}}
    rows += identity_rows(source, made, found, people, slices, name)
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
  inputs: np.ndarray,
  outputs: Mapping[str, np.ndarray],
  found: Mapping[str, np.ndarray],
  people: np.ndarray,
  slices: Mapping[str, np.ndarray],
  embedding: str,
) -> list[Row]:
  """Verification against the input (`verification_accuracy`), and AUC against another picture of the person.

  The AUC's positive is another input picture of the person where there is one, its negatives are other people's.

  Args:
    inputs: [N, D] features of the inputs.
    outputs: arm -> [K, N, D].
    found: arm -> [K, N] bool; without a face an output is nobody.
    people: [N].
    slices: name -> [N] bool.
    embedding: `DESCRIPTOR`, or any other name for the cosine rule.
  """
  of_arms = {**outputs, 'copy_input': inputs[None]}
  found = {**found, 'copy_input': np.ones([1, len(people)], bool)}
  matches = {arm: is_match(likeness(made, inputs, embedding), embedding) & found[arm] for arm, made in of_arms.items()}
  matches['copy_input'] = matches['copy_input'][0]  # Not trained: it has no seeds.
  measures = {arm: {'verification_accuracy': Measure(match * 1.0)} for arm, match in matches.items()}
  strangers = draw_strangers(people, _NEGATIVES)
  if strangers is not None:
    accepted = is_match(likeness(inputs, inputs[strangers[:, 0]], embedding), embedding)
    measures['random_pairs'] = {'verification_accuracy': Measure(accepted * 1.0)}
  rows = make_rows(PROTOCOL, measures, people, slices, DIFFERENCES, [arm for arm in measures if arm != 'model'])
  same = _other_pictures(inputs, people)
  for name, chosen in slices.items() if strangers is not None else []:
    weights = intervals.bootstrap_weights(people[chosen])
    for arm, made in of_arms.items():
      to_same = np.where(found[arm], likeness(made, inputs[same], embedding), -np.inf)[:, chosen]
      to_other = likeness(made[:, :, None], inputs[strangers], embedding)[:, chosen].reshape(len(made), -1)
      statistics = [
        lambda w, a=a, b=b: metrics.auc(a, b, w, np.repeat(w, _NEGATIVES, -1))
        for a, b in zip(to_same, to_other, strict=True)
      ]
      value = intervals.estimate(intervals.over_seeds(statistics), weights)
      size = int(chosen.sum()), len(np.unique(people[chosen]))
      rows.append(make_row(PROTOCOL, 'auc', arm, name, value, *size, len(made)))
  return [{**row, 'embedding': embedding} for row in rows]


def _other_pictures(inputs: np.ndarray, people: np.ndarray) -> np.ndarray:
  """[N] rows of another input picture of each person, its own row where there is none."""
  rng = np.random.default_rng(0)
  _, pictures = np.unique(inputs, axis=0, return_inverse=True)
  pictures = pictures.ravel()
  rows = np.arange(len(people))
  for i, person in enumerate(people):
    others = np.flatnonzero((people == person) & (pictures != pictures[i]))
    rows[i] = rng.choice(others) if len(others) else i
  return rows
