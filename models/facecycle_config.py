"""Settings of FaceCycle, and which of them contradict each other."""

import dataclasses
from typing import ClassVar

from models.config import DataConfig, RunConfig, option


@dataclasses.dataclass(frozen=True)
class FaceCycleConfig(DataConfig, RunConfig):
  """Settings of FaceCycle. The defaults are the paper's, as far as it and the released code say."""

  system: ClassVar[str] = 'facecycle'

  # Data.
  dataset: str = option('synthetic_video', 'synthetic_video (talking heads, rendered on first use), or the path of a '
                        'prepared set of tracks.')
  alignment: str = option('enlarged', "How faces are cut out: enlarged, the face detector's square times enlargement; "
                          'nothing is warped.', choices=('enlarged',))
  enlargement: float = option(1.6, "Side of the crop over that of the detector's square; 1.6 is VoxCeleb's.", low=0.8,
                              high=4.0)
  images_per_identity: int = option(24, 'Rendered frames of each synthetic person.', low=2)
  frames_per_track: int = option(12, 'Rendered frames of a track at most; the next one of the person has another '
                                 'light and background.', low=2)
  tracks: int = option(0, "Training tracks that are used, drawn by a fixed seed, as in Table 1's arms with fewer of "
                       'them; 0 is all.', low=0)
  largest_yaw: float = option(20.0, 'Rendered heads turn by up to so many degrees, nod by half of it and tilt by two '
                              'fifths.', low=0.0, high=60.0)
  p_flip: float = option(0.0, 'How often the second frame of a pair is the mirrored first one, instead of another '
                         "frame of the track: 0 [paper], 1 (Table 1's flip arm), 0.5 [released code].", low=0.0,
                         high=1.0)
  shared_flip: bool = option(True, 'Both frames of a pair are mirrored or none [choice]; false mirrors each by itself '
                             '[released code], which makes half of all pairs mirrored ones.')
  augment_flip: bool = option(True, 'Mirror half of the training frames.')
  augment_scale: float = option(0.05, 'Cut a part of 1 plus or minus this share of the area out of each frame, in a '
                                'shape as much off the square.', low=0.0, high=0.5)
  augment_colour: float = option(0.05, 'Change brightness, contrast and saturation of four frames in five by up to '
                                 'this share, and their hue by up to a fifth of it as a share of the circle.', low=0.0,
                                 high=0.5)

  # Networks.
  batch_size: int = option(16, 'Pairs of frames per step, over all replicas.', low=1)
  image_size: int = option(64, 'Height and width of the pictures; a multiple of 16.', low=32, high=256)
  width: float = option(1.0, 'Multiplies the channels of all networks but codes, flow and RGB.', low=1 / 64, high=4.0)
  vgg19_weights: str = option('', 'Weights of VGG-19, the front end of both decoders and the network of the Gram loss: '
                              "imagenet (Keras' download), a file that Keras made of them, or none.")
  front_end: str = option('fixed', 'Front end: fixed [paper], or joint, trained with the decoder of stage 1 (the Gram '
                          'network stays as it was).', choices=('fixed', 'joint'))
  backward_flow: str = option('fixed_point', 'Inverse of a flow: fixed_point [choice], five steps of b = -f(id + b); '
                              'released, -f(id + f) [released code], which misses it.',
                              choices=('fixed_point', 'released'))
  code_end: str = option('tanh', 'What the codes end with: tanh [released code], or l2, unit length [its older '
                         "variant], which cannot saturate: at higher rates than the paper's all codes become one "
                         "corner of tanh's cube, whatever the picture shows.", choices=('tanh', 'l2'))
  affine: str = option('mlp', "What turns an identity code into AdaIN's scales and offsets: mlp, 256-128-128-256 "
                       '[paper], or linear [released code].', choices=('mlp', 'linear'))
  flow_deviation: float = option(0.05, 'Standard deviation of the first weights of the last two layers of the flow '
                                 'decoder [released code].', low=0.0, high=1.0)
  noise: float = option(1.0, 'Standard deviation of the noise that fills what a warp uncovers, in training [released '
                        'code].', low=0.0)

  # Losses.
  pixel_weight: float = option(1.0, 'Weight of the L1 losses; 0 removes them.', low=0.0)
  ssim_weight: float = option(5.0, 'Weight of the SSIM losses; 0 removes them.', low=0.0)
  symmetry_weight: float = option(1.5, 'Weight of the symmetry of neutral faces; 0 removes it.', low=0.0)
  gram_weight: float = option(0.01, 'Weight of the perceptual (Gram) loss; 0 removes it.', low=0.0)
  warp_weight: float = option(1.5, 'Weight of the warped picture among the L1 and SSIM losses of stage 1.', low=0.0)
  identity_warp_weight: float = option(0.8, 'The same in stage 2.', low=0.0)
  margin_weight: float = option(1.0, 'Weight of the margin between mean and neutral faces in stage 2; 0 removes it.',
                                low=0.0)
  margin: float = option(0.1, 'How far the mean face may lie from a neutral face for nothing.', low=0.0)
  margin_form: str = option('hinge', 'hinge: max(0, |difference| - margin) [paper]; released: |difference| - margin, '
                            'which is no margin.', choices=('hinge', 'released'))
  ssim_range: str = option('unit', 'Values that SSIM sees: unit, [0, 1], for which its constants are made [choice]; '
                           'normalised, as the networks see them [released code].', choices=('unit', 'normalised'))

  # Schedule.
  stage: str = option('both', 'Which stages are trained: 1, the facial-motion cycle; 2, the identity cycle, on a stage '
                      '1 given by init_from; both.', choices=('1', '2', 'both'))
  front_steps: int = option(0, 'Steps that train the front end on masked pictures before stage 1, where there are no '
                            'weights of VGG-19; 0 leaves it random.', low=0)
  front_learning_rate: float = option(1e-3, 'Rate of these steps; it falls to its tenth on a cosine.', low=0.0)
  motion_steps: int = option(200_000, 'Steps of stage 1.', low=0)
  train_steps: int = option(100_000, 'Steps of stage 2.', low=0)
  motion_learning_rate: float = option(5e-5, 'Highest rate of stage 1.', low=0.0)
  learning_rate: float = option(1e-4, 'Highest rate of stage 2.', low=0.0)
  motion_schedule_steps: int = option(200_000, 'Steps that the schedule of stage 1 lasts.', low=1)
  schedule_steps: int = option(100_000, 'Steps that the schedule of stage 2 lasts.', low=1)
  schedule: str = option('paper', 'Rates: paper, a fifth (stage 2: half) for the first epoch of 40 (20), then all, in '
                         'the second half a fifth (a tenth); cosine, a rise over a hundredth of the steps, then a fall '
                         'to a hundredth of the rate.', choices=('paper', 'cosine'))
  ema_decay: float = option(0.0, 'Decay of the average of the networks that are evaluated; 0 is none [paper].',
                            low=0.0, high=0.99999)

  def _contradictions(self) -> list[tuple[bool, str, tuple[str, ...]]]:
    return [
        (self.image_size % 16 != 0, f'image_size={self.image_size} is not a multiple of 16: 64 and 128 are usual',
         ('image_size',)),
        (self.vgg19_weights != '' and self.width != 1,
         f'vgg19_weights={self.vgg19_weights} is as wide as VGG-19, and width={self.width} is not: set width=1, or '
         'leave the weights out', ('vgg19_weights', 'width')),
        (self.vgg19_weights != '' and self.front_steps > 0,
         f'front_steps={self.front_steps} would train over vgg19_weights={self.vgg19_weights}: set one of them',
         ('front_steps', 'vgg19_weights')),
        (self.stage == '2' and not self.init_from,
         'stage=2 needs the networks of stage 1: set init_from=RUN, or stage=both', ('stage', 'init_from')),
        (self.margin_weight == 0 and self.margin_form == 'released',
         'margin_form=released has no effect with margin_weight=0: set one of them',
         ('margin_form', 'margin_weight')),
        (self.pixel_weight == 0 and self.ssim_weight == 0,
         'pixel_weight=0 and ssim_weight=0 leave nothing that has to look like the picture: raise one',
         ('pixel_weight', 'ssim_weight')),
    ]

  @classmethod
  def tiny(cls, **changes) -> 'FaceCycleConfig':
    """The smallest real FaceCycle, for tests; its rates are low, as Adam amplifies rounding in so small batches."""
    return cls(**{'image_size': 32, 'width': 1 / 16, 'batch_size': 4, 'front_steps': 2, 'motion_steps': 2,
                  'train_steps': 2, 'motion_schedule_steps': 100, 'schedule_steps': 100, 'front_learning_rate': 5e-5,
                  'motion_learning_rate': 2e-5, 'learning_rate': 2e-5, **changes})
