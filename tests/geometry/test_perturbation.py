"""Eq. 5: lengths, directions, reproducibility, and a plain NumPy transcription."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from taistore.errors import TrainingError
from taistore.geometry.perturbation import AUTO_RADIUS, PLACES, Where, perturb, resolve_radius


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def noise(radius: float, where: Where, *, rows: int, dim: int, seed: int = 0) -> torch.Tensor:
    vectors_BD = torch.zeros(rows, dim)
    return perturb(vectors_BD, radius, where=where, generator=generator(seed))


@settings(max_examples=50, deadline=None)
@given(
    radius=st.floats(0.01, 100),
    rows=st.integers(1, 20),
    dim=st.integers(1, 600),
    seed=st.integers(0, 2**31),
)
def test_lengths(radius: float, rows: int, dim: int, seed: int) -> None:
    surface_B = noise(radius, "surface", rows=rows, dim=dim, seed=seed).norm(dim=1)
    torch.testing.assert_close(surface_B, torch.full((rows,), radius), rtol=1e-4, atol=0)
    interior_B = noise(radius, "interior", rows=rows, dim=dim, seed=seed).norm(dim=1)
    assert bool((interior_B <= radius * 1.0001).all())


def test_interior_radii_are_uniform() -> None:
    lengths_B = noise(2.0, "interior", rows=20_000, dim=32).norm(dim=1).sort().values
    expected_B = torch.linspace(0, 2, 20_000)
    assert float((lengths_B - expected_B).abs().max()) < 0.04


@pytest.mark.parametrize("where", PLACES)
def test_every_direction_is_as_likely(where: Where) -> None:
    rows, dim, radius = 50_000, 8, 3.0
    noise_BD = noise(radius, where, rows=rows, dim=dim)
    assert float(noise_BD.mean(0).abs().max()) < 0.05
    covariance_DD = noise_BD.T @ noise_BD / rows
    # E[r^2] is r^2 on the surface and r^2 / 3 for a length uniform in [0, r].
    variance = radius**2 / dim / (1 if where == "surface" else 3)
    torch.testing.assert_close(covariance_DD, variance * torch.eye(dim), atol=0.03, rtol=0.03)


@pytest.mark.parametrize("where", PLACES)
def test_equals_a_transcription_in_numpy(where: Where) -> None:
    vectors_BD = torch.randn(7, 5, generator=generator(9))
    found_BD = perturb(vectors_BD, 1.5, where=where, generator=generator(4))
    again = generator(4)
    gauss_BD = torch.randn(7, 5, generator=again).numpy()
    share_B1 = torch.rand(7, 1, generator=again).numpy() if where == "interior" else 1.0
    direction_BD = gauss_BD / np.linalg.norm(gauss_BD, axis=1, keepdims=True)
    expected_BD = vectors_BD.numpy() + 1.5 * share_B1 * direction_BD
    np.testing.assert_allclose(found_BD.numpy(), expected_BD, rtol=1e-5, atol=1e-6)


def test_in_place_gives_the_same_and_leaves_the_original_otherwise() -> None:
    vectors_BD = torch.ones(4, 6)
    fresh_BD = perturb(vectors_BD, 2.0, generator=generator())
    assert torch.equal(vectors_BD, torch.ones(4, 6))
    same_BD = perturb(vectors_BD, 2.0, generator=generator(), in_place=True)
    assert same_BD is vectors_BD
    assert torch.equal(same_BD, fresh_BD)


def test_radius_zero_changes_nothing() -> None:
    vectors_BD = torch.randn(3, 4)
    assert torch.equal(perturb(vectors_BD, 0.0, generator=generator()), vectors_BD)


def test_half_precision_stays_half() -> None:
    vectors_BD = torch.ones(2, 3, dtype=torch.float16)
    assert perturb(vectors_BD, 1.0, generator=generator()).dtype == torch.float16


@pytest.mark.parametrize("radius", [-1.0, float("nan"), float("inf")])
def test_a_radius_must_be_a_length(radius: float) -> None:
    with pytest.raises(ValueError, match="radius must be"):
        perturb(torch.zeros(1, 2), radius, generator=generator())


@pytest.mark.parametrize(
    ("given_radius", "expected"),
    [
        ("auto", AUTO_RADIUS * 8),
        (" AUTO ", AUTO_RADIUS * 8),
        ("2.5x", 20.0),
        ("0x", 0.0),
        (".5X", 4.0),
        ("25", 25.0),
        (25, 25.0),
        (0.0, 0.0),
        ("1e-1", 0.1),
    ],
)
def test_resolve_radius(given_radius: str | float, expected: float) -> None:
    assert resolve_radius(given_radius, 8.0) == pytest.approx(expected)


@pytest.mark.parametrize("wrong", ["", "far", "x", "-1x", "2.5 x", "-1", "nan", "inf", -2.0])
def test_a_wrong_radius_says_what_is_allowed(wrong: str | float) -> None:
    with pytest.raises(TrainingError, match=r"give 'auto', a multiple .* '2\.5x', or a number"):
        resolve_radius(wrong, 8.0)
