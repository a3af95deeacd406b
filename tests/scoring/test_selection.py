"""Choosing tags against a sort of every row."""

import hypothesis.strategies as st
import numpy as np
import torch
from hypothesis import given
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from taistore.scoring.selection import choose


@given(
    hnp.arrays(
        np.float32,
        st.tuples(st.integers(0, 6), st.integers(1, 8)),
        elements=st.floats(-5, 5, width=16, allow_subnormal=False),
    ),
    st.one_of(st.none(), st.integers(1, 9)),
    st.one_of(st.none(), st.floats(-6, 6)),
)
def test_choice_equals_a_full_sort(
    scores: NDArray[np.float32], top_k: int | None, threshold: float | None
) -> None:
    tensor = torch.from_numpy(scores)
    allowed = None if threshold is None else tensor >= threshold
    tags = choose(tensor, top_k=top_k, allowed_BN=allowed)
    expected = []
    for row, values in enumerate(scores):
        ids = [i for i in range(len(values)) if threshold is None or values[i] >= threshold]
        ranked = sorted(ids, key=lambda i: -values[i])[:top_k]
        expected += [(row, rank, float(values[i])) for rank, i in enumerate(ranked, start=1)]
    found = [
        (int(row), int(rank), float(scores[row, label]))
        for row, rank, label in zip(*tags, strict=True)
    ]
    assert found == expected


def test_equal_scores_rank_by_label_id() -> None:
    tags = choose(torch.tensor([[1.0, 3.0, 3.0, 1.0]]))
    assert tags.label_id.tolist() == [1, 2, 0, 3]
    assert tags.rank.tolist() == [1, 2, 3, 4]
