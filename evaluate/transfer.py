"""Shows a photographed person with somebody's expressions.

    python -m evaluate.transfer --model=RUN --source=WHO.jpg --driver=EXPRESSION.jpg --output=OUT.png
    python -m evaluate.transfer --model=EXPORT --source=WHO.jpg --driver=MOTION.mp4 --output=OUT.mp4

The driver is a picture, a folder of pictures (the output is a folder too, or a video of 25 frames a second) or a video.
The face is cut out, shown anew and pasted back; each file says inside that a trained model made it.
"""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from absl import flags
from PIL import Image

from evaluate import export
from evaluate.provenance import model_version, save_image, save_video
from evaluate.video import frame_rate, read_video
from input_pipeline import alignment
from input_pipeline.landmarks import find_landmarks
from input_pipeline.photos import is_picture, read_photo
from models import commands, runs

FLAGS = flags.FlagValues()
flags.DEFINE_string('model', None, 'A run (its --workdir) or an exported model.', flag_values=FLAGS, required=True)
flags.DEFINE_string('source', None, 'Photograph of the person to show.', flag_values=FLAGS, required=True)
flags.DEFINE_string(
  'driver', None, 'Whose expressions: a photograph, a folder of them, or a video.', flag_values=FLAGS, required=True
)
flags.DEFINE_string('output', None, 'The picture, folder or .mp4 to write.', flag_values=FLAGS, required=True)

_VIDEOS = ('.mp4', '.mov', '.avi', '.mkv', '.webm', '.m4v', '.mpg', '.mpeg')
_FOLDER_FPS = 25.0


def open_model(path: str | Path) -> tuple[Any, str, Callable[[np.ndarray, np.ndarray], np.ndarray]]:
  """Opens a run or an exported model.

  Returns:
    its config; its version; a function (crops [N, S, S, 3] uint8, driver landmarks [N, 68, 2] in [-1, 1]) -> crops
    uint8.
  Raises:
    FileNotFoundError: if there is neither.
    ValueError: if the model is not driven by landmarks, or its export lacks a signature.
  """
  path = Path(path).expanduser()
  if (path / 'flags.cfg').is_file():
    model = runs.restore(path)
    config, version, show = model.config, model_version(int(model.step)), model.signatures()['serving_default']
  elif (path / 'saved_model.pb').is_file() or export.versions(path):
    if not (path / 'saved_model.pb').is_file():
      path = path / str(export.versions(path)[-1])
    config, version = runs.load_config(path / 'assets.extra'), f'{model_version()} export {path.name}'
    show = export.load(path)['serving_default']
  else:
    raise FileNotFoundError(f'--model={path} is neither a run (flags.cfg) nor an exported model (saved_model.pb)')
  if getattr(config, 'condition', '') == 'onehot':
    raise ValueError(f'--model={path} was trained with condition=onehot: it is driven by labels, not by a face')
  return (
    config,
    version,
    lambda images, landmarks: show(images=tf.constant(images), landmarks=tf.constant(landmarks, tf.float32))[
      'images'
    ].numpy(),
  )


def transfer(model: str | Path, source: str | Path, driver: str | Path, output: str | Path) -> int:
  """Writes the source with the driver's expressions.

  Args:
    model: a run or an exported model.
    source: a photograph.
    driver: a photograph, a folder of photographs, or a video.
    output: a picture for a picture, a folder (or .mp4) for a folder, an .mp4 for a video.
  Returns:
    The number of pictures written.
  Raises:
    FileNotFoundError: if a file is missing.
    ValueError: if there is no face, or the output's name does not fit the driver.
  """
  driver, output = Path(driver), Path(output)
  kind = _check_names(driver, output)
  picture = read_photo(str(source))
  points = find_landmarks(picture)
  if points is None:
    raise ValueError(f'--source={source}: no face was found; a frontal, well lit face of at least 80 pixels is needed')
  config, version, show = open_model(model)
  face = Face(picture, points, config)
  if kind == 'picture':
    made = face.show(_driver_points(driver), show)
    save_image(output, made, config.system, version)
    return 1
  if kind == 'video':
    fps = frame_rate(driver)
    frames = ((str(i), frame) for i, frame in enumerate(read_video(driver)))
  else:
    fps, frames = _FOLDER_FPS, _open_folder(driver)
  shown = _show_all(face, frames, show)
  if output.suffix:
    return save_video(output, (made for _, made in shown), fps, config.system, version)
  count = 0
  for name, made in shown:
    save_image(output / f'{Path(name).stem}.png', made, config.system, version)
    count += 1
  return count


def _check_names(driver: Path, output: Path) -> str:
  """`picture`, `folder` or `video`, what the driver is."""
  if not driver.exists():
    raise FileNotFoundError(f'--driver={driver}: there is no such file or folder')
  kind = 'folder' if driver.is_dir() else 'video' if driver.suffix.lower() in _VIDEOS else 'picture'
  allowed = {'picture': ('.png', '.jpg', '.jpeg'), 'folder': ('', '.mp4'), 'video': ('.mp4',)}[kind]
  if output.suffix.lower() not in allowed:
    names = ' or '.join(name or 'a folder' for name in allowed)
    raise ValueError(f'--output={output} does not fit a driver that is a {kind}: {names} is needed')
  return kind


def _driver_points(path: Path) -> np.ndarray:
  points = find_landmarks(read_photo(str(path)))
  if points is None:
    raise ValueError(f'--driver={path}: no face was found; a frontal, well lit face of at least 80 pixels is needed')
  return points


def _open_folder(path: Path) -> Iterator[tuple[str, np.ndarray]]:
  files = sorted(p for p in path.iterdir() if is_picture(str(p)))
  if not files:
    raise ValueError(f'--driver={path}: the folder holds no pictures')
  return ((p.name, read_photo(str(p))) for p in files)


def _show_all(
  face: 'Face', frames: Iterator[tuple[str, np.ndarray]], show: Callable[..., np.ndarray]
) -> Iterator[tuple[str, np.ndarray]]:
  """Frames without a face repeat the expression before them; the source stands still until there is one."""
  points, count, blind = None, 0, 0
  for name, frame in frames:
    found = find_landmarks(frame)
    points = points if found is None else found
    count, blind = count + 1, blind + (found is None)
    yield name, face.picture if points is None else face.show(points, show)
    if count % 25 == 0:
      print(f'{count} frames', flush=True)
  if blind == count:
    raise ValueError(f'--driver: no face was found in any of the {count} frames')
  if blind:
    print(f'{blind} of {count} frames show no face: they repeat the expression before them')


class Face:
  """A photograph whose face is shown anew.

  Attributes:
    picture: [H, W, 3] uint8.
    points: [68, 2] its landmarks in pixels.
  """

  def __init__(self, picture: np.ndarray, points: np.ndarray, config: Any):
    """Cuts the face out as the config says (`alignment`, `template_scale`, `image_size`)."""
    self.picture, self.points, self._config = picture, points, config
    self._crop = alignment.warp(picture, self._align(points), config.image_size)

  def _align(self, points: np.ndarray) -> np.ndarray:
    return alignment.align(points, self._config.alignment, self._config.template_scale, self._config.image_size)

  def show(self, driver: np.ndarray, show: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> np.ndarray:
    """The picture [H, W, 3] uint8 with the expression of landmarks [68, 2] in pixels of the driver's picture."""
    size = self._config.image_size
    crop_points = alignment.normalize(alignment.transform_points(driver, self._align(driver)), size)
    crop = show(self._crop[None], crop_points[None])[0]
    return paste(self.picture, crop, self._align(move_lip(self.points, driver)))


def move_lip(points: np.ndarray, driver: np.ndarray) -> np.ndarray:
  """The source's points with the lower lip (57) where the driver's mouth opening puts it.

  The paper's crop pins the lower lip, so an opened mouth squashes the face; the crop has to be undone with the points
  of the face that is shown. The eyes stay; the lip moves along the face's own vertical by the difference of the mouths'
  heights (51 to 57), each in units of its face's distance of the inner eye corners.

  Args:
    points: [68, 2] of the source, pixels.
    driver: [68, 2] of the driver, pixels of its own picture.
  """

  def measure(p):
    across = p[42] - p[39]
    unit = np.linalg.norm(across)
    down = np.array([-across[1], across[0]]) / unit
    return unit, down, (p[57] - p[51]) @ down / unit

  unit, down, height = measure(points)
  moved = points.copy()
  moved[57] += (measure(driver)[2] - height) * unit * down
  return moved


def paste(picture: np.ndarray, crop: np.ndarray, matrix: np.ndarray) -> np.ndarray:
  """Puts a crop back into its picture; the outer sixth of the crop fades into it.

  Args:
    picture: [H, W, 3] uint8.
    crop: [S, S, 3] uint8.
    matrix: [2, 3] affine from picture to crop pixels.
  Returns:
    [H, W, 3] uint8.
  """
  size = crop.shape[0]
  corners = alignment.transform_points(np.array([[0, 0], [size, 0], [0, size], [size, size]]), alignment.invert(matrix))
  left, top = np.maximum(np.floor(corners.min(0)).astype(int), 0)
  right, bottom = np.minimum(np.ceil(corners.max(0)).astype(int) + 1, picture.shape[1::-1])
  # Pillow counts from pixel corners.
  offset = matrix[:, :2] @ (np.array([left, top]) - 0.5) + matrix[:, 2] + 0.5
  coefficients = (*matrix[0, :2], offset[0], *matrix[1, :2], offset[1])
  ramp = np.clip(np.minimum(np.arange(size), np.arange(size)[::-1]) / (size / 6), 0, 1)
  ramp = ramp * ramp * (3 - 2 * ramp)
  alpha = Image.fromarray(np.round(255 * np.minimum.outer(ramp, ramp)).astype(np.uint8))

  def spread(image):
    return np.asarray(
      image.transform(
        (int(right - left), int(bottom - top)), Image.Transform.AFFINE, coefficients, Image.Resampling.BICUBIC
      ),
      np.float32,
    )

  weight = spread(alpha)[..., None] / 255
  result = picture.copy()
  patch = result[top:bottom, left:right]
  patch[:] = np.rint(np.clip(weight * spread(Image.fromarray(crop)) + (1 - weight) * patch, 0, 255))
  return result


def main(argv: list[str]) -> None:
  commands.parse(FLAGS, argv, __doc__)
  count = transfer(FLAGS.model, FLAGS.source, FLAGS.driver, FLAGS.output)
  print(f'{FLAGS.output}: {count} picture{"s" * (count != 1)}')


if __name__ == '__main__':
  sys.exit(commands.run(main))
