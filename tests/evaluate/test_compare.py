import json

import numpy as np
import pytest

from evaluate import compare, intervals
from evaluate.provenance import read_provenance
from evaluate.results import Measure, make_rows, save_samples, write_results
from models import commands, runs
from models.gcgan import GCGANConfig

PEOPLE = np.repeat(np.arange(24), 5)


def make_run(path, seed=0, better=0.0, people=PEOPLE, first=0, **settings):
  """A run whose evaluation is the same noise for all, plus `better`."""
  noise = np.random.default_rng(1).normal(0, 1, len(people))
  own = np.random.default_rng([seed, 7]).normal(0, 0.02, len(people))
  change = np.random.default_rng(2).uniform(1, 2, len(people))
  measures = {
    'model': {
      'psnr': Measure(20 + noise + own + better),
      'mouth_change_explained': Measure(0.5 * change + own, change),
    },
    'copy_input': {'psnr': Measure(19 + noise)},
  }
  slices = {'all': np.ones(len(people), bool), 'to_smile': np.arange(len(people)) % 2 == 0}
  runs_dir = path / 'eval'
  path.mkdir(parents=True)
  runs.save_flags(GCGANConfig(seed=seed, **settings), path)
  write_results(
    runs_dir / 'results.json', 'gcgan', 9, 'synthetic', make_rows('table1', measures, people, slices, ['psnr'])
  )
  save_samples(
    runs_dir / 'samples.npz', np.array([f'p{i + first}' for i in range(len(people))]), people, measures, slices
  )
  (path / 'stats.jsonl').write_text(
    ''.join(
      json.dumps({'phase': 'train', 'step': s, 'image_loss': 1 / s, 'perf/seconds': 3.0}) + '\n' for s in (1, 2, 3)
    )
  )
  return path


def test_arms_and_paired_differences(tmp_path, capsys):
  a = [make_run(tmp_path / f'a{s}', s) for s in range(3)]
  b = [make_run(tmp_path / f'b{s}', s, better=0.3, width=0.5) for s in (2, 1, 0)]
  assert (
    commands.run(compare.main, ['compare', *map(str, [a[0], b[0], *a[1:], *b[1:]]), f'--output={tmp_path}/out']) == 0
  )
  text = capsys.readouterr().out
  assert 'width=1.0: seeds 0, 1, 2' in text and 'width=0.5: seeds 2, 1, 0' in text
  result = json.loads((tmp_path / 'out' / 'compare.json').read_text())
  row = next(r for r in result['differences'] if r['metric'] == 'psnr' and r['slice'] == 'all')
  # Paired: the noise of 1 dB between pictures is shared and does not widen the interval.
  assert row['low'] < 0.3 < row['high'] and row['high'] - row['low'] < 0.05
  assert (row['verdict'], row['count'], row['identities'], row['seeds']) == ('higher', 120, 24, 3)
  explained = next(
    r for r in result['differences'] if r['metric'] == 'mouth_change_explained' and r['slice'] == 'to_smile'
  )
  assert explained['verdict'] == 'no difference shown' and explained['value'] == pytest.approx(0)
  assert read_provenance(tmp_path / 'out' / 'curves.png')['digital_source_type'].endswith('dataDrivenMedia')


def test_few_people_or_seeds_are_too_few(tmp_path, capsys):
  few = np.repeat(np.arange(7), 4)
  a, b = make_run(tmp_path / 'a', 0, people=few), make_run(tmp_path / 'b', 0, better=5, people=few, width=0.5)
  result = compare.compare([a, b], tmp_path / 'out')
  assert result['differences'][0]['verdict'] == 'too few (7 people, 1 seed)'
  assert 'too few (7 people, 1 seed)' in capsys.readouterr().out


def test_only_shared_pictures_count(tmp_path):
  a, b = make_run(tmp_path / 'a'), make_run(tmp_path / 'b', first=100, width=0.5)
  row = compare.compare([a, b], tmp_path / 'out')['differences'][0]
  assert row['count'] == 20
  c = make_run(tmp_path / 'c', first=1000, width=0.25)
  result = compare.compare([a, c], tmp_path / 'out')
  assert {r['verdict'] for r in result['differences']} == {'no shared pictures'}


def test_difference_of_a_ratio_by_hand(tmp_path):
  a, b = make_run(tmp_path / 'a'), make_run(tmp_path / 'b', seed=1, width=0.5)
  first, second = compare.group([compare.read_run(a), compare.read_run(b)])
  row = compare.difference(first, second, 'mouth_change_explained', 'all')
  figures = [np.load(p / 'eval' / 'samples.npz') for p in (a, b)]
  expected = [
    f['model/mouth_change_explained'].sum() / f['model/mouth_change_explained/denominator'].sum() for f in figures
  ]
  assert row['value'] == pytest.approx(expected[1] - expected[0])
  assert intervals.MIN_PEOPLE == 20 and intervals.MIN_SEEDS == 3


def test_a_run_that_was_trained_further_is_named(tmp_path, capsys):
  a, b = make_run(tmp_path / 'a'), make_run(tmp_path / 'b', width=0.5)
  for run, steps in ((a, (9,)), (b, (9, 20))):
    (run / 'checkpoints' / 'train').mkdir(parents=True)
    for step in steps:
      runs.checkpoint_path(run, 'train', step).with_suffix('.index').touch()
  compare.compare([a, b], tmp_path / 'out')
  found = [line for line in capsys.readouterr().out.splitlines() if 'evaluated at' in line]
  assert len(found) == 1 and found[0].startswith(f'{b} was evaluated at step 9 and is at step 20 now')


def test_user_errors_are_one_line(tmp_path, capsys):
  a = make_run(tmp_path / 'a')
  (tmp_path / 'b').mkdir()
  runs.save_flags(GCGANConfig(), tmp_path / 'b')
  again = make_run(tmp_path / 'again')
  for argv, message in (
    ([], 'give at least one RUN'),
    ([tmp_path / 'none'], 'holds no run'),
    ([a, again], 'are the same'),
    ([tmp_path / 'b'], 'run `python -m evaluate.main --workdir='),
    ([a, '--slice=x'], '--slice=x was not measured'),
  ):
    assert commands.run(compare.main, ['compare', *map(str, argv)]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count('\n') == 1
