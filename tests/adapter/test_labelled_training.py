"""Training on texts and labelled images: steps, shift, resume, what is unknown."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from taistore.adapter import config as config_module
from taistore.adapter.config import ShiftKind, TrainConfig
from taistore.adapter.data import UNLABELLED_FROM, Preparation, settle
from taistore.adapter.known_labels import KNOWN
from taistore.adapter.run_files.checkpoint import load_adapter
from taistore.adapter.run_files.kept.kept_shift import SHIFT
from taistore.adapter.run_files.run_folder import run_folder
from taistore.adapter.run_lifecycle import RunResult
from taistore.adapter.settings.auto_settings import AUTO_BY_TASK
from taistore.adapter.train import resume, train
from taistore.errors import StoreError, TrainingError
from taistore.store.store import Store
from tests.adapter.stores import ENCODER_ID, add_images, prompt_vectors, text_store
from tests.adapter.watching import Bar, InterruptedTrainingError, showing, weights
from tests.geometry.stores import add_vectors

N = 6
PLL = TrainConfig(task="pll", epochs=3, batch=16, image_batch=8)
RADII: dict[str, float] = {"radius": 1.0, "image_radius": 0.5}
FSL = TrainConfig(task="fsl", shots=2, epochs=3, batch=16, image_batch=8)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = text_store(tmp_path / "s", rows=100)
    add_images(store, count=60)
    return store


def run(store: Store, config: TrainConfig, **options: Any) -> RunResult[TrainConfig]:
    return train(store, ENCODER_ID, config, prompts_ND=prompt_vectors(N), **options)


PARTIAL = dataclasses.replace(PLL, known=0.3, loss="partial-bce")


@pytest.mark.parametrize("config", [PLL, FSL, dataclasses.replace(PLL, known=0.3), PARTIAL])
def test_a_stopped_run_resumes_to_the_same_weights(store: Store, config: TrainConfig) -> None:
    undisturbed = run(store, config)
    with pytest.raises(InterruptedTrainingError):
        run(store, config, progress=showing(Bar(20)), checkpoint_seconds=0)
    stopped = store.runs()[-1].run_id
    # What is learnt about the images afterwards must not reach a run that has begun.
    add_images(store, count=10, first=500)
    assert weights(resume(store, stopped)) == weights(undisturbed)


def test_a_step_holds_texts_and_images(store: Store) -> None:
    data = Preparation.fresh(store, ENCODER_ID, PLL)
    texts, images = data.texts(), data.images()
    assert images is not None
    source = data.source(texts, images, data.shift(), **RADII)
    steps = list(source.batches(epoch=0, start=0))
    assert len(steps) == source.batches_per_epoch == 7
    assert [len(text.vectors) for text, _ in steps] == [16] * 6 + [4]
    assert {len(image.vectors) for _, image in steps} <= {8, 4}
    assert {(text.radius, image.radius) for text, image in steps} == {(1.0, 0.5)}
    # An image batch a step, whatever the step the epoch is entered at.
    again = list(source.batches(epoch=0, start=3))
    for (_, one), (_, other) in zip(steps[3:], again, strict=True):
        assert torch.equal(one.vectors, other.vectors)
    alone = dataclasses.replace(PLL, learn_from="images")
    data.config = alone
    assert all(
        len(step) == 1
        for step in data.source(texts, images, None, **RADII).batches(epoch=1, start=0)
    )


def test_images_carry_their_known_cells_and_no_others(store: Store) -> None:
    truth = add_images(store, count=20, complete=False, first=200)
    assert truth.any()
    config = dataclasses.replace(PLL, image_batch=200)
    data = Preparation.fresh(store, ENCODER_ID, config)
    images = data.images()
    assert images is not None
    source = data.source(data.texts(), images, None, **RADII)
    (_, batch) = next(source.batches(epoch=0, start=0))
    assert len(batch.vectors) == 80
    assert batch.negatives is not None
    cells = torch.cat([batch.positives, batch.negatives])
    assert len(set(cells.tolist())) == len(cells)
    # Sixty complete images know all six labels, twenty know one present and one absent.
    assert len(cells) == 60 * N + 20 * 2


def test_complete_images_alone_list_no_negatives(store: Store) -> None:
    data = Preparation.fresh(store, ENCODER_ID, PLL)
    images = data.images()
    assert images is not None
    source = data.source(data.texts(), images, None, **RADII)
    assert next(source.batches(epoch=0, start=0))[1].negatives is None


def test_shifted_texts_lie_where_the_images_are(store: Store) -> None:
    data = Preparation.fresh(store, ENCODER_ID, PLL)
    texts = data.texts()
    plain = torch.cat([b.vectors for b in data.source(texts, None, None, **RADII).texts()])
    shifted = torch.cat(
        [b.vectors for b in data.source(texts, None, data.shift(), **RADII).texts()]
    )
    images = data.images()
    assert images is not None
    there = torch.cat([torch.from_numpy(b.vectors).float() for b in images.batches(epoch=0)])
    before, after = (float((v.mean(0) - there.mean(0)).norm()) for v in (plain, shifted))
    assert before > 3
    assert after < 1


@pytest.mark.parametrize(
    "moved", [{"shift": "plain"}, {"neighbour_rounds": 0}, {"shift": "neighbours"}]
)
def test_labelled_images_help_where_the_modalities_differ(
    store: Store, moved: dict[str, Any]
) -> None:
    truth = add_images(store, count=200, split="test", first=1000)
    vectors = np.concatenate(
        [
            store.vectors("image_vectors", [row["image_id"]], encoder_id=ENCODER_ID)
            for b in store.scan("images", where={"split": "test"})
            for row in b.to_pylist()
        ]
    )

    def error(config: TrainConfig) -> float:
        logits = load_adapter(run(store, config).checkpoint).logits(torch.from_numpy(vectors))
        target = torch.from_numpy(truth).float()
        return float(torch.nn.functional.binary_cross_entropy_with_logits(logits, target))

    zsl = TrainConfig(epochs=10, batch=16, lr=1e-2, shift="none")
    pll = dataclasses.replace(PLL, epochs=10, lr=1e-2, **moved)
    assert error(pll) < 0.8 * error(zsl)


def test_the_run_says_what_it_learnt_from(store: Store) -> None:
    result = run(store, FSL)
    assert result.known["images"] == result.known["images_with_known_labels"] < 60
    assert result.known["labels_without_known_positive"] == 0
    assert result.shift["labels"] == N
    assert (result.checkpoint / KNOWN).is_file()
    card = load_adapter(result.checkpoint).card
    assert card.image_radius is not None
    assert card.config.shots == 2
    assert run(store, TrainConfig(epochs=1)).known == {}


def test_an_image_vector_that_is_no_number_is_named(store: Store) -> None:
    row = {"image_id": "f" * 32, "uri": "x", "width": 1, "height": 1, "positives": [0]}
    rest = {"negatives": [], "complete": True, "combination_id": None, "split": "train"}
    store.upsert("images", [{**row, **rest}])
    bad = np.full((1, 16), np.inf)
    add_vectors(store, "image_vectors", {"image_id": ["f" * 32]}, bad.astype(np.float16))
    with pytest.raises(StoreError, match=r"image_vectors__random_16.* not finite"):
        run(store, PLL)


def test_labelled_images_without_vectors(tmp_path: Path) -> None:
    store = text_store(tmp_path / "s", rows=20)
    row = {"image_id": "f" * 32, "uri": "x", "width": 1, "height": 1, "positives": [0]}
    rest = {"negatives": [], "complete": True, "combination_id": None, "split": "train"}
    store.upsert("images", [{**row, **rest}])
    with pytest.raises(TrainingError, match="none of the 1 labelled images has a vector"):
        run(store, PLL)


def test_a_label_without_images_is_counted_and_trained(tmp_path: Path) -> None:
    store = text_store(tmp_path / "s", rows=100)
    add_images(store, count=40, labels=5)
    result = run(store, PLL)
    assert result.known["labels_without_known_positive"] == 1
    assert result.shift["labels_from_targets_alone"] == 1


def test_unlabelled_images_move_the_texts_and_their_labels_are_not_read(store: Store) -> None:
    config = TrainConfig(epochs=10, batch=16, lr=1e-2, shift="neighbours")
    data = Preparation.fresh(store, ENCODER_ID, config)
    assert data.known is not None
    assert not data.known.known.any()
    shift = data.shift()
    assert shift is not None
    gap = np.ones(16) / 4
    assert float(shift.offsets(shift.texts.combination_ids).mean(0) @ gap) > 1
    with_labels = run(store, config)
    rows = [r for b in store.scan("images") for r in b.to_pylist()]
    blank = {"positives": [], "complete": False, "combination_id": None}
    store.upsert("images", [{**row, **blank} for row in rows])
    assert weights(run(store, config)) == weights(with_labels)


def test_unlabelled_images_help_where_the_modalities_differ(store: Store) -> None:
    add_images(store, count=300, first=3000, gap=8.0)
    truth = add_images(store, count=200, split="test", first=1000, gap=8.0)
    ids = [
        r["image_id"] for b in store.scan("images", where={"split": "test"}) for r in b.to_pylist()
    ]
    vectors = torch.from_numpy(store.vectors("image_vectors", ids, encoder_id=ENCODER_ID))

    def error(shift: ShiftKind) -> float:
        config = TrainConfig(epochs=10, batch=16, lr=1e-2, shift=shift)
        logits = load_adapter(run(store, config).checkpoint).logits(vectors)
        target = torch.from_numpy(truth).float()
        return float(torch.nn.functional.binary_cross_entropy_with_logits(logits, target))

    assert error("neighbours") < 0.9 * error("none")


def test_few_images_move_nothing_by_default(store: Store) -> None:
    assert settle(store, ENCODER_ID, TrainConfig()).shift == "none"
    add_images(store, count=UNLABELLED_FROM - 60, first=5000)
    assert settle(store, ENCODER_ID, TrainConfig()).shift == "neighbours"
    assert settle(store, ENCODER_ID, TrainConfig.paper()).shift == "none"
    assert settle(store, ENCODER_ID, TrainConfig(network="paper", hidden=8)).shift == "none"
    # The images that would be searched count, not all there are.
    add_images(store, count=UNLABELLED_FROM - 1, split="extra", first=9000)
    assert settle(store, ENCODER_ID, TrainConfig(split="train")).shift == "neighbours"
    with pytest.raises(TrainingError, match="split 'extra' is for a shift"):
        settle(store, ENCODER_ID, TrainConfig(split="extra"))
    plain = TrainConfig(task="pll", shift="plain")
    assert settle(store, ENCODER_ID, plain).shift == "plain"


@pytest.mark.parametrize("config", [PLL, TrainConfig(epochs=3, batch=16)])
def test_a_run_records_what_its_settings_came_to(store: Store, config: TrainConfig) -> None:
    add_images(store, count=UNLABELLED_FROM - 60, first=5000)
    card = load_adapter(run(store, config).checkpoint).card
    assert card.config.shift == "neighbours"
    assert card.config == settle(store, ENCODER_ID, config)
    assert card.radius == pytest.approx(card.config.text_radius(card.mean_text_norm))
    again = TrainConfig.from_json(store.runs()[-1].config)
    assert weights(run(store, again)) == weights(run(store, config))


@pytest.mark.parametrize("config", [PLL, TrainConfig(epochs=3, batch=16, shift="neighbours")])
def test_a_newer_taistore_resumes_to_the_old_weights(
    store: Store, config: TrainConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    undisturbed = run(store, config)
    with pytest.raises(InterruptedTrainingError):
        run(store, config, progress=showing(Bar(20)), checkpoint_seconds=0)
    changed = {"neighbour_rounds": 3, "neighbour_share": 0.9}
    for task in ("zsl", "pll"):
        monkeypatch.setitem(AUTO_BY_TASK, task, {**AUTO_BY_TASK[task], **changed})
    monkeypatch.setitem(config_module.SHIFTED_RADIUS, config.task, 7.0)
    monkeypatch.setattr("taistore.geometry.expected_places.CANDIDATES", 1)
    monkeypatch.setattr("taistore.adapter.inputs.image_sides.auto_neighbours", lambda images: 3)
    assert weights(resume(store, "latest")) == weights(undisturbed)
    assert weights(run(store, config)) != weights(undisturbed)


def test_a_run_from_before_offsets_were_kept_finds_them_again(store: Store) -> None:
    undisturbed = run(store, PLL)
    with pytest.raises(InterruptedTrainingError):
        run(store, PLL, progress=showing(Bar(20)), checkpoint_seconds=0)
    folder = run_folder(store, store.runs()[-1].run_id)
    (folder / SHIFT).unlink()
    assert weights(resume(store, "latest")) == weights(undisturbed)


def test_damaged_offsets_are_named(store: Store) -> None:
    with pytest.raises(InterruptedTrainingError):
        run(store, PLL, progress=showing(Bar(20)), checkpoint_seconds=0)
    (run_folder(store, store.runs()[-1].run_id) / SHIFT).write_bytes(b"short")
    with pytest.raises(TrainingError, match=r"shift\.safetensors: where this run shifts its texts"):
        resume(store, "latest")
