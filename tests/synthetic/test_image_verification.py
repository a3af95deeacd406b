"""What is wrong with synthetic rows is found, and what belongs to an encoder goes with it."""

from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest

from taistore.project import Project
from taistore.store.maintenance import optimize
from taistore.store.store import Store
from taistore.store.verification.verify_store import verify_store
from taistore.store.writes.encoder_removal import remove_encoder
from taistore.synthetic.generate_images import generate_images
from tests.fakes import ColourEncoder
from tests.synthetic.painting import ENCODER, TABLES, Painter, captioned_store, require_pairs, rows

VECTORS, REGIONS = (f"{kind}__{ENCODER.encoder_id}" for kind in TABLES)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    made = captioned_store(tmp_path / "s", 10)
    _run(made)
    assert verify_store(made.uri).findings == ()
    return made


def _run(store: Store) -> int:
    writer = Painter(2, unstable=True)
    return generate_images(store, ColourEncoder(), writer, regions=2).written


def _codes(store: Store, *, repair: bool = False) -> list[tuple[str, str, str, bool]]:
    found = verify_store(store.uri, repair=repair, older_than=timedelta(0)).findings
    return [(one.code, one.table, one.severity, one.repaired) for one in found]


def test_regions_of_another_picture_or_of_none_are_told_and_mended(store: Store) -> None:
    one, other, *_ = sorted(rows(store, "synthetic_regions").values(), key=str)
    store.upsert("synthetic_regions", [{**one, "content": "0" * 32}], encoder_id=ENCODER.encoder_id)
    where = {"synthetic_id": other["synthetic_id"]}
    store.remove("synthetic_vectors", where, encoder_id=ENCODER.encoder_id)
    (found,) = verify_store(store.uri).findings
    assert (found.code, found.table) == ("unpaired-regions", REGIONS)
    assert found.what.startswith("2 rows are of a picture that has no vector (such as ")
    assert "generate-images" in found.remedy
    assert found.severity == "warning"
    assert _run(store) == 2
    require_pairs(store)
    assert verify_store(store.uri).findings == ()


def test_pictures_of_texts_that_are_gone_are_spare(store: Store) -> None:
    gone = [row["text_id"] for batch in store.scan("texts") for row in batch.to_pylist()][:3]
    store.remove("texts", {"text_id": gone})
    store.remove("text_vectors", {"text_id": gone}, encoder_id=ENCODER.encoder_id)
    spare = [("dangling-id", name, "warning") for name in sorted((VECTORS, REGIONS))]
    assert sorted(code[:3] for code in _codes(store)) == spare
    assert all(repaired for *_, repaired in _codes(store, repair=True))
    assert _codes(store) == []
    assert len(rows(store, "synthetic_vectors")) == 14


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("synthetic_vectors", [float("nan")] * ENCODER.dim),
        ("synthetic_vectors", [0.0] * ENCODER.dim),
        ("synthetic_regions", [1.0] * ENCODER.dim * 3),
        ("synthetic_regions", [1.0] * (ENCODER.dim - 1)),
        ("synthetic_regions", [float("inf")] * ENCODER.dim * 4),
    ],
)
def test_vectors_of_no_use_are_removed_and_made_again(
    store: Store, kind: str, value: list[float]
) -> None:
    row = next(iter(rows(store, kind).values()))
    column = "vector" if kind == "synthetic_vectors" else "vectors"
    bad = {**row, column: np.array(value, np.float16).tolist()}
    store.upsert(kind, [bad], encoder_id=ENCODER.encoder_id)
    table = f"{kind}__{ENCODER.encoder_id}"
    assert _codes(store)[0] == ("bad-vector", table, "error", False)
    assert _codes(store, repair=True)[0] == ("bad-vector", table, "error", True)
    assert _run(store) == 1
    assert _codes(store) == []
    require_pairs(store)


def test_an_encoder_takes_its_pictures_with_it(store: Store) -> None:
    removal = remove_encoder(store, ENCODER.encoder_id, apply=True, force=True)
    assert removal.applied
    assert {VECTORS, REGIONS} & set(store.table_names()) == set()


def test_optimize_merges_them_and_show_counts_them(store: Store) -> None:
    for number in range(3, 6):
        generate_images(store, ColourEncoder(), Painter(number), regions=2)
    reports = {report.table: report for report in optimize(store, keep_days=0)}
    assert {VECTORS, REGIONS} <= reports.keys()
    for kind in TABLES:
        assert len(store.dataset(kind, ENCODER.encoder_id).get_fragments()) == 1
    require_pairs(store)
    ((_, counts),) = Project.open(store.uri).contents().encoders
    assert (counts["synthetic_vectors"], counts["synthetic_regions"]) == (50, 50)
