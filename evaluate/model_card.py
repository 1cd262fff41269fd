"""The model card of an exported or pretrained model: its data, what was measured, what it is for."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from evaluate.provenance import TRAINED_MODEL, VERSION
from evaluate.results import read_results, write_value
from models.runs import load_labels, output_folder

_OURS = ('synthetic', 'synthetic_video', 'synthetic_actors')
_TITLES = {
  'gcgan': (
    'GC-GAN',
    'shows a photographed person with the facial expression of given landmarks',
    'Qiao et al. 2018, https://arxiv.org/abs/1802.01822',
  ),
  'ganfaces': (
    'GANFaces',
    'turns renders of a 3D morphable face model into photorealistic pictures of people who do not exist',
    'Gecer et al. 2018, https://arxiv.org/abs/1804.03675',
  ),
  'facecycle': (
    'FaceCycle',
    'maps a face to codes of its expression and pose and of its identity, makes it neutral and frontal, and shows one '
    'person as another one looks',
    'Chang et al. 2021, https://arxiv.org/abs/2108.03427',
  ),
  'faceoff': (
    'Face-off',
    'shows one person of a video as another one, with the same pose and expression; it knows these two alone',
    'after CycleGAN, Zhu et al. 2017, https://arxiv.org/abs/1703.10593',
  ),
  'recognition': (
    'Recognition',
    'maps a face to a code near those of the same person; to ask whether generated identities help, not to identify '
    'people',
    'Gecer et al. 2018, https://arxiv.org/abs/1804.03675, section 5.3',
  ),
  'nn4': (
    'NN4',
    'maps a face to a code near those of the same person; to train and judge generators, not to identify people',
    'Schroff et al. 2015, https://arxiv.org/abs/1503.03832; Gecer et al. 2018, https://arxiv.org/abs/1804.03675',
  ),
}


def model_card(workdir: str | Path, config: Any, step: int, facts: Mapping[str, str]) -> str:
  """The card as Markdown.

  Args:
    workdir: the run; its `eval/results.json` gives the figures, and the card says so where there is none.
    config: its settings.
    step: training steps of the weights.
    facts: name -> text, more lines of the card's table.
  """
  title, what, paper = _TITLES.get(config.system, (config.system, 'makes pictures of faces', 'see docs'))
  added = getattr(config, 'auxiliary_dataset', '')
  rendered = config.dataset in _OURS and added in ('', *_OURS)
  data = _rendered(config) if config.dataset in _OURS else (
    f'The data set `{Path(config.dataset).name}`, prepared by whoever trained this model. Its licence, and the '
    'consent of the people in it, bind this model too; the project cannot know them: **write them here before sharing '
    'it.**'
  )
  if added:
    data += ' A share of its batches came from ' + (
      "the project's own rendered people." if added in _OURS
      else f'the data set `{Path(added).name}`: its licence, and the consent of the people in it, bind this model too.'
    )
  if config.init_from:
    data += f' Training started from the weights of `{Path(config.init_from).name}`, whose data bind this model too.'
  elif rendered and getattr(config, 'embedding', '') == 'dlib':
    data += " Its identity loss listened to dlib's face descriptor (CC0), which its author trained on photographs."
  elif rendered:
    data += ' No photograph of a person was used.'
  if getattr(config, 'generated', '') not in ('', 'renders'):
    data += f' It also learnt to name the people of the generated set `{Path(config.generated).name}`.'
  limits = (
    'It has seen rendered faces only; on photographs it must be expected to fail in ways that the figures above do not '
    'show.'
    if rendered
    else 'It has seen the people, light and cameras of its data set only.'
  )
  identity = 'how much of the person is kept is given by `auc` above'
  if config.system == 'faceoff':
    identity = 'how often the other person is shown is given by `verified_as_target` above'
    limits += ' Whoever else it is shown becomes neither of its two people.'
  return f"""# Model card: {title}

| | |
| --- | --- |
| What it does | {what} |
| Method | {paper} |
| Made by | Personae {VERSION}, `{config.system}`, {step:,} training steps, seed {config.seed} |
| Pictures | {config.image_size} x {config.image_size} pixels, aligned crops (`alignment={config.alignment}`) |
{_facts(workdir, facts)}

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
  measured.
- Identity is not guaranteed: {identity}, not by looking.
- Figures for parts of the people (`skin_light`, `skin_dark`) stand above where the data says who is who; where they are
  missing, nothing was measured, and equal quality for all must not be assumed.

## Settings that differ from the paper's

{_settings(config)}
"""


def _rendered(config: Any) -> str:
  """What the rendered data of a run are."""
  world = f"the project's own face world (world seed {config.world_seed})"
  if config.dataset == 'synthetic_actors':
    shown = f'two actors of {world}, pair {config.pair}, {config.images_per_identity} training frames each'
  elif config.alignment == 'box':
    people = -(-config.stand_ins // config.images_per_identity)
    shown = f'{config.stand_ins:,} stand-ins for photographs, of {people:,} people of {world}'
    if config.system == 'ganfaces':
      shown += f', and {config.renders_per_identity} plain renders each of {config.identities:,} others'
    shown += '; it was measured on further people'
  else:
    shown = f'{config.identities} people of {world}, one in ten of them held out'
  built = 'built from CC0 data (MakeHuman)'
  if config.face_model:
    built = f'with the face model `{Path(config.face_model).name}`, whose licence binds this model too'
  return f'Rendered faces only, {built}: {shown}.'


def _facts(workdir: str | Path, facts: Mapping[str, str]) -> str:
  names = ', '.join(f'{number} {name}' for number, name in enumerate(load_labels(workdir)))
  return '\n'.join(f'| {name} | {text} |' for name, text in [*facts.items(), *[('Labels', names)] * bool(names)])


# What stands beside the model: pictures that nothing was done to.
_BESIDE = {'ganfaces': ('renders', 'the untranslated renders'), 'nn4': ('raw_pixels', 'the pixels themselves')}
# What users of a model ask first; results.json has the rest.
_BY_PART = ('ssim', 'mouth_change_explained', 'mouth_landmark_error', 'auc')
# Settings of the run that made the model, of no effect on what it computes.
_HOUSEKEEPING = (
  'data_dir', 'cache_gb', 'log_every', 'checkpoint_every', 'keep_checkpoints', 'sample_every', 'evaluate', 'strategy',
  'cpu_devices', 'worker_timeout', 'steps_per_execution',
)  # fmt: skip


def _figures(workdir: str | Path) -> str:
  measured = output_folder(workdir)
  if not (measured / 'eval' / 'results.json').is_file():
    return f'Nothing was measured: run `python -m evaluate.main --workdir={workdir}` and export again.'
  results = read_results(measured)
  rows = [row for row in results['results'] if '_minus_' not in row['subject'] and row['value'] is not None]
  of = ('people who were not trained on', 'people and their pictures')
  if results['system'] == 'faceoff':
    of = ('frames of its two people that were not trained on', 'stretches of two seconds')
  beside, words = _BESIDE.get(results['system'], ('copy_input', 'what returning the input scores'))
  lines = [
    f'On {of[0]}. Brackets are 95 % intervals of a bootstrap over {of[1]}; '
    f'`{beside}`: {words}. Data: `{Path(results["data"]).name}`, after '
    f'{results["step"]:,} steps. All figures stand in the `eval/results.json` of the run.',
    '',
    f'| protocol | figure | {beside} | model | pictures | people |',
    '| --- | --- | --- | --- | --- | --- |',
  ]
  values = {(r['protocol'], r['slice'], r['metric'], r['embedding'], r['subject']): write_value(r) for r in rows}
  ours = [row for row in rows if row['subject'] == 'model']
  for row in ours:
    if row['slice'] == 'all':
      metric = row['metric'] + (f' ({row["embedding"]})' if row['embedding'] else '')
      copied = values.get((row['protocol'], 'all', row['metric'], row['embedding'], beside), '')
      lines.append(
        f'| {row["protocol"]} | {metric} | {copied} | {write_value(row)} | {row["count"]} | {row["identities"]} |'
      )
  parts = {(row['protocol'], row['slice']): {} for row in ours if row['slice'] != 'all'}
  for row in ours:
    if (row['protocol'], row['slice']) in parts and row['metric'] in _BY_PART:
      parts[row['protocol'], row['slice']][row['metric']] = write_value(row)
  if columns := [name for name in _BY_PART if any(name in found for found in parts.values())]:
    lines += ['', f'| protocol | part | {" | ".join(columns)} |', '| --- | --- |' + ' --- |' * len(columns)]
    for (protocol, part), found in parts.items():
      lines.append(f'| {protocol} | {part} | {" | ".join(found.get(name, "") for name in columns)} |')
  return '\n'.join(lines)


def _settings(config: Any) -> str:
  changed = [
    f'- `{f.name} = {getattr(config, f.name)!r}` (default {f.default!r})'
    for f in dataclasses.fields(config)
    if getattr(config, f.name) != f.default and f.name not in _HOUSEKEEPING
  ]
  return '\n'.join(changed) or 'None.'
