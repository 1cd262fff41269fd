"""The pictures of GANFaces' evaluation: Figs. 3 to 7 of the paper, and samples beside the photographs that they are
most like."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from evaluate.charts import save_figure
from evaluate.ganfaces_realism import Codes, pair_distances
from evaluate.ganfaces_sets import Scene, translator
from evaluate.ganfaces_training import Moments
from evaluate.provenance import save_image, to_uint8
from evaluate.results import Measure, Row, find_row, make_rows, write_value
from evaluate.sheets import make_grid, save_sheet
from input_pipeline import renders as rendering
from input_pipeline import scenes
from models.face3d.morphable import load_face_model

SAMPLES = 16
MOST_RENDERS = 1000  # Where all photographs are wanted: there is no end of renders.
_BEYOND = 1.25  # Of the largest yaw of the training renders.
_YAWS, _PEOPLE = 7, 5  # Of Fig. 6.
_MOST_TRAINING = 20_000  # Photographs among which the nearest is looked for.
_CHUNK = 500


def save_figure3(path: Path, found: Moments, label: Mapping[str, str], note: str = '') -> None:
  """Fig. 3: nine renders at moments of the training, above the curve of the identity loss."""
  tiles = np.concatenate([found.renders.images[None], found.images])  # [T + 1, 9, S, S, 3]
  across, down = tiles.shape[:2]
  wall = tiles.transpose(1, 2, 0, 3, 4).reshape(down * tiles.shape[2], across * tiles.shape[3], 3)
  figure = Figure(figsize=(0.9 * across + 1, 0.9 * down + 2.4), layout='constrained')
  above, below = figure.subplots(2, 1, height_ratios=[down, 2.2], sharex=True)
  above.imshow(wall, extent=(-1, across - 1, 0, down), aspect='auto', interpolation='bicubic')
  above.set_yticks([])
  above.set_title('render, then what became of it', fontsize=10)
  above.tick_params(bottom=False)
  # The middle of a column is its moment, and between two of them time goes evenly.
  centres, (curve_steps, values) = np.arange(across - 1) + 0.5, found.loss
  shown = (curve_steps >= found.steps[0]) & (curve_steps <= found.steps[-1])
  below.plot(np.interp(curve_steps[shown], found.steps, centres), values[shown], linewidth=1)
  for place in centres:
    below.axvline(place, color='0.8', linewidth=0.8, zorder=0)
  below.set_xticks(centres, [f'{step:,}' for step in found.steps], fontsize=8)
  below.set_ylabel('L_C')
  below.set_xlabel('step' + f'; {note}' * bool(note))
  above.set_xlim(-1, across - 1)
  canvas = FigureCanvasAgg(figure)
  canvas.draw()
  save_image(path, np.asarray(canvas.buffer_rgba())[..., :3], **label)


def save_figure4(path: Path, images: np.ndarray, people: np.ndarray, label: Mapping[str, str], note: str = '') -> None:
  """Fig. 4: the first translations of the scene, one new person a row; nothing is chosen."""
  shown = [np.flatnonzero(people == person) for person in np.unique(people)[:10]]
  columns = min(map(len, shown))
  table = np.stack([images[rows[:columns]] for rows in shown])
  names = [f'person {number + 1}' for number in range(len(shown))]
  save_image(path, make_grid(table, names, [''] * columns, note=note), **label)


def save_figure5(path: Path, columns: Mapping[str, np.ndarray], label: Mapping[str, str], note: str = '') -> None:
  """Fig. 5: the same renders through every arm, one picture a person."""
  save_sheet(path, columns, tile=96, note=note, **label)


def open_mouth(pipeline: Any) -> np.ndarray:
  """[E] the expression, of those seen in the pairs and made by one coefficient alone, that opens the mouth most."""
  world = pipeline.world
  model = load_face_model(world.face_model)
  low, high = world.expression.low, world.expression.high
  candidates = np.concatenate([np.diag(low), np.diag(high)]).astype(np.float32)
  _, points = scenes.render_plain(model, _frontal(world, model, candidates), pipeline.config.image_size)
  gap = np.linalg.norm(points[:, 62] - points[:, 66], axis=-1) / np.linalg.norm(points[:, 36] - points[:, 45], axis=-1)
  return candidates[gap.argmax()]


def _frontal(world: Any, model: Any, expressions: np.ndarray) -> dict[str, np.ndarray]:
  """Parameters [N] of the mean face in mean light, seen from the front."""
  count, sizes = len(expressions), scenes.parameter_sizes(model)
  parameters = {name: np.zeros([count, sizes[name]], np.float32) for name in ('identity', 'albedo', 'pose')}
  parameters |= {'expression': expressions,
                 'light': np.tile(world.light.mean.reshape(1, 9, 3), [count, 1, 1]).astype(np.float32)}
  return parameters | {'translation': scenes.stand(
    model, parameters['identity'], expressions, parameters['pose'], np.zeros([count, 3]))}


def figure6_renders(pipeline: Any) -> tuple[np.ndarray, np.ndarray]:
  """Renders of Fig. 6: [people, 2, yaws, S, S, 3] uint8, neutral and with an open mouth, and the yaws in degrees."""
  world = pipeline.world
  model, first = load_face_model(world.face_model), pipeline.config.identities
  widest = _BEYOND * max(abs(world.pose.low[1]), abs(world.pose.high[1]))
  yaws = np.linspace(-widest, widest, _YAWS)
  looks = rendering.draw_parameters(world, [(first + person, 0) for person in range(_PEOPLE)])
  opened = open_mouth(pipeline)
  acted = np.stack([np.zeros_like(opened), opened])
  person, act, turn = (part.ravel() for part in np.meshgrid(range(_PEOPLE), range(2), range(_YAWS), indexing='ij'))
  parameters = _frontal(world, model, acted[act])
  parameters['identity'], parameters['albedo'] = looks['identity'][person], looks['albedo'][person]
  parameters['pose'] = np.stack([np.zeros(len(turn)), yaws[turn], np.zeros(len(turn))], 1).astype(np.float32)
  shape = (parameters['identity'], parameters['expression'], parameters['pose'])
  parameters['translation'] = scenes.stand(model, *shape, np.zeros([len(turn), 3]))
  images, _ = scenes.render_plain(model, parameters, pipeline.config.image_size)
  return images.reshape(_PEOPLE, 2, _YAWS, *images.shape[1:]), np.degrees(yaws)


def save_figure6(path: Path, model: Any, pipeline: Any, label: Mapping[str, str], note: str = '') -> None:
  """Fig. 6: new people down, yaw across to beyond what was trained on, neutral and with an open mouth; renders as
  margins: the first person's above, everybody's frontal one to the left."""
  renders, yaws = figure6_renders(pipeline)
  people, acts, turns = renders.shape[:3]
  flat = renders.reshape(-1, *renders.shape[3:])
  outputs = to_uint8(translator(model)(flat)).reshape(people, acts * turns, *renders.shape[3:])
  front = renders[:, 0, turns // 2]
  table = np.concatenate([front[:, None], outputs], axis=1)
  head = np.concatenate([np.full_like(front[:1], 255), renders[0].reshape(acts * turns, *renders.shape[3:])])
  farthest = np.abs(yaws).max() / _BEYOND + 0.1
  heads = [f'{degrees:+.0f}°' + (' !' if abs(degrees) > farthest else '') for degrees in yaws]
  names = ['render', *acts * heads]
  line = 'the first row and the first column are renders; neutral, then with an open mouth; !: turned further than any '
  line += 'render of the training' + f'; {note}' * bool(note)
  rows = ['render', *(f'person {number + 1}' for number in range(people))]
  save_image(path, make_grid(np.concatenate([head[None], table]), rows, names, tile=80, note=line), **label)


def save_figure7(
  path: Path, drawn: Mapping[str, Mapping[str, np.ndarray]], rows: Sequence[Row], note: str = ''
) -> None:
  """Fig. 7: histograms of squared distances of pairs of one person and of two, a row for each judge."""
  across = max(map(len, drawn.values()))
  figure = Figure(figsize=(4.2 * across, 3.1 * len(drawn)), layout='constrained')
  for place, (judge, subjects) in enumerate(drawn.items()):
    largest = max(distances.max() for _, distances in subjects.values())
    for column, (subject, (same, distances)) in enumerate(subjects.items()):
      axes = figure.add_subplot(len(drawn), across, place * across + column + 1)
      for kind, chosen in (('one person', same > 0), ('two people', same == 0)):
        axes.hist(distances[chosen], np.linspace(0, largest, 41), alpha=0.6, label=f'{kind}, {chosen.sum():,} pairs')
      found = [find_row(rows, metric, subject, protocol='figure7', embedding=judge) for metric in ('auc', 'd_prime')]
      axes.set_title(f"{subject}: AUC {write_value(found[0])}\nd' {write_value(found[1])}", fontsize=9)
      axes.tick_params(labelsize=8)
      axes.set_yticks([])
      axes.set_xlabel(f'squared distance, {judge}', fontsize=8)
      if column == 0:
        axes.legend(fontsize=7)
  if note:
    figure.supxlabel(note, fontsize=8)
  save_figure(path, figure)


# Memorisation.


def nearest(images: np.ndarray, pipeline: Any) -> tuple[np.ndarray, np.ndarray]:
  """The training photographs that pictures are nearest to, by their pixels.

  Args:
    images: [N, S, S, 3] uint8.
    pipeline: gives the photographs.
  Returns:
    root mean square differences [N] of values in [-1, 1], and the photographs [N, S, S, 3] uint8.
  """
  data, split, size = pipeline.photos, pipeline.split('photos'), pipeline.config.image_size
  wanted = images.reshape(len(images), -1).astype(np.float32) / 127.5
  square = (wanted**2).sum(1)
  best, shown = np.full(len(images), np.inf), np.zeros_like(images)
  for start in range(0, min(data.count(split), _MOST_TRAINING), _CHUNK):
    rows = range(start, min(start + _CHUNK, data.count(split)))
    photos = data.pictures(split, rows, size).numpy()
    flat = photos.reshape(len(photos), -1).astype(np.float32) / 127.5
    distances = square[:, None] + (flat**2).sum(1) - 2 * wanted @ flat.T
    place = distances.argmin(1)
    found = distances[np.arange(len(images)), place]
    nearer = found < best
    best[nearer], shown[nearer] = found[nearer], photos[place[nearer]]
  return np.sqrt(np.maximum(best, 0) / wanted.shape[1]), shown


def memorisation(
  path: Path, outputs: np.ndarray, codes: Codes, scene: Scene, pipeline: Any, label: Mapping[str, str], note: str = ''
) -> list[Row]:
  """Draws samples beside their nearest training photographs; gives how near they are, and unseen photographs.

  Args:
    path: of the PNG.
    outputs: [N, S, S, 3] uint8 translations of the scene's renders.
    codes: of a judge.
    scene: see `ganfaces_sets`.
    pipeline: the run's own.
    label: model and version.
    note: a line at the bottom.
  """
  first = np.unique(scene.renders.people, return_index=True)[1]
  distance, photos = nearest(outputs[first], pipeline)
  held_out = np.unique(scene.photos.people, return_index=True)[1]
  of_photos, _ = nearest(scene.photos.images[held_out], pipeline)
  measures = {'model': {'nearest_photo_distance': Measure(distance)}}
  every = np.ones(len(first), bool)
  rows = make_rows('memorisation', measures, scene.renders.people[first], {'all': every})
  rows += [{**row, 'subject': 'photos'} for row in make_rows(
    'memorisation', {'model': {'nearest_photo_distance': Measure(of_photos)}}, scene.photos.people[held_out],
    {'all': np.ones(len(held_out), bool)})]
  asked = codes.subjects['model'][0][first[:SAMPLES]]
  by_code = pair_distances(np.concatenate([asked, codes.training]))[:len(asked), len(asked):].argmin(1)
  columns = {'render': scene.renders.images[first[:SAMPLES]], 'translation': outputs[first[:SAMPLES]],
             'nearest pixels': photos[:SAMPLES], 'nearest face': scene.training.images[by_code]}
  captions = [f'differs by {value:.2f}' for value in distance[:SAMPLES]]
  line = f'the nearest training photograph by its pixels, and by {codes.judge} among {len(codes.training):,}'
  save_sheet(path, columns, captions, note=line + f'; {note}' * bool(note), **label)
  return rows
