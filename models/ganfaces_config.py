"""Settings of GANFaces, and which of them contradict each other."""

import dataclasses
from typing import ClassVar

from models.config import DataConfig, RunConfig, option


@dataclasses.dataclass(frozen=True)
class GANFacesConfig(DataConfig, RunConfig):
  """Settings of GANFaces. The defaults are the paper's, as far as it says, but for the embedding."""

  system: ClassVar[str] = 'ganfaces'

  # Data.
  dataset: str = option('synthetic', 'The real domain: synthetic (rendered stand-ins with hair, skin, backgrounds and '
                        "a camera's noise), or the path of a prepared set of photographs; labels are not used.")
  pairs: str = option('', 'Pairs of photograph and render of its fit, as input_pipeline.fit makes them; empty is those '
                      'of the real domain.')
  identities: int = option(10_000, 'People who are rendered, each with a centroid in the identity loss.', low=4)
  renders_per_identity: int = option(50, 'Renders of each: expressions, poses and lights.', low=1)
  stand_ins: int = option(20_000, 'Stand-ins for photographs that dataset=synthetic renders, images_per_identity of '
                          'each person.', low=2)
  stand_in_pairs: int = option(5_000, 'Stand-ins, of other people, that come with the render of their parameters.',
                               low=2)
  alignment: str = option('box', "How faces are cut out: box, a face detector's, squared; nothing is warped.",
                          choices=('box',))

  # Networks.
  batch_size: int = option(16, 'Renders, photographs and pairs per step, each, over all replicas.', low=1)
  image_size: int = option(108, 'Height and width of the pictures; a multiple of 4.', low=16, high=256)
  width: float = option(1.0, 'Multiplies the channels of all networks but codes and RGB.', low=1 / 64, high=4.0)
  generator_channels: int = option(32, 'Channels of the first layer of the generators.', low=4)
  discriminator_channels: int = option(64, 'Channels n of the first layer of the autoencoders.', low=4)
  discriminator_code: int = option(64, "Length of the autoencoders' code.", low=1)
  norm: str = option('instance', 'Normalisation of the generators: instance, behind every convolution but the last '
                     '[choice]; released, instance in the residual blocks only [released code]; none.',
                     choices=('instance', 'released', 'none'))
  dropout: float = option(0.1, 'Share of features that the dropouts of G remove, in training and in use.', low=0.0,
                          high=0.9)
  inverse: bool = option(True, "Train the inverse generator G' and its autoencoder D_S; false is the simGAN arm.")

  # Losses.
  cycle_weight: float = option(0.5, "Weight of the cycle loss of G and G' (lambda_s); 0 removes it, also from the pair "
                               'discriminator.', low=0.0)
  backward_cycle_weight: float = option(0.0, "Weight of the cycle of photographs, |G(G'(y)) - y|; 0 is none [paper].",
                                        low=0.0)
  photo_renders: bool = option(False, "The autoencoder of renders judges G'(photograph) too; the CycleGAN arm.")
  pair_weight: float = option(0.5, "Weight of the pair discriminator's loss of G' (lambda_d); 0 removes it.", low=0.0)
  reconstruction_weight: float = option(0.0, 'Weight of |photograph - G(render of its fit)| on the pairs; 0 is none '
                                        '[paper].', low=0.0)
  pixel_weight: float = option(0.1, 'Weight of the pixel loss |x - G(x)| (lambda_p); 0 removes it.', low=0.0)
  pixel_mask: bool = option(True, 'The pixel loss looks at the rendered face only [released code]; false is the '
                            "paper's formula, which holds the background black.")
  pixel_weight_start: float = option(0.0, 'Weight of the pixel loss at the first step, from which it falls to '
                                     'pixel_weight.', low=0.0)
  pixel_fall_steps: int = option(0, 'Steps in which it falls, on a line; 0 is none [paper].', low=0)
  identity_loss: str = option('set', 'Identity loss: set (Eq. 7), center (squared distance to the own centroid), '
                              'softmax (cross-entropy of a layer trained with G) or none.',
                              choices=('set', 'center', 'softmax', 'none'))
  identity_weight: float = option(1e-3, 'Weight of the identity loss (lambda_c).', low=0.0)
  identity_margin: float = option(1.0, 'Margin eta of the set-based identity loss.', low=0.0)
  sigma_floor: float = option(1e-3, 'The smallest spread sigma of the set-based loss [choice]; its exponent has 1 / 2 '
                              'sigma^2.', low=1e-6)
  centroid_momentum: float = option(0.95, "What a visit leaves of a centroid; the paper's words, not its formula.",
                                    low=0.0, high=1.0)
  embedding: str = option('dlib', 'The frozen embedding C: dlib, nn4:RUN [paper], pretrained:nn4, a path of weights, '
                          'or untrained (a small random network, to try the machinery).')
  rotation: float = option(5.0, 'Pictures are turned by up to so many degrees before C [choice]; 0 [released code].',
                           low=0.0, high=45.0)

  # Balance of the three games.
  balance_gamma: float = option(0.5, "Target of each game: the fake's error over the real one's (gamma).", low=0.0,
                                high=1.0)
  balance_rate: float = option(1e-3, 'Rate of the balances k_t (lambda_k).', low=0.0)
  balance_start: float = option(0.0, 'The balances k_t at the first step.', low=0.0, high=1.0)

  # Schedule.
  train_steps: int = option(248_000, 'Steps of the game.', low=0)
  warm_steps: int = option(0, 'Steps that train the autoencoders D_R and D_S alone on real pictures, before the game; '
                           '0 is none [paper].', low=0)
  warm_learning_rate: float = option(1e-3, 'Rate of these steps; it falls to its tenth on a cosine.', low=0.0)
  warm_generators: bool = option(False, "In these steps G and G' learn too, by their image losses: cycle, pixels, "
                               'pairs, reconstruction.')
  learning_rate: float = option(8e-5, 'Initial rate of every Adam.', low=0.0)
  learning_rate_steps: int = option(248_000, 'Steps of the schedule: the rate is halved after 128, 192, 224, 240, 244, '
                                    '246 and 247 of 248 parts.', low=1)
  learning_rate_floor: float = option(0.0, 'The lowest rate; 5e-6 [released code] cancels the last three halvings.',
                                      low=0.0)
  ema_decay: float = option(0.9999, 'Decay of the average of the networks that make pictures; 0 is none.', low=0.0,
                            high=0.99999)

  @property
  def uses_pairs(self) -> bool:
    """Whether a loss needs the pairs."""
    return self.pair_weight > 0 or self.reconstruction_weight > 0

  @property
  def keeps_centroids(self) -> bool:
    """Whether the identity loss has centroids."""
    return self.identity_loss in ('set', 'center')

  def _contradictions(self) -> list[tuple[bool, str, tuple[str, ...]]]:
    needs_inverse = [name for name in ('cycle_weight', 'backward_cycle_weight', 'pair_weight') if getattr(self, name)]
    needs_inverse += ['photo_renders'] * self.photo_renders
    return [
        (self.image_size % 4 != 0, f'image_size={self.image_size} is not a multiple of 4: 64 and 108 are usual',
         ('image_size',)),
        (self.batch_size < 2 and self.identity_loss == 'set',
         'batch_size=1 leaves identity_loss=set no spread: at least 2 is needed', ('batch_size', 'identity_loss')),
        (not self.inverse and bool(needs_inverse),
         f'inverse=false trains no inverse generator for {needs_inverse[0] if needs_inverse else ""}='
         f'{getattr(self, needs_inverse[0]) if needs_inverse else ""}: set both, or neither',
         ('inverse', *needs_inverse[:1])),
        (self.identity_loss != 'none' and self.identity_weight == 0,
         f'identity_weight=0 leaves identity_loss={self.identity_loss} without effect: set identity_loss=none',
         ('identity_weight', 'identity_loss')),
        ((self.pixel_weight_start > 0) != (self.pixel_fall_steps > 0),
         f'pixel_weight_start={self.pixel_weight_start} needs pixel_fall_steps, and they a start: set both or none '
         f'(pixel_fall_steps={self.pixel_fall_steps})', ('pixel_weight_start', 'pixel_fall_steps')),
        (self.warm_generators and self.warm_steps == 0,
         'warm_generators=true has no steps with warm_steps=0: set warm_steps', ('warm_generators', 'warm_steps')),
        (self.learning_rate_floor > self.learning_rate,
         f'learning_rate_floor={self.learning_rate_floor} is above learning_rate={self.learning_rate}: lower it',
         ('learning_rate_floor', 'learning_rate')),
    ]

  @classmethod
  def tiny(cls, **changes) -> 'GANFacesConfig':
    """The smallest real GANFaces, for tests; its rate is low, as Adam amplifies rounding in so small batches."""
    return cls(**{'image_size': 16, 'width': 1 / 8, 'discriminator_code': 8, 'batch_size': 4, 'identities': 6,
                  'renders_per_identity': 2, 'stand_ins': 4, 'stand_in_pairs': 4,
                  'images_per_identity': 2, 'train_steps': 2, 'warm_steps': 2, 'learning_rate': 2e-5,
                  'warm_learning_rate': 1e-4, 'balance_start': 0.1, 'embedding': 'untrained', **changes})
