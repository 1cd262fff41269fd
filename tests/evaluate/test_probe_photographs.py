"""Probes on photographs: each data set's format in miniature, and the released recipes."""

import csv
import pathlib
import shutil

import numpy as np
import pytest
import scipy.io
import tensorflow as tf
from PIL import Image

from evaluate.probes import expression, head_pose, persons, sgd
from evaluate.results import find_row
from models.facecycle import FaceCycle, FaceCycleConfig

SAMPLES = pathlib.Path(__file__).parents[3] / 'shared' / 'data' / 'noncommercial' / 'aflw2000'


@pytest.fixture(scope='module')
def model():
  return FaceCycle(FaceCycleConfig.tiny())


def picture(seed, size=100):
  return np.random.default_rng(seed).integers(0, 256, [size, size, 3], dtype=np.uint8)


def write_rafdb(folder, lines=None):
  aligned = folder / 'basic' / 'Image' / 'aligned'
  aligned.mkdir(parents=True)
  (folder / 'basic' / 'EmoLabel').mkdir()
  names = [f'train_{k:05d}' for k in range(20)] + [f'test_{k:04d}' for k in range(9)]
  for seed, name in enumerate(names):
    Image.fromarray(picture(seed)).save(aligned / f'{name}_aligned.jpg')
  text = lines or '\n'.join(f'{name}.jpg {k % 7 + 1}' for k, name in enumerate(names))
  (folder / 'basic' / 'EmoLabel' / 'list_patition_label.txt').write_text(text)
  return folder


def test_rafdb(model, tmp_path):
  faces = expression.read_rafdb(write_rafdb(tmp_path))
  assert faces.images.shape == (29, 100, 100, 3) and (faces.part == 'train').sum() == 20
  assert faces.labels[:8].tolist() == [0, 1, 2, 3, 4, 5, 6, 0]
  rows = expression.probe_rafdb(model, tmp_path, epochs=1)
  for subject in ('model', 'expression_code', 'random_network', 'hog', 'lbp', 'raw_pixels'):
    assert 0 <= find_row(rows, 'expression_accuracy', subject)['value'] <= 1
  assert find_row(rows, 'expression_accuracy_sgd', 'random_network')['count'] == 9
  sgd_row = find_row(rows, 'expression_accuracy_sgd')
  assert find_row(rows, 'expression_accuracy_sgd_batches')['value'] == pytest.approx(sgd_row['value'])  # One batch.
  assert find_row(rows, 'expression_accuracy', slice='neutral')['count'] == 2


def test_batches_of_the_released_code_count_alike(monkeypatch, model):
  faces = expression.Labelled(np.zeros([160, 8, 8, 3], np.uint8), np.zeros(160, int),
                              np.array(['train'] * 10 + ['test'] * 150))  # fmt: skip
  monkeypatch.setattr(expression, 'expression_readers', lambda *a: {'model': lambda images: np.zeros([len(images), 2])})
  monkeypatch.setattr(expression, 'map_networks', lambda model: {'model': None})
  # All of the first hundred are right, none of the fifty.
  monkeypatch.setattr(expression.sgd, 'train_sgd', lambda *a: lambda images: (np.arange(len(images)) >= 100) * 1)
  rows = expression._rows('rafdb', model, faces, expression.RAFDB, 0)
  assert find_row(rows, 'expression_accuracy_sgd')['value'] == pytest.approx(2 / 3)
  assert find_row(rows, 'expression_accuracy_sgd_batches')['value'] == pytest.approx(1 / 2)


def test_fer2013(tmp_path):
  with open(tmp_path / 'icml_face_data.csv', 'w', newline='') as file:
    writer = csv.writer(file)
    writer.writerow(['emotion', ' Usage', ' pixels'])
    for k, usage in enumerate(['Training', 'Training', 'PublicTest', 'PrivateTest']):
      writer.writerow([k, usage, ' '.join(map(str, picture(k, 48)[..., 0].ravel()))])
  faces = expression.read_fer2013(tmp_path)
  assert faces.part.tolist() == ['train', 'train', 'public_test', 'private_test']
  assert faces.labels.tolist() == [0, 1, 2, 3]
  np.testing.assert_array_equal(faces.images[3], np.repeat(picture(3, 48)[..., :1], 3, axis=-1))
  for row, name in (('7,Training,0', 'line 2: not a row'), ('1,Training,0 1 256', 'line 2: not a row')):
    (tmp_path / 'icml_face_data.csv').write_text(f'emotion,Usage,pixels\n{row}\n')
    with pytest.raises(ValueError, match=name):
      expression.read_fer2013(tmp_path)
  (tmp_path / 'fer2013.csv').write_text('a,b\n')
  with pytest.raises(ValueError, match='has columns a, b; emotion, pixels and Usage are needed'):
    expression.read_fer2013(tmp_path)


def test_the_released_recipe_learns_and_its_rate_falls(monkeypatch):
  images = np.concatenate([np.full([40, 8, 8, 3], value, np.uint8) for value in (60, 190)])
  labels = np.repeat(np.int32([0, 1]), 40)
  made, optimizer = [], tf.keras.optimizers.SGD
  monkeypatch.setattr(tf.keras.optimizers, 'SGD', lambda *a, **k: made.append(optimizer(*a, **k)) or made[-1])
  judge = sgd.train_sgd(lambda images: tf.reduce_mean(images, axis=[1, 2]) / 10, images, labels, 2, 8, epochs=150)
  assert (judge(images) == labels).all()
  # 150 epochs stand for 300: after the last one three drops of ten.
  assert float(made[0].learning_rate) == pytest.approx(0.03)


def test_changes_are_those_of_torchvision():
  changes = sgd.draw_changes(4000, np.random.default_rng(0))
  part = changes['part']
  assert (part[:, :2] >= 0).all() and (part[:, :2] + part[:, 2:] <= 1 + 1e-6).all()
  area = part[:, 2] * part[:, 3]
  assert 0.79 < area.min() < 0.82 and area.max() <= 1
  whole = (part[:, 2:] == 1).all(1)
  assert 0.03 < whole.mean() < 0.07  # One draw of four fits: .74 ** 10 of pictures stay whole.
  assert abs(changes['flip'].mean() - 0.5) < 0.03 and abs(changes['grey'].mean() - 0.2) < 0.03
  assert abs((changes['hue'] != 0).mean() - 0.8) < 0.03 and np.abs(changes['hue']).max() <= 0.01
  assert np.abs(changes['gains'] - 1).max() <= 0.05 + 1e-6
  images = sgd._change(tf.random.uniform([8, 16, 16, 3], -1, 1), {k: tf.constant(v[:8]) for k, v in changes.items()})
  grey = changes['grey'][:8]
  spread = np.ptp(images.numpy(), axis=-1).max((1, 2))
  assert ((spread < 1e-5) == grey).all()


def write_npz(folder, name, poses, seed=0):
  images = np.random.default_rng(seed).integers(0, 256, [len(poses), 64, 64, 3], dtype=np.uint8)
  np.savez(folder / f'{name}.npz', image=images, pose=np.array(poses, float), img_size=64)
  return images


def test_head_pose(model, tmp_path):
  random = np.random.default_rng(0)
  for seed, name in enumerate((*head_pose.SETS, head_pose.TEST)):
    written = write_npz(tmp_path, name, random.uniform(-40, 40, [6, 3]), seed)
  write_npz(tmp_path, 'AFW', [[0, 0, 0], [100, 0, 0], [0, -99.5, 0], [-99, 98, 3]])
  images, poses = head_pose.read_set(tmp_path, 'AFW')
  assert poses.tolist() == [[0, 0, 0], [-99, 98, 3]] and poses.dtype == np.float32  # Beyond 99 degrees: left out.
  np.testing.assert_array_equal(head_pose.read_set(tmp_path, head_pose.TEST)[0], written[..., ::-1])  # Red first.
  rows = head_pose.probe_aflw2000(model, tmp_path)
  for subject in ('model', 'expression_code', 'random_network', 'hog', 'lbp', 'raw_pixels'):
    for angle in head_pose.ANGLES:
      row = find_row(rows, f'{angle}_error', subject)
      assert 0 < row['low'] <= row['value'] <= row['high'] < 180 and row['count'] == 6


def test_training_pictures_of_head_pose_are_changed():
  images = np.full([200, 64, 64, 3], 128, np.uint8)
  images[:, :, 32:] = 200
  changed, poses = head_pose.change(images, np.tile(np.float32([10, 20, 30]), (200, 1)), np.random.default_rng(0))
  mirrored = changed[:, 20:40, 20:24].mean((1, 2, 3)) > 164
  assert 0.3 < mirrored.mean() < 0.7
  assert (poses[mirrored] == [-10, 20, -30]).all() and (poses[~mirrored] == [10, 20, 30]).all()
  noise = changed[:, 30:34, 10:20].astype(float)
  assert np.ptp(noise, axis=-1).max() == 0  # One noise for all colours.
  assert 4 < noise.std((1, 2, 3)).mean() < 8  # 5.8 levels
  assert (changed[:, 0].mean((1, 2)) < 60).mean() > 0.2  # Black comes in where it was shifted.


def test_parameter_files_are_cut_out_as_fsa_net_does(tmp_path):
  folder = tmp_path / '300W_LP' / 'AFW'
  folder.mkdir(parents=True)
  image = np.zeros([120, 120, 3], np.uint8)
  image[36:84, 36:84] = 255  # The box of the points, 40 to 60, and .6 of its sides around: 28 to 72.
  image[28:72, 28:72] = 99
  Image.fromarray(image).save(folder / 'a.jpg', quality=100)
  points = np.array([[40.4, 60.2, 50, -1], [40, 60.7, 50, -1]])
  scipy.io.savemat(folder / 'a.mat', {'Pose_Para': np.radians([[10, -20, 30, 0, 0, 0, 1]]), 'pt2d': points})
  images, poses = head_pose.read_set(tmp_path, 'AFW')
  np.testing.assert_allclose(poses, [[-20, 10, 30]], atol=1e-4)
  assert np.abs(images[0].astype(int) - 99).max() < 12
  scipy.io.savemat(folder / 'a.mat', {'Pose_Para': np.zeros([1, 7]), 'pt2d': np.full([2, 3], -1.0)})
  with pytest.raises(ValueError, match='no point of pt2d'):
    head_pose.read_set(tmp_path, 'AFW')
  with pytest.raises(FileNotFoundError, match='has neither HELEN.npz'):
    head_pose.read_set(tmp_path, 'HELEN')
  (tmp_path / 'IBUG.npz').write_bytes(b'none')
  with pytest.raises(ValueError, match='has no arrays image and pose'):
    head_pose.read_set(tmp_path, 'IBUG')
  np.savez(tmp_path / 'LFPW.npz', image=np.zeros([2, 32, 32, 3], np.uint8), pose=np.zeros([2, 3]))
  with pytest.raises(ValueError, match=r'uint8 \[N, 64, 64, 3\]'):
    head_pose.read_set(tmp_path, 'LFPW')


@pytest.mark.skipif(not SAMPLES.is_dir(), reason='needs the photographs of ../shared/data')
def test_the_files_of_aflw2000_themselves(tmp_path):
  shutil.copytree(SAMPLES, tmp_path / 'AFLW2000')
  images, poses = head_pose.read_set(tmp_path, 'AFLW2000')
  assert 5 <= len(images) <= 9 and images.std() > 30 and np.abs(poses).max() <= 99


def write_lfw(folder):
  lines = ['10\t2']
  for tenth in range(10):
    for k in range(2):
      lines.append(f'Person_{tenth}_{k}\t1\t2')
    for k in range(2):
      lines.append(f'Person_{tenth}_{k}\t1\tPerson_{tenth}_{1 - k}\t2')
    for k in range(2):
      (folder / 'lfw' / f'Person_{tenth}_{k}').mkdir(parents=True)
      for n in (1, 2):
        Image.fromarray(picture(100 * tenth + 10 * k + n, 60)).save(
          folder / 'lfw' / f'Person_{tenth}_{k}' / f'Person_{tenth}_{k}_{n:04d}.jpg')  # fmt: skip
  (folder / 'pairs.txt').write_text('\n'.join(lines) + '\n')


def test_lfw(model, tmp_path, capsys):
  write_lfw(tmp_path)
  rows = persons.probe_lfw(model, tmp_path)
  for subject in ('model', 'expression_code', 'random_network', 'raw_pixels', 'lbp', 'hog'):
    row = find_row(rows, 'verification_accuracy', subject)
    assert 0 <= row['value'] <= 1 and (row['count'], row['identities']) == (40, 20)
  assert 'no face found in 40 of 40 pictures: their middle is taken' in capsys.readouterr().out
  (tmp_path / 'pairs.txt').write_text('10 300\nWho 1\n')
  with pytest.raises(ValueError, match="line 2: 'Who 1' is not a pair of LFW"):
    persons.read_lfw(tmp_path)
  (tmp_path / 'pairs.txt').write_text('10 300\nWho 1 2\n')
  with pytest.raises(ValueError, match='has 1 pairs, 1 of one person'):
    persons.read_lfw(tmp_path)
  with pytest.raises(FileNotFoundError, match='has no pairs_CPLFW.txt'):
    persons.read_cplfw(tmp_path)


def test_cplfw(model, tmp_path):
  pairs = [f'A_B_{k}.jpg 1\nA_B_{k + 1}.jpg 1\nC_{k}.jpg 0\nD_{k}.jpg 0\n' for k in range(5)]
  (tmp_path / 'pairs_CPLFW.txt').write_text(''.join(pairs))
  listed = persons.read_cplfw(tmp_path)
  assert listed.same.tolist() == [True, False] * 5
  assert listed.people[:2].tolist() == [['A_B', 'A_B'], ['C', 'D']] and listed.files[0].tolist()[1] == 'A_B_1.jpg'
  with pytest.raises(FileNotFoundError, match='has no A_B_0.jpg, also not in images'):
    persons.probe_cplfw(model, tmp_path)
  (tmp_path / 'pairs_CPLFW.txt').write_text('A_1.jpg 1\nA_2.jpg 0\n')
  with pytest.raises(ValueError, match='line 1: .* are no pair of CPLFW'):
    persons.read_cplfw(tmp_path)


def test_rafdb_of_another_kind_is_refused(tmp_path):
  with pytest.raises(FileNotFoundError, match='list_patition_label.txt'):
    expression.read_rafdb(tmp_path)
  write_rafdb(tmp_path, 'train_00000.jpg 8')
  with pytest.raises(ValueError, match='line 1: .* is not a picture of train or test and 1 to 7'):
    expression.read_rafdb(tmp_path)
  (tmp_path / 'basic/EmoLabel/list_patition_label.txt').write_text('train_00000.jpg 1')
  with pytest.raises(ValueError, match='has no test pictures'):
    expression.read_rafdb(tmp_path)
