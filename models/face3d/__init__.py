"""The face world: the morphable model, drawn people, and the differentiable renderer."""

from models.face3d.expressions import EXPRESSIONS, act
from models.face3d.morphable import MorphableModel, load_face_model
from models.face3d.people import Person, draw_background, draw_light, draw_person, stack_people
from models.face3d.portrait import People, frame, render_people

__all__ = [
  'EXPRESSIONS',
  'MorphableModel',
  'People',
  'Person',
  'act',
  'draw_background',
  'draw_light',
  'draw_person',
  'frame',
  'load_face_model',
  'render_people',
  'stack_people',
]
