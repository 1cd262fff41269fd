"""What one replica computes in a step of GANFaces: losses, and the gradients that each network gets from them."""

import functools
from collections.abc import Callable
from typing import Any

import tensorflow as tf

import losses
from models.ganfaces_config import GANFacesConfig
from models.system import Batch

_LEAST_BALANCE = 1e-8  # See `Game._judge`.


class Game:
  """The losses of GANFaces on given networks; nothing here talks to other replicas or changes anything.

  Args:
    config: the settings.
    generator: G.
    inverse: G', or None.
    photo_discriminator: D_R.
    render_discriminator: D_S, or None.
  """

  def __init__(self, config: GANFacesConfig, generator: tf.keras.Model, inverse: Any,
               photo_discriminator: tf.keras.Model, render_discriminator: Any):
    self.config, self.generator, self.inverse = config, generator, inverse
    self.photo_discriminator, self.render_discriminator = photo_discriminator, render_discriminator

  def mean(self, values: tf.Tensor) -> tf.Tensor:
    """This replica's share of the mean over the global batch."""
    return tf.reduce_sum(values) / self.config.batch_size

  def _l1(self, target: tf.Tensor, output: tf.Tensor) -> tf.Tensor:
    return self.mean(losses.l1_loss(target, output))

  def _pixel_loss(self, batch: Batch, fake: tf.Tensor) -> tf.Tensor:
    """L_id = |x - G(x)|, of the rendered face only; still a mean over all pixels [released code]."""
    mask = batch['render_mask'] if self.config.pixel_mask else 1.0
    return self._l1(mask * batch['render'], mask * fake)

  def warm(self, batch: Batch, keep: tf.Tensor, weights: list) -> tuple[list, dict[str, tf.Tensor]]:
    """Gradients of `weights` by the real errors of D_R and D_S, and with `warm_generators` by the image losses."""
    config = self.config
    with tf.GradientTape() as tape:
      logs = {'photo_real_error': self._l1(batch['photo'], self.photo_discriminator(batch['photo'], training=True))}
      if self.inverse:
        logs['render_real_error'] = self._l1(batch['render'], self.render_discriminator(batch['render'], training=True))
      loss = tf.add_n(list(logs.values()))
      if config.warm_generators:
        fake = self.generator([batch['render'], keep], training=True)
        terms = [('pixel_loss', max(config.pixel_weight, config.pixel_weight_start), self._pixel_loss(batch, fake))]
        if self.inverse:
          back = self.inverse(fake, training=True)
          terms.append(('cycle_loss', config.cycle_weight, self._l1(batch['render'], back)))
        if self.inverse and config.pair_weight > 0:
          fitted = self.inverse(batch['pair_photo'], training=True)
          terms.append(('pair_real_error', config.pair_weight, self._l1(batch['pair_render'], fitted)))
        if config.reconstruction_weight > 0:
          error = self._l1(batch['pair_photo'], self.generator([batch['pair_render'], keep], training=True))
          terms.append(('reconstruction_loss', config.reconstruction_weight, error))
        for name, weight, value in terms:
          logs[name] = value
          loss += weight * value
    return tape.gradient(loss, weights), logs

  def play(self, batch: Batch, fake: tf.Tensor, balances: dict[str, tf.Tensor], keeps: list[tf.Tensor],
           pixel_weight: tf.Tensor) -> tuple[tf.Tensor, dict[str, list], dict[str, tuple], dict[str, tf.Tensor]]:
    """What a replica computes from its G(x).

    Args:
      batch: this replica's rows.
      fake: G(x).
      balances: k_t of each game.
      keeps: what the dropouts keep in G's passes over x, G'(y) and s.
      pixel_weight: lambda_p at this step.
    Returns:
      The slope of G's loss at G(x) without L_C; gradients: of `inverse`, of `discriminators`, and a list of further
      ones of `generator`; (real, fake) errors of each game; and what is logged.
    """
    config, render, photo = self.config, batch['render'], batch['photo']
    errors, gradients, logs = {}, {'generator': []}, {}
    errors['photo'], gradients['discriminators'], slope = self._judge(
        self.photo_discriminator, photo, [fake], balances['photo'])
    generator_loss = errors['photo'][1]
    if config.pixel_weight > 0 or config.pixel_weight_start > 0:
      logs['pixel_loss'], pixel_slope = _slope(functools.partial(self._pixel_loss, batch), fake)
      slope += pixel_weight * pixel_slope
      generator_loss += pixel_weight * logs['pixel_loss']
    if config.reconstruction_weight > 0:
      logs['reconstruction_loss'], own, _ = self._along_generator(
          batch['pair_render'], batch['pair_photo'], keeps[2], config.reconstruction_weight)
      gradients['generator'].append(own)
      generator_loss += config.reconstruction_weight * logs['reconstruction_loss']
    if not self.inverse:
      return slope, gradients, errors, {'generator_loss': generator_loss, **logs}

    with tf.GradientTape(persistent=True) as tape:
      tape.watch(fake)
      closed = self.inverse(fake, training=True)  # Apart from the others, as only here a gradient goes on to G.
      fitted = self.inverse(batch['pair_photo'], training=True) if config.pair_weight > 0 else None
      goes_back = config.backward_cycle_weight > 0 or config.photo_renders
      back = self.inverse(photo, training=True) if goes_back else None
    judged = [closed, back] if config.photo_renders else [closed]
    errors['render'], own, *slopes = self._judge(self.render_discriminator, render, judged, balances['render'])
    gradients['discriminators'] += own
    inverse_loss = errors['render'][1]
    outputs = dict(zip(('closed', 'back'), judged, strict=False))
    towards = dict(zip(outputs, slopes, strict=True))
    balance = balances.get('pair', tf.constant(0.0))
    if config.cycle_weight > 0:
      cycle, cycle_slope = _slope(lambda at: self._l1(render, at), closed)
      towards['closed'] += (config.cycle_weight - config.pair_weight * balance) * cycle_slope
      slope += config.cycle_weight * tape.gradient(closed, fake, output_gradients=cycle_slope)
      generator_loss += config.cycle_weight * cycle
      inverse_loss += config.cycle_weight * cycle
      logs['cycle_loss'] = cycle
    if config.pair_weight > 0:
      error, pair_slope = _slope(lambda at: self._l1(batch['pair_render'], at), fitted)
      outputs['fitted'], towards['fitted'] = fitted, config.pair_weight * pair_slope
      errors['pair'] = (error, logs.get('cycle_loss', tf.constant(0.0)))
      inverse_loss += config.pair_weight * losses.began_discriminator_loss(*errors['pair'], balance)
    if config.backward_cycle_weight > 0:
      logs['backward_cycle_loss'], own, back_slope = self._along_generator(
          back, photo, keeps[1], config.backward_cycle_weight)
      gradients['generator'].append(own)
      outputs['back'], towards['back'] = back, towards.get('back', 0.0) + back_slope
      generator_loss += config.backward_cycle_weight * logs['backward_cycle_loss']
      inverse_loss += config.backward_cycle_weight * logs['backward_cycle_loss']
    gradients['inverse'] = tape.gradient(
        list(outputs.values()), self.inverse.trainable_variables, output_gradients=[towards[name] for name in outputs])
    return slope, gradients, errors, {'generator_loss': generator_loss, 'inverse_loss': inverse_loss, **logs}

  def _judge(self, network: tf.keras.Model, real: tf.Tensor, fakes: list[tf.Tensor], balance: tf.Tensor) -> tuple:
    """One side of a game, L(real) - k_t L(fake), in one pass forward and one backward.

    The backward pass that gives the weights their -k_t dL(fake) also gives the pictures -k_t times the slope that their
    generator wants, so that slope costs no pass of its own. Where k_t is 0 a number takes its place that is lost in the
    rounding of the real error's gradient.

    Returns:
      (real error, fake error), gradients of the weights, and the slope of the fake error at each of `fakes`.
    """
    scale = tf.maximum(balance, _LEAST_BALANCE)
    with tf.GradientTape() as tape:
      tape.watch(fakes)
      pictures = tf.concat([*fakes, real], axis=0)
      each = losses.l1_loss(pictures, network(pictures, training=True))
      *fake_errors, real_error = [self.mean(part) for part in tf.split(each, len(fakes) + 1)]
      fake_error = tf.add_n(fake_errors) / len(fakes)
      loss = losses.began_discriminator_loss(real_error, fake_error, scale)
    found: Any = tape.gradient(loss, [network.trainable_variables, fakes])
    return (real_error, fake_error), found[0], *[slope / -scale for slope in found[1]]

  def _along_generator(self, images: tf.Tensor, target: tf.Tensor, keep: tf.Tensor, weight: float,
                       ) -> tuple[tf.Tensor, list, tf.Tensor]:
    """|target - G(images)|, and the gradients of `weight` times it by G's weights and by the images."""
    with tf.GradientTape() as tape:
      tape.watch(images)
      value = self._l1(target, self.generator([images, keep], training=True))
      loss = weight * value
    found: Any = tape.gradient(loss, [self.generator.trainable_variables, images])
    return value, found[0], found[1]


def _slope(loss: Callable[[tf.Tensor], tf.Tensor], at: tf.Tensor) -> tuple[tf.Tensor, Any]:
  """A loss and its gradient by its argument."""
  with tf.GradientTape(watch_accessed_variables=False) as tape:
    tape.watch(at)
    value = loss(at)
  return value, tape.gradient(value, at)
