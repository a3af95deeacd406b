"""Which texts a table learns from, and how a store of them is told from another."""

import json
from pathlib import Path

import pytest

from taistore.encoders.protocol import Encoder
from taistore.errors import TextError
from taistore.reproduction import reproduce as module
from taistore.reproduction.reproduce import reproduce
from taistore.reproduction.table_report import Reproduction
from taistore.reproduction.table_texts import TableTexts
from taistore.reproduction.tables import TABLES
from taistore.store.store import Store
from tests.fakes import ColourEncoder
from tests.faults.server import FaultServer, Json, echo
from tests.reproduction.small_sets import COLOUR_NAMES, own_form

WORDS = ("old", "tiny", "wooden", "bright", "quiet", "dusty", "broken", "heavy", "narrow", "round")


@pytest.fixture
def encoder(monkeypatch: pytest.MonkeyPatch) -> ColourEncoder:
    """What every spec loads."""
    encoder = ColourEncoder()

    def load(spec: str, *, device: str, precision: str) -> Encoder:
        return encoder

    monkeypatch.setattr(module, "load_encoder", load)
    return encoder


def run(tmp_path: Path, texts: TableTexts) -> Reproduction:
    return reproduce(
        TABLES["table2"],
        tmp_path / "data",
        work=tmp_path / "work",
        sets=["colours"],
        encoder_spec="packaged:lite0@192",
        texts=texts,
        methods=("default-texts",),
        device="cpu",
    )


def texts_of(found: Reproduction) -> list[dict[str, object]]:
    (result,) = found.sets
    batches = Store.open(result.store).scan("texts")
    return [row for batch in batches for row in batch.to_pylist()]


def test_captions_of_a_file_are_what_is_learnt_from(tmp_path: Path, encoder: ColourEncoder) -> None:
    own_form(tmp_path / "data")
    lines = [f"A {one} box beside a {two} one" for one in COLOUR_NAMES for two in COLOUR_NAMES]
    file = tmp_path / "own.txt"
    file.write_text("\n".join([*lines, "A red " + "very " * 40 + "long thing"]) + "\n")
    found = run(tmp_path, TableTexts(captions=file))
    assert sorted(str(row["text"]) for row in texts_of(found)) == sorted(lines)
    value = found.to_json()
    assert (value["texts"], value["writer"], value["captions"]) == (None, None, "own.txt")
    assert (value["sets"][0]["texts"], value["sets"][0]["rejected_texts"]) == (16, 1)
    assert "16 texts, 1 rejected" in found.text()
    assert "texts are the captions of own.txt here, by Vicuna-33b" in found.text()
    # The same captions under another name are the same store; others are another.
    file.rename(tmp_path / "same.txt")
    again = run(tmp_path, TableTexts(captions=tmp_path / "same.txt"))
    assert (again.sets[0].store, again.sets[0].trained) == (found.sets[0].store, 0)
    (tmp_path / "same.txt").write_text("\n".join(lines[:12]) + "\n")
    other = run(tmp_path, TableTexts(captions=tmp_path / "same.txt"))
    assert other.sets[0].store != found.sets[0].store


def answer(body: Json) -> str:
    """A caption with the colours of the question and words that its seed decides."""
    asked = str(body["messages"][-1]["content"])
    seed = int(body["seed"])
    named = " and ".join(name for name in COLOUR_NAMES if name in asked)
    return f"A {WORDS[seed % 10]} {WORDS[seed // 10 % 10]} {named} kite over a town"


def test_captions_by_a_server_need_it_only_once(tmp_path: Path, encoder: ColourEncoder) -> None:
    own_form(tmp_path / "data")
    with FaultServer(echo(answer=answer)) as server:
        options = {"base_url": server.url, "model": "echo-1", "instructions": "few-shot"}
        found = run(tmp_path, TableTexts(count=24, writer="openai", options=options))
        assert {(row["writer"], row["model"]) for row in texts_of(found)} == {("openai", "echo-1")}
        asked = len(server.requests)
        assert asked >= 24
    # The server is gone, and another place to look for it is no other set of captions.
    elsewhere = options | {"base_url": "http://127.0.0.1:9/v1", "concurrency": 2}
    again = run(tmp_path, TableTexts(count=24, writer="openai", options=elsewhere))
    assert (again.sets[0].store, again.sets[0].trained) == (found.sets[0].store, 0)
    value = again.to_json()
    assert value["writer_options"] == {"model": "echo-1", "instructions": "few-shot"}
    assert "127.0.0.1" not in json.dumps(value)
    assert any(line.startswith("texts are by echo-1 here") for line in value["deviations"])


def test_texts_that_differ_have_stores_of_their_own(tmp_path: Path) -> None:
    options = {"base_url": "http://a/v1", "model": "m"}
    profile = tmp_path / "own.toml"
    profile.write_text('name = "own"\n[[instruction]]\nname = "a"\ntext = "{names}"\n')

    def told(text: str = "") -> TableTexts:
        if text:
            profile.write_text(f'name = "own"\n[[instruction]]\nname = "a"\ntext = "{text}"\n')
        told = options | {"instructions": str(profile)}
        return TableTexts(writer="openai", options=told)

    different = {
        TableTexts().identity(),
        TableTexts(count=9).identity(),
        TableTexts(combinations="balanced").identity(),
        TableTexts(writer="openai", options=options).identity(),
        TableTexts(writer="openai", options=options | {"model": "n"}).identity(),
        TableTexts(writer="openai", options=options | {"temperature": 0.1}).identity(),
        told().identity(),
        told("Caption {names}").identity(),
    }
    assert len(different) == 8
    same = TableTexts(count=10_000, writer="template", combinations="uniform")
    assert same.identity() == TableTexts().identity()


def test_the_papers_own_model_is_no_deviation() -> None:
    options = {"base_url": "http://a/v1", "model": "lmsys/vicuna-33b-v1.3"}
    assert TableTexts(writer="openai", options=options).deviations() == []
    other = TableTexts(
        writer="openai",
        combinations="plausible",
        options=options | {"model": "small", "instructions": "few-shot"},
    )
    assert [line.split()[0] for line in other.deviations()] == ["texts", "combinations", "the"]


def test_what_does_not_go_together_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "own.txt"
    file.write_text("A red kite\n")
    for given, reason in (
        ({"captions": file, "count": 5}, "count= has no meaning with captions="),
        ({"captions": file, "writer": "template"}, "writer= has no meaning with captions="),
        ({"captions": file, "combinations": "uniform"}, "combinations= has no meaning with"),
        ({"captions": tmp_path / "none.txt"}, r"none\.txt: no such file"),
        ({"writer": "openai", "options": {"base_url": "http://a"}}, "needs model= here"),
        ({"options": {"model": "m"}}, "model has no meaning for writer template"),
        ({"writer": "nobody"}, "no text writer 'nobody'"),
    ):
        with pytest.raises(TextError, match=reason):
            TableTexts(**given)
