"""Probes on rendered talking heads, whose expression, pose, light and person are known exactly.

Linear probes learn from frames of the people whom the run trained on (its data, without any label, the run has seen;
every fifth of them only chooses the strength of the penalty), and are tested on the held-out people. Frames are neutral
or show one of six expressions; mixed ones are left out. All subjects get the same frames and the same solvers:

- `probe`: all labelled frames;
- `probe_few_labels`: ten frames of each class, drawn five times (`seeds`); the strength is still chosen on all frames
  of the fifth of the people;
- `probe_unseen_lights`: a probe learns from three of six kinds of light and is tested on the other three, both ways;
  backgrounds are drawn anew for each track, so that those of the test are always unseen;
- `probe_verification`: pairs of held-out people's frames, those of one person from different tracks, in another light
  before another background, and nothing is learned but the threshold;
- `probe_frames`: how many frames of how many people each part has.
"""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

from evaluate import same_person
from evaluate.intervals import Estimate
from evaluate.probes import solvers
from evaluate.probes.features import expression_readers, identity_readers
from evaluate.results import Measure, Row, make_row, make_rows, save_samples
from input_pipeline import PIPELINES
from input_pipeline.talking_heads import KIND, LABELS

FEW, DRAWS = 10, 5
ANGLES = ('yaw', 'pitch', 'roll')
_PARTS = ('train', 'validation', 'test')


@dataclasses.dataclass(frozen=True)
class Frames:
  """N frames with what they show.

  Attributes:
    images: [N, S, S, 3] uint8.
    label: [N] of `talking_heads.LABELS`, without the last.
    pose: [N, 3] yaw, pitch, roll in degrees.
    person, light: [N] int.
    file, track, skin: [N] str.
    part: [N] of train, validation and test.
  """

  images: np.ndarray
  label: np.ndarray
  pose: np.ndarray
  person: np.ndarray
  light: np.ndarray
  file: np.ndarray
  track: np.ndarray
  skin: np.ndarray
  part: np.ndarray

  def rows(self, part: str, chosen: np.ndarray | bool = True) -> np.ndarray:
    """Numbers of a part's frames, of those that are `chosen` [N]."""
    return np.flatnonzero((self.part == _PARTS.index(part)) & chosen)


def render_probes(model: Any, config: Any, output_dir: str | Path, pairs: int = 1000, **options: Any) -> list[Row]:
  """All probes on renders; nothing where the data set is of photographs.

  Args:
    model: the trained `FaceCycle`.
    config: its settings, or those with another data set.
    output_dir: where samples-PROTOCOL.npz go; nowhere if empty.
    pairs: pairs of one person, and of two, at most; 0 means all.
    **options: of other evaluations.
  """
  del options
  pipeline = PIPELINES[config.system](config)
  if not pipeline.rendered:
    return []
  frames = read_frames(pipeline)
  rows = _count(frames)
  features = {name: read(frames.images) for name, read in expression_readers(model, config.image_size).items()}
  for measure in (_all_frames, _unseen_lights, _few_labels):
    rows += measure(features, frames, output_dir)
  del features
  if model.phase == 'train':  # Stage 2 is what trains R_id.
    rows += _verification(model, frames, pairs)
  return rows


def probe_renders(model: Any, folder: str | Path = '', epochs: int = 0) -> list[Row]:
  """The same for any run, also for one that was trained on photographs."""
  del folder, epochs
  return render_probes(model, dataclasses.replace(model.config, dataset=KIND), '')


def read_frames(pipeline: Any) -> Frames:
  """The labelled frames of a pipeline's rendered data set."""
  parts = []
  for split in ('train', 'test'):
    labels = pipeline.labels_of(split, np.arange(pipeline.data.count(split)))
    rows = np.flatnonzero(labels['label'] != LABELS.index('mixed'))
    labels = {name: value[rows] for name, value in labels.items()}
    part = np.full(len(rows), _PARTS.index('test'))
    if split == 'train':
      place = np.unique(labels['identity'], return_inverse=True)[1]
      part = np.where(place % 5 == 4, _PARTS.index('validation'), _PARTS.index('train'))
    parts.append({
      'images': pipeline.data.pictures(split, rows, pipeline.config.image_size).numpy(),
      'label': labels['label'],
      'pose': labels['pose'],
      'person': labels['identity'],
      'light': labels['light'],
      'file': np.array([str(name) for name in labels['file']]),
      'track': np.array([name.rpartition('#')[0] for name in labels['file'].tolist()]),
      'skin': labels['skin'],
      'part': part,
    })  # fmt: skip
  return Frames(**{name: np.concatenate([part[name] for part in parts]) for name in parts[0]})


def _count(frames: Frames) -> list[Row]:
  rows = []
  for part in _PARTS:
    chosen = frames.rows(part)
    estimate = Estimate(float(len(chosen)), None, None)
    people = len(np.unique(frames.person[chosen]))
    rows.append(make_row('probe_frames', part, 'frames', 'all', estimate, len(chosen), people))
    print(f'probes, {part}: {len(chosen):,} frames of {people:,} people', flush=True)
  return rows


def _all_frames(features: dict[str, np.ndarray], frames: Frames, folder: str | Path) -> list[Row]:
  tested = frames.rows('test')
  measures = {
    name: _measures(*_predict(values, frames, frames.rows('train'), frames.rows('validation'), tested), frames, tested)
    for name, values in features.items()
  }
  slices = {f'skin_{skin}': frames.skin[tested] == skin for skin in np.unique(frames.skin[tested]).tolist() if skin}
  slices |= {name: frames.label[tested] == label for label, name in enumerate(LABELS[:-1])}
  return _rows('probe', measures, frames, tested, slices, folder)


def _unseen_lights(features: dict[str, np.ndarray], frames: Frames, folder: str | Path) -> list[Row]:
  tested, group = frames.rows('test'), frames.light % 2
  measures = {}
  for name, values in features.items():
    labels, poses = np.full(len(tested), np.nan), np.full([len(tested), 3], np.nan)
    for number in (0, 1):
      seen, unseen = group == number, group[tested] != number
      rows = frames.rows('train', seen), frames.rows('validation', seen), tested[unseen]
      labels[unseen], poses[unseen] = _predict(values, frames, *rows)
    measures[name] = _measures(labels, poses, frames, tested)
  return _rows('probe_unseen_lights', measures, frames, tested, {}, folder)


def _few_labels(features: dict[str, np.ndarray], frames: Frames, folder: str | Path) -> list[Row]:
  tested, validation, known = frames.rows('test'), frames.rows('validation'), frames.rows('train')
  draws = []
  for seed in range(DRAWS):
    order = np.random.default_rng(seed).permutation(known)
    rank = np.zeros(len(order), int)
    for label in range(len(LABELS) - 1):
      mine = frames.label[order] == label
      rank[mine] = np.arange(mine.sum())
    draws.append(order[rank < FEW])
  measures = {}
  for name, values in features.items():
    found = [
      _measures(*_predict(values, frames, few, validation, tested, refit=False), frames, tested) for few in draws
    ]
    measures[name] = {metric: Measure(np.stack([one[metric].values for one in found])) for metric in found[0]}
  return _rows('probe_few_labels', measures, frames, tested, {}, folder)


def _predict(
  features: np.ndarray, frames: Frames, train: np.ndarray, validation: np.ndarray, tested: np.ndarray,
  refit: bool = True
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
  """Labels [T] and angles [T, 3] that probes give to the tested frames; NaN where they cannot learn any."""
  if not len(tested):
    return np.zeros(0), np.zeros([0, 3])
  labels = solvers.predict_labels(features, frames.label, train, validation, tested, refit)
  return labels, solvers.predict_values(features, frames.pose, train, validation, tested, refit)


def _measures(labels: np.ndarray, poses: np.ndarray, frames: Frames, tested: np.ndarray) -> dict[str, Measure]:
  right = np.where(np.isnan(labels), np.nan, labels == frames.label[tested])
  error = np.abs(poses - frames.pose[tested])
  return {'expression_accuracy': Measure(right)} | {
    f'{angle}_error': Measure(error[:, k]) for k, angle in enumerate(ANGLES)
  }


def _rows(
  protocol: str,
  measures: dict[str, dict[str, Measure]],
  frames: Frames,
  tested: np.ndarray,
  slices: dict[str, np.ndarray],
  folder: str | Path,
) -> list[Row]:
  others = [name for name in measures if name != 'model']
  slices = {'all': np.ones(len(tested), bool)} | slices
  if folder:
    means = {  # Over the draws of few labels.
      name: {metric: Measure(values.mean(0) if values.ndim > 1 else values) for metric, (values, _) in found.items()}
      for name, found in measures.items()
    }
    save_samples(Path(folder) / f'samples-{protocol}.npz', frames.file[tested], frames.person[tested], means, slices)
  return make_rows(protocol, measures, frames.person[tested], slices, measures['model'], others)


def _verification(model: Any, frames: Frames, count: int) -> list[Row]:
  tested = frames.rows('test')
  people = frames.person[tested]
  pictures = np.unique(people, return_counts=True)[1]
  if len(pictures) < 2 or pictures.max() < 2:
    return []
  pairs = across_tracks(people, frames.track[tested], count)
  codes = {name: read(frames.images[tested]) for name, read in identity_readers(model).items()}
  return same_person.verification_rows('probe_verification', codes, people, pairs)


def across_tracks(people: np.ndarray, tracks: np.ndarray, count: int) -> same_person.Pairs:
  """Pairs as `same_person.make_pairs` draws them, those of one person from two tracks where people have two.

  Args:
    people: [N].
    tracks: [N].
    count: of each kind at most; 0 means all.
  """
  pairs = same_person.make_pairs(people, 0)
  positive = np.flatnonzero(pairs.same & (tracks[pairs.first] != tracks[pairs.second]))
  if not len(positive):
    return same_person.make_pairs(people, count)
  negative = np.random.default_rng(0).permutation(np.flatnonzero(~pairs.same))
  size = min(len(positive), len(negative), count or len(positive))
  chosen = np.concatenate([positive[:size], negative[:size]])
  return same_person.Pairs(pairs.first[chosen], pairs.second[chosen], pairs.same[chosen])
