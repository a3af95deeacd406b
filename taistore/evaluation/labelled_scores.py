"""The labelled images of a split with their scores of every step of a run's ladder.

Shapes: B images of a batch, N labels, D embedding dimension, R regions per image.
"""

import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from numpy.typing import NDArray

from taistore.errors import ScoringError
from taistore.labels import PRESENT, Label, LabelSet
from taistore.progress import Progress, no_progress
from taistore.scoring.ensembles.ensemble import ladder_of
from taistore.scoring.known_cells import KNOWN_COLUMNS, known_cells
from taistore.scoring.ladders.ladder import Step, step_for
from taistore.scoring.loaded_run import ScoringRun, open_run
from taistore.scoring.stored_images import StoredBatch, some_have_regions, stored_batches
from taistore.store.partial_labels import IMAGE_ID
from taistore.store.store import Store
from taistore.store.tables.label_lists import ragged


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


class LabelledBatch(NamedTuple):
    """Labelled images with a vector: ids [B] (bytes), what is known [B, N] and scores by step.

    Either all were scored with their regions or none. ``without_vectors`` images of the same read
    were labelled, but have no vector.
    """

    image_ids: NDArray[np.bytes_]
    truth_BN: NDArray[np.int8]
    scores: dict[Step, NDArray[np.float32]]
    with_regions: bool
    without_vectors: int


class LabelledSplit:
    """The labelled images of ``scope``, scored by ``run`` batch by batch whenever asked for.

    ``steps`` are all steps of the ladder. ``labelled`` images are labelled, with or without a
    vector; ``most_N`` says of how many of them each label is known.
    """

    def __init__(self, store: Store, run: ScoringRun, scope: Scope) -> None:
        self.scope = scope
        self.run = run
        self.labelled = labelled_images(store, scope.split)
        known_N = known_per_label(store, scope.split)
        self.most_N = known_N if scope.label_ids is None else known_N[scope.label_ids]
        self._store = store
        self._where = {"split": scope.split}
        self.regions = some_have_regions(store, run.encoder_id, where=self._where)
        self.steps = run.ladder.steps(regions=self.regions)
        self._seen = ""

    @property
    def uri(self) -> str:
        """Where the store is."""
        return self._store.uri

    @property
    def encoder_spec(self) -> str:
        """What encoder the run is for."""
        return self._store.encoder(self.run.encoder_id).spec

    @property
    def kept_steps(self) -> tuple[Step, ...]:
        """Steps whose scores differ: those of which figures need to be taken."""
        return tuple(step for step in self.steps if self.same_as(step) == step)

    def same_as(self, step: Step) -> Step:
        """The one of :attr:`kept_steps` whose scores this step has."""
        return "adapter_global" if step == "adapter" and not self.regions else step

    def batches(self, progress: Progress = no_progress) -> Iterator[LabelledBatch]:
        """All of them, in the same order each time; one batch may hold no image.

        Raises :class:`ScoringError` where they are no longer those of the time before.
        """
        seen = hashlib.sha256()
        batches = stored_batches(
            self._store,
            self.run.encoder_id,
            columns=KNOWN_COLUMNS,
            regions=self.regions,
            where=self._where,
        )
        with progress("evaluate", total=self.labelled, unit="image") as bar:
            for stored in batches:
                batch = self._scored(stored)
                seen.update(batch.image_ids.tobytes() + batch.truth_BN.tobytes())
                yield batch
                bar.advance(len(batch.image_ids))
        if self._seen and self._seen != seen.hexdigest():
            raise ScoringError(
                f"{self._store.uri}: the images of split {self.scope.split!r} were changed by "
                "another job meanwhile: run this again"
            )
        self._seen = seen.hexdigest()

    def _scored(self, stored: StoredBatch) -> LabelledBatch:
        known = np.flatnonzero(_known(stored.rows))
        truth_BN = self.scope.truth(stored.rows.take(known), self.run.ladder.labels)
        if self.scope.only_with_positives:
            shows = (truth_BN == PRESENT).any(axis=1)
            known, truth_BN = known[shows], truth_BN[shows]
        ids = [str(i) for i in stored.rows.take(known).column("image_id").to_pylist()]
        regions_BRD = None if stored.regions_BRD is None else stored.regions_BRD[known]
        return LabelledBatch(
            image_ids=np.asarray(ids, dtype=IMAGE_ID),
            truth_BN=truth_BN,
            scores=self._scores(ids, stored.whole_BD[known], regions_BRD) if ids else {},
            with_regions=regions_BRD is not None,
            without_vectors=int(_known(stored.without_vector).sum()),
        )

    def _scores(
        self, image_ids: Sequence[str], whole_BD: NDArray[Any], regions_BRD: NDArray[Any] | None
    ) -> dict[Step, NDArray[np.float32]]:
        source = {s: step_for(s, regions=regions_BRD is not None) for s in self.kept_steps}
        ladder = ladder_of(self.run.ladder, image_ids)
        scores = ladder.scores(whole_BD, regions_BRD, steps=source.values())
        chosen = slice(None) if self.scope.label_ids is None else self.scope.label_ids
        return {step: scores[source[step]].cpu().numpy()[:, chosen] for step in source}


def labelled_split(
    store: Store, run_id: str, scope: Scope, *, device: str | torch.device = "cpu"
) -> LabelledSplit:
    """The labelled images of a split, to be scored with every step of a run.

    An image takes part when its labels are complete or some of them are known. An image is scored
    with its region vectors where it has any. Raises :class:`ScoringError` where no image of the
    split is labelled, and what :func:`~taistore.scoring.loaded_run.open_run` raises.
    """
    return LabelledSplit(store, open_run(store, run_id, device=device), scope)


def _known(rows: pa.RecordBatch) -> NDArray[np.bool_]:
    """Which rows say anything about their labels: bool [B]."""
    known = np.asarray(rows.column("complete").to_numpy(zero_copy_only=False), dtype=bool)
    for name in ("positives", "negatives"):
        known |= pc.list_value_length(rows.column(name)).to_numpy(zero_copy_only=False) > 0
    return known


def known_per_label(store: Store, split: str) -> NDArray[np.int64]:
    """Of how many images of the split each label is known at most: [N]."""
    known_N = np.zeros(len(store.labels), np.int64)
    for rows in store.scan("images", columns=KNOWN_COLUMNS, where={"split": split}):
        complete = np.asarray(rows.column("complete").to_numpy(zero_copy_only=False), dtype=bool)
        known_N += int(complete.sum())
        partial = rows.take(np.flatnonzero(~complete))
        for name in ("positives", "negatives"):
            _, label_ids = ragged(partial.column(name))
            known_N += np.bincount(label_ids, minlength=len(known_N))
    return known_N


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
