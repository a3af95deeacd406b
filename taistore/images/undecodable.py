"""Photos that could not be decoded before: no encoder is loaded for them unless now they can."""

import contextlib
from collections.abc import Iterable
from functools import cached_property

from taistore.images.decoding import decode_image
from taistore.images.image_rows import JOB
from taistore.images.ordered_map import ordered_map
from taistore.images.photo_files import ReadImage
from taistore.store.store import Store

_LASTING = ("not_an_image", "unsupported", "too_large", "truncated", "corrupt")
"""Reasons that lie in the bytes; any other may be gone at the next try."""


class Undecodable:
    """Which photos the store's last ingest of them could not decode."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def any_decodes(self, photos: Iterable[ReadImage]) -> bool:
        """Whether one of the photos can be encoded, as far as that is known without an encoder.

        One that was never set aside counts as one that can. Others are decoded, until one can.
        """
        earlier = []
        for photo in photos:
            if photo.image.uri not in self._rejected:
                return True
            earlier.append(photo)
        # A thread: one that hangs must not hang the job.
        found = ordered_map(_decodes, earlier, workers=1, ahead=1, late=lambda _: False)
        with contextlib.closing(found):
            return any(found)

    @cached_property
    def _rejected(self) -> frozenset[str]:
        where = {"job": JOB, "reason": list(_LASTING)}
        batches = self._store.scan("rejects", columns=["uri"], where=where)
        return frozenset(str(uri) for batch in batches for uri in batch.column(0).to_pylist())


def _decodes(photo: ReadImage) -> bool:
    if photo.data is None:
        return True
    try:
        decode_image(photo.data)
    except Exception:
        return False
    return True
