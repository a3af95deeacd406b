"""What a job has made, so that two ways to it can be compared: rows, files, and what is left over.

Times, run ids and table versions differ from run to run and are left out.
"""

import hashlib
import json
import os
import re
import time
from collections import Counter
from pathlib import Path
from typing import Any

from safetensors import safe_open

from taistore.contracts import TABLES
from taistore.scoring.tags.read_tags import read_tags
from taistore.store.store import Store
from tests.faults.crash_jobs import opened

State = dict[str, Any]

_TIMES = ("when", "created", "table_versions")
_SECONDS = re.compile(r'"seconds": [0-9.e-]+')
_OLD = 8 * 24 * 3600
"""Lance leaves files that no version names alone for a week: another job may be writing them."""


def state(here: Path) -> State:
    """Digests of tables and files by name; keys that are doubled, data files that nobody names.

    Files are looked at after ``optimize --keep-days 0``, eight days later: what it removes may stay
    behind until then.
    """
    store = opened(here).store
    names = _run_names(store)
    tables = {name: _table(store, name, names) for name in store.table_names()}
    _grow_old(here)
    opened(here).optimize(keep_days=0)
    files: dict[str, str] = {}
    for path in sorted(here.rglob("*")):
        inside = path.relative_to(here)
        if any(part.endswith(".lance") for part in inside.parts):
            continue
        if path.is_file():
            files[_renamed(str(inside), names)] = _content(path, names)
        elif not any(path.iterdir()):
            files[_renamed(str(inside), names)] = "an empty folder"
    return {
        "tables": {name: found[:2] for name, found in tables.items()},
        "doubled": [f"{name}: {key}" for name, found in tables.items() for key in found[2]],
        "files": files,
        "unnamed": _unnamed(Store.open(here / "store")),
    }


def differences(calm: State, found: State) -> list[str]:
    """In which tables and files one state differs from the undisturbed one, in words."""
    said = [f"doubled {key}" for key in found["doubled"]]
    for what in ("tables", "files"):
        for name in sorted({*calm[what], *found[what]}):
            before, after = calm[what].get(name), found[what].get(name)
            if before is not None and before != after:
                said.append(f"{what[:-1]} {name}: {before} became {after}")
    return said + [f"table {name} is new" for name in found["tables"] if name not in calm["tables"]]


def left_over(calm: State, found: State) -> list[str]:
    """Files that an undisturbed job does not leave."""
    return [*(f for f in found["files"] if f not in calm["files"]), *found["unnamed"]]


def _run_names(store: Store) -> dict[str, str]:
    return {run.run_id: f"run-{n}" for n, run in enumerate(store.runs())}


def _renamed(text: str, names: dict[str, str]) -> str:
    for run_id, name in names.items():
        text = text.replace(run_id, name)
    return _SECONDS.sub("", text)


def _table(store: Store, name: str, names: dict[str, str]) -> tuple[int, str, list[str]]:
    kind, _, encoder_id = name.partition("__")
    rows = [row for batch in store.scan(kind, encoder_id=encoder_id or None) for row in
            batch.to_pylist()]  # fmt: skip
    keys = Counter(tuple(row[column] for column in TABLES[kind].key) for row in rows)
    for row in rows:
        for column in _TIMES:
            row.pop(column, None)
    text = _renamed("\n".join(sorted(map(repr, rows))), names)
    return len(rows), _digest(text.encode()), [str(key) for key, n in keys.items() if n > 1]


def _content(path: Path, names: dict[str, str]) -> str:
    if path.name.startswith("tags."):
        return _digest("\n".join(map(repr, read_tags(path))).encode())
    if path.name == "training-state.safetensors":
        with safe_open(path, framework="np") as file:
            return _digest(b"".join(file.get_tensor(k).tobytes() for k in sorted(file.keys())))
    data = path.read_bytes()
    if path.suffix == ".json":
        values = json.loads(data)
        for column in _TIMES:
            values.pop(column, None)
        return _digest(_renamed(json.dumps(values, sort_keys=True), names).encode())
    return _digest(data)


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:16]


def _grow_old(here: Path) -> None:
    then = time.time() - _OLD
    for path in here.rglob("*"):
        os.utime(path, (then, then))


def _unnamed(store: Store) -> list[str]:
    left = []
    for name in store.table_names():
        kind, _, encoder_id = name.partition("__")
        fragments = store.dataset(kind, encoder_id or None).get_fragments()
        named = {file.path for fragment in fragments for file in fragment.metadata.files}
        data = Path(store.uri) / f"{name}.lance" / "data"
        left += [f"{name}/{p.name}" for p in sorted(data.glob("*")) if p.name not in named]
    return left
