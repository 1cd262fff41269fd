"""Are two photographs, or two sets of them, of one person? Any embeddings, the first against the others.

    python -m evaluate.verification RUN dlib --protocol=lfw --input=LFW
    python -m evaluate.verification RUN EXPORT NET.keras --protocol=ijba --input=IJB-A --output=DIR

A model is a run or an exported model of nn4, recognition or facecycle, a .keras file, or dlib. OUTPUT/results.json has
the figures (where no --output is given it is RUN/eval/PROTOCOL, which evaluate.compare reads), OUTPUT/roc.png the
curves. lfw and cplfw take the 10 folds of their lists; ijba compares templates, 1:1, by thresholds that are chosen on
the other splits; people draws pairs from folders PERSON/ANY_NAME.jpg.
"""

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from absl import flags

from evaluate import verification_lists as lists
from evaluate.results import Row, summary, write_results
from evaluate.roc import save_pairs
from evaluate.same_person import Pairs, distances, score_rows
from evaluate.verification_faces import open_reader, read_codes
from models import commands, runs

__all__ = ['pool', 'template_scores', 'verify']

FARS = {'ijba': (0.01, 0.001)}  # Of the others 1e-3, LFW's VAL.
_BETAS = np.arange(0, 21)

FLAGS = flags.FlagValues()
flags.DEFINE_enum('protocol', 'lfw', list(lists.PICTURES), 'Which list, see above.', flag_values=FLAGS)
flags.DEFINE_string('input', None, 'Folder of the lists and pictures.', flag_values=FLAGS, required=True)
flags.DEFINE_string('output', '', "Folder of the results; empty is the first run's.", flag_values=FLAGS)
flags.DEFINE_integer(
  'pairs', 3000, 'Pairs of one person, and of two, at most, of --protocol=people; 0: all.', flag_values=FLAGS,
  lower_bound=0
)


def verify(models: Sequence[str], protocol: str, folder: str | Path, output: str = '', pairs: int = 3000) -> list[Row]:
  """Verification by each of the models; see the module's page.

  Args:
    models: the first is `model` in the rows, the others go by their names.
    protocol: lfw, cplfw, ijba or people.
    folder: of the lists and pictures.
    output: folder of the results; empty is `eval/PROTOCOL/` of the first model, a run.
    pairs: of each kind at most, for people.
  Returns:
    The rows of `results.json`.
  Raises:
    FileNotFoundError: if a model, a list or a picture is missing.
    ValueError: if one of them makes no sense.
  """
  start = time.time()
  target = _target(models[0], protocol, output)
  readers = {}
  for place, name in enumerate(models):
    reader = open_reader(name)
    key = reader.name if place else 'model'
    if key in readers:
      raise ValueError(f'{name} is given twice')
    readers[key] = reader
  if protocol == 'ijba':
    names, people, chosen, folds, scores = _templates(readers, folder)
  else:
    names, people, chosen, folds, scores = _pictures(readers, protocol, folder, pairs)
  rows = score_rows(protocol, scores, people, chosen, tenths=folds, fars=FARS.get(protocol, (0.001,)))
  note = f'model is {readers["model"].name}'
  system, _, step = _made_by(models[0])
  write_results(target / 'results.json', system, step, str(folder), rows, note)
  save_pairs(target, names, people, chosen, scores, folds, note)
  print(f'\n{summary(rows, protocol)}\n\n{note}\n{target / "results.json"} ({time.time() - start:.0f} s)', flush=True)
  return rows


def _target(model: str, protocol: str, output: str) -> Path:
  if output:
    return Path(output).expanduser()
  if not _made_by(model)[1]:
    raise ValueError(f'{model} is no run, in which the results could lie: set --output=DIR')
  return runs.output_folder(model) / 'eval' / protocol


def _made_by(model: str) -> tuple[str, bool, int]:
  """System of a model, whether it is a run, and the step of its newest checkpoint."""
  path = Path(model).expanduser()
  if not (path / 'flags.cfg').is_file():
    return Path(model).name, False, 0
  config = runs.load_config(path)
  found = runs.last_checkpoint(path, list(_phases(config)))
  return config.system, True, found[1] if found else 0


def _phases(config: Any) -> dict[str, int]:
  return runs.SYSTEMS[config.system].phases(config)


def _pictures(readers: dict, protocol: str, folder: str | Path, count: int) -> tuple:
  """Names and people of the pictures, pairs, their tenths (None: by people), and scores by each reader."""
  if protocol == 'people':
    listed = lists.read_people(folder, count)
  else:
    listed = {'lfw': lists.read_lfw, 'cplfw': lists.read_cplfw}[protocol](folder)
  names, people, pairs, tenths = listed.tabulate()
  codes = read_codes(lists.find_files(folder, protocol, names), readers)
  scores = {name: -distances(values, pairs) for name, values in codes.items()}
  return names, people, pairs, None if protocol == 'people' else tenths, scores


def _templates(readers: dict, folder: str | Path) -> tuple:
  """As `_pictures`, of templates; folds are the splits."""
  listed = lists.read_ijba(folder)
  # A picture that is in several templates, or shows several people, is looked at once for each face.
  _, first, row = np.unique(
    np.array([f'{file}|{box.tolist()}' for file, box in zip(listed.files, listed.boxes, strict=True)]),
    return_index=True,
    return_inverse=True,
  )
  files = lists.find_files(folder, 'ijba', listed.files[first].tolist())
  codes = read_codes(files, readers, listed.boxes[first])
  scores = {}
  for name, values in codes.items():
    pooled, owner = pool(values[row.ravel()], listed.template, listed.media)
    scores[name] = template_scores(pooled, owner, listed.pairs)
  people = np.unique(listed.people, return_inverse=True)[1]
  names = [f'{person}/{number}' for number, person in enumerate(listed.people)]
  return names, people, listed.pairs, listed.split, scores


def pool(codes: np.ndarray, template: np.ndarray, media: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """Media pooling: the frames of a video in a template become one code, the mean of their codes of length 1.

  Args:
    codes: [I, D] of pictures.
    template: [I] in which template each is.
    media: [I] of which photograph or video, a number of its own in every template.
  Returns:
    [M, D] codes of length 1, and [M] their templates.
  """
  codes = codes / np.maximum(np.linalg.norm(codes, axis=1, keepdims=True), 1e-12)
  _, first, place = np.unique(media, return_index=True, return_inverse=True)
  sums = np.zeros([len(first), codes.shape[1]])
  np.add.at(sums, place.ravel(), codes)
  return sums / np.maximum(np.linalg.norm(sums, axis=1, keepdims=True), 1e-12), template[first]


def template_scores(codes: np.ndarray, template: np.ndarray, pairs: Pairs) -> np.ndarray:
  """[P] how alike two templates are: the cosines of their codes, weighted by a softmax of beta times themselves, mean
  over beta = 0, 1, ..., 20 (Masi et al. 2016, https://arxiv.org/abs/1603.07057).

  Args:
    codes: [M, D] of length 1.
    template: [M] the template of each.
    pairs: of templates.
  """
  order = np.argsort(template, kind='stable')
  numbers, starts = np.unique(template[order], return_index=True)
  members = dict(zip(numbers.tolist(), np.split(codes[order], starts[1:]), strict=True))
  scores = np.empty(len(pairs.first))
  for place, (a, b) in enumerate(zip(pairs.first.tolist(), pairs.second.tolist(), strict=True)):
    cosines = (members[a] @ members[b].T).ravel()
    weights = np.exp(_BETAS[:, None] * (cosines - cosines.max()))
    scores[place] = ((weights @ cosines) / weights.sum(1)).mean()
  return scores


def main(argv: list[str]) -> None:
  words = commands.parse(FLAGS, argv, __doc__, 'MODEL')
  verify(words, FLAGS.protocol, FLAGS.input, FLAGS.output, FLAGS.pairs)


if __name__ == '__main__':
  sys.exit(commands.run(main))
