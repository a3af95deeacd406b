"""Pictures made elsewhere: the rows of a manifest, good and bad, and what they cost."""

import hashlib
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from taistore.errors import SyntheticError
from taistore.images.decoding import read_file
from taistore.store.store import Store
from taistore.synthetic.generate_images import GenerateImagesSummary, generate_images
from taistore.synthetic.image_writers import open_image_writer
from taistore.synthetic.writers import folder_writer
from tests.fakes import ColourEncoder, colour_image
from tests.killing import ROOT
from tests.synthetic.painting import (
    add_captions,
    caption,
    captioned_store,
    everything,
    pair,
    rejects,
    require_pairs,
    rows,
)


def manifest(folder: Path, entries: list[Any], name: str = "made.jsonl") -> Path:
    """A manifest of these rows; strings stand as they are."""
    lines = [entry if isinstance(entry, str) else json.dumps(entry) for entry in entries]
    path = folder / name
    path.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    return path


def picture(folder: Path, number: int, size: int = 40) -> str:
    """A file that shows what caption ``number`` says; its name."""
    name = f"{number}-{size}.png"
    colour_image(*pair(number), size=(size, 30)).save(folder / name)
    return name


def run(store: Store, path: Path, **options: Any) -> GenerateImagesSummary:
    encoder = options.pop("encoder", None) or ColourEncoder()
    with open_image_writer("folder", images=path) as writer:
        return generate_images(store, encoder, writer, **options)


def test_pictures_are_numbered_by_their_content(tmp_path: Path) -> None:
    store = captioned_store(tmp_path / "s", 8)
    entries = [
        {"text": caption(n), "image": picture(tmp_path, n, 40 + k)}
        for n in range(8)
        for k in (0, 1)
    ]
    done = run(store, manifest(tmp_path, entries), regions=2)
    assert (done.requested, done.written, done.rejected, done.model) == (16, 16, 0, None)
    require_pairs(store)
    first = rows(store, "synthetic_vectors")
    for row in first.values():
        assert row["number"] == 2**30 + int(row["content"][:8], 16) % 2**30
        assert row["synthetic_id"] == f"{row['text_id']}-{row['number']}"
        assert (row["writer"], row["model"], row["seed"]) == ("folder", None, None)
    # In another order, under other names: they are there.
    moved = []
    for number, entry in enumerate(reversed(entries)):
        (tmp_path / entry["image"]).rename(tmp_path / f"moved{number}.png")
        moved.append({**entry, "image": str(tmp_path / f"moved{number}.png")})
    encoder = ColourEncoder()
    done = run(store, manifest(tmp_path, moved, "moved.jsonl"), encoder=encoder)
    assert (done.present, done.written, encoder.encoded) == (16, 0, 0)
    assert rows(store, "synthetic_vectors") == first


BAD_ROWS: list[tuple[Any, str, str]] = [
    ({"image": "0-40.png"}, "malformed", 'no "text" that is a caption'),
    ({"text": "  ", "image": "0-40.png"}, "malformed", 'no "text"'),
    ({"text": 5, "image": "0-40.png"}, "malformed", 'no "text"'),
    ({"text": caption(1)}, "malformed", "image is None: it must be a path"),
    ({"text": caption(1), "image": ["x"]}, "malformed", "it must be a path"),
    ({"text": caption(1), "image": "http://x/y.png"}, "unsupported", "download it"),
    ({"text": caption(1), "image": "gone.png"}, "missing", "gone.png: "),
    ({"text": caption(1), "image": "."}, "directory", "director"),
    ({"text": caption(1), "image": "text.png"}, "not_an_image", "not an image"),
    ({"text": caption(1), "image": "black.png"}, "blank", "all black"),
    ({"text": "a thing unheard of", "image": "0-40.png"}, "unknown_text", "ingest-texts"),
    ({"text": "<img src=x onerror=alert(1)>", "image": "0-40.png"}, "unknown_text", "<img"),
    ({"text": "'; DROP TABLE texts; --", "image": "0-40.png"}, "unknown_text", "DROP"),
    ({"text": "a \x1b[31mred\nthing", "image": "0-40.png"}, "unknown_text", "reads"),
    ("{no json", "malformed", "not JSON"),
    ("[1]", "malformed", "not a JSON object"),
    ("\udcff", "malformed", "not UTF-8"),
]


@pytest.mark.parametrize(("entry", "reason", "detail"), BAD_ROWS)
def test_a_row_that_cannot_be_used_is_set_aside(
    tmp_path: Path, entry: Any, reason: str, detail: str
) -> None:
    store = captioned_store(tmp_path / "s", 3)
    Image.new("RGB", (40, 30)).save(tmp_path / "black.png")
    (tmp_path / "text.png").write_text("no picture", encoding="utf-8")
    good = {"text": caption(0), "image": picture(tmp_path, 0)}
    path = manifest(tmp_path, [good, "good" if entry == "\udcff" else entry])
    if entry == "\udcff":
        path.write_bytes(path.read_bytes().replace(b"good", b'{"text": "\xff"}'))
    done = run(store, path)
    assert (done.requested, done.written, done.rejected) == (2, 1, 1)
    assert rejects(store) == {f"{path}:2": reason}
    (found,) = [row for batch in store.scan("rejects") for row in batch.to_pylist()]
    assert detail in found["detail"]
    assert found["detail"].isprintable()
    assert found["writer"] == "folder"
    # Files can be mended: every run looks at them.
    assert run(store, path).rejected == 1
    run(store, manifest(tmp_path, [good, {"text": caption(1), "image": picture(tmp_path, 1)}]))
    assert rejects(store) == {}


def test_a_manifest_that_cannot_be_read_is_one_line(tmp_path: Path) -> None:
    store = captioned_store(tmp_path / "s", 1)
    empty = manifest(tmp_path, [])
    cases = {
        tmp_path / "gone.jsonl": r"gone.jsonl: the manifest cannot be read \(No such file",
        tmp_path: r"the manifest cannot be read \(Is a directory\): check the path$",
        empty: r'made.jsonl: the manifest has no rows: write \{"text": ',
    }
    for path, message in cases.items():
        with pytest.raises(SyntheticError, match=message) as error:
            run(store, path)
        assert "\n" not in str(error.value)
    with (
        pytest.raises(SyntheticError, match=r"needs images, a \.jsonl manifest"),
        open_image_writer("folder"),
    ):
        pass
    with (
        pytest.raises(SyntheticError, match="model has no meaning for writer folder: it takes"),
        open_image_writer("folder", images="x", model="y"),
    ):
        pass


def test_a_row_that_comes_twice_is_one_picture(tmp_path: Path) -> None:
    store = captioned_store(tmp_path / "s", 2)
    row = {"text": caption(0), "image": picture(tmp_path, 0)}
    copy = {**row, "image": "copy.png"}
    (tmp_path / "copy.png").write_bytes((tmp_path / row["image"]).read_bytes())
    spaced = {**row, "text": f"  {caption(0).replace(' ', '  ')} "}
    encoder = ColourEncoder()
    done = run(store, manifest(tmp_path, [row, row, spaced, copy]), encoder=encoder)
    assert (done.requested, done.written, done.present, done.rejected) == (2, 1, 1, 0)
    assert encoder.encoded == 1
    assert len(rows(store, "synthetic_vectors")) == 1


def test_a_picture_of_several_captions_is_encoded_once(tmp_path: Path) -> None:
    store = captioned_store(tmp_path / "s", 40)
    shared = picture(tmp_path, 0)
    entries = [{"text": caption(n), "image": shared} for n in range(40)]
    encoder = ColourEncoder()
    done = run(store, manifest(tmp_path, entries), encoder=encoder, regions=2, batch_size=8)
    assert done.written == 40
    assert encoder.encoded == 1
    assert len({str(row["vector"]) for row in rows(store, "synthetic_vectors").values()}) == 1
    require_pairs(store)


def test_a_caption_of_two_combinations_is_both(tmp_path: Path) -> None:
    store = captioned_store(tmp_path / "s", 2)
    add_captions(store, [("something", ["red"]), ("something", ["red", "blue"])])
    path = manifest(tmp_path, [{"text": "something", "image": picture(tmp_path, 0)}])
    assert run(store, path).written == 2
    found = rows(store, "synthetic_vectors").values()
    assert len({row["combination_id"] for row in found}) == 2
    assert len({row["number"] for row in found}) == 1


def test_only_the_texts_that_are_asked_for(tmp_path: Path) -> None:
    store = captioned_store(tmp_path / "s", 6, writers=("template", "captions"))
    entries = [{"text": caption(n), "image": picture(tmp_path, n)} for n in range(6)]
    done = run(store, manifest(tmp_path, entries), text_writer="captions")
    assert (done.texts, done.written) == (3, 3)


def test_a_file_that_changes_between_two_looks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = captioned_store(tmp_path / "s", 2)
    entries = [{"text": caption(n), "image": picture(tmp_path, n)} for n in range(2)]
    path = manifest(tmp_path, entries)
    read, seen = read_file, set[str]()

    def changing(name: str) -> bytes:
        if name in seen and name.endswith("1-40.png"):
            colour_image("pink", "white").save(name)
        seen.add(name)
        return read(name)

    monkeypatch.setattr(folder_writer, "read_file", changing)
    done = run(store, path)
    assert (done.written, done.rejects) == (1, {"changed": 1})
    monkeypatch.undo()
    done = run(store, path)
    assert (done.present, done.written) == (1, 1)
    assert rejects(store) == {}
    contents = {row["content"] for row in rows(store, "synthetic_vectors").values()}
    kept = [(tmp_path / entry["image"]).read_bytes() for entry in entries]
    assert contents == {hashlib.blake2b(data, digest_size=16).hexdigest() for data in kept}


def test_a_manifest_with_a_name_that_cannot_be_printed(tmp_path: Path) -> None:
    store = captioned_store(tmp_path / "s", 2)
    entries = [{"text": caption(n), "image": f"{n}.png"} for n in range(2)]
    colour_image(*pair(0)).save(tmp_path / "0.png")
    colour_image("black").save(tmp_path / "1.png")
    path = manifest(tmp_path, entries, "a\nb.jsonl")
    run(store, path)
    (name,) = rejects(store)
    assert name.isprintable()
    colour_image(*pair(1)).save(tmp_path / "1.png")
    run(store, path)
    assert rejects(store) == {}


def test_the_same_again_is_the_same(tmp_path: Path) -> None:
    store = captioned_store(tmp_path / "s", 4)
    entries = [{"text": caption(n), "image": picture(tmp_path, n)} for n in range(4)]
    path = manifest(tmp_path, [*entries, {"text": "unknown", "image": "0-40.png"}])
    run(store, path, regions=2)
    before = everything(store)
    run(store, path, regions=2)
    assert everything(store) == before


READ = """
import sys
from pathlib import Path
from taistore.reproduction.without_data.peak_memory import peak_bytes
from taistore.synthetic.image_pending import StoredTexts
from taistore.synthetic.writers.folder_writer import FolderWriter
from taistore.store.store import Store
from tests.synthetic.painting import captioned_store
import polars, lance
texts = StoredTexts(Store.open(sys.argv[1]))
sum(1 for _ in FolderWriter(Path(sys.argv[2])).requests(texts))
before = peak_bytes()
print(sum(1 for _ in FolderWriter(Path(sys.argv[3])).requests(texts)), peak_bytes() - before)
"""


def test_a_large_manifest_is_read_in_bounded_memory(tmp_path: Path) -> None:
    captioned_store(tmp_path / "s", 50)
    name = picture(tmp_path, 0)
    small = manifest(tmp_path, [{"text": caption(0), "image": name}], "small.jsonl")
    known = [{"text": caption(n % 50), "image": f"some/folder/{n:06}.png"} for n in range(50_000)]
    unknown = [{"text": f"unknown {n}", "image": name} for n in range(50_000)]
    large = manifest(tmp_path, [*known, *unknown], "large.jsonl")
    done = subprocess.run(
        [sys.executable, "-c", READ, str(tmp_path / "s"), str(small), str(large)],
        check=True,
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    count, grown = map(int, re.findall(r"\d+", done.stdout))
    assert count == 100_000
    assert grown < 150e6
