"""Light on surfaces: nine spherical harmonics for the surroundings, Lambert and Blinn-Phong for directed lights.

Everything is per point (a vertex or a pixel), differentiable to all of its inputs, and independent of the rasterizer.
Colours are linear in light; whoever wants a display curve applies it to the result.
"""

import math
from typing import NamedTuple

import tensorflow as tf

from models.face3d.graphics import blinn_phong, lambertian

# Bands of a clamped cosine over pi: from radiance to irradiance over pi (Ramamoorthi and Hanrahan 2001, equation 8).
_COSINE_BANDS = (1.0, 2 / 3, 2 / 3, 2 / 3, 1 / 4, 1 / 4, 1 / 4, 1 / 4, 1 / 4)


class Light(NamedTuple):
  """What shines on a scene, in camera axes (x right, y up, z towards the camera).

  Attributes:
    harmonics: `[B, 9, 3]` radiance of the surroundings in real spherical harmonics, order as in `harmonics_basis`. A
      white surface under harmonics of `sqrt(4 pi)` in the first row and 0 below it looks white (1).
    directions: `[B, L, 3]` from the scene to each directed light; any length but 0. L may be 0.
    colors: `[B, L, 3]` what a white matte surface facing that light returns.
  """

  harmonics: tf.Tensor
  directions: tf.Tensor
  colors: tf.Tensor


def ambient_light(batch: int, brightness: float = 1.0) -> Light:
  """The same white light from everywhere, for `[batch]` images."""
  first = tf.fill([batch, 1, 3], brightness * math.sqrt(4 * math.pi))
  return Light(tf.concat([first, tf.zeros([batch, 8, 3])], 1), tf.zeros([batch, 0, 3]), tf.zeros([batch, 0, 3]))


def vertex_normals(vertices: tf.Tensor, triangles: tf.Tensor) -> tf.Tensor:
  """Unit normals at the vertices: the mean of the triangles around, weighted by area; 0 where there is none.

  As TensorFlow Graphics' function of this name, which has no finite gradient at a vertex without triangles, and which
  scatters each image by itself.

  Args:
    vertices: `[B, V, 3]`.
    triangles: `[T, 3]` int32, counter-clockwise seen from outside.

  Returns:
    `[B, V, 3]`.
  """
  batch, count, _ = vertices.shape
  # The batch goes last, so that one row of a gather or scatter moves a vertex of all images at once.
  corners = tf.gather(tf.reshape(tf.transpose(vertices, [1, 2, 0]), [count, 3 * batch]), tf.transpose(triangles))
  (xa, ya, za), (xb, yb, zb), (xc, yc, zc) = (tf.split(corner, 3, axis=-1) for corner in tf.unstack(corners))
  xb, yb, zb, xc, yc, zc = xb - xa, yb - ya, zb - za, xc - xa, yc - ya, zc - za
  normals = tf.concat([yb * zc - zb * yc, zb * xc - xb * zc, xb * yc - yb * xc], -1)
  total = tf.math.unsorted_segment_sum(tf.tile(normals, [3, 1]), tf.reshape(tf.transpose(triangles), [-1]), count)
  total = tf.transpose(tf.reshape(total, [count, 3, batch]), [2, 0, 1])
  return tf.math.l2_normalize(total, axis=-1, epsilon=1e-24)


def harmonics_basis(directions: tf.Tensor) -> tf.Tensor:
  """The nine real spherical harmonics up to degree 2 as polynomials.

  They equal TensorFlow Graphics' `evaluate_spherical_harmonics` (a test compares) but for the Condon-Shortley sign of
  orders -1 and 1, so that light from +x, +y or +z has positive coefficients; and unlike the angles there, polynomials
  have gradients at the poles.

  Args:
    directions: `[..., 3]` unit vectors.

  Returns:
    `[..., 9]` in the order (degree, order) (0, 0), (1, -1), (1, 0), (1, 1), (2, -2), ..., (2, 2).
  """
  x, y, z = tf.unstack(directions, axis=-1)
  c0, c1 = math.sqrt(1 / (4 * math.pi)), math.sqrt(3 / (4 * math.pi))
  c2, c20, c22 = math.sqrt(15 / (4 * math.pi)), math.sqrt(5 / (16 * math.pi)), math.sqrt(15 / (16 * math.pi))
  return tf.stack(
    [
      tf.fill(tf.shape(x), c0),
      c1 * y,
      c1 * z,
      c1 * x,
      c2 * x * y,
      c2 * y * z,
      c20 * (3.0 * z * z - 1.0),
      c2 * x * z,
      c22 * (x * x - y * y),
    ],
    axis=-1,
  )


def irradiance(normals: tf.Tensor, harmonics: tf.Tensor) -> tf.Tensor:
  """What a white matte surface returns under the surroundings' light, at least 0.

  Args:
    normals: `[B, ..., 3]` unit vectors.
    harmonics: `[B, 9, 3]` as in `Light`.

  Returns:
    `[B, ..., 3]`.
  """
  shape = normals.shape
  flat = tf.reshape(normals, [shape[0], -1, 3])
  light = tf.matmul(harmonics_basis(flat) * tf.constant(_COSINE_BANDS), harmonics)
  return tf.reshape(tf.nn.relu(light), shape)


def shade(
  albedo: tf.Tensor,
  normals: tf.Tensor,
  points: tf.Tensor,
  light: Light,
  specular: tf.Tensor | float = 0.0,
  shininess: tf.Tensor | float = 20.0,
) -> tf.Tensor:
  """The colour of surface points seen from the camera at the origin.

  Harmonics and Lambert times albedo, plus Blinn-Phong.

  Args:
    albedo: `[B, ..., 3]` in [0, 1], linear.
    normals: `[B, ..., 3]` unit vectors in camera axes.
    points: `[B, ..., 3]` positions in camera axes.
    light: of the same batch.
    specular: `[B, ..., 1]` or one number: the share of a directed light that mirrors; 0 is matte.
    shininess: `[B, ..., 1]` or one number, at least 0: the exponent; higher is sharper.

  Returns:
    `[B, ..., 3]`, at least 0, unbounded above.
  """
  shape = albedo.shape
  rank = shape.rank
  color = albedo * irradiance(normals, light.harmonics)
  if light.directions.shape[1] == 0:
    return color
  outgoing = tf.math.l2_normalize(-points, axis=-1, epsilon=1e-12)
  exponent = tf.convert_to_tensor(shininess, albedo.dtype)
  exponent = exponent if exponent.shape.rank else tf.reshape(exponent, [1] * rank)
  mirror = tf.ones_like(albedo)
  for number in range(light.directions.shape[1]):
    direction = tf.math.l2_normalize(light.directions[:, number], axis=-1, epsilon=1e-12)
    direction = tf.reshape(direction, [-1] + [1] * (rank - 2) + [3])
    incoming = tf.broadcast_to(-direction, shape)
    strength = math.pi * tf.reshape(light.colors[:, number], [-1] + [1] * (rank - 2) + [3])
    cosine = tf.nn.relu(tf.reduce_sum(normals * direction, axis=-1, keepdims=True))
    matte = lambertian.brdf(incoming, outgoing, normals, albedo)
    gloss = blinn_phong.brdf(incoming, outgoing, normals, exponent, mirror)
    color += (matte + specular * gloss) * strength * cosine
  return color
