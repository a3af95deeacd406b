"""What every picture keeps: two files, the same every time, whatever labels are called."""

import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from taistore.errors import MissingExtraError, ScoringError
from taistore.evaluation import drawing
from taistore.evaluation.drawing import (
    COLOURS,
    LINES,
    MARKERS,
    cluster_look,
    draw_projection,
    legend_name,
    require_drawing,
)

NAMES = ["dog", "<script>alert(1)</script>", "$x$", "_hidden", "犬\x00\n"]


def clusters(points: int = 60, dim: int = 8) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    random = np.random.default_rng(0)
    centres = 4 * random.standard_normal((len(NAMES), dim))
    ids = random.integers(-1, len(NAMES), points)
    vectors = np.where(ids[:, None] >= 0, centres[ids], 0) + random.standard_normal((points, dim))
    return vectors.astype(np.float16), ids, centres


def test_a_projection_is_two_files_that_are_the_same_every_time(tmp_path: Path) -> None:
    points, ids, centres = clusters()
    estimated = centres + 0.5
    estimated[1] = np.nan
    for folder in ("a", "b"):
        paths = draw_projection(points, ids, NAMES, estimated, centres, folder=tmp_path / folder)
        assert [path.name for path in paths] == ["projection.png", "projection.svg"]
    for name in ("projection.png", "projection.svg"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    with Image.open(tmp_path / "a" / "projection.png") as image:
        assert min(image.size) > 800


def test_labels_cannot_be_markup_or_formulas(tmp_path: Path) -> None:
    points, ids, centres = clusters()
    _, svg = draw_projection(points, ids, NAMES, centres, centres, folder=tmp_path)
    text = svg.read_text(encoding="utf-8")
    assert "<script" not in text
    assert "&lt;script&gt;" in text
    assert "$x$" in text  # as it stands, not as the formula x
    tags = {element.tag for element in ElementTree.fromstring(text).iter()}
    assert "{http://www.w3.org/2000/svg}script" not in tags


def test_few_points_and_a_missing_scikit_learn_fall_back_to_pca(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    points, ids, centres = clusters()
    few = (points[:1], ids[:1] * 0, NAMES[:1], centres[:1], centres[:1])
    one = draw_projection(*few, folder=tmp_path / "one")[1]
    assert "PCA (few points) of 1 image vectors" in one.read_text()
    without(monkeypatch, "sklearn")
    svg = draw_projection(points, ids, NAMES, centres, centres, folder=tmp_path)[1]
    assert "PCA (scikit-learn is not installed)" in svg.read_text()


def without(monkeypatch: pytest.MonkeyPatch, package: str) -> None:
    """Make importing a package fail as if it was not installed."""
    for name in [name for name in sys.modules if name.split(".")[0] == package]:
        monkeypatch.delitem(sys.modules, name)

    class Finder:
        @staticmethod
        def find_spec(name: str, path: object = None, target: object = None) -> None:
            if name.split(".", maxsplit=1)[0] == package:
                raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    monkeypatch.setattr(sys, "meta_path", [Finder, *sys.meta_path])


def test_pca_finds_the_directions_of_most_variance() -> None:
    random = np.random.default_rng(0)
    vectors = random.standard_normal((50, 5)) * [1, 9, 1, 5, 1]
    plane = drawing._pca(vectors)
    assert abs(np.corrcoef(plane[:, 0], vectors[:, 1])[0, 1]) > 0.95
    assert abs(np.corrcoef(plane[:, 1], vectors[:, 3])[0, 1]) > 0.95
    assert drawing._pca(vectors[:, :1]).shape == (50, 2)


def test_many_points_are_thinned_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drawing, "MOST_POINTS", 8)
    points, ids, centres = clusters()
    svg = draw_projection(points, ids, NAMES, centres, centres, folder=tmp_path)[1]
    assert "of 8 image vectors" in svg.read_text()


def test_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    points, ids, centres = clusters()
    for given, message in (
        ((points, ids[:3], NAMES, centres, centres), "one cluster for each point"),
        ((points, ids, NAMES, centres[:2], centres), "NaN where there is none"),
        ((points, ids + 1, NAMES, centres, centres), "between -1 and 4"),
        ((points * np.nan, ids, NAMES, centres, centres), "no finite vector"),
    ):
        with pytest.raises(ScoringError, match=message):
            draw_projection(*given, folder=tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(ScoringError, match="name another folder"):
        draw_projection(points, ids, NAMES, centres, centres, folder=tmp_path / "file")
    with pytest.raises(ScoringError, match="name another folder"):
        require_drawing(tmp_path / "file" / "below")


def test_without_matplotlib_the_extra_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without(monkeypatch, "matplotlib")
    with pytest.raises(MissingExtraError, match=r"pip install 'taistore\[plots\]'"):
        require_drawing(tmp_path)


def test_looks_differ_without_colour() -> None:
    assert len(COLOURS) == len(MARKERS) == len(LINES) == 8
    looks = [(look["marker"], str(look["linestyle"])) for look in map(cluster_look, range(64))]
    assert len(set(looks)) == 64
    assert (legend_name("_a"), legend_name("a")) == (" _a", "a")
