"""The card of a generated data set: what it is made of, what stands in it, how far it can be trusted."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from evaluate.provenance import TRAINED_MODEL

_MEANS = {
  'photo_error': 'mean difference of a picture from its copy by the autoencoder of photographs (D_R)',
  'cycle_error': "mean difference of a render from the one that G' makes of its picture",
  'identity_distance': "squared distance of a picture's code from the mean code of its person, sigma of Eq. 7 in the "
  'mean',
  'confidence': 'share of {reference} pictures of other people by this model that are no better, by the mean of the '
  'above in standard deviations: it ranks pictures of one model and says nothing of the model',
}


def data_card(made_from: Mapping[str, Any], config: Any, found: Mapping[str, Mapping[str, Any]], reference: int) -> str:
  """The card as Markdown.

  Args:
    made_from: the fingerprint of the data set.
    config: of the run.
    found: split -> `pictures` and `left_out`, numbers; `people`, how many; scores [pictures] by name.
    reference: number of pictures of the reference.
  """
  splits = '; '.join(f'`{s}` {f["pictures"]:,} of {f["people"]:,} people' for s, f in found.items())
  left_out = _sum(found, 'left_out')
  names = [name for name in _MEANS if name in next(iter(found.values()))]
  rows = []
  for name in names:
    values = np.concatenate([f[name] for f in found.values()])
    low, middle, high = np.quantile(values, [0.05, 0.5, 0.95])
    rows.append(f'| `{name}` | {low:.4f} | {middle:.4f} | {high:.4f} | {_MEANS[name].format(reference=reference)} |')
  size = config.image_size
  model = f'`{Path(config.face_model).name}`' if config.face_model else "the project's own one (CC0)"
  wanted = f', those with a confidence of at least {made_from["min_confidence"]:g}' if left_out else ''
  pictures = '\n- `pictures/IDENTITY/NUMBER.png`: the same pictures as files.' if made_from['folders'] else ''
  return f"""# Data card: generated faces

{_sum(found, 'pictures'):,} pictures of {_sum(found, 'people'):,} people who do not exist{wanted}
({left_out:,} left out): {splits}. {size} x {size} pixels, seed {made_from['seed']}.

## Made of

- **People**: drawn from a face model, {model}; nobody of them was trained on. Expressions,
  poses and lights are drawn as they vary in the pairs that the model was trained on.
- **Model**: {made_from['version']}, system `{config.system}`, weights `{made_from['weights']}`. It turns plain renders
  into pictures in the style of its real domain.
- **Real domain**: {_domain(made_from, config)}

Nobody looked at the pictures: `sheet.png` shows the first ones of the first people, chosen by nothing else. Every
picture says inside that a trained model made it (IPTC digital source type `{TRAINED_MODEL.rsplit('/', 1)[1]}`): leave
it there.

## What is in it

- `*.array_record-*`: the records, which `tfds.builder_from_directory(FOLDER)` reads: `image`, `landmarks` ([68, 2] in
  [-1, 1], those of the render), `identity`, `parameters` of the render, scores; and what every face data set of this
  project has, so that `--dataset=FOLDER` takes it.
- `table/*.parquet`: the same without pictures, one row for each, also for those left out (`kept`).{pictures}

## Scores

Lower is better but for the confidence. `{made_from['embedding']}` made the codes; the model may have been trained
against it, so they are no measure of how well it keeps identities.

| score | 5 % below | median | 5 % above | what it is |
| --- | --- | --- | --- | --- |
{chr(10).join(rows)}

## Intended use

Research on recognition, landmarks and generation with labelled faces of nobody. Labels, landmarks and parameters are
those of the renders: how far the pictures keep to them is measured by `python -m evaluate.main` of the run.

Not for: passing the pictures off as photographs or as people who exist, or concluding how a system treats people from
how it treats these. The people are as varied as the face model and the real domain are, no more.
"""


def _sum(found: Mapping[str, Mapping[str, Any]], key: str) -> int:
  return sum(f[key] for f in found.values())


def licence(made_from: Mapping[str, Any], config: Any) -> str:
  """Licence of the pictures, for the metadata."""
  bound = [f'the face model {Path(config.face_model).name}'] * bool(config.face_model)
  bound += [f'the photographs of {made_from["real_domain"]}'] * bool(config.dataset != 'synthetic')
  return f'bound by those of {" and ".join(bound)}' if bound else 'CC0-1.0'


def _domain(made_from: Mapping[str, Any], config: Any) -> str:
  if config.dataset == 'synthetic':
    return (
      '**stand-ins: rendered people as a camera would show them. The model has seen no photograph**, and its pictures '
      'look like those renders.'
    )
  return (
    f'the photographs of the data set `{made_from["real_domain"]}`. Their licence, and the consent of the people in '
    'them, bind these pictures too; the project cannot know them: **write them here before sharing the data.** '
    'A generator may show traits of people it was trained on.'
  )
