"""Rows for ids in any order: all of them right, and those in the table's order without look-ups."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from taistore.store.arrow import vector_array
from taistore.store.store import Store
from taistore.store.tables.rows_in_order import RowsInOrder
from tests.fakes import ColourEncoder
from tests.scoring.colours import new_store

ROWS = 60


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """A store with 60 vectors in several fragments; that of image n begins with n."""
    made = new_store(tmp_path_factory.mktemp("rows") / "store", ColourEncoder())
    for low in range(0, ROWS, 25):
        numbers = np.arange(low, min(low + 25, ROWS))
        vectors_BD = np.repeat(numbers[:, None], 32, axis=1).astype(np.float16)
        rows = {"image_id": [_id(n) for n in numbers.tolist()], "vector": list(vectors_BD)}
        made.append("image_vectors", rows, encoder_id=ColourEncoder().info.encoder_id)
    return made


def _id(number: int) -> str:
    return f"{number:032x}"


def _reader(store: Store, **options: Any) -> RowsInOrder:
    encoder_id = ColourEncoder().info.encoder_id
    values: dict[str, Any] = {"columns": ["vector"], "block_rows": 4, **options}
    return RowsInOrder(store, "image_vectors", encoder_id, **values)


def _taken(reader: RowsInOrder, numbers: list[int]) -> dict[int, float]:
    """What was found of these: the place in the list to the vector's first value."""
    places, table = reader.take([_id(number) for number in numbers])
    assert places.tolist() == sorted(places.tolist())
    vectors_BD = vector_array(table.column("vector").combine_chunks())
    assert table.column("image_id").to_pylist() == [_id(numbers[place]) for place in places]
    return dict(zip(places.tolist(), vectors_BD[:, 0].tolist(), strict=True))


def _look_ups(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """What is looked up from now on."""
    seen: list[object] = []
    scan = Store.scan

    def watched(self: Store, *args: Any, **options: Any) -> Any:
        if options.get("where"):
            seen.append(options["where"])
        return scan(self, *args, **options)

    monkeypatch.setattr(Store, "scan", watched)
    return seen


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(
    asked=st.lists(st.lists(st.integers(0, ROWS + 9), max_size=12), max_size=8),
    window=st.sampled_from([1, 600, 10_000]),
)
def test_any_order_is_right(store: Store, asked: list[list[int]], window: int) -> None:
    reader = _reader(store, window_bytes=window)
    for numbers in asked:
        there = {place: float(n) for place, n in enumerate(numbers) if n < ROWS}
        assert _taken(reader, numbers) == there


@pytest.mark.parametrize("step", [1, 3])
def test_the_tables_order_needs_no_look_up(
    store: Store, step: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader = _reader(store, window_bytes=4_000)
    looked_up = _look_ups(monkeypatch)
    for low in range(0, ROWS, 10):
        numbers = list(range(low, low + 10, step))
        assert _taken(reader, numbers) == {p: float(n) for p, n in enumerate(numbers)}
    assert looked_up == []


def test_after_the_end_it_goes_on_at_the_front(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader = _reader(store, window_bytes=4_000)
    looked_up = _look_ups(monkeypatch)
    for _ in range(2):
        for low in range(0, ROWS, 10):
            _taken(reader, list(range(low, low + 10)))
    assert len(looked_up) == 1  # the first ten of the second time


def test_a_table_that_is_not_there_has_no_rows(tmp_path: Path) -> None:
    places, table = _reader(new_store(tmp_path / "store", ColourEncoder())).take([_id(1)])
    assert len(places) == 0
    assert table.column_names == ["image_id", "vector"]
    assert table.num_rows == 0
