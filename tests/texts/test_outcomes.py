"""What is committed: whose text stays where two are one, and what equal jobs make of it."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from taistore.encoders.protocol import Float32
from taistore.labels import Label, LabelSet
from taistore.store.store import Store
from taistore.texts.generate import GenerateConfig, GenerateSummary, generate_texts
from taistore.texts.judge import PlainJudge
from taistore.texts.outcomes import wins
from taistore.texts.request_ids import key_of
from taistore.texts.rows.text_rows import TextRow
from taistore.texts.writer import Judge, JudgeRules, TextRequest, WrittenText
from tests.fakes import COLOURS, ColourEncoder

LABELS = LabelSet(Label(name, name) for name in list(COLOURS)[:6])
CONFIG = GenerateConfig(count=120, commit_rows=20)


def _row(asked: int | None, key: str = "") -> TextRow:
    """A text kept under combination 7, asked for under ``asked`` in a request that ends so."""
    return TextRow(
        text_id="t",
        combination_id=7,
        label_ids=(0,),
        text="a dog",
        writer="w",
        model=None,
        instruction=None,
        turn=0,
        seed=None,
        tokens=2,
        request_id=None if asked is None else f"{asked:016x}{key:0>16}.0",
    )


@pytest.mark.parametrize(
    ("row", "other", "expected"),
    [
        (_row(7), _row(8), True),
        (_row(8), _row(7), False),
        (_row(8, "1"), _row(8, "2"), True),
        (_row(8, "2"), _row(8, "1"), False),
        (_row(8, "1"), _row(8, "1"), False),
        (_row(7, "1"), _row(7, "2"), False),
        (_row(7, "1"), _row(None), False),
        (_row(None), _row(8), True),
    ],
)
def test_who_was_asked_for_those_labels_keeps_the_text_else_the_smaller_key(
    row: TextRow, other: TextRow, expected: bool
) -> None:
    assert wins(row, other) == expected


class _Scribe:
    """A writer whose texts tell which job asked; ``meanwhile`` happens before its n-th call."""

    name, model, instructions, settings, lanes = "scribe", "1", ("",), ("scribe",), 0

    def __init__(self, job: str, meanwhile: Callable[[], None], call: int) -> None:
        self._job, self._meanwhile, self._calls_left = job, meanwhile, call

    def judge(self, rules: JudgeRules) -> Judge:
        """Whatever is new."""
        return PlainJudge(rules)

    def write(self, requests: Sequence[TextRequest]) -> Iterator[WrittenText]:
        """Texts that no other job writes."""
        self._calls_left -= 1
        if self._calls_left == 0:
            self._meanwhile()
        for request in requests:
            yield WrittenText(request=request, text=f"{self._job} writes {request.turn}")


class _BusyEncoder(ColourEncoder):
    """Lets something happen in its first call, which falls between two commits."""

    def __init__(self, meanwhile: Callable[[], None]) -> None:
        super().__init__()
        self._meanwhile: Callable[[], None] | None = meanwhile

    def encode_texts(self, texts: Sequence[str]) -> Float32:
        """Raw text vectors [n, D]."""
        meanwhile, self._meanwhile = self._meanwhile, None
        if meanwhile is not None:
            meanwhile()
        return super().encode_texts(texts)


def _nothing() -> None:
    """Nobody else is there."""


JOBS = ("this", "another", "a third")


@pytest.mark.parametrize(("place", "least"), [("first", 0), ("later", 20), ("encoding", 20)])
@pytest.mark.parametrize("jobs", [2, 3])
def test_equal_jobs_at_once_write_one_text_for_each_request(
    tmp_path: Path, jobs: int, place: str, least: int
) -> None:
    store = Store.create(tmp_path / "s", LABELS, default_encoder="colour@32")
    done: dict[str, GenerateSummary] = {}
    call = {"first": 1, "later": 9, "encoding": 0}[place]

    def write(number: int) -> None:
        """One of the jobs; at its place the next one does all that is left."""
        name = JOBS[number]
        following = (lambda: write(number + 1)) if number + 1 < jobs else _nothing
        encoder = _BusyEncoder(following if place == "encoding" else _nothing)
        scribe = _Scribe(name, following, call)
        done[name] = generate_texts(store, encoder, CONFIG, writer=scribe)

    write(0)
    assert len(done) == jobs
    rows: list[dict[str, Any]] = [row for b in store.scan("texts") for row in b.to_pylist()]
    keys = [key_of(row["request_id"]) for row in rows]
    assert len(set(keys)) == len(keys) == 120
    assert least <= done["this"].written < 120
    for name, summary in done.items():
        assert summary.written == sum(row["text"].startswith(f"{name} writes") for row in rows)
        assert (summary.present, summary.rejected) == (120 - summary.written, 0)
    assert store.count("text_vectors", ColourEncoder().info.encoder_id) == 120


def test_a_job_alone_looks_for_no_answers_of_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store.create(tmp_path / "s", LABELS, default_encoder="colour@32")
    scanned: list[object] = []
    scan = Store.scan

    def watched(self: Store, kind: str, **options: Any) -> Any:
        scanned.append((options.get("where") or {}).get("request_id"))
        return scan(self, kind, **options)

    monkeypatch.setattr(Store, "scan", watched)
    generate_texts(store, ColourEncoder(), CONFIG)
    assert not [ids for ids in scanned if ids]
