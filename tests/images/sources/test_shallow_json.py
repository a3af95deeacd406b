"""Brackets are counted as a reader of JSON would, however the file falls into blocks."""

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taistore.errors import ManifestError
from taistore.images.sources.shallow_json import ShallowJson
from taistore.record_files import MAX_DEPTH

_PIECES = st.sampled_from([b'"', b"\\", b"[", b"]", b"{", b"}", b"a", b"[" * 40, b"{" * 30])


def _passes(data: bytes, blocks: list[int]) -> bool:
    file = ShallowJson(io.BytesIO(data), "f.json")
    got = b""
    try:
        for size in blocks:
            got += file.read(size)
        while block := file.read(7):
            got += block
    except ManifestError:
        return False
    assert got == data
    return True


def _is_shallow(data: bytes) -> bool:
    depth, in_string, escaped = 0, False, False
    for byte in data:
        mark = chr(byte)
        if escaped:
            escaped = False
        elif mark == "\\":
            escaped = True
        elif mark == '"':
            in_string = not in_string
        elif not in_string and mark in "[{]}":
            depth += 1 if mark in "[{" else -1
            if depth > MAX_DEPTH:
                return False
    return True


@given(
    data=st.lists(_PIECES, max_size=40).map(b"".join),
    blocks=st.lists(st.integers(1, 20), max_size=10),
)
def test_any_bytes_in_any_blocks(data: bytes, blocks: list[int]) -> None:
    assert _passes(data, blocks) == _is_shallow(data)


def test_the_bound_is_exact_and_named() -> None:
    assert _passes(b"[" * MAX_DEPTH, [3, 1])
    file = ShallowJson(io.BytesIO(b"[" * (MAX_DEPTH + 1)), "f.json")
    with pytest.raises(
        ManifestError, match=r"f\.json: nested deeper than 64 levels before byte 65:"
    ):
        file.read()
