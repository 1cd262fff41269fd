"""The face of a morphable model, without scalp, neck and clothes: plain renders of fitted or drawn parameters.

This is the style of a classic morphable model (Lambert and nine spherical harmonics, no hair, black background), in
which GANFaces' synthetic renders and the fits of photographs are made. Its 68 landmarks slide on the outline as the
head turns: what dlib marks on the far cheek of a turned face is the outline, not the jaw.
"""

import functools
import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from models.face3d.morphable import MorphableModel
from models.face3d.render import Camera, Pose, place, project, render
from models.face3d.shading import Light

FIELD_OF_VIEW = 0.3
GAMMA = 2.2
CONTOUR = tuple(i for i in range(17) if i not in (7, 8, 9))  # the chin's own points stay where they are
_CANDIDATES = 24


class FaceMesh(NamedTuple):
  """The vertices and triangles that are rendered, U of the model's V.

  Attributes:
    vertices: `[U]` numbers of the model's vertices.
    triangles: `[T', 3]` int32 in these vertices.
    skin: `[U]` float32, how much a vertex counts when colours are compared: 1 inside of the face.
    points: `[Q]` numbers, in the model's vertices, of the 68 landmarks and then of the outline's candidates.
    candidates: `[len(CONTOUR), K]` places in `points`; the first of each row is the landmark itself.
  """

  vertices: np.ndarray
  triangles: np.ndarray
  skin: np.ndarray
  points: np.ndarray
  candidates: np.ndarray


@functools.lru_cache(maxsize=4)
def face_mesh(model: MorphableModel) -> FaceMesh:
  """The face of a model: all of it but `hair` and `neck`, where the model says which vertices these are."""
  mean, triangles = model.mean.numpy(), model.triangles.numpy()
  count = len(mean)
  regions = {name: mask.numpy() for name, mask in model.regions.items()}
  away = np.maximum(regions.get('hair', np.zeros(count)), regions.get('neck', np.zeros(count))) > 0.5
  kept = triangles[~away[triangles].any(axis=1)]
  used = np.unique(kept)
  renumber = np.zeros(count, np.int32)
  renumber[used] = np.arange(len(used))
  skin = np.clip(regions.get('face', np.ones(count)) - regions.get('ears', np.zeros(count)), 0, 1)[used]
  landmarks = model.landmarks.numpy()
  parts = model.extras.get('part', np.zeros(count))
  rows = _outline(mean, landmarks, used[parts[used] == 0])
  points = np.concatenate([landmarks, rows.ravel()])
  places = 68 + np.arange(rows.size).reshape(rows.shape)
  return FaceMesh(used, renumber[kept], skin.astype(np.float32), points, places)


def _outline(mean: np.ndarray, landmarks: np.ndarray, allowed: np.ndarray) -> np.ndarray:
  """For each contour landmark the vertices that may be its outline: a band from it across the cheek.

  The band lies along the plane through the landmark, its mirror point and a point of the face's middle line, between
  the bridge of the nose for the uppermost and the chin for the lowest.
  """
  marks = mean[landmarks]
  rows = []
  for number in CONTOUR:
    own, mirror = marks[number], marks[16 - number]
    share = min(number, 16 - number) / 7.0
    front = (1 - share) * marks[27] + share * marks[8]
    normal = np.cross(mirror - own, front - own)
    normal /= np.linalg.norm(normal)
    points = mean[allowed] - own
    across = points @ (mirror - own) / np.sum((mirror - own) ** 2)  # 0 at the landmark, 1 at its mirror point
    ahead = (front - own) - (front - own) @ (mirror - own) / np.sum((mirror - own) ** 2) * (mirror - own)
    deep = points @ ahead / np.linalg.norm(ahead)
    size = np.linalg.norm(marks[36] - marks[45])
    inside = (np.abs(points @ normal) < 0.05 * size) & (across < 0.42) & (across > -0.08) & (deep > -0.02 * size)
    found = allowed[inside]
    found = np.append(found[np.argsort(across[inside])], landmarks[number])
    rows.append(np.append(landmarks[number], found[np.linspace(0, len(found) - 1, _CANDIDATES - 1).astype(int)]))
  return np.array(rows)


def slide(mesh: FaceMesh, screen: tf.Tensor) -> tf.Tensor:
  """Which of `mesh.points` are the 68 landmarks in these pictures.

  Args:
    mesh: of the model.
    screen: `[B, Q, 2]` where its points are seen, in any unit.

  Returns:
    `[B, 68]` int32 places in `mesh.points`.
  """
  sideways = tf.math.l2_normalize(screen[:, 16] - screen[:, 0], axis=-1)  # from ear to ear in the picture
  along = tf.einsum('bqc,bc->bq', screen, sideways)
  places = tf.constant(mesh.candidates, tf.int32)
  reach = tf.gather(along, places, axis=1)  # [B, contour, K]
  sign = tf.constant([-1.0 if number < 8 else 1.0 for number in CONTOUR])[:, None]
  # A candidate has to stand out beyond the landmark itself by a hair, so that frontal faces keep theirs.
  width = tf.norm(screen[:, 16] - screen[:, 0], axis=-1)[:, None, None]
  bonus = tf.constant([0.01] + [0.0] * (mesh.candidates.shape[1] - 1))
  best = tf.argmax(sign * reach + bonus * width, axis=-1, output_type=tf.int32)
  chosen = tf.gather(tf.tile(places[None], [screen.shape[0], 1, 1]), best, batch_dims=2)
  rest = [i for i in range(68) if i not in CONTOUR]
  still = tf.tile(tf.constant([rest], tf.int32), [screen.shape[0], 1])
  return tf.gather(tf.concat([chosen, still], 1), np.argsort([*CONTOUR, *rest]), axis=1)


def to_display(linear: tf.Tensor) -> tf.Tensor:
  """Linear light to display values in [0, 1]."""
  return tf.clip_by_value(linear, 1e-5, 1.0) ** (1.0 / GAMMA)


def reframe(field_of_view: tf.Tensor, box: tf.Tensor, other: tf.Tensor) -> Camera:
  """The camera that shows in the square `other` of a photograph what a centred one shows in the square `box`.

  Args:
    field_of_view: `[B]` radians, of `box`.
    box: `[B, 3]` left, top, side.
    other: `[B, 3]` likewise.
  """
  field_of_view, box, other = (tf.convert_to_tensor(v, tf.float32) for v in (field_of_view, box, other))
  center = (box[:, :2] + box[:, 2:] / 2 - other[:, :2]) / other[:, 2:]
  return Camera(2.0 * tf.atan(tf.tan(field_of_view / 2.0) * other[:, 2] / box[:, 2]), center)


@functools.lru_cache(maxsize=8)
def _compiled(model: MorphableModel, size: int, supersample: int) -> Any:
  mesh = face_mesh(model)
  triangles, used = tf.constant(mesh.triangles), tf.constant(mesh.vertices)

  @tf.function(jit_compile=True, autograph=False)
  def draw(identity, expression, albedo, angles, translation, field_of_view, center, harmonics):
    batch = identity.shape[0]
    vertices = model.vertices(identity, expression)
    colors = tf.gather(model.albedo(albedo), used, axis=1)
    pose, camera = Pose(angles, translation), Camera(field_of_view, center)
    light = Light(harmonics, tf.zeros([batch, 0, 3]), tf.zeros([batch, 0, 3]))
    seen = render(
      tf.gather(vertices, used, axis=1),
      colors,
      triangles,
      pose,
      camera,
      light,
      size,
      supersample=supersample,
      cull_backfaces=True,
    )
    points = project(place(tf.gather(vertices, mesh.points, axis=1), pose), camera, size, size)[..., :2]
    landmarks = tf.gather(points, slide(mesh, points), batch_dims=1)
    mask = tf.cast(seen['mask'] >= 0.5, tf.float32)
    # A pixel that the outline cuts shows the surface, not a mixture with black: mask and picture then agree.
    surface = to_display(seen['image'] / tf.maximum(seen['mask'], 1e-6)) * mask
    return surface * 2.0 - 1.0, mask, landmarks * (2.0 / size) - 1.0

  return draw


def render_parameters(
  model: MorphableModel,
  parameters: Mapping[str, Any],
  size: int,
  box: Any = None,
  supersample: int = 2,
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
  """Plain pictures of a face model's parameters. Compiled once for each batch size and `size`.

  Args:
    model: any face model.
    parameters: `identity [B, I]`, `expression [B, E]`, `albedo [B, A]`, `pose [B, 3]` (radians about x, y and z, as
      `render.Pose`), `translation [B, 3]`, `field_of_view [B]` (that of `FIELD_OF_VIEW` where it is missing),
      `light [B, 9, 3]` (as `shading.Light.harmonics`), and `box [B, 3]` where the argument `box` is given.
    size: height and width in pixels.
    box: `[B, 3]` left, top and side of the square of the photograph to show; the fit's own one if None.
    supersample: renders so many times larger and takes the mean.

  Returns:
    image `[B, size, size, 3]` in [-1, 1], exactly -1 where there is no face; mask `[B, size, size, 1]` in {0, 1};
    landmarks `[B, 68, 2]` in [-1, 1] of the picture (edge to edge; y down), those of the contour on the outline.
  """
  values = {name: tf.convert_to_tensor(value, tf.float32) for name, value in parameters.items() if name in _DRAWN}
  batch = values['identity'].shape[0] or 0
  field_of_view = values.get('field_of_view', tf.fill([batch], FIELD_OF_VIEW))
  camera = Camera(field_of_view, tf.fill([batch, 2], 0.5))
  if box is not None:
    camera = reframe(field_of_view, values['box'], box)
  draw = _compiled(model, size, supersample)
  return draw(
    values['identity'],
    values['expression'],
    values['albedo'],
    values['pose'],
    values['translation'],
    camera.field_of_view,
    camera.center,
    values['light'],
  )


_DRAWN = ('identity', 'expression', 'albedo', 'pose', 'translation', 'field_of_view', 'light', 'box')


def ambient(batch: int, brightness: float = 1.0) -> np.ndarray:
  """Harmonics `[batch, 9, 3]` of white light from everywhere."""
  light = np.zeros([batch, 9, 3], np.float32)
  light[:, 0] = brightness * math.sqrt(4 * math.pi)
  return light
