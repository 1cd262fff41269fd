"""What one replica computes in a step of FaceCycle: both cycles, and their losses."""

from collections.abc import Callable
from typing import Any, NamedTuple

import tensorflow as tf

import losses
from models.facecycle_config import FaceCycleConfig
from models.facecycle_networks import Networks
from models.layers import InstanceNorm
from models.layers.vgg19 import destandardize
from models.layers.warping import backward_flow, warp

__all__ = ['Game', 'Motion', 'Seen', 'swap']

Terms = dict[str, tuple[float, Callable[[], tf.Tensor]]]
Noise = tuple[tf.Tensor, tf.Tensor] | None


class Seen(NamedTuple):
  """What the front end sees of pictures [N, S, S, 3].

  Attributes:
    half: relu2_1 [N, S/2, S/2, C].
    quarter: relu3_1 [N, S/4, S/4, C'].
  """

  half: tf.Tensor
  quarter: tf.Tensor


class Motion(NamedTuple):
  """What stage 1 knows of pictures.

  Attributes:
    seen: their features.
    flow: to the neutral face, [N, 16, 16, 2].
    back: from it.
    neutral: neutral faces [N, S, S, 3].
  """

  seen: Seen
  flow: tf.Tensor
  back: tf.Tensor
  neutral: tf.Tensor


def swap(images: tf.Tensor) -> tf.Tensor:
  """Exchanges the two halves of a batch: each frame gets what belongs to the other one of its pair."""
  return tf.concat(tf.split(images, 2)[::-1], axis=0)


def _join(*parts: Seen) -> Seen:
  return Seen(*(tf.concat(maps, axis=0) for maps in zip(*parts, strict=True)))


class Game:
  """The cycles of FaceCycle on given networks; nothing here talks to other replicas or changes anything.

  Pictures are standardised as ImageNet's are, N = 2 B of them: the first frames of B pairs, then the second ones.

  Args:
    config: the settings.
    networks: its networks.
  """

  def __init__(self, config: FaceCycleConfig, networks: Networks):
    self.config, self.networks = config, networks
    self._norm = InstanceNorm(1e-5, affine=False)

  # Faces.

  def see(self, images: tf.Tensor) -> Seen:
    return Seen(*self.networks.front_end(images))

  def move(self, images: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """The flows [N, 16, 16, 2] to the neutral face and back from it."""
    flow = self.networks.flow_decoder(self.networks.expression_encoder(images))
    return flow, backward_flow(flow, self.config.backward_flow)

  def deform(self, seen: Seen, flow: tf.Tensor, noise: Noise = None) -> Seen:
    """Features moved along a flow; what that uncovers is filled from noise and their means.

    Args:
      seen: of N pictures.
      flow: [N, h, w, 2].
      noise: of the shapes of the features; none if not given.
    """
    grounds = []
    for maps, own in zip(seen, noise or (0.0, 0.0), strict=True):
      average = tf.reduce_mean(tf.cast(maps, tf.float32), axis=[1, 2], keepdims=True)
      grounds.append(tf.broadcast_to(average, tf.shape(maps)) + own)
    fill = self.networks.noise_encoder(grounds)
    return Seen(*(warp(maps, flow) + more for maps, more in zip(seen, fill, strict=True)))

  def draw(self, seen: Seen) -> tf.Tensor:
    return self.networks.expression_decoder(list(seen))

  def understand(self, images: tf.Tensor, noise: Noise = None) -> Motion:
    """Takes the expression away, n = D_exp(X, f)."""
    seen = self.see(images)
    flow, back = self.move(images)
    return Motion(seen, flow, back, self.draw(self.deform(seen, flow, noise)))

  def turn(self, images: tf.Tensor, affine: tuple[tf.Tensor, tf.Tensor]) -> tf.Tensor:
    """Takes an identity away or gives it: D_id with the scales and offsets [N, C] of one of its two MLPs.

    One picture [1, S, S, 3] may serve all; it is looked at once.
    """
    scale, offset = (part[:, tf.newaxis, tf.newaxis] for part in affine)
    cells = self._norm(tf.cast(self.see(images).quarter, tf.float32))
    return self.networks.identity_decoder(cells * scale + offset)

  # Losses.

  def mean(self, values: tf.Tensor) -> tf.Tensor:
    """This replica's share of the mean over the pictures of the global batch."""
    return tf.reduce_sum(values) / (2 * self.config.batch_size)

  def _l1(self, target: tf.Tensor, output: tf.Tensor) -> tf.Tensor:
    return self.mean(losses.l1_loss(target, output))

  def _ssim(self, images: tf.Tensor, outputs: list[tuple[float, tf.Tensor]]) -> tf.Tensor:
    """The sum of weight * (1 - SSIM) over outputs."""
    # Not along axis 0: its gradients would share one buffer, and which of them a sum begins with would be chance.
    shown, images = tf.stack([output for _, output in outputs], axis=1), images[:, tf.newaxis]
    if self.config.ssim_range == 'unit':
      images, shown = (destandardize(images) + 1) / 2, (destandardize(shown) + 1) / 2
    apart = 1 - losses.structural_similarity(images, shown)
    return self.mean(apart * tf.constant([weight for weight, _ in outputs]))

  def _gram(self, images: tf.Tensor, seen: Seen, outputs: list[tf.Tensor], first: Seen | None = None) -> tf.Tensor:
    """The mean squared difference of Gram matrices, summed over relu2_1, relu3_1 and relu4_1.

    Args:
      images: what the outputs should be like.
      seen: their features.
      outputs: K times N pictures.
      first: features of the first output, where they are known.
    """
    front = self.networks.gram_front
    if front is not None:
      target, shown = Seen(*front(images)), Seen(*front(tf.concat(outputs, axis=0)))
    else:
      rest = outputs if first is None else outputs[1:]
      target, shown = seen, _join(*[first] * (first is not None), self.see(tf.concat(rest, axis=0)))
    wanted, received = (
        [losses.gram_matrix(maps) for maps in (*of, self.networks.texture(of.quarter))] for of in (target, shown))
    total = tf.constant(0.0)
    for want, gram in zip(wanted, received, strict=True):
      gram = tf.reshape(gram, [len(outputs), -1, *gram.shape[1:]])
      total += self.mean(tf.reduce_mean(tf.math.squared_difference(gram, want), axis=[0, 2, 3]))
    return total

  def _sum(self, terms: Terms, name: str) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
    """The weighted sum; a term of weight 0 is not computed."""
    values = {term: value() for term, (weight, value) in terms.items() if weight > 0}
    loss = tf.add_n([terms[term][0] * value for term, value in values.items()])
    return loss, {f'{name}_loss': loss, **{f'{term}_loss': value for term, value in values.items()}}

  def front(self, images: tf.Tensor, mask: tf.Tensor) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
    """Trains the front end to draw pictures of which it sees the parts that a mask [N, S, S, 1] keeps."""
    quarter = self.networks.front_end(images * mask)[1]
    drawn = self.networks.front_decoder([quarter, self.networks.texture(quarter)])
    loss = tf.add_n([self._l1(images, picture) for picture in drawn])
    return loss, {'front_loss': loss}

  def motion(self, images: tf.Tensor, noises: list[Noise]) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
    """Stage 1, the facial-motion cycle: each frame is made from the neutral face of the other one of its pair.

    n = D_exp(X, f), w = warp(X, f); x^ = D_exp(swap(n), b), n_b = warp(swap(n), b), w_b = warp(swap(w), b); and
    x~ = D_exp(X) without a flow. Two passes of D_exp are one here, as are two warps; features are never seen twice.
    """
    config = self.config
    seen = self.see(images)
    flow, back = self.move(images)
    neutral, copy = tf.split(self.draw(_join(self.deform(seen, flow, noises[0]), seen)), 2)
    warped = warp(images, flow)
    warped_back, neutral_back = tf.split(warp(swap(tf.concat([warped, neutral], axis=-1)), back), 2, axis=-1)
    seen_neutral = self.see(neutral)
    closed = self.draw(self.deform(Seen(*map(swap, seen_neutral)), back, noises[1]))
    terms: Terms = {
        'pixel': (config.pixel_weight, lambda: (
            self._l1(images, closed) + self._l1(images, copy) + self._l1(images, neutral_back)
            + config.warp_weight * self._l1(images, warped_back))),
        'ssim': (config.ssim_weight, lambda: self._ssim(
            images, [(1.0, closed), (1.0, copy), (config.warp_weight, warped_back)])),
        'symmetry': (config.symmetry_weight, lambda: self.mean(
            losses.symmetry_loss(neutral) + 0.5 * losses.symmetry_loss(warped))),
        'gram': (config.gram_weight, lambda: self._gram(
            images, seen, [neutral, neutral_back, warped_back, closed], seen_neutral)),
    }
    loss, logs = self._sum(terms, 'motion')
    return loss, {**logs, 'flow_size': self.mean(tf.reduce_mean(tf.norm(flow + 1e-12, axis=-1), axis=[1, 2]))}

  def means(self, images: tf.Tensor, neutral: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Identity codes r [N, 256] of pictures (not of their neutral faces), and what is left of each neutral face."""
    codes = self.networks.identity_encoder(images)
    return codes, self.turn(neutral, self.networks.neutral_to_mean(codes))

  def identity(self, images: tf.Tensor, motion: Motion, codes: tf.Tensor, mean: tf.Tensor,
               noise: Noise) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
    """Stage 2, the identity cycle: every neutral face is made from one mean face, and from that the picture.

    n^ = D_id(mean, r), x_d = warp(n^, b), x^ = D_exp(n^, b), through which gradients pass.

    Args:
      images: X.
      motion: what stage 1 knows of them.
      codes: r.
      mean: the mean face [1, S, S, 3] of the global batch.
      noise: of D_exp.
    """
    config, neutral = self.config, motion.neutral
    identified = self.turn(mean, self.networks.mean_to_neutral(codes))
    warped = warp(identified, motion.back)
    closed = self.draw(self.deform(self.see(identified), motion.back, noise))
    terms: Terms = {
        'pixel': (config.pixel_weight, lambda: (
            self._l1(images, closed) + config.identity_warp_weight * self._l1(images, warped)
            + self._l1(neutral, identified))),
        'ssim': (config.ssim_weight, lambda: self._ssim(
            images, [(1.0, closed), (config.identity_warp_weight, warped)])),
        'symmetry': (config.symmetry_weight, lambda: self.mean(losses.symmetry_loss(identified))),
        'gram': (config.gram_weight, lambda: self._gram(images, motion.seen, [warped, closed])),
        'margin': (config.margin_weight, lambda: self.mean(
            losses.margin_loss(mean, neutral, config.margin, config.margin_form == 'hinge'))),
    }
    return self._sum(terms, 'identity')

  def gradients(self, weights: list[tf.Variable], cycle: Callable, *arguments: Any) -> tuple[list, dict]:
    """Of the loss that `cycle(*arguments)` gives first, by these weights alone; and what is logged."""
    with tf.GradientTape(watch_accessed_variables=False) as tape:
      tape.watch(weights)
      loss, logs = cycle(*arguments)
    return tape.gradient(loss, weights), logs
