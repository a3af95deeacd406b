"""Every hostile image is handled or set aside with one line, in bounded time and memory."""

import itertools
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from taistore.images.ordered_map import LATE_SECONDS
from tests.fakes import colour_image
from tests.faults.hostile_images import add_odd_entries, images

MEMORY = 1_500 * 2**20
"""Resident bytes of a whole ingest of the corpus, with all that is imported for it."""

REASONS = frozenset(
    (
        *("bad_name", "corrupt", "directory", "empty", "failed", "missing", "not_a_file"),
        *("not_an_image", "too_large", "too_slow", "truncated", "unreadable", "unsupported"),
    )
)


def ingested(folder: Path, store: Path) -> dict[str, Any]:
    """What an ingest in a process of its own came to."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.faults.ingest_hostile", str(folder), str(store)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_the_corpus_is_large_and_seeded() -> None:
    some = list(itertools.islice(images(), 60))
    assert some == list(itertools.islice(images(), 60))
    names = [name for name, _ in images()]
    assert len(set(names)) == len(names) >= 500


@pytest.mark.parametrize(
    "step", [pytest.param(9, id="some"), pytest.param(1, id="all", marks=pytest.mark.faults)]
)
def test_no_image_ends_or_hangs_the_job(tmp_path: Path, step: int) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    count = 0
    for name, data in itertools.islice(images(), 0, None, step):
        (photos / name).write_bytes(data)
        count += 1
    odd = add_odd_entries(photos)
    for colour in ("red", "green", "blue"):
        colour_image(colour).save(photos / f"zz good {colour}.png")
    found = ingested(photos, tmp_path / "store")
    # Nothing lost: each file is an image or a reject.
    assert found["seen"] == count + len(odd) + 3
    rejects = {Path(row["uri"]).name: row for row in found["rejects"]}
    assert len(rejects) == found["rejected"]
    assert {path.name for path in odd} <= set(rejects)
    assert not any(name.startswith("zz good") for name in rejects)
    for row in rejects.values():
        assert row["reason"] in REASONS
        assert row["detail"].isprintable()
        assert len(row["detail"]) <= 300
    assert found["slowest_seconds"] < LATE_SECONDS
    if step == 1:
        assert rejects["scans.jpg"]["reason"] == "too_slow"
    assert found["memory"] < MEMORY
