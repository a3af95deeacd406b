"""Sums by group: equal to a loop, in any batching, for few and for many groups."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from taistore.geometry.sums import GroupSums, NonFiniteRowError

D = 7


@settings(max_examples=30, deadline=None)
@given(
    st.integers(1, 60), st.integers(1, 90), st.integers(1, 40), st.integers(1, 32), st.integers(0)
)
def test_sums_are_those_of_a_loop(
    groups: int, rows: int, batch: int, block: int, seed: int
) -> None:
    random = np.random.default_rng(seed)
    vectors = (5 * random.standard_normal((rows, D)) + 3).astype(np.float16)
    member = random.random((rows, groups)) < 0.2
    sums = GroupSums(groups, D, block_rows=block)
    for low in range(0, rows, batch):
        part = member[low : low + batch]
        sums.add(vectors[low : low + batch], part.sum(axis=1), np.nonzero(part)[1])
    exact = vectors.astype(np.float64)
    np.testing.assert_allclose(sums.sums(), member.T @ exact, rtol=1e-5, atol=1e-4)
    np.testing.assert_allclose(sums.total(), exact.sum(axis=0), rtol=1e-5, atol=1e-4)
    np.testing.assert_allclose(sums.squares_G, member.T @ (exact**2).sum(axis=1), rtol=1e-5)
    assert sums.counts_G.tolist() == member.sum(axis=0).tolist()
    assert sums.rows == rows


def test_a_million_members_keep_six_digits() -> None:
    random = np.random.default_rng(0)
    vectors = (random.standard_normal((100_000, 4)) + 1).astype(np.float16)
    sums = GroupSums(1, 4)
    ones = np.ones(len(vectors), dtype=np.int64)
    for _ in range(10):
        sums.add(vectors, ones, np.zeros(len(vectors), dtype=np.int64))
    exact = 10 * vectors.astype(np.float64).sum(axis=0)
    np.testing.assert_allclose(sums.sums()[0], exact, rtol=1e-5)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_row_that_is_not_finite_is_named_and_not_added(bad: float) -> None:
    vectors = np.ones((5, D), dtype=np.float16)
    vectors[3, 2] = bad
    sums = GroupSums(2, D)
    with pytest.raises(NonFiniteRowError) as error:
        sums.add(vectors, np.ones(5, dtype=np.int64), np.zeros(5, dtype=np.int64))
    assert error.value.row == 3
    assert sums.rows == 0
    assert not sums.sums().any()
