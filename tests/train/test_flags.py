"""Command lines and their one-line errors."""

import pytest

from models.config import ConfigError, differences
from train.flags import TrainFlags, changed_settings, parse

pytestmark = pytest.mark.usefixtures('toy_system')


def write(path, *lines):
  path.parent.mkdir(parents=True, exist_ok=True)
  path.write_text('\n'.join(lines) + '\n')
  return path


def parse_line(*arguments):
  return parse(['main', *map(str, arguments)], TrainFlags)


def refusal(*arguments):
  with pytest.raises(ConfigError) as caught:
    parse_line(*arguments)
  assert '\n' not in str(caught.value)
  return str(caught.value)


def test_later_flags_win_and_every_spelling_works(tmp_path):
  write(tmp_path / 'a.cfg', '# A note.', '', '--system=toy', '--batch_size=4', '--learning_rate=0.5', '--noevaluate')
  command = parse_line(
      f'--flagfile={tmp_path}/a.cfg', '--batch_size', '8', '-seed=3', '--evaluate', '--dry_run', '--workdir=w')
  config = command.config
  assert (config.batch_size, config.learning_rate, config.seed, config.evaluate) == (8, 0.5, 3, True)
  assert command.own == TrainFlags(workdir='w', dry_run=True)
  assert command.notes == ['A note.']
  assert 'batch_size: 16 -> 8  (on the command line)' in changed_settings(config, command.origins)
  assert not parse_line(f'--flagfile={tmp_path}/a.cfg').config.evaluate


def test_nested_flagfile_is_looked_for_beside_the_including_one_first(tmp_path, monkeypatch):
  write(tmp_path / 'base.cfg', '--batch_size=1')
  write(tmp_path / 'deep' / 'base.cfg', '--system=toy', '--batch_size=2')
  write(tmp_path / 'deep' / 'a.cfg', '--flagfile=base.cfg', '--seed=5')
  monkeypatch.chdir(tmp_path)
  assert parse_line('--flagfile=deep/a.cfg').config.batch_size == 2
  write(tmp_path / 'deep' / 'b.cfg', '--flagfile=deep/a.cfg')  # Falls back to the working directory.
  assert parse_line('--flagfile', 'deep/b.cfg').config.seed == 5


def test_errors_name_flag_file_value_and_what_is_allowed(tmp_path):
  inner = write(tmp_path / 'in' / 'inner.cfg', '# c', '--system=toy', '--batch_sise=8')
  outer = write(tmp_path / 'outer.cfg', '--flagfile=in/inner.cfg')
  text = refusal(f'--flagfile={outer}')
  assert '--batch_sise=8' in text and f'{inner} line 3' in text and 'did you mean --batch_size?' in text

  assert refusal('--system=toy', '--batch_size=many') == (
      "--batch_size='many' is not allowed: an integer of at least 1 is needed "
      '[--batch_size=many (on the command line)]')
  assert 'at least 1' in refusal('--system=toy', '--batch_size=0')
  assert 'one of default, mirrored, multi_worker' in refusal('--system=toy', '--strategy=tpu')
  assert 'true or false' in refusal('--system=toy', '--evaluate=maybe')
  assert 'a number' in refusal('--system=toy', '--learning_rate=nan')
  assert 'the value is missing' in refusal('--system=toy', '--batch_size', '--seed=1')
  assert 'write --name=value' in refusal('--system=toy', 'train')
  assert 'did you mean gcgan' in refusal('--system=gcgn')
  assert '--system is missing' in refusal('--batch_size=2')
  assert 'no such file' in refusal('--flagfile=nowhere.cfg')
  assert 'width' in refusal('--system=toy', '--width=1')  # A flag of another system is unknown.
  itself = write(tmp_path / 'self.cfg', '--flagfile=self.cfg')
  assert 'includes itself' in refusal(f'--flagfile={itself}')


def test_a_contradiction_names_where_both_flags_stand(tmp_path):
  path = write(tmp_path / 'a.cfg', '--system=toy', '--log_every=5')
  text = refusal(f'--flagfile={path}', '--steps_per_execution=2')
  assert 'log_every=5 is not a multiple of steps_per_execution=2' in text
  assert f'--log_every=5 (in {path} line 2)' in text and '--steps_per_execution=2 (on the command line)' in text
  assert '--checkpoint_every is 1000 by default' in refusal('--system=toy', '--steps_per_execution=3', '--log_every=3')


def test_help_lists_every_flag(capsys):
  with pytest.raises(SystemExit) as caught:
    parse_line('--system=toy', '--help')
  assert caught.value.code == 0
  text = capsys.readouterr().out
  assert '--workdir' in text and '--ema_decay: Average of the weights.' in text and 'default: 16' in text


def test_flags_cfg_alone_repeats_the_run(tmp_path):
  from models import runs
  from tests.conformance.toy import ToyConfig
  config = ToyConfig(learning_rate=0.1 + 0.2, evaluate=False, dataset='a b=c', init_from='x')
  runs.save_flags(config, tmp_path)
  assert not differences(config, runs.load_config(tmp_path))
  assert not differences(config, parse_line(f'--flagfile={tmp_path}/flags.cfg').config)
