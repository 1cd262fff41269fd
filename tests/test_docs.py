"""What README and docs say is so: links lead somewhere, commands run, and take the flags and values that are shown."""

import importlib
import json
import pathlib
import re
import shlex
import subprocess

import pytest
from PIL import Image

from evaluate.provenance import read_provenance, save_video
from models.commands import run
from tests.input_pipeline import builders

ROOT = pathlib.Path(__file__).parent.parent
PHOTOS = ROOT.parent / 'shared' / 'data' / 'clear' / 'london'
PAGES = [ROOT / 'README.md', ROOT / 'CONTRIBUTING.md', *sorted((ROOT / 'docs').glob('*.md'))]
COMMAND = re.compile(r'python (?:-m )(\S+\.\S+)(.*)')


def commands() -> list[tuple[str, str, str]]:
  """(page, module, arguments) of every command of ours, in fenced blocks and in indented ones."""
  found = []
  for page in PAGES:
    text = page.read_text().replace('\\\n', ' ')
    blocks = re.findall(r'^```bash\n(.*?)^```', text, re.S | re.M) + re.findall(r'^    .*$', text, re.M)
    for line in '\n'.join(blocks).splitlines():
      for part in line.split('&&'):
        match = COMMAND.search(part.split(' #')[0])
        if match:
          found.append((page.name, match[1], match[2].strip()))
  return found


def own_flags(module: str) -> set[str]:
  if module == 'train.sweep':  # Whatever it does not know, it hands to train.main.
    return {'seeds', 'workdir'}
  if module == 'train.benchmark':
    return set(importlib.import_module(module).BenchmarkFlags.__dataclass_fields__)
  return set(importlib.import_module(module).FLAGS)


def as_bash_reads(arguments: str) -> list[str]:
  """The words of a command, with the files that its patterns stand for."""
  printed = subprocess.run(['bash', '-O', 'failglob', '-c', f'printf "%s\\n" {arguments}'], cwd=ROOT, check=True,
                           capture_output=True, text=True)
  return printed.stdout.splitlines()


def test_the_pages_show_every_command():
  shown = {module for _, module, _ in commands()}
  files = [path for room in ('input_pipeline', 'train', 'evaluate', 'models') for path in (ROOT / room).rglob('*.py')]
  files = [path.relative_to(ROOT) for path in files if 'commands.run(' in path.read_text()]
  runnable = {'.'.join(path.with_suffix('').parts) for path in files}
  runnable.discard('models.commands')
  assert runnable <= shown, f'no page shows {sorted(runnable - shown)}'


@pytest.mark.parametrize('page, module, arguments', commands())
def test_command_takes_the_flags_that_are_shown(page, module, arguments, monkeypatch):
  monkeypatch.chdir(ROOT)
  given = shlex.split(arguments)
  if module in ('train.main', 'train.benchmark'):
    from train import flags
    loaded = importlib.import_module(module)
    own = flags.TrainFlags if module == 'train.main' else loaded.BenchmarkFlags
    flags.parse([module, *given], own)
    return
  if module == 'train.sweep':
    from train import flags
    given = as_bash_reads(arguments)
    flagfiles = [word.partition(':')[0] for word in given if not word.startswith('-')]
    extra = [word for word in given if word.startswith('-') and word[2:].partition('=')[0] not in own_flags(module)]
    assert flagfiles
    for file in flagfiles:
      flags.parse(['train.main', f'--flagfile={file}', *extra], flags.TrainFlags)
    return
  from models.commands import parse
  loaded = importlib.import_module(module)
  takes_words = re.search(r"commands\.parse\(.*'[A-Z]+'\)", pathlib.Path(loaded.__file__).read_text())
  parse(loaded.FLAGS, [module, *given], '', 'RUN' if takes_words else '')


@pytest.mark.parametrize('page', PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
  for target in re.findall(r'\]\(([^)#\s]+)', re.sub(r'^```.*?^```', '', page.read_text(), flags=re.S | re.M)):
    if not target.startswith('http'):
      assert (page.parent / target).exists(), f'{page.name} links to {target}'


@pytest.mark.parametrize('page', PAGES, ids=lambda page: page.name)
def test_flags_in_the_text_exist(page):
  from models import SYSTEMS
  from train.flags import TrainFlags
  known = {'flagfile', 'system', 'logdir', *TrainFlags.__dataclass_fields__}
  known |= {field for system in SYSTEMS.values() for field in system.Config.__dataclass_fields__}
  known = known.union(*(own_flags(module) for _, module, _ in commands() if module != 'train.main'))
  for flag in re.findall(r'`--([a-z_]+)', page.read_text()):
    assert flag in known, f'{page.name} speaks of --{flag}'


def run_block(page: str, mark: str, more: dict[str, list[str]]) -> None:
  """Runs the commands of the first bash block of a page that holds `mark`, three folds for five, with more flags."""
  block = next(b for b in re.findall(r'^```bash\n(.*?)^```', (ROOT / page).read_text(), re.S | re.M) if mark in b)
  block = re.sub('^for k in 1 2 3 4 5; do\n(.*?)^done\n', lambda loop: ''.join(
    loop[1].replace('$k/5', '$k/3').replace('$k', k) for k in '123'), block, flags=re.S | re.M)
  for line in block.splitlines():
    match = COMMAND.match(line)
    if match is None:
      assert line.startswith('tensorboard'), line
      continue
    words = [str(path) for word in shlex.split(match[2])
             for path in (sorted(pathlib.Path().glob(word)) if '*' in word else [word])]
    words = [f'--flagfile={ROOT}/{word[11:]}' if word.startswith('--flagfile=') else word for word in words]
    assert run(importlib.import_module(match[1]).main, [match[1], *words, *more.get(match[1], [])]) == 0, line


@pytest.mark.slow
def test_the_commands_for_photographs_run(tmp_path, monkeypatch):
  """README's, with rendered people for photographs and a moment of training, from the files' names to five folds."""
  monkeypatch.setenv('HOME', str(tmp_path))  # Where the rendered people go.
  monkeypatch.chdir(tmp_path)
  for number, faces in enumerate(builders.rendered_faces()):
    for expression, face in zip(('neutral', 'happy'), faces, strict=True):
      for name in (f'FLAT/{number}_{expression}.jpg', f'PHOTOS/{number}/{expression}.jpg'):
        path = pathlib.Path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(face).save(path, quality=95)
  faces = builders.rendered_faces()
  save_video(pathlib.Path('MOTION.mp4'), iter(faces[1].repeat(2, axis=0)), 25, 'gcgan', '0')
  Image.fromarray(faces[0, 0]).save('WHO.jpg')
  short = ['--identities=8', '--images_per_identity=6', '--warm_steps=1', '--train_steps=1', '--steps_per_execution=1',
           '--balance_skin=false']
  run_block('README.md', 'evaluate.export', {'train.main': short})
  assert pathlib.Path('OUT.mp4').exists() and pathlib.Path('EXPORT/1/saved_model.pb').exists()
  pathlib.Path('PHOTOS').rename('TREE')
  pathlib.Path('FLAT').rename('PHOTOS')
  exec(re.search(r'^```python\n(.*?)^```', (ROOT / 'docs/photographs.md').read_text(), re.S | re.M)[1], {})
  run_block('README.md', 'evaluate.folds', {'train.main': short})
  results = json.loads(pathlib.Path('runs/folds-eval/results.json').read_text())
  assert {row['count'] for row in results['results'] if row['metric'] == 'ssim' and row['slice'] == 'all'} == {6}


@pytest.mark.slow
@pytest.mark.parametrize('page, module, arguments', [c for c in commands() if c[1] in ('train.main', 'train.sweep')])
def test_training_is_rehearsed_as_shown(page, module, arguments, tmp_path, monkeypatch):
  """Dry-runs what needs no data; what trains on a DATA of somebody's is run on other data elsewhere."""
  if re.search('DATA|data/|LFW|IJB', arguments):
    pytest.skip('it needs a data set')
  monkeypatch.chdir(ROOT)
  given = as_bash_reads(arguments)
  rest = [word for word in given if word.startswith('-') and not word.startswith(('--seeds', '--dry_run'))]
  swept = dict.fromkeys(word.partition(':')[0] for word in given if not word.startswith('-'))
  for flagfile in [[f'--flagfile={path}'] for path in swept] or [[]]:
    words = [*flagfile, *rest, f'--workdir={tmp_path}/run', '--dry_run']
    assert run(importlib.import_module('train.main').main, ['train.main', *words]) == 0


def test_the_ten_lines_of_python_run(tmp_path, monkeypatch):
  monkeypatch.setenv('HOME', str(tmp_path))  # Where the rendered people go.
  source = re.search(r'^```python\n(.*?)^```', (ROOT / 'README.md').read_text(), re.S | re.M)[1]
  assert len([line for line in source.splitlines() if line]) <= 10
  names = {'workdir': str(tmp_path / 'run')}
  exec(source, names)
  assert names['images'].shape == names['faces']['input_image'].shape


def test_the_lines_of_the_face_world_run():
  names = {}
  exec(re.search(r'^```python\n(.*?)^```', (ROOT / 'docs/face_world.md').read_text(), re.S | re.M)[1], names)
  assert {name: value.shape for name, value in names['pictures'].items()} == {
    'image': (2, 192, 192, 3), 'mask': (2, 192, 192, 1), 'landmarks': (2, 68, 2)}


@pytest.mark.skipif(not PHOTOS.exists(), reason=f'{PHOTOS} is not there')
def test_the_lines_of_the_first_picture_run(tmp_path, monkeypatch):
  (tmp_path / 'PHOTOS').mkdir()
  for path in sorted(PHOTOS.glob('*.jpg'))[:4]:  # Two people, so one pair.
    (tmp_path / 'PHOTOS' / path.name).symlink_to(path.absolute())
  monkeypatch.chdir(tmp_path)
  exec(re.search(r'^```python\n(.*?)^```', (ROOT / 'docs/transfer.md').read_text(), re.S | re.M)[1], {})
  assert read_provenance('gcgan_transfer.png')['model'] == 'Personae gcgan'
  assert [path.name for path in (tmp_path / 'runs' / 'smiles').iterdir()] == ['002_neutral.jpg']


@pytest.mark.parametrize(['results', 'flagfile', 'page', 'protocol'], [
    ('gcgan_quickstart', 'gcgan.cfg', 'quickstart', 'table1'),
    ('gcgan_london', 'configs/gcgan_photos.cfg', 'photographs', 'table1'),
    ('faceoff_quickstart', 'faceoff.cfg', 'faceoff', 'translation')])
def test_tables_are_the_measured_ones(results, flagfile, page, protocol):
  from evaluate.results import summary
  measured = json.loads((ROOT / f'docs/results/{results}.json').read_text())
  assert f'--train_steps={measured["step"]}\n' in (ROOT / flagfile).read_text()  # Of the flagfile as it is.
  assert summary(measured['results'], protocol) in (ROOT / f'docs/{page}.md').read_text()


def test_the_renderers_table_is_the_measured_one():
  from train.benchmark_renderer import table
  measured = json.loads((ROOT / 'docs/results/renderer.json').read_text())
  assert table(measured['results']) in (ROOT / 'docs/performance.md').read_text()


def test_the_papers_tables_are_the_measured_ones():
  from evaluate.gcgan_claims import write_claims
  from evaluate.results import summary
  rows, page = json.loads((ROOT / 'docs/results/gcgan_paper.json').read_text())['results'], ROOT / 'docs/gcgan_paper.md'
  for table in (write_claims(rows), summary(rows, 'table2'), summary(rows, 'figure4')):
    assert table in page.read_text()
