"""Photos that go, change or are locked between the listing of a folder and their reading."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import taistore
from taistore.errors import ImageError
from taistore.images.ingest import IngestImagesSummary, ingest_images
from taistore.images.sources.folder import FolderSource
from taistore.images.sources.source import SourceImage
from taistore.project import Project
from taistore.scoring.score import score
from taistore.store.rejects import Reject
from tests.fakes import COLOURS, ColourEncoder, colour_image
from tests.faults.colour_store import colour_photos


class Meanwhile(FolderSource):
    """A folder in which something happens to each photo after it was listed, before it is read."""

    def __init__(self, path: Path, happens: Callable[[Path], object]) -> None:
        super().__init__(path)
        self._happens = happens

    def count(self) -> int | None:
        """Listed before anything happens."""
        return len(list(super().__iter__()))

    def __iter__(self) -> Iterator[SourceImage | Reject]:
        for item in super().__iter__():
            self._happens(Path(item.uri))
            yield item


@pytest.fixture
def project(tmp_path: Path) -> Project:
    taistore.register_encoder("colours", ColourEncoder)
    return taistore.create(tmp_path / "store", labels=list(COLOURS), encoder="colours")


def ingest(
    project: Project, folder: Path, happens: Callable[[Path], object]
) -> IngestImagesSummary:
    return ingest_images(project.store, ColourEncoder(), Meanwhile(folder, happens))


def remove_odd(path: Path) -> None:
    if int(path.stem) % 2:
        path.unlink()


def test_photos_that_are_gone_are_set_aside(project: Project, tmp_path: Path) -> None:
    folder = colour_photos(tmp_path / "photos")
    found = ingest(project, folder, remove_odd)
    assert (found.added, found.rejected) == (3, 3)
    assert project.rejects()["reason"].to_list() == ["missing"] * 3
    colour_photos(folder)
    assert project.ingest_images(folder).added == 3
    assert project.rejects().height == 0


def test_a_photo_that_was_replaced_is_taken_as_it_is_read(project: Project, tmp_path: Path) -> None:
    folder = colour_photos(tmp_path / "photos")

    def replace(path: Path) -> None:
        colour_image("cyan", "pink", size=(90 + int(path.stem), 33)).save(path)

    assert ingest(project, folder, replace).added == 6
    assert sorted(project.images()["width"]) == [90 + number for number in range(6)]
    assert project.ingest_images(folder).already_there == 6


def test_a_photo_that_becomes_a_folder_or_nothing_is_set_aside(
    project: Project, tmp_path: Path
) -> None:
    def change(path: Path) -> None:
        if path.stem == "001":
            path.unlink()
            path.mkdir()
        elif path.stem == "002":
            path.write_bytes(b"")

    found = ingest(project, colour_photos(tmp_path / "photos"), change)
    assert (found.added, found.rejected) == (4, 2)
    assert sorted(project.rejects()["reason"]) == ["directory", "empty"]


def test_a_folder_that_is_emptied_meanwhile_is_one_line(project: Project, tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"none of 6 images could be used .*no such file"):
        ingest(project, colour_photos(tmp_path / "photos"), Path.unlink)
    assert project.contents().tables["images"] == 0


def test_scoring_goes_on_without_photos_that_are_gone(project: Project, tmp_path: Path) -> None:
    project.generate_texts(60)
    run = project.train(epochs=1)
    folder = colour_photos(tmp_path / "photos")
    source = Meanwhile(folder, remove_odd)
    out = tmp_path / "tags.csv"
    found = score(project.store, run.run_id, source, out, encoder=ColourEncoder(), regions=0)
    assert (found.images, found.rejected) == (3, 3)
    assert project.rejects()["reason"].to_list() == ["missing"] * 3


def test_tags_and_page_of_a_store_whose_photos_are_gone(project: Project, tmp_path: Path) -> None:
    project.generate_texts(60)
    folder = colour_photos(tmp_path / "photos")
    project.ingest_images(folder)
    run = project.train(epochs=1)
    for path in folder.iterdir():
        path.unlink()
    found = run.score(out=tmp_path / "tags.csv", html=tmp_path / "tags.html")
    assert (found.images, found.rejected) == (6, 0)
    assert (tmp_path / "tags.html").read_text(encoding="utf-8").count("no such file") >= 6
