"""Pictures and renders -> prepared data sets -> batches."""

import models.config  # noqa: F401  First, as `models` says how TensorFlow starts.
from input_pipeline.dataset import PreparedDataset, open_dataset
from input_pipeline.facecycle import Tracks
from input_pipeline.faceoff import TwoDomains
from input_pipeline.ganfaces import Domains
from input_pipeline.identities import Identities
from input_pipeline.recognition import TwoSets
from input_pipeline.triplets import Triplets

# How each system's batches are made.
PIPELINES = {
  'gcgan': Triplets,
  'ganfaces': Domains,
  'nn4': Identities,
  'facecycle': Tracks,
  'faceoff': TwoDomains,
  'recognition': TwoSets,
}

__all__ = ['Domains', 'Identities', 'PIPELINES', 'PreparedDataset', 'Tracks', 'Triplets', 'TwoDomains', 'TwoSets',
           'open_dataset']
