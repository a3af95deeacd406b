"""The compact set of strings against Python's own."""

import hypothesis.strategies as st
import pytest
from hypothesis import given

from taistore.scoring import string_set as module
from taistore.scoring.string_set import Seen


@given(st.lists(st.lists(st.sampled_from([f"s{i}" for i in range(12)]), max_size=6), max_size=8))
def test_knows_what_it_met(batches: list[list[str]]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_RECENT", 3)
        seen, plain = Seen(), set[str]()
        for batch in batches:
            expected, before = [], set(plain)
            for string in batch:
                expected.append(string not in plain)
                plain.add(string)
            assert seen.met(batch) == [string in before for string in batch]
            assert seen.new(batch) == expected
            assert len(seen) == len(plain)
