"""Neighbour indexes: exact ones agree with NumPy, FAISS with torch, the approximate one nearly."""

import importlib.util
import sys
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from taistore.errors import MissingExtraError
from taistore.geometry import neighbours
from taistore.geometry.exact_search.coarse_products import Format
from taistore.geometry.neighbours import (
    EXACT_QUERIES,
    EXACT_ROWS,
    FaissIndex,
    NeighbourIndex,
    TorchIndex,
    choose_kind,
    ivf_lists,
    ivf_probes,
    open_index,
    sample_rows,
)

D = 24


def _vectors(rows: int, seed: int = 0) -> NDArray[np.float16]:
    random = np.random.default_rng(seed)
    return (random.standard_normal((rows, D)) * 4 + 1).astype(np.float16)


def _exact(
    vectors: NDArray[np.float16], queries: NDArray[np.float16], k: int
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    one, other = vectors.astype(np.float64), queries.astype(np.float64)
    one /= np.linalg.norm(one, axis=1, keepdims=True)
    other /= np.linalg.norm(other, axis=1, keepdims=True)
    scores = other @ one.T
    rows = np.argsort(-scores, axis=1)[:, :k]
    return np.take_along_axis(scores, rows, axis=1), rows


@pytest.mark.parametrize("kind", ["torch", "faiss"])
def test_exact_indexes_agree_with_numpy(
    kind: neighbours.Kind, monkeypatch: pytest.MonkeyPatch
) -> None:
    if kind == "faiss":
        pytest.importorskip("faiss")
    # Several blocks of vectors and of queries.
    monkeypatch.setattr(neighbours, "_ROWS_PER_MATMUL", 64)
    monkeypatch.setattr(neighbours, "_QUERIES_PER_MATMUL", 8)
    vectors, queries = _vectors(1000), _vectors(30, seed=1)
    index = open_index(len(vectors), D, kind=kind)
    for low in range(0, 1000, 300):
        index.add(vectors[low : low + 300])
    scores, rows = index.search(queries, 10)
    wanted_scores, wanted_rows = _exact(vectors, queries, 10)
    assert scores.dtype == np.float32
    np.testing.assert_allclose(scores, wanted_scores, rtol=1e-4, atol=1e-4)
    assert (rows == wanted_rows).mean() > 0.99
    # Adding later is searching later.
    index.add(queries[:1])
    assert index.search(queries[:1], 1)[1].tolist() == [[1000]]


@pytest.mark.parametrize("form", ["fp32", "bf16"])
@settings(max_examples=25, deadline=None)
@given(st.integers(1, 400), st.integers(1, 25), st.integers(0), st.booleans())
def test_coarse_products_lose_no_neighbour(
    form: Format, rows: int, k: int, seed: int, close: bool
) -> None:
    """Vectors so close that bf16 cannot tell them apart, and negative scores, among them."""
    random = np.random.default_rng(seed)
    drawn = random.standard_normal((rows, D)) * (0.01 if close else 1)
    vectors = (drawn + (1.0 if close else 0.0)).astype(np.float16)
    block = int(random.integers(1, 90))
    queries = random.standard_normal((7, D)).astype(np.float16)
    index = TorchIndex(D, form=form)
    for low in range(0, rows, block):
        index.add(vectors[low : low + block])
    scores, found = index.search(queries, k)
    wanted, _ = _exact(vectors, queries, k)
    np.testing.assert_allclose(scores, wanted, atol=2e-6)
    assert found.shape == wanted.shape
    assert all(len(set(row)) == len(row) for row in found.tolist())


def test_faiss_and_torch_are_one_to_float_tolerance() -> None:
    pytest.importorskip("faiss")
    vectors, queries = _vectors(5000), _vectors(40, seed=1)
    found = []
    for index in (TorchIndex(D), FaissIndex(D)):
        index.add(vectors)
        found.append(index.search(queries, 20))
    np.testing.assert_allclose(found[0][0], found[1][0], rtol=1e-5, atol=1e-6)
    assert (found[0][1] == found[1][1]).mean() > 0.999


def test_the_approximate_index_finds_nearly_the_same() -> None:
    pytest.importorskip("faiss")
    centres = np.random.default_rng(0).standard_normal((40, D)) * 5
    vectors = np.concatenate([centres + _vectors(40, seed=i) / 4 for i in range(200)])
    index = open_index(len(vectors), D, kind="ivf", sample_SD=vectors[::3])
    index.add(vectors)
    queries = centres.astype(np.float32)
    scores, rows = index.search(queries, 10)
    exact = TorchIndex(D)
    exact.add(vectors)
    _, wanted = exact.search(queries, 10)
    recall = np.mean([len(set(a) & set(b)) / 10 for a, b in zip(rows, wanted, strict=True)])
    assert recall > 0.8
    assert np.all(np.diff(scores, axis=1) <= 0)


def _indexes() -> list[NeighbourIndex]:
    made: list[NeighbourIndex] = [TorchIndex(D)]
    if importlib.util.find_spec("faiss") is not None:
        made += [FaissIndex(D), FaissIndex(D, lists=2, probes=2, sample_SD=_vectors(64))]
    return made


def test_few_vectors_and_odd_shapes() -> None:
    for index in _indexes():
        assert index.search(_vectors(2), 5)[1].shape == (2, 0)
        index.add(_vectors(3))
        scores, rows = index.search(_vectors(2), 5)
        assert scores.shape == rows.shape == (2, 3)
        assert sorted(rows[0].tolist()) == [0, 1, 2]
        assert len(index.search(_vectors(0), 5)[1]) == 0
        with pytest.raises(ValueError, match=rf"\[rows, {D}\]"):
            index.add(np.ones((2, D + 1)))
        with pytest.raises(ValueError, match=rf"\[rows, {D}\]"):
            index.search(np.ones((2, D + 1)), 1)


def test_a_zero_vector_has_the_score_zero() -> None:
    for index in _indexes():
        index.add(np.zeros((1, D)))
        scores, _ = index.search(_vectors(1), 1)
        # IVF keeps what is left to the centre of its cell in float16.
        np.testing.assert_allclose(scores, [[0.0]], atol=1e-3)


def test_auto_is_exact_up_to_a_stated_size() -> None:
    assert isinstance(open_index(EXACT_ROWS, D, sample_SD=_vectors(5000)), TorchIndex)
    assert isinstance(open_index(10 * EXACT_ROWS, D), TorchIndex), "nothing to train on"
    assert choose_kind(10 * EXACT_ROWS, queries=EXACT_QUERIES) == "torch"
    assert choose_kind(10, kind="ivf", queries=1) == "ivf"
    rows = sample_rows(EXACT_ROWS + 1)
    assert len(rows) >= ivf_lists(EXACT_ROWS + 1)
    assert len(np.unique(rows)) == len(rows)
    assert rows.max() <= EXACT_ROWS
    assert 1 <= ivf_probes(ivf_lists(1)) <= ivf_lists(1)
    assert all(ivf_lists(n) <= len(sample_rows(n)) for n in range(1, 40))


def test_vectors_that_are_read_at_each_search_are_found_like_held_ones(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(neighbours, "_ROWS_PER_MATMUL", 64)
    monkeypatch.setattr(neighbours, "_QUERIES_PER_MATMUL", 8)
    vectors, queries = _vectors(500), _vectors(30, seed=1)
    held, reads = TorchIndex(D), []
    held.add(vectors)

    def read() -> Iterator[NDArray[np.float16]]:
        reads.append(1)
        yield from (vectors[:77], vectors[77:77], vectors[77:])

    index = TorchIndex(D, read=read)
    scores, rows = index.search(queries, 9)
    np.testing.assert_allclose(scores, held.search(queries, 9)[0], rtol=1e-5)
    assert (rows == held.search(queries, 9)[1]).mean() > 0.99
    assert reads == [1], "one pass for all queries"
    with pytest.raises(ValueError, match="holds none"):
        index.add(vectors)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
@pytest.mark.parametrize("kind", ["torch", "faiss", "ivf"])
def test_the_gpu_finds_what_the_cpu_finds(kind: neighbours.Kind) -> None:
    if kind != "torch":
        pytest.importorskip("faiss")
    vectors, queries = _vectors(5000), _vectors(40, seed=1)
    index = open_index(5000, D, kind=kind, sample_SD=vectors, device="cuda")
    exact = TorchIndex(D)
    for one in (index, exact):
        one.add(vectors)
    same = np.isin(index.search(queries, 10)[1], exact.search(queries, 10)[1]).mean()
    assert same > (0.5 if kind == "ivf" else 0.99)
    if index.name.endswith("cpu"):
        pytest.skip("needs a FAISS that was built for CUDA GPUs")
    assert index.name == f"{kind} on cuda"


def test_auto_is_approximate_beyond_it() -> None:
    pytest.importorskip("faiss")
    sample = _vectors(ivf_lists(EXACT_ROWS + 1))
    assert isinstance(open_index(EXACT_ROWS + 1, D, sample_SD=sample), FaissIndex)
    assert choose_kind(EXACT_ROWS + 1, queries=EXACT_QUERIES + 1) == "ivf"


def test_without_faiss_auto_is_exact_and_the_error_names_the_extra(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "faiss", None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert isinstance(open_index(10**7, D, sample_SD=_vectors(8)), TorchIndex)
    with pytest.raises(MissingExtraError, match=r"taistore\[faiss\]"):
        FaissIndex(D)


def test_too_small_a_sample_is_refused() -> None:
    pytest.importorskip("faiss")
    with pytest.raises(ValueError, match="sample"):
        FaissIndex(D, lists=16, sample_SD=_vectors(8))
