"""Makes a labelled data set of people who do not exist, by a trained GANFaces.

    python -m evaluate.generate --workdir=RUN --identities=10000 --images_per_identity=50 --output=DIR

DIR/faces-SPLIT.array_record-*   pictures, landmarks, labels, parameters, scores; TFDS and --dataset=DIR read them
DIR/table/*.parquet              the same without the pictures, also of those that --min_confidence left out
DIR/pictures/IDENTITY/*.png      the pictures as files, with --folders
DIR/confidence.json              the errors against which a picture's confidence is measured
DIR/DATA_CARD.md, DIR/sheet.png  what it is made of, and the first pictures

A job that was stopped, by whatever, continues with the same command and ends with the same files.
"""

import contextlib
import dataclasses
import functools
import json
import os
import pathlib
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent import futures
from typing import Any

import numpy as np
import tensorflow as tf
from absl import flags

from evaluate import data_card, generation
from evaluate.generation import Job, Reference
from evaluate.provenance import model_version
from evaluate.sheets import save_sheet
from input_pipeline import PIPELINES, dataset, shards, workers
from models import commands, ganfaces_identity, runs

FLAGS = flags.FlagValues()
flags.DEFINE_string('workdir', None, 'The run of GANFaces, or pretrained:NAME.', flag_values=FLAGS, required=True)
flags.DEFINE_alias('model', 'workdir', flag_values=FLAGS)  # As `evaluate.transfer` calls it.
flags.DEFINE_string('output', None, 'Folder of the data set to make.', flag_values=FLAGS, required=True)
flags.DEFINE_integer('identities', 10_000, 'People.', 1, generation.MOST_PEOPLE, flag_values=FLAGS)
flags.DEFINE_integer('images_per_identity', 50, 'Pictures of each.', 1, 1000, flag_values=FLAGS)
flags.DEFINE_integer(
  'seed', 0, 'Other people and pictures for each; they are the same for every run.', 0, 2**31 - 1, flag_values=FLAGS
)
flags.DEFINE_float(
  'test_fraction', 0.1, 'Share of the people who go to split test; 0 is none.', 0.0, 0.9, flag_values=FLAGS
)
flags.DEFINE_float(
  'min_confidence', 0.0, 'Leave out pictures below it: .1 leaves out about a tenth.', 0.0, 1.0, flag_values=FLAGS
)
flags.DEFINE_string(
  'embedding', '', "What tells identities apart for identity_distance; empty is the run's own.", flag_values=FLAGS
)
flags.DEFINE_bool('folders', False, 'Also write each picture as a file.', flag_values=FLAGS)
flags.DEFINE_string('runner', '', 'Apache Beam runner; empty uses processes on this machine.', flag_values=FLAGS)
flags.DEFINE_integer(
  'processes', 0, 'Number of processes; 0 means one per core, and one where there is a GPU.', 0, 1024, flag_values=FLAGS
)
flags.DEFINE_bool('overwrite', False, 'Replace a data set that was made otherwise.', flag_values=FLAGS)

_FIVE_MILLION = 5_000_000
_SHOWN = 8  # People of the sheet, and pictures of each.


def generate(
  workdir: str,
  output: str,
  *,
  identities: int = 10_000,
  images_per_identity: int = 50,
  seed: int = 0,
  test_fraction: float = 0.1,
  min_confidence: float = 0.0,
  embedding: str = '',
  folders: bool = False,
  runner: str = '',
  processes: int = 0,
  overwrite: bool = False,
) -> str:
  """Makes the data set, or continues it, or finds it complete; see the module's page.

  Args:
    workdir: a run of GANFaces.
    output: folder of the data set.
    identities: people.
    images_per_identity: pictures of each.
    seed: picture n of person p is a function of (seed, p, n) and the model.
    test_fraction: share of the people, the last ones, who are the split `test`.
    min_confidence: pictures below it are left out.
    embedding: see the flag.
    folders: also write each picture as a file.
    runner: name of an Apache Beam runner.
    processes: how many; 0 means one per core, 1 means this one.
    overwrite: replace a data set that was made otherwise.
  Returns:
    What was there: `new`, `continued` or `complete`.
  Raises:
    FileExistsError: if another data set or foreign files are there.
    ValueError, OSError: if the run is no GANFaces, or anything that it needs is missing.
  """
  workers.check_runner(runner)
  config = runs.load_config(workdir)
  if config.system != 'ganfaces':
    raise ValueError(f'--workdir={workdir} is a run of {config.system}: a run of ganfaces is needed')
  system: Any = runs.restore(workdir)
  world = generation.new_world(PIPELINES['ganfaces'](config).world, seed)
  ganfaces_identity.load(embedding or config.embedding)  # Before anything is written, if it is not there.
  content, weights = generation.pack_weights(system)
  held_out = min(identities // 2, max(2, round(identities * test_fraction))) if test_fraction else 0
  people = {'train': range(identities - held_out), 'test': range(identities - held_out, identities)}
  job = Job(
    os.path.abspath(output), config, world, embedding or config.embedding, weights, model_version(int(system.step)),
    seed, images_per_identity, {split: part for split, part in people.items() if part}, Reference({}, []),
    min_confidence, folders,
  )  # fmt: skip
  made_from = {
    **{key: world.made_from[key] for key in ('alignment', 'crop_size', 'drawn_from', 'face_model', 'renderer')},
    **{key: getattr(job, key) for key in ('embedding', 'weights', 'version', 'seed', 'min_confidence', 'folders')},
    'kind': 'generated',
    'identities': identities,
    'images_per_identity': images_per_identity,
    'test_fraction': test_fraction,
    'real_domain': os.path.basename(os.path.abspath(os.path.expanduser(config.dataset))),
  }
  with shards.exclusive(output):
    state = shards.claim(output, made_from, overwrite)
    if state == 'complete':
      print(f'{output} is complete and was made from the same model and settings: it is reused', file=sys.stderr)
      return state
    shards.remove_temporaries(output)
    with _announced(output):
      shards.write_atomically(os.path.join(output, generation.MODEL), content)
      job = dataclasses.replace(job, reference=_reference(job))
      left = _remove_damaged(job, say=state == 'continued')
      _make(job, left, runner, processes)
      _finish(job, made_from)
  return state


@contextlib.contextmanager
def _announced(output: str) -> Iterator[None]:
  """Whatever stops a job leaves whole shards only, and a line that says how it goes on."""
  try:
    yield
  except (KeyboardInterrupt, commands.Terminated):
    print(f'{output} is not finished: the same command continues it', file=sys.stderr)
    raise
  finally:
    shards.remove_temporaries(output)


def _reference(job: Job) -> Reference:
  path = pathlib.Path(job.output, 'confidence.json')
  if path.is_file():
    return Reference(**json.loads(path.read_text()))
  print('scoring pictures of other people, for the confidence', file=sys.stderr, flush=True)
  reference = generation.make_reference(job)
  shards.write_atomically(str(path), json.dumps(dataclasses.asdict(reference)))
  return reference


def _remove_damaged(job: Job, say: bool) -> list[tuple[str, int]]:
  """The shards that have to be made, of which nothing is left but pictures as files."""
  units = job.units()
  if not os.path.isdir(os.path.join(job.output, 'table')):
    return units
  with futures.ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
    whole = list(pool.map(functools.partial(generation.is_whole, job=job), units))
  left = [unit for unit, good in zip(units, whole, strict=True) if not good]
  for unit in left:
    for path in (job.table(unit), job.records(unit)):
      pathlib.Path(path).unlink(missing_ok=True)
  if say:
    print(f'{job.output}: {len(units) - len(left):,} of {len(units):,} shards are there and whole', file=sys.stderr)
  return left


def _make(job: Job, units: list[tuple[str, int]], runner: str, processes: int) -> None:
  """Makes shards and says how fast that was."""
  count = sum(len(job.shards(split)[shard]) * job.images for split, shard in units)
  if not count:
    return
  # A GPU belongs to one process, whose TensorFlow has all the cores; on a CPU every core has its own.
  processes = processes or int(bool(tf.config.list_physical_devices('GPU')))
  start = time.monotonic()
  write = functools.partial(generation.write_shard, job=job)
  workers.map_units(write, units, count, runner=runner, processes=processes, label='generating')
  seconds = time.monotonic() - start
  print(
    f'{count:,} pictures in {seconds:,.0f} s, {count / seconds:.1f} a second, the start included; 5 million would take '
    f'{_FIVE_MILLION / count * seconds / 3600:,.0f} hours here'
  )


def _finish(job: Job, made_from: dict[str, Any]) -> None:
  """Metadata, card and sheet of a data set whose shards are all there."""
  names = [*generation.score_names(job.config), 'confidence']
  lengths, found = {}, {}
  for split, people in job.people.items():
    units = [unit for unit in job.units() if unit[0] == split]
    kept = [generation.read_kept(unit, job, ['identity', *names]) for unit in units]
    lengths[split] = [len(part['identity']) for part in kept]
    found[split] = {
      'pictures': sum(lengths[split]),
      'left_out': len(people) * job.images - sum(lengths[split]),
      'people': len(np.unique(np.concatenate([part['identity'] for part in kept]))),
      **{name: np.concatenate([part[name] for part in kept]) for name in names},
    }
    if not sum(lengths[split]):
      raise ValueError(
        f'no picture of split {split} reaches --min_confidence={job.min_confidence:g}: lower it, with --overwrite'
      )
  card = data_card.data_card(made_from, job.config, found, len(job.reference.errors))
  shards.write_atomically(os.path.join(job.output, 'DATA_CARD.md'), card)
  features = job.features()
  description = f'{sum(f["pictures"] for f in found.values()):,} generated faces of people who do not exist.'
  licence = data_card.licence(made_from, job.config)
  shards.write_metadata(job.output, dataset.NAME, features, lengths, description, licence)
  _write_sheet(job, made_from)
  pathlib.Path(job.output, generation.MODEL).unlink()
  shards.complete(job.output, made_from)
  for split, f in found.items():
    print(f'{split}: {f["pictures"]:,} pictures of {f["people"]:,} people, {f["left_out"]:,} left out')
  print(job.output)


def _write_sheet(job: Job, made_from: dict[str, Any]) -> None:
  """The first pictures of the first people, below each other."""
  split, rows, names, offset = next(iter(job.people)), [], [], 0
  for unit in job.units():
    if unit[0] != split or len(rows) >= _SHOWN:
      break
    people = generation.read_kept(unit, job, ['identity'])['identity']
    for person in np.unique(people):
      rows.append(offset + np.flatnonzero(people == person)[:_SHOWN])
      names.append(job.name(int(person)))
    offset += len(people)
  rows, names = rows[:_SHOWN], names[:_SHOWN]
  across = min(map(len, rows))
  builder = shards.import_tfds().builder_from_directory(job.output)
  data = dataset.PreparedDataset(job.output, builder, made_from)
  pictures: Any = data.pictures(split, np.concatenate([r[:across] for r in rows]), job.config.image_size)
  pictures = pictures.numpy().reshape([len(rows), across, *pictures.shape[1:]])
  path = os.path.join(job.output, 'sheet.png')
  columns = {str(place + 1): pictures[:, place] for place in range(across)}
  note = PIPELINES['ganfaces'](job.config).note
  save_sheet(path, columns, names, 96, job.config.system, job.version, note)


def main(argv: Sequence[str]) -> None:
  commands.parse(FLAGS, argv, __doc__)
  values = {name: FLAGS[name].value for name in FLAGS if name not in ('workdir', 'model', 'output', 'help')}
  if not tf.config.list_physical_devices('GPU'):
    # Sums are rounded by how many threads share them, and a shard has to come out the same whoever makes it.
    os.environ['TF_NUM_INTRAOP_THREADS'] = '1'
  generate(FLAGS.workdir, FLAGS.output, **values)


if __name__ == '__main__':
  sys.exit(commands.run(main))
