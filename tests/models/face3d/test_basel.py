"""Licensed face models: each format from a small file of its kind, and files that are none."""

import h5py
import numpy as np
import pytest
import scipy.io

from models.face3d.basel import load_licensed
from models.face3d.morphable import load_face_model

SIDE = 14
COUNT = SIDE * SIDE
MICROMETRES = 1e5


def mesh():
  """A bulging square that looks along +z, 2 units high, with triangles counter-clockwise from outside."""
  x, y = np.meshgrid(np.linspace(-0.8, 0.8, SIDE), np.linspace(-1, 1, SIDE))
  points = np.stack([x, y, 0.6 - 0.5 * x**2 - 0.3 * y**2], -1).reshape(-1, 3)
  a = (np.arange(SIDE - 1)[:, None] * SIDE + np.arange(SIDE - 1)).ravel()
  return points, np.concatenate([np.stack([a, a + 1, a + SIDE], 1), np.stack([a + 1, a + SIDE + 1, a + SIDE], 1)])


def write_2009(path, count=COUNT, **changes):
  random = np.random.default_rng(0)
  points, triangles = mesh()
  content = {
    'shapeMU': points.reshape(-1, 1) * MICROMETRES,
    'shapePC': random.normal(size=[3 * COUNT, 4]),
    'shapeEV': np.array([[4.0], [3.0], [2.0], [1.0]]) * 1e3,
    'texMU': np.full([3 * COUNT, 1], 127.5),
    'texPC': random.normal(size=[3 * COUNT, 3]),
    'texEV': np.array([[2.0], [1.0], [0.5]]),
    'tl': triangles[:, ::-1] + 1.0,
  }
  scipy.io.savemat(path, {k: v for k, v in (content | changes).items() if v is not None})
  return content


def write_exp_pca(folder, count, modes=2):
  random = np.random.default_rng(1)
  mean, basis = random.normal(size=3 * count), random.normal(size=[modes, 3 * count])
  numbers = np.concatenate([mean, basis.ravel()]).astype('<f4')
  (folder / 'Exp_Pca.bin').write_bytes(np.int32(modes).tobytes() + numbers.tobytes())
  (folder / 'std_exp.txt').write_text(' '.join(['2000'] * modes))
  return basis.reshape(modes, count, 3)


def test_basel_2009(tmp_path):
  content = write_2009(tmp_path / '01_MorphableModel.mat')
  model = load_licensed(tmp_path / '01_MorphableModel.mat')
  points, triangles = mesh()
  np.testing.assert_allclose(model['mean'], points, atol=1e-6)
  np.testing.assert_array_equal(model['triangles'], triangles)  # the file's run the other way round
  wanted = (content['shapePC'][:, 1] * 3e3 / MICROMETRES).reshape(-1, 3)
  np.testing.assert_allclose(model['identity_basis'][1], wanted, rtol=1e-5)
  np.testing.assert_allclose(model['albedo_mean'], 0.5**2.2, rtol=1e-6)
  slope = 2.2 * 0.5**1.2 * content['texPC'][:, 0].reshape(-1, 3) * 2.0 / 255
  np.testing.assert_allclose(model['albedo_basis'][0], slope, rtol=1e-5)
  assert len(model['expression_basis']) == 0
  # The nose's tip lies in the middle, the eyes above the mouth, the left ear's side at greater x.
  marks = model['mean'][model['landmarks']]
  assert abs(marks[30, 0]) < 0.15 and marks[36:48, 1].mean() > marks[48:, 1].mean() and marks[16, 0] > marks[0, 0]


def test_expressions_on_fewer_vertices_take_the_index_beside_them(tmp_path):
  path = tmp_path / '01_MorphableModel.mat'
  write_2009(path)
  kept = np.arange(COUNT)[SIDE:]  # without the lowest row
  basis = write_exp_pca(tmp_path, len(kept))
  with pytest.raises(ValueError, match='put BFM_exp_idx.mat or model_info.mat'):
    load_licensed(path)
  scipy.io.savemat(tmp_path / 'BFM_exp_idx.mat', {'trimIndex': kept[:, None] + 1.0})
  model = load_licensed(path)
  np.testing.assert_allclose(model['expression_basis'], basis * 2000 / MICROMETRES, rtol=1e-5)
  np.testing.assert_allclose(model['mean'], mesh()[0][kept], atol=1e-6)
  assert model['triangles'].max() == len(kept) - 1
  assert list(model['expression_names']) == ['expression_0', 'expression_1']


def test_basel_2017(tmp_path):
  points, triangles = mesh()
  random = np.random.default_rng(2)
  basis = {part: random.normal(size=[3 * COUNT, 2]) for part in ('shape', 'color', 'expression')}
  means = {'shape': points.ravel() * 100, 'color': np.full(3 * COUNT, 0.5), 'expression': np.zeros(3 * COUNT)}
  path = tmp_path / 'model2017-1_face12_nomouth.h5'
  with h5py.File(path, 'w') as file:
    for part, mean in means.items():
      file[f'{part}/model/mean'] = mean
      file[f'{part}/model/pcaBasis'] = basis[part]
      file[f'{part}/model/pcaVariance'] = [4.0, 1.0]
    file['shape/representer/cells'] = triangles.T
  model = load_licensed(path)
  np.testing.assert_allclose(model['mean'], points, atol=1e-5)
  np.testing.assert_allclose(model['identity_basis'][0], basis['shape'][:, 0].reshape(-1, 3) * 2 / 100, rtol=1e-5)
  np.testing.assert_allclose(model['expression_basis'][1], basis['expression'][:, 1].reshape(-1, 3) / 100, rtol=1e-5)
  np.testing.assert_array_equal(model['triangles'], triangles)
  with h5py.File(path, 'a') as file:
    del file['color/model/mean']
    file['color/model/mean'] = h5py.ExternalLink(str(tmp_path / 'other.h5'), '/mean')
  with pytest.raises(ValueError, match='is not a Basel 2017 model'):
    load_licensed(path)


def test_lsfm_takes_basel_colours_and_expressions(tmp_path):
  write_2009(tmp_path / '01_MorphableModel.mat')
  basis = write_exp_pca(tmp_path, COUNT)
  points, triangles = mesh()
  components = np.random.default_rng(3).normal(size=[3 * COUNT, 2])
  path = tmp_path / 'all_all_all.mat'
  scipy.io.savemat(
    path,
    {'mean': points.ravel() * 100, 'trilist': triangles, 'components': components, 'eigenvalues': [[9.0, 1.0]]},
  )
  model = load_licensed(path)
  np.testing.assert_allclose(model['identity_basis'][0], components[:, 0].reshape(-1, 3) * 3 / 100, rtol=1e-5)
  np.testing.assert_allclose(model['expression_basis'], basis * 2000 / MICROMETRES, rtol=1e-4)
  assert model['albedo_basis'].shape == (3, COUNT, 3)


def test_landmarks_may_be_given(tmp_path):
  write_2009(tmp_path / '01_MorphableModel.mat')
  (tmp_path / 'landmarks68.txt').write_text('\n'.join(str(i) for i in range(68)))
  np.testing.assert_array_equal(load_licensed(tmp_path / '01_MorphableModel.mat')['landmarks'], np.arange(68))
  (tmp_path / 'landmarks68.txt').write_text('1 2 3')
  with pytest.raises(ValueError, match='68 vertex numbers from 0 to 195 are needed'):
    load_licensed(tmp_path / '01_MorphableModel.mat')


@pytest.mark.parametrize(
  'changes, message',
  [
    ({'shapeMU': None}, "no matrix 'shapeMU'"),
    ({'shapeEV': np.ones((3, 1))}, 'shapePC has shape'),
    ({'tl': np.full((4, 3), 9999.0)}, 'name vertices from 9998'),
    ({'texMU': np.full((3 * COUNT, 1), np.nan)}, 'not a matrix of finite numbers'),
    ({'texPC': np.array([[object()]], object)[:, :0]}, 'not a matrix of numbers'),
    ({'shapePC': {'a': 1}}, 'is a struct, not a matrix of numbers'),
    ({'shapeMU': np.ones((3 * COUNT, 1))}, 'have no area|is flat'),
  ],
)
def test_damaged_models_are_refused_in_one_line(tmp_path, changes, message):
  write_2009(tmp_path / 'model.mat', **changes)
  with pytest.raises(ValueError, match=message) as caught:
    load_licensed(tmp_path / 'model.mat')
  assert '\n' not in str(caught.value) and 'model.mat' in str(caught.value)


def test_other_files_are_refused(tmp_path):
  write_2009(tmp_path / 'whole.mat')
  whole = (tmp_path / 'whole.mat').read_bytes()
  for number, content in enumerate(
    (b'', b'\x80\x04\x95pickle.', b'text' * 99, whole[:3000], whole[:128] + b'\xff' * 64)
  ):
    for suffix in ('mat', 'h5'):
      path = tmp_path / f'{number}.{suffix}'
      path.write_bytes(content)
      with pytest.raises(ValueError, match=path.name) as caught:
        load_licensed(path)
      assert '\n' not in str(caught.value)
  (tmp_path / 'Exp_Pca.bin').write_bytes(np.int32(10**9).tobytes() + b'\0' * 1000)
  with pytest.raises(ValueError, match='says that it has 1000000000 modes'):
    load_licensed(tmp_path / 'whole.mat')


def test_load_face_model_takes_them(tmp_path):
  write_2009(tmp_path / '01_MorphableModel.mat')
  write_exp_pca(tmp_path, COUNT)
  model = load_face_model(str(tmp_path / '01_MorphableModel.mat'))
  vertices = model.vertices(np.zeros([1, 4]), np.zeros([1, 2]))
  np.testing.assert_allclose(vertices[0], mesh()[0], atol=1e-6)
  assert not model.log_albedo and model.albedo(np.zeros([1, 3])).shape == (1, COUNT, 3)
