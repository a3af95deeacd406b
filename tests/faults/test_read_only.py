"""A store that may only be read, or not even that: what reads works, what writes is one line."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.colour_store import (
    colour_photos,
    colour_store,
    command,
    error_line,
    everything,
    result,
)
from tests.faults.small_disk import reachable_by_all, read_only
from tests.images.odd_files import without_rights

WRITING = (
    ("generate-texts", "--count", "300"),
    ("ingest-images", "{more}"),
    ("train", "--epochs", "2"),
    ("ensemble", "{first}", "{second}"),
    ("optimize", "--keep-days", "0"),
    ("score", "latest", "--out", "{store}/tags.csv"),
)


@pytest.fixture(scope="module")
def base() -> Iterator[Path]:
    """A folder with a store that every user may read and only its owner may write."""
    with reachable_by_all() as folder:
        colour_store(folder)
        colour_photos(folder / "more", count=9)
        (folder / "more" / "bad.png").write_bytes(b"no")
        for path in folder.rglob("*"):
            path.chmod(0o755 if path.is_dir() else 0o644)
        yield folder


def reads(store: Path, photos: Path, out: Path) -> None:
    """Every command that only reads."""
    assert result(store, "show")["tables"]["images"] == 6
    result(store, "show", "--rejects")
    assert result(store, "texts", "audit")
    assert result(store, "score", "latest", "--out", out / "store.csv")["images"] == 6
    found = result(
        store, "score", "latest", photos, "--out", out / "new.csv", "--html", out / "new.html"
    )
    assert (found["images"], found["rejected"], found["rejects_kept"]) == (9, 1, False)
    first, second = [run["run_id"] for run in result(store, "show")["runs"]]
    figures = result(store, "evaluate", second, "--split", "train")
    assert figures["images"] == 6
    assert "these figures are not kept with the run" in figures["warnings"][-1]
    assert result(store, "compare", first, second, "--split", "train")["images"] == 6


def refuses(store: Path, base: Path) -> None:
    """Every command that writes: one line with a remedy, and nothing has changed."""
    before = everything(store)
    first, second = [run["run_id"] for run in result(store, "show")["runs"]]
    for arguments in WRITING:
        given = [
            a.format(more=base / "more", store=store, first=first, second=second) for a in arguments
        ]
        line = error_line(command(store, *given))
        assert "ermission" in line or "ead-only" in line, line
    assert everything(store) == before


def test_a_read_only_mount(base: Path, tmp_path: Path) -> None:
    with read_only(base, tmp_path / "mounted"):
        reads(tmp_path / "mounted" / "store", base / "more", tmp_path)
        refuses(tmp_path / "mounted" / "store", base)


def test_a_store_of_another_user(base: Path) -> None:
    with reachable_by_all() as out:
        out.chmod(0o777)
        with without_rights():
            reads(base / "store", base / "more", out)
            refuses(base / "store", base)


def test_a_store_that_may_not_be_entered(base: Path) -> None:
    with reachable_by_all() as folder:
        shutil.copytree(base / "store", folder / "store")
        (folder / "store").chmod(0o700)
        with without_rights():
            for arguments in (("show",), ("train",), ("score", "latest", "--out", "x.csv")):
                assert "ermission" in error_line(command(folder / "store", *arguments))
