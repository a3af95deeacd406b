"""Encoded images into the store, in commits whose order makes a killed job safe to rerun.

The order is vectors, regions, combinations, images, rejects: an image that is in the table
``images`` has everything else, and whatever lacks its row there is done again.
"""

import time
from collections.abc import Sequence
from dataclasses import replace
from types import TracebackType
from typing import Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from taistore.encoders.protocol import EncoderInfo
from taistore.errors import StoreError
from taistore.images.pipeline import EncodedBatch, EncodedImage
from taistore.images.sources.unknown_labels import UnknownLabels
from taistore.images.statements import row_after
from taistore.printable import printable
from taistore.store.arrow import vector_column
from taistore.store.rejects import Reject
from taistore.store.store import Store
from taistore.store.writes.revision import Change, Row, Snapshot, revise

JOB = "ingest-images"
"""Name of the job in the table ``rejects``."""

COMMIT_BYTES = 128 * 2**20
COMMIT_SECONDS = 20.0
"""A commit is due after this many bytes of vectors or seconds, whatever the rows: what a kill can
cost."""

_LABEL_COLUMNS = ("positives", "negatives", "complete", "covered", "combination_id", "split")


class ImageWriter:
    """Buffers batches and commits them; a context manager that commits what is left on leaving.

    ``split`` is for images whose source names none: None keeps what the store has, and is "train"
    for new ones. Counts what happened to every item: each is exactly one of ``added``,
    ``already_there``, ``relabelled`` (a later row says other labels or split), ``duplicates``
    (content that also came under another path) and ``rejected``, which go to the table
    ``rejects`` under the name ``job``. So do, beside the image, names in its row that are no label,
    which ``unknown_labels`` counts. ``encoded`` vectors came in, ``vectors_added`` were new.
    """

    def __init__(
        self,
        store: Store,
        info: EncoderInfo,
        *,
        regions: int = 0,
        split: str | None = None,
        commit_rows: int = 4096,
        job: str = JOB,
    ) -> None:
        self.added = self.already_there = self.relabelled = self.duplicates = 0
        self.rejected = self.encoded = self.vectors_added = 0
        self.first_reject: Reject | None = None
        self.unknown_labels = UnknownLabels(store.labels, store_uri=store.uri)
        self._store = store
        self._info = info
        self._regions = regions
        self._split = split
        self._commit_rows = commit_rows
        self._job = job
        self._registered = False
        self._clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
        /,
    ) -> None:
        # Whatever ended the job, good work is kept; only a store that cannot be written is not
        # tried again.
        if not isinstance(error, StoreError):
            self.commit()

    @property
    def succeeded(self) -> int:
        """Items that did not end as rejects."""
        return self.added + self.already_there + self.relabelled + self.duplicates

    def add(self, batch: EncodedBatch) -> None:
        """Take a batch and commit when enough has gathered."""
        self._images += batch.images
        self._rejects += batch.rejects
        self.rejected += len(batch.rejects)
        self.first_reject = self.first_reject or next(iter(batch.rejects), None)
        ids = [image.source.image_id for image in batch.images if image.row is not None]
        if ids:
            self.encoded += len(ids)
            self._ids += ids
            self._whole.append(batch.vectors.whole.astype(np.float16))
            self._bytes += self._whole[-1].nbytes
            if self._regions and batch.vectors.regions is not None:
                self._cells.append(batch.vectors.regions.astype(np.float16))
                self._bytes += self._cells[-1].nbytes
        if (
            len(self._images) + len(self._rejects) >= self._commit_rows
            or self._bytes >= COMMIT_BYTES
            or time.monotonic() - self._since >= COMMIT_SECONDS
        ):
            self.commit()

    def commit(self) -> None:
        """Write everything gathered so far; raises :class:`StoreError` where that fails."""
        if self._ids:
            if not self._registered:
                if self._info not in self._store.encoders():
                    self._store.register_encoder(self._info)
                self._registered = True
            self._append_vectors()
        if self._images:
            self._write_rows()
            lost = {reject.uri for reject in self._rejects}
            done = [image.source for image in self._images if image.source.uri not in lost]
            uris = [image.uri for image in done]
            rows = [image.row for image in done if image.row and not image.unknown_labels]
            self._store.clear_rejects(self._job, [*uris, *map(printable, uris), *rows])
            said = {image.row: image for image in done if image.unknown_labels}
            self._rejects += map(self.unknown_labels.reject, said.values())
        if self._rejects:
            self._store.reject(self._job, self._rejects)
        self._clear()

    def _clear(self) -> None:
        self._images: list[EncodedImage] = []
        self._rejects: list[Reject] = []
        self._ids: list[str] = []
        self._whole: list[NDArray[np.float16]] = []
        self._cells: list[NDArray[np.float16]] = []
        self._bytes = 0
        self._since = time.monotonic()

    def _append_vectors(self) -> None:
        ids = pa.array(self._ids)
        encoder_id = self._info.encoder_id
        self.vectors_added += self._store.append(
            "image_vectors",
            pa.table({"image_id": ids, "vector": vector_column(np.concatenate(self._whole))}),
            encoder_id=encoder_id,
        )
        if not self._cells:
            return
        cells = np.concatenate(self._cells).reshape(len(ids), -1)
        grid = pa.array([self._regions] * len(ids), pa.int16())
        self._store.append(
            "region_vectors",
            pa.table({"image_id": ids, "grid": grid, "vectors": vector_column(cells)}),
            encoder_id=encoder_id,
        )

    def _write_rows(self) -> None:
        by_id: dict[str, list[EncodedImage]] = {}
        for image in self._images:
            by_id.setdefault(image.source.image_id, []).append(image)
        made, whole = _Made(), self._store.by_id()
        if not self._store.view.is_whole:
            by_id = {i: [self._with_ids(image) for image in said] for i, said in by_id.items()}

        def plan(images: Snapshot) -> Change:
            nonlocal made
            made = _Made()
            found = images.rows("image_id", list(by_id))
            stored = {row["image_id"]: row for row in found}
            for image_id, said in by_id.items():
                before = stored.get(image_id)
                row = row_after(before, said, labels=whole.labels, split=self._split)
                made.add(before, row, said)
            _append_combinations(whole, made.changed)
            return Change(rows=made.changed)

        revise(whole, "images", plan)
        for before, after, said in made.all:
            self._tally(before, after, said)
        for said in made.lost:
            self._set_aside(said)

    def _with_ids(self, image: EncodedImage) -> EncodedImage:
        """The image with label ids in what is said of it, in the place of the store's columns."""
        said = image.source.annotation
        if said is None:
            return image
        ids = self._store.view.ids
        annotation = replace(
            said,
            positives=ids(said.positives),
            negatives=ids(said.negatives),
            unknown=ids(said.unknown),
        )
        return replace(image, source=replace(image.source, annotation=annotation))

    def _set_aside(self, images: Sequence[EncodedImage]) -> None:
        """Images that the store had when they were read and no longer has: nobody measured them."""
        for image in images:
            detail = "another job removed it meanwhile: run the same command again"
            reject = Reject(image.source.uri, "changed", detail)
            self._rejects.append(reject)
            self.rejected += 1
            self.first_reject = self.first_reject or reject

    def _tally(self, before: Row | None, after: Row, images: Sequence[EncodedImage]) -> None:
        self.duplicates += len(images) - 1
        if before is None:
            self.added += 1
        elif any(before[name] != after[name] for name in _LABEL_COLUMNS):
            self.relabelled += 1
        elif after["uri"] == images[0].source.uri:
            self.already_there += 1
        else:
            self.duplicates += 1


def _append_combinations(store: Store, rows: Sequence[Row]) -> None:
    combinations = {
        row["combination_id"]: row["positives"] for row in rows if row["combination_id"] is not None
    }
    if combinations:
        store.append(
            "combinations",
            [{"combination_id": i, "label_ids": ids} for i, ids in combinations.items()],
        )


class _Made:
    """What the images of a commit make of the rows of one snapshot."""

    def __init__(self) -> None:
        self.all: list[tuple[Row | None, Row, list[EncodedImage]]] = []
        self.changed: list[Row] = []
        self.lost: list[list[EncodedImage]] = []

    def add(self, before: Row | None, after: Row | None, images: list[EncodedImage]) -> None:
        if after is None:
            self.lost.append(images)
            return
        self.all.append((before, after, images))
        if after != before:
            self.changed.append(after)
