"""Places that are no table: what a URI may be, and what an object store has to do.

Credentials come from the environment alone, under the names that LanceDB reads too
(``AWS_ACCESS_KEY_ID``, ``AWS_ENDPOINT_URL``, …): obstore is the same object access that is inside
Lance.
"""

import contextlib
import hashlib
import os
import re
import secrets
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from taistore._extras import require
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
_URI = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):/")


def storage_options(uri: str) -> dict[str, str] | None:
    """What Lance is told of an object store; the rest is in the environment."""
    if not is_remote(uri):
        return None
    return {**_STORAGE_OPTIONS, **({"allow_http": "true"} if _plain_http() else {})}


def is_remote(uri: str) -> bool:
    """Whether a store's URI is that of an object store."""
    return "://" in uri


def checked_uri(place: str | Path) -> str:
    """A store's URI, which must hold no secret and be of a known kind; ``~`` is the user's home.

    Raises :class:`StoreError`, which never shows what the URI holds, and
    :class:`MissingExtraError` for an object store without obstore.
    """
    uri = str(place)
    if not is_remote(uri):
        return str(Path(uri).expanduser())
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
    # Here, not at the first file of a run: that comes after an hour of training.
    require("obstore", extra="object-stores", purpose="a store in an object store")
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


def require_folder(uri: str) -> None:
    """Raise :class:`StoreError` where a folder can be neither found nor made at a local place."""
    if is_remote(uri):
        return
    place = Path(uri).absolute()
    for path in (place, *place.parents):
        # A link to nothing exists for whoever would make a folder there.
        if not os.path.lexists(path):
            continue
        if not path.is_dir():
            raise StoreError(f"{uri}: {path} is no folder: choose another path=")
        return


def require_conditional_put(uri: str) -> None:
    """See that an object store refuses to put over what is there.

    Lance commits so: without that, of two jobs that commit at once one would lose its rows.
    Raises :class:`StoreError` where the store does not, or cannot be reached.
    """
    import obstore
    from obstore.exceptions import AlreadyExistsError, NotSupportedError

    store = object_store(uri)
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


def object_store(uri: str) -> Any:
    """An object store's folder at ``uri``, for obstore."""
    from obstore.store import from_url

    options: Any = {**_TIMEOUTS, "allow_http": _plain_http()}
    with reaching(uri, "be opened"):
        return from_url(uri, client_options=options, retry_config=_RETRIES)


def _plain_http() -> bool:
    """Whether the environment names a server without TLS, as on this machine."""
    endpoint = os.environ.get("AWS_ENDPOINT_URL") or os.environ.get("AWS_ENDPOINT") or ""
    return endpoint.startswith("http:")


@contextlib.contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """The name under which a file is to be written, which then takes the place of ``path``.

    A kill leaves the old file or the new one, never a part; whatever else ends the block, no part
    is left either. Raises OSError.
    """
    part = path.with_name(path.name + ".part")
    try:
        yield part
        with part.open("rb") as file:
            os.fsync(file.fileno())
        part.replace(path)
    except BaseException:
        # On a full disk a half-written file would hold the very room that is missing.
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
        raise
