"""Which sets are found in a folder, and what is said of those that are not."""

from pathlib import Path

import pytest

from taistore.evaluation.protocols import PROTOCOLS
from taistore.reproduction.data_sets import LAYOUTS, FoundSet, MissingSet, find_set, protocol_labels
from taistore.reproduction.tables import TABLES
from tests.reproduction.small_sets import own_form, voc2007


def test_a_published_set_is_found_in_its_layout(tmp_path: Path) -> None:
    root = voc2007(tmp_path)
    found = find_set(tmp_path, "voc2007", training=True)
    assert isinstance(found, FoundSet)
    assert (found.folder, found.column) == (root, "voc2007")
    assert [part.split for part in found.parts] == ["trainval", "test"]
    assert all(part.options == {"difficult": "negative"} for part in found.parts)
    assert len(found.labels) == 20
    tested = find_set(tmp_path, "voc2007", training=False)
    assert isinstance(tested, FoundSet)
    assert [part.split for part in tested.parts] == ["test"]


def test_training_needs_more_than_testing(tmp_path: Path) -> None:
    root = voc2007(tmp_path, trainval=False)
    assert isinstance(find_set(tmp_path, "voc2007", training=False), FoundSet)
    found = find_set(tmp_path, "voc2007", training=True)
    assert isinstance(found, MissingSet)
    assert f"{root} has no ImageSets/Main/trainval.txt: unpack VOCtrainval" in found.line


def test_our_own_form_is_found_under_any_name(tmp_path: Path) -> None:
    own_form(tmp_path)
    found = find_set(tmp_path, "colours", training=True)
    assert isinstance(found, FoundSet)
    assert (found.protocol, found.column) == (None, None)
    own_form(tmp_path, "coco2014")
    assert isinstance(find_set(tmp_path, "coco2014", training=True), FoundSet)


def test_our_own_form_with_published_labels_stands_beside_them(shared_data: Path) -> None:
    for name, column in (("voc2012", "voc2007"), ("coco", "coco2014")):
        found = find_set(shared_data, name, training=True)
        assert isinstance(found, FoundSet)
        assert found.column == column


@pytest.mark.parametrize("name", [*LAYOUTS, "mine"])
def test_what_is_missing_is_one_line_with_a_place(tmp_path: Path, name: str) -> None:
    own_form(tmp_path)
    found = find_set(tmp_path, name, training=True)
    assert isinstance(found, MissingSet)
    assert found.line.startswith(f"{name}: not below {tmp_path}")
    assert f"{tmp_path / name}/labels.jsonl and classes.csv" in found.line
    assert "\n" not in found.line
    if name == "mine":
        assert "(sets there: colours)" in found.line


def test_labels_of_a_protocol_read_well() -> None:
    labels = protocol_labels(PROTOCOLS["voc2007"].labels or ())
    names = {label.key: label.name for label in labels}
    assert (names["diningtable"], names["tvmonitor"]) == ("dining table", "tv monitor")
    assert (names["aeroplane"], names["sofa"]) == ("aeroplane", "sofa")
    for name in LAYOUTS:
        assert not PROTOCOLS[name].missing_labels(protocol_labels(PROTOCOLS[name].labels or ()))


def test_published_figures_have_a_value_for_every_column() -> None:
    for table in TABLES.values():
        assert set(table.published) == set(table.sets) <= set(LAYOUTS)
        for methods in table.published.values():
            for values in methods.values():
                assert len(values) == len(table.columns)
            assert set(table.beside.values()) <= set(methods)
