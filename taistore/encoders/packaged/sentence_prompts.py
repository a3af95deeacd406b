"""The packaged encoder's text tower, given token embeddings.

Shapes: N texts, L tokens, W width of the tower, D dimension of the shared space (both 384).
"""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from taistore.encoders.packaged.minilm import CONTEXT_LENGTH, PackagedTokenizer, SentenceTower
from taistore.encoders.packaged.shared_space import SharedSpace
from taistore.encoders.prompt_tower import Prompts, room_for

_PAD = 0


class SentencePrompts:
    """A :class:`~taistore.encoders.prompt_tower.PromptTower` of MiniLM and the shared space."""

    def __init__(
        self,
        tokenizer: PackagedTokenizer,
        sentences: SentenceTower,
        space: SharedSpace,
        device: torch.device,
    ) -> None:
        self._tokenizer = tokenizer
        self._sentences = sentences
        self._space = space.to(device)
        self._device = device

    @property
    def width(self) -> int:
        """W."""
        return self._sentences.width

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return self._device

    def prompts(self, texts: Sequence[str], *, context: int = 0) -> Prompts:
        """Tokenise with room for the context behind [CLS]; TextError beyond 256 tokens."""
        ids = self._tokenizer.ids(texts)
        for text, one in zip(texts, ids, strict=True):
            room_for(text, tokens=len(one), context=context, longest=CONTEXT_LENGTH)
        # Any token will do in the room: its embedding is replaced.
        ids = [[one[0], *one[:1] * context, *one[1:]] for one in ids]
        longest = max(map(len, ids), default=0)
        padded = [[*one, *([_PAD] * (longest - len(one)))] for one in ids]
        ids_NL = torch.tensor(padded, dtype=torch.long, device=self._device)
        ids_NL = ids_NL.reshape(len(ids), longest)
        return Prompts(
            ids_NL,
            torch.tensor([len(one) for one in ids], dtype=torch.long, device=self._device),
            self._sentences.embed(ids_NL),
            slice(1, 1 + context),
        )

    def encode(self, embeddings_NLW: Tensor, prompts: Prompts) -> Tensor:
        """Text vectors [N, D] of norm sqrt(D), as ``encode_texts`` gives them."""
        return self._mapped(
            embeddings_NLW, prompts, lambda hidden: F.normalize(hidden.mean(1), dim=-1)
        )

    def encode_tokens(self, embeddings_NLW: Tensor, prompts: Prompts) -> Tensor:
        """Every token's last hidden state through the same map: [N, L, D] of norm sqrt(D)."""
        return self._mapped(embeddings_NLW, prompts, lambda hidden: F.normalize(hidden, dim=-1))

    def _mapped(
        self, embeddings_NLW: Tensor, prompts: Prompts, read: Callable[[Tensor], Tensor]
    ) -> Tensor:
        """``read`` of the last hidden states of texts, placed in the space.

        Texts of one length go together, as in ``encode_texts``: no padding, no mask.
        """
        found: list[Tensor] = []
        rows: list[Tensor] = []
        length = embeddings_NLW.shape[1]
        for count in sorted(set(prompts.counts_N.tolist())):
            alike = torch.nonzero(prompts.counts_N == count)[:, 0]
            part = read(self._sentences.last_hidden(embeddings_NLW[alike, :count]))
            if part.ndim == 3:
                part = F.pad(part, (0, 0, 0, length - count))
            found.append(part)
            rows.append(alike)
        if not found:
            return embeddings_NLW.new_zeros((0, self._space.dim))
        sentences = torch.cat(found)[torch.cat(rows).argsort()]
        placed = F.normalize(self._space.place(sentences), dim=-1)
        return placed * math.sqrt(self._space.dim)
