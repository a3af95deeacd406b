"""What LanceDB and object stores raise, as one line with a remedy.

Nothing of their own text is shown: it runs to a thousand characters of Rust and may quote a
request. It stays the cause, for ``--debug``.
"""

import contextlib
import re
from collections.abc import Iterator

from taistore.errors import StoreError

_DISK = (
    (r"no space left|enospc|disk quota", "no space is left", "free some space"),
    (
        r"read-only file system",
        "the disk is read-only",
        "check that the disk and permissions allow it",
    ),
    (
        r"permission denied|os error 13",
        "permission denied",
        "check that the disk and permissions allow it",
    ),
    (
        r"not a directory|file exists|os error (17|20)\b",
        "a file stands where a folder has to be",
        "move it, or choose another place",
    ),
)
_REMOTE = (
    (
        r"nosuchbucket|bucket does not exist",
        "there is no such bucket",
        "make the bucket, or check the name",
    ),
    (
        r"accessdenied|forbidden|unauthorized|invalidaccesskey|signaturedoesnotmatch"
        r"|unauthenticated|\b40[13]\b|credential",
        "the object store denied access",
        "check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (or what your provider reads)",
    ),
    (
        r"error sending request|connection|connect error|timed? ?out|dns error|error decoding"
        r"|incomplete|broken pipe|reset by peer|request or response body|slowdown|slow down"
        r"|internalerror|internal server error|service unavailable|status code: 5\d\d|\b50[0234]\b",
        "the object store does not answer as it should",
        "check the network and AWS_ENDPOINT_URL",
    ),
)
"""Signs of an error in its text, what to call it, and what mends it."""

_FAILED = ("the writing failed", "check that the disk and permissions allow it")

_CONFLICT = ("another job writes there", "wait for it")
_VERSION_GONE = re.compile(r"_versions/\S+\.manifest|version \d+ (no longer|not|does)", re.I)
_NOT_FOUND = re.compile(r"not ?found|no such file|os error 2\b|does not exist", re.I)


class UnreachableError(StoreError):
    """An object store does not answer, or denies access: nothing is known of what lies there."""


class VersionGoneError(StoreError):
    """A table cannot be read any more as it was at some version."""


@contextlib.contextmanager
def writing(uri: str, table: str) -> Iterator[None]:
    """Turn whatever Lance raises while it writes into one :class:`StoreError` with a remedy."""
    try:
        yield
    except (OSError, RuntimeError, ValueError) as error:
        text = _whole(error, uri)
        what, remedy = _found(text, uri) or (_CONFLICT if "conflict" in text else _FAILED)
        raise _kind(what)(
            f"{uri}: cannot write table {table!r}: {what}: {remedy}, then run the same command "
            "again; what was committed before is kept"
        ) from error


@contextlib.contextmanager
def reading(uri: str, table: str, *, version: int | None = None) -> Iterator[None]:
    """Turn whatever Lance raises while it reads into one :class:`StoreError` with a remedy.

    Where the reader asked for a ``version`` that is not there, it is :class:`VersionGoneError`.
    """
    try:
        yield
    except BaseException as error:
        if not _of_lance(error):
            raise
        text = _whole(error, uri)
        if known := _found(text, uri):
            what, remedy = known
            raise _kind(what)(
                f"{uri}: cannot read table {table!r}: {what}: {remedy}, then run it again"
            ) from error
        if version is not None and _VERSION_GONE.search(text):
            raise VersionGoneError(
                f"{uri}: version {version} of table {table!r} is gone"
            ) from error
        what = "a file of it is missing" if _NOT_FOUND.search(text) else "a file of it is damaged"
        raise StoreError(
            f"{uri}: cannot read table {table!r}: {what}: 'taistore verify --store {uri}' says "
            "which, and what mends it"
        ) from error


@contextlib.contextmanager
def reaching(uri: str, doing: str) -> Iterator[None]:
    """The same for what is no table: a listing, a file of a run. ``doing`` follows "cannot"."""
    try:
        yield
    except Exception as error:
        if isinstance(error, StoreError):
            raise
        what, remedy = _found(_whole(error, uri), uri) or (
            "it failed",
            "check that the place is right",
        )
        raise _kind(what)(f"{uri}: cannot {doing}: {what}: {remedy}, then run it again") from error


@contextlib.contextmanager
def answering(uri: str) -> Iterator[None]:
    """Raise :class:`UnreachableError` where an object store does not answer or denies access.

    All else passes as it is: it is about what lies there, and the block's to judge.
    """
    try:
        yield
    except BaseException as error:
        known = _found(_whole(error, uri), uri) if _of_lance(error) else None
        if known is None or _kind(known[0]) is StoreError:
            raise
        what, remedy = known
        raise UnreachableError(
            f"{uri}: cannot be read: {what}: {remedy}, then run it again"
        ) from error


def _found(text: str, uri: str) -> tuple[str, str] | None:
    kinds = (*_DISK, *_REMOTE) if "://" in uri else _DISK
    return next(((what, how) for sign, what, how in kinds if re.search(sign, text)), None)


def _kind(what: str) -> type[StoreError]:
    return UnreachableError if any(what == remote for _, remote, _ in _REMOTE) else StoreError


def _whole(error: BaseException, uri: str) -> str:
    """All that it says but for the place, whose folders may be called anything."""
    return str(error).lower().replace(uri.lower().strip("/"), "")


def _of_lance(error: BaseException) -> bool:
    """Whether it is of the kinds that Lance raises; a panic of its own is no Exception at all."""
    return (
        isinstance(error, OSError | RuntimeError | ValueError)
        or type(error).__name__ == "PanicException"
    )
