"""Blocks that more than one system uses."""

from models.layers.normalization import ChannelLayerNorm, InstanceNorm
from models.layers.optimizers import Adam, Halvings, StepDecay
from models.layers.upsampling import UpsampleConv

__all__ = ['Adam', 'ChannelLayerNorm', 'Halvings', 'InstanceNorm', 'StepDecay', 'UpsampleConv']
