"""What cannot be found, refused before anything heavy is loaded."""

from taistore.encoders.protocol import EncoderInfo
from taistore.errors import StoreError
from taistore.finding.asked import Asked, label_ids
from taistore.finding.stored_photo import PhotoRow, photo_row
from taistore.store.store import Store


def require_findable(store: Store, asked: Asked, info: EncoderInfo) -> PhotoRow | None:
    """Refuse before anything is loaded what cannot be found; the photo of ``asked.like``.

    Raises :class:`StoreError` where there are no photos or none of the split,
    :class:`LabelError` for labels that the store does not have and :class:`ImageError` for a photo
    that cannot be read.
    """
    label_ids(store.labels, [*asked.labels, *asked.without])
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
