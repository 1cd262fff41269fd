"""What the face-off paper says of its variants, each sentence with a figure: does it hold on these runs?

The paper has no figures. A claim holds here where the gap to the baseline is larger than what other frames (a bootstrap
over stretches of two seconds) and another seed (the largest gap between two seeds of the baseline) make of
it; else it is undecided. That a variant is *no* better holds where the whole interval lies below `MARGIN`.
"""

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from evaluate import intervals
from evaluate.arms import FACEOFF_TITLES, FIRST_PAIR
from evaluate.facecycle_truth import correlation_of
from evaluate.faceoff import FOLLOWS, PROTOCOL, mean_distance
from evaluate.intervals import MIN_SEEDS, Estimate
from evaluate.results import Measure, Row, find_row, make_row, make_table, read_results, write_value
from models.runs import checkpoint_steps, load_config

CLAIMS = 'claims'
# A run failed whose outputs differ less than half as much as B's frames, or show B, or a face, less than half of the
# time.
_FAILED = 0.5
_WINS_BY = 'ssim_face'
MARGIN = 0.01  # Of SSIM: details that gain less are no better.
_FAIL_OFTEN = ('wgan', 'wgan_gp', 'wgan_released')  # What the paper says of these is that many runs fail.
_OF_PAIRS = ('psnr_face', 'mouth_correlation', 'yaw_correlation', 'silhouette_iou', 'flicker', 'verified_as_target')
_ACTORS = {'A2B': 'other sex', 'A2C': 'long hair', 'A2D': 'other scale'}


class Claim(NamedTuple):
  """A sentence of the paper.

  Attributes:
    text: what it says.
    arm: the variant that it is about.
    metric: the figure by which it is judged.
    sign: 1 where the variant should have more than `base`, -1 less, 0 where nothing is gained.
    slice: the frames.
    base: what it is compared with.
  """

  text: str
  arm: str
  metric: str
  sign: int
  slice: str = 'all'
  base: str = 'model'


_SSIM = ('ssim_0.0001', 'ssim_0.001', 'ssim', 'ssim_1')
TEXT = (
  Claim('double D (3+5) is better in poses that training did not show', 'double', 'psnr_face', 1, 'unseen'),
  Claim('double D (3+5) is better there than two equal ones', 'double', 'psnr_face', 1, 'unseen', 'double_equal'),
  Claim('5-layer D: the pose follows better', 'five_layers', 'yaw_correlation', 1),
  Claim('5-layer D: the mouth follows better', 'five_layers', 'mouth_correlation', 1),
  Claim('5-layer D: heads and shoulders are held less well', 'five_layers', 'silhouette_iou', -1),
  Claim('weight mask: more detail of teeth and mouth', 'weight_mask', 'psnr_mouth', 1),
  *(Claim(f'{arm}: helps to learn the pose', arm, 'yaw_correlation', 1) for arm in _SSIM),
  *(Claim(f'{arm}: image details are no better', arm, 'ssim_face', 0) for arm in _SSIM),
  Claim('U-Net collapses', 'unet', 'diversity_share', -1),
  Claim('crop mask collapses', 'crop_mask', 'diversity_share', -1),
)


class PairClaim(NamedTuple):
  """A sentence of Section 5.1 on how the baseline fares with a pair of people.

  Attributes:
    text: what it says.
    pair: the pair.
    metric: the figure by which it is judged.
    sign: 1 where it should be larger than `base`, -1 smaller.
    base: a number, or the pair that it is compared with.
  """

  text: str
  pair: str
  metric: str
  sign: int
  base: float | str


PAIR_TEXT = (
  PairClaim('A2B, other sex: the other person is shown, more often than not', 'A2B', 'verified_as_target', 1, 0.5),
  PairClaim("A2B, other sex: frames are shaky, more so than the input's", 'A2B', 'flicker', 1, 1.0),
  PairClaim('A2C, long hair: more noise than without', 'A2C', 'flicker', 1, FIRST_PAIR),
  PairClaim('A2D, other scale: heads and shoulders are held less well', 'A2D', 'silhouette_iou', -1, FIRST_PAIR),
)


class Judged(NamedTuple):
  """An evaluated run: its rows, samples.npz and frames.npz."""

  rows: list[Row]
  samples: dict[str, np.ndarray]
  frames: dict[str, np.ndarray]

  def statistic(self, metric: str, chosen: np.ndarray) -> Callable[[np.ndarray], Any] | None:
    """The model's figure of the frames `chosen` [N] bool as a function of their weights; None where it has none."""
    if metric in FOLLOWS:
      return correlation_of(*(self.frames[f'{metric}/{name}'][chosen] for name in ('model', 'input')))
    if metric == 'diversity_share':
      usual = mean_distance(self.frames['distances/target'])(np.ones(len(self.frames['distances/target'])))
      mean = mean_distance(self.frames['distances/model'][np.ix_(chosen, chosen)])
      return lambda weights: mean(weights) / usual
    key = f'model/{metric}'
    if key not in self.samples:
      return None
    return Measure(self.samples[key], self.samples.get(f'{key}/denominator')).statistic(chosen)

  @property
  def failed(self) -> bool:
    """Whether one picture is drawn for all, or pictures show no face, or not B's."""
    found = [find_row(self.rows, name) for name in ('diversity_share', 'nearer_to_target', 'face_found')]
    return any(row is None or (row['value'] or 0.0) < _FAILED for row in found)


Arms = Mapping[str, Mapping[int, Path]]


def judge(arms: Arms, unfair: Collection[str] = ()) -> list[Row]:
  """Rows of all claims, of the share of failed runs of each arm, and of the baseline on each pair.

  A row of a claim has `claim` and `verdict` besides, and `spread` (None with one seed of the baseline).

  Args:
    arms: arm -> seed -> evaluated run, or one that `set_aside` takes for diverged: it failed, and nothing else is said
      of it.
    unfair: arms that were trained otherwise than the baseline in more than what makes them an arm.
  Raises:
    FileNotFoundError: if another run was not evaluated.
    ValueError: if one was evaluated before its last step.
  """
  ended, diverged = set_aside(arms)
  judged = {arm: {seed: _read(path) for seed, path in seeds.items()} for arm, seeds in ended.items()}
  rows = [_judge(claim, judged) for claim in TEXT]
  rows += [_failures(arm, judged, len(diverged.get(arm, {}))) for arm in _FAIL_OFTEN]
  compared = [{claim.arm, claim.base} for claim in TEXT] + [{arm, 'model'} for arm in _FAIL_OFTEN]
  for row, names in zip(rows, compared, strict=True):
    if names & set(unfair):
      row['verdict'] = 'undecided: trained otherwise'
  pairs = _pair_rows(judged)
  return rows + [_judge_pair(claim, pairs, judged) for claim in PAIR_TEXT] + _win_rows(judged) + pairs


def set_aside(arms: Arms) -> tuple[dict[str, dict[int, Path]], dict[str, dict[int, Path]]]:
  """Parts runs from those that diverged.

  A run whose losses become infinite ends there, and is never evaluated. Of the arms that are said to fail often, a run
  without results that has not made all of its steps is taken for one; of other arms it is not, so that it is missed.

  Args:
    arms: arm -> seed -> run.
  Returns:
    The runs that ended well, and those that diverged, by arm and seed; an arm may have none.
  """
  diverged = {
    arm: {seed: path for seed, path in seeds.items() if _ended_early(path)}
    for arm, seeds in arms.items()
    if arm in _FAIL_OFTEN
  }
  ended = {
    arm: {seed: path for seed, path in seeds.items() if seed not in diverged.get(arm, {})}
    for arm, seeds in arms.items()
  }
  return ended, diverged


def _ended_early(path: Path) -> bool:
  if (path / 'eval' / 'results.json').is_file():
    return False
  return max(checkpoint_steps(path, 'train'), default=-1) < load_config(path).train_steps


def _read(path: Path) -> Judged:
  results, arrays, steps = read_results(path), [], load_config(path).train_steps
  if results['step'] < steps:
    raise ValueError(
      f'{path} was evaluated after {results["step"]:,} of {steps:,} steps: train it to the end, and evaluate it again'
    )
  for name in ('samples.npz', 'frames.npz'):
    file = path / 'eval' / name
    if not file.is_file():
      raise FileNotFoundError(f'{file} does not exist: run `python -m evaluate.main --workdir={path}` again')
    with np.load(file, allow_pickle=False) as found:
      arrays.append(dict(found))
  return Judged(results['results'], *arrays)


def _judge(claim: Claim, judged: Mapping[str, Mapping[int, Judged]]) -> Row:
  subject = f'{claim.arm}_minus_{claim.base}'
  missing = [arm for arm in (claim.arm, claim.base) if arm not in judged]
  estimate, spread, count, seeds = Estimate(None, None, None), None, 0, 0
  if not missing:
    seeds = min(len(judged[arm]) for arm in (claim.arm, claim.base))
    estimate, count = _gap(claim, judged)
    spread = _spread(claim, judged['model'])
  row = make_row(CLAIMS, claim.metric, subject, claim.slice, estimate, count, 1, seeds)
  verdict = f'not run: {", ".join(missing)}' if missing else decide(claim.sign, estimate, spread)
  if claim.metric == 'diversity_share' and verdict == 'holds' and _mean(claim, judged[claim.arm]) >= _FAILED:
    verdict = 'undecided: outputs still differ'  # They differ less, which is not yet a collapse.
  return {**row, 'claim': claim.text, 'spread': spread, 'verdict': verdict}


def _mean(claim: Claim, of_seeds: Mapping[int, Judged]) -> float:
  """An arm's figure, the mean of its seeds."""
  count = int(next(iter(of_seeds.values())).samples[f'slice/{claim.slice}'].sum())
  return float(np.mean([statistic(np.ones(count)) for statistic in _figures(claim, of_seeds)]))


def _figures(claim: Claim, of_seeds: Mapping[int, Judged]) -> list[Callable[[np.ndarray], Any]]:
  part = f'slice/{claim.slice}'
  statistics = [
    one.statistic(claim.metric, one.samples[part]) for one in of_seeds.values() if part in one.samples
  ]
  return [statistic for statistic in statistics if statistic is not None]


def _gap(claim: Claim, judged: Mapping[str, Mapping[int, Judged]]) -> tuple[Estimate, int]:
  """The difference of two arms, each the mean of its seeds, over the same frames; and how many these are."""
  ours, base = (_figures(claim, judged[arm]) for arm in (claim.arm, claim.base))
  runs = [one for arm in (claim.arm, claim.base) for one in judged[arm].values()]
  names = runs[0].samples['sample']
  alike = all(np.array_equal(names, one.samples['sample']) for one in runs)
  if not alike or len(ours) + len(base) < len(runs):
    return Estimate(None, None, None), 0
  chosen = runs[0].samples[f'slice/{claim.slice}']
  mean = lambda statistics, w: np.mean([statistic(w) for statistic in statistics], axis=0)  # noqa: E731
  weights = intervals.bootstrap_weights(runs[0].samples['identity'][chosen])
  return intervals.estimate(lambda w: mean(ours, w) - mean(base, w), weights), int(chosen.sum())


def _spread(claim: Claim, baseline: Mapping[int, Judged]) -> float | None:
  """The largest gap between two seeds of the baseline; None where there is one, or nothing was measured."""
  part = f'slice/{claim.slice}'
  if len(baseline) < 2 or any(part not in one.samples for one in baseline.values()):
    return None
  count = int(next(iter(baseline.values())).samples[part].sum())
  values = [float(statistic(np.ones(count))) for statistic in _figures(claim, baseline)]
  return max(values) - min(values) if values and np.isfinite(values).all() else None


def decide(sign: int, gap: Estimate, spread: float | None) -> str:
  """What a gap allows to say of a claim: it `holds`, the `opposite` does, or it is `undecided`, and why.

  A claim that nothing is gained (sign 0) holds if the interval and the spread end below `MARGIN`, .01 of SSIM: the
  variant is no better by more than that. A gap that shows nothing is not enough: few frames show nothing of any gain.

  Args:
    sign: of the claim, see `Claim`.
    gap: variant minus baseline with its interval.
    spread: between seeds of the baseline.
  """
  if gap.value is None or gap.low is None or gap.high is None:
    return 'not measured'
  if spread is None:
    return 'undecided: one seed of the baseline'
  if sign == 0 and gap.high < MARGIN:
    return 'holds' if gap.high + spread < MARGIN else 'undecided: another seed may turn it'
  if gap.low <= 0 <= gap.high or abs(gap.value) <= spread:
    within = 'other frames' if gap.low <= 0 <= gap.high else 'another seed'
    return f'undecided: {within} may turn it'
  return 'holds' if sign * gap.value > 0 else 'opposite'


def _failures(arm: str, judged: Mapping[str, Mapping[int, Judged]], diverged: int) -> Row:
  """How many seeds failed, of the runs of an arm, `diverged` of which were never evaluated."""
  failed = {name: [one.failed for one in judged.get(name, {}).values()] for name in (arm, 'model')}
  ours, base = failed[arm] + [True] * diverged, failed['model']
  share = Estimate(float(np.mean(ours)), None, None) if ours else Estimate(None, None, None)
  if not ours:
    verdict = f'not run: {arm}'
  elif min(len(ours), len(base)) < MIN_SEEDS:
    verdict = f'undecided: {len(ours)} seed{"s" * (len(ours) > 1)} of it, {len(base)} of the baseline'
  else:
    verdict = 'holds' if np.mean(ours) >= _FAILED > np.mean(base) else 'undecided'
  row = make_row(CLAIMS, 'failed_runs', arm, 'all', share, len(ours), 1, len(ours))
  early = f', {diverged} without results' * bool(diverged)
  text = f'{arm} fails often ({sum(ours)} of {len(ours)} runs{early}; baseline: {sum(base)} of {len(base)})'
  return {**row, 'claim': text, 'spread': None, 'verdict': verdict}


def _win_rows(judged: Mapping[str, Mapping[int, Judged]]) -> list[Row]:
  """On how many frames each variant's face is nearer to the truth than the baseline's, by SSIM, over pairs of seeds."""
  key, rows, base = f'model/{_WINS_BY}', [], list(judged['model'].values())
  for arm, of_seeds in judged.items():
    both = [(one.samples, other.samples) for one in of_seeds.values() for other in base]
    if arm == 'model' or not both or any(
      key not in samples or not np.array_equal(samples['sample'], base[0].samples['sample'])
      for pair in both
      for samples in pair
    ):
      continue
    won = np.mean([one[key] > other[key] for one, other in both], axis=0)
    weights = intervals.bootstrap_weights(base[0].samples['identity'])
    estimate = intervals.estimate(intervals.mean_of(won), weights)
    rows.append(make_row('wins', _WINS_BY, arm, 'all', estimate, len(won), 1, len(of_seeds)))
  return rows


def _pair_rows(judged: Mapping[str, Mapping[int, Judged]]) -> list[Row]:
  """The baseline on each pair of actors: the mean of its seeds, with the mean of their intervals."""
  rows = []
  for pair, trait in _ACTORS.items():
    runs = _of_pair(pair, judged)
    for metric in _OF_PAIRS:
      rows_of = [find_row(one.rows, metric, protocol=PROTOCOL) for one in runs]
      if found := [row for row in rows_of if row is not None and row['value'] is not None]:
        ends = {key: [row[key] for row in found] for key in ('value', 'low', 'high')}
        known = {key: float(np.mean(values)) for key, values in ends.items() if None not in values}
        estimate = Estimate(*(known.get(key) for key in ends))
        rows.append(make_row('pairs', metric, f'{pair} ({trait})', 'all', estimate, found[0]['count'], 1, len(found)))
  return rows


def _of_pair(pair: str, judged: Mapping[str, Mapping[int, Judged]]) -> list[Judged]:
  return list(judged.get('model' if pair == FIRST_PAIR else f'model_{pair}', {}).values())


def _judge_pair(claim: PairClaim, pairs: Sequence[Row], judged: Mapping[str, Mapping[int, Judged]]) -> Row:
  """Two pairs have other frames, so that their intervals are independent and add up as squares."""
  ours = find_row(pairs, claim.metric, f'{claim.pair} ({_ACTORS[claim.pair]})')
  base: Mapping[str, Any] | None = {'value': claim.base, 'low': claim.base, 'high': claim.base, 'seeds': MIN_SEEDS}
  if isinstance(claim.base, str):
    base = find_row(pairs, claim.metric, f'{claim.base} ({_ACTORS[claim.base]})')
  estimate, spread = Estimate(None, None, None), None
  seeds = [row['value'] for one in _of_pair(FIRST_PAIR, judged) if (row := find_row(one.rows, claim.metric))]
  if len(seeds) > 1 and None not in seeds:
    spread = max(seeds) - min(seeds)
  if ours and base and None not in (ours['low'], base['low']):
    gap = ours['value'] - base['value']
    below = math.hypot(ours['value'] - ours['low'], base['high'] - base['value'])
    above = math.hypot(ours['high'] - ours['value'], base['value'] - base['low'])
    estimate = Estimate(gap, gap - below, gap + above)
  count, runs = (ours['count'], min(ours['seeds'], base['seeds'])) if ours and base else (0, 0)
  row = make_row(CLAIMS, claim.metric, f'{claim.pair}_minus_{claim.base}', 'all', estimate, count, 1, runs)
  verdict = decide(claim.sign, estimate, spread) if ours and base else f'not run: the baseline on {claim.pair}'
  return {**row, 'claim': claim.text, 'spread': spread, 'verdict': verdict}


def write_claims(rows: Sequence[Row]) -> str:
  """The claims as a table, and the baseline's figures on each pair."""
  lines = [
    [
      row['claim'],
      row['metric'] + ('' if row['slice'] == 'all' else f' ({row["slice"]})'),
      write_value(row),
      '-' if row['spread'] is None else f'{row["spread"]:.3f}',
      str(row['seeds']),
      row['verdict'],
    ]
    for row in rows
    if row['protocol'] == CLAIMS
  ]
  text = make_table(['claim', 'figure', 'variant minus baseline', 'between seeds', 'seeds', 'verdict'], lines)
  wins = [
    [FACEOFF_TITLES.get(row['subject'], row['subject']), write_value(row), str(row['seeds'])]
    for row in rows
    if row['protocol'] == 'wins'
  ]
  if wins:
    header = ['nearer to the truth than the baseline', 'share of frames, by SSIM of the face', 'seeds']
    text += '\n\n' + make_table(header, wins)
  pairs = [row for row in rows if row['protocol'] == 'pairs']
  names = list(dict.fromkeys(row['subject'] for row in pairs))
  metrics = list(dict.fromkeys(row['metric'] for row in pairs))
  found = [[name, *(write_value(find_row(pairs, metric, name)) for metric in metrics)] for name in names]
  return text + ('\n\n' + make_table(['baseline', *metrics], found) if found else '')
