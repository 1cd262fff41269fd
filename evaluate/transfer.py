"""Shows a photographed person with somebody's expressions.

    python -m evaluate.transfer --model=RUN --source=WHO.jpg --driver=EXPRESSION.jpg --output=OUT.png
    python -m evaluate.transfer --model=pretrained:gcgan --source=WHO.jpg --driver=MOTION.mp4 --output=OUT.mp4
    python -m evaluate.transfer --model=RUN --source=WHO.jpg --output=NEUTRAL.png
    python -m evaluate.transfer --model=RUN --driver=MOTION.mp4 --output=OUT.mp4

The driver is a picture, a folder of pictures (the output is a folder too, or a video of 25 frames a second) or a video.
Where the source is a folder, each person in it is shown so, in a folder.
Without a driver FaceCycle shows the person without expression and from the front. The face is shown anew in its
photograph, with the video's sound; each file says inside that a trained model made it. Face-off takes the driver alone:
its model knows the two people, and shows the one of the driver's pictures as the other.
"""

import collections
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from absl import flags
from PIL import Image

from evaluate import follow
from evaluate.export import open_model
from evaluate.faceoff_film import Translator
from evaluate.movers import MOVERS
from evaluate.progress import progress
from evaluate.provenance import save_image, save_video
from input_pipeline.landmarks import find_landmarks, smallest_face
from input_pipeline.photos import is_picture, read_photo
from input_pipeline.tracks import follow_face
from input_pipeline.video import frame_rate, has_sound, is_irregular, is_video, seconds, whole_frames
from models import commands

FLAGS = flags.FlagValues()
flags.DEFINE_string('model', None, 'A run (its --workdir), an exported model, or pretrained:NAME.',
                    flag_values=FLAGS, required=True)
flags.DEFINE_string(
  'source', '', 'Photograph of the person to show, or a folder of them, one picture a person; none for face-off, whose '
  'model knows whom it shows.',
  flag_values=FLAGS
)
flags.DEFINE_string(
  'driver', '', 'Whose expressions: a photograph, a folder of them, or a video; of FaceCycle also pose. Without one, '
  'FaceCycle shows the neutral, frontal face.', flag_values=FLAGS
)
flags.DEFINE_string('output', None, 'The picture, folder or .mp4 to write.', flag_values=FLAGS, required=True)
flags.DEFINE_enum(
  'landmark_transfer',
  'relative',
  ['relative', 'absolute'],
  "Of GC-GAN. relative: the driver's motion away from its neutral face, added to the source's own landmarks; absolute: "
  "the driver's landmarks as they are, which follows wide mouths fully and takes over the driver's proportions.",
  flag_values=FLAGS,
)
flags.DEFINE_enum(
  'direction', 'a2b', ['a2b', 'b2a'], 'Of face-off: the driver shows A, who becomes B; or the other way.',
  flag_values=FLAGS
)
flags.DEFINE_bool(
  'side_by_side', False, 'Of face-off: what the model saw and what it drew, not the whole picture with the new face.',
  flag_values=FLAGS
)
flags.DEFINE_bool(
  'report', False, "Measure a video that was made: does its mouth follow the driver's, does its skin flicker?",
  flag_values=FLAGS,
)

_FOLDER_FPS = 25.0
_VIDEO_SIZE = 1920  # pixels of a video's longer side
_PICTURES = ('.png', '.jpg', '.jpeg')
_SUFFIXES = {'nobody': '.png', 'picture': '.png', 'folder': '', 'video': '.mp4'}
_WANTED = {system: mover.wanted for system, mover in MOVERS.items()} | {'faceoff': Translator.wanted}


def transfer(
  model: str | Path,
  source: str | Path,
  driver: str | Path,
  output: str | Path,
  landmark_transfer: str = 'relative',
  direction: str = 'a2b',
  side_by_side: bool = False,
) -> int:
  """Writes the source with the driver's expressions.

  Args:
    model: a run, an exported model, or `pretrained:NAME`.
    source: a photograph, or a folder of them: each by itself; '' for face-off.
    driver: a photograph, a folder of photographs, or a video; '' for the neutral, frontal face by FaceCycle.
    output: a picture for a picture, a folder (or .mp4) for a folder, an .mp4 for a video; a folder of these for a
      folder of sources.
    landmark_transfer: `relative` or `absolute`, see the flag.
    direction: of face-off, see the flag.
    side_by_side: of face-off, see the flag.
  Returns:
    The number of pictures written.
  Raises:
    FileNotFoundError: if a file is missing.
    ValueError: if there is no face, the output's name does not fit the driver, or the model cannot do it.
  """
  people = Path(source).is_dir() if str(source) else False
  kind, driver, output = _check_names(driver, output, people), Path(driver), Path(output)
  if not str(source):
    return _translate(model, kind, driver, output, direction, side_by_side)
  if is_video(Path(source)):
    raise ValueError(f'--source={source} is a video: the person to show is a photograph, a frame of it for instance')
  # Before the model, which takes seconds.
  one = None if people else _find_person(Path(source), read_photo(str(source)), output)
  opened = open_model(model, _WANTED)
  if opened[0].system == 'faceoff':
    raise ValueError(f'--source={source}: --model={model} knows whom it shows: give --driver alone')
  if one:
    return _show(opened, Path(source), one, kind, driver, output, landmark_transfer)
  if output.resolve() == Path(source).resolve():
    raise ValueError(f'--output={output} is the folder of --source: choose another one, pictures would be replaced')
  files = _pictures(Path(source), '--source')
  names, count = _names(files), 0
  for file, picture in _readable(files):
    try:
      shown = output / f'{names[file]}{_SUFFIXES[kind]}'
      count += _show(opened, file, _find_person(file, picture, shown), kind, driver, shown, landmark_transfer)
    except _NoFaceError as error:
      print(f'skipped: {error}')
  if not count:
    raise ValueError(f'--source={source}: no face was found in any of its {len(files)} pictures')
  return count


class _NoFaceError(ValueError):
  """The source shows nobody."""


def _find_person(source: Path, picture: np.ndarray, output: Path) -> tuple[np.ndarray, np.ndarray]:
  """A photograph, made smaller for a film, and its landmarks."""
  if output.suffix.lower() == '.mp4':
    picture = _fit_video(picture, source)
  points = find_landmarks(picture)
  if points is None:
    raise _NoFaceError(f'--source={source}: {_no_face(picture)}')
  return picture, points


def _show(
  opened: Any, source: Path, person: tuple[np.ndarray, np.ndarray], kind: str, driver: Path, output: Path,
  landmark_transfer: str
) -> int:
  """As `transfer`, of one photograph."""
  config, version, functions = opened
  mover = MOVERS[config.system](*person, config, functions, landmark_transfer)
  if mover.enlargement > 1.05:
    print(f'--source={source}: its face is small: the model sees it enlarged {mover.enlargement:.1f} times; a larger '
          'one shows more detail')
  if kind == 'nobody':
    save_image(output, mover.neutral(), config.system, version)
    return 1
  if kind == 'picture':
    shown = read_photo(str(driver))
    found = find_landmarks(shown)
    if found is None:
      raise ValueError(f'--driver={driver}: {_no_face(shown)}')
    save_image(output, mover.still(shown, found), config.system, version)
    return 1
  if kind == 'folder' and not output.suffix:
    return _show_folder(mover, driver, output, (config.system, version))
  fps, expected = _rate(driver, kind)
  shown = 'they get the expression between those of their neighbours'
  found = _find_faces(driver, _frames(driver, kind), expected, shown)
  # Read again, since all frames would fill the memory; what is wrong with them was said.
  made = mover.film(lambda: _frames(driver, kind, _silent), found, fps)
  return _write_film(made, len(found), driver, kind, fps, output, (config.system, version))


def _translate(
  model: str | Path, kind: str, driver: Path, output: Path, direction: str, side_by_side: bool
) -> int:
  """As `transfer`, by a model of face-off."""
  config, version, functions = open_model(model, _WANTED)
  if config.system != 'faceoff':
    raise ValueError(f'--source is missing: a model of {config.system} shows the person of a photograph')
  if kind == 'nobody':
    raise ValueError('--driver is missing: the picture, folder or video that face-off translates')
  mover, credit = Translator(config, functions, direction, side_by_side), (config.system, version)
  if kind == 'picture':
    save_image(output, mover.still(*_with_face(driver, read_photo(str(driver)), mover)), *credit)
    return 1
  if kind == 'folder' and not output.suffix:
    return _show_folder(mover, driver, output, credit)
  fps, expected = _rate(driver, kind)
  shown = 'the other person is drawn where the face lies in their neighbours'
  points = _find_faces(driver, _frames(driver, kind), expected, shown) if mover.needs_faces else None
  made = mover.film(lambda: _frames(driver, kind, print if points is None else _silent), points, fps)
  return _write_film(made, expected if points is None else len(points), driver, kind, fps, output, credit)


def _no_face(picture: np.ndarray) -> str:
  return f'no face was found; a frontal, well lit face of at least {smallest_face(picture)} pixels is needed'


def _rate(driver: Path, kind: str) -> tuple[float, int]:
  """Frames a second of a film, and how many there should be."""
  if kind != 'video':
    return _FOLDER_FPS, len(_pictures(driver))
  fps = frame_rate(driver)
  if is_irregular(driver):
    print(f'--driver={driver}: its frames come irregularly; the film has {fps:g} a second, evenly spaced')
  return fps, round(fps * seconds(driver))


def _with_face(file: Path, picture: np.ndarray, mover: Any) -> tuple[np.ndarray, np.ndarray | None]:
  """A picture with its landmarks, where the mover needs them."""
  points = find_landmarks(picture) if mover.needs_faces else None
  if points is None and mover.needs_faces:
    raise ValueError(f'--driver={file}: {_no_face(picture)}')
  return picture, points


def _write_film(
  made: Iterator[np.ndarray], count: int, driver: Path, kind: str, fps: float, output: Path, credit: tuple[str, str]
) -> int:
  """Writes frames with the driver's sound, if it has one."""
  sound = driver if kind == 'video' and has_sound(driver) else None
  if kind == 'video' and sound is None:
    print(f'--driver={driver}: it has no sound track: the film is silent')
  return save_video(output, progress('made', made, count), fps, *credit, sound)


def _check_names(driver: str | Path, output: str | Path, people: bool) -> str:
  """`picture`, `folder` or `video`, what the driver is, or `nobody`; `people`: whether the sources are several."""
  path, output = Path(driver), Path(output)
  if not str(driver):
    kind = 'nobody'
  elif not path.exists():
    raise FileNotFoundError(f'--driver={driver}: there is no such file or folder')
  else:
    kind = 'folder' if path.is_dir() else 'video' if is_video(path) else 'picture'
  allowed = {'nobody': _PICTURES, 'picture': _PICTURES, 'folder': ('', '.mp4'), 'video': ('.mp4',)}[kind]
  if people and output.suffix:
    raise ValueError(f'--output={output} does not fit a source that is a folder: a folder is needed')
  if not people and output.suffix.lower() not in allowed:
    names = ' or '.join(name or 'a folder' for name in allowed)
    what = 'one picture without a driver' if kind == 'nobody' else f'a driver that is a {kind}'
    raise ValueError(f'--output={output} does not fit {what}: {names} is needed')
  return kind


def _fit_video(picture: np.ndarray, source: str | Path) -> np.ndarray:
  height, width = picture.shape[:2]
  factor = _VIDEO_SIZE / max(height, width)
  if factor >= 1:
    return picture
  size = (round(width * factor), round(height * factor))
  print(f'--source={source}: {width} x {height} pixels are too many for a video: {size[0]} x {size[1]} are made')
  return np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.LANCZOS))


def _silent(line: str) -> None:
  """Once is enough."""


def _frames(driver: Path, kind: str, say: Callable[[str], None] = print) -> Iterator[np.ndarray]:
  """The frames of a film that a video or a folder is."""
  if kind == 'video':
    return whole_frames(driver, say)
  return (picture for _, picture in _readable(_pictures(driver), say))


def _pictures(folder: Path, flag: str = '--driver') -> list[Path]:
  files = sorted(p for p in folder.iterdir() if is_picture(str(p)))
  if not files:
    raise ValueError(f'{flag}={folder}: the folder holds no pictures')
  return files


def _names(files: list[Path]) -> dict[Path, str]:
  """What their outputs are called: a.jpg and a.png are two pictures."""
  stems = collections.Counter(file.stem for file in files)
  return {file: file.stem if stems[file.stem] == 1 else file.name for file in files}


def _readable(files: Iterable[Path], say: Callable[[str], None] = print) -> Iterator[tuple[Path, np.ndarray]]:
  """The pictures; one line about each that cannot be read."""
  for file in files:
    try:
      yield file, read_photo(str(file))
    except (ValueError, OSError) as error:
      say(f'skipped: {error}')


def _find_faces(driver: Path, frames: Iterator[np.ndarray], expected: int, shown: str) -> np.ndarray:
  """Landmarks [F, 68, 2] of all frames, NaN where no face was found; `shown` says what such frames become."""
  nothing = np.full([68, 2], np.nan)
  points = progress('read', (nothing if p is None else p for p in follow_face(frames)), expected)
  points = np.array(list(points)).reshape(-1, 68, 2)
  blind = int(np.isnan(points).any(axis=(1, 2)).sum())
  if blind == len(points):
    raise ValueError(f'--driver={driver}: no face was found in any of its {blind} frames')
  if blind:
    print(f'{blind} of {len(points)} frames show no face: {shown}')
  return points


def _show_folder(mover: Any, driver: Path, output: Path, credit: tuple[str, str]) -> int:
  """One picture for each of the folder's; they need not show the same person."""
  files = _pictures(driver)
  if output.resolve() == driver.resolve():
    raise ValueError(f'--output={output} is the folder of --driver: choose another one, pictures would be replaced')
  names, count = _names(files), 0
  for file, picture in progress('made', _readable(files), len(files)):
    needed = getattr(mover, 'needs_faces', True)
    points = find_landmarks(picture) if needed else None
    if points is None and needed:
      print(f'skipped: {file}: {_no_face(picture)}')
      continue
    save_image(output / f'{names[file]}.png', mover.still(picture, points), *credit)
    count += 1
  if not count:
    raise ValueError(f'--driver={driver}: no face was found in any of its {len(files)} pictures')
  return count


def main(argv: list[str]) -> None:
  commands.parse(FLAGS, argv, __doc__)
  if FLAGS.report and not (FLAGS.driver and FLAGS.output.lower().endswith('.mp4')):
    raise ValueError(f'--report measures videos, and --output={FLAGS.output} is none')
  if FLAGS.report and Path(FLAGS.driver).is_dir():
    raise ValueError(f'--report compares two videos, and --driver={FLAGS.driver} is a folder')
  if FLAGS.report and FLAGS.side_by_side:
    raise ValueError('--report measures one face, and --side_by_side shows input and output in one film: leave one out')
  count = transfer(
    *(FLAGS.model, FLAGS.source, FLAGS.driver, FLAGS.output, FLAGS.landmark_transfer), FLAGS.direction,
    FLAGS.side_by_side
  )
  print(f'{FLAGS.output}: {count} picture{"s" * (count != 1)}')
  if FLAGS.report:
    print(follow.report(FLAGS.driver, FLAGS.output))


if __name__ == '__main__':
  sys.exit(commands.run(main))
