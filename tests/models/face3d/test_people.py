"""Drawn people and their pictures."""

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from input_pipeline.landmarks import find_landmarks
from models.face3d.expressions import act
from models.face3d.morphable import load_face_model
from models.face3d.people import draw_background, draw_light, draw_person, stack_people
from models.face3d.portrait import frame, paint_texture, render_people

SIZE = 128


@pytest.fixture(scope='module')
def model():
  return load_face_model()


@pytest.fixture(scope='module')
def portraits(model):
  """Four neutral people, nearly frontal."""
  seeds = [1, 5, 8, 12]
  people = stack_people([draw_person(model, s) for s in seeds])
  expression = np.stack([act(model, 'neutral', np.random.default_rng(s)) for s in seeds])
  angles = np.array([[0, 0.1 * (i - 1.5), 0] for i in range(4)])
  light = draw_light(seeds, ['front'] * 4)
  background = np.stack([draw_background(s) for s in seeds])
  return render_people(model, people, expression, frame(angles, 1.3), light, background, SIZE)


def test_people_are_functions_of_their_seed_and_balanced(model):
  again = [draw_person(model, 7) for _ in range(2)]
  for a, b in zip(*again, strict=True):
    np.testing.assert_array_equal(a, b)
  crowd = [draw_person(model, s) for s in range(300)]
  assert 0.4 < np.mean([p.female for p in crowd]) < 0.6
  assert 0.3 < np.mean([p.skin == 'dark' for p in crowd]) < 0.55
  tones = np.array([p.tone for p in crowd])
  assert (tones < -1).mean() > 0.1 and (tones > 1).mean() > 0.1
  assert 0.8 < np.stack([p.identity for p in crowd]).std() < 1.2
  ages = [p.age for p in crowd]
  assert min(ages) >= 20 and max(ages) > 60


def test_pictures_are_finite_and_the_face_is_in_the_middle(portraits):
  image, mask = portraits['image'].numpy(), portraits['mask'].numpy()
  assert image.shape == (4, SIZE, SIZE, 3) and mask.shape == (4, SIZE, SIZE, 1)
  assert np.isfinite(image).all() and image.min() >= -1 and image.max() <= 1
  assert ((mask >= 0) & (mask <= 1)).all()
  share = mask.mean((1, 2, 3))
  assert (0.10 < share).all() and (share < 0.45).all()
  marks = np.round(portraits['landmarks'].numpy()[:, 30] - 0.5).astype(int)
  for i, (x, y) in enumerate(marks):
    assert mask[i, y, x, 0] > 0.9  # The tip of the nose is face.


def test_a_picture_does_not_depend_on_its_batch(model, portraits):
  seeds = [12, 8, 5, 1]
  people = stack_people([draw_person(model, s) for s in seeds])
  expression = np.stack([act(model, 'neutral', np.random.default_rng(s)) for s in seeds])
  angles = np.array([[0, 0.1 * (1.5 - i), 0] for i in range(4)])
  background = np.stack([draw_background(s) for s in seeds])
  light = draw_light(seeds, ['front'] * 4)
  turned = render_people(model, people, expression, frame(angles, 1.3), light, background, SIZE)
  difference = np.abs(turned['image'].numpy()[::-1] - portraits['image'].numpy())
  assert np.quantile(difference, 0.999) < 1e-3
  np.testing.assert_allclose(turned['landmarks'].numpy()[::-1], portraits['landmarks'].numpy(), atol=1e-3)


def test_the_painted_skin_follows_its_coefficients(model):
  tone = model.albedo_names.index('tone')
  albedo = np.zeros((2, len(model.albedo_names)), np.float32)
  albedo[1, tone] = 1.5
  skins = paint_texture(model, albedo)
  face = int(0.33 * model.extras['paint'].shape[0]) * model.extras['paint'].shape[1] + 360
  assert (skins[1, face, :3].numpy() < 0.5 * skins[0, face, :3].numpy()).all()
  inputs = tf.constant(albedo)
  with tf.GradientTape() as tape:
    tape.watch(inputs)
    loss = tf.reduce_sum(tf.cast(paint_texture(model, inputs)[:, face, :3], tf.float32))
  assert (tape.gradient(loss, inputs)[:, tone].numpy() < 0).all()


def test_dlib_sees_the_landmarks_where_they_are(portraits):
  images = np.clip(np.round((portraits['image'].numpy() + 1) * 127.5), 0, 255).astype(np.uint8)
  for image, truth in zip(images, portraits['landmarks'].numpy(), strict=True):
    large = np.asarray(Image.fromarray(image).resize((2 * SIZE, 2 * SIZE), Image.Resampling.BICUBIC))
    found = find_landmarks(large)
    assert found is not None
    error = np.linalg.norm(found - (2 * truth - 0.5), axis=-1).mean()
    assert error / np.linalg.norm(2 * (truth[36] - truth[45])) < 0.07


def test_only_the_default_model_can_be_painted(model, tmp_path):
  plain = {
    'mean': np.zeros((70, 3)),
    'identity_basis': np.zeros((1, 70, 3)),
    'expression_basis': np.zeros((1, 70, 3)),
    'expression_names': np.array(['jawOpen']),
    'triangles': np.zeros((1, 3), int),
    'landmarks': np.arange(68),
  }
  np.savez(tmp_path / 'm.npz', **plain)
  other = load_face_model(str(tmp_path / 'm.npz'))
  with pytest.raises(ValueError, match='painted atlas'):
    render_people(
      other,
      stack_people([draw_person(model, 0)]),
      np.zeros((1, 1)),
      frame(np.zeros((1, 3))),
      draw_light([0]),
      np.zeros((1, 2, 2, 3)),
    )
