"""Captions by a language model through the job: what is kept, what is asked again and how."""

import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from taistore.errors import TextError
from taistore.labels import Label, LabelSet
from taistore.progress import ProgressBar
from taistore.store.store import Store
from taistore.texts.generate import generate_texts
from taistore.texts.generate_config import GenerateConfig, GenerateSummary
from taistore.texts.llm.chat import ChatReply, ChatRequest
from taistore.texts.llm.conversation import ConversationWriter
from taistore.texts.llm.instructions import load_instructions
from taistore.texts.llm.model_sampling import Sampling
from taistore.texts.request_ids import combination_of, key_of
from tests.fakes import COLOURS, ColourEncoder
from tests.texts.talking import TalkingEngine
from tests.texts.test_generate_kill import content

LABELS = LabelSet(Label(name, name) for name in list(COLOURS)[:6])
CONFIG = GenerateConfig(count=120, texts_per_combination=3)
PAIRS = replace(CONFIG, count=60, sizes={2: 1.0}, min_per_label=0)


def store_at(folder: Path) -> Store:
    return Store.create(folder, LABELS, default_encoder="colour@32")


def write(
    store: Store,
    engine: TalkingEngine,
    config: GenerateConfig = CONFIG,
    *,
    temperature: float = 0.9,
    lanes: int = 1,
    profile: str = "paper",
) -> GenerateSummary:
    with engine:
        writer = ConversationWriter(
            engine,
            LABELS,
            name="openai",
            prompts=load_instructions(profile),
            sampling=Sampling(temperature=temperature),
            lanes=lanes,
        )
        return generate_texts(store, ColourEncoder(), config, writer=writer)


def rows(store: Store, kind: str) -> list[dict[str, Any]]:
    return [row for batch in store.scan(kind) for row in batch.to_pylist()]


def test_good_captions_are_stored_with_their_requests(tmp_path: Path) -> None:
    store, engine = store_at(tmp_path / "s"), TalkingEngine(vices=False)
    summary = write(store, engine)
    assert summary.written == store.count("texts") == 120 - summary.rejected
    assert summary.written > 100
    assert store.count("text_vectors", summary.encoder_id) == summary.written
    asked = {request.request_id: request for request in engine.asked}
    for row in rows(store, "texts"):
        assert (row["writer"], row["model"], row["seed"]) == ("openai", "talker-1", 0)
        assert row["temperature"] == pytest.approx(0.9)
        assert combination_of(row["request_id"]) == row["combination_id"]
        assert row["request_id"].endswith(f".{row['attempt']}")
        assert row["request_id"] in asked
        assert row["instruction"] == ("paper:caption", "paper:sentence")[row["turn"] // 3 % 2]
        assert row["mentions"] == []
    again = write(store, engine)
    assert (again.written, again.present) == (0, summary.written)
    assert len(engine.asked) == len(asked)


def test_captions_of_a_conversation_are_quoted_in_it_also_after_a_resume(tmp_path: Path) -> None:
    whole, parts = store_at(tmp_path / "whole"), store_at(tmp_path / "parts")
    one, two = TalkingEngine(vices=False), TalkingEngine(vices=False)
    write(whole, one)
    write(parts, two, replace(CONFIG, count=61))
    before = len(two.asked)
    write(parts, two)
    assert content(parts) == content(whole)
    assert {r.request_id for r in two.asked} == {r.request_id for r in one.asked}
    assert {r.request_id: r.messages for r in two.asked} == {
        r.request_id: r.messages for r in one.asked
    }
    assert any(len(r.messages) > 1 for r in two.asked[before:])
    third = {r["request_id"] for r in rows(whole, "texts") if r["turn"] == 2}
    quoted = {
        len(r.messages) for r in one.asked if r.request_id in third and r.request_id[-1] == "0"
    }
    assert quoted == {5}


def test_the_order_of_answers_and_the_number_of_lanes_change_nothing(tmp_path: Path) -> None:
    one, many = store_at(tmp_path / "one"), store_at(tmp_path / "many")
    first = write(one, TalkingEngine(), PAIRS)
    second = write(many, TalkingEngine(), replace(PAIRS, concurrent=3, commit_rows=4), lanes=4)
    assert content(one) == content(many)
    assert first == second
    assert first.reduced > 0


@pytest.mark.parametrize("lost", ["reduce", "retry", "drop"])
def test_what_becomes_of_captions_that_lost_labels(tmp_path: Path, lost: Any) -> None:
    store = store_at(tmp_path / "s")
    summary = write(store, TalkingEngine(), replace(PAIRS, lost_labels=lost))
    texts = rows(store, "texts")
    reduced = [r for r in texts if combination_of(r["request_id"]) != r["combination_id"]]
    assert len(reduced) == summary.reduced
    assert bool(reduced) == (lost == "reduce")
    assert bool(summary.rejects.get("lost_labels")) == (lost == "drop")
    assert bool([r for r in texts if r["attempt"]]) or lost == "drop"
    labels = {r["combination_id"]: r["label_ids"] for r in rows(store, "combinations")}
    for row in texts:
        named = [i for i, name in enumerate(list(COLOURS)[:6]) if name in row["text"].lower()]
        assert labels[row["combination_id"]] == named
    rejected = summary.rejected + summary.rejected_earlier
    total = summary.present + summary.written + summary.repeated + rejected
    assert total == summary.requested == 60


class _SingleLabelEngine(TalkingEngine):
    """Never names more than one label, and always in the same words."""

    def reply(self, request: ChatRequest) -> ChatReply:
        """One of two captions."""
        first = "red" if "red" in request.messages[0].content else "green"
        return ChatReply(request_id=request.request_id, text=f"A {first} box in the sun.")


def test_requests_that_end_as_one_text_share_it_by_key_not_by_time(tmp_path: Path) -> None:
    labels = LABELS[:3]
    stores = []
    for number, concurrent in enumerate((1, 100)):
        store = Store.create(tmp_path / f"{number}", LabelSet(labels), default_encoder="colour@32")
        with _SingleLabelEngine() as engine:
            writer = ConversationWriter(
                engine,
                store.labels,
                name="openai",
                prompts=load_instructions("paper"),
                sampling=Sampling(),
            )
            config = replace(CONFIG, count=30, concurrent=concurrent, commit_rows=1 + number * 99)
            summary = generate_texts(store, ColourEncoder(), config, writer=writer)
        assert summary.written + summary.repeated + summary.rejected == 30
        assert summary.written == store.count("texts") == 2
        stores.append(store)
    assert content(stores[0]) == content(stores[1])
    # Whoever was asked for that label alone keeps the text.
    for row in rows(stores[0], "texts"):
        assert combination_of(row["request_id"]) == row["combination_id"]
    repeated = [r for r in rows(stores[0], "rejects") if r["reason"] == "repeated"]
    assert repeated
    assert {len(r["uri"]) for r in repeated} == {32}


def test_bad_answers_are_asked_for_again_in_the_way_that_helps(tmp_path: Path) -> None:
    store, engine = store_at(tmp_path / "s"), TalkingEngine()
    write(store, engine, replace(PAIRS, count=150))
    later = [r for r in engine.asked if not r.request_id.endswith(".0")]
    shorter = [r for r in later if "too long" in r.messages[-1].content]
    assert shorter
    assert len(later) > len(shorter)
    by_id = {r.request_id: r for r in engine.asked}
    for request in shorter:
        first = by_id[f"{key_of(request.request_id)}.0"]
        assert request.messages[: len(first.messages)] == first.messages
        assert request.messages[len(first.messages)].role == "assistant"
    assert len({r.seed for r in engine.asked}) == len(engine.asked)


def test_nothing_is_asked_twice_the_same_way_without_chance(tmp_path: Path) -> None:
    engine = TalkingEngine()
    summary = write(store_at(tmp_path / "s"), engine, PAIRS, temperature=0)
    said = [(key_of(request.request_id), request.messages) for request in engine.asked]
    later = [r for r in engine.asked if not r.request_id.endswith(".0")]
    assert summary.rejected
    assert later
    assert len(set(said)) == len(said)


class _Parrot(TalkingEngine):
    """Gives an example of the few-shot profile back at each first attempt."""

    def reply(self, request: ChatRequest) -> ChatReply:
        if request.request_id.endswith(".0"):
            return ChatReply(request_id=request.request_id, text=EXAMPLE)
        return super().reply(request)


EXAMPLE = load_instructions("few-shot").example[0].caption


def test_an_example_given_back_is_no_caption(tmp_path: Path) -> None:
    store, engine = store_at(tmp_path / "s"), _Parrot(vices=False)
    summary = write(store, engine, replace(CONFIG, count=30, min_per_label=0), profile="few-shot")
    assert summary.written > 20
    assert EXAMPLE not in {row["text"] for row in rows(store, "texts")}


def test_rejected_requests_rest_until_they_are_called(tmp_path: Path) -> None:
    store, config = store_at(tmp_path / "s"), replace(PAIRS, lost_labels="drop")
    first = write(store, TalkingEngine(), config)
    judged = first.rejected - first.rejects["unanswered:server_error"]
    engine = TalkingEngine(vices=False)
    again = write(store, engine, config)
    assert again.rejected_earlier == judged > 0
    assert again.written + again.rejected == first.rejects["unanswered:server_error"]
    before = len(engine.asked)
    last = write(store, engine, replace(config, retry_rejects=True))
    assert len(engine.asked) >= before + judged
    assert last.rejected_earlier == 0
    kept = {key_of(row["request_id"]) for row in rows(store, "texts")}
    assert not kept & {row["uri"] for row in rows(store, "rejects")}
    assert len(kept) == last.present + last.written


def test_other_settings_are_other_requests(tmp_path: Path) -> None:
    store = store_at(tmp_path / "s")
    few = replace(CONFIG, count=30, min_per_label=0)
    asked = []
    for changes in ({}, {"temperature": 0.1}, {"profile": "few-shot"}):
        engine = TalkingEngine(vices=False)
        write(store, engine, few, **changes)
        asked.append({key_of(r.request_id) for r in engine.asked})
    engine = TalkingEngine(vices=False, model="talker-2")
    write(store, engine, replace(few, seed=0))
    asked.append({key_of(r.request_id) for r in engine.asked})
    write(store, engine, replace(few, seed=1))
    asked.append({key_of(r.request_id) for r in engine.asked} - asked[-1])
    assert all(len(keys) == 30 for keys in asked)
    assert len(set.union(*asked)) == 150


class _MortalEngine(TalkingEngine):
    """With every vice of the other, and gone after some answers."""

    def __init__(self, left: int) -> None:
        super().__init__()
        self.left = left

    def reply(self, request: ChatRequest) -> ChatReply:
        """The same answer as the other's, while it lives."""
        if not self.left:
            raise TextError("answers no more")
        self.left -= 1
        if len(request.messages) > 1 or "words" in request.messages[0].content:
            # So few words that captions of one combination repeat those reduced from another.
            names = [n for n in COLOURS if n in request.messages[0].content][:1]
            said = ("box", "boat")[request.seed % 2]
            text = f"A {names[0]} {said} in the sun."
            return ChatReply(request_id=request.request_id, text=text)
        return super().reply(request)


def test_stopped_after_any_answer_and_run_again_gives_the_same_rows(tmp_path: Path) -> None:
    config = replace(CONFIG, count=90, sizes={1: 1.0, 2: 2.0}, commit_rows=16)
    whole = store_at(tmp_path / "whole")
    write(whole, _MortalEngine(10_000), config)
    assert len({row["reason"] for row in rows(whole, "rejects")}) >= 3
    for answers in (15, 60, 110):
        stopped = store_at(tmp_path / f"{answers}")
        with pytest.raises(TextError, match="answers no more"):
            write(stopped, _MortalEngine(answers), config)
        assert 0 < stopped.count("texts") < whole.count("texts")
        write(stopped, _MortalEngine(10_000), config)
        assert content(stopped) == content(whole)


def test_a_stopped_job_leaves_an_even_part_of_every_combination(tmp_path: Path) -> None:
    whole, half = store_at(tmp_path / "whole"), store_at(tmp_path / "half")
    config = replace(CONFIG, sizes={1: 5.0, 2: 1.0})
    write(whole, TalkingEngine(vices=False), config)
    with pytest.raises(TextError, match="answers no more"):
        write(half, _PoisonedEngine(dies_after=60, poison="nothing"), config, lanes=2)
    total = Counter(row["combination_id"] for row in rows(whole, "texts"))
    there = Counter(row["combination_id"] for row in rows(half, "texts"))
    assert max(total.values()) > 2 * min(total.values())
    parts = [there[c] / n for c, n in total.items() if n >= 6]
    assert max(parts) - min(parts) < 0.4


class _PoisonedEngine(TalkingEngine):
    """Has no answer to whatever names "blue", and dies after some answers where it is told to."""

    def __init__(self, *, dies_after: int | None = None, poison: str = "blue") -> None:
        super().__init__(vices=False)
        self.left, self.poison = dies_after, poison

    def reply(self, request: ChatRequest) -> ChatReply:
        """A caption, or nothing."""
        if self.left is not None:
            if not self.left:
                raise TextError("http://127.0.0.1:1/v1 answers no more: run again")
            self.left -= 1
        if self.poison in request.messages[0].content:
            return ChatReply(
                request_id=request.request_id, text=None, reason="server_error", detail="500: no"
            )
        return super().reply(request)


def test_a_poisoned_prompt_costs_only_its_own_rows(tmp_path: Path) -> None:
    store = store_at(tmp_path / "s")
    summary = write(store, _PoisonedEngine())
    assert 0 < summary.rejected < 120
    assert set(summary.rejects) <= {"unanswered:server_error", "near_duplicate"}
    assert all("blue" not in row["text"].lower() for row in rows(store, "texts"))
    assert {r["detail"] for r in rows(store, "rejects") if r["reason"][0] == "u"} == {"500: no"}
    healed = write(store, TalkingEngine(vices=False))
    assert healed.written >= summary.rejects["unanswered:server_error"] - 5
    assert not [r for r in rows(store, "rejects") if r["reason"].startswith("unanswered")]


def test_a_dead_server_keeps_what_was_answered_and_says_so(tmp_path: Path) -> None:
    store, whole = store_at(tmp_path / "s"), store_at(tmp_path / "whole")
    with pytest.raises(TextError, match="answers no more"):
        write(store, _PoisonedEngine(dies_after=50))
    kept = store.count("texts")
    assert 20 < kept <= 50
    assert store.count("text_vectors", ColourEncoder().info.encoder_id) == kept
    write(store, _PoisonedEngine())
    write(whole, _PoisonedEngine())
    assert content(store) == content(whole)


def test_nothing_usable_fails_the_job_and_stays_failed(tmp_path: Path) -> None:
    class Refusing(TalkingEngine):
        """Refuses everything."""

        def reply(self, request: ChatRequest) -> ChatReply:
            return ChatReply(
                request_id=request.request_id, text="I'm sorry, but I can't help with that."
            )

    store = store_at(tmp_path / "s")
    with pytest.raises(TextError, match=r"none of 120 texts is usable \(refusal\)"):
        write(store, Refusing())
    assert store.count("rejects") == 120
    engine = Refusing()
    with pytest.raises(TextError, match=r"none of 120 .*rejected by earlier runs"):
        write(store, engine)
    assert not engine.asked
    with pytest.raises(TextError, match="more than the 10 allowed"):
        write(store, engine, replace(CONFIG, retry_rejects=True, max_rejects=10, commit_rows=20))


class _StragglingEngine(TalkingEngine):
    """Holds back one answer until it is let go; says when all others are given."""

    def __init__(self) -> None:
        super().__init__(vices=False)
        self.let_go = threading.Event()

    def chat(self, requests: Sequence[ChatRequest]) -> Iterator[ChatReply]:
        """The first request of the first call comes last, and late."""
        first = not self.asked
        self.asked.extend(requests)
        for request in requests[1:] if first else requests:
            yield self.reply(request)
        if first:
            assert self.let_go.wait(30)
            yield self.reply(requests[0])


@pytest.mark.parametrize("lanes", [1, 2])
def test_a_slow_answer_does_not_hold_back_the_others(tmp_path: Path, lanes: int) -> None:
    store, engine = store_at(tmp_path / "s"), _StragglingEngine()
    seen: list[int] = []

    def watch() -> None:
        # One lane: the rest of its wave; two lanes: everything but one combination.
        enough = 10 if lanes == 1 else 90
        while not engine.let_go.is_set():
            there = store.count("texts")
            if there >= enough:
                seen.append(there)
                engine.let_go.set()
            engine.let_go.wait(0.05)

    watcher = threading.Thread(target=watch)
    watcher.start()
    summary = write(store, engine, replace(CONFIG, commit_seconds=0.1), lanes=lanes)
    watcher.join()
    assert seen
    assert summary.written + summary.rejected == 120


def test_progress_counts_what_is_left_and_shows_rejects(tmp_path: Path) -> None:
    store = store_at(tmp_path / "s")
    write(store, TalkingEngine(), replace(CONFIG, count=60))
    totals: list[int | None] = []
    moves: list[tuple[int, dict[str, float]]] = []

    class Bar:
        """Writes down what it is told."""

        def __enter__(self) -> "Bar":
            return self

        def __exit__(self, *_: object) -> None:
            return None

        def advance(self, amount: int = 1, **figures: float) -> None:
            moves.append((amount, figures))

    def progress(description: str, *, total: int | None, unit: str) -> ProgressBar:
        totals.append(total)
        return Bar()

    engine = TalkingEngine()
    with engine:
        writer = ConversationWriter(
            engine,
            LABELS,
            name="openai",
            prompts=load_instructions("paper"),
            sampling=Sampling(),
        )
        summary = generate_texts(store, ColourEncoder(), CONFIG, writer=writer, progress=progress)
    left = 120 - summary.present - summary.rejected_earlier
    assert totals[-1] == left == sum(amount for amount, _ in moves)
    assert moves[-1][1] == {"rejected": summary.rejected}
