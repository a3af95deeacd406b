"""The metrics against scikit-learn, against plain transcriptions, and their invariances."""

from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score

from taistore.evaluation import metrics as m


def plain_average_precision(scores: NDArray[Any], truth: NDArray[Any]) -> float:
    """One label, written as the definition reads: unknown images are not there at all."""
    scores, truth = scores[truth >= 0], truth[truth >= 0]
    precisions = [
        np.mean(truth[scores >= score] == 1)
        for score, present in zip(scores, truth, strict=True)
        if present == 1
    ]
    return float(np.mean(precisions)) if precisions else float("nan")


def plain_f1(scores: NDArray[Any], truth: NDArray[Any], top_k: int) -> tuple[float, float]:
    """CF1 and OF1 with loops over images and labels."""
    labels = scores.shape[1]
    right, chosen, there = np.zeros(labels), np.zeros(labels), np.zeros(labels)
    for row, known in zip(scores, truth, strict=True):
        ranked = sorted(range(labels), key=lambda i: (-row[i], i))[:top_k]
        for label in range(labels):
            there[label] += known[label] == 1
            if label in ranked and known[label] >= 0:
                chosen[label] += 1
                right[label] += known[label] == 1
    rows = [n for n in range(labels) if there[n]]
    if not rows:
        return float("nan"), float("nan")
    precision = np.mean([right[n] / chosen[n] if chosen[n] else 0.0 for n in rows])
    recall = np.mean([right[n] / there[n] for n in rows])
    precision_all = right.sum() / max(chosen.sum(), 1)
    recall_all = right.sum() / there.sum()

    def f1(p: Any, r: Any) -> float:
        return float(2 * p * r / (p + r)) if p + r else 0.0

    return f1(precision, recall), f1(precision_all, recall_all)


@st.composite
def cases(draw: st.DrawFn) -> tuple[NDArray[np.float32], NDArray[np.int8]]:
    """Score and truth matrices with many ties and unknown cells."""
    shape = (draw(st.integers(1, 12)), draw(st.integers(1, 6)))
    scores = draw(hnp.arrays(np.int64, shape, elements=st.integers(-4, 4)))
    truth = draw(hnp.arrays(np.int8, shape, elements=st.sampled_from([-1, 0, 1])))
    return (scores / 2).astype(np.float32), truth


def same(left: Any, right: Any) -> None:
    np.testing.assert_allclose(left, right, rtol=1e-9, equal_nan=True)


@given(cases())
def test_every_figure_equals_its_plain_transcription(
    case: tuple[NDArray[np.float32], NDArray[np.int8]],
) -> None:
    scores, truth = case
    found = m.metrics(scores, truth, top_k=2)
    by_label = [plain_average_precision(scores[:, n], truth[:, n]) for n in range(scores.shape[1])]
    same(found.label_average_precision, by_label)
    known = [value for value in by_label if not np.isnan(value)]
    same(found.mean_average_precision, np.mean(known) if known else np.nan)
    same(found.micro_average_precision, plain_average_precision(scores.reshape(-1), truth.ravel()))
    same((found.class_f1, found.overall_f1), plain_f1(scores, truth, 2))
    assert found.labels_without_positives == scores.shape[1] - len(known)


@given(cases(), st.randoms(use_true_random=False))
def test_order_of_images_and_scale_of_scores_do_not_matter(
    case: tuple[NDArray[np.float32], NDArray[np.int8]], random: Any
) -> None:
    scores, truth = case
    order = list(range(len(scores)))
    random.shuffle(order)
    found = m.metrics(scores, truth)
    for other in (
        m.metrics(scores[order], truth[order]),
        m.metrics(np.exp(scores.astype(np.float64)) * 3 - 7, truth),
        m.metrics(np.arctan(scores.astype(np.float64)), truth),
    ):
        same(other.label_average_precision, found.label_average_precision)
        same(other.micro_average_precision, found.micro_average_precision)
        same((other.class_f1, other.overall_f1), (found.class_f1, found.overall_f1))


@given(cases())
def test_unknown_images_change_nothing(
    case: tuple[NDArray[np.float32], NDArray[np.int8]],
) -> None:
    scores, truth = case
    more_scores = np.concatenate([scores, scores[::-1] + 1])
    more_truth = np.concatenate([truth, np.full_like(truth, -1)])
    found, other = m.metrics(scores, truth), m.metrics(more_scores, more_truth)
    same(other.label_average_precision, found.label_average_precision)
    same(other.micro_average_precision, found.micro_average_precision)
    same((other.class_f1, other.overall_f1), (found.class_f1, found.overall_f1))


def test_agrees_with_scikit_learn_also_on_ties() -> None:
    random = np.random.default_rng(3)
    truth = (random.random((400, 15)) < 0.15).astype(np.int8)
    for scores in (
        random.standard_normal((400, 15)).astype(np.float32) + truth,
        np.round(random.standard_normal((400, 15)) + truth, 1).astype(np.float16),
    ):
        found = m.metrics(scores, truth)
        same(found.label_average_precision, average_precision_score(truth, scores, average=None))
        same(found.micro_average_precision, average_precision_score(truth, scores, average="micro"))


def test_perfect_and_constant_scores() -> None:
    truth = np.array([[1, 0], [0, 1], [0, 0], [0, 1]], dtype=np.int8)
    perfect = m.metrics(truth.astype(np.float32), truth, top_k=1)
    assert perfect.mean_average_precision == perfect.micro_average_precision == 1.0
    constant = m.metrics(np.zeros((4, 2), np.float32), truth)
    same(constant.label_average_precision, [0.25, 0.5])
    same(constant.micro_average_precision, 3 / 8)


@settings(max_examples=25)
@given(cases(), st.integers(1, 9))
def test_blocks_do_not_change_the_figures(
    case: tuple[NDArray[np.float32], NDArray[np.int8]], cells: int
) -> None:
    scores, truth = case
    whole = m.metrics(scores, truth)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(m, "BLOCK_CELLS", cells)
        pieces = m.metrics(scores, truth)
    same(pieces.label_average_precision, whole.label_average_precision)
    same(pieces.micro_average_precision, whole.micro_average_precision)
    same((pieces.class_f1, pieces.overall_f1), (whole.class_f1, whole.overall_f1))


def test_a_memory_map_laid_out_by_label_is_read_in_blocks(tmp_path: Any) -> None:
    random = np.random.default_rng(5)
    scores_NI: Any = np.memmap(tmp_path / "scores", np.float32, "w+", shape=(7, 60))
    scores_NI[:] = random.standard_normal((7, 60))
    truth_IN = (random.random((60, 7)) < 0.3).astype(np.int8)
    found = m.metrics(scores_NI.T, truth_IN)
    same(
        found.label_average_precision,
        m.average_precision(np.ascontiguousarray(scores_NI.T), truth_IN),
    )


def test_shapes_that_differ_are_refused() -> None:
    with pytest.raises(ValueError, match=r"scores \(2, 3\) and truth \(3, 2\)"):
        m.metrics(np.zeros((2, 3)), np.zeros((3, 2), np.int8))
