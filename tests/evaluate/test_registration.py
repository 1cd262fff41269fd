"""The similarity that brings one picture over another, on pictures that were moved by a known one."""

import numpy as np
from PIL import Image

from evaluate import metrics, registration


def faces(count, size=64):
  """Smooth pictures with something in the middle."""
  random = np.random.default_rng(0)
  small = random.integers(0, 256, [count, 7, 7, 3], dtype=np.uint8)
  return np.stack([np.asarray(Image.fromarray(x).resize((size, size), Image.Resampling.BICUBIC)) for x in small])


def test_a_known_similarity_is_found_and_undone():
  targets = faces(6)
  true = np.array([(0.2, 0, 0, 0.1), (-0.15, 0.1, 0.05, 0), (0, -0.15, 0, -0.2), (0.1, 0.05, -0.1, 0.15),
                   (0, 0, 0.2, 0.1), (-0.2, 0, 0, 0.2)], np.float32)  # fmt: skip
  # A picture that shows at M z what the target shows at z: z is looked up at the inverse.
  a, b, x, y = (true[:, i] for i in range(4))
  inverse = 1 / (1 + a + 1j * b)
  shift = -inverse * (x + 1j * y)
  back = np.stack([inverse.real - 1, inverse.imag, shift.real, shift.imag], axis=1).astype(np.float32)
  images = np.rint(registration._sample(targets.astype(np.float32), registration._places(back, 64))).astype(np.uint8)
  moved, matrices = registration.align_pictures(images, targets)
  before, after = (metrics.psnr(x, targets) for x in (images, moved))
  assert (after > before + 4).all() and (after > 22).all()
  wanted = registration._matrices(true, 64)
  places = np.array([[16, 16, 1], [48, 20, 1], [32, 50, 1]]).T
  assert np.abs(matrices @ places - wanted @ places).max() < 1


def test_what_is_nearest_stays_and_only_weighted_pixels_count():
  targets = faces(2)
  same, matrices = registration.align_pictures(targets, targets)
  np.testing.assert_array_equal(same, targets)
  np.testing.assert_array_equal(matrices, np.tile(np.eye(3)[:2], (2, 1, 1)))
  # Left half moved by four pixels, the right half not at all.
  images = targets.copy()
  images[:, :, :32] = np.roll(targets, 4, axis=2)[:, :, :32]
  left, right = np.zeros([2, 64, 64]), np.zeros([2, 64, 64])
  left[:, 20:44, 4:24], right[:, 20:44, 40:60] = 1, 1
  shifts = [registration.align_pictures(images, targets, w)[1][:, 0] @ [14 if w is left else 50, 32, 1]
            for w in (left, right)]  # fmt: skip
  np.testing.assert_allclose(shifts[0], 18, atol=0.7)
  np.testing.assert_allclose(shifts[1], 50, atol=0.3)
