"""Texts that count more or less by their writer: exact, resumable, and none at all by default."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from taistore.adapter.config import TrainConfig
from taistore.adapter.steps import CombinationSource, text_stream
from taistore.adapter.text_weights import text_weights
from taistore.adapter.train import resume
from taistore.errors import TrainingError
from taistore.store.arrow import vector_array
from taistore.store.store import Store
from tests.adapter.stores import ENCODER_ID, text_store
from tests.adapter.test_train import CONFIG, run
from tests.adapter.watching import Bar, InterruptedTrainingError, showing, weights

ROWS = 400
WRITERS = ("template", "openai", "captions")


def writer_of(row: int) -> str:
    """Texts are of three writers in turn."""
    return WRITERS[row % len(WRITERS)]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A store whose texts, in another order than their vectors, say who wrote them."""
    made = text_store(tmp_path / "store", rows=ROWS)
    rows = list(range(ROWS))[::-1]
    nothing = [None] * ROWS
    made.append(
        "texts",
        {
            "text_id": [f"{i:032x}" for i in rows],
            "combination_id": [0] * ROWS,
            "text": [f"text {i}" for i in rows],
            "writer": [writer_of(i) for i in rows],
            "model": nothing,
            "instruction": nothing,
            "turn": [0] * ROWS,
            "seed": nothing,
            "tokens": nothing,
        },
    )
    return made


def test_rows_get_the_weights_of_their_writers(store: Store) -> None:
    found = text_weights(store, ENCODER_ID, {"openai": 3.0}, versions={})
    assert found.positions is None
    expected = np.array([3.0 if writer_of(i) == "openai" else 1.0 for i in range(ROWS)])
    np.testing.assert_allclose(found.take(np.arange(ROWS)), expected / expected.mean(), rtol=1e-6)


def test_a_weight_of_zero_leaves_the_texts_out(store: Store) -> None:
    found = text_weights(store, ENCODER_ID, {"openai": 0.0, "captions": 2.0}, versions={})
    assert found.positions is not None
    assert {writer_of(int(i)) for i in found.positions} == {"template", "captions"}
    expected = np.array([2.0 if writer_of(int(i)) == "captions" else 1 for i in found.positions])
    rows = np.arange(len(found.positions))
    np.testing.assert_allclose(found.take(rows), expected / expected.mean(), rtol=1e-6)


@pytest.mark.parametrize("zero", ["", "captions"])
def test_batches_carry_the_weight_of_each_text(store: Store, zero: str) -> None:
    wanted = {"openai": 3.0} | ({zero: 0.0} if zero else {})
    found = text_weights(store, ENCODER_ID, wanted, versions={})
    scanned = store.scan("text_vectors", encoder_id=ENCODER_ID)
    vectors = np.concatenate([vector_array(batch.column("vector")) for batch in scanned])
    row_of = {vector.tobytes(): i for i, vector in enumerate(vectors)}
    stream = text_stream(store, ENCODER_ID, batch=32, seed=5, positions=found.positions)
    source = CombinationSource(stream, labels=6, radius=0.0, weights=found)
    seen: list[str] = []
    for (batch,) in source.batches(epoch=1, start=0):
        assert batch.row_weights is not None
        writers = [writer_of(row_of[v.tobytes()]) for v in batch.vectors.numpy()]
        ratio = batch.row_weights.numpy() / found.values[1:].min(
            initial=9, where=found.values[1:] > 0
        )
        assert ratio == pytest.approx([3.0 if w == "openai" else 1.0 for w in writers])
        seen += writers
    assert len(seen) == stream.rows
    assert zero not in seen


def test_no_weights_and_equal_weights_give_the_same_bits(store: Store) -> None:
    plain = run(store)
    equal = run(store, dataclasses.replace(CONFIG, text_weights="openai=1"))
    assert weights(equal) == weights(plain)
    more = run(store, dataclasses.replace(CONFIG, text_weights="openai=9"))
    assert weights(more) != weights(plain)


@pytest.mark.parametrize("given", ["openai=3", "openai=3,captions=0"])
def test_resumed_equals_undisturbed(store: Store, given: str) -> None:
    config = dataclasses.replace(CONFIG, text_weights=given)
    undisturbed = run(store, config)
    with pytest.raises(InterruptedTrainingError):
        run(store, config, progress=showing(Bar(20)))
    # What is written meanwhile, by whomever, is not the run's.
    store.append(
        "texts",
        [
            {"text_id": "f" * 32, "combination_id": 0, "text": "late", "writer": "late",
             "model": None, "instruction": None, "turn": 0, "seed": None, "tokens": None}
        ],
    )  # fmt: skip
    resumed = resume(store, "latest")
    assert weights(resumed) == weights(undisturbed)
    assert resumed.metrics["loss"] == undisturbed.metrics["loss"]


def test_texts_of_nobody_known_count_one(tmp_path: Path) -> None:
    bare = text_store(tmp_path / "bare", rows=30)
    with pytest.raises(TrainingError, match=r"names the writer 'openai'.*writers: none known"):
        text_weights(bare, ENCODER_ID, {"openai": 2.0}, versions={})


def test_what_is_wrong_is_named(store: Store) -> None:
    with pytest.raises(TrainingError, match=r"names the writer 'vllm'.*captions, openai, template"):
        run(store, dataclasses.replace(CONFIG, text_weights="vllm=2"))
    with pytest.raises(TrainingError, match="leaves no text to train on"):
        run(store, dataclasses.replace(CONFIG, text_weights="openai=0,template=0,captions=0"))


@pytest.mark.parametrize(
    "given", ["openai", "openai=-1", "openai=x", "=2", "openai=inf", "a=1,a=2"]
)
def test_wrong_settings_are_refused(given: str) -> None:
    with pytest.raises(TrainingError, match="text_weights"):
        TrainConfig(text_weights=given)


def test_a_mapping_and_its_text_are_one() -> None:
    config = TrainConfig(text_weights={"template": 1, "openai": 2.5})
    assert config == TrainConfig(text_weights=" openai=2.5, template=1")
    assert config.text_weights == "openai=2.5,template=1"
    assert config.writer_weights == {"openai": 2.5, "template": 1.0}
    assert TrainConfig.from_json(config.to_json()) == config
    assert TrainConfig().writer_weights == {}
