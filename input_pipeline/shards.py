"""Large data jobs: a pure function per shard, mapped over processes or over Beam, that continues where it was stopped.

A data set is a folder of ArrayRecord shards under TensorFlow Datasets' names with its metadata, so that
`tfds.builder_from_directory` reads it, and `fingerprint.json`: what it was made from. The same fingerprint is reused,
another one is refused. A shard appears under its name only when it is whole; `complete` stands in the fingerprint file
only when all do.
"""

import contextlib
import fcntl
import functools
import hashlib
import json
import os
import pathlib
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from input_pipeline import workers

FINGERPRINT = 'fingerprint.json'
# Everything that a job may leave in its folder; `overwrite` removes these and nothing else.
OWN_FILES = (
  '*.array_record-*-of-*',
  '.*.temporary-*',
  'features.json',
  'dataset_info.json',
  'LICENSE',
  '*.labels.txt',
  'skipped.csv',
  'contact_sheet.png',
  'statistics.json',
  '.detected-*',
  FINGERPRINT,
)
# What jobs of one kind leave besides.
OWN_FILES_OF_KIND = {
  'generated': (
    'table/*.parquet',
    'table/.*.temporary-*',
    'pictures/*/*.png',
    'pictures/*/.*.temporary-*',
    '.model.npz',
    'confidence.json',
    'DATA_CARD.md',
    'sheet.png',
  )
}


def import_tfds() -> Any:
  """The `tensorflow_datasets` module.

  Raises:
    ImportError: if it is broken. With a wrong protobuf its import prints a traceback and goes on as if all were fine.
  """
  import tensorflow_datasets as tfds

  if not hasattr(tfds, 'core'):
    raise ImportError(
      'tensorflow_datasets is broken (tensorflow_datasets.core is missing): install this project with '
      'its constraints file, which pins protobuf and tensorflow-metadata'
    )
  return tfds


def remove_parts(folder: str, prefix: str) -> None:
  """Removes the files of a folder whose names begin so; one that the same command elsewhere removed is no error."""
  for path in pathlib.Path(folder).glob(f'{prefix}*'):
    path.unlink(missing_ok=True)


def stamp(path: str) -> list[int]:
  """Bytes and time of a file, by which it is known again; nothing of one that is missing."""
  return [os.path.getsize(path), os.stat(path).st_mtime_ns] if os.path.isfile(path) else []


def digest(value: Any) -> str:
  """A short hash of a JSON-able value, for names and fingerprints."""
  return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]


def shard_name(name: str, split: str, shard: int, shards: int) -> str:
  return f'{name}-{split}.array_record-{shard:05d}-of-{shards:05d}'


def shard_sizes(count: int, per_shard: int) -> list[int]:
  """Sizes of the shards of `count` examples, none above `per_shard`, as equal as can be."""
  shards = -(-count // per_shard)
  return [count * (i + 1) // shards - count * i // shards for i in range(shards)]


@contextlib.contextmanager
def exclusive(output: str) -> Iterator[None]:
  """Within this context no other process writes the data set `output`; waits, and says so, while one does."""
  path = os.path.join(output, '.lock')
  if not os.path.exists(path):
    refuse_foreign(output)  # before the lock is put among somebody's files
  os.makedirs(output, exist_ok=True)
  with open(path, 'a') as lock:
    try:
      fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
      print(f'another process is writing {output}: waiting for it', file=sys.stderr, flush=True)
      fcntl.flock(lock, fcntl.LOCK_EX)
    yield


def read_fingerprint(path: str) -> dict[str, Any] | None:
  """The content of `path`/fingerprint.json, or None where there is none."""
  file = pathlib.Path(path, FINGERPRINT)
  return json.loads(file.read_text()) if file.is_file() else None


def refuse_foreign(output: str) -> None:
  """Raises FileExistsError if the folder holds files and no data set of ours."""
  foreign = [f for f in sorted(os.listdir(output)) if f != '.lock'] if os.path.isdir(output) else []
  if foreign and read_fingerprint(output) is None:
    raise FileExistsError(
      f'--output={output} holds other files ({foreign[0]}, ...) and no data set of ours: choose an empty folder'
    )


def claim(output: str, fingerprint: dict[str, Any], overwrite: bool = False) -> str:
  """Makes `output` the folder of the data set with this fingerprint.

  Returns:
    `new`, `continued` (the same data set was begun and not finished) or `complete` (it is there already).

  Raises:
    FileExistsError: if something else is there; the message says what differs.
  """
  wanted = json.loads(json.dumps(fingerprint))
  found = read_fingerprint(output)
  refuse_foreign(output)
  if found is not None and not overwrite:
    old = found['made_from']
    if old == wanted:
      return 'complete' if found['complete'] else 'continued'
    different = [
      f'{key}={old.get(key)!r} there, {wanted.get(key)!r} now'
      for key in sorted(set(old) | set(wanted))
      if old.get(key) != wanted.get(key)
    ]
    raise FileExistsError(
      f'{output} holds a data set that was made otherwise ({"; ".join(different)}): '
      'choose another --output, or pass --overwrite to replace it'
    )
  if found is not None:
    discard(output)
  os.makedirs(output, exist_ok=True)
  write_atomically(os.path.join(output, FINGERPRINT), json.dumps({'complete': False, 'made_from': wanted}, indent=1))
  return 'new'


def discard(output: str, folder_too: bool = False) -> None:
  """Removes the files of a job from its folder, and the folder itself where that is wanted and it is empty then."""
  kind = ((read_fingerprint(output) or {}).get('made_from') or {}).get('kind')
  patterns = OWN_FILES + OWN_FILES_OF_KIND.get(kind, ()) + ('.lock',) * folder_too
  files = {file for pattern in patterns for file in pathlib.Path(output).glob(pattern)}
  for file in sorted(files, key=lambda file: file.name == FINGERPRINT):  # last: without it the rest would be foreign
    file.unlink()
  if folder_too and not os.listdir(output):
    os.rmdir(output)


def remove_temporaries(output: str) -> None:
  """Removes what processes that were killed have left; only whoever holds the lock may."""
  for pattern in ('.*.temporary-*', 'table/.*.temporary-*', 'pictures/*/.*.temporary-*'):
    for file in pathlib.Path(output).glob(pattern):
      file.unlink(missing_ok=True)


def write_atomically(path: str, content: str | bytes) -> None:
  """Writes a file that exists either whole or not at all."""
  folder, file = os.path.split(path)
  temporary = os.path.join(folder, f'.{file}.temporary-{os.getpid()}')
  pathlib.Path(temporary).write_bytes(content.encode() if isinstance(content, str) else content)
  os.replace(temporary, path)


def is_whole(path: str, count: int) -> bool:
  """Whether a shard exists, opens and has `count` records. A truncated file has lost its footer and does not open."""
  from array_record.python import array_record_module  # pyright: ignore - a module without types

  if not os.path.isfile(path):
    return False
  try:
    reader = array_record_module.ArrayRecordReader(path)
    return reader.ok() and reader.num_records() == count
  except (ValueError, RuntimeError, IndexError):
    return False


def write_shard(
  unit: tuple[str, int],
  *,
  output: str,
  name: str,
  features: Any,
  splits: dict[str, list[int]],
  make_examples: Callable[[str, int], Iterable[dict[str, Any]]],
) -> int:
  """Writes one shard, unless it is there and whole. Returns its number of examples.

  The features travel to the workers as they are; `make_examples(split, shard)` is a pure, picklable function.
  """
  split, shard = unit
  path = os.path.join(output, shard_name(name, split, shard, len(splits[split])))
  count = splits[split][shard]
  if is_whole(path, count):
    return count
  return write_records(path, features, make_examples(split, shard), count)


def write_records(path: str, features: Any, examples: Iterable[dict[str, Any]], count: int | None = None) -> int:
  """Writes examples as an ArrayRecord file that exists either whole or not at all. Returns their number.

  Args:
    path: the file.
    features: TFDS features by name.
    examples: what is written.
    count: how many were promised; any number where it is None.

  Raises:
    ValueError: if there are more or fewer.
  """
  from array_record.python import array_record_module  # pyright: ignore - a module without types

  features = import_tfds().features.FeaturesDict(features)
  temporary = os.path.join(os.path.dirname(path), f'.{os.path.basename(path)}.temporary-{os.getpid()}')
  writer = array_record_module.ArrayRecordWriter(temporary, 'group_size:1')
  written = 0
  for example in examples:
    writer.write(features.serialize_example(features.encode_example(example)))
    written += 1
  writer.close()
  if count is not None and written != count:
    os.unlink(temporary)
    raise ValueError(f'{path}: {written} examples were made, {count} were promised')
  os.replace(temporary, path)
  return written


def write_dataset(
  output: str,
  name: str,
  features: dict[str, Any],
  splits: dict[str, list[int]],
  make_examples: Callable[[str, int], Iterable[dict[str, Any]]],
  fingerprint: dict[str, Any],
  *,
  description: str = '',
  license: str = '',
  overwrite: bool = False,
  runner: str = '',
  processes: int = 0,
  label: str = 'writing',
) -> str:
  """Writes a data set that TFDS reads, or continues it, or finds it complete.

  Args:
    output: its folder.
    name: its name in TFDS: lower case, underscores.
    features: TFDS features by name.
    splits: number of examples of each shard of each split.
    make_examples: `make_examples(split, shard)` yields that shard's examples. Pure and picklable.
    fingerprint: JSON-able description of all that the data set depends on.
    description: for the metadata.
    license: of the pictures, for the metadata.
    overwrite: replace a data set that was made otherwise.
    runner: name of an Apache Beam runner; empty uses a process per core here.
    processes: how many processes; 0 means one per core, 1 means none beside this one.
    label: what the progress line says is going on.

  Returns:
    What `claim` found: `new`, `continued` or `complete`.

  Raises:
    FileExistsError: if another data set or foreign files are there.
    ValueError: if a split has no examples.
  """
  empty = [split for split, sizes in splits.items() if not sum(sizes)]
  if empty:
    raise ValueError(f'split {empty[0]} of {output} would have no pictures')
  with exclusive(output):
    state = claim(output, fingerprint, overwrite)
    if state == 'complete':
      return state
    remove_temporaries(output)
    job = functools.partial(
      write_shard, output=output, name=name, features=features, splits=splits, make_examples=make_examples
    )
    units = [(split, shard) for split, sizes in splits.items() for shard in range(len(sizes))]
    workers.map_units(job, units, sum(map(sum, splits.values())), runner=runner, processes=processes, label=label)
    write_metadata(output, name, features, splits, description, license)
    complete(output, fingerprint)
  return state


def write_metadata(
  output: str,
  name: str,
  features: dict[str, Any],
  splits: dict[str, list[int]],
  description: str = '',
  license: str = '',
) -> None:
  """Writes what TFDS wants to know of a data set whose shards are all there; see `write_dataset`."""
  tfds = import_tfds()
  template = tfds.core.ShardedFileTemplate(data_dir=output, dataset_name=name, filetype_suffix='array_record')
  infos = []
  for split, sizes in splits.items():
    size = sum(
      os.path.getsize(os.path.join(output, shard_name(name, split, i, len(sizes)))) for i in range(len(sizes))
    )
    infos.append(
      tfds.core.SplitInfo(
        name=split, shard_lengths=sizes, num_bytes=size, filename_template=template.replace(split=split)
      )
    )
  tfds.folder_dataset.write_metadata(
    data_dir=output,
    features=features,
    split_infos=infos,
    version='1.0.0',
    check_data=False,
    description=description,
    license=license or None,
  )


def complete(output: str, fingerprint: dict[str, Any]) -> None:
  """Says that a data set is complete."""
  content = {'complete': True, 'made_from': json.loads(json.dumps(fingerprint))}
  write_atomically(os.path.join(output, FINGERPRINT), json.dumps(content, indent=1))
