"""Which labels go together: from labelled images, or from how near their prompts lie.

I images, N labels, D embedding dimension, P stored pairs, B pairs drawn at once, K neighbours.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse
from numpy.typing import NDArray

from taistore.encoders.protocol import Encoder
from taistore.store.partial_labels import PartialLabels
from taistore.store.store import Store
from taistore.texts.label_prompts import prompt_vectors

PSEUDO_COUNTS = 5.0
"""Images that chance is worth beside a label's own: rare labels meet any other more often."""

NEIGHBOURS = 10
TEMPERATURE = 0.1
"""By prompts, a label goes with its nearest ones, ``exp(cosine / temperature)`` often."""

CHANCE = 0.25
"""By prompts, how often a partner is any label: near in meaning is not yet seen together."""

_PAIRS = 2**22
"""Similarities computed at once."""


@dataclass(frozen=True, slots=True)
class Affinity:
    """How likely each label is to be named beside another, in compressed rows.

    A partner of label ``n`` is any label with probability ``chance`` [N]; else one of
    ``label_ids[offsets[n]:offsets[n + 1]]``, in proportion to its ``weights``.
    """

    offsets: NDArray[np.int64]
    label_ids: NDArray[np.int32]
    weights: NDArray[np.float64]
    chance: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.chance)

    @classmethod
    def from_images(
        cls, known: PartialLabels, *, pseudo_counts: float = PSEUDO_COUNTS
    ) -> "Affinity":
        """From what images are known to show together.

        A pair weighs as many images as show it over the root of how many show the partner, or
        the commonest label of all would be named beside everything. ``pseudo_counts`` images of
        each label count as chance.
        """
        n = known.labels
        ones = np.ones(len(known.positives.label_ids), dtype=np.float64)
        rows_IN = scipy.sparse.csr_matrix(
            (ones, known.positives.label_ids, known.positives.offsets), shape=(len(known), n)
        )
        together = (rows_IN.T @ rows_IN).tocsr()
        counts_N = together.diagonal()
        together.setdiag(0)
        together.eliminate_zeros()
        scale = scipy.sparse.diags_array(1.0 / np.sqrt(np.maximum(counts_N, 1.0)))
        weighted: Any = (together @ scale).tocsr()
        seen_N = np.asarray(together.sum(axis=1)).reshape(-1)
        chance_N = np.where(seen_N > 0, pseudo_counts / (pseudo_counts + seen_N), 1.0)
        return cls(
            weighted.indptr.astype(np.int64),
            weighted.indices.astype(np.int32),
            weighted.data.astype(np.float64),
            chance_N,
        )

    @classmethod
    def from_prompts(
        cls,
        prompts_ND: NDArray[np.float32],
        *,
        neighbours: int = NEIGHBOURS,
        chance: float = CHANCE,
    ) -> "Affinity":
        """From the cosines of unit prompt vectors [N, D]: each label with its nearest ones."""
        n = len(prompts_ND)
        k = min(neighbours, n - 1)
        ids = np.empty((n, k), dtype=np.int32)
        weights = np.empty((n, k), dtype=np.float64)
        step = max(1, _PAIRS // max(n, 1))
        for low in range(0, n, step):
            rows = np.arange(low, min(low + step, n))
            cosine_BN = prompts_ND[rows] @ prompts_ND.T
            cosine_BN[np.arange(len(rows)), rows] = -np.inf
            # A stable sort: labels that are equally near keep their order on every machine.
            near_BK = np.argsort(-cosine_BN, axis=1, kind="stable")[:, :k]
            ids[rows] = near_BK
            weights[rows] = np.exp(np.take_along_axis(cosine_BN, near_BK, axis=1) / TEMPERATURE)
        return cls(
            np.arange(n + 1, dtype=np.int64) * k,
            ids.reshape(-1),
            weights.reshape(-1),
            np.full(n, chance if k else 1.0),
        )

    def draw(self, anchors_B: NDArray[np.int32], random: np.random.Generator) -> NDArray[np.int32]:
        """One partner for each anchor [B]; it may be the anchor itself, by chance."""
        low_B, high_B = self.offsets[anchors_B], self.offsets[anchors_B + 1]
        by_chance_B = random.random(len(anchors_B)) < self.chance[anchors_B]
        anyone_B = random.integers(len(self), size=len(anchors_B), dtype=np.int32)
        total = np.concatenate([[0.0], np.cumsum(self.weights)])
        at_B = total[low_B] + random.random(len(anchors_B)) * (total[high_B] - total[low_B])
        places_B = np.searchsorted(total, at_B, side="right") - 1
        places_B = np.clip(places_B, low_B, np.maximum(high_B - 1, low_B))
        by_chance_B |= low_B == high_B
        if not len(self.label_ids):
            return anyone_B
        partners_B = self.label_ids[np.minimum(places_B, len(self.label_ids) - 1)]
        return np.where(by_chance_B, anyone_B, partners_B).astype(np.int32)


def store_affinity(store: Store, encoder: Encoder, *, split: str = "train") -> Affinity:
    """From the labelled images of a split where any shows two labels, else from the prompts.

    Images of other splits are not read: what is tested on must not say what is written about.
    """
    known = PartialLabels.read(store, split=split)
    if len(known) and int(known.positives.counts.max()) > 1:
        return Affinity.from_images(known)
    return Affinity.from_prompts(prompt_vectors(store, encoder))
