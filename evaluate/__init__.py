"""Metrics, the papers' protocols, and everything that uses a trained model: transfer, export, compare."""

from collections.abc import Callable
from typing import Any

import models  # noqa: F401  First, as it says how TensorFlow starts.
from evaluate.facecycle import new_people
from evaluate.faceoff import two_people
from evaluate.ganfaces import new_faces
from evaluate.gcgan import table1
from evaluate.nn4 import verify
from evaluate.probes.renders import render_probes

__all__ = ['EVALUATIONS']

# The evaluation of each system: (model, config, output_dir) -> rows of results.json; figures go to output_dir.
EVALUATIONS: dict[str, Callable[..., list[dict[str, Any]]]] = {
  'gcgan': table1,
  'ganfaces': new_faces,
  'facecycle': lambda *given, **options: new_people(*given, **options) + render_probes(*given, **options),
  'faceoff': two_people,
  'nn4': verify,
  'recognition': verify,
}
