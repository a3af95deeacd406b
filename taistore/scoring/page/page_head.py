"""What the head of a page says of it: that it is taistore's, and what it was made of.

Whoever looks loads neither what writes pages nor torch.
"""

import hashlib
import html
import re
from pathlib import Path
from typing import NamedTuple

from taistore.errors import ScoringError
from taistore.scoring.tags.output_place import require_writable, unwritable

_OURS = (b'<meta name="generator" content="taistore">', b"<title>Tagged photos</title>")
"""What is in the head of a page; the second in those that older versions wrote."""

_ORIGIN = re.compile(rb'<meta name="taistore-origin" content="([^"]*)">')
_MADE_OF = re.compile(rb'<meta name="taistore-tags" content="([^"]*)">')
_HEAD_BYTES = 4096


class Origin(NamedTuple):
    """What a page was made of: the run that tagged, and a digest of all that decides the tags."""

    run_id: str
    digest: str

    def content(self, tags: Path) -> str:
        """As it stands in the head of the page of this file of tags."""
        return f"{self.run_id} {self.digest} {_file_digest(tags)}"


def origin(page: Path, tags: Path) -> Origin | None:
    """What a page was made of; None where it or its file of tags is gone, or another one now."""
    try:
        with page.open("rb") as file:
            found = _ORIGIN.search(file.read(_HEAD_BYTES))
        run_id, digest, of_tags = html.unescape(found[1].decode()).split() if found else ("",) * 3
        return Origin(run_id, digest) if run_id and of_tags == _file_digest(tags) else None
    except (OSError, ValueError):
        return None


def made_of(tags: Path) -> str:
    """What a page says that it was made of: the name of the file of tags."""
    return "".join(c if c.isprintable() else " " for c in tags.name)


def require_page(page: Path, tags: Path) -> None:
    """Find out before a long job whether a page can be written; writes nothing.

    Raises :class:`ScoringError` where ``page`` is a directory, the file of tags itself, or in a
    place that cannot be written, and :class:`StoreError` where it is a URI.
    """
    require_writable(page, option="html")
    try:
        if page.resolve() == tags.resolve():
            raise ScoringError(f"{page} is the file of tags: name another file for html=")
    except (OSError, RuntimeError, ValueError) as error:
        raise unwritable(page, error, option="html") from error


def require_own_page(page: Path, tags: Path, *, named: bool) -> None:
    """As :func:`require_page`; also where another page than taistore's is there.

    Nor is a page that nobody ``named`` replaced where it is of another file of tags that is still
    there: ``tags.csv`` and ``tags.jsonl`` have one page beside them.
    """
    require_page(page, tags)
    if not page.exists():
        return
    try:
        with page.open("rb") as file:
            head = file.read(_HEAD_BYTES)
    except OSError as error:
        raise unwritable(page, error, option="html") from error
    if not any(mark in head for mark in _OURS):
        raise ScoringError(
            f"{page} is there already and is no page of tags, so that it is not replaced: name "
            "another file for html="
        )
    found = _MADE_OF.search(head)
    before = html.unescape(found[1].decode(errors="replace")) if found else ""
    if not named and before not in ("", made_of(tags)) and _is_there(page.parent / before):
        raise ScoringError(
            f"{page} is the page of {before}, so that it is not replaced: name another file for "
            "html=, or this one to replace it"
        )


def _is_there(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):
        return False


def _file_digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "blake2b").hexdigest()[:32]
