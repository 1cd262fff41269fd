"""The model card of an exported run: what it is, what it was trained on, what was measured, what it is for."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from evaluate.provenance import TRAINED_MODEL, VERSION
from evaluate.results import read_results, write_value

_TITLES = {
  'gcgan': (
    'GC-GAN',
    'shows a photographed person with the facial expression of given landmarks',
    'Qiao et al. 2018, https://arxiv.org/abs/1802.01822',
  )
}


def model_card(workdir: str | Path, config: Any, step: int, signatures: Sequence[str]) -> str:
  """The card as Markdown.

  Args:
    workdir: the run; its `eval/results.json` gives the figures, and the card says so where there is none.
    config: its settings.
    step: training steps of the weights.
    signatures: names of the SavedModel's signatures.
  """
  title, what, paper = _TITLES.get(config.system, (config.system, 'makes pictures of faces', 'see docs'))
  rendered = config.dataset == 'synthetic'
  data = (
    f"Rendered faces only: {config.identities} people of the project's own face world "
    f'(world seed {config.world_seed}), built from CC0 data (MakeHuman). No photograph of a person was used.'
    if rendered
    else f'The data set `{config.dataset}`, prepared by whoever trained this model. Its licence, and the consent of '
    'the people in it, bind this model too; the project cannot know them: **write them here before sharing it.**'
  )
  limits = (
    'It has seen rendered faces only; on photographs it must be expected to fail in ways that the figures above do not '
    'show.'
    if rendered
    else 'It has seen the people, light and cameras of its data set only.'
  )
  return f"""# Model card: {title}

| | |
| --- | --- |
| What it does | {what} |
| Method | {paper} |
| Made by | Personae {VERSION}, `{config.system}`, {step:,} training steps, seed {config.seed} |
| Pictures | {config.image_size} x {config.image_size} pixels, aligned crops (`alignment={config.alignment}`) |
| Signatures | {', '.join(f'`{s}`' for s in signatures)}; uint8 pictures in and out, any batch size |
| Licence | The code is Apache-2.0. The weights may be used as far as the licence of the data below allows |

## Data

{data}

## Measured

{_figures(workdir)}

## Intended use

Research on expression transfer, and making pictures of people who do not exist or who agreed to it.

Not for: showing a real person with an expression without their consent, identifying or judging people, deceiving
anybody about what is a photograph. Every picture and video that Personae writes says inside that a trained model made
it (IPTC digital source type `{TRAINED_MODEL.rsplit('/', 1)[1]}`); do not remove it.

## Limits

- {limits}
- Faces that dlib does not find, profiles, and faces under hands, masks or dark glasses are outside of what was
measured. - Identity is not guaranteed: the share of the person that is kept is given by `auc` above, not by looking.
- Figures for parts of the people (`skin_light`, `skin_dark`) stand above where the data says who is who; where they are
missing, nothing
  was measured, and equal quality for all must not be assumed.

## Settings that differ from the paper's

{_settings(config)}
"""


def _figures(workdir: str | Path) -> str:
  if not (Path(workdir) / 'eval' / 'results.json').is_file():
    return f'Nothing was measured: run `python -m evaluate.main --workdir={workdir}` and export again.'
  results = read_results(workdir)
  rows = [row for row in results['results'] if '_minus_' not in row['subject'] and row['value'] is not None]
  lines = [
    'On people who were not trained on. Brackets are 95 % intervals of a bootstrap over people and their pictures; '
    f'`copy_input` is what returning the input scores. Data: `{results["data"]}`, after {results["step"]:,} steps.',
    '',
    '| protocol | part | figure | of | value | pictures | people |',
    '| --- | --- | --- | --- | --- | --- | --- |',
  ]
  for row in rows:
    metric = row['metric'] + (f' ({row["embedding"]})' if row['embedding'] else '')
    lines.append(
      f'| {row["protocol"]} | {row["slice"]} | {metric} | {row["subject"]} | {write_value(row)} | {row["count"]} | '
      f'{row["identities"]} |'
    )
  return '\n'.join(lines)


def _settings(config: Any) -> str:
  changed = [
    f'- `{f.name} = {getattr(config, f.name)!r}` (default {f.default!r})'
    for f in dataclasses.fields(config)
    if getattr(config, f.name) != f.default
  ]
  return '\n'.join(changed) or 'None.'
