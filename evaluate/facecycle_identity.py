"""Does FaceCycle keep who somebody is? By dlib's descriptor, which no loss of it knows, and by its own R_id.

`neutral_identity`: are two neutral faces of one person more alike than two of different people, beside the frames that
they came from. `identity_kept`: the paper's 69.2 % (section 5 of its supplementary). Its protocol is not stated; here
an output and its original (of a transfer: the target, who gives the identity) are a pair of one person, an output and
the original of somebody else one of two, as many frontalisations as transfers, and the threshold of each tenth of the
people is chosen on the others. `real_pairs` are the same pairs with another frame of the person in the output's place.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from evaluate.embeddings import DESCRIPTOR, Faces
from evaluate.facecycle_faces import Unseen, in_batches, others_of_the_same, strangers
from evaluate.results import Row
from evaluate.same_person import Pairs, make_pairs, verification_rows

NEUTRAL, KEPT = 'neutral_identity', 'identity_kept'
MOST = 500  # Frontalisations, and transfers.
OWN = 'identity_code'  # R_id.


def identity_rows(model: Any, unseen: Unseen, faces: Mapping[str, Faces]) -> list[Row]:
  """Rows of protocols `neutral_identity` and `identity_kept`; none where there is nobody else.

  Args:
    model: the trained `FaceCycle`; its R_id judges too, if stage 2 was trained.
    unseen: held-out frames and what it made of them.
    faces: of `facecycle_truth.read_unseen`.
  """
  people = unseen.people
  if len(np.unique(people)) < 2:
    return []
  rows = []
  if len(np.unique(people)) < len(people):
    codes = {'model': faces['neutral'].descriptors, 'copy_input': faces['first'].descriptors}
    rows += verification_rows(NEUTRAL, codes, people, make_pairs(people), DESCRIPTOR)
  codes = {DESCRIPTOR: {name: faces[name].descriptors for name in ('first', 'second', 'neutral', 'transferred')}}
  if model.phase == 'train':
    pictures = {'first': unseen.batch['first'], 'second': unseen.batch['second'], 'neutral': unseen.neutral,
                'transferred': unseen.transferred}
    own = np.split(in_batches(model.encode_identity, np.concatenate(list(pictures.values()))), len(pictures))
    codes[OWN] = dict(zip(pictures, own, strict=True))
  for embedding, found in codes.items():
    rows += kept_rows(found, people, embedding)
  return rows


def kept_rows(codes: Mapping[str, np.ndarray], people: np.ndarray, embedding: str) -> list[Row]:
  """Rows of `identity_kept` by one embedding, of all outputs and of each kind.

  Args:
    codes: `first` (the originals), `second` (another frame of each), `neutral` and `transferred` -> [N, D].
    people: [N] who gives the identity.
    embedding: who made the codes; they are compared by their cosine.
  """
  chosen = np.arange(min(len(people), MOST))
  people, codes = people[chosen], {name: values[chosen] for name, values in codes.items()}
  count, other, stranger = len(people), others_of_the_same(people), strangers(people)
  real = np.where((other == np.arange(count))[:, None], codes['second'], codes['first'][other])
  rows = []
  for name, kinds in (('all', ('neutral', 'transferred')), ('frontalised', ('neutral',)), ('moved', ('transferred',))):
    outputs = np.arange(len(kinds) * count)
    originals = len(outputs) + np.tile(np.arange(count), len(kinds))
    impostors = len(outputs) + np.tile(stranger, len(kinds))
    same = np.arange(2 * len(outputs)) < len(outputs)
    pairs = Pairs(np.tile(outputs, 2), np.concatenate([originals, impostors]), same)
    subjects = {
      'model': np.concatenate([*(codes[kind] for kind in kinds), codes['first']]),
      'real_pairs': np.concatenate([real] * len(kinds) + [codes['first']]),
    }
    found = verification_rows(KEPT, subjects, np.tile(people, len(kinds) + 1), pairs, embedding)
    rows += [{**row, 'slice': name} for row in found]
  return rows
