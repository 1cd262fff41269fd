"""Are two photographs of one person? LFW (http://vis-www.cs.umass.edu/lfw/) and CPLFW (http://www.whdeng.cn/CPLFW/).

The paper says that it uses the representation as it is: here the angle between two codes decides, R_id's and, beside
it, R_exp's, and the threshold of each tenth of the 6,000 pairs, in the order of the list, is that of the other nine
[choice]. Pictures are cut out like the frames that the run was trained on; where dlib finds no face it is the middle of
the picture, which in LFW is 2.2 times as large as the face's box.
"""

from pathlib import Path
from typing import Any

import numpy as np

from evaluate import same_person
from evaluate.probes.features import identity_readers
from evaluate.results import Row
from evaluate.verification_faces import MIDDLE, each_face
from evaluate.verification_lists import Listed, find_files, read_cplfw, read_lfw
from input_pipeline import faces
from input_pipeline.face_squares import as_box, face_square


def probe_lfw(model: Any, folder: str | Path, epochs: int = 0) -> list[Row]:
  """LFW's rows of a `FaceCycle`; errors as `read_lfw`."""
  del epochs
  return _rows('lfw', model, folder, read_lfw(folder))


def probe_cplfw(model: Any, folder: str | Path, epochs: int = 0) -> list[Row]:
  """CPLFW's rows of a `FaceCycle`; errors as `read_cplfw`."""
  del epochs
  return _rows('cplfw', model, folder, read_cplfw(folder))


def _rows(protocol: str, model: Any, folder: str | Path, listed: Listed) -> list[Row]:
  names, people, pairs, tenths = listed.tabulate()
  images = _cut_out(find_files(folder, protocol, names), model.config)
  codes = {subject: read(images) for subject, read in identity_readers(model).items()}
  return same_person.verification_rows(protocol, codes, people, pairs, tenths=tenths)


def _cut_out(files: list[str], config: Any) -> np.ndarray:
  """[N, S, S, 3] uint8: each face as the run's data has it.

  Raises:
    FileNotFoundError: if a picture is missing.
    ValueError: if one is damaged.
  """
  settings, crops = faces.Settings('box', 1.0, config.image_size), []
  for image, points in each_face(files):
    if points is None:
      height, width = image.shape[:2]
      square = np.array([(width - 1) / 2, (height - 1) / 2, min(height, width) / MIDDLE * config.enlargement])
    else:
      square = face_square(points, config.enlargement)
    crops.append(faces.cut_out(image, np.zeros([68, 2]) if points is None else points, settings, as_box(square))[0])
  return np.stack(crops)
