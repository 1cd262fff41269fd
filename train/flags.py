"""Command lines: flags made from the fields of dataclasses, nested flagfiles, and errors of one line.

absl's own parser cannot name the file of a bad flag, and resolves a nested `--flagfile` against the working directory,
so this module reads the command line itself. `--system=NAME` is looked for first; then that system's settings are the
only flags.
"""

import dataclasses
import difflib
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from models import SYSTEMS
from models.config import ConfigError, allowed, check_fields, format_value, option, parse_value

__all__ = ['Command', 'Given', 'TrainFlags', 'changed_settings', 'expand', 'parse']


@dataclasses.dataclass(frozen=True)
class TrainFlags:
  """What `train.main` takes besides the settings of a system."""

  workdir: str = option('', 'Directory of the run; runs/SYSTEM if empty.')
  dry_run: bool = option(False, 'Print what would be done, and write nothing.')


class Given(NamedTuple):
  """An argument and where it stands: 'on the command line' or 'in FILE line N'."""

  text: str
  origin: str

  def __str__(self) -> str:
    return f'{self.text} ({self.origin})'


@dataclasses.dataclass(frozen=True)
class Command:
  """A parsed command line.

  Attributes:
    config: the system's settings.
    own: the command's own flags, an instance of the class given to `parse`.
    origins: flag -> where its effective value was given; flags left at their default are absent.
    notes: the comment lines at the top of the first flagfile: its deviations from the paper, with reasons.
  """

  config: Any
  own: Any
  origins: Mapping[str, Given]
  notes: Sequence[str]


def expand(arguments: Sequence[str], origin: str = 'on the command line', folder: pathlib.Path | None = None,
           inside: tuple[pathlib.Path, ...] = ()) -> list[Given]:
  """Replaces every `--flagfile=F` by the lines of F; a nested F is looked for beside the file that names it first.

  Raises:
    ConfigError: if a flagfile is missing, unreadable, or includes itself.
  """
  given = []
  pending = list(enumerate(arguments, start=1))
  while pending:
    number, text = pending.pop(0)
    here = f'{origin} line {number}' if inside else origin
    if not inside and text.lstrip('-') == 'flagfile' and pending:
      text = f'{text}={pending.pop(0)[1]}'
    if not text.lstrip('-').startswith('flagfile=') or not text.startswith('-'):
      given.append(Given(text, here))
      continue
    name = pathlib.Path(text.partition('=')[2]).expanduser()
    places = list(dict.fromkeys(place / name for place in ([folder] if folder else []) + [pathlib.Path()]))
    path = next((p for p in places if p.is_file()), None)
    if path is None:
      raise ConfigError(f'{text} ({here}): there is no such file ({" or ".join(str(p) for p in places)})')
    if path.resolve() in inside:
      raise ConfigError(f'{text} ({here}): the file includes itself')
    given += expand(_lines(path, text, here), f'in {path}', path.parent, (*inside, path.resolve()))
  # Inside a file, comments and empty lines keep their place for the line numbers, and are dropped here.
  return [g for g in given if not inside or g.text]


def _lines(path: pathlib.Path, text: str, here: str) -> list[str]:
  try:
    lines = [line.strip() for line in path.read_text().splitlines()]
  except (OSError, UnicodeDecodeError) as error:
    raise ConfigError(f'{text} ({here}): the file cannot be read ({error})') from None
  return ['' if line.startswith(('#', '//')) else line for line in lines]


def parse(argv: Sequence[str], own: type = TrainFlags, usage: str = '') -> Command:
  """Parses a command line.

  Args:
    argv: the program's name and its arguments.
    own: dataclass of the command's own flags.
    usage: printed above the flags by `--help`.
  Raises:
    ConfigError: with one line that names the flag, its file, its value, and what is allowed.
    SystemExit: after `--help` was printed.
  """
  given = expand(list(argv[1:]))
  wants_help = any(g.text in ('--help', '-h', '--helpfull') for g in given)
  system = _find_system(given, wants_help)
  config_class = SYSTEMS[system].Config
  fields = {f.name: f for kind in (own, config_class) for f in dataclasses.fields(kind)}
  if wants_help:
    print(usage.strip(), *_help(system, own, config_class), sep='\n')
    raise SystemExit(0)
  values, origins = _read(given, fields, system)
  try:
    return Command(_make(config_class, values), _make(own, values), origins, _notes(argv))
  except ConfigError as error:
    where = [str(origins[name]) if name in origins else f'--{name} is {format_value(fields[name].default)} by default'
             for name in error.fields]
    message = f'--{error}' if error.fields and str(error).startswith(error.fields[0]) else str(error)
    raise ConfigError(message + (f' [{"; ".join(where)}]' if where else ''), error.fields) from None


def _make(kind: type, values: dict[str, Any]) -> Any:
  made = kind(**{f.name: values[f.name] for f in dataclasses.fields(kind) if f.name in values})
  check_fields(made)
  return made


def _split(text: str) -> tuple[str, str | None]:
  name, equals, value = text.removeprefix('-').removeprefix('-').partition('=')
  return name, value if equals else None


def _find_system(given: Sequence[Given], wants_help: bool) -> str:
  system, origin = None, ''
  for place, item in enumerate(given):
    name, value = _split(item.text)
    if name == 'system' and item.text.startswith('-'):
      following = given[place + 1].text if place + 1 < len(given) else ''
      system, origin = following if value is None else value, item.origin
  names = ', '.join(SYSTEMS)
  if system is None:
    if wants_help:
      return next(iter(SYSTEMS))
    raise ConfigError(f'--system is missing: give --flagfile=FILE or --system=NAME, NAME one of {names}')
  if system not in SYSTEMS:
    near = difflib.get_close_matches(system, SYSTEMS, 1)
    hint = f'; did you mean {near[0]}?' if near else ''
    raise ConfigError(f'--system={system} ({origin}): there is no such system; it is one of {names}{hint}')
  return system


def _read(given: Sequence[Given], fields: Mapping[str, dataclasses.Field], system: str,
          ) -> tuple[dict[str, Any], dict[str, Given]]:
  values, origins = {}, {}
  pending = list(given)
  while pending:
    item = pending.pop(0)
    if not item.text.startswith('-') or item.text.strip('-') == '':
      raise ConfigError(f'{item.text!r} ({item.origin}) is not a flag: write --name=value')
    name, value = _split(item.text)
    off = name.removeprefix('no') if name.startswith('no') and name not in fields and value is None else ''
    if off in fields and type(fields[off].default) is bool:
      name, value = off, 'false'
    if name != 'system' and name not in fields:
      near = difflib.get_close_matches(name, ['system', 'flagfile', *fields], 1, 0.5)
      hint = f'; did you mean --{near[0]}?' if near else ''
      raise ConfigError(f'{item}: there is no flag --{name} for {system}{hint} (--help lists all)')
    if value is None and name in fields and type(fields[name].default) is bool:
      value = 'true'
    elif value is None:
      follows = pending[0].text if pending and pending[0].origin == item.origin else None
      if follows is None or follows.startswith('--'):
        wanted = allowed(fields[name]) if name in fields else 'a name'
        raise ConfigError(f'{item}: the value is missing: {wanted} is needed')
      value = pending.pop(0).text
    if name != 'system':
      try:
        values[name] = parse_value(fields[name], value)
      except ConfigError as error:
        raise ConfigError(f'--{error} [{item}]', error.fields) from None
      origins[name] = Given(f'--{name}={value}', item.origin)
  return values, origins


def _notes(argv: Sequence[str]) -> list[str]:
  for place, text in enumerate(argv):
    name, value = _split(text)
    if name == 'flagfile':
      notes = []
      for line in pathlib.Path(argv[place + 1] if value is None else value).expanduser().read_text().splitlines():
        if not line.startswith(('#', '//')):
          break
        notes.append(line.lstrip('#/ ').rstrip())
      return notes
  return []


def _help(system: str, own: type, config_class: type) -> list[str]:
  lines = [f'\nFlags (--system={system}; other systems: {", ".join(s for s in SYSTEMS if s != system) or "none"}):',
           '  --flagfile: read flags from this file; files may nest, later flags win']
  for kind in (own, config_class):
    for field in dataclasses.fields(kind):
      default = format_value(field.default) or "''"
      lines.append(f'  --{field.name}: {field.metadata["help"]} ({allowed(field)}; default: {default})')
  return lines


def changed_settings(config: Any, origins: Mapping[str, Given] | None = None) -> list[str]:
  """One line for every setting that differs from its default, the paper's."""
  lines = []
  for field in dataclasses.fields(config):
    value = getattr(config, field.name)
    if value != field.default:
      where = f'  ({origins[field.name].origin})' if origins and field.name in origins else ''
      lines.append(f'{field.name}: {format_value(field.default) or "none"} -> {format_value(value) or "none"}{where}')
  return lines
