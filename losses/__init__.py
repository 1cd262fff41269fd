"""Losses: pure functions on tensors, with formula and source. They give one number per sample; the caller reduces."""

from losses.adversarial import gradient_penalty, interpolate, wasserstein_critic_loss, wasserstein_generator_loss
from losses.contrastive import class_balance, contrastive_loss, squared_distance
from losses.reconstruction import l1_loss, landmark_loss

__all__ = ['class_balance', 'contrastive_loss', 'gradient_penalty', 'interpolate', 'l1_loss', 'landmark_loss',
           'squared_distance', 'wasserstein_critic_loss', 'wasserstein_generator_loss']
