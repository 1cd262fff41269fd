"""GC-GAN's Table 1 on held-out people, with the figures that pixel averages hide: expression, sharpness, identity,
distribution."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from evaluate import embeddings, intervals, metrics
from evaluate.charts import save_bars
from evaluate.embeddings import Faces
from evaluate.intervals import Estimate
from evaluate.provenance import model_version, to_uint8
from evaluate.results import Measure, Row, find_row, make_row, make_rows, save_samples
from evaluate.sheets import draw_points, save_sheet
from input_pipeline import PIPELINES
from input_pipeline.alignment import denormalize
from models.layers.bending import bend

PROTOCOL = 'table1'
PAIRS = 600
_NEGATIVES = 10  # Pictures of other people that each output is compared with.
_BASELINES = ('copy_input', 'warped_input')
_PAIRED = ('ssim', 'psnr', 'psnr_mouth', 'mouth_landmark_error', 'mouth_and_brow_landmark_error')


def table1(
  model: Any, config: Any, output_dir: str | Path, pairs: int = PAIRS, inception_weights: str = '', pipeline: Any = None
) -> list[Row]:
  """Evaluates expression transfer on held-out people beside `copy_input`, which returns the input as it is, and
  `warped_input` (pixel figures only), which bends it so that its landmarks lie where the target's do.

  Landmark errors: dlib runs in the same way on output, input and target, and an output is compared with what dlib finds
  on the target, so that dlib's own bias cancels; the subject `target` gives the distance between dlib and the data
  set's landmarks. An output in which dlib's detector sees no face counts as having transferred nothing: it gets at
  least the input's error.

  Args:
    model: a `models.gcgan.GCGAN`.
    config: its config.
    output_dir: where `sheet.png`, `expressions.png`, `cross_subject.png` and `samples.npz` go.
    pairs: held-out pairs at most; 0 means all.
    inception_weights: Keras' Inception v3 weights; without them its distances are skipped.
    pipeline: gives `held_out`, `cross_subject` and `expressions`; the config's if not given.
  Returns:
    The rows of `results.json`.
  """
  output_dir = Path(output_dir)
  pipeline = pipeline or PIPELINES['gcgan'](config)
  batch = pipeline.held_out(pairs or None)
  label = {'model': config.system, 'version': model_version(model.step)}
  outputs = generate(model, batch)
  names = [
    f'{i}: {pipeline.expressions[a]} to {pipeline.expressions[b]}'
    for i, a, b in zip(batch['identity'], batch['input_expression'], batch['target_expression'], strict=True)
  ]
  inputs, targets = to_uint8(batch['input_image']), to_uint8(batch['target_image'])
  first = slice(0, 16)
  save_sheet(
    output_dir / 'sheet.png',
    {'input': inputs[first], 'output': outputs[first], 'target': targets[first]},
    names[first],
    **label,
  )
  cross = pipeline.cross_subject(pairs // 2 or None)
  print(f'reading faces in {len(outputs)} held-out pairs of {len(np.unique(batch["identity"]))} people', flush=True)

  faces = _read_all(outputs, batch, describe=True)
  measures = compare_with_targets(outputs, batch, faces)
  slices = _slices(batch, pipeline.expressions)
  rows = make_rows(PROTOCOL, measures, batch['identity'], slices, _PAIRED, _BASELINES)
  rows += _identity_rows(batch, faces, slices)
  rows += _distribution_rows(outputs, inputs, targets, batch['identity'], faces, inception_weights)
  save_samples(output_dir / 'samples.npz', _sample_names(batch), batch['identity'], measures, slices)
  if cross:
    outputs = generate(model, cross)
    drivers = np.stack([draw_points(points) for points in cross['driver_landmarks'][first]])
    save_sheet(
      output_dir / 'cross_subject.png',
      {
        'input': to_uint8(cross['input_image'])[first],
        'driver': drivers,
        'output': outputs[first],
        'target': to_uint8(cross['target_image'])[first],
      },
      [f'{i}, driven by {k}' for i, k in zip(cross['identity'][first], cross['driver'][first], strict=True)],
      **label,
    )
    measures = compare_with_targets(outputs, cross, _read_all(outputs, cross, describe=False))
    everything = {'cross_subject': np.ones(len(outputs), bool)}
    rows += make_rows(PROTOCOL, measures, cross['identity'], everything, _PAIRED, _BASELINES)
  _draw_expressions(output_dir / 'expressions.png', rows, pipeline.expressions)
  return rows


def generate(model: Any, batch: Mapping[str, np.ndarray], batch_size: int = 50) -> np.ndarray:
  """The model's pictures [N, S, S, 3] uint8 of held-out pairs, moved by `driver_landmarks` where there are such."""
  if 'driver_landmarks' in batch:
    batch = {**batch, 'target_landmarks': batch['driver_landmarks']}
  parts = []
  for start in range(0, len(batch['identity']), batch_size):
    chunk = {key: value[start : start + batch_size] for key, value in batch.items()}
    parts.append(to_uint8(model.sample(chunk)['output']))
  return np.concatenate(parts)


def compare_with_targets(
  outputs: np.ndarray, batch: Mapping[str, np.ndarray], faces: Mapping[str, Faces]
) -> dict[str, dict[str, Measure]]:
  """The figures of `model`, `copy_input`, `warped_input` and (dlib's own error) `target`.

  Args:
    outputs: [N, S, S, 3] uint8.
    batch: held-out pairs.
    faces: what dlib found on `output`, `input` and `target`.
  """
  size = outputs.shape[1]
  inputs, targets = to_uint8(batch['input_image']), to_uint8(batch['target_image'])
  points = denormalize(batch['target_landmarks'], size)
  mouth, face = metrics.mouth_masks(points, size, size), metrics.face_masks(points, size, size)
  change = metrics.squared_error(inputs, targets, mouth)
  energy = metrics.laplacian_energy(targets, face)
  reference = faces['target'].landmarks
  measures: dict[str, dict[str, Measure]] = {}

  def compare_pixels(pictures: np.ndarray) -> dict[str, Measure]:
    return {
      'ssim': Measure(metrics.ssim(pictures, targets)),
      'psnr': Measure(metrics.psnr(pictures, targets)),
      'psnr_mouth': Measure(metrics.psnr(pictures, targets, mouth)),
      'mouth_change_explained': Measure(change - metrics.squared_error(pictures, targets, mouth), change),
      'sharpness': Measure(metrics.laplacian_energy(pictures, face), energy),
    }

  # No learning: what is gained by it is gained by landmarks that are known.
  measures['warped_input'] = compare_pixels(_bend(batch))
  for subject, pictures, seen in (('copy_input', inputs, faces['input']), ('model', outputs, faces['output'])):
    figures = compare_pixels(pictures)
    for name, which in (
      ('landmark_error', np.arange(68)),
      ('mouth_landmark_error', metrics.MOUTH),
      ('mouth_and_brow_landmark_error', metrics.MOUTH_AND_BROW),
    ):
      error = metrics.landmark_error(seen.landmarks, reference, which)
      if subject == 'model':
        error = np.where(seen.found, error, np.maximum(error, measures['copy_input'][name].values))
      figures[name] = Measure(error)
    figures['face_found'] = Measure(seen.found.astype(np.float64))
    measures[subject] = figures
  measures['target'] = {
    'landmark_error': Measure(metrics.landmark_error(reference, points, np.arange(68))),
    'mouth_landmark_error': Measure(metrics.landmark_error(reference, points, metrics.MOUTH)),
    'mouth_and_brow_landmark_error': Measure(metrics.landmark_error(reference, points, metrics.MOUTH_AND_BROW)),
    'face_found': Measure(faces['target'].found.astype(np.float64)),
  }
  return {subject: measures[subject] for subject in ('model', 'copy_input', 'warped_input', 'target')}


def _bend(batch: Mapping[str, np.ndarray], batch_size: int = 50) -> np.ndarray:
  """The inputs [N, S, S, 3] uint8, bent so that their landmarks lie where the model is asked to show them."""
  asked = batch.get('driver_landmarks', batch['target_landmarks'])
  parts = []
  for start in range(0, len(asked), batch_size):
    part = slice(start, start + batch_size)
    images = np.asarray(batch['input_image'][part], np.float32)
    parts.append(to_uint8(bend(images, batch['input_landmarks'][part], asked[part])))
  return np.concatenate(parts)


def _read_all(outputs: np.ndarray, batch: Mapping[str, np.ndarray], describe: bool) -> dict[str, Faces]:
  size = outputs.shape[1]
  pictures = [outputs, to_uint8(batch['input_image']), to_uint8(batch['target_image'])]
  points = [batch['target_landmarks'], batch['input_landmarks'], batch['target_landmarks']]
  seen = embeddings.read_faces(np.concatenate(pictures), denormalize(np.concatenate(points), size), describe)
  return {
    name: Faces(*(part[k * len(outputs) : (k + 1) * len(outputs)] for part in seen))
    for k, name in enumerate(('output', 'input', 'target'))
  }


def _slices(batch: Mapping[str, np.ndarray], expressions: list[str]) -> dict[str, np.ndarray]:
  source, target = batch['input_expression'], batch['target_expression']
  slices = {'all': np.ones(len(target), bool)}
  slices.update({f'to_{name}': target == k for k, name in enumerate(expressions) if (target == k).any()})
  directions = sorted(set(zip(source.tolist(), target.tolist(), strict=True)))
  if len(directions) <= 6:  # With six expressions there would be 30, each of a few pictures.
    slices.update({f'{expressions[a]}_to_{expressions[b]}': (source == a) & (target == b) for a, b in directions})
  for skin in ('light', 'dark'):
    if 'skin' in batch and (batch['skin'] == skin).any():
      slices[f'skin_{skin}'] = batch['skin'] == skin
  if 'fold' in batch:
    slices.update({f'fold_{fold + 1}': batch['fold'] == fold for fold in np.unique(batch['fold']).tolist()})
  return slices


def _sample_names(batch: Mapping[str, np.ndarray]) -> np.ndarray:
  """A name of each pair that is the same in every run on the same pictures."""
  return np.array(
    [
      hashlib.sha256(a.tobytes() + b.tobytes()).hexdigest()[:16]
      for a, b in zip(to_uint8(batch['input_image']), to_uint8(batch['target_image']), strict=True)
    ]
  )


def _identity_rows(
  batch: Mapping[str, np.ndarray], faces: Mapping[str, Faces], slices: Mapping[str, np.ndarray]
) -> list[Row]:
  """AUC of: an output is nearer to another picture of its person than to pictures of other people.

  An output without a face is nobody. The other picture is neither the input nor the target where the person has a
  third one, so that copying scores no distance of 0. `auc_to_input` takes the input itself, for which copying is 1.
  """
  people = np.asarray(batch['identity'])
  pool_people = np.concatenate([people, people])
  pool = np.concatenate([faces['input'].descriptors, faces['target'].descriptors])
  _, names = np.unique(pool, axis=0, return_inverse=True)
  names = names.ravel()
  rng = np.random.default_rng(0)
  same, other = np.zeros(len(people), int), np.zeros((len(people), _NEGATIVES), int)
  strangers_of = {person: np.flatnonzero(pool_people != person) for person in np.unique(people)}
  if any(len(strangers) == 0 for strangers in strangers_of.values()):
    return [
      make_row(PROTOCOL, 'auc', subject, 'all', Estimate(None, None, None), 0, 0, 1, embeddings.DESCRIPTOR)
      for subject in ('model', 'copy_input')
    ]
  for i, person in enumerate(people):
    own = np.flatnonzero(pool_people == person)
    third = own[(names[own] != names[i]) & (names[own] != names[len(people) + i])]
    same[i] = rng.choice(third) if len(third) else len(people) + i
    other[i] = rng.choice(strangers_of[person], _NEGATIVES)
  rows = []
  for name, chosen in slices.items():
    weights = intervals.bootstrap_weights(people[chosen])
    for metric, subject, seen, near in (
      ('auc', 'model', faces['output'], same),
      ('auc', 'copy_input', faces['input'], same),
      ('auc_to_input', 'model', faces['output'], np.arange(len(people))),
    ):
      to_same = np.where(seen.found, np.linalg.norm(seen.descriptors - pool[near], axis=-1), np.inf)[chosen]
      to_other = np.linalg.norm(seen.descriptors[:, None] - pool[other], axis=-1)[chosen].ravel()
      value = intervals.estimate(
        lambda w, a=-to_same, b=-to_other: metrics.auc(a, b, w, np.repeat(w, _NEGATIVES, -1)), weights
      )
      rows.append(
        make_row(
          PROTOCOL, metric, subject, name, value, chosen.sum(), len(np.unique(people[chosen])), 1, embeddings.DESCRIPTOR
        )
      )
  return rows


def _distribution_rows(
  outputs: np.ndarray,
  inputs: np.ndarray,
  targets: np.ndarray,
  people: np.ndarray,
  faces: Mapping[str, Faces],
  inception_weights: str,
) -> list[Row]:
  """Distances between the distributions of outputs and targets, which need no pairs."""
  features = {embeddings.DESCRIPTOR: [faces[k].descriptors.astype(np.float64) for k in ('output', 'input', 'target')]}
  if inception_weights:
    features[embeddings.INCEPTION] = [
      embeddings.inception_features(x, inception_weights) for x in (outputs, inputs, targets)
    ]
  else:
    print('Inception distances are skipped: --inception_weights=PATH was not given', flush=True)
  size = {'count': len(people), 'identities': len(np.unique(people))}
  rows = []
  for embedding, (of_outputs, of_inputs, of_targets) in features.items():
    for subject, of_subject in (('model', of_outputs), ('copy_input', of_inputs)):
      for metric, value in set_distances(of_subject, of_targets, people, embeddings.GAMMA[embedding]).items():
        rows.append(make_row(PROTOCOL, metric, subject, 'all', value, **size, embedding=embedding))
  return rows


def set_distances(a: np.ndarray, b: np.ndarray, people: np.ndarray, gamma: float) -> dict[str, Estimate]:
  """Kernel and Fréchet distance with intervals of two sets of features [N, D], both of the people [N]."""
  if len(people) < 2:  # There is no distribution.
    return {'kernel_distance': Estimate(None, None, None), 'frechet_distance': Estimate(None, None, None)}
  kernel = intervals.estimate(
    lambda w: metrics.kernel_distance(a, b, gamma, people, people, w, w), intervals.bootstrap_weights(people)
  )
  value = metrics.frechet_distance(a, b)
  drawn = []
  with threadpool_limits(1):  # Small matrices: threads cost more than they give.
    for weights in intervals.bootstrap_weights(people, 100 if a.shape[1] <= 256 else 20).astype(int):
      rows = np.repeat(np.arange(len(people)), weights)
      drawn.append(metrics.frechet_distance(a[rows], b[rows]))
  # Resamples hold fewer different pictures, which raises every Fréchet distance: only their spread is used.
  low, high = value + np.percentile(drawn, [2.5, 97.5]) - np.mean(drawn)
  return {'kernel_distance': kernel, 'frechet_distance': Estimate(value, max(0.0, float(low)), float(high))}


def _draw_expressions(path: Path, rows: list[Row], expressions: list[str]) -> None:
  groups = [name for name in expressions if find_row(rows, 'ssim', slice=f'to_{name}')]

  def estimates(metric, subject):
    found = [find_row(rows, metric, subject, f'to_{name}') for name in groups]
    return [Estimate(None, None, None) if r is None else Estimate(r['value'], r['low'], r['high']) for r in found]

  save_bars(
    path,
    [f'to {name}' for name in groups],
    {
      "share of the mouth's change explained": {'model': estimates('mouth_change_explained', 'model')},
      'mouth and brow landmark error (inter-ocular units)': {
        s: estimates('mouth_and_brow_landmark_error', s) for s in ('model', 'copy_input')
      },
      'SSIM': {s: estimates('ssim', s) for s in ('model', 'copy_input')},
    },
  )
