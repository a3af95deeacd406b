"""The generation job: what it writes, what it refuses, and that a kill changes nothing."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from taistore.encoders.protocol import Float32
from taistore.errors import EncoderError, TextError
from taistore.labels import Label, LabelSet
from taistore.store.store import Store
from taistore.texts.generate import GenerateConfig, generate_texts
from taistore.texts.judge import PlainJudge
from taistore.texts.writer import Judge, JudgeRules, TextRequest, WrittenText
from tests.fakes import COLOURS, ColourEncoder

LABELS = LabelSet(Label(name, name) for name in list(COLOURS)[:6])


def _store(folder: Path, labels: LabelSet = LABELS) -> Store:
    return Store.create(folder, labels, default_encoder="colour@32")


def _rows(store: Store, kind: str, encoder_id: str | None = None) -> list[dict[str, Any]]:
    rows = [row for batch in store.scan(kind, encoder_id=encoder_id) for row in batch.to_pylist()]
    return sorted(rows, key=lambda row: str(list(row.values())[:2]))


def _content(store: Store, encoder: ColourEncoder) -> list[list[dict[str, Any]]]:
    vectors = _rows(store, "text_vectors", encoder.info.encoder_id)
    return [_rows(store, "combinations"), _rows(store, "texts"), vectors]


def test_writes_the_asked_texts_once(tmp_path: Path) -> None:
    store, encoder = _store(tmp_path / "s"), ColourEncoder()
    config = GenerateConfig(count=240, commit_rows=50)
    first = generate_texts(store, encoder, config)
    assert (first.requested, first.written, first.present) == (240, 240, 0)
    assert store.count("texts") == 240 == store.count("text_vectors", first.encoder_id)
    assert first.balance.labels == 6
    assert first.balance.minimum > 0
    again = generate_texts(store, encoder, config)
    assert (again.written, again.present) == (0, 240)
    assert again.balance == first.balance
    for row in _rows(store, "texts"):
        assert row["writer"] == "template"
        assert row["seed"] == 0
        assert row["tokens"] == encoder.count_tokens([row["text"]])[0]
    more = generate_texts(store, encoder, replace(config, seed=9))
    assert more.balance.mean == pytest.approx(2 * first.balance.mean, rel=0.1)


def test_a_larger_count_keeps_what_is_there(tmp_path: Path) -> None:
    encoder = ColourEncoder()
    grown, whole = _store(tmp_path / "grown"), _store(tmp_path / "whole")
    generate_texts(grown, encoder, GenerateConfig(count=100))
    before = {row["text_id"] for row in _rows(grown, "texts")}
    extended = generate_texts(grown, encoder, GenerateConfig(count=203))
    assert (extended.present, extended.written) == (100, 103)
    generate_texts(whole, encoder, GenerateConfig(count=203))
    assert before < {row["text_id"] for row in _rows(grown, "texts")}
    assert _content(grown, encoder) == _content(whole, encoder)


class _Killed(BaseException):
    """Stands for a signal: nothing may catch it."""


class _DyingEncoder(ColourEncoder):
    """Dies at its n-th call of ``encode_texts``."""

    def __init__(self, calls: int) -> None:
        super().__init__()
        self.calls = calls

    def encode_texts(self, texts: Sequence[str]) -> Float32:
        """Raw text vectors [n, D], until it dies."""
        if self.calls == 0:
            raise _Killed
        self.calls -= 1
        return super().encode_texts(texts)


@pytest.mark.parametrize("calls", [0, 1, 3])
def test_killed_and_rerun_ends_with_the_same_rows(tmp_path: Path, calls: int) -> None:
    config = GenerateConfig(count=120, commit_rows=30)
    killed, whole = _store(tmp_path / "killed"), _store(tmp_path / "whole")
    with pytest.raises(_Killed):
        generate_texts(killed, _DyingEncoder(calls), config)
    assert killed.count("texts") > killed.count("text_vectors", ColourEncoder().info.encoder_id)
    rerun = generate_texts(killed, ColourEncoder(), config)
    assert rerun.encoded_earlier == 30
    generate_texts(whole, ColourEncoder(), config)
    assert _content(killed, ColourEncoder()) == _content(whole, ColourEncoder())


def test_texts_that_are_too_long_are_asked_for_shorter(tmp_path: Path) -> None:
    store, encoder = _store(tmp_path / "s"), ColourEncoder(context_length=8)
    summary = generate_texts(store, encoder, GenerateConfig(count=150))
    assert summary.rejected == 0
    assert summary.written + summary.repeated == 150
    assert max(row["tokens"] for row in _rows(store, "texts")) <= 8


def test_texts_that_cannot_fit_are_rejected_not_cut(tmp_path: Path) -> None:
    long = LabelSet([*LABELS, Label("long", "a sign that says " + "very " * 20 + "long words")])
    store, encoder = _store(tmp_path / "s", long), ColourEncoder(context_length=16)
    summary = generate_texts(store, encoder, GenerateConfig(count=140, sizes={1: 1.0}))
    assert summary.rejected == 20
    rejects = _rows(store, "rejects")
    assert {row["reason"] for row in rejects} == {"too_long"}
    assert len(rejects) == 20
    assert "the encoder takes at most 16: shorten the text" in rejects[0]["detail"]
    config = GenerateConfig(count=140, sizes={1: 1.0}, max_rejects=5)
    assert generate_texts(store, encoder, config).rejected_earlier == 20
    with pytest.raises(TextError, match="more than the 5 allowed"):
        generate_texts(store, encoder, replace(config, retry_rejects=True))
    # Another encoder may take what was too long for the first.
    longer = ColourEncoder(context_length=80)
    healed = generate_texts(store, longer, replace(config, retry_rejects=True))
    assert (healed.present, healed.written) == (120, 20)
    assert store.count("rejects") == 0


class _StubbornWriter:
    """A real writer that knows few texts, refuses some and records what it was asked."""

    name = "stubborn"
    model = "1"
    instructions = ("brief", "long")
    settings = (name,)
    lanes = 0

    def __init__(self, *, usable: bool = True) -> None:
        self.usable = usable
        self.asked: list[TextRequest] = []

    def judge(self, rules: JudgeRules) -> Judge:
        """Whatever is new."""
        return PlainJudge(rules)

    def write(self, requests: Sequence[TextRequest]) -> list[WrittenText]:
        """The turn number spelled out, modulo three, unless asked for a different text."""
        self.asked.extend(requests)
        return [self._answer(request) for request in requests]

    def _answer(self, request: TextRequest) -> WrittenText:
        if not self.usable:
            return WrittenText(request=request, text=None, reason="refused")
        words = ["one", "two", "three", "four", "five"]
        return WrittenText(request=request, text=words[request.turn % 3 + request.attempt])


def test_a_text_that_a_combination_has_already_is_asked_for_differently(tmp_path: Path) -> None:
    store, writer = _store(tmp_path / "s", LabelSet([Label("red", "red")])), _StubbornWriter()
    config = GenerateConfig(count=6, texts_per_combination=2, attempts=3, min_per_label=0)
    summary = generate_texts(store, ColourEncoder(), config, writer=writer)
    assert (summary.written, summary.repeated, summary.rejected) == (5, 1, 0)
    (reject,) = _rows(store, "rejects")
    assert (reject["reason"], reject["writer"]) == ("repeated", "stubborn")
    assert {request.retry for request in writer.asked} == {None, "different"}
    turns = [r for r in writer.asked if not r.attempt]
    assert [r.turn for r in turns] == [0, 1, 2, 3, 4, 5]
    assert [r.conversation for r in turns] == [0, 0, 1, 1, 2, 2]
    assert [r.instruction for r in turns] == ["brief", "brief", "long", "long", "brief", "brief"]


def test_a_writer_that_gives_nothing_fails_the_job(tmp_path: Path) -> None:
    store, writer = _store(tmp_path / "s"), _StubbornWriter(usable=False)
    with pytest.raises(TextError, match=r"none of 60 texts is usable \(unanswered:refused\)"):
        generate_texts(store, ColourEncoder(), GenerateConfig(count=60), writer=writer)
    assert store.count("rejects") == 60
    generate_texts(store, ColourEncoder(), GenerateConfig(count=60))
    with pytest.raises(TextError, match="none of 60"):
        generate_texts(store, ColourEncoder(), GenerateConfig(count=60), writer=writer)


def test_bad_requests_are_named(tmp_path: Path) -> None:
    store = _store(tmp_path / "s")
    with pytest.raises(EncoderError, match="cannot encode text"):
        generate_texts(store, ColourEncoder(context_length=None), GenerateConfig(count=60))
    with pytest.raises(TextError, match=r"ask for .* texts"):
        generate_texts(store, ColourEncoder(), GenerateConfig(count=3))
    with pytest.raises(TextError, match="attempts is 0"):
        GenerateConfig(count=3, attempts=0)
    assert store.count("texts") == 0
