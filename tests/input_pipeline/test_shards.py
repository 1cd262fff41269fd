import functools
import importlib.util
import json
import operator
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import tensorflow_datasets as tfds

from input_pipeline import dataset, shards, workers
from tests.input_pipeline import builders


def stamps(path):
  return {f.name: f.stat().st_mtime_ns for f in path.glob('[!.]*.array_record-*')}


def test_tfds_reads_what_was_written(tmp_path):
  path = builders.write_faces(tmp_path / 'data')
  builder = tfds.builder_from_directory(path)
  assert {k: v.num_examples for k, v in builder.info.splits.items()} == {'train': 24, 'test': 12}
  assert builder.info.features['expression'].names == ['neutral', 'happy', 'angry']
  example = builder.as_data_source('test')[7]
  want = builders.examples('test', 1, people={'train': 4, 'test': 2}, expressions=builders.EXPRESSIONS, size=16)[1]
  assert builders.png(example['image']) == want['image']
  np.testing.assert_array_equal(example['landmarks'], want['landmarks'])
  assert (example['identity'], example['expression'], example['file'].decode()) == (5, 1, '5_1_0.png')
  index = dataset.open_dataset(str(path)).index('test')
  assert index['file'][7] == '5_1_0.png' and index['identity'][7] == 5 and index['landmarks'].shape == (12, 68, 2)


def test_processes_write_what_one_process_writes(tmp_path):
  paths = [builders.write_faces(tmp_path / name, processes=n) for name, n in (('one', 1), ('two', 2))]
  for first in paths[0].glob('*.array_record-*'):
    assert first.read_bytes() == (paths[1] / first.name).read_bytes()


def test_a_stopped_job_continues(tmp_path):
  path = builders.write_faces(tmp_path / 'data')
  (path / 'dataset_info.json').unlink()
  fingerprint = json.loads((path / shards.FINGERPRINT).read_text())
  (path / shards.FINGERPRINT).write_text(json.dumps(fingerprint | {'complete': False}))
  with pytest.raises(ValueError, match='is not finished'):
    dataset.open_dataset(str(path))
  names = sorted(stamps(path))
  cut, gone = path / names[0], path / names[1]
  cut.write_bytes(cut.read_bytes()[:-100])
  gone.unlink()
  (path / f'.{names[1]}.temporary-1').write_bytes(b'half')
  before = stamps(path)
  builders.write_faces(path)
  after = stamps(path)
  assert [name for name in names if before.get(name) != after[name]] == names[:2]
  assert not list(path.glob('.*temporary*'))
  assert len(dataset.open_dataset(str(path)).index('train')['file']) == 24


def test_a_killed_job_leaves_no_half_written_shard(tmp_path):
  code = (
    'import time\nfrom tests.input_pipeline import builders\nmake = builders.examples\n'
    'def slow(*args, **options):\n  for one in make(*args, **options):\n    time.sleep(0.05)\n    yield one\n'
    f'builders.examples = slow\nbuilders.write_faces({str(tmp_path / "data")!r})\n'
  )
  job = subprocess.Popen(
    [sys.executable, '-c', code], env={**os.environ, 'PYTHONPATH': os.getcwd()}, stderr=subprocess.DEVNULL
  )
  while len(stamps(tmp_path / 'data')) < 2:
    time.sleep(0.02)
    assert job.poll() is None
  job.send_signal(signal.SIGKILL)
  job.wait()
  kept = stamps(tmp_path / 'data')
  builders.write_faces(tmp_path / 'data')
  assert kept.items() <= stamps(tmp_path / 'data').items()
  assert len(dataset.open_dataset(str(tmp_path / 'data')).index('train')['file']) == 24


def test_the_same_job_reuses_and_another_is_refused(tmp_path):
  path = builders.write_faces(tmp_path / 'data')
  before = stamps(path)
  builders.write_faces(path)
  assert stamps(path) == before
  with pytest.raises(FileExistsError, match=r'size=16 there, 32 now.*--overwrite'):
    builders.write_faces(path, size=32)
  assert stamps(path) == before
  builders.write_faces(path, size=32, train=3, overwrite=True)
  assert dataset.open_dataset(str(path)).crop_size == 32 and len(stamps(path)) == 5


def test_a_folder_with_other_files_is_never_touched(tmp_path):
  (tmp_path / 'holiday.jpg').write_bytes(b'mine')
  for overwrite in (False, True):
    with pytest.raises(FileExistsError, match='holiday.jpg'):
      builders.write_faces(tmp_path, overwrite=overwrite)
  assert (tmp_path / 'holiday.jpg').read_bytes() == b'mine'


def test_a_worker_that_dies_is_named(tmp_path):
  with pytest.raises(ChildProcessError, match='worker process died .*exit code 3'):
    workers.map_units(os._exit, [3, 3], 2, processes=2)
  with pytest.raises(ZeroDivisionError):
    workers.map_units(functools.partial(operator.floordiv, 1), [0, 0], 2, processes=2)


def test_a_runner_without_beam_says_what_to_install(monkeypatch):
  monkeypatch.setattr(
    importlib.util,
    'find_spec',
    lambda name, find=importlib.util.find_spec: None if name == 'apache_beam' else find(name),
  )
  with pytest.raises(ValueError, match=r"--runner=DirectRunner needs Apache Beam: pip install -e '.\[beam\]'"):
    workers.map_units(abs, [1], 1, runner='DirectRunner')


def test_a_damaged_shard_is_named(tmp_path):
  path = builders.write_faces(tmp_path / 'data')
  shard = next(path.glob('*train*-00002-*'))
  content = bytearray(shard.read_bytes())
  content[len(content) // 2 - 20 : len(content) // 2 + 20] = bytes(40)
  shard.write_bytes(content)
  with pytest.raises(ValueError, match="a shard of split 'train' is damaged") as caught:
    data = dataset.open_dataset(str(path))
    data.index('train')
    data.images('train', 16)
  assert '\n' not in str(caught.value)


def test_folders_that_are_no_data_set_are_named(tmp_path):
  with pytest.raises(FileNotFoundError, match='there is no such folder'):
    dataset.open_dataset(str(tmp_path / 'nothing'))
  with pytest.raises(ValueError, match='holds no prepared data set'):
    dataset.open_dataset(str(tmp_path))


def test_sizes_of_shards():
  assert shards.shard_sizes(10, 4) == [3, 3, 4]
  assert shards.shard_sizes(0, 4) == []
