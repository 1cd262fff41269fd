"""What Table 1 of the FaceCycle paper says of its training data, on rendered talking heads: does it hold here?

Judged by the paper's measure, how often a linear probe on the map of E_exp names the expressions of held-out people
(protocol `probe`), with the error of their yaw beside it. A claim holds where the whole interval of the paired
difference lies above 0, and is opposite where all of it lies below. Fewer than 3 seeds or 20 people, and arms that were
trained otherwise, decide nothing.
"""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import NamedTuple

from evaluate.arms import facecycle_arm
from evaluate.compare import difference, group, read_run, verdict
from evaluate.intervals import Estimate
from evaluate.results import Row, make_row, make_table, write_value

CLAIMS = 'claims'
_PROTOCOL = 'probe'
_SAYS = {'higher': 'holds', 'lower': 'opposite', 'no difference shown': 'undecided'}


class Claim(NamedTuple):
  """That one arm's features tell more of expressions than another's."""

  text: str
  better: str
  worse: str


TEXT = (
  Claim('other frames teach more than the mirrored frame', 'few', 'few_flip'),
  Claim('64 pixels teach more than 128', 'few', 'few_128'),
  Claim('more tracks teach more', 'model', 'few'),
)


def judge(arms: Mapping[str, Mapping[int, Path]], unfair: Collection[str] = ()) -> list[Row]:
  """Rows of all claims, which have `claim` and `verdict` besides; of the yaw's error the verdict is empty.

  Args:
    arms: arm -> seed -> evaluated run.
    unfair: arms that were trained otherwise.
  """
  found = {arm.name: arm for arm in group(
    [read_run(path) for seeds in arms.values() for path in seeds.values()], facecycle_arm)}  # fmt: skip
  rows = []
  for claim in TEXT:
    for metric in ('expression_accuracy', 'yaw_error'):
      subject, text = f'{claim.better}_minus_{claim.worse}', ''
      row = make_row(CLAIMS, metric, subject, 'all', Estimate(None, None, None), 0, 0, 0)
      missing = [arm for arm in (claim.better, claim.worse) if arm not in found]
      if not missing:
        gap = difference(found[claim.worse], found[claim.better], metric, 'all', _PROTOCOL)
        row |= {key: gap[key] for key in ('value', 'low', 'high', 'count', 'identities', 'seeds')}
      if metric == 'expression_accuracy':
        text = f'not measured: {" and ".join(missing)}' if missing else verdict(row)
        text = 'undecided: trained otherwise' if {claim.better, claim.worse} & set(unfair) and not missing else text
        text = _SAYS.get(text, text.replace('too few', 'undecided: too few'))
      rows.append({**row, 'claim': f'Table 1: {claim.text}', 'verdict': text})
  return rows


def write_claims(rows: list[Row]) -> str:
  """The claims as a table."""
  lines = [[row['claim'], row['metric'], write_value(row), str(row['seeds']), row['verdict']] for row in rows]
  return make_table(['claim of the paper', 'figure', 'the better minus the other', 'seeds', 'verdict'], lines)
