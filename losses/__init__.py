"""Losses: pure functions on tensors, with formula and source. They give one number per sample; the caller reduces."""

from losses.adversarial import (
  gradient_penalty,
  interpolate,
  least_squares_discriminator_loss,
  least_squares_generator_loss,
  wasserstein_critic_loss,
  wasserstein_generator_loss,
)
from losses.began import began_discriminator_loss, convergence_measure, update_balance
from losses.contrastive import class_balance, contrastive_loss, squared_distance
from losses.identity import centroid_distances, move_centroids, set_identity_loss, set_spread
from losses.perceptual import gram_matrix, margin_loss, symmetry_loss
from losses.reconstruction import l1_loss, landmark_loss
from losses.ssim import multi_scale_similarity, structural_similarity

__all__ = ['began_discriminator_loss', 'centroid_distances', 'class_balance', 'contrastive_loss', 'convergence_measure',
           'gradient_penalty', 'gram_matrix', 'interpolate', 'l1_loss', 'landmark_loss',
           'least_squares_discriminator_loss', 'least_squares_generator_loss', 'margin_loss', 'move_centroids',
           'multi_scale_similarity', 'set_identity_loss', 'set_spread', 'squared_distance', 'structural_similarity',
           'symmetry_loss', 'update_balance', 'wasserstein_critic_loss', 'wasserstein_generator_loss']
