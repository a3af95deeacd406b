"""Score matrices that other systems made, in files: laid out, checked, read by blocks.

Layouts that :func:`open_scores` takes:

- a Parquet file: a column ``image_id`` (or ``uri``) and one column of numbers for each label key;
- ``x.npy`` [I, N] with ``x.ids.txt``, an image a line, and ``x.labels.txt``, a label key a line,
  beside it or named.

An image is named by its ``image_id`` or by a path that the store knows it under. Shapes: I images
of the file, B images of a block, N labels.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from taistore.errors import ScoringError
from taistore.labels import LabelSet
from taistore.printable import counted
from taistore.record_files import BadRecord, read_lines
from taistore.scoring.matrices.npy_rows import read_npy
from taistore.store.object_folder import file_digest

IDS_SUFFIX, LABELS_SUFFIX = ".ids.txt", ".labels.txt"
"""Of the files that belong to a ``.npy`` file, in place of its own suffix."""

ID_COLUMNS = ("image_id", "uri")
"""Columns of a Parquet file that are no labels; the first one that is there names the images."""

BLOCK_CELLS = 2**23
"""Scores read at once: 33 MB of float32."""

SHOWN = 3
"""Examples in a message."""


@dataclass(frozen=True, slots=True)
class ScoreFile:
    """A matrix in a file: who its rows are, how many columns it has, and its scores by blocks.

    ``blocks`` gives float32 [B, N] in the order of ``ids``, with the columns in the order of the
    label set that it was opened for. ``files`` are all that it was read from.
    """

    path: Path
    ids: list[str]
    labels: int
    blocks: Callable[[], Iterator[NDArray[np.float32]]]
    files: tuple[Path, ...]

    def digest(self) -> str:
        """Tells these scores, images and labels from any others."""
        return "-".join(file_digest(file) for file in self.files)


def open_scores(
    path: str | Path,
    labels: LabelSet,
    *,
    ids: str | Path | None = None,
    label_keys: str | Path | None = None,
) -> ScoreFile:
    """Open a score matrix whose columns are these labels, each once, in any order.

    ``ids`` and ``label_keys`` name the two files of a ``.npy``. Scores are checked as they are
    read. Raises :class:`ScoringError` naming what is missing, unknown, doubled or no number.
    """
    path = Path(path).expanduser()
    suffix = path.suffix.lower()
    if suffix not in (".parquet", ".npy"):
        raise ScoringError(f"{path}: give scores as a .parquet or a .npy file")
    if suffix == ".parquet" and (ids is not None or label_keys is not None):
        raise ScoringError(
            f"{path}: ids= and label_keys= go with a .npy file: a Parquet file has columns for both"
        )
    try:
        if suffix == ".parquet":
            return _open_parquet(path, labels)
        beside = path.with_suffix("")
        return _open_npy(
            path,
            labels,
            ids=Path(ids or f"{beside}{IDS_SUFFIX}").expanduser(),
            label_keys=Path(label_keys or f"{beside}{LABELS_SUFFIX}").expanduser(),
        )
    except (OSError, ValueError, pa.ArrowException) as error:
        reason = getattr(error, "strerror", None) or str(error).splitlines()[0][:200]
        name = getattr(error, "filename", None) or path
        raise ScoringError(f"{name}: cannot be read ({reason}): write it again") from error


def _open_parquet(path: Path, labels: LabelSet) -> ScoreFile:
    with pq.ParquetFile(path) as file:
        names, schema = file.schema_arrow.names, file.schema_arrow
        named_by = next((name for name in ID_COLUMNS if name in names), None)
        if named_by is None:
            raise ScoringError(f"{path}: no column image_id or uri: name the images in one of them")
        keys = [name for name in names if name not in ID_COLUMNS]
        order = _order(path, keys, labels)
        wrong = [
            key
            for key in keys
            if not (pa.types.is_floating(t := schema.field(key).type) or pa.types.is_integer(t))
        ]
        if wrong:
            raise ScoringError(f"{path}: {some_of(wrong, 'column')} without numbers: write scores")
        ids = [
            "" if value is None else str(value)
            for batch in file.iter_batches(columns=[named_by])
            for value in batch.column(0).to_pylist()
        ]

    def blocks() -> Iterator[NDArray[np.float32]]:
        wanted = [keys[n] for n in order]
        with pq.ParquetFile(path) as opened:
            for group in range(opened.num_row_groups):
                # One group after another: asked for all, Arrow holds on to those it is through.
                for batch in opened.iter_batches(_rows(len(keys)), [group], keys):
                    columns = [batch.column(key).to_numpy(zero_copy_only=False) for key in wanted]
                    yield np.stack(columns, axis=1)

    return ScoreFile(path, ids, len(labels), lambda: _checked(path, ids, blocks()), (path,))


def _open_npy(path: Path, labels: LabelSet, *, ids: Path, label_keys: Path) -> ScoreFile:
    found = read_npy(path)
    if found.ndim != 2 or found.dtype.kind not in "fiu":
        raise ScoringError(
            f"{path}: holds {found.dtype} {list(found.shape)}: give numbers [images, labels]"
        )
    rows, columns = found.shape
    lines, keys = _lines(ids), _lines(label_keys)
    for given, wanted, what, name in (
        (lines, rows, "rows", ids),
        (keys, columns, "columns", label_keys),
    ):
        if len(given) != wanted:
            raise ScoringError(
                f"{name}: {len(given):,} lines for the {wanted:,} {what} of {path.name}: give one "
                "line for each, in their order"
            )
    order = _order(label_keys, keys, labels)
    step = _rows(columns)

    def blocks() -> Iterator[NDArray[np.float32]]:
        for start in range(0, rows, step):
            # Mapped anew for each block, so that what was read does not stay in memory.
            yield np.asarray(read_npy(path)[start : start + step])[:, order]

    files = (path, ids, label_keys)
    return ScoreFile(path, lines, len(labels), lambda: _checked(path, lines, blocks()), files)


def _lines(path: Path) -> list[str]:
    found = []
    for record in read_lines(path):
        if isinstance(record, BadRecord):
            raise ScoringError(f"{path}: line {record.line}: {record.detail}")
        found.append(record.value)
    return found


def _order(path: Path, keys: Sequence[str], labels: LabelSet) -> list[int]:
    """The column of each label; ScoringError where one is missing, unknown or there twice."""
    known = set(labels.keys)
    doubled = [key for key, count in Counter(keys).items() if count > 1]
    unknown = [key for key in keys if key not in known]
    there = set(keys)
    missing = [key for key in labels.keys if key not in there]
    for wrong, what, remedy in (
        (doubled, "there more than once", "write each once"),
        (unknown, "that the store has not", "write the keys that 'taistore export-scores' writes"),
        (missing, "missing", f"write a column for each of the {len(known):,} labels of the store"),
    ):
        if wrong:
            raise ScoringError(f"{path}: {some_of(wrong, 'label')} {what}: {remedy}")
    place = {key: n for n, key in enumerate(keys)}
    return [place[key] for key in labels.keys]


def _checked(
    path: Path, ids: Sequence[str], blocks: Iterator[NDArray[np.float32]]
) -> Iterator[NDArray[np.float32]]:
    """Each block as float32; ScoringError that counts the scores of the file that are no number."""
    wrong, first, start = 0, "", 0
    for block in blocks:
        with np.errstate(over="ignore"):
            scores_BN = block.astype(np.float32, copy=False)
        bad_B = (~np.isfinite(scores_BN)).sum(axis=1)
        if bad_B.any():
            first = first or ids[start + int(np.flatnonzero(bad_B)[0])]
            wrong += int(bad_B.sum())
        start += len(block)
        if not wrong:
            yield scores_BN
    if wrong:
        raise ScoringError(
            f"{path}: {wrong:,} scores are no finite number (first: image {first!r}): give a "
            "number for each image and label"
        )


def _rows(columns: int) -> int:
    return max(1, BLOCK_CELLS // max(columns, 1))


def some_of(names: Sequence[str], what: str, *, count: int | None = None) -> str:
    """``3 labels ('a', 'b', …)``, for messages; ``count`` where there are more than ``names``."""
    total = len(names) if count is None else count
    shown = ", ".join(repr(name[:80]) for name in names[:SHOWN])
    return f"{counted(total, what)} ({shown}{', …' if total > SHOWN else ''})"
