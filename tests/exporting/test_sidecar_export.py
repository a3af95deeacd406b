"""Sidecars beside photos: what is written where, and what is left alone."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import taistore
from taistore.errors import ExportError
from taistore.exporting.export_options import TagExport
from taistore.exporting.set_aside import SetAsideError
from taistore.exporting.sidecars.whole_files import rewrite
from taistore.exporting.sidecars.xmp_sidecar import keywords
from tests.exporting.sidecar_texts import LIGHTROOM
from tests.exporting.tagged_folder import PHOTOS, contents, make_photos, tag_file
from tests.killing import ROOT, run_and_kill

DOG_CAT = [("dog", 0.9), ("cat", 0.4)]


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    return make_photos(tmp_path / "photos")


@pytest.fixture
def tags(photos: Path) -> Path:
    return tag_file(photos.parent / "tags.jsonl", photos, dict.fromkeys(PHOTOS, DOG_CAT))


def counts(found: TagExport) -> dict[str, int]:
    kinds = ("written", "merged", "unchanged", "removed")
    return {kind: n for kind in kinds if (n := getattr(found, kind))}


@pytest.mark.parametrize("to", ["xmp", "sidecar-json"])
def test_photos_are_never_touched_and_all_is_taken_back(to: str, photos: Path, tags: Path) -> None:
    before = contents(photos)
    options = {"to": to}
    assert counts(taistore.export(tags, **options)) == {"written": 3}  # type: ignore[arg-type]
    made = contents(photos)
    assert len(made) == 6
    assert {name: made[name] for name in before} == before
    again = taistore.export(tags, **options)  # type: ignore[arg-type]
    assert counts(again) == {"unchanged": 3}
    assert contents(photos) == made
    found = taistore.export(photos, retract="tags.jsonl", **options)  # type: ignore[arg-type]
    assert counts(found) == {"removed": 3}
    assert contents(photos) == before


@pytest.mark.parametrize("to", ["xmp", "sidecar-json"])
def test_a_dry_run_says_what_would_be_and_changes_nothing(
    to: str, photos: Path, tags: Path
) -> None:
    for step, source, options in (
        ("new", tags, {}),
        ("higher cut", tags, {"threshold": 0.5}),
        ("back", tags, {"retract": "tags.jsonl"}),
        ("folder", photos, {"retract": "tags.jsonl"}),
    ):
        before = contents(photos.parent)
        said = taistore.export(source, to=to, dry_run=True, **options)  # type: ignore[arg-type]
        assert contents(photos.parent) == before
        done = taistore.export(source, to=to, **options)  # type: ignore[arg-type]
        assert counts(said) == counts(done), step
        assert said.files == done.files
        assert (said.tags, said.images) == (done.tags, done.images)
    assert len(list(photos.rglob("*"))) == 5


def test_a_higher_cut_takes_back_what_is_below_it(photos: Path, tags: Path) -> None:
    taistore.export(tags, to="xmp")
    assert counts(taistore.export(tags, to="xmp", threshold=0.5)) == {"merged": 3}
    assert keywords((photos / "a/1.jpg.xmp").read_bytes()) == ["dog"]
    assert counts(taistore.export(tags, to="xmp", threshold=0.95)) == {"removed": 3}
    taistore.export(tags, to="xmp", top_k=1)
    assert keywords((photos / "b/1.jpg.xmp").read_bytes()) == ["dog"]


def test_photos_that_are_gone_and_places_that_are_no_disk_are_named(
    photos: Path, tmp_path: Path
) -> None:
    tags = tag_file(tmp_path / "t.jsonl", photos, {"a/gone.jpg": DOG_CAT, "a/1.jpg": DOG_CAT})
    with tags.open("a") as file:
        row = json.loads(tags.read_text().splitlines()[0])
        file.write(json.dumps({**row, "uri": "s3://bucket/1.jpg"}) + "\n")
    found = taistore.export(tags, to="xmp")
    assert counts(found) == {"written": 1}
    assert sorted(found.set_aside) == [
        (str(photos / "a/gone.jpg"), "the photo is gone"),
        ("s3://bucket/1.jpg", "is not on this machine's disk"),
    ]
    # Of a photo that has gone since, tags can still be taken back.
    (photos / "a/1.jpg").unlink()
    assert counts(taistore.export(tags, to="xmp", retract="t.jsonl")) == {
        "unchanged": 1,
        "removed": 1,
    }


def test_sidecars_under_another_folder_lie_as_the_photos_do(photos: Path, tags: Path) -> None:
    out = photos.parent / "out"
    before = contents(photos)
    taistore.export(tags, to="xmp", out=out)
    assert sorted(contents(out)) == [f"{name}.xmp" for name in PHOTOS]
    assert contents(photos) == before
    assert counts(taistore.export(tags, to="xmp", out=out)) == {"unchanged": 3}
    below = taistore.export(tags, to="xmp", out=out, root=photos.parent)
    assert below.files[0] == str(out / "photos/a/1.jpg.xmp")
    outside = taistore.export(tags, to="xmp", out=out, root=photos / "a")
    assert [each.reason for each in outside.set_aside] == [f"is not below {photos / 'a'}"]


def test_folders_are_made_only_for_sidecars(photos: Path, tags: Path) -> None:
    out = photos.parent / "out"
    for options in ({"retract": "tags.jsonl"}, {"threshold": 0.95}, {"dry_run": True}):
        taistore.export(tags, to="xmp", out=out, **options)
        assert not out.exists()


def test_a_run_without_a_name_is_refused(tags: Path) -> None:
    with pytest.raises(ExportError, match="has no name"):
        taistore.export(tags, to="xmp", run="\x01")


# --- which sidecar is whose -----------------------------------------------------------------


def names(photos: Path) -> list[str]:
    return sorted(p.name for p in (photos / "a").iterdir() if p.suffix.lower() == ".xmp")


def test_lightrooms_sidecar_is_merged_into(photos: Path, tags: Path) -> None:
    (photos / "a/1.xmp").write_text(LIGHTROOM)
    taistore.export(tags, to="xmp")
    assert names(photos) == ["1.xmp", "2.jpg.xmp"]
    assert keywords((photos / "a/1.xmp").read_bytes()) == ["cat"]
    taistore.export(photos, to="xmp", retract="tags.jsonl")
    assert (photos / "a/1.xmp").read_text() == LIGHTROOM
    assert names(photos) == ["1.xmp"]


def test_a_sidecar_that_may_be_of_a_raw_file_is_not_the_photos(photos: Path, tags: Path) -> None:
    (photos / "a/1.CR2").write_bytes(b"raw")
    (photos / "a/1.xmp").write_text(LIGHTROOM)
    taistore.export(tags, to="xmp")
    assert names(photos) == ["1.jpg.xmp", "1.xmp", "2.jpg.xmp"]
    assert (photos / "a/1.xmp").read_text() == LIGHTROOM
    found = taistore.export(tags, to="xmp", naming="stem")
    assert [str(each) for each in found.set_aside] == [
        f"{photos / 'a/1.jpg'}: another photo has the name 1 as well"
    ]


def test_naming_decides_of_new_sidecars(photos: Path, tags: Path) -> None:
    taistore.export(tags, to="xmp", naming="stem")
    assert names(photos) == ["1.xmp", "2.xmp"]
    assert counts(taistore.export(tags, to="xmp")) == {"unchanged": 3}
    taistore.export(tags, to="xmp", naming="full")
    assert names(photos) == ["1.jpg.xmp", "1.xmp", "2.jpg.xmp", "2.xmp"]


def test_a_suffix_in_capitals_is_the_same_sidecar(photos: Path, tags: Path) -> None:
    (photos / "a/1.JPG.XMP").write_text(LIGHTROOM)
    (photos / "a/2.jpg.XMP").write_text(LIGHTROOM)
    taistore.export(tags, to="xmp")
    # Names are as they are: 1.JPG.XMP is another photo's on most disks.
    assert names(photos) == ["1.JPG.XMP", "1.jpg.xmp", "2.jpg.XMP"]


# --- what is left alone ---------------------------------------------------------------------


def test_links_are_not_followed(photos: Path, tags: Path) -> None:
    outside = photos.parent / "outside"
    outside.mkdir()
    (outside / "mine.xmp").write_text(LIGHTROOM)
    (photos / "a/1.jpg.xmp").symlink_to(outside / "mine.xmp")
    (photos / "a/2.jpg.xmp").symlink_to(outside / "new.xmp")
    out = photos.parent / "out"
    out.mkdir()
    (out / "b").symlink_to(outside)
    found = taistore.export(tags, to="xmp")
    assert [each.reason for each in found.set_aside] == ["is a link, which may lead elsewhere"] * 2
    found = taistore.export(tags, to="xmp", out=out)
    assert [each.reason for each in found.set_aside] == [f"a link leads from {out} to elsewhere"]
    assert {name: data for name, (data, _) in contents(outside).items()} == {
        "mine.xmp": LIGHTROOM.encode()
    }
    assert (photos / "a/1.jpg.xmp").is_symlink()
    # A photo that is a link has its sidecar beside the link.
    (outside / "p.jpg").write_bytes((photos / "b/1.jpg").read_bytes())
    (photos / "b/link.jpg").symlink_to(outside / "p.jpg")
    linked = tag_file(photos.parent / "l.jsonl", photos, {"b/link.jpg": DOG_CAT})
    assert taistore.export(linked, to="xmp").files == (str(photos / "b/link.jpg.xmp"),)


@pytest.mark.parametrize(
    ("to", "name", "text"),
    [
        ("xmp", "1.jpg.xmp", "<x:xmpmeta"),
        ("xmp", "1.jpg.xmp", '<!DOCTYPE x [<!ENTITY a "b">]><x>&a;</x>'),
        ("sidecar-json", "1.jpg.json", '{"title": "1.jpg", "photoTakenTime": {}}'),
        ("sidecar-json", "1.jpg.json", '{"format": "other", "runs": {}}'),
        ("sidecar-json", "1.jpg.json", "[" * 100_000),
    ],
    ids=["no XML", "entities", "Google Takeout", "other JSON", "deep JSON"],
)
def test_a_sidecar_that_cannot_be_used_is_left_alone(
    to: str, name: str, text: str, photos: Path, tags: Path
) -> None:
    (photos / "a" / name).write_text(text)
    found = taistore.export(tags, to=to)  # type: ignore[arg-type]
    assert counts(found) == {"written": 2}
    assert [each.path for each in found.set_aside] == [str(photos / "a/1.jpg")]
    assert (photos / "a" / name).read_text() == text
    taistore.export(photos, to=to, retract="tags.jsonl")  # type: ignore[arg-type]
    assert (photos / "a" / name).read_text() == text


def test_a_sidecar_of_taistore_that_somebody_wrote_into_keeps_that(
    photos: Path, tags: Path
) -> None:
    taistore.export(tags, to="sidecar-json")
    path = photos / "a/1.jpg.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "mine": 1}))
    assert counts(taistore.export(tags, to="sidecar-json")) == {"unchanged": 3}
    found = taistore.export(photos, to="sidecar-json", retract="tags.jsonl")
    assert counts(found) == {"merged": 1, "removed": 2}
    assert json.loads(path.read_text())["mine"] == 1


def test_a_read_only_folder_is_named(photos: Path, tags: Path) -> None:
    (photos / "a").chmod(0o500)
    if os.access(photos / "a", os.W_OK):
        pytest.skip("needs a user who may not write everywhere, as root may")
    try:
        for dry_run in (True, False):
            found = taistore.export(tags, to="xmp", dry_run=dry_run)
            assert counts(found) == {"written": 1}
            assert [each.path for each in found.set_aside] == [
                str(photos / "a/1.jpg"),
                str(photos / "a/2.jpg"),
            ]
    finally:
        (photos / "a").chmod(0o700)


def test_a_folder_that_refuses_files_is_named(photos: Path, tags: Path) -> None:
    # A name that is too long for a sidecar beside it fails in the same way, for root as well.
    long = "x" * 250 + ".jpg"
    make_photos(photos, [long])
    tag_file(tags, photos, {long: DOG_CAT, "a/1.jpg": DOG_CAT})
    found = taistore.export(tags, to="xmp")
    assert counts(found) == {"written": 1}
    assert [each.reason for each in found.set_aside] == ["cannot be written (File name too long)"]
    assert not list(photos.rglob(".taistore*"))


def test_an_empty_sidecar_holds_nothing_of_anybody(photos: Path, tags: Path) -> None:
    (photos / "a/1.jpg.xmp").touch()
    assert counts(taistore.export(tags, to="xmp")) == {"written": 3}


# --- others at work -------------------------------------------------------------------------


def test_a_sidecar_keeps_its_mode(photos: Path, tags: Path) -> None:
    path = photos / "a/1.jpg.xmp"
    path.write_text(LIGHTROOM)
    path.chmod(0o640)
    taistore.export(tags, to="xmp")
    assert path.stat().st_mode & 0o777 == 0o640
    assert keywords(path.read_bytes()) == ["cat"]


def test_what_another_program_writes_meanwhile_is_not_lost(tmp_path: Path) -> None:
    path = tmp_path / "1.jpg.xmp"
    path.write_bytes(b"0")
    others = iter([b"1", b"2"])

    def change(data: bytes | None) -> bytes:
        if (mine := next(others, None)) is not None:
            path.write_bytes(mine)
        return b"after " + (data or b"")

    assert rewrite(path, change, most=100) == "merged"
    assert path.read_bytes() == b"after 2"

    def always(data: bytes | None) -> bytes:
        path.write_bytes((data or b"") + b"+")
        return b"after"

    with pytest.raises(SetAsideError, match="changed by another program"):
        rewrite(path, always, most=100)
    assert path.read_bytes() == b"after 2+++"
    assert [each.name for each in tmp_path.iterdir()] == ["1.jpg.xmp"]


def test_two_exports_at_once_lose_nothing(photos: Path, tags: Path) -> None:
    many = [f"c/{n}.jpg" for n in range(40)]
    make_photos(photos, many)
    for run in "xy":
        tag_file(photos.parent / f"{run}.jsonl", photos, {name: [(run, 0.5)] for name in many})
    code = "import sys, taistore; taistore.export(sys.argv[1], to='xmp')"
    jobs = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(photos.parent / f"{run}.jsonl")],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        for run in "xyxy"
    ]
    assert [job.wait() for job in jobs] == [0] * 4
    for name in many:
        assert sorted(keywords((photos / f"{name}.xmp").read_bytes())) == ["x", "y"]
    assert not list(photos.rglob(".taistore*"))


@pytest.mark.parametrize("steps", [2, 4, 7, 11])
def test_killed_in_the_middle_sidecars_are_whole_and_the_rest_is_done_next_time(
    steps: int, photos: Path, tags: Path
) -> None:
    (photos / "a/1.jpg.xmp").write_text(LIGHTROOM)
    assert run_and_kill(
        "tests.exporting.export_until_killed", str(tags), cwd=ROOT, steps=steps, ahead=1
    )
    for path in photos.rglob("*.xmp"):
        text = path.read_text()
        assert text == LIGHTROOM or keywords(text.encode()) in (["cat"], ["dog", "cat"])
    taistore.export(tags, to="xmp")
    assert not list(photos.rglob(".taistore*"))
    assert [keywords((photos / f"{name}.xmp").read_bytes()) for name in PHOTOS] == [
        ["cat"],
        ["dog", "cat"],
        ["dog", "cat"],
    ]


def test_a_lock_that_the_disk_does_not_know_is_done_without(
    photos: Path, tags: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(37, "No locks available")

    monkeypatch.setattr("fcntl.flock", refuse)
    assert counts(taistore.export(tags, to="xmp")) == {"written": 3}


# --- options --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"to": "exif"}, "one of xmp"),
        ({"to": "coco"}, "needs out="),
        ({"to": "coco", "out": "x.txt"}, "ends in .json"),
        ({"to": "csv-wide", "out": "x.csv", "retract": "a"}, "retract= is for xmp"),
        ({"to": "sidecar-json", "naming": "stem"}, "naming= is for xmp"),
        ({"to": "xmp", "overwrite": True}, "overwrite= is for files"),
        ({"to": "xmp", "root": "x"}, "root= is for sidecars with out="),
        ({"to": "xmp", "copy": True}, "copy= is for imagefolder"),
        ({"to": "xmp", "naming": "other"}, "one of auto"),
    ],
    ids=range(9),
)
def test_what_does_not_fit_is_refused(options: dict[str, object], said: str, tags: Path) -> None:
    with pytest.raises(ExportError, match=said):
        taistore.export(tags, **options)  # type: ignore[arg-type]


def test_a_folder_is_only_for_taking_back(photos: Path) -> None:
    with pytest.raises(ExportError, match="give retract="):
        taistore.export(photos, to="xmp")


def test_a_score_that_is_no_number_is_refused(photos: Path, tmp_path: Path) -> None:
    tags = tag_file(tmp_path / "t.jsonl", photos, {"a/1.jpg": [("dog", float("nan"))]})
    with pytest.raises(ExportError, match="'dog' is nan"):
        taistore.export(tags, to="xmp")
