"""Jobs on a store that has grown: what a commit reads, what the garbage collector looks at."""

import gc
import json
import tracemalloc
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Self

import numpy as np
import pyarrow as pa
import pytest

from taistore.images.ingest_image_vectors import ingest_image_vectors
from taistore.labels import Label, LabelSet
from taistore.store.arrow import vector_column
from taistore.store.store import Store
from taistore.texts.combinations.sampling import sample_combinations
from taistore.texts.generate import GenerateConfig, generate_texts
from taistore.texts.ingest.ingest_text_vectors import ingest_text_vectors
from taistore.texts.ingest.ingest_texts import ingest_texts
from taistore.texts.pending import Pending, Plan
from taistore.texts.request_ids import RequestIds
from tests.fakes import ColourEncoder
from tests.quiet_bar import QuietBar

LABELS = LabelSet(Label(name, name) for name in ("red", "green", "blue"))
ENCODER = ColourEncoder()
IO = Path("/proc/self/io")
MANY = 50_000


def _store(folder: Path) -> Store:
    store = Store.create(folder / "store", LABELS, default_encoder="packaged")
    store.register_encoder(ENCODER.info)
    return store


class _Watch(QuietBar):
    """Progress that notes how many objects are set aside whenever a job is further."""

    def __init__(self) -> None:
        self.aside: list[int] = []

    def __call__(self, description: str, *, total: int | None, unit: str) -> Self:
        return self

    def advance(self, amount: int = 1, **figures: float) -> None:
        self.aside.append(gc.get_freeze_count())


def _vectors(folder: Path, ids: Sequence[str]) -> tuple[Path, Path]:
    np.save(folder / "vectors.npy", np.ones((len(ids), 4), np.float16))
    lines = [json.dumps({"id": one, "labels": ["red"]}) for one in ids]
    (folder / "ids.jsonl").write_text("\n".join(lines), encoding="utf-8")
    return folder / "vectors.npy", folder / "ids.jsonl"


def _generate(store: Store, folder: Path, watch: _Watch) -> None:
    generate_texts(store, ENCODER, GenerateConfig(count=30), progress=watch)


def _captions(store: Store, folder: Path, watch: _Watch) -> None:
    (folder / "mine.txt").write_text("a red thing\na green thing\n", encoding="utf-8")
    ingest_texts(store, ENCODER, folder / "mine.txt", progress=watch)


def _text_vectors(store: Store, folder: Path, watch: _Watch) -> None:
    vectors, ids = _vectors(folder, ["red", "a red thing"])
    ingest_text_vectors(store, "made", vectors, ids=ids, progress=watch)


def _image_vectors(store: Store, folder: Path, watch: _Watch) -> None:
    vectors, ids = _vectors(folder, ["one", "two"])
    ingest_image_vectors(store, "made", vectors, ids=ids, progress=watch)


@pytest.mark.parametrize("job", [_generate, _captions, _text_vectors, _image_vectors])
def test_what_a_job_found_loaded_is_set_aside_from_the_collector(
    tmp_path: Path, job: Callable[[Store, Path, _Watch], None]
) -> None:
    watch = _Watch()
    job(_store(tmp_path), tmp_path, watch)
    assert watch.aside
    assert min(watch.aside) > 10_000
    assert gc.get_freeze_count() == 0


@pytest.mark.skipif(not IO.exists(), reason="only Linux tells what was read")
def test_a_commit_of_captions_reads_no_whole_table(tmp_path: Path) -> None:
    store = _store(tmp_path)
    ids = [f"{i * 0x9E3779B97F4A7C15 % 2**128:032x}" for i in range(MANY)]
    other = LABELS.combination_id([0, 1, 2])
    texts = {
        "text_id": ids,
        "combination_id": [other] * MANY,
        "text": [f"text {i}" for i in range(MANY)],
        "writer": ["captions"] * MANY,
        "turn": [0] * MANY,
        "tokens": [3] * MANY,
    }
    store.append("combinations", {"combination_id": [other], "label_ids": [[0, 1, 2]]})
    store.append("texts", texts)
    column = vector_column(np.ones((MANY, ENCODER.info.dim), np.float16))
    rows = pa.table({"text_id": ids, "combination_id": texts["combination_id"], "vector": column})
    store.append("text_vectors", rows, encoder_id=ENCODER.info.encoder_id)

    def bytes_read(commits: int, seed: int) -> int:
        config = GenerateConfig(
            count=90, sizes={1: 1.0, 2: 1.0}, commit_rows=90 // commits, seed=seed
        )
        before = int(IO.read_text().split()[1])
        assert generate_texts(store, ENCODER, config).written > 60
        return int(IO.read_text().split()[1]) - before

    bytes_read(1, 0)
    assert (bytes_read(18, 1) - bytes_read(1, 2)) / 17 < 200_000


def test_a_text_that_is_to_be_written_is_a_few_bytes(tmp_path: Path) -> None:
    labels = LabelSet(Label(f"label {i}", f"label {i}") for i in range(1000))
    store = Store.create(tmp_path / "store", labels, default_encoder="packaged")
    sample = sample_combinations(labels, count=200_000)
    plan = Plan(RequestIds(model="m", settings=(), seed=0), ("",), 5)
    tracemalloc.start()
    pending = Pending(store, sample, plan, retry_rejects=False)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert pending.due == len(sample)
    assert peak / len(sample) < 40
