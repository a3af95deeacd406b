"""Ids of requests: the same on every machine, other for every setting that changes the answer."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from taistore.texts.llm.model_sampling import Sampling
from taistore.texts.request_ids import (
    RequestIds,
    combination_of,
    key_number,
    key_of,
    request_id,
)
from taistore.texts.templates.template_writer import TemplateWriter

IDS = RequestIds(model="m", settings=("d", Sampling()), seed=0)
TEMPLATE = RequestIds(model="v1", settings=TemplateWriter.settings, seed=0)


def test_keys_are_stable() -> None:
    assert IDS.key(-7, "caption", 3) == "fffffffffffffff9d3b0bba71e4ff2d6"
    assert TEMPLATE.key(7, "", 3) == "0000000000000007a658a545b0fffa10"


def test_every_setting_counts() -> None:
    others = [
        replace(IDS, model="n"),
        replace(IDS, settings=("e", Sampling())),
        replace(IDS, settings=("d", Sampling(temperature=0.8))),
        replace(IDS, settings=("d", Sampling(max_tokens=61))),
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
