"""Text vectors that were made elsewhere, into the store with their texts and labels.

Shapes: N labels, D dimension of the vectors.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from taistore.encoders.vectors import BadRow, VectorBatch, imported_info, open_vectors
from taistore.errors import LabelError, TextError
from taistore.labels import LabelSet
from taistore.progress import Progress, no_progress
from taistore.store.arrow import vector_array, vector_column
from taistore.store.store import Store
from taistore.texts.noun_filter import NounFilter
from taistore.texts.prompts import PROMPT_KIND
from taistore.texts.rows import text_id

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
    it. Labels come from a field ``labels`` (a list of names or keys), else from the id as a label,
    else from the labels that the text mentions. The mean of a label's own texts becomes its
    zero-shot prompt vector. Rows that are not finite or name unknown labels go to ``rejects``.
    Raises :class:`EncoderError` on files that do not fit, :class:`TextError` where no row is
    usable.
    """
    bad: list[BadRow] = []
    source = open_vectors(path, ids, kind="text", on_bad=bad.append)
    info = imported_info(name, dim=source.dim)
    store.register_encoder(info)
    labels = store.labels
    finder = _Finder(labels, template)
    read = written = present = unlabelled = rejected = 0
    with progress("text vectors", total=source.count, unit="rows") as bar:
        for batch in source:
            refused: list[tuple[str, str, str]] = []
            rows = [row for row in finder.rows(batch, refused) if row is not None]
            unlabelled += len(batch.ids) - len(rows) - len(refused)
            new = _append(store, info.encoder_id, rows, batch.vectors)
            written += new
            present += len(rows) - new
            read += len(batch.ids)
            refused += [(f"{b.path}:{b.row}", "bad_vector", b.reason) for b in bad]
            read += len(bad)
            bad.clear()
            rejected += len(refused)
            store.reject(JOB, [(f"{path}:{where}", why, detail) for where, why, detail in refused])
            bar.advance(len(batch.ids))
    if not written and not present:
        raise TextError(
            f"{path}: none of {read:,} rows names a label of the store: give ids that are label "
            "names, or rows with a field 'labels'"
        )
    return IngestTextVectorsSummary(
        encoder=info.spec,
        encoder_id=info.encoder_id,
        read=read,
        written=written,
        present=present,
        unlabelled=unlabelled,
        rejected=rejected,
        labels_with_prompt=_write_prompts(store, info.encoder_id),
        labels=len(labels),
    )


@dataclass(frozen=True, slots=True)
class _Row:
    position: int
    text: str
    label_ids: tuple[int, ...]


class _Finder:
    def __init__(self, labels: LabelSet, template: str) -> None:
        self._labels = labels
        self._template = template
        self._filter = NounFilter(labels)

    def rows(
        self, batch: VectorBatch, refused: list[tuple[str, str, str]]
    ) -> Iterator[_Row | None]:
        named: list[Any] = batch.rows.get("labels", [None] * len(batch.ids))
        for position, (given, names) in enumerate(zip(batch.ids, named, strict=True)):
            text = self._template.replace("{}", given)
            try:
                found = self._label_ids(given, text, names)
            except LabelError as error:
                refused.append((given, "unknown_label", str(error)))
                continue
            yield _Row(position, text, found) if found else None

    def _label_ids(self, given: str, text: str, names: list[str] | None) -> tuple[int, ...]:
        if names is not None:
            return tuple(sorted({self._labels.find(name) for name in names}))
        try:
            return (self._labels.find(given),)
        except LabelError:
            return self._filter.find(text).label_ids


def _append(store: Store, encoder_id: str, rows: list[_Row], vectors: NDArray[Any]) -> int:
    if not rows:
        return 0
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
    return store.append("text_vectors", data, encoder_id=encoder_id)


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
            "id": there,
            "count": counts_N[there],
            "source": [WRITER] * len(there),
            "vector": vector_column(means_ND),
        }
        store.upsert("centroids", rows, encoder_id=encoder_id)
    return len(there)
