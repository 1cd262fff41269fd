"""How a photographed face is moved and put back into its photograph: by landmarks (GC-GAN) or by pictures (FaceCycle).

A mover is made of a photograph, its landmarks, a model's config and its signatures. `still` shows it with the
expression of one picture, `film` of frames of one person in the order of time, `neutral` without expression and from
the front; `enlargement` is how many pixels the model sees for one of the photograph.
"""

import itertools
from collections.abc import Callable, Iterator, Mapping
from typing import Any, ClassVar

import numpy as np
import tensorflow as tf
from scipy import ndimage

from evaluate import motion
from evaluate.embeddings import read_faces
from evaluate.paste import Face, sample, smoothstep
from input_pipeline import alignment, boxes, face_squares
from input_pipeline.face_tracks import SMOOTHING

_BATCH = 16  # Frames that the model shows at once.
# Of FaceCycle: changes (levels of 255) that are added and that replace; width of the fading edge in half crops.
_ADDED, _REPLACED, _FADE = 8, 22, 0.3
Functions = Mapping[str, Callable[..., Any]]
Frames = Callable[[], Iterator[np.ndarray]]


class ByLandmarks:
  """A face that the model draws anew with other landmarks: the driver's, or its own with the driver's motion."""

  wanted: ClassVar[tuple[str, ...]] = ('serving_default',)

  def __init__(
    self, picture: np.ndarray, points: np.ndarray, config: Any, functions: Functions, landmark_transfer: str
  ):
    if config.condition == 'onehot':
      raise ValueError('the model was trained with condition=onehot: it is driven by labels, not by a face')
    matrix = alignment.align(points, config.alignment, config.template_scale, config.image_size)
    self.enlargement = alignment.enlargement(matrix)
    own = alignment.normalize(alignment.transform_points(points, matrix), config.image_size)[None]

    def call(name: str, key: str) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
      def answer(images: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
        given = {'images': tf.constant(images), 'landmarks': tf.constant(landmarks, tf.float32)}
        if config.bend_input:
          given['source_landmarks'] = tf.constant(np.repeat(own, len(images), axis=0), tf.float32)
        return functions[name](**given)[key].numpy()

      return answer

    move = call('move', 'flow') if 'move' in functions else None
    self._face = Face(picture, points, config, call('serving_default', 'images'), move)
    self._relative = landmark_transfer == 'relative'

  def neutral(self) -> np.ndarray:
    raise ValueError('--driver is missing: a model of gcgan shows people as somebody else looks')

  def still(self, picture: np.ndarray, points: np.ndarray) -> np.ndarray:
    del picture
    shapes = motion.shape(points)[None]
    return next(self._show(shapes, motion.neutral(shapes)))

  def film(self, frames: Frames, points: np.ndarray, fps: float) -> Iterator[np.ndarray]:
    del frames
    shapes = np.stack([p if np.isnan(p).any() else motion.shape(p) for p in points])
    shapes = motion.smooth(shapes, fps)
    yield from self._show(shapes, np.median(motion.neutral(shapes), axis=0))

  def _show(self, shapes: np.ndarray, own: np.ndarray) -> Iterator[np.ndarray]:
    """The photograph with each of the driver's shapes [F, 68, 2], whose neutral one is `own`."""
    face = self._face
    points = motion.follow(face.points, shapes, own)
    if self._relative:
      matrices = np.stack([face.align(p) for p in points])
      landmarks = face.landmarks(points, matrices)
    else:
      landmarks = face.landmarks(shapes, np.stack([face.align(s) for s in shapes]))
      matrices = np.stack([face.align(p) for p in motion.move_lip(face.points, shapes)])
    for start in range(0, len(shapes), _BATCH):
      part = slice(start, start + _BATCH)
      shown, flows = face.show(landmarks[part]), face.flows(landmarks[part])
      for crop, flow, p, matrix in zip(shown, flows, points[part], matrices[part], strict=True):
        yield face.paste(crop, p, matrix, flow)


class ByPictures:
  """A face that the model moves as pictures of another one do; of both it sees the square around the face.

  Where the output is near the model's copy of the input only the difference is added to the photograph, which keeps its
  detail; elsewhere the model's picture stands alone, with the colours corrected by what is wrong with the copy nearby.
  Both fade towards the edge of the square. Landmarks in the output would not do: with a warp of the photograph, as
  GC-GAN has it, a turned head left its ears and its outline where they were, even with a perfect model.
  """

  wanted: ClassVar[tuple[str, ...]] = ('transfer', 'neutralise')

  def __init__(
    self, picture: np.ndarray, points: np.ndarray, config: Any, functions: Functions, landmark_transfer: str
  ):
    del landmark_transfer
    self._picture, self._config, self._functions = picture, config, functions
    self._matrix = self._align(face_squares.face_square(points, config.enlargement))
    self.enlargement = alignment.enlargement(self._matrix)
    self._crop = alignment.warp(picture, self._matrix, config.image_size)
    self._rebuilt = self._transfer(self._crop[None], self._crop[None])[0]
    self._own = alignment.transform_points(points, self._matrix)
    # Pixels of the photograph under the square.
    low = alignment.transform_points(np.full(2, -0.5), alignment.invert(self._matrix))
    high = alignment.transform_points(np.full(2, config.image_size - 0.5), alignment.invert(self._matrix))
    (left, top), (right, bottom) = np.clip([np.ceil(low), np.floor(high) + 1], 0, picture.shape[1::-1]).astype(int)
    self._part = slice(top, bottom), slice(left, right)
    self._places = np.stack(np.meshgrid(np.arange(left, right), np.arange(top, bottom)), axis=-1)

  def _align(self, square: np.ndarray) -> np.ndarray:
    """[2, 3]: picture -> crop."""
    return boxes.align(np.zeros([68, 2]), self._config.image_size, face_squares.as_box(square))

  def _transfer(self, images: np.ndarray, drivers: np.ndarray) -> np.ndarray:
    return self._functions['transfer'](images=tf.constant(images), drivers=tf.constant(drivers))['images'].numpy()

  def neutral(self) -> np.ndarray:
    crop = self._functions['neutralise'](images=tf.constant(self._crop[None]))['images'].numpy()[0]
    # The frame of neutral faces is the model's own: the head stays where it is.
    seen = [read_faces(x[None], self._own[None], describe=False).landmarks[0] for x in (crop, self._rebuilt)]
    linear, shift = motion.similarity(self._own, self._own + seen[0] - seen[1])
    return self._paste(crop, np.concatenate([linear, shift[:, None]], axis=1))

  def still(self, picture: np.ndarray, points: np.ndarray) -> np.ndarray:
    driver = self._cut(picture, face_squares.face_square(points, self._config.enlargement))
    return self._paste(self._transfer(self._crop[None], driver[None])[0])

  def film(self, frames: Frames, points: np.ndarray, fps: float) -> Iterator[np.ndarray]:
    squares = [face_squares.face_square(p, self._config.enlargement) for p in motion.smooth(points, fps)]
    squares = ndimage.gaussian_filter1d(np.stack(squares), SMOOTHING * fps, axis=0, mode='nearest')
    drivers = (self._cut(*pair) for pair in zip(frames(), squares, strict=False))
    while batch := list(itertools.islice(drivers, _BATCH)):
      for crop in self._transfer(np.repeat(self._crop[None], len(batch), axis=0), np.stack(batch)):
        yield self._paste(crop)

  def _cut(self, picture: np.ndarray, square: np.ndarray) -> np.ndarray:
    return alignment.warp(picture, self._align(square), self._config.image_size)

  def _paste(self, crop: np.ndarray, moved: np.ndarray | None = None) -> np.ndarray:
    """The photograph with a crop that the model made.

    Args:
      crop: [S, S, 3] uint8.
      moved: [2, 3] from pixels of the square to those of the crop, where they differ.
    """
    size = self._config.image_size
    here = alignment.transform_points(self._places, self._matrix)
    there = here if moved is None else alignment.transform_points(here, moved)
    shown, rebuilt = sample(crop, there), sample(self._rebuilt, here)
    error = ndimage.gaussian_filter(self._crop - self._rebuilt.astype(np.float32), (0.08 * size, 0.08 * size, 0))
    unit = 1 / np.linalg.norm(self._matrix[0, :2])  # Pixels of the photograph in one of the crop.
    change = shown - rebuilt
    apart = ndimage.gaussian_filter(np.abs(change).mean(axis=-1), 0.02 * size * unit)
    keep = smoothstep((_REPLACED - apart) / (_REPLACED - _ADDED))[..., None]
    photo = self._picture[self._part]
    new = keep * (photo + change) + (1 - keep) * (shown + sample(error, here))
    # A square without corners, so that it is not seen as one.
    out = np.maximum(*((np.abs((2 * p + 1) / size - 1) ** 3).sum(-1) ** (1 / 3) for p in (here, there)))
    mask = smoothstep((1 - out) / _FADE)[..., None]
    result = self._picture.copy()
    result[self._part] = np.rint(np.clip(mask * new + (1 - mask) * photo, 0, 255))
    return result


MOVERS: dict[str, Any] = {'gcgan': ByLandmarks, 'facecycle': ByPictures}
