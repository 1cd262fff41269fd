"""Blocks that more than one system uses."""

from models.layers.normalization import ChannelLayerNorm
from models.layers.optimizers import Adam, StepDecay

__all__ = ['Adam', 'ChannelLayerNorm', 'StepDecay']
