"""What one replica computes in a step of face-off: both cycles and both games, and the gradients of them."""

import functools
from typing import Any

import tensorflow as tf

import losses
from models.faceoff_config import FaceOffConfig
from models.faceoff_networks import Networks

__all__ = ['DIRECTIONS', 'Game', 'Keeps', 'Pictures']

Pictures = dict[str, tf.Tensor]  # Of the domains a and b, [B, S, S, 3].
Keeps = list[list[tf.Tensor]]  # What the dropouts keep, for each pass of a generator.
Logs = dict[str, tf.Tensor]

DIRECTIONS = (('a', 'b'), ('b', 'a'))
_GAMES = {'lsgan': (losses.least_squares_discriminator_loss, losses.least_squares_generator_loss),
          'wgan': (losses.wasserstein_critic_loss, losses.wasserstein_generator_loss),
          'wgan_gp': (losses.wasserstein_critic_loss, losses.wasserstein_generator_loss)}


class Game:
  """The losses of face-off on given networks; nothing here talks to other replicas or changes anything.

  Args:
    config: the settings.
    networks: its networks.
  """

  def __init__(self, config: FaceOffConfig, networks: Networks):
    self.config, self.networks = config, networks
    self.discriminator_loss, self.generator_loss = _GAMES[config.adversarial]

  @property
  def generator_weights(self) -> list[tf.Variable]:
    return [weight for network in self.networks.generators.values() for weight in network.trainable_variables]

  @property
  def discriminator_weights(self) -> list[tf.Variable]:
    return [weight for domain in self.networks.discriminators.values() for network in domain
            for weight in network.trainable_variables]

  def mean(self, values: tf.Tensor) -> tf.Tensor:
    """This replica's share of the mean over the global batch, and over the patches if there are any."""
    if values.shape.rank > 1:
      values = tf.reduce_mean(values, axis=list(range(1, values.shape.rank)))
    return tf.reduce_sum(values) / self.config.batch_size

  def translate(self, pictures: Pictures, keeps: Keeps) -> Pictures:
    """The fakes by the domain that they should be of, from the pictures of the other one."""
    return {other: self.networks.generators[f'{one}2{other}']([pictures[one], *keep])
            for (one, other), keep in zip(DIRECTIONS, keeps, strict=True)}

  def generate(self, pictures: Pictures, masks: Pictures, keeps: Keeps) -> tuple[list, Pictures, Logs]:
    """Eq. 1 with all that the paper adds to it, as the generators minimise it.

    Args:
      pictures: of both domains.
      masks: [B, S, S, 1] of their faces.
      keeps: of the passes a2b, b2a, their ways back, and those of the identity loss.
    Returns:
      The gradients, the fakes by the domain that they should be of, and what is logged.
    """
    config, generators = self.config, self.networks.generators
    loss, logs = tf.constant(0.0), {}
    with tf.GradientTape(watch_accessed_variables=False) as tape:
      tape.watch(self.generator_weights)
      fakes = self.translate(pictures, keeps[:2])
      for place, (one, other) in enumerate(DIRECTIONS):
        real, there, back = pictures[one], generators[f'{one}2{other}'], generators[f'{other}2{one}']
        closed = back([fakes[other], *keeps[2 + place]])
        weights = 1 + config.mask_weight * masks[one] if config.mask_weight else None
        terms = {f'{one}2{other}_adversarial': (1.0, self._fool(other, fakes[other])),
                 f'{one}_cycle': (config.cycle_weight, self.mean(losses.l1_loss(real, closed, weights=weights)))}
        if config.ssim_weight:
          terms[f'{one}_ssim'] = config.ssim_weight, self.mean(1 - self._similarity(real, closed))
        if config.identity_weight:
          kept = there([pictures[other], *keeps[4 + place]])
          terms[f'{other}_identity'] = (config.cycle_weight * config.identity_weight,
                                        self.mean(losses.l1_loss(pictures[other], kept)))
        loss += tf.add_n([weight * value for weight, value in terms.values()])
        logs |= {f'{name}_loss': value for name, (_, value) in terms.items()}
    return tape.gradient(loss, self.generator_weights), fakes, {'generator_loss': loss, **logs}

  def _fool(self, domain: str, fakes: tf.Tensor) -> tf.Tensor:
    """Eq. 7: what the discriminators of a domain say, each by its share."""
    judged = [share * self.mean(self.generator_loss(network(fakes)))
              for share, network in zip(self.config.discriminator_shares, self.networks.discriminators[domain],
                                        strict=True)]
    return tf.add_n(judged)

  def _similarity(self, real: tf.Tensor, closed: tf.Tensor) -> tf.Tensor:
    """Eq. 3, [B]."""
    form = self.config.ssim_form
    if form == 'released':
      return losses.structural_similarity(real, closed)
    measure = losses.multi_scale_similarity if form == 'multi_scale' else losses.structural_similarity
    return measure((real + 1) / 2, (closed + 1) / 2)

  def judge(self, pictures: Pictures, fakes: Pictures, epsilon: tf.Tensor) -> tuple[list, Logs]:
    """What each discriminator minimises by itself; real and fake share a pass.

    Args:
      pictures: of both domains.
      fakes: by the domain that they should be of.
      epsilon: [B, 2] in [0, 1), where between them the gradient penalty of a and b is measured.
    Returns:
      The gradients, and what is logged.
    """
    logs, loss = {}, tf.constant(0.0)
    with tf.GradientTape(watch_accessed_variables=False) as tape:
      tape.watch(self.discriminator_weights)
      for place, (domain, networks) in enumerate(self.networks.discriminators.items()):
        both = tf.concat([pictures[domain], fakes[domain]], axis=0)
        own = [self.mean(self.discriminator_loss(*tf.split(network(both), 2))) for network in networks]
        loss += tf.add_n(own)
        logs[f'discriminator_{domain}_loss'] = tf.add_n(own) / len(own)
        if self.config.adversarial == 'wgan_gp':
          between = losses.interpolate(pictures[domain], fakes[domain], epsilon[:, place])
          penalties = [self.mean(losses.gradient_penalty(functools.partial(_score, network), between))
                       for network in networks]
          loss += self.config.penalty_weight * tf.add_n(penalties)
          logs[f'{domain}_penalty'] = tf.add_n(penalties) / len(penalties)
    return tape.gradient(loss, self.discriminator_weights), logs


def _score(network: Any, images: tf.Tensor) -> tf.Tensor:
  """The mean over patches, [B]."""
  return tf.reduce_mean(network(images), axis=[1, 2, 3])
