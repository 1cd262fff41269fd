"""The face-off paper's claims on made-up runs, and Figs. 6 and 7 of real ones."""

import dataclasses
import json
import pathlib

import numpy as np
import pytest

from evaluate import compare, faceoff_claims, faceoff_compare, paper
from evaluate.arms import FACEOFF_TITLES, faceoff_arm
from evaluate.faceoff_claims import decide
from evaluate.intervals import Estimate
from evaluate.provenance import read_provenance
from evaluate.results import make_row, write_results
from input_pipeline import actors
from models import runs
from models.faceoff_config import FaceOffConfig
from train import flags
from train.loop import train_and_evaluate

FRAMES = 60
QUICK = pathlib.Path(__file__).parents[2] / 'configs' / 'ablations' / 'quick'


def write_evaluation(workdir, config, mouth=20.0, yaw=0.5, diversity=1.0, flicker=1.2, seed=0):
  """What an evaluation leaves that gives these figures, with noise of its own."""
  random = np.random.default_rng(seed)
  (workdir / 'eval').mkdir(parents=True)
  runs.save_flags(config, workdir)
  inputs = np.random.default_rng(0).normal(size=FRAMES)
  noisy = yaw * inputs + np.sqrt(1 - yaw**2) * np.random.default_rng(1).normal(size=FRAMES)
  noise = 0.01 * random.normal(size=FRAMES)
  names = ('psnr_mouth', 'psnr_face', 'ssim_face', 'silhouette_iou')
  samples = {f'model/{name}': mouth + noise for name in names}
  slices = {'slice/all': np.ones(FRAMES, bool), 'slice/unseen': np.arange(FRAMES) % 2 == 0}
  np.savez(workdir / 'eval' / 'samples.npz', **samples, **slices, sample=np.arange(FRAMES).astype(str),
           identity=np.arange(FRAMES) // 10)  # fmt: skip
  distances = 1 - np.eye(FRAMES)
  np.savez(workdir / 'eval' / 'frames.npz', **{
    f'{metric}/{name}': values for metric in ('mouth_correlation', 'yaw_correlation')
    for name, values in (('input', inputs), ('model', noisy + noise))
  }, **{'distances/model': diversity * distances, 'distances/target': distances})  # fmt: skip
  values = {'diversity_share': diversity, 'nearer_to_target': 1.0, 'face_found': 1.0, 'psnr_face': mouth,
            'flicker': flicker, 'verified_as_target': 0.9, 'silhouette_iou': mouth}  # fmt: skip
  rows = [make_row('translation', name, 'model', 'all', Estimate(v, v, v), FRAMES, 1) for name, v in values.items()]
  write_results(workdir / 'eval' / 'results.json', 'faceoff', config.train_steps, 'synthetic_actors', rows)
  return workdir


def test_claims_hold_where_frames_and_seeds_agree(tmp_path):
  tiny = FaceOffConfig.tiny
  arms = {'model': {}, 'wgan': {}}
  for seed in range(3):
    arms['model'][seed] = write_evaluation(tmp_path / f'm{seed}', tiny(seed=seed), mouth=20 + 0.1 * seed, seed=seed)
    arms['wgan'][seed] = write_evaluation(tmp_path / f'w{seed}', tiny(seed=seed), diversity=0.2 + 0.4 * (seed == 2))
  arms['weight_mask'] = {0: write_evaluation(tmp_path / 'wm', tiny(), mouth=21.0)}
  arms['double'] = {0: write_evaluation(tmp_path / 'd', tiny(), mouth=20.15)}
  arms['five_layers'] = {0: write_evaluation(tmp_path / 'f', tiny(), yaw=0.2, mouth=19.0)}
  arms['ssim'] = {0: write_evaluation(tmp_path / 's', tiny(), mouth=19.5)}
  arms['unet'] = {0: write_evaluation(tmp_path / 'u', tiny(), diversity=0.3)}
  arms['crop_mask'] = {0: write_evaluation(tmp_path / 'c', tiny(), diversity=0.6)}
  arms['model_A2D'] = {0: write_evaluation(tmp_path / 'x', tiny(pair='A2D'), mouth=15.0)}
  arms['model_A2C'] = {0: write_evaluation(tmp_path / 'y', tiny(pair='A2C'), flicker=1.1)}
  rows = faceoff_claims.judge(arms)
  said = {(row['subject'], row['metric']): row for row in rows}
  verdict = {key: row.get('verdict') for key, row in said.items()}
  assert verdict['weight_mask_minus_model', 'psnr_mouth'] == 'holds'
  assert said['weight_mask_minus_model', 'psnr_mouth']['value'] == pytest.approx(0.9, abs=0.02)
  assert said['weight_mask_minus_model', 'psnr_mouth']['spread'] == pytest.approx(0.2, abs=0.02)
  # A gap of .05 that all frames agree on, and that another seed of the baseline would make too.
  assert verdict['double_minus_model', 'psnr_face'] == 'undecided: another seed may turn it'
  assert verdict['double_minus_double_equal', 'psnr_face'] == 'not run: double_equal'
  assert verdict['five_layers_minus_model', 'silhouette_iou'] == 'holds'
  assert verdict['five_layers_minus_model', 'yaw_correlation'] in ('opposite', 'undecided: other frames may turn it')
  assert verdict['ssim_minus_model', 'ssim_face'] == 'holds'
  assert verdict['unet_minus_model', 'diversity_share'] == 'holds'
  assert said['unet_minus_model', 'diversity_share']['value'] == pytest.approx(-0.7)
  assert verdict['crop_mask_minus_model', 'diversity_share'] == 'undecided: outputs still differ'
  assert verdict['wgan', 'failed_runs'] == 'holds' and '2 of 3 runs; baseline: 0 of 3' in said['wgan', 'failed_runs'][
    'claim']  # fmt: skip
  assert said['A2D (other scale)', 'psnr_face']['value'] == 15
  assert verdict['A2D_minus_A2B', 'silhouette_iou'] == 'holds'
  assert said['A2D_minus_A2B', 'silhouette_iou']['value'] == pytest.approx(15 - 20.1)
  assert verdict['A2B_minus_0.5', 'verified_as_target'] == 'holds' == verdict['A2B_minus_1.0', 'flicker']
  assert verdict['A2C_minus_A2B', 'flicker'] == 'opposite'
  wins = {row['subject']: row['value'] for row in rows if row['protocol'] == 'wins'}
  assert wins['weight_mask'] == 1 and wins['five_layers'] == 0 and 'model' not in wins
  assert wins['double'] == pytest.approx(2 / 3, abs=0.05)  # Above two of the three seeds of the baseline.
  rows = faceoff_claims.judge(arms, unfair=['weight_mask', 'wgan'])
  verdict = {(row['subject'], row['metric']): row.get('verdict') for row in rows}
  assert verdict['weight_mask_minus_model', 'psnr_mouth'] == 'undecided: trained otherwise'
  assert verdict['wgan', 'failed_runs'] == 'undecided: trained otherwise'
  assert verdict['unet_minus_model', 'diversity_share'] == 'holds'
  results = tmp_path / 'd/eval/results.json'
  results.write_text(results.read_text().replace('"step": 2,', '"step": 1,'))
  with pytest.raises(ValueError, match='d was evaluated after 1 of 2 steps: train it to the end'):
    faceoff_claims.judge(arms)
  text = faceoff_claims.write_claims(rows)
  assert 'weight mask: more detail' in text and 'A2B (other sex)' in text
  json.dumps(rows, allow_nan=False)


def test_a_run_that_diverged_has_failed_and_counts_nowhere_else(tmp_path):
  tiny = FaceOffConfig.tiny
  arms = {'model': {}, 'wgan': {}, 'wgan_gp': {}}
  for seed in range(3):
    arms['model'][seed] = write_evaluation(tmp_path / f'm{seed}', tiny(seed=seed), seed=seed)
    arms['wgan'][seed] = write_evaluation(tmp_path / f'w{seed}', tiny(seed=seed))
    arms['wgan_gp'][seed] = tmp_path / f'g{seed}'
    arms['wgan_gp'][seed].mkdir()
    runs.save_flags(tiny(seed=seed, adversarial='wgan_gp'), arms['wgan_gp'][seed])
  (tmp_path / 'w1/eval/results.json').unlink()
  rows = {row['subject']: row for row in faceoff_claims.judge(arms) if row['metric'] == 'failed_runs'}
  assert 'wgan fails often (1 of 3 runs, 1 without results; baseline: 0 of 3)' == rows['wgan']['claim']
  assert (rows['wgan']['verdict'], rows['wgan']['value']) == ('undecided', pytest.approx(1 / 3))
  assert (rows['wgan_gp']['verdict'], rows['wgan_gp']['seeds']) == ('holds', 3)
  assert rows['wgan_released']['verdict'] == 'not run: wgan_released'
  ended, diverged = faceoff_claims.set_aside(arms)
  assert list(ended['wgan']) == [0, 2] and ended['wgan_gp'] == {} and list(diverged['wgan_gp']) == [0, 1, 2]
  # Whatever made all of its steps was only not evaluated, and the baseline must not be missed.
  checkpoint = tmp_path / 'w1/checkpoints/train'
  checkpoint.mkdir(parents=True)
  (checkpoint / 'ckpt-2.index').touch()
  with pytest.raises(FileNotFoundError, match='w1/eval/results.json does not exist'):
    faceoff_claims.judge(arms)
  (checkpoint / 'ckpt-2.index').rename(checkpoint / 'ckpt-1.index')
  (tmp_path / 'm2/eval/results.json').unlink()
  with pytest.raises(FileNotFoundError, match='m2/eval/results.json does not exist'):
    faceoff_claims.judge(arms)


def test_what_a_gap_allows_to_say():
  assert decide(1, Estimate(0.5, 0.2, 0.9), None) == 'undecided: one seed of the baseline'
  assert decide(1, Estimate(0.5, 0.2, 0.9), 0.1) == 'holds' == decide(-1, Estimate(-0.5, -0.9, -0.2), 0.1)
  assert decide(1, Estimate(-0.5, -0.9, -0.2), 0.1) == 'opposite' == decide(0, Estimate(0.5, 0.2, 0.9), 0.1)
  assert decide(1, Estimate(0.5, -0.2, 0.9), 0.1) == 'undecided: other frames may turn it'
  # That nothing is gained: no more than .01 is shown for it, or for neither.
  assert decide(0, Estimate(0.002, -0.004, 0.006), 0.003) == 'holds' == decide(0, Estimate(-0.5, -0.9, -0.2), 0.1)
  assert decide(0, Estimate(0.002, -0.004, 0.009), 0.1) == 'undecided: another seed may turn it'
  assert decide(0, Estimate(0.002, -0.004, 0.02), 0.0) == 'undecided: other frames may turn it'
  assert decide(0, Estimate(0.05, 0.01, 0.09), 0.1) == 'undecided: another seed may turn it'
  assert decide(0, Estimate(0.005, 0.001, 0.009), None) == 'undecided: one seed of the baseline'
  assert decide(1, Estimate(None, None, None), 0.1) == 'not measured'


def test_variants_are_told_by_their_settings():
  tiny = FaceOffConfig.tiny
  assert faceoff_arm(tiny()) == 'model' and faceoff_arm(tiny(pair='A2C')) == 'model_A2C'
  assert faceoff_arm(tiny(adversarial='wgan', critic_steps=5, pool_size=0)) == 'wgan'
  assert faceoff_arm(tiny(adversarial='wgan')) == 'wgan_released'
  assert faceoff_arm(tiny(ssim_weight=0.01)) == 'ssim' and faceoff_arm(tiny(ssim_weight=1.0)) == 'ssim_1'
  assert faceoff_arm(tiny(discriminator_layers=2, image_size=32)) == 'layers_2_0'
  assert 'double_equal' in FACEOFF_TITLES
  # Runs that differ in more than a variant keep the names of all their settings.
  assert faceoff_compare.name_arms([tiny(), tiny(seed=1), tiny(crop_mask=True)]) is faceoff_arm
  assert faceoff_compare.name_arms([tiny(), tiny(cycle_weight=5.0)]) is None


@pytest.mark.slow  # The claims by themselves: above.
def test_figures_6_and_7_of_trained_runs(tmp_path, capsys):
  base = {'data_dir': str(tmp_path / 'cache'), 'test_frames': 12, 'log_every': 1, 'train_steps': 2}
  for actor in 'AB':
    actors.render_dataset(FaceOffConfig.tiny(**base), actor, processes=1)
  for name, changes in {'m': {}, 'crop': {'crop_mask': True}}.items():
    train_and_evaluate(FaceOffConfig.tiny(**base, **changes), tmp_path / name)
  (tmp_path / 'diverged').mkdir()
  runs.save_flags(FaceOffConfig.tiny(**base, adversarial='wgan'), tmp_path / 'diverged')
  capsys.readouterr()
  paper.paper([tmp_path / 'm', tmp_path / 'crop', tmp_path / 'diverged'], tmp_path / 'out')
  said = capsys.readouterr().out
  assert 'diverged has no results and not all of its steps: it counts as a run that failed' in said
  assert 'wgan_released fails often (1 of 1 runs, 1 without results; baseline: ' in said
  assert 'crop mask collapses' in said and 'undecided: one seed of the baseline' in said and 'Cyc_A' in said
  for name in ('figure6.png', 'figure7.png'):
    assert read_provenance(tmp_path / 'out' / name)
  with pytest.raises(ValueError, match="--dataset=x: the claims of face-off are judged by the runs' own evaluations"):
    paper.paper([tmp_path / 'm'], tmp_path / 'out', dataset='x')
  result = compare.compare([tmp_path / 'm', tmp_path / 'crop'], tmp_path / 'compare')
  assert list(result['arms']) == ['model', 'crop_mask']
  assert (tmp_path / 'compare' / 'figure7.txt').read_text().splitlines()[1].startswith('model')


def test_the_sweeps_flagfiles_are_the_papers_variants():
  def read(path):
    return flags.parse(['train.main', f'--flagfile={path}'], flags.TrainFlags).config

  def changes(config, base):
    return {(f.name, getattr(config, f.name)) for f in dataclasses.fields(config)
            if getattr(config, f.name) != getattr(base, f.name)}

  files, model = sorted(QUICK.glob('faceoff_*.cfg')), read(QUICK / 'faceoff_model.cfg')
  faster = model.learning_rate / FaceOffConfig().learning_rate  # All of them, so that none is set back.
  for file in files:
    config, name = read(file), file.stem.removeprefix('faceoff_')
    assert faceoff_arm(config) == (f'model_{name}' if name in ('A2C', 'A2D') else name)
    if (QUICK.parent / file.name).exists():
      paper_size = changes(read(QUICK.parent / file.name), FaceOffConfig())
      expected = {(key, faster * value if key == 'learning_rate' else value) for key, value in paper_size}
      assert changes(config, model) == expected, file
  assert {file.name for file in QUICK.parent.glob('faceoff_*.cfg')} < {file.name for file in files}
