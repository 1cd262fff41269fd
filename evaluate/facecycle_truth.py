"""FaceCycle against what is known: neutral faces and transfers beside renders of the same heads, and whether a transfer
turns its head and opens its mouth as the driver does.

The frame of neutral faces is free (they may be smaller, lower, with background and all), so a picture is compared with
its truth after the best similarity, of model and `copy_input` alike.
"""

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from evaluate import intervals, metrics
from evaluate.embeddings import Faces
from evaluate.facecycle_faces import Truth, Unseen
from evaluate.follow import mouth_opening
from evaluate.provenance import to_uint8
from evaluate.registration import align_pictures
from evaluate.results import Measure, Row, make_row, make_rows, save_samples
from input_pipeline.alignment import transform_points

NEUTRAL, TRANSFER = 'neutral_truth', 'transfer_truth'
_FIGURES = ('ssim', 'psnr', 'psnr_face')


def truth_rows(unseen: Unseen, faces: Mapping[str, Faces], folder: str | Path) -> list[Row]:
  """Rows `neutral_truth` and `transfer_truth`: SSIM and PSNR where the truth is known, and how motion is followed.

  Args:
    unseen: held-out frames and what the model made of them.
    faces: of `read_unseen`.
    folder: where samples-PROTOCOL.npz go.
  """
  rows, slices = [], find_slices(unseen)
  inputs = unseen.batch['first']
  for protocol, outputs, truth in (
    (NEUTRAL, unseen.neutral, unseen.true_neutral), (TRANSFER, unseen.transferred, unseen.true_transfer)
  ):
    if truth is not None:
      measures = {name: compare(images, truth) for name, images in (('model', outputs), ('copy_input', inputs))}
      rows += make_rows(protocol, measures, unseen.people, slices, _FIGURES)
      save_samples(Path(folder) / f'samples-{protocol}.npz', unseen.names, unseen.people, measures, slices)
  return rows + _motion_rows(unseen, faces)


def find_slices(unseen: Unseen) -> dict[str, np.ndarray]:
  """All of the people, and those of light and of dark skin."""
  skins = {f'skin_{skin}': unseen.batch['skin'] == skin for skin in ('light', 'dark')}
  return {'all': np.ones(len(unseen.people), bool)} | {name: chosen for name, chosen in skins.items() if chosen.any()}


def compare(images: np.ndarray, truth: Truth) -> dict[str, Measure]:
  """Figures of pictures [N, S, S, 3] in [-1, 1] after the similarity that brings each nearest to its truth.

  `ssim` and `psnr` are of the whole picture and what is nearest by all of it, `psnr_face` of the face from jaw to brows
  and what is nearest by that.
  """
  images, targets = to_uint8(images), to_uint8(truth.images)
  size = images.shape[1]
  face = metrics.face_masks(((truth.landmarks + 1) * size - 1) / 2, size, size)
  whole, _ = align_pictures(images, targets)
  by_face, _ = align_pictures(images, targets, face)
  return {
    'ssim': Measure(metrics.ssim(whole, targets)),
    'psnr': Measure(metrics.psnr(whole, targets)),
    'psnr_face': Measure(metrics.psnr(by_face, targets, face)),
  }


def read_unseen(unseen: Unseen) -> dict[str, Faces]:
  """What dlib sees in `first`, `second`, `neutral`, `transferred` and, where it is known, the `true_transfer`."""
  batch, pixels = unseen.batch, unseen.pixels
  own = pixels(batch['landmarks'])
  there, moved = own, pixels(batch['landmarks'][unseen.drivers])
  if unseen.true_neutral is not None and unseen.true_transfer is not None:
    # Where the canonical frame has the points of the truth.
    truth = unseen.true_neutral
    _, matrices = align_pictures(to_uint8(unseen.neutral), to_uint8(truth.images))
    there = np.stack([transform_points(p, m) for p, m in zip(pixels(truth.landmarks), matrices, strict=True)])
    moved = pixels(unseen.true_transfer.landmarks)
  found = {
    'first': unseen.read(batch['first'], own),
    'second': unseen.read(batch['second'], pixels(batch['second_landmarks'])),
    'neutral': unseen.read(unseen.neutral, there),
    'transferred': unseen.read(unseen.transferred, moved),
  }
  if unseen.true_transfer is not None:
    found['true_transfer'] = unseen.read(unseen.true_transfer.images, moved, describe=False)
  return found


def turn(points: np.ndarray) -> np.ndarray:
  """How far the tip of the nose lies to the picture's right of the middle between the outer eye corners, along the line
  through them and in units of their distance: [..., 68, 2] -> [...]. It grows with the sine of the yaw."""
  eyes = points[..., 45, :] - points[..., 36, :]
  nose = points[..., 30, :] - (points[..., 36, :] + points[..., 45, :]) / 2
  return (nose * eyes).sum(-1) / (eyes**2).sum(-1)


def _motion_rows(unseen: Unseen, faces: Mapping[str, Faces]) -> list[Row]:
  """Correlations over all transfers between what dlib sees in them and what is known of their drivers.

  A transfer in which dlib's detector sees no face counts as having moved nothing: it gets the value of its input.
  `truth` is what dlib sees in the true pictures, as far as a figure can go.
  """
  batch, drivers = unseen.batch, unseen.drivers
  points = unseen.pixels(batch['landmarks'])[drivers]
  known = {
    'yaw_correlation': batch['pose'][drivers, 0] if 'pose' in batch else turn(points),
    'mouth_correlation': mouth_opening(points),
  }
  subjects = {'model': faces['transferred'], 'copy_input': faces['first']}
  subjects |= {'truth': faces['true_transfer']} if 'true_transfer' in faces else {}
  rows = []
  for name, chosen in find_slices(unseen).items():
    people = unseen.people[chosen]
    weights = intervals.bootstrap_weights(people)
    size = int(chosen.sum()), len(np.unique(people))
    for metric, measure in (('yaw_correlation', turn), ('mouth_correlation', mouth_opening)):
      for subject, seen in subjects.items():
        values = np.where(seen.found, measure(seen.landmarks), measure(faces['first'].landmarks))
        value = intervals.estimate(correlation_of(values[chosen], known[metric][chosen]), weights)
        rows.append(make_row(TRANSFER, metric, subject, name, value, *size))
  measures = {subject: {'face_found': Measure(seen.found * 1.0)} for subject, seen in subjects.items()}
  return rows + make_rows(TRANSFER, measures, unseen.people, {'all': np.ones(len(unseen.people), bool)})


def correlation_of(first: np.ndarray, second: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
  """The statistic: Pearson's correlation of two [N] by weights [..., N]; no number where one of them is constant."""

  def statistic(weights: np.ndarray) -> np.ndarray:
    total = weights.sum(-1)
    mean = [weights @ values / total for values in (first, second)]
    product = weights @ (first * second) / total - mean[0] * mean[1]
    square = [weights @ values**2 / total - m**2 for values, m in zip((first, second), mean, strict=True)]
    with np.errstate(divide='ignore', invalid='ignore'):
      return product / np.sqrt(np.maximum(square[0], 0) * np.maximum(square[1], 0))

  return statistic
