"""Labels that change while a job is at work that opened the store before."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from taistore.images.ingest import ingest_images
from taistore.images.sources.open_source import open_source
from taistore.labels import Label, LabelSet
from taistore.store.partial_labels import PartialLabels
from taistore.store.store import Store
from taistore.store.writes.label_edits import add_labels, merge_labels
from taistore.store.writes.revision import Change, Snapshot, revise
from tests.fakes import ColourEncoder, colour_image


def names(*keys: str) -> LabelSet:
    return LabelSet(Label(key, f"the {key}") for key in keys)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.create(tmp_path / "store", names("a", "b", "c", "d"), default_encoder="packaged")


def image(number: int, **changes: Any) -> dict[str, Any]:
    row = {"image_id": f"{number:032x}", "uri": f"/{number}.jpg", "width": 4, "height": 4}
    known = {"positives": [], "negatives": [], "complete": False, "combination_id": None}
    return {**row, **known, "split": "train", "other_uris": None, "covered": 0, **changes}


def ingested(store: Store, manifest: Path) -> None:
    ingest_images(store, ColourEncoder(), open_source(manifest, store.labels), regions=0)


def test_a_job_from_before_loses_nothing_of_labels_that_came_meanwhile(store: Store) -> None:
    job = Store.open(store.uri)
    assert len(job.labels) == 4
    add_labels(store, names("e"))
    known = {"positives": [0, 4], "complete": True, "covered": 5}
    store.append("images", [image(1, **known)])

    def moved(images: Snapshot) -> Change:
        return Change(rows=[{**row, "uri": "/x.jpg"} for row in images.rows("uri", ["/1.jpg"])])

    revise(job, "images", moved)
    (row,) = [row for batch in store.scan("images") for row in batch.to_pylist()]
    assert row == image(1, uri="/x.jpg", **known)


def test_a_label_that_is_added_while_photos_are_ingested(tmp_path: Path, store: Store) -> None:
    colour_image("red").save(tmp_path / "1.png")
    file = tmp_path / "1.jsonl"

    def ingest(job: Store, **row: Any) -> dict[str, Any]:
        file.write_text(json.dumps({"image": "1.png", **row}), encoding="utf-8")
        ingested(job, file)
        (found,) = [row for batch in store.by_id().scan("images") for row in batch.to_pylist()]
        return {name: found[name] for name in ("positives", "negatives", "complete", "covered")}

    before = Store.open(store.uri)
    assert len(before.labels) == 4
    add_labels(store, names("e"))
    complete = {"complete": True, "negatives": []}
    assert ingest(store, labels=["e", "a"]) == {**complete, "positives": [0, 4], "covered": 5}
    # What the job says is about the labels that it knows.
    assert ingest(before, labels=["b"]) == {**complete, "positives": [1, 4], "covered": 5}
    assert ingest(before, positives=["c"]) == {**complete, "positives": [1, 2, 4], "covered": 5}
    ids = {row["combination_id"] for batch in store.scan("images") for row in batch.to_pylist()}
    assert ids == {store.labels.combination_id([1, 2, 4])}


def test_what_a_job_from_before_calls_complete_is_not_about_later_labels(
    tmp_path: Path, store: Store
) -> None:
    colour_image("red").save(tmp_path / "1.png")
    (tmp_path / "1.jsonl").write_text(json.dumps({"image": "1.png", "labels": ["b"]}), "utf-8")
    before = Store.open(store.uri)
    assert len(before.labels) == 4
    add_labels(store, names("e"))
    ingested(before, tmp_path / "1.jsonl")
    assert PartialLabels.read(store).truth(np.arange(1)).tolist() == [[0, 1, 0, 0, -1]]


def test_what_is_said_not_to_be_there_is_in_none_of_its_parts(tmp_path: Path, store: Store) -> None:
    colour_image("red").save(tmp_path / "1.png")
    file = tmp_path / "1.jsonl"
    file.write_text(json.dumps({"image": "1.png", "positives": ["b", "c"]}), "utf-8")
    ingested(store, file)
    merge_labels(store, ["b"], "a")
    assert PartialLabels.read(store).truth(np.arange(1)).tolist() == [[1, 1, -1]]
    file.write_text(json.dumps({"image": "1.png", "negatives": ["a"]}), "utf-8")
    ingested(store, file)
    assert PartialLabels.read(store).truth(np.arange(1)).tolist() == [[0, 1, -1]]
