"""A store of captions of colours, a writer that paints them, and what is in the tables then."""

import itertools
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from taistore import register_encoder
from taistore.encoders.protocol import ImageVectors
from taistore.encoders.registry import load_encoder
from taistore.labels import Label, LabelSet
from taistore.store.rejects import Reject
from taistore.store.store import Store
from taistore.synthetic.image_pending import JOB
from taistore.synthetic.image_writer import ImageRequest, StoredText, WrittenImage, numbered
from taistore.texts.rows.text_rows import TextRow, text_id, write_texts
from tests.fakes import COLOURS, ColourEncoder, colour_image

NAMES = tuple(COLOURS)
LABELS = LabelSet(Label(name, name) for name in NAMES)
ENCODER = ColourEncoder().info
TABLES = ("synthetic_vectors", "synthetic_regions")


def pair(number: int) -> tuple[str, str]:
    """Two colours, another pair for each of 132 numbers."""
    first = number % len(NAMES)
    return NAMES[first], NAMES[(first + 1 + number // len(NAMES) % (len(NAMES) - 1)) % len(NAMES)]


def caption(number: int) -> str:
    """A caption of :func:`pair`."""
    return f"a {' and '.join(pair(number))} thing, number {number}"


def captioned_store(
    path: Path, count: int, *, writers: Sequence[str] = ("template",), dim: int = 32
) -> Store:
    """A store with so many captions, by these writers in turn."""
    store = Store.create(path, LABELS, default_encoder="colour@32")
    add_captions(store, [(caption(n), pair(n)) for n in range(count)], writers=writers, dim=dim)
    return store


def named_store(path: Path, count: int) -> Store:
    """The same with an encoder that the command line knows by the name ``colour``."""
    register_encoder("colour", ColourEncoder)
    store = Store.create(path, LABELS, default_encoder="colour")
    store.register_encoder(load_encoder("colour").info)
    add_captions(store, [(caption(n), pair(n)) for n in range(count)])
    return store


def add_captions(
    store: Store,
    captions: Sequence[tuple[str, Sequence[str]]],
    *,
    writers: Sequence[str] = ("template",),
    dim: int = 32,
) -> None:
    """Captions, each with the names of its labels."""
    rows = []
    for number, (text, names) in enumerate(captions):
        label_ids = tuple(sorted(NAMES.index(name) for name in names))
        combination = LABELS.combination_id(label_ids)
        rows.append(
            TextRow(
                text_id=text_id(text, combination),
                combination_id=combination,
                label_ids=label_ids,
                text=text,
                writer=writers[number % len(writers)],
                model=None,
                instruction=None,
                turn=0,
                seed=None,
                tokens=len(text.split()),
            )
        )
    encoder = ColourEncoder(dim=dim)
    store.register_encoder(encoder.info)
    write_texts(store, encoder, rows)


def shown(text: str) -> list[str]:
    """The colours that a caption names."""
    return [word for word in text.replace(",", " ").split() if word in COLOURS]


class Painter:
    """Paints what a caption names; no two pictures are alike in their bytes.

    ``unstable``: each call gives another picture of the same request. ``answers`` replaces the
    picture of a number.
    """

    name = "painter"
    model: str | None = "oils"

    def __init__(
        self,
        per_text: int = 2,
        *,
        batch: int = 4,
        unstable: bool = False,
        answers: dict[int, Any] | None = None,
    ) -> None:
        self.per_text, self.batch, self.unstable = per_text, batch, unstable
        self.answers = answers or {}
        self.drawn: list[str] = []

    def wanted(self, texts: int) -> int:
        """All of them."""
        return texts * self.per_text

    def requests(self, texts: Iterable[StoredText]) -> Iterator[ImageRequest | Reject]:
        """So many of each text."""
        return numbered(texts, self.per_text, seed=7)

    def write(self, requests: Sequence[ImageRequest]) -> Iterator[WrittenImage]:
        """A picture each."""
        for request in requests:
            self.drawn.append(request.synthetic_id)
            answer = self.answers.get(request.number)
            if isinstance(answer, tuple):
                reason, detail = answer
                yield WrittenImage(request=request, image=None, reason=reason, detail=detail)
            else:
                image = self.paint(request) if answer is None else answer
                yield WrittenImage(request=request, image=image)

    def paint(self, request: ImageRequest) -> Image.Image:
        """Stripes, and a few pixels that the seed says."""
        pixels = np.array(colour_image(*shown(request.text.text)))
        mark = os.urandom(8) if self.unstable else (request.seed or 0).to_bytes(8, "big")
        pixels[0, :8, 0] = np.frombuffer(mark, np.uint8)
        return Image.fromarray(pixels)


class PickyEncoder(ColourEncoder):
    """Raises for pictures whose first pixel is 13, gives no number for those of 14."""

    def encode_images(self, pixels: NDArray[np.uint8], *, regions: int = 0) -> ImageVectors:
        """As the encoder of colours."""
        first_B = pixels[:, 0, 0, 0]
        if (first_B == 13).any():
            raise RuntimeError("cannot take 13")
        vectors = super().encode_images(pixels, regions=regions)
        vectors.whole[first_B == 14] = np.inf
        return vectors


def framed(value: int) -> Image.Image:
    """A picture of something whose first pixel :class:`PickyEncoder` will see."""
    pixels = np.array(colour_image("red", "blue", size=(32, 32)))
    pixels[:16, :16] = value
    return Image.fromarray(pixels)


def rows(store: Store, kind: str, encoder_id: str = ENCODER.encoder_id) -> dict[str, Any]:
    """The rows of a table by ``synthetic_id``, each of which is there once."""
    batches = store.scan(kind, encoder_id=encoder_id)
    found = [row for batch in batches for row in batch.to_pylist()]
    by_id = {row["synthetic_id"]: row for row in found}
    assert len(by_id) == len(found)
    return by_id


def everything(store: Store) -> dict[str, Any]:
    """What both tables hold, and the rejects by name with their reason."""
    return {**{kind: rows(store, kind) for kind in TABLES}, "rejects": rejects(store)}


def rejects(store: Store) -> dict[str, str]:
    """Reasons of what the job could not use."""
    found = [row for batch in store.scan("rejects") for row in batch.to_pylist()]
    assert {row["job"] for row in found} <= {JOB}
    return {row["uri"]: row["reason"] for row in found}


def require_pairs(store: Store) -> None:
    """Each picture's vector and regions are there, of one picture."""
    contents = [{key: row["content"] for key, row in rows(store, kind).items()} for kind in TABLES]
    assert contents[0] == contents[1]


def combinations_of_commits(store: Store, kind: str) -> list[list[int]]:
    """The combination of every row, in the order of the table, a list for each commit."""
    dataset = store.dataset(kind, ENCODER.encoder_id)
    return [
        fragment.to_table(columns=["combination_id"]).column(0).to_pylist()
        for fragment in dataset.get_fragments()
    ]


def is_clustered(values: Sequence[int]) -> bool:
    """Whether equal values stand side by side."""
    changes = sum(a != b for a, b in itertools.pairwise(values))
    return changes == len(Counter(values)) - 1
