import numpy as np
import pytest

from input_pipeline import photos
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
