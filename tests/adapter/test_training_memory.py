"""What a training may hold beside its vectors, measured in a process of its own where it counts."""

import json
import os
import platform
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from taistore.adapter.config import TrainConfig
from taistore.adapter.data import Preparation
from taistore.adapter.known_labels import read_known, save_known
from taistore.geometry.centroids import CombinationCentroids
from taistore.geometry.offsets import ImageSide, Shift, TextSide
from taistore.store.combination_rows import CombinationIndex
from taistore.store.partial_labels import IMAGE_ID, PartialLabels
from taistore.store.tables.label_lists import Ragged
from tests.adapter.stores import ENCODER_ID, add_images, text_store
from tests.killing import ROOT

MIB = 2**20

JOB = """
import json, re, sys
from pathlib import Path

import numpy as np

from taistore.adapter.config import TrainConfig
from taistore.adapter.train import train
from taistore.store.store import Store
from tests.adapter.stores import ENCODER_ID, prompt_vectors

def resident():
    status = Path("/proc/self/status").read_text("ascii")
    return int(re.search(r"VmRSS:\\s*(\\d+)", status)[1]) / 2**10

config = TrainConfig(task="pll", epochs=1, batch=16, image_batch=8, device="cpu")
train(Store.open(sys.argv[1]), ENCODER_ID, config, prompts_ND=prompt_vectors(6))
np.ones(3 * 2**20)  # a block of 24 MiB that was freed has glibc keep the next ones in its heap
before, blocks, small = resident(), [], []
for _ in range(8):
    blocks.append(np.ones(2**21))
    small.append(bytearray(2**16))
held = resident() - before
del blocks
kept = resident() - before
print(json.dumps({"compiler": "torch._dynamo" in sys.modules, "held": held, "kept": kept}))
"""


@pytest.fixture(scope="module")
def after_a_training(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    store = text_store(tmp_path_factory.mktemp("memory") / "s", rows=60)
    add_images(store, count=40)
    done = subprocess.run(
        [sys.executable, "-c", JOB, store.uri],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_torchs_compiler_is_not_loaded(after_a_training: dict[str, Any]) -> None:
    """It takes 150 MiB and two seconds; ``torch.optim`` loads it."""
    assert not after_a_training["compiler"]


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library")
def test_large_blocks_that_are_freed_are_the_systems_again(
    after_a_training: dict[str, Any],
) -> None:
    assert after_a_training["held"] > 120
    assert after_a_training["kept"] < 20


def _peak(job: Callable[[], object]) -> float:
    """MiB that Python and NumPy held most, beyond what they hold already."""
    tracemalloc.start()
    try:
        job()
        return tracemalloc.get_traced_memory()[1] / MIB
    finally:
        tracemalloc.stop()


def test_the_report_measures_offsets_by_blocks() -> None:
    """8,192 combinations of 512 dimensions: their offsets and what they are made of are 64 MiB."""
    count, dim = 8192, 512
    ids = np.arange(count)
    index = CombinationIndex(ids, np.arange(count + 1), np.zeros(count, dtype=np.int32))
    ones = np.ones(count, dtype=np.int64)
    means_CD = np.random.default_rng(0).standard_normal((count, dim), dtype=np.float32)
    texts = CombinationCentroids(ids, means_CD, ones, means_CD.mean(axis=0))
    estimates_ND = np.ones((1, dim), dtype=np.float32)
    image_side = ImageSide(
        estimates_ND, np.ones(1, dtype=np.bool_), np.ones(1, dtype=np.int64), means_CD[0], 4.0
    )
    shift = Shift(image_side, texts, index)
    lengths = np.linalg.norm(1 - means_CD, axis=1)
    assert shift.report()["mean_offset_norm"] == pytest.approx(lengths.mean(), rel=1e-5)
    assert _peak(shift.report) < 16


def test_ids_of_known_images_are_python_strings_a_part_at_a_time(tmp_path: Path) -> None:
    """200,000 ids as Python bytes and strings at once are 28 MiB."""
    count = 200_000
    ids = np.array([f"{n:032x}" for n in range(count)], dtype=IMAGE_ID)
    nothing = Ragged.build(np.zeros(count, np.int64), np.empty(0, np.int32))
    known = PartialLabels(6, ids, nothing, nothing, np.zeros(count, dtype=np.int32))
    assert _peak(lambda: save_known(tmp_path, known)) < 16
    again = read_known(tmp_path)
    assert np.array_equal(again.image_ids, ids)
    assert again.labels == 6


def test_the_means_of_the_texts_are_gone_through_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a million combinations they are a file of 4 GB."""
    store = text_store(tmp_path / "s", rows=60)
    add_images(store, count=40)
    made: list[int] = []
    build = TextSide.build

    def counted(*args: Any, **options: Any) -> TextSide:
        made.append(1)
        return build(*args, **options)

    monkeypatch.setattr(TextSide, "build", counted)
    config = TrainConfig(task="pll", neighbour_rounds=2, device="cpu")
    assert Preparation.fresh(store, ENCODER_ID, config).shift() is not None
    assert made == [1]
