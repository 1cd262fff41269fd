"""Fits a face model to photographs: `python -m input_pipeline.fit --input=PHOTOS --output=FITS`.

PHOTOS is any folder of pictures (a first folder in it counts as the person's name), or with --dataset a prepared data
set. The largest face of each picture is found, and shape, expression, skin colour, pose and light of the face model are
fitted to its 68 landmarks and then to its colours. FITS holds parameters.npz, index.csv, the pairs of photograph and
render that GANFaces trains on (`--pairs=FITS`), skipped.csv and contact_sheet.png. A picture without a face, or one
that cannot be read, is listed in skipped.csv and stops nothing.

--learn_albedo=FILE learns skin colour from the fitted photographs and writes a face model with it. With --layout the
parameters come from the .mat files of 300W-3D or AFLW2000-3D instead of a fit; that needs the Basel model.
"""

import concurrent.futures
import itertools
import os
import sys
from collections.abc import Iterator, Sequence

import numpy as np
from absl import flags
from PIL import Image

from input_pipeline import alignment, dataset, fits, landmarks, pair_layouts, parameter_files, photos, workers
from input_pipeline.fits import Found, Writer, cut
from input_pipeline.listing import Skipped
from models import commands
from models.face3d.albedo import learn_albedo
from models.face3d.fitting import Fitter
from models.face3d.morphable import load_face_model


def look(folder: str, file: str, size: int, landmark_model: str = '') -> Found:
  """Finds the largest face of a photograph and cuts it out. Pure; never raises for what is in the file."""
  person = file.split(os.sep)[0] if os.sep in file else ''
  path = os.path.join(folder, file)
  try:
    image = photos.read_photo(path)
    points = landmarks.find_landmarks(image, landmark_model)
    if points is None:
      return Found(file, person, 'no face found')
    return cut(file, person, image, points, size)
  except (ValueError, OSError) as error:
    return Found(file, person, str(error).removeprefix(f'{path}: '))


def list_pictures(folder: str) -> list[str]:
  """All pictures below a folder, sorted.

  Raises:
    FileNotFoundError: if there is no folder, or no picture in it.
  """
  if not os.path.isdir(folder):
    raise FileNotFoundError(f'--input={folder}: there is no such folder')
  found = []
  for root, _, files in os.walk(folder):
    found += [os.path.relpath(os.path.join(root, name), folder) for name in files if photos.is_picture(name)]
  if not found:
    raise FileNotFoundError(f'--input={folder}: there is no picture in it')
  return sorted(found)


def find_faces(folder: str, files: Sequence[str], size: int, landmark_model: str = '') -> Iterator[Found]:
  """Looks at photographs in the background, a few ahead of whoever takes them."""
  with concurrent.futures.ThreadPoolExecutor(2) as pool:
    waiting: list[concurrent.futures.Future[Found]] = []
    for file in itertools.chain(files, [None] * 32):
      if file is not None:
        waiting.append(pool.submit(look, folder, file, size, landmark_model))
      if waiting and (len(waiting) > 32 or file is None):
        yield waiting.pop(0).result()


def faces_of_dataset(path: str, size: int) -> tuple[int, Iterator[Found]]:
  """How many faces a prepared data set has, and these: the box is the whole stored crop."""
  data = dataset.open_dataset(path)

  def read() -> Iterator[Found]:
    for split in data.splits:
      index = data.index(split)
      for start in range(0, data.count(split), 16):
        rows = range(start, min(start + 16, data.count(split)))
        for row, image in zip(rows, data.pictures(split, rows, data.crop_size).numpy(), strict=True):
          marks = np.asarray(index['landmarks'][row], np.float64)
          crop = np.asarray(Image.fromarray(image).resize((size, size), Image.Resampling.LANCZOS))
          points = alignment.denormalize(marks, data.crop_size)
          box = np.array([-0.5, -0.5, data.crop_size])
          person = data.identities[index['identity'][row]]  # By name, so that a run knows whom it holds out.
          yield Found(str(index['file'][row]), person, '', crop, marks, points, box)

  return sum(data.count(split) for split in data.splits), read()


def fit_faces(
  found: Iterator[Found], total: int, output: str, face_model: str, batch_size: int, most_error: float
) -> tuple[dict[str, np.ndarray], Skipped]:
  """Fits faces and writes the folder of fits; see `fits`.

  Args:
    found: the faces.
    total: how many there are.
    output: the folder.
    face_model: path of the model; '' for the default one.
    batch_size: how many are fitted at a time.
    most_error: a fit whose landmarks are further off, as a share of the inter-ocular distance, is left out.

  Returns:
    the rows that were written, and what was left out with the reasons.

  Raises:
    ValueError: if no photograph could be fitted.
  """
  model = load_face_model(face_model)
  fitter = Fitter(model, min(batch_size, max(total, 1)))
  progress = workers.Progress('fitting faces', total)
  writer = Writer(output, model)
  skipped: Skipped = {}
  waiting: list[Found] = []

  def flush() -> None:
    parameters = fitter(np.stack([f.crop for f in waiting]) / 127.5 - 1.0, np.stack([f.marks for f in waiting]))
    good = []
    for i, face in enumerate(waiting):
      error = float(parameters['landmarks_error'][i])
      if not all(np.isfinite(value[i]).all() for value in parameters.values()) or error > most_error:
        skipped[face.file] = f'the fit is off: {100 * error:.0f} % of the inter-ocular distance'
      else:
        good.append(i)
    writer.add([waiting[i] for i in good], {name: value[good] for name, value in parameters.items()}, fitter.batch)
    progress.add(len(waiting))
    waiting.clear()

  for face in found:
    if face.reason:
      skipped[face.file] = face.reason
      progress.add(1)
      continue
    waiting.append(face)
    if len(waiting) == fitter.batch:
      flush()
  if waiting:
    flush()
  progress.close()
  return writer.finish(face_model, skipped), skipped


FLAGS = flags.FlagValues()
flags.DEFINE_string('input', '', 'Folder of photographs; a first folder in it is the person.', flag_values=FLAGS)
flags.DEFINE_string('dataset', '', 'A prepared data set instead of --input.', flag_values=FLAGS)
flags.DEFINE_string('output', '', 'Folder of the fits to make.', flag_values=FLAGS)
flags.DEFINE_string(
  'face_model',
  '',
  'Face model: .npz, a Basel or LSFM file, or a folder of ICT-FaceKit; empty: ours.',
  flag_values=FLAGS,
)
flags.DEFINE_enum(
  'layout',
  '',
  ['', *pair_layouts.FOLDERS],
  'Take the parameters from the .mat files beside the photographs; needs --face_model=01_MorphableModel.mat.',
  flag_values=FLAGS,
)
flags.DEFINE_integer('crop_size', 108, 'Width and height of the pictures of the pairs.', 32, 512, flag_values=FLAGS)
flags.DEFINE_integer('batch_size', 16, 'Photographs fitted at a time.', 1, 256, flag_values=FLAGS)
flags.DEFINE_integer('limit', 0, 'Use this many, drawn by a fixed seed; 0 means all.', 0, flag_values=FLAGS)
flags.DEFINE_float(
  'max_error', 0.12, 'Leave fits out that are further off: share of the inter-ocular distance.', 0.0, flag_values=FLAGS
)
flags.DEFINE_string('landmark_model', '', "dlib's file of 68 points; empty means the installed one.", flag_values=FLAGS)
flags.DEFINE_string(
  'learn_albedo', '', 'Write a face model (.npz) with colours learnt from the fits.', flag_values=FLAGS
)
flags.DEFINE_integer('albedo_modes', 50, 'Modes of the learnt colours at most.', 1, 500, flag_values=FLAGS)
flags.DEFINE_bool('overwrite', False, 'Replace fits that are there.', flag_values=FLAGS)


def main(argv: Sequence[str]) -> None:
  """The command."""
  values = FLAGS
  commands.parse(values, argv, __doc__ or '')
  if not values.output:
    raise ValueError('--output is missing')
  if bool(values.input) == bool(values.dataset):
    raise ValueError('give one of --input and --dataset')
  if values.layout and not values.input:
    raise ValueError(f'--layout={values.layout} reads files beside photographs: give --input, not --dataset')
  if values.learn_albedo and not values.learn_albedo.endswith('.npz'):
    raise ValueError(f'--learn_albedo={values.learn_albedo}: the name of a face model ends in .npz')
  if os.path.exists(os.path.join(values.output, fits.PARAMETERS)) and not values.overwrite:
    raise FileExistsError(f'--output={values.output} has fits already: --overwrite replaces them')
  size = values.crop_size
  if values.layout:
    rows, skipped = parameter_files.render_pairs(
      values.layout, values.input, values.output, values.face_model, size, values.batch_size
    )
  elif values.dataset:
    total, faces = faces_of_dataset(values.dataset, size)
    if 0 < values.limit < total:
      total, faces = values.limit, itertools.islice(faces, values.limit)
    rows, skipped = fit_faces(faces, total, values.output, values.face_model, values.batch_size, values.max_error)
  else:
    landmarks.check_model(values.landmark_model)
    files = list_pictures(values.input)
    if 0 < values.limit < len(files):
      files = [files[i] for i in sorted(np.random.default_rng(0).choice(len(files), values.limit, replace=False))]
    faces = find_faces(values.input, files, size, values.landmark_model)
    rows, skipped = fit_faces(faces, len(files), values.output, values.face_model, values.batch_size, values.max_error)
  error = rows['landmarks_error']
  print(
    f'{values.output}: {len(error):,} fitted, {len(skipped):,} skipped; landmarks off by {100 * np.median(error):.2f} '
    f'% of the inter-ocular distance (median), colours by {255 * np.median(rows["photometric_error"]):.1f} of 255'
  )
  print(f'look at {os.path.join(values.output, "contact_sheet.png")}')
  if values.learn_albedo:
    pictures = [Image.open(os.path.join(values.output, 'photos', fits.photo_name(i))) for i in range(len(error))]
    modes = learn_albedo(
      load_face_model(values.face_model),
      rows,
      np.stack([np.asarray(p) for p in pictures]),
      values.learn_albedo,
      values.albedo_modes,
    )
    print(f'{values.learn_albedo}: a face model with {modes} modes of colour learnt from {len(error):,} photographs')


if __name__ == '__main__':
  sys.exit(commands.run(main))
