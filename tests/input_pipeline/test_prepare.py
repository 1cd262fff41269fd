import csv
import importlib.util
import json
import os
import pathlib
import shutil
import subprocess
import sys

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

from input_pipeline import alignment, dataset, faces, listing, prepare, skin, splits
from models import commands
from tests.input_pipeline import builders

SHARED = pathlib.Path(__file__).parents[3] / 'shared' / 'data'
LONDON = SHARED / 'clear' / 'london'
PEOPLE = ('002', '006', '042', '061', '143')
real_faces = pytest.mark.skipif(not LONDON.is_dir(), reason='the photographs of ../shared/data are not here')


def command(capsys, *arguments):
  """Runs the command in this process; returns the exit code and what it printed."""
  code = commands.run(prepare.main, ['prepare', *map(str, arguments)])
  out = capsys.readouterr()
  return code, out.out + out.err


@pytest.fixture(scope='module')
def tree(tmp_path_factory):
  folder = tmp_path_factory.mktemp('photos')
  for person in PEOPLE:
    (folder / f'p{person}').mkdir()
    for expression in ('neutral', 'happy'):
      shutil.copy(LONDON / f'{person}_{expression}.jpg', folder / f'p{person}' / f'{expression}_01.jpg')
  return folder


@pytest.fixture(scope='module')
def prepared(tree, tmp_path_factory):
  output = tmp_path_factory.mktemp('prepared') / 'data'
  assert commands.run(prepare.main, ['prepare', f'--input={tree}', f'--output={output}', '--test_identities=2']) == 0
  return output


@real_faces
def test_photographs_become_a_data_set_that_tfds_reads(prepared):
  builder = tfds.builder_from_directory(prepared)
  assert {k: v.num_examples for k, v in builder.info.splits.items()} == {'train': 6, 'test': 4}
  data = dataset.open_dataset(str(prepared))
  assert data.expressions == ['neutral', 'happy'] and data.crop_size == 128 and not data.rendered
  index = data.index('train')
  assert set(index['skin']) == {'light', 'dark'} and not index['pose'].any()
  # dlib's own points of these files, brought into the crop by hand.
  with open(SHARED / 'landmarks68.csv') as file:
    row = next(r for r in csv.reader(file) if r[0] == 'clear/london/006_happy.jpg')
  points = np.array(row[1:137], float).reshape(68, 2)
  wanted = alignment.normalize(alignment.transform_points(points, alignment.align(points, 'paper', 0.8, 128)), 128)
  place = list(index['file']).index('p006/happy_01.jpg')
  assert np.abs(index['landmarks'][place] - wanted).mean() < 0.02
  with Image.open(prepared / 'contact_sheet.png') as sheet:
    assert sheet.size == (1280, 140)
  statistics = json.loads((prepared / 'statistics.json').read_text())
  assert statistics['pictures'] == 10 and statistics['landmarks_outside'] < 0.01
  assert statistics['splits']['test']['skin'] == {'dark': 1, 'light': 1}


@real_faces
def test_the_same_command_reuses_and_another_is_refused(prepared, tree, capsys):
  before = {f: f.stat().st_mtime_ns for f in prepared.iterdir()}
  code, text = command(capsys, f'--input={tree}', f'--output={prepared}', '--test_identities=2')
  assert code == 0 and 'it is reused' in text
  code, text = command(capsys, f'--input={tree}', f'--output={prepared}', '--test_identities=2', '--crop_size=64')
  assert code == 2 and 'crop_size=128 there, 64 now' in text and '--overwrite' in text
  assert {f: f.stat().st_mtime_ns for f in prepared.iterdir()} == before


@real_faces
def test_a_stopped_command_continues_without_looking_again(tree, tmp_path, monkeypatch, capsys):
  looked = []
  find = prepare.find_face

  def find_or_stop(path, settings):
    looked.append(path)
    if len(looked) == 7:
      raise KeyboardInterrupt
    return find(path, settings)

  monkeypatch.setattr(prepare, 'find_face', find_or_stop)
  monkeypatch.setattr(prepare, 'PER_CHUNK', 3)
  arguments = (f'--input={tree}', f'--output={tmp_path / "data"}')
  assert command(capsys, *arguments)[0] == 130
  with pytest.raises(ValueError, match='is not finished'):
    dataset.open_dataset(str(tmp_path / 'data'))
  code, text = command(capsys, *arguments)
  assert code == 0 and 'it is continued' in text and len(looked) == 7 + 4
  assert not list((tmp_path / 'data').glob('.detected*'))


@real_faces
def test_unusable_pictures_are_skipped_and_listed(tree, tmp_path, capsys):
  folder = tmp_path / 'photos'
  shutil.copytree(tree, folder)
  odd = folder / 'odd'
  files = builders.photo_files(odd)
  for file in files.values():
    file.rename(odd / f'happy_{file.name}')
  face = Image.open(folder / 'p002' / 'happy_01.jpg')
  face.resize((40, 40)).resize((64, 64)).save(odd / 'happy_small.jpg')
  shutil.copy(folder / 'p002' / 'happy_01.jpg', folder / 'nobody.jpg')
  shutil.copy(folder / 'p002' / 'happy_01.jpg', odd / '01.jpg')
  (odd / 'notes.txt').write_text('x')
  two = Image.new('RGB', (700, 400), 'gray')
  two.paste(face, (0, 0))
  two.paste(Image.open(folder / 'p006' / 'happy_01.jpg').resize((380, 380)), (310, 10))
  two.save(folder / 'p006' / 'happy_two.png')
  code, text = command(capsys, f'--input={folder}', f'--output={tmp_path / "data"}', '--test_identities=2')
  assert code == 0
  with open(tmp_path / 'data' / 'skipped.csv') as file:
    reasons = {row['file']: row['reason'] for row in csv.DictReader(file)}
  assert 'damaged or cut off' in reasons['odd/happy_cut.jpg'] and reasons['odd/happy_plain.png'] == 'no face found'
  assert reasons['odd/notes.txt'] == 'not a picture or video' and 'person' in reasons['nobody.jpg']
  assert reasons['odd/01.jpg'] == 'the name does not begin with the expression'
  assert len(reasons) == 13 + 1 + 3 and f'{len(reasons)} skipped' in text
  index = dataset.open_dataset(str(tmp_path / 'data')).index('train')
  table = dict(zip(index['file'], index['landmarks'], strict=True))
  # Of two faces the larger one counts: the crop is that of the single photograph.
  assert np.abs(table['p006/happy_two.png'] - table['p006/happy_01.jpg']).mean() < 0.05


@real_faces
def test_rotated_cmyk_and_grey_faces_lie_where_the_plain_one_does(tree, tmp_path):
  settings = faces.Settings('paper', 0.8, 128)
  face = Image.open(tree / 'p006' / 'neutral_01.jpg')
  plain = prepare.find_face(str(tree / 'p006' / 'neutral_01.jpg'), settings)
  exif = Image.Exif()
  exif[0x0112] = 8
  face.transpose(Image.Transpose.ROTATE_270).save(tmp_path / 'rotated.jpg', quality=97, exif=exif)
  face.convert('CMYK').save(tmp_path / 'cmyk.jpg', quality=97)
  Image.fromarray(np.asarray(face.convert('L')).astype(np.uint16) * 257).save(tmp_path / 'deep.png')
  for file in sorted(tmp_path.iterdir()):
    found = prepare.find_face(str(file), settings)
    assert not found.reason and np.abs(np.array(found.points) - plain.points).mean() < 1.5, file
  assert np.isnan(found.angle) or file.name != 'deep.png'


@pytest.mark.parametrize(
  'arguments, message',
  [
    ((), '--input is missing'),
    (('--input={tmp}/nothing',), 'there is no such folder'),
    (('--input={tmp}/empty',), 'no picture was found: it is empty'),
    (('--input={tmp}/faceless',), 'none of 3 pictures can be used; 2 times: no face found'),
    (
      ('--input={tmp}/faceless', '--alignment=affine'),
      '--alignment=affine: value should be one of <paper|similarity|box>',
    ),
    (('--input={tmp}/faceless', '--crop_size=big'), 'crop_size'),
    (('--input={tmp}/faceless', '--landmark_model=none.dat'), '--landmark_model=none.dat: there is no such file'),
    (('--input={tmp}/faceless', '--landmark_model={tmp}/faceless/a/happy.png'), 'is not a dlib shape predictor'),
    (('--input={tmp}/faceless', '--where=file=a*'), 'pass --manifest'),
    (('--input={tmp}/faceless', '--manifest=none.csv'), 'there is no such file'),
    (('--input={tmp}/faceless', '--manifest={tmp}/short.csv'), "lacks the column 'expression'"),
    (('--input={tmp}/faceless', '--manifest={tmp}/good.csv', '--where=mood=a'), "no column 'mood'"),
    (('--input={tmp}/faceless', '--manifest={tmp}/good.csv', '--where=identity'), 'is not COLUMN=VALUE'),
    (('--input={tmp}/faceless', '--manifest={tmp}/good.csv', '--where=identity=c'), 'meets --where=identity=c'),
    (('--input={tmp}/faceless', '--manifest={tmp}/both.csv'), 'people must not be in two'),
    (('--input={tmp}/faceless', '--runner=DirectRunner'), 'needs Apache Beam'),
    (('--input={tmp}/faceless', '--inptu=x'), 'inptu'),
  ],
)
def test_wrong_input_is_one_line_and_leaves_nothing(tmp_path, capsys, monkeypatch, arguments, message):
  monkeypatch.setattr(
    importlib.util,
    'find_spec',
    lambda name, find=importlib.util.find_spec: None if name == 'apache_beam' else find(name),
  )
  (tmp_path / 'empty').mkdir()
  for person in 'ab':
    (tmp_path / 'faceless' / person).mkdir(parents=True)
    Image.new('RGB', (99, 99)).save(tmp_path / 'faceless' / person / 'happy.png')
  (tmp_path / 'faceless' / 'b' / 'sad.png').write_text('no picture')
  (tmp_path / 'short.csv').write_text('file,identity\na/happy.png,a\n')
  (tmp_path / 'good.csv').write_text('file,identity,expression\na/happy.png,a,happy\n')
  (tmp_path / 'both.csv').write_text('file,identity,expression,split\na/1.png,a,happy,train\na/2.png,a,happy,test\n')
  before = sorted(tmp_path.rglob('*'))
  code, text = command(capsys, f'--output={tmp_path}/data', *(a.format(tmp=tmp_path) for a in arguments))
  lines = [line for line in text.splitlines() if not line.startswith('finding faces')]
  assert code == 2 and len(lines) == 1 and message in lines[0], text
  assert sorted(tmp_path.rglob('*')) == before


def test_one_person_is_not_enough(tmp_path, capsys, monkeypatch):
  for name in ('happy.png', 'neutral.png'):
    (tmp_path / 'photos' / 'anna').mkdir(parents=True, exist_ok=True)
    Image.new('RGB', (99, 99)).save(tmp_path / 'photos' / 'anna' / name)
  points = np.random.default_rng(0).uniform(20, 80, [68, 2]).tolist()
  monkeypatch.setattr(prepare, 'find_face', lambda path, settings: faces.Face('', points, 0.0, 30.0))
  code, text = command(capsys, f'--input={tmp_path / "photos"}', f'--output={tmp_path / "data"}')
  assert code == 2 and 'show one person (anna)' in text and not (tmp_path / 'data').exists()


def test_manifest_selects_rows_and_lists_what_is_no_picture(tmp_path):
  (tmp_path / 'list.csv').write_text(
    'file,identity,expression,light,tier\nb.jpg,Ann,Happy,2,x1\na.jpg,Bob,neutral,,x2\nc.doc,Bob,sad,0,x3\n'
    'a.jpg,Bob,neutral,0,x2\nd.jpg,,sad,0,x2\ne.jpg,Cid,sad,0,y\n'
  )
  found, skipped = listing.list_photos(str(tmp_path), 'list.csv', ['tier=x*'])
  assert found == [listing.Photo('a.jpg', 'Bob', 'neutral'), listing.Photo('b.jpg', 'Ann', 'happy', light=2)]
  assert skipped == {'c.doc': 'not a picture or video', 'a.jpg': 'listed twice', 'd.jpg': 'no identity is given'}
  assert [p.file for p in listing.list_photos(str(tmp_path), 'list.csv', ['tier=y', 'tier=x1'])[0]] == [
    'b.jpg',
    'e.jpg',
  ]
  (tmp_path / 'films.csv').write_text('file,identity,expression\na.jpg,Ann,sad\nb.mp4,Ann,video\n')
  found, skipped = listing.list_photos(str(tmp_path), 'films.csv', videos=False)
  assert [p.file for p in found] == ['a.jpg'] and skipped == {'b.mp4': 'a video: --frame_rate=RATE takes its frames'}
  assert len(listing.list_photos(str(tmp_path), 'films.csv')[0]) == 2


def test_held_out_people_include_dark_skin_and_leave_some_for_training():
  angles = {f'light_{i:02d}': 50.0 for i in range(60)} | {f'dark_{i}': -60.0 + 9 * i for i in range(8)}
  chosen = splits.held_out_people(angles, 15)
  assert len(chosen) == 15
  assert [p for p in chosen if 'dark' in p] == ['dark_0', 'dark_2', 'dark_4', 'dark_6']
  assert [p for p in chosen if 'light' in p] == [f'light_{i}' for i in range(49, 60)]
  assert len(splits.held_out_people({'dark_a': -10.0, 'dark_b': 0.0, 'dark_c': 5.0}, 2)) == 2


def test_folds_share_nobody_and_spread_dark_skin():
  angles = {f'light_{i:02d}': 50.0 for i in range(60)} | {f'dark_{i}': -60.0 for i in range(11)}
  groups = [splits.fold_people(angles, k, 5) for k in range(1, 6)]
  assert sorted(person for group in groups for person in group) == sorted(angles)
  assert [len(group) for group in groups] == [15, 14, 14, 14, 14]
  assert all(sum('dark' in person for person in group) in (2, 3) for group in groups)


def test_lab_agrees_with_published_values():
  # sRGB red and mid grey, CIE D65 (Lindbloom's calculator).
  np.testing.assert_allclose(skin.to_lab(np.array([1.0, 0, 0])), [53.24, 80.09, 67.20], atol=0.02)
  np.testing.assert_allclose(skin.to_lab(np.array([0.5, 0.5, 0.5])), [53.39, 0, 0], atol=0.02)
  assert skin.label(60.0) == 'light' and skin.label(-30.0) == 'dark' and skin.label(float('nan')) == ''


@real_faces
def test_the_command_runs_in_worker_processes(tree, tmp_path):
  done = subprocess.run(
    [
      sys.executable,
      '-m',
      'input_pipeline.prepare',
      f'--input={tree}',
      f'--output={tmp_path / "data"}',
      '--processes=2',
    ],
    capture_output=True,
    text=True,
    env={**os.environ, 'TF_CPP_MIN_LOG_LEVEL': '3'},
  )
  assert done.returncode == 0, done.stderr
  assert '10 pictures kept, 0 skipped' in done.stdout and 'finding faces: 10 pictures' in done.stderr


def test_folders_within_a_persons_folder_are_the_same_persons(tmp_path):
  for file in ('anna/day1/smile.jpg', 'anna/day2/neutral.jpg', 'ben/smile.jpg'):
    (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / file).touch()
  found, _ = listing.list_photos(str(tmp_path))
  assert [(photo.identity, photo.expression) for photo in found] == [
    ('anna', 'smile'), ('anna', 'neutral'), ('ben', 'smile')]
