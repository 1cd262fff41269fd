"""GANFaces' experiment from made-up runs: who is compared with whom, and what Fig. 8 and Table 1 say."""

import json

import numpy as np
import pytest

from evaluate import compare, recognition_figures
from evaluate.provenance import read_provenance
from evaluate.results import write_results
from evaluate.roc import save_pairs
from evaluate.same_person import Pairs, score_rows
from models import runs
from models.recognition_config import RecognitionConfig

PEOPLE = np.repeat(np.arange(24), 4)
PAIRS = Pairs(
  np.r_[np.arange(0, 96, 2), np.arange(48)], np.r_[np.arange(1, 96, 2), np.arange(48) + 48],
  np.arange(96) < 48,
)  # fmt: skip
SHARES, SETS = (0.2, 1.0), {'': 0, 'renders': 0, 'sets/simgan': 7}


def make_run(path, share, generated, seed, better, protocols=('',)):
  config = RecognitionConfig.tiny(real_share=share, generated=generated, generated_classes=SETS[generated],
                                  generated_share=0.5 if generated else 0.0, stand_ins=40, seed=seed)
  path.mkdir(parents=True)
  runs.save_flags(config, path)
  noise = np.random.default_rng(5).normal(0, 1, 96) + np.random.default_rng([seed, 3]).normal(0, 0.1, 96)
  scores = {'model': noise + (1 + share + better) * PAIRS.same}
  for protocol in protocols:
    name = protocol or 'verification'
    rows = score_rows(name, scores, PEOPLE, PAIRS, fars=(0.01,))
    write_results(path / 'eval' / protocol / 'results.json', 'recognition', 2, 'synthetic', rows, 'stand-ins')
    save_pairs(path / 'eval' / protocol, [f'p{i}' for i in range(96)], PEOPLE, PAIRS, scores)
  return path


def test_the_experiment(tmp_path, capsys):
  paths = [
    make_run(tmp_path / f'{share}-{number}-{seed}', share, generated, seed, number * (1.2 - share), ('', 'lfw'))
    for number, generated in enumerate(SETS)
    for share in SHARES
    for seed in range(2)
  ]
  result = compare.compare(paths, tmp_path / 'out')
  kinds = ('', ' + renders', ' + simGAN (7 people)')
  assert list(result['arms']) == [f'{share}{kind}' for kind in kinds for share in ('20 %', '100 %')]
  found = {row['subject']: row for row in result['differences'] if row['metric'] == 'verification_accuracy'}
  # Within a share: renders and simGAN against none, simGAN against renders.
  assert set(found) == {
    f'{share}{a} minus {share}{b}' for share in ('20 %', '100 %')
    for a, b in ((' + renders', ''), (' + simGAN (7 people)', ''), (' + simGAN (7 people)', ' + renders'))}  # fmt: skip
  assert found['20 % + simGAN (7 people) minus 20 %']['value'] > 0.1
  assert found['20 % + simGAN (7 people) minus 20 %']['verdict'] == 'too few (2 seeds)'
  table = (tmp_path / 'out' / 'table1.txt').read_text()
  lines = table.splitlines()
  assert lines[0] in capsys.readouterr().out
  assert 'held-out people: accuracy' in lines[0] and 'LFW: 1 - EER' in lines[0] and lines[-1] == 'stand-ins'
  assert lines[5].startswith('20 % + simGAN (7 people)') and lines[5].split()[6:9] == ['4', '7', '108']
  rows = {r['metric']: r['value'] for r in result['arms']['20 %']['rows'] if r['subject'] == 'model'}
  assert f'{rows["verification_accuracy"]:.3f}' in lines[1] and f'{1 - rows["eer"]:.3f} [' in lines[1]
  assert read_provenance(tmp_path / 'out' / 'figure8.png')['digital_source_type'].endswith('dataDrivenMedia')
  assert json.loads((tmp_path / 'out' / 'compare.json').read_text())['arms'].keys() == result['arms'].keys()


def test_what_is_no_experiment(tmp_path):
  configs = [RecognitionConfig.tiny(generated=g, generated_classes=c, real_share=s)
             for g, c, s in (('', 0, 0.5), ('renders', 0, 0.5), ('renders', 3, 1.0))]
  assert recognition_figures.is_experiment(configs)
  assert not recognition_figures.is_experiment([*configs, RecognitionConfig.tiny(dropout=0.5)])
  assert not recognition_figures.is_experiment([*configs, RecognitionConfig.tiny(generated_share=0.5)])


@pytest.mark.parametrize('metric, expected', [('eer', (0.8, 0.7, 0.9)), ('auc', (0.2, 0.1, 0.3))])
def test_what_is_left_of_one(metric, expected):
  rows = [{'protocol': 'lfw', 'metric': metric, 'subject': 'model', 'slice': 'all', 'value': 0.2, 'low': 0.1,
           'high': 0.3, 'embedding': None}]  # fmt: skip
  row = recognition_figures._figure(rows, metric)
  assert (row['value'], row['low'], row['high']) == pytest.approx(expected)
