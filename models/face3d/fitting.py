"""Fits a face model to photographs: analysis by synthesis through our renderer, a batch at a time.

1. Pose, identity and expression from the 68 landmarks: Gauss-Newton on the perspective projection with the priors of
   the coefficients (maximum a posteriori); the contour's landmarks slide on the outline (`face_mesh.slide`).
2. Light and skin colour in closed form, in turns: the photograph is read at the visible vertices; light is linear in
   nine harmonics, the albedo in its coefficients (its logarithm, where the model is one of pigments).
3. All parameters together by Adam on landmarks, the difference of picture and photograph at low resolution, and priors.

Follows Blanz and Vetter, "A morphable model for the synthesis of 3D faces", SIGGRAPH 1999, section 4, and for light
Ramamoorthi and Hanrahan 2001.
"""

import dataclasses
import functools
import math
from typing import Any

import numpy as np
import tensorflow as tf

from models.face3d.face_mesh import FIELD_OF_VIEW, GAMMA, ambient, face_mesh, slide, to_display
from models.face3d.morphable import MorphableModel
from models.face3d.priors import albedo_prior, expression_prior, symmetry_precision
from models.face3d.rasterize import Raster
from models.face3d.render import Camera, Pose, place, project, render
from models.face3d.shading import Light, harmonics_basis, irradiance, vertex_normals

_BANDS = np.array([1.0, 2 / 3, 2 / 3, 2 / 3, 0.25, 0.25, 0.25, 0.25, 0.25], np.float32)
_NOISE = 0.02  # of dlib's landmarks, as a share of the inter-ocular distance
_INNER_LIPS_WEIGHT = 3.0  # whether a mouth is open is a matter of a few pixels
_CONTOUR_WEIGHT = 0.4  # the outline is marked less exactly than eyes, nose and mouth
_LIGHT = 0.35  # of a harmonic about white ambient light, as a share of its first row
_TINT = 0.12  # of the light's colour about grey: the skin's colour belongs to the albedo
COLOUR_NOISE = 0.06  # of a picture against its photograph, display values in [0, 1]
_PIXELS = 300.0  # as many independent pixels the face counts for: neighbours say the same


@dataclasses.dataclass(frozen=True)
class Schedule:
  """How much work a fit is: steps of each part, and the side in pixels of the pictures that are compared."""

  landmark_steps: int = 14
  photometric_steps: int = 30
  size: int = 64


class Fitter:
  """Fits batches of a fixed size, so that everything is compiled once.

  Attributes:
    model: the face model.
    batch: photographs at a time.
    schedule: see `Schedule`.
  """

  def __init__(self, model: MorphableModel, batch: int = 16, schedule: Schedule = Schedule()):
    self.model, self.batch, self.schedule = model, batch, schedule
    self.mesh = face_mesh(model)
    identity, expression = model.identity_basis.numpy(), model.expression_basis.numpy()
    self.sizes = len(identity), len(expression)
    self._bases = np.concatenate([identity, expression]), model.mean.numpy()
    low, high, deviations = expression_prior(model)
    ones = np.ones(self.sizes[0], np.float32)
    self._low, self._high = np.concatenate([-3 * ones, low]), np.concatenate([3 * ones, high])
    self._precision = np.diag(np.concatenate([ones, deviations**-2]))
    self._precision[self.sizes[0] :, self.sizes[0] :] += symmetry_precision(model.expression_names)
    weights = np.ones(68, np.float32)
    weights[:17] = _CONTOUR_WEIGHT
    weights[60:] = _INNER_LIPS_WEIGHT
    self._weights = weights
    self._albedo_mean, self._albedo_deviation = albedo_prior(model)
    self._focal = 1.0 / math.tan(FIELD_OF_VIEW / 2)
    self._from_landmarks = tf.function(self._fit_landmarks, autograph=False)
    self._from_colours = tf.function(self._fit_colours, autograph=False, jit_compile=True)
    self._improve = tf.function(self._adam_step, autograph=False, jit_compile=True)
    self._errors = tf.function(self._final_errors, autograph=False, jit_compile=True)

  def __call__(self, images: np.ndarray, landmarks: np.ndarray) -> dict[str, np.ndarray]:
    """Fits up to `batch` photographs.

    Args:
      images: `[N, S, S, 3]` in [-1, 1]: square crops about the face.
      landmarks: `[N, 68, 2]` in [-1, 1] of the crop.

    Returns:
      arrays of N rows: `identity`, `expression`, `albedo`, `pose`, `translation`, `field_of_view`, `light` as
      `render_parameters` takes them; `landmarks_error`, the mean distance as a share of the inter-ocular distance
      (outer eye corners), and `photometric_error`, the mean absolute difference of display values in [0, 1] on it.

    Raises:
      ValueError: for other shapes.
    """
    count, size = len(images), self.schedule.size
    if not 0 < count <= self.batch or images.shape[1:] != (images.shape[1], images.shape[1], 3):
      raise ValueError(f'images have shape {images.shape}; expected [1 to {self.batch}, S, S, 3]')
    if landmarks.shape != (count, 68, 2):
      raise ValueError(f'landmarks have shape {landmarks.shape}; expected [{count}, 68, 2]')
    rows = np.arange(self.batch) % count  # a short batch repeats its own
    target = tf.constant(landmarks[rows], tf.float32)
    photos = tf.image.resize(tf.constant(images[rows], tf.float32), [size, size], antialias=True) / 2.0 + 0.5
    coefficients, angles, translation = self._from_landmarks(target)
    light, albedo = self._from_colours(photos, coefficients, angles, translation)
    state = {'coefficients': coefficients, 'angles': angles, 'translation': translation, 'light': light}
    state['albedo'] = albedo
    moments = {name: (tf.zeros_like(value), tf.zeros_like(value)) for name, value in state.items()}
    for step in range(self.schedule.photometric_steps):
      state, moments = self._improve(photos, target, state, moments, tf.constant(step, tf.float32))
    geometric, photometric = self._errors(photos, target, state)
    found = {
      'identity': state['coefficients'][:, : self.sizes[0]],
      'expression': state['coefficients'][:, self.sizes[0] :],
      'albedo': state['albedo'],
      'pose': state['angles'],
      'translation': state['translation'],
      'field_of_view': tf.fill([self.batch], FIELD_OF_VIEW),
      'light': state['light'],
      'landmarks_error': geometric,
      'photometric_error': photometric,
    }
    return {name: value.numpy()[:count] for name, value in found.items()}

  # 1. Landmarks.

  def _fit_landmarks(self, target):
    basis, mean = self._bases
    points, modes = mean[self.mesh.points], basis[:, self.mesh.points]  # [Q, 3], [P, Q, 3]
    flat = tf.constant(modes.reshape(len(modes), -1))
    per_point = tf.constant(np.moveaxis(modes, 0, -1))  # [Q, 3, P]
    b, size = self.batch, len(modes)
    scale = _interocular(target)  # [B]
    width = np.linalg.norm(mean[self.mesh.points[45]] - mean[self.mesh.points[36]])
    eyes = target[:, 45] - target[:, 36]
    roll = tf.atan2(-eyes[:, 1], eyes[:, 0])
    zero, one = tf.zeros([b]), tf.ones([b])
    rotation = tf.reshape(
      tf.stack([tf.cos(roll), -tf.sin(roll), zero, tf.sin(roll), tf.cos(roll), zero, zero, zero, one], -1), [b, 3, 3]
    )
    distance = self._focal * width / scale
    center = tf.reduce_mean(target[:, 27:48], 1) * distance[:, None] / self._focal
    still = tf.reduce_mean(tf.constant(points[27:48]), 0)
    translation = tf.stack([center[:, 0], -center[:, 1], -distance], -1) - tf.einsum('bij,j->bi', rotation, still)
    coefficients = tf.zeros([b, size])
    weights = tf.constant(self._weights)[None] / (_NOISE * scale[:, None]) ** 2  # [B, 68]
    precision = tf.constant(self._precision)
    for step in range(self.schedule.landmark_steps):
      rigid = step < 4
      shape = tf.constant(points) + tf.reshape(tf.matmul(coefficients, flat), [b, -1, 3])
      turned = tf.matmul(shape, rotation, transpose_b=True)
      placed = turned + translation[:, None]
      screen = self._project(placed)
      chosen = slide(self.mesh, screen)
      at = functools.partial(tf.gather, indices=chosen, batch_dims=1)
      x, y, z = tf.unstack(at(placed), axis=-1)
      nothing = tf.zeros_like(x)
      slope = self._focal * tf.stack(
        [tf.stack([-1 / z, nothing, x / z**2], -1), tf.stack([nothing, 1 / z, -y / z**2], -1)], -2
      )  # [B, 68, 2, 3]
      turn = slope @ _minus_cross(at(turned))  # to a small rotation
      shift = tf.gather(per_point, chosen)  # [B, 68, 3, P]
      bend = tf.einsum('bnki,bij,bnjp->bnkp', slope, rotation, shift) * (0.0 if rigid else 1.0)
      jacobian = tf.reshape(tf.concat([turn, slope, bend], -1), [b, 136, 6 + size])
      residual = tf.reshape(at(screen) - target, [b, 136])
      weighted = jacobian * tf.repeat(weights, 2, axis=1)[..., None]
      gradient = tf.einsum('bnp,bn->bp', weighted, residual)
      gradient += tf.concat([tf.zeros([b, 6]), tf.matmul(coefficients, precision)], 1)
      # A coefficient at its limit that wants to go beyond stays there.
      blocked = ((coefficients <= self._low) & (gradient[:, 6:] > 0)) | (
        (coefficients >= self._high) & (gradient[:, 6:] < 0)
      )
      diagonal = tf.concat([tf.fill([b, 6], 1e-2), 1e7 * tf.cast(blocked, tf.float32)], 1)
      hessian = tf.matmul(jacobian, weighted, transpose_a=True) + tf.linalg.diag(diagonal)
      hessian += tf.pad(precision, [[6, 0], [6, 0]])
      move = -tf.linalg.cholesky_solve(tf.linalg.cholesky(hessian), gradient[..., None])[..., 0]
      angle = tf.norm(move[:, :3], axis=-1, keepdims=True)
      rotation = _rotation(move[:, :3] * tf.minimum(1.0, 0.4 / tf.maximum(angle, 1e-6))) @ rotation
      translation += move[:, 3:6]
      coefficients = tf.clip_by_value(coefficients + move[:, 6:], self._low, self._high)
    angles = tf.stack(
      [
        tf.atan2(rotation[:, 2, 1], rotation[:, 2, 2]),
        -tf.asin(tf.clip_by_value(rotation[:, 2, 0], -1.0, 1.0)),
        tf.atan2(rotation[:, 1, 0], rotation[:, 0, 0]),
      ],
      -1,
    )
    return coefficients, angles, translation

  def _project(self, placed):
    """Camera axes to [-1, 1] of the picture, y down."""
    return self._focal * tf.stack([-placed[..., 0], placed[..., 1]], -1) / placed[..., 2:]

  # 2. Light and albedo.

  def _fit_colours(self, photos, coefficients, angles, translation):
    b = self.batch
    albedo = tf.tile(tf.constant(self._albedo_mean)[None], [b, 1])
    seen = self._render(coefficients, angles, translation, albedo, tf.constant(ambient(b)))
    normals, weight, colours = read_surface(photos, seen, tf.constant(self.mesh.triangles))
    weight *= tf.constant(self.mesh.skin)
    linear = tf.maximum(colours, 1e-3) ** GAMMA
    harmonics = harmonics_basis(normals) * _BANDS  # [B, U, 9]
    basis = tf.gather(self.model.albedo_basis, self.mesh.vertices, axis=1)  # [A, U, 3]
    count = basis.shape[0] or 0
    light = tf.constant(ambient(b))
    for _ in range(4):
      surface = self._albedo(albedo)
      robust = weight * _robust(to_display(surface * irradiance(normals, light)) - colours)
      light = self._solve_light(harmonics, surface, linear, robust)
      if not count:
        continue
      shade = tf.maximum(irradiance(normals, light), 0.02)
      ratio = tf.clip_by_value(linear / shade, 5e-3, 1.5)
      mean = tf.gather(self.model.albedo_mean, self.mesh.vertices)
      wanted = (tf.math.log(ratio) if self.model.log_albedo else ratio) - mean
      # Noise of display values as noise of the albedo: d linear = gamma * linear / display * d display.
      noise = COLOUR_NOISE * GAMMA * (1.0 if self.model.log_albedo else ratio) / tf.maximum(colours, 0.1)
      trust = robust[..., None] / noise**2
      trust *= _PIXELS / 3.0 / tf.reduce_sum(robust, 1, keepdims=True)[..., None]
      square = tf.einsum('avc,bvc,dvc->bad', basis, trust, basis)
      prior = tf.constant(self._albedo_deviation**-2)
      right = tf.einsum('avc,bvc->ba', basis, trust * wanted) + prior * self._albedo_mean
      albedo = tf.linalg.cholesky_solve(tf.linalg.cholesky(square + tf.linalg.diag(prior)), right[..., None])[..., 0]
    return light, albedo

  def _solve_light(self, harmonics, surface, linear, weight):
    """White harmonics first, then each channel close to them."""
    scale = ambient(1)[0, 0, 0]
    start = tf.constant(ambient(1)[0, :, 0])
    total = tf.maximum(tf.reduce_sum(weight, 1), 1e-3)[:, None, None]
    trust = weight[..., None] * 40.0 * _PIXELS / total / tf.maximum(linear, 0.02)

    def solve(trust, about, deviation):
      design = harmonics[:, :, None] * surface[..., None]  # [B, U, 3, 9]
      square = tf.einsum('bvck,bvc,bvcl->bkl', design, trust, design) + tf.eye(9) / deviation**2
      right = tf.einsum('bvck,bvc->bk', design, trust * linear) + about / deviation**2
      return tf.linalg.cholesky_solve(tf.linalg.cholesky(square), right[..., None])[..., 0]

    grey = solve(trust, start, _LIGHT * scale)
    channels = [solve(trust * tf.one_hot(channel, 3), grey, _TINT * scale) for channel in range(3)]
    return tf.stack(channels, -1)

  # 3. Everything.

  def _render(self, coefficients, angles, translation, albedo, light):
    vertices = self.model.vertices(coefficients[:, : self.sizes[0]], coefficients[:, self.sizes[0] :])
    size, pose = self.schedule.size, Pose(angles, translation)
    camera = Camera(tf.fill([self.batch], FIELD_OF_VIEW), tf.fill([self.batch, 2], 0.5))
    seen: dict[str, Any] = render(
      tf.gather(vertices, self.mesh.vertices, axis=1),
      self._albedo(albedo),
      tf.constant(self.mesh.triangles),
      pose,
      camera,
      Light(light, tf.zeros([self.batch, 0, 3]), tf.zeros([self.batch, 0, 3])),
      size,
      cull_backfaces=True,
    )
    seen['points'] = place(tf.gather(vertices, self.mesh.vertices, axis=1), pose)
    marks = project(place(tf.gather(vertices, self.mesh.points, axis=1), pose), camera, 2, 2)[..., :2] - 1.0
    seen['landmarks'] = tf.gather(marks, slide(self.mesh, tf.stop_gradient(marks)), batch_dims=1)
    return seen

  def _albedo(self, albedo):
    return tf.gather(self.model.albedo(albedo), self.mesh.vertices, axis=1)

  def _energy(self, photos, target, state):
    seen = self._render(*(state[k] for k in ('coefficients', 'angles', 'translation', 'albedo', 'light')))
    scale = _interocular(target)[:, None, None]
    marks = tf.reduce_sum(((seen['landmarks'] - target) / (_NOISE * scale)) ** 2, -1) * self._weights
    skin = tf.gather(tf.constant(self.mesh.skin), seen['raster'].vertex_ids)
    weight = tf.stop_gradient(tf.reduce_sum(skin * seen['raster'].barycentrics, -1, keepdims=True))
    difference = to_display(seen['image']) - photos
    weight *= tf.stop_gradient(_robust(difference))[..., None]
    colour = tf.reduce_sum(weight * difference**2, [1, 2, 3]) / tf.maximum(tf.reduce_sum(weight, [1, 2, 3]), 1.0)
    scale = ambient(1)[0, 0, 0]
    grey = tf.reduce_mean(state['light'], -1, keepdims=True)
    coefficients = state['coefficients']
    prior = tf.reduce_sum(tf.matmul(coefficients, tf.constant(self._precision)) * coefficients, -1)
    prior += tf.reduce_sum(((state['albedo'] - self._albedo_mean) / self._albedo_deviation) ** 2, -1)
    prior += tf.reduce_sum(((grey - ambient(1)[:, :, :1]) / (_LIGHT * scale)) ** 2, [1, 2])
    prior += tf.reduce_sum(((state['light'] - grey) / (_TINT * scale)) ** 2, [1, 2])
    return 0.5 * tf.reduce_sum(tf.reduce_sum(marks, -1) + colour * _PIXELS / COLOUR_NOISE**2 / 3.0 + prior)

  def _adam_step(self, photos, target, state, moments, step):
    with tf.GradientTape() as tape:
      tape.watch(state)
      energy = self._energy(photos, target, state)
    gradients = tape.gradient(energy, state)
    fade = 1.0 - 0.8 * step / max(self.schedule.photometric_steps, 1)
    rates = {'coefficients': 0.03, 'angles': 0.006, 'translation': 0.01, 'light': 0.03, 'albedo': 0.05}
    state, moments = dict(state), dict(moments)
    for name, gradient in gradients.items():
      gradient = tf.where(tf.math.is_finite(gradient), gradient, 0.0)
      first, second = moments[name]
      first, second = 0.8 * first + 0.2 * gradient, 0.95 * second + 0.05 * gradient**2
      moments[name] = first, second
      mean, square = first / (1 - 0.8 ** (step + 1)), second / (1 - 0.95 ** (step + 1))
      state[name] -= rates[name] * fade * mean / (tf.sqrt(square) + 1e-4)
    state['coefficients'] = tf.clip_by_value(state['coefficients'], self._low, self._high)
    return state, moments

  def _final_errors(self, photos, target, state):
    seen = self._render(*(state[k] for k in ('coefficients', 'angles', 'translation', 'albedo', 'light')))
    geometric = tf.reduce_mean(tf.norm(seen['landmarks'] - target, axis=-1), -1) / _interocular(target)
    difference = tf.reduce_sum(tf.abs(to_display(seen['image']) - photos) * seen['mask'], [1, 2, 3])
    return geometric, difference / 3.0 / tf.maximum(tf.reduce_sum(seen['mask'], [1, 2, 3]), 1.0)


def read_surface(
  photos: tf.Tensor, seen: dict[str, Any], triangles: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
  """What a photograph shows at the vertices of a mesh that was laid over it.

  Args:
    photos: `[B, S, S, 3]` display values in [0, 1].
    seen: the dict of `render` at the same size without supersampling, and `points [B, U, 3]`, its camera axes.
    triangles: of the mesh.

  Returns:
    normals `[B, U, 3]`; weight `[B, U]` in [0, 1], 0 for what is hidden or turned away; colours `[B, U, 3]`.
  """
  size = photos.shape[1]
  points, screen, raster = seen['points'], seen['screen'], seen['raster']
  assert isinstance(raster, Raster)
  normals = vertex_normals(points, triangles)
  towards = tf.reduce_sum(normals * tf.math.l2_normalize(-points, axis=-1), -1)
  pixel = tf.cast(tf.floor(screen[..., :2]), tf.int32)
  inside = tf.reduce_all((pixel >= 0) & (pixel < size), -1)
  pixel = tf.clip_by_value(pixel, 0, size - 1)[..., ::-1]
  depth = tf.gather_nd(raster.depth[..., 0], pixel, batch_dims=1)
  near = (depth > 0) & (screen[..., 2] < depth + 0.08)
  weight = tf.where(inside & near, tf.clip_by_value((towards - 0.15) / 0.35, 0.0, 1.0), 0.0)
  position = tf.clip_by_value(screen[..., :2] - 0.5, 0.0, size - 1.001)
  corner = tf.cast(tf.floor(position), tf.int32)[..., ::-1]
  part = (position - tf.floor(position))[..., ::-1]
  colours = tf.zeros_like(points)
  for down in (0, 1):
    for right in (0, 1):
      share = tf.where([down == 1, right == 1], part, 1.0 - part)
      value = tf.gather_nd(photos, corner + [down, right], batch_dims=1)
      colours += value * tf.reduce_prod(share, -1, keepdims=True)
  return normals, weight, colours


def _robust(difference):
  """Weights `[...]` of pixels from their differences `[..., 3]`: hair, glasses and shine count less (Geman-McClure)."""
  square = tf.reduce_mean(difference**2, -1) / (2.0 * COLOUR_NOISE) ** 2
  return 1.0 / (1.0 + square) ** 2


def _interocular(landmarks):
  return tf.norm(landmarks[:, 45] - landmarks[:, 36], axis=-1)


def _minus_cross(points):
  """`[..., 3]` to the matrices `[..., 3, 3]` that take a small rotation vector to the displacement of the points."""
  x, y, z = tf.unstack(points, axis=-1)
  zero = tf.zeros_like(x)
  rows = [[zero, z, -y], [-z, zero, x], [y, -x, zero]]
  return tf.stack([tf.stack(row, -1) for row in rows], -2)


def _rotation(vector):
  """Rotation vectors `[B, 3]` to matrices (Rodrigues)."""
  angle = tf.norm(vector, axis=-1)[:, None, None]
  safe = tf.maximum(angle, 1e-6)
  cross = -_minus_cross(vector / safe[..., 0])
  return tf.eye(3) + tf.sin(angle) * cross + (1.0 - tf.cos(angle)) * cross @ cross
