"""The known cells of a labelled split, whose labels no training has read, block by block.

Shapes: N labels, K known cells of a label.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from taistore.adapter.known_labels import KNOWN, read_known
from taistore.adapter.run_files.run_folder import run_folder
from taistore.evaluation import label_columns
from taistore.evaluation.label_columns import LabelColumns, bytes_a_cell, label_blocks
from taistore.evaluation.labelled_scores import LabelledSplit
from taistore.labels import UNKNOWN
from taistore.progress import Progress
from taistore.store.store import Store


class SplitCells:
    """Scores of a split's known cells, kept where they fit, else made again for each look.

    An image that a training has read labels of is evidence of nothing: ``learnt`` are left out, and
    ``images`` looked at, ``with_regions`` of them with their regions, once they have been gone
    through.
    """

    def __init__(
        self, scored: LabelledSplit, learnt_ids: NDArray[np.bytes_], progress: Progress
    ) -> None:
        self._scored = scored
        self._learnt_ids = learnt_ids
        self._progress = progress
        self._kept: LabelColumns | None = None
        cells = label_columns.CELL_BYTES // bytes_a_cell(len(scored.kept_steps))
        self._blocks = label_blocks(scored.most_N, cells=cells)
        self.images = self.with_regions = self.learnt = 0

    @property
    def most(self) -> int:
        """How many known cells there are at most."""
        return int(self._scored.most_N.sum())

    def blocks(self) -> Iterator[LabelColumns]:
        """All labels, in their order, some at a time."""
        if self._kept is not None:
            yield self._kept
            return
        for block in self._blocks:
            columns = self._filled(block)
            if len(self._blocks) == 1:
                self._kept = columns
            yield columns
            # Else it would be held while the next block is filled.
            del columns

    def _filled(self, block: slice) -> LabelColumns:
        scored = self._scored
        columns = LabelColumns(scored.kept_steps, block, scored.most_N[block])
        images = with_regions = learnt = 0
        for batch in scored.batches(self._progress):
            if not batch.scores:
                continue
            known_B = np.isin(batch.image_ids, self._learnt_ids)
            batch.truth_BN[known_B] = UNKNOWN
            columns.add(batch.truth_BN, batch.scores)
            fresh = int((~known_B).sum())
            images += fresh
            with_regions += fresh if batch.with_regions else 0
            learnt += int(known_B.sum())
        self.images, self.with_regions, self.learnt = images, with_regions, learnt
        return columns


def learnt_images(store: Store, run_id: str) -> NDArray[np.bytes_]:
    """Ids of the images whose labels a run, or a member of it, has read."""
    row = store.run(run_id)
    folder = run_folder(store, row.run_id)
    found = [np.empty(0, np.bytes_)]
    if (folder / KNOWN).is_file():
        known = read_known(folder)
        found.append(known.image_ids[known.known])
    for member in row.config.get("members", ()):
        found.append(learnt_images(store, str(member)))
    return np.unique(np.concatenate(found))
