"""Labels that are added, renamed, merged and retired: ids stay, and readers see what is left."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from taistore.errors import LabelError, StoreError
from taistore.labels import Label, LabelSet
from taistore.scoring.known_cells import KNOWN_COLUMNS, known_cells
from taistore.store.partial_labels import PartialLabels
from taistore.store.store import Store
from taistore.store.verification.verify_store import verify_store
from taistore.store.writes.label_edits import (
    add_labels,
    merge_labels,
    rename_label,
    retire_labels,
)
from taistore.store.writes.revision import Change, Snapshot, revise


def names(*keys: str) -> LabelSet:
    return LabelSet(Label(key, f"the {key}") for key in keys)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.create(tmp_path / "store", names("a", "b", "c", "d"), default_encoder="packaged")


def image(number: int, **changes: Any) -> dict[str, Any]:
    row = {"image_id": f"{number:032x}", "uri": f"/{number}.jpg", "width": 4, "height": 4}
    known = {"positives": [], "negatives": [], "complete": False, "combination_id": None}
    return {**row, **known, "split": "train", "other_uris": None, "covered": 0, **changes}


def cells(store: Store) -> list[list[int]]:
    """What is known, in two ways that must agree: [I, N]."""
    known = PartialLabels.read(store)
    truth = known.truth(np.arange(len(known)))
    rows = np.repeat(np.arange(len(known))[:, None], known.labels, axis=1)
    columns = np.repeat(np.arange(known.labels)[None], len(known), axis=0)
    assert np.array_equal(known.cells(rows, columns), truth)
    assert known.known_counts.tolist() == (truth >= 0).sum(axis=1).tolist()
    assert known.known.tolist() == (truth >= 0).any(axis=1).tolist()
    assert known.masked(1.0, seed=0).truth(np.arange(len(known))).tolist() == truth.tolist()
    scanned = store.scan("images", columns=["image_id", *KNOWN_COLUMNS])
    by_id = {
        row: known_cells(batch, len(store.labels))[n].tolist()
        for batch in scanned
        for n, row in enumerate(batch.column("image_id").to_pylist())
    }
    assert [by_id[i.decode()] for i in known.image_ids.tolist()] == truth.tolist()
    return [[int(value) for value in row] for row in truth]


def test_added_labels_come_behind_and_ids_stay(store: Store) -> None:
    found = add_labels(store, names("e", "b", "f"))
    assert (found.added, found.there) == (("e", "f"), ("b",))
    assert store.labels.keys == ["a", "b", "c", "d", "e", "f"]
    assert [row.addition for row in store.stored_labels] == [0, 0, 0, 0, 1, 1]
    before = store.versions([("labels", None)])
    assert add_labels(store, names("e", "f")).there == ("e", "f")
    assert store.versions([("labels", None)]) == before
    assert Store.open(store.uri).labels == store.labels
    assert (store.version, store.default_encoder) == (Store.open(store.uri).version, "packaged")


def test_what_was_complete_says_nothing_of_labels_that_came_later(store: Store) -> None:
    store.append("images", [image(1, positives=[1], complete=True, covered=4)])
    add_labels(store, names("e"))
    assert cells(store) == [[0, 1, 0, 0, -1]]
    store.append("images", [image(2, positives=[4], complete=True, covered=5)])
    store.upsert("images", [image(1, positives=[1, 4], complete=True, covered=4)])
    assert cells(store) == [[0, 1, 0, 0, 1], [0, 0, 0, 0, 1]]


def test_a_retired_label_is_no_column_and_is_lost_by_no_writer(store: Store) -> None:
    store.append("images", [image(1, positives=[1, 2], negatives=[3])])
    assert [label.key for label in retire_labels(store, ["the b"])] == ["b"]
    assert store.labels.keys == ["a", "c", "d"]
    assert cells(store) == [[-1, 1, 0]]

    def moved(images: Snapshot) -> Change:
        return Change(rows=[{**row, "uri": "/x.jpg"} for row in images.rows("uri", ["/1.jpg"])])

    revise(store, "images", moved)
    assert add_labels(store, names("b")).restored == ("b",)
    assert cells(store) == [[-1, 1, 1, 0]]
    assert not [one for one in verify_store(store.uri).findings if one.severity == "error"]


def test_what_is_written_in_columns_is_kept_by_id(store: Store) -> None:
    retire_labels(store, ["a", "c"])
    combination = store.labels.combination_id([0, 1])
    store.append("combinations", {"combination_id": [combination], "label_ids": [[0, 1]]})
    store.append("images", [image(1, positives=[1], negatives=[0])])
    assert cells(store) == [[0, 1]]
    assert cells(store.by_id()) == [[-1, 0, -1, 1]]
    assert store.combination_index().positives(np.array([combination]))[1].tolist() == [0, 1]
    add_labels(store, names("a", "c"))
    assert store.combination_index().positives(np.array([combination]))[1].tolist() == [1, 3]


def test_a_merged_label_shows_as_the_other_and_its_absence_says_nothing(store: Store) -> None:
    store.append(
        "images",
        [
            image(1, positives=[1]),
            image(2, negatives=[1]),
            image(3, negatives=[0], positives=[1]),
            image(4, positives=[0, 1, 3]),
            image(5, negatives=[0]),
        ],
    )
    label = merge_labels(store, ["b"], "a")
    assert label.synonyms == ("the b",)
    assert store.labels.keys == ["a", "c", "d"]
    assert cells(store) == [[1, -1, -1], [-1, -1, -1], [1, -1, -1], [1, -1, 1], [0, -1, -1]]
    assert store.labels.find("the b") == 0
    # What is part of a label goes with it.
    merge_labels(store, ["a"], "d")
    assert [row.merged_into for row in store.stored_labels] == [3, 3, None, None]
    assert cells(store)[0] == [-1, 1]


def test_a_run_sees_the_labels_that_it_was_trained_for(store: Store) -> None:
    store.append("images", [image(1, positives=[1], negatives=[2])])
    merge_labels(store, ["b"], "a")
    seen = store.seen_with(["a", "b", "c"])
    assert seen.labels.keys == ["a", "b", "c"]
    assert cells(seen) == [[-1, 1, 0]]
    assert cells(store) == [[1, 0, -1]]
    with pytest.raises(StoreError, match=r"has no label 'z': .*taistore labels add"):
        store.seen_with(["a", "z"])


def test_a_name_changes_and_the_key_stays(store: Store) -> None:
    found = rename_label(store, "the b", " bird  of prey ")
    assert found.label == Label("b", "bird of prey", ("the b",))
    assert store.labels[1] == found.label
    assert store.labels.find("the b") == 1
    again = rename_label(store, "b", "the b")
    assert again.label == Label("b", "the b", ("bird of prey",))


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (lambda s: add_labels(s, LabelSet([Label("b", "other")])), "is called 'the b' here"),
        (lambda s: rename_label(s, "a", "THE b"), "another label is called"),
        (lambda s: rename_label(s, "a", "  "), "the new name is empty"),
        (lambda s: rename_label(s, "z", "x"), "'z' is not in the label set"),
        (lambda s: merge_labels(s, ["a", "b"], "b"), "cannot be merged into itself"),
        (lambda s: merge_labels(s, ["z"], "b"), "'z' is not in the label set"),
        (lambda s: retire_labels(s, ["a", "b", "c", "d"]), "a store needs a label"),
        (lambda s: retire_labels(s, ["a", "z"]), "'z' is not in the label set"),
    ],
    ids=["key", "name", "empty", "unknown", "itself", "unknown part", "all", "one of two"],
)
def test_what_is_refused_changes_nothing(store: Store, edit: Any, said: str) -> None:
    before = store.stored_labels
    with pytest.raises(LabelError, match=said):
        edit(store)
    assert Store.open(store.uri).stored_labels == before


def test_a_label_that_is_retired_or_merged_already_is_told_from_one_that_never_was(
    store: Store,
) -> None:
    retire_labels(store, ["c"])
    with pytest.raises(LabelError, match="'c' is retired: 'taistore labels add c' brings it back"):
        retire_labels(store, ["c"])
    merge_labels(store, ["b"], "a")
    with pytest.raises(LabelError, match="label 'the b' is 'a' already: name another one"):
        merge_labels(store, ["the b"], "a")


def test_the_key_of_a_merged_label_leads_to_the_other(store: Store) -> None:
    merge_labels(store, ["b"], "a")
    with pytest.raises(LabelError, match=r"label 'b' is part of 'a': name that one"):
        rename_label(store, "b", "x")


def test_a_label_that_is_part_of_another_is_not_added_again(store: Store) -> None:
    merge_labels(store, ["b"], "a")
    with pytest.raises(LabelError, match="'b' was merged into 'the a': leave it out"):
        add_labels(store, names("b"))


_ADD = """
import sys
from taistore.labels import Label, LabelSet
from taistore.store.store import Store
from taistore.store.writes.label_edits import add_labels
store, name = Store.open(sys.argv[1]), sys.argv[2]
for n in range(6):
    add_labels(store, LabelSet([Label(f"{name}{n}", f"{name} {n}"), Label(f"both{n}", f"b{n}")]))
"""


def test_two_that_add_at_once_add_each_label_once(store: Store) -> None:
    jobs = [
        subprocess.Popen([sys.executable, "-c", _ADD, store.uri, name]) for name in ("x", "y", "z")
    ]
    assert [job.wait(120) for job in jobs] == [0, 0, 0]
    rows = Store.open(store.uri).stored_labels
    assert [row.label_id for row in rows] == list(range(4 + 3 * 6 + 6))
    keys = [row.label.key for row in rows]
    assert sorted(keys) == sorted({*keys})
    assert not verify_store(store.uri).findings


def test_a_reader_from_before_does_not_see_what_came_later(store: Store) -> None:
    before = Store.open(store.uri)
    assert before.labels.keys == ["a", "b", "c", "d"]
    add_labels(store, names("e"))
    store.append("images", [image(1, positives=[0, 4], complete=True, covered=5)])
    assert cells(before) == [[1, 0, 0, 0]]
    assert cells(store) == [[1, 0, 0, 0, 1]]


def test_a_line_of_text_means_a_label_by_its_key_or_its_name(store: Store) -> None:
    rename_label(store, "b", "bird")
    lines = LabelSet(Label(line, line) for line in ("b", "BIRD", "the c", "d", "new"))
    found = add_labels(store, lines)
    assert (found.there, found.added) == (("b", "b", "c", "d"), ("new",))
    assert store.labels.keys == ["a", "b", "c", "d", "new"]
    assert store.labels[1] == Label("b", "bird", ("the b",))
    retire_labels(store, ["c"])
    assert add_labels(store, LabelSet([Label("c", "c")])).restored == ("c",)
    add_labels(store, LabelSet([Label("d2", "the d")]))
    with pytest.raises(LabelError, match=r"'the d' is ambiguous: use one of the keys d, d2"):
        add_labels(store, LabelSet([Label("the d", "the d")]))


def test_a_retired_label_comes_back_by_its_name_and_goes_by_no_synonym(store: Store) -> None:
    merge_labels(store, ["b"], "a")
    with pytest.raises(LabelError, match=r"'the b' is a synonym of 'the a': .* its key, 'a'"):
        retire_labels(store, ["the b"])
    assert retire_labels(store, ["the c", "d"]) == [Label("c", "the c"), Label("d", "the d")]
    found = add_labels(store, LabelSet(Label(name, name) for name in ("The C", "d")))
    assert (found.restored, found.added) == (("c", "d"), ())
