"""Image vectors that were made elsewhere, into the store with what is known about their images.

Shapes: B rows of a batch, D embedding dimension.
"""

import contextlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from taistore.encoders.imported.vector_reader import (
    BadRow,
    VectorBatch,
    imported_info,
    open_vectors,
)
from taistore.encoders.protocol import ImageVectors
from taistore.errors import ImageError
from taistore.images.decoding import decode_image
from taistore.images.image_rows import ImageWriter
from taistore.images.ordered_map import ordered_map
from taistore.images.paths import settle_paths
from taistore.images.photo_files import ReadImage, read_blocks, rejected, took_too_long
from taistore.images.pipeline import EncodedBatch, EncodedImage
from taistore.images.sources.folder import has_image_suffix
from taistore.images.sources.listing import is_text
from taistore.images.sources.row_labels import AnnotationReader, RowError, require_known_columns
from taistore.images.sources.source import SourceImage
from taistore.images.statements import uri_image_id
from taistore.printable import printable
from taistore.progress import Progress, no_progress
from taistore.store.rejects import Reject, listed_by
from taistore.store.store import Store
from taistore.store.writes.collector import loaded_set_aside

JOB = "ingest-vectors"
"""Name of the job in the table ``rejects``."""


@dataclass(frozen=True, kw_only=True, slots=True)
class IngestImageVectorsSummary:
    """What became of ``read`` rows, the sum of the five counts that follow it.

    They count images as :class:`taistore.images.ingest.IngestImagesSummary` does; ``written``
    vectors are new to the store.
    """

    source: str
    encoder: str
    encoder_id: str
    read: int
    added: int
    already_there: int
    relabelled: int
    duplicates: int
    rejected: int
    written: int


@loaded_set_aside()
def ingest_image_vectors(
    store: Store,
    name: str,
    path: str | Path,
    *,
    ids: str | Path | None = None,
    model: str = "",
    resolution: int = 0,
    split: str | None = None,
    workers: int = 2,
    max_rejects: int | None = None,
    progress: Progress = no_progress,
) -> IngestImageVectorsSummary:
    """Store image vectors under the encoder ``vectors:<name>``; a rerun adds nothing twice.

    ``path`` and ``ids`` are those of :func:`taistore.encoders.imported.vector_reader.open_vectors`.
    An id that names an image file, absolute or relative to the file of ids, is known by the file's
    content, so that vectors of several encoders meet in one image; any other id is known by its
    text and has the size 0 x 0. The fields labels, positives, negatives and split of a row are read
    as a manifest's. Rows that cannot be used go to ``rejects``. Raises :class:`EncoderError` on
    files that do not fit, :class:`StoreError` before anything is written where the name has vectors
    of another dimension, :class:`ManifestError` on a misspelt field, :class:`ImageError` when no
    row is usable or past ``max_rejects``, where what was read before is kept.
    """
    bad: list[BadRow] = []
    source = open_vectors(path, ids, on_bad=bad.append)
    info = imported_info(name, dim=source.dim, model=model, resolution=resolution)
    store.require_room_for(info)
    folder = Path(os.path.realpath(path if ids is None else ids))
    rows = _RowReader(store, folder if folder.is_dir() else folder.parent, str(path), workers)
    with contextlib.ExitStack() as stack:
        bar = stack.enter_context(progress("Image vectors", total=source.count, unit="row"))
        writer = stack.enter_context(ImageWriter(store, info, split=split, job=JOB))
        for batch in source:
            writer.add(rows.read(batch))
            writer.add(_set_aside(bad, source.dim))
            bar.advance(len(batch.ids))
            if max_rejects is not None and writer.rejected > max_rejects:
                break
        writer.add(_set_aside(bad, source.dim))
    _require_success(store, str(path), writer, max_rejects)
    settle_paths(store)
    return IngestImageVectorsSummary(
        source=str(path),
        encoder=info.spec,
        encoder_id=info.encoder_id,
        read=writer.succeeded + writer.rejected,
        added=writer.added,
        already_there=writer.already_there,
        relabelled=writer.relabelled,
        duplicates=writer.duplicates,
        rejected=writer.rejected,
        written=writer.vectors_added,
    )


class _RowReader:
    """Turns rows of vectors into images; reads the files that the ids name, in threads."""

    def __init__(self, store: Store, folder: Path, where: str, workers: int) -> None:
        self._store = store
        self._folder = folder
        self._where = where
        self._workers = workers
        self._annotations = AnnotationReader(store.labels)

    def read(self, batch: VectorBatch) -> EncodedBatch:
        """The images of a batch with their vectors, bad rows set aside."""
        require_known_columns(("image", *batch.rows))
        items = [self._item(batch, i) for i in range(len(batch.ids))]
        sizes = _sizes(batch)
        images: list[EncodedImage] = []
        rejects: list[Reject] = []
        kept: list[int] = []
        row = 0
        blocks = read_blocks(items, workers=self._workers, size=len(items))
        with contextlib.closing(blocks):
            for block in blocks:
                for item in self._measured(block, sizes[row : row + len(block)]):
                    if isinstance(item, Reject):
                        rejects.append(item)
                    else:
                        images.append(replace(item, row=len(kept)))
                        kept.append(row)
                    row += 1
        return EncodedBatch(
            images=images,
            vectors=ImageVectors(batch.vectors[kept].astype(np.float32), None),
            rejects=rejects,
            encoder_seconds=0.0,
        )

    def _item(self, batch: VectorBatch, i: int) -> SourceImage | Reject:
        given = batch.ids[i]
        row = {name: values[i] for name, values in batch.rows.items()}
        try:
            annotation, split = self._annotations.annotation(row), self._annotations.split(row)
            path = self._file(given)
            return SourceImage(
                uri=path or given,
                annotation=annotation,
                split=split,
                image_id="" if path else uri_image_id(given),
            )
        except RowError as error:
            return Reject(
                uri=printable(f"{self._where}: {given:.200}"),
                reason=error.reason,
                detail=printable(str(error)),
            )

    def _file(self, given: str) -> str:
        """The image file that an id names, empty where there is none."""
        if not is_text(given) or " ".join(given.splitlines()) != given:
            raise RowError(f"the id {given!r:.80} is not one line of UTF-8", reason="bad_name")
        if "://" in given or not has_image_suffix(given):
            return ""
        path = os.path.normpath(self._folder / given)
        # Path.is_file() raises on an id that is too long to be a path.
        return path if os.path.isfile(path) else ""  # noqa: PTH113

    def _measured(
        self, block: list[ReadImage | Reject], sizes: list[tuple[int, int]]
    ) -> Iterator[EncodedImage | Reject]:
        ids = [item.image.image_id for item in block if isinstance(item, ReadImage)]
        new = set(self._store.missing("images", ids))

        def measure(i: int) -> EncodedImage | Reject:
            item = block[i]
            if isinstance(item, Reject):
                return item
            size = sizes[i]
            if item.data is not None and item.image.image_id in new:
                try:
                    size = decode_image(item.data).size
                except Exception as error:
                    return rejected(item.image.uri, error)
            return EncodedImage(source=item.image, size=size, row=None)

        def late(i: int) -> Reject:
            item = block[i]
            return item if isinstance(item, Reject) else rejected(item.image.uri, took_too_long())

        rows = range(len(block))
        return ordered_map(measure, rows, workers=self._workers, ahead=256, late=late)


def _sizes(batch: VectorBatch) -> list[tuple[int, int]]:
    """Width and height where the rows give them, else 0."""
    none: list[Any] = [0] * len(batch.ids)
    columns: Mapping[str, list[Any]] = batch.rows
    pairs = zip(columns.get("width", none), columns.get("height", none), strict=True)
    return [(int(w), int(h)) if _is_side(w) and _is_side(h) else (0, 0) for w, h in pairs]


def _is_side(value: object) -> bool:
    return isinstance(value, int | float) and 1 <= value < 2**31


def _set_aside(bad: list[BadRow], dim: int) -> EncodedBatch:
    """A batch of nothing but the bad rows met so far, which are taken out of ``bad``."""
    rejects = [
        Reject(uri=printable(f"{row.path}: row {row.row}"), reason="bad_vector", detail=row.reason)
        for row in bad
    ]
    bad.clear()
    none = ImageVectors(np.empty((0, dim), dtype=np.float32), None)
    return EncodedBatch(images=[], vectors=none, rejects=rejects, encoder_seconds=0.0)


def _require_success(
    store: Store, source: str, writer: ImageWriter, max_rejects: int | None
) -> None:
    first = writer.first_reject
    why = f"first: {first.uri}: {first.detail}" if first is not None else "it has none"
    if max_rejects is not None and writer.rejected > max_rejects:
        raise ImageError(
            f"{source}: stopped at {writer.rejected} rejected rows, at most {max_rejects} are "
            f"allowed ({why}): mend them or raise max_rejects=",
            reason="too_many_rejects",
        )
    if not writer.succeeded:
        raise ImageError(
            f"{source}: no row could be used ({why}): {listed_by(store.uri)} lists them",
            reason="all_rejected",
        )
