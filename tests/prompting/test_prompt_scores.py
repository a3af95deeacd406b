"""Scores of the prompt learners against plain transcriptions. L regions, N labels, D dimension."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from taistore.prompting.prompt_config import Method, Variant
from taistore.prompting.prompt_scores import Logits, roles

D, N = 8, 5
COUNTS = (4, 2, 1)
Array = NDArray[np.float64]


def unit(*shape: int, seed: int) -> Array:
    values = np.random.default_rng(seed).normal(size=shape)
    found: Array = values / np.linalg.norm(values, axis=-1, keepdims=True)
    return found


def softmax(values: Array) -> Array:
    powers = np.exp(values - values.max())
    found: Array = powers / powers.sum()
    return found


class Case:
    """Vectors of three images with 4, 2 and 1 regions, padded; label vectors of every role."""

    def __init__(self, method: Method, variant: Variant = "plain") -> None:
        self.vectors = {
            role: unit(N, D, seed=7 + n) for n, role in enumerate(roles(method, variant))
        }
        self.whole = unit(len(COUNTS), D, seed=1)
        self.regions = [unit(count, D, seed=20 + count) for count in COUNTS]
        self.logits = Logits(
            method,
            variant,
            {role: torch.tensor(value) for role, value in self.vectors.items()},
            temperature=6.0,
            spatial=11.0,
        )

    @property
    def local(self) -> Array:
        padded = np.full((len(COUNTS), max(COUNTS), D), 9.0)
        for row, regions in zip(padded, self.regions, strict=True):
            row[: len(regions)] = regions
        there = np.arange(max(COUNTS)) < np.array(COUNTS)[:, None]
        found = self.logits.local(torch.tensor(padded), torch.tensor(there))
        return found.numpy()


def cell(case: Case, image: int, label: int, role: str) -> Array:
    """Cosines [L] of an image's regions to a label."""
    found: Array = case.regions[image] @ case.vectors[role][label]
    return found


def every() -> Any:
    return [(image, label) for image in range(len(COUNTS)) for label in range(N)]


@pytest.mark.parametrize(("method", "role"), [("coop", "whole"), ("tai-dpt", "local")])
def test_regions_weighed_by_a_softmax_of_their_own_cosines(method: Method, role: str) -> None:
    """S = cos, w = softmax over regions of spatial S, logit = sum of temperature S w."""
    case = Case(method)
    found = case.local
    for image, label in every():
        s = cell(case, image, label, role)
        expected = float((6.0 * s * softmax(11.0 * s)).sum())
        assert found[image, label] == pytest.approx(expected, abs=1e-9)
    whole = case.logits.whole(torch.tensor(case.whole)).numpy()
    assert np.allclose(whole, 6.0 * case.whole @ case.vectors["whole"].T)
    both = case.logits.both(torch.tensor(case.whole), torch.tensor(found)).numpy()
    assert np.allclose(both, 0.5 * whole + 0.5 * found)


def test_dualcoop_as_tai_dpt_has_it() -> None:
    """w = softmax of spatial cos+, logit = sum of w temperature (cos+ - cos-)."""
    case = Case("dualcoop", "in-tai-dpt")
    for image, label in every():
        high, low = (cell(case, image, label, role) for role in ("positive", "negative"))
        expected = float((softmax(11.0 * high) * 6.0 * (high - low)).sum())
        assert case.local[image, label] == pytest.approx(expected, abs=1e-9)


def test_dualcoop_official() -> None:
    """20 cos, weighed by a softmax of the positive ones, times 5, a two-way softmax."""
    case = Case("dualcoop", "official")
    logits = Logits(
        "dualcoop",
        "official",
        {role: torch.tensor(value) for role, value in case.vectors.items()},
        temperature=100.0,
        spatial=20.0,
    )
    regions = case.regions[0]
    found = logits.local(torch.tensor(regions[None]), torch.ones(1, len(regions), dtype=torch.bool))
    mean = regions.mean(axis=0)
    positions = np.vstack([mean / np.linalg.norm(mean), regions])
    for label in range(N):
        high, low = (
            20 * positions @ case.vectors[role][label] for role in ("positive", "negative")
        )
        weights = softmax(high)
        pair = np.array([5 * (weights * low).sum(), 5 * (weights * high).sum()])
        probability = softmax(pair)[1]
        assert 1 / (1 + math.exp(-float(found[0, label]))) == pytest.approx(probability, abs=1e-9)


def test_dualcoop_plus_plus() -> None:
    """Weights from the evidence, and winner-take-all on the positive cosines."""
    case = Case("dualcoop", "plus")
    for image in range(len(COUNTS)):
        high, low, evidence = (
            np.stack([cell(case, image, label, role) for label in range(N)], axis=1)
            for role in ("positive", "negative", "evidence")
        )
        for label in range(N):
            shares = np.stack([softmax(200 * row * row.max()) for row in high])
            raised = high[:, label] * (1 + shares[:, label])
            weights = softmax(11.0 * evidence[:, label])
            expected = float((weights * 6.0 * (raised - low[:, label])).sum())
            assert case.local[image, label] == pytest.approx(expected, abs=1e-9)
