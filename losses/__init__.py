"""Losses: pure functions on tensors, with formula and source. They give one number per sample; the caller reduces."""

from losses.adversarial import gradient_penalty, interpolate, wasserstein_critic_loss, wasserstein_generator_loss
from losses.began import began_discriminator_loss, convergence_measure, update_balance
from losses.contrastive import class_balance, contrastive_loss, squared_distance
from losses.identity import centroid_distances, move_centroids, set_identity_loss, set_spread
from losses.reconstruction import l1_loss, landmark_loss

__all__ = ['began_discriminator_loss', 'centroid_distances', 'class_balance', 'contrastive_loss', 'convergence_measure',
           'gradient_penalty', 'interpolate', 'l1_loss', 'landmark_loss', 'move_centroids', 'set_identity_loss',
           'set_spread', 'squared_distance', 'update_balance', 'wasserstein_critic_loss',
           'wasserstein_generator_loss']
