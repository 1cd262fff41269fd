import hashlib
import json
import os
import pathlib
import signal
import subprocess
import sys

import numpy as np
import pyarrow.parquet as pq
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds

from evaluate import generate, generation
from evaluate.provenance import TRAINED_MODEL, read_provenance
from input_pipeline import PIPELINES, dataset, renders, scenes, shards, steps
from models import commands, runs
from models.face3d import load_face_model
from models.ganfaces_config import GANFacesConfig
from models.nn4_config import NN4Config

SIZE, PEOPLE, EACH = 32, 5, 3


@pytest.fixture(scope='module', autouse=True)
def small():
  """Two people a shard, and a reference of 16 pictures."""
  patch = pytest.MonkeyPatch()
  patch.setattr(generation, 'PICTURES_PER_SHARD', 2 * EACH)
  patch.setattr(generation, '_REFERENCE', 16)
  yield
  patch.undo()


def write_run(workdir, **fields):
  """A run of the smallest GANFaces; nothing was trained."""
  config = GANFacesConfig.tiny(**{'image_size': SIZE, 'evaluate': False, 'data_dir': str(workdir / 'cache')} | fields)
  (workdir / 'run').mkdir(parents=True)
  system = runs.build(config)
  system.phase = 'train'
  # Random weights of .02 draw grey: others show whether the pictures differ.
  for weight in system.generator.weights:
    weight.assign(weight * 5)
  for average, weight in zip(system._averages, system._averaged_weights(), strict=True):
    average.assign(weight.numpy())
  runs.save_flags(config, workdir / 'run')
  runs.save_checkpoint(tf.train.Checkpoint(system=system), workdir / 'run', 'train', 1, keep=1)
  return workdir / 'run'


@pytest.fixture(scope='module')
def run(tmp_path_factory):
  return write_run(tmp_path_factory.mktemp('ganfaces'))


def make(run, output, **options):
  options = {'identities': PEOPLE, 'images_per_identity': EACH, 'test_fraction': 0.4, 'processes': 1} | options
  return generate.generate(str(run), str(output), **options)


@pytest.fixture(scope='module')
def made(run, tmp_path_factory):
  output = tmp_path_factory.mktemp('made') / 'data'
  assert make(run, output, folders=True) == 'new'
  return output


def contents(folder):
  return {str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest()
          for file in sorted(folder.rglob('*')) if file.is_file()}  # fmt: skip


def table(output):
  return pq.read_table(output / 'table').to_pydict()


def test_a_data_set_as_training_and_tfds_read_it(made):
  data = dataset.open_dataset(str(made))
  assert {split: data.count(split) for split in data.splits} == {'train': 3 * EACH, 'test': 2 * EACH}
  assert data.identities == [f'0-{person:07d}' for person in range(PEOPLE)]
  assert not [file for file in contents(made) if 'temporary' in file or file.endswith('.npz')]
  source = tfds.builder_from_directory(made).as_data_source()
  examples = [*source['train'], *source['test']]
  rows = table(made)
  order = np.argsort(rows['file'])
  np.testing.assert_array_equal([e['file'].decode() for e in examples], np.array(rows['file'])[order])
  np.testing.assert_array_equal([e['identity'] for e in examples], np.repeat(range(PEOPLE), EACH))
  for name in ('photo_error', 'cycle_error', 'identity_distance', 'confidence'):
    values = np.array([example[name] for example in examples])
    np.testing.assert_array_equal(values, np.array(rows[name], np.float32)[order])
    assert np.isfinite(values).all() and values.min() >= 0
  assert 0 <= min(rows['confidence']) < max(rows['confidence']) <= 1 and all(rows['kept'])
  pictures = np.stack([example['image'] for example in examples]).astype(int)
  assert all(np.abs(a - b).mean() > 0.5 for i, a in enumerate(pictures) for b in pictures[:i])
  for place, example in enumerate(examples):
    file = made / 'pictures' / example['file'].decode()
    np.testing.assert_array_equal(tf.io.decode_png(file.read_bytes()), pictures[place])
    assert read_provenance(file) == {'digital_source_type': TRAINED_MODEL, 'model': 'Personae ganfaces',
                                     'version': '0.1.0 step 0'}  # fmt: skip
  parts = [f'{name}_parameters' for name in scenes.PARAMETERS]
  np.testing.assert_array_equal(np.concatenate([np.array(rows[name])[order] for name in parts], axis=1),
                                [example['parameters'] for example in examples])
  card = (made / 'DATA_CARD.md').read_text()
  assert 'stand-ins' in card and 'The model has seen no photograph' in card and '`identity_distance`' in card


def test_a_picture_is_the_translation_of_its_render(made, run):
  """By the model as anybody would use it, from the parameters that are stored."""
  example = tfds.builder_from_directory(made).as_data_source('train')[4]
  model = runs.restore(run)
  face = load_face_model()
  render, landmarks = scenes.render_plain(face, scenes.unpack(example['parameters'][np.newaxis], face), SIZE)
  np.testing.assert_allclose(landmarks[0], example['landmarks'], atol=1e-5)
  output = model.translate(steps.to_float(render), 0, tf.constant([1 * 2**20 + 1], tf.int64))
  difference = np.abs((output[0].numpy() + 1) * 127.5 - example['image'])
  assert example['file'].decode() == '0-0000001/00001.png' and np.quantile(difference, 0.99) <= 1
  scores = model.scores(*(steps.to_float(images) for images in (render, example['image'][np.newaxis])))
  for name, value in scores.items():
    np.testing.assert_allclose(value[0], example[name], rtol=1e-3)


def test_people_are_new_and_a_function_of_seed_and_number(made, run):
  config = runs.load_config(run)
  world = PIPELINES['ganfaces'](config).world
  places = [(person, 0) for person in range(config.identities + 4)]
  known, new, other = (renders.draw_parameters(w, places)['identity']
                       for w in (world, generation.new_world(world, 0), generation.new_world(world, 1)))  # fmt: skip
  for first, second in ((known, new), (new, other), (known, other)):
    assert not (first[:, np.newaxis] == second).all(-1).any()
  translator = next(iter(generation._LOADED.values()))
  # More pictures of each, and other company.
  again = generation.make_pictures(translator, generation.new_world(world, 0), [4, 1], EACH + 1)
  data = dataset.open_dataset(str(made))
  for split, row, place in (('train', 1 * EACH, 4), ('test', 1 * EACH + 2, 2)):
    stored = data.pictures(split, [row], SIZE).numpy().astype(int)
    assert np.abs(again['image'][place] - stored[0]).max() <= 1


def test_killed_and_rerun_equals_undisturbed(made, run, tmp_path, capsys):
  code = (
    'import os, signal\nfrom evaluate import generate, generation\n'
    f'generation.PICTURES_PER_SHARD, generation._REFERENCE = {2 * EACH}, 16\n'
    'write, written = generation._write_table, []\n'
    'def killed(*args):\n'
    '  if written: os.kill(os.getpid(), signal.SIGKILL)\n'  # The second shard has records and pictures, and no table.
    '  written.append(write(*args))\n'
    'generation._write_table = killed\n'
    f'generate.generate({str(run)!r}, {str(tmp_path / "data")!r}, identities={PEOPLE}, images_per_identity={EACH},'
    ' test_fraction=0.4, processes=1, folders=True)\n'
  )
  done = subprocess.run([sys.executable, '-c', code], capture_output=True)
  assert done.returncode == -signal.SIGKILL, done.stderr[-1000:]
  assert not json.loads((tmp_path / 'data' / shards.FINGERPRINT).read_text())['complete']
  with pytest.raises(ValueError, match='is not finished: run the command that makes it again'):
    dataset.open_dataset(str(tmp_path / 'data'))
  kept = next(iter(tmp_path.glob('data/table/*.parquet')))
  before = kept.stat().st_mtime_ns
  assert make(run, tmp_path / 'data', folders=True) == 'continued'
  assert kept.stat().st_mtime_ns == before
  assert contents(tmp_path / 'data') == contents(made)
  # Damaged shards are made again.
  content = json.loads((tmp_path / 'data' / shards.FINGERPRINT).read_text())
  (tmp_path / 'data' / shards.FINGERPRINT).write_text(json.dumps(content | {'complete': False}))
  records, tables = (sorted(tmp_path.glob(f'data/{kind}')) for kind in ('*.array_record-*', 'table/*'))
  changed = bytearray(records[0].read_bytes())
  changed[len(changed) // 2] ^= 255
  records[0].write_bytes(changed)  # Test is before train, by name.
  tables[1].write_bytes(tables[1].read_bytes()[:-30])
  (tmp_path / 'data' / 'pictures' / '0-0000002' / '00001.png').unlink()
  (tmp_path / 'data' / 'table' / '.train.parquet.temporary-1').write_bytes(b'half')
  capsys.readouterr()
  assert make(run, tmp_path / 'data', folders=True) == 'continued'
  assert '0 of 3 shards are there and whole' in capsys.readouterr().err
  assert contents(tmp_path / 'data') == contents(made)


def test_the_same_is_reused_and_another_refused(made, run, capsys):
  before = contents(made)
  assert make(run, made, folders=True) == 'complete' and 'it is reused' in capsys.readouterr().err
  with pytest.raises(FileExistsError, match='folders=True there, False now; seed=0 there, 1 now.*--overwrite'):
    make(run, made, seed=1)
  assert contents(made) == before


def test_only_pictures_of_some_confidence_are_kept(made, run, tmp_path):
  rows = table(made)
  best = float(max(rows['confidence']))  # Some shards are left without a picture.
  make(run, tmp_path / 'few', min_confidence=best, test_fraction=0.0)
  found = table(tmp_path / 'few')
  np.testing.assert_array_equal(np.array(found['confidence']) >= best, found['kept'])
  data = dataset.open_dataset(str(tmp_path / 'few'))
  assert data.splits == ['train'] and 0 < data.count('train') == sum(found['kept']) < PEOPLE * EACH
  wanted = [file for file, kept in zip(found['file'], found['kept'], strict=True) if kept]
  assert data.index('train')['file'].tolist() == wanted and data.images('train', SIZE).shape[0] == len(wanted)
  # Other settings in the same folder leave nothing of the ones before.
  with pytest.raises(ValueError, match='no picture of split train reaches --min_confidence=1: lower it'):
    make(run, tmp_path / 'few', min_confidence=1.0, identities=1, images_per_identity=2, overwrite=True)
  assert len(list(tmp_path.glob('few/table/*'))) == 1 and not (tmp_path / 'few' / 'DATA_CARD.md').exists()


def test_scores():
  codes = np.array([[1.0, 0], [0, 1], [1, 0], [1, 0]])
  np.testing.assert_allclose(generation.identity_distance(codes, 2), [1, 1, 0, 0])  # .5 to the mean, times 2.
  np.testing.assert_allclose(generation.identity_distance(codes, 1), 0)
  values = np.array([1.0, 3, 2, 2])
  reference = generation.Reference.of({'a': values, 'b': 10 * values, 'c': np.ones(4)})
  assert 'c' not in reference.scores and reference.errors == pytest.approx([-(2**0.5), 0, 0, 2**0.5])
  found = reference.confidence({'a': np.array([0.0, 2, 2.5, 9]), 'b': np.array([0.0, 20, 25, 90])})
  np.testing.assert_allclose(found, [1, 0.75, 0.25, 0])


def test_nn4_trains_on_it(made):
  config = NN4Config.tiny(dataset=str(made), alignment='box', image_size=SIZE, classes=3)
  faces = PIPELINES['nn4'](config)
  batch = next(faces.batches(0, 1, 'train').as_numpy_iterator())
  assert batch['image'].shape == (4, 96, 96, 3) and set(batch['label']) <= {0, 1, 2}
  assert faces.held_out(4)['image'].shape[0] == 4


def test_sigterm_leaves_whole_shards_and_says_how_to_go_on(run, tmp_path, monkeypatch, capsys):
  write = generation.write_shard

  def stopped(unit, *, job):
    count = write(unit, job=job)
    os.kill(os.getpid(), signal.SIGTERM)
    return count

  monkeypatch.setattr(generation, 'write_shard', stopped)
  monkeypatch.setenv('TF_NUM_INTRAOP_THREADS', '1')
  arguments = [f'--workdir={run}', f'--output={tmp_path}/data', '--identities=8', '--processes=1']
  assert commands.run(generate.main, ['generate', *arguments]) == 143
  assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
  assert 'is not finished: the same command continues it' in capsys.readouterr().err
  assert len(list(tmp_path.glob('data/table/*'))) == 1 and not list(tmp_path.rglob('.*temporary*'))


@pytest.mark.parametrize(['arguments', 'message'], [
  (['--workdir={tmp}'], '{tmp} holds no run'),
  (['--model={tmp}'], '{tmp} holds no run'),
  (['--workdir={tmp}/gcgan'], '--workdir={tmp}/gcgan is a run of gcgan: a run of ganfaces is needed'),
  (['--workdir={run}', '--identities=0'], '--identities'),
  (['--workdir={run}', '--min_confidence=2'], '--min_confidence'),
  (['--workdir={run}', '--embedding=nowhere.dat'], '--embedding=nowhere.dat: there is no such file'),
  (['--workdir={run}', '--output={tmp}/thesis'], '--output={tmp}/thesis holds other files (thesis.txt'),
])  # fmt: skip
def test_wrong_input_is_one_line_and_changes_no_file(arguments, message, run, tmp_path, capsys, monkeypatch):
  from models.gcgan import GCGANConfig

  monkeypatch.setenv('TF_NUM_INTRAOP_THREADS', '1')
  (tmp_path / 'gcgan').mkdir()
  runs.save_flags(GCGANConfig.tiny(), tmp_path / 'gcgan')
  (tmp_path / 'thesis').mkdir()
  (tmp_path / 'thesis' / 'thesis.txt').write_text('mine')
  before = contents(tmp_path)
  words = [f'--output={tmp_path}/out', *(argument.format(tmp=tmp_path, run=run) for argument in arguments)]
  capsys.readouterr()
  assert commands.run(generate.main, ['generate', *words]) == 2
  lines = capsys.readouterr().err.splitlines()
  assert len(lines) == 1 and lines[0].startswith('error: ') and message.format(tmp=tmp_path) in lines[0], lines
  assert contents(tmp_path) == before and pathlib.Path(run).is_dir()
