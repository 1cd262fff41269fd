"""Which of the GC-GAN paper's claims hold, by rows made by hand."""

from evaluate import gcgan_claims
from evaluate.intervals import Estimate
from evaluate.results import find_row, make_row


def rows_of(low, high, seeds=3, people=30, unfair=()):
  gap = Estimate((low + high) / 2, low, high)
  of_table1 = Estimate(-gap.value, -gap.high, -gap.low)  # Told the other way round.
  differences = [make_row('compare', 'ssim', 'cdaae minus model', 'all', of_table1, 600, people, seeds)]
  rows = [
    make_row('figure4', 'knn_accuracy', 'model_minus_without_contrastive_loss', 'all', gap, 100, people, seeds),
    make_row('table2', 'mouth_landmark_distance', 'model_minus_spg', 'all', of_table1, 100, people, seeds),
    make_row('table2', 'verification_accuracy', 'model_minus_spg', 'all', gap, 100, people, seeds),
  ]
  return gcgan_claims.judge(rows, differences, unfair)


def verdicts(rows):
  return {(row['metric'], row['subject']): row['verdict'] for row in rows if 'not measured' not in row['verdict']}


def test_the_whole_interval_decides():
  four = [
    ('ssim', 'model_minus_cdaae'),
    ('verification_accuracy', 'model_minus_spg'),
    ('mouth_landmark_distance', 'model_minus_spg'),
    ('knn_accuracy', 'model_minus_without_contrastive_loss'),
  ]
  for low, high, verdict in ((0.1, 0.3, 'holds'), (-0.3, -0.1, 'opposite'), (-0.1, 0.3, 'undecided')):
    assert verdicts(rows_of(low, high)) == dict.fromkeys(four, verdict)
  assert set(verdicts(rows_of(0.1, 0.3, seeds=2)).values()) == {'undecided: too few (2 seeds)'}
  assert set(verdicts(rows_of(0.1, 0.3, people=3)).values()) == {'undecided: too few (3 people)'}
  assert verdicts(rows_of(0.1, 0.3, unfair=['spg']))[four[1]] == 'undecided: trained otherwise'


def test_signs_and_what_was_not_measured():
  rows = rows_of(0.1, 0.3)
  row = find_row(rows, 'ssim', 'model_minus_cdaae')
  assert (row['value'], row['low'], row['high'], row['seeds'], row['count']) == (0.2, 0.1, 0.3, 3, 600)
  assert find_row(rows, 'psnr', 'model_minus_without_image_loss')['verdict'] == 'not measured: without_image_loss'
  text = gcgan_claims.write_claims(rows)
  assert 'Table 1: landmarks are better than labels (CDAAE), SSIM' in text and '0.200 [0.100, 0.300]' in text
