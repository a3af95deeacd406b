"""Encoders by name: the one place that turns a specification into an encoder.

Every kind is imported only when it is asked for. Another package's encoder is a factory that
returns an :class:`~taistore.encoders.protocol.Encoder`; it is called with those of ``argument``
(what follows the colon of ``name:argument``, or ""), ``device`` and ``precision`` that it takes.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from taistore import plugins
from taistore.defaults import ENCODER
from taistore.encoders.protocol import Encoder, EncoderInfo, Float32, ImageVectors
from taistore.errors import EncoderError

KINDS = {
    "packaged": "packaged (weights from installed packages, no download)",
    "open_clip": f"open_clip:<model>/<tag or weights file>[@<resolution>] such as {ENCODER}",
    "vectors": "vectors:<name> (imported vectors)",
}
_GROUP = "taistore.encoders"


def canonical_spec(spec: str) -> str:
    """The one spelling of an encoder specification; equal specifications become equal.

    Raises :class:`EncoderError` for an unknown kind, malformed text or an unknown model.
    """
    match _kind(spec):
        case "packaged":
            from taistore.encoders.packaged.packaged_spec import parse_packaged_spec

            model, resolution = parse_packaged_spec(spec)
            return f"packaged:{model}@{resolution}"
        case "vectors":
            from taistore.encoders.imported.vector_reader import vectors_spec

            return vectors_spec(spec.partition(":")[2])
        case "open_clip":
            from taistore.encoders.open_clip.catalogue import known_spec

            return str(known_spec(spec))
    return spec


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
    :class:`EncoderError` in one line for whatever keeps it from loading, :class:`PluginError` where
    that is another package.
    """
    match _kind(spec):
        case "packaged":
            from taistore.encoders.packaged.joined_encoder import load_packaged
            from taistore.encoders.packaged.packaged_spec import parse_packaged_spec
            from taistore.encoders.precision import resolve_device

            model, resolution = parse_packaged_spec(spec)
            if precision not in ("auto", "fp32"):
                raise EncoderError(
                    f"the packaged encoder runs in fp32, not {precision}: leave precision= out"
                )
            where = str(resolve_device(device))
            return load_packaged(model, resolution=resolution, device=where)
        case "vectors":
            from taistore.encoders.imported.vector_reader import COMMAND

            raise EncoderError(
                f"{spec} are imported vectors and cannot encode: add more with '{COMMAND}', or "
                f"name the encoder that made them, such as {ENCODER}"
            )
        case "open_clip":
            from taistore.encoders.open_clip.encoder import load_open_clip

            return load_open_clip(spec, device=device, precision=precision, weights_dir=weights_dir)
    return _load_plugin(spec, device=device, precision=precision)


def _kind(spec: str) -> str:
    """The kind of a specification: one of :data:`KINDS`, or the name of a plugin."""
    kind, colon, _ = spec.partition(":")
    if kind in KINDS and (colon or kind == "packaged"):
        return kind
    if kind in KINDS or kind not in plugins.names(_GROUP):
        others = [name for name in plugins.names(_GROUP) if name not in KINDS]
        raise EncoderError(f"unknown encoder {spec!r}: use {'; '.join([*KINDS.values(), *others])}")
    return kind


def _load_plugin(spec: str, *, device: str, precision: str) -> Encoder:
    name, _, argument = spec.partition(":")
    encoder: Encoder = plugins.make(
        _GROUP, name, argument=argument, device=device, precision=precision
    )
    plugins.require(_GROUP, name, encoder, Encoder)
    return _PluginEncoder(encoder, spec, plugin=name)


class _PluginEncoder:
    """An encoder of a plugin under the specification that it was asked for by.

    Its store finds it again by that, whatever its own information says. What it raises names the
    plugin; what ``prepare`` raises is one photo's reject.
    """

    def __init__(self, encoder: Encoder, spec: str, *, plugin: str) -> None:
        self._encoder, self._plugin = encoder, plugin
        if not isinstance(encoder.info, EncoderInfo):
            kind = type(encoder.info).__name__
            raise plugins.wrong(_GROUP, plugin, f"has a {kind} as info, which is no EncoderInfo")
        self.info: EncoderInfo = replace(encoder.info, spec=spec)

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """As the plugin's."""
        with plugins.blame(_GROUP, self._plugin, "failed in count_tokens"):
            return self._encoder.count_tokens(texts)

    def encode_texts(self, texts: Sequence[str]) -> Float32:
        """As the plugin's."""
        with plugins.blame(_GROUP, self._plugin, "failed in encode_texts"):
            return self._encoder.encode_texts(texts)

    def prepare(self, image: Image.Image) -> NDArray[np.uint8]:
        """As the plugin's."""
        return self._encoder.prepare(image)

    def encode_images(self, pixels: NDArray[np.uint8], *, regions: int = 0) -> ImageVectors:
        """As the plugin's."""
        with plugins.blame(_GROUP, self._plugin, "failed in encode_images"):
            return self._encoder.encode_images(pixels, regions=regions)
