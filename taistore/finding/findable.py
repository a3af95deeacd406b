"""What cannot be found, refused before anything heavy is loaded."""

from taistore.adapter.run_files.kept.run_labels import seen_by_run
from taistore.encoders.protocol import EncoderInfo
from taistore.errors import LabelError, StoreError
from taistore.finding.asked import Asked, label_ids
from taistore.finding.stored_photo import PhotoRow, photo_row
from taistore.store.store import Store


def require_findable(
    store: Store, asked: Asked, info: EncoderInfo, *, run_id: str | None
) -> PhotoRow | None:
    """Refuse before anything is loaded what cannot be found; the photo of ``asked.like``.

    Raises :class:`StoreError` where there are no photos or none of the split,
    :class:`LabelError` for labels that neither the store nor the run (None: the last finished one)
    has, and :class:`ImageError` for a photo that cannot be read.
    """
    _require_labels(store, [*asked.labels, *asked.without], run_id)
    if not store.count("images"):
        raise StoreError(
            f"{store.uri}: holds no photos yet: add some with 'taistore ingest-images photos/'"
        )
    if asked.by_vector and not store.count("image_vectors", info.encoder_id):
        raise StoreError(
            f"{store.uri}: holds no image vectors of {info.spec}: make them with 'taistore "
            f"ingest-images photos/ --encoder {info.spec}'"
        )
    if asked.split is not None:
        _require_split(store, asked.split)
    return None if asked.like is None else photo_row(store, asked.like)


def _require_labels(store: Store, names: list[str], run_id: str | None) -> None:
    try:
        label_ids(store.labels, names)
    except LabelError:
        # A run still knows a label that has been retired since.
        rows = [row for row in store.runs() if row.status == "finished"]
        if run_id is None and not rows:
            raise
        row = rows[-1] if run_id is None else store.run(run_id)
        label_ids(seen_by_run(store, row).labels, names)


def _require_split(store: Store, split: str) -> None:
    there = {
        str(one)
        for batch in store.scan("images", columns=["split"], batch_rows=65_536)
        for one in batch.column(0).unique().to_pylist()
    }
    if split not in there:
        raise StoreError(
            f"{store.uri}: no photo is of the split {split!r}: there are {', '.join(sorted(there))}"
        )
