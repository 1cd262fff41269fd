"""Head pose in photographs: a ridge regression learns yaw, pitch and roll from 300W-LP, AFLW2000-3D tests it.

Both as FSA-Net cuts them out (https://github.com/shamangary/FSA-Net, data/type1): the box of the points `pt2d` enlarged
by .6 of its sides to each side, 64 x 64; pictures with an angle beyond 99 degrees are left out (31 of AFLW2000-3D's).
The authors' loader trains on randomly shifted pictures (by up to 4 pixels, black behind), half of them mirrored with
yaw and roll negated, plus noise of .1 that is the same in all three colours; here each training picture is changed so
once [choice]. They name neither features nor solver: here it is the last map of E_exp, 2,048 numbers at the paper's
width, and R_exp beside it [choice]. The strength is chosen on the last fifth of each training set, which are other
photographs: 300W-LP turns each into many.
"""

import os
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from evaluate.probes import solvers
from evaluate.probes.features import expression_readers
from evaluate.results import Measure, Row, make_rows
from input_pipeline.photos import read_photo
from models.face3d.licensed_files import read_mat

SETS = tuple(name + end for name in ('AFW', 'HELEN', 'IBUG', 'LFPW') for end in ('', '_Flip'))
TEST = 'AFLW2000'
ANGLES = ('yaw', 'pitch', 'roll')
SIZE, LARGEST = 64, 99.0
_MARGIN = 0.6
_SHIFT, _NOISE = 4, 0.1 * 255 * 0.226  # The noise is of standardised pictures; .226 is ImageNet's mean deviation.


def probe_aflw2000(model: Any, folder: str | Path, epochs: int = 0) -> list[Row]:
  """Mean absolute errors in degrees of a `FaceCycle` and the baselines.

  Args:
    model: the system.
    folder: see `read_set`.
    epochs: of other protocols.
  """
  del epochs
  sets = [read_set(folder, name) for name in SETS]
  images, poses = (np.concatenate(parts) for parts in zip(*sets, strict=True))
  chosen = np.concatenate([np.arange(len(pose)) >= 0.8 * len(pose) for _, pose in sets])
  images[~chosen], poses[~chosen] = change(images[~chosen], poses[~chosen], np.random.default_rng(0))
  tested, truth = read_set(folder, TEST)
  print(f'aflw2000: {len(images):,} pictures to learn from, {chosen.sum():,} of them to choose the strength on, '
        f'{len(tested):,} to test', flush=True)
  images, poses = np.concatenate([images, tested]), np.concatenate([poses, truth])
  rows = np.arange(len(images))
  train, validation, last = rows[: len(chosen)][~chosen], rows[: len(chosen)][chosen], rows[len(chosen) :]
  measures = {}
  for subject, read in expression_readers(model, SIZE).items():
    found = solvers.predict_values(read(images), poses, train, validation, last)
    error = np.abs(found - truth)
    measures[subject] = {f'{angle}_error': Measure(error[:, k]) for k, angle in enumerate(ANGLES)}
  people = np.arange(len(last))  # Nobody knows who is on them.
  return make_rows(
    'aflw2000', measures, people, {'all': np.ones(len(last), bool)}, measures['model'],
    [s for s in measures if s != 'model']
  )  # fmt: skip


def read_set(folder: str | Path, name: str) -> tuple[np.ndarray, np.ndarray]:
  """One set: FSA-Net's NAME.npz, or a folder NAME of pictures with parameter files, in the folder or below it.

  Returns:
    [N, 64, 64, 3] uint8 RGB, and [N, 3] float32 yaw, pitch, roll in degrees; those within 99 degrees.

  Raises:
    FileNotFoundError: if there is neither.
    ValueError: if a file is something else; the message is one line.
  """
  places = [Path(folder, part) for part in ('', 'type1', '300W_LP', '300W-LP')]
  file = next((place / f'{name}.npz' for place in places if (place / f'{name}.npz').is_file()), None)
  tree = next((place / name for place in places if (place / name).is_dir()), None)
  if file is not None:
    images, poses = _read_npz(file)
  elif tree is not None:
    images, poses = _read_tree(tree)
  else:
    raise FileNotFoundError(f"--input={folder} has neither {name}.npz (FSA-Net's) nor a folder {name} with .mat files")
  near = (np.abs(poses) <= LARGEST).all(axis=1)
  if not near.any():
    raise ValueError(f'{file or tree} has no picture with angles within {LARGEST:g} degrees')
  return images[near], poses[near]


def _read_npz(path: Path) -> tuple[np.ndarray, np.ndarray]:
  try:
    with np.load(path, allow_pickle=False) as arrays:
      images, poses = arrays['image'], arrays['pose'].astype(np.float32)
  except (OSError, ValueError, KeyError, EOFError) as error:
    raise ValueError(f'{path} has no arrays image and pose ({str(error).splitlines()[0][:80]})') from None
  if images.shape[1:] != (SIZE, SIZE, 3) or images.dtype != np.uint8 or poses.shape != (len(images), 3):
    raise ValueError(
      f'{path}: image is {images.dtype} {images.shape} and pose {poses.shape}; uint8 [N, {SIZE}, {SIZE}, 3] and [N, 3] '
      'are needed'
    )
  return images[..., ::-1].copy(), poses  # OpenCV wrote them, blue first.


def _read_tree(folder: Path) -> tuple[np.ndarray, np.ndarray]:
  images, poses = [], []
  for file in sorted(os.listdir(folder)):
    mat = folder / (os.path.splitext(file)[0] + '.mat')
    if not file.endswith('.jpg') or not mat.is_file():
      continue
    content = read_mat(mat, {'Pose_Para': 'needed', 'pt2d': 'needed'})
    angles, points = content['Pose_Para'].ravel()[:3], content['pt2d'].astype(np.float64)
    if len(angles) != 3 or points.ndim != 2 or points.shape[0] != 2:
      raise ValueError(f'{mat}: Pose_Para has {len(angles)} angles and pt2d is {points.shape}; expected 3 and [2, N]')
    images.append(_cut(read_photo(str(folder / file)), points, mat))
    poses.append(np.degrees(angles)[[1, 0, 2]])  # The files have pitch first.
  if not images:
    raise ValueError(f'{folder} has no NAME.jpg with a NAME.mat beside it')
  return np.stack(images), np.array(poses, np.float32)


def _cut(image: np.ndarray, points: np.ndarray, path: Path) -> np.ndarray:
  """FSA-Net's crop of a picture by points [2, N]; those that cannot be seen are not positive and do not count."""
  seen = points > 0
  across, down = points[:, seen[1] if seen[0].sum() > seen[1].sum() else seen[0]]
  if not len(across):
    raise ValueError(f'{path}: no point of pt2d lies in the picture')
  low, high = np.trunc([across.min(), down.min()]), np.trunc([across.max(), down.max()])
  margin = _MARGIN * (high - low)
  left, top = np.maximum(np.trunc(low - margin), 0).astype(int)
  right, bottom = np.minimum(np.trunc(high + margin), [image.shape[1] - 1, image.shape[0] - 1]).astype(int)
  if right <= left or bottom <= top:
    raise ValueError(f'{path}: pt2d lies outside of the picture')
  part = Image.fromarray(image[top:bottom, left:right])
  return np.asarray(part.resize((SIZE, SIZE), Image.Resampling.BILINEAR))


def change(images: np.ndarray, poses: np.ndarray, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
  """Training pictures [N, 64, 64, 3] uint8 and angles [N, 3], shifted, mirrored and noisy; see the module's text."""
  shift = random.integers(0, 2 * _SHIFT + 1, [len(images), 2])
  mirrored = random.uniform(size=len(images)) < 0.5
  changed = np.empty_like(images)
  for number, (image, (y, x), flip) in enumerate(zip(images, shift, mirrored, strict=True)):
    part = np.pad(image, ((_SHIFT, _SHIFT), (_SHIFT, _SHIFT), (0, 0)))[y : y + SIZE, x : x + SIZE]
    noisy = part + _NOISE * random.standard_normal([SIZE, SIZE, 1])
    changed[number] = np.clip(np.rint(noisy), 0, 255)[:, :: -1 if flip else 1]
  return changed, np.where(mirrored[:, None], poses * np.float32([-1, 1, -1]), poses)
