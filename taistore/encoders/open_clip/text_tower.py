"""The text tower of an open_clip model: counts tokens, refuses what is too long, encodes.

Shapes: T texts, L tokens of the longest one, W width of the tower, D embedding dimension.
"""

from collections.abc import Iterator, Sequence
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

from taistore.encoders.open_clip.tower_block import TowerBlock
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
    """Texts to vectors with the text half of an open_clip model.

    ``tower`` holds the parts of its text transformer. ``adds_own``: the tokenizer's ids get the
    begin, end and class tokens only when it pads. ``tokens`` is how many a batch holds.
    """

    def __init__(self, model: Any, tokenizer: Any, *, name: str, tokens: int) -> None:
        self.model = model
        self.tokenizer = tokenizer
        self.name = name
        self._tokens = tokens
        # CLIP holds the parts of its text transformer itself, the newer models in ``text``.
        self.tower: Any = getattr(model, "text", model)
        self.adds_own = getattr(tokenizer, "tokenizer_mode", "") == "clips"
        self.context_length = int(tokenizer.context_length)

    @property
    def cuts_padding(self) -> bool:
        """Whether tokens after the end of a text can be left out without changing its vector.

        True for causal towers that read the vector at the end token: it sees nothing behind it.
        """
        tower = self.tower
        pool = getattr(tower, "text_pool_type", getattr(tower, "pool_type", ""))
        return (
            isinstance(self.tokenizer, SimpleTokenizer)
            and getattr(tower, "attn_mask", None) is not None
            and getattr(tower, "cls_emb", None) is None
            and pool == "argmax"
        )

    def count(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each text with the special ones, before any cut."""
        return [len(ids) + 3 * self.adds_own for ids in self.ids(texts)]

    def encode(self, texts: Sequence[str], device: torch.device) -> torch.Tensor:
        """Raw vectors [T, D] float32 on the CPU of at least one text.

        Raises :class:`TextError` naming a text that is too long or holds an end mark.
        """
        ids = self.ids(texts)
        for row, (text, one) in enumerate(zip(texts, ids, strict=True), start=1):
            self._check(row, text, one)
        # Texts of like length share a batch, so that little padding is left in each.
        order = sorted(range(len(texts)), key=lambda i: len(ids[i]))
        vectors: list[torch.Tensor] = []
        for chosen in self._batches(order, ids):
            if isinstance(self.tokenizer, SimpleTokenizer):
                batch_TD = self._encode_ids([ids[i] for i in chosen], device)
            else:
                tokens_TL = self.tokenizer([texts[i] for i in chosen]).to(device)
                batch_TD = self.model.encode_text(tokens_TL, normalize=False)
            vectors.append(batch_TD.float().cpu())
        back = torch.empty(len(order), dtype=torch.long)
        back[torch.tensor(order)] = torch.arange(len(order))
        return torch.cat(vectors)[back]

    def ids(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of each text, uncut and unpadded, with the special ones unless ``adds_own``."""
        if isinstance(self.tokenizer, SimpleTokenizer):
            begin, end = self.tokenizer.sot_token_id, self.tokenizer.eot_token_id
            return [[begin, *ids, end] for ids in self.bare_ids(texts)]
        return self._others_ids(texts, special=not self.adds_own)

    def bare_ids(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of each text without any special one."""
        if isinstance(self.tokenizer, SimpleTokenizer):
            return [self.tokenizer.encode(text) for text in texts]
        return self._others_ids(texts, special=False)

    def padded_ids(self, text: str) -> list[int]:
        """All ``context_length`` token ids of a text, as the model reads it."""
        if isinstance(self.tokenizer, SimpleTokenizer):
            (ids,) = self.ids([text])
            return [*ids, *([0] * (self.context_length - len(ids)))]
        padded: list[int] = self.tokenizer([text])[0].tolist()
        return padded

    def _others_ids(self, texts: Sequence[str], *, special: bool) -> list[list[int]]:
        tokenizer = self.tokenizer
        if isinstance(tokenizer, SigLipTokenizer):
            cleaned = [canonicalize_text(basic_clean(text)) for text in texts]
        else:
            cleaned = [tokenizer.clean_fn(text) for text in texts]
        if not cleaned:
            return []  # some tokenizers of transformers fail on an empty list
        encoded = tokenizer.tokenizer(cleaned, add_special_tokens=special, verbose=False)
        ids: list[list[int]] = encoded["input_ids"]
        return ids

    def _check(self, row: int, text: str, ids: Sequence[int]) -> None:
        count = len(ids) + 3 * self.adds_own
        if count > self.context_length:
            raise TextError(
                f"text {row} has {count} tokens, {self.name} reads at most "
                f"{self.context_length}: shorten {_excerpt(text)}"
            )
        if isinstance(self.tokenizer, SimpleTokenizer) and max(ids[1:-1], default=0) >= ids[0]:
            raise TextError(
                f"text {row} holds a mark of the tokenizer (as <end_of_text>), behind which "
                f"{self.name} reads nothing: remove it from {_excerpt(text)}"
            )

    def _batches(self, order: Sequence[int], ids: Sequence[Sequence[int]]) -> Iterator[list[int]]:
        """``order``, which runs from short to long, in pieces of so many tokens with padding."""
        piece: list[int] = []
        for text in order:
            length = len(ids[text]) if self.cuts_padding else self.context_length
            if piece and (len(piece) + 1) * length > self._tokens:
                yield piece
                piece = []
            piece.append(text)
        if piece:
            yield piece

    def _encode_ids(self, ids: Sequence[Sequence[int]], device: torch.device) -> torch.Tensor:
        cut = self.cuts_padding
        length = max(map(len, ids)) if cut else self.context_length
        padded = [[*row, *([0] * (length - len(row)))] for row in ids]
        tokens_TL = torch.tensor(padded, device=device)
        if cut:
            return self._encode_cut(tokens_TL, tokens_TL.argmax(dim=1))
        vectors: torch.Tensor = self.model.encode_text(tokens_TL, normalize=False)
        return vectors

    def _encode_cut(self, tokens_TL: torch.Tensor, end_T: torch.Tensor) -> torch.Tensor:
        """``encode_text`` without the padding behind the longest text of the batch."""
        embeddings_TLW = self.tower.token_embedding(tokens_TL)
        return projected(self.tower, end_states(self.tower, embeddings_TLW, end_T))


def end_states(tower: Any, embeddings_TLW: torch.Tensor, end_T: torch.Tensor) -> torch.Tensor:
    """What comes out of the transformer of a causal tower at the ends of texts [T, W]."""
    *blocks, last = tower.transformer.resblocks
    if not isinstance(last, TowerBlock):
        hidden_TLW = hidden_states(tower, embeddings_TLW)
        return hidden_TLW[torch.arange(len(end_T), device=end_T.device), end_T]
    x_TLW, mask_LL = _entering(tower, embeddings_TLW)
    for block in blocks:
        x_TLW = block(x_TLW, attn_mask=mask_LL)
    places_L = torch.arange(x_TLW.shape[1], device=end_T.device)
    return last.read(x_TLW, end_T, shown_BT=places_L <= end_T[:, None])


def hidden_states(tower: Any, embeddings_TLW: torch.Tensor) -> torch.Tensor:
    """What comes out of the transformer of a causal tower [T, L, W], of texts of any length."""
    x_TLW, mask_LL = _entering(tower, embeddings_TLW)
    hidden_TLW: torch.Tensor = tower.transformer(x_TLW, attn_mask=mask_LL)
    return hidden_TLW


def _entering(tower: Any, embeddings_TLW: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """What goes into the transformer, and the mask for texts of that length."""
    length = embeddings_TLW.shape[1]
    dtype = tower.transformer.get_cast_dtype()
    x_TLW = embeddings_TLW.to(dtype) + tower.positional_embedding[:length].to(dtype)
    return x_TLW, tower.attn_mask[:length, :length]


def projected(tower: Any, hidden: torch.Tensor) -> torch.Tensor:
    """Vectors [..., D] of what comes out of the transformer [..., W], token by token."""
    normed: torch.Tensor = tower.ln_final(hidden)
    projection = tower.text_projection
    if projection is None:
        return normed
    if isinstance(projection, nn.Linear):
        linear: torch.Tensor = projection(normed)
        return linear
    product: torch.Tensor = normed @ projection
    return product


def _excerpt(text: str) -> str:
    shown = " ".join(text.split())
    return repr(shown if len(shown) <= _SHOWN else shown[: _SHOWN - 1] + "…")
