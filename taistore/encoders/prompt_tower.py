"""What a prompt learner asks of an encoder: a text tower that is given token embeddings.

Beside :class:`~taistore.encoders.protocol.Encoder`: an encoder that has such a tower gives it as
``prompt_tower()``. Shapes: N texts, L tokens of the longest with padding, M learnt context tokens,
W width of the tower, D embedding dimension.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from taistore.encoders.protocol import Encoder
from taistore.errors import EncoderError, TextError

_SHOWN = 60


@dataclass(frozen=True, slots=True)
class Prompts:
    """Tokenised texts with room for a context before them.

    ``ids_NL`` are token ids as the tower reads them, padding included; ids in the room are any
    ordinary token's. ``counts_N`` is how many tokens of a row are no padding, ``embeddings_NLW``
    what the tower's table holds for them, and ``room`` where the M context tokens stand.
    """

    ids_NL: Tensor
    counts_N: Tensor
    embeddings_NLW: Tensor
    room: slice

    def with_context(self, context: Tensor) -> Tensor:
        """Embeddings [N, L, W] with ``context`` in the room: [M, W] for all, or [N, M, W]."""
        before, behind = self.room.start, self.room.stop
        context_NMW = context.expand(len(self.ids_NL), *context.shape[-2:])
        return torch.cat(
            [
                self.embeddings_NLW[:, :before],
                context_NMW.to(self.embeddings_NLW.dtype),
                self.embeddings_NLW[:, behind:],
            ],
            dim=1,
        )

    def rows(self, chosen: Tensor) -> "Prompts":
        """Some of the texts, by their numbers."""
        return Prompts(
            self.ids_NL[chosen], self.counts_N[chosen], self.embeddings_NLW[chosen], self.room
        )


class PromptTower(Protocol):
    """A frozen text tower; gradients flow back to the embeddings, never to its weights.

    With the embeddings of a text's own tokens, ``encode`` gives what ``encode_texts`` gives.
    """

    @property
    def width(self) -> int:
        """W."""
        ...

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        ...

    def prompts(self, texts: Sequence[str], *, context: int = 0) -> Prompts:
        """Tokenise; raises :class:`TextError` where a text does not fit behind ``context``."""
        ...

    def encode(self, embeddings_NLW: Tensor, prompts: Prompts) -> Tensor:
        """Raw text vectors [N, D] float32, differentiable in the embeddings."""
        ...

    def encode_tokens(self, embeddings_NLW: Tensor, prompts: Prompts) -> Tensor:
        """A raw vector of every token, [N, L, D] float32; those of padding mean nothing."""
        ...


@runtime_checkable
class PromptableEncoder(Protocol):
    """An encoder with a text tower that takes embeddings."""

    def prompt_tower(self) -> PromptTower:
        """The tower; raises :class:`EncoderError` where this one cannot take embeddings."""
        ...


def prompt_tower(encoder: Encoder) -> PromptTower:
    """The encoder's tower; raises :class:`EncoderError` where it has none."""
    if not isinstance(encoder, PromptableEncoder):
        raise no_tower(encoder.info.spec)
    return encoder.prompt_tower()


def no_tower(spec: str) -> EncoderError:
    """What to say of an encoder without such a tower."""
    return EncoderError(
        f"encoder {spec} has no text tower that takes embeddings, which a prompt is learnt "
        "through: take an open_clip or packaged encoder, or train an adapter"
    )


def room_for(text: str, *, tokens: int, context: int, longest: int) -> None:
    """TextError where a text of so many tokens does not fit behind ``context`` more."""
    if tokens + context > longest:
        shown = " ".join(text.split())
        shown = shown if len(shown) <= _SHOWN else shown[: _SHOWN - 1] + "…"
        raise TextError(
            f"{shown!r} has {tokens} tokens, with {context} of context {tokens + context}, and the "
            f"encoder reads at most {longest}: shorten it or the context"
        )
