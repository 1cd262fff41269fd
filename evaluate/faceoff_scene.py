"""The held-out frames of two people, what a face-off model makes of them, and what it is compared with."""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
from scipy import ndimage

from evaluate.provenance import to_uint8
from input_pipeline.actors import FILM_RATE
from input_pipeline.alignment import denormalize

# Neighbouring frames are nearly one: the bootstrap draws stretches of so many seconds; frames, where no rate is known.
_SECONDS, _UNTIMED = 2.0, 10
_BATCH = 16
_CLIPS = ('near', 'far')  # Of rendered actors.
_REFERENCES = 40  # Training frames that show who a person is.
_DIFFERENT = 12  # Levels of 255 by which a person differs from what is behind.


class Film(NamedTuple):
  """F frames of A in a row, and what follows them. Pictures are uint8 [F, S, S, 3].

  Attributes:
    inputs: frames of A.
    masks: [F, S, S] bool, A's face or person in them.
    subjects: as of `Scene`, without `copy_input`.
    clips: [F] numbers of the clips, in which every frame follows the one before.
    stretches: [F] which frames the bootstrap draws together.
    rate: frames a second.
  """

  inputs: np.ndarray
  masks: np.ndarray
  subjects: dict[str, np.ndarray]
  clips: np.ndarray
  stretches: np.ndarray
  rate: float


class Scene(NamedTuple):
  """N held-out frames of A in the order of time, N of B, and pictures made of them. Pictures are uint8 [N, S, S, 3].

  Attributes:
    inputs: frames of A, as the model sees them (with `crop_mask` the face alone).
    outputs: the same as B.
    cycles: those as A again.
    targets: held-out frames of B, which have nothing to do with `inputs`.
    target_cycles: those as A and as B again.
    landmarks: [N, 68, 2] pixels, of `inputs`.
    target_landmarks: likewise of `targets`.
    yaw: [N] degrees of `inputs`; None where nobody knows.
    clips: [N] names of the clips.
    frames: [N] numbers of the frames in their clips.
    stretches: [N] which frames the bootstrap draws together, see `stretches_of`.
    target_stretches: likewise of `targets`.
    nearest: B's training frames that are nearest to `inputs` in landmarks.
    background: [N, S, S] bool, where neither input nor truth shows the person (of videos: the mask).
    references: training frames of A and of B, [R, S, S, 3], with their landmarks in pixels.
    film: frames of A in a row; those of the scene may be far apart.
    unseen: [N] bool, poses that training did not show; None where nobody knows.
    truth: B with the expression and pose of `inputs`; None where nobody knows.
    truth_landmarks: [N, 68, 2] pixels.
    silhouettes: subject -> [N, S, S] bool, where its pictures show the person, and `exact`, where they should; empty
      where nobody knows.
  """

  inputs: np.ndarray
  outputs: np.ndarray
  cycles: np.ndarray
  targets: np.ndarray
  target_cycles: np.ndarray
  landmarks: np.ndarray
  target_landmarks: np.ndarray
  yaw: np.ndarray | None
  clips: np.ndarray
  frames: np.ndarray
  stretches: np.ndarray
  target_stretches: np.ndarray
  nearest: np.ndarray
  background: np.ndarray
  references: dict[str, tuple[np.ndarray, np.ndarray]]
  film: Film
  unseen: np.ndarray | None = None
  truth: np.ndarray | None = None
  truth_landmarks: np.ndarray | None = None
  silhouettes: dict[str, np.ndarray] = {}  # noqa: RUF012 - nobody writes into it
  @property
  def size(self) -> int:
    return self.outputs.shape[1]

  @property
  def expected(self) -> np.ndarray:
    """[N, 68, 2] pixels, where the faces of `outputs` should be, as far as that is known."""
    return self.landmarks if self.truth_landmarks is None else self.truth_landmarks

  @property
  def subjects(self) -> dict[str, np.ndarray]:
    """What is measured alike: the model's pictures, and what they are compared with."""
    shown = {'model': self.outputs, 'copy_input': self.inputs, 'nearest_target_frame': self.nearest}
    return shown if self.truth is None else shown | {'truth': self.truth}

  @property
  def slices(self) -> dict[str, np.ndarray]:
    """All frames; those of each clip, where there are several; and poses that training did not show, and the others."""
    found = {'all': np.ones(len(self.inputs), bool)}
    if self.unseen is not None:
      found |= {'unseen': self.unseen, 'seen': ~self.unseen}
    clips = list(dict.fromkeys(self.clips.tolist()))
    found |= {clip: self.clips == clip for clip in clips} if len(clips) > 1 else {}
    return {name: chosen for name, chosen in found.items() if chosen.any()}


def make_scene(model: Any, pipeline: Any, count: int | None = None) -> Scene:
  """Runs a model over held-out frames.

  Args:
    model: the trained `FaceOff`.
    pipeline: its `TwoDomains`.
    count: frames at most, spread evenly; None means all.
  """
  batch = pipeline.held_out(count)
  size = batch['a'].shape[1]
  length = stretch_length(pipeline.known_rate)
  if not pipeline.known_rate:
    print(f'the data set does not say how many frames a second it has: intervals resample stretches of {length} frames')
  seen = {d: _in_batches(model.crop, batch[d], batch[f'{d}_mask']) for d in ('a', 'b')}
  a2b, b2a = (lambda x, d=d: model.translate(x, d) for d in ('a2b', 'b2a'))
  outputs, back = _in_batches(a2b, seen['a']), _in_batches(b2a, seen['b'])
  chosen = find_nearest(batch['a_landmarks'], pipeline)
  names = list(_CLIPS) if pipeline.rendered else [f'clip_{k + 1}' for k in range(batch['a_clip'].max() + 1)]
  known: dict[str, Any] = {}
  background = batch['a_mask'][..., 0] == 0
  if pipeline.rendered:
    known, background = _known(batch, pipeline, to_uint8(outputs), chosen)
  return Scene(
    inputs=to_uint8(seen['a']),
    outputs=to_uint8(outputs),
    cycles=to_uint8(_in_batches(b2a, outputs)),
    targets=to_uint8(seen['b']),
    target_cycles=to_uint8(_in_batches(a2b, back)),
    landmarks=denormalize(batch['a_landmarks'], size),
    target_landmarks=denormalize(batch['b_landmarks'], size),
    yaw=batch['a_pose'][:, 0] if pipeline.rendered else None,
    clips=np.array([names[k] for k in batch['a_clip']]),
    frames=batch['a_frame'],
    stretches=stretches_of(batch['a_clip'], batch['a_frame'], length),
    target_stretches=stretches_of(batch['b_clip'], batch['b_frame'], length),
    nearest=to_uint8(pipeline.pictures('b', 'train', chosen)),
    background=background,
    references={d: _references(pipeline, d) for d in ('a', 'b')},
    film=_shoot(model, pipeline),
    **known,
  )


def _shoot(model: Any, pipeline: Any) -> Film:
  batch = pipeline.film()
  seen = _in_batches(model.crop, batch['a'], batch['a_mask'])
  subjects = {
    'model': _in_batches(lambda x: model.translate(x, 'a2b'), seen),
    'nearest_target_frame': pipeline.pictures('b', 'train', find_nearest(batch['a_landmarks'], pipeline)),
  }
  subjects |= {'truth': batch['truth']} if 'truth' in batch else {}
  rate, known = (FILM_RATE, FILM_RATE) if pipeline.rendered else (pipeline.frame_rate, pipeline.known_rate)
  # Behind a frame that was left out, as one without a face, another clip begins.
  clips = np.cumsum((np.diff(batch['a_clip'], prepend=0) != 0) | (np.diff(batch['a_frame'], prepend=-1) != 1))
  return Film(
    to_uint8(seen),
    batch['a_mask'][..., 0] > 0,
    {name: to_uint8(pictures) for name, pictures in subjects.items()},
    clips,
    stretches_of(clips, batch['a_frame'], stretch_length(known)),
    rate,
  )


def stretch_length(rate: float) -> int:
  """Frames of a stretch of two seconds at `rate` frames a second; 10 where that is 0, not known."""
  return max(1, round(_SECONDS * rate)) if rate else _UNTIMED


def stretches_of(clips: np.ndarray, frames: np.ndarray, length: int) -> np.ndarray:
  """Which frames are drawn together.

  Args:
    clips: [N] which clip each frame is of; those of a clip stand together, in the order of time.
    frames: [N] their numbers in the clips. Some may be left out: a stretch is as long then, and has fewer.
    length: frames of a stretch, had all of them been taken.
  Returns:
    [N] numbers of the stretches from 0, none of which reaches into another clip.
  """
  starts = np.flatnonzero(np.diff(clips, prepend=clips[:1] - 1))
  first = np.repeat(frames[starts], np.diff(starts, append=len(clips)))
  stretch = np.stack([clips, (frames - first) // length])
  return np.cumsum((np.diff(stretch, prepend=-1) != 0).any(axis=0)) - 1


def find_nearest(landmarks: np.ndarray, pipeline: Any) -> np.ndarray:
  """[N] numbers of B's training frames whose landmarks differ from B's usual ones most nearly as `landmarks` differ
  from A's usual ones, each in units of the own eyes' distance: so pose, expression and place count, the person not.

  Args:
    landmarks: [N, 68, 2] in [-1, 1], frames of A.
    pipeline: has the training frames of both.
  """
  own, other = (pipeline.labels_of(domain, 'train')['landmarks'] for domain in ('a', 'b'))
  first, second = (_moves(points, usual.mean(axis=0)) for points, usual in ((landmarks, own), (other, other)))
  squares = (first**2).sum(1)[:, None] - 2 * first @ second.T + (second**2).sum(1)
  return squares.argmin(axis=1)


def _moves(points: np.ndarray, usual: np.ndarray) -> np.ndarray:
  return ((points - usual) / np.linalg.norm(usual[45] - usual[36])).reshape(len(points), -1).astype(np.float64)


def _in_batches(function: Callable[..., tf.Tensor], *images: np.ndarray) -> np.ndarray:
  parts = [function(*(x[i : i + _BATCH] for x in images)) for i in range(0, len(images[0]), _BATCH)]
  return np.concatenate([np.asarray(part) for part in parts])


def _references(pipeline: Any, domain: str) -> tuple[np.ndarray, np.ndarray]:
  frames = pipeline.count(domain, 'train')
  chosen = np.arange(min(_REFERENCES, frames)) * frames // min(_REFERENCES, frames)
  pictures = to_uint8(pipeline.pictures(domain, 'train', chosen))
  return pictures, denormalize(pipeline.labels_of(domain, 'train', chosen)['landmarks'], pictures.shape[1])


def _known(
  batch: dict[str, np.ndarray], pipeline: Any, outputs: np.ndarray, nearest: np.ndarray
) -> tuple[dict[str, Any], np.ndarray]:
  """What is known of rendered actors, and where nobody is, neither in the input nor in the truth."""
  people = type(pipeline)(dataclasses.replace(pipeline.config, masks='person'))
  frames = batch['index'] * pipeline.count('a', 'test') // len(batch['index'])
  own = people.masks_of('a', 'test', frames)[..., 0] > 0
  true = people.masks_of('b', 'truth', frames)[..., 0] > 0
  truth = to_uint8(batch['truth'])
  behind = _find_background(people)
  return {
    'unseen': batch['unseen'],
    'truth': truth,
    'truth_landmarks': denormalize(batch['truth_landmarks'], truth.shape[1]),
    'silhouettes': {
      'exact': true,
      'model': find_person(outputs, *behind),
      'copy_input': own,
      'nearest_target_frame': people.masks_of('b', 'train', nearest)[..., 0] > 0,
      'truth': find_person(truth, *behind),
    },
  }, ~own & ~true


def _find_background(people: Any) -> tuple[np.ndarray, np.ndarray]:
  """What is behind B [S, S, 3], whose camera stands still, and where that was never seen [S, S] bool."""
  chosen = np.arange(0, people.count('b', 'train'), max(1, people.count('b', 'train') // 200))
  shown = to_uint8(people.pictures('b', 'train', chosen)).astype(np.float32)
  free = people.masks_of('b', 'train', chosen) == 0
  count = free.sum(axis=0)
  return (shown * free).sum(axis=0) / np.maximum(count, 1), count[..., 0] == 0


def find_person(images: np.ndarray, background: np.ndarray, hidden: np.ndarray) -> np.ndarray:
  """Where pictures differ from the background, or where that is always hidden.

  Args:
    images: [N, S, S, 3] uint8.
    background: [S, S, 3].
    hidden: [S, S] bool.
  Returns:
    [N, S, S] bool.
  """
  change = np.abs(images - background).mean(axis=-1)
  person = (change > _DIFFERENT) | hidden
  # Shirts have the background's colour here and there, and noise is no person.
  return np.stack([ndimage.binary_fill_holes(ndimage.binary_opening(one)) for one in person])
