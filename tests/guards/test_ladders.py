"""Figures on real vectors stay where they were written down: one test for each set of vectors."""

from pathlib import Path

import pytest

from taistore.contracts import STORE_VERSION
from tests.guards.ladders import figures, moved, recorded
from tests.guards.sets import PACKAGED, VOC, packaged_set, voc_set

ADVICE = (
    "figures moved. Where the change was meant to move them, say so in CHANGELOG.md and write them "
    "down with 'python -m tests.guards.make_fixture --record --keep'"
)


def test_ladders_on_photos_that_come_inside_packages(tmp_path: Path) -> None:
    lines = moved(recorded(PACKAGED), figures(*packaged_set(tmp_path)))
    assert not lines, "\n".join([ADVICE, *lines])


def test_ladders_on_voc_photos(
    shared_data: Path, pytestconfig: pytest.Config, tmp_path: Path
) -> None:
    cache = pytestconfig.cache
    folder = (
        tmp_path / "cache" if cache is None else cache.mkdir(f"taistore-guards-{STORE_VERSION}")
    )
    lines = moved(recorded(VOC), figures(*voc_set(shared_data, folder, tmp_path)))
    assert not lines, "\n".join([ADVICE, *lines])


def test_a_rung_may_lie_a_third_of_a_point_away() -> None:
    before = {"zsl": {"zero_shot": 70.0, "adapter": 80.0}, "fsl": {"adapter": 85.0}}
    near = {"zsl": {"zero_shot": 70.29, "adapter": 79.71}, "fsl": {"adapter": 85.0}}
    assert moved(before, near) == []
    far = {"zsl": {"zero_shot": 69.6, "adapter": 81.0}, "fsl": {"adapter": float("nan")}}
    lines = moved(before, far)
    assert "zsl: zero_shot 70.0 -> 69.6 (-0.40)" in lines
    assert "zsl: adapter 80.0 -> 81.0 (+1.00)" in lines
    assert any(line.startswith("fsl: adapter 85.0 -> nan") for line in lines)


def test_a_rung_or_a_setting_that_is_new_or_gone_is_named() -> None:
    assert moved({"zsl": {"adapter": 80.0}}, {"zsl": {"ensemble": 80.0}}) == [
        "zsl: adapter 80.0 -> None",
        "zsl: ensemble None -> 80.0",
    ]
