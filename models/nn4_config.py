"""Settings of NN4, and which of them contradict each other."""

import dataclasses
import math
from typing import ClassVar

from models.config import DataConfig, RunConfig, option


@dataclasses.dataclass(frozen=True)
class NN4Config(DataConfig, RunConfig):
  """Settings of NN4, the face embedding of GANFaces. Defaults are those of the released code where it has one."""

  system: ClassVar[str] = 'nn4'

  train_steps: int = option(80_000, 'Steps.', low=0)
  batch_size: int = option(90, 'Images per step, over all replicas [released code].', low=1)
  image_size: int = option(108, 'Height and width of the pictures, of which a random square of 96 pixels is seen; '
                           'smaller pictures than that are enlarged to it.', low=32, high=108)
  augment_flip: bool = option(True, 'Mirror half of the training pictures [released code].')
  alignment: str = option('paper', 'How faces are cut out: paper or similarity, then dataset=synthetic is rendered '
                          "people; box, as photographs for GANFaces and what it generates are, then it is GANFaces' "
                          'stand-ins for photographs.', choices=('paper', 'similarity', 'box'))
  stand_ins: int = option(4000, 'Stand-ins that dataset=synthetic with alignment=box renders, images_per_identity of '
                          'each person.', low=4)
  stand_in_pairs: ClassVar[int] = 2  # As few as there may be: nothing is learnt from pairs.
  width: float = option(1.0, 'Multiplies the channels of the network; the code keeps its 128.', low=1 / 64, high=4.0)
  loss: str = option('softmax', 'What is learnt: softmax, to name the people of the training set [released code], or '
                     'triplet, that pictures of one person are closer than those of two (FaceNet).',
                     choices=('softmax', 'triplet'))
  classes: int = option(0, 'Training people of the data set, for loss=softmax; 0: those of the rendered world.', low=0)
  images_per_person: int = option(5, 'Pictures of each person in a batch, for loss=triplet.', low=2)
  margin: float = option(0.2, 'Margin of the triplets, in squared distance of unit codes (FaceNet).', low=0.0, high=4.0)
  dropout: float = option(0.2, 'Share of features that is dropped before the code [released code].', low=0.0, high=0.9)
  weight_decay: float = option(5e-5, 'Weight of half the sum of squares of all kernels [released code]; 0 removes it.',
                               low=0.0)
  learning_rate: float = option(1e-3, 'Initial rate of Adam [choice].', low=0.0)
  learning_rate_decay: float = option(0.95, 'What the rate is multiplied by at each decay [released code].', low=0.0,
                                      high=1.0)
  learning_rate_decay_every: int = option(1000, 'Steps between two decays of the rate [released code].', low=1)
  ema_decay: float = option(0.9999, 'Decay of the average of the network that is evaluated [released code]; 0 is none.',
                            low=0.0, high=0.99999)

  def _contradictions(self) -> list[tuple[bool, str, tuple[str, ...]]]:
    each = self.images_per_person
    return [
        (self.batch_size < 2,
         'batch_size=1 leaves batch normalisation nothing to compare: at least 2 is needed', ('batch_size',)),
        (self.loss == 'triplet' and (self.batch_size % each > 0 or self.batch_size == each),
         f'batch_size={self.batch_size} is not two or more people with images_per_person={each} '
         'pictures each: set one so that it is', ('batch_size', 'images_per_person')),
        (self.loss == 'triplet' and self.classes > 0,
         f'classes={self.classes} names people that loss=triplet does not: set classes=0 or loss=softmax',
         ('classes', 'loss')),
    ]

  @property
  def people(self) -> int:
    """Training people, for loss=softmax: `classes`, those of the stand-ins, or of the rendered people, of whom a tenth
    is held out."""
    if self.alignment == 'box':
      return self.classes or math.ceil(self.stand_ins / self.images_per_identity)
    return self.classes or self.identities - max(2, round(self.identities / 10))

  @classmethod
  def tiny(cls, **changes) -> 'NN4Config':
    """The smallest real NN4, for tests."""
    return cls(**{'width': 1 / 16, 'batch_size': 4, 'train_steps': 2, 'images_per_person': 2, 'learning_rate': 5e-5,
                  'augment_flip': False, **changes})
