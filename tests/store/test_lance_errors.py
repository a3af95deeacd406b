"""A table whose files are missing, cut or closed to us: one line that says what to do."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from taistore.errors import StoreError
from taistore.labels import Label, LabelSet
from taistore.store.lance_errors import VersionGoneError, reading, writing
from taistore.store.rejects import Reject
from taistore.store.store import Store

LABELS = LabelSet(Label(name, name) for name in ("cat", "dog"))


def _files(store: Store, part: str) -> list[Path]:
    return sorted(path for path in Path(store.uri, "labels.lance", part).iterdir())


def _gone(store: Store) -> None:
    for path in _files(store, "data"):
        path.unlink()


def _empty(store: Store) -> None:
    for path in _files(store, "data"):
        path.write_bytes(b"")


def _cut(store: Store) -> None:
    for path in _files(store, "data"):
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _noise(store: Store) -> None:
    for path in _files(store, "data"):
        path.write_bytes(b"\x55" * path.stat().st_size)


def _cut_manifest(store: Store) -> None:
    for path in _files(store, "_versions"):
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _empty_manifest(store: Store) -> None:
    for path in _files(store, "_versions"):
        path.write_bytes(b"")


@pytest.mark.parametrize("damage", [_gone, _empty, _cut, _noise, _cut_manifest, _empty_manifest])
def test_a_damaged_table_is_told_in_one_line(
    tmp_path: Path, damage: Callable[[Store], None]
) -> None:
    store = Store.create(tmp_path / "store", LABELS, default_encoder="vectors:mine")
    damage(store)
    with pytest.raises(StoreError) as raised:
        list(Store.open(store.uri).scan("labels"))
    _check(str(raised.value), store.uri, "'labels'", "taistore verify")


def test_labels_that_are_gone_are_told_from_no_store(tmp_path: Path) -> None:
    store = Store.create(tmp_path / "store", LABELS, default_encoder="vectors:mine")
    shutil.rmtree(Path(store.uri, "labels.lance", "_versions"))
    with pytest.raises(StoreError, match="no taistore store here"):
        Store.open(store.uri)
    store = Store.create(tmp_path / "store", LABELS, default_encoder="vectors:mine")
    store.reject("job", [Reject("a.jpg", "corrupt", "")])
    shutil.rmtree(Path(store.uri, "labels.lance", "_versions"))
    for reach in (Store.open, lambda uri: Store.create(uri, LABELS, default_encoder="packaged")):
        with pytest.raises(StoreError) as raised:
            reach(store.uri)
        _check(str(raised.value), store.uri, "'labels'", "'rejects'", "taistore verify")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_table_without_permission(tmp_path: Path) -> None:
    store = Store.create(tmp_path / "store", LABELS, default_encoder="vectors:mine")
    [path] = _files(store, "data")
    path.chmod(0)
    with pytest.raises(StoreError) as raised:
        list(Store.open(store.uri).scan("labels"))
    _check(str(raised.value), "permission denied", "'labels'")


def test_what_the_disk_says_is_named() -> None:
    for how in (reading, writing):
        for text, wanted in (
            ("LanceError(IO): Permission denied (os error 13), /a/b.rs:1:2", "permission denied"),
            ("LanceError(IO): No space left on device (os error 28), /a/b.rs:1:2", "no space"),
        ):
            with pytest.raises(StoreError) as raised, how("/data/connection", "texts"):
                raise OSError(text)
            _check(str(raised.value), "/data/connection", "'texts'", wanted)


def test_a_version_that_is_gone_is_told_from_damage(tmp_path: Path) -> None:
    store = Store.create(tmp_path / "store", LABELS, default_encoder="vectors:mine")
    with pytest.raises(VersionGoneError, match="version 77 of table 'labels' is gone"):
        store.dataset("labels", version=77)
    assert store.has_version("labels", 1)
    assert not store.has_version("labels", 77)


def test_an_error_of_ours_stays_what_it_is() -> None:
    with pytest.raises(KeyError), reading("store", "texts"):
        raise KeyError("ours")
    with pytest.raises(StoreError, match=r"^ours$"), reading("store", "texts"):
        raise StoreError("ours")


def _check(line: str, *words: str) -> None:
    assert "\n" not in line
    assert len(line) <= 250 + len(words[0])
    assert not [word for word in words if word not in line], line
    assert not [word for word in (".rs", "LanceError", "os error") if word in line], line
