"""Token vectors that are wrong are found and named, and mended where that loses nothing."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import lance
import pytest

from taistore.store.store import Store
from taistore.store.verification.finding import Verification
from taistore.store.verification.verify_store import verify_store
from tests.store.damage import (
    COMMITS,
    INFO,
    LABELS,
    ROWS,
    TEXTS,
    TOKENS,
    folder,
    image_ids,
    newest_file,
    overwritten,
    whole_store,
)

AT_ONCE = timedelta(0)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return whole_store(tmp_path / "s")


def _codes(found: Verification) -> list[tuple[str, str, bool]]:
    return [(one.code, one.table, one.repaired) for one in found.findings]


def _rows(store: Store, table: str) -> list[Any]:
    rows: list[Any] = lance.dataset(str(folder(store, table))).to_table().to_pylist()
    return rows


def test_tokens_of_no_combination_are_told_and_kept(store: Store) -> None:
    """As a writer left them that committed tokens alone."""
    row = {"text_id": image_ids(0)[:1], "combination_id": [7], "vectors": [[1.0] * INFO.dim]}
    store.upsert("token_vectors", row, encoder_id=INFO.encoder_id)
    found = verify_store(store.uri, repair=True, older_than=AT_ONCE)
    assert _codes(found) == [("dangling-id", TOKENS, False)]
    assert found.findings[0].severity == "error"
    assert "1 row naming a combination_id that table 'combinations' does not have (such as 7)" in (
        found.findings[0].what
    )
    assert len(_rows(store, TOKENS)) == COMMITS * ROWS


def test_tokens_without_their_text_are_removed_once_no_job_can_own_them(store: Store) -> None:
    store.remove("texts", {"text_id": image_ids(1)})
    young = verify_store(store.uri, repair=True)
    assert _codes(young) == [("dangling-id", TEXTS, False), ("dangling-id", TOKENS, False)]
    assert young.sound
    mended = verify_store(store.uri, repair=True, older_than=AT_ONCE)
    assert _codes(mended) == [("dangling-id", TEXTS, True), ("dangling-id", TOKENS, True)]
    ids = {row["text_id"] for row in _rows(store, TOKENS)}
    assert ids == {*image_ids(0), *image_ids(2)}
    assert verify_store(store.uri).findings == ()


def test_tokens_are_judged_by_no_table_that_is_damaged(store: Store) -> None:
    overwritten(newest_file(store, "combinations"), start=0, value=b"\0" * 64)
    found = verify_store(store.uri)
    assert {one.table for one in found.findings} == {"combinations"}


@pytest.mark.parametrize("cells", [[], [1.0] * 31, [0.0] * 32, [float("nan")] * 64])
def test_tokens_that_are_no_vectors_are_removed(store: Store, cells: list[float]) -> None:
    """None of a text, a piece of one, a zero one, one that is not finite."""
    text_id, combination_id = image_ids(0)[0], LABELS.combination_id([0])
    row = {"text_id": [text_id], "combination_id": [combination_id], "vectors": [cells]}
    store.remove("token_vectors", {"text_id": [text_id]}, encoder_id=INFO.encoder_id)
    store.append("token_vectors", row, encoder_id=INFO.encoder_id)
    [found] = verify_store(store.uri, repair=True).findings
    assert (found.table, found.repaired) == (TOKENS, True)
    assert text_id in found.what
    assert len(_rows(store, TOKENS)) == COMMITS * ROWS - 1
    assert verify_store(store.uri).findings == ()
