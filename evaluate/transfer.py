"""Shows a photographed person with somebody's expressions.

    python -m evaluate.transfer --model=RUN --source=WHO.jpg --driver=EXPRESSION.jpg --output=OUT.png
    python -m evaluate.transfer --model=pretrained:gcgan --source=WHO.jpg --driver=MOTION.mp4 --output=OUT.mp4

The driver is a picture, a folder of pictures (the output is a folder too, or a video of 25 frames a second) or a video.
The face is shown anew in its photograph, with the video's sound; each file says inside that a trained model made it.
"""

import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from absl import flags
from PIL import Image

from evaluate import export, follow, motion
from evaluate.paste import Face, Show
from evaluate.provenance import model_version, save_image, save_video
from input_pipeline.landmarks import find_landmarks
from input_pipeline.photos import is_picture, read_photo
from input_pipeline.video import frame_rate, has_sound, is_video, seconds, whole_frames
from models import commands, runs

FLAGS = flags.FlagValues()
flags.DEFINE_string('model', None, 'A run (its --workdir), an exported model, or pretrained:NAME.',
                    flag_values=FLAGS, required=True)
flags.DEFINE_string('source', None, 'Photograph of the person to show.', flag_values=FLAGS, required=True)
flags.DEFINE_string(
  'driver', None, 'Whose expressions: a photograph, a folder of them, or a video.', flag_values=FLAGS, required=True
)
flags.DEFINE_string('output', None, 'The picture, folder or .mp4 to write.', flag_values=FLAGS, required=True)
flags.DEFINE_enum(
  'landmark_transfer',
  'relative',
  ['relative', 'absolute'],
  "relative: the driver's motion away from its neutral face, added to the source's own landmarks; absolute: the "
  "driver's landmarks as they are, which follows wide mouths fully and takes over the driver's proportions.",
  flag_values=FLAGS,
)
flags.DEFINE_bool(
  'report', False, "Measure a video that was made: does its mouth follow the driver's, does its skin flicker?",
  flag_values=FLAGS,
)

_FOLDER_FPS = 25.0
_BATCH = 16  # frames that the model shows at once
_VIDEO_SIZE = 1920  # pixels of a video's longer side
_NO_FACE = 'no face was found; a frontal, well lit face of at least 80 pixels is needed'


def open_model(path: str | Path) -> tuple[Any, str, Show]:
  """Opens a run, an exported model, or a pretrained one by its name.

  Returns:
    its config; its version; a function (crops [N, S, S, 3] uint8, driver landmarks [N, 68, 2] in [-1, 1]) -> crops
    uint8.
  Raises:
    FileNotFoundError: if there is neither.
    ValueError: if the model is not driven by landmarks, or its export lacks a signature.
  """
  path = runs.locate(path)
  if (path / 'flags.cfg').is_file():
    model = runs.restore(path)
    config, version, show = model.config, model_version(int(model.step)), model.signatures()['serving_default']
  elif (path / 'saved_model.pb').is_file() or export.versions(path):
    if not (path / 'saved_model.pb').is_file():
      path = path / str(export.versions(path)[-1])
    config, version = runs.load_config(path / 'assets.extra'), f'{model_version()} export {path.name}'
    show = export.load(path)['serving_default']
  else:
    raise FileNotFoundError(
      f'--model={path} is neither a run (flags.cfg) nor an exported model (saved_model.pb); pretrained:gcgan comes '
      'with the project'
    )
  if getattr(config, 'condition', '') == 'onehot':
    raise ValueError(f'--model={path} was trained with condition=onehot: it is driven by labels, not by a face')
  return (
    config,
    version,
    lambda images, landmarks: show(images=tf.constant(images), landmarks=tf.constant(landmarks, tf.float32))[
      'images'
    ].numpy(),
  )


def transfer(
  model: str | Path,
  source: str | Path,
  driver: str | Path,
  output: str | Path,
  landmark_transfer: str = 'relative',
) -> int:
  """Writes the source with the driver's expressions.

  Args:
    model: a run, an exported model, or `pretrained:NAME`.
    source: a photograph.
    driver: a photograph, a folder of photographs, or a video.
    output: a picture for a picture, a folder (or .mp4) for a folder, an .mp4 for a video.
    landmark_transfer: `relative` or `absolute`, see the flag.
  Returns:
    The number of pictures written.
  Raises:
    FileNotFoundError: if a file is missing.
    ValueError: if there is no face, or the output's name does not fit the driver.
  """
  driver, output = Path(driver), Path(output)
  kind = _check_names(driver, output)
  picture = read_photo(str(source))
  if output.suffix.lower() == '.mp4':
    picture = _fit_video(picture, source)
  points = find_landmarks(picture)
  if points is None:
    raise ValueError(f'--source={source}: {_NO_FACE}')
  config, version, show = open_model(model)
  face = Face(picture, points, config, show)
  if kind == 'picture':
    found = find_landmarks(read_photo(str(driver)))
    if found is None:
      raise ValueError(f'--driver={driver}: {_NO_FACE}')
    made = next(_show_all(face, motion.shape(found)[None], landmark_transfer))
    save_image(output, made, config.system, version)
    return 1
  if kind == 'folder' and not output.suffix:
    return _show_folder(face, driver, output, landmark_transfer, (config.system, version))
  if kind == 'video':
    fps = frame_rate(driver)
    expected, frames = round(fps * seconds(driver)), whole_frames(driver)
  else:
    fps, files = _FOLDER_FPS, _pictures(driver)
    expected, frames = len(files), (picture for _, picture in _readable(files))
  shapes = _find_shapes(driver, frames, expected)
  made = _show_all(face, motion.smooth(shapes, fps), landmark_transfer, video=True)
  sound = driver if kind == 'video' and has_sound(driver) else None
  return save_video(output, _progress('made', made, len(shapes)), fps, config.system, version, sound)


def _check_names(driver: Path, output: Path) -> str:
  """`picture`, `folder` or `video`, what the driver is."""
  if not driver.exists():
    raise FileNotFoundError(f'--driver={driver}: there is no such file or folder')
  kind = 'folder' if driver.is_dir() else 'video' if is_video(driver) else 'picture'
  allowed = {'picture': ('.png', '.jpg', '.jpeg'), 'folder': ('', '.mp4'), 'video': ('.mp4',)}[kind]
  if output.suffix.lower() not in allowed:
    names = ' or '.join(name or 'a folder' for name in allowed)
    raise ValueError(f'--output={output} does not fit a driver that is a {kind}: {names} is needed')
  return kind


def _fit_video(picture: np.ndarray, source: str | Path) -> np.ndarray:
  height, width = picture.shape[:2]
  factor = _VIDEO_SIZE / max(height, width)
  if factor >= 1:
    return picture
  size = (round(width * factor), round(height * factor))
  print(f'--source={source}: {width} x {height} pixels are too many for a video: {size[0]} x {size[1]} are made')
  return np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.LANCZOS))


def _pictures(folder: Path) -> list[Path]:
  files = sorted(p for p in folder.iterdir() if is_picture(str(p)))
  if not files:
    raise ValueError(f'--driver={folder}: the folder holds no pictures')
  return files


def _readable(files: Iterable[Path]) -> Iterator[tuple[Path, np.ndarray]]:
  """The pictures; one line about each that cannot be read."""
  for file in files:
    try:
      yield file, read_photo(str(file))
    except (ValueError, OSError) as error:
      print(f'skipped: {error}')


def _find_shapes(driver: Path, frames: Iterator[np.ndarray], expected: int) -> np.ndarray:
  """Shapes [F, 68, 2] of all frames, NaN where no face was found."""
  nothing = np.full([68, 2], np.nan)
  found = (find_landmarks(frame) for frame in frames)
  points = _progress('read', (nothing if p is None else motion.shape(p) for p in found), expected)
  shapes = np.array(list(points)).reshape(-1, 68, 2)
  blind = int(np.isnan(shapes).any(axis=(1, 2)).sum())
  if blind == len(shapes):
    raise ValueError(f'--driver={driver}: no face was found in any of its {blind} frames')
  if blind:
    print(f'{blind} of {len(shapes)} frames show no face: they get the expression between those of their neighbours')
  return shapes


def _show_folder(face: Face, driver: Path, output: Path, landmark_transfer: str, credit: tuple[str, str]) -> int:
  """One picture for each of the folder's; they need not show the same person."""
  files = _pictures(driver)
  count = 0
  for file, picture in _progress('made', _readable(files), len(files)):
    points = find_landmarks(picture)
    if points is None:
      print(f'skipped: {file}: {_NO_FACE}')
      continue
    made = next(_show_all(face, motion.shape(points)[None], landmark_transfer))
    save_image(output / f'{file.stem}.png', made, *credit)
    count += 1
  if not count:
    raise ValueError(f'--driver={driver}: no face was found in any of its {len(files)} pictures')
  return count


def _show_all(face: Face, shapes: np.ndarray, landmark_transfer: str, video: bool = False) -> Iterator[np.ndarray]:
  """The source's photograph with each of the driver's shapes [F, 68, 2]; those of a video are of one person."""
  own = motion.neutral(shapes)
  if video:
    own = np.median(own, axis=0)
  points = motion.follow(face.points, shapes, own)
  if landmark_transfer == 'relative':
    matrices = np.stack([face.align(p) for p in points])
    landmarks = face.landmarks(points, matrices)
  else:
    landmarks = face.landmarks(shapes, np.stack([face.align(s) for s in shapes]))
    matrices = np.stack([face.align(p) for p in motion.move_lip(face.points, shapes)])
  for start in range(0, len(shapes), _BATCH):
    part = slice(start, start + _BATCH)
    for crop, p, matrix in zip(face.show(landmarks[part]), points[part], matrices[part], strict=True):
      yield face.paste(crop, p, matrix)


def _progress(verb: str, items: Iterable[Any], expected: int) -> Iterator[Any]:
  """Passes items on; every five seconds a line with speed and time left."""
  start = shown = time.monotonic()
  for count, item in enumerate(items, 1):
    yield item
    now = time.monotonic()
    if now - shown >= 5:
      shown, speed = now, count / (now - start)
      left = max(expected - count, 0) / speed
      print(f'{verb} {count} of {max(expected, count)} frames, {speed:.1f} a second, {left:.0f} s left', flush=True)


def main(argv: list[str]) -> None:
  commands.parse(FLAGS, argv, __doc__)
  if FLAGS.report and not FLAGS.output.lower().endswith('.mp4'):
    raise ValueError(f'--report measures videos, and --output={FLAGS.output} is none')
  count = transfer(FLAGS.model, FLAGS.source, FLAGS.driver, FLAGS.output, FLAGS.landmark_transfer)
  print(f'{FLAGS.output}: {count} picture{"s" * (count != 1)}')
  if FLAGS.report:
    print(follow.report(FLAGS.driver, FLAGS.output))


if __name__ == '__main__':
  sys.exit(commands.run(main))
