"""An ingest killed by SIGKILL at arbitrary instants, and one that runs out of disk."""

import json
import random
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from taistore.errors import StoreError
from taistore.images.ingest import ingest_images
from taistore.images.sources.open_source import open_source
from taistore.labels import Label, LabelSet
from taistore.store.store import Store
from tests.fakes import COLOURS, ColourEncoder, colour_image
from tests.killing import run_and_kill

LABELS = LabelSet(Label(name, name) for name in COLOURS)


def _manifest(folder: Path, count: int) -> Path:
    folder.mkdir()
    names = list(COLOURS)
    rows: list[dict[str, Any]] = []
    for i in range(count):
        pair = [names[i % len(names)], names[(i * 5 + 1) % len(names)]]
        colour_image(*pair, size=(40 + i, 30)).save(folder / f"{i}.png")
        rows.append({"image": f"{i}.png", "positives": pair})
        if i % 10 == 9:
            rows.append({"image": f"gone{i}.png"})
            rows.append({"image": f"{i - 5}.png", "labels": [names[0]]})
    path = folder / "m.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return path


def _ingest(store: Store, manifest: Path, **options: Any) -> int:
    """Returns in how many batches."""
    source, encoder = open_source(manifest, store.labels), ColourEncoder()
    ingest_images(store, encoder, source, regions=2, **options)
    return encoder.batches


def _snapshot(store: Store) -> dict[str, list[Any]]:
    content: dict[str, list[Any]] = {}
    for name in store.table_names():
        kind, _, encoder_id = name.partition("__")
        batches = store.scan(kind, encoder_id=encoder_id or None)
        rows = [row for batch in batches for row in batch.to_pylist()]
        for row in rows:
            row.pop("when", None)
        content[name] = sorted(rows, key=repr)
    return content


def test_killed_at_any_instant_and_run_again_gives_the_same_rows(tmp_path: Path) -> None:
    manifest = _manifest(tmp_path / "photos", 40)
    calm = Store.create(tmp_path / "calm", LABELS, default_encoder="colour@32")
    batches = _ingest(calm, manifest, batch_size=2, commit_rows=4)
    Store.create(tmp_path / "killed", LABELS, default_encoder="colour@32")
    arguments = (str(tmp_path / "killed"), str(manifest))
    random_ = random.Random(5)
    kills = 0
    for _ in range(2):
        steps = int(random_.uniform(0.05, 0.4) * batches)
        kills += run_and_kill(
            "tests.images.kill_me", *arguments, cwd=tmp_path, steps=steps, ahead=4
        )
    assert kills
    store = Store.open(tmp_path / "killed")
    _ingest(store, manifest)
    assert _snapshot(store) == _snapshot(calm)


@contextmanager
def _file_size_limit(size: int) -> Iterator[None]:
    """Make every write past ``size`` bytes of a file fail, as a full disk does."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_is_one_line_and_what_was_committed_is_kept(tmp_path: Path) -> None:
    manifest = _manifest(tmp_path / "photos", 30)
    store = Store.create(tmp_path / "store", LABELS, default_encoder="colour@32")
    _ingest(store, manifest.parent / "0.png")
    with (
        _file_size_limit(2000),
        pytest.raises(
            StoreError, match="cannot write table 'image_vectors__colour_32_32'"
        ) as caught,
    ):
        _ingest(store, manifest)
    assert "\n" not in str(caught.value)
    assert "run the same command again" in str(caught.value)
    assert store.count("images") == 1
    _ingest(store, manifest)
    calm = Store.create(tmp_path / "calm", LABELS, default_encoder="colour@32")
    _ingest(calm, manifest)
    assert _snapshot(store) == _snapshot(calm)
