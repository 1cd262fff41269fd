"""Face embeddings that are used and not trained: by name, behind one call."""

import dataclasses
import os
import pathlib
from collections.abc import Callable

import tensorflow as tf

from models import checkpoints, pretrained
from models.layers import dlib_descriptor
from models.nn4 import CODE, NN4, SIZE, standardize, to_crop

__all__ = ['Embedding', 'PRETRAINED', 'load_embedding']

PRETRAINED = 'pretrained:nn4'


@dataclasses.dataclass(frozen=True, eq=False)
class Embedding:
  """A fixed network that maps a face to a code; gradients go through it. Keras does not see it: no checkpoint has it.

  Attributes:
    name: says in `results.json` who judged.
    input_size: pixels of its crops.
    chip: whether its crops are dlib's chips, cut out by landmarks; else a crop is a plain square of the face.
    dimensions: length of a code.
    network: crops [B, input_size, input_size, 3] RGB in [0, 255] -> codes [B, dimensions]; it standardises itself.
    alignment: how the faces were cut out that it learnt from; '' where nobody says.
  """

  name: str
  input_size: int
  chip: bool
  dimensions: int
  network: Callable[[tf.Tensor], tf.Tensor]
  alignment: str = ''

  def __call__(self, crops: tf.Tensor) -> tf.Tensor:
    """Codes [B, dimensions] float32 of crops [B, input_size, input_size, 3] RGB in [0, 255]; only NN4's have length 1.

    Raises:
      ValueError: if the crops have another size.
    """
    if crops.shape[1:] != (self.input_size, self.input_size, 3):
      raise ValueError(f'{self.name} takes crops of {self.input_size} x {self.input_size} x 3, not '
                       f'{" x ".join(map(str, crops.shape[1:]))}')
    return tf.cast(self.network(tf.cast(crops, tf.float32)), tf.float32)

  def crops(self, images: tf.Tensor, landmarks: tf.Tensor) -> tf.Tensor:
    """What it wants to see of pictures, without chance.

    Args:
      images: [B, S, S, 3] in [-1, 1].
      landmarks: [B, 68, 2] in [-1, 1] of the picture; only chips need them.
    Returns:
      [B, input_size, input_size, 3] in [0, 255]: the chip; of pictures for NN4 the middle 96 pixels; else all of it.
    """
    if self.chip:
      return dlib_descriptor.chips(images, landmarks)
    images = (images + 1) * 127.5
    if self.input_size == SIZE:
      return to_crop(images)
    return tf.clip_by_value(tf.image.resize(images, [self.input_size] * 2, antialias=True), 0.0, 255.0)


def load_embedding(name: str) -> Embedding:
  """The embedding of a name, as in `--embedding=NAME`.

  Args:
    name: `dlib`, dlib's face descriptor; `nn4:RUN`, the averaged network of a run of system nn4; `pretrained:nn4`, the
      one that comes with the project; or a path: `.keras`, a network of RGB 0 to 255 [B, H, W, 3] (preprocessing
      inside) with one vector out, or `.dat`, dlib's weights.

  Raises:
    FileNotFoundError: if there is nothing there.
    ValueError: if it is something else; the message is one line.
  """
  if name == 'dlib':
    return _dlib('')
  if name == PRETRAINED:
    return _pretrained()
  if name.startswith('nn4:'):
    return _nn4(name)
  path = pathlib.Path(name).expanduser()
  if (path / 'flags.cfg').is_file():
    raise ValueError(f'--embedding={name} is a run: write --embedding=nn4:{name}')
  if not path.is_file():
    raise FileNotFoundError(f'--embedding={name}: there is no such file; dlib, nn4:RUN, {PRETRAINED}, or a file is '
                            'needed')
  if path.suffix == '.dat':
    return _dlib(str(path))
  return _keras(name, path)


def _dlib(path: str) -> Embedding:
  return Embedding('dlib_face_recognition_resnet_v1', dlib_descriptor.SIZE, True, 128,
                   dlib_descriptor.DlibDescriptor(path))


def _nn4(name: str) -> Embedding:
  workdir = pathlib.Path(name.removeprefix('nn4:')).expanduser()
  if not name.removeprefix('nn4:') or not workdir.is_dir():
    raise FileNotFoundError(f'--embedding={name}: there is no such run; train one with '
                            '`python -m train.main --flagfile=nn4.cfg`')
  try:
    config = checkpoints.read_settings(workdir, {'nn4': NN4.Config})
  except (ValueError, OSError) as error:
    raise type(error)(f'--embedding={name}: {error}') from None
  found = checkpoints.last_checkpoint(workdir, list(NN4.phases(config)))
  if found is None:
    raise FileNotFoundError(f'--embedding={name}: the run has no checkpoint to load: train it first')
  system = NN4(config)
  checkpoints.read_checkpoint(tf.train.Checkpoint(system=system), checkpoints.checkpoint_path(workdir, *found))
  system.use_averages()
  return _frozen(f'nn4:{os.path.basename(os.path.abspath(workdir))}', system)


def _pretrained() -> Embedding:
  folder = pretrained.locate(PRETRAINED)
  system = NN4(checkpoints.read_settings(folder, {'nn4': NN4.Config}))
  pretrained.load_weights(system, folder)
  return _frozen(PRETRAINED, system)


def _frozen(label: str, system: NN4) -> Embedding:
  network = system.network
  network.trainable = False
  return Embedding(label, SIZE, False, CODE, lambda crops: network(standardize(crops), training=False),
                   system.config.alignment)


def _keras(name: str, path: pathlib.Path) -> Embedding:
  if path.suffix != '.keras':
    raise ValueError(f'--embedding={name}: a .keras or .dat file is needed, other formats may run code when they are '
                     'read')
  try:
    network = tf.keras.models.load_model(path, compile=False, safe_mode=True)
  except Exception as error:  # noqa: BLE001 (Keras lets through whatever its readers raise.)
    raise ValueError(f'--embedding={name} cannot be read ({(str(error).splitlines() or [""])[0]})') from None
  shapes = getattr(network, 'input_shape', None), getattr(network, 'output_shape', None)
  taken, given = (s if isinstance(s, tuple) and None not in s[1:] else () for s in shapes)
  if len(taken) != 4 or taken[1] != taken[2] or taken[3] != 3 or len(given) != 2:
    raise ValueError(f'--embedding={name} maps {shapes[0]} to {shapes[1]}: a network from pictures (None, size, size, '
                     '3) to one vector (None, length) is needed')
  network.trainable = False
  return Embedding(path.name, taken[1], False, given[1], lambda crops: network(crops, training=False))
