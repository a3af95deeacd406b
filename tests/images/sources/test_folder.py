"""Folders: order, names, what is passed over, and trees that loop or cannot be listed."""

import os
from pathlib import Path

import pytest

from taistore.errors import ImageError
from taistore.images.sources.open_source import FolderSource, SourceImage, open_source
from taistore.labels import Label, LabelSet
from taistore.store.rejects import Reject
from tests.images.odd_files import without_rights

LABELS = LabelSet([Label("cat", "cat")])


def _names(source: FolderSource, root: Path) -> list[str]:
    return [os.path.relpath(item.uri, os.path.realpath(root)) for item in source]


def test_a_tree_is_read_in_order_and_the_rest_is_counted(tmp_path: Path) -> None:
    for name in (
        *("b.jpg", "a.PNG", "é 猫.jpeg", "sub/z.webp", "sub/deeper/y.tiff", "a dir/1.jpg"),
        *("notes.txt", "jpg", ".hidden.jpg", ".git/x.jpg", "sub/._b.jpg", "labels.csv"),
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    source = FolderSource(tmp_path)
    expected = ["a dir/1.jpg", "a.PNG", "b.jpg", "sub/deeper/y.tiff", "sub/z.webp", "é 猫.jpeg"]
    assert source.count() == 6
    assert _names(source, tmp_path) == expected
    # notes.txt, jpg, .hidden.jpg, .git, ._b.jpg, labels.csv
    assert source.ignored == 6
    assert _names(source, tmp_path) == expected
    assert source.ignored == 6
    assert all(item == SourceImage(uri=item.uri) for item in source)
    assert all(Path(item.uri).is_absolute() for item in source)


def _touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def test_links_out_of_the_folder_are_skipped_and_loops_end(tmp_path: Path) -> None:
    _touch(tmp_path, "root/sub/in.jpg", "root/here.jpg", "elsewhere/far.jpg", "root2/near.jpg")
    (tmp_path / "root" / "sub" / "up").symlink_to(tmp_path / "root")
    (tmp_path / "root" / "sub" / "self").symlink_to(tmp_path / "root" / "sub" / "self")
    (tmp_path / "root" / "link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "root" / "above").symlink_to(tmp_path)
    # Its name begins as the folder's does.
    (tmp_path / "root" / "beside").symlink_to(tmp_path / "root2")
    (tmp_path / "root" / "one.jpg").symlink_to(tmp_path / "elsewhere" / "far.jpg")
    source = FolderSource(tmp_path / "root")
    assert _names(source, tmp_path / "root") == ["here.jpg", "one.jpg", "sub/in.jpg"]
    assert source.skipped == {"without_extension": 1, "links": 3}  # "self" leads nowhere
    assert "3 links to folders elsewhere (give these folders themselves)" in source.notes[0]
    (tmp_path / "door").symlink_to(tmp_path / "root")
    assert [item.uri for item in FolderSource(tmp_path / "door")] == [item.uri for item in source]


def test_a_folder_that_is_linked_within_is_read_once(tmp_path: Path) -> None:
    _touch(tmp_path, "b/x.jpg")
    (tmp_path / "a").symlink_to(tmp_path / "b")
    source = FolderSource(tmp_path)
    assert _names(source, tmp_path) == ["a/x.jpg"]
    assert source.notes == ()


def test_what_may_be_a_photo_and_is_not_read_is_told_by_kind(tmp_path: Path) -> None:
    _touch(tmp_path, *(f"{n}.{s}" for n, s in enumerate(("CR2", "cr3", "nef", "dng", "RAF"))))
    _touch(tmp_path, "a.MOV", "b.mp4", "photo", "sub/1234", "ends.", "x.jpg")
    _touch(tmp_path, "x.xmp", "x.JSON", "x.txt", "x.aae", "Thumbs.db", ".DS_Store", "._x.jpg")
    source = FolderSource(tmp_path)
    assert source.count() == 1
    assert source.skipped == {}  # counting leaves it alone
    assert _names(source, tmp_path) == ["x.jpg"]
    assert source.skipped == {"raw": 5, "videos": 2, "without_extension": 3}
    assert source.ignored == 17
    assert source.notes == (
        "skipped: 5 RAW (export them as JPEG), 2 videos (export frames as JPEG), "
        "3 without extension (name photos .jpg, .png, …)",
    )
    assert list(source)  # told once, however often it is read
    assert source.skipped["raw"] == 5


@pytest.mark.parametrize("folder", ["@eaDir", ".thumbnails", ".Trash", "#recycle", "__MACOSX"])
def test_folders_of_systems_are_passed_over_unless_they_are_named(
    tmp_path: Path, folder: str
) -> None:
    _touch(tmp_path, f"{folder}/x.jpg/SYNOPHOTO_THUMB_M.jpg", f"sub/{folder}/y.jpg", "z.jpg")
    source = FolderSource(tmp_path)
    assert _names(source, tmp_path) == ["z.jpg"]
    assert (source.ignored, source.notes) == (2, ())
    assert _names(FolderSource(tmp_path / "sub" / folder), tmp_path) == [f"sub/{folder}/y.jpg"]


def test_a_directory_named_like_an_image(tmp_path: Path) -> None:
    (tmp_path / "x.jpg").mkdir()
    (tmp_path / "x.jpg" / "inner.png").touch()
    reject, inner = FolderSource(tmp_path)
    assert isinstance(reject, Reject)
    assert (reject.reason, reject.uri) == ("directory", str(tmp_path / "x.jpg"))
    assert inner.uri == str(tmp_path / "x.jpg" / "inner.png")


def test_a_folder_that_cannot_be_listed_is_a_reject(tmp_path: Path) -> None:
    (tmp_path / "photos" / "closed").mkdir(parents=True)
    (tmp_path / "photos" / "open.jpg").touch()
    (tmp_path / "photos" / "closed").chmod(0)
    for folder in (tmp_path, *tmp_path.parents):
        if folder.stat().st_uid == os.geteuid() and folder != folder.parent:
            folder.chmod(folder.stat().st_mode | 0o011)
    with without_rights():
        items = list(FolderSource(tmp_path / "photos"))
    assert [(type(item), Path(item.uri).name) for item in items] == [
        (Reject, "closed"),
        (SourceImage, "open.jpg"),
    ]
    assert items[0] == Reject(
        uri=str(tmp_path / "photos" / "closed"),
        reason="no_permission",
        detail="this folder cannot be listed: Permission denied",
    )


def test_a_name_that_is_not_utf8_is_a_reject(tmp_path: Path) -> None:
    with open(os.fsencode(tmp_path) + b"/caf\xe9.jpg", "wb"):  # noqa: PTH123
        pass
    (item,) = FolderSource(tmp_path)
    assert isinstance(item, Reject)
    assert item.reason == "bad_name"
    assert item.uri.encode().endswith(b"/caf\\udce9.jpg")


def test_open_source_says_what_is_wrong(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").touch()
    (tmp_path / "one.jpg").touch()
    with pytest.raises(ImageError, match="no such folder or file"):
        open_source(tmp_path / "gone", LABELS)
    with pytest.raises(ImageError, match="neither a folder, a manifest"):
        open_source(tmp_path / "notes.txt", LABELS)
    with pytest.raises(ImageError, match=r"cannot be reached|no such"):
        open_source(tmp_path / ("x" * 300), LABELS)
    assert [item.uri for item in open_source(tmp_path / "one.jpg", LABELS)] == [
        str(tmp_path / "one.jpg")
    ]
    assert isinstance(open_source(tmp_path, LABELS), FolderSource)
    with pytest.raises(ImageError, match="no such folder"):
        list(FolderSource(tmp_path / "gone"))
