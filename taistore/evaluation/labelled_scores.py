"""The labelled images of a split with their scores of every step of a run's ladder.

Shapes: I images, B images of a batch, N labels, D embedding dimension.
"""

import contextlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from numpy.typing import NDArray

from taistore.errors import ScoringError
from taistore.evaluation.score_matrices import ScoreBoard
from taistore.labels import PRESENT, Label, LabelSet
from taistore.progress import Progress, ProgressBar, no_progress
from taistore.scoring.known_cells import KNOWN_COLUMNS, known_cells
from taistore.scoring.ladder import Ladder, Step, step_for
from taistore.scoring.loaded_run import ScoringRun, open_run
from taistore.scoring.stored_images import StoredBatch, some_have_regions, stored_batches
from taistore.store.partial_labels import IMAGE_ID
from taistore.store.store import Store


@dataclass(frozen=True, kw_only=True, slots=True)
class Scope:
    """What of a split is looked at.

    ``label_ids`` [N] are the labels, in this order (None: all of the store). With
    ``only_with_positives`` an image that is known to show none of them is left out.
    """

    split: str
    label_ids: NDArray[np.int64] | None = None
    only_with_positives: bool = False

    def labels(self, labels: LabelSet) -> list[Label]:
        """Those of a label set that are looked at, in the order of the columns."""
        if self.label_ids is None:
            return list(labels)
        return [labels[label_id] for label_id in self.label_ids.tolist()]

    def truth(self, rows: pa.RecordBatch, labels: int) -> NDArray[np.int8]:
        """int8 [B, N] of rows with what is known, of a store of so many labels."""
        truth_BN = known_cells(rows, labels)
        return truth_BN if self.label_ids is None else truth_BN[:, self.label_ids]


@dataclass(frozen=True, kw_only=True, slots=True)
class ScoredSplit:
    """Scores and truth of the images of ``scope`` that have a vector, on ``board``.

    ``image_ids`` [I] (bytes) name its rows. ``steps`` are all steps of the ladder.
    ``with_regions`` of the images have region vectors; the others are scored without.
    ``without_vectors`` images were labelled but have no vector.
    """

    scope: Scope
    run: ScoringRun
    board: ScoreBoard
    image_ids: NDArray[np.bytes_]
    steps: tuple[Step, ...]
    with_regions: int
    without_vectors: int

    @property
    def regions(self) -> bool:
        """Whether there are steps with regions."""
        return "regions" in self.steps

    def scores(self, step: Step) -> NDArray[np.float32]:
        """float32 [I, N] of a step; without regions the adapter's two steps are one."""
        return self.board.scores(_kept(step, self.regions))

    @property
    def kept_steps(self) -> tuple[Step, ...]:
        """Steps whose scores differ: those of which figures need to be taken."""
        return tuple(step for step in self.steps if _kept(step, self.regions) == step)

    def same_as(self, step: Step) -> Step:
        """The one of :attr:`kept_steps` whose scores this step has."""
        return _kept(step, self.regions)


def _kept(step: Step, regions: bool) -> Step:
    return "adapter_global" if step == "adapter" and not regions else step


@contextlib.contextmanager
def scored_split(
    store: Store,
    run_id: str,
    scope: Scope,
    *,
    device: str | torch.device = "cpu",
    progress: Progress = no_progress,
) -> Iterator[ScoredSplit]:
    """Score the labelled images of a split with every step of a run, while the block runs.

    An image takes part when its labels are complete or some of them are known. An image is scored
    with its region vectors where it has any. The matrices lie on disk where they are large.
    Raises :class:`ScoringError` where the split holds nothing to score, and what
    :func:`~taistore.scoring.loaded_run.open_run` raises.
    """
    run = open_run(store, run_id, device=device)
    labelled = labelled_images(store, scope.split)
    where = {"split": scope.split}
    regions = some_have_regions(store, run.encoder_id, where=where)
    steps = run.ladder.steps(regions=regions)
    kept = [step for step in steps if _kept(step, regions) == step]
    labels = run.ladder.labels if scope.label_ids is None else len(scope.label_ids)
    with ScoreBoard(kept, images=labelled, labels=labels) as board:
        batches = stored_batches(
            store, run.encoder_id, columns=KNOWN_COLUMNS, regions=regions, where=where
        )
        with progress("evaluate", total=labelled, unit="image") as bar:
            filling = _Filling(board, run.ladder, kept, scope)
            filling.run(batches, bar)
        if not board.images:
            raise ScoringError(
                f"{store.uri}: none of the {labelled} labelled images of split {scope.split!r} has "
                f"a vector of {store.encoder(run.encoder_id).spec}: add them with "
                "'taistore ingest-images' and this encoder"
            )
        if not (board.truth == PRESENT).any():
            raise ScoringError(
                f"{store.uri}: no image of split {scope.split!r} is known to show any label, only "
                "what they do not show is known: ingest images with positive labels"
            )
        yield ScoredSplit(
            scope=scope,
            run=run,
            board=board,
            image_ids=np.concatenate(filling.image_ids),
            steps=steps,
            with_regions=filling.with_regions,
            without_vectors=filling.without,
        )


class _Filling:
    """Scores all labelled images onto the board; counts those without a vector."""

    def __init__(
        self, board: ScoreBoard, ladder: Ladder, steps: Sequence[Step], scope: Scope
    ) -> None:
        self.without = self.with_regions = 0
        self.image_ids: list[NDArray[np.bytes_]] = [np.empty(0, IMAGE_ID)]
        self._board = board
        self._ladder = ladder
        self._steps = steps
        self._scope = scope

    def run(self, batches: Iterable[StoredBatch], bar: ProgressBar) -> None:
        for batch in batches:
            known = np.flatnonzero(_known(batch.rows))
            self.without += int(_known(batch.without_vector).sum())
            truth_BN = self._scope.truth(batch.rows.take(known), self._ladder.labels)
            if self._scope.only_with_positives:
                shows = (truth_BN == PRESENT).any(axis=1)
                known, truth_BN = known[shows], truth_BN[shows]
            if len(known):
                self._add(batch, known, truth_BN)
            bar.advance(len(known))

    def _add(self, batch: StoredBatch, known: NDArray[Any], truth_BN: NDArray[np.int8]) -> None:
        regions_BRD = None if batch.regions_BRD is None else batch.regions_BRD[known]
        if regions_BRD is not None:
            self.with_regions += len(known)
        source = {step: step_for(step, regions=regions_BRD is not None) for step in self._steps}
        scores = self._ladder.scores(batch.whole_BD[known], regions_BRD, steps=source.values())
        chosen = slice(None) if self._scope.label_ids is None else self._scope.label_ids
        self._board.add(
            truth_BN,
            {step: scores[source[step]].cpu().numpy()[:, chosen] for step in self._steps},
        )
        ids = batch.rows.take(known).column("image_id").to_pylist()
        self.image_ids.append(np.asarray(ids, dtype=IMAGE_ID))


def _known(rows: pa.RecordBatch) -> NDArray[np.bool_]:
    """Which rows say anything about their labels: bool [B]."""
    known = np.asarray(rows.column("complete").to_numpy(zero_copy_only=False), dtype=bool)
    for name in ("positives", "negatives"):
        known |= pc.list_value_length(rows.column(name)).to_numpy(zero_copy_only=False) > 0
    return known


def splits_with_labels(store: Store) -> tuple[Counter[str], Counter[str]]:
    """Images of each split, and those of them of which some label is known."""
    images: Counter[str] = Counter()
    labelled: Counter[str] = Counter()
    for rows in store.scan("images", columns=["split", *KNOWN_COLUMNS]):
        names = np.asarray(rows.column("split").to_pylist(), dtype=object)
        images.update(names.tolist())
        labelled.update(names[_known(rows)].tolist())
    return images, labelled


def labelled_images(store: Store, split: str) -> int:
    """Images of the split with known labels; ScoringError names the splits that have some."""
    images, labelled = splits_with_labels(store)
    if labelled[split]:
        return labelled[split]
    there = ", ".join(f"{name!r} ({count:,})" for name, count in sorted(labelled.items()) if count)
    remedy = (
        f"name one of those that have them ({there}) with split="
        if there
        else "ingest a manifest that names labels, such as "
        '{"image": "a.jpg", "labels": ["dog"], "split": "test"}'
    )
    if images[split]:
        what = f"none of the {images[split]:,} images of split {split!r} has known labels"
    else:
        what = f"split {split!r} holds no images"
    raise ScoringError(f"{store.uri}: {what}: {remedy}")
