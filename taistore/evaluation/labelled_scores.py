"""The labelled images of a split, or synthetic ones, with their scores of every step of a ladder.

Shapes: B images of a batch, N labels, D embedding dimension, R regions per image.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray

from taistore.errors import ScoringError
from taistore.labels import PRESENT, Label, LabelSet
from taistore.progress import Progress, no_progress
from taistore.scoring.ensembles.ensemble import ladder_of
from taistore.scoring.known_cells import known_cells
from taistore.scoring.labelled_images import (
    LabelledImages,
    LabelledPhotos,
    LabelledRows,
    SyntheticImages,
)
from taistore.scoring.ladders.ladder import Step, step_for
from taistore.scoring.loaded_run import ScoringRun, open_run
from taistore.store.store import Store


@dataclass(frozen=True, kw_only=True, slots=True)
class Scope:
    """The images and labels that are looked at.

    ``split`` is theirs; None: they are the store's synthetic images, which are in no split.
    ``label_ids`` [N] are the labels, in this order (None: all of the run). With
    ``only_with_positives`` an image that is known to show none of them is left out.
    """

    split: str | None
    label_ids: NDArray[np.int64] | None = None
    only_with_positives: bool = False

    @property
    def synthetic(self) -> bool:
        """Whether it is about synthetic images."""
        return self.split is None

    @property
    def images(self) -> str:
        """What the images are called."""
        return images_of(self.split)

    def labels(self, labels: LabelSet) -> list[Label]:
        """Those of a label set that are looked at, in the order of the columns."""
        if self.label_ids is None:
            return list(labels)
        return [labels[label_id] for label_id in self.label_ids.tolist()]

    def truth(self, rows: pa.RecordBatch, labels: int) -> NDArray[np.int8]:
        """int8 [B, N] of rows with what is known, of a store of so many labels."""
        return self.columns(known_cells(rows, labels))

    def columns(self, truth_BN: NDArray[np.int8]) -> NDArray[np.int8]:
        """Those of all labels' columns that are looked at."""
        return truth_BN if self.label_ids is None else truth_BN[:, self.label_ids]


def images_of(split: str | None) -> str:
    """What the images of a :class:`Scope` are called.

    >>> images_of("test"), images_of(None)
    ("images of split 'test'", 'synthetic images')
    """
    return "synthetic images" if split is None else f"images of split {split!r}"


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
        self._images: LabelledImages
        if scope.split is None:
            _require_no_split(run)
            self._images = SyntheticImages(store, run.encoder_id)
        else:
            self._images = LabelledPhotos(store, run.encoder_id, scope.split)
        self.labelled = self._images.count
        known_N = self._images.known_counts
        self.most_N = known_N if scope.label_ids is None else known_N[scope.label_ids]
        self._store = store
        self.regions = self._images.regions
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
        with progress("evaluate", total=self.labelled, unit="image") as bar:
            for stored in self._images.batches():
                batch = self._scored(stored)
                seen.update(batch.image_ids.tobytes() + batch.truth_BN.tobytes())
                yield batch
                bar.advance(len(batch.image_ids))
        if self._seen and self._seen != seen.hexdigest():
            raise ScoringError(
                f"{self._store.uri}: the {self.scope.images} were changed by another "
                "job meanwhile: run this again"
            )
        self._seen = seen.hexdigest()

    def _scored(self, stored: LabelledRows) -> LabelledBatch:
        ids, truth_BN = stored.image_ids, self.scope.columns(stored.truth_BN)
        whole_BD, regions_BRD = stored.whole_BD, stored.regions_BRD
        if self.scope.only_with_positives:
            shows = np.flatnonzero((truth_BN == PRESENT).any(axis=1))
            ids, truth_BN = [ids[n] for n in shows.tolist()], truth_BN[shows]
            whole_BD = whole_BD[shows]
            regions_BRD = None if regions_BRD is None else regions_BRD[shows]
        return LabelledBatch(
            image_ids=np.asarray(ids, dtype=np.bytes_),
            truth_BN=truth_BN,
            scores=self._scores(ids, whole_BD, regions_BRD) if ids else {},
            with_regions=regions_BRD is not None,
            without_vectors=stored.without_vectors,
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
    split is labelled, :class:`SyntheticError` where there is no synthetic image, and what
    :func:`~taistore.scoring.loaded_run.open_run` raises.
    """
    run = open_run(store, run_id, device=device)
    return LabelledSplit(run.store, run, scope)


def _require_no_split(run: ScoringRun) -> None:
    if run.split is not None:
        raise ScoringError(
            f"run {run.run_id} averages imported scores of the images of split {run.split!r}: "
            "synthetic images have none, evaluate a member of it instead"
        )
