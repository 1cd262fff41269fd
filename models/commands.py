"""What every command of the project shares: flags of its own, and an error that is one line."""

import os
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from absl import flags


class Terminated(BaseException):
  """SIGTERM came: like Ctrl-C, it lets open files and folders be left in order."""


def parse(values: flags.FlagValues, argv: Sequence[str], usage: str | None, words: str = '') -> list[str]:
  """Parses a command's own flags, so that two commands in one process never share a flag.

  Args:
    values: the command's flags; `flags.DEFINE_string(..., flag_values=values)` fills it.
    argv: the program's name and its arguments.
    usage: what `--help` prints above the flags.
    words: what the arguments that are no flags are called, such as RUN; there may be none if empty.
  Returns:
    The arguments that are no flags.
  Raises:
    ValueError: for an unknown or mistyped flag, a missing required one, and a wrong number of others.
    SystemExit: after `--help` was printed.
  """
  if any(a in ('--help', '-h', '--helpfull') for a in argv[1:]):
    print(f'{(usage or "").strip()}\n{values.get_help()}')
    raise SystemExit(0)
  values.unparse_flags()
  for name in values:
    values[name].unparse()
  try:
    rest = values(list(argv))[1:]
  except flags.Error as error:
    raise ValueError(str(error)) from None
  for name in values:
    if isinstance(values[name].value, str):
      values[name].value = os.path.expanduser(values[name].value)  # A shell leaves the ~ of --output=~/DATA as it is.
  if rest and not words:
    raise ValueError(f'{rest[0]!r} is not a flag; write --name=value (--help lists the flags)')
  if words and not rest:
    raise ValueError(f'give at least one {words}')
  return rest


def run(main: Callable[[list[str]], None], argv: Sequence[str] | None = None) -> int:
  """Runs a command and returns its exit code: 0, 2 after an error that the user can mend, 130 and 143 after Ctrl-C and
  SIGTERM.

  Such an error is a ValueError or OSError whose message is one line; it is printed without a traceback
  (set PERSONAE_TRACEBACK=1 to see it). A longer message comes from inside a library and keeps its traceback.

  Args:
    main: the command; takes the program's name and its arguments.
    argv: the same, `sys.argv` if not given.
  """
  # Python allows handlers in the main thread only, and does not hear signals while workers wait inside TensorFlow.
  listens = threading.current_thread() is threading.main_thread() and 'TF_CONFIG' not in os.environ
  before = signal.signal(signal.SIGTERM, _terminate) if listens else None
  try:
    main(list(sys.argv if argv is None else argv))
  except (KeyboardInterrupt, Terminated) as stop:
    print('stopped', file=sys.stderr)
    return 130 if isinstance(stop, KeyboardInterrupt) else 143
  except (ValueError, OSError) as error:
    if os.environ.get('PERSONAE_TRACEBACK') or '\n' in str(error).strip():
      raise
    print(f'error: {str(error).strip() or type(error).__name__}', file=sys.stderr)
    return 2
  finally:
    if listens:
      signal.signal(signal.SIGTERM, signal.SIG_DFL if before is None else before)
  return 0


def _terminate(number: int, frame: Any) -> NoReturn:
  del number, frame
  raise Terminated
