"""Metrics, the papers' protocols, and everything that uses a trained model: transfer, export, compare."""

from collections.abc import Callable
from typing import Any

from evaluate.gcgan import table1

__all__ = ['EVALUATIONS']

# The evaluation of each system: (model, config, output_dir) -> rows of results.json; figures go to output_dir.
EVALUATIONS: dict[str, Callable[..., list[dict[str, Any]]]] = {'gcgan': table1}
