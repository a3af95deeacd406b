"""Imported image vectors: whose they are, what comes along, and what is set aside."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray

from taistore.errors import ImageError, ManifestError
from taistore.images.decoding import image_id
from taistore.images.ingest import ingest_images
from taistore.images.ingest_image_vectors import ingest_image_vectors
from taistore.images.sources.open_source import open_source
from taistore.images.statements import uri_image_id
from taistore.labels import Label, LabelSet
from taistore.store.store import Store
from tests.fakes import COLOURS, ColourEncoder, colour_image

LABELS = LabelSet(Label(name, name) for name in COLOURS)
RED, BLUE = LABELS.find("red"), LABELS.find("blue")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.create(tmp_path / "store", LABELS, default_encoder="colour@32")


def _vectors(count: int, dim: int = 8) -> NDArray[np.float32]:
    return np.random.default_rng(3).standard_normal((count, dim)).astype(np.float32)


def _save(folder: Path, rows: list[dict[str, Any]], vectors: NDArray[Any]) -> Path:
    np.save(folder / "v.npy", vectors)
    lines = "\n".join(map(json.dumps, rows))
    (folder / "v.jsonl").write_text(lines + "\n", encoding="utf-8")
    return folder / "v.npy"


def _rows(store: Store) -> dict[str, dict[str, Any]]:
    rows = [row for batch in store.scan("images") for row in batch.to_pylist()]
    return {row["image_id"]: row for row in rows}


def _rejects(store: Store) -> list[tuple[str, str]]:
    rows = [row for batch in store.scan("rejects") for row in batch.to_pylist()]
    assert {row["job"] for row in rows} <= {"ingest-vectors"}
    return sorted((Path(row["uri"]).name, row["reason"]) for row in rows)


def test_ids_without_files_are_known_by_their_text(store: Store, tmp_path: Path) -> None:
    vectors = _vectors(3)
    rows: list[dict[str, Any]] = [
        {"id": "https://x.org/a.jpg", "labels": ["red"], "split": "train"},
        {"id": "b", "positives": ["blue"], "negatives": ["red"], "width": 640, "height": 480},
        {"id": "gone.jpg"},
    ]
    path = _save(tmp_path, rows, vectors)
    summary = ingest_image_vectors(store, "mine", path)
    assert (summary.read, summary.added, summary.written) == (3, 3, 3)
    assert summary.encoder == "vectors:mine"
    there = _rows(store)
    url = there[uri_image_id("https://x.org/a.jpg")]
    assert (url["uri"], url["width"], url["split"]) == ("https://x.org/a.jpg", 0, "train")
    assert (url["positives"], url["complete"]) == ([RED], True)
    named = there[uri_image_id("b")]
    assert (named["width"], named["height"], named["complete"]) == (640, 480, False)
    assert (named["positives"], named["negatives"]) == ([BLUE], [RED])
    assert there[uri_image_id("gone.jpg")]["uri"] == "gone.jpg"
    ids = [uri_image_id(row["id"]) for row in rows]
    stored = store.vectors("image_vectors", ids, encoder_id=summary.encoder_id)
    np.testing.assert_array_equal(stored, vectors.astype(np.float16))
    again = ingest_image_vectors(store, "mine", path)
    assert (again.already_there, again.written) == (3, 0)


def test_an_id_that_names_a_file_meets_the_same_image_of_another_encoder(
    store: Store, tmp_path: Path
) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    for name in ("red", "blue"):
        colour_image(name, size=(50, 20)).save(photos / f"{name}.png")
    (photos / "bad.png").write_bytes(b"no image")
    ingest_images(store, ColourEncoder(), open_source(photos / "red.png", LABELS))
    rows = [{"image": f"photos/{name}.png"} for name in ("red", "blue", "bad")]
    path = _save(tmp_path, rows, _vectors(3))
    summary = ingest_image_vectors(store, "mine", path, split="val")
    assert (summary.relabelled, summary.added, summary.rejected) == (1, 1, 1)
    assert _rejects(store) == [("bad.png", "not_an_image")]
    there = _rows(store)
    assert set(there) == {
        image_id((photos / f"{name}.png").read_bytes()) for name in ("red", "blue")
    }
    assert {(row["width"], row["height"]) for row in there.values()} == {(50, 20)}
    assert store.count("image_vectors", summary.encoder_id) == 2


def test_bad_rows_are_set_aside(store: Store, tmp_path: Path) -> None:
    vectors = _vectors(6)
    vectors[1] = np.nan
    vectors[2, 3] = 1e6
    rows: list[dict[str, Any]] = [{"id": f"{i}", "labels": ["red"]} for i in range(6)]
    rows[3]["labels"] = ["redd"]
    rows[4]["id"] = "x\ny"
    path = _save(tmp_path, rows, vectors)
    summary = ingest_image_vectors(store, "mine", path)
    assert (summary.read, summary.added, summary.rejected, summary.written) == (6, 2, 4, 2)
    assert _rejects(store) == [
        ("v.npy: 3", "unknown_label"),
        ("v.npy: row 1", "bad_vector"),
        ("v.npy: row 2", "bad_vector"),
        ("v.npy: x y", "bad_name"),
    ]
    assert set(_rows(store)) == {uri_image_id("0"), uri_image_id("5")}


def test_it_fails_as_a_whole(store: Store, tmp_path: Path) -> None:
    ingest_image_vectors(store, "mine", _save(tmp_path, [{"id": "first"}], _vectors(1)))
    path = _save(tmp_path, [{"id": "a", "labels": ["nope"]}] * 3, _vectors(3))
    with pytest.raises(ImageError, match=r"no row could be used .*label 'nope'"):
        ingest_image_vectors(store, "mine", path)
    with pytest.raises(ImageError, match="stopped at 3 rejected rows, at most 1"):
        ingest_image_vectors(store, "mine", path, max_rejects=1)
    path = _save(tmp_path, [{"id": "a", "label": ["red"]}], _vectors(1))
    with pytest.raises(ManifestError, match="did you mean 'labels'"):
        ingest_image_vectors(store, "mine", path)
    np.save(tmp_path / "nan.npy", np.full((1, 8), np.nan))
    (tmp_path / "nan.txt").write_text("a\n", encoding="utf-8")
    with pytest.raises(ImageError, match="NaN or infinity"):
        ingest_image_vectors(store, "mine", tmp_path / "nan.npy")


def test_parquet_brings_its_own_columns(store: Store, tmp_path: Path) -> None:
    pl.DataFrame(
        {"id": ["a", "b"], "vector": [[1.0, 2.0], [3.0, 4.0]], "labels": [["red"], ["blue"]]}
    ).write_parquet(tmp_path / "v.parquet")
    summary = ingest_image_vectors(store, "two", tmp_path / "v.parquet")
    assert (summary.added, summary.written) == (2, 2)
    assert _rows(store)[uri_image_id("b")]["positives"] == [BLUE]


def test_real_clip_vectors(tmp_path: Path, shared_data: Path) -> None:
    folder = shared_data / "clip-vit-b-32"
    names = (folder / "lvis1203-names.txt").read_text(encoding="utf-8").splitlines()
    labels = LabelSet(Label(f"{i}", name) for i, name in enumerate(names))
    store = Store.create(tmp_path / "store", labels, default_encoder="vectors:clip")
    ids = tmp_path / "ids.jsonl"
    rows = [{"id": f"exemplar/{i}", "labels": [f"{i}"]} for i in range(len(names))]
    ids.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    path = folder / "image-exemplar-lvis1203.npy"
    summary = ingest_image_vectors(store, "clip", path, ids=ids)
    assert (summary.added, summary.written, summary.rejected) == (1203, 1203, 0)
    wanted = [uri_image_id(f"exemplar/{i}") for i in (0, 700)]
    stored = store.vectors("image_vectors", wanted, encoder_id=summary.encoder_id)
    np.testing.assert_array_equal(stored, np.load(path)[[0, 700]].astype(np.float16))
