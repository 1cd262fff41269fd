"""Which photographs of 300W-3D and AFLW2000-3D have a file of parameters beside them (see `parameter_files`)."""

import os

from input_pipeline import photos
from input_pipeline.listing import Photo, Skipped

# The folders of 300W-3D; AFLW2000-3D has one.
FOLDERS = {'300w_3d': ('AFW', 'HELEN', 'IBUG', 'LFPW'), 'aflw2000_3d': ('AFLW2000', '.')}


def find_pairs(name: str, folder: str) -> tuple[list[Photo], Skipped]:
  """The photographs of a layout that have a parameter file; nobody knows who they are."""
  found, skipped = [], {}
  parts = [part for part in FOLDERS[name] if os.path.isdir(os.path.join(folder, part))]
  if '.' in parts and len(parts) > 1:
    parts.remove('.')
  for part in parts:
    for file in sorted(os.listdir(os.path.join(folder, part))):
      if not photos.is_picture(file):
        continue
      path = os.path.normpath(os.path.join(part, file))
      if os.path.isfile(os.path.join(folder, os.path.splitext(path)[0] + '.mat')):
        found.append(Photo(path, path, 'unlabelled'))
      else:
        skipped[path] = 'there is no .mat file of its name'
  return found, skipped


def find_300w_3d(folder: str) -> tuple[list[Photo], Skipped]:
  """300W-3D: AFW, HELEN, IBUG and LFPW with NAME.jpg and NAME.mat."""
  return find_pairs('300w_3d', folder)


def find_aflw2000_3d(folder: str) -> tuple[list[Photo], Skipped]:
  """AFLW2000-3D: image00002.jpg and image00002.mat."""
  return find_pairs('aflw2000_3d', folder)
