"""Settings of the recogniser, and which of them contradict each other."""

import dataclasses
import math
from typing import ClassVar

from models.config import DataConfig, RunConfig, option


@dataclasses.dataclass(frozen=True)
class RecognitionConfig(DataConfig, RunConfig):
  """Settings of the recogniser of GANFaces' experiments. The defaults are the paper's, and the released code's where it
  is silent."""

  system: ClassVar[str] = 'recognition'

  # Data.
  dataset: str = option('synthetic', 'The real identities: synthetic (rendered people as a camera would show them, the '
                        'stand-ins of GANFaces), or the path of a prepared set with several pictures of each person.')
  classes: int = option(0, 'Training people of the data set; 0: those of dataset=synthetic.', low=0)
  real_share: float = option(1.0, 'Share of these people who are trained on, drawn by the seed, with all their '
                             'pictures; a smaller share is part of a larger one.', low=0.01, high=1.0)
  generated: str = option('', 'The generated identities, which have a head of their own: renders (the plain renders of '
                          'GANFaces), or the path of a prepared set, such as evaluate.generate writes; empty: none.')
  generated_classes: int = option(0, 'Training people of the generated set who are used, the first ones; 0: all of '
                                  'generated=renders.', low=0)
  generated_share: float = option(0.0, 'Share of generated pictures in a batch; 0: as chance has it, all pictures of '
                                  'both sets come in one order [released code].', low=0.0, high=0.9)
  stand_ins: int = option(20_000, 'Pictures of dataset=synthetic, images_per_identity of each person.', low=4)
  stand_in_pairs: int = option(5_000, 'Stand-ins of other people, by whose expressions, poses and lights renders are '
                               'drawn.', low=2)
  identities: int = option(10_000, 'People of generated=renders.', low=4)
  renders_per_identity: int = option(50, 'Renders of each.', low=1)
  alignment: str = option('box', 'How faces are cut out: box, as photographs for GANFaces and what it generates are; '
                          'paper or similarity.', choices=('box', 'paper', 'similarity'))
  image_size: int = option(108, 'Height and width of the pictures, of which a random square of 96 pixels is seen; '
                           'smaller pictures than that are enlarged to it.', low=32, high=108)
  augment_flip: bool = option(True, 'Mirror half of the training pictures [paper].')

  # Network.
  backbone: str = option('vgg19', 'What makes the code: vgg19 [paper], or nn4, which is smaller, normalises, and '
                         'learns without weights of ImageNet.', choices=('vgg19', 'nn4'))
  width: float = option(1.0, 'Multiplies the channels of the backbone.', low=1 / 64, high=4.0)
  head: str = option('paper', 'Where the two softmax layers stand: paper, behind fc7, which is the code, as the last '
                     'layer is removed; released, behind fc8, whose 1,000 scores are the code, at a tenth of the rates '
                     '[released code].', choices=('paper', 'released'))
  vgg19_weights: str = option('', 'Weights of VGG-19 at the start: the path of '
                              'vgg19_weights_tf_dim_ordering_tf_kernels.h5, or imagenet, which Keras downloads; empty: '
                              'random.')

  # Training.
  train_steps: int = option(80_000, 'Steps [paper].', low=0)
  batch_size: int = option(90, 'Pictures per step, of both sets together, over all replicas [released code].', low=1)
  generated_gradient: float = option(0.5, "Share of the generated head's gradient that the backbone takes [paper].",
                                     low=0.0, high=1.0)
  uniform_weight: float = option(0.0, 'Weight of a loss that wants the real head to know nobody on generated pictures '
                                 '(lambda_K); 0 is none.', low=0.0)
  dropout: float = option(0.2, 'Share of features that is dropped, behind fc6 and fc7, or before the code of NN4 '
                          '[released code].', low=0.0, high=0.9)
  weight_decay: float = option(5e-5, 'Weight of half the sum of squares of all kernels [released code]; 0 removes it.',
                               low=0.0)
  learning_rate: float = option(0.01, "Initial rate of the backbone's Adam [paper]; head=released takes a tenth.",
                                low=0.0)
  head_learning_rate: float = option(0.1, "Initial rate of the heads' Adam [paper]; head=released takes a tenth.",
                                     low=0.0)
  learning_rate_decay: float = option(0.95, 'What both rates are multiplied by at each decay [released code].', low=0.0,
                                      high=1.0)
  learning_rate_decay_every: int = option(1000, 'Steps between two decays [released code].', low=1)
  adam_epsilon: float = option(0.1, 'Epsilon of Adam; with a usual one, rates as large as these would move each weight '
                               'by them [released code].', low=1e-10)
  ema_decay: float = option(0.9999, 'Decay of the average of the backbone that is evaluated [released code]; 0 is '
                            'none.', low=0.0, high=0.99999)

  def _contradictions(self) -> list[tuple[bool, str, tuple[str, ...]]]:
    given = self.generated not in ('', 'renders')
    return [
        (self.alignment != 'box' and (self.dataset == 'synthetic' or self.generated == 'renders'),
         f'alignment={self.alignment} is not how stand-ins and renders are cut out: set alignment=box, or give data '
         'sets by their paths', ('alignment', 'dataset', 'generated')),
        (given and self.generated_classes == 0,
         f'generated={self.generated} needs --generated_classes, how many of its people are trained on',
         ('generated_classes', 'generated')),
        (self.generated == '' and (self.generated_classes > 0 or self.generated_share > 0),
         f'generated_classes={self.generated_classes}, generated_share={self.generated_share} are of a generated set: '
         'set --generated too, or neither', ('generated_classes', 'generated_share', 'generated')),
        (self.generated == 'renders' and self.generated_classes > self.identities,
         f'generated_classes={self.generated_classes} are more people than identities={self.identities} are rendered',
         ('generated_classes', 'identities')),
        (self.uniform_weight > 0 and self.generated == '',
         f'uniform_weight={self.uniform_weight} is of generated pictures: set --generated too',
         ('uniform_weight', 'generated')),
        (self.backbone != 'vgg19' and (self.head == 'released' or self.vgg19_weights != ''),
         f'head={self.head} and vgg19_weights={self.vgg19_weights!r} are of VGG-19, and backbone={self.backbone}: set '
         'backbone=vgg19, or leave them out', ('backbone', 'head', 'vgg19_weights')),
        (self.vgg19_weights != '' and self.width != 1,
         f'vgg19_weights={self.vgg19_weights} is as wide as VGG-19, and width={self.width} is not: set width=1, or '
         'leave the weights out', ('vgg19_weights', 'width')),
        (self.backbone == 'nn4' and self.batch_size < 2,
         'batch_size=1 leaves the batch normalisation of backbone=nn4 nothing to compare: at least 2 is needed',
         ('batch_size', 'backbone')),
        (round(self.batch_size * self.generated_share) == self.batch_size,
         f'generated_share={self.generated_share} leaves no real picture in batch_size={self.batch_size}',
         ('generated_share', 'batch_size')),
        (self.people < 2, f'real_share={self.real_share} leaves {self.people} of the real people: 2 are needed',
         ('real_share', 'classes')),
    ]

  @property
  def real_people(self) -> int:
    """Training people of the data set: `classes`, or those of the stand-ins."""
    return self.classes or math.ceil(self.stand_ins / self.images_per_identity)

  @property
  def people(self) -> int:
    """How many of them are trained on: the real head's outputs."""
    return math.ceil(self.real_share * self.real_people - 1e-6)

  @property
  def generated_people(self) -> int:
    """Generated people who are trained on: the generated head's outputs; 0 without it."""
    return (self.generated_classes or self.identities) if self.generated else 0

  @classmethod
  def tiny(cls, **changes) -> 'RecognitionConfig':
    """The smallest real recogniser, for tests."""
    return cls(**{'width': 1 / 16, 'batch_size': 4, 'train_steps': 2, 'generated': 'renders', 'identities': 4,
                  'renders_per_identity': 2, 'stand_ins': 8, 'stand_in_pairs': 4, 'images_per_identity': 2,
                  'learning_rate': 1e-4, 'head_learning_rate': 1e-3, 'augment_flip': False, **changes})
