"""A line every few seconds for work on many pictures."""

import time
from collections.abc import Iterable, Iterator
from typing import Any


def progress(verb: str, items: Iterable[Any], expected: int, what: str = 'frames') -> Iterator[Any]:
  """Passes items on; every five seconds a line with speed and time left."""
  start = shown = time.monotonic()
  for count, item in enumerate(items, 1):
    yield item
    now = time.monotonic()
    if now - shown >= 5:
      shown, speed = now, count / (now - start)
      left = max(expected - count, 0) / speed
      print(f'{verb} {count} of {max(expected, count)} {what}, {speed:.1f} a second, {left:.0f} s left', flush=True)
