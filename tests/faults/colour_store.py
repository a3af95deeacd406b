"""A small store of colours, the commands run on it, and all that is in it, to compare."""

import hashlib
import json
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result

import taistore
from taistore.project import Project
from taistore.store.store import Store
from taistore_cli.main import main
from tests.fakes import COLOURS, ColourEncoder, colour_image

_WHEN = {"created", "when", "run_id", "metrics", "checkpoint"}
"""Columns that two equal jobs fill differently."""


def colour_photos(folder: Path, *, first: int = 0, count: int = 6) -> Path:
    """Photos of two colours each, no two alike."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(first, first + count):
        colour_image(*colours(number), size=(48 + number, 40)).save(folder / f"{number:03}.png")
    return folder


def known_photos(folder: Path) -> Path:
    """A manifest of the photos in ``folder/photos`` and the colours that they show."""
    rows = [
        {"image": f"photos/{path.name}", "labels": colours(int(path.stem))}
        for path in sorted(colour_photos(folder / "photos").iterdir())
    ]
    manifest = folder / "known.jsonl"
    manifest.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return manifest


def colours(number: int) -> list[str]:
    """What the photo of this number shows."""
    names = list(COLOURS)
    return [names[number % len(names)], names[(number * 5 + 1) % len(names)]]


def colour_store(folder: Path) -> Project:
    """A store at ``folder/store`` with texts, the photos of ``folder/photos`` and two runs."""
    taistore.register_encoder("colours", ColourEncoder)
    made = taistore.create(folder / "store", labels=list(COLOURS), encoder="colours")
    made.generate_texts(120)
    made.ingest_images(known_photos(folder), regions=2)
    made.train(network="paper", epochs=1, hidden=8)
    made.train(epochs=1)
    return made


def command(store: Path, *arguments: str | Path) -> Result:
    """One command on ``store``, with --json: nothing but its result and its error is printed."""
    return CliRunner().invoke(main, [*map(str, arguments), "--store", str(store), "--json"])


def result(store: Path, *arguments: str | Path) -> dict[str, Any]:
    """What a command that must succeed printed."""
    done = command(store, *arguments)
    assert done.exit_code == 0, done.output
    value: dict[str, Any] = json.loads(done.stdout)
    return value


def error_line(done: Result) -> str:
    """The one line in which a command that must fail said why."""
    assert done.exit_code == 1, done.output
    assert not done.stdout
    assert done.stderr.startswith("taistore: ")
    assert done.stderr.count("\n") == 1
    assert "unexpected" not in done.stderr
    return done.stderr


def everything(uri: Path) -> dict[str, Any]:
    """All rows of all tables, and the digests of the weights of the runs that finished."""
    store = Store.open(uri)
    found: dict[str, Any] = {}
    for name in store.table_names():
        kind, _, encoder_id = name.partition("__")
        rows = [
            {key: value for key, value in row.items() if key not in _WHEN}
            for batch in store.scan(kind, encoder_id=encoder_id or None)
            for row in batch.to_pylist()
        ]
        found[name] = sorted(json.dumps(row, sort_keys=True, default=str) for row in rows)
    found["weights"] = sorted(
        hashlib.sha256(path.read_bytes()).hexdigest()
        for path in (uri / "runs").glob("*/adapter.safetensors")
    )
    return found


def half_files(folder: Path) -> list[Path]:
    """Files that a job which ended has no more use for."""
    ours = [path for path in folder.rglob("*") if path.name.endswith((".part", ".tmp"))]
    return ours + list(folder.rglob(".tmp*"))  # Lance's


def runs_without_a_row(uri: Path) -> set[str]:
    """Folders of runs that nothing leads to."""
    known = {run.run_id for run in Store.open(uri).runs()}
    return {path.name for path in (uri / "runs").iterdir()} - known
