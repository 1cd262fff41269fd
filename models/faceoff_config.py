"""Settings of the CycleGAN face-off, and which of them contradict each other."""

import dataclasses
from typing import ClassVar

from models.config import DataConfig, RunConfig, option


@dataclasses.dataclass(frozen=True)
class FaceOffConfig(DataConfig, RunConfig):
  """Settings of face-off. The defaults are the paper's baseline, as far as it and the released code say."""

  system: ClassVar[str] = 'faceoff'

  # Data.
  dataset: str = option('synthetic_actors', 'synthetic_actors (rendered on first use), or the path of two videos that '
                        'are prepared (--layout=two_videos).')
  pair: str = option('A2B', 'Which of the rendered actors: B differs from A in sex, C in the length of hair, D in '
                     'scale.', choices=('A2B', 'A2C', 'A2D'))
  images_per_identity: int = option(2000, 'Rendered training frames of each actor.', low=2)
  test_frames: int = option(200, 'Rendered frames of each actor that are held out.', low=2)
  frame_rate: float = option(25.0, 'Rendered frames a second. Fewer show more motion in as many frames.', low=1.0,
                             high=60.0)
  largest_yaw: float = option(20.0, 'Rendered heads turn by up to so many degrees, nod by half of it and tilt by two '
                              'fifths; half as far again in half of the held-out frames.', low=0.0, high=40.0)
  load_size: int = option(286, 'Height and width of the frames, of which a random square of image_size is cut out.',
                          low=16, high=1024)
  masks: str = option('face', 'What the masks show: the face, or the whole person.', choices=('face', 'person'))
  alignment: str = option('centre', 'How frames are cut out: centre, the middle square of the picture [paper]; '
                          'enlarged, a square that follows the face.', choices=('centre', 'enlarged'))
  enlargement: float = option(1.6, "Side of that square over that of the face detector's.", low=0.8, high=4.0)
  augment_flip: bool = option(True, 'Mirror half of the training frames.')

  # Networks.
  batch_size: int = option(1, 'Pictures of each domain per step, over all replicas.', low=1)
  image_size: int = option(256, 'Height and width of the pictures; a multiple of 4.', low=16, high=512)
  width: float = option(1.0, 'Multiplies the channels of all networks but RGB and scores.', low=1 / 64, high=4.0)
  generator: str = option('resnet', 'Generators: resnet, or unet, of as many halvings as leave one cell.',
                          choices=('resnet', 'unet'))
  blocks: int = option(0, 'Residual blocks of a resnet; 0 is 9 from 256 pixels on and 6 below.', low=0, high=30)
  dropout: float = option(0.0, 'Share of features that dropouts in the generators remove: in every residual block, in '
                          'the three inner maps of a unet; 0.5 [released code].', low=0.0, high=0.9)
  discriminator_layers: int = option(3, 'Halvings n of the PatchGAN: it sees 70 pixels at 3, 286 at 5.', low=1, high=7)
  second_discriminator_layers: int = option(0, 'Halvings of a second discriminator of each domain; 0 is none.', low=0,
                                            high=7)
  discriminator_share: float = option(0.5, "The first discriminator's share in what the generators minimise, where "
                                      'there are two (lambda of Eq. 7).', low=0.0, high=1.0)
  initial_weights: str = option('normal', 'First weights: normal, N(0, 0.02) [CycleGAN]; xavier, normal of gain 1 '
                                '[released code].', choices=('normal', 'xavier'))

  # Losses.
  adversarial: str = option('lsgan', 'The game: lsgan; wgan, whose critics are clipped; wgan_gp, whose critics have a '
                            'gradient penalty and all optimizers the moments of that paper.',
                            choices=('lsgan', 'wgan', 'wgan_gp'))
  critic_steps: int = option(1, 'Updates of the discriminators per step. With more than one they come first, and each '
                             'sees further pictures.', low=1, high=20)
  clip: float = option(0.01, 'adversarial=wgan keeps the weights of the critics within plus and minus this.', low=1e-6)
  penalty_weight: float = option(10.0, 'Weight of the gradient penalty of adversarial=wgan_gp.', low=1e-6)
  cycle_weight: float = option(10.0, 'Weight of the cycle losses (lambda of Eq. 1) [released code].', low=0.0)
  identity_weight: float = option(0.0, 'Weight of |G(b) - b|, as a share of cycle_weight; 0 is none [paper].', low=0.0)
  ssim_weight: float = option(0.0, 'Weight of 1 - SSIM between pictures and what comes back of them; 0 is none.',
                              low=0.0)
  ssim_form: str = option('multi_scale', 'SSIM: multi_scale [paper] or single, both of values in [0, 1]; released, '
                          'single of values in [-1, 1], for which its constants are not made.',
                          choices=('multi_scale', 'single', 'released'))
  mask_weight: float = option(0.0, 'The cycle losses count the face 1 plus this, the rest 1 (w_mask); 0 is none.',
                              low=0.0)
  crop_mask: bool = option(False, 'All but the face is black in what the networks see.')
  pool_size: int = option(50, 'Fakes that each place of the batch keeps for the discriminators, which get an older one '
                          'half of the time; 0 is none.', low=0, high=1000)

  # Schedule.
  train_steps: int = option(400_000, 'Steps of the game; 200 epochs of 2,000 frames.', low=0)
  learning_rate: float = option(2e-4, 'Rate of every optimizer.', low=0.0)
  constant_steps: int = option(200_000, 'Steps before the rate falls.', low=0)
  decay_steps: int = option(200_000, 'Steps in which it falls to 0, on a line; 0 holds it for ever.', low=0)
  optimizer: str = option('adam', "Optimizers: adam, or rmsprop (WGAN's).", choices=('adam', 'rmsprop'))
  ema_decay: float = option(0.0, 'Decay of the average of the generators that are evaluated; 0 is none [paper].',
                            low=0.0, high=0.99999)

  @property
  def residual_blocks(self) -> int:
    """How many blocks a resnet has."""
    return self.blocks or (9 if self.image_size >= 256 else 6)

  @property
  def patch_layers(self) -> list[int]:
    """The halvings of each discriminator of a domain."""
    return [self.discriminator_layers, *[self.second_discriminator_layers] * (self.second_discriminator_layers > 0)]

  @property
  def discriminator_shares(self) -> list[float]:
    """What each discriminator of a domain counts for the generators."""
    share = self.discriminator_share
    return [share, 1 - share] if self.second_discriminator_layers else [1.0]

  def _contradictions(self) -> list[tuple[bool, str, tuple[str, ...]]]:
    size = self.image_size
    return [
        (size > self.load_size,
         f'image_size={size} is cut out of load_size={self.load_size}, which has to be at least as large: set one so '
         'that it is (the paper cuts 256 out of 286)', ('image_size', 'load_size')),
        (self.dataset == 'synthetic_actors' and self.alignment != 'centre',
         f'alignment={self.alignment} is for prepared videos: the camera of dataset=synthetic_actors stands still',
         ('alignment', 'dataset')),
        (size % 4 != 0, f'image_size={size} is not a multiple of 4: 128 and 256 are usual', ('image_size',)),
        (self.generator == 'unet' and size.bit_count() != 1,
         f'generator=unet halves image_size={size} down to one cell: set a power of two', ('image_size', 'generator')),
        (self.generator == 'unet' and self.blocks > 0,
         f'blocks={self.blocks} are those of a resnet, and generator=unet has none: set one of them',
         ('blocks', 'generator')),
        (self.generator == 'unet' and self.dropout > 0 and size <= 32,
         f'dropout={self.dropout} has no place in a unet of image_size={size}: it needs 64', ('dropout', 'image_size')),
        *[(patch_map(size, layers) < 2,
           f'{name}={layers} leaves {max(patch_map(size, layers), 0)} x {max(patch_map(size, layers), 0)} scores at '
           f'image_size={size}, and 2 x 2 are needed: set at most {size.bit_length() - 3}', (name, 'image_size'))
          for name in ('discriminator_layers', 'second_discriminator_layers') if (layers := getattr(self, name)) > 0],
        (self.discriminator_share != 0.5 and self.second_discriminator_layers == 0,
         f'discriminator_share={self.discriminator_share} needs a second discriminator: set '
         'second_discriminator_layers', ('discriminator_share', 'second_discriminator_layers')),
        (0 < self.decay_steps < self.train_steps - self.constant_steps,
         f'train_steps={self.train_steps} go on where the rate is 0, beyond constant_steps={self.constant_steps} and '
         f'decay_steps={self.decay_steps}: raise one of these, or set decay_steps=0, which holds the rate',
         ('train_steps', 'constant_steps', 'decay_steps')),
        (self.critic_steps > 1 and self.pool_size > 0,
         f'critic_steps={self.critic_steps} see fresh fakes, and pool_size={self.pool_size} keeps old ones: set '
         'pool_size=0', ('critic_steps', 'pool_size')),
        (self.identity_weight > 0 and self.cycle_weight == 0,
         f'identity_weight={self.identity_weight} is a share of cycle_weight=0: raise that',
         ('identity_weight', 'cycle_weight')),
        (self.ssim_form != 'multi_scale' and self.ssim_weight == 0,
         f'ssim_form={self.ssim_form} has no effect with ssim_weight=0: set both', ('ssim_form', 'ssim_weight')),
        (self.mask_weight > 0 and self.cycle_weight == 0,
         f'mask_weight={self.mask_weight} weighs the cycle loss, and cycle_weight=0 removes that: raise it',
         ('mask_weight', 'cycle_weight')),
    ]

  @classmethod
  def tiny(cls, **changes) -> 'FaceOffConfig':
    """The smallest real face-off, for tests; its rate is low, as Adam amplifies rounding in so small batches."""
    return cls(**{'load_size': changes.get('image_size', 32) * 9 // 8, 'images_per_identity': 4, 'test_frames': 4,
                  'frame_rate': 5.0, 'image_size': 32, 'width': 1 / 16, 'blocks': 2, 'batch_size': 4, 'pool_size': 2,
                  'train_steps': 2, 'learning_rate': 2e-5, **changes})


def patch_map(image_size: int, layers: int) -> int:
  """Cells along the scores of a PatchGAN of so many halvings; each halving drops an odd cell."""
  return (image_size >> layers) - 2
