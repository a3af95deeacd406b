"""How a model is told to draw: settings in range, a seed of its own for every attempt."""

import pytest

from taistore.errors import TextError
from taistore.texts.llm.model_sampling import Sampling, model_seed


def test_every_attempt_has_a_seed_of_its_own() -> None:
    seeds = [model_seed(f"{'a' * 32}.{attempt}") for attempt in range(20)]
    assert len(set(seeds)) == 20
    assert all(0 <= seed < 2**31 for seed in seeds)
    assert seeds[0] == model_seed(f"{'a' * 32}.0")


@pytest.mark.parametrize("wrong", [{"temperature": -0.1}, {"temperature": 6.0}, {"max_tokens": 0}])
def test_sampling_out_of_range_is_named(wrong: dict[str, float]) -> None:
    with pytest.raises(TextError, match=f"{next(iter(wrong))} is {next(iter(wrong.values()))}"):
        Sampling(**wrong)  # type: ignore[arg-type]  # what a caller without types may pass
