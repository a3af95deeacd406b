"""What identifies a request to a language model: the same for the same question and settings."""

import hashlib
from dataclasses import dataclass

from taistore.errors import TextError

_MASK = (1 << 64) - 1


@dataclass(frozen=True, kw_only=True, slots=True)
class Sampling:
    """How a model draws its answers; ``max_tokens`` bounds each."""

    temperature: float = 0.9
    max_tokens: int = 60

    def __post_init__(self) -> None:
        if not 0.0 <= self.temperature <= 5.0:
            raise TextError(f"temperature is {self.temperature}: it must be between 0 and 5")
        if self.max_tokens < 1:
            raise TextError(f"max_tokens is {self.max_tokens}: it must be at least 1")


@dataclass(frozen=True, kw_only=True, slots=True)
class RequestIds:
    """Makes the ids of one job's requests.

    A key is 16 hexadecimal digits of the combination and 16 of a hash over combination, turn,
    instruction, prompts (``digest``), model, sampling and seed. The id of an attempt is
    ``<key>.<attempt>``. So a stored text tells which combination it was asked for, also where it
    is kept under fewer labels.
    """

    model: str
    digest: str
    sampling: Sampling
    seed: int

    def key(self, combination_id: int, instruction: str, turn: int) -> str:
        """Names one wanted text, whatever attempt gives it."""
        settings = (self.model, self.digest, self.sampling, self.seed, instruction, turn)
        content = combination_id.to_bytes(8, "big", signed=True) + repr(settings).encode()
        digest = hashlib.blake2b(content, digest_size=8).hexdigest()
        return f"{combination_id & _MASK:016x}{digest}"


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


def model_seed(request: str) -> int:
    """The seed that goes to the model with a request: 31 bits, other for every attempt."""
    digest = hashlib.blake2b(request.encode(), digest_size=4).digest()
    return int.from_bytes(digest, "big") >> 1
