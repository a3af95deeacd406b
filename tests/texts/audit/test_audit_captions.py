"""Figures of captions in a store and in a file, against counts made by hand."""

import json
from collections.abc import Sequence
from pathlib import Path

import polars
import pytest
from click.testing import CliRunner

from taistore.errors import TextError
from taistore.labels import Label, LabelSet
from taistore.store.rejects import Reject
from taistore.store.store import Store
from taistore.texts.audit.audit_captions import audit_file, audit_store
from taistore.texts.audit.audit_report import SAMPLE_TEXTS, distinct
from taistore.texts.rows.text_rows import TextRow, text_id, write_texts
from taistore_cli.main import main
from tests.fakes import ColourEncoder

LABELS = LabelSet([Label(n, n) for n in ("person", "dog", "sofa", "kite")])
PERSON, DOG, SOFA, KITE = range(4)


def _row(store: Store, text: str, label_ids: Sequence[int], writer: str, tokens: int) -> TextRow:
    combination = store.labels.combination_id(label_ids)
    return TextRow(
        text_id=text_id(text, combination),
        combination_id=combination,
        label_ids=tuple(label_ids),
        text=text,
        writer=writer,
        model="m1" if writer == "openai" else None,
        instruction=None,
        turn=0,
        seed=None,
        tokens=tokens,
    )


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Four texts by two writers, and two rejects of which one is of captions."""
    made = Store.create(tmp_path / "store", LABELS, default_encoder="colour@32")
    encoder = ColourEncoder()
    made.register_encoder(encoder.info)
    rows = [
        _row(made, "A dog on a sofa", (DOG, SOFA), "template", 5),
        _row(made, "A dog and a man", (DOG,), "openai", 5),
        _row(made, "A dog on the floor", (DOG, SOFA), "openai", 7),
        _row(made, "Two women and dogs", (PERSON, DOG), "openai", 40),
    ]
    write_texts(made, encoder, rows)
    said = (("a", "I'm sorry"), ("b", "As an AI"))
    made.reject("generate-texts", [Reject(key, "refusal", text, "openai") for key, text in said])
    made.reject("ingest-images", [Reject("c.jpg", "unreadable", "no image")])
    return made


def test_figures_of_a_store(store: Store) -> None:
    report = audit_store(store, examples=1)
    total = report.total
    assert (total.texts, total.over_limit, total.tokens_p95) == (4, 1, 40)
    assert total.coverage == pytest.approx(6 / 7)
    assert total.complete == pytest.approx(3 / 4)
    assert total.tokens_mean == pytest.approx(57 / 4)
    assert (total.hidden_texts, total.hidden) == (1, {"person": 1})
    assert set(report.writers) == {"template", "openai m1"}
    assert report.writers["openai m1"].texts == 3
    figures = {name: found for _, name, found in report.labels}
    assert figures["sofa"].coverage == pytest.approx(1 / 2)
    assert figures["dog"].coverage == 1
    assert figures["kite"].texts == 0
    assert report.rejects == {"refusal": 2}
    assert len(report.examples["refusal"]) == 1


def test_a_report_as_a_frame_has_one_row_a_label(store: Store) -> None:
    report = audit_store(store)
    frame = report.frame()
    assert frame["name"].to_list() == ["person", "dog", "sofa", "kite"]
    assert frame["texts"].to_list() == [figures.texts for _, _, figures in report.labels]
    assert frame.row(SOFA, named=True)["coverage"] == pytest.approx(1 / 2)
    assert frame.row(KITE, named=True)["tokens_p95"] is None
    assert frame.schema["tokens_mean"] == polars.Float64
    assert "hidden" not in frame.columns


def test_one_writer_alone(store: Store) -> None:
    store.reject("generate-texts", [Reject("c", "too_long", "81 tokens", "template")])
    store.reject("ingest-texts", [Reject("mine.txt:3", "empty", "no text", "captions")])
    report = audit_store(store, writer="template")
    assert report.total.texts == 1
    assert report.rejects == {"too_long": 1}
    assert audit_store(store, writer="openai").rejects == {"refusal": 2}
    assert audit_store(store, writer="captions").rejects == {"empty": 1}
    assert audit_store(store).rejects == {"refusal": 2, "too_long": 1, "empty": 1}
    with pytest.raises(TextError, match="by 'opnai' to audit; there are some by openai, template"):
        audit_store(store, writer="opnai")


def test_a_file_that_is_not_there_or_empty_is_named(store: Store, tmp_path: Path) -> None:
    with pytest.raises(TextError, match="no such caption file"):
        audit_file(store, tmp_path / "no.txt")
    (tmp_path / "empty.txt").write_text("\n")
    with pytest.raises(TextError, match="no captions in it"):
        audit_file(store, tmp_path / "empty.txt")


def test_nothing_to_audit_is_named(tmp_path: Path) -> None:
    empty = Store.create(tmp_path / "empty", LABELS, default_encoder="colour@32")
    with pytest.raises(TextError, match="holds no texts by 'vllm' to audit: make some"):
        audit_store(empty, writer="vllm")


def test_a_file_before_it_is_ingested(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "captions.jsonl"
    lines = [
        {"text": "1. A dog on a sofa.", "labels": ["dog", "sofa"]},
        {"text": "The dog is on the sofa", "labels": ["dog", "sofa"]},
        {"text": "A man flies a kite"},
        {"text": "A quiet lake"},
        {"text": "A cat", "labels": ["dog"]},
        {"text": "A dog", "labels": ["unicorn"]},
        {"text": "dog " * 40, "labels": ["dog"]},
        {"text": "A long way for a dog over hill and dale, and home again", "labels": ["dog"]},
    ]  # fmt: skip
    text = "\n".join(map(json.dumps, lines)) + "\nnot json\n"
    path.write_text(text, encoding="utf-8")
    before = store.count("texts")
    report = audit_file(store, path, encoder=ColourEncoder(context_length=12))
    assert report.total.texts == 2
    assert report.unlabelled == 1
    assert dict(report.rejects) == {
        "near_duplicate": 1,
        "lost_labels": 1,
        "unknown_label": 1,
        "repetition": 1,
        "too_long": 1,
        "malformed": 1,
    }
    figures = {name: found for _, name, found in report.labels}
    assert figures["person"].texts == figures["kite"].texts == 1
    assert report.total.tokens_p95 is not None
    assert report.examples["lost_labels"][0].startswith("line 5: does not mention dog")
    assert store.count("texts") == before


def test_distinct_is_taken_of_as_many_texts_whatever_there_are(tmp_path: Path) -> None:
    store = Store.create(tmp_path / "store", LABELS, default_encoder="colour@32")
    for i in range(60):
        row = _row(store, f"A dog in place {i}", (DOG,), "template", 5)
        store.append("combinations", {"combination_id": [row.combination_id], "label_ids": [[DOG]]})
        store.append("texts", [{c: getattr(row, c) for c in store.schema("texts").names}])
    n = SAMPLE_TEXTS
    assert audit_store(store).total.distinct_1 == pytest.approx((4 + n) / (5 * n))
    assert distinct([]) == (0, 0)


def test_the_command(store: Store, tmp_path: Path) -> None:
    run = CliRunner().invoke(main, ["texts", "audit", "--store", store.uri, "--json"])
    assert run.exit_code == 0, run.output
    found = json.loads(run.stdout)
    assert (found["texts"], found["rejects"]) == (4, {"refusal": 2})
    assert found["labels"][SOFA]["coverage"] == 0.5
    assert set(found["writers"]) == {"template", "openai m1"}
    told = CliRunner().invoke(main, ["texts", "audit", "--store", store.uri, "--examples", "1"])
    assert "openai m1" in told.stdout
    assert "rejected: refusal 2" in told.stdout
    assert "1 label has no text" in told.stdout
    path = tmp_path / "mine.txt"
    path.write_text("A dog on a sofa\n", encoding="utf-8")
    of_file = CliRunner().invoke(main, ["texts", "audit", str(path), "--store", store.uri])
    assert "mine.txt" in of_file.stdout, of_file.output
    wrong = CliRunner().invoke(
        main, ["texts", "audit", str(path), "--writer", "openai", "--store", store.uri]
    )
    assert wrong.exit_code == 2
