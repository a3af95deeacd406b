"""Captions that a language model wrote for a benchmark, with every raw answer kept in a file."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from taistore.encoders.protocol import Encoder
from taistore.label_files.label_file import read_labels
from taistore.labels import LabelSet
from taistore.store.store import Store
from taistore.texts.generate import GenerateConfig, generate_texts
from taistore.texts.llm.chat import ChatReply, ChatRequest
from taistore.texts.llm.conversation import ConversationWriter
from taistore.texts.llm.engines.llama_server import local_server
from taistore.texts.llm.engines.openai import OpenAIEngine
from taistore.texts.llm.instructions import Instructions, load_instructions
from taistore.texts.llm.model_sampling import Sampling

SLOTS = 8


class Recorded(OpenAIEngine):
    """Keeps its answers in a file; what was answered is not asked again."""

    def __init__(self, base_url: str, path: Path, *, concurrency: int) -> None:
        super().__init__(base_url, concurrency=concurrency)
        self._path = path
        self._replies = {reply.request_id: reply for reply in read_replies(path)}

    def chat(self, requests: Sequence[ChatRequest]) -> Iterator[ChatReply]:
        """One reply per request: those on file first."""
        known = [r.request_id for r in requests if r.request_id in self._replies]
        yield from (self._replies[i] for i in known)
        for reply in super().chat([r for r in requests if r.request_id not in self._replies]):
            if reply.text is not None:
                fields = ("request_id", "text", "truncated")
                line = json.dumps({name: getattr(reply, name) for name in fields}) + "\n"
                with self._path.open("a", encoding="utf-8") as file:
                    file.write(line)
            yield reply


def read_replies(path: Path) -> list[ChatReply]:
    """The answers on file, in the order in which they came."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    return [ChatReply(**json.loads(line)) for line in lines]


def write(name: str, data: Path, work: Path, encoder: Encoder, *, count: int) -> None:
    """Have ``count`` captions of one set written into ``work/<set>/model``."""
    labels = read_labels(data / name / "classes.csv")
    with local_server(slots=SLOTS) as url:
        prompts = load_instructions("few-shot")
        config = GenerateConfig(count=count)
        write_captions(work / name, labels, encoder, url=url, prompts=prompts, config=config)


def write_captions(
    folder: Path,
    labels: LabelSet,
    encoder: Encoder,
    *,
    url: str,
    prompts: Instructions,
    config: GenerateConfig,
) -> Store:
    """Captions by the model behind ``url`` in the store ``folder/model``; goes on where it was."""
    folder.mkdir(parents=True, exist_ok=True)
    store = Store.create(folder / "model", labels, default_encoder=encoder.info.spec)
    with Recorded(url, folder / "answers.jsonl", concurrency=SLOTS) as engine:
        writer = ConversationWriter(
            engine, labels, name="openai", prompts=prompts, sampling=Sampling(), lanes=SLOTS
        )
        print(generate_texts(store, encoder, config, writer=writer), flush=True)
    return store
