"""Table 1 of the FaceCycle paper on made-up evaluations, and its flagfiles."""

import pathlib

import numpy as np
import pytest

from evaluate import facecycle_claims, paper
from evaluate.arms import FACECYCLE_TITLES, facecycle_arm, read_arms
from evaluate.results import Measure, make_rows, save_samples, write_results
from models import runs
from models.facecycle_config import FaceCycleConfig
from train import flags

QUICK = pathlib.Path(__file__).parents[2] / 'configs' / 'ablations' / 'quick'
PEOPLE = np.repeat(np.arange(24), 10)


def make_run(path, accuracy, yaw=3.0, **settings):
  """A run whose probes name so many of the expressions, up to noise of the seed."""
  config = FaceCycleConfig.tiny(**{'image_size': 64, **settings})
  random = np.random.default_rng(config.seed)
  right = np.arange(len(PEOPLE)) % 10 < 10 * accuracy
  measures = {'model': {
    'expression_accuracy': Measure(np.where(random.uniform(size=len(PEOPLE)) < 0.02, ~right, right) * 1.0),
    'yaw_error': Measure(yaw + 0.1 * random.normal(size=len(PEOPLE))),
  }}  # fmt: skip
  slices = {'all': np.ones(len(PEOPLE), bool)}
  path.mkdir(parents=True)
  runs.save_flags(config, path)
  write_results(path / 'eval' / 'results.json', 'facecycle', 9, 'synthetic_video',
                make_rows('probe', measures, PEOPLE, slices))  # fmt: skip
  save_samples(path / 'eval' / 'samples-probe.npz', np.arange(len(PEOPLE)).astype(str), PEOPLE, measures, slices)
  return path


def test_claims_of_table_1(tmp_path, capsys):
  given = [make_run(tmp_path / f'few{seed}', 0.6, yaw=2.0, tracks=5, seed=seed) for seed in range(3)]
  given += [make_run(tmp_path / f'flip{seed}', 0.4, tracks=5, p_flip=1.0, seed=seed) for seed in range(3)]
  given += [make_run(tmp_path / 'large', 0.8, tracks=5, image_size=128)]
  given += [make_run(tmp_path / f'all{seed}', 0.6, seed=seed) for seed in range(3)]
  rows = paper.paper(given, tmp_path / 'out')
  found = {(row['subject'], row['metric']): row for row in rows}
  flip = found['few_minus_few_flip', 'expression_accuracy']
  assert flip['value'] == pytest.approx(0.2, abs=0.03) and flip['low'] > 0 and flip['verdict'] == 'holds'
  assert (flip['seeds'], flip['identities'], flip['count']) == (3, 24, 240)
  assert found['few_minus_few_flip', 'yaw_error']['value'] == pytest.approx(-1, abs=0.1)
  assert found['few_minus_few_128', 'expression_accuracy']['verdict'] == 'undecided: too few (1 seed)'
  assert found['model_minus_few', 'expression_accuracy']['verdict'] == 'undecided'
  said = capsys.readouterr().out
  assert 'Table 1: other frames teach more than the mirrored frame' in said
  with pytest.raises(ValueError, match='--drivers=x: the claims of FaceCycle are judged by the runs'):
    paper.paper(given, tmp_path / 'out', drivers='x')


def test_what_is_missing_or_was_trained_otherwise_decides_nothing(tmp_path):
  given = [make_run(tmp_path / f'few{seed}', 0.6, tracks=5, seed=seed) for seed in range(3)]
  given += [make_run(tmp_path / f'all{seed}', 0.9, seed=seed, motion_steps=9) for seed in range(3)]
  arms, unfair = read_arms(given)
  verdicts = [row['verdict'] for row in facecycle_claims.judge(arms, unfair)]
  assert verdicts == ['not measured: few_flip', '', 'not measured: few_128', '', 'undecided: trained otherwise', '']


def test_the_sweeps_flagfiles_are_the_papers_arms():
  configs = {path.stem: flags.parse(['train.main', f'--flagfile={path}'], flags.TrainFlags).config
             for path in QUICK.glob('facecycle_*.cfg')}
  assert {facecycle_arm(config) for config in configs.values()} == set(FACECYCLE_TITLES)
