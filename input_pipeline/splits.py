"""Who is held out of training."""

import math
import re

from input_pipeline import skin
from input_pipeline.faces import Face
from input_pipeline.listing import Photo


def held_out_people(angles: dict[str, float], count: int) -> list[str]:
  """Who is held out.

  At least a quarter of them have dark skin, as far as half of all such people suffice: of these every second one is
  taken, from the darkest on, so that training keeps people like them. The others are the last in the order of their
  names.

  Args:
    angles: typology angle of each person; NaN where unknown.
    count: how many are held out.
  """
  dark = sorted((person for person in angles if skin.label(angles[person]) == 'dark'), key=lambda p: (angles[p], p))
  fair = max(math.ceil(count / 4), round(count * len(dark) / len(angles)))
  chosen = dark[::2][: min(fair, len(dark) // 2, count)]
  others = sorted(set(angles) - set(dark))
  missing = count - len(chosen)
  chosen += others[len(others) - missing :] if missing else []
  taken = set(chosen)
  spare = [person for person in dark if person not in taken]
  return sorted(chosen + spare[: count - len(chosen)])


def by_name(people: list[str], fraction: float, rule: str) -> set[str]:
  """Who of the sorted people is held out, as a known data set wants it.

  Args:
    people: sorted names.
    fraction: share that is held out.
    rule: `last`: the first ones train, rounded down, as GC-GAN's authors split Multi-PIE; `spread`: as many, evenly
      from among all; `all`: everybody.
  """
  count = len(people) - int(round((1 - fraction) * len(people), 6))
  if rule == 'all':
    return set(people)
  if rule == 'last':
    return set(people[len(people) - count :])
  return {people[(2 * i + 1) * len(people) // (2 * count)] for i in range(count)}


def fold_people(angles: dict[str, float], number: int, folds: int) -> set[str]:
  """One of `folds` groups that share no person and together hold everybody, dark skin spread evenly over them.

  Args:
    angles: typology angle of each person; NaN where unknown.
    number: which group, from 1 on.
    folds: how many there are.
  """
  people = sorted(angles, key=lambda person: (skin.label(angles[person]) != 'dark', person))
  return set(people[number - 1 :: folds])


def choose_split(
  kept: list[tuple[Photo, Face]], angles: dict[str, float], test_identities: str, test_fraction: float, rule: str = ''
) -> set[str]:
  """Names of the people in the test split.

  Args:
    kept: the pictures with their faces.
    angles: typology angle of each person.
    test_identities: how many are held out, or their names with commas between, or `2/5`, the second of five folds.
    test_fraction: share that is held out, where `test_identities` is empty.
    rule: see `by_name`; without one, `held_out_people` decides, unless the pictures say themselves.

  Raises:
    ValueError: if there are too few people, or the wish cannot be met.
  """
  people = sorted(angles)
  if rule == 'all':
    if test_identities:
      raise ValueError(f'--test_identities={test_identities}: all of these are driving faces, nobody is trained on')
    return by_name(people, 1, rule)
  given = {photo.identity for photo, _ in kept if photo.split == 'test'}
  if any(photo.split for photo, _ in kept):
    if test_identities:
      raise ValueError(
        f'--test_identities={test_identities} contradicts the column split of the manifest: give one of them'
      )
    chosen = given
  elif fold := re.fullmatch(r'(\d+)/(\d+)', test_identities):
    number, folds = int(fold[1]), int(fold[2])
    if not 1 <= number <= folds <= len(people) or folds < 2:
      raise ValueError(
        f'--test_identities={test_identities}: folds are 1/5 to 5/5, say, and at most as many as people ({len(people)})'
      )
    chosen = fold_people(angles, number, folds)
  elif test_identities and not test_identities.isdigit():
    chosen = set(test_identities.split(','))
    unknown = sorted(chosen - set(people))
    if unknown:
      raise ValueError(f'--test_identities={test_identities}: there is no usable picture of {unknown[0]}')
  elif rule and not test_identities:
    chosen = by_name(people, test_fraction, rule)
  else:
    count = int(test_identities) if test_identities else max(1, round(len(people) * test_fraction))
    chosen = set(held_out_people(angles, min(count, len(people))))
  if len(people) < 2:
    raise ValueError(
      f'all usable pictures show one person ({people[0]}): nobody can be held out, at least 2 people are needed'
    )
  if not chosen or len(chosen) == len(people):
    raise ValueError(
      f'{len(chosen)} of {len(people)} people would be held out for tests: at least one must be, and one must not'
    )
  return chosen
