"""Writing captions, killed by SIGKILL at arbitrary instants: the same rows, none twice."""

import os
import random
from pathlib import Path
from typing import Any

import pytest

from taistore.store.store import Store
from tests.killing import run_and_kill
from tests.texts.kill_me import LABELS, write, write_templates

KILLS = int(os.environ.get("TAISTORE_TEST_KILLS", "2"))


def content(store: Store) -> dict[str, list[Any]]:
    """Every row of every table but for times."""
    tables: dict[str, list[Any]] = {}
    for name in store.table_names():
        kind, _, encoder_id = name.partition("__")
        batches = store.scan(kind, encoder_id=encoder_id or None)
        rows = [row for batch in batches for row in batch.to_pylist()]
        for row in rows:
            row.pop("when", None)
        tables[name] = sorted(rows, key=repr)
    return tables


@pytest.mark.parametrize("writer", ["template", "openai"])
def test_killed_at_any_instant_and_run_again_gives_the_same_rows(
    tmp_path: Path, writer: str
) -> None:
    calm = Store.create(tmp_path / "calm", LABELS, default_encoder="colour@32")
    answers = write_templates(calm) if writer == "template" else write(calm, lanes=2)
    assert calm.count("rejects")
    Store.create(tmp_path / "killed", LABELS, default_encoder="colour@32")
    random_ = random.Random(11)
    kills, texts = 0, [0]
    for _ in range(KILLS):
        steps = int(random_.uniform(0.1, 1.6 / (KILLS + 1)) * answers)
        job = ("tests.texts.kill_me", str(tmp_path / "killed"), writer)
        kills += run_and_kill(*job, cwd=tmp_path, steps=steps, ahead=8)
        texts.append(Store.open(tmp_path / "killed").count("texts"))
    assert kills
    assert texts[1] < texts[-1] < calm.count("texts") or KILLS > 2
    store = Store.open(tmp_path / "killed")
    if writer == "template":
        write_templates(store)
    else:
        write(store)
    assert content(store) == content(calm)
    ids = [row["request_id"] for row in content(store)["texts"]]
    assert len(set(ids)) == len(ids)
