"""The text tower of an open_clip model: counts tokens, refuses what is too long, encodes.

Shapes: T texts, L tokens of the longest one, W width of the tower, D embedding dimension.
"""

from collections.abc import Sequence
from typing import Any

import open_clip
import torch
from open_clip.tokenizer import (
    SigLipTokenizer,
    SimpleTokenizer,
    basic_clean,
    canonicalize_text,
)
from torch import nn

from taistore.errors import EncoderError, TextError

_SHOWN = 60  # characters of a text in a message


def load_tokenizer(model: str) -> Any:
    """The tokenizer of ``model``; raises :class:`EncoderError` where it has to be fetched."""
    try:
        return open_clip.get_tokenizer(model)
    except (OSError, ValueError, RuntimeError, ImportError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:160]
        raise EncoderError(
            f"the tokenizer of open_clip:{model} cannot be fetched ({reason}): connect once, or "
            "use encoder=packaged, which needs no download"
        ) from None


class TextTower:
    """Texts to vectors with the text half of an open_clip model."""

    def __init__(self, model: Any, tokenizer: Any, *, name: str, batch: int) -> None:
        self._model = model
        self._tokenizer = tokenizer
        self._name = name
        self._batch = batch
        # CLIP holds the parts of its text transformer itself, the newer models in ``text``.
        self._tower: Any = getattr(model, "text", model)
        # This mode adds the begin, end and class tokens itself.
        self._adds_own = getattr(tokenizer, "tokenizer_mode", "") == "clips"
        self.context_length = int(tokenizer.context_length)

    @property
    def cuts_padding(self) -> bool:
        """Whether tokens after the end of a text can be left out without changing its vector.

        True for causal towers that read the vector at the end token: it sees nothing behind it.
        """
        tower = self._tower
        pool = getattr(tower, "text_pool_type", getattr(tower, "pool_type", ""))
        return (
            isinstance(self._tokenizer, SimpleTokenizer)
            and getattr(tower, "attn_mask", None) is not None
            and getattr(tower, "cls_emb", None) is None
            and pool == "argmax"
        )

    def count(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each text with the special ones, before any cut."""
        return [len(ids) + 3 * self._adds_own for ids in self._ids(texts)]

    def encode(self, texts: Sequence[str], device: torch.device) -> torch.Tensor:
        """Raw vectors [T, D] float32 on the CPU of at least one text.

        Raises :class:`TextError` naming a text that is too long or holds an end mark.
        """
        ids = self._ids(texts)
        for row, (text, one) in enumerate(zip(texts, ids, strict=True), start=1):
            self._check(row, text, one)
        # Texts of like length share a batch, so that little padding is left in each.
        order = sorted(range(len(texts)), key=lambda i: len(ids[i]))
        vectors: list[torch.Tensor] = []
        for start in range(0, len(order), self._batch):
            chosen = order[start : start + self._batch]
            if isinstance(self._tokenizer, SimpleTokenizer):
                batch_TD = self._encode_ids([ids[i] for i in chosen], device)
            else:
                tokens_TL = self._tokenizer([texts[i] for i in chosen]).to(device)
                batch_TD = self._model.encode_text(tokens_TL, normalize=False)
            vectors.append(batch_TD.float().cpu())
        back = torch.empty(len(order), dtype=torch.long)
        back[torch.tensor(order)] = torch.arange(len(order))
        return torch.cat(vectors)[back]

    def _ids(self, texts: Sequence[str]) -> list[list[int]]:
        tokenizer = self._tokenizer
        if isinstance(tokenizer, SimpleTokenizer):
            begin, end = tokenizer.sot_token_id, tokenizer.eot_token_id
            return [[begin, *tokenizer.encode(text), end] for text in texts]
        if isinstance(tokenizer, SigLipTokenizer):
            cleaned = [canonicalize_text(basic_clean(text)) for text in texts]
        else:
            cleaned = [tokenizer.clean_fn(text) for text in texts]
        if not cleaned:
            return []  # some tokenizers of transformers fail on an empty list
        special = not self._adds_own
        encoded = tokenizer.tokenizer(cleaned, add_special_tokens=special, verbose=False)
        ids: list[list[int]] = encoded["input_ids"]
        return ids

    def _check(self, row: int, text: str, ids: Sequence[int]) -> None:
        count = len(ids) + 3 * self._adds_own
        if count > self.context_length:
            raise TextError(
                f"text {row} has {count} tokens, {self._name} reads at most "
                f"{self.context_length}: shorten {_excerpt(text)}"
            )
        if isinstance(self._tokenizer, SimpleTokenizer) and max(ids[1:-1], default=0) >= ids[0]:
            raise TextError(
                f"text {row} holds a mark of the tokenizer (as <end_of_text>), behind which "
                f"{self._name} reads nothing: remove it from {_excerpt(text)}"
            )

    def _encode_ids(self, ids: Sequence[Sequence[int]], device: torch.device) -> torch.Tensor:
        cut = self.cuts_padding
        length = max(map(len, ids)) if cut else self.context_length
        padded = [[*row, *([0] * (length - len(row)))] for row in ids]
        tokens_TL = torch.tensor(padded, device=device)
        if cut:
            return self._encode_cut(tokens_TL, tokens_TL.argmax(dim=1))
        vectors: torch.Tensor = self._model.encode_text(tokens_TL, normalize=False)
        return vectors

    def _encode_cut(self, tokens_TL: torch.Tensor, end_T: torch.Tensor) -> torch.Tensor:
        """``encode_text`` without the padding behind the longest text of the batch."""
        tower, length = self._tower, tokens_TL.shape[1]
        dtype = tower.transformer.get_cast_dtype()
        x_TLW = tower.token_embedding(tokens_TL).to(dtype)
        x_TLW = x_TLW + tower.positional_embedding[:length].to(dtype)
        x_TLW = tower.transformer(x_TLW, attn_mask=tower.attn_mask[:length, :length])
        # The norm works on each token by itself: only the one that is read needs it.
        x_TW = tower.ln_final(x_TLW[torch.arange(len(x_TLW), device=x_TLW.device), end_T])
        projection = tower.text_projection
        if projection is None:
            vectors: torch.Tensor = x_TW
        elif isinstance(projection, nn.Linear):
            vectors = projection(x_TW)
        else:
            vectors = x_TW @ projection
        return vectors


def _excerpt(text: str) -> str:
    shown = " ".join(text.split())
    return repr(shown if len(shown) <= _SHOWN else shown[: _SHOWN - 1] + "…")
