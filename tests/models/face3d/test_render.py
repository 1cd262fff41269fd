"""Camera, light and pictures against hand-computed values, TensorFlow Graphics and finite differences."""

import math

import numpy as np
import tensorflow as tf

from models.face3d.render import Camera, Pose, downsample, make_camera, place, project, render
from models.face3d.shading import Light, ambient_light, harmonics_basis, irradiance, shade, vertex_normals

SIZE = 24


def unit(values):
  values = np.asarray(values, np.float32)
  return values / np.linalg.norm(values, axis=-1, keepdims=True)


def sphere(rings=12):
  """A closed mesh of radius 1, counter-clockwise seen from outside."""
  down, round_ = np.meshgrid(np.linspace(.02, np.pi - .02, rings), np.arange(rings) * 2 * np.pi / rings, indexing='ij')
  points = np.stack([np.sin(down) * np.cos(round_), np.cos(down), np.sin(down) * np.sin(round_)], -1).reshape(-1, 3)
  a = (np.arange(rings - 1)[:, None] * rings + np.arange(rings)).ravel()
  b = (np.arange(rings - 1)[:, None] * rings + (np.arange(rings) + 1) % rings).ravel()
  triangles = np.concatenate([np.stack([a, b, a + rings], -1), np.stack([b, b + rings, a + rings], -1)])
  return points.astype(np.float32), triangles.astype(np.int32)


def pose(batch=1, angles=(0., 0., 0.), translation=(0., 0., -8.)):
  return Pose(tf.tile([angles], [batch, 1]), tf.tile([translation], [batch, 1]))


def lamp(direction, color=(1., 1., 1.), batch=1):
  return Light(tf.zeros([batch, 9, 3]), tf.tile([[direction]], [batch, 1, 1]), tf.tile([[color]], [batch, 1, 1]))


def test_harmonics_equal_those_of_tensorflow_graphics():
  from tensorflow_graphics.math import spherical_harmonics

  directions = unit(np.random.default_rng(0).normal(size=[50, 3]))
  theta, phi = np.arccos(directions[:, 2:]), np.arctan2(directions[:, 1:2], directions[:, :1])
  degree, order = spherical_harmonics.generate_l_m_permutations(2)
  expected = spherical_harmonics.evaluate_spherical_harmonics(
      tf.tile(degree[None], [50, 1]), tf.tile(order[None], [50, 1]), theta, phi)
  sign = np.where(np.abs(order) == 1, -1., 1.)  # theirs carry the Condon-Shortley phase
  np.testing.assert_allclose(harmonics_basis(tf.constant(directions)), expected * sign, atol=1e-5)


def test_irradiance_is_the_cosine_weighted_mean_of_the_radiance():
  rng = np.random.default_rng(1)
  harmonics = np.float32(rng.normal(size=[1, 9, 3]) * .2)
  harmonics[0, 0] = 3
  normal, directions = unit([[.3, -.5, .8]]), unit(rng.normal(size=[400_000, 3]))
  radiance = harmonics_basis(tf.constant(directions)).numpy() @ harmonics[0]
  expected = 4 * np.mean(radiance * np.maximum(directions @ normal[0], 0)[:, None], 0)
  np.testing.assert_allclose(irradiance(tf.constant(normal[None]), harmonics)[0, 0], expected, rtol=1e-2)
  white = irradiance(tf.constant(normal[None]), ambient_light(1).harmonics)
  np.testing.assert_allclose(white, [[[1, 1, 1]]], rtol=1e-5)


def test_normals_equal_those_of_tensorflow_graphics_and_have_finite_gradients():
  from tensorflow_graphics.geometry.representation.mesh import normals

  points, triangles = sphere()
  points = np.stack([points, points * [1, 2, .5] + np.random.default_rng(2).normal(size=points.shape) * .02])
  ours = vertex_normals(tf.constant(points, tf.float32), triangles)
  theirs = normals.vertex_normals(tf.constant(points, tf.float32), np.stack([triangles] * 2))
  np.testing.assert_allclose(ours, theirs, atol=1e-5)
  assert (np.sum(ours[0] * points[0], -1) > .9).all()
  alone = tf.constant([[[0., 0, 0], [1, 0, 0], [0, 1, 0], [5, 5, 5]]])  # no triangle at the last vertex
  with tf.GradientTape() as tape:
    tape.watch(alone)
    total = tf.reduce_sum(vertex_normals(alone, tf.constant([[0, 1, 2]])))
  assert np.isfinite(tape.gradient(total, alone)).all()


def test_lambert_and_blinn_phong_by_hand():
  normals = tf.constant(unit([[[0, 0, 1], [0, .6, .8], [0, 0, -1], [0, 1, 0]]]))
  points = tf.constant([[[0., 0, -2]] * 4])
  albedo = tf.constant([[[.5, .4, .3]] * 4])
  light = lamp((0., 0., 3.), (1., .5, 2.))
  color = shade(albedo, normals, points, light)[0].numpy()
  facing = np.float32([.5, .2, .6])
  np.testing.assert_allclose(color, [facing, .8 * facing, 0 * facing, 0 * facing], atol=1e-6)
  # Blinn-Phong with the half vector along z: cosine to the power of the exponent, normalized.
  gloss = (shade(albedo, normals, points, light, .25, 10.)[0].numpy() - color) / [1., .5, 2.]
  factor = .25 * (12 * 14) / (8 * math.pi * (2 ** -5 + 10)) * math.pi
  np.testing.assert_allclose(gloss[:2, 0], [factor, factor * .8 ** 11], rtol=1e-4)
  np.testing.assert_allclose(gloss[2:], 0, atol=1e-6)


def test_camera_and_pose_by_hand():
  camera = Camera(tf.constant([2 * math.atan(.5)]), tf.constant([[.5, .25]]))
  points = tf.constant([[[0., 0, -4], [2, 0, -4], [0, 2, -4], [0, 0, 4]]])
  screen = project(points, camera, 100, 60)[0].numpy()
  np.testing.assert_allclose(screen, [[30, 25, 4], [80, 25, 4], [30, -25, 4], [30, 25, -4]], atol=1e-4)
  turned = place(tf.constant([[[0., 0, 1], [0, 1, 0]]]), pose(angles=(0., math.pi / 2, 0.), translation=(5., 6., 7.)))
  np.testing.assert_allclose(turned[0], [[6, 6, 7], [5, 7, 7]], atol=1e-5)


def test_pictures_are_the_same_compiled_and_in_batch_and_smoother_when_supersampled():
  points, triangles = sphere()
  vertices = tf.stack([points, points * .8])
  light = lamp((1., 1., 1.), batch=2)._replace(harmonics=tf.random.stateless_normal([2, 9, 3], [1, 1]) * .2 + .5)

  def picture(vertices, harmonics, supersample):
    batch = vertices.shape[0]
    some = Light(harmonics, light.directions[:batch], light.colors[:batch])
    result = render(vertices, tf.fill(vertices.shape, .6), triangles, pose(batch, (.2, .5, 0.)), make_camera(batch),
                    some, SIZE, background=.25, supersample=supersample, specular=.2)
    return result['image'], result['mask']

  compiled = tf.function(picture, jit_compile=True, autograph=False)
  image, mask = compiled(vertices, light.harmonics, 1)
  assert image.shape == [2, SIZE, SIZE, 3] and np.isfinite(image).all()
  np.testing.assert_allclose(image.numpy()[mask.numpy()[..., 0] == 0], .25)
  for eager, xla in zip(picture(vertices, light.harmonics, 1), (image, mask), strict=True):
    np.testing.assert_allclose(eager, xla, atol=1e-5)
  np.testing.assert_allclose(compiled(vertices[1:], light.harmonics[1:], 1)[0][0], image[1], atol=1e-6)
  _, fine = compiled(vertices, light.harmonics, 4)
  area = math.pi * (SIZE / 2 / math.tan(.15) * math.tan(math.asin(1 / 8))) ** 2
  assert abs(fine.numpy()[0].sum() / area - 1) < .04  # of a disc; the mesh is a polyhedron inside of the sphere
  assert 0 < np.mean((fine.numpy() > 0) & (fine.numpy() < 1)) < .3


def test_downsample_takes_means_of_blocks():
  image = np.arange(16, dtype=np.float32).reshape(1, 4, 4, 1)
  np.testing.assert_allclose(downsample(tf.constant(image), 2)[0, ..., 0], [[2.5, 4.5], [10.5, 12.5]])


def test_gradients_of_everything_equal_finite_differences():
  """A bumpy surface that fills the picture: no silhouette, so that the picture is continuous in all of its inputs."""
  y, x = np.mgrid[-1:1:9j, -1:1:9j]
  vertices = np.stack([x * 2, -y * 2, .3 * np.sin(3 * x + y)], -1).reshape(1, 81, 3)
  corner = (np.arange(8)[:, None] * 9 + np.arange(8)).ravel()
  triangles = np.int32(np.concatenate([np.stack([corner, corner + 9, corner + 1], -1),
                                       np.stack([corner + 1, corner + 9, corner + 10], -1)]))
  rng = np.random.default_rng(3)
  weight = np.float32(rng.normal(size=[1, SIZE, SIZE, 3]))
  inputs = {
      'vertices': vertices, 'albedo': .5 + .3 * np.sin(vertices * [3, 2, 5]), 'angles': np.array([[.1, -.2, .05]]),
      'translation': np.array([[.1, .05, -8.]]), 'harmonics': np.concatenate([np.full([1, 1, 3], 3.), rng.normal(
          size=[1, 8, 3]) * .3], 1), 'directions': np.array([[[1., 1, 2]]]), 'colors': np.array([[[.5, .6, .7]]]),
      'field_of_view': np.array([.3]), 'center': np.array([[.5, .48]])}
  inputs = {name: tf.constant(value, tf.float32) for name, value in inputs.items()}

  @tf.function(jit_compile=True, autograph=False)
  def loss(inputs):
    with tf.GradientTape() as tape:
      tape.watch(inputs)
      result = render(inputs['vertices'], inputs['albedo'], triangles, Pose(inputs['angles'], inputs['translation']),
                      Camera(inputs['field_of_view'], inputs['center']),
                      Light(inputs['harmonics'], inputs['directions'], inputs['colors']), SIZE, specular=.1)
      value = tf.reduce_sum(result['image'] * weight)
    return result, tape.gradient(value, inputs)

  result, gradients = loss(inputs)
  assert result['mask'].numpy().all()
  for name, gradient in gradients.items():
    direction = np.float32(rng.normal(size=inputs[name].shape))
    direction /= np.linalg.norm(direction)
    step = 2e-4  # larger ones carry pixels over the edges of triangles, where the picture has kinks
    up, down = (loss(inputs | {name: inputs[name] + sign * step * direction})[0]['image'].numpy() for sign in (1, -1))
    expected = np.sum((up.astype(np.float64) - down) * weight) / (2 * step)
    scale = max(np.linalg.norm(gradient), 1.)
    assert abs(np.sum(gradient * direction) - expected) < .05 * scale, name
    assert np.linalg.norm(gradient) > 0, name


def test_silhouettes_pull_towards_the_target():
  """A white ball on black must move (x, y) or grow (nearer: z) to cover its target, which only its outline tells."""
  points, triangles = sphere()

  def picture(translation, silhouette_gradients):
    return render(points[None], tf.ones([1, len(points), 3]), triangles, Pose(tf.zeros([1, 3]), translation),
                  make_camera(1), ambient_light(1), SIZE, silhouette_gradients=silhouette_gradients)['image']

  @tf.function  # XLA needs ten seconds to compile the splat's gradient
  def pull(offset, silhouette_gradients):
    translation = tf.constant([[0., 0., -8.]])
    goal = picture(translation + offset, False)
    with tf.GradientTape() as tape:
      tape.watch(translation)
      loss = tf.reduce_mean((picture(translation, silhouette_gradients) - goal) ** 2)
    return -tape.gradient(loss, translation)[0]

  for axis, step in ((0, .15), (0, -.15), (1, .15), (1, -.15), (2, 1.5), (2, -1.5)):
    offset = tf.constant(np.eye(3, dtype=np.float32)[axis:axis + 1] * step)
    direction = pull(offset, True).numpy()
    assert direction[axis] * step > 0, (axis, step)
    if axis < 2:
      assert (np.abs(np.delete(direction, axis)) < .3 * abs(direction[axis])).all(), (axis, step)
  np.testing.assert_allclose(pull(offset, False), 0, atol=1e-4)  # a plain picture does not know its outline
