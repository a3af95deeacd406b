"""The table ``encoders``: which ones a store has vectors of, and which may come to have some."""

import re
from collections.abc import Iterable, Sequence

import pyarrow as pa

from taistore.contracts import REMOVED
from taistore.encoders.protocol import EncoderInfo
from taistore.errors import StoreError

_ENCODER_ID = re.compile(r"[a-z0-9_]{1,120}")


def require_encoder_id(encoder_id: str) -> None:
    """Raise :class:`StoreError` where this is no id that a table can be named after."""
    if not _ENCODER_ID.fullmatch(encoder_id):
        raise StoreError(f"encoder id {encoder_id!r} may only hold a-z, 0-9 and _")


def encoder_infos(batches: Iterable[pa.RecordBatch]) -> list[EncoderInfo]:
    """The encoders of the table's rows, in the order of their ids."""
    rows = [row for batch in batches for row in batch.to_pylist()]
    return [EncoderInfo(**row) for row in sorted(rows, key=lambda row: str(row["encoder_id"]))]


def encoder_named(encoder_id: str, known: Sequence[EncoderInfo], *, uri: str) -> EncoderInfo:
    """The encoder with this id; raises :class:`StoreError` naming those that there are."""
    for info in known:
        if info.encoder_id == encoder_id:
            return info
    there = ", ".join(info.spec for info in known) or "none yet"
    raise StoreError(
        f"{uri}: holds no vectors of encoder {encoder_id!r} (there are: {there}): it was "
        "removed or never used: add them with 'taistore ingest-images' and 'taistore "
        "generate-texts', or with 'taistore ingest-vectors'"
    )


def encoder_of_spec(spec: str, known: Sequence[EncoderInfo], *, uri: str) -> EncoderInfo:
    """The one encoder with this spec; raises :class:`StoreError` where it is none, or several."""
    found = [info for info in known if info.spec == spec]
    if not found:
        there = ", ".join(info.spec for info in known) or "none yet"
        raise StoreError(
            f"{uri}: holds no vectors of encoder {spec} (there are: {there}): add them with "
            + (
                "'taistore ingest-vectors'"
                if spec.startswith("vectors:")
                else f"'taistore generate-texts --encoder {spec}'"
            )
        )
    if len(found) > 1:
        ids = ", ".join(info.encoder_id for info in found)
        raise StoreError(
            f"{uri}: {spec} was used with different weights ({ids}): remove one with 'taistore "
            "encoders rm ID'"
        )
    return found[0]


def require_room(info: EncoderInfo, rows: Iterable[EncoderInfo], *, uri: str) -> None:
    """Raise :class:`StoreError` where an encoder cannot have vectors of its own beside ``rows``.

    That is where imported vectors of its name have another dimension, or where its removal has
    begun.
    """
    require_encoder_id(info.encoder_id)
    for known in rows:
        if known.encoder_id == info.encoder_id and known.spec.startswith(REMOVED):
            raise StoreError(
                f"{uri}: {info.spec} is being removed: 'taistore encoders rm {info.spec}' "
                "brings that to its end"
            )
        if known.spec == info.spec and known.dim != info.dim and info.library == "vectors":
            raise StoreError(
                f"{uri}: {info.spec} has vectors of {known.dim} dimensions, these have "
                f"{info.dim}: choose another name=, or remove the others with "
                f"'taistore encoders rm {info.spec}'"
            )


def require_same_weights(info: EncoderInfo, known: Sequence[EncoderInfo], *, uri: str) -> None:
    """Raise :class:`StoreError` where an encoder that was loaded is no longer the one of its spec.

    Its weights have been replaced: vectors of both under one name could not be told apart.
    """
    others = [one for one in known if one.spec == info.spec]
    if others and all(one.encoder_id != info.encoder_id for one in others):
        raise StoreError(
            f"{uri}: {info.spec} is now {info.encoder_id}, and the vectors here are of "
            f"{others[0].encoder_id}: put back the weights that they were made with, give the new "
            "ones a file of another name, or remove the old vectors with 'taistore encoders "
            f"rm {others[0].encoder_id}'"
        )
