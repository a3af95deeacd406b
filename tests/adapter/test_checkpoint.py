"""Adapters on disk: reload to the bit, refuse what is damaged or does not fit the store."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from taistore.adapter.config import TrainConfig
from taistore.adapter.run_files.checkpoint import (
    Adapter,
    AdapterCard,
    check_fits,
    load_adapter,
    save_adapter,
)
from taistore.adapter.run_files.file_names import CARD, PROMPTS, STATE, WEIGHTS
from taistore.adapter.run_files.training_state import read_position
from taistore.adapter.train import train
from taistore.errors import TrainingError
from taistore.store.arrow import vector_array
from taistore.store.store import Store
from tests.adapter.stores import ENCODER_ID, encoder_info, prompt_vectors, text_store


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return text_store(tmp_path_factory.mktemp("checkpoint") / "store", rows=64)


@pytest.fixture
def run(store: Store, tmp_path: Path) -> Path:
    config = TrainConfig(epochs=2, batch=16, radius="1x")
    prompts_ND = prompt_vectors(6)
    return train(store, ENCODER_ID, config, prompts_ND=prompts_ND, out=tmp_path / "run").checkpoint


def test_the_card_holds_what_a_reader_needs(store: Store, run: Path) -> None:
    card = load_adapter(run).card
    assert card.config == TrainConfig(
        epochs=2, batch=16, lr=1e-3, radius="1x", shift="none", sampled_labels=0
    )
    assert card.encoder == encoder_info()
    assert card.label_keys == tuple(store.labels.keys)
    assert card.label_names[1] == "thing 1"
    assert card.radius == pytest.approx(card.mean_text_norm)
    assert card.mean_text_norm == pytest.approx(10, rel=1e-2)
    assert card.table_versions == store.versions(
        [("labels", None), ("combinations", None), ("text_vectors", ENCODER_ID)]
    )
    assert torch.__version__.startswith(card.library_versions["torch"])
    assert card.metrics["steps"] == 8
    values = json.loads((run / CARD).read_text())
    assert AdapterCard.from_json(values).to_json() == values


def test_both_paths_load_and_half_vectors_are_taken(run: Path) -> None:
    vectors_BD = torch.randn(4, 16).half()
    logits_BN = load_adapter(run).logits(vectors_BD)
    assert logits_BN.shape == (4, 6)
    assert logits_BN.dtype == torch.float32
    assert torch.equal(logits_BN, load_adapter(run / WEIGHTS).logits(vectors_BD.float()))
    assert not logits_BN.requires_grad


def test_the_card_measures_the_logits_of_the_texts(store: Store, run: Path) -> None:
    adapter = load_adapter(run)
    parts = [
        vector_array(part.column("vector"))
        for part in store.scan("text_vectors", encoder_id=ENCODER_ID)
    ]
    logits_BN = adapter.logits(torch.from_numpy(np.concatenate(parts)))
    spread = float(logits_BN.std(correction=0))
    assert adapter.card.logit_spread == pytest.approx(spread, rel=1e-4)
    energy = float((spread * torch.logsumexp(logits_BN / spread, dim=1)).mean())
    assert adapter.card.logit_energy == pytest.approx(energy, rel=1e-4)


def test_other_labels_and_encoders_are_refused(store: Store, run: Path, tmp_path: Path) -> None:
    adapter: Adapter = load_adapter(run)
    check_fits(adapter.card, store, ENCODER_ID)
    other = text_store(tmp_path / "other", rows=4, labels=5)
    with pytest.raises(TrainingError, match="6 labels that are not the 5 of"):
        check_fits(adapter.card, other, ENCODER_ID)
    other.register_encoder(encoder_info("another_16"))
    with pytest.raises(TrainingError, match="was trained for the encoder 'vectors:random'"):
        check_fits(adapter.card, other, "another_16")


def test_an_absent_run_is_named(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"no trained adapter here \(card\.json is missing\)"):
        load_adapter(tmp_path)


@pytest.mark.parametrize(
    "damage",
    [
        *(b"", b"not json", b"{}", b'{"config": 3}', b"[1]", b"\xff\xfe"),
        b'{"a": ' * 40_000 + b"1" + b"}" * 40_000,
        b"[" * 100_000,
        b'{"radius": 1' + b"0" * 5000 + b"}",
        b'{"radius": 1e999}',
        b'"' + b"a" * (64 * 2**20) + b'"',
    ],
    ids=lambda damage: repr(damage[:12]),
)
def test_a_damaged_card_is_named(run: Path, damage: bytes) -> None:
    (run / CARD).write_bytes(damage)
    with pytest.raises(TrainingError, match=r"card\.json: not a readable card"):
        load_adapter(run)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"run_id": 3}, "run_id: input should be a valid string"),
        ({"run_id": None}, "run_id: input should be a valid string"),
        ({"radius": "25"}, "radius: input should be a valid number"),
        ({"mean_text_norm": float("nan")}, "mean_text_norm: input should be a finite number"),
        ({"metrics": {"loss": float("inf")}}, "metrics.loss: input should be a finite number"),
        ({"label_keys": "abc"}, "label_keys: input should be a valid array"),
        ({"label_keys": [1]}, "label_keys.0: input should be a valid string"),
        ({"colour": 1}, "colour: unexpected keyword argument"),
        (
            {"shape": {"network": "deep"}},
            "shape.network: input should be 'residual', 'paper' or 'small'",
        ),
        ({"config": 3}, "config: input should be an object"),
        ({"config": {"epochs": 0}}, "epochs 0 is not allowed"),
        ({"config": {"split": 3}}, "config.split: input should be a valid string"),
        ({"config": {"text_weights": 3}}, "text_weights 3 is not allowed"),
        ({"config": {"colour": 3}}, "unknown field 'colour'"),
        ({"card_version": 9}, "card_version: 9, this taistore reads 1"),
        ({"run_id": ...}, "run_id: field required"),
        ({"shape": {"labels": 7}}, "but shape.labels is 7"),
        ({"shape": {"dim": 8}}, "shape.dim: 8, the encoder's is"),
        ({"shape": {"hidden": 10**9}}, "has more than 1,000,000,000 weights"),
        ({"shape": {"hidden": -1}}, "hidden -1 is too narrow"),
        ({"shape": {"dropout": 1.5}}, "dropout 1.5: give"),
        ({"logit_spread": -2.0}, "logit_spread: -2.0 is not above 0"),
        ({"label_names": ["one"]}, "label_names: 1, but shape.labels is"),
    ],
)
def test_a_tampered_card_is_refused_with_its_field(
    run: Path, change: dict[str, Any], message: str
) -> None:
    card = json.loads((run / CARD).read_text())
    for name, value in change.items():
        if value is ...:
            del card[name]
        else:
            card[name] = {**card[name], **value} if name == "shape" else value
    (run / CARD).write_text(json.dumps(card))
    with pytest.raises(TrainingError) as caught:
        load_adapter(run)
    assert f"{run / CARD}: not a readable card" in str(caught.value)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_card_of_another_network_takes_no_memory(run: Path) -> None:
    card = json.loads((run / CARD).read_text())
    card["shape"]["hidden"] = 20_000
    (run / CARD).write_text(json.dumps(card))
    with pytest.raises(TrainingError, match="not the weights of the card's network"):
        load_adapter(run)


def test_the_network_that_was_called_the_papers_is_the_small_one(
    store: Store, tmp_path: Path
) -> None:
    config = TrainConfig.paper(network="small", epochs=1, hidden=8)
    result = train(store, ENCODER_ID, config, prompts_ND=prompt_vectors(6), out=tmp_path / "run")
    before = load_adapter(result.checkpoint)
    card = json.loads((result.checkpoint / CARD).read_text())
    card["shape"]["network"] = card["config"]["network"] = "paper"
    del card["config"]["image_where"]
    (result.checkpoint / CARD).write_text(json.dumps(card))
    after = load_adapter(result.checkpoint)
    assert (after.card.shape.network, after.card.config.network) == ("small", "small")
    vectors_BD = torch.randn(3, encoder_info().dim)
    torch.testing.assert_close(after.logits(vectors_BD), before.logits(vectors_BD))
    assert TrainConfig.from_file(result.checkpoint / CARD).network == "small"


@pytest.mark.parametrize("change", [{"radius": "9"}, {"shape": {"dim": 3}}, {"known": [1]}, []])
def test_a_tampered_state_is_named(run: Path, change: Any) -> None:
    tensors = load_file(run / STATE)
    with safe_open(run / STATE, framework="pt") as file:
        metadata = file.metadata()
    began = json.loads(metadata["run"])
    metadata["run"] = json.dumps(began | change if change else change)
    save_file(tensors, run / STATE, metadata)
    with pytest.raises(TrainingError, match="not a training state of taistore: train again"):
        read_position(run)


def test_damaged_weights_are_named(run: Path) -> None:
    whole = (run / WEIGHTS).read_bytes()
    (run / WEIGHTS).write_bytes(whole[:-4] + b"\0\0\0\1")
    with pytest.raises(TrainingError, match=r"adapter\.safetensors: damaged"):
        load_adapter(run)
    (run / WEIGHTS).write_bytes(whole[:50])
    with pytest.raises(TrainingError, match=r"adapter\.safetensors: damaged"):
        load_adapter(run)


def test_the_label_prompts_are_kept_and_checked(run: Path) -> None:
    kept_ND = load_adapter(run).prompts_ND
    assert kept_ND is not None
    np.testing.assert_array_equal(kept_ND, prompt_vectors(6))
    whole = (run / PROMPTS).read_bytes()
    (run / PROMPTS).write_bytes(whole[:-4] + b"\0\0\0\1")
    with pytest.raises(TrainingError, match=r"prompts\.safetensors: damaged"):
        load_adapter(run)
    (run / PROMPTS).unlink()
    with pytest.raises(TrainingError, match=r"prompts\.safetensors: cannot be read"):
        load_adapter(run)


def test_a_damaged_state_is_named(run: Path) -> None:
    assert read_position(run).step == 0
    (run / STATE).write_bytes(b"short")
    with pytest.raises(TrainingError, match=r"training-state\.safetensors: damaged"):
        read_position(run)
    (run / STATE).unlink()
    with pytest.raises(TrainingError, match="no training state to resume"):
        read_position(run)


def test_a_folder_that_cannot_be_written_is_named(store: Store, run: Path, tmp_path: Path) -> None:
    adapter = load_adapter(run)
    # A directory in the way of the temporary file stands for every reason not to write.
    (tmp_path / "full" / f"{WEIGHTS}.part").mkdir(parents=True)
    with pytest.raises(TrainingError, match=r"adapter\.safetensors: cannot be written"):
        save_adapter(tmp_path / "full", adapter.network, adapter.card)
    whole = (run / WEIGHTS).read_bytes()
    (run / f"{WEIGHTS}.part").mkdir()
    with pytest.raises(TrainingError, match="cannot be written"):
        save_adapter(run, adapter.network, adapter.card)
    assert (run / WEIGHTS).read_bytes() == whole
