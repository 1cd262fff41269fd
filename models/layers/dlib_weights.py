"""Reads the weights of dlib's face descriptor from dlib's own serialisation, in plain Python.

The format is that of dlib's `serialize.h`, `dnn/core.h`, `dnn/layers.h` and `cuda/tensor.h` (Boost licence,
https://github.com/davisking/dlib at 3d40bf5): an integer is a control byte (sign and number of bytes) and its bytes,
little end first; a float is two integers, mantissa and exponent; a text its length and its bytes; a tensor its version,
four dimensions and 4-byte floats. A network writes the version of every layer from the loss inwards, then the input
layer, then each layer's settings, weights and (empty) caches from the input outwards.

Every length is checked before anything is read or made: a damaged or hostile file costs one line, not memory.
"""

import importlib.util
import math
import os
from typing import Any, NamedTuple

import numpy as np

MODEL_FILE = 'dlib_face_recognition_resnet_model_v1.dat'
_LARGEST_FILE = 2**26  # The real one has 22 MB.

# The residual blocks of `anet_type` in dlib's examples/dnn_face_recognition_ex.cpp, from the input on: filters, and
# whether the block halves the picture.
BLOCKS = (
  *[(32, False)] * 3,
  *[(64, True), *[(64, False)] * 3],
  *[(128, True), *[(128, False)] * 2],
  *[(256, True), *[(256, False)] * 2],
  (256, True),
)


class Weights(NamedTuple):
  """What the file holds.

  Attributes:
    mean: [3] RGB that is taken from a picture of 0 to 255, before it is divided by 256.
    convolutions: (kernel [H, W, I, O], offset [O]) each, from the input on; the affine layer behind is in them.
    dense: [256, 128].
  """

  mean: np.ndarray
  convolutions: list[tuple[np.ndarray, np.ndarray]]
  dense: np.ndarray


def descriptor_file(path: str = '') -> str:
  """The file of the weights.

  Args:
    path: where it is; empty means the one of the package `face-recognition-models` (CC0), which is found without being
      imported (its import needs `pkg_resources`).

  Raises:
    FileNotFoundError: if it is not there.
  """
  if path:
    if not os.path.isfile(path):
      raise FileNotFoundError(f'{path}: there is no such file of dlib weights')
    return path
  package = importlib.util.find_spec('face_recognition_models')
  for folder in list(package.submodule_search_locations or []) if package else []:
    file = os.path.join(folder, 'models', MODEL_FILE)
    if os.path.isfile(file):
      return file
  raise FileNotFoundError(f'{MODEL_FILE} was not found: pip install face-recognition-models')


def read_weights(path: str = '') -> Weights:
  """Reads the weights of `dlib_face_recognition_resnet_model_v1`.

  Args:
    path: see `descriptor_file`.

  Raises:
    FileNotFoundError: if there is no file.
    ValueError: if it holds anything else; the message says where in the file.
  """
  path = descriptor_file(path)
  size = os.path.getsize(path)
  if size > _LARGEST_FILE:
    raise ValueError(f'{path} has {size:,} bytes; dlib face descriptor weights have some 22 million')
  with open(path, 'rb') as file:
    data = file.read(_LARGEST_FILE)
  return _network(_Reader(data, path))


class _Reader:
  """Reads dlib's types one after the other; whatever does not fit is a ValueError with its place."""

  def __init__(self, data: bytes, path: str):
    self._data, self._path, self._place = data, path, 0

  def fail(self, reason: str) -> ValueError:
    return ValueError(f'{self._path} is not {MODEL_FILE}, or is damaged: {reason} (byte {self._place:,})')

  def bytes(self, count: int) -> bytes:
    left = len(self._data) - self._place
    if count > left:
      raise self.fail(f'{count:,} bytes are announced and {left:,} are left')
    self._place += count
    return self._data[self._place - count : self._place]

  def integer(self) -> int:
    control = self.bytes(1)[0]
    count = control & 0x0F
    if control & 0x70 or not 1 <= count <= 8:
      raise self.fail(f'a number begins with the byte {control}')
    value = int.from_bytes(self.bytes(count), 'little')
    return -value if control & 0x80 else value

  def number(self) -> float:
    mantissa, exponent = self.integer(), self.integer()
    if abs(exponent) > 1000 or abs(mantissa) >= 2**63:
      raise self.fail(f'the number {mantissa} x 2^{exponent} is out of range')
    return math.ldexp(mantissa, exponent)

  def boolean(self) -> bool:
    value = self.bytes(1)
    if value not in (b'0', b'1'):
      raise self.fail(f'{value!r} stands for true or false')
    return value == b'1'

  def text(self) -> str:
    count = self.integer()
    if not 0 <= count <= 64:
      raise self.fail(f'a name of {count} characters')
    return self.bytes(count).decode('ascii', 'backslashreplace')

  def expect(self, what: str, value: Any, *allowed: Any) -> Any:
    if value not in allowed:
      raise self.fail(f'{what} is {value!r}, not {" or ".join(map(repr, allowed))}')
    return value

  def shape(self) -> tuple[int, ...]:
    return tuple(self.integer() for _ in range(4))

  def tensor(self, what: str, *shapes: tuple[int, ...]) -> np.ndarray:
    self.expect(f'the version of {what}', self.integer(), 2)
    shape = self.expect(f'the shape of {what}', self.shape(), *shapes)
    values = np.frombuffer(self.bytes(4 * math.prod(shape)), '<f4').reshape(shape)
    if not np.isfinite(values).all():
      raise self.fail(f'{what} are not finite')
    return values

  def part(self, what: str, shape: tuple[int, ...]) -> None:
    """How a part of a tensor is seen (dlib's alias_tensor); its numbers stand in the tensor."""
    self.expect(f'the version of {what}', self.integer(), 1)
    self.expect(f'the shape of {what}', self.shape(), shape)

  def end(self) -> None:
    if self._place != len(self._data):
      raise self.fail(f'{len(self._data) - self._place:,} bytes follow the network')


def _layers() -> list[tuple[Any, ...]]:
  """Kind and settings of every layer, from the input on."""
  layers: list[tuple[Any, ...]] = [('con', 3, 32, 7, 2), ('affine', 32), ('relu',), ('max_pool', 3, 2)]
  before = 32
  for filters, halves in BLOCKS:
    layers += [('tag',), ('con', before, filters, 3, 2 if halves else 1), ('affine', filters), ('relu',)]
    layers += [('con', filters, filters, 3, 1), ('affine', filters)]
    layers += [('tag',), ('skip',), ('avg_pool', 2, 2)] if halves else []
    layers += [('add_prev',), ('relu',)]
    before = filters
  return [*layers, ('avg_pool', 0, 1), ('fc', before, 128)]


def _network(reader: _Reader) -> Weights:
  layers = _layers()
  reader.expect('the version of the loss', reader.integer(), 1)
  reader.expect('the loss', reader.text(), 'loss_metric_2')
  for _ in range(2):
    reader.number()  # Margin and threshold of its training.
  versions = {}
  for place in reversed(range(1, len(layers))):
    known = (1,) if layers[place][0] in ('tag', 'skip') else (1, 2)
    versions[place] = reader.expect(f'the version of layer {place}', reader.integer(), *known)
  versions[0] = reader.expect('the version of the first layer', reader.integer(), 2, 3)
  mean = _input(reader)
  convolutions: list[tuple[np.ndarray, np.ndarray]] = []
  dense = np.empty(0)
  for place, (kind, *settings) in enumerate(layers):
    if kind in ('tag', 'skip'):
      continue
    if kind == 'con':
      convolutions.append(_convolution(reader, *settings))
    elif kind == 'affine':
      scale, offset = _affine(reader, *settings)
      kernel, bias = convolutions[-1]
      convolutions[-1] = kernel * scale, bias * scale + offset
    elif kind == 'fc':
      dense = _dense(reader, *settings)
    elif kind in ('max_pool', 'avg_pool'):
      _pool(reader, kind, *settings)
    elif kind == 'add_prev':
      reader.expect('a layer', reader.text(), 'add_prev_')
    elif reader.expect('a layer', reader.text(), 'relu_', 'relu_2') == 'relu_2':
      reader.expect('whether a ReLU is disabled', reader.boolean(), False)
    _caches(reader, first=place == 0, version=versions[place])
  reader.end()
  return Weights(mean, convolutions, dense)


def _input(reader: _Reader) -> np.ndarray:
  reader.expect('the input layer', reader.text(), 'input_rgb_image_sized')
  mean = np.array([reader.number() for _ in range(3)], np.float32)
  if not ((0 <= mean) & (mean <= 255)).all():
    raise reader.fail(f'the mean colour is {mean.tolist()}')
  reader.expect('the size of the input', (reader.integer(), reader.integer()), (150, 150))
  return mean


def _convolution(reader: _Reader, inputs: int, filters: int, size: int, stride: int) -> tuple[np.ndarray, np.ndarray]:
  """Kernel [H, W, I, O] and bias [O]."""
  version = reader.expect('a layer', reader.text(), 'con_4', 'con_5', 'con_6')
  count = filters * inputs * size * size
  values = reader.tensor('the weights of a convolution', (count + filters, 1, 1, 1)).ravel()
  padding = size // 2 if stride == 1 else 0
  wanted = (filters, size, size, stride, stride, padding, padding)
  reader.expect('a convolution', tuple(reader.integer() for _ in wanted), wanted)
  reader.part('filters', (filters, inputs, size, size))
  reader.part('biases', (1, filters, 1, 1))
  _multipliers(reader)
  if version != 'con_4':
    reader.expect('whether a convolution has a bias', reader.boolean(), True)
  if version == 'con_6':
    reader.expect('whether a convolution ends in a ReLU', reader.boolean(), False)
  return values[:count].reshape(filters, inputs, size, size).transpose(2, 3, 1, 0), values[count:]


def _affine(reader: _Reader, filters: int) -> tuple[np.ndarray, np.ndarray]:
  """Scale [O] and offset [O]."""
  version = reader.expect('a layer', reader.text(), 'affine_', 'affine_2')
  values = reader.tensor('the weights of an affine layer', (2 * filters, 1, 1, 1)).ravel()
  reader.part('scales', (1, filters, 1, 1))
  reader.part('offsets', (1, filters, 1, 1))
  reader.expect('the mode of an affine layer', reader.integer(), 0)
  if version == 'affine_2':
    reader.expect('whether an affine layer is disabled', reader.boolean(), False)
  return values[:filters], values[filters:]


def _dense(reader: _Reader, inputs: int, outputs: int) -> np.ndarray:
  """[I, O]."""
  version = reader.expect('a layer', reader.text(), 'fc_2', 'fc_3')
  reader.expect('the dense layer', (reader.integer(), reader.integer()), (outputs, inputs))
  values = reader.tensor('the weights of the dense layer', (inputs, outputs, 1, 1))
  reader.part('weights', (inputs, outputs, 1, 1))
  reader.part('biases', (0, 0, 0, 0))
  reader.expect('the bias mode', reader.integer(), 1)
  _multipliers(reader)
  if version == 'fc_3':
    reader.boolean()
  return values.reshape(inputs, outputs)


def _pool(reader: _Reader, kind: str, size: int, stride: int) -> None:
  reader.expect('a layer', reader.text(), f'{kind}_2')
  reader.expect(kind, tuple(reader.integer() for _ in range(6)), (size, size, stride, stride, 0, 0))


def _multipliers(reader: _Reader) -> None:
  """Of learning rates and weight decays, for training."""
  for _ in range(4):
    reader.number()


def _caches(reader: _Reader, first: bool, version: int) -> None:
  """What follows each layer; a finished network is saved with empty caches."""
  for _ in range(3):
    reader.boolean()
  for _ in range(3 if first or version == 2 else 2):
    reader.tensor('a cache', (0, 0, 0, 0))
  if first and version == 3:
    reader.expect('the expansion factor', reader.integer(), 0, 1)
