"""Own captions: labels given or found, bad lines set aside with their place, nothing twice."""

import json
from pathlib import Path
from typing import Any

import pytest

from taistore.errors import TextError
from taistore.labels import Label, LabelSet
from taistore.store.store import Store
from taistore.texts.audit.audit_captions import audit_file
from taistore.texts.ingest.ingest_texts import ingest_texts
from tests.fakes import ColourEncoder

LABELS = LabelSet(
    [
        Label("red", "red", ("crimson",)),
        Label("blue", "blue"),
        Label("sky", "light blue"),
        Label("/m/1", "organ"),
        Label("/m/2", "organ"),
    ]
)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """An empty store of five labels, two of them with one name."""
    return Store.create(tmp_path / "store", LABELS, default_encoder="colour@32")


def _rows(store: Store, kind: str) -> list[dict[str, Any]]:
    return [row for batch in store.scan(kind) for row in batch.to_pylist()]


def _named(store: Store) -> dict[str, list[str]]:
    keys = {
        row["combination_id"]: [LABELS[i].key for i in row["label_ids"]]
        for row in _rows(store, "combinations")
    }
    return {row["text"]: keys[row["combination_id"]] for row in _rows(store, "texts")}


def test_labels_are_given_or_found(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "captions.jsonl"
    lines: list[object] = [
        {"text": "two crimson flags on light blue"},
        {"caption": "a blue flag"},
        {"text": "a mood", "labels": ["/m/1", "red"]},
        {"text": "an organ in a church"},
        {"text": "nothing of interest"},
        {"text": "a blue flag"},
        {"text": "x", "labels": ["purple"]},
        {"text": "x", "labels": ["organ"]},
        "not an object",
        {"text": "blue " * 40},
    ]
    path.write_text("\n".join(json.dumps(line) for line in lines), encoding="utf-8")
    summary = ingest_texts(store, ColourEncoder(), path, batch_texts=4)
    assert _named(store) == {
        "two crimson flags on light blue": ["red", "sky"],
        "a blue flag": ["blue"],
        "a mood": ["red", "/m/1"],
    }
    assert (summary.read, summary.written, summary.present) == (10, 3, 1)
    assert (summary.unlabelled, summary.ambiguous, summary.rejected) == (2, 1, 4)
    assert (summary.labels_found, summary.labels) == (4, 5)
    rejects = {row["uri"]: (row["reason"], row["detail"]) for row in _rows(store, "rejects")}
    assert {uri: reason for uri, (reason, _) in rejects.items()} == {
        f"{path}:7": "unknown_label",
        f"{path}:8": "unknown_label",
        f"{path}:9": "malformed",
        f"{path}:10": "too_long",
    }
    assert "use one of the keys /m/1, /m/2" in rejects[f"{path}:8"][1]
    assert "42 tokens, the encoder takes at most 32" in rejects[f"{path}:10"][1]
    assert {row["writer"] for row in _rows(store, "texts")} == {"captions"}


def test_answers_of_a_model_are_audited_on_request(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "answers.jsonl"
    lines: list[dict[str, object]] = [
        {"text": 'Sure! Here is a caption: "A blue flag on a hill."'},
        {"text": "I'm sorry, I cannot help with red."},
        {"text": "A crimson box.", "labels": ["red", "blue"]},
        {"text": "A blue wall stands by the sea."},
        {"text": "The blue wall stands by a sea"},
    ]
    path.write_text("\n".join(json.dumps(line) for line in lines), encoding="utf-8")
    foreseen = audit_file(store, path)
    summary = ingest_texts(store, ColourEncoder(), path, audit=True)
    assert (foreseen.total.texts, sum(foreseen.rejects.values())) == (3, 2)
    assert _named(store) == {
        "A blue flag on a hill.": ["blue"],
        "A crimson box.": ["red"],
        "A blue wall stands by the sea.": ["blue"],
    }
    assert (summary.written, summary.rejected) == (3, 2)
    assert {row["reason"] for row in _rows(store, "rejects")} == {"refusal", "near_duplicate"}
    again = ingest_texts(store, ColourEncoder(), path, audit=True)
    assert (again.written, again.present, again.rejected) == (0, 3, 2)
    assert store.count("rejects") == 2


def test_running_again_adds_nothing(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "captions.txt"
    path.write_text("a red box\nblue\nred and blue\n", encoding="utf-8")
    encoder = ColourEncoder()
    assert ingest_texts(store, encoder, path).written == 3
    path.write_text("a red box\nblue\nred and blue\nblue again\n", encoding="utf-8")
    again = ingest_texts(store, encoder, path)
    assert (again.written, again.present) == (1, 3)
    assert store.count("texts") == 4 == store.count("text_vectors", encoder.info.encoder_id)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "no captions in it"),
        ("a dog\na cat\n", "none of 2 captions names a label of the store"),
        ("red " * 50, r"none of 1 line is usable \(last: line 1: 52 tokens"),
    ],
)
def test_a_file_that_gives_nothing_is_an_error(
    store: Store, tmp_path: Path, content: str, message: str
) -> None:
    path = tmp_path / "captions.txt"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(TextError, match=message):
        ingest_texts(store, ColourEncoder(), path)


def test_too_many_rejects_stop_the_job_and_keep_the_good(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "captions.jsonl"
    path.write_text('{"text": "a red box"}\n{\n{\n', encoding="utf-8")
    with pytest.raises(TextError, match="2 lines rejected, more than the 1 allowed"):
        ingest_texts(store, ColourEncoder(), path, max_rejects=1)
    assert store.count("texts") == 1
    assert ingest_texts(store, ColourEncoder(), path, max_rejects=2).rejected == 2


def test_mended_lines_are_rejects_no_longer(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "captions.jsonl"
    path.write_text('{"text": "a red box"}\n{\n{"text": "x", "labels": ["purple"]}\n', "utf-8")
    assert ingest_texts(store, ColourEncoder(), path).rejected == 2
    path.write_text('{"text": "a red box"}\n{"text": "blue"}\n{\n', "utf-8")
    assert ingest_texts(store, ColourEncoder(), path).rejected == 1
    assert {r["uri"]: r["reason"] for r in _rows(store, "rejects")} == {f"{path}:3": "malformed"}


def test_human_captions_find_most_coco_objects(shared_data: Path, tmp_path: Path) -> None:
    from taistore.label_files.label_file import read_labels

    labels = read_labels(shared_data / "coco" / "classes.csv")
    store = Store.create(tmp_path / "coco", labels, default_encoder="colour@32")
    lines = (shared_data / "captions" / "coco-val2017.jsonl").read_text("utf-8").splitlines()
    path = tmp_path / "some.jsonl"
    path.write_text("\n".join(lines[:3000]), encoding="utf-8")
    summary = ingest_texts(store, ColourEncoder(context_length=77), path)
    assert summary.rejected == 0
    assert summary.written + summary.present > 1500
    assert summary.labels_found > 60
