"""Who was trained on: held-out people of one data set may be known to a run from another, or from where it started."""

from collections.abc import Iterable
from typing import Any

from input_pipeline import dataset
from models import runs


def people_of(config: Any, source: str, split: str) -> set[str]:
  """Names of the people in a split of a GC-GAN data set, the same name for the same person in every data set.

  Args:
    config: of the run; says which world is rendered.
    source: `synthetic`, or the path of a prepared data set.
    split: `train` or `test`.
  Returns:
    the names; nobody's where the data set is no longer there.
  """
  if source == 'synthetic':  # A person of a world depends on its seed and the person's number.
    from input_pipeline import synthetic  # The renderer is not needed for photographs.

    return {f'rendered {config.world_seed}/{person}' for person in synthetic.people_of_splits(config.identities)[split]}
  try:
    data = dataset.open_dataset(source)
  except (OSError, ValueError):
    return set()
  return {data.identities[person] for person in set(data.index(split)['identity'].tolist())}


def trained_people(workdir: Any, config: Any) -> set[str]:
  """Names of all people whom a run was trained on, and whom the run was that it started from, and so on."""
  sources = [config.dataset, *filter(None, [getattr(config, 'auxiliary_dataset', '')])]
  people = set().union(*(people_of(config, source, 'train') for source in sources))
  if not config.init_from or config.init_from == str(workdir):
    return people
  try:
    start = runs.load_config(config.init_from)
  except (OSError, ValueError):
    return people
  return people | trained_people(config.init_from, start)


def known(workdir: Any, own: Any, shown: Iterable[str]) -> list[str]:
  """Those of the people `shown` (see `people_of`) whom a run with the config `own` knows from training, sorted."""
  return sorted(set(shown) & trained_people(workdir, own))


def write_note(people: list[str], count: int) -> str:
  """One line for people and results.json; empty if nobody is known."""
  if not people:
    return ''
  return (f'{len(people)} of the {count} people shown are no strangers: this run, or what it started from, was trained '
          f'on them ({people[0]}{", ..." if len(people) > 1 else ""})')
