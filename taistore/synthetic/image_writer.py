"""What an image writer is: something that makes pictures of captions.

taistore's own are ``diffusers`` (a text-to-image pipeline in this process), ``openai`` (a server
that speaks ``/v1/images/generations``) and ``folder`` (pictures that were made elsewhere). The job
in :mod:`taistore.synthetic.generate_images` does everything else: it decides which pictures are
wanted, looks at what comes, encodes and stores it, and never asks again for what the store holds.
"""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from PIL import Image

from taistore.store.rejects import Reject

PER_TEXT = 6
"""Pictures of a text unless another number is asked for: as T2I-PAL has it."""

UNANSWERED = "unanswered:"
"""Begins the reasons of pictures that no answer came to; every run asks for them again."""


class StoredText(NamedTuple):
    """A text of the store that pictures are wanted of."""

    text_id: str
    combination_id: int
    text: str


@dataclass(frozen=True, kw_only=True, slots=True)
class ImageRequest:
    """One picture that is wanted of one text.

    ``number`` tells the pictures of a text apart, ``seed`` (63 bits) depends on text, number and
    the job's own seed alone: equal requests have equal seeds on every machine; None where nothing
    is drawn. ``place`` names the request among the rejects. ``uri`` is the file of a picture that
    was made elsewhere, ``content`` the hash of its bytes.
    """

    text: StoredText
    number: int
    seed: int | None
    place: str
    uri: str = ""
    content: str = ""

    @property
    def synthetic_id(self) -> str:
        """The key of the picture's rows."""
        return synthetic_id(self.text.text_id, self.number)


@dataclass(frozen=True, kw_only=True, slots=True)
class WrittenImage:
    """What came of a request: the bytes of an image file, a picture, or None with the reason.

    A reason that begins with :data:`UNANSWERED` is of a request that is put again by the next run;
    any other is final until ``retry_rejects``, such as a safety checker's verdict.
    """

    request: ImageRequest
    image: bytes | Image.Image | None
    reason: str = ""
    detail: str = ""


class ImageWriter(Protocol):
    """Turns requests into pictures.

    A writer never raises for a single picture. It raises :class:`taistore.errors.SyntheticError`
    where none can succeed, such as a model that cannot be loaded; what came before is kept, and
    the next run asks for the rest.
    """

    @property
    def name(self) -> str:
        """Stored in the column ``writer``: "diffusers", "openai", "folder"."""
        ...

    @property
    def model(self) -> str | None:
        """Stored in the column ``model``: what draws. Never holds a key."""
        ...

    @property
    def batch(self) -> int:
        """How many requests one call of :meth:`write` is given at most."""
        ...

    def wanted(self, texts: int) -> int:
        """How many pictures it gives of so many texts, for a progress bar."""
        ...

    def requests(self, texts: Iterable[StoredText]) -> Iterator[ImageRequest | Reject]:
        """The pictures that are wanted of these texts: see :func:`numbered`.

        And what cannot be asked for, such as a row that names no text of the store.
        """
        ...

    def write(self, requests: Sequence[ImageRequest]) -> Iterable[WrittenImage]:
        """One answer per request, in any order, each as soon as it is there."""
        ...


def synthetic_id(text_id: str, number: int) -> str:
    """The key of a picture: its text and its number.

    >>> synthetic_id("0a1b", 3)
    '0a1b-3'
    """
    return f"{text_id}-{number}"


def numbered(texts: Iterable[StoredText], per_text: int, *, seed: int) -> Iterator[ImageRequest]:
    """Pictures 0 ... ``per_text`` - 1 of each text, the seeds drawn from ``seed``."""
    for text in texts:
        for number in range(per_text):
            key = synthetic_id(text.text_id, number)
            yield ImageRequest(text=text, number=number, seed=_seed(seed, key), place=key)


def _seed(seed: int, key: str) -> int:
    digest = hashlib.blake2b(f"{seed}:{key}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1
