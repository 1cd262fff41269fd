"""Learns the colours of faces from fitted photographs: principal components of de-lit colours at the vertices."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from scipy.spatial import KDTree

from models.face3d.face_mesh import GAMMA, face_mesh, to_display
from models.face3d.fitting import COLOUR_NOISE, read_surface
from models.face3d.morphable import MorphableModel
from models.face3d.render import Camera, Pose, place, render
from models.face3d.shading import Light, irradiance

_ROUNDS = 8
_BATCH = 8


def read_albedo(model: MorphableModel, rows: Mapping[str, Any], photos: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """What the fits say of the colours without the light.

  Args:
    model: the fitted one.
    rows: N rows of parameters, see `render_parameters`.
    photos: `[N, S, S, 3]` uint8, the squares that were fitted.

  Returns:
    colours `[N, U, 3]`, linear in [0, 1], at the vertices of `face_mesh`, where a vertex is hidden those of the fit;
    trust `[N, U]` in [0, 1]: 0 where the photograph does not show the vertex, or shows something else (hair, glasses).
  """
  mesh, size = face_mesh(model), photos.shape[1]
  triangles = tf.constant(mesh.triangles)
  names = ('identity', 'expression', 'albedo', 'pose', 'translation', 'field_of_view', 'light')

  @tf.function(jit_compile=True, autograph=False)
  def read(pictures, identity, expression, albedo, angles, translation, field_of_view, light):
    vertices = tf.gather(model.vertices(identity, expression), mesh.vertices, axis=1)
    fitted = tf.gather(model.albedo(albedo), mesh.vertices, axis=1)
    camera = Camera(field_of_view, tf.fill([_BATCH, 2], 0.5))
    shine = Light(light, tf.zeros([_BATCH, 0, 3]), tf.zeros([_BATCH, 0, 3]))
    pose = Pose(angles, translation)
    seen: dict[str, Any] = render(vertices, fitted, triangles, pose, camera, shine, size, cull_backfaces=True)
    seen['points'] = place(vertices, pose)
    normals, weight, colours = read_surface(pictures, seen, triangles)
    shade = tf.maximum(irradiance(normals, light), 0.05)
    off = tf.reduce_mean((to_display(fitted * shade) - colours) ** 2, -1) / (3.0 * COLOUR_NOISE) ** 2
    trust = weight / (1.0 + off) ** 2
    return tf.clip_by_value(colours**GAMMA / shade, 0.0, 1.0), trust, fitted

  colours, trusts = [], []
  for start in range(0, len(photos), _BATCH):
    chosen = np.arange(start, start + _BATCH) % len(photos)
    taken = [tf.constant(np.asarray(rows[name])[chosen], tf.float32) for name in names]
    colour, trust, fitted = read(tf.constant(photos[chosen] / 255.0, tf.float32), *taken)
    trust = trust.numpy()[..., None]
    colours.append((trust * colour + (1 - trust) * fitted).numpy())
    trusts.append(trust[..., 0])
  return np.concatenate(colours)[: len(photos)], np.concatenate(trusts)[: len(photos)]


def principal_colours(colours: np.ndarray, trust: np.ndarray, modes: int) -> tuple[np.ndarray, np.ndarray]:
  """Mean `[U, 3]` and modes `[M, U, 3]` (one standard deviation each) of colours of which some are only half known.

  What is not trusted is replaced by what mean and modes say of it, in turns (expectation maximisation).

  Args:
    colours: `[N, U, 3]`.
    trust: `[N, U]` in [0, 1].
    modes: at most.
  """
  count = len(colours)
  modes = min(modes, count - 1)
  known = colours.reshape(count, -1).astype(np.float64)
  share = np.repeat(trust, 3, axis=1).astype(np.float64)
  average = (share * known).sum(0) / np.maximum(share.sum(0), 1e-6)
  average = np.where(share.sum(0) > 1e-3, average, known.mean(0))
  filled = share * known + (1 - share) * average
  for _ in range(_ROUNDS):
    mean = filled.mean(0)
    left, values, right = np.linalg.svd(filled - mean, full_matrices=False)
    told = mean + (left[:, :modes] * values[:modes]) @ right[:modes]
    filled = share * known + (1 - share) * told
  mean = filled.mean(0)
  _, values, right = np.linalg.svd(filled - mean, full_matrices=False)
  basis = right[:modes] * values[:modes, None] / np.sqrt(max(count - 1, 1))
  return mean.reshape(-1, 3), basis.reshape(modes, -1, 3)


def learn_albedo(model: MorphableModel, rows: Mapping[str, Any], photos: np.ndarray, path: str, modes: int) -> int:
  """Writes a copy of a face model whose colours are learnt from photographs.

  Args:
    model: the fitted one.
    rows: N rows of parameters.
    photos: `[N, S, S, 3]` uint8, the squares that were fitted.
    path: the `.npz` to write.
    modes: at most.

  Returns:
    the number of modes.

  Raises:
    ValueError: for less than three photographs.
  """
  if len(photos) < 3:
    raise ValueError(f'--learn_albedo={path}: {len(photos)} fitted photographs are too few for modes of colour')
  mesh = face_mesh(model)
  colours, trust = read_albedo(model, rows, photos)
  # Faces are symmetric but for the light: each counts as its own mirror image too.
  mean = model.mean.numpy()
  mirror = KDTree(mean[mesh.vertices]).query(mean[mesh.vertices] * [-1, 1, 1])[1]
  face, basis = principal_colours(
    np.concatenate([colours, colours[:, mirror]]), np.concatenate([trust, trust[:, mirror]]), modes
  )
  # Scalp and neck take after the nearest vertex of the face.
  nearest = KDTree(mean[mesh.vertices]).query(mean)[1]
  arrays = {
    'mean': mean,
    'identity_basis': model.identity_basis.numpy().astype(np.float16),
    'expression_basis': model.expression_basis.numpy().astype(np.float16),
    'expression_names': np.array(model.expression_names, dtype=np.str_),
    'triangles': model.triangles.numpy(),
    'landmarks': model.landmarks.numpy(),
    'albedo_mean': np.clip(face, 0, 1)[nearest].astype(np.float32),
    'albedo_basis': basis[:, nearest].astype(np.float16),
    'region_names': np.array(list(model.regions), dtype=np.str_),
    'regions': np.stack([m.numpy() for m in model.regions.values()]) if model.regions else np.zeros((0, len(mean))),
  }
  if 'part' in model.extras:
    arrays['part'] = model.extras['part']
  target = Path(path)
  target.parent.mkdir(parents=True, exist_ok=True)
  temporary = target.with_name(f'.{target.name}.part.npz')
  np.savez_compressed(temporary, **arrays)
  temporary.replace(target)
  return len(basis)
