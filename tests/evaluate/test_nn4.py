"""NN4's verification of held-out people, whole, on noise."""

from evaluate import EVALUATIONS
from evaluate.results import find_row
from models.nn4 import NN4, NN4Config
from tests.input_pipeline import builders


def test_held_out_people_are_verified_beside_pixels_and_dlib(tmp_path):
  path = builders.write_faces(tmp_path / 'set', train=2, test=3, size=96)
  config = NN4Config.tiny(dataset=str(path), image_size=96, classes=2, width=1 / 32)
  rows = EVALUATIONS['nn4'](NN4(config), config, tmp_path, pairs=12)
  for subject in ('model', 'raw_pixels', 'dlib_face_recognition_resnet_v1'):
    for metric in ('auc', 'eer', 'verification_accuracy'):
      row = find_row(rows, metric, subject)
      assert 0 <= row['low'] <= row['high'] <= 1 and (row['count'], row['identities']) == (24, 3)
  assert find_row(rows, 'auc', 'model_minus_raw_pixels')['count'] == 24
