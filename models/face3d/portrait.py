"""Pictures of drawn people: skin shaded by pixel from the painted atlas, eyes, teeth, hair, light, background.

One compiled function renders a batch: the head and the hair shell are rasterized separately at twice the size, shaded by
pixel, laid over each other by depth and strand-like cover, and averaged down.
"""

import functools
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from models.face3d import hair as hair_grid
from models.face3d.morphable import MorphableModel
from models.face3d.rasterize import interpolate, rasterize
from models.face3d.render import Pose, downsample, make_camera, place, project
from models.face3d.shading import Light, irradiance, vertex_normals

FIELD_OF_VIEW = .3
_DISTANCE = 10.6  # Model units from the camera to the head: some 3.2 units (32 cm) are in the picture.
_WET = {'eye': 1, 'teeth': 2}


class People(NamedTuple):
  """Parameters of B people (numpy or tensors), as `people.draw_person` makes them.

  Attributes:
    identity: `[B, I]` unit-normal shape coefficients.
    albedo: `[B, A]` coefficients of the painted layers, in the order of `model.albedo_names`.
    hair: `[B, len(HAIR_NAMES)]`, see `hair.HAIR_NAMES`.
  """
  identity: np.ndarray
  albedo: np.ndarray
  hair: np.ndarray


def frame(angles: np.ndarray, zoom: np.ndarray | float = 1., shift: np.ndarray | float = 0.) -> Pose:
  """A pose that puts the head into the middle of a portrait.

  Args:
    angles: `[B, 3]` radians: nodding, turning (positive: towards the picture's right), tilting.
    zoom: `[B]` or a number: 1 shows head and shoulders.
    shift: `[B, 2]` or a number, model units to the right and up.
  """
  angles = np.asarray(angles, np.float32)
  count = len(angles)
  xy = np.broadcast_to(np.asarray(shift, np.float32), (count, 2)) + np.array([0., .12], np.float32)
  z = np.broadcast_to(-_DISTANCE / np.asarray(zoom, np.float32), (count,))
  return Pose(tf.constant(angles), tf.constant(np.concatenate([xy, z[:, None]], 1).astype(np.float32)))


def render_people(model: MorphableModel, people: People, expression: np.ndarray, pose: Pose, light: Light,
                  background: np.ndarray, image_size: int = 192, supersample: int = 2, matte: bool = False) -> dict:
  """Renders B people. Compiled once for each batch size and image size.

  Args:
    model: the default model (it must carry the painted atlas).
    people: B of them.
    expression: `[B, E]` weights of the expression units.
    pose: of the batch; see `frame`.
    light: of the batch; linear.
    background: `[B, h, w, 3]` display values in [0, 1] of any size; stretched smoothly over the picture.
    image_size: height and width in pixels.
    supersample: pixels per pixel along each side before averaging.
    matte: leaves out hair, specular light, occlusion and skin relief (the plain version that the gates compare with).

  Returns:
    `image` `[B, H, W, 3]` in [-1, 1]; `mask` `[B, H, W, 1]` in [0, 1], the visible face from hair line to chin;
    `landmarks` `[B, 68, 2]` pixels (the first pixel's centre is at (.5, .5)).

  Raises:
    ValueError: the model has no atlas.
  """
  if 'paint' not in model.extras:
    raise ValueError('render_people needs the default face model: this one has no painted atlas')
  shapes = [hair_grid.hair_shape(h, model.extras['hair_root'], model.extras['hair_out']) for h in np.asarray(people.hair)]
  offsets = np.stack([s[0] for s in shapes]).astype(np.float32)
  cover = np.stack([s[1] for s in shapes]).astype(np.float32) * (not matte)
  names = hair_grid.HAIR_NAMES
  look = np.asarray(people.hair, np.float32)[:, [names.index(n) for n in ('red', 'green', 'blue', 'gloss', 'wave')]]
  albedo = np.array(people.albedo, np.float32)
  if matte:
    albedo[:, [model.albedo_names.index(n) for n in ('gloss', 'bump')]] = 0
    albedo[:, model.albedo_names.index('scalp')] = 0
  draw = _compiled(model, image_size, supersample, matte)
  image, mask, landmarks = draw(
      tf.constant(people.identity, tf.float32), tf.constant(expression, tf.float32), tf.constant(albedo), tf.constant(offsets),
      tf.constant(cover), tf.constant(look), pose, light, tf.constant(background, tf.float32))
  return {'image': image, 'mask': mask, 'landmarks': landmarks}


@functools.lru_cache(maxsize=8)
def _compiled(model: MorphableModel, image_size: int, supersample: int, matte: bool):
  tables = _Tables(model)

  @tf.function(jit_compile=True, reduce_retracing=False)
  def draw(identity, expression, albedo, offsets, cover, look, pose, light, background):
    size = image_size * supersample
    camera = make_camera(identity.shape[0], FIELD_OF_VIEW)
    vertices = model.vertices(identity, expression)
    points = place(vertices, pose)
    screen = project(points, camera, size, size)
    color, alpha, depth, face = _head(model, tables, points, screen, albedo, light, size, matte)
    if not matte:
      still = model.vertices(identity, tf.zeros_like(expression))
      strands, hair_alpha = _hair(tables, still, offsets, cover, look, pose, camera, light, size, depth)
      color = color * (1. - hair_alpha) + strands * hair_alpha
      face *= 1. - hair_alpha
      alpha = alpha + hair_alpha * (1. - alpha)
    rows, columns = (tf.constant(_stretch(background.shape[i], size)) for i in (1, 2))
    behind = tf.einsum('yi,bijc,xj->byxc', rows, background, columns)
    behind = tf.clip_by_value(behind, 0., 1.) ** 2.2
    color = color + behind * (1. - alpha)
    color = downsample(_to_display(color), supersample)
    mask = downsample(face, supersample)
    landmarks = model.landmark_points(screen)[..., :2] / supersample
    return color * 2. - 1., mask, landmarks

  return draw


def _stretch(count: int, size: int) -> np.ndarray:
  """[size, count] weights of a smooth (cubic B-spline) interpolation of `count` values over `size` pixels."""
  x = np.abs((np.arange(size)[:, None] + .5) * count / size - .5 - np.arange(count)[None])
  weights = np.where(x < 1, 2 / 3 - x ** 2 + x ** 3 / 2, np.where(x < 2, (2 - x) ** 3 / 6, 0))
  return (weights / weights.sum(1, keepdims=True)).astype(np.float32)


def _to_display(linear):
  """Linear light to display values in [0, 1], highlights rolled off."""
  bright = tf.nn.relu(linear - .7)
  linear = tf.minimum(linear, .7) + .3 * (1. - tf.exp(-bright / .3))
  return tf.maximum(linear, 1e-6) ** (1. / 2.2)


class _Tables:
  """Constants of the default model in the form that pixels read."""

  def __init__(self, model):
    e = model.extras
    self.height, self.width, count = e['paint'].shape
    with tf.init_scope():
      self.paint = tf.constant(e['paint'].reshape(-1, count))
      self.paint_mean = tf.constant(e['paint_mean'].astype(np.float32).reshape(-1, 3))
      self.colours = tf.constant(e['paint_colours'] / 127.)
      part = np.asarray(e['part'])
      flags = np.stack([part == 1, part == 2], -1).astype(np.float32)
      self.attributes = tf.constant(np.concatenate(
          [e['atlas_uv'], e['occlusion'].astype(np.float32)[:, None], flags, model.regions['face'].numpy()[:, None]], -1), tf.float32)
      self.gloss, self.bump = model.albedo_names.index('gloss'), model.albedo_names.index('bump')
      self.hair_ids = tf.constant(e['hair_ids'].reshape(-1, 3))
      self.hair_weights = tf.constant(e['hair_weights'].reshape(-1, 3, 1))
      self.hair_triangles = tf.constant(hair_grid.grid_triangles())
      self.strands = tf.constant(hair_grid.strand_texture().reshape(-1))
      azimuth = 2 * np.pi * np.arange(hair_grid.COLUMNS) / hair_grid.COLUMNS
      rows = np.arange(hair_grid.ROWS) / hair_grid.ROWS
      grid = np.stack([np.broadcast_to(np.cos(azimuth), (len(rows), len(azimuth))),
                       np.broadcast_to(np.sin(azimuth), (len(rows), len(azimuth))),
                       np.broadcast_to(rows[:, None], (len(rows), len(azimuth)))], -1)
      self.hair_grid = tf.constant(grid.reshape(-1, 3), tf.float32)


def _head(model, tables, points, screen, albedo, light, size, matte):
  raster = rasterize(screen, model.triangles, size, size, cull_backfaces=False)
  surface = interpolate(tf.concat([vertex_normals(points, model.triangles), points, tf.broadcast_to(
      tables.attributes, [points.shape[0], *tables.attributes.shape])], -1), raster)
  normals, places, uv, shade, wet, face = tf.split(surface, [3, 3, 2, 1, 2, 1], -1)
  eye, teeth = tf.split(wet, 2, -1)
  texel = tf.cast(tf.clip_by_value(uv[..., 0] * tables.width, 0., tables.width - 1.), tf.int32) + tables.width * tf.cast(
      tf.clip_by_value(uv[..., 1] * tables.height, 0., tables.height - 1.), tf.int32)
  layers = tf.cast(tf.gather(tables.paint, texel), tf.float32)  # [B, H, W, K]
  batch = points.shape[0]
  weights = albedo[:, :, None] * tables.colours  # [B, K, 3]
  pigment = tf.reshape(tf.matmul(tf.reshape(layers, [batch, size * size, -1]), weights), [batch, size, size, 3])
  colour = tf.minimum(tf.exp(tf.gather(tables.paint_mean, texel) + pigment), .97)
  normals = tf.math.l2_normalize(normals, axis=-1, epsilon=1e-12)
  gloss = layers[..., tables.gloss:tables.gloss + 1] / 127. * albedo[:, None, None, tables.gloss:tables.gloss + 1]
  if matte:
    shade = tf.ones_like(shade)
  else:
    relief = layers[..., tables.bump] / 127. * albedo[:, None, None, tables.bump] * raster.mask[..., 0]
    dx = relief - tf.roll(relief, 1, 2)
    dy = relief - tf.roll(relief, 1, 1)
    normals = tf.math.l2_normalize(normals - tf.stack([dx, -dy, tf.zeros_like(dx)], -1), axis=-1, epsilon=1e-12)
  inside = tf.clip_by_value(shade, .02, 1.)
  ambient = irradiance(normals, light.harmonics) * inside
  color = colour * ambient
  view = tf.math.l2_normalize(-places, axis=-1, epsilon=1e-12)
  shine = .22 * gloss * (1. - eye - teeth) + .9 * eye + .35 * teeth
  sharp = 14. + 220. * eye + 40. * teeth
  open_sky = tf.sqrt(inside)
  for number in range(light.directions.shape[1]):
    toward = tf.math.l2_normalize(light.directions[:, number], axis=-1)[:, None, None, :]
    strength = light.colors[:, number][:, None, None, :]
    cosine = tf.reduce_sum(normals * toward, -1, keepdims=True)
    # Light that entered the skin leaves it beyond the shadow's edge too, red farthest.
    wrap = tf.constant([.22, .10, .06]) * (0. if matte else 1.)
    soft = tf.nn.relu((cosine + wrap) / (1. + wrap))
    color += colour * soft * strength * open_sky
    if not matte:
      half = tf.math.l2_normalize(toward + view, axis=-1)
      mirror = tf.nn.relu(tf.reduce_sum(normals * half, -1, keepdims=True))
      facing = 1. - tf.nn.relu(tf.reduce_sum(view * half, -1, keepdims=True))
      fresnel = .35 + .65 * facing ** 3 * 4.
      color += strength * shine * fresnel * (sharp + 8.) / 8. / 3.2 * mirror ** sharp * tf.nn.relu(cosine) * open_sky
  if not matte:  # The surroundings mirrored in skin at grazing angles and in the eyes.
    grazing = (1. - tf.nn.relu(tf.reduce_sum(normals * view, -1, keepdims=True))) ** 4
    color += ambient * (.10 * gloss + .05 * eye) * grazing * 1.5
  depth = tf.where(raster.mask > 0., raster.depth, 1e6)
  return color * raster.mask, raster.mask, depth, face * raster.mask


def _hair(tables, still, offsets, cover, look, pose, camera, light, size, head_depth):
  corners = tf.gather(still, tables.hair_ids, axis=1)  # [B, G, 3, 3]
  points = place(tf.reduce_sum(corners * tables.hair_weights, 2) + offsets, pose)
  screen = project(points, camera, size, size)
  raster = rasterize(screen, tables.hair_triangles, size, size, cull_backfaces=False)
  batch, rows, columns = points.shape[0], hair_grid.ROWS, hair_grid.COLUMNS
  grid = tf.reshape(points, [batch, rows, columns, 3])
  along = tf.reshape(tf.concat([grid[:, 1:] - grid[:, :-1], grid[:, -1:] - grid[:, -2:-1]], 1), [batch, -1, 3])
  along = tf.math.l2_normalize(along, axis=-1, epsilon=1e-8)
  surface = interpolate(tf.concat([
      vertex_normals(points, tables.hair_triangles), along, points, cover[..., None],
      tf.broadcast_to(tables.hair_grid, [batch, *tables.hair_grid.shape])], -1), raster)
  normals, along, places, alpha, cosine, sine, row = tf.split(surface, [3, 3, 3, 1, 1, 1, 1], -1)
  normals = tf.math.l2_normalize(normals, axis=-1, epsilon=1e-12)
  along = tf.math.l2_normalize(along, axis=-1, epsilon=1e-12)
  view = tf.math.l2_normalize(-places, axis=-1, epsilon=1e-12)
  facing = tf.reduce_sum(normals * view, -1, keepdims=True)
  normals *= tf.where(facing < 0., -1., 1.)
  inner = tf.cast(facing < 0., tf.float32)
  turn = tf.atan2(sine, cosine) / (2. * np.pi) + .5
  wavy = .012 * look[:, None, None, 4:5] * tf.sin(row * 26.) + .02 * tf.sin(row * 7. + turn * 40.)
  u = tf.cast(tf.math.floormod((turn + wavy) * 1024., 1024.), tf.int32)
  v = tf.cast(row * 255., tf.int32)
  strand = tf.gather(tables.strands, tf.clip_by_value(v * 1024 + u, 0, 256 * 1024 - 1))
  colour = look[:, None, None, :3] * (.35 + 1.3 * strand)
  ambient = irradiance(normals, light.harmonics)
  color = colour * ambient * (1. - .6 * inner)
  shift = along + normals * (strand - .5) * .5
  shift = tf.math.l2_normalize(shift, axis=-1, epsilon=1e-12)
  shine = look[:, None, None, 3:4]
  for number in range(light.directions.shape[1]):
    toward = tf.math.l2_normalize(light.directions[:, number], axis=-1)[:, None, None, :]
    strength = light.colors[:, number][:, None, None, :]
    lit = tf.nn.relu(tf.reduce_sum(normals * toward, -1, keepdims=True) * .8 + .2)
    half = tf.math.l2_normalize(toward + view, axis=-1)
    across = tf.reduce_sum(shift * half, -1, keepdims=True)
    glint = tf.maximum(1. - across * across, 0.) ** 18.  # Kajiya and Kay's highlight: a ring around the strand.
    color += strength * lit * (colour + shine * glint * (.03 + .5 * colour) * (.3 + 1.4 * strand)) * (1. - inner)
  edge = tf.clip_by_value(tf.abs(facing) * 3.5, 0., 1.)
  solid = alpha * (.35 + .65 * edge)
  alpha = tf.clip_by_value((solid * 1.6 - (1. - strand)) * 3., 0., 1.) * tf.cast(alpha > .01, tf.float32)
  alpha *= raster.mask * tf.cast(raster.depth < head_depth + .01, tf.float32)
  return color, alpha
