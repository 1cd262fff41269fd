"""The renderer's benchmark: closed meshes of the promised sizes, and rows that say what was measured."""

import collections

import numpy as np

from train import benchmark_renderer


def test_balls_are_closed_and_face_outwards():
  for frequency in (1, 2, 5):
    vertices, faces = benchmark_renderer.ball(frequency)
    assert len(faces) == 20 * frequency ** 2 and len(vertices) == len(faces) // 2 + 2
    edges = collections.Counter((int(f[i]), int(f[i - 1])) for f in faces for i in range(3))
    assert set(edges.values()) == {1} and all((b, a) in edges for a, b in edges)
    a, b, c = (vertices[faces[:, i]] for i in range(3))
    assert (np.sum(np.cross(b - a, c - a) * a, -1) > 0).all()


def test_rows_say_size_mesh_and_times(capsys):
  result = benchmark_renderer.measure(sizes=(16,), triangles=(5000,), steps=2)
  [row] = result['results']
  assert (row['image_size'], row['triangles'], row['batch_size']) == (16, 5120, 16)
  assert 0 < row['forward_best_ms'] <= row['forward_ms'] and 0 < row['forward_backward_cpu_ms']
  np.testing.assert_allclose(result['images_per_second'], 1000 / row['forward_ms'])
  assert '5,120' in capsys.readouterr().out
