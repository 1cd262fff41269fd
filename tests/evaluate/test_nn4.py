"""Verification of held-out people by NN4 and by the recogniser, whole, on noise."""

from evaluate import EVALUATIONS, compare
from evaluate.results import find_row
from evaluate.roc import read_pairs
from models.nn4 import NN4, NN4Config
from models.recognition import RecognitionConfig
from tests.input_pipeline import builders
from train import train_and_evaluate


def test_held_out_people_are_verified_beside_pixels_and_dlib(tmp_path):
  path = builders.write_faces(tmp_path / 'set', train=2, test=3, size=96)
  config = NN4Config.tiny(dataset=str(path), image_size=96, classes=2, width=1 / 32)
  rows = EVALUATIONS['nn4'](NN4(config), config, tmp_path, pairs=12)
  for subject in ('model', 'raw_pixels', 'dlib_face_recognition_resnet_v1'):
    for metric in ('auc', 'eer', 'verification_accuracy'):
      row = find_row(rows, metric, subject)
      assert 0 <= row['low'] <= row['high'] <= 1 and (row['count'], row['identities']) == (24, 3)
  assert find_row(rows, 'auc', 'model_minus_raw_pixels')['count'] == 24


def test_a_run_of_the_recogniser_is_compared_with_another(tmp_path, capsys):
  real = builders.write_faces(tmp_path / 'real', train=4, test=3, size=96)
  generated = builders.write_faces(tmp_path / 'new', train=3, test=2, size=96, prefix='new')
  shared = {'dataset': str(real), 'classes': 4, 'image_size': 96, 'real_share': 0.5}
  more = {'generated': str(generated), 'generated_classes': 3}
  for name, changes in {'alone': {'generated': ''}, 'beside': more}.items():
    train_and_evaluate(RecognitionConfig.tiny(**shared, **changes), tmp_path / name)
    scored = read_pairs(tmp_path / name / 'eval')
    assert scored.tenths is None and len(scored.scores['model']) == len(scored.pairs.same) == 90
    assert (tmp_path / name / 'eval' / 'roc.png').is_file()
  result = compare.compare([tmp_path / 'alone', tmp_path / 'beside'], tmp_path / 'out')
  assert list(result['arms']) == ['50 %', '50 % + new (3 people)']
  row = next(r for r in result['differences'] if r['metric'] == 'verification_accuracy')
  assert (row['count'], row['identities'], row['verdict']) == (90, 3, 'too few (3 people, 1 seed)')
  text = capsys.readouterr().out
  assert 'real: 12 pictures of 2 of 4 people' in text and 'generated: 18 pictures of 3 of 3 people' in text
