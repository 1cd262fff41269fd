import re
import struct
import subprocess
import sys

import numpy as np
import pytest
from PIL import ExifTags, Image, ImageCms

from input_pipeline import faces, photos
from tests.input_pipeline import builders


@pytest.fixture(scope='module')
def files(tmp_path_factory):
  return builders.photo_files(tmp_path_factory.mktemp('photos'))


@pytest.mark.parametrize(
  'name, tolerance', [('plain.png', 0), ('rotated.jpg', 12), ('cmyk.jpg', 12), ('palette.gif', 0)]
)
def test_colour_pictures_are_read_upright_and_in_their_colours(files, name, tolerance):
  image = photos.read_photo(str(files[name]))
  assert image.shape == (64, 48, 3) and image.dtype == np.uint8
  for (y, x), colour in (((40, 5), (200, 40, 30)), ((5, 5), (255, 255, 255)), ((10, 40), (20, 60, 200))):
    np.testing.assert_allclose(image[y, x].astype(int), colour, atol=tolerance)


@pytest.mark.parametrize('name', ['grey.jpg', 'deep.png', 'deep.tif'])
def test_grey_and_16_bit_pictures_are_scaled_not_clipped(files, name):
  image = photos.read_photo(str(files[name])).astype(int)
  assert image.shape == (64, 48, 3)
  luma = [round(0.299 * r + 0.587 * g + 0.114 * b) for r, g, b in ((200, 40, 30), (255, 255, 255), (20, 60, 200))]
  np.testing.assert_allclose([image[40, 5, 0], image[5, 5, 1], image[10, 40, 2]], luma, atol=3)


def test_colours_of_another_profile_become_srgb(tmp_path):
  """A profile in which red and blue change places, made of Pillow's own."""
  usual = ImageCms.ImageCmsProfile(ImageCms.createProfile('sRGB')).tobytes()
  profile = bytearray(usual.replace(b's\0R\0G\0B', b'x\0R\0G\0B'))
  red, blue = (profile.index(tag) for tag in (b'rXYZ', b'bXYZ'))
  profile[red : red + 4], profile[blue : blue + 4] = b'bXYZ', b'rXYZ'
  colours = np.zeros([300, 8, 3], np.uint8)
  colours[..., 0], colours[..., 2] = 200, 40
  Image.fromarray(colours).save(tmp_path / 'odd.png', icc_profile=bytes(profile))
  Image.fromarray(colours).save(tmp_path / 'damaged.png', icc_profile=bytes(profile[:200]))
  Image.fromarray(colours).save(tmp_path / 'usual.png', icc_profile=usual)
  assert np.abs(photos.read_photo(tmp_path / 'odd.png').astype(int) - colours[..., ::-1]).max() <= 3
  for name in ('damaged', 'usual'):
    np.testing.assert_array_equal(photos.read_photo(tmp_path / f'{name}.png'), colours)


def test_a_damaged_tag_costs_no_picture_and_not_its_turn(tmp_path):
  exif = Image.Exif()
  exif[ExifTags.Base.Orientation] = 6
  exif[ExifTags.Base.XResolution] = 72.0
  data = exif.tobytes()
  rational, text = (struct.pack('>HH', ExifTags.Base.XResolution, kind) for kind in (5, 2))
  assert rational in data
  Image.new('RGB', (40, 30)).save(tmp_path / 'odd.jpg', exif=data.replace(rational, text))
  assert photos.read_photo(tmp_path / 'odd.jpg').shape == (40, 30, 3)


def test_transparency_becomes_white(files):
  assert photos.read_photo(str(files['alpha.png']))[2, 2].tolist() == [255, 255, 255]


@pytest.mark.parametrize(
  'name, reason',
  [
    ('cut.jpg', 'damaged or cut off'),
    ('cut.png', 'damaged or cut off'),
    ('text.jpg', 'not a picture'),
    ('empty.jpg', 'not a picture'),
    ('bomb.png', '60000 x 60000 pixels|more than the 200,000,000'),
  ],
)
def test_unreadable_pictures_are_named_in_one_line(files, name, reason):
  with pytest.raises(ValueError, match=reason) as caught:
    photos.read_photo(str(files[name]))
  assert '\n' not in str(caught.value) and str(files[name]) in str(caught.value)


def test_a_huge_picture_is_read_in_three_times_its_size(tmp_path):
  Image.new('RGBA', (8192, 6144), (200, 40, 30, 255)).save(tmp_path / 'huge.png', compress_level=1)
  # In a process of its own, since memory that was used once counts for ever; photos.py needs nothing else of ours.
  program = (
    'import importlib.util, resource, sys\n'
    'spec = importlib.util.spec_from_file_location("photos", sys.argv[1])\n'
    'photos = importlib.util.module_from_spec(spec)\n'
    'spec.loader.exec_module(photos)\n'
    'before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n'
    'image = photos.read_photo(sys.argv[2])\n'
    'assert image.shape == (6144, 8192, 3) and image[6143, 8191].tolist() == [200, 40, 30]\n'
    'print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 / image.nbytes)\n'
  )
  command = [sys.executable, '-c', program, photos.__file__, str(tmp_path / 'huge.png')]
  assert float(subprocess.run(command, capture_output=True, text=True, check=True).stdout) < 3


def test_the_face_of_a_huge_picture_is_found_and_a_tiny_one_is_refused(tmp_path):
  face = Image.fromarray(builders.rendered_faces()[0, 0])
  huge = Image.new('RGB', (8192, 6144), 'gray')
  huge.paste(face.resize((2880, 2880), Image.Resampling.BICUBIC), (1200, 200))
  huge.save(tmp_path / 'huge.jpg', quality=90)
  face.save(tmp_path / 'plain.png')
  tiny = Image.new('RGB', (320, 320), 'gray')
  tiny.paste(face.resize((72, 72)), (120, 120))
  tiny.save(tmp_path / 'tiny.png')
  settings = faces.Settings('paper', 0.8, 128)
  found, plain, small = (
    faces.find_face(str(tmp_path / name), settings) for name in ('huge.jpg', 'plain.png', 'tiny.png')
  )
  back = (np.array(found.points) - [1200, 200]) / 15
  assert not found.reason and np.abs(back - np.array(plain.points)).mean() < 1.5
  assert re.fullmatch(r'too small: the face would be enlarged \d\.\d times', small.reason)
