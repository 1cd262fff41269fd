"""Pictures and renders -> prepared data sets -> batches."""

from input_pipeline.dataset import PreparedDataset, open_dataset
from input_pipeline.triplets import Triplets

# How each system's batches are made.
PIPELINES = {'gcgan': Triplets}

__all__ = ['PIPELINES', 'PreparedDataset', 'Triplets', 'open_dataset']
