"""One photo of the store, by its path, its content or its id; and the vector of any photo.

D embedding dimension.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc

from taistore.encoders.protocol import Encoder, Float32
from taistore.errors import ImageError
from taistore.images.decoding import MAX_PIXELS, decode_image, image_id, read_file
from taistore.store.store import Store

_ID = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True, kw_only=True, slots=True)
class PhotoRow:
    """A photo: its row of ``images``, None where the store has none, and its file's bytes.

    ``data`` is None where the file was not read: it is gone, or the photo was named by its id.
    """

    image_id: str
    name: str
    row: Mapping[str, Any] | None
    data: bytes | None


def photo_row(store: Store, photo: str | Path) -> PhotoRow:
    """What the store has of a photo: by the file's content, else by its path, else by its id.

    Raises :class:`ImageError` where it is no file that can be read and the store knows no such
    path or id.
    """
    name = str(photo)
    try:
        data = read_file(name)
    except ImageError as error:
        row = _of_id(store, name) if _ID.fullmatch(name) else None
        row = row or _of_path(store, name)
        if row is not None:
            return PhotoRow(image_id=row["image_id"], name=row["uri"], row=row, data=None)
        raise ImageError(
            f"{name}: {error}; and {store.uri} knows no photo of this path or id: check the path",
            reason=error.reason,
        ) from error
    identity = image_id(data)
    return PhotoRow(image_id=identity, name=name, row=_of_id(store, identity), data=data)


def photo_vector(
    store: Store, encoder_id: str, photo: PhotoRow, encoder: Callable[[], Encoder]
) -> Float32:
    """The vector [D] of a photo: the store's, else made now of its file's bytes.

    ``encoder`` is called only where it has to be made. Raises :class:`ImageError` where it is not
    in the store and the file is gone or is no photo.
    """
    stored = store.scan(
        "image_vectors",
        columns=["vector"],
        encoder_id=encoder_id,
        where={"image_id": photo.image_id},
    )
    for batch in stored:
        if batch.num_rows:
            return np.array(batch.column(0)[0].as_py(), dtype=np.float32)
    if photo.data is None:
        raise ImageError(
            f"{photo.name}: its file is gone and the store has no vector of it by this encoder: "
            "ingest it again with 'taistore ingest-images'",
            reason="missing",
        )
    try:
        image = decode_image(photo.data, max_pixels=MAX_PIXELS)
    except ImageError as error:
        raise ImageError(f"{photo.name}: {error}", reason=error.reason) from error
    loaded = encoder()
    pixels = loaded.prepare(image)[None]
    # Rounded as the store would keep it, so that a photo finds the same before and after.
    vector_D: Float32 = loaded.encode_images(pixels).whole[0].astype(np.float16).astype(np.float32)
    return vector_D


def _of_id(store: Store, identity: str) -> dict[str, Any] | None:
    for batch in store.scan("images", where={"image_id": identity}):
        for row in batch.to_pylist():
            return dict(row)
    return None


def _of_path(store: Store, path: str) -> dict[str, Any] | None:
    """The photo that has a path, as given or made absolute: as it is shown, or of a copy."""
    paths = list(dict.fromkeys([path, *_absolute(path)]))
    for batch in store.scan("images", where={"uri": paths}):
        for row in batch.to_pylist():
            return dict(row)
    for batch in store.scan("images", columns=["image_id", "other_uris"]):
        there = pc.is_valid(batch.column(1))
        for row in batch.filter(there).to_pylist():
            if set(paths) & set(row["other_uris"]):
                return _of_id(store, row["image_id"])
    return None


def _absolute(path: str) -> list[str]:
    try:
        return [str(Path(path).absolute()), str(Path(path).resolve())]
    except (OSError, RuntimeError, ValueError):
        return []
