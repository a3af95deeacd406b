"""What a job scores, batch by batch: photos encoded on the way, or the images of a store.

Shapes: B images of a batch, D embedding dimension, N labels, R regions per image.
"""

import contextlib
from collections.abc import Generator, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from taistore.encoders.protocol import Encoder
from taistore.errors import ScoringError, StoreError
from taistore.images.photo_files import ReadImage, read_blocks
from taistore.images.pipeline import EncodedBatch, Task, Work, encode_source
from taistore.images.sources.open_source import ImageSource, SourceImage
from taistore.scoring.choosing import Images, Tagged
from taistore.scoring.known_cells import KNOWN_COLUMNS, Known, KnownCells, stored_cells
from taistore.scoring.loaded_run import ScoringRun
from taistore.scoring.selection import LabelColumns, tag_rows
from taistore.scoring.stored_images import stored_batches, stored_vectors
from taistore.scoring.string_set import Seen
from taistore.store.rejects import Reject
from taistore.store.store import Store
from taistore.store.tables.ragged_vectors import stored_regions


def require_encoder(run: ScoringRun, encoder: Encoder) -> Encoder:
    """The encoder, where it is that of the run; else :class:`ScoringError`."""
    if encoder.info.encoder_id != run.encoder_id:
        raise ScoringError(
            f"run {run.run_id} was trained for the encoder {run.encoder_id}, not for "
            f"{encoder.info.encoder_id} ({encoder.info.spec}): give the run's own as encoder="
        )
    return encoder


class ScorableBatch(NamedTuple):
    """Images with their vectors, rejects, and how many were done before.

    An image is there once for each of its paths. ``known`` is what is known of its labels, None
    where that is not asked for.
    """

    image_ids: list[str]
    uris: list[str]
    whole_BD: NDArray[Any]
    regions_BRD: NDArray[Any] | None
    known: KnownCells | None
    rejects: list[Reject]
    skipped: int

    @property
    def images(self) -> Images:
        """Those that are to be scored."""
        return Images(self.image_ids, self.whole_BD, self.regions_BRD, self.known)

    def table(self, tagged: Tagged, labels: LabelColumns) -> pa.Table:
        """The images' tags as rows of ``contracts.SCORES``."""
        tags, values_T = tagged
        return tag_rows(self.image_ids, self.uris, tags, values_T, labels=labels)


def from_store(
    store: Store,
    encoder_id: str,
    done: Seen,
    *,
    regions: bool,
    known: Known,
    where: Mapping[str, Any] | None = None,
    listed: ImageSource | None = None,
) -> Generator[ScorableBatch, None, None]:
    """The store's images (of ``where``) whose ``image_id`` is not in ``done``, which learns them.

    Each comes under all of its paths, or under those that ``listed`` names; ``regions`` as in
    :func:`~taistore.scoring.stored_images.stored_batches`.
    """
    named = None if listed is None else _named(listed)
    spec = store.encoder(encoder_id).spec
    detail = f"no vector of {spec}: run 'taistore ingest-images' with this encoder"
    columns = ["uri", "other_uris", *(KNOWN_COLUMNS if known == "override" else ())]
    batches = stored_batches(
        store,
        encoder_id,
        columns=columns,
        regions=regions,
        where=where,
        chosen=None if named is None else lambda rows: _with_a_path(rows, named),
    )
    for batch in batches:
        ids = [str(i) for i in batch.rows.column("image_id").to_pylist()]
        fresh = np.flatnonzero(done.new(ids))
        rows = batch.rows.take(fresh)
        paths = _paths(rows, named)
        each = np.repeat(np.arange(len(paths)), [len(some) for some in paths])
        cells = KnownCells.of(rows) if known == "override" else None
        yield ScorableBatch(
            image_ids=[ids[fresh[n]] for n in each],
            uris=[path for some in paths for path in some],
            whole_BD=batch.whole_BD[fresh[each]],
            regions_BRD=None if batch.regions_BRD is None else batch.regions_BRD[fresh[each]],
            known=None if cells is None else cells.take(each),
            rejects=[
                Reject(path, "no_vector", detail)
                for some in _paths(batch.without_vector, named)
                for path in some
            ],
            skipped=len(ids) - len(fresh),
        )


def _named(source: ImageSource) -> Seen:
    """The paths of a source's photos."""
    named = Seen()
    named.add(item.uri for item in source if isinstance(item, SourceImage))
    return named


def _with_a_path(rows: pa.RecordBatch, named: Seen) -> pa.RecordBatch:
    """The images that have one of the paths."""
    return rows.filter(pa.array([bool(some) for some in _paths(rows, named)], pa.bool_()))


def _paths(rows: pa.RecordBatch, named: Seen | None) -> list[list[str]]:
    """The paths of each image, or those of them that are ``named``."""
    pairs = zip(rows.column("uri").to_pylist(), rows.column("other_uris").to_pylist(), strict=True)
    paths = [[str(uri), *map(str, others or ())] for uri, others in pairs]
    if named is None:
        return paths
    met = iter(named.met([path for some in paths for path in some]))
    return [[path for path in some if next(met)] for some in paths]


def from_photos(
    store: Store,
    encoder: Encoder,
    source: ImageSource,
    done: Seen,
    *,
    regions: int,
    known: Known,
    batch_size: int,
    workers: int,
    max_pixels: int,
) -> Generator[ScorableBatch, None, None]:
    """The source's photos whose path is not in ``done``, which learns them.

    A photo whose content the store has vectors of, with such ``regions``, is neither decoded nor
    encoded. The others' vectors are rounded as the store would keep them, so that a photo has the
    same scores either way.
    """
    skipped = 0

    def fresh() -> Iterator[SourceImage | Reject]:
        nonlocal skipped
        for item in source:
            if isinstance(item, Reject) or done.new([item.uri])[0]:
                yield item
            else:
                skipped += 1

    with contextlib.ExitStack() as stack:
        blocks = stack.enter_context(contextlib.closing(read_blocks(fresh(), workers=workers)))
        kept = _Kept(store, encoder.info.encoder_id, regions)
        encoded = stack.enter_context(
            contextlib.closing(
                encode_source(
                    encoder,
                    kept.tasks(blocks),
                    regions=regions,
                    batch_size=batch_size,
                    workers=workers,
                    max_pixels=max_pixels,
                )
            )
        )
        for batch in encoded:
            ids = [image.source.image_id for image in batch.images]
            whole_BD, regions_BRD = kept.vectors(batch)
            yield ScorableBatch(
                image_ids=ids,
                uris=[image.source.uri for image in batch.images],
                whole_BD=whole_BD,
                regions_BRD=regions_BRD,
                known=stored_cells(store, ids) if known == "override" and ids else None,
                rejects=batch.rejects,
                skipped=skipped,
            )
            skipped = 0


class _Kept:
    """The vectors that a store keeps of photos, in place of encoding them again."""

    def __init__(self, store: Store, encoder_id: str, regions: int) -> None:
        self._store = store
        self._encoder_id = encoder_id
        self._regions = regions

    def tasks(self, blocks: Iterable[list[ReadImage | Reject]]) -> Iterator[Task | Reject]:
        """What is to be done with each photo; the store is asked for a block at a time."""
        for block in blocks:
            there = self._there([i.image.image_id for i in block if isinstance(i, ReadImage)])
            block.reverse()
            while block:
                # Taken out of the block, so that a photo's bytes live no longer than its task.
                item = block.pop()
                if isinstance(item, Reject):
                    yield item
                elif item.image.image_id in there:
                    yield Task(item.image, Work.SKIP)
                else:
                    yield Task(item.image, Work.ENCODE, item.data)

    def _there(self, ids: list[str]) -> set[str]:
        if not ids:
            return set()
        where: dict[str, Any] = {"image_id": ids}
        there = self._found("image_vectors", where)
        if self._regions and there:
            there &= self._found("region_vectors", {**where, "grid": self._regions})
        return there

    def _found(self, kind: str, where: Mapping[str, Any]) -> set[str]:
        batches = self._store.scan(
            kind, columns=["image_id"], encoder_id=self._encoder_id, where=where
        )
        return {str(i) for batch in batches for i in batch.column(0).to_pylist()}

    def vectors(
        self, batch: EncodedBatch
    ) -> tuple[NDArray[np.float16], NDArray[np.float16] | None]:
        """Vectors [B, D] and regions [B, R, D] of all photos of a batch, made now or before."""
        made = batch.vectors
        kept = [image.source.image_id for image in batch.images if image.row is None]
        vectors = stored_vectors(self._store, self._encoder_id, kept)
        whole_BD = self._filled(batch, made.whole, vectors)
        if made.regions is None:
            return whole_BD, None
        cells = stored_regions(self._store, self._encoder_id, kept, grid=self._regions)
        return whole_BD, self._filled(batch, made.regions, cells)

    def _filled(
        self, batch: EncodedBatch, made: NDArray[Any], kept: Mapping[str, NDArray[np.float16]]
    ) -> NDArray[np.float16]:
        filled = np.empty((len(batch.images), *made.shape[1:]), np.float16)
        for n, image in enumerate(batch.images):
            if image.row is not None:
                filled[n] = made[image.row]
            elif (vector := kept.get(image.source.image_id)) is not None:
                filled[n] = vector.reshape(made.shape[1:])
            else:
                raise StoreError(
                    f"{self._store.uri}: the vectors of {image.source.uri} were removed by another "
                    "job: run the same command again"
                )
        return filled
