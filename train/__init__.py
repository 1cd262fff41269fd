"""Training: the one loop of all systems, and the commands around it."""

import os

# TensorFlow 2.15 reports at import, as errors, that it found its own CUDA libraries twice; this hides no failure.
os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')

from train.loop import train_and_evaluate

__all__ = ['train_and_evaluate']
