"""What the GC-GAN paper says of its losses and of other conditions, each sentence with a figure: does it hold here?

A claim holds where the whole interval of the paired difference (full model minus the other arm on the same pictures)
lies on its side of 0; it is opposite where all of it lies on the other. Identity is judged by dlib's descriptor. Fewer
than 3 seeds or 20 people, and an arm that was trained otherwise than the full model, decide nothing.
"""

from collections.abc import Collection, Sequence
from typing import NamedTuple

from evaluate.compare import verdict
from evaluate.intervals import Estimate
from evaluate.results import Row, find_row, make_row, make_table, write_value

CLAIMS = 'claims'


class Claim(NamedTuple):
  """That the full model has more of a figure than an arm, or less.

  Attributes:
    text: what the paper says.
    table: `table1`, or the protocol of the rows that judge it.
    arm: the other arm.
    metric: the figure.
    less: whether less of it is better.
  """

  text: str
  table: str
  arm: str
  metric: str
  less: bool = False


TEXT = (
  *(
    Claim(f'Table 1: {what}, {metric.upper()}', 'table1', arm, metric)
    for what, arm in (
      ('the image loss helps', 'without_image_loss'),
      ('the landmark loss helps', 'without_landmark_loss'),
      ('contrast helps', 'without_contrastive_loss'),
      ('landmarks are better than labels (CDAAE)', 'cdaae'),
    )
    for metric in ('ssim', 'psnr')
  ),
  *(
    Claim(f'Table 2: {what}', 'table2', arm, metric, less)
    for arm, other in (('without_contrastive_loss', 'without contrast'), ('spg', 'SPG'))
    for what, metric, less in (
      (f'people are kept better than {other} keeps them', 'verification_accuracy', False),
      (f'people are kept better than {other} keeps them', 'auc', False),
      (f'expressions are nearer to the drivers than those of {other}', 'expression_similarity', False),
      (f'expressions are nearer to the drivers than those of {other}', 'mouth_landmark_distance', True),
    )
  ),
  *(
    Claim('Fig. 4: contrast groups the codes by expression', 'figure4', 'without_contrastive_loss', metric)
    for metric in ('knn_accuracy', 'silhouette')
  ),
)


# What a difference allows to say, and whether less is better -> what becomes of the claim.
_VERDICTS = {
  ('higher', False): 'holds',
  ('lower', False): 'opposite',
  ('higher', True): 'opposite',
  ('lower', True): 'holds',
  ('no difference shown', False): 'undecided',
  ('no difference shown', True): 'undecided',
}


def judge(rows: Sequence[Row], differences: Sequence[Row], unfair: Collection[str] = ()) -> list[Row]:
  """Rows of all claims, which have `claim` and `verdict` besides.

  Args:
    rows: of Table 2 and Fig. 4, with differences `model_minus_ARM`.
    differences: of Table 1, `ARM minus model`, as `evaluate.compare` gives them; empty where runs were not evaluated.
    unfair: arms that were trained otherwise.
  """
  return [_judge(claim, rows, differences, unfair) for claim in TEXT]


def _judge(claim: Claim, rows: Sequence[Row], differences: Sequence[Row], unfair: Collection[str]) -> Row:
  if claim.table == 'table1':
    found = find_row(differences, claim.metric, f'{claim.arm} minus model')
  else:
    found = find_row(rows, claim.metric, f'model_minus_{claim.arm}', protocol=claim.table)
  if found is None or found['low'] is None:
    gap, size, text = Estimate(None, None, None), (0, 0, 0), f'not measured: {claim.arm}'
  else:
    gap = Estimate(found['value'], found['low'], found['high'])
    if claim.table == 'table1':
      gap = Estimate(-found['value'], -found['high'], -found['low'])
    size = found['count'], found['identities'], found['seeds']
  row = make_row(CLAIMS, claim.metric, f'model_minus_{claim.arm}', 'all', gap, *size)
  if gap.value is not None:
    text = 'undecided: trained otherwise' if {claim.arm, 'model'} & set(unfair) else verdict(row)
    text = _VERDICTS.get((text, claim.less), text.replace('too few', 'undecided: too few'))
  return {**row, 'claim': claim.text, 'verdict': text}


def write_claims(rows: Sequence[Row]) -> str:
  """The claims as a table."""
  lines = [
    [row['claim'], row['metric'], write_value(row), str(row['seeds']), row['verdict']]
    for row in rows
    if row['protocol'] == CLAIMS
  ]
  return make_table(['claim of the paper', 'figure', 'GC-GAN minus the other', 'seeds', 'verdict'], lines)
