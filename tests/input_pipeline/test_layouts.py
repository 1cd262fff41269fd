"""The data sets of the GC-GAN paper by name, on miniature trees with their file names."""

import json

import numpy as np
import pytest
from PIL import Image

from input_pipeline import dataset, layouts, listing, prepare, splits
from models import commands
from tests.input_pipeline import builders


def write_tree(folder, files):
  """Empty files, or files with the given text."""
  for name, text in (files if isinstance(files, dict) else dict.fromkeys(files, '')).items():
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(text)
  return str(folder)


def labels(found):
  return {photo.file: (photo.identity, photo.expression) for photo in found}


def test_multipie_takes_near_frontal_cameras_and_labels_by_session_and_recording(tmp_path):
  def name(subject, session, recording, camera, light):
    file = f'{subject}_{session}_{recording}_{camera}_{light}.png'
    return f'data/session{session}/multiview/{subject}/{recording}/{camera[:2]}_{camera[2]}/{file}'

  recordings = ('01_01', '01_02', '02_01', '02_02', '02_03', '03_01', '03_02', '03_03', '04_01', '04_02', '04_03')
  files = [name('001', *recording.split('_'), '051', '07') for recording in recordings]
  files += [name('002', '01', '01', camera, '19') for camera in ('050', '140', '041', '190')]
  files += [name('003', '01', '05', '051', '00'), 'data/session01/highres/001/001_01_01.jpg', 'README.txt']
  found, skipped = layouts.list_layout('multipie', write_tree(tmp_path, files))
  assert [photo.expression for photo in found if photo.identity == '001'] == (
    'neutral smile neutral surprise squint neutral smile disgust neutral neutral scream'.split()
  )
  others = {photo.file: (photo.pose, photo.light) for photo in found if photo.identity == '002'}
  assert others == {name('002', '01', '01', '050', '19'): (15, 19), name('002', '01', '01', '140', '19'): (-15, 19)}
  assert skipped == {name('003', '01', '05', '051', '00'): 'session and recording 01_05 have no known expression'}
  assert {photo.light for photo in listing.select(found, ['pose=0', 'expression=s*'])} == {7}


def test_ckplus_takes_the_first_and_the_labelled_frame_of_labelled_sequences(tmp_path):
  images = {
    f'cohn-kanade-images/{sequence[:4]}/{sequence[5:]}/{sequence}_{frame:08d}.png': ''
    for sequence, count in (('S005_001', 11), ('S010_002', 14), ('S010_003', 3), ('S011_001', 4))
    for frame in range(1, count + 1)
  }
  emotion = {
    'Emotion/S005/001/S005_001_00000011_emotion.txt': '   3.0000000e+00\n',
    'Emotion/S010/002/S010_002_00000014_emotion.txt': '   7.0000000e+00\n',
    'Emotion/S011/001/S011_001_00000016_emotion.txt': '   1.0000000e+00\n',
    'cohn-kanade-images/S005/001/.DS_Store': '',
  }
  folder = write_tree(tmp_path, images | emotion)
  found, skipped = layouts.list_layout('ckplus', folder)
  assert labels(found) == {
    'cohn-kanade-images/S005/001/S005_001_00000001.png': ('S005', 'neutral'),
    'cohn-kanade-images/S005/001/S005_001_00000011.png': ('S005', 'disgust'),
    'cohn-kanade-images/S010/002/S010_002_00000001.png': ('S010', 'neutral'),
    'cohn-kanade-images/S010/002/S010_002_00000014.png': ('S010', 'surprise'),
  }
  assert skipped == {
    'cohn-kanade-images/S010/003': 'the sequence has no emotion label',
    'cohn-kanade-images/S011/001': 'the labelled frame S011_001_00000016.png is missing',
  }
  (tmp_path / 'Emotion/S005/001/S005_001_00000011_emotion.txt').write_text('0.0000000e+00')
  with pytest.raises(ValueError, match=r"00011_emotion.txt says '0.0000000e\+00', a number from 1 to 7 is needed"):
    layouts.list_layout('ckplus', folder)


def test_bu4dfe_takes_neutral_and_apex_and_own_picks(tmp_path):
  files = [
    f'{subject}/{expression}/{frame:03d}{ending}'
    for subject in ('F001', 'M043')
    for expression in layouts.BU4DFE_EXPRESSIONS
    for frame in range(5)
    for ending in ('.jpg', '.wrl', '.mtl')
  ]
  folder = write_tree(tmp_path, [*files, 'F002/Happy/000.jpg', 'docs/readme.jpg'])
  found, skipped = layouts.list_layout('bu4dfe', folder)
  assert len(found) == 2 * 6 * 2 and labels(found)['F001/Angry/000.jpg'] == ('F001', 'neutral')
  assert labels(found)['M043/Surprise/002.jpg'] == ('M043', 'surprise')
  assert skipped['F002/Happy'] == 'the sequence has 1 texture pictures' and len(skipped) == 6
  (tmp_path / 'frames.csv').write_text('sequence,neutral,apex\nF001/Angry,1,4\n')
  mine = labels(layouts.list_layout('bu4dfe', folder)[0])
  assert mine['F001/Angry/004.jpg'] == ('F001', 'angry') and mine['F001/Angry/001.jpg'] == ('F001', 'neutral')
  assert 'F001/Angry/000.jpg' not in mine and 'F001/Sad/002.jpg' in mine
  for text, message in (
    ('F001/Angry,1,9', 'F001/Angry has no frame 009.jpg'),
    ('F001/Smile,1,4', 'there is no sequence F001/Smile'),
    ('F001/Angry,1,', r'row 2: sequence \(F001/Angry\), neutral and apex'),
  ):
    (tmp_path / 'frames.csv').write_text(f'sequence,neutral,apex\n{text}\n')
    with pytest.raises(ValueError, match=message):
      layouts.list_layout('bu4dfe', folder)


def test_celeba_has_drivers_with_or_without_identities(tmp_path):
  folder = write_tree(tmp_path, [f'img_align_celeba/{i:06d}.jpg' for i in (1, 2, 3)])
  assert labels(layouts.list_layout('celeba', folder)[0])['img_align_celeba/000002.jpg'] == ('000002', 'unlabelled')
  (tmp_path / 'identity_CelebA.txt').write_text('000001.jpg 2880\n000003.jpg 2880\n')
  found, skipped = layouts.list_layout('celeba', folder)
  assert [photo.identity for photo in found] == ['2880', '2880']
  assert skipped == {'img_align_celeba/000002.jpg': 'identity_CelebA.txt does not name it'}
  (tmp_path / 'identity_CelebA.txt').write_text('000001.jpg\n')
  with pytest.raises(ValueError, match=r"identity_CelebA.txt, line 1: '000001.jpg' is not a file and a number"):
    layouts.list_layout('celeba', folder)


def test_labels_of_people_come_from_their_folders(tmp_path):
  files = ['0000045/001.jpg', '0000045/b/002.jpg', '0000099/001.png', '0000099/x.txt', 'a.jpg']
  casia = write_tree(tmp_path / 'casia', files)
  found, skipped = layouts.list_layout('casia_webface', casia)
  assert labels(found) == {
    '0000045/001.jpg': ('0000045', 'unlabelled'),
    '0000045/b/002.jpg': ('0000045', 'unlabelled'),
    '0000099/001.png': ('0000099', 'unlabelled'),
  }
  assert skipped == {'a.jpg': 'not in a folder that is named after the person'}

  lfw = write_tree(tmp_path / 'lfw_all', ['lfw/Ann_Lee/Ann_Lee_0001.jpg', 'pairs.txt'])
  assert labels(layouts.list_layout('lfw', lfw)[0]) == {'lfw/Ann_Lee/Ann_Lee_0001.jpg': ('Ann_Lee', 'unlabelled')}
  assert len(layouts.list_layout('lfw', f'{lfw}/lfw')[0]) == 1

  old = write_tree(tmp_path / 'vgg', ['Ann_Lee/00000001.jpg', 'Bo_Ek/00000001.jpg'])
  assert [photo.split for photo in layouts.list_layout('vggface', old)[0]] == ['', '']
  new = write_tree(tmp_path / 'vgg2', ['train/n000002/0001_01.jpg', 'test/n000001/0001_01.jpg', 'train/b.jpg'])
  found, skipped = layouts.list_layout('vggface', new)
  assert {photo.file: (photo.identity, photo.split) for photo in found} == {
    'test/n000001/0001_01.jpg': ('n000001', 'test'),
    'train/n000002/0001_01.jpg': ('n000002', 'train'),
  }
  assert list(skipped) == ['train/b.jpg']


def test_plain_folders_have_no_labels(tmp_path):
  folder = write_tree(tmp_path, ['a.jpg', 'x/y/b.png', 'x/notes.txt', '.hidden.jpg'])
  assert labels(layouts.list_layout('plain', folder)[0]) == {
    'a.jpg': ('a.jpg', 'unlabelled'),
    'x/y/b.png': ('x/y/b.png', 'unlabelled'),
  }


@pytest.mark.parametrize(
  'layout, files, message',
  [
    ('multipie', ['a/001.png'], 'holds none of its pictures; --input must be the folder of session01/multiview'),
    ('ckplus', ['Emotion/a.txt'], 'has no cohn-kanade-images; --input must be the folder of cohn-kanade-images/S005'),
    ('ckplus', ['cohn-kanade-images/a.txt'], 'has no Emotion; --input must be the folder of cohn-kanade-images/S005'),
    ('bu4dfe', ['BU_4DFE/F001/Angry/000.jpg'], 'holds none of its pictures; --input must be the folder of F001/Angry'),
    ('lfw', ['a.txt'], 'holds none of its pictures; --input must be the folder of Aaron_Eckhart/Aaron_Eckhart_0001'),
    ('casia_webface', ['001.jpg'], 'holds none of its pictures; --input must be the folder of 0000045/001.jpg'),
    ('celeba', ['000001.jpg'], 'has no img_align_celeba; --input must be the folder of img_align_celeba/000001.jpg'),
  ],
)
def test_a_missing_part_is_named_with_the_tree_that_is_needed(layout, files, message, tmp_path, capsys):
  folder = write_tree(tmp_path / 'in', files)
  code = commands.run(prepare.main, ['prepare', f'--layout={layout}', f'--input={folder}', f'--output={tmp_path}/out'])
  error = capsys.readouterr().err
  assert code == 2 and error.count('\n') == 1 and f'--layout={layout}: {folder} {message}' in error
  assert not (tmp_path / 'out').exists()


def test_known_data_sets_are_split_by_sorted_names():
  people = [f'{i:03d}' for i in range(337)]
  assert splits.by_name(people, 0.1, 'last') == set(people[303:])  # int(0.9 * 337) of them train
  spread = sorted(splits.by_name([f'F{i:03d}' for i in range(58)] + [f'M{i:03d}' for i in range(43)], 0.1, 'spread'))
  assert len(spread) == 11 and sum(name[0] == 'F' for name in spread) == 6
  assert splits.by_name(people, 0.1, 'all') == set(people)


def test_multipie_and_celeba_become_data_sets(tmp_path, capsys):
  faces = builders.rendered_faces()
  drivers = tmp_path / 'celeba' / 'img_align_celeba'
  drivers.mkdir(parents=True)
  for i, subject in enumerate(('001', '002', '250')):
    for j, recording in enumerate(('01', '02')):
      camera = tmp_path / 'pie' / 'session01' / 'multiview' / subject / recording / '14_0'
      camera.mkdir(parents=True)
      Image.fromarray(faces[i, j]).save(camera / f'{subject}_01_{recording}_140_08.png')
    Image.fromarray(faces[i, 1]).save(drivers / f'{i + 1:06d}.jpg', quality=95)

  def run(layout, *flags):
    arguments = [f'--layout={layout}', f'--output={tmp_path}/{layout}.data', '--processes=1', *flags]
    code = commands.run(prepare.main, ['prepare', *arguments])
    return code, capsys.readouterr()

  assert run('multipie', f'--input={tmp_path}/pie')[0] == 0
  data = dataset.open_dataset(str(tmp_path / 'multipie.data'))
  index = data.index('train')
  assert data.expressions == ['neutral', 'smile'] and len(index['file']) == 4 and data.count('test') == 2
  assert [data.identities[i] for i in data.index('test')['identity']] == ['250', '250']
  assert set(index['pose']) == {-15} and set(index['light']) == {8}

  # The same pictures as people without expressions, in GANFaces' crop.
  people = [f'--input={tmp_path}/pie/session01/multiview', '--alignment=box', '--detector=dlib', '--crop_size=64']
  assert run('casia_webface', *people)[0] == 0
  boxed = dataset.open_dataset(str(tmp_path / 'casia_webface.data'))
  assert boxed.expressions == ['unlabelled'] and boxed.fingerprint['detector'] == 'dlib'
  assert boxed.count('train') == 4 and boxed.count('test') == 2
  eyes = boxed.index('train')['landmarks'][:, 36:48].mean(axis=(0, 1))
  assert np.abs(eyes - [0, -0.22]).max() < 0.08
  code, text = run('plain', '--detector=mtcnn', f'--input={tmp_path}/pie')
  assert code == 2 and '--detector=mtcnn is for --alignment=box' in text.err

  code, text = run('celeba', f'--input={tmp_path}/celeba', '--test_identities=1')
  assert code == 2 and 'all of these are driving faces' in text.err
  assert run('celeba', f'--input={tmp_path}/celeba', '--limit=2')[0] == 0
  drivers = dataset.open_dataset(str(tmp_path / 'celeba.data'))
  assert drivers.splits == ['test'] and drivers.count('test') == 2
  statistics = json.loads((tmp_path / 'multipie.data' / 'statistics.json').read_text())
  assert statistics['splits']['test']['people'] == ['250'] and statistics['skipped'] == {}
