"""Constants and rules whose change no other test would notice, each by what it does."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from taistore.scoring.ladders.ladder import Step, confidence
from taistore.texts.audit.near_duplicates import near_duplicate
from taistore.texts.llm.chat import ChatReply, ChatRequest
from tests.texts.llm.test_conversation_job import PAIRS, rows, store_at, write
from tests.texts.talking import TalkingEngine


@pytest.mark.parametrize(
    ("step", "scores", "expected"),
    [
        ("zero_shot", [-1.0, 0.0, 0.3], [0.0, 0.5, 0.65]),
        ("regions", [-1.0, 0.0, 0.3], [0.0, 0.5, 0.65]),
        ("standardised", [1.5, 2.5, 3.5], [0.168, 0.5, 0.832]),
        ("adapter_logits", [-2.0, 0.0, 2.0], [0.119, 0.5, 0.881]),
        ("adapter_global", [-3.4, -2.4, -1.4], [0.154, 0.5, 0.846]),
        ("adapter", [-3.4, -2.4, -1.4], [0.154, 0.5, 0.846]),
        ("ensemble", [-3.1, -1.1, 0.9], [0.198, 0.5, 0.802]),
    ],
)
def test_what_people_read_at_a_score(
    step: Step, scores: list[float], expected: list[float]
) -> None:
    found = confidence(step, torch.tensor([scores]))[0]
    assert found.tolist() == pytest.approx(expected, abs=0.001)


def test_eleven_words_of_which_one_differs_are_one_caption_and_seven_are_two() -> None:
    # Words and word pairs in common: 18 of 24, just enough, and 11 of 15.
    long = "A brown dog sits beside a wooden table while a {} boy reads newspapers."
    assert near_duplicate(long.format("young"), [long.format("tall")]) == long.format("tall")
    short = "A brown dog sits beside a large wooden {}."
    assert near_duplicate(short.format("table"), [short.format("chair")]) == ""


class _OneThingEngine(TalkingEngine):
    """Whatever pair of colours is asked for, it names one of them, always in the same words."""

    def reply(self, request: ChatRequest) -> ChatReply:
        """The same caption for every request that names red."""
        text = "A red box in the sun." if "red" in request.messages[-1].content else None
        return ChatReply(request_id=request.request_id, text=text, reason="" if text else "other")


@pytest.mark.parametrize("commit_rows", [1, 1000])
def test_of_requests_that_end_as_one_text_the_smallest_key_keeps_it(
    tmp_path: Path, commit_rows: int
) -> None:
    # In one batch, and against a text that is stored already.
    store, engine = store_at(tmp_path / "s"), _OneThingEngine()
    write(store, engine, replace(PAIRS, commit_rows=commit_rows))
    [text] = rows(store, "texts")
    named_red = [r for r in engine.asked if "red" in r.messages[-1].content]
    keys = sorted({request.request_id.partition(".")[0] for request in named_red})
    assert len(keys) > 5
    assert text["request_id"].partition(".")[0] == keys[0]
