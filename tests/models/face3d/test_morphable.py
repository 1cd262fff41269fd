"""The face model: what its coefficients do, and which files it refuses."""

import gzip
import io
import pathlib
import pickle
import zipfile

import numpy as np
import pytest
import tensorflow as tf

from models.face3d.expressions import EXPRESSIONS, act
from models.face3d.morphable import load_face_model

ICT = pathlib.Path('../shared/data/clear/ict_facekit')


@pytest.fixture(scope='module')
def model():
  return load_face_model()


def small_model():
  """A valid model of 80 points, as arrays."""
  rng = np.random.RandomState(0)
  return {
    'mean': rng.randn(80, 3).astype(np.float32),
    'identity_basis': rng.randn(4, 80, 3).astype(np.float16),
    'expression_basis': rng.randn(2, 80, 3).astype(np.float16),
    'expression_names': np.array(['jawOpen', 'eyeWideLeft']),
    'triangles': rng.randint(0, 80, (30, 3)).astype(np.int32),
    'landmarks': np.arange(68).astype(np.int32),
    'albedo_mean': np.full((80, 3), 0.5, np.float32),
    'albedo_basis': rng.randn(3, 80, 3).astype(np.float32),
  }


def save(path, arrays):
  np.savez(path, **arrays)
  return str(path)


def test_default_model_is_a_head_with_named_parts(model):
  assert model.identity_basis.shape[0] == 80 and model.expression_basis.shape[0] == 52
  assert 4500 < model.mean.shape[0] < 6000
  assert {'face', 'eyes', 'mouth', 'lips', 'brows', 'hair', 'teeth'} <= set(model.regions)
  points = tf.gather(model.mean, model.landmarks).numpy()
  assert np.all(np.diff(points[36:40, 0]) > 0) and np.all(np.diff(points[17:22, 0]) > 0)  # From the picture's left.
  assert points[8, 1] < points[:, 1].min() + 0.01  # The chin is lowest,
  brows, eyes = points[17:27, 1].mean(), points[36:48, 1].mean()
  assert 0.09 < brows - eyes < 0.18  # the brows 1 to 2 cm above the eyes,
  np.testing.assert_allclose(points[:17, 0], -points[16::-1, 0], atol=0.03)  # and the jaw symmetric.


def test_triangles_face_outwards(model):
  mean, triangles = model.mean.numpy(), model.triangles.numpy()
  a, b, c = (mean[triangles[:, i]] for i in range(3))
  skin = model.regions['skin'].numpy()[triangles].min(1) > 0
  front = skin & (a[:, 2] > 0.2)
  assert (np.cross(b - a, c - a)[front, 2] > 0).mean() > 0.75  # All but nostrils and folds


def test_a_batch_equals_its_members_and_coefficients_have_gradients(model):
  rng = np.random.RandomState(1)
  identity, albedo = rng.randn(3, 80).astype(np.float32), rng.randn(3, len(model.albedo_names)).astype(np.float32)
  expression = rng.rand(3, 52).astype(np.float32)
  whole = model.vertices(identity, expression)
  for i in range(3):
    one = model.vertices(identity[i : i + 1], expression[i : i + 1])
    np.testing.assert_allclose(whole[i], one[0], atol=1e-5)
    np.testing.assert_allclose(model.albedo(albedo)[i], model.albedo(albedo[i : i + 1])[0], atol=1e-5)
  inputs = [tf.constant(identity), tf.constant(expression), tf.constant(albedo)]
  with tf.GradientTape() as tape:
    tape.watch(inputs)
    loss = tf.reduce_sum(model.landmark_points(model.vertices(*inputs[:2])) ** 2) + tf.reduce_mean(
      model.albedo(inputs[2])
    )
  for gradient in tape.gradient(loss, inputs):
    assert np.isfinite(gradient).all() and np.abs(gradient).max() > 0


def test_units_have_sides_and_unit_normal_modes_stay_heads(model):
  def moved(unit):
    displacement = model.vertices(np.zeros((1, 80)), [model.expression({unit: 1.0})])[0] - model.mean
    return np.abs(displacement.numpy()).sum(1)

  x = model.mean.numpy()[:, 0]
  assert moved('mouthSmileLeft')[x > 0].sum() > 3 * moved('mouthSmileLeft')[x < 0].sum()
  heads = model.vertices(np.random.RandomState(0).randn(50, 80).astype(np.float32), np.zeros((50, 52), np.float32))
  points = model.landmark_points(heads).numpy()
  eyes = np.linalg.norm(points[:, 36] - points[:, 45], axis=-1)
  chin = points[:, 27, 1] - points[:, 8, 1]
  assert 0.7 < eyes.min() and eyes.max() < 1.2 and 0.8 < chin.min() and chin.max() < 1.6


def test_expressions_are_acted_apart(model):
  codes = {name: model.expression(weights) for name, weights in EXPRESSIONS.items()}
  points = model.landmark_points(model.vertices(np.zeros((6, 1)), np.stack(list(codes.values())))).numpy()
  gaps = np.linalg.norm(points[:, None] - points[None], axis=-1).max(-1)
  assert gaps[~np.eye(6, dtype=bool)].min() > 0.06  # Some landmark moves by 6 mm between any two.
  height = {name: p[57, 1] - p[51, 1] for name, p in zip(codes, points, strict=True)}
  assert height['scream'] < height['surprise'] < height['neutral']
  rng = np.random.default_rng(0)
  jaw = model.expression_names.index('jawOpen')
  weak, strong = (np.mean([act(model, 'scream', rng, x)[jaw] for _ in range(20)]) for x in (0.4, 1.0))
  assert 0.3 < weak / strong < 0.5
  drawn = np.stack([act(model, 'smile', rng) for _ in range(20)])
  left, right = (drawn[:, model.expression_names.index(f'mouthSmile{s}')] for s in ('Left', 'Right'))
  assert np.abs(left - right).max() > 0.03 and drawn.min() >= 0
  with pytest.raises(ValueError, match='noSuchUnit'):
    model.expression({'noSuchUnit': 1.0})


def test_own_format(tmp_path):
  arrays = small_model()
  loaded = load_face_model(save(tmp_path / 'm.npz', arrays))
  assert loaded.expression_names == ('jawOpen', 'eyeWideLeft')
  got = loaded.vertices([[1.0, 0, 0, 2.0]], [[0.5, 0]])[0]
  want = (
    arrays['mean'] + arrays['identity_basis'][0] + 2 * arrays['identity_basis'][3] + arrays['expression_basis'][0] / 2
  )
  np.testing.assert_allclose(got, want, atol=5e-3)
  assert loaded.albedo(np.zeros((1, 3))).shape == (1, 80, 3)
  with pytest.raises(ValueError, match='identity coefficients'):
    loaded.vertices(np.zeros((1, 5)), np.zeros((1, 2)))


def _header(arrays, tmp_path):
  """An entry whose header declares 8 TB."""
  path = tmp_path / 'big.npz'
  with zipfile.ZipFile(path, 'w') as archive:
    for name, array in arrays.items():
      data = io.BytesIO()
      if name == 'mean':
        np.lib.format.write_array_header_1_0(data, {'descr': '<f4', 'fortran_order': False, 'shape': (10**12, 2)})
      else:
        np.save(data, array)
      archive.writestr(f'{name}.npy', data.getvalue())
  return str(path)


class _Bomb:
  def __reduce__(self):
    return (pathlib.Path.touch, (pathlib.Path('exploded'),))


def _plain_pickle(arrays, tmp_path):
  path = tmp_path / 'pickled.npz'
  path.write_bytes(pickle.dumps(arrays['mean']))
  return str(path)


def _changed(**new):
  def make(arrays, tmp_path):
    arrays.update(new)
    return save(tmp_path / 'm.npz', {k: v for k, v in arrays.items() if v is not None})

  return make


def _compressed(change):
  """A compressed file of which `change` edits the bytes."""
  def make(model, folder):
    path = folder / 'packed.npz'
    np.savez_compressed(path, **model)
    path.write_bytes(change(bytearray(path.read_bytes())))
    return str(path)
  return make


def _flip(data):
  data[60:90] = bytes(30)
  return data


def _mark(offset, value):
  """Sets a byte of the first entry in the file's own header and in the table at its end."""
  def change(data):
    for signature, shift in ((b'PK\x03\x04', 0), (b'PK\x01\x02', 2)):
      data[data.index(signature) + offset + shift] = value
    return data
  return change


HOSTILE = {
  'damaged bytes': (_compressed(_flip), 'array'),
  'encrypted': (_compressed(_mark(6, 1)), 'encrypted'),
  'unknown compression': (_compressed(_mark(8, 99)), 'compression'),
  'pickled object': (_changed(mean=np.array([_Bomb()], object)), 'pickled Python objects'),
  'a pickle': (_plain_pickle, 'not an .npz'),
  'oversized header': (_header, 'promises 8000000000000 bytes'),
  'missing array': (_changed(triangles=None), "'triangles' is missing"),
  'unknown array': (_changed(surprise=np.zeros(3)), 'unknown array'),
  'wrong rank': (_changed(mean=np.zeros(80)), '2 dimensions'),
  'wrong size': (_changed(identity_basis=np.zeros((4, 81, 3))), '80 where it has 81'),
  'wrong type': (_changed(triangles=np.zeros((30, 3))), 'expected integers'),
  'triangle outside': (_changed(triangles=np.full((30, 3), 80)), 'up to 80'),
  'negative landmark': (_changed(landmarks=np.full(68, -1)), 'from -1'),
  'few landmarks': (_changed(landmarks=np.arange(51)), '68 where it has 51'),
  'not a number': (_changed(mean=np.full((80, 3), np.nan)), 'not finite'),
  'empty': (_changed(triangles=np.zeros((0, 3), int)), 'empty'),
}


@pytest.mark.parametrize('kind', HOSTILE)
def test_hostile_files_are_refused_in_one_line(kind, tmp_path, monkeypatch):
  make, words = HOSTILE[kind]
  path = make(small_model(), tmp_path)
  monkeypatch.chdir(tmp_path)
  with pytest.raises(ValueError, match=words) as caught:
    load_face_model(path)
  assert '\n' not in str(caught.value) and path in str(caught.value)
  assert not (tmp_path / 'exploded').exists()


def test_missing_file_is_named():
  with pytest.raises(FileNotFoundError, match='no/such.npz'):
    load_face_model('no/such.npz')


@pytest.mark.skipif(not ICT.exists(), reason=f'{ICT} is not there')
def test_ict_facekit(model):
  ict = load_face_model(str(ICT))
  assert ict.mean.shape == (26719, 3) and ict.identity_basis.shape[0] == 3
  assert ict.expression_names == ('jawOpen', 'mouthSmileLeft', 'mouthSmileRight')
  ours, theirs = (tf.gather(m.mean, m.landmarks).numpy() for m in (model, ict))
  assert np.linalg.norm(ours - theirs, axis=-1).mean() < 0.15  # The same points, in the same unit.
  smile = ict.vertices(np.zeros((1, 3)), [[0, 1.0, 0]])[0] - ict.mean
  assert tf.gather(smile, ict.landmarks)[54, 0] > 0.02  # The left corner of the mouth moves outwards.


def test_ict_folder_problems(tmp_path):
  with pytest.raises(ValueError, match='generic_neutral_mesh'):
    load_face_model(str(tmp_path))
  (tmp_path / 'generic_neutral_mesh.obj').write_text('v 0 0 zero\n')
  with pytest.raises(ValueError, match='line 1'):
    load_face_model(str(tmp_path))
  (tmp_path / 'generic_neutral_mesh.obj').unlink()
  (tmp_path / 'generic_neutral_mesh.obj.gz').write_bytes(gzip.compress(b'v 0 0 0\n' * 9)[:-6])
  with pytest.raises(ValueError, match='damaged'):
    load_face_model(str(tmp_path))
  (tmp_path / 'generic_neutral_mesh.obj.gz').write_bytes(gzip.compress(b'v 0 0 0\n' * 9)[:10] + bytes([7] * 30))
  with pytest.raises(ValueError, match='damaged'):
    load_face_model(str(tmp_path))
