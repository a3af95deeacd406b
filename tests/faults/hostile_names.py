"""Hostile names of files and labels: what terminals, shells, pages and tables trip over."""

import itertools
import random
from collections.abc import Iterator

UNSAFE = frozenset(
    map(chr, (*range(0x20), *range(0x7F, 0xA0), 0x61C, 0x200E, 0x200F, 0xFEFF))
) | frozenset(map(chr, (*range(0x2028, 0x202F), *range(0x2066, 0x2070), *range(0xD800, 0xE000))))
"""Characters that must not reach a terminal; a line feed only where a line ends."""

MARKS = (
    *("\n", "\r", "\r\n", "\t", "\x1b[2J", "\x1b]0;title\x07", "\x07", "\x08", "\x7f", "\x85"),
    *("\x9b31m", "\u061c", "\u200e", "\u200f", "\u2028", "\u2029", "\u202a", "\u202b", "\u202c"),
    *("\u202d", "\u202e", "\u2066", "\u2067", "\u2068", "\u2069", "\ufeff", "\x01", "\x0b", "\x0c"),
)

TEXTS = (
    *("'; DROP TABLE images; --", '" OR ""="', "it's", '"quoted"', "a`b`", "$(id)", "${HOME}"),
    *("=cmd|' C'!A0", "+1+1", "-2+3", "@SUM(A1)", "=HYPERLINK(1)", "'=1", "''", "\t=1"),
    *("<script>alert(1)</script>", "<img src=x onerror=alert(1)>", "&lt;b&gt;", "{{7*7}}", "{x}"),
    *("%s%n", "%00", "..", "...", "a..", " lead", "trail ", "dot.", "-rf", "--help", "~", "*", "?"),
    *(
        "C:\\con",
        "nul",
        "a:b",
        "a|b",
        "a;b",
        "a&b",
        "#",
        "# no comment",
        "null",
        "NaN",
        "true",
        "1",
    ),
    *(
        "👩‍👩‍👧‍👦",
        "🏴‍☠️",
        "🇩🇪",
        "שלום",
        "مرحبا",
        "日本語",
        "ｆｕｌｌ",
        "é",
        "e\u0301",
        "Z" * 200,
        "ß",
        "İ",
    ),
    *("x\u200dy", "\u00a0", "a\u0300" * 60, "ﷺ", "\U0001f600" * 40, "0" * 120, "_", "label", "uri"),
)


def names() -> list[str]:
    """More than 200 different names, none with NUL or a slash, each of at most 240 bytes."""
    rng = random.Random(10)
    found = dict.fromkeys(TEXTS)
    for mark in MARKS:
        found |= dict.fromkeys([f"a{mark}b", f"{mark}gpj.exe", f"photo{mark}", mark * 3])
    for one, two in itertools.islice(itertools.product(MARKS, TEXTS), 0, None, 61):
        found[f"{two}{one}{rng.randrange(100)}"] = None
    return [n for n in found if "/" not in n and len(n.encode()) <= 240]


def file_names() -> Iterator[bytes]:
    """Names of image files: those of :func:`names`, and bytes that are no UTF-8."""
    for name in names():
        yield name.encode() + b".png"
    for code in (*range(0x80, 0x100, 9), 0xC0, 0xED):
        yield b"raw" + bytes([code, 0x80, code]) + b".png"
    yield b"\xed\xa0\x80 surrogate.png"
