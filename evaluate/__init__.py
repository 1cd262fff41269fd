"""Metrics, the papers' protocols, and everything that uses a trained model: transfer, export, compare."""

import os
from collections.abc import Callable
from typing import Any

os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')  # TensorFlow's remarks on the machine are not about the user's work.

from evaluate.facecycle import new_people  # noqa: E402
from evaluate.faceoff import two_people  # noqa: E402
from evaluate.ganfaces import new_faces  # noqa: E402
from evaluate.gcgan import table1  # noqa: E402
from evaluate.nn4 import verify  # noqa: E402
from evaluate.probes.renders import render_probes  # noqa: E402

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
