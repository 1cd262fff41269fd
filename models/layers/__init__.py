"""Blocks that more than one system uses."""

from models.layers.channels import ChannelAttention, PixelShuffle, ResidualBlock
from models.layers.normalization import ChannelLayerNorm, InstanceNorm
from models.layers.optimizers import Adam, Halvings, LinearDecay, Pieces, StepDecay
from models.layers.upsampling import UpsampleConv

__all__ = ['Adam', 'ChannelAttention', 'ChannelLayerNorm', 'Halvings', 'InstanceNorm', 'LinearDecay', 'Pieces',
           'PixelShuffle', 'ResidualBlock', 'StepDecay', 'UpsampleConv']
