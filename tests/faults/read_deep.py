"""Run by test_deep_json.py in a process of its own: reads deeply nested files of every kind.

``python -m tests.faults.read_deep FOLDER`` prints a line of JSON for each kind and depth: what was
said, and the most memory (bytes) that the process has held so far.
"""

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from taistore.adapter.config import TrainConfig
from taistore.adapter.run_files.checkpoint import load_adapter
from taistore.adapter.run_files.file_names import CARD, WEIGHTS
from taistore.errors import TaistoreError
from taistore.images.sources.open_source import open_source
from taistore.labels import Label, LabelSet
from taistore.record_files import BadRecord, read_objects
from taistore.reproduction.without_data.peak_memory import peak_bytes
from taistore.scoring.ensembles.ensemble import load_ensemble
from taistore.scoring.tags.read_tags import read_tags
from taistore.store.rejects import Reject
from taistore.texts.ingest.caption_files import BadLine, read_captions
from taistore.texts.llm.engines.openai import OpenAIEngine
from taistore.texts.llm.instructions import load_instructions
from tests.faults.server import FaultServer, raw
from tests.faults.test_chat_faults import requests

WARM, DEPTHS = 20, (10_000, 20_000, 40_000)
LABELS = LabelSet([Label("cat", "cat")])


def objects(depth: int) -> str:
    """Objects in objects."""
    return '{"a":' * depth + "1" + "}" * depth


def lists(depth: int) -> str:
    """Lists in lists."""
    return "[" * depth + "1" + "]" * depth


def _file(name: str, text: str) -> Path:
    path = Path(sys.argv[1]) / name
    path.write_text(text, encoding="utf-8")
    return path


def _card(deep: str) -> str:
    path = _file(CARD, f'{{"config": {deep}}}')
    (path.parent / WEIGHTS).touch()
    load_adapter(path.parent)
    return ""


def _ensemble(deep: str) -> str:
    load_ensemble(_file(CARD, f'{{"members": {deep}}}').parent)
    return ""


def _settings(deep: str) -> str:
    TrainConfig.from_file(_file("c.json", f'{{"config": {deep}}}'))
    return ""


def _settings_in_toml(deep: str) -> str:
    TrainConfig.from_file(_file("c.toml", f"a = {deep if deep[0] == '[' else lists(len(deep))}"))
    return ""


def _instructions(deep: str) -> str:
    load_instructions(str(_file("i.json", deep)))
    return ""


def _captions(deep: str) -> str:
    (line,) = read_captions(_file("c.jsonl", deep))
    return line.detail if isinstance(line, BadLine) else ""


def _manifest(deep: str) -> str:
    (item,) = open_source(_file("m.jsonl", deep), LABELS)
    return item.detail if isinstance(item, Reject) else ""


def _ids(deep: str) -> str:
    (record,) = read_objects(_file("ids.jsonl", deep))
    return record.detail if isinstance(record, BadRecord) else ""


def _annotations(deep: str) -> str:
    list(open_source(_file("instances.json", f'{{"info": {deep}, "images": []}}'), LABELS))
    return ""


def _annotations_of_a_layout(deep: str) -> str:
    path = _file("instances.json", f'{{"annotations": [{{"segmentation": {deep}}}]}}')
    list(open_source(path, LABELS, layout="coco"))
    return ""


def _tags(deep: str) -> str:
    list(read_tags(_file("tags.jsonl", deep)))
    return ""


def _answer(deep: str) -> str:
    """What a chat engine makes of such an answer."""
    with (
        FaultServer(raw(deep.encode())) as server,
        OpenAIEngine(server.url, retries=0, first_wait=0.01) as engine,
    ):
        (reply,) = engine.chat(requests(1))
    return reply.detail


READERS: dict[str, Callable[[str], str]] = {
    "card": _card,
    "card of an ensemble": _ensemble,
    "settings": _settings,
    "settings in TOML": _settings_in_toml,
    "instructions": _instructions,
    "captions": _captions,
    "manifest": _manifest,
    "ids": _ids,
    "annotations": _annotations,
    "annotations of a named layout": _annotations_of_a_layout,
    "tags": _tags,
    "answer of a chat engine": _answer,
}


def _said(reader: Callable[[str], str], deep: str) -> str:
    try:
        return reader(deep)
    except TaistoreError as error:
        return str(error)


def _all(depths: tuple[int, ...]) -> Iterator[tuple[str, int, str]]:
    for name, reader in READERS.items():
        for depth in depths:
            for nested in (objects, lists):
                yield name, depth, _said(reader, nested(depth))


if __name__ == "__main__":
    list(_all((WARM,)))  # What a reader needs for any file is no matter of depth.
    before = peak_bytes()
    for name, depth, said in _all(DEPTHS):
        more = peak_bytes() - before
        sys.stdout.write(json.dumps({"kind": name, "depth": depth, "said": said, "bytes": more}))
        sys.stdout.write("\n")
