"""Face-off on held-out frames: against the truth of rendered actors, and by what needs none: does the output move as
the input does, is it the other person, does it flicker, do all inputs give one picture?"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from evaluate import embeddings, intervals, metrics
from evaluate.embeddings import Faces
from evaluate.facecycle_truth import correlation_of, turn
from evaluate.faceoff_figures import save_figures
from evaluate.faceoff_identity import identity_rows
from evaluate.faceoff_scene import Scene, make_scene
from evaluate.follow import mouth_opening
from evaluate.results import Measure, Row, make_row, make_rows, save_samples
from input_pipeline import PIPELINES

PROTOCOL = 'translation'
BASELINES = ('copy_input', 'nearest_target_frame')
TRUTH = ('ssim', 'psnr', 'ssim_face', 'psnr_face', 'ssim_mouth', 'psnr_mouth')
_OF_FILM = ('flicker', 'mask_iou')
FOLLOWS = ('mouth_correlation', 'yaw_correlation')
_FEWEST = 5  # Stretches, of which an interval is made.
_SMALL = 64  # Pixels at which pictures are compared with each other: one picture for all is one at any size.


def two_people(
  model: Any, config: Any, output_dir: str | Path, pairs: int = 600, inception_weights: str = '', pipeline: Any = None
) -> list[Row]:
  """Rows `translation` of held-out frames of A shown as B, and the figures.

  Subjects are the `model`; `copy_input`, the frame of A; `nearest_target_frame`, B's training frame nearest to it in
  landmarks; `truth`, B rendered with A's expression and pose, where it is known: as far as a figure can go; and
  `target`, other frames of B. Intervals are of a bootstrap over stretches of two seconds.

  Args:
    model: the trained `FaceOff`.
    config: its settings, whose data set gives the frames.
    output_dir: where `sheet.png`, `translation.mp4`, `samples.npz` and `frames.npz` go.
    pairs: frames at most; 0 means all.
    inception_weights: Keras' Inception v3 weights; without them its distance is skipped.
    pipeline: the config's if not given.
  """
  output_dir, pipeline = Path(output_dir), pipeline or PIPELINES[config.system](config)
  scene = make_scene(model, pipeline, pairs or None)
  save_figures(output_dir, model, scene)
  print(f'reading faces in {len(scene.subjects)} x {len(scene.inputs)} pictures', flush=True)
  faces = read_scene(scene)
  measures = {subject: values for subject, values in _measures(scene, faces).items() if values}
  rows = make_rows(PROTOCOL, measures, scene.stretches, scene.slices, TRUTH, BASELINES)
  followed = _motions(scene, faces)
  rows += _follow_rows(scene, followed) + film_rows(scene) + diversity_rows(scene)
  rows += identity_rows(PROTOCOL, scene, faces, inception_weights)
  save_samples(output_dir / 'samples.npz', _names(config, scene), scene.stretches, measures, scene.slices)
  # What is no mean over frames, for `evaluate.paper`.
  arrays = {f'{metric}/{name}': values for metric, found in followed.items() for name, values in found.items()}
  distances = {name: pairwise(images) for name, images in (('model', scene.outputs), ('target', scene.targets))}
  np.savez_compressed(
    output_dir / 'frames.npz', **arrays, **{f'distances/{name}': value for name, value in distances.items()}
  )
  rows = [{**row, 'identities': min(1, row['identities'])} for row in rows]  # Stretches are no people.
  return _without_guesses(rows, scene)


def _without_guesses(rows: list[Row], scene: Scene) -> list[Row]:
  """Rows without the intervals that would come of a handful of stretches."""
  few = {name for name, chosen in scene.slices.items() if len(np.unique(scene.stretches[chosen])) < _FEWEST}
  of_film = len(np.unique(scene.film.stretches)) < _FEWEST
  if 'all' in few:
    print(f'{len(scene.inputs)} frames lie in fewer than {_FEWEST} stretches of two seconds: too few for intervals')
  guessed = lambda row: of_film if row['metric'] in _OF_FILM else row['slice'] in few  # noqa: E731
  return [{**row, 'low': None, 'high': None} if guessed(row) else row for row in rows]


def read_scene(scene: Scene) -> dict[str, Faces]:
  """What dlib sees in the pictures of each subject."""
  subjects = scene.subjects
  count = len(scene.inputs)
  points = [scene.landmarks if name == 'copy_input' else scene.expected for name in subjects]
  seen = embeddings.read_faces(np.concatenate(list(subjects.values())), np.concatenate(points))
  return {
    name: Faces(*(part[k * count : (k + 1) * count] for part in seen)) for k, name in enumerate(subjects)
  }


def _measures(scene: Scene, faces: Mapping[str, Faces]) -> dict[str, dict[str, Measure]]:
  """What is measured frame by frame, of each subject."""
  measures: dict[str, dict[str, Measure]] = {subject: {} for subject in scene.subjects}
  if scene.truth is not None and scene.truth_landmarks is not None:
    size, points = scene.size, scene.truth_landmarks
    face, mouth = metrics.face_masks(points, size, size), metrics.mouth_masks(points, size, size)
    energy = metrics.laplacian_energy(scene.truth, face)
    for subject in ('model', *BASELINES):
      pictures = scene.subjects[subject]
      measures[subject] |= compare_with_truth(pictures, scene.truth, face, mouth)
      measures[subject]['mouth_landmark_error'] = mouth_error(faces[subject], faces['truth'])
      measures[subject]['sharpness'] = Measure(metrics.laplacian_energy(pictures, face), energy)
  for subject, pictures in scene.subjects.items():
    measures[subject]['face_found'] = Measure(faces[subject].found * 1.0)
    if scene.silhouettes:
      exact, shown = scene.silhouettes['exact'], scene.silhouettes[subject]
      overlap, union = ((f(exact, shown)).sum((1, 2)) * 1.0 for f in (np.logical_and, np.logical_or))
      measures[subject]['silhouette_iou'] = Measure(overlap / np.maximum(union, 1))
    if subject != 'copy_input':
      measures[subject]['background_change'] = Measure(_mean_change(pictures, scene.inputs, scene.background))
  measures['model'] |= {
    'cycle_l1': Measure(_mean_change(scene.cycles, scene.inputs) / 127.5),
    'cycle_ssim': Measure(metrics.ssim(scene.cycles, scene.inputs)),
    'cycle_l1_of_target': Measure(_mean_change(scene.target_cycles, scene.targets) / 127.5),
    'cycle_ssim_of_target': Measure(metrics.ssim(scene.target_cycles, scene.targets)),
  }
  return measures


def compare_with_truth(
  pictures: np.ndarray, truth: np.ndarray, face: np.ndarray, mouth: np.ndarray
) -> dict[str, Measure]:
  """SSIM and PSNR of whole pictures [N, S, S, 3] uint8, of the face and of the mouth [N, S, S] bool."""
  found: dict[str, Measure] = {}
  parts = {'': None, '_face': face, '_mouth': mouth}
  similar = metrics.ssim_of_parts(pictures, truth, list(parts.values()))
  for (name, mask), values in zip(parts.items(), similar, strict=True):
    found[f'ssim{name}'] = Measure(values)
    found[f'psnr{name}'] = Measure(metrics.psnr(pictures, truth, mask))
  return found


def mouth_error(seen: Faces, true: Faces) -> Measure:
  """Distance of dlib's mouths in pictures and in the truth, over the pictures in which it sees a face.

  In the others its points lie where the face should be, whatever is drawn there; `face_found` says how many these are.
  """
  error = metrics.landmark_error(seen.landmarks, true.landmarks, metrics.MOUTH)
  return Measure(error * seen.found, seen.found * 1.0)


def frame_changes(pictures: np.ndarray, clips: np.ndarray) -> np.ndarray:
  """[N] mean absolute change since the frame before, levels of 255; 0 where a clip begins."""
  changes = np.abs(np.diff(pictures.astype(np.float32), axis=0)).mean((1, 2, 3))
  return np.concatenate([[0.0], np.where(clips[1:] == clips[:-1], changes, 0.0)])


def mask_steadiness(masks: np.ndarray, clips: np.ndarray) -> Measure:
  """How masks [N, S, S] bool overlap those of the frames before, where these are of the same clip: their IoU."""
  before, after, same = masks[:-1], masks[1:], (clips[1:] == clips[:-1]) & masks[1:].any((1, 2))
  shares = (before & after).sum((1, 2)) / np.maximum((before | after).sum((1, 2)), 1)
  return Measure(np.append(0.0, np.where(same, shares, 0.0)), np.append(0.0, same * 1.0))


def _mean_change(first: np.ndarray, second: np.ndarray, masks: np.ndarray | None = None) -> np.ndarray:
  """[N] mean absolute difference in levels of 255, over the pixels of `masks` [N, S, S] where given."""
  change = np.abs(first.astype(np.float32) - second).mean(-1)
  if masks is None:
    return change.mean((1, 2))
  return (change * masks).sum((1, 2)) / np.maximum(masks.sum((1, 2)), 1)


def _motions(scene: Scene, faces: Mapping[str, Faces]) -> dict[str, dict[str, np.ndarray]]:
  """metric -> `input`, which is known, and what dlib sees in each subject's pictures, [N] each.

  A picture without a face counts as one that moves nothing: it gets the middle of the others' values.
  """
  found: dict[str, dict[str, np.ndarray]] = {
    'mouth_correlation': {'input': mouth_opening(scene.landmarks)},
    'yaw_correlation': {'input': turn(scene.landmarks) if scene.yaw is None else scene.yaw},
  }
  for metric, measure in (('mouth_correlation', mouth_opening), ('yaw_correlation', turn)):
    for subject, seen in faces.items():
      values = measure(seen.landmarks)
      middle = np.median(values[seen.found]) if seen.found.any() else 0.0
      found[metric][subject] = np.where(seen.found, values, middle)
  return found


def _follow_rows(scene: Scene, followed: Mapping[str, Mapping[str, np.ndarray]]) -> list[Row]:
  """Correlations with the input over the frames of each slice."""
  rows = []
  for name, chosen in scene.slices.items():
    weights = intervals.bootstrap_weights(scene.stretches[chosen])
    for metric, found in followed.items():
      for subject in scene.subjects:
        value = intervals.estimate(correlation_of(found[subject][chosen], found['input'][chosen]), weights)
        rows.append(make_row(PROTOCOL, metric, subject, name, value, chosen.sum(), 1))
  return rows


def film_rows(scene: Scene) -> list[Row]:
  """Flicker: how much pictures change from frame to frame, over how much the input's do; of videos, whose masks are
  found and not known, also how much these change."""
  film = scene.film
  moved = frame_changes(film.inputs, film.clips)
  measures = {
    subject: {'flicker': Measure(frame_changes(pictures, film.clips), moved)}
    for subject, pictures in film.subjects.items()
  }
  if scene.truth is None:
    measures['copy_input'] = {'mask_iou': mask_steadiness(film.masks, film.clips)}
  return make_rows(PROTOCOL, measures, film.stretches, {'all': np.ones(len(moved), bool)}, (), ())


def pairwise(images: np.ndarray) -> np.ndarray:
  """[N, N] float32 mean absolute differences between pictures, of values in [-1, 1], shrunk to 64 pixels at most."""
  step = max(1, images.shape[1] // _SMALL)
  end = images.shape[1] // step * step
  small = images[:, :end, :end].reshape(len(images), end // step, step, end // step, step, 3).mean((2, 4))
  flat = small.reshape(len(images), -1).astype(np.float32) / 127.5
  return np.stack([np.abs(flat - one).mean(axis=1) for one in flat])


def mean_distance(distances: np.ndarray) -> Any:
  """The statistic: mean over pairs of different pictures by their weights [..., N]."""

  def statistic(weights: np.ndarray) -> np.ndarray:
    every = weights.sum(-1) ** 2 - (weights**2).sum(-1)
    with np.errstate(divide='ignore', invalid='ignore'):
      return ((weights @ distances) * weights).sum(-1) / every

  return statistic


def diversity_rows(scene: Scene) -> list[Row]:
  """Mean distance between the outputs, between other frames of B, and the one over the other.

  Far below 1 the model draws one picture, whatever it is shown.
  """
  count = len(scene.outputs)
  statistics = [mean_distance(pairwise(images)) for images in (scene.outputs, scene.targets)]
  weights = [intervals.bootstrap_weights(s, seed=k) for k, s in enumerate((scene.stretches, scene.target_stretches))]
  rows = []
  for subject, statistic, drawn in zip(('model', 'target'), statistics, weights, strict=True):
    rows.append(make_row(PROTOCOL, 'diversity', subject, 'all', intervals.estimate(statistic, drawn), count, 1))
  share = intervals.estimate(
    lambda w: statistics[0](w[..., :count]) / statistics[1](w[..., count:]), np.concatenate(weights, axis=1)
  )
  return [*rows, make_row(PROTOCOL, 'diversity_share', 'model', 'all', share, count, 1)]


def _names(config: Any, scene: Scene) -> np.ndarray:
  """A name of each frame that is the same in every run on the same frames."""
  data = config.pair if config.dataset == 'synthetic_actors' else Path(config.dataset).name
  return np.array([f'{data}/{clip}#{number}' for clip, number in zip(scene.clips, scene.frames, strict=True)])
