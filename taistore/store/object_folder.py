"""Folders of files in an object store, and their copies on this machine."""

import contextlib
import hashlib
import json
import os
import secrets
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from taistore.errors import StoreError
from taistore.store.lance_errors import reaching
from taistore.store.places import object_store

_RECEIPT = ".kept.json"
_WORKING = (".part", ".lock")
"""Endings of files that somebody is at work with."""


class ObjectFolder:
    """The files of one folder in an object store, and their copies in a local folder.

    A file is put whole or not at all. The local folder keeps a receipt of each copy, the object's
    tag and the file's digest, so that only what has changed travels.
    """

    def __init__(self, uri: str) -> None:
        self.uri = uri

    def keep(self, folder: Path, names: Sequence[str]) -> None:
        """Put the files of ``folder`` that have changed, in this order: the last one seals all."""
        receipt = _receipt(folder)
        store = object_store(self.uri)
        import obstore

        for name in names:
            path = folder / name
            if not path.is_file():
                continue
            digest = file_digest(path)
            if receipt.get(name, ("", ""))[1] == digest:
                continue
            with reaching(self.uri, f"keep {name}"):
                put = obstore.put(store, name, path)
            receipt[name] = (str(put["e_tag"]), digest)
            _write_receipt(folder, receipt)

    def fetch(self, folder: Path) -> Path:
        """Make ``folder`` hold what lies here; returns it. What is equal already stays."""
        import obstore

        store = object_store(self.uri)
        with reaching(self.uri, "be listed"):
            there = {
                str(row["path"]): str(row["e_tag"])
                for rows in obstore.list(store)
                for row in rows
                if "/" not in row["path"]
            }
        if not there:
            raise StoreError(f"{self.uri}: none of the run's files is here: train it again")
        receipt = _receipt(folder)
        with _making(folder):
            folder.mkdir(parents=True, exist_ok=True)
            for name, tag in there.items():
                path = folder / name
                if path.is_file() and receipt.get(name) == (tag, file_digest(path)):
                    continue
                part = folder / f"{name}.{secrets.token_hex(4)}.part"
                try:
                    got_tag = self._get(store, name, part)
                    receipt[name] = (got_tag, file_digest(part))
                    part.replace(path)
                finally:
                    part.unlink(missing_ok=True)
            for path in folder.iterdir():
                if path.name not in {*there, _RECEIPT} and path.suffix not in _WORKING:
                    path.unlink()
            _write_receipt(folder, receipt)
        return folder

    def remove(self, names: Sequence[str]) -> int:
        """Remove these files from here, those that are here; returns their bytes."""
        import obstore

        there = self.sizes()
        gone = sorted(there.keys() & set(names))
        with reaching(self.uri, "be removed"):
            if gone:
                obstore.delete(object_store(self.uri), gone)
        return sum(there[name] for name in gone)

    def sizes(self) -> dict[str, int]:
        """Bytes of each file here, also of those in folders below, by path from here."""
        import obstore

        store = object_store(self.uri)
        with reaching(self.uri, "be listed"):
            return {
                str(row["path"]): int(row["size"]) for rows in obstore.list(store) for row in rows
            }

    def size(self, name: str) -> int | None:
        """Bytes of one file as it is now; None where there is none."""
        import obstore

        store = object_store(self.uri)
        with reaching(self.uri, "be read"):
            try:
                return int(obstore.head(store, name)["size"])
            except FileNotFoundError:
                return None

    def rename(self, name: str, to: str) -> None:
        """Give a file another name here."""
        import obstore

        store = object_store(self.uri)
        with reaching(self.uri, f"rename {name}"):
            obstore.rename(store, name, to)

    def _get(self, store: Any, name: str, part: Path) -> str:
        import obstore

        with reaching(self.uri, f"fetch {name}"):
            found = obstore.get(store, name)
            with part.open("wb") as file:
                for chunk in found.stream():
                    file.write(chunk)
                os.fsync(file.fileno())
            size, tag = int(found.meta["size"]), str(found.meta["e_tag"])
        if part.stat().st_size != size:
            raise StoreError(
                f"{self.uri}: {name} came in part only: check the network, then run it again"
            )
        return tag


def remove_copy(folder: Path) -> None:
    """Remove what is left of a copy whose files are gone: its receipt, and its folder if empty."""
    with contextlib.suppress(OSError):
        (folder / _RECEIPT).unlink(missing_ok=True)
        folder.rmdir()


def _receipt(folder: Path) -> dict[str, tuple[str, str]]:
    """Tag and digest by name; nothing where it is missing or damaged: then all is copied anew."""
    try:
        found = json.loads((folder / _RECEIPT).read_text(encoding="utf-8"))
        return {str(name): (str(pair[0]), str(pair[1])) for name, pair in found.items()}
    except (OSError, ValueError, AttributeError, LookupError, TypeError):
        return {}


def _write_receipt(folder: Path, receipt: dict[str, tuple[str, str]]) -> None:
    part = folder / f"{_RECEIPT}.{secrets.token_hex(4)}.part"
    with _making(folder):
        part.write_text(json.dumps(receipt, sort_keys=True), encoding="utf-8")
        part.replace(folder / _RECEIPT)


def file_digest(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextlib.contextmanager
def _making(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StoreError(
            f"{folder}: cannot be written ({error.strerror}): name another folder in TAISTORE_RUNS"
        ) from error
