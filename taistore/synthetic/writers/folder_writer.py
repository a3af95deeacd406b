"""The writer ``folder``: pictures that were made elsewhere, with a manifest of their texts."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from taistore.errors import ImageError, SyntheticError
from taistore.images.decoding import image_id, read_file
from taistore.images.photo_files import rejected
from taistore.images.sources.listing import image_path
from taistore.images.sources.row_labels import RowError
from taistore.printable import printable
from taistore.record_files import BadRecord, read_objects
from taistore.store.rejects import Reject, line_of
from taistore.synthetic.image_writer import ImageRequest, StoredText, WrittenImage

FIRST_NUMBER = 2**30
"""Pictures from elsewhere are numbered from here on, by their content: a rerun finds them, and none
takes the place of one that another writer makes."""

_ROWS = 65_536
_BLOCK = 4096
_SHAPE = 'write {"text": "a caption of the store", "image": "path"}'
_SCHEMA = {"text": pl.String, "image": pl.String, "line": pl.UInt32}


@contextmanager
def folder_writer(*, images: str | Path = "") -> Iterator["FolderWriter"]:
    """Pictures that a ``.jsonl`` manifest lists: ``{"text": caption, "image": path}`` a line.

    Paths are absolute or relative to the manifest. A caption belongs to every text of the store
    that reads the same, whatever its labels. Raises :class:`SyntheticError` where the manifest
    cannot be read.
    """
    if not str(images):
        raise SyntheticError("writer folder needs images, a .jsonl manifest of texts and pictures")
    yield FolderWriter(Path(images))


class FolderWriter:
    """Reads the manifest once, about 100 bytes a row, and each picture twice."""

    name = "folder"
    model = None
    batch = 64

    def __init__(self, manifest: Path) -> None:
        self._manifest = manifest
        self._bad: list[Reject] = []
        self._rows = self._read()

    def wanted(self, texts: int) -> int:
        """The rows of the manifest."""
        del texts
        return len(self._rows) + len(self._bad)

    def requests(self, texts: Iterable[StoredText]) -> Iterator[ImageRequest | Reject]:
        """The rows of these texts; then those that cannot be used, or name no text of the store."""
        yield from self._bad
        used = np.zeros(len(self._rows), dtype=bool)
        iterator = iter(texts)
        while block := list(islice(iterator, _BLOCK)):
            by_place = pl.DataFrame({"text": [text.text for text in block]}).with_row_index("place")
            found = self._rows.with_row_index("row").join(by_place, on="text").sort("place", "line")
            used[found["row"].to_numpy()] = True
            for place, path, line in found.select("place", "image", "line").iter_rows():
                yield self._request(block[place], path, line)
        for text, line in self._rows.filter(~used).select("text", "line").iter_rows():
            yield self._reject(
                line,
                "unknown_text",
                f"no text of the store reads {text!r:.120}: give the captions as they are there, "
                "or add them with 'taistore ingest-texts'",
            )

    def write(self, requests: Sequence[ImageRequest]) -> Iterator[WrittenImage]:
        """The bytes of each file."""
        for request in requests:
            try:
                data = read_file(request.uri)
                if image_id(data) != request.content:
                    raise ImageError(
                        "the file changed while it was being read: run the same command again",
                        reason="changed",
                    )
            except Exception as error:
                why = rejected(request.place, error)
                yield WrittenImage(
                    request=request, image=None, reason=why.reason, detail=why.detail
                )
            else:
                yield WrittenImage(request=request, image=data)

    def _request(self, text: StoredText, path: str, line: int) -> ImageRequest | Reject:
        place = self._place(line)
        try:
            content = image_id(read_file(path))
        except Exception as error:
            why = rejected(place, error)
            return self._reject(line, why.reason, f"{path}: {why.detail}")
        number = FIRST_NUMBER + int(content[:8], 16) % FIRST_NUMBER
        return ImageRequest(
            text=text, number=number, seed=None, place=place, uri=path, content=content
        )

    def _read(self) -> pl.DataFrame:
        """Rows by text, picture's path and line, each text and picture once."""
        frames = [pl.DataFrame(schema=_SCHEMA)]
        rows: list[tuple[str, str, int]] = []
        try:
            for record in read_objects(self._manifest):
                if isinstance(record, BadRecord):
                    self._bad.append(self._reject(record.line, "malformed", record.detail))
                elif (row := self._row(record.line, record.value)) is not None:
                    rows.append(row)
                if len(rows) >= _ROWS:
                    frames.append(pl.DataFrame(rows, schema=_SCHEMA, orient="row"))
                    rows = []
        except OSError as error:
            raise SyntheticError(
                f"{self._manifest}: the manifest cannot be read ({error.strerror}): check the path"
            ) from error
        frames.append(pl.DataFrame(rows, schema=_SCHEMA, orient="row"))
        read = pl.concat(frames)
        if read.is_empty() and not self._bad:
            raise SyntheticError(f"{self._manifest}: the manifest has no rows: {_SHAPE}")
        return read.unique(["text", "image"], keep="first", maintain_order=True)

    def _row(self, line: int, value: dict[str, Any]) -> tuple[str, str, int] | None:
        text = value.get("text")
        if not isinstance(text, str) or not text.strip():
            why = f'no "text" that is a caption: {_SHAPE}'
            self._bad.append(self._reject(line, "malformed", why))
            return None
        try:
            path = image_path(str(self._manifest.absolute().parent), value.get("image"))
        except RowError as error:
            self._bad.append(self._reject(line, error.reason, str(error)))
            return None
        # As captions are kept: with single spaces.
        return " ".join(text.split()), path, line

    def _reject(self, line: int, reason: str, detail: str) -> Reject:
        return Reject(self._place(line), reason, printable(detail), self.name)

    def _place(self, line: int) -> str:
        return printable(line_of(self._manifest, line))
