"""Run by test_conversation_kill.py in a process of its own: write captions until it is killed."""

import sys
from collections.abc import Callable
from pathlib import Path

from taistore.labels import Label, LabelSet
from taistore.store.store import Store
from taistore.texts.generate import GenerateConfig, generate_texts
from taistore.texts.llm.conversation import ConversationWriter
from taistore.texts.llm.instructions import load_instructions
from taistore.texts.llm.requests import Sampling
from tests.fakes import COLOURS, ColourEncoder
from tests.killing import step
from tests.texts.talking import TalkingEngine

LABELS = LabelSet(Label(name, name) for name in list(COLOURS)[:6])
CONFIG = GenerateConfig(
    count=180, texts_per_combination=3, concurrent=8, commit_rows=8, lost_labels="reduce"
)


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


if __name__ == "__main__":
    write(Store.open(Path(sys.argv[1])), before=step, lanes=2)
