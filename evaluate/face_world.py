"""Measures whether the face world looks like people, and shows it.

    python -m evaluate.face_world --output=FIGURES.json

Also draws 8 x 8 random faces (fixed seed, not chosen): FIGURES.png. With `--page=PAGE.md` they go to PAGE.png, and the
page gets the table. A few minutes on two cores. The London photographs are looked for in `--photographs`; without them
the comparison with photographs is left out, and the file says so.
"""

import json
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
from absl import flags
from PIL import Image
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from evaluate import embeddings, metrics
from evaluate.provenance import ALGORITHM, save_image
from models import commands, runs
from models.face3d.expressions import EXPRESSIONS, act
from models.face3d.morphable import MorphableModel, load_face_model
from models.face3d.people import draw_background, draw_light, draw_person, stack_people
from models.face3d.portrait import frame, render_people

SIZE, BATCH = 128, 10
FACES, PEOPLE, PICTURES, ACTORS = 500, 125, 4, 168  # 500 pictures of each kind; half of the actors are judged.
SHEET_SEED = 1_000_000
MARK = '<!-- measured by evaluate.face_world -->'
# gate: (name, limit, whether more is better, what it says)
GATES = {
  'detected': (0.97, True, 'share of faces that dlib finds'),
  'landmark_error': (
    0.06,
    False,
    'mean distance of dlib landmarks to ours, yaw within 15 degrees, in inter-ocular units',
  ),
  'identity_auc': (0.90, True, 'AUC of dlib descriptor distance, same against different identity'),
  'expression_accuracy': (0.85, True, 'six expressions told apart on unseen people from dlib landmarks'),
  'photograph_distance': (
    None,
    False,
    'unbiased kernel distance to the London photographs (limit: the bald, matte version)',
  ),
}


def render_faces(
  model: MorphableModel,
  people: list[int],
  pictures: list[int],
  names: list[str] | None = None,
  most_yaw: float = 0.45,
  matte: bool = False,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """Renders one picture per entry: pose, light, background and acting are functions of (person, picture).

  Args:
    model: the default face model.
    people: seeds of the people.
    pictures: numbers of each person's pictures.
    names: the expressions; drawn if not given.
    most_yaw: radians; the turn is normal with half of it as deviation, cut there.
    matte: the bald, matte version.

  Returns:
    images [N, SIZE, SIZE, 3] uint8, landmarks [N, 68, 2] pixels (a pixel's centre is whole), yaw [N] radians.
  """
  images, landmarks, yaws = [], [], []
  for start in range(0, len(people), BATCH):
    rows = list(range(start, min(start + BATCH, len(people))))
    rows += rows[-1:] * (BATCH - len(rows))  # One compiled function for all.
    draws = [np.random.default_rng([people[i], pictures[i], 17]) for i in rows]
    turn = np.stack([r.normal(size=3) * [0.06, most_yaw / 2, 0.05] for r in draws])
    turn[:, 1] = np.clip(turn[:, 1], -most_yaw, most_yaw)
    chosen = [names[i] if names else list(EXPRESSIONS)[r.integers(6)] for i, r in zip(rows, draws, strict=True)]
    scenes = [people[i] * 64 + pictures[i] for i in rows]
    result = render_people(
      model,
      stack_people([draw_person(model, people[i]) for i in rows]),
      np.stack([act(model, n, r) for n, r in zip(chosen, draws, strict=True)]),
      frame(turn, 1.25),
      draw_light(scenes),
      np.stack([draw_background(s) for s in scenes]),
      SIZE,
      matte=matte,
    )
    new = min(BATCH, len(people) - start)
    images.append(np.clip(np.round((result['image'].numpy()[:new] + 1) * 127.5), 0, 255).astype(np.uint8))
    landmarks.append(result['landmarks'].numpy()[:new] - 0.5)
    yaws.append(turn[:new, 1])
  return np.concatenate(images), np.concatenate(landmarks), np.concatenate(yaws)


def measure(model: MorphableModel, photographs: str, faces: int = FACES) -> dict[str, dict[str, Any]]:
  """All gates: name -> value, limit, passed, count, what. `faces` scales every count (tests use few)."""
  share = faces / FACES
  seeds = list(range(faces))
  images, truth, yaw = render_faces(model, seeds, [0] * faces)
  seen = embeddings.read_faces(images, truth)
  frontal = seen.found & (np.abs(yaw) <= np.radians(15))
  errors = metrics.landmark_error(seen.landmarks[frontal], truth[frontal], np.arange(68))
  values: dict[str, tuple[float | None, int]] = {
    'detected': (float(seen.found.mean()), faces),
    'landmark_error': (float(errors.mean()), int(frontal.sum())),
  }
  people = [p for p in range(max(8, int(PEOPLE * share))) for _ in range(PICTURES)]
  images, truth, _ = render_faces(model, people, [1 + i % PICTURES for i in range(len(people))])
  known = embeddings.read_faces(images, truth)
  values['identity_auc'] = (_identity_auc(known.descriptors, np.array(people)), len(people))
  values['expression_accuracy'] = _expression_accuracy(model, max(12, int(ACTORS * share)))
  limits: dict[str, float | None] = {name: gate[0] for name, gate in GATES.items()}
  files = sorted(Path(photographs).glob('*.jpg')) if photographs else []
  if files:
    photos = np.stack(
      [np.asarray(Image.open(f).convert('RGB').resize((SIZE, SIZE), Image.Resampling.LANCZOS)) for f in files]
    )
    middle = np.broadcast_to(np.array([[0.3, 0.3], [0.7, 0.75]] * 34) * SIZE, (len(photos), 68, 2))
    real = embeddings.read_faces(photos, middle)
    plain, truth, _ = render_faces(model, seeds, [0] * faces, matte=True)
    matte = embeddings.read_faces(plain, truth)
    gamma = embeddings.GAMMA[embeddings.DESCRIPTOR]

    who = np.array([f.name.split('_')[0] for f in files])[real.found]  # 002_happy.jpg: two pictures of a person.
    nobody = np.array([f'rendered {seed}' for seed in seeds])

    def distance(read):
      pair = read.descriptors, real.descriptors[real.found]
      return float(metrics.kernel_distance(*pair, gamma=gamma, people_a=nobody, people_b=who))

    values['photograph_distance'] = (distance(seen), len(photos))
    limits['photograph_distance'] = distance(matte)
  else:
    values['photograph_distance'] = (None, 0)
  rows = {}
  for name, (_, more, what) in GATES.items():
    (value, count), limit = values[name], limits[name]
    passed = None if value is None or limit is None else bool(value >= limit if more else value < limit)
    rows[name] = {'value': value, 'limit': limit, 'passed': passed, 'count': count, 'what': what}
  return rows


def _identity_auc(descriptors, people):
  i, j = np.triu_indices(len(people), 1)
  distance = np.linalg.norm(descriptors[i] - descriptors[j], axis=-1)
  same = people[i] == people[j]
  return float(metrics.auc(-distance[same], -distance[~same]))


def _expression_accuracy(model, actors):
  """(share of right names on the second half of the actors, count), by a linear classifier of aligned landmarks."""
  names = list(EXPRESSIONS)
  people = [200_000 + p for p in range(actors) for _ in names]
  labels = np.array([i for _ in range(actors) for i in range(len(names))])
  images, truth, _ = render_faces(model, people, list(labels), [names[i] for i in labels], most_yaw=np.radians(15))
  read = embeddings.read_faces(images, truth, describe=False)
  features = _aligned(read.landmarks).reshape(len(labels), -1)
  first = np.array(people) < 200_000 + actors // 2
  classifier = LinearDiscriminantAnalysis(solver='lsqr', shrinkage='auto').fit(features[first], labels[first])
  return float(classifier.score(features[~first], labels[~first])), int((~first).sum())


def _aligned(points):
  """Landmarks [N, 68, 2] turned, scaled and shifted so that the outer eye corners lie at (-1, 0) and (1, 0)."""
  left, right = points[:, 36], points[:, 45]
  x = (right - left) / 2
  y = np.stack([-x[:, 1], x[:, 0]], -1)
  offset = points - ((left + right) / 2)[:, None]
  unit = (x**2).sum(-1)[:, None]
  return np.stack([(offset * x[:, None]).sum(-1) / unit, (offset * y[:, None]).sum(-1) / unit], -1)


def sheet(model: MorphableModel) -> np.ndarray:
  """8 x 8 random faces, the same each time: [8 * SIZE, 8 * SIZE, 3] uint8."""
  images, _, _ = render_faces(model, [SHEET_SEED + i for i in range(64)], [0] * 64)
  return images.reshape(8, 8, SIZE, SIZE, 3).swapaxes(1, 2).reshape(8 * SIZE, 8 * SIZE, 3)


def table(rows: dict[str, dict[str, Any]]) -> str:
  """The figures as a Markdown table."""

  def number(value):
    return 'not measured' if value is None else f'{value:.3f}'

  lines = ['| gate | measured | limit | passed | over |', '| --- | --- | --- | --- | --- |']
  for name, row in rows.items():
    sign = 'at least' if GATES[name][1] else 'below'
    passed = {True: 'yes', False: '**no**', None: 'not measured (no photographs)'}[row['passed']]
    limit = f'{sign} {number(row["limit"])}' if row['limit'] is not None else ''
    lines.append(f'| {row["what"]} | {number(row["value"])} | {limit} | {passed} | {row["count"]:,} |')
  return '\n'.join(lines)


def update_page(path: Path, rows: dict[str, dict[str, Any]]) -> None:
  """Puts the table between the page's two marks; the words around it are written by hand.

  Raises:
    ValueError: the page has no such marks.
  """
  parts = path.read_text().split(MARK)
  if len(parts) != 3:
    raise ValueError(f'{path} needs the line {MARK!r} before and after its table')
  path.write_text(MARK.join([parts[0], f'\n\n{table(rows)}\n\n', parts[2]]))


FLAGS = flags.FlagValues()
flags.DEFINE_string('output', 'runs/face_world/face_world.json', 'Where the figures go (.json).', flag_values=FLAGS)
flags.DEFINE_string('page', '', 'A Markdown page whose table and picture are made anew.', flag_values=FLAGS)
flags.DEFINE_string(
  'photographs', '../shared/data/clear/london', 'Folder of the London photographs.', flag_values=FLAGS
)


def main(argv: list[str]) -> None:
  commands.parse(FLAGS, argv, __doc__)
  output, page = Path(FLAGS.output), Path(FLAGS.page)
  if output.suffix != '.json':
    raise ValueError(f'--output={output} has to end in .json')
  output.parent.mkdir(parents=True, exist_ok=True)
  model = load_face_model()
  save_image((page if FLAGS.page else output).with_suffix('.png'), sheet(model), source_type=ALGORITHM)
  rows = measure(model, FLAGS.photographs if os.path.isdir(FLAGS.photographs) else '')
  note = '' if rows['photograph_distance']['count'] else f'no photographs in {FLAGS.photographs}'
  runs.write_file(output, json.dumps({'size': SIZE, 'skipped': note, 'gates': rows}, indent=2) + '\n')
  if FLAGS.page:
    update_page(page, rows)
  for name, row in rows.items():
    print(f'{name}: {row["value"]} (limit {row["limit"]}, passed: {row["passed"]})')


if __name__ == '__main__':
  sys.exit(commands.run(main))
