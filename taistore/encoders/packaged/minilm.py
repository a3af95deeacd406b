"""The text tower of the packaged encoder: all-MiniLM-L6-v2 in plain torch.

Six layers of BERT and the mean over tokens need no framework: importing sentence-transformers
takes longer than encoding a thousand captions. Texts of one length share a batch, so that there is
no padding and no mask. A test holds the vectors equal to sentence-transformers'.

Shapes: T texts, L tokens, W width of the tower (= D = 384), H heads.
"""

from collections.abc import Mapping, Sequence
from itertools import groupby

import torch
from torch.nn import functional as F

from taistore._extras import require
from taistore.encoders.packaged.installed_files import TOKENIZER, read_text_weights, verified
from taistore.errors import TextError

CONTEXT_LENGTH = 256
"""Tokens that the model was trained on, with the two special ones."""
_HEADS = 12
_LAYERS = 6
_EPSILON = 1e-12
_BATCH_TOKENS = 2048  # keeps the activations of a batch in the cache of one core
_BATCH_TOKENS_GPU = 131072
_SHOWN = 60


class PackagedTokenizer:
    """Texts to token ids, never cut."""

    def __init__(self) -> None:
        tokenizers = require(
            "tokenizers", extra="offline", purpose="the packaged encoder's tokenizer"
        )
        self._tokenizer = tokenizers.Tokenizer.from_file(str(verified(TOKENIZER)))
        # The file says "cut at 128, pad to 128": both would go unnoticed.
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()

    def ids(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of each text with [CLS] and [SEP]."""
        return [list(one.ids) for one in self._tokenizer.encode_batch(list(texts))]

    def checked_ids(self, texts: Sequence[str]) -> list[list[int]]:
        """As :meth:`ids`; raises :class:`TextError` naming the first text that is too long."""
        ids = self.ids(texts)
        for row, (text, one) in enumerate(zip(texts, ids, strict=True), start=1):
            if len(one) > CONTEXT_LENGTH:
                shown = " ".join(text.split())
                shown = shown if len(shown) <= _SHOWN else shown[: _SHOWN - 1] + "…"
                raise TextError(
                    f"text {row} has {len(one)} tokens, the packaged encoder reads at most "
                    f"{CONTEXT_LENGTH}: shorten {shown!r}"
                )
        return ids


class SentenceTower:
    """Token ids to sentence vectors, unit length before any centring."""

    def __init__(self, device: torch.device) -> None:
        weights = {name: tensor.to(device) for name, tensor in read_text_weights().items()}
        self._device = device
        self._weights = weights
        self._tokens = weights["embeddings.word_embeddings.weight"]
        # All texts are of segment 0: its embedding is part of every position.
        self._positions = (
            weights["embeddings.position_embeddings.weight"]
            + weights["embeddings.token_type_embeddings.weight"][0]
        )
        self._layers = [_layer_weights(weights, i) for i in range(_LAYERS)]

    def encode(self, ids: Sequence[Sequence[int]]) -> torch.Tensor:
        """Sentence vectors [T, D] float32 on the CPU, each of length 1, in the order given."""
        budget = _BATCH_TOKENS if self._device.type == "cpu" else _BATCH_TOKENS_GPU
        vectors_TD = torch.empty(len(ids), self._tokens.shape[1])
        order = sorted(range(len(ids)), key=lambda i: len(ids[i]))
        for length, group in groupby(order, key=lambda i: len(ids[i])):
            alike = list(group)
            step = max(budget // length, 1)
            for start in range(0, len(alike), step):
                rows = alike[start : start + step]
                tokens_TL = torch.tensor([ids[i] for i in rows], device=self._device)
                vectors_TD[rows] = self._forward(tokens_TL).cpu()
        return vectors_TD

    @property
    def width(self) -> int:
        """W."""
        return int(self._tokens.shape[1])

    def embed(self, tokens_TL: torch.Tensor) -> torch.Tensor:
        """Token embeddings [T, L, W], without their positions."""
        return self._tokens[tokens_TL]

    def last_hidden(self, embeddings_TLW: torch.Tensor) -> torch.Tensor:
        """Last hidden states [T, L, W] of texts of one length, differentiable."""
        x_TLW = embeddings_TLW + self._positions[: embeddings_TLW.shape[1]]
        x_TLW = _norm(x_TLW, self._weights, "embeddings.LayerNorm")
        for layer in self._layers:
            x_TLW = _transformer_layer(x_TLW, layer)
        return x_TLW

    def _forward(self, tokens_TL: torch.Tensor) -> torch.Tensor:
        return F.normalize(self.last_hidden(self.embed(tokens_TL)).mean(dim=1), dim=-1)


def _layer_weights(weights: Mapping[str, torch.Tensor], index: int) -> dict[str, torch.Tensor]:
    prefix = f"encoder.layer.{index}."
    layer = {
        name.removeprefix(prefix): tensor
        for name, tensor in weights.items()
        if name.startswith(prefix)
    }
    # One product instead of three for query, key and value.
    for part in ("weight", "bias"):
        layer[f"qkv.{part}"] = torch.cat(
            [layer.pop(f"attention.self.{one}.{part}") for one in ("query", "key", "value")]
        )
    return layer


def _transformer_layer(x_TLW: torch.Tensor, layer: Mapping[str, torch.Tensor]) -> torch.Tensor:
    texts, length, width = x_TLW.shape
    qkv = _linear(x_TLW, layer, "qkv").view(texts, length, 3, _HEADS, width // _HEADS)
    query, key, value = qkv.permute(2, 0, 3, 1, 4)
    heads_THLW = F.scaled_dot_product_attention(query, key, value)
    mixed_TLW = heads_THLW.transpose(1, 2).reshape(texts, length, width)
    x_TLW = _norm(
        x_TLW + _linear(mixed_TLW, layer, "attention.output.dense"),
        layer,
        "attention.output.LayerNorm",
    )
    wide = F.gelu(_linear(x_TLW, layer, "intermediate.dense"))
    return _norm(x_TLW + _linear(wide, layer, "output.dense"), layer, "output.LayerNorm")


def _linear(x: torch.Tensor, weights: Mapping[str, torch.Tensor], name: str) -> torch.Tensor:
    return F.linear(x, weights[f"{name}.weight"], weights[f"{name}.bias"])


def _norm(x: torch.Tensor, weights: Mapping[str, torch.Tensor], name: str) -> torch.Tensor:
    return F.layer_norm(
        x, x.shape[-1:], weights[f"{name}.weight"], weights[f"{name}.bias"], _EPSILON
    )
