"""The file layouts of existing vectors: which files belong together, and their rows in chunks.

Layouts are described at :mod:`taistore.encoders.imported.vector_reader`. Shapes: n rows of a
chunk, D dimension.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from taistore.errors import EncoderError
from taistore.record_files import BadRecord, Record, Value, read_lines, read_objects

# A column or field of ids, the more telling names first.
_FIELDS_OF_IMAGES = ("id", "image_id", "image_path", "image", "uri", "path", "file_name")
ID_FIELDS = (*_FIELDS_OF_IMAGES, "filename", "key", "url", "text_id", "text", "caption")
Rows = dict[str, list[Any]]


class Chunk(NamedTuple):
    """Consecutive rows of one file; a row that has no vector is NaN and has its reason."""

    first_row: int
    ids: list[str]
    rows: Rows
    vectors: NDArray[np.floating[Any]]
    faults: dict[int, str]


class Part(NamedTuple):
    """One file of vectors [length, dim] with its ids; ``chunks(size)`` reads it from the start."""

    path: Path
    length: int
    dim: int
    chunks: Callable[[int], Iterator[Chunk]]


class _Ids(NamedTuple):
    """Ids and further fields of all rows, in order; ``where`` names them in messages."""

    where: str
    length: int
    read: Callable[[int], Iterator[tuple[list[str], Rows]]]


def npy_part(path: Path, ids: Path | Sequence[str] | None, id_field: str | None) -> Part:
    """A ``.npy`` file with its ids: those given, else ``.txt`` or ``.jsonl`` beside it."""
    matrix = _open_npy(path)
    if ids is None:
        beside = [path.with_suffix(".txt"), path.with_suffix(".jsonl")]
        ids = next((file for file in beside if file.is_file()), None)
        if ids is None:
            raise EncoderError(
                f"{path} comes without ids: put {beside[0].name} (one id a line) or "
                f"{beside[1].name} beside it, or name the file of ids"
            )
    found = _id_file(ids, id_field) if isinstance(ids, Path) else _id_list(ids)
    return _joined(path, matrix, found)


def parquet_parts(path: Path, vector_field: str | None, id_field: str | None) -> list[Part]:
    """A Parquet file, or every ``*.parquet`` of a folder in the order of their numbers."""
    files = numbered(path, "*.parquet") if path.is_dir() else [path]
    return [_parquet_part(file, vector_field, id_field) for file in files]


def retrieval_parts(folder: Path, kind: str, id_field: str | None) -> list[Part]:
    """A folder of clip-retrieval: ``img_emb`` or ``text_emb``, with ``metadata``."""
    name = "img_emb" if kind == "image" else "text_emb"
    vectors = numbered(folder / name, "*.npy")
    metadata = numbered(folder / "metadata", "*.parquet")
    if not vectors:
        raise EncoderError(f"{folder}: no {name}/*.npy in it: clip-retrieval wrote no {kind}s")
    if len(vectors) != len(metadata):
        raise EncoderError(
            f"{folder}: {len(vectors)} files in {name} but {len(metadata)} in metadata: "
            "copy the missing ones"
        )
    return [
        _joined(file, _open_npy(file), _parquet_ids(rows, id_field))
        for file, rows in zip(vectors, metadata, strict=True)
    ]


def numbered(folder: Path, pattern: str) -> list[Path]:
    """Files of a folder by the numbers in their names: ``img_emb_2`` before ``img_emb_10``."""
    return sorted(
        folder.glob(pattern),
        key=lambda file: [int(n) if n.isdigit() else n for n in re.split(r"(\d+)", file.name)],
    )


def _open_npy(path: Path) -> NDArray[Any]:
    try:
        matrix = np.load(path, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError:
        raise EncoderError(f"{path}: no such file of vectors: check the path") from None
    except (ValueError, EOFError, OSError) as error:
        raise EncoderError(
            f"{path} is not a readable .npy file ({error}): save it with numpy.save"
        ) from None
    if not isinstance(matrix, np.ndarray) or matrix.ndim != 2 or not matrix.size:
        shape = list(getattr(matrix, "shape", []))
        raise EncoderError(f"{path} has the shape {shape}: vectors are a table [n, D], one a row")
    if matrix.dtype.kind != "f":
        raise EncoderError(f"{path} holds {matrix.dtype}, not floating-point vectors")
    return matrix


def _joined(path: Path, matrix: NDArray[Any], ids: _Ids) -> Part:
    count, dim = matrix.shape
    if ids.length != count:
        raise EncoderError(
            f"{path} has {count:,} vectors, {ids.where} has {ids.length:,} ids: row "
            f"{min(count, ids.length)} is the first without its partner"
        )

    def chunks(size: int) -> Iterator[Chunk]:
        start = 0
        for names, rows in ids.read(size):
            stop = start + len(names)
            yield Chunk(start, names, rows, np.array(matrix[start:stop]), {})
            start = stop

    return Part(path, count, dim, chunks)


def _id_list(ids: Sequence[str]) -> _Ids:
    def read(size: int) -> Iterator[tuple[list[str], Rows]]:
        for start in range(0, len(ids), size):
            yield list(ids[start : start + size]), {}

    return _Ids("the list of ids", len(ids), read)


def _id_file(path: Path, id_field: str | None) -> _Ids:
    if path.suffix.lower() == ".parquet":
        return _parquet_ids(path, id_field)
    objects = path.suffix.lower() == ".jsonl"
    if not objects and path.suffix.lower() != ".txt":
        raise EncoderError(f"{path}: ids are read from .txt, .jsonl or .parquet files")
    count = 0
    for record in _good(path, read_lines(path)):
        count = record.line if record.value.strip() else count  # blank lines at the end are none

    def read(size: int) -> Iterator[tuple[list[str], Rows]]:
        if objects:
            records = islice(_good(path, read_objects(path, blank_is_bad=True)), count)
            while batch := list(islice(records, size)):
                yield _split_records(path, [record.value for record in batch], id_field)
        else:
            lines = islice(_good(path, read_lines(path)), count)
            while names := [record.value.strip() for record in islice(lines, size)]:
                yield names, {}

    return _Ids(str(path), count, read)


def _good(path: Path, records: Iterator[Record[Value] | BadRecord]) -> Iterator[Record[Value]]:
    """The records, none left out: ids pair with vectors by their places."""
    try:
        for record in records:
            if isinstance(record, BadRecord):
                raise EncoderError(f"{path}: line {record.line}: {record.detail}")
            yield record
    except OSError as error:
        raise EncoderError(f"{path}: ids cannot be read ({error.strerror})") from None


def _split_records(
    path: Path, records: Sequence[Mapping[str, Any]], id_field: str | None
) -> tuple[list[str], Rows]:
    fields = list(dict.fromkeys(name for record in records for name in record))
    chosen = _id_field(path, fields, id_field)
    rows = {name: [record.get(name) for record in records] for name in fields if name != chosen}
    return [_text(record.get(chosen)) for record in records], rows


def _parquet_ids(path: Path, id_field: str | None) -> _Ids:
    file = _open_parquet(path)
    chosen = _id_field(path, file.schema_arrow.names, id_field)

    def read(size: int) -> Iterator[tuple[list[str], Rows]]:
        for batch in file.iter_batches(size):
            yield _split_batch(batch, chosen, ())

    return _Ids(str(path), file.metadata.num_rows, read)


def _parquet_part(path: Path, vector_field: str | None, id_field: str | None) -> Part:
    file = _open_parquet(path)
    schema = file.schema_arrow
    vectors = [f.name for f in schema if _is_vector(f.type)]
    if vector_field is None and len(vectors) != 1:
        raise EncoderError(
            f"{path} has {len(vectors)} columns of vectors ({', '.join(vectors) or 'none'}) among "
            f"{', '.join(schema.names)}: name the one to read"
        )
    column = vector_field or vectors[0]
    if column not in vectors:
        raise EncoderError(f"{path}: column {column!r} holds no vectors (lists of floats)")
    chosen = _id_field(path, [n for n in schema.names if n not in vectors], id_field)
    count = file.metadata.num_rows
    if not count:
        raise EncoderError(f"{path} has no rows")
    first = next(file.iter_batches(1, columns=[column])).column(0)
    dim = int(pc.list_value_length(first)[0].as_py() or 0)
    if not dim:
        raise EncoderError(f"{path}: row 0 has no vector in column {column!r}: remove the row")

    def chunks(size: int) -> Iterator[Chunk]:
        start = 0
        for batch in file.iter_batches(size):
            ids, rows = _split_batch(batch, chosen, vectors)
            array, faults = _matrix(batch.column(batch.schema.get_field_index(column)), dim)
            yield Chunk(start, ids, rows, array, faults)
            start += len(ids)

    return Part(path, count, dim, chunks)


def _open_parquet(path: Path) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(path)
    except FileNotFoundError:
        raise EncoderError(f"{path}: no such Parquet file: check the path") from None
    except (pa.ArrowException, OSError) as error:
        raise EncoderError(f"{path} is not a readable Parquet file ({error})") from None


def _is_vector(kind: Any) -> bool:
    lists = pa.types.is_list(kind) or pa.types.is_large_list(kind)
    if not (lists or pa.types.is_fixed_size_list(kind)):
        return False
    return pa.types.is_floating(kind.value_type)


def _matrix(column: Any, dim: int) -> tuple[NDArray[np.floating[Any]], dict[int, str]]:
    """Lists of floats as [n, dim], NaN where a row is null or of another length."""
    lengths = pc.fill_null(pc.list_value_length(column), 0).to_numpy(zero_copy_only=False)
    whole = lengths == dim
    kept = column if whole.all() else column.filter(pa.array(whole))
    values = kept.flatten().to_numpy(zero_copy_only=False).reshape(-1, dim)
    if whole.all():
        return values, {}
    matrix = np.full((len(lengths), dim), np.nan, dtype=values.dtype)
    matrix[whole] = values
    faults = {
        int(i): f"the vector has {lengths[i]} values, not {dim}" for i in np.nonzero(~whole)[0]
    }
    return matrix, faults


def _split_batch(batch: Any, id_field: str, left_out: Sequence[str]) -> tuple[list[str], Rows]:
    columns = {
        name: batch.column(i).to_pylist()
        for i, name in enumerate(batch.schema.names)
        if name not in left_out
    }
    return [_text(value) for value in columns.pop(id_field)], columns


def _id_field(path: Path, fields: Sequence[str], wanted: str | None) -> str:
    found = [wanted] if wanted else [name for name in ID_FIELDS if name in fields]
    if not found or found[0] not in fields:
        raise EncoderError(
            f"{path}: no field {wanted or 'of ids'} among {', '.join(fields)}: name the one that "
            f"holds the ids (known are {', '.join(ID_FIELDS[:5])}, …)"
        )
    return found[0]


def _text(value: object) -> str:
    return "" if value is None else str(value).strip()
