"""The threads between job and writer: lanes, waves, errors, and leaving in the middle."""

import threading
from collections.abc import Iterator, Sequence

import pytest

from taistore.texts.judge import PlainJudge
from taistore.texts.writer import Judge, JudgeRules, TextRequest, WrittenText
from taistore.texts.writer_threads import (
    BATCH_WAVE,
    LANE_WAVE,
    NO_REPLY,
    SameThread,
    WriterThreads,
    start_writer,
)


def _requests(count: int) -> list[TextRequest]:
    return [
        TextRequest(combination_id=0, label_ids=(0,), turn=t, seed=0, request_id=f"{t}")
        for t in range(count)
    ]


class _Writer:
    """Answers each request when it is let; counts the calls under way."""

    name = "test"
    model = "1"
    instructions = ("",)
    settings = (name,)

    def __init__(self, lanes: int = 1) -> None:
        self.lanes = lanes
        self.let = threading.Event()
        self.lock = threading.Lock()
        self.at_once = self.most = 0

    def judge(self, rules: JudgeRules) -> Judge:
        """Never asked here."""
        return PlainJudge(rules)

    def write(self, requests: Sequence[TextRequest]) -> Iterator[WrittenText]:
        """Texts, or an error for a turn below 0."""
        with self.lock:
            self.at_once += 1
            self.most = max(self.most, self.at_once)
        assert self.let.wait(30)
        for request in requests:
            if request.turn < 0:
                raise ValueError("a bad turn")
            yield WrittenText(request=request, text=f"text {request.turn}")
        with self.lock:
            self.at_once -= 1


def _collect(asker: WriterThreads | SameThread, ready: list[TextRequest]) -> list[str]:
    texts: list[str] = []
    left = len(ready)
    while left:
        while count := asker.room(len(ready)):
            asker.ask(ready[:count])
            del ready[:count]
        answer = asker.next(10)
        if answer is not None:
            texts.append(answer.text or "")
            left -= 1
    return texts


@pytest.mark.parametrize("lanes", [1, 3])
def test_every_request_is_answered_once(lanes: int) -> None:
    writer = _Writer(lanes)
    writer.let.set()
    with WriterThreads(writer) as asker:
        texts = _collect(asker, _requests(40))
    assert sorted(texts) == sorted(f"text {t}" for t in range(40))
    assert writer.most <= lanes


def test_waves_fill_the_lanes_and_one_more_waits() -> None:
    writer = _Writer(3)
    with WriterThreads(writer) as asker:
        for _ in range(4):
            assert asker.room(100) == LANE_WAVE
            asker.ask(_requests(LANE_WAVE))
        assert asker.room(100) == 0
        assert asker.quiet
        writer.let.set()


def test_a_batch_engine_gets_no_tiny_wave_while_another_runs() -> None:
    writer = _Writer()
    with WriterThreads(writer) as asker:
        assert asker.room(0) == 0
        assert asker.room(5) == 5
        asker.ask(_requests(5))
        assert asker.room(BATCH_WAVE - 1) == 0
        assert asker.room(BATCH_WAVE + 1) == BATCH_WAVE
        writer.let.set()


@pytest.mark.parametrize(("lanes", "then"), [(1, 2 * BATCH_WAVE), (2, LANE_WAVE)])
def test_a_batch_engine_that_is_quick_gets_larger_waves(lanes: int, then: int) -> None:
    writer = _Writer(lanes)
    writer.let.set()
    with WriterThreads(writer) as asker:
        assert asker.room(10_000) == (BATCH_WAVE if lanes == 1 else LANE_WAVE)
        _collect(asker, _requests(BATCH_WAVE))
        assert asker.room(10_000) == then


def test_an_error_of_the_writer_reaches_the_job() -> None:
    writer = _Writer()
    writer.let.set()
    bad = [TextRequest(combination_id=0, label_ids=(0,), turn=-1, seed=0, request_id="r.0")]
    with WriterThreads(writer) as asker:
        asker.ask(bad)
        with pytest.raises(ValueError, match="a bad turn"):
            asker.next(10)


def test_nothing_yet_is_none_and_leaving_does_not_wait() -> None:
    writer = _Writer()
    with WriterThreads(writer) as asker:
        asker.ask(_requests(1))
        assert asker.next(0.01) is None
    writer.let.set()


def test_a_writer_that_answers_at_once_is_called_in_the_same_thread() -> None:
    writer = _Writer(0)
    writer.let.set()
    with SameThread(writer) as asker:
        assert asker.room(5) == 5
        asker.ask(_requests(5))
        assert asker.room(7) == 0
        texts = [answer.text for answer in iter(lambda: asker.next(0), None)]
        assert sorted(map(str, texts)) == [f"text {t}" for t in range(5)]
        assert asker.room(7) == 7


class _Careless(_Writer):
    """Answers the first request twice and the others never."""

    def write(self, requests: Sequence[TextRequest]) -> Iterator[WrittenText]:
        """One text, two times."""
        yield WrittenText(request=requests[0], text="one")
        yield WrittenText(request=requests[0], text="two")


@pytest.mark.parametrize("lanes", [0, 1])
def test_a_careless_writer_costs_only_what_it_left_out(lanes: int) -> None:
    writer = _Careless(lanes)
    with start_writer(writer) as asker:
        asker.ask(_requests(3))
        found = [asker.next(10) for _ in range(3)]
    assert [(a.text, a.reason) for a in found if a] == [
        ("one", ""),
        (None, NO_REPLY),
        (None, NO_REPLY),
    ]
