"""Text rows: ids, order of the vectors, and encoding what another encoder has not seen."""

from pathlib import Path

import numpy as np
import pytest

from taistore.labels import Label, LabelSet
from taistore.store.store import Store
from taistore.texts.rows.text_rows import TextRow, encode_missing_texts, text_id, write_texts
from tests.fakes import ColourEncoder

LABELS = LabelSet(Label(name, name) for name in ("red", "green", "blue"))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """An empty store of three colours."""
    return Store.create(tmp_path / "store", LABELS, default_encoder="colour@32")


def _row(text: str, *label_ids: int) -> TextRow:
    combination = LABELS.combination_id(label_ids)
    return TextRow(
        text_id=text_id(text, combination),
        combination_id=combination,
        label_ids=label_ids,
        text=text,
        writer="test",
        model=None,
        instruction=None,
        turn=0,
        seed=None,
        tokens=len(text.split()) + 2,
    )


ROWS = [
    _row("a red box", 0),
    _row("red and blue", 0, 2),
    _row("something red", 0),
    _row("a blue and red flag on a very tall pole", 0, 2),
    _row("green", 1),
]


def test_text_ids_are_stable() -> None:
    assert text_id("a red box", -5) == "8bb495391dc640fa37caa9a86816e620"
    assert len({row.text_id for row in ROWS}) == len(ROWS)


def test_vectors_lie_together_by_combination(store: Store) -> None:
    encoder = ColourEncoder()
    store.register_encoder(encoder.info)
    assert write_texts(store, encoder, ROWS) == len(ROWS)
    assert write_texts(store, encoder, ROWS) == 0
    rows = [
        row
        for batch in store.scan("text_vectors", encoder_id=encoder.info.encoder_id)
        for row in batch.to_pylist()
    ]
    ids = [row["combination_id"] for row in rows]
    assert ids == sorted(ids)
    assert store.count("combinations") == 3
    texts = {row.text_id: row.text for row in ROWS}
    for row in rows:
        expected = encoder.encode_texts([texts[row["text_id"]]])[0].astype(np.float16)
        assert np.array_equal(np.array(row["vector"], dtype=np.float16), expected)


def test_a_second_encoder_encodes_what_is_there_and_rejects_what_is_too_long(store: Store) -> None:
    first, second = ColourEncoder(), ColourEncoder(name="short", context_length=8)
    store.register_encoder(first.info)
    write_texts(store, first, ROWS)
    assert encode_missing_texts(store, first) == 0
    assert encode_missing_texts(store, second) == len(ROWS) - 1
    assert encode_missing_texts(store, second) == 0
    assert store.count("text_vectors", second.info.encoder_id) == len(ROWS) - 1
    (reject,) = [row for batch in store.scan("rejects") for row in batch.to_pylist()]
    assert reject["job"] == "encode-texts:short_32_32"
    assert (reject["uri"], reject["reason"]) == (ROWS[3].text_id, "too_long")
    assert "12 tokens, the encoder takes at most 8" in reject["detail"]
