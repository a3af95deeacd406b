"""What a model is asked, word by word, and that an odd engine does not upset the writer."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from taistore.labels import Label, LabelSet
from taistore.texts.llm.chat import ChatReply, ChatRequest
from taistore.texts.llm.conversation import ConversationWriter
from taistore.texts.llm.instructions import load_instructions
from taistore.texts.llm.model_sampling import Sampling
from taistore.texts.writer import TextRequest
from taistore.texts.writer_threads import NO_REPLY
from tests.texts.talking import TalkingEngine

LABELS = LabelSet(Label(n, n) for n in ("red", "scissors", "hour", "birds", "bird", "broccoli"))
REQUEST = TextRequest(
    combination_id=5, label_ids=(1, 2), turn=0, seed=0, instruction="caption", request_id="r.0"
)
DIFFERENT = (
    "Go ahead and add a caption to this image that is different from what you described before."
)


def _writer(profile: str = "paper", engine: TalkingEngine | None = None) -> ConversationWriter:
    return ConversationWriter(
        engine or TalkingEngine(),
        LABELS,
        name="openai",
        prompts=load_instructions(profile),
        sampling=Sampling(temperature=0.5, max_tokens=40),
    )


def _spoken(writer: ConversationWriter, request: TextRequest) -> list[tuple[str, str]]:
    return [(m.role, m.content) for m in writer.messages(request)]


def test_labels_stand_in_the_question_as_english() -> None:
    writer = _writer()
    first = _spoken(writer, REQUEST)
    assert first in (
        [("user", f"Please briefly caption an image that contains {labels}.")]
        for labels in ("a pair of scissors and an hour", "an hour and a pair of scissors")
    )
    bare = _spoken(writer, replace(REQUEST, instruction="sentence"))[0][1]
    assert ("words scissors, hour into" in bare) or ("words hour, scissors into" in bare)
    # "birds" is a label of its own here, so that "bird" must not become it, nor the reverse.
    both = _spoken(writer, replace(REQUEST, label_ids=(3, 4)))[0][1]
    assert "birds" in both
    assert "a bird" in both


def test_no_label_always_leads() -> None:
    writer = _writer()
    asked = {_spoken(writer, replace(REQUEST, combination_id=i))[0][1] for i in range(20)}
    assert len(asked) == 2
    # Follow-ups repeat the conversation's question as it was.
    later = replace(REQUEST, turn=1, attempt=2, request_id="q.2")
    assert _spoken(writer, later) == _spoken(writer, REQUEST)


def test_further_captions_are_turns_of_one_conversation() -> None:
    writer = _writer()
    question = _spoken(writer, REQUEST)[0]
    request = replace(REQUEST, turn=2, earlier=("One.", "Two."))
    assert _spoken(writer, request) == [
        question,
        ("assistant", "One."),
        ("user", DIFFERENT),
        ("assistant", "Two."),
        ("user", DIFFERENT),
    ]
    many = replace(REQUEST, turn=20, earlier=tuple(f"{i}." for i in range(20)))
    assert len(_spoken(writer, many)) == 1 + 2 * 8


def test_follow_ups_after_a_caption_that_was_no_good() -> None:
    writer = _writer()
    question = _spoken(writer, REQUEST)[0]
    long = replace(REQUEST, attempt=1, retry="shorter", last="Long " * 1000)
    shorter = ("user", "It's too long, please make it shorter.")
    assert _spoken(writer, long) == [question, ("assistant", ("Long " * 200)), shorter]
    same = replace(REQUEST, attempt=1, retry="different", last="Same.", earlier=("One.",))
    assert _spoken(writer, same)[1:] == [
        ("assistant", "One."),
        ("user", DIFFERENT),
        ("assistant", "Same."),
        ("user", DIFFERENT),
    ]
    lost = replace(REQUEST, attempt=1, retry="again", last="Nothing.")
    assert _spoken(writer, lost) == [question]


def test_few_shot_puts_examples_in_front_and_forgets() -> None:
    writer = _writer("few-shot")
    request = replace(
        REQUEST, instruction="things", turn=3, earlier=("One.",), retry="shorter", last="Long."
    )
    spoken = _spoken(writer, request)
    assert [role for role, _ in spoken] == ["system", *["user", "assistant"] * 4, "user"]
    assert spoken[1] == ("user", "dog, frisbee")
    assert spoken[-1][1] in ("scissors, hour", "hour, scissors")


def test_requests_reach_the_engine_with_settings_and_their_own_seed() -> None:
    engine = TalkingEngine(vices=False)
    writer = _writer(engine=engine)
    requests = [replace(REQUEST, label_ids=(0,), request_id=f"r.{i}") for i in range(3)]
    answers = list(writer.write(requests))
    assert {a.request.request_id for a in answers} == {"r.0", "r.1", "r.2"}
    assert all(a.text and "red" in a.text for a in answers)
    assert len({request.seed for request in engine.asked}) == 3
    assert {(r.temperature, r.max_tokens) for r in engine.asked} == {(0.5, 40)}


class _OddEngine(TalkingEngine):
    """Answers one request twice, one never, and one that nobody asked."""

    def chat(self, requests: Sequence[ChatRequest]) -> Iterator[ChatReply]:
        """Replies that do not fit the requests."""
        first = requests[0].request_id
        yield ChatReply(request_id=first, text="One.")
        yield ChatReply(request_id=first, text="Two.")
        yield ChatReply(request_id="nobody", text="Three.")


def test_an_engine_that_miscounts_costs_only_what_it_left_out() -> None:
    writer = _writer(engine=_OddEngine())
    requests = [replace(REQUEST, request_id=f"r.{i}") for i in range(2)]
    answers = [(a.request.request_id, a.text, a.reason) for a in writer.write(requests)]
    assert answers == [("r.0", "One.", ""), ("r.1", None, NO_REPLY)]
