"""The text tower of an open_clip model, given token embeddings.

A causal tower that reads the end token (CLIP's own) runs on the tokens that are there. Any other is
run by open_clip's own code on padded ids, with the given embeddings in place of what its table
holds, so that masks, class tokens and pooling are the model's. Shapes: N texts, L tokens, W width
of the tower, D embedding dimension.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from taistore.encoders.open_clip.text_tower import TextTower, end_states, hidden_states, projected
from taistore.encoders.prompt_tower import Prompts, room_for
from taistore.errors import EncoderError


class ClipPrompts:
    """A :class:`~taistore.encoders.prompt_tower.PromptTower` of an open_clip model."""

    def __init__(self, texts: TextTower, device: torch.device) -> None:
        tower = texts.tower
        if not hasattr(tower, "token_embedding"):
            raise EncoderError(
                f"open_clip:{texts.name} has a text tower of transformers, which taistore cannot "
                "give embeddings: take a model with open_clip's own, such as RN50 or ViT-B-32"
            )
        self._texts = texts
        self._tower = tower
        self._device = device

    @property
    def width(self) -> int:
        """W."""
        return int(self._tower.token_embedding.embedding_dim)

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return self._device

    def prompts(self, texts: Sequence[str], *, context: int = 0) -> Prompts:
        """Tokenise with room for the context before the words; TextError where they do not fit."""
        rows, counts = [], []
        # Class tokens that a tokenizer puts behind the padding take their place too.
        for text, tokens in zip(texts, self._texts.count(texts), strict=True):
            longest = self._texts.context_length
            room_for(text, tokens=tokens, context=context, longest=longest)
            rows.append(self._row(text, context))
            counts.append(tokens + context - self._texts.adds_own)
        if self._texts.cuts_padding:
            rows = [row[: max(counts)] for row in rows]
        ids_NL = torch.tensor(rows, dtype=torch.long, device=self._device)
        ids_NL = ids_NL.reshape(len(rows), len(rows[0]) if rows else 0)
        return Prompts(
            ids_NL,
            torch.tensor(counts, dtype=torch.long, device=self._device),
            self._tower.token_embedding(ids_NL).detach(),
            slice(self._before, self._before + context),
        )

    def encode(self, embeddings_NLW: Tensor, prompts: Prompts) -> Tensor:
        """Raw text vectors [N, D] float32."""
        if self._texts.cuts_padding:
            ends_NW = end_states(self._tower, embeddings_NLW, prompts.counts_N - 1)
            return projected(self._tower, ends_NW).float()
        with _in_place_of_the_table(self._tower, embeddings_NLW):
            vectors: Tensor = self._texts.model.encode_text(prompts.ids_NL, normalize=False)
        return vectors.float()

    def encode_tokens(self, embeddings_NLW: Tensor, prompts: Prompts) -> Tensor:
        """Every token through the last norm and the projection: [N, L, D] float32."""
        if self._texts.cuts_padding:
            hidden_NLW = hidden_states(self._tower, embeddings_NLW)
        else:
            found: list[Tensor] = []
            hook = self._tower.transformer.register_forward_hook(
                lambda module, given, output: found.append(output)
            )
            try:
                self.encode(embeddings_NLW, prompts)
            finally:
                hook.remove()
            # A class token of the model's own stands behind the text's.
            hidden_NLW = found[0][:, : embeddings_NLW.shape[1]]
        return projected(self._tower, hidden_NLW).float()

    @property
    def _before(self) -> int:
        """Tokens before the words of a text: a begin token, or none."""
        if self._texts.adds_own:
            return 1
        (plain,), (begun,) = self._texts.bare_ids(["a"]), self._texts.ids(["a"])
        return next(at for at in range(len(begun)) if begun[at : at + len(plain)] == plain)

    def _row(self, text: str, context: int) -> list[int]:
        """Padded ids, with ``context`` of the padding moved to where the context is to stand."""
        row = self._texts.padded_ids(text)
        before = self._before
        end = self._texts.count([text])[0] - self._texts.adds_own
        # Any ordinary token will do in the room, as its embedding is replaced: the text's first.
        room = row[before : before + 1] * context
        return [*row[:before], *room, *row[before:end], *row[end + context :]]


@contextmanager
def _in_place_of_the_table(tower: Any, embeddings_NLW: Tensor) -> Iterator[None]:
    """Within, the tower's table of token embeddings gives these, whatever the ids."""

    def given(module: nn.Module, ids: Any, output: Tensor) -> Tensor:
        return embeddings_NLW

    hook = tower.token_embedding.register_forward_hook(given)
    try:
        yield
    finally:
        hook.remove()
