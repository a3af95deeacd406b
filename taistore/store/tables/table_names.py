"""What a table is called: its kind and, where every encoder has its own, ``__`` and the encoder."""

from taistore.contracts import TABLES
from taistore.store.tables.encoder_table import require_encoder_id

_BETWEEN = "__"


def table_name(kind: str, encoder_id: str | None = None) -> str:
    """``kind`` or ``kind__encoder_id``; raises ValueError where the two do not fit."""
    if TABLES[kind].per_encoder != (encoder_id is not None):
        raise ValueError(f"table {kind!r}: wrong use of encoder_id")
    if encoder_id is None:
        return kind
    require_encoder_id(encoder_id)
    return f"{kind}{_BETWEEN}{encoder_id}"


def kind_and_encoder(name: str) -> tuple[str, str | None]:
    """The two parts of a table's name, whether there is such a kind or not; None: no encoder's."""
    kind, _, encoder_id = name.partition(_BETWEEN)
    return kind, encoder_id or None


def kind_of(name: str) -> str:
    """The first part of a table's name."""
    return kind_and_encoder(name)[0]
