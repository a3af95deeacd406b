"""Protocols: what they define, which stores they fit, and what they count."""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from taistore.errors import ScoringError
from taistore.evaluation.evaluate import evaluate
from taistore.evaluation.labelled_scores import Scope, labelled_split
from taistore.evaluation.metrics import average_precision
from taistore.evaluation.protocols import PROTOCOLS, Protocol
from taistore.labels import Label, LabelSet
from taistore.store.arrow import vector_column
from taistore.store.store import Store
from taistore_cli.evaluate import PROTOCOLS as COMMAND_PROTOCOLS
from tests.adapter.stores import ENCODER_ID, encoder_info
from tests.scoring.runs import add_random_run

DIM = 16


def vectors(count: int) -> NDArray[np.float32]:
    return np.random.default_rng(0).standard_normal((count, DIM)).astype(np.float32)


def store_of(path: Path, names: list[str], rows: list[dict[str, Any]]) -> Store:
    """A store of random vectors with these labels and images, and the run "run"."""
    labels = LabelSet(Label(f"k{n}", name) for n, name in enumerate(names))
    store = Store.create(path, labels, default_encoder="vectors:random")
    store.register_encoder(encoder_info(dim=DIM))
    blank = {
        "uri": "/x.jpg",
        "width": 8,
        "height": 8,
        "positives": [],
        "negatives": [],
        "complete": True,
        "combination_id": None,
        "split": "test",
    }
    ids = [hashlib.blake2b(f"{n}".encode(), digest_size=16).hexdigest() for n in range(len(rows))]
    store.append("images", [{**blank, "image_id": i, **r} for i, r in zip(ids, rows, strict=True)])
    store.append(
        "image_vectors",
        {"image_id": ids, "vector": vector_column(vectors(len(rows)))},
        encoder_id=ENCODER_ID,
    )
    add_random_run(store, "run", prompts(store))
    return store


def spelled(protocol: Protocol) -> list[str]:
    """The last spelling of every label."""
    assert protocol.labels is not None
    return [spellings.split("|")[-1] for spellings in protocol.labels]


def prompts(store: Store) -> NDArray[np.float32]:
    return np.random.default_rng(1).standard_normal((len(store.labels), DIM)).astype(np.float32)


def figures(store: Store, protocol: str, split: str | None = None) -> dict[str, Any]:
    found = evaluate(store, "run", protocol=PROTOCOLS[protocol], split=split)
    value = found.to_json()
    assert json.loads(json.dumps(value, allow_nan=False)) == value
    return value


def random_rows(count: int, labels: int, **changes: Any) -> list[dict[str, Any]]:
    random = np.random.default_rng(2)
    return [
        {"positives": np.flatnonzero(random.random(labels) < 0.3).tolist(), **changes}
        for _ in range(count)
    ]


def test_the_protocols_are_those_of_the_command_and_hold_their_labels() -> None:
    assert tuple(PROTOCOLS) == COMMAND_PROTOCOLS
    counts = {name: len(p.labels or ()) for name, p in PROTOCOLS.items()}
    assert counts == {"voc2007": 20, "coco2014": 80, "nuswide": 81, "openimages": 0}
    for protocol in PROTOCOLS.values():
        assert len(set(protocol.labels or ())) == len(protocol.labels or ())
        assert "non-interpolated" in protocol.text()
        assert json.dumps(protocol.to_json())


@pytest.mark.parametrize("name", ["coco", "voc2012", "nuswide"])
def test_the_label_lists_are_the_published_ones(name: str, shared_data: Path) -> None:
    if name == "nuswide":
        path = shared_data / "labels" / "nuswide-81.txt"
    else:
        path = shared_data / name / "classes.txt"
    labels = LabelSet(Label(x, x) for x in path.read_text().split("\n") if x)
    protocol = PROTOCOLS[{"coco": "coco2014", "voc2012": "voc2007"}.get(name, name)]
    assert sorted(protocol._label_ids(labels, "here").tolist()) == list(range(len(labels)))


def test_only_its_labels_count_whatever_else_the_store_has(tmp_path: Path) -> None:
    names = ["extra", *reversed(spelled(PROTOCOLS["voc2007"])), "more"]
    store = store_of(tmp_path / "s", names, random_rows(30, 22))
    found = figures(store, "voc2007")
    assert [label["name"] for label in found["labels"]] == names[-2:0:-1]
    plain = evaluate(store, "run").to_json()
    by_key = {label["key"]: label["AP"] for label in plain["labels"]}
    assert all(label["AP"] == by_key[label["key"]] for label in found["labels"])
    assert found["ladder"]["zero_shot"]["mAP"] != plain["ladder"]["zero_shot"]["mAP"]
    assert found["protocol"]["labels"] == 20
    assert "has 4,952 images, here are 30" in " ".join(found["warnings"])
    assert sorted(store.run("run").metrics["evaluation"]) == ["test", "voc2007:test"]


def test_missing_labels_are_one_line(tmp_path: Path) -> None:
    names = spelled(PROTOCOLS["voc2007"])
    store = store_of(tmp_path / "s", names[3:], random_rows(5, 17))
    with pytest.raises(ScoringError) as caught:
        figures(store, "voc2007")
    assert "needs 3 labels that this store has not (aeroplane, bicycle, bird)" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_one_label_cannot_stand_for_two() -> None:
    labels = LabelSet([Label("a", "dog", ("cat",)), Label("b", "bird")])
    given = {field: getattr(PROTOCOLS["voc2007"], field) for field in Protocol.__slots__}
    protocol = Protocol(**{**given, "labels": ("dog", "cat", "bird")})
    with pytest.raises(ScoringError, match="'dog' stands for two labels"):
        protocol._label_ids(labels, "here")


def test_the_split_is_the_first_that_the_store_has(tmp_path: Path) -> None:
    names = spelled(PROTOCOLS["coco2014"])
    store = store_of(tmp_path / "s", names, random_rows(9, 80, split="val"))
    assert figures(store, "coco2014")["split"] == "val"
    with pytest.raises(ScoringError, match="split test or val or val2014, not 'train'"):
        figures(store, "coco2014", "train")
    with pytest.raises(ScoringError, match="needs labelled images of split 'test' or 'val'"):
        figures(store, "coco2014", "test")


def test_coco_leaves_out_images_without_a_box_and_nuswide_keeps_them(tmp_path: Path) -> None:
    for name, images in (("coco2014", 12), ("nuswide", 16)):
        labels = spelled(PROTOCOLS[name])
        empty: list[dict[str, Any]] = [{"positives": []} for _ in range(4)]
        rows = [*random_rows(12, len(labels)), *empty]
        store = store_of(tmp_path / name, labels, rows)
        assert figures(store, name)["images"] == images


def test_unknown_cells_are_refused_where_a_protocol_has_none(tmp_path: Path) -> None:
    names = spelled(PROTOCOLS["voc2007"])
    rows = random_rows(6, 20)
    rows[2] = {"positives": [1], "negatives": [0, *range(3, 20)], "complete": False}
    store = store_of(tmp_path / "s", names, rows)
    with pytest.raises(ScoringError) as caught:
        figures(store, "voc2007")
    assert "1 cells of 1 images of split 'test' are unknown" in str(caught.value)
    assert "difficult" in str(caught.value)
    rows[2]["negatives"].append(2)
    # Known one by one is as good as complete.
    assert figures(store_of(tmp_path / "t", names, rows), "voc2007")["images"] == 6


def test_openimages_counts_verified_cells_of_labels_with_both_kinds(tmp_path: Path) -> None:
    random = np.random.default_rng(3)
    truth = random.choice([-1, 0, 1], size=(40, 4)).astype(np.int8)
    truth[:, 2] = np.where(truth[:, 2] == 0, -1, truth[:, 2])  # never a negative
    truth[:, 3] = np.where(truth[:, 3] == 1, 0, truth[:, 3])  # never a positive
    rows = [
        {
            "positives": np.flatnonzero(row == 1).tolist(),
            "negatives": np.flatnonzero(row == 0).tolist(),
            "complete": False,
        }
        for row in truth
    ]
    store = store_of(tmp_path / "s", ["a", "b", "c", "d"], rows)
    found = figures(store, "openimages")
    precision = [label["AP"] for label in found["labels"]]
    assert precision[2:] == [None, None]
    (batch,) = labelled_split(store, "run", Scope(split="test")).batches()
    expected = average_precision(batch.scores["ensemble"][:, :2], batch.truth_BN[:, :2])
    np.testing.assert_allclose(precision[:2], 100 * expected, atol=0.01)
    assert found["labels_without_positives"] == 2
    only = [{"positives": [0], "complete": False}] * 3
    with pytest.raises(ScoringError, match="ingest verified negatives too"):
        figures(store_of(tmp_path / "t", ["a"], only), "openimages")
