"""What FaceCycle makes of people whom it was not trained on, made once for all of its evaluation."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from evaluate.embeddings import Faces, read_faces
from evaluate.provenance import to_uint8
from input_pipeline.alignment import denormalize

_BATCH = 32


class Truth(NamedTuple):
  """How N pictures should look: images [N, S, S, 3] in [-1, 1], landmarks [N, 68, 2] in [-1, 1]."""

  images: np.ndarray
  landmarks: np.ndarray


class Unseen(NamedTuple):
  """Held-out frames and what a model makes of them. Pictures are [N, S, S, 3] in [-1, 1].

  Attributes:
    batch: of `Tracks.held_out`: `first` and `second` of each person's track.
    drivers: [N] for each row the one of somebody else whose first frame drives it.
    neutral, second_neutral: neutral faces of first and second frames.
    transferred: first frames, as those of `drivers` move.
    true_neutral, true_transfer: what `neutral` and `transferred` should be; None where nobody knows.
  """

  batch: dict[str, np.ndarray]
  drivers: np.ndarray
  neutral: np.ndarray
  second_neutral: np.ndarray
  transferred: np.ndarray
  true_neutral: Truth | None = None
  true_transfer: Truth | None = None

  @property
  def people(self) -> np.ndarray:
    """[N] who is shown."""
    return self.batch['identity']

  @property
  def names(self) -> np.ndarray:
    """[N] names of the first frames, the same in every run."""
    return np.array([str(file) for file in self.batch['file']])

  @property
  def size(self) -> int:
    return self.neutral.shape[1]

  def pixels(self, landmarks: np.ndarray) -> np.ndarray:
    """Landmarks in pixels instead of [-1, 1]."""
    return denormalize(landmarks, self.size)

  def read(self, images: np.ndarray, landmarks: np.ndarray, describe: bool = True) -> Faces:
    """What dlib sees in pictures [N, S, S, 3] whose faces should be where landmarks [N, 68, 2] in pixels are."""
    return read_faces(to_uint8(images), landmarks, describe)


def make_unseen(model: Any, pipeline: Any, count: int | None) -> Unseen:
  """Runs a model over held-out frames.

  Args:
    model: the trained `FaceCycle`.
    pipeline: its `Tracks`.
    count: pairs of frames at most; None means all.
  """
  batch = pipeline.held_out(count)
  drivers = strangers(batch['identity'])
  neutral, second = np.split(in_batches(model.neutralise, np.concatenate([batch['first'], batch['second']])), 2)
  transferred = in_batches(model.transfer, batch['first'], batch['first'][drivers])
  truths: list[Truth | None] = [None, None]
  if pipeline.rendered:
    rows = batch['rows'][:, 0]
    print(f'rendering {2 * len(rows)} pictures of what neutral faces and transfers should be', flush=True)
    truths = [
      Truth(*pipeline.neutral_truth('test', rows)),
      Truth(*pipeline.transfer_truth('test', rows, rows[drivers])),
    ]
  return Unseen(batch, drivers, neutral, second, transferred, *truths)


def strangers(people: np.ndarray) -> np.ndarray:
  """[N] for each the next one who is somebody else; itself where there is nobody else."""
  return _next(people, False)


def others_of_the_same(people: np.ndarray) -> np.ndarray:
  """[N] for each the next one of the same person; itself where there is none."""
  return _next(people, True)


def _next(people: np.ndarray, same: bool) -> np.ndarray:
  count = len(people)
  order = (np.arange(count)[:, None] + np.arange(1, count + 1)) % count  # Itself comes last.
  wanted = (people[order] == people[:, None]) == same
  wanted[:, -1] = True
  return order[np.arange(count), wanted.argmax(axis=1)]


def in_batches(function: Callable[..., Any], *images: np.ndarray) -> np.ndarray:
  """A function of batches over all of N pictures, compiled."""
  compiled = tf.function(function, reduce_retracing=True)
  parts = [
    compiled(*(tf.constant(values[start:start + _BATCH]) for values in images)).numpy()
    for start in range(0, len(images[0]), _BATCH)
  ]
  return np.concatenate(parts)
