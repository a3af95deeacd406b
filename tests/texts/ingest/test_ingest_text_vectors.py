"""Imported text vectors: bad rows are counted and named, a mended row is forgotten as a reject."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from taistore.errors import TextError
from taistore.labels import Label, LabelSet
from taistore.store.arrow import vector_array
from taistore.store.store import Store
from taistore.texts.ingest.ingest_text_vectors import ingest_text_vectors

LABELS = LabelSet([Label("cat", "cat"), Label("dog", "dog")])


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """An empty store of two labels."""
    return Store.create(tmp_path / "store", LABELS, default_encoder="colour@32")


def _write(folder: Path, vectors: NDArray[Any], rows: list[dict[str, Any]]) -> Path:
    np.save(folder / "x.npy", vectors)
    (folder / "x.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return folder / "x.npy"


def _rejects(store: Store) -> dict[str, str]:
    rows = [row for batch in store.scan("rejects") for row in batch.to_pylist()]
    return {row["uri"].rsplit("/", 1)[-1]: row["reason"] for row in rows}


def test_a_vector_beyond_float16_is_rejected_not_stored(store: Store, tmp_path: Path) -> None:
    vectors = np.array([[1, 2], [7e4, 0]], dtype=np.float32)
    path = _write(tmp_path, vectors, [{"text": "cat"}, {"text": "dog"}])
    summary = ingest_text_vectors(store, "own", path)
    assert (summary.read, summary.written, summary.rejected) == (2, 1, 1)
    assert summary.labels_with_prompt == 1
    assert _rejects(store) == {"x.npy: row 1": "bad_vector"}
    (batch,) = store.scan("text_vectors", columns=["vector"], encoder_id=summary.encoder_id)
    assert np.isfinite(vector_array(batch.column(0))).all()


def test_the_last_batch_counts_where_all_of_it_is_bad(store: Store, tmp_path: Path) -> None:
    # One batch of 8,192 rows and one of a single bad row, which is never yielded.
    vectors = np.ones((8193, 2), dtype=np.float32)
    vectors[8192] = np.nan
    path = _write(tmp_path, vectors, [{"text": f"cat {i}"} for i in range(8193)])
    summary = ingest_text_vectors(store, "own", path)
    assert (summary.read, summary.written, summary.rejected) == (8193, 8192, 1)
    assert _rejects(store) == {"x.npy: row 8192": "bad_vector"}


def test_files_of_bad_rows_only_say_so(store: Store, tmp_path: Path) -> None:
    path = _write(tmp_path, np.zeros((2, 2), np.float32), [{"text": "cat"}, {"text": "dog"}])
    with pytest.raises(TextError, match=r"none of 2 rows is usable \(last: .*row 1: .*all zeros"):
        ingest_text_vectors(store, "own", path)
    assert len(_rejects(store)) == 2


def test_files_that_name_no_label_say_so(store: Store, tmp_path: Path) -> None:
    path = _write(tmp_path, np.ones((1, 2), np.float32), [{"text": "a bird"}])
    with pytest.raises(TextError, match="none of 1 row names a label of the store"):
        ingest_text_vectors(store, "own", path)


@pytest.mark.parametrize("labels", [5, ["cat", 3], [None], {"cat": 1}, True])
def test_labels_that_are_no_names_are_rejected(store: Store, tmp_path: Path, labels: Any) -> None:
    rows = [{"text": "a pet", "labels": "cat"}, {"text": "another", "labels": labels}]
    path = _write(tmp_path, np.ones((2, 2), np.float32), rows)
    summary = ingest_text_vectors(store, "own", path)
    assert (summary.written, summary.unlabelled, summary.rejected) == (1, 0, 1)
    assert _rejects(store) == {"x.npy: row 1": "bad_labels"}
    (batch,) = store.scan("combinations", columns=["label_ids"])
    assert batch.column(0).to_pylist() == [[0]]


def test_mended_rows_are_rejects_no_longer(store: Store, tmp_path: Path) -> None:
    vectors = np.ones((4, 2), dtype=np.float32)
    vectors[1] = np.inf
    rows: list[dict[str, Any]] = [{"text": "cat"}, {"text": "a dog"}, {"text": "pet", "labels": 1}]
    rows.append({"text": "cow", "labels": ["cow"]})
    ingest_text_vectors(store, "own", _write(tmp_path, vectors, rows))
    assert _rejects(store) == {
        "x.npy: row 1": "bad_vector",
        "x.npy: row 2": "bad_labels",
        "x.npy: row 3": "unknown_label",
    }
    vectors[1] = 1
    rows[2]["labels"] = ["dog", "cat"]
    summary = ingest_text_vectors(store, "own", _write(tmp_path, vectors, rows))
    assert (summary.written, summary.present, summary.rejected) == (2, 1, 1)
    assert _rejects(store) == {"x.npy: row 3": "unknown_label"}
