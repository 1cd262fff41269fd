"""The parts of TensorFlow Graphics that the renderer uses, imported at once.

Each of its modules and packages asks `inspect.stack()` who it is, to list its own names in `__all__`: that looks every
file of the call stack up among all loaded modules, up to 40 seconds in all. While it is imported here, the same lists
are made from the caller's globals.
"""

import inspect
import sys

from tensorflow_graphics.util import export_api


def _functions_and_classes() -> list[str]:
  values = sorted(sys._getframe(1).f_globals.items())
  return [
    name
    for name, value in values
    if inspect.isfunction(value) or (inspect.isclass(value) and not name.startswith('_'))
  ]


def _modules() -> list[str]:
  names = sys._getframe(1).f_globals
  children = {name: f'{names["__name__"]}.{name}' for name in sorted(names) if not name.startswith('_')}
  return [name for name, path in children.items() if getattr(names[name], '__name__', '') == path]


_slow = export_api.get_functions_and_classes, export_api.get_modules
export_api.get_functions_and_classes, export_api.get_modules = _functions_and_classes, _modules
try:
  from tensorflow_graphics.geometry.transformation import rotation_matrix_3d
  from tensorflow_graphics.rendering import framebuffer, splat
  from tensorflow_graphics.rendering.camera import perspective
  from tensorflow_graphics.rendering.reflectance import blinn_phong, lambertian
finally:
  export_api.get_functions_and_classes, export_api.get_modules = _slow

__all__ = ['blinn_phong', 'framebuffer', 'lambertian', 'perspective', 'rotation_matrix_3d', 'splat']
