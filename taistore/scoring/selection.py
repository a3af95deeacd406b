"""Which labels an image is tagged with: the best few, those above a threshold, or both.

Shapes: B images, N labels, T tags (of all images, one after another).
"""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


class Tags(NamedTuple):
    """Chosen tags: image row [T], rank from 1 [T], label id [T]; by row, then by rank."""

    row: NDArray[np.int64]
    rank: NDArray[np.int32]
    label_id: NDArray[np.int32]


def choose(
    scores_BN: Tensor, *, top_k: int | None = None, allowed_BN: Tensor | None = None
) -> Tags:
    """The ``top_k`` best labels (None: all) of each image among those ``allowed``.

    Only the chosen labels are sorted. Equal scores rank by label id.
    """
    labels = scores_BN.shape[1]
    keep = labels if top_k is None else min(top_k, labels)
    if allowed_BN is not None:
        scores_BN = scores_BN.masked_fill(~allowed_BN, -torch.inf)
        # A threshold leaves few labels per image: sort as many as the fullest image has.
        keep = min(keep, int(allowed_BN.sum(dim=1).max()) if len(scores_BN) else 0)
    values_BK, ids_BK = scores_BN.topk(keep, dim=1, sorted=False)
    ids_BK, by_id_BK = ids_BK.sort(dim=1)
    values_BK, by_value_BK = values_BK.gather(1, by_id_BK).sort(dim=1, descending=True, stable=True)
    ids_BK = ids_BK.gather(1, by_value_BK)
    kept_BK = (values_BK > -torch.inf).cpu().numpy()
    row, rank = np.nonzero(kept_BK)
    label_id = ids_BK.cpu().numpy()[kept_BK].astype(np.int32)
    return Tags(row.astype(np.int64), (rank + 1).astype(np.int32), label_id)
