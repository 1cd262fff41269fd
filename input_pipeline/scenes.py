"""What the renders of GANFaces and the stand-ins for photographs share: where a head stands, light, parameters."""

import functools
import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from input_pipeline import boxes
from models.face3d.face_mesh import FIELD_OF_VIEW, face_mesh, render_parameters, slide
from models.face3d.graphics import rotation_matrix_3d
from models.face3d.morphable import MorphableModel
from models.face3d.shading import Light, harmonics_basis

BATCH = 16  # Pictures rendered at once.
# A picture's parameters in the order of the vector that is stored with it; what is missing has the model's size.
PARAMETERS: dict[str, int] = {'identity': 0, 'expression': 0, 'albedo': 0, 'pose': 3, 'translation': 3, 'light': 27}
_ROUNDS = 8


def draw_noise(random: np.random.Generator) -> np.ndarray:
  """[3] how far the detector's box of one picture is from the mean one: centre across, centre down, side, as shares."""
  return random.normal(size=3) * boxes.NOISE


def stand(
  model: MorphableModel, identity: np.ndarray, expression: np.ndarray, angles: np.ndarray, noise: np.ndarray
) -> np.ndarray:
  """Where heads have to stand so that the crop around each face is the whole picture of a centred camera.

  Args:
    model: the face model.
    identity: [B, I].
    expression: [B, E].
    angles: [B, 3] radians: nodding, turning, tilting.
    noise: [B, 3], see `draw_noise`.

  Returns:
    [B, 3] float32 translations (`render.Pose`) before a camera of `FIELD_OF_VIEW`.
  """
  mesh, (mean, identities, expressions) = face_mesh(model), _point_bases(model)
  shape = mean + np.einsum('bi,iqc->bqc', identity, identities[: identity.shape[1]])
  shape += np.einsum('be,eqc->bqc', expression, expressions[: expression.shape[1]])
  rotation = rotation_matrix_3d.from_euler(tf.constant(angles, tf.float32)).numpy()
  turned = np.einsum('bij,bqj->bqi', rotation, shape)
  focal = 1.0 / math.tan(FIELD_OF_VIEW / 2.0)
  translation = np.zeros([len(shape), 3])
  translation[:, 2] = -10.0 * np.ptp(shape[:, 36:48, 0], axis=1)
  # Each round is exact for a head without depth, so that a few settle it.
  for _ in range(_ROUNDS):
    placed = turned + translation[:, None]
    screen = focal * placed[..., :2] * [1.0, -1.0] / -placed[..., 2:]
    chosen = slide(mesh, tf.constant(screen, tf.float32)).numpy()
    box = boxes.detector_box(np.take_along_axis(screen, chosen[..., None], axis=1))
    box += noise * box[:, 2:]
    left, top, side = boxes.crop_box(box).T
    depth = -translation[:, 2]
    translation[:, 0] -= (left + side / 2) * depth / focal
    translation[:, 1] += (top + side / 2) * depth / focal
    translation[:, 2] = -depth * side / 2
  return translation.astype(np.float32)


@functools.lru_cache(maxsize=2)
def _point_bases(model: MorphableModel) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  points = face_mesh(model).points
  mean, identities, expressions = (
    basis.numpy()[..., points, :] for basis in (model.mean, model.identity_basis, model.expression_basis)
  )
  return mean, identities, expressions


def plain_light(light: Light) -> np.ndarray:
  """[B, 9, 3] spherical harmonics of surroundings and directed lights together, as far as nine can show them."""
  directions = tf.math.l2_normalize(light.directions, -1)
  spots = math.pi * tf.einsum('blk,blc->bkc', harmonics_basis(directions), light.colors)
  return (light.harmonics + spots).numpy()


def render_plain(
  model: MorphableModel, parameters: Mapping[str, np.ndarray], size: int
) -> tuple[np.ndarray, np.ndarray]:
  """Renders any number of pictures in the style of a plain morphable model.

  Args:
    model: the face model.
    parameters: rows of `PARAMETERS`, `light` as [N, 9, 3].
    size: height and width.

  Returns:
    [N, size, size, 3] uint8, 0 where there is no face and nowhere on it; landmarks [N, 68, 2] float32 in [-1, 1].
  """
  count = len(parameters['pose'])
  images, landmarks = [], []
  for start in range(0, count, BATCH):
    rows = np.minimum(np.arange(start, start + BATCH), count - 1)  # one compiled function for all
    image, _, points = render_parameters(model, {name: value[rows] for name, value in parameters.items()}, size)
    images.append(np.clip(np.rint((image.numpy() + 1) * 127.5), 0, 255).astype(np.uint8))
    landmarks.append(points.numpy())
  return np.concatenate(images)[:count], np.concatenate(landmarks)[:count].astype(np.float32)


def parameter_sizes(model: MorphableModel) -> dict[str, int]:
  """Names and lengths of the parts of a picture's parameter vector."""
  modes = {
    'identity': model.identity_basis.shape[0],
    'expression': model.expression_basis.shape[0],
    'albedo': model.albedo_basis.shape[0],
  }
  return {name: int(length or modes[name]) for name, length in PARAMETERS.items()}


def pack(parameters: Mapping[str, np.ndarray]) -> np.ndarray:
  """Rows of parameters as the vectors [N, P] float32 that are stored."""
  count = len(parameters['pose'])
  return np.concatenate([np.reshape(parameters[name], [count, -1]) for name in PARAMETERS], 1).astype(np.float32)


def unpack(vectors: np.ndarray, model: MorphableModel) -> dict[str, np.ndarray]:
  """The parameters [N, ...] of stored vectors [N, P], as `render_plain` takes them."""
  ends = np.cumsum(list(parameter_sizes(model).values()))
  parts = dict(zip(PARAMETERS, np.split(vectors, ends[:-1], axis=1), strict=True))
  return parts | {'light': parts['light'].reshape(-1, 9, 3)}


class Gaussian(NamedTuple):
  """A normal distribution of [D] numbers, cut off at the range that was seen."""

  mean: np.ndarray
  root: np.ndarray
  low: np.ndarray
  high: np.ndarray

  @classmethod
  def fit(cls, values: Sequence[np.ndarray] | np.ndarray) -> 'Gaussian':
    """Of rows [N, ...]; fewer rows than numbers are enough."""
    rows = np.reshape(np.asarray(values, np.float64), [len(values), -1])
    centred = rows - rows.mean(axis=0)
    # centred.T / sqrt(N) is a root of the covariance; the triangular one is small however many rows there are.
    root = np.asarray(np.linalg.qr(centred / math.sqrt(max(len(rows) - 1, 1)), mode='r'))
    return cls(rows.mean(axis=0), root.T, rows.min(axis=0), rows.max(axis=0))

  def draw(self, random: np.random.Generator) -> np.ndarray:
    """[D] float32."""
    value = self.mean + self.root @ random.normal(size=self.root.shape[1])
    return np.clip(value, self.low, self.high).astype(np.float32)
