"""A run's scores of a few labels for photos of the store, and what is known of these cells.

Shapes: B photos, D embedding dimension, L labels that are asked for, N labels of the run, R regions
of a photo.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from taistore.labels import ABSENT, PRESENT
from taistore.scoring.choosing import Chooser, Images
from taistore.scoring.ensembles.ensemble import ladder_of
from taistore.scoring.known_cells import KNOWN_COLUMNS, KnownCells, stored_cells
from taistore.scoring.ladders.ladder import step_for
from taistore.scoring.loaded_run import ScoringRun
from taistore.scoring.selection import Choice
from taistore.scoring.stored_images import some_have_regions, stored_batches, stored_vectors
from taistore.scoring.tags.image_tags import Tag
from taistore.store.store import Store
from taistore.store.tables.ragged_vectors import stored_regions

Float32 = NDArray[np.float32]

_BLOCK = 256


class CellScores(NamedTuple):
    """Photos with their scores of some labels.

    ``shown_BL`` is 1 or 0 where that is known, else the score; ``scores_BL`` is always the score.
    """

    image_ids: list[str]
    shown_BL: Float32
    scores_BL: Float32


@dataclass(frozen=True, slots=True)
class LabelScores:
    """A run that scores photos of a store, with regions where a photo has some."""

    store: Store
    run: ScoringRun
    choice: Choice
    regions: bool

    @classmethod
    def of(cls, store: Store, run: ScoringRun) -> "LabelScores":
        """By the step that ``taistore score`` takes."""
        regions = some_have_regions(store, run.encoder_id)
        return cls(store, run, Choice.asked(run.ladder, regions=regions), regions)

    def of_photos(self, image_ids: Sequence[str], label_ids: Sequence[int]) -> Iterator[CellScores]:
        """These photos, some at a time; one without a vector of the run's encoder is left out."""
        for images in self._images(image_ids):
            yield self._cells(images, label_ids)

    def of_store(self, label_ids: Sequence[int], *, split: str | None) -> Iterator[CellScores]:
        """Every photo of the store, or of a split of it."""
        where = None if split is None else {"split": split}
        batches = stored_batches(
            self.store,
            self.run.encoder_id,
            columns=list(KNOWN_COLUMNS),
            regions=self.regions,
            where=where,
        )
        for batch in batches:
            ids = [str(one) for one in batch.rows.column("image_id").to_pylist()]
            if ids:
                known = KnownCells.of(batch.rows)
                yield self._cells(Images(ids, batch.whole_BD, batch.regions_BRD, known), label_ids)

    def tags(self, image_ids: Sequence[str]) -> dict[str, tuple[Tag, ...]]:
        """The tags of photos, as ``taistore score`` gives them."""
        found: dict[str, tuple[Tag, ...]] = {}
        for images in self._images(image_ids):
            found.update(self.tags_of(images))
        return found

    def tags_of(self, images: Images) -> dict[str, tuple[Tag, ...]]:
        """The tags of photos of which the vectors are at hand, by ``image_id``."""
        labels = self.store.labels
        tags, values_T = Chooser(self.run.ladder, self.choice)(images)
        found: dict[str, list[Tag]] = {one: [] for one in images.ids}
        for row, rank, label_id, value in zip(
            tags.row.tolist(),
            tags.rank.tolist(),
            tags.label_id.tolist(),
            values_T.tolist(),
            strict=True,
        ):
            key, name = labels[label_id].key, labels[label_id].name
            tag = Tag(key=key, name=name, score=value, rank=rank, label_id=label_id)
            found[images.ids[row]].append(tag)
        return {one: tuple(some) for one, some in found.items()}

    def _images(self, image_ids: Sequence[str]) -> Iterator[Images]:
        """Photos with their vectors, those of one grid of regions together."""
        encoder_id = self.run.encoder_id
        for first in range(0, len(image_ids), _BLOCK):
            block = list(image_ids[first : first + _BLOCK])
            whole = stored_vectors(self.store, encoder_id, block)
            there = [one for one in block if one in whole]
            cells = stored_regions(self.store, encoder_id, there) if self.regions else {}
            grids: dict[int, list[str]] = {}
            for one in there:
                grids.setdefault(len(cells.get(one, ())), []).append(one)
            for grid, ids in grids.items():
                regions_BRD = np.stack([cells[one] for one in ids]) if grid else None
                whole_BD = np.stack([whole[one] for one in ids])
                yield Images(ids, whole_BD, regions_BRD, stored_cells(self.store, ids))

    def _cells(self, images: Images, label_ids: Sequence[int]) -> CellScores:
        regions = images.regions_BRD is not None
        step = step_for(self.choice.step, regions=regions)
        ladder = ladder_of(self.run.ladder, images.ids)
        scores_BN = ladder.scores(images.whole_BD, images.regions_BRD, steps=[step])[step]
        values_BN = ladder.confidence(step, scores_BN, regions=regions)
        scores_BL: Float32 = values_BN[:, list(label_ids)].cpu().numpy()
        shown_BL = scores_BL
        if images.known is not None:
            known_BL = images.known.matrix(ladder.labels)[:, list(label_ids)]
            shown_BL = np.where(
                known_BL == PRESENT, np.float32(1), np.where(known_BL == ABSENT, 0, scores_BL)
            ).astype(np.float32)
        return CellScores(list(images.ids), shown_BL, scores_BL)
