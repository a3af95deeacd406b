from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from taistore.store.store import Store


def _read(store, kind, key, encoder_id, ids, version):
    dim = store.encoder(encoder_id).dim
    found = {}
    for batch in store.scan(
        kind,
        columns=[key, "vectors"],
        encoder_id=encoder_id,
        where={key: list(ids)},
        version=version,
    ):
        for k, v in zip(batch.column(0).to_pylist(), batch.column(1), strict=True):
            found[k] = v.values.to_numpy(zero_copy_only=False).reshape(-1, dim)
    return found


def stored_regions(
    store: Store, encoder_id: str, image_ids: Sequence[str], *, version: int | None = None
) -> dict[str, NDArray[np.float16]]:
    return _read(store, "region_vectors", "image_id", encoder_id, image_ids, version)


def stored_tokens(
    store: Store, encoder_id: str, text_ids: Sequence[str], *, version: int | None = None
) -> dict[str, NDArray[np.float16]]:
    return _read(store, "token_vectors", "text_id", encoder_id, text_ids, version)
