"""Reading vectors that people already have, in bounded memory and checked row by row.

Layouts that :func:`open_vectors` takes:

- ``x.npy`` [n, D] with its ids: ``x.txt`` (one id a line) or ``x.jsonl`` (one object a line, with
  an id field; the other fields come along), beside it or given as ``ids``;
- a Parquet file, or a folder of them: one column of vectors, one of ids, any others come along;
- a folder as clip-retrieval writes it: ``img_emb/img_emb_0.npy`` … with ``metadata/*.parquet``
  (``image_path``, ``caption``), and ``text_emb/`` for its text vectors.

Shapes: n vectors of a batch, D their dimension.
"""

import hashlib
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from taistore.encoders.imported.vector_layouts import (
    Chunk,
    Part,
    Rows,
    npy_part,
    numbered,
    parquet_parts,
    retrieval_parts,
)
from taistore.encoders.protocol import EncoderInfo
from taistore.errors import EncoderError

PREFIX = "vectors:"
COMMAND = "taistore ingest-vectors"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
Vectors = NDArray[np.float32] | NDArray[np.float16]


class VectorBatch(NamedTuple):
    """Rows as they were found: ids, further fields by name, raw vectors [n, D].

    ``numbers`` counts the rows from 0 within ``path``, the bad ones included.
    """

    ids: list[str]
    rows: Rows
    vectors: Vectors
    path: Path
    numbers: list[int]


class BadRow(NamedTuple):
    """A row that is left out; ``row`` counts from 0 within ``path``."""

    path: Path
    row: int
    id: str
    reason: str


class VectorSource:
    """Existing vectors, counted and laid out before the first is read; iterate over its batches.

    ``dim`` is D, ``count`` the rows of all files, the bad ones included.
    """

    def __init__(
        self, parts: Sequence[Part], batch_size: int, on_bad: Callable[[BadRow], None] | None
    ) -> None:
        self.dim = parts[0].dim
        self.count = sum(part.length for part in parts)
        self._parts = parts
        self._batch_size = batch_size
        self._on_bad = on_bad or _refuse
        for part in parts:
            if part.dim != self.dim:
                raise EncoderError(
                    f"{part.path} has vectors of {part.dim} dimensions, {parts[0].path} of "
                    f"{self.dim}: vectors of two encoders cannot be read together"
                )

    def __iter__(self) -> Iterator[VectorBatch]:
        for part in self._parts:
            for chunk in part.chunks(self._batch_size):
                batch = self._checked(part.path, chunk)
                if batch.ids:
                    yield batch

    def _checked(self, path: Path, chunk: Chunk) -> VectorBatch:
        kept: Any = np.float16 if chunk.vectors.dtype == np.float16 else np.float32
        with np.errstate(over="ignore"):
            vectors: Vectors = chunk.vectors.astype(kept, copy=False)
            # A store keeps float16, where a large value would become infinite.
            halves = vectors.astype(np.float16, copy=False)
        finite = np.asarray(np.isfinite(vectors).all(axis=1))
        fits = np.asarray(np.isfinite(halves).all(axis=1))
        named = np.array([bool(name) for name in chunk.ids])
        good = np.asarray(fits & vectors.any(axis=1) & named)
        if good.all():
            numbers = list(range(chunk.first_row, chunk.first_row + len(chunk.ids)))
            return VectorBatch(chunk.ids, chunk.rows, vectors, path, numbers)
        for i in np.nonzero(~good)[0].tolist():
            reason = chunk.faults.get(i) or (
                "the id is empty"
                if not chunk.ids[i]
                else "the vector holds NaN or infinity"
                if not finite[i]
                else "the vector is all zeros"
                if fits[i]
                else "the vector is too large for float16"
            )
            self._on_bad(BadRow(path, chunk.first_row + i, chunk.ids[i], reason))
        left = np.nonzero(good)[0].tolist()
        rows = {name: [values[i] for i in left] for name, values in chunk.rows.items()}
        numbers = [chunk.first_row + i for i in left]
        return VectorBatch([chunk.ids[i] for i in left], rows, vectors[good], path, numbers)


def open_vectors(
    path: str | Path,
    ids: str | Path | Sequence[str] | None = None,
    *,
    kind: Literal["image", "text"] = "image",
    vector_field: str | None = None,
    id_field: str | None = None,
    batch_size: int = 8192,
    on_bad: Callable[[BadRow], None] | None = None,
) -> VectorSource:
    """Open existing vectors of any layout above; float16 stays, everything else becomes float32.

    ``ids`` names the ids of a ``.npy`` file, as a file or a sequence; ``kind`` chooses between
    the two halves of a clip-retrieval folder; ``vector_field`` and ``id_field`` the columns where
    they cannot be told. Layouts, counts and dimensions are checked here, rows as they are read: a
    row with an empty id, NaN, infinity, a value beyond float16 or only zeros goes to ``on_bad``
    and is left out; without ``on_bad`` it raises :class:`EncoderError` naming file and row, as
    everything else does.
    """
    path = Path(path).expanduser()
    if isinstance(ids, str | Path):
        ids = Path(ids).expanduser()
    if path.suffix.lower() == ".npy":
        parts = [npy_part(path, ids, id_field)]
    elif ids is not None:
        raise EncoderError(f"{path}: a file of ids goes with a .npy file of vectors only")
    elif path.suffix.lower() == ".parquet" or numbered(path, "*.parquet"):
        parts = parquet_parts(path, vector_field, id_field)
    elif (path / "img_emb").is_dir() or (path / "text_emb").is_dir():
        parts = retrieval_parts(path, kind, id_field)
    else:
        what = "has no vectors" if path.exists() else "is not there"
        raise EncoderError(
            f"{path} {what}: give a .npy file, a .parquet file or folder, or a clip-retrieval "
            "folder (img_emb, metadata)"
        )
    return VectorSource(parts, batch_size, on_bad)


def vectors_spec(name: str) -> str:
    """``vectors:<name>``; raises :class:`EncoderError` unless the name is one plain word."""
    if not _NAME.fullmatch(name):
        raise EncoderError(
            f"{PREFIX}{name} is not a name for vectors: use up to 64 letters, digits, '.', '_' "
            f"and '-', as {PREFIX}clip-vit-b-32"
        )
    return PREFIX + name


def imported_info(name: str, *, dim: int, model: str = "", resolution: int = 0) -> EncoderInfo:
    """What identifies vectors that were made elsewhere: the name they are imported under.

    ``model`` and ``resolution`` say what made them, where that is known. Raises
    :class:`EncoderError` for a name that is not one plain word.
    """
    spec = vectors_spec(name)
    # The name as written tells "a.b" from "a-b", which the table's name alone would not.
    digest = hashlib.sha256(f"{name}\n{dim}".encode()).hexdigest()
    slug = re.sub(r"[^a-z0-9]+", "_", f"{name}_{dim}".lower()).strip("_")
    return EncoderInfo(
        encoder_id=f"vectors_{slug}_{digest[:8]}",
        spec=spec,
        library="vectors",
        model=model or name,
        weights="imported",
        weights_digest=digest,
        resolution=resolution,
        resize="squash",
        dim=dim,
        context_length=None,
    )


def _refuse(bad: BadRow) -> None:
    name = f" ({bad.id!r})" if bad.id else ""
    raise EncoderError(
        f"{bad.path}: row {bad.row}{name}, counting from 0: {bad.reason}: mend or remove the row"
    )
