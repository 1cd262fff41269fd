"""A paper's tables and figures from trained runs: `python -m evaluate.paper RUN RUN... --output=DIR`.

    python -m train.sweep configs/ablations/quick/gcgan_*.cfg --seeds=3 --workdir=runs/paper
    python -m evaluate.paper runs/paper/*/seed-* --output=runs/paper/tables

Which arm a run is (the full model, without a loss, a baseline) is told by its settings; runs of one arm differ in their
seed, and all are of one system. OUTPUT/results.json holds the rows, OUTPUT/tables.txt the same for people, and the
figures are PNGs. GC-GAN: table2, figure3 and figure4, OUTPUT/compare.json with Table 1's paired differences, and which
of the paper's claims hold.
GANFaces: figure7 and realism, and Figs. 3, 5 and 7. Face-off: one row a claim of the paper, by the runs' own
evaluations, and Figs. 6 and 7.
"""

import dataclasses
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from absl import flags

from evaluate import compare, facecycle_claims, faceoff_claims, figure3, figure4, ganfaces_paper, gcgan_claims, unseen
from evaluate.arms import TABLES, TITLES, arm_of, read_arms, table_of
from evaluate.charts import Cloud, save_clouds, save_violins
from evaluate.embeddings import keras_features
from evaluate.gcgan import generate
from evaluate.provenance import model_version, to_uint8
from evaluate.results import Row, read_results, summary, write_results
from evaluate.sheets import save_sheet
from evaluate.table2 import table2
from input_pipeline import PIPELINES
from input_pipeline.drivers import driven_faces
from models import commands, runs

DIRECTIONS = {'smile_to_disgust': ('smile', 'disgust'), 'smile_to_neutral': ('smile', 'neutral')}
PATH = ('smile', 'scream')
_ROWS = 16  # Of Figs. 2 and 5.

FLAGS = flags.FlagValues()
flags.DEFINE_string('output', None, 'Folder for the tables and figures.', flag_values=FLAGS, required=True)
flags.DEFINE_string(
  'drivers', '', "Table 2's driving faces: a prepared data set of other people; empty: held out.", flag_values=FLAGS
)
flags.DEFINE_string('dataset', '', "Held-out faces of this data set instead of the runs' own.", flag_values=FLAGS)
flags.DEFINE_integer(
  'pairs', 1000, 'Driving faces of Table 2, pictures of each kind of GANFaces, at most; 0: all.', flag_values=FLAGS,
  lower_bound=0
)
flags.DEFINE_string(
  'embedding', '', "A .keras network that judges identity too (GC-GAN: by the cosine rule; GANFaces' may be nn4:RUN).",
  flag_values=FLAGS
)


class Study:
  """What is collected from one run after the other, so that one model is in memory at a time (and the judging E).

  Attributes:
    rows: of results.json.
  """

  def __init__(self, arms: dict[str, dict[int, Path]], dataset: str, drivers: str, pairs: int):
    """Opens the held-out people of the full model's data set, or of `dataset`."""
    self.arms = arms
    self.judge = runs.restore(next(iter(arms['model'].values())))
    self.config = dataclasses.replace(self.judge.config, dataset=dataset or self.judge.config.dataset)
    self.pipeline = PIPELINES['gcgan'](self.config)
    self.batch = driven_faces(self.pipeline, pairs or None, drivers)
    self.label = {'model': self.config.system, 'version': model_version(int(self.judge.step))}
    found = {name: figure3.find_pairs(self.pipeline, *ends, pairs or None) for name, ends in DIRECTIONS.items()}
    self.pairs = {name: rows for name, rows in found.items() if len(rows)}
    ends = figure3.find_pairs(self.pipeline, *PATH, 1)
    table = self.pipeline.data.index('test')
    self.path = figure4.draw_path(*table['landmarks'][ends[0]]) if len(ends) else np.zeros([0, 68, 2], np.float32)
    self.outputs: dict[str, list[np.ndarray]] = {}
    self.quotients: dict[str, dict[str, list[np.ndarray]]] = {name: {} for name in self.pairs}
    self.codes: dict[str, list[figure4.Codes]] = {}
    self.paths: dict[str, np.ndarray] = {}

  def visit(self, arm: str, path: Path) -> None:
    """Takes what the figures need from one run."""
    model = runs.restore(path)
    print(f'{arm}: {path}', flush=True)
    if model.config.condition != 'onehot':
      driven = {**self.batch, 'target_image': self.batch['driver_image']}
      self.outputs.setdefault(arm, []).append(generate(model, driven))
    if model.config.condition != 'embedding':
      return
    for name, pairs in self.pairs.items():
      images, codes = figure3.interpolate(model, self.pipeline, pairs)
      self.quotients[name].setdefault(arm, []).append(figure3.lipschitz(images, codes))
    data = self.pipeline.data
    first = arm not in self.codes
    self.codes.setdefault(arm, []).append(
      figure4.Codes(*(figure4.encode(model, data.index(split)['landmarks']) for split in ('train', 'test')))
    )
    if first and len(self.path):
      self.paths[arm] = figure4.encode(model, self.path)

  def measure(self, embedding: str = '') -> list[Row]:
    """Table 2, Fig. 3 and Fig. 4 as rows."""
    outputs = {arm: np.array(seeds) for arm, seeds in self.outputs.items()}
    runs, pictures = sum(map(len, self.outputs.values())), len(self.batch['identity'])
    print(f'reading faces in {runs} x {pictures} pictures', flush=True)
    rows = table2(outputs, self.batch, lambda points: figure4.encode(self.judge, points), embedding)
    table = {split: self.pipeline.data.index(split) for split in ('train', 'test')}
    quotients = {
      name: {arm: np.array(seeds) for arm, seeds in of_arms.items()} for name, of_arms in self.quotients.items()
    }
    rows += figure3.figure3(quotients, {n: table['test']['identity'][pairs[:, 0]] for n, pairs in self.pairs.items()})
    flat = [figure4.Codes(*(t['landmarks'].reshape(-1, 136) for t in table.values()))]
    labels = [t['expression'] for t in table.values()]
    return rows + figure4.figure4({**self.codes, figure4.BASELINE: flat}, *labels, table['test']['identity'])

  def draw(self, output: Path) -> None:
    """Figs. 2 to 5, of each arm's first seed."""
    held_out = self.pipeline.held_out(_ROWS)
    names = self.pipeline.expressions
    save_sheet(
      output / 'figure2.png',
      {
        'input': held_out['input_image'],
        'generated': generate(self.judge, held_out),
        'truth': held_out['target_image'],
      },
      [
        f'{who}: {names[a]} to {names[b]}'
        for who, a, b in zip(*(held_out[k] for k in ('identity', 'input_expression', 'target_expression')), strict=True)
      ],
      **self.label,
    )
    first = slice(0, _ROWS)
    columns = {name: to_uint8(self.batch[f'{name}_image'])[first] for name in ('input', 'driver')}
    columns |= {TITLES.get(arm, arm): seeds[0][first] for arm, seeds in self.outputs.items() if arm in _FIGURE5}
    captions = [f'{a}, driven by {b}' for a, b in zip(self.batch['identity'], self.batch['driver'], strict=True)]
    save_sheet(output / 'figure5.png', columns, captions[first], **self.label)
    self._draw_figure3(output)
    self._draw_figure4(output)

  def _draw_figure3(self, output: Path) -> None:
    if not self.pairs:
      return
    shown, captions = [], []
    people = self.pipeline.data.index('test')['identity']
    for name, pairs in self.pairs.items():
      images, _ = figure3.interpolate(self.judge, self.pipeline, pairs[:4])
      shown.append(to_uint8(images))
      captions += [f'{person}: {name.replace("_", " ")}' for person in people[pairs[:4, 0]]]
    strips = np.concatenate(shown)
    save_sheet(
      output / 'figure3_strips.png', {f'step {k}': strips[:, k] for k in range(strips.shape[1])}, captions, **self.label
    )
    panels = {
      f'{TITLES[arm]}, {name.replace("_", " ")}': of_arms[arm][0]
      for arm in _SIDE_BY_SIDE
      for name, of_arms in self.quotients.items()
      if arm in of_arms
    }
    save_violins(output / 'figure3_violins.png', panels, "|G(z') - G(z)| / |z' - z|")

  def _draw_figure4(self, output: Path) -> None:
    labels = self.pipeline.data.index('test')['expression']
    panels = {}
    for arm in reversed(_SIDE_BY_SIDE):
      if arm in self.codes:
        codes = self.codes[arm][0].test
        points = figure4.embed(np.concatenate([codes, self.paths.get(arm, codes[:0])]))
        panels[f'z_g, {TITLES[arm]}'] = Cloud(points[: len(codes)], labels, points[len(codes) :])
    names = self.pipeline.expressions
    shown = [names[label] for name in PATH if (label := figure3.find_expression(name, names)) is not None]
    save_clouds(output / 'figure4.png', names, panels, f'{" to ".join(shown)}, landmarks')


_FIGURE5 = ('model', 'without_contrastive_loss', 'spg')
_SIDE_BY_SIDE = ('model', 'without_contrastive_loss')


def paper(
  workdirs: Sequence[str | Path],
  output: str | Path,
  drivers: str = '',
  dataset: str = '',
  pairs: int = 1000,
  embedding: str = '',
) -> list[Row]:
  """Writes the paper's tables and figures.

  Args:
    workdirs: runs of a system and its ablations.
    output: a folder.
    drivers: a prepared data set whose faces drive in Table 2 and Fig. 5; the test split's own if empty.
    dataset: whose people are driven; the full model's if empty.
    pairs: driving faces at most; 0 means all.
    embedding: a `.keras` file that judges identity too.
  Returns:
    The rows of `results.json`.
  Raises:
    FileNotFoundError: if a run or a data set is missing.
    ValueError: if they do not fit each other.
  """
  start, output = time.time(), Path(output)
  arms, unfair = read_arms(workdirs)
  if table_of(workdirs[0]) in (TABLES['faceoff'], TABLES['facecycle']):
    if given := [f'--{name}={value}' for name, value in (('drivers', drivers), ('dataset', dataset),
                                                         ('embedding', embedding)) if value]:
      raise ValueError(f"{given[0]}: the claims of {table_of(workdirs[0]).system} are judged by the runs' own "
                       'evaluations: leave it out')
    return _judge_claims(arms, output, unfair)
  if table_of(workdirs[0]) is TABLES['ganfaces']:
    if drivers:
      raise ValueError(f'--drivers={drivers}: nothing drives GANFaces')
    rows, step, data, note = ganfaces_paper.study(arms, output, dataset, pairs, embedding)
    _write(output, 'ganfaces', rows, step, data, '\n'.join(filter(None, [note, *unfair.values()])), start=start)
    return rows
  if embedding:  # One that cannot be read is told before the work.
    keras_features(np.zeros([1, 64, 64, 3], np.uint8), embedding)
  study = Study(arms, dataset, drivers, pairs)
  output.mkdir(parents=True, exist_ok=True)
  if study.config.dataset == study.judge.config.dataset:
    differences = _compare(arms, output)
  else:
    print(f"Table 1 is left out: the runs' own evaluations are not of --dataset={dataset}")
    differences = []
  paths = [path for seeds in arms.values() for path in seeds.values()]
  for arm, seeds in arms.items():
    for path in seeds.values():
      study.visit(arm, path)
  if 'cdaae' in arms:
    print("cdaae: driven by labels, which Table 2's faces do not have; left out of it")
  study.draw(output)
  rows = study.measure(embedding)
  data = study.config.dataset + (f', driven by {drivers}' if drivers else '')
  rows += gcgan_claims.judge(rows, differences, unfair)
  shown = unseen.people_of(study.config, study.config.dataset, 'test')
  known = sorted({who for path in paths for who in unseen.known(path, runs.load_config(path), shown)})
  note = '\n'.join(filter(None, [*unfair.values(), unseen.write_note(known, len(shown))]))
  _write(output, 'gcgan', rows, int(study.judge.step), data, note, start=start)
  return rows


def _judge_claims(arms: dict[str, dict[int, Path]], output: Path, unfair: dict[str, str]) -> list[Row]:
  """Face-off and FaceCycle: what is measured of each run by itself decides."""
  given, first = arms, next(iter(arms['model'].values()))
  table = table_of(first)
  claims = faceoff_claims if table is TABLES['faceoff'] else facecycle_claims
  if claims is faceoff_claims:
    arms, diverged = faceoff_claims.set_aside(arms)
    for path in [path for seeds in diverged.values() for path in seeds.values()]:
      print(f'{path} has no results and not all of its steps: it counts as a run that failed')
  rows = claims.judge(given, unfair)
  note = '\n'.join(unfair.values())
  results = read_results(first)
  text = claims.write_claims(rows)
  write_results(output / 'results.json', results['system'], results['step'], results['data'], rows, note)
  text += f'\n\n{note}' * bool(note)
  runs.write_file(output / 'tables.txt', text + '\n')
  print(f'\n{text}\n\n{output / "results.json"}\n', flush=True)
  _compare(arms, output, table.arm_of)
  return rows


def _write(output: Path, system: str, rows: list[Row], step: int, data: str, note: str = '', start: float = 0) -> None:
  write_results(output / 'results.json', system, step, data, rows, note)
  text = _write_tables(rows) + f'\n\n{note}' * bool(note)
  runs.write_file(output / 'tables.txt', text + '\n')
  print(f'\n{text}\n\n{output / "results.json"} ({time.time() - start:.0f} s)\n', flush=True)


def _write_tables(rows: list[Row]) -> str:
  measured = [row for row in rows if row['protocol'] != gcgan_claims.CLAIMS]
  shown = [row for row in measured if '_step_' not in row['slice']]
  parts = [summary(shown, protocol) for protocol in dict.fromkeys(row['protocol'] for row in shown)]
  differences = [row for row in measured if '_minus_' in row['subject'] and row['slice'] == 'all']
  parts.append(compare.difference_table([row for row in differences if row['value'] is not None]))
  if len(measured) < len(rows):
    parts.append(gcgan_claims.write_claims(rows))
  return '\n\n'.join(parts)


def _compare(
  arms: dict[str, dict[int, Path]], output: Path, name_of: Callable[[Any], str] = arm_of
) -> list[Row]:
  """Table 1, of GC-GAN: the runs' own evaluations side by side; the paired differences."""
  paths: list[Any] = [path for seeds in arms.values() for path in seeds.values()]
  for path in paths:
    if not (path / 'eval' / 'results.json').is_file():
      print(f'Table 1 is left out: {path} was not evaluated (python -m evaluate.main --workdir={path})')
      return []
  return compare.compare(paths, output, arm_of=name_of)['differences']


def main(argv: list[str]) -> None:
  words = commands.parse(FLAGS, argv, __doc__, 'RUN')
  paper(words, FLAGS.output, FLAGS.drivers, FLAGS.dataset, FLAGS.pairs, FLAGS.embedding)


if __name__ == '__main__':
  sys.exit(commands.run(main))
