"""All figures of a labelled split in bounded memory and without a temporary file.

Where the known cells fit (:data:`~taistore.evaluation.label_columns.CELL_BYTES`) they are kept and
the images scored once; where they do not, images are scored twice and counted
(:mod:`taistore.evaluation.rank_counts`), and once more for each block of labels that is resampled.
Either way the figures are the same. Shapes: I images, N labels.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from taistore.errors import ScoringError
from taistore.evaluation import label_columns
from taistore.evaluation.label_columns import LabelColumns, bytes_a_cell
from taistore.evaluation.labelled_scores import LabelledBatch, LabelledSplit
from taistore.evaluation.metrics import (
    Metrics,
    TopTally,
    label_precision,
    mean_average_precision,
    micro_precision,
)
from taistore.evaluation.rank_counts import RankCounts
from taistore.labels import ABSENT, PRESENT, UNKNOWN
from taistore.progress import Progress
from taistore.scoring.ladders.ladder import Step


class Tally:
    """What is counted of the images of a split as they come by."""

    def __init__(self, steps: Sequence[Step], labels: int) -> None:
        self.images = self.with_regions = self.without_vectors = 0
        self.positives_N = np.zeros(labels, np.int64)
        self.negatives_N = np.zeros(labels, np.int64)
        self._top = {step: TopTally(labels) for step in steps}

    def add(self, batch: LabelledBatch) -> None:
        """Count a batch."""
        count = len(batch.image_ids)
        self.images += count
        self.without_vectors += batch.without_vectors
        self.with_regions += count if batch.with_regions else 0
        self.positives_N += (batch.truth_BN == PRESENT).sum(axis=0)
        self.negatives_N += (batch.truth_BN == ABSENT).sum(axis=0)
        for step, scores_BN in batch.scores.items():
            self._top[step].add(scores_BN, batch.truth_BN)

    def forget(self, label_ids: NDArray[np.int64]) -> None:
        """As if these labels had been unknown of every image."""
        self.positives_N[label_ids] = 0
        for top in self._top.values():
            top.forget(label_ids)

    def f1(self, step: Step) -> tuple[float, float]:
        """CF1 and OF1 at 3 of a step."""
        return self._top[step].f1()


@dataclass(frozen=True, kw_only=True, slots=True)
class SplitFigures:
    """Figures by step, of those whose scores differ, and what they rest on.

    ``columns`` are all known cells, where they fit.
    """

    tally: Tally
    found: dict[Step, Metrics]
    columns: LabelColumns | None


def split_figures(
    split: LabelledSplit, *, needs_negatives: bool, progress: Progress
) -> SplitFigures:
    """Score the images of a split and take all figures.

    With ``needs_negatives`` a label counts only where an image is known not to show it. Raises
    :class:`ScoringError` where there is nothing to take figures of.
    """
    steps, labels = split.kept_steps, len(split.most_N)
    fits = int(split.most_N.sum()) * bytes_a_cell(len(steps)) <= label_columns.CELL_BYTES
    columns = LabelColumns(steps, slice(0, labels), split.most_N) if fits else None
    counts = RankCounts(steps, labels)
    tally = Tally(steps, labels)
    for batch in split.batches(progress):
        tally.add(batch)
        if not batch.scores:
            continue
        if columns is not None:
            columns.add(batch.truth_BN, batch.scores)
        else:
            counts.collect(batch.truth_BN, batch.scores)
    _require_positives(split, tally.images, tally.positives_N)
    forgotten = _without_negatives(tally.positives_N, tally.negatives_N, asked=needs_negatives)
    tally.forget(forgotten)
    if columns is not None:
        columns.forget(forgotten)
        ranked = {step: _of_columns(columns, step) for step in steps}
    else:
        counts.begin_counting(forgotten)
        for batch in split.batches(progress):
            batch.truth_BN[:, forgotten] = UNKNOWN
            if batch.scores:
                counts.count(batch.truth_BN, batch.scores)
        ranked = {step: counts.figures(step) for step in steps}
    found = {step: _metrics(*ranked[step], tally.f1(step)) for step in steps}
    return SplitFigures(tally=tally, found=found, columns=columns)


class FilledBlock(NamedTuple):
    """The known cells of a block of labels, and the ids (bytes) of all images by their number."""

    columns: LabelColumns
    image_ids: NDArray[np.bytes_]


def filled_block(
    split: LabelledSplit, block: slice, *, needs_negatives: bool, progress: Progress
) -> FilledBlock:
    """Score the images of a split for the known cells of some labels; raises as above."""
    columns = LabelColumns(split.kept_steps, block, split.most_N[block])
    positives_N, negatives_N = np.zeros((2, len(split.most_N)), np.int64)
    ids = [np.empty(0, np.bytes_)]
    for batch in split.batches(progress):
        if batch.scores:
            columns.add(batch.truth_BN, batch.scores)
        positives_N += (batch.truth_BN == PRESENT).sum(axis=0)
        negatives_N += (batch.truth_BN == ABSENT).sum(axis=0)
        ids.append(batch.image_ids)
    _require_positives(split, columns.images, positives_N)
    columns.forget(_without_negatives(positives_N, negatives_N, asked=needs_negatives))
    return FilledBlock(columns, np.concatenate(ids))


def _require_positives(split: LabelledSplit, images: int, positives_N: NDArray[np.int64]) -> None:
    if not images:
        raise ScoringError(
            f"{split.uri}: none of the {split.labelled} labelled {split.scope.images} has a "
            f"vector of {split.encoder_spec}: add them with "
            "'taistore ingest-images' and this encoder"
        )
    if not positives_N.any():
        raise ScoringError(
            f"{split.uri}: none of the {split.scope.images} is known to show any label, "
            "only what they do not show is known: ingest images with positive labels"
        )


def _without_negatives(
    positives_N: NDArray[np.int64], negatives_N: NDArray[np.int64], *, asked: bool
) -> NDArray[np.int64]:
    """Labels that no image is known not to show, where that is asked for."""
    if not asked:
        return np.empty(0, np.int64)
    if not positives_N[negatives_N > 0].any():
        raise ScoringError(
            "no label has an image that is known to show it and one that is known not to: ingest "
            "verified negatives too, or leave out protocol="
        )
    return np.flatnonzero(negatives_N == 0)


def _of_columns(columns: LabelColumns, step: Step) -> tuple[NDArray[np.float64], float]:
    """Average precision of each label [N], and of all cells together."""
    labels = columns.all_labels(step)
    average_N = np.array([label_precision(cells.scores, cells.truth) for cells in labels])
    return average_N, micro_precision(lambda: columns.parts(step))


def _metrics(average_N: NDArray[np.float64], micro: float, f1: tuple[float, float]) -> Metrics:
    return Metrics(
        mean_average_precision=mean_average_precision(average_N),
        micro_average_precision=micro,
        class_f1=f1[0],
        overall_f1=f1[1],
        label_average_precision=average_N,
        labels_without_positives=int(np.isnan(average_N).sum()),
    )
