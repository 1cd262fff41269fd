"""What README and docs say is so: links lead somewhere, commands exist and take the flags and values that are shown."""

import importlib
import json
import pathlib
import re
import shlex

import pytest

from evaluate.provenance import read_provenance

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
    flagfiles = [file for pattern in given if not pattern.startswith('-') for file in ROOT.glob(pattern)]
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
