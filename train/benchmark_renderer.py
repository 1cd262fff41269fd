"""How fast the renderer is here: `python -m train.benchmark --target=renderer --flagfile=gcgan.cfg`.

Pictures of balls (subdivided icosahedra that cover half of the image; no triangle is culled) under harmonics and a lamp
with gloss: geometry, normals, rasterizer, interpolation, light, background, all compiled by XLA. The
gradient goes to vertices, colours, pose, light and camera at once.
"""

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from evaluate.results import make_table
from models.face3d.render import Camera, Pose, render
from models.face3d.shading import Light
from train.callbacks import peak_memory_mb

IMAGE_SIZES = (64, 108, 256)
FREQUENCIES = {5000: 16, 10000: 23, 50000: 50}  # 20 times the square are 5,120, 10,580 and 50,000 triangles.
_WARM_UP = 2


def measure(config: Any = None, sizes: tuple[int, ...] = IMAGE_SIZES, triangles: tuple[int, ...] = tuple(FREQUENCIES),
            steps: int = 20) -> dict[str, Any]:
  """Measures forward, and forward with backward, for every image size and mesh; prints a table.

  Args:
    config: gives the batch size; 16 without it.
    sizes: pixels.
    triangles: keys of `FREQUENCIES`.
    steps: measured batches of each; their median counts.

  Returns:
    `results`: a row each, with milliseconds an image: median, quartiles, best, and the processor time of all cores
    (which tells a slow renderer from a busy machine); and, of 108 pixels and 10,000 triangles if measured,
    `images_per_second` and `milliseconds_per_step` of the forward pass.
  """
  batch = config.batch_size if config is not None else 16
  results = []
  for size in sizes:
    for count in triangles:
      scene, faces = _scene(batch, FREQUENCIES[count])
      forward, both = _passes(faces, size)
      row = {'image_size': size, 'triangles': len(faces), 'batch_size': batch}
      for name, function in (('forward', forward), ('forward_backward', both)):
        wall, cpu = _milliseconds(function, scene, steps) / batch
        row |= {f'{name}_ms': float(np.median(wall)), f'{name}_quartiles_ms': np.percentile(wall, [25, 75]).tolist(),
                f'{name}_best_ms': float(wall.min()), f'{name}_cpu_ms': float(np.median(cpu))}
      results.append(row)
  print(table(results))
  reach = 108, 20 * FREQUENCIES[10000] ** 2
  main = next((row for row in results if (row['image_size'], row['triangles']) == reach), results[0])
  return {
      'target': 'renderer', 'images_per_second': 1000 / main['forward_ms'],
      'milliseconds_per_step': main['forward_ms'] * batch, 'peak_memory_mb': peak_memory_mb(), 'results': results,
      'measured': {'what': f'forward, {main["image_size"]} pixels, {main["triangles"]} triangles', 'steps': steps,
                   'warm_up': _WARM_UP, 'batch_size': batch}}


def table(results: list[dict[str, Any]]) -> str:
  """The rows of `measure`, for people."""
  headers = ['pixels', 'triangles', 'forward ms/image (best, CPU)', 'forward+backward ms/image (best, CPU)', 'images/s']
  return make_table(headers, [[
      str(row['image_size']), f'{row["triangles"]:,}',
      *(f'{row[n + "_ms"]:.2f} ({row[n + "_best_ms"]:.2f}, {row[n + "_cpu_ms"]:.2f})'
        for n in ('forward', 'forward_backward')),
      f'{1000 / row["forward_ms"]:.0f}'] for row in results])


def _passes(faces: np.ndarray, size: int) -> tuple[Callable, Callable]:
  def picture(scene):
    return render(scene['vertices'], scene['albedo'], faces, Pose(scene['angles'], scene['translation']),
                  Camera(scene['field_of_view'], scene['center']),
                  Light(scene['harmonics'], scene['directions'], scene['colors']), size, specular=.2)['image']

  @tf.function(jit_compile=True, autograph=False)
  def forward(scene):
    return picture(scene)

  @tf.function(jit_compile=True, autograph=False)
  def both(scene):
    with tf.GradientTape() as tape:
      tape.watch(scene)
      loss = tf.reduce_mean(picture(scene) ** 2)
    return tape.gradient(loss, scene)

  return forward, both


def _milliseconds(function: Callable, scene: dict[str, tf.Tensor], steps: int) -> np.ndarray:
  """`[2, steps]` wall and processor time of a call, results on the host."""
  times = []
  for _ in range(_WARM_UP + steps):
    start = time.perf_counter(), time.process_time()
    tf.nest.map_structure(lambda value: value.numpy(), function(scene))
    times.append((time.perf_counter() - start[0], time.process_time() - start[1]))
  return 1000 * np.array(times[_WARM_UP:]).T


def _scene(batch: int, frequency: int) -> tuple[dict[str, tf.Tensor], np.ndarray]:
  vertices, faces = ball(frequency)
  rng = np.random.default_rng(0)
  harmonics = rng.normal(0, .3, [batch, 9, 3])
  harmonics[:, 0] += 2.
  scene = {
      'vertices': np.tile(vertices, [batch, 1, 1]), 'albedo': rng.uniform(.2, .8, [batch, len(vertices), 3]),
      'angles': rng.normal(0, .4, [batch, 3]), 'translation': rng.normal(0, .05, [batch, 3]) - [0., 0., 8.],
      'harmonics': harmonics, 'directions': rng.normal(0, 1, [batch, 1, 3]) + [0., 0., 2.],
      'colors': np.full([batch, 1, 3], .5), 'field_of_view': np.full([batch], .3), 'center': np.full([batch, 2], .5)}
  return {name: tf.constant(value, tf.float32) for name, value in scene.items()}, faces


def ball(frequency: int) -> tuple[np.ndarray, np.ndarray]:
  """A unit ball of 20 `frequency` squared nearly equal triangles, counter-clockwise seen from outside.

  Returns:
    `[V, 3]` float32 vertices and `[T, 3]` int32 triangles.
  """
  phi = (1 + 5 ** .5) / 2
  corners = np.array([[0, a, b * phi] for a in (-1, 1) for b in (-1, 1)])
  corners = np.concatenate([corners, corners[:, [2, 0, 1]], corners[:, [1, 2, 0]]])
  near = np.abs(np.linalg.norm(corners[:, None] - corners, axis=-1) - 2) < 1e-6
  sides = [(a, b, c) for a in range(12) for b in range(a + 1, 12) for c in range(b + 1, 12)
           if near[a, b] and near[b, c] and near[a, c]]
  places = np.array([(i, j) for i in range(frequency + 1) for j in range(frequency + 1 - i)])
  number = {(i, j): n for n, (i, j) in enumerate(places.tolist())}
  cells = [(number[i, j], number[i + 1, j], number[i, j + 1]) for i, j in places.tolist() if i + j < frequency]
  cells += [(number[i + 1, j], number[i + 1, j + 1], number[i, j + 1])
            for i, j in places.tolist() if i + j < frequency - 1]
  points, faces = [], []
  for a, b, c in corners[np.array(sides)]:
    if np.dot(np.cross(b - a, c - a), a) < 0:
      b, c = c, b
    faces.append(np.array(cells) + len(points) * len(places))
    points.append(a + (places[:, :1] * (b - a) + places[:, 1:] * (c - a)) / frequency)
  points = np.concatenate(points)
  points /= np.linalg.norm(points, axis=-1, keepdims=True)
  points, merged = np.unique(points.round(6), axis=0, return_inverse=True)
  return points.astype(np.float32), merged.reshape(-1)[np.concatenate(faces)].astype(np.int32)
