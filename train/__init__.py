"""Training: the one loop of all systems, and the commands around it."""

import models  # noqa: F401  First, as it says how TensorFlow starts.
from train.loop import train_and_evaluate

__all__ = ['train_and_evaluate']
