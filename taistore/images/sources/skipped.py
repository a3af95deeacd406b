"""What lies in folders of photos and is not read: known by name, counted, and told in one line."""

from collections import Counter
from collections.abc import Mapping

_RAW = (
    *("3fr", "ari", "arw", "cr2", "cr3", "crw", "dcr", "dng", "erf", "fff", "gpr", "iiq", "k25"),
    *("kdc", "mef", "mos", "mrw", "nef", "nrw", "orf", "ori", "pef", "raf", "raw", "rw2", "rwl"),
    *("sr2", "srf", "srw", "x3f"),
)
_VIDEO = (
    *("3g2", "3gp", "avi", "flv", "insv", "m2ts", "m4v", "mkv", "mov", "mp4", "mpeg", "mpg"),
    *("mts", "ogv", "vob", "webm", "wmv"),
)
_KINDS = {
    **{f".{suffix}": "raw" for suffix in _RAW},
    **{f".{suffix}": "videos" for suffix in _VIDEO},
}

_SYSTEM_FOLDERS = frozenset(
    {"@eadir", "#recycle", "#snapshot", "$recycle.bin", "__macosx", "system volume information"}
)
"""Thumbnails, bins and copies that NAS boxes and computers keep beside photos, in lower case."""


def is_passed_over(name: str) -> bool:
    """Whether a file or folder of this name is hidden, or a system's own: Synology's ``@eaDir``.

    >>> [is_passed_over(name) for name in ("@eaDir", ".thumbnails", "._a.jpg", "eaDir", "a.jpg")]
    [True, True, True, False, False]
    """
    return name.startswith(".") or name.lower() in _SYSTEM_FOLDERS


def kind_of_file(name: str) -> str | None:
    """What a file may be that has no suffix of an image: a key of :class:`SkippedFiles`, or None.

    Files are not opened: one without a suffix may be a photo or anything else.

    >>> [kind_of_file(name) for name in ("a.CR3", "a.mov", "photo", "a.xmp")]
    ['raw', 'videos', 'without_extension', None]
    """
    stem, dot, suffix = name.rpartition(".")
    if not dot or not suffix:
        return "without_extension"
    return _KINDS.get(f".{suffix.lower()}") if stem else None


class SkippedFiles:
    """How many files of each kind were skipped; ``str`` says it in one line, with what helps."""

    _SAID: Mapping[str, tuple[str, str, str]] = {
        "raw": ("{} RAW", "{} RAW", "export them as JPEG"),
        "videos": ("{} video", "{} videos", "export frames as JPEG"),
        "without_extension": (
            "{} without extension",
            "{} without extension",
            "name photos .jpg, .png, …",
        ),
        "links": (
            "{} link to a folder elsewhere",
            "{} links to folders elsewhere",
            "give these folders themselves",
        ),
    }

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()

    def add(self, kind: str) -> None:
        """Count a file."""
        self._counts[kind] += 1

    @property
    def counts(self) -> dict[str, int]:
        """Files by kind, of the kinds that were there."""
        return {kind: self._counts[kind] for kind in self._SAID if self._counts[kind]}

    def __str__(self) -> str:
        """The line, "" where nothing was skipped.

        >>> files = SkippedFiles()
        >>> for kind in ("raw", "raw", "videos"): files.add(kind)
        >>> print(files)
        skipped: 2 RAW (export them as JPEG), 1 video (export frames as JPEG)
        """
        said = []
        for kind, count in self.counts.items():
            one, several, remedy = self._SAID[kind]
            said.append(f"{(one if count == 1 else several).format(f'{count:,}')} ({remedy})")
        return f"skipped: {', '.join(said)}" if said else ""
