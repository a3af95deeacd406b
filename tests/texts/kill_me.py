"""Run by test_generate_kill.py in a process of its own: write captions until it is killed."""

import sys
from pathlib import Path

from taistore.labels import Label, LabelSet
from taistore.store.store import Store
from taistore.texts.generate import GenerateConfig, generate_texts
from taistore.texts.llm.conversation import ConversationWriter
from taistore.texts.llm.instructions import load_instructions
from taistore.texts.llm.sampling import Sampling
from tests.fakes import COLOURS, ColourEncoder
from tests.texts.talking import TalkingEngine

LABELS = LabelSet(Label(name, name) for name in list(COLOURS)[:6])
CONFIG = GenerateConfig(
    count=180, texts_per_combination=3, concurrent=8, commit_rows=8, lost_labels="reduce"
)
TEMPLATES = GenerateConfig(count=900, sizes={1: 2.0, 2: 1.0}, commit_rows=30)
"""So many that some repeat another, and are rejected."""


def write(store: Store, *, seconds: float = 0.0, lanes: int = 1) -> None:
    """The job of this test: small commits, so that a kill falls into one of them."""
    with TalkingEngine(seconds=seconds) as engine:
        writer = ConversationWriter(
            engine,
            LABELS,
            name="openai",
            prompts=load_instructions("paper"),
            sampling=Sampling(),
            lanes=lanes,
        )
        generate_texts(store, ColourEncoder(), CONFIG, writer=writer)


def write_templates(store: Store) -> None:
    """The same for templates, with an encoder that some texts are too long for."""
    generate_texts(store, ColourEncoder(context_length=8), TEMPLATES)


if __name__ == "__main__":
    opened = Store.open(Path(sys.argv[1]))
    print("ready", flush=True)  # noqa: T201
    if sys.argv[2] == "template":
        write_templates(opened)
    else:
        write(opened, seconds=0.004, lanes=2)
