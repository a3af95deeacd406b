"""Open what a command works on: the store and the encoder that was asked for."""

from typing import TYPE_CHECKING

from taistore_cli.output import Output

if TYPE_CHECKING:
    from taistore.encoders.protocol import Encoder
    from taistore.store.store import Store


def open_store(uri: str) -> "Store":
    """The store at ``uri``; a StoreError names the command that makes one."""
    from taistore.store.store import Store

    return Store.open(uri)


def open_encoder(
    store: "Store", spec: str | None, *, device: str, precision: str, out: Output
) -> "Encoder":
    """Load the encoder named by ``spec``, else the store's default, and register it."""
    from taistore.encoders.registry import load_encoder

    wanted = spec or store.default_encoder
    out.note(f"loading encoder {wanted}")
    encoder = load_encoder(wanted, device=device, precision=precision)
    store.register_encoder(encoder.info)
    return encoder
