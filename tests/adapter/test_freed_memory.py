"""What preparing a training has freed is no longer held when the training begins."""

import ctypes
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.adapter.stores import add_images, text_store

_PREPARE = """
import re, sys
from pathlib import Path
from taistore.adapter.config import TrainConfig
from taistore.adapter.data import Preparation
from taistore.store.store import Store
from tests.adapter.stores import ENCODER_ID

def resident():
    found = re.search(r"VmRSS:\\s*(\\d+) kB", Path("/proc/self/status").read_text("ascii"))
    return int(found[1]) * 1024

config = TrainConfig.of(task="pll", epochs=1, split="train")
data = Preparation.fresh(Store.open(sys.argv[1]), ENCODER_ID, config)
# 256 MiB in blocks that the C library takes from its heap, and one that stays above them.
blocks = [bytearray(64 * 1024) for _ in range(4096)]
last = bytearray(64 * 1024)
del blocks
held = resident()
shift = data.shift()
print(held, resident())
"""


@pytest.mark.skipif(
    not hasattr(ctypes.CDLL(None), "malloc_trim") or not Path("/proc/self/status").exists(),
    reason="needs Linux and glibc, whose heap keeps what is freed",
)
def test_what_was_freed_goes_back_to_the_system(tmp_path: Path) -> None:
    store = text_store(tmp_path / "s", rows=200)
    add_images(store, count=60)
    run = subprocess.run(
        [sys.executable, "-c", _PREPARE, store.uri],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=True,
    )
    held, left = map(int, re.findall(r"\d+", run.stdout))
    assert held - left > 192 * 2**20
