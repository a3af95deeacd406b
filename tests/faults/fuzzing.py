"""Fuzzing of what is read from disk and asked for: each run says how many inputs it tried."""

import contextlib
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from taistore.adapter.run_files.checkpoint import load_adapter
from taistore.adapter.run_files.file_names import CARD
from taistore.errors import ImageError, ManifestError, StoreError, TaistoreError, TextError
from taistore.images.sources.manifest import ManifestSource
from taistore.images.sources.source import SourceImage
from taistore.store.rejects import Reject
from taistore.store.store import Store
from taistore.texts.ingest.caption_files import BadLine, Caption, read_captions
from tests.fakes import ColourEncoder
from tests.scoring.colours import add_pictures, add_run, labels, new_store, run_path

EXAMPLES = 60
"""Inputs of a short run."""

_TEXT = st.text(max_size=20) | st.sampled_from(
    [
        "image",
        "labels",
        "positives",
        "text",
        "red",
        "a.png",
        "\u202e",
        "\x1b[2J",
        "\ud800",
        "'",
        "=",
    ]
)
_PLAIN = (
    st.none() | st.booleans() | st.integers() | st.floats() | _TEXT | st.just(10**400) | st.just(-1)
)
VALUES = st.recursive(
    _PLAIN,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_TEXT, inner, max_size=4),
    max_leaves=12,
)
"""Anything that JSON can say, and a little more."""


def run_for(check: Callable[[Any], None], values: st.SearchStrategy[Any], seconds: float) -> int:
    """How many inputs were tried: :data:`EXAMPLES` of them, or more until ``seconds`` are over."""
    tried = 0
    end = time.monotonic() + seconds

    def counted(value: Any) -> None:
        nonlocal tried
        tried += 1
        check(value)

    while not tried or time.monotonic() < end:
        wanted = settings(
            max_examples=500 if seconds else EXAMPLES,
            deadline=None,
            database=None,
            phases=[Phase.generate, Phase.shrink],
            suppress_health_check=list(HealthCheck),
        )
        wanted(given(values)(counted))()
    return tried


def one_line(error: Exception) -> None:
    """What every error says keeps to a line of a bounded length."""
    assert "\n" not in str(error)
    assert len(str(error)) < 1000


def cards(folder: Path, seconds: float = 0) -> int:
    """A card with any value in any field: refused in a line, or the adapter that it names."""
    store = new_store(folder / "store", ColourEncoder())
    run = run_path(store, add_run(store, ColourEncoder()))
    card = json.loads((run / CARD).read_text())
    inner = [(name, key) for name in ("config", "encoder", "shape") for key in card[name]]
    places = st.sampled_from([*((name,) for name in card), *inner])

    def check(changes: dict[tuple[str, ...], Any]) -> None:
        changed = json.loads(json.dumps(card))
        for place, value in changes.items():
            target = changed
            for name in place[:-1]:
                target = target[name] if isinstance(target.get(name), dict) else {}
            target[place[-1]] = value
        with contextlib.suppress(ValueError):
            (run / CARD).write_text(json.dumps(changed), encoding="utf-8")
        try:
            load_adapter(run)
        except TaistoreError as error:
            one_line(error)

    return run_for(check, st.dictionaries(places, VALUES, min_size=1, max_size=2), seconds)


def manifests(folder: Path, seconds: float = 0) -> int:
    """Manifests of any rows and any bytes: each row is an image or a reject, or the file is bad."""
    rows = st.lists(VALUES.map(_json), max_size=4).map("\n".join).map(_bytes)
    tables = st.lists(st.lists(_TEXT, max_size=4).map(",".join), max_size=5).map("\n".join)
    files = st.tuples(
        st.sampled_from([".jsonl", ".csv", ".parquet"]),
        rows | tables.map(_bytes) | st.binary(max_size=60),
    )

    def check(file: tuple[str, bytes]) -> None:
        path = folder / f"m{file[0]}"
        path.write_bytes(file[1])
        try:
            for item in ManifestSource(path, labels()):
                assert isinstance(item, SourceImage | Reject)
                if isinstance(item, Reject):
                    assert "\n" not in item.detail
                    item.detail.encode()
        except (ManifestError, ImageError) as error:
            one_line(error)

    return run_for(check, files, seconds)


def captions(folder: Path, seconds: float = 0) -> int:
    """Caption files of any lines and any bytes: each line is a caption or what is wrong."""
    rows = st.lists(VALUES.map(_json), max_size=4).map("\n".join).map(_bytes)
    files = st.tuples(
        st.sampled_from([".jsonl", ".csv", ".tsv", ".txt"]), rows | st.binary(max_size=60)
    )

    def check(file: tuple[str, bytes]) -> None:
        path = folder / f"c{file[0]}"
        path.write_bytes(file[1])
        try:
            for line in read_captions(path):
                assert isinstance(line, Caption | BadLine)
        except TextError as error:
            one_line(error)

    return run_for(check, files, seconds)


def filters(folder: Path, seconds: float = 0) -> int:
    """Any value in a filter is a value, never query text: it finds what equals it, or nothing."""
    store: Store = new_store(folder / "store", ColourEncoder())
    held = {row["uri"] for row in add_pictures(store, ColourEncoder())}
    texts = st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=30)
    wanted = texts | st.sampled_from(sorted(held)) | st.sampled_from(["' OR 1=1 --", "%", "NULL"])

    def check(values: list[str]) -> None:
        try:
            found = {
                row["uri"]
                for batch in store.scan("images", where={"uri": values})
                for row in batch.to_pylist()
            }
        except StoreError as error:
            one_line(error)
        else:
            assert found == held & set(values)

    return run_for(check, st.lists(wanted, min_size=1, max_size=4), seconds)


TARGETS: dict[str, Callable[[Path, float], int]] = {
    "cards": cards,
    "manifests": manifests,
    "captions": captions,
    "filters": filters,
}
"""What is fuzzed, by name."""


def _json(value: Any) -> str:
    return json.dumps(value)[:2000]


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")
