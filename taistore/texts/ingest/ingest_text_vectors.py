"""Text vectors that were made elsewhere, into the store with their texts and labels.

Shapes: N labels, D dimension of the vectors.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from taistore.encoders.imported.vector_reader import (
    BadRow,
    VectorBatch,
    imported_info,
    open_vectors,
)
from taistore.encoders.protocol import EncoderInfo
from taistore.errors import LabelError, TextError
from taistore.labels import LabelSet
from taistore.progress import Progress, no_progress
from taistore.store.arrow import vector_array, vector_column
from taistore.store.rejects import Reject, listed_by, row_of
from taistore.store.store import Store
from taistore.store.writes.collector import loaded_set_aside
from taistore.texts.label_prompts import PROMPT_KIND
from taistore.texts.language.noun_filter import NounFilter
from taistore.texts.rows.text_rows import text_id

JOB = "ingest-vectors"
WRITER = "imported"


@dataclass(frozen=True, kw_only=True, slots=True)
class IngestTextVectorsSummary:
    """What became of ``read`` rows: written, present, unlabelled or rejected.

    ``labels_with_prompt`` labels have a vector of a text of their own, which zero-shot needs.
    """

    encoder: str
    encoder_id: str
    read: int
    written: int
    present: int
    unlabelled: int
    rejected: int
    labels_with_prompt: int
    labels: int


@loaded_set_aside()
def ingest_text_vectors(
    store: Store,
    name: str,
    path: str | Path,
    *,
    ids: str | Path | None = None,
    template: str = "{}",
    progress: Progress = no_progress,
) -> IngestTextVectorsSummary:
    """Store text vectors under the encoder ``vectors:<name>``; a rerun adds nothing twice.

    An id is a label's key or name, or a caption; the text is ``template`` with ``{}`` replaced by
    it. Labels come from a field ``labels`` (a list of names or keys, or one of them), else from the
    id as a label, else from the labels that the text mentions. The mean of a label's own texts
    becomes its zero-shot prompt vector. Rows that :func:`open_vectors` finds bad, or whose labels
    are unknown or not text, go to ``rejects``, by file and row from 0.
    Raises :class:`EncoderError` on files that do not fit, :class:`StoreError` before anything is
    written where the name has vectors of another dimension, :class:`TextError` where no row is
    usable.
    """
    bad: list[BadRow] = []
    source = open_vectors(path, ids, kind="text", on_bad=bad.append)
    info = imported_info(name, dim=source.dim)
    store.require_room_for(info)
    job = _Job(store, info, template)
    with progress("text vectors", total=source.count, unit="rows") as bar:
        for batch in source:
            bar.advance(len(batch.ids) + len(bad))
            job.set_aside(bad)
            job.run(batch)
        # A batch of nothing but bad rows is never yielded.
        bar.advance(len(bad))
        job.set_aside(bad)
    job.check_some_usable(path)
    return IngestTextVectorsSummary(
        encoder=info.spec,
        encoder_id=info.encoder_id,
        read=job.read,
        written=job.written,
        present=job.present,
        unlabelled=job.unlabelled,
        rejected=job.rejected,
        labels_with_prompt=_write_prompts(store, info.encoder_id),
        labels=len(store.labels),
    )


@dataclass(frozen=True, slots=True)
class _Row:
    position: int
    text: str
    label_ids: tuple[int, ...]


class _Job:
    """Turns batches of vectors into rows of the store and counts what became of them."""

    def __init__(self, store: Store, info: EncoderInfo, template: str) -> None:
        self._store = store
        self._info = info
        self._template = template
        self._labels: LabelSet = store.labels
        self._filter = NounFilter(self._labels)
        self.read = self.written = self.present = self.unlabelled = self.rejected = 0
        self._last: Reject | None = None

    def run(self, batch: VectorBatch) -> None:
        """Label and append the rows of one batch."""
        named: list[Any] = batch.rows.get("labels", [None] * len(batch.ids))
        rows: list[_Row] = []
        refused: list[Reject] = []
        good: list[str] = []
        for i, (given, names) in enumerate(zip(batch.ids, named, strict=True)):
            text, uri = self._template.replace("{}", given), row_of(batch.path, batch.numbers[i])
            try:
                label_ids = self._label_ids(given, text, names)
            except LabelError as error:
                refused.append(Reject(uri, "unknown_label", str(error), WRITER))
            except TextError as error:
                refused.append(Reject(uri, "bad_labels", str(error), WRITER))
            else:
                good.append(uri)
                if label_ids:
                    rows.append(_Row(i, text, label_ids))
        new = _append(self._store, self._info, rows, batch.vectors)
        self.read += len(batch.ids)
        self.written += new
        self.present += len(rows) - new
        self.unlabelled += len(good) - len(rows)
        if good:
            self._store.clear_rejects(JOB, good)
        self._reject(refused)

    def set_aside(self, bad: list[BadRow]) -> None:
        """Reject the bad rows met so far, which are taken out of ``bad``."""
        self.read += len(bad)
        self._reject([Reject(row_of(b.path, b.row), "bad_vector", b.reason, WRITER) for b in bad])
        bad.clear()

    def check_some_usable(self, path: str | Path) -> None:
        """Raise where all files gave nothing."""
        if self.written or self.present:
            return
        if self._last is not None and not self.unlabelled:
            raise TextError(
                f"{path}: none of {self.read:,} rows is usable (last: {self._last.uri}: "
                f"{self._last.detail}): mend them, {listed_by(self._store.uri)} lists them all"
            )
        raise TextError(
            f"{path}: none of {self.read:,} rows names a label of the store: give ids that are "
            "label names, or rows with a field 'labels'"
        )

    def _label_ids(self, given: str, text: str, names: object) -> tuple[int, ...]:
        if isinstance(names, str):
            return (self._labels.find(names),)
        if names is not None:
            if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
                raise TextError(f"labels is {names!r:.80}: give a list of label names or keys")
            return tuple(sorted({self._labels.find(name) for name in names}))
        try:
            return (self._labels.find(given),)
        except LabelError:
            return self._filter.find(text).label_ids

    def _reject(self, rejects: list[Reject]) -> None:
        if rejects:
            self._store.reject(JOB, rejects)
            self.rejected += len(rejects)
            self._last = rejects[-1]


def _append(store: Store, info: EncoderInfo, rows: list[_Row], vectors: NDArray[Any]) -> int:
    if not rows:
        return 0
    store.register_encoder(info)
    combinations = [store.labels.combination_id(row.label_ids) for row in rows]
    order = sorted(range(len(rows)), key=lambda i: combinations[i])
    rows, combinations = [rows[i] for i in order], [combinations[i] for i in order]
    ids = [text_id(row.text, c) for row, c in zip(rows, combinations, strict=True)]
    label_ids = [list(row.label_ids) for row in rows]
    store.append("combinations", {"combination_id": combinations, "label_ids": label_ids})
    n = len(rows)
    store.append(
        "texts",
        {
            "text_id": ids,
            "combination_id": combinations,
            "text": [row.text for row in rows],
            "writer": [WRITER] * n,
            "model": [None] * n,
            "instruction": [None] * n,
            "turn": [0] * n,
            "seed": [None] * n,
            "tokens": [None] * n,
        },
    )
    column = vector_column(vectors[[row.position for row in rows]])
    data = {"text_id": ids, "combination_id": combinations, "vector": column}
    return store.append("text_vectors", data, encoder_id=info.encoder_id)


def _write_prompts(store: Store, encoder_id: str) -> int:
    """The mean unit vector of each label's own texts, as its prompt; returns how many have one."""
    labels = store.labels
    own = {labels.combination_id([i]): i for i in range(len(labels))}
    sums_ND = np.zeros((len(labels), store.encoder(encoder_id).dim), dtype=np.float64)
    counts_N = np.zeros(len(labels), dtype=np.int64)
    columns = ["combination_id", "vector"]
    for batch in store.scan("text_vectors", columns=columns, encoder_id=encoder_id):
        label_ids = np.array([own.get(int(str(c)), -1) for c in batch.column(0).to_pylist()])
        chosen = np.flatnonzero(label_ids >= 0)
        vectors_BD = vector_array(batch.column(1))[chosen].astype(np.float64)
        vectors_BD /= np.linalg.norm(vectors_BD, axis=1, keepdims=True)
        np.add.at(sums_ND, label_ids[chosen], vectors_BD)
        np.add.at(counts_N, label_ids[chosen], 1)
    there = np.flatnonzero(counts_N)
    if len(there):
        means_ND = sums_ND[there] / np.linalg.norm(sums_ND[there], axis=1, keepdims=True)
        rows = {
            "kind": [PROMPT_KIND] * len(there),
            "id": store.view.label_ids[there],
            "count": counts_N[there],
            "source": [WRITER] * len(there),
            "vector": vector_column(means_ND),
        }
        store.upsert("centroids", rows, encoder_id=encoder_id)
    return len(there)
