"""The face world's gates: the page shows what was measured, and the measures see what they should."""

import json
from pathlib import Path

import numpy as np
import pytest

from evaluate import face_world
from models import commands
from models.face3d.morphable import load_face_model

DOCS = Path(__file__).parents[2] / 'docs'


def test_the_page_shows_the_figures_that_were_measured():
  rows = json.loads((DOCS / 'results' / 'face_world.json').read_text())['gates']
  assert set(rows) == set(face_world.GATES)
  assert face_world.table(rows) in (DOCS / 'face_world.md').read_text()


def test_update_page_keeps_the_words(tmp_path):
  rows = {
    name: {'value': None, 'limit': gate[0], 'passed': None, 'count': 0, 'what': gate[2]}
    for name, gate in face_world.GATES.items()
  }
  page = tmp_path / 'face_world.md'
  page.write_text(f'before\n{face_world.MARK}\nstale figures\n{face_world.MARK}\nafter\n')
  face_world.update_page(page, rows)
  text = page.read_text()
  assert text.startswith('before\n') and text.endswith('\nafter\n') and 'stale' not in text
  assert 'not measured' in text
  page.write_text('nothing')
  with pytest.raises(ValueError, match='needs the line'):
    face_world.update_page(page, rows)


@pytest.mark.parametrize('page', ['', 'page.md'])
def test_the_command_writes_where_it_is_told_and_nowhere_else(tmp_path, monkeypatch, page):
  monkeypatch.setattr(face_world, 'load_face_model', lambda: None)
  monkeypatch.setattr(face_world, 'sheet', lambda model: np.zeros((8, 8, 3), np.uint8))
  row = {'value': 0.5, 'limit': 0.4, 'passed': True, 'count': 0, 'what': 'faces'}
  monkeypatch.setattr(face_world, 'measure', lambda model, photographs: {name: row for name in face_world.GATES})
  monkeypatch.chdir(tmp_path)
  for name in ('page.md', 'face_world.md'):
    (tmp_path / name).write_text(f'{face_world.MARK}{face_world.MARK}')
  argv = ['face_world', '--output=new/figures.json', '--photographs=none', f'--page={page}']
  assert commands.run(face_world.main, argv) == 0
  files = {p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob('*') if p.is_file()}
  assert files == {'page.md', 'face_world.md', 'new/figures.json', 'page.png' if page else 'new/figures.png'}
  assert ['faces' in (tmp_path / name).read_text() for name in ('page.md', 'face_world.md')] == [bool(page), False]
  assert json.loads((tmp_path / 'new/figures.json').read_text())['skipped'] == 'no photographs in none'


def test_alignment_removes_turn_scale_and_place():
  points = np.random.RandomState(0).randn(2, 68, 2)
  angle = 0.4
  turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
  aligned = face_world._aligned(points)
  np.testing.assert_allclose(aligned, face_world._aligned(points @ turn * 3 + 5), atol=1e-9)
  np.testing.assert_allclose(aligned[:, [36, 45]], [[[-1, 0], [1, 0]]] * 2, atol=1e-9)


@pytest.mark.slow
def test_gates_hold_on_few_faces():
  rows = face_world.measure(load_face_model(), '', faces=60)
  assert rows['photograph_distance']['passed'] is None  # No photographs were given.
  for name in ('detected', 'landmark_error', 'identity_auc'):
    assert rows[name]['passed'], rows[name]
