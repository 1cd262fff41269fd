"""What people get wrong: every row is one command, the line that it prints, and that it changes no file.

The last table is of photographs that look wrong and are right.
"""

import contextlib
import csv
import dataclasses
import hashlib
import io
import os
import pathlib
import resource
import shutil
import zipfile

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

import evaluate.main
import train.main
from evaluate import export, transfer
from input_pipeline import dataset, prepare, shards
from models import commands, runs
from models.gcgan import GCGANConfig
from tests.conformance.toy import ToyConfig
from tests.input_pipeline import builders

pytestmark = pytest.mark.usefixtures('toy_system')


@pytest.fixture(scope='module')
def face(tmp_path_factory):
  path = tmp_path_factory.mktemp('face') / 'face.png'
  Image.fromarray(builders.rendered_faces()[0, 0]).save(path)
  return path


@pytest.fixture(scope='module')
def faces(tmp_path_factory):
  return builders.write_faces(tmp_path_factory.mktemp('faces') / 'data', size=32)


@pytest.fixture(scope='module')
def run(tmp_path_factory, faces):
  """A run of the smallest GC-GAN; nothing was trained."""
  workdir = tmp_path_factory.mktemp('runs') / 'run'
  workdir.mkdir()
  config = GCGANConfig.tiny(dataset=str(faces), evaluate=False)
  system = runs.build(config)
  system.phase = 'train'
  runs.save_flags(config, workdir)
  runs.save_checkpoint(tf.train.Checkpoint(system=system), workdir, 'train', 1, keep=1)
  return workdir


@dataclasses.dataclass
class Scene:
  """Where a row builds what is wrong: `tmp`, fixtures by name, and a stack for what holds while it runs."""

  tmp: pathlib.Path
  stack: contextlib.ExitStack
  fixture: object

  def train(self, *flags):
    """A training command of the smallest GC-GAN."""
    config = GCGANConfig.tiny(data_dir=f'{self.tmp}/cache')
    (self.tmp / 'tiny.cfg').write_text(runs.flags_text(config))
    return [f'--flagfile={self.tmp}/tiny.cfg', f'--workdir={self.tmp}/run', *flags]

  def train_on(self, **wrong):
    return self.train(f'--dataset={builders.write_faces(self.tmp / "data", **{"size": 32} | wrong)}')

  def prepare(self, **pictures):
    """The preparation of a person's pictures, each written by a function of its path."""
    (self.tmp / 'photos' / 'anna').mkdir(parents=True)
    for name, write in pictures.items():
      write(self.tmp / 'photos' / 'anna' / name.replace('_', '.'))
    return [f'--input={self.tmp}/photos', f'--output={self.tmp}/data', '--processes=1']

  def transfer(self, source, model='none'):
    return [f'--model={model}', f'--source={source}', f'--driver={source}', f'--output={self.tmp}/out.png']


def blank(path):
  Image.new('RGB', (99, 99)).save(path)
  return path


def cut(path):
  return path.write_bytes(builders.photo_files(path.parents[2] / 'odd')['cut.jpg'].read_bytes())


def nested_typo(scene):
  (scene.tmp / 'in').mkdir()
  (scene.tmp / 'in' / 'inner.cfg').write_text('# c\n--system=gcgan\n--batch_sise=8\n')
  (scene.tmp / 'outer.cfg').write_text('--flagfile=in/inner.cfg\n')
  return [f'--flagfile={scene.tmp}/outer.cfg', f'--workdir={scene.tmp}/run']


def toy_workdir(scene):
  (scene.tmp / 'run').mkdir()
  runs.save_flags(ToyConfig.tiny(), scene.tmp / 'run')
  return scene.tmp / 'run'


def other_systems_run(scene):
  toy_workdir(scene)
  return scene.train()


def no_pixels(scene):
  """Pictures stored as numbers, some of which are none."""
  features = dataset.face_features(['a', 'b'], builders.EXPRESSIONS, 32)
  features['image'] = shards.import_tfds().features.Tensor(shape=(32, 32, 3), dtype=np.float32)
  pixels = np.full([32, 32, 3], np.nan, np.float32)

  def examples(split, shard):
    people = {'train': 1, 'test': 1}
    for example in builders.examples(split, shard, people=people, expressions=builders.EXPRESSIONS, size=32):
      yield example | {'image': pixels}

  shards.write_dataset(
    str(scene.tmp / 'data'), dataset.NAME, features, {'train': [6], 'test': [6]}, examples, {}, processes=1
  )
  return scene.train(f'--dataset={scene.tmp}/data')


def empty_folder(scene):
  (scene.tmp / 'data').mkdir()
  return scene.train(f'--dataset={scene.tmp}/data')


def other_shape(scene):
  """A run whose flags.cfg was edited."""
  workdir = scene.tmp / 'run'
  shutil.copytree(scene.fixture('run'), workdir)
  text = (workdir / 'flags.cfg').read_text()
  (workdir / 'flags.cfg').write_text(text.replace('--width=0.0625', '--width=0.125'))
  return [f'--flagfile={workdir}/flags.cfg', f'--workdir={workdir}']


def toy_flags(workdir):
  return ['--system=toy', '--train_steps=2', '--noevaluate', f'--workdir={workdir}']


def read_only(scene):
  if os.geteuid() == 0:  # Nothing but the kernel's own folders is read-only for root.
    return toy_flags('/proc/run')
  (scene.tmp / 'locked').mkdir()
  (scene.tmp / 'locked').chmod(0o555)
  return toy_flags(scene.tmp / 'locked' / 'run')


def full(scene):
  """A file may have 300 bytes, as on a disk that is nearly full."""
  limits = resource.getrlimit(resource.RLIMIT_FSIZE)
  scene.stack.callback(resource.setrlimit, resource.RLIMIT_FSIZE, limits)
  resource.setrlimit(resource.RLIMIT_FSIZE, (300, limits[1]))
  return toy_flags(scene.tmp / 'run')


def in_use(scene):
  workdir = toy_workdir(scene)
  scene.stack.enter_context(runs.lock(workdir))
  return [f'--flagfile={workdir}/flags.cfg', f'--workdir={workdir}']


def pickled(scene):
  np.savez(scene.tmp / 'model.npz', mean=np.array([{'a': 1}], object))
  return scene.train(f'--face_model={scene.tmp}/model.npz')


def oversized(scene):
  header = io.BytesIO()
  np.lib.format.write_array_header_1_0(header, {'descr': '<f4', 'fortran_order': False, 'shape': (10**12, 2)})
  with zipfile.ZipFile(scene.tmp / 'model.npz', 'w') as archive:
    archive.writestr('mean.npy', header.getvalue())
  return scene.train(f'--face_model={scene.tmp}/model.npz')


def no_signature(scene):
  module = tf.Module()
  module.f = tf.function(lambda x: {'y': x}, [tf.TensorSpec([None], tf.float32, name='x')])
  version = scene.tmp / 'export' / '1'
  tf.saved_model.save(module, str(version), signatures={'other': module.f.get_concrete_function()})
  (version / 'assets.extra').mkdir()
  (version / 'assets.extra' / 'flags.cfg').write_text(runs.flags_text(GCGANConfig.tiny()))
  return scene.transfer(scene.fixture('face'), scene.tmp / 'export')


def other_files(scene):
  arguments = scene.prepare(happy_png=blank)
  (scene.tmp / 'data').mkdir()
  (scene.tmp / 'data' / 'thesis.txt').write_text('mine')
  return arguments


def one_person(scene):
  return scene.prepare(happy_png=lambda path: path.write_bytes(scene.fixture('face').read_bytes()))


def empty_photos(scene):
  return scene.prepare()


def evaluate_other(scene):
  data = builders.write_faces(scene.tmp / 'data', name='shapes')
  return [f'--workdir={scene.fixture("run")}', f'--dataset={data}']


def row(identifier, main, build, *messages):
  return pytest.param(main, build, messages, id=identifier)


TRAIN, PREPARE, TRANSFER = train.main.main, prepare.main, transfer.main
TABLE = [
  row(
    'a typo in a nested flagfile',
    TRAIN,
    nested_typo,
    '--batch_sise=8 (in {tmp}/in/inner.cfg line 3): there is no flag --batch_sise for gcgan;',
    'did you mean --batch_size?',
  ),
  row(
    'contradictory flags',
    TRAIN,
    lambda scene: scene.train('--n_skips=0', '--skip=concat'),
    'skip=concat has nothing to join with n_skips=0: set n_skips=1 or skip=add',
    '--n_skips=0 (on the command line)',
  ),
  row(
    'contradictory flags of prepare',
    PREPARE,
    lambda scene: [*scene.prepare(happy_png=blank), '--where=a=b'],
    'pass --manifest',
  ),
  row(
    'data of another system',
    TRAIN,
    lambda scene: scene.train_on(name='shapes'),
    "--dataset={tmp}/data is a data set of kind 'shapes'",
    "this system needs kind 'faces'",
  ),
  row('evaluation on data of another system', evaluate.main.main, evaluate_other, "is a data set of kind 'shapes'"),
  row('a run of another system', TRAIN, other_systems_run, '--workdir={tmp}/run holds a run of toy, not of gcgan'),
  row('an empty data set', TRAIN, lambda scene: scene.train_on(train=0), "split 'train' has no pictures"),
  row('a folder without data', TRAIN, empty_folder, '--dataset={tmp}/data holds no prepared data set'),
  row('no photographs', PREPARE, empty_photos, '--input={tmp}/photos: no picture was found'),
  row(
    'one identity',
    TRAIN,
    lambda scene: scene.train_on(train=1, test=0),
    'shows one person only (person_0)',
    'at least 2 people are needed',
  ),
  row('photographs of one identity', PREPARE, one_person, 'show one person (anna)'),
  row(
    'a class absent from a split',
    TRAIN,
    lambda scene: scene.train_on(absent=True),
    "no picture of expression 'absent' in split 'train'",
  ),
  row(
    'truncated photographs',
    PREPARE,
    lambda scene: scene.prepare(happy_jpg=cut),
    '--input={tmp}/photos: none of 1 pictures can be used; 1 times: the picture is damaged or cut off',
  ),
  row(
    'a truncated source',
    TRANSFER,
    lambda scene: scene.transfer(builders.photo_files(scene.tmp / 'odd')['cut.jpg']),
    '{tmp}/odd/cut.jpg: the picture is damaged or cut off',
  ),
  row(
    'a truncated picture in a shard',
    TRAIN,
    lambda scene: scene.train_on(spoil='image'),
    "a picture of split 'test' is damaged: prepare the data set again with --overwrite",
  ),
  row(
    'no face in any photograph',
    PREPARE,
    lambda scene: scene.prepare(happy_png=blank),
    'none of 1 pictures can be used; 1 times: no face found',
  ),
  row(
    'no face in the source',
    TRANSFER,
    lambda scene: scene.transfer(blank(scene.tmp / 'blank.png')),
    '--source={tmp}/blank.png: no face was found',
  ),
  row(
    'NaN landmarks in a shard',
    TRAIN,
    lambda scene: scene.train_on(spoil='landmarks'),
    "{tmp}/data: landmarks of row 0 of split 'train' are not finite",
  ),
  row('NaN pixels in a shard', TRAIN, no_pixels, 'its pictures are stored as float32, 8-bit pictures are needed'),
  row('a checkpoint of another shape', TRAIN, other_shape, '/checkpoints/train/ckpt-1 does not fit this system'),
  row('a read-only workdir', TRAIN, read_only, '--workdir=', 'cannot be written', 'choose another'),
  row('a full workdir', TRAIN, full, '{tmp}/run/flags.cfg cannot be written (File too large): make room'),
  row('two processes on one workdir', TRAIN, in_use, '--workdir={tmp}/run is in use by process'),
  row('an output folder with other files', PREPARE, other_files, '--output={tmp}/data holds other files (thesis.txt'),
  row(
    'a pickled face model',
    TRAIN,
    pickled,
    "face model {tmp}/model.npz: array 'mean' holds pickled Python objects, which are never loaded",
  ),
  row(
    'a face model with an oversized header',
    TRAIN,
    oversized,
    "face model {tmp}/model.npz: array 'mean' has a header that promises 8000000000000 bytes where 0 follow",
  ),
  row(
    'a SavedModel without its signature',
    TRANSFER,
    no_signature,
    '{tmp}/export/1 has no signature serving_default (it has other)',
  ),
  row(
    'an export of no run',
    export.main,
    lambda scene: [f'--workdir={scene.tmp}', f'--output={scene.tmp}/out'],
    '{tmp} holds no run',
  ),
]


def contents(*folders):
  """Every path below the folders, with the hash of its content."""
  return {
    path: hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ''
    for folder in folders
    for path in sorted(folder.rglob('*'))
  }


@pytest.mark.parametrize('main, build, messages', TABLE)
def test_wrong_input_is_one_line_and_changes_no_file(main, build, messages, tmp_path, capsys, request):
  shared = []

  def fixture(name):
    shared.append(request.getfixturevalue(name))
    return shared[-1]

  with contextlib.ExitStack() as stack:
    arguments = build(Scene(tmp_path, stack, fixture))
    folders = [tmp_path, *(path.parent for path in shared)]
    before = contents(*folders)
    capsys.readouterr()
    code = commands.run(main, ['command', *arguments])
    text = capsys.readouterr()
    after = contents(*folders)
  lines = [line for line in text.err.splitlines() if not line.startswith('finding faces')]
  assert code == 2 and len(lines) == 1 and lines[0].startswith('error: '), text.err
  for message in messages:
    assert message.format(tmp=tmp_path) in lines[0]
  assert after == before


@pytest.fixture(scope='module')
def awkward(tmp_path_factory, face):
  """What `prepare` makes of photographs that look wrong: landmarks by file, and reasons by skipped file."""
  folder = tmp_path_factory.mktemp('awkward')
  for person in ('anna', 'bob'):
    (folder / 'photos' / person).mkdir(parents=True)
  picture = Image.open(face)
  anna = folder / 'photos' / 'anna'
  for path in (anna / 'happy_plain.png', folder / 'photos' / 'bob' / 'happy_plain.png'):
    picture.save(path)
  exif = Image.Exif()
  exif[0x0112] = 6  # the camera was turned: show it a quarter turn clockwise
  picture.transpose(Image.Transpose.ROTATE_90).save(anna / 'happy_rotated.jpg', quality=97, exif=exif)
  picture.convert('CMYK').save(anna / 'happy_cmyk.jpg', quality=97)
  Image.fromarray(np.asarray(picture.convert('L')).astype(np.uint16) * 257).save(anna / 'happy_deep.png')
  two = Image.new('RGB', (340, 192), 'gray')
  two.paste(picture.resize((140, 140)), (196, 26))
  two.paste(picture)
  two.save(anna / 'happy_two.png')
  blank(anna / 'happy_blank.png')
  (anna / 'happy_cut.jpg').write_bytes(builders.photo_files(folder / 'odd')['cut.jpg'].read_bytes())
  before = contents(folder / 'photos')
  arguments = [f'--input={folder}/photos', f'--output={folder}/data', '--processes=1', '--test_identities=bob']
  assert commands.run(prepare.main, ['prepare', *arguments]) == 0
  assert contents(folder / 'photos') == before
  data = dataset.open_dataset(str(folder / 'data'))
  index = data.index('train')
  with open(folder / 'data' / 'skipped.csv') as file:
    skipped = {entry['file']: entry['reason'] for entry in csv.DictReader(file)}
  images = data.images('train', data.crop_size).numpy().astype(float)
  crops = {name: (index['landmarks'][i], images[i]) for i, name in enumerate(index['file'])}
  return crops, skipped


@pytest.mark.parametrize(
  'name, colours',
  [
    pytest.param('cmyk.jpg', True, id='CMYK'),
    pytest.param('deep.png', False, id='16-bit grey'),
    pytest.param('rotated.jpg', True, id='EXIF-rotated'),
    pytest.param('two.png', True, id='two faces: the largest'),
  ],
)
def test_awkward_but_right_photographs_give_the_plain_one(awkward, name, colours):
  crops, _ = awkward
  plain_landmarks, plain = crops['anna/happy_plain.png']
  landmarks, image = crops[f'anna/happy_{name}']
  # dlib's points wander by a pixel; the faces of the other rotation or size lie far away.
  assert np.abs(landmarks - plain_landmarks).mean() < 0.06
  if not colours:
    plain = np.repeat((plain @ [0.299, 0.587, 0.114])[..., None], 3, axis=-1)
  assert np.abs(image - plain).mean() < 12


def test_unusable_photographs_among_them_are_listed(awkward):
  _, skipped = awkward
  assert skipped.keys() == {'anna/happy_blank.png', 'anna/happy_cut.jpg'}
  assert skipped['anna/happy_blank.png'] == 'no face found' and 'damaged or cut off' in skipped['anna/happy_cut.jpg']
