"""``generate-texts`` with the vLLM writer and a real small model; ``make test-vllm`` runs it."""

import importlib.util
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from taistore.labels import Label, LabelSet
from taistore.store.store import Store
from taistore.texts.audit.caption_audit import Audit
from taistore.texts.generate import generate_texts
from taistore.texts.generate_config import GenerateConfig, GenerateSummary
from taistore.texts.llm.conversation import ConversationWriter
from taistore.texts.llm.engines.vllm import VllmEngine
from taistore.texts.llm.instructions import load_instructions
from taistore.texts.llm.model_sampling import Sampling
from tests.fakes import ColourEncoder

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("vllm") is None,
    reason="needs vLLM in an environment of its own: make test-vllm",
)

THINGS = ("dog", "sofa", "bicycle", "train", "bird", "boat", "chair", "horse", "person", "sheep")


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[VllmEngine]:
    from tests.vllm.small_model import save_small_model

    os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "1")
    os.environ.setdefault("VLLM_ENABLE_V1_MULTIPROCESSING", "0")
    folder = save_small_model(tmp_path_factory.mktemp("models") / "SmolLM2-135M-Instruct")
    with VllmEngine(str(folder), max_model_len=512, eager=True) as opened:
        yield opened


def generate(store: Store, engine: VllmEngine, count: int) -> GenerateSummary:
    writer = ConversationWriter(
        engine,
        store.labels,
        name="vllm",
        prompts=load_instructions("few-shot"),
        sampling=Sampling(max_tokens=40),
    )
    encoder = ColourEncoder(context_length=64)
    config = GenerateConfig(count=count)
    return generate_texts(store, encoder, config, writer=writer)


def test_a_job_writes_audited_captions_and_continues(engine: VllmEngine, tmp_path: Path) -> None:
    labels = LabelSet([Label(name, name) for name in THINGS])
    store = Store.create(tmp_path / "s", labels, default_encoder="colour")
    first = generate(store, engine, 40)
    assert first.written + first.rejected == 40
    assert first.written > 30
    rows = {row["text_id"]: row for batch in store.scan("texts") for row in batch.to_pylist()}
    assert len(rows) == first.written == store.count("text_vectors", first.encoder_id)

    audit = Audit(labels)
    index = store.combination_index()
    for row in rows.values():
        assert (row["writer"], row["model"]) == ("vllm", "SmolLM2-135M-Instruct")
        asked = tuple(index.positives(np.array([row["combination_id"]]))[1].tolist())
        assert audit.check(row["text"], asked).label_ids == asked

    more = generate(store, engine, 60)
    assert more.present == first.written
    assert more.written > 10
    later = {row["text_id"]: row for batch in store.scan("texts") for row in batch.to_pylist()}
    assert rows.items() <= later.items()
