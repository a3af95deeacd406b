"""Open what a command works on: the store, its encoder, its label prompts."""

from typing import TYPE_CHECKING

from taistore_cli.output import Output

if TYPE_CHECKING:
    from taistore.encoders.protocol import Encoder, EncoderInfo, Float32
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


def registered_encoder(store: "Store", spec: str | None) -> "EncoderInfo":
    """The registered encoder of a spec, else of the store's default, without loading it."""
    from taistore.encoders.registry import canonical_spec
    from taistore.errors import StoreError

    wanted = canonical_spec(spec or store.default_encoder)
    found = [info for info in store.encoders() if info.spec == wanted]
    if not found:
        there = ", ".join(info.spec for info in store.encoders()) or "none yet"
        raise StoreError(
            f"{store.uri}: holds no vectors of encoder {wanted} (there are: {there}): add them "
            f"with 'taistore generate-texts --encoder {wanted}'"
        )
    if len(found) > 1:
        ids = ", ".join(info.encoder_id for info in found)
        raise StoreError(
            f"{store.uri}: {wanted} was used with different weights ({ids}): name the weights "
            "file in --encoder"
        )
    return found[0]


def label_prompts(
    store: "Store",
    info: "EncoderInfo",
    *,
    device: str,
    precision: str,
    out: Output,
    encoder: "Encoder | None" = None,
) -> "Float32":
    """Unit prompt vectors [N, D] of the store's labels; loads the encoder only when some lack."""
    from taistore.texts.label_prompts import cached_prompt_vectors, prompt_vectors

    cached = cached_prompt_vectors(store, info)
    if cached is not None:
        return cached
    if encoder is None:
        encoder = open_encoder(store, info.spec, device=device, precision=precision, out=out)
    return prompt_vectors(store, encoder, progress=out.progress)


def tidy(store: "Store", out: Output) -> None:
    """Compact what a large job left in many fragments; another writer may keep it from that."""
    from taistore.errors import StoreError
    from taistore.store.maintenance import optimize

    try:
        optimize(store, only_due=True, progress=out.progress)
    except StoreError as error:
        out.note(f"note: not compacted ({error}); 'taistore optimize' does it later")
