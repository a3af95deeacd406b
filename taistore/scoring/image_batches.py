"""What a job scores, batch by batch: photos encoded on the way, or the images of a store.

Shapes: B images of a batch, D embedding dimension, R regions per image.
"""

import contextlib
from collections.abc import Generator, Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from taistore.encoders.protocol import Encoder
from taistore.errors import ScoringError
from taistore.images.pipeline import encode_source
from taistore.images.sources.open_source import ImageSource, SourceImage
from taistore.scoring.loaded_run import ScoringRun
from taistore.scoring.stored_images import stored_batches
from taistore.scoring.string_set import Seen
from taistore.store.rejects import Reject
from taistore.store.store import Store


def require_encoder(run: ScoringRun, encoder: Encoder) -> Encoder:
    """The encoder, where it is that of the run; else :class:`ScoringError`."""
    if encoder.info.encoder_id != run.encoder_id:
        raise ScoringError(
            f"run {run.run_id} was trained for the encoder {run.encoder_id}, not for "
            f"{encoder.info.encoder_id} ({encoder.info.spec}): give the run's own as encoder="
        )
    return encoder


class ScorableBatch(NamedTuple):
    """Images with their vectors, rejects, and how many were done before."""

    image_ids: list[str]
    uris: list[str]
    whole_BD: NDArray[Any]
    regions_BRD: NDArray[Any] | None
    rejects: list[Reject]
    skipped: int


def from_store(
    store: Store, encoder_id: str, done: Seen, *, regions: bool
) -> Generator[ScorableBatch, None, None]:
    """The store's images whose ``image_id`` is not in ``done``, which learns them."""
    spec = store.encoder(encoder_id).spec
    detail = f"no vector of {spec}: run 'taistore ingest-images' with this encoder"
    for batch in stored_batches(store, encoder_id, columns=["uri"], regions=regions):
        ids = [str(i) for i in batch.rows.column("image_id").to_pylist()]
        fresh = np.flatnonzero(done.new(ids))
        rows = batch.rows.take(fresh)
        yield ScorableBatch(
            image_ids=[ids[n] for n in fresh],
            uris=[str(uri) for uri in rows.column("uri").to_pylist()],
            whole_BD=batch.whole_BD[fresh],
            regions_BRD=None if batch.regions_BRD is None else batch.regions_BRD[fresh],
            rejects=[
                Reject(str(uri), "no_vector", detail)
                for uri in batch.without_vector.column("uri").to_pylist()
            ],
            skipped=len(ids) - len(fresh),
        )


def from_photos(
    encoder: Encoder,
    source: ImageSource,
    done: Seen,
    *,
    regions: int,
    batch_size: int,
    workers: int,
    max_pixels: int,
) -> Generator[ScorableBatch, None, None]:
    """The source's photos whose path is not in ``done``, which learns them, encoded."""
    skipped = 0

    def fresh() -> Iterator[SourceImage | Reject]:
        nonlocal skipped
        for item in source:
            if isinstance(item, Reject) or done.new([item.uri])[0]:
                yield item
            else:
                skipped += 1

    encoded = encode_source(
        encoder,
        fresh(),
        regions=regions,
        batch_size=batch_size,
        workers=workers,
        max_pixels=max_pixels,
    )
    with contextlib.closing(encoded):
        for batch in encoded:
            yield ScorableBatch(
                image_ids=[image.source.image_id for image in batch.images],
                uris=[image.source.uri for image in batch.images],
                whole_BD=batch.vectors.whole,
                regions_BRD=batch.vectors.regions,
                rejects=batch.rejects,
                skipped=skipped,
            )
            skipped = 0
