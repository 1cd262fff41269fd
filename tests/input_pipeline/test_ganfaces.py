import csv
import io
import pathlib

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from input_pipeline import alignment, boxes, ganfaces, renders, scenes, shards, stand_ins, worlds
from models.config import ConfigError
from models.face3d import draw_light, load_face_model
from models.face3d.shading import irradiance
from models.ganfaces_config import GANFacesConfig
from tests.input_pipeline import builders
from tests.input_pipeline.builders import assert_same, batches

SHARED = pathlib.Path(__file__).parents[3] / 'shared' / 'data'
SIZE = 32


@pytest.fixture(scope='module')
def cache(tmp_path_factory):
  return tmp_path_factory.mktemp('cache')


def make(cache, **fields):
  return GANFacesConfig.tiny(**{'data_dir': str(cache), 'image_size': SIZE, 'batch_size': 4} | fields)


@pytest.fixture(scope='module')
def domains(cache):
  # One process, since starting others takes longer than these few pictures.
  config = make(cache)
  world = stand_ins.World(stand_ins.settings(config), '')
  stand_ins.stand_in_dataset(config, processes=1)
  renders.render_dataset(config, renders.make_world(config, stand_ins.pair_parameters(world)), processes=1)
  return ganfaces.Domains(config)


def test_batch_keeps_the_contract(domains):
  source = domains.batches(0, 3, 'train')
  assert source.element_spec == domains.spec()
  for batch in source.as_numpy_iterator():
    assert batch['label'].min() >= 0 and batch['label'].max() < domains.config.identities
    face = batch['render_mask'][..., 0] == 1
    assert (batch['render'][~face] == -1).all() and (batch['render'][face].max(axis=-1) > -1).all()
    assert 0.2 < face.mean() < 0.8
    # Photographs have no black frame, and each pair shows one head in one place.
    assert (batch['photo'] > -1).mean() > 0.9
    for photo, render in zip(batch['pair_photo'], batch['pair_render'], strict=True):
      seen = render.max(axis=-1) > -1
      assert np.corrcoef(photo[seen].ravel(), render[seen].ravel())[0, 1] > 0.4


def test_batch_is_a_function_of_seed_phase_and_step(domains, cache):
  whole = batches(domains, 1_000_000, 1_000_004, 'train')
  assert_same(whole[3], batches(domains, 1_000_003, 1_000_004, 'train')[0])
  for other in (batches(domains, 1_000_000, 1_000_001, 'warm'),
                batches(ganfaces.Domains(make(cache, seed=1)), 1_000_000, 1_000_001, 'train')):  # fmt: skip
    assert all(not np.array_equal(other[0][key], whole[0][key]) for key in ('render', 'photo', 'pair_photo'))
  parts = [batches(domains, 1_000_000, 1_000_001, 'train', worker=w, workers=2)[0] for w in range(2)]
  assert_same(whole[0], {key: np.concatenate([part[key] for part in parts]) for key in parts[0]})
  assert_same(whole[0], batches(ganfaces.Domains(make(cache, cache_gb=0.0)), 1_000_000, 1_000_001, 'train')[0])


def test_domains_are_drawn_from_independently(domains):
  rows = {}
  for domain in domains.domains:
    count = domains.data(domain).count(domains.split(domain))
    seeds = ganfaces.steps.phase_seeds(domains.config, f'train/{domain}')
    rows[domain] = ganfaces.steps.shuffled(tf.range(4 * count, dtype=tf.int64), 4, seeds).numpy()[:16].tolist()
  assert len({tuple(order) for order in rows.values()}) == 3


def test_held_out_people_are_others(domains):
  held = domains.held_out(3)
  assert held['render'].shape == (3, SIZE, SIZE, 3) and held['label'].min() >= domains.config.identities
  assert len(set(held['label'][:2])) == 2
  for domain in domains.domains:
    mine, others = (set(domains.data(domain).index(domains.split(domain, held))['identity']) for held in (False, True))
    assert mine and others and not mine & others
  people = [set(domains.photos.index(split)['identity']) for split in stand_ins.SPLITS]
  assert len(set().union(*people)) == sum(map(len, people))


def test_augmentation_changes_photographs_alone(domains, cache):
  plain = batches(domains, 0, 1, 'train')[0]
  changed = batches(ganfaces.Domains(make(cache, augment_flip=True, augment_shift=0.1)), 0, 1, 'train')[0]
  assert not np.array_equal(plain.pop('photo'), changed.pop('photo'))
  assert_same(plain, changed)


def test_without_a_pair_loss_there_are_no_pairs(cache):
  config = make(cache, pair_weight=0.0, dataset='/nowhere')
  assert not {'pair_photo', 'pair_render'} & set(ganfaces.Domains(config).spec())


def test_describe_says_that_they_are_stand_ins(domains, tmp_path):
  text = '\n'.join(domains.describe())
  assert 'renders: 6 people (2 more held out) x 2 pictures = 12' in text and stand_ins.NOTE in text
  assert 'pairs: 4 of 2 people in pairs, 4 of 2 people in pairs_test' in text and 'held in memory' in text
  assert domains.note == stand_ins.NOTE
  assert 'will be rendered into' in '\n'.join(ganfaces.Domains(make(tmp_path)).describe())
  assert not list(tmp_path.iterdir())


def test_a_shard_is_made_again_alike(domains):
  world = stand_ins.World(stand_ins.settings(domains.config), '')
  again = list(stand_ins.make_examples('pairs', 0, world=world))
  stored = tf.io.parse_example(
    tf.constant(domains.photos.records('pairs', range(len(again)))),
    {key: tf.io.FixedLenFeature([], tf.string) for key in ('image', 'render')},
  )
  for key, files in stored.items():
    for example, file in zip(again, files.numpy(), strict=True):
      pictures = [np.asarray(Image.open(io.BytesIO(data))) for data in (example[key], file)]
      np.testing.assert_array_equal(*pictures)
  # The stored parameters draw the stored render, in the file's order.
  model = load_face_model()
  found = scenes.unpack(np.stack([example['parameters'] for example in again]), model)
  image, points = scenes.render_plain(model, found, SIZE)
  np.testing.assert_array_equal(image[-1], np.asarray(Image.open(io.BytesIO(again[-1]['render']))))
  np.testing.assert_allclose(points[-1], again[-1]['landmarks'], atol=1e-5)


def test_eyes_of_renders_stand_ins_and_photographs_agree(cache):
  # Two pixels of 108; positions do not depend on the size, so that a small one will do.
  config = make(cache, image_size=16, identities=24, stand_ins=4, stand_in_pairs=48)
  world = stand_ins.World(stand_ins.settings(config), '')
  found = stand_ins.pair_parameters(world)
  drawn = renders.make_world(config, found)
  parameters = renders.draw_parameters(drawn, [(person, number) for person in range(24) for number in range(2)])
  assert np.ptp(parameters['pose'][:, 1]) > 0.6  # yaw is there
  model = load_face_model()
  eyes = {'renders': ganfaces.eye_centres(scenes.render_plain(model, parameters, 16)[1])}
  looks = [world.person(person) for person in world.people('pairs') for _ in range(2)]
  mine = {key: found[key] for key in ('expression', 'pose', 'light')}
  mine |= {key: np.stack([getattr(look, key) for look in looks]) for key in ('identity', 'albedo')}
  noise = np.stack([scenes.draw_noise(worlds.generator(row)) for row in range(len(looks))])
  mine['translation'] = scenes.stand(model, mine['identity'], mine['expression'], mine['pose'], noise)
  eyes['stand-ins'] = ganfaces.eye_centres(scenes.render_plain(model, mine, 16)[1])
  if SHARED.is_dir():
    with open(SHARED / 'landmarks68.csv') as file:
      rows = [row for row in csv.reader(file) if row[0].startswith('clear/')]
    points = [np.array(row[1:137], float).reshape(68, 2) for row in rows]
    marks = [alignment.normalize(alignment.transform_points(p, boxes.align(p, 108)), 108) for p in points]
    eyes['photographs'] = ganfaces.eye_centres(np.stack(marks))
  for name, place in eyes.items():
    assert np.linalg.norm(place - eyes['renders']) * 54 < 2, (name, eyes)


def test_heads_fill_the_crop_exactly():
  model = load_face_model()
  world = stand_ins.World({'images_per_identity': 1, 'photographs': 3, 'pairs': 3, 'world_seed': 0}, '')
  looks = [world.person(person) for person in world.people('pairs')]
  angles = np.array([[0, 0, 0], [0, 0.6, 0], [0.2, -0.5, 0.2]])
  shape = (np.stack([look.identity for look in looks]), np.zeros([3, 1]), angles)
  noise = np.array([[0, 0, 0], [0.02, -0.01, 0.05], [0, 0, 0]])
  parameters = dict(zip(('identity', 'expression', 'pose'), shape, strict=True))
  parameters |= {'albedo': np.stack([look.albedo for look in looks]), 'light': np.ones([3, 9, 3])}
  parameters['translation'] = scenes.stand(model, *shape, noise)
  points = scenes.render_plain(model, parameters, 16)[1]
  box = boxes.detector_box(points)
  left, top, side = boxes.crop_box(box + noise * box[:, 2:]).T
  np.testing.assert_allclose([left, top, side], [[-1] * 3, [-1] * 3, [2] * 3], atol=2e-3)


def test_gaussian_keeps_mean_covariance_and_range():
  random = np.random.default_rng(0)
  rows = random.normal(size=[500, 3]) @ [[1, 0.5, 0], [0, 1, 0.3], [0, 0, 0.2]] + [1, 2, 3]
  fitted = scenes.Gaussian.fit(rows)
  np.testing.assert_allclose(fitted.root @ fitted.root.T, np.cov(rows.T), atol=1e-9)
  drawn = np.stack([fitted.draw(random) for _ in range(4000)])
  np.testing.assert_allclose(drawn.mean(axis=0), rows.mean(axis=0), atol=0.1)
  assert (drawn >= rows.min(axis=0) - 1e-5).all() and (drawn <= rows.max(axis=0) + 1e-5).all()
  few = scenes.Gaussian.fit(rows[:2])  # fewer rows than numbers
  assert few.root.shape == (3, 2) and np.isfinite(few.draw(random)).all()


def test_plain_light_is_the_portraits_light():
  light = draw_light([3, 4], ['left', 'front'])
  normals = tf.math.l2_normalize(tf.constant(np.random.default_rng(0).normal(size=[2, 500, 3]), tf.float32), -1)
  found = irradiance(normals, tf.constant(scenes.plain_light(light)))
  truth = irradiance(normals, light.harmonics)
  for number in range(light.directions.shape[1]):
    toward = tf.math.l2_normalize(light.directions[:, number], -1)
    cosine = tf.nn.relu(tf.einsum('bnk,bk->bn', normals, toward))
    truth += cosine[..., None] * light.colors[:, None, number]
  # Nine harmonics of a clamped cosine are off by 9 % of its mean, in the mean over the sphere.
  assert np.abs(found - truth).mean() < 0.08 * np.mean(truth)


def test_a_camera_is_not_a_renderer():
  flat = np.full([32, 32, 3], 0.5)
  first, again, other = (stand_ins.photograph(flat, np.random.default_rng(seed)) for seed in (1, 1, 2))
  np.testing.assert_array_equal(first, again)
  assert first.std() > 1 and not np.array_equal(first, other)


@pytest.mark.parametrize(
  'fields, message',
  [
    ({}, r'^dataset=.* has no pairs: fit its photographs \(python -m input_pipeline.fit .*pass --pairs=FITS'),
    ({'pair_weight': 0.0}, '^dataset=.* was cut out with alignment=None; .*--alignment=box'),
  ],
)
def test_photographs_that_do_not_fit_are_refused(fields, message, tmp_path):
  path = builders.write_faces(tmp_path / 'data')
  source = ganfaces.Domains(make(tmp_path, dataset=str(path), **fields))
  with pytest.raises(ConfigError, match=message) as caught:
    source.describe()
    source.batches(0, 1, 'train')
  assert '\n' not in str(caught.value)


def test_a_model_without_paint_cannot_stand_in(tmp_path, monkeypatch):
  model = load_face_model()
  bare = type('Bare', (), {'extras': {}, '__getattr__': lambda self, name: getattr(model, name)})()
  monkeypatch.setattr(worlds, 'load_face_model', lambda path: bare)
  with pytest.raises(ConfigError, match='^face_model=.* has no painted skin.*--dataset=PATH'):
    stand_ins.stand_in_dataset(make(tmp_path))
  assert shards.read_fingerprint(str(tmp_path)) is None
