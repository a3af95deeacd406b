"""A training goes through the neighbour index that it is told, over all images of its split."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from taistore.adapter import data
from taistore.adapter.config import TrainConfig
from taistore.adapter.data import Preparation
from taistore.adapter.run_files.checkpoint import load_adapter
from taistore.adapter.run_lifecycle import RunResult
from taistore.adapter.train import resume, train
from taistore.errors import TrainingError
from taistore.geometry import combination_means, device_sums, image_neighbours, neighbours
from taistore.geometry.image_neighbours import ImageNeighbours
from taistore.geometry.neighbours import Kind
from taistore.store.store import Store
from tests.adapter.stores import ENCODER_ID, add_images, prompt_vectors, text_store
from tests.adapter.watching import Bar, InterruptedTrainingError, showing, weights

N = 6
PLL = TrainConfig(task="pll", epochs=2, batch=16, image_batch=8, device="cpu")
ZSL = TrainConfig(epochs=2, batch=16, shift="neighbours", device="cpu")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = text_store(tmp_path / "s", rows=100)
    add_images(store, count=60, split="test", first=4000, gap=-8.0)
    add_images(store, count=60)
    return store


def run(store: Store, config: TrainConfig, **options: Any) -> RunResult[TrainConfig]:
    return train(store, ENCODER_ID, config, prompts_ND=prompt_vectors(N), **options)


def offsets(store: Store, config: TrainConfig) -> np.ndarray[Any, Any]:
    shift = Preparation.fresh(store, ENCODER_ID, config).shift()
    assert shift is not None
    return shift.offsets(shift.texts.combination_ids)


@pytest.mark.parametrize("config", [PLL, ZSL], ids=["pll", "zsl"])
@pytest.mark.parametrize("kind", ["torch", "faiss", "ivf"])
def test_a_training_goes_through_the_index_it_is_told(
    store: Store, kind: Kind, config: TrainConfig
) -> None:
    if kind != "torch":
        pytest.importorskip("faiss")
    told = dataclasses.replace(config, neighbour_index=kind)
    result = run(store, told)
    assert result.shift["neighbour_index"] == f"{kind} on cpu"
    assert load_adapter(result.checkpoint).card.config.neighbour_index == kind
    if kind == "faiss":
        np.testing.assert_allclose(offsets(store, told), offsets(store, config), atol=1e-4)
    if kind == "ivf":
        exact = offsets(store, config)
        assert np.linalg.norm(offsets(store, told) - exact) < 0.3 * np.linalg.norm(exact)


def test_auto_takes_faiss_where_much_is_asked_and_searches_all_images(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("faiss")
    exact = offsets(store, ZSL)
    assert run(store, ZSL).shift["neighbour_index"] == "torch on cpu"
    monkeypatch.setattr(neighbours, "EXACT_ROWS", 20)
    assert run(store, ZSL).shift["neighbour_index"] == "torch on cpu", "few queries"
    np.testing.assert_array_equal(offsets(store, ZSL), exact)
    monkeypatch.setattr(neighbours, "EXACT_QUERIES", 2 * N - 1)
    assert run(store, ZSL).shift["neighbour_index"] == "ivf on cpu"
    assert run(store, PLL).shift["neighbour_index"] == "torch on cpu", "half the queries"


@pytest.mark.parametrize("kind", ["torch", "read by blocks", "faiss", "ivf"])
def test_every_image_of_the_split_is_searched(
    store: Store, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if kind in ("faiss", "ivf"):
        pytest.importorskip("faiss")
    if kind == "read by blocks":
        monkeypatch.setattr(image_neighbours, "HELD_BYTES", 0)
    build, built = ImageNeighbours.build, []

    def watched(*args: Any, **options: Any) -> ImageNeighbours:
        built.append(build(*args, **options))
        return built[-1]

    monkeypatch.setattr(ImageNeighbours, "build", watched)
    told: Kind = "faiss" if kind == "faiss" else "ivf" if kind == "ivf" else "torch"
    offsets(store, dataclasses.replace(PLL, neighbour_index=told))
    (near,) = built
    ids = [
        str(row["image_id"])
        for batch in store.scan("images", where={"split": "train"})
        for row in batch.to_pylist()
    ]
    searched = [i.decode() for i in near.known.image_ids[near.rows_I].tolist()]
    assert sorted(searched) == sorted(ids)
    # Each is in the index at its own row: nothing is nearer to it than itself.
    vectors = store.vectors("image_vectors", searched, encoder_id=ENCODER_ID)
    _, rows = near.index.search(vectors, 1)
    assert rows[:, 0].tolist() == list(range(60))


def test_vectors_are_added_up_and_searched_where_the_training_is(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a second name of the processor, which is a device of its own to all that is asked."""
    on_cpu, devices = offsets(store, PLL), []

    class Watched(device_sums.DeviceSums):
        def __init__(self, groups: int, dim: int, *, device: str) -> None:
            devices.append(device)
            super().__init__(groups, dim, device=device)

    monkeypatch.setattr(device_sums, "DeviceSums", Watched)
    monkeypatch.setattr(Preparation, "_device", "cpu:0")
    fresh = Preparation.fresh(store, ENCODER_ID, PLL)
    shift = fresh.shift()
    assert shift is not None
    assert fresh.searched == "torch on cpu:0"
    assert devices == ["cpu:0"]
    np.testing.assert_allclose(
        shift.offsets(shift.texts.combination_ids), on_cpu, rtol=1e-4, atol=1e-4
    )


@pytest.mark.parametrize(
    ("device", "there"), [("cuda", "cuda"), ("cuda:1", "cuda:1"), ("mps", "cpu"), ("cpu", "cpu")]
)
def test_that_is_a_gpu_where_the_training_is_on_one(
    store: Store, device: str, there: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A machine without a GPU would refuse it.
    monkeypatch.setattr(data, "resolve_device", torch.device)
    told = dataclasses.replace(PLL, device=device)
    assert Preparation.fresh(store, ENCODER_ID, told)._device == there


def test_the_sample_of_ivf_is_of_the_split(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("faiss")
    sampled: list[int] = []
    learn = Store.vectors_at

    def watched(self: Store, kind: str, rows: Any, **options: Any) -> Any:
        sampled.extend(rows.tolist())
        return learn(self, kind, rows, **options)

    monkeypatch.setattr(Store, "vectors_at", watched)
    known = Preparation.fresh(store, ENCODER_ID, PLL).known
    assert known is not None
    ImageNeighbours.build(store, ENCODER_ID, known, kind="ivf")
    # The first sixty vectors of the table are of another split.
    assert sampled
    assert min(sampled) >= 60


@pytest.mark.parametrize("config", [PLL, ZSL], ids=["pll", "zsl"])
def test_bounded_memory_moves_texts_alike_and_resumes_to_the_same_weights(
    store: Store, config: TrainConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = offsets(store, config)
    monkeypatch.setattr(combination_means, "HELD_BYTES", 0)
    monkeypatch.setattr(image_neighbours, "HELD_BYTES", 0)
    np.testing.assert_allclose(offsets(store, config), held, rtol=1e-4, atol=1e-4)
    undisturbed = run(store, config)
    assert undisturbed.shift["neighbour_index"] == "torch on cpu, read by blocks"
    with pytest.raises(InterruptedTrainingError):
        run(store, config, progress=showing(Bar(8)), checkpoint_seconds=0)
    assert weights(resume(store, "latest")) == weights(undisturbed)


def test_an_unknown_index_and_one_without_neighbours_are_refused() -> None:
    with pytest.raises(TrainingError, match="neighbour_index 'annoy' is not allowed"):
        dataclasses.replace(PLL, neighbour_index="annoy")  # type: ignore[arg-type]
    with pytest.raises(TrainingError, match="neighbour_index 'faiss' is for shift neighbours"):
        TrainConfig(task="pll", shift="plain", neighbour_index="faiss")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
def test_a_training_on_the_gpu_searches_there(store: Store) -> None:
    result = run(store, dataclasses.replace(PLL, device="cuda"))
    assert result.shift["neighbour_index"] == "torch on cuda"
