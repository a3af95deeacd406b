"""Run by test_generate_kill.py in a process of its own: write captions until it is killed."""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from taistore.encoders.protocol import Float32
from taistore.labels import Label, LabelSet
from taistore.store.store import Store
from taistore.texts.generate import GenerateConfig, generate_texts
from taistore.texts.llm.conversation import ConversationWriter
from taistore.texts.llm.instructions import load_instructions
from taistore.texts.llm.model_sampling import Sampling
from tests.fakes import COLOURS, ColourEncoder
from tests.killing import step
from tests.texts.talking import TalkingEngine

LABELS = LabelSet(Label(name, name) for name in list(COLOURS)[:6])
CONFIG = GenerateConfig(
    count=180, texts_per_combination=3, concurrent=8, commit_rows=8, lost_labels="reduce"
)
TEMPLATES = GenerateConfig(count=900, sizes={1: 2.0, 2: 1.0}, commit_rows=30)
"""So many that some repeat another, and are rejected."""


def write(store: Store, *, before: Callable[[], None] = lambda: None, lanes: int = 1) -> int:
    """The job of this test: small commits, so that a kill falls into one of them.

    Returns how many answers it asked for; ``before`` is called ahead of each.
    """
    with TalkingEngine(before=before) as engine:
        writer = ConversationWriter(
            engine,
            LABELS,
            name="openai",
            prompts=load_instructions("paper"),
            sampling=Sampling(),
            lanes=lanes,
        )
        generate_texts(store, ColourEncoder(), CONFIG, writer=writer)
    return len(engine.asked)


class _Steps(ColourEncoder):
    """Calls ``before`` ahead of each batch; some texts are too long for it."""

    def __init__(self, before: Callable[[], None]) -> None:
        super().__init__(context_length=8)
        self._before = before
        self.texts_batches = 0

    def encode_texts(self, texts: Sequence[str]) -> Float32:
        """Raw text vectors [n, D]."""
        self._before()
        self.texts_batches += 1
        return super().encode_texts(texts)


def write_templates(store: Store, *, before: Callable[[], None] = lambda: None) -> int:
    """The same for templates; returns how many batches it encoded."""
    encoder = _Steps(before)
    generate_texts(store, encoder, TEMPLATES)
    return encoder.texts_batches


if __name__ == "__main__":
    opened = Store.open(Path(sys.argv[1]))
    if sys.argv[2] == "template":
        write_templates(opened, before=step)
    else:
        write(opened, before=step, lanes=2)
