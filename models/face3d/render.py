"""From a mesh to pictures: camera, rasterizer, light, background, antialiasing.

`render` does it all for meshes with colours at the vertices. Whoever shades by pixel (textures, several materials) uses
the steps: `place`, `project`, `rasterize`, `interpolate`, `shade`, `downsample`, and puts the background behind.

Camera axes: x to the right, y up, z towards the camera, which stands at the origin and looks along -z.
"""

from typing import NamedTuple

import tensorflow as tf

from models.face3d.graphics import framebuffer, perspective, rotation_matrix_3d, splat
from models.face3d.rasterize import Raster, interpolate, rasterize
from models.face3d.shading import Light, shade, vertex_normals


class Pose(NamedTuple):
  """Where a mesh stands.

  Attributes:
    angles: `[B, 3]` radians about x (nodding), y (turning) and z (tilting), applied in this order.
    translation: `[B, 3]` in units of the mesh, applied after the rotation; z is negative in front of the camera.
  """

  angles: tf.Tensor
  translation: tf.Tensor


class Camera(NamedTuple):
  """A pinhole camera.

  Attributes:
    field_of_view: `[B]` radians, vertical.
    center: `[B, 2]` where the optical axis meets the image, as shares of its width and height; (.5, .5) is the middle.
  """

  field_of_view: tf.Tensor
  center: tf.Tensor


def make_camera(batch: int, field_of_view: float = 0.3) -> Camera:
  """The same centred camera for `[batch]` images; .3 radians is a portrait lens."""
  return Camera(tf.fill([batch], field_of_view), tf.fill([batch, 2], 0.5))


def place(vertices: tf.Tensor, pose: Pose) -> tf.Tensor:
  """Moves vertices `[B, V, 3]` to camera axes: rotated about the mesh's origin, then shifted."""
  rotation = rotation_matrix_3d.from_euler(pose.angles)
  return tf.matmul(vertices, rotation, transpose_b=True) + pose.translation[:, None, :]


def project(points: tf.Tensor, camera: Camera, height: int, width: int) -> tf.Tensor:
  """Camera axes to the screen.

  Args:
    points: `[B, N, 3]` in camera axes.
    camera: of the same batch.
    height: pixels.
    width: pixels.

  Returns:
    `[B, N, 3]`: x to the right and y down in pixels (the first pixel's centre is at (.5, .5)), and the depth, negative
    behind the camera.
  """
  x, y, z = tf.unstack(points, axis=-1)
  depth = tf.where(tf.abs(z) < 1e-6, 1e-6, -z)  # points in the camera's plane have no place on the screen
  focal = height / 2.0 / tf.tan(camera.field_of_view / 2.0)
  focal = tf.stack([focal, focal], -1)[:, None, :]
  center = (camera.center * tf.constant([width, height], tf.float32))[:, None, :]
  place_on_screen = perspective.project(tf.stack([x, -y, depth], -1), focal, center)
  return tf.concat([place_on_screen, depth[..., None]], -1)


def downsample(image: tf.Tensor, factor: int) -> tf.Tensor:
  """Mean over blocks of `factor` x `factor` pixels: `[B, H * factor, W * factor, C]` -> `[B, H, W, C]`."""
  if factor == 1:
    return image
  b, h, w, c = image.shape
  return tf.reduce_mean(tf.reshape(image, [b, h // factor, factor, w // factor, factor, c]), axis=[2, 4])


def freeze(raster: Raster) -> Raster:
  """The raster with barycentrics that stay: what a pixel shows is then a point of the surface, and moves with it."""
  return raster._replace(barycentrics=tf.stop_gradient(raster.barycentrics), depth=tf.stop_gradient(raster.depth))


def soften_silhouettes(color: tf.Tensor, screen: tf.Tensor, raster: Raster) -> tuple[tf.Tensor, tf.Tensor]:
  """Colours and cover that are differentiable through silhouettes: each pixel becomes a small splat.

  The second half of "rasterize then splat" (Cole et al., ICCV 2021, https://arxiv.org/abs/2108.04886), by TensorFlow
  Graphics: a splat of 3 x 3 pixels, so that the picture is slightly softer, sits at each visible surface point and
  moves with it. Shade `color` with the frozen raster, or motion inside of the silhouette counts twice.

  Args:
    color: `[B, H, W, 3]`.
    screen: `[B, V, 3]`, what was rasterized.
    raster: of `screen`, frozen.

  Returns:
    Colour times cover `[B, H, W, 3]` and cover `[B, H, W, 1]` in [0, 1].
  """
  buffer = framebuffer.Framebuffer(
    barycentrics=framebuffer.RasterizedAttribute(tf.stop_gradient(raster.barycentrics)),
    triangle_id=raster.triangle_id[..., None],
    vertex_ids=raster.vertex_ids,
    foreground_mask=raster.mask,
  )
  # A point of a triangle is seen at (x w, y w) / w, each linear in perspective-correct barycentrics.
  homogeneous = interpolate(
    screen * tf.concat([screen[..., 2:], screen[..., 2:], tf.ones_like(screen[..., 2:])], -1),
    raster._replace(barycentrics=buffer.barycentrics.value),
  )
  seen = buffer.foreground_mask > 0.0
  xy = homogeneous[..., :2] / tf.where(seen, homogeneous[..., 2:], 1.0)
  height, width = color.shape[1:3]
  centers = tf.stack(tf.meshgrid(tf.range(width, dtype=tf.float32) + 0.5, tf.range(height, dtype=tf.float32) + 0.5), -1)
  # The splat floors positions to find its pixel: keep the value at the centre, where rounding cannot move it on.
  xy = centers + tf.where(seen, xy - tf.stop_gradient(xy), 0.0)
  xyz = tf.concat([xy, tf.zeros_like(raster.mask)], -1)  # with one layer the depth plays no part
  rgba = tf.concat([color, tf.ones_like(raster.mask)], -1) * buffer.foreground_mask
  soft, _, _ = tf.vectorized_map(splat.splat_at_pixel_centers, (xyz[:, None], rgba[:, None]))
  return soft[..., :3], soft[..., 3:]


def render(
  vertices: tf.Tensor,
  albedo: tf.Tensor,
  triangles: tf.Tensor,
  pose: Pose,
  camera: Camera,
  light: Light,
  image_size: int,
  background: tf.Tensor | float = 0.0,
  supersample: int = 1,
  specular: tf.Tensor | float = 0.0,
  shininess: float = 20.0,
  silhouette_gradients: bool = False,
  cull_backfaces: bool = False,
) -> dict:
  """Pictures of meshes with colours at the vertices. Use it inside `tf.function(jit_compile=True)`, also on a CPU.

  Args:
    vertices: `[B, V, 3]` in any unit.
    albedo: `[B, V, 3]` or `[V, 3]` in [0, 1].
    triangles: `[T, 3]` int32, counter-clockwise seen from outside.
    pose: of the batch.
    camera: of the batch.
    light: of the batch.
    image_size: height and width in pixels.
    background: `[B, H, W, 3]`, or anything that broadcasts to it.
    supersample: renders so many times larger and takes the mean (antialiasing).
    specular: `[B, V, 1]`, `[V, 1]` or one number, see `shade`.
    shininess: one number, see `shade`.
    silhouette_gradients: see `soften_silhouettes`.
    cull_backfaces: see `rasterize`.

  Returns:
    `image` `[B, H, W, 3]`; `mask` `[B, H, W, 1]` in [0, 1], the share of the pixel that is covered; `screen`
    `[B, V, 3]`, the vertices in pixels of `image` with their depths; `raster`, at the supersampled size.
  """
  size = image_size * supersample
  points = place(vertices, pose)
  screen = project(points, camera, size, size)
  raster = rasterize(screen, triangles, size, size, cull_backfaces=cull_backfaces)
  if silhouette_gradients:
    raster = freeze(raster)
  batch = points.shape[:2]
  gloss = tf.broadcast_to(tf.convert_to_tensor(specular, tf.float32), batch + [1])
  surface = interpolate(
    tf.concat([vertex_normals(points, triangles), points, tf.broadcast_to(albedo, batch + [3]), gloss], -1), raster
  )
  normals, places, colors, gloss = tf.split(surface, [3, 3, 3, 1], -1)
  normals = tf.math.l2_normalize(normals, axis=-1, epsilon=1e-12)
  color = shade(colors, normals, places, light, gloss, shininess)
  if silhouette_gradients:
    color, mask = soften_silhouettes(color, screen, raster)
  else:
    color, mask = color * raster.mask, raster.mask
  color, mask = downsample(color, supersample), downsample(mask, supersample)
  scale = tf.constant([1.0 / supersample, 1.0 / supersample, 1.0])
  return {'image': color + background * (1.0 - mask), 'mask': mask, 'screen': screen * scale, 'raster': raster}
