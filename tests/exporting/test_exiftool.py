"""What exiftool reads of our sidecars, and what is left of ours once it wrote into one."""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

import taistore
from taistore.exporting.sidecars.keyword_names import keyword_of, same_as
from tests.exporting.sidecar_texts import ALL, LIGHTROOM
from tests.exporting.tagged_folder import make_photos, tag_file
from tests.faults.hostile_names import names

if shutil.which("exiftool") is None:
    pytest.skip("needs exiftool (libimage-exiftool-perl)", allow_module_level=True)


def read(path: Path) -> dict[str, Any]:
    """All of a file's XMP; a list of one is a list too."""
    ran = subprocess.run(
        ["exiftool", "-j", "-struct", "-a", "-charset", "filename=utf8", "-xmp:all", str(path)],
        capture_output=True,
        check=True,
        text=True,
    )
    assert "Warning" not in ran.stdout, ran.stdout
    found: dict[str, Any] = json.loads(ran.stdout)[0]
    return found


def many(value: Any) -> list[str]:
    return [str(each) for each in (value if isinstance(value, list) else [value])]


def _plain(keyword: str) -> str:
    return keyword.strip().lower()


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    return make_photos(tmp_path / "photos", ["1.jpg"]) / "1.jpg"


def export(photo: Path, *given: tuple[str, float], **options: Any) -> Path:
    tags = tag_file(photo.parent.parent / "tags.jsonl", photo.parent, {photo.name: list(given)})
    taistore.export(tags, to="xmp", **options)
    return photo.with_name("1.jpg.xmp")


def test_it_reads_keywords_and_what_we_say_of_each(photo: Path) -> None:
    found = read(export(photo, ("dog", 0.9), ("a & <b>", 0.25), run="zsl-1", under="AI"))
    assert found["Subject"] == ["dog", "a & <b>"]
    assert found["HierarchicalSubject"] == ["AI|dog", "AI|a & <b>"]
    assert found["Tags"][1] == {
        "Keyword": "a & <b>",
        "Label": "a & <b>",
        "Run": "zsl-1",
        "Score": 0.25,
        "State": "added",
        "Under": "AI",
    }


def test_it_reads_hostile_names(photo: Path) -> None:
    given = [name for name in names() if keyword_of(name)]
    wanted = list({same_as(k): k for k in map(keyword_of, given)}.values())
    found = read(export(photo, *((name, 0.5) for name in given)))
    # exiftool's JSON has numbers and truth values of texts that look like one.
    assert sorted(map(_plain, many(found["Subject"]))) == sorted(map(_plain, wanted))


@pytest.mark.parametrize("program", sorted(ALL.keys() - {"other prefixes"}))
def test_it_reads_merged_sidecars_of_other_programs(program: str, photo: Path) -> None:
    path = photo.with_name("1.jpg.xmp")
    path.write_bytes(ALL[program].encode())
    before = read(path) if program != "empty" else {}
    export(photo, ("dog", 0.9), ("cat", 0.8))
    found = read(path)
    assert {"dog", "cat"} <= set(many(found["Subject"]))
    ours = {"SourceFile", "Subject", "HierarchicalSubject", "Tags", "TagsList", "LastKeywordXMP"}
    for name, value in before.items():
        if name in ours - {"SourceFile"}:
            assert set(many(value)) <= set(many(found[name]))
        else:
            assert found[name] == value
    assert set(found) <= set(before) | ours


def test_after_exiftool_wrote_into_a_sidecar_ours_is_taken_back_and_the_rest_stays(
    photo: Path,
) -> None:
    path = export(photo, ("dog", 0.9), ("cat", 0.8))
    written = ["-xmp:subject+=mine", "-xmp:subject-=cat", "-xmp:rating=4"]
    subprocess.run(["exiftool", "-q", "-overwrite_original", *written, str(path)], check=True)
    export(photo, ("dog", 0.8), ("cat", 0.8), ("cow", 0.7))
    found = read(path)
    assert found["Subject"] == ["dog", "mine", "cow"]
    assert {tag["Keyword"]: tag["State"] for tag in found["Tags"]} == {
        "dog": "added",
        # lr:hierarchicalSubject has it still, so that a person did not take it away everywhere.
        "cat": "added",
        "cow": "added",
    }
    taistore.export(photo.parent, to="xmp", retract="tags.jsonl")
    found = read(path)
    assert many(found["Subject"]) == ["mine"]
    assert found["Rating"] == 4
    assert {"Tags", "HierarchicalSubject"}.isdisjoint(found)


@pytest.mark.skipif(shutil.which("exiv2") is None, reason="needs exiv2")
def test_exiv2_which_is_in_digikam_and_darktable_reads_and_rewrites_it(photo: Path) -> None:
    path = export(photo, ("dog", 0.9), ("a & <b>", 0.8), under="AI")
    shown = ["exiv2", "-PXkv", "pr", str(path)]
    lines = subprocess.run(shown, capture_output=True, check=True, text=True).stdout.splitlines()
    found = dict(line.split(maxsplit=1) for line in lines if len(line.split()) > 1)
    assert found["Xmp.dc.subject"] == "dog, a & <b>"
    assert found["Xmp.lr.hierarchicalSubject"] == "AI|dog, AI|a & <b>"
    assert found["Xmp.taistore.tags[2]/taistore:score"] == "0.8000"
    subprocess.run(["exiv2", "-Mset Xmp.xmp.Rating 3", str(path)], check=True)
    # It writes our entries as attributes.
    assert 'taistore:keyword="dog"' in path.read_text(encoding="utf-8")
    export(photo, ("dog", 0.9), under="AI")
    assert read(path)["HierarchicalSubject"] == ["AI|dog"]
    taistore.export(photo.parent, to="xmp", retract="tags.jsonl")
    assert read(path).keys() == {"SourceFile", "XMPToolkit", "Rating"}


def test_a_run_that_exiftool_moved_into_the_compact_form_is_taken_back(photo: Path) -> None:
    path = photo.with_name("1.jpg.xmp")
    path.write_text(LIGHTROOM)
    export(photo, ("cat", 0.8))
    options = ["-q", "-overwrite_original", "-api", "Compact=Shorthand,OneDesc,NoNewline"]
    subprocess.run(["exiftool", *options, "-xmp:rating=5", str(path)], check=True)
    assert read(path)["Subject"] == ["Anna", "dog", "cat"]
    taistore.export(photo.parent, to="xmp", retract="tags.jsonl")
    found = read(path)
    assert found["Subject"] == ["Anna", "dog"]
    assert found["Rating"] == 5
    assert "Tags" not in found
