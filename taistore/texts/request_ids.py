"""What identifies a request to a text writer: the same for the same question and settings."""

import hashlib
from dataclasses import dataclass
from functools import lru_cache

_MASK = (1 << 64) - 1


@dataclass(frozen=True, kw_only=True, slots=True)
class RequestIds:
    """Makes the ids of one job's requests, whoever writes.

    A key is 16 hexadecimal digits of the combination and 16 of a hash over combination, turn,
    instruction, model, the writer's ``settings`` and the seed. The id of an attempt is
    ``<key>.<attempt>``. So a stored text tells which combination it was asked for, also where it
    is kept under fewer labels.
    """

    model: str
    settings: tuple[object, ...]
    seed: int

    def key(self, combination_id: int, instruction: str, turn: int) -> str:
        """Names one text that is asked for, whatever attempt gives it."""
        content = combination_id.to_bytes(8, "big", signed=True) + _question(
            (self.model, *self.settings, self.seed, instruction, turn)
        )
        digest = hashlib.blake2b(content, digest_size=8).hexdigest()
        return f"{combination_id & _MASK:016x}{digest}"


@lru_cache(maxsize=1 << 12)
def _question(parts: tuple[object, ...]) -> bytes:
    return repr(parts).encode()


def request_id(key: str, attempt: int) -> str:
    """The id of one attempt at the text that ``key`` names."""
    return f"{key}.{attempt}"


def key_of(request: str) -> str:
    """The key in a request id."""
    return request.partition(".")[0]


def combination_of(request: str) -> int:
    """The combination that a request, given by id or key, asked for."""
    unsigned = int(request[:16], 16)
    return unsigned - (1 << 64) if unsigned >> 63 else unsigned


def is_reduced(request: str | None, combination_id: int) -> bool:
    """Whether a text lies in another combination than its request asked for."""
    return bool(request) and combination_of(request or "") != combination_id


def key_number(key: str) -> int:
    """The last 64 bits of a key, which tell the texts of one store apart."""
    return int(key[16:32], 16)
