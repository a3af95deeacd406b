"""Writes captions in conversations with a language model (arXiv:2312.04160, section 3.2)."""

from collections.abc import Iterator, Sequence
from random import Random

from taistore.labels import LabelSet
from taistore.texts.judge import AuditJudge
from taistore.texts.language.grammar import label_nouns, noun
from taistore.texts.language.noun_filter import NounFilter
from taistore.texts.llm.chat import ChatEngine, ChatReply, ChatRequest, Message
from taistore.texts.llm.instructions import Example, Instructions
from taistore.texts.llm.model_sampling import Sampling, model_seed
from taistore.texts.templates.template_writer import clear_nouns, join_phrases
from taistore.texts.writer import Judge, JudgeRules, TextRequest, WrittenText
from taistore.texts.writer_threads import NO_REPLY

QUOTED_CHARACTERS = 1000
"""Most of a caption that a follow-up quotes: what is longer would not fit a small context."""


class ConversationWriter:
    """A :class:`taistore.texts.writer.TextWriter` that puts requests to a chat engine.

    Earlier captions of a conversation stand as the assistant's turns, so the engine itself keeps
    nothing between calls. ``name`` is kept in the column ``writer``; ``lanes`` is how many calls of
    :meth:`write` may run at once, 1 where the engine must not be called from several threads.
    ``notes`` are lines for people about what will answer.
    """

    def __init__(
        self,
        engine: ChatEngine,
        labels: LabelSet,
        *,
        name: str,
        prompts: Instructions,
        sampling: Sampling,
        lanes: int = 1,
        notes: Sequence[str] = (),
    ) -> None:
        self.name, self.lanes, self.notes = name, lanes, notes
        self.prompts, self.sampling = prompts, sampling
        self._engine = engine
        self._names = [name for name, _ in label_nouns(labels)]
        self._phrases = [n.one for n in clear_nouns(labels, NounFilter(labels))]
        self._start = self._opening()

    @property
    def model(self) -> str:
        """What answers."""
        return self._engine.model

    @property
    def instructions(self) -> Sequence[str]:
        """Names of the questions that conversations take turns with."""
        return [instruction.name for instruction in self.prompts.instruction]

    @property
    def settings(self) -> tuple[object, ...]:
        """The prompts' digest and the sampling: the same model gives the same behind any engine."""
        return self.prompts.digest, self.sampling

    def judge(self, rules: JudgeRules) -> Judge:
        """The audit; the examples that the model was shown are no captions."""
        return AuditJudge(
            rules,
            question=self.question,
            examples=[example.caption for example in self.prompts.example],
            chance=bool(self.sampling.temperature),
        )

    def write(self, requests: Sequence[TextRequest]) -> Iterator[WrittenText]:
        """One answer per request, in any order, as the engine gives them."""
        waiting = {request.request_id: request for request in requests}
        chats = [self._chat_request(request) for request in waiting.values()]
        for reply in self._engine.chat(chats):
            # An engine that answers twice, or what nobody asked, must not upset the job.
            request = waiting.pop(reply.request_id, None)
            if request is not None:
                yield self._written(request, reply)
        for request in waiting.values():
            yield WrittenText(request=request, text=None, reason=NO_REPLY)

    def _chat_request(self, request: TextRequest) -> ChatRequest:
        return ChatRequest(
            request_id=request.request_id,
            messages=self.messages(request),
            temperature=self.sampling.temperature,
            max_tokens=self.sampling.max_tokens,
            seed=model_seed(request.request_id),
        )

    def messages(self, request: TextRequest) -> tuple[Message, ...]:
        """The conversation that ends with what is asked now."""
        prompts = self.prompts
        spoken = [*self._start, Message("user", self.question(request))]
        earlier = request.earlier[-prompts.remembered :] if prompts.remembered else ()
        if prompts.different:
            for caption in earlier:
                spoken += _follow_up(caption, prompts.different)
        follow_up = {"shorter": prompts.shorter, "different": prompts.different}
        more = follow_up.get(request.retry or "", "")
        if more and request.last:
            spoken += _follow_up(request.last, more)
        return tuple(spoken)

    def question(self, request: TextRequest) -> str:
        """The request's instruction with its labels in it."""
        # Shuffled, or the first label of the set would lead in every caption.
        key = f"{request.seed}:{request.combination_id}:{request.conversation}"
        ordered = Random(key).sample(request.label_ids, len(request.label_ids))
        return self.prompts.ask(
            request.instruction,
            phrases=join_phrases([self._phrases[i] for i in ordered]),
            names=", ".join(self._names[i] for i in ordered),
        )

    def _written(self, request: TextRequest, reply: ChatReply) -> WrittenText:
        return WrittenText(
            request=request,
            text=reply.text,
            reason=reply.reason,
            detail=reply.detail,
            truncated=reply.truncated,
            instruction=f"{self.prompts.name}:{request.instruction}",
            temperature=self.sampling.temperature,
        )

    def _opening(self) -> list[Message]:
        opening = [Message("system", self.prompts.system)] if self.prompts.system else []
        question = self.prompts.instruction[0].name
        for example in self.prompts.example:
            opening.append(Message("user", self._example_question(question, example)))
            opening.append(Message("assistant", example.caption))
        return opening

    def _example_question(self, question: str, example: Example) -> str:
        phrases = join_phrases([noun(name).one for name in example.labels])
        return self.prompts.ask(question, phrases=phrases, names=", ".join(example.labels))


def _follow_up(caption: str, question: str) -> tuple[Message, Message]:
    return Message("assistant", caption[:QUOTED_CHARACTERS]), Message("user", question)
