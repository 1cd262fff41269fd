"""Pictures of drawn people: skin shaded by pixel from the painted atlas, eyes, teeth, hair, light, background.

One compiled function renders a batch: the head and the hair shell are rasterized separately at twice the size, shaded
by pixel, laid over each other by depth and strand-like cover, and averaged down.
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

FIELD_OF_VIEW = 0.3
_DISTANCE = 10.6  # Model units from the camera to the head: some 3.2 units (32 cm) are in the picture.


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


def frame(angles: np.ndarray, zoom: np.ndarray | float = 1.0, shift: np.ndarray | float = 0.0) -> Pose:
  """A pose that puts the head into the middle of a portrait.

  Args:
    angles: `[B, 3]` radians: nodding, turning (positive: towards the picture's right), tilting.
    zoom: `[B]` or a number: 1 shows head and shoulders.
    shift: `[B, 2]` or a number, model units to the right and up.
  """
  angles = np.asarray(angles, np.float32)
  count = len(angles)
  xy = np.broadcast_to(np.asarray(shift, np.float32), (count, 2)) + np.array([0.0, 0.12], np.float32)
  z = np.broadcast_to(-_DISTANCE / np.asarray(zoom, np.float32), (count,))
  return Pose(tf.constant(angles), tf.constant(np.concatenate([xy, z[:, None]], 1).astype(np.float32)))


def render_people(
  model: MorphableModel,
  people: People,
  expression: np.ndarray,
  pose: Pose,
  light: Light,
  background: np.ndarray,
  image_size: int = 192,
  supersample: int = 2,
  matte: bool = False,
) -> dict:
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
  shapes = [
    hair_grid.hair_shape(h, model.extras['hair_root'], model.extras['hair_out']) for h in np.asarray(people.hair)
  ]
  offsets = np.stack([s[0] for s in shapes]).astype(np.float32)
  cover = np.stack([s[1] for s in shapes]).astype(np.float32) * (not matte)
  names = hair_grid.HAIR_NAMES
  look = np.asarray(people.hair, np.float32)[
    :, [names.index(n) for n in ('red', 'green', 'blue', 'gloss', 'wave', 'sweep', 'part')]
  ]
  albedo = tf.convert_to_tensor(people.albedo, tf.float32)
  if matte:
    plain = [n in ('gloss', 'bump', 'scalp') for n in model.albedo_names]
    albedo = tf.where(tf.constant(plain), 0.0, albedo)
  skins = paint_texture(model, albedo)
  light = light._replace(directions=tf.math.l2_normalize(light.directions, -1))
  image, mask, landmarks = _compiled(model, image_size, supersample, matte)(
    tf.convert_to_tensor(people.identity, tf.float32),
    tf.convert_to_tensor(expression, tf.float32),
    skins,
    tf.constant(offsets),
    tf.constant(cover),
    tf.constant(look),
    pose,
    light,
    tf.convert_to_tensor(background, tf.float32),
  )
  return {'image': image, 'mask': mask, 'landmarks': landmarks}


def paint_texture(model: MorphableModel, albedo: tf.Tensor) -> tf.Tensor:
  """The painted skin of B people.

  Args:
    model: the default model.
    albedo: `[B, A]`.

  Returns:
    `[B, height * width, 5]` float16: linear albedo in [0, 1], gloss, relief at the atlas' texels. Rows that repeat in
    `albedo` are painted once.
  """
  albedo = tf.convert_to_tensor(albedo, tf.float32)
  if not tf.executing_eagerly():
    return tf.map_fn(functools.partial(_paint_one, _tables(model)), albedo, fn_output_signature=tf.float16)
  painted: dict[bytes, tf.Tensor] = {}
  rows = []
  for row in tf.unstack(albedo):
    key = row.numpy().tobytes()
    if key not in painted:
      painted[key] = _paint_one(_tables(model), row)
    rows.append(painted[key])
  return tf.stack(rows)


def _paint_one(tables, row):
  pigment = tf.matmul(tf.cast(tables.paint, tf.float32), row[:, None] * tables.colours)
  albedo = tf.minimum(tf.exp(tables.paint_mean + pigment[:, :3]), 0.97)
  return tf.cast(tf.concat([albedo, pigment[:, 3:]], -1), tf.float16)


@functools.lru_cache(maxsize=2)
def _tables(model):
  return _Tables(model)


@functools.lru_cache(maxsize=8)
def _compiled(model: MorphableModel, image_size: int, supersample: int, matte: bool):
  tables = _tables(model)

  @tf.function(jit_compile=True)
  def draw(identity, expression, skins, offsets, cover, look, pose, light, background):
    size = image_size * supersample
    camera = make_camera(identity.shape[0], FIELD_OF_VIEW)
    vertices = model.vertices(identity, expression)
    points = place(vertices, pose)
    screen = project(points, camera, size, size)
    color, alpha, depth, face = _head(model, tables, points, screen, skins, light, size, matte)
    if not matte:
      still = model.vertices(identity, tf.zeros_like(expression))
      strands, hair_alpha = _hair(tables, still, offsets, cover, look, pose, camera, light, size, depth)
      color = color * (1.0 - hair_alpha) + strands * hair_alpha
      face *= 1.0 - hair_alpha
      alpha = alpha + hair_alpha * (1.0 - alpha)
    rows, columns = (tf.constant(_stretch(background.shape[i], size)) for i in (1, 2))
    behind = tf.einsum('yi,bijc,xj->byxc', rows, tf.clip_by_value(background, 0.0, 1.0) ** 2.2, columns)
    image = downsample(tf.concat([color + behind * (1.0 - alpha), face], -1), supersample)
    landmarks = model.landmark_points(screen)[..., :2] / supersample
    return _to_display(image[..., :3]) * 2.0 - 1.0, tf.clip_by_value(image[..., 3:], 0.0, 1.0), landmarks

  return draw


def _stretch(count: int, size: int) -> np.ndarray:
  """[size, count] weights of a smooth (cubic B-spline) interpolation of `count` values over `size` pixels."""
  x = np.abs((np.arange(size)[:, None] + 0.5) * count / size - 0.5 - np.arange(count)[None])
  weights = np.where(x < 1, 2 / 3 - x**2 + x**3 / 2, np.where(x < 2, (2 - x) ** 3 / 6, 0))
  return (weights / weights.sum(1, keepdims=True)).astype(np.float32)


def _to_display(linear):
  """Linear light to display values in [0, 1], highlights rolled off."""
  bright = tf.nn.relu(linear - 0.7)
  linear = tf.minimum(linear, 0.7) + 0.3 * (1.0 - tf.exp(-bright / 0.3))
  return tf.maximum(linear, 1e-6) ** (1.0 / 2.2)


class _Tables:
  """Constants of the default model in the form that pixels read."""

  def __init__(self, model):
    e = model.extras
    self.height, self.width, count = e['paint'].shape
    gloss, bump = (np.eye(count)[model.albedo_names.index(n)] for n in ('gloss', 'bump'))
    wet = np.select([e['part'] == 1, e['part'] == 2], [1.0, 0.35])
    azimuth = (2 * np.pi * np.arange(hair_grid.COLUMNS) / hair_grid.COLUMNS + np.pi) % (2 * np.pi) - np.pi
    rows = np.arange(hair_grid.ROWS) / hair_grid.ROWS
    grid = np.stack(np.broadcast_arrays(azimuth[None] / (2 * np.pi) + 0.5, rows[:, None]), -1)
    with tf.init_scope():
      self.paint = tf.constant(e['paint'].reshape(-1, count))
      self.paint_mean = tf.constant(e['paint_mean'].astype(np.float32).reshape(-1, 3))
      self.colours = tf.constant(
        np.concatenate([e['paint_colours'], gloss[:, None], bump[:, None]], 1) / 127.0, tf.float32
      )
      self.attributes = tf.constant(
        np.stack([*e['atlas_uv'].T, e['occlusion'], wet, model.regions['face'].numpy()], -1), tf.float32
      )
      self.reach = tf.constant(
        np.where(e['part'] == 2, 0.035, 0.16), tf.float32
      )  # The gap that lets the light in: teeth are near.
      self.inner = tf.constant((model.regions['mouth'].numpy() > 0.5).astype(np.float32))
      self.hair_ids = tf.constant(e['hair_ids'].reshape(-1, 3))
      self.hair_weights = tf.constant(e['hair_weights'].reshape(-1, 3, 1))
      self.hair_triangles = tf.constant(hair_grid.grid_triangles())
      self.hair_grid = tf.constant(grid.reshape(-1, 2), tf.float32)  # (around, along) of the strands' texture.
      self.strands = tf.constant(hair_grid.strand_texture().reshape(-1))


# The camera is far away: one direction to it serves all points in the reflections.
_VIEW = np.array([0.0, 0.0, 1.0], np.float32)


def _head(model, tables, points, screen, skins, light, size, matte):
  """Skin, eyes, teeth: linear colour, cover, depth and face mask, `[B, size, size, ...]`."""
  raster = rasterize(screen, model.triangles, size, size, cull_backfaces=True)
  # The occlusion inside the mouth was found with the jaw open: a closed mouth is dark.
  marks = model.landmark_points(points)
  gap = tf.norm(tf.reduce_mean(marks[:, 61:64], 1) - tf.reduce_mean(marks[:, 65:68], 1), axis=-1)
  dark = 1.0 - tables.inner * (1.0 - tf.clip_by_value((gap[:, None] - 0.01) / tables.reach, 0.10, 1.0))
  attributes = tf.broadcast_to(tables.attributes, [points.shape[0], *tables.attributes.shape])
  attributes *= tf.stack([tf.ones_like(dark)] * 2 + [dark] + [tf.ones_like(dark)] * 2, -1)
  surface = interpolate(tf.concat([vertex_normals(points, model.triangles), attributes], -1), raster)
  normals, uv, shade, wet, face = tf.split(surface, [3, 2, 1, 1, 1], -1)
  texel = tf.cast(
    tf.clip_by_value(uv[..., 0] * tables.width, 0.0, tables.width - 1.0), tf.int32
  ) + tables.width * tf.cast(tf.clip_by_value(uv[..., 1] * tables.height, 0.0, tables.height - 1.0), tf.int32)
  skin = tf.cast(tf.gather(skins, texel, batch_dims=1), tf.float32)
  colour, gloss, relief = tf.split(skin, [3, 1, 1], -1)
  if not matte:
    relief *= raster.mask
    normals -= tf.concat([relief - tf.roll(relief, 1, 2), tf.roll(relief, 1, 1) - relief, tf.zeros_like(relief)], -1)
  normals = tf.math.l2_normalize(normals, axis=-1, epsilon=1e-12)
  ambient = irradiance(normals, light.harmonics)
  if matte:
    color = colour * ambient
    for number in range(light.directions.shape[1]):
      toward, strength = light.directions[:, number, None, None], light.colors[:, number, None, None]
      color += colour * strength * tf.nn.relu(tf.reduce_sum(normals * toward, -1, keepdims=True))
    return color * raster.mask, raster.mask, raster.depth, face * raster.mask
  inside = tf.clip_by_value(shade, 0.02, 1.0)
  grazing = (1.0 - tf.nn.relu(normals[..., 2:])) ** 4  # The surroundings, mirrored where one looks along the skin.
  color = ambient * inside**1.3 * (colour + (0.15 * gloss + 0.08 * wet) * grazing)
  shine, sharp = 0.16 * gloss * (1.0 - wet) + 0.55 * wet, 16.0 + 240.0 * wet
  sky = tf.sqrt(inside)
  for number in range(light.directions.shape[1]):
    toward, strength = light.directions[:, number, None, None], light.colors[:, number, None, None]
    cosine = tf.reduce_sum(normals * toward, -1, keepdims=True)
    # Light that entered the skin leaves it beyond the shadow's edge too, red farthest.
    wrap = tf.constant([0.22, 0.10, 0.06])
    color += colour * tf.nn.relu((cosine + wrap) / (1.0 + wrap)) * strength * sky
    half = tf.math.l2_normalize(toward + _VIEW, axis=-1)
    mirror = tf.exp(sharp * (tf.reduce_sum(normals * half, -1, keepdims=True) - 1.0))
    fresnel = 0.4 + 2.5 * (1.0 - half[..., 2:]) ** 2
    color += (
      strength * (shine * fresnel * (sharp + 8.0) / 24.0) * mirror * tf.nn.relu(tf.minimum(cosine * 4.0, 1.0)) * sky
    )
  depth = tf.where(raster.mask > 0.0, raster.depth, 1e6)
  return color * raster.mask, raster.mask, depth, face * raster.mask


def _hair(tables, still, offsets, cover, look, pose, camera, light, size, head_depth):
  """Hair in front of the head: linear colour and cover, `[B, size, size, ...]`."""
  corners = tf.gather(still, tables.hair_ids, axis=1)  # [B, G, 3, 3]
  points = place(tf.reduce_sum(corners * tables.hair_weights, 2) + offsets, pose)
  screen = project(points, camera, size, size)
  raster = rasterize(screen, tables.hair_triangles, size, size)
  batch, rows, columns = points.shape[0], hair_grid.ROWS, hair_grid.COLUMNS
  grid = tf.reshape(points, [batch, rows, columns, 3])
  along = tf.reshape(tf.concat([grid[:, 1:] - grid[:, :-1], grid[:, -1:] - grid[:, -2:-1]], 1), [batch, -1, 3])
  along = tf.math.l2_normalize(along, axis=-1, epsilon=1e-8)
  around, row = tf.split(tf.broadcast_to(tables.hair_grid, [batch, *tables.hair_grid.shape]), 2, -1)
  wave, sweep, part = tf.split(look[:, None, 4:], 3, -1)
  aside = around - 0.5 - part
  line = aside
  around += 0.006 * wave * tf.sin(row * 30.0 + 9.0 * around) + 0.003 * tf.sin(row * 8.0 + around * 50.0)
  around -= sweep * row * tf.tanh(aside / 0.03) * tf.exp(-((aside / 0.22) ** 2))  # Combed away from the parting.
  surface = interpolate(
    tf.concat([vertex_normals(points, tables.hair_triangles), along, cover[..., None], around, row, line], -1), raster
  )
  normals, along, alpha, around, row, line = tf.split(surface, [3, 3, 1, 1, 1, 1], -1)
  normals = tf.math.l2_normalize(normals, axis=-1, epsilon=1e-12)
  inner = tf.cast(normals[..., 2:] < 0.0, tf.float32)
  normals *= 1.0 - 2.0 * inner
  facing = normals[..., 2:]
  u = tf.cast(tf.clip_by_value(around * 1024.0, 0.0, 1023.0), tf.int32)
  strand = tf.gather(tables.strands, tf.cast(row * 255.0, tf.int32) * 1024 + u)
  gap = tf.exp(-((line / 0.005) ** 2)) * tf.cast(row < 0.6, tf.float32) * tf.minimum(sweep[:, None] * 8.0, 1.0)
  colour = look[:, None, None, :3] * (0.5 + strand) * (1.0 - 0.6 * gap)
  ambient = irradiance(normals, light.harmonics)
  color = colour * ambient * (1.0 - 0.6 * inner)
  shift = tf.math.l2_normalize(along + normals * (strand - 0.5) * 0.7, axis=-1, epsilon=1e-12)
  shine = look[:, None, None, 3:4] * (0.012 + 0.45 * colour) * (0.2 + 1.6 * strand)
  for number in range(light.directions.shape[1]):
    toward, strength = light.directions[:, number, None, None], light.colors[:, number, None, None]
    lit = tf.nn.relu(tf.reduce_sum(normals * toward, -1, keepdims=True) * 0.8 + 0.2)
    half = tf.math.l2_normalize(toward + _VIEW, axis=-1)
    across = tf.reduce_sum(shift * half, -1, keepdims=True)
    glint = tf.exp(-14.0 * across * across)  # Kajiya and Kay's highlight: a ring around the strand.
    color += strength * lit * (colour + 1.6 * shine * glint) * (1.0 - inner)
  solid = alpha * (0.35 + 0.65 * tf.minimum(facing * 3.5, 1.0))
  alpha = tf.clip_by_value((solid * 1.6 - (1.0 - strand)) * 3.0, 0.0, 1.0) * tf.cast(alpha > 0.01, tf.float32)
  alpha *= raster.mask * tf.cast(raster.depth < head_depth + 0.01, tf.float32)
  return color, alpha
