"""Settings of GC-GAN, and which of them contradict each other."""

import dataclasses
from typing import ClassVar

from models.config import DataConfig, RunConfig, option


@dataclasses.dataclass(frozen=True)
class GCGANConfig(DataConfig, RunConfig):
  """Settings of GC-GAN. The defaults are the paper's, as far as it says."""

  system: ClassVar[str] = 'gcgan'

  batch_size: int = option(64, 'Images per step, over all replicas.', low=1)
  image_size: int = option(64, 'Height and width of the pictures; a power of two, as the networks halve and double it.',
                           low=32, high=256)
  width: float = option(1.0, 'Multiplies the channels of generator and critic; codes, RGB and the embedding stay.',
                        low=1 / 64, high=4.0)
  condition: str = option('embedding', 'What tells the generator the expression: embedding is GC-GAN; onehot, the '
                          'label of the target, the CDAAE arm; landmark_image, points drawn in a fourth channel, SPG.',
                          choices=('embedding', 'onehot', 'landmark_image'))
  expressions: int = option(6, 'Number of expression labels of the data set, for condition=onehot.', low=2)
  n_skips: int = option(1, 'Connections from encoder to decoder, from the outermost (half size) inwards: 1 [paper], 3 '
                        '[released code].', low=0, high=3)
  skip: str = option('add', 'How a skip joins: add [released code] or concat.', choices=('add', 'concat'))
  composition: str = option('image', 'What the generator shows: image, what it draws [paper]; blend, that laid over '
                            'the input where it says so [GANimation]; warp, the same over the input moved, whose '
                            'detail stays.', choices=('image', 'blend', 'warp'))
  bend_input: bool = option(False, 'Bend the input by a thin plate spline, so that its landmarks lie where the '
                            "target's do, before the generator sees it: what is new has to be drawn [warp-guided GAN].")
  output_norm: bool = option(True, 'Batch normalisation before the last tanh: true [paper], false [released code].')
  fix_norm: bool = option(False, 'In the game the generator normalises by its averages, as when it is used, and not by '
                          'the batch [paper]: what a rare picture does to it is seen, and unlearnt.')
  pretrain_steps: int = option(20_000, 'Steps that train the embedding, before it is fixed.', low=0)
  warm_steps: int = option(0, 'Steps that train the generator by the image loss alone, before the critic joins; 0 is '
                           'none [paper].', low=0)
  warm_learning_rate: float = option(1e-3, 'Rate of these steps; it falls to its tenth on a cosine.', low=0.0)
  learning_rate: float = option(3e-4, 'Initial rate of every Adam.', low=0.0)
  learning_rate_decay: float = option(0.98, 'What the rate is multiplied by at each decay [released code].', low=0.0,
                                      high=1.0)
  learning_rate_decay_every: int = option(20_000, 'Steps between two decays of the rate [released code].', low=1)
  learning_rate_floor: float = option(5e-5, 'The lowest rate that the decay reaches [released code].', low=0.0)
  critic_steps: int = option(5, 'Critic updates for each generator update, on the same batch [released code].', low=0)
  contrastive_weight: float = option(1.0, 'Weight of the contrastive loss of E (lambda_1); 0 removes it.', low=0.0)
  landmark_weight: float = option(1.0, 'Weight of the landmark reconstruction of E (lambda_2); 0 removes it.', low=0.0)
  image_weight: float = option(1.0, 'Weight of the L1 image loss of G (lambda_3); 0 removes it.', low=0.0)
  adversarial_weight: float = option(1e-3, 'Weight of the adversarial loss of G (lambda_4); 0 removes it.', low=0.0)
  mask_weight: float = option(0.0, 'Weight of the mean of the mask, for composition=blend or warp: what the input '
                              'shows already is not drawn anew [GANimation]; 0 removes it.', low=0.0)
  penalty_weight: float = option(10.0, 'Weight of the gradient penalty of D [released code]; 0 removes it.', low=0.0)
  margin: float = option(5.0, 'Squared distance beyond which codes of different expressions are left alone.', low=0.0)
  contrastive_balance: str = option('pair', 'pair: one mean over all pairs [paper]; class: the mean over same plus the '
                                    'mean over different pairs [released code].', choices=('pair', 'class'))
  image_loss_reduction: str = option('mean', 'L1 over the numbers of a picture: mean [choice], which lets the critic '
                                     'speak, or sum [released code], which does not.', choices=('mean', 'sum'))
  real_sample: str = option('input', "The critic's real picture: the input [paper] or the target [released code].",
                            choices=('input', 'target'))
  landmark_jitter: float = option(0.0, 'Standard deviation of noise on every training landmark; 1 is half a picture.',
                                  low=0.0, high=0.2)
  auxiliary_dataset: str = option('', 'A second data set (synthetic, or a path) for part of every training batch, with '
                                      'its own people and expressions: few photographs, many renders.')
  auxiliary_share: float = option(0.5, 'The part of a batch that comes from auxiliary_dataset.', low=0.0, high=0.95)
  balance_skin: bool = option(False, 'Draw photographs of dark and of light skin equally often: who is rarer is shown '
                                     'again.')
  ema_decay: float = option(0.0, 'Decay of the average of the generator that is evaluated; 0 is none [paper].', low=0.0,
                            high=0.99999)

  def _contradictions(self) -> list[tuple[bool, str, tuple[str, ...]]]:
    embeds = self.condition == 'embedding'
    return [
        (bool(self.image_size & (self.image_size - 1)),
         f'image_size={self.image_size} is not a power of two: 32, 64, 128 and 256 are allowed', ('image_size',)),
        (self.batch_size < 2,
         'batch_size=1 leaves batch normalisation nothing to compare: at least 2 is needed', ('batch_size',)),
        (self.n_skips == 0 and self.skip == 'concat',
         'skip=concat has nothing to join with n_skips=0: set n_skips=1 or skip=add', ('skip', 'n_skips')),
        (not embeds and self.pretrain_steps > 0,
         f'condition={self.condition} has no embedding to train with pretrain_steps={self.pretrain_steps}: set '
         'pretrain_steps=0', ('condition', 'pretrain_steps')),
        (embeds and self.pretrain_steps == 0 and not self.init_from,
         'pretrain_steps=0 leaves condition=embedding with a random embedding: set pretrain_steps, or init_from=RUN',
         ('pretrain_steps', 'condition')),
        (self.condition == 'onehot' and self.bend_input,
         'bend_input=true bends by landmarks, which condition=onehot does not have: leave it out',
         ('bend_input', 'condition')),
        (self.condition == 'onehot' and self.landmark_jitter > 0,
         f'landmark_jitter={self.landmark_jitter} moves landmarks that condition=onehot never sees: set '
         'landmark_jitter=0', ('landmark_jitter', 'condition')),
        (embeds and self.contrastive_weight == 0 and self.landmark_weight == 0,
         'contrastive_weight=0 and landmark_weight=0 leave the embedding no loss: raise one',
         ('contrastive_weight', 'landmark_weight')),
        (self.composition == 'image' and self.mask_weight > 0,
         f'composition=image has no mask for mask_weight={self.mask_weight}: set composition=warp or mask_weight=0',
         ('mask_weight', 'composition')),
        (self.image_weight == 0 and self.adversarial_weight == 0,
         'image_weight=0 and adversarial_weight=0 leave the generator no loss: raise one',
         ('image_weight', 'adversarial_weight')),
        (self.adversarial_weight > 0 and self.critic_steps == 0,
         f'critic_steps=0 never trains the critic that adversarial_weight={self.adversarial_weight} listens to: raise '
         'critic_steps or set adversarial_weight=0', ('critic_steps', 'adversarial_weight')),
        (self.adversarial_weight == 0 and self.critic_steps > 0,
         f'critic_steps={self.critic_steps} trains a critic that adversarial_weight=0 ignores: set critic_steps=0',
         ('critic_steps', 'adversarial_weight')),
        (self.fix_norm and self.warm_steps == 0 and not self.init_from,
         'fix_norm=true with warm_steps=0 has no averages to normalise by: set warm_steps, or init_from=RUN',
         ('fix_norm', 'warm_steps')),
        (self.image_weight == 0 and self.warm_steps > 0,
         f'warm_steps={self.warm_steps} have no loss with image_weight=0: set warm_steps=0 or raise image_weight',
         ('warm_steps', 'image_weight')),
        (self.auxiliary_dataset != '' and self.condition == 'onehot',
         f'auxiliary_dataset={self.auxiliary_dataset} has labels of its own, which condition=onehot cannot tell from '
         "dataset's: leave it out", ('auxiliary_dataset', 'condition')),
        (self.auxiliary_dataset != '' and not 0 < self.auxiliary_count < self.batch_size,
         f'auxiliary_share={self.auxiliary_share} of batch_size={self.batch_size} is {self.auxiliary_count} pictures: '
         'leave both data sets at least 1', ('auxiliary_share', 'batch_size')),
        (self.learning_rate_floor > self.learning_rate,
         f'learning_rate_floor={self.learning_rate_floor} is above learning_rate={self.learning_rate}: lower it',
         ('learning_rate_floor', 'learning_rate')),
    ]

  @property
  def auxiliary_count(self) -> int:
    """Samples of every global batch that come from `auxiliary_dataset`."""
    return round(self.auxiliary_share * self.batch_size) if self.auxiliary_dataset else 0

  @classmethod
  def tiny(cls, **changes) -> 'GCGANConfig':
    """The smallest real GC-GAN with all phases, for tests; its rates are low, as Adam amplifies rounding where batches
    are this small."""
    return cls(**{'image_size': 32, 'width': 1 / 16, 'batch_size': 4, 'pretrain_steps': 2, 'warm_steps': 2,
                  'train_steps': 2, 'critic_steps': 2, 'warm_learning_rate': 5e-5, 'learning_rate': 5e-5,
                  'learning_rate_floor': 1e-5, **changes})
