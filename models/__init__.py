"""The systems, their settings, and runs on disk."""

import os

# TensorFlow reads these when it is imported.
os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')  # Its remarks on the machine.
os.environ.setdefault('TF_ENABLE_ONEDNN_OPTS', '1')  # Off by itself where AVX-512 is missing.

from models.facecycle import FaceCycle
from models.facecycle_config import FaceCycleConfig
from models.faceoff import FaceOff
from models.faceoff_config import FaceOffConfig
from models.ganfaces import GANFaces
from models.ganfaces_config import GANFacesConfig
from models.gcgan import GCGAN
from models.gcgan_config import GCGANConfig
from models.recognition import Recognition
from models.recognition_config import RecognitionConfig
from models.registry import SYSTEMS
from models.runs import load_config, restore
from models.system import System

__all__ = ['FaceCycle', 'FaceCycleConfig', 'FaceOff', 'FaceOffConfig', 'GANFaces', 'GANFacesConfig', 'GCGAN',
           'GCGANConfig', 'Recognition', 'RecognitionConfig', 'SYSTEMS', 'System', 'load_config', 'restore']
