"""The front door: what it makes, what it shows, what it refuses."""

import ast
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from PIL import Image

import taistore
from taistore.errors import ImageError, LabelError, StoreError, TextError
from taistore.labels import Label, LabelSet
from taistore.project import Project
from tests.fakes import COLOURS, ColourEncoder, colour_image

CLI = Path(__file__).resolve().parents[2] / "cli" / "taistore_cli"


@pytest.fixture(scope="module", autouse=True)
def _colours() -> None:
    taistore.register_encoder("colours", ColourEncoder)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A small store of colours with three photos and a run."""
    folder = tmp_path_factory.mktemp("project")
    (folder / "photos").mkdir()
    for name in ("red", "green", "blue"):
        colour_image(name, "white").save(folder / "photos" / f"{name}.png")
    made = taistore.create(folder / "store", labels=list(COLOURS), encoder="colours")
    made.generate_texts(200)
    made.ingest_images(folder / "photos", regions=2)
    made.train(epochs=2)
    return made


@pytest.mark.parametrize("kind", ["names", "file", "set"])
def test_labels_as_they_come(tmp_path: Path, kind: str) -> None:
    (tmp_path / "labels.txt").write_text("red\nblue\n", encoding="utf-8")
    labels: Any = {
        "names": ["red", "blue"],
        "file": tmp_path / "labels.txt",
        "set": LabelSet([Label("red", "red"), Label("blue", "blue")]),
    }[kind]
    made = taistore.create(tmp_path / "store", labels=labels, encoder="colours")
    assert made.labels.keys == ["red", "blue"]
    assert taistore.open(tmp_path / "store").labels == made.labels


def test_what_is_told(tmp_path: Path) -> None:
    told: list[str] = []
    taistore.create(
        tmp_path / "store",
        labels=LabelSet([Label("1", "organ"), Label("2", "organ")]),
        encoder="colours",
        note=told.append,
    )
    assert told[0].startswith("warning: 1 names are used by several labels (such as 'organ'")
    assert told[1] == "loading encoder colours"


def test_what_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no taistore store here"):
        taistore.open(tmp_path / "none")
    with pytest.raises(LabelError, match="empty"):
        taistore.create(tmp_path / "store", labels=[], encoder="colours")
    assert not (tmp_path / "store").exists()


def test_no_texts_are_refused_and_not_taken_for_the_default(project: Project) -> None:
    with pytest.raises(TextError, match="count is 0"):
        project.generate_texts(0)


def test_it_says_what_it_is(project: Project) -> None:
    assert repr(project) == (
        f"Project({project.uri!r}: 12 labels, 200 texts, 3 images, 1 runs; encoder colours)"
    )
    run = project.run()
    assert repr(run).startswith(f"Run({run.run_id!r}: zsl, finished, 20")
    assert [r.run_id for r in project.runs()] == [run.run_id]


def test_tables_are_frames(project: Project) -> None:
    images = project.images()
    assert isinstance(images, pl.DataFrame)
    assert images["split"].to_list() == ["train"] * 3
    assert images.schema["positives"] == pl.List(pl.String)
    assert project.texts().height == 200
    assert project.rejects().is_empty()


def test_vectors_are_arrays(project: Project) -> None:
    images = project.images().sort("uri")
    vectors_ID = project.image_vectors(images["image_id"])
    assert vectors_ID.shape == (3, 32)
    encoder = ColourEncoder()
    pixels = [encoder.prepare(Image.open(uri).convert("RGB")) for uri in images["uri"]]
    wanted_ID = encoder.encode_images(np.stack(pixels)).whole
    np.testing.assert_allclose(vectors_ID.astype(np.float32), wanted_ID, rtol=2e-3, atol=2e-3)
    assert project.image_vectors().shape == (3, 32)
    assert project.text_vectors().shape == (200, 32)
    with pytest.raises(StoreError, match="lacks 'nothing'"):
        project.image_vectors(["nothing"])


def test_tags_in_memory(project: Project) -> None:
    run = project.run()
    before = {p: p.stat().st_mtime_ns for p in Path(project.uri).rglob("*")}
    picture = colour_image("yellow", "yellow")
    path = str(Path(project.uri).parent / "photos" / "red.png")
    photos: list[Any] = [path, picture]
    found = dict(enumerate(run.tag(photos, top_k=2, regions=2)))
    assert found[0][0] == path
    assert found[1][0] is picture
    assert found[1][1][0].name == "yellow"
    assert len(found[0][1]) == 2
    assert 0 <= found[0][1][0].score <= 1
    assert "yellow" in repr(found[1][1])
    assert "yellow" in found[1][1]._repr_html_()
    assert {p: p.stat().st_mtime_ns for p in Path(project.uri).rglob("*")} == before
    with pytest.raises(ImageError, match="not-there"):
        list(run.tag(["not-there.png"]))


def test_tags_as_a_frame(project: Project) -> None:
    frame = project.run().tags(top_k=3)
    assert isinstance(frame, pl.DataFrame)
    assert frame.height == 9
    wide = frame.wide()
    assert wide.height == 3
    assert "red" in wide.columns


def test_commands_only_parse_call_and_print() -> None:
    """A command that reaches past the front door holds policy that Python does not have."""
    allowed = {
        "taistore",
        "taistore.defaults",
        "taistore.encoders.open_clip.conversion",
        "taistore.errors",
        "taistore.health",
        "taistore.printable",
        "taistore.progress",
        "taistore.project",
        "taistore.reproduction.reproduce",
        "taistore.reproduction.table_texts",
        "taistore.reproduction.without_data.efficiency",
        "taistore.reproduction.without_data.label_growth",
        "taistore.run",
        "taistore.stopping",
    }
    past: dict[str, set[str]] = {}
    for path in sorted(CLI.glob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for_types = {
            node
            for block in ast.walk(tree)
            if isinstance(block, ast.If) and ast.unparse(block.test) == "TYPE_CHECKING"
            for node in ast.walk(block)
        }
        imported = {
            node.module
            for node in ast.walk(tree)
            if isinstance(node, ast.ImportFrom) and node.module and node not in for_types
        }
        over = {m for m in imported if m.startswith("taistore.") and m not in allowed}
        if over:
            past[path.name] = over
    assert past == {
        "demo_photos.py": {"taistore._extras"},
        # An option that the writer does not take is wrong usage, known before a store is opened.
        "generate_images.py": {"taistore.synthetic.image_writers"},
        "model_options.py": {"taistore.texts.writers"},
        "reproduce.py": {
            "taistore.reproduction.tables",
            "taistore.reproduction.synthetic_tables.t2i_pal_tables",
            "taistore.reproduction.synthetic_tables.table_images",
        },
    }
