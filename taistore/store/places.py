"""Places that are no table: what a URI may be, and folders of files in an object store.

Credentials come from the environment alone, under the names that LanceDB reads too
(``AWS_ACCESS_KEY_ID``, ``AWS_ENDPOINT_URL``, …): obstore is the same object access that is inside
Lance.
"""

import contextlib
import hashlib
import json
import os
import re
import secrets
from collections.abc import Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from taistore.errors import StoreError
from taistore.store.lance_errors import reaching

SCHEMES = ("s3", "gs", "az")
"""Object stores that a store can be in."""

_STORAGE_OPTIONS = {
    "connect_timeout": "5s",
    "timeout": "60s",
    "client_max_retries": "6",
    "client_retry_timeout": "45",
}
"""For Lance: its own bound, ten retries of each of several layers, lets a job hang for minutes."""

_RETRIES: Any = {"max_retries": 6, "retry_timeout": timedelta(seconds=45)}
_TIMEOUTS: Any = {"connect_timeout": timedelta(seconds=5), "timeout": timedelta(seconds=60)}
_RECEIPT = ".kept.json"
_URI = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):/")


def storage_options(uri: str) -> dict[str, str] | None:
    """What Lance is told of an object store; the rest is in the environment."""
    if not is_remote(uri):
        return None
    return {**_STORAGE_OPTIONS, **({"allow_http": "true"} if _plain_http() else {})}


def is_remote(uri: str) -> bool:
    """Whether a store's URI is that of an object store."""
    return "://" in uri


def checked_uri(uri: str) -> str:
    """A store's URI, which must hold no secret and be of a known kind.

    Raises :class:`StoreError`, which never shows what the URI holds.
    """
    if not is_remote(uri):
        return uri
    try:
        parts = urlsplit(uri)
    except ValueError:
        raise StoreError("the store's URI cannot be read: give one such as s3://bucket/shop") from (
            None
        )
    # What follows ? or # is no place in a bucket, and is where people put keys.
    if "@" in parts.netloc or parts.query or parts.fragment or "?" in uri or "#" in uri:
        raise StoreError(
            f"{parts.scheme}://…: a store's URI may hold no user, password or options: give "
            "credentials in AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, the server in "
            "AWS_ENDPOINT_URL"
        )
    if parts.scheme not in SCHEMES or not parts.netloc:
        raise StoreError(
            f"{parts.scheme}://{parts.netloc}: no place for a store: give a directory, or "
            "s3://bucket/folder (or gs://, az://)"
        )
    return uri.rstrip("/")


def local_path(path: str | Path, *, option: str) -> Path:
    """``path`` on this machine's disk; a URI would become a folder that is named like one.

    Raises :class:`StoreError` that names ``option``, a parameter.
    """
    found = _URI.match(str(path))
    if found and "/" not in found[1]:
        raise StoreError(
            f"{option}= is written to this machine's disk, not to a {found[1]}:// place: give a "
            "local path and copy it afterwards"
        )
    return Path(path)


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
        store = _object_store(self.uri)
        import obstore

        for name in names:
            path = folder / name
            if not path.is_file():
                continue
            digest = _digest(path)
            if receipt.get(name, ("", ""))[1] == digest:
                continue
            with reaching(self.uri, f"keep {name}"):
                put = obstore.put(store, name, path)
            receipt[name] = (str(put["e_tag"]), digest)
            _write_receipt(folder, receipt)

    def fetch(self, folder: Path) -> Path:
        """Make ``folder`` hold what lies here; returns it. What is equal already stays."""
        import obstore

        store = _object_store(self.uri)
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
                if path.is_file() and receipt.get(name) == (tag, _digest(path)):
                    continue
                part = folder / f"{name}.{secrets.token_hex(4)}.part"
                try:
                    got_tag = self._get(store, name, part)
                    receipt[name] = (got_tag, _digest(part))
                    part.replace(path)
                finally:
                    part.unlink(missing_ok=True)
            for path in folder.iterdir():
                if path.name not in {*there, _RECEIPT} and path.suffix not in _WORKING:
                    path.unlink()
            _write_receipt(folder, receipt)
        return folder

    def remove(self, names: Sequence[str]) -> None:
        """Remove these files from here; those that are not here are none."""
        import obstore

        with reaching(self.uri, "be removed"):
            store = _object_store(self.uri)
            there = {str(row["path"]) for rows in obstore.list(store) for row in rows}
            obstore.delete(store, sorted(there.intersection(names)))

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


def require_conditional_put(uri: str) -> None:
    """See that an object store refuses to put over what is there.

    Lance commits so: without that, of two jobs that commit at once one would lose its rows.
    Raises :class:`StoreError` where the store does not, or cannot be reached.
    """
    import obstore
    from obstore.exceptions import AlreadyExistsError, NotSupportedError

    store = _object_store(uri)
    key = f".taistore-probe-{secrets.token_hex(8)}"
    refusal = StoreError(
        f"{uri}: this object store does not honour conditional put (If-None-Match): jobs that "
        "commit at once would lose rows: use one that does, or a directory"
    )
    with reaching(uri, "be written"):
        try:
            obstore.put(store, key, b"1", mode="create")
        except AlreadyExistsError:
            pass  # A repeated request of ours was refused: that is the guarantee.
        except (NotSupportedError, NotImplementedError):
            raise refusal from None
        try:
            obstore.put(store, key, b"2", mode="create")
        except AlreadyExistsError:
            return
        except (NotSupportedError, NotImplementedError):
            pass
        finally:
            with contextlib.suppress(Exception):
                obstore.delete(store, key)
    raise refusal


def cache_folder(uri: str, name: str) -> Path:
    """Where a run of an object store works and is fetched to on this machine.

    ``TAISTORE_RUNS``, else the user's cache; one folder a store, ``name`` below it.
    """
    base = os.environ.get("TAISTORE_RUNS")
    if not base:
        cache = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
        base = str(Path(cache) / "taistore" / "runs")
    return (
        local_path(base, option="TAISTORE_RUNS").expanduser().absolute()
        / hashlib.sha256(uri.encode()).hexdigest()[:16]
        / name
    )


def _object_store(uri: str) -> Any:
    from obstore.store import from_url

    options: Any = {**_TIMEOUTS, "allow_http": _plain_http()}
    with reaching(uri, "be opened"):
        return from_url(uri, client_options=options, retry_config=_RETRIES)


def _plain_http() -> bool:
    """Whether the environment names a server without TLS, as on this machine."""
    endpoint = os.environ.get("AWS_ENDPOINT_URL") or os.environ.get("AWS_ENDPOINT") or ""
    return endpoint.startswith("http:")


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


def _digest(path: Path) -> str:
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
