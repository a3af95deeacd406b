"""What a label is called where keywords are kept: in lists, and in lists of paths."""

import unicodedata

HIERARCHY = "|"
"""Between the levels of ``lr:hierarchicalSubject``."""


def keyword_of(name: str) -> str:
    """A label's name as a keyword: one line, without what XML cannot hold; may be empty.

    >>> keyword_of(" a\\x1bb\\n<c> ")
    'a b <c>'
    """
    return " ".join("".join(map(_plain, name)).split())


def _plain(character: str) -> str:
    """XML 1.0 allows no controls, surrogates or U+FFFE; a line end would make two keywords."""
    kind = unicodedata.category(character)
    unsafe = kind in ("Cc", "Cs", "Zl", "Zp") or character in "\ufffe\uffff"
    return " " if unsafe else character


def same_as(keyword: str) -> str:
    """What two keywords share that read the same: programs on macOS write é as two characters.

    >>> same_as("e\\u0301") == same_as("\\xe9"), same_as("Dog") == same_as("dog")
    (True, False)
    """
    return unicodedata.normalize("NFC", keyword)


def path_of(keyword: str, *, under: str, separator: str) -> str:
    """A keyword's path in a list of paths, below the keyword ``under`` unless that is empty.

    A separator within a name would make two levels of it.

    >>> path_of("AC/DC", under="taistore", separator="/")
    'taistore/AC-DC'
    """
    names = [name for name in (under, keyword) if name]
    return separator.join(name.replace(separator, "-") for name in names)


def leaf(path: str, *, separator: str) -> str:
    """The last name of a path, which is the keyword itself."""
    return path.rsplit(separator, 1)[-1]
