"""Trains a system and evaluates it.

    python -m train.main --flagfile=gcgan.cfg                 train; the same command continues a run that was stopped
    python -m train.main --flagfile=gcgan.cfg --dry_run       say what would be done
    python -m train.main --system=gcgan --help                list the flags
"""

import sys

import tensorflow as tf

from models import commands
from train import flags
from train.dry_run import dry_run
from train.loop import train_and_evaluate


def main(argv: list[str]) -> None:
  """The command.

  Args:
    argv: the program's name and its arguments.
  Raises:
    ValueError, OSError: with one line for the user.
    SystemExit: after a signal, or when a worker was lost.
  """
  tf.get_logger().setLevel('ERROR')  # Its hints are for people who write TensorFlow programs.
  command = flags.parse(argv, flags.TrainFlags, __doc__)
  config = command.config
  workdir = command.own.workdir or f'runs/{config.system}'
  print(f'{config.system} in {workdir}')
  for note in command.notes:
    print(f'  # {note}')
  changed = flags.changed_settings(config, command.origins)
  if changed:
    print("settings that differ from the paper's (the defaults):", *changed, sep='\n  ', flush=True)
  if command.own.dry_run:
    dry_run(config, workdir)
  else:
    train_and_evaluate(config, workdir, saved_model=True)


if __name__ == '__main__':
  sys.exit(commands.run(main))
