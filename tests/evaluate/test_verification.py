"""Verification of photographs: miniature copies of LFW and IJB-A, whose figures are worked by hand, and real people."""

import csv
import pathlib
import shutil

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from evaluate import export, roc, verification, verification_faces, verification_lists
from evaluate.provenance import read_provenance
from evaluate.results import find_row
from evaluate.same_person import Pairs, accepted_at_far
from models import commands, runs
from models.recognition import RecognitionConfig

PHOTOGRAPHS = pathlib.Path(__file__).parents[3] / 'shared' / 'data'


@pytest.fixture(scope='module')
def colours(tmp_path_factory):
  """An embedding that knows a picture's mean colour: of `painted` pictures, the angle."""
  path = tmp_path_factory.mktemp('net') / 'colours.keras'
  tf.keras.Sequential([tf.keras.layers.Rescaling(1 / 255, input_shape=[16, 16, 3]),
                       tf.keras.layers.GlobalAveragePooling2D()]).save(path)
  return str(path)


def paint(path, degrees):
  """A picture whose colour is an angle between red and green; two of them are 2 - 2 cos(difference) apart."""
  path.parent.mkdir(parents=True, exist_ok=True)
  colour = np.r_[np.cos(np.radians(degrees)), np.sin(np.radians(degrees)), 0] * 255
  Image.fromarray(np.full([60, 60, 3], np.rint(colour), np.uint8)).save(path, quality=100, subsampling=0)


def write_lfw(folder):
  """Ten folds of a pair each: one person in one colour, two people at 90 degrees; in fold 3 one person at 60, in fold 5
  two people at 30."""
  lines = ['10\t1']
  for fold in range(10):
    for name, angles in (('P', (0, 60 * (fold == 3))), ('Q', (0,)), ('R', (30 if fold == 5 else 90,))):
      for number, degrees in enumerate(angles, start=1):
        paint(folder / 'lfw' / f'{name}_{fold}' / f'{name}_{fold}_{number:04d}.jpg', degrees)
    lines += [f'P_{fold}\t1\t2', f'Q_{fold}\t1\tR_{fold}\t1']
  (folder / 'pairs.txt').write_text('\n'.join(lines) + '\n')


def test_lfw_by_hand(colours, tmp_path, capsys):
  write_lfw(tmp_path)
  argv = ['verification', colours, '--protocol=lfw', f'--input={tmp_path}', f'--output={tmp_path}/out']
  assert commands.run(verification.main, argv) == 0
  shown = capsys.readouterr()
  assert 'model is colours.keras' in shown.out and 'no face found in 40 of 40 pictures' in shown.out
  rows = verification.verify([colours], 'lfw', tmp_path, f'{tmp_path}/out')
  # Squared distances: of one person nine times 0 and 1 once, of two people nine times 2 and .27 once.
  expected = {
    'auc': 0.99,  # One of the 100 comparisons is lost.
    'eer': 0.1,  # Accepting up to .27: one pair of each kind is judged wrongly.
    'verification_accuracy': 0.9,  # Fold 3 is judged by a threshold under .27, and the others by one of 1.5.
    'tpr_at_far_0.001': 0.9,  # Nobody else's pair may be accepted: all under .27, or under 2 in fold 5.
  }
  for metric, value in expected.items():
    row = find_row(rows, metric)
    assert row['value'] == pytest.approx(value, abs=1e-9), metric
    assert (row['count'], row['identities']) == (20, 30)
  assert read_provenance(tmp_path / 'out' / 'roc.png')['digital_source_type'].endswith('dataDrivenMedia')
  pairs = np.load(tmp_path / 'out' / 'samples.npz')
  assert pairs['sample'][0] == 'P_0/P_0_0001.jpg P_0/P_0_0002.jpg'
  assert roc.read_pairs(tmp_path / 'out').pairs.same.tolist() == [True, False] * 10
  assert np.flatnonzero(pairs['model/verification_accuracy'] == 0).tolist() == [6, 11]


def test_thresholds_at_a_rate_of_false_alarms_by_hand():
  pairs = Pairs(np.arange(8), np.arange(8) + 8, np.array([True, True, False, False] * 2))
  scores = np.array([9.0, 5.0, 6.0, 1.0, 7.0, 4.0, 3.0, 2.0])
  folds = np.repeat([0, 1], 4)
  people = np.arange(16)
  # The first half by 3, the highest of the other half; that by 6.
  none = accepted_at_far(scores, people, pairs, 0.0, tenths=folds)
  assert none.tolist() == [True, True, True, False, True, False, False, False]
  # One of two may be accepted: by 2, and by 1.
  half = accepted_at_far(scores, people, pairs, 0.5, tenths=folds)
  assert half.tolist() == [True, True, True, False, True, True, True, True]


def write_ijba(folder, extra_comparison='', metadata=None):
  """Two splits. In the first, one person at 0 degrees and two at 90; in the second, one at 30 and two at 20."""
  for split, (same, other) in {1: (0, 90), 2: (30, 20)}.items():
    home = folder / 'IJB-A_11_sets' / f'split{split}'
    home.mkdir(parents=True, exist_ok=True)
    rows = [  # Template, subject, angle, medium: the video of template 1 has two frames, 2 degrees about its angle.
      (1, 'A', -2, 7), (1, 'A', 2, 7), (2, 'A', same, 8), (3, 'B', other, 9),
    ]  # fmt: skip
    lines = ['TEMPLATE_ID,SUBJECT_ID,FILE,MEDIA_ID,SIGHTING_ID,FRAME,FACE_X,FACE_Y,FACE_WIDTH,FACE_HEIGHT']
    for number, (template, subject, degrees, media) in enumerate(rows):
      file = f'img/{split}{number}.jpg'
      paint(folder / 'images' / file, degrees + 10)  # No channel below 0.
      lines.append(f'{template},{split}{subject},{file},{media},0,0,15,15,30,30')
    (home / f'verify_metadata_{split}.csv').write_text('\n'.join(lines if metadata is None else metadata) + '\n')
    (home / f'verify_comparisons_{split}.csv').write_text(f'1,2\n1,3\n{extra_comparison}')


def test_ijba_by_hand(colours, tmp_path):
  write_ijba(tmp_path)
  rows = verification.verify([colours], 'ijba', tmp_path, f'{tmp_path}/out')
  # Cosines of one person are 1 and .87, of two 0 and .94; the threshold of a split is the other's. By its own, the
  # second split would accept nobody.
  assert find_row(rows, 'tpr_at_far_0.001')['value'] == find_row(rows, 'tpr_at_far_0.01')['value'] == 1.0
  assert find_row(rows, 'auc')['value'] == pytest.approx(0.75)
  assert find_row(rows, 'eer')['count'] == 4 and find_row(rows, 'eer')['identities'] == 4


def test_pooling_and_scores_of_templates_by_hand():
  east, north = np.array([2.0, 0.0]), np.array([0.0, 5.0])
  codes = np.stack([east, east, north, north])
  pooled, owner = verification.pool(codes, np.array([0, 1, 1, 1]), np.array([0, 1, 1, 2]))
  np.testing.assert_allclose(pooled, [[1, 0], [0.5**0.5, 0.5**0.5], [0, 1]])
  assert owner.tolist() == [0, 1, 1]
  # Cosines 1 and 0: their mean is weighted by e^beta to 1.
  pair = Pairs(np.array([0]), np.array([1]), np.array([True]))
  score = verification.template_scores(np.stack([[1.0, 0], [1, 0], [0, 1]]), np.array([0, 1, 1]), pair)
  assert score[0] == pytest.approx(np.mean(1 / (1 + np.exp(-np.arange(21.0)))))


def broken(folder, kind):
  if kind == 'pairs':
    (folder / 'pairs.txt').write_text('10 1\nA 1 2\nA one B 2\n')
  elif kind == 'short':
    text = (folder / 'pairs.txt').read_text().splitlines()
    (folder / 'pairs.txt').write_text('\n'.join(text[:-2]))
  elif kind == 'missing':
    (folder / 'lfw' / 'R_4' / 'R_4_0001.jpg').unlink()
  elif kind == 'damaged':
    (folder / 'lfw' / 'P_0' / 'P_0_0001.jpg').write_bytes(b'no picture')


@pytest.mark.parametrize('kind, text', [
  ('pairs', "pairs.txt, line 3: 'A one B 2' is not a pair of LFW"),
  ('short', 'says 10 x 2 x 1 pairs and has 18: it is cut off'),
  ('missing', 'R_4/R_4_0001.jpg is missing, which the list names'),
  ('damaged', 'P_0_0001.jpg: not a picture'),
])
def test_what_is_wrong_with_lfw_is_told_in_a_line(colours, tmp_path, capsys, kind, text):
  write_lfw(tmp_path)
  broken(tmp_path, kind)
  argv = ['verification', colours, f'--input={tmp_path}', f'--output={tmp_path}/out']
  assert commands.run(verification.main, argv) == 2
  error = capsys.readouterr().err
  assert text in error and error.strip().count('\n') == 0
  assert not (tmp_path / 'out').exists()


HEADER = 'TEMPLATE_ID,SUBJECT_ID,FILE,MEDIA_ID'


@pytest.mark.parametrize('extra, metadata, text', [
  ('1,99\n', None, 'verify_comparisons_1.csv, line 3: template 99 has no picture in verify_metadata_1.csv'),
  ('1;2\n', None, "verify_comparisons_1.csv, line 3: '1;2' are not two numbers of templates"),
  ('', ['TEMPLATE_ID,FILE'], 'has no column SUBJECT_ID'),
  ('', [HEADER, '1,A,a.jpg,1', '1,B,b.jpg,1'], 'line 3: template 1 shows B, and above A'),
  ('', [HEADER, '1,A,,1'], "line 2: '1,A,,1' is not a picture of a template"),
  ('', [HEADER, '1,A,a.jpg,1', '2,A,b.jpg,1', '3,A,c.jpg,1'], '4 of one person: both kinds are needed'),
])
def test_what_is_wrong_with_ijba_is_told_in_a_line(tmp_path, extra, metadata, text):
  write_ijba(tmp_path, extra, metadata)
  with pytest.raises(ValueError, match=text) as error:
    verification_lists.read_ijba(tmp_path)
  assert '\n' not in str(error.value)


def test_other_mistakes_are_told_in_a_line(colours, tmp_path):
  (tmp_path / 'gcgan').mkdir()
  (tmp_path / 'gcgan' / 'flags.cfg').write_text('--system=gcgan\n')
  for models, protocol, text in (
    (['nowhere'], 'lfw', 'nowhere: there is no such model'),
    ([str(tmp_path / 'gcgan')], 'lfw', 'is a model of gcgan: one of nn4 or recognition or facecycle'),
    ([colours], 'ijba', 'has no split1, also not in IJB-A_11_sets'),
    ([colours, colours, colours], 'lfw', 'is given twice'),
    ([colours], 'people', 'has no folder of a person with pictures'),
  ):
    with pytest.raises((ValueError, OSError), match=text):
      verification.verify(models, protocol, tmp_path, str(tmp_path / 'out'))
  with pytest.raises(ValueError, match='is no run, in which the results could lie: set --output=DIR'):
    verification.verify([colours], 'lfw', tmp_path)


@pytest.fixture(scope='module')
def run(tmp_path_factory):
  workdir = tmp_path_factory.mktemp('runs') / 'faces'
  workdir.mkdir()
  config = RecognitionConfig.tiny(image_size=64)
  runs.save_flags(config, workdir)
  runs.save_checkpoint(tf.train.Checkpoint(system=runs.build(config)), workdir, 'train', 2, 1)
  return workdir


def test_a_run_and_its_export_give_one_code(run, tmp_path):
  export.export(run, tmp_path / 'exported')
  readers = [verification_faces.open_reader(str(path)) for path in (run, tmp_path / 'exported')]
  assert [reader.name for reader in readers] == ['recognition:faces', 'recognition:exported']
  image = np.random.default_rng(0).integers(0, 256, [80, 80, 3], dtype=np.uint8)
  points = np.stack([np.linspace(20, 60, 68), 40 + 15 * np.sin(np.arange(68))], axis=1)
  codes = [reader.look(np.stack([reader.cut(image, points)] * 2)) for reader in readers]
  assert codes[0].shape == (2, 256)
  np.testing.assert_allclose(codes[0], codes[1], atol=1e-5)


@pytest.mark.skipif(not PHOTOGRAPHS.is_dir(), reason='needs the photographs of ../shared/data')
def test_real_people_with_dlib_beside(run, tmp_path):
  """A random network tells them apart hardly, dlib's descriptor nearly always."""
  taken: dict[str, int] = {}
  most = {'caltech': (7, 4), 'london': (10, 2), 'yale': (5, 3)}
  with open(PHOTOGRAPHS / 'manifest.csv', newline='') as file:
    for row in csv.DictReader(file):
      source = pathlib.Path(row['file']).parent.name
      person = row['identity']
      among = sum(name.startswith(source) for name in taken)
      if source in most and taken.get(person, 0) < most[source][1] and (person in taken or among < most[source][0]):
        taken[person] = taken.get(person, 0) + 1
        (tmp_path / 'faces' / person).mkdir(parents=True, exist_ok=True)
        shutil.copy(PHOTOGRAPHS / row['file'], tmp_path / 'faces' / person)
  assert len(taken) >= 20
  rows = verification.verify([str(run), 'dlib'], 'people', tmp_path / 'faces')
  dlib = 'dlib_face_recognition_resnet_v1'
  assert (run / 'eval' / 'people' / 'roc.png').is_file()
  assert find_row(rows, 'auc', dlib)['value'] > 0.98 > 0.95 > find_row(rows, 'auc')['value']
  assert find_row(rows, 'verification_accuracy', dlib)['value'] > 0.93
  assert find_row(rows, 'auc', f'model_minus_{dlib}')['high'] < 0
