"""Token lengths against an encoder's context: what does not fit is told apart, never cut."""

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import NamedTuple

from taistore.encoders.protocol import Encoder
from taistore.errors import EncoderError

TOO_LONG = "too_long"


class Length(NamedTuple):
    """Tokens of a text with the special ones, and the most that the encoder takes."""

    tokens: int
    limit: int

    @property
    def fits(self) -> bool:
        """Whether the encoder sees the whole text."""
        return self.tokens <= self.limit

    @property
    def detail(self) -> str:
        """The sentence kept in ``rejects``."""
        return f"{self.tokens} tokens, the encoder takes at most {self.limit}: shorten the text"


def text_limit(encoder: Encoder) -> int:
    """Most tokens that the encoder takes; raises :class:`EncoderError` where it takes no text."""
    limit = encoder.info.context_length
    if limit is None:
        raise EncoderError(
            f"encoder {encoder.info.spec!r} holds imported vectors and cannot encode text: "
            "name another with encoder="
        )
    return limit


def text_lengths(encoder: Encoder, texts: Sequence[str]) -> list[Length]:
    """The length of every text, before any cut."""
    limit = text_limit(encoder)
    return [Length(tokens, limit) for tokens in encoder.count_tokens(texts)]


def length_check(encoder: Encoder) -> Callable[[str], Length]:
    """What measures one text after another; the last ones are remembered."""

    @lru_cache(maxsize=1 << 14)
    def measured(text: str) -> Length:
        return text_lengths(encoder, [text])[0]

    return measured
