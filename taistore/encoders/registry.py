"""Encoders by name: the one place that turns ``--encoder`` into an encoder.

Every kind is imported only when it is asked for.
"""

from pathlib import Path

from taistore.encoders.protocol import Encoder
from taistore.errors import EncoderError

DEFAULT = "open_clip:RN50/openai@224"
KINDS = {
    "packaged": "packaged (weights from installed packages, no download)",
    "open_clip": f"open_clip:<model>/<tag or weights file>[@<resolution>] such as {DEFAULT}",
    "vectors": "vectors:<name> (imported vectors)",
}


def canonical_spec(spec: str) -> str:
    """The one spelling of an encoder specification; equal specifications become equal.

    Raises :class:`EncoderError` for an unknown kind, malformed text or an unknown model.
    """
    match _kind(spec):
        case "packaged":
            from taistore.encoders.packaged.joined_encoder import parse_packaged_spec

            model, resolution = parse_packaged_spec(spec)
            return f"packaged:{model}@{resolution}"
        case "vectors":
            from taistore.encoders.imported.vector_reader import vectors_spec

            return vectors_spec(spec.partition(":")[2])
    from taistore.encoders.open_clip.catalogue import native_resolution
    from taistore.encoders.open_clip.spec import parse_open_clip_spec

    parsed = parse_open_clip_spec(spec)
    return str(parsed.canonical(native_resolution(parsed.model)))


def load_encoder(
    spec: str,
    *,
    device: str = "auto",
    precision: str = "auto",
    weights_dir: str | Path | None = None,
) -> Encoder:
    """Load an encoder, ready to encode.

    ``device`` is ``auto``, ``cpu``, ``cuda`` or ``cuda:1``; ``precision`` is ``auto``, ``fp32``,
    ``bf16`` or ``fp16``; ``weights_dir`` replaces the cache folder of downloaded weights. Raises
    :class:`EncoderError` in one line for whatever keeps it from loading.
    """
    match _kind(spec):
        case "packaged":
            from taistore.encoders.packaged.joined_encoder import load_packaged, parse_packaged_spec
            from taistore.encoders.precision import resolve_device

            model, resolution = parse_packaged_spec(spec)
            if precision not in ("auto", "fp32"):
                raise EncoderError(
                    f"the packaged encoder runs in fp32, not {precision}: leave --precision out"
                )
            where = str(resolve_device(device))
            return load_packaged(model, resolution=resolution, device=where)
        case "vectors":
            from taistore.encoders.imported.vector_reader import COMMAND

            raise EncoderError(
                f"{spec} are imported vectors and cannot encode: add more with '{COMMAND}', or "
                f"name the encoder that made them, such as {DEFAULT}"
            )
    from taistore.encoders.open_clip.encoder import load_open_clip

    return load_open_clip(spec, device=device, precision=precision, weights_dir=weights_dir)


def _kind(spec: str) -> str:
    kind, colon, _ = spec.partition(":")
    if kind not in KINDS or (not colon and kind != "packaged"):
        raise EncoderError(f"unknown encoder {spec!r}: use {'; '.join(KINDS.values())}")
    return kind
