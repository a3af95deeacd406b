"""What reaches a training: each text with its own tokens and labels, each photo with its regions.

Batches are caught on their way into a real training and held against the tables, read on their own.
"""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from taistore.project import Project
from taistore.prompting.examples import Examples, ImageExamples, TextExamples
from taistore.store.stream import VectorStream

SMALL: dict[str, Any] = {"context": 1, "epochs": 2}
Array = NDArray[np.float64]


@pytest.fixture(params=["exact", "blockwise"])
def stream(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both ways in which a table is shuffled: of a small one as a whole, else block by block."""
    if request.param == "blockwise":
        defaults = VectorStream.__init__.__kwdefaults__
        assert defaults is not None
        monkeypatch.setitem(defaults, "block_rows", 4)
        monkeypatch.setitem(defaults, "buffer_rows", 1)
    return str(request.param)


@pytest.fixture
def caught(monkeypatch: pytest.MonkeyPatch) -> list[list[Examples]]:
    """The batches of each epoch of the trainings of this test."""
    epochs: list[list[Examples]] = []

    def catching(
        batches: Callable[..., Iterator[Examples]],
    ) -> Callable[..., Iterator[Examples]]:
        def wrapped(self: Any, *, epoch: int, start: int) -> Iterator[Examples]:
            epochs.append([])
            for batch in batches(self, epoch=epoch, start=start):
                epochs[-1].append(batch)
                yield batch

        return wrapped

    for source in (TextExamples, ImageExamples):
        monkeypatch.setattr(source, "batches", catching(source.batches))
    return epochs


def rows_of(project: Project, kind: str) -> list[dict[str, Any]]:
    """A table as it lies on disk."""
    per_encoder = kind.endswith("_vectors")
    encoder_id = project.encoder_info().encoder_id if per_encoder else None
    return [
        row
        for batch in project.store.scan(kind, encoder_id=encoder_id)
        for row in batch.to_pylist()
    ]


def unit(values: list[float], dim: int) -> Array:
    """Unit vectors [L, D] of a row's values."""
    vectors_LD = np.array(values, dtype=np.float64).reshape(-1, dim)
    found: Array = vectors_LD / np.linalg.norm(vectors_LD, axis=1, keepdims=True)
    return found


def check_epochs(
    epochs: list[list[Examples]],
    *,
    whole: dict[str, Array],
    parts: dict[str, Array],
    targets: dict[str, list[int]],
) -> None:
    """Every item once an epoch, known by its whole vector, with its own parts and targets."""
    ids = list(whole)
    whole_ID = np.concatenate([whole[one] for one in ids])
    likeness_II = whole_ID @ whole_ID.T - 2 * np.eye(len(ids))
    assert likeness_II.max() < 1 - 1e-5, "items of one vector cannot be told apart"
    orders = []
    for batches in epochs:
        order: list[str] = []
        for batch in batches:
            for row in range(len(batch.whole_BD)):
                nearest = whole_ID @ batch.whole_BD[row].double().numpy()
                assert nearest.max() == pytest.approx(1, abs=1e-6)
                one = ids[int(nearest.argmax())]
                order.append(one)
                local_LD = batch.local_BLD[row][batch.there_BL[row]].double().numpy()
                assert local_LD.shape == parts[one].shape
                np.testing.assert_allclose(local_LD, parts[one], atol=1e-6)
                assert not batch.local_BLD[row][~batch.there_BL[row]].any()
                assert batch.targets_BN[row].tolist() == targets[one]
        assert sorted(order) == sorted(ids)
        orders.append(order)
    assert len({tuple(order) for order in orders}) == len(orders), "an order comes twice"


def test_texts_come_with_their_own_tokens_and_labels(
    project: Project, caught: list[list[Examples]], stream: str
) -> None:
    project.train("zsl", method="tai-dpt", batch=7, **SMALL)
    dim, labels = project.encoder_info().dim, len(project.labels)
    combinations = {
        row["combination_id"]: row["label_ids"] for row in rows_of(project, "combinations")
    }
    targets = {}
    for row in rows_of(project, "texts"):
        there = combinations[row["combination_id"]]
        assert there
        # The template names its labels: the words of the text say the same as the tables.
        assert {project.labels[i].name for i in there} <= set(
            row["text"].lower().replace(",", " ").replace(".", " ").split()
        )
        targets[row["text_id"]] = [int(label in there) for label in range(labels)]
    tokens = {row["text_id"]: row for row in rows_of(project, "token_vectors")}
    assert len({len(row["vectors"]) for row in tokens.values()}) > 1
    check_epochs(
        caught,
        whole={
            row["text_id"]: unit(row["vector"], dim) for row in rows_of(project, "text_vectors")
        },
        parts={one: unit(row["vectors"], dim) for one, row in tokens.items()},
        targets=targets,
    )


def test_photos_come_with_their_own_regions_and_what_is_known(
    project: Project, caught: list[list[Examples]], stream: str
) -> None:
    project.train("pll", method="dualcoop", batch=5, **SMALL)
    dim, labels = project.encoder_info().dim, len(project.labels)
    train = {row["image_id"]: row for row in rows_of(project, "images") if row["split"] == "train"}
    assert len(train) == 12
    targets = {}
    for one, row in train.items():
        unknown = 0 if row["complete"] else -1
        told = dict.fromkeys(range(labels), unknown)
        told |= dict.fromkeys(row["negatives"], 0) | dict.fromkeys(row["positives"], 1)
        targets[one] = list(told.values())
        colours = row["uri"].rpartition("/")[2].removesuffix(".png").split("-")[1:]
        assert {project.labels[i].name for i in row["positives"]} == set(colours)
    check_epochs(
        caught,
        whole={
            row["image_id"]: unit(row["vector"], dim)
            for row in rows_of(project, "image_vectors")
            if row["image_id"] in train
        },
        parts={
            row["image_id"]: unit(row["vectors"], dim)
            for row in rows_of(project, "region_vectors")
            if row["image_id"] in train
        },
        targets=targets,
    )
