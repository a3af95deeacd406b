"""Ids of requests: the same on every machine, other for every setting that changes the answer."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taistore.errors import TextError
from taistore.texts.llm.requests import (
    RequestIds,
    Sampling,
    combination_of,
    key_number,
    key_of,
    model_seed,
    request_id,
)

IDS = RequestIds(model="m", digest="d", sampling=Sampling(), seed=0)


def test_keys_are_stable() -> None:
    assert IDS.key(-7, "caption", 3) == "fffffffffffffff9d3b0bba71e4ff2d6"


def test_every_setting_counts() -> None:
    others = [
        replace(IDS, model="n"),
        replace(IDS, digest="e"),
        replace(IDS, sampling=Sampling(temperature=0.8)),
        replace(IDS, sampling=Sampling(max_tokens=61)),
        replace(IDS, seed=1),
    ]
    keys = {ids.key(5, "caption", 0) for ids in (IDS, *others)}
    keys |= {IDS.key(6, "caption", 0), IDS.key(5, "sentence", 0), IDS.key(5, "caption", 1)}
    assert len(keys) == 9
    assert len({key_number(key) for key in keys}) == 9


@given(st.integers(-(2**63), 2**63 - 1), st.integers(0, 20))
def test_an_id_tells_its_combination_and_key(combination_id: int, attempt: int) -> None:
    key = IDS.key(combination_id, "caption", 0)
    identity = request_id(key, attempt)
    assert combination_of(identity) == combination_of(key) == combination_id
    assert key_of(identity) == key
    assert 0 <= model_seed(identity) < 2**31
    assert model_seed(identity) != model_seed(request_id(key, attempt + 1))


@pytest.mark.parametrize("wrong", [{"temperature": -0.1}, {"temperature": 6.0}, {"max_tokens": 0}])
def test_sampling_out_of_range_is_named(wrong: dict[str, float]) -> None:
    with pytest.raises(TextError, match=f"{next(iter(wrong))} is {next(iter(wrong.values()))}"):
        Sampling(**wrong)  # type: ignore[arg-type]  # what a caller without types may pass
