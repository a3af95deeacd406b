"""Sums by group: equal to a loop, in any batching, for few and for many groups."""

import sys
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from taistore.geometry.group_sums import GroupSums, NonFiniteRowError

D = 7


@pytest.fixture(params=["torch", "no torch"], autouse=True)
def _with(request: pytest.FixtureRequest) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "no torch":
            patch.delitem(sys.modules, "torch")
        yield


@settings(max_examples=30, deadline=None)
@given(
    st.integers(1, 60),
    st.integers(1, 90),
    st.tuples(st.integers(1, 40), st.integers(1, 32)),
    st.sampled_from([1, 7, 64, 129]),
    st.integers(0),
)
def test_sums_are_those_of_a_loop(
    groups: int, rows: int, batch_and_block: tuple[int, int], dim: int, seed: int
) -> None:
    batch, block = batch_and_block
    random = np.random.default_rng(seed)
    vectors = (5 * random.standard_normal((rows, dim)) + 3).astype(np.float16)
    member = random.random((rows, groups)) < 0.2
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("taistore.geometry.group_sums.MANY_GROUPS", 30)
        patch.setattr("taistore.geometry.group_sums.BLOCK_MEMBERS", 100)
        sums = GroupSums(groups, dim, squares=True, block_rows=block)
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


@pytest.mark.parametrize("block", [1000, 4096])
@pytest.mark.parametrize("bad", [np.nan, -np.nan, np.inf, -np.inf])
def test_a_row_that_is_not_finite_is_named_and_not_added(bad: float, block: int) -> None:
    vectors = np.ones((3000, D), dtype=np.float16)
    vectors[2500, 2] = bad
    sums = GroupSums(2, D, block_rows=block)
    with pytest.raises(NonFiniteRowError) as error:
        sums.add(vectors, np.ones(3000, dtype=np.int64), np.zeros(3000, dtype=np.int64))
    assert error.value.row == 2500
    assert sums.rows == 0
    assert not sums.sums().any()


def test_every_float16_is_converted_exactly() -> None:
    every = np.arange(2**16, dtype=np.uint16).view(np.float16)
    finite = every[np.isfinite(every)].reshape(-1, 1)
    sums = GroupSums(len(finite), 1)
    sums.add(finite, np.ones(len(finite), dtype=np.int64), np.arange(len(finite)))
    np.testing.assert_array_equal(sums.sums(), finite.astype(np.float32))


def test_long_vectors_are_no_infinities() -> None:
    sums = GroupSums(1, 8)
    longest = np.full((2, 8), np.finfo(np.float16).max)
    sums.add(longest, np.ones(2, dtype=np.int64), np.zeros(2, dtype=np.int64))
    assert sums.sums().tolist() == [[2 * 65504.0] * 8]


def test_without_torch_the_sums_are_the_same_bit_by_bit() -> None:
    random = np.random.default_rng(0)
    vectors = random.standard_normal((2000, 200)).astype(np.float16)
    counts = random.integers(0, 4, size=2000)
    groups = random.integers(300, size=int(counts.sum()))
    found = []
    for module in (torch, None):
        with pytest.MonkeyPatch.context() as patch:
            if module is None:
                patch.delitem(sys.modules, "torch", raising=False)
            else:
                patch.setitem(sys.modules, "torch", module)
            sums = GroupSums(300, 200, block_rows=700)
            sums.add(vectors, counts, groups)
            found.append((sums.sums(), sums.total()))
    for one, other in zip(*found, strict=True):
        np.testing.assert_array_equal(one, other)


def test_squares_are_not_zero_where_nobody_asked_for_them() -> None:
    sums = GroupSums(2, D)
    sums.add(np.ones((3, D), np.float16), np.ones(3, np.int64), np.zeros(3, np.int64))
    assert sums.sums()[0].tolist() == [3.0] * D
    assert np.isnan(sums.squares_G).all()
