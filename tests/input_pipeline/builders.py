"""Small data sets and pictures for tests of any room: `from tests.input_pipeline import builders`."""

import functools
import io
import pathlib
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from PIL import Image

from input_pipeline import dataset, shards
from models import face3d

EXPRESSIONS = ('neutral', 'happy', 'angry')


def png(image: np.ndarray) -> bytes:
  file = io.BytesIO()
  Image.fromarray(image).save(file, 'PNG')
  return file.getvalue()


def examples(
  split: str, shard: int, *, people: dict[str, int], expressions: tuple[str, ...], size: int, spoil: str = ''
) -> list[dict]:
  """One shard = one person: two (pose, light) combinations of every expression, pictures of smooth noise.

  Args:
    split: train or test.
    shard: which person of the split.
    people: number of people of each split.
    expressions: names.
    size: of the crops.
    spoil: what is wrong with the first example: '' (nothing), 'landmarks' (NaN) or 'image' (cut off).
  """
  person = shard + (people['train'] if split == 'test' else 0)
  random = np.random.default_rng(person)
  result = []
  for combination in range(2):
    for expression in range(len(expressions)):
      small = random.integers(0, 256, [4, 4, 3], dtype=np.uint8)
      image = np.asarray(Image.fromarray(small).resize((size, size), Image.Resampling.BICUBIC))
      landmarks = random.uniform(-0.9, 0.9, [68, 2]).astype(np.float32)
      result.append(
        {
          'image': png(image),
          'landmarks': landmarks,
          'identity': person,
          'expression': expression,
          'pose': combination,
          'light': 1 - combination,
          'file': f'{person}_{expression}_{combination}.png',
          'skin': ('light', 'dark')[person % 2],
        }
      )
  if spoil == 'landmarks' and shard == 0:
    result[0]['landmarks'] = result[0]['landmarks'] * np.nan
  if spoil == 'image' and shard == 0:
    result[0]['image'] = result[0]['image'][:200]
  return result


def write_faces(
  path: pathlib.Path,
  *,
  train: int = 4,
  test: int = 2,
  size: int = 16,
  expressions: tuple[str, ...] = EXPRESSIONS,
  absent: bool = False,
  absent_people: int = 0,
  prefix: str = 'person',
  spoil: str = '',
  name: str = dataset.NAME,
  **options,
) -> pathlib.Path:
  """Writes a whole data set of noise in a second.

  Args:
    path: its folder.
    train: people in the training split.
    test: people in the test split.
    size: of the crops.
    expressions: names of the expressions.
    absent: declare one expression more, of which there is no picture.
    absent_people: declare so many people more, of whom there is no picture.
    prefix: of the people's names.
    spoil: see `examples`.
    name: kind of the data set.
    **options: for `shards.write_dataset`.
  """
  people = {'train': train, 'test': test}
  per_person = 2 * len(expressions)
  identities = [f'{prefix}_{i}' for i in range(train + test + absent_people)]
  features = dataset.face_features(identities, expressions + ('absent',) * absent, size)
  splits = {split: [per_person] * count for split, count in people.items() if count}
  make = functools.partial(examples, people=people, expressions=expressions, size=size, spoil=spoil)
  shards.write_dataset(
    str(path),
    name,
    features,
    splits,
    make,
    {'people': people, 'size': size, 'spoil': spoil},
    **{'processes': 1} | options,
  )
  return path


def batches(source: Any, *args: Any, **options: Any) -> list[dict[str, np.ndarray]]:
  """All batches of `source.batches(*args, **options)`."""
  return list(source.batches(*args, **options).as_numpy_iterator())


def assert_same(first: Mapping[str, np.ndarray], second: Mapping[str, np.ndarray]) -> None:
  """Two batches are equal to the last bit."""
  assert first.keys() == second.keys()
  for key in first:
    np.testing.assert_array_equal(first[key], second[key], err_msg=key)


@functools.cache
def rendered_faces() -> np.ndarray:
  """[3, 2, 192, 192, 3] uint8: three rendered people, neutral and smiling, whose faces dlib finds."""
  model = face3d.load_face_model()
  numbers, expressions = [1, 1, 2, 2, 3, 3], ['neutral', 'smile'] * 3
  people = face3d.stack_people([face3d.draw_person(model, number) for number in numbers])
  acted = np.stack([face3d.act(model, expression, np.random.default_rng(1)) for expression in expressions])
  light, camera = face3d.draw_light(numbers, ['front'] * 6), face3d.frame(np.zeros([6, 3]), 1.3)
  background = np.stack([face3d.draw_background(number) for number in numbers])
  image = face3d.render_people(model, people, acted, camera, light, background, 192)['image'].numpy()
  return np.rint((image + 1) * 127.5).astype(np.uint8).reshape(3, 2, 192, 192, 3)


def photo_files(folder: pathlib.Path) -> dict[str, pathlib.Path]:
  """Awkward picture files, all of the same 48 x 64 picture (left half red, a white top left corner), by name."""
  folder.mkdir(parents=True, exist_ok=True)
  pixels = np.full([64, 48, 3], (20, 60, 200), np.uint8)
  pixels[:, :24] = (200, 40, 30)
  pixels[:16, :12] = 255
  image = Image.fromarray(pixels)
  grey = np.asarray(image.convert('L'))
  files = {
    name: folder / name
    for name in (
      'plain.png',
      'rotated.jpg',
      'cmyk.jpg',
      'deep.png',
      'deep.tif',
      'grey.jpg',
      'alpha.png',
      'palette.gif',
      'cut.jpg',
      'cut.png',
      'text.jpg',
      'bomb.png',
      'empty.jpg',
    )
  }
  image.save(files['plain.png'])
  exif = Image.Exif()
  exif[0x0112] = 6  # the camera was turned: show it a quarter turn clockwise
  image.transpose(Image.Transpose.ROTATE_90).save(files['rotated.jpg'], quality=98, subsampling=0, exif=exif)
  image.convert('CMYK').save(files['cmyk.jpg'], quality=98, subsampling=0)
  deep = Image.fromarray(grey.astype(np.uint16) * 257)
  deep.save(files['deep.png'])
  deep.save(files['deep.tif'])
  image.convert('L').save(files['grey.jpg'], quality=98)
  Image.fromarray(np.dstack([pixels, np.where(pixels[..., 0] == 255, 0, 255).astype(np.uint8)])).save(
    files['alpha.png']
  )
  image.convert('P', palette=Image.Palette.ADAPTIVE).save(files['palette.gif'])
  large = Image.fromarray(np.random.default_rng(0).integers(0, 256, [64, 64, 3], dtype=np.uint8))
  for name in ('cut.jpg', 'cut.png'):
    large.save(files[name])
    files[name].write_bytes(files[name].read_bytes()[:2000])
  files['text.jpg'].write_text('no picture')
  files['empty.jpg'].write_bytes(b'')
  size = (60_000).to_bytes(4, 'big') * 2
  header = bytearray(png(pixels))
  header[16:24] = size
  header[29:33] = zlib.crc32(bytes(header[12:29])).to_bytes(4, 'big')
  files['bomb.png'].write_bytes(header)
  return files
