"""The ensemble rule: one image at a time, right by hand, safe where all scores are equal."""

import numpy as np
import pytest
import torch

from taistore.geometry.standardise import standardise
from taistore.scoring.ladders.competition import Competition, ensemble_scores

RANDOM = np.random.default_rng(11)
COSINES = torch.from_numpy(RANDOM.uniform(0.1, 0.3, (9, 6)).astype(np.float32))
LOGITS = torch.from_numpy(RANDOM.normal(-3, 3, (9, 6)).astype(np.float32))


def z(scores: np.ndarray) -> np.ndarray:
    """Standard scores of each row, in double precision."""
    scores = scores.astype(np.float64)
    return np.asarray((scores - scores.mean(1, keepdims=True)) / scores.std(1, keepdims=True))


def test_the_rule_equals_its_numpy_transcription() -> None:
    expected = z(COSINES.numpy()) + 1.5 * LOGITS.numpy()
    np.testing.assert_allclose(ensemble_scores(COSINES, LOGITS).numpy(), expected, atol=1e-4)


def test_an_image_does_not_depend_on_the_others() -> None:
    together = ensemble_scores(COSINES, LOGITS)
    alone = torch.cat([ensemble_scores(COSINES[i : i + 1], LOGITS[i : i + 1]) for i in range(9)])
    torch.testing.assert_close(together, alone)


@pytest.mark.parametrize("labels", [1, 5])
def test_equal_scores_give_finite_values(labels: int) -> None:
    flat = torch.full((2, labels), 0.3)
    assert ensemble_scores(flat, flat * 7).isfinite().all()


def test_shares_with_none_add_up_to_one() -> None:
    competition = Competition(spread=2.0, none=-1.0)
    shares = competition.log_shares(LOGITS).exp().numpy()
    weights = np.exp(LOGITS.numpy().astype(np.float64) / 2)
    none = np.exp(-0.5)
    np.testing.assert_allclose(shares, weights / (weights.sum(1, keepdims=True) + none), rtol=1e-5)


def test_an_image_that_shows_nothing_stays_below_one_that_shows_something() -> None:
    shares = Competition(none=0.0).log_shares(torch.tensor([[5.0, -5.0], [-5.0, -15.0]]))
    assert shares[0, 0] > shares[1, 0] + 4


def test_competition_over_texts_puts_none_one_deviation_below_them() -> None:
    assert Competition.over_texts(spread=3.0, energy=10.0) == Competition(spread=3.0, none=7.0)


def test_huge_logits_stay_finite() -> None:
    assert Competition().log_shares(torch.tensor([[1e4, -1e4]])).isfinite().all()


def test_rounding_is_not_blown_up_to_deviations() -> None:
    almost = torch.tensor([[0.3, 0.3 + 1e-8, 0.3 - 3e-8]])
    assert standardise(almost).abs().max() == 0


def test_over_images_none_lies_at_their_soft_maximum() -> None:
    assert Competition.over_images(spread=3.0, energy=10.0) == Competition(spread=3.0, none=10.0)
