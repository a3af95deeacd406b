"""How a language model draws its answers, and the seed that goes with each request."""

import hashlib
from dataclasses import dataclass

from taistore.errors import TextError


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


def model_seed(request: str) -> int:
    """The seed that goes to the model with a request: 31 bits, other for every attempt."""
    digest = hashlib.blake2b(request.encode(), digest_size=4).digest()
    return int.from_bytes(digest, "big") >> 1
