"""One photo of the store, by its path, its content or its id; and the vectors of any photo.

Shapes: D embedding dimension, R regions.
"""

import contextlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray

from taistore.encoders.protocol import Encoder
from taistore.errors import ImageError
from taistore.images.decoding import MAX_PIXELS, decode_image, image_id, read_file
from taistore.store.arrow import vector_array
from taistore.store.store import Store
from taistore.store.tables.ragged_vectors import stored_regions

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


class PhotoVectors(NamedTuple):
    """A photo's vector [D], and those of its regions [R, D] where there are any; as stored."""

    whole_D: NDArray[np.float16]
    regions_RD: NDArray[np.float16] | None


def photo_vectors(
    store: Store,
    encoder_id: str,
    photo: PhotoRow,
    encoder: Callable[[], Encoder],
    *,
    regions: int = 0,
) -> PhotoVectors:
    """A photo's vectors: the store's, else made now of its file's bytes.

    ``encoder`` is called only where they have to be made, and ``regions`` is the side of the grid
    that is made then; 0: none are wanted. Raises :class:`ImageError` where the photo is not in the
    store and its file is gone or is no photo.
    """
    where = {"image_id": photo.image_id}
    stored = store.scan("image_vectors", columns=["vector"], encoder_id=encoder_id, where=where)
    for batch in stored:
        if batch.num_rows:
            cells = stored_regions(store, encoder_id, [photo.image_id]) if regions else {}
            regions_RD = cells.get(photo.image_id)
            # Copies: Arrow's own memory is read-only, which torch does not take.
            whole_D = vector_array(batch.column(0))[0].copy()
            return PhotoVectors(whole_D, None if regions_RD is None else regions_RD.copy())
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
    made = loaded.encode_images(loaded.prepare(image)[None], regions=regions)
    # Rounded as the store would keep them, so that a photo finds the same before and after.
    cut_RD = None if made.regions is None else made.regions[0].astype(np.float16)
    return PhotoVectors(made.whole[0].astype(np.float16), cut_RD)


def known_paths(photo: str | Path) -> list[str]:
    """A path as given, absolute, and with links followed: as a store may know it."""
    paths = [str(photo)]
    with contextlib.suppress(OSError, RuntimeError, ValueError):
        paths += [str(Path(photo).absolute()), str(Path(photo).resolve())]
    return list(dict.fromkeys(paths))


def _of_id(store: Store, identity: str) -> dict[str, Any] | None:
    for batch in store.scan("images", where={"image_id": identity}):
        for row in batch.to_pylist():
            return dict(row)
    return None


def _of_path(store: Store, path: str) -> dict[str, Any] | None:
    """The photo that has a path, as given or made absolute: as it is shown, or of a copy."""
    paths = known_paths(path)
    for batch in store.scan("images", where={"uri": paths}):
        for row in batch.to_pylist():
            return dict(row)
    for batch in store.scan("images", columns=["image_id", "other_uris"]):
        there = pc.is_valid(batch.column(1))
        for row in batch.filter(there).to_pylist():
            if set(paths) & set(row["other_uris"]):
                return _of_id(store, row["image_id"])
    return None
