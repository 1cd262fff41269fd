"""Descriptors come from Keras: they are those of dlib itself, in this process and with the faces found in others."""

import dlib
import numpy as np
from PIL import Image

from evaluate import embeddings, faces
from tests.input_pipeline import builders


def test_descriptors_are_those_of_dlib_itself():
  rendered = builders.rendered_faces().reshape(6, 192, 192, 3)
  pictures = [np.asarray(Image.fromarray(p).resize((96, 96), Image.Resampling.BOX)) for p in rendered]
  images = np.stack([*pictures, pictures[0], np.full((96, 96, 3), 90, np.uint8)])
  known = np.tile(np.random.default_rng(0).uniform(20, 80, (68, 2)), (8, 1, 1))
  describe = np.array([False, True, False, True, True, False, True, True])  # Picture 0 is wanted as picture 6.
  seen = embeddings.read_faces(images, known, describe)
  assert seen.found.tolist() == [True] * 7 + [False]
  network = dlib.face_recognition_model_v1(str(faces.model_file('dlib_face_recognition_resnet_model_v1.dat')))
  for i in (0, *np.flatnonzero(describe)):
    large = np.asarray(Image.fromarray(images[i]).resize((288, 288), Image.Resampling.BICUBIC))
    large = np.pad(large, ((72, 72), (72, 72), (0, 0)), mode='edge')
    points = [dlib.point(*map(int, p)) for p in np.rint((seen.landmarks[i] + 0.5) * 3 - 0.5 + 72)]
    face = dlib.full_object_detection(dlib.rectangle(0, 0, 9, 9), points)
    np.testing.assert_allclose(seen.descriptors[i], network.compute_face_descriptor(large, face), atol=1e-5)
  np.testing.assert_array_equal(seen.descriptors[0], seen.descriptors[6])
  assert np.isnan(seen.descriptors[[2, 5]]).all()

  boxes, wanted = np.array([embeddings._box(points) for points in known]), describe
  there = embeddings._run(images, boxes, wanted, 3)  # 3, 3 and 2 pictures.
  for a, b in zip(faces.read(images, boxes, wanted), there, strict=True):
    np.testing.assert_array_equal(a, b)


def test_a_batch_that_is_not_full_is_described_alike():
  chips = np.random.default_rng(0).integers(0, 256, (embeddings._CHIPS + 1, 150, 150, 3), dtype=np.uint8)
  codes = embeddings.describe_chips(chips)
  np.testing.assert_allclose(codes, embeddings.describe_chips(chips[::-1])[::-1], atol=1e-6)
  assert embeddings.describe_chips(chips[:0]).shape == (0, 128)
  assert embeddings._descriptor().experimental_get_tracing_count() == 1
