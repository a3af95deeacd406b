"""The whole score matrix of a run over the images of a split, into a file.

Shapes: I images, B images of a batch, N labels.
"""

import contextlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray

from taistore.defaults import SPLIT
from taistore.errors import ScoringError
from taistore.labels import LabelSet
from taistore.progress import Progress, no_progress
from taistore.scoring.ensembles.ensemble import ladder_of
from taistore.scoring.ladders.ladder import Step, step_for
from taistore.scoring.loaded_run import open_run
from taistore.scoring.matrices.npy_rows import NpyRows
from taistore.scoring.matrices.score_file import ID_COLUMNS, IDS_SUFFIX, LABELS_SUFFIX
from taistore.scoring.selection import Choice
from taistore.scoring.stored_images import some_have_regions, stored_batches
from taistore.store.places import local_path
from taistore.store.store import Store

GROUP_CELLS = 2**24
"""Scores of a Parquet row group, which is held until it is full: 67 MB."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ExportSummary:
    """What was written: ``files``, the first of which holds the scores of ``step``.

    ``without_vectors`` images of the split have no vector, and no row.
    """

    run_id: str
    step: Step
    split: str
    images: int
    labels: int
    with_regions: int
    without_vectors: int
    files: tuple[Path, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain values by field name."""
        return {**asdict(self), "files": [str(path) for path in self.files]}


def export_scores(
    store: Store,
    run_id: str,
    out: str | Path,
    *,
    split: str = SPLIT,
    step: Step | None = None,
    overwrite: bool = False,
    device: str | torch.device = "cpu",
    progress: Progress = no_progress,
) -> ExportSummary:
    """Write the scores of every image of ``split``, one row an image and one column a label.

    ``out`` is a ``.parquet`` (columns ``image_id``, ``uri`` and the label keys) or a ``.npy``
    float32 [I, N], with ``.ids.txt`` and ``.labels.txt`` beside it. Scores are those that a step
    ranks by (None: the top), with regions where an image has some; what is known of an image never
    decides them. Batches are written as they come. Raises :class:`ScoringError` where ``out``
    cannot be written or is there (without ``overwrite``) or no image of the split has a vector, and
    what :func:`~taistore.scoring.loaded_run.open_run` raises.
    """
    path = local_path(out, option="out")
    files = _files(path)
    _require_free(files, overwrite=overwrite)
    run = open_run(store, run_id, device=device)
    store = run.store
    where = {"split": split}
    regions = some_have_regions(store, run.encoder_id, where=where)
    chosen = Choice.asked(run.ladder, regions=regions, step=step).step
    images = with_regions = without = 0
    batches = stored_batches(store, run.encoder_id, columns=("uri",), regions=regions, where=where)
    with (
        _writing(path, files, store.labels) as sink,
        progress("export scores", total=None, unit="image") as bar,
    ):
        for batch in batches:
            without += batch.without_vector.num_rows
            if not batch.rows.num_rows:
                continue
            ids = [str(i) for i in batch.rows.column("image_id").to_pylist()]
            source = step_for(chosen, regions=batch.regions_BRD is not None)
            ladder = ladder_of(run.ladder, ids)
            scores = ladder.scores(batch.whole_BD, batch.regions_BRD, steps=[source])
            uris = [str(uri) for uri in batch.rows.column("uri").to_pylist()]
            sink.add(ids, uris, scores[source].cpu().numpy())
            images += len(ids)
            with_regions += len(ids) if batch.regions_BRD is not None else 0
            bar.advance(len(ids))
        if not images:
            raise ScoringError(
                f"{store.uri}: no image of split {split!r} has a vector of "
                f"{store.encoder(run.encoder_id).spec}: name another with split=, or add them with "
                "'taistore ingest-images'"
            )
    return ExportSummary(
        run_id=run.run_id,
        step=chosen,
        split=split,
        images=images,
        labels=len(store.labels),
        with_regions=with_regions,
        without_vectors=without,
        files=files,
    )


def _files(path: Path) -> tuple[Path, ...]:
    suffix = path.suffix.lower()
    if suffix == ".parquet":
        return (path,)
    if suffix == ".npy":
        beside = path.with_suffix("")
        return (path, *(Path(f"{beside}{end}") for end in (IDS_SUFFIX, LABELS_SUFFIX)))
    raise ScoringError(f"{path}: end its name in .parquet or .npy, which says what is written")


def _require_free(files: Sequence[Path], *, overwrite: bool) -> None:
    there = [path for path in files if path.exists()]
    if there and not overwrite:
        raise ScoringError(
            f"{there[0]}: is there already: name another file, or use overwrite=True"
        )


@contextlib.contextmanager
def _writing(path: Path, files: Sequence[Path], labels: LabelSet) -> Iterator["_Sink"]:
    """A sink whose files appear under their names once all is written, the scores last."""
    parts = [file.with_name(f"{file.name}.part") for file in files]
    try:
        sink = _ParquetSink(parts[0], labels) if len(parts) == 1 else _NpySink(parts, labels)
        with sink:
            yield sink
        for part, file in reversed(list(zip(parts, files, strict=True))):
            with part.open("rb") as written:
                os.fsync(written.fileno())
            part.replace(file)
    except (OSError, pa.ArrowException) as error:
        reason = getattr(error, "strerror", None) or str(error).splitlines()[0]
        raise ScoringError(
            f"{path}: cannot be written ({reason}): mend that and run it again"
        ) from (error)
    finally:
        for part in parts:
            with contextlib.suppress(OSError):
                part.unlink(missing_ok=True)


class _Sink(Protocol):
    """Takes images with their scores [B, N]."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...

    def add(
        self, ids: Sequence[str], uris: Sequence[str], scores_BN: NDArray[np.float32]
    ) -> None: ...


class _ParquetSink:
    """One file; rows wait until they are a row group, which each column of is written at once."""

    def __init__(self, path: Path, labels: LabelSet) -> None:
        clash = [key for key in labels.keys if key in ID_COLUMNS]
        if clash:
            raise ScoringError(
                f"the store has a label with the key {clash[0]!r}, as the column of the images is "
                "called: export to a .npy file"
            )
        fields: list[tuple[str, pa.DataType]] = [(name, pa.string()) for name in ID_COLUMNS]
        self._schema = pa.schema([*fields, *((key, pa.float32()) for key in labels.keys)])
        self._rows = max(1, GROUP_CELLS // len(labels))
        self._held: list[tuple[Sequence[str], Sequence[str], NDArray[np.float32]]] = []
        # Statistics and dictionaries of thousands of columns would outweigh what they are of.
        self._writer = pq.ParquetWriter(
            path, self._schema, write_statistics=False, use_dictionary=False
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with self._writer:
            if error is None:
                self._flush()

    def add(self, ids: Sequence[str], uris: Sequence[str], scores_BN: NDArray[np.float32]) -> None:
        """Write these rows, or hold them."""
        self._held.append((ids, uris, scores_BN))
        if sum(len(held[0]) for held in self._held) >= self._rows:
            self._flush()

    def _flush(self) -> None:
        if not self._held:
            return
        scores_NB = np.ascontiguousarray(np.concatenate([held[2] for held in self._held]).T)
        names = [[name for held in self._held for name in held[n]] for n in range(2)]
        self._held.clear()
        table = pa.Table.from_arrays(
            [*(pa.array(column, pa.string()) for column in names), *map(pa.array, scores_NB)],
            schema=self._schema,
        )
        self._writer.write_table(table, row_group_size=table.num_rows)


class _NpySink:
    """Three files: scores, image ids and label keys."""

    def __init__(self, paths: Sequence[Path], labels: LabelSet) -> None:
        broken = [key for key in labels.keys if "\n" in key]
        if broken:
            raise ScoringError(f"the label key {broken[0]!r} is no one line: export to a .parquet")
        matrix, self._ids_path, self._labels_path = paths
        self._labels = labels
        self._matrix = NpyRows(matrix, columns=len(labels))

    def __enter__(self) -> Self:
        lines = "".join(f"{key}\n" for key in self._labels.keys)
        self._labels_path.write_text(lines, encoding="utf-8")
        self._ids = self._ids_path.open("w", encoding="utf-8")
        self._matrix.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with self._ids:
            self._matrix.__exit__(kind, error, trace)

    def add(self, ids: Sequence[str], uris: Sequence[str], scores_BN: NDArray[np.float32]) -> None:
        """Write these rows."""
        del uris
        self._ids.writelines(f"{image_id}\n" for image_id in ids)
        self._matrix.add(scores_BN)
