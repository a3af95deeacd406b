"""What a text writer is, for whoever adds one.

A writer puts label combinations into words. taistore's own are ``template`` (patterns), ``openai``
and ``vllm`` (language models). Another package adds one by an entry point, and it is then used by
``taistore generate-texts --writer haiku`` and by
:func:`taistore.texts.writers.open_writer`::

    # pyproject.toml
    [project.entry-points."taistore.writers"]
    haiku = "my_package:HaikuWriter"

    # my_package.py
    class HaikuWriter:
        name, model, instructions, settings, lanes = "haiku", "1", ("",), ("haiku",), 0

        def __init__(self, labels, *, mood="calm"):
            self.labels, self.mood = labels, mood

        def judge(self, rules):
            return PlainJudge(rules)          # taistore.texts.judge: takes what is new and fits

        def write(self, requests):
            for request in requests:
                names = [self.labels[i].name for i in request.label_ids]
                yield WrittenText(request=request, text=f"{' and '.join(names)}, {self.mood}")

The entry point is called with the label set and with the options that the user gave, by keyword;
it returns a writer, or a context manager that gives one and closes what it holds (connections, a
GPU). The job does everything else: it decides which texts are pending, asks, has each answer
judged, asks again where the judge says so, encodes and stores. It can be killed at any time, and
never asks again for what the store holds.
"""

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from taistore.labels import LabelSet
from taistore.texts.audit.caption_audit import Lost
from taistore.texts.language.token_lengths import Length

Retry = Literal["shorter", "different", "again"]
"""Why a text is asked for again: the last was too long, the combination has it, it was no good."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TextRequest:
    """One text that is wanted for one combination.

    ``turn`` counts the texts of a combination from 0; the turns ``conversation * n ...
    conversation * n + n - 1`` (n texts per combination) belong to one conversation, so that a
    chat model may be asked for "another, different caption". ``attempt`` > 0 asks once more for a
    text that was not usable, ``retry`` says why. ``instruction`` names the writer's instruction.
    ``request_id`` is the request's identity: equal requests have equal ids on every machine.

    For writers that hold conversations: ``earlier`` are the texts of this conversation so far and
    ``last`` is the text that was not usable.
    """

    combination_id: int
    label_ids: tuple[int, ...]
    turn: int
    seed: int
    request_id: str
    conversation: int = 0
    instruction: str = ""
    attempt: int = 0
    retry: Retry | None = None
    earlier: tuple[str, ...] = ()
    last: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class WrittenText:
    """The answer to one request: a text, or ``None`` with the reason kept in ``rejects``.

    ``truncated``: the writer had to stop in the middle. ``instruction`` (None: the request's) and
    ``temperature`` are kept in the columns of these names.
    """

    request: TextRequest
    text: str | None
    reason: str = ""
    detail: str = ""
    truncated: bool = False
    instruction: str | None = None
    temperature: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Kept:
    """A judge's yes: this text, for these labels, ascending.

    ``mentions`` are other labels of the set that it mentions; None where nobody looked.
    """

    text: str
    label_ids: tuple[int, ...]
    mentions: tuple[int, ...] | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class AskAgain:
    """A judge's not yet: the same text is asked for once more; ``last`` is what was said."""

    retry: Retry
    last: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Refused:
    """A judge's no: a reason code and a line of detail, for the table ``rejects``."""

    reason: str
    detail: str


Judgement = Kept | AskAgain | Refused


@dataclass(frozen=True, kw_only=True, slots=True)
class JudgeRules:
    """What a judge goes by: the labels, the encoder's limit, and the job's configuration.

    ``limit`` measures a text in tokens. A text is asked for at most ``attempts`` times.
    ``lost_labels`` says what becomes of a text that does not mention all its labels, where that
    is looked at; None: what the judge does by itself.
    """

    labels: LabelSet
    limit: Callable[[str], Length]
    attempts: int
    lost_labels: Lost | None = None


class Judge(Protocol):
    """Decides what becomes of an answer; see :mod:`taistore.texts.judge` for those there are."""

    def judge(self, answer: WrittenText, known: Collection[str]) -> Judgement:
        """Judge an answer that has a text; ``known`` are the combination's texts so far.

        The judgement may depend on the answer and on ``known`` only, so that a job that was
        killed ends with the same rows.
        """
        ...


class TextWriter(Protocol):
    """Turns requests into texts: by patterns, or by a language model in conversations.

    Every attribute must be there. A writer may also have ``notes``, lines that are shown before
    the job begins. One of taistore's errors ends the job in its own words, best
    :class:`~taistore.errors.TextError`; anything else that is raised is reported as a mistake of
    the plugin. Either way what was answered before is kept, and the next run asks for the rest.
    """

    @property
    def name(self) -> str:
        """Stored in the column ``writer``: "template", "vllm", "openai"."""
        ...

    @property
    def model(self) -> str:
        """Stored in the column ``model``: what answers, with its version. Never holds a key."""
        ...

    @property
    def instructions(self) -> Sequence[str]:
        """Names of the instructions that conversations take turns with; at least one."""
        ...

    @property
    def settings(self) -> tuple[object, ...]:
        """Whatever else a text depends on: prompts, sampling. Part of each request's identity.

        Hashable values whose ``repr`` says all and is equal on every machine. Put the writer's
        name first, unless the same model behind another writer gives the same texts.
        """
        ...

    @property
    def lanes(self) -> int:
        """How many calls of :meth:`write` may run at once, each in a thread of its own.

        1 where it must not be called from several threads; 0 where it answers at once: it is then
        called in the job's own thread.
        """
        ...

    def judge(self, rules: JudgeRules) -> Judge:
        """What judges this writer's texts in a job with these rules."""
        ...

    def write(self, requests: Sequence[TextRequest]) -> Iterable[WrittenText]:
        """One answer per request, in any order, each as soon as it is there.

        A writer never raises for a single text: it answers ``text=None`` with a reason, and the
        next run asks again. It raises :class:`taistore.errors.TextError` where none can succeed.
        """
        ...
