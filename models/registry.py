"""Systems by name. A system registers by one line here."""

from models.facecycle import FaceCycle
from models.faceoff import FaceOff
from models.ganfaces import GANFaces
from models.gcgan import GCGAN
from models.nn4 import NN4
from models.recognition import Recognition
from models.system import System

SYSTEMS: dict[str, type[System]] = {
  'gcgan': GCGAN,
  'ganfaces': GANFaces,
  'facecycle': FaceCycle,
  'faceoff': FaceOff,
  'nn4': NN4,
  'recognition': Recognition,
}
