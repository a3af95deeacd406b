"""Ingest: what ends up in the store, what a rerun does, and what bad input leaves behind."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pytest
import skimage
from PIL import Image

from taistore import defaults
from taistore.encoders.protocol import ImageVectors
from taistore.errors import ImageError, ManifestError, StoreError
from taistore.images.decoding import image_id
from taistore.images.ingest import IngestImagesSummary, ingest_images
from taistore.images.sources.open_source import open_source
from taistore.labels import Label, LabelSet
from taistore.store.arrow import vector_array
from taistore.store.store import Store
from tests.fakes import COLOURS, ColourEncoder, colour_image
from tests.images.odd_files import opened_files, png

LABELS = LabelSet(Label(name, name) for name in COLOURS)
RED, GREEN, BLUE = (LABELS.find(name) for name in ("red", "green", "blue"))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.create(tmp_path / "store", LABELS, default_encoder="colour@32")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    (folder / "sub").mkdir(parents=True)
    colour_image("red").save(folder / "red.png")
    colour_image("blue", "red").save(folder / "sub" / "both.png")
    colour_image("green", size=(30, 90)).save(folder / "green.png")
    return folder


def _ingest(store: Store, path: Path, **options: Any) -> IngestImagesSummary:
    encoder = options.pop("encoder", None) or ColourEncoder()
    return ingest_images(store, encoder, open_source(path, store.labels), **options)


def _manifest(folder: Path, rows: list[dict[str, Any]], name: str = "m.jsonl") -> Path:
    path = folder / name
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return path


def images(store: Store) -> dict[str, dict[str, Any]]:
    """Rows of ``images`` by file name."""
    rows = [row for batch in store.scan("images") for row in batch.to_pylist()]
    return {Path(row["uri"]).name: row for row in rows}


def rejects(store: Store) -> list[tuple[str, str, str]]:
    """Rows of ``rejects`` without their time."""
    rows = [row for batch in store.scan("rejects") for row in batch.to_pylist()]
    return sorted((row["job"], Path(row["uri"]).name, row["reason"]) for row in rows)


def _counts(summary: IngestImagesSummary) -> dict[str, int]:
    names = ("added", "already_there", "relabelled", "duplicates", "rejected")
    counts = {name: getattr(summary, name) for name in names}
    assert sum(counts.values()) == summary.seen
    return {name: count for name, count in counts.items() if count}


def test_a_folder_comes_in_with_its_vectors(store: Store, photos: Path) -> None:
    (photos / "notes.txt").touch()
    encoder = ColourEncoder()
    summary = _ingest(store, photos, encoder=encoder)
    assert _counts(summary) == {"added": 3}
    assert (summary.encoded, summary.ignored) == (3, 1)
    assert summary.source == str(photos)
    assert 0 < summary.encoder_seconds < summary.seconds
    rows = images(store)
    path = photos / "sub" / "both.png"
    assert rows["both.png"] == {
        "image_id": image_id(path.read_bytes()),
        "uri": str(path),
        "width": 64,
        "height": 48,
        "positives": [],
        "negatives": [],
        "complete": False,
        "covered": 0,
        "combination_id": None,
        "split": "train",
        "other_uris": None,
    }
    assert (rows["green.png"]["width"], rows["green.png"]["height"]) == (30, 90)
    info = encoder.info
    assert store.encoders() == [info]
    stored = store.vectors(
        "image_vectors", [rows["both.png"]["image_id"]], encoder_id=info.encoder_id
    )
    with Image.open(path) as image:
        expected = encoder.encode_images(encoder.prepare(image)[None]).whole
    np.testing.assert_array_equal(stored, expected.astype(np.float16))
    # Regions come without being asked for; a store that has another grid keeps to it.
    assert summary.regions == defaults.REGIONS
    assert store.count("region_vectors", info.encoder_id) == 3
    assert store.count("combinations") == 0


def test_no_regions_where_none_are_wanted(store: Store, photos: Path) -> None:
    encoder = ColourEncoder()
    assert _ingest(store, photos, encoder=encoder, regions=0).regions == 0
    assert not store.has("region_vectors", encoder.info.encoder_id)


def test_a_second_run_does_and_writes_nothing(store: Store, photos: Path) -> None:
    _ingest(store, photos)
    kinds = [("images", None), ("image_vectors", "colour_32_32"), ("encoders", None)]
    before = store.versions(kinds)
    encoder = ColourEncoder()
    assert _counts(_ingest(store, photos, encoder=encoder)) == {"already_there": 3}
    assert encoder.encoded == 0
    assert store.versions(kinds) == before


def test_every_photo_is_opened_once(store: Store, photos: Path) -> None:
    (photos / "copy.png").write_bytes((photos / "red.png").read_bytes())
    with opened_files(photos) as opened:
        assert _counts(_ingest(store, photos)) == {"added": 3, "duplicates": 1}
    names = ["both.png", "copy.png", "green.png", "red.png"]
    assert sorted(Path(path).name for path in opened) == names
    with opened_files(photos) as opened:
        # A photo that is there is read, but not decoded: its size would be refused.
        summary = _ingest(store, photos, max_pixels=1)
    assert _counts(summary) == {"already_there": 3, "duplicates": 1}
    assert sorted(Path(path).name for path in opened) == names


def test_labels_of_a_manifest(store: Store, photos: Path) -> None:
    rows: list[dict[str, Any]] = [
        {"image": "red.png", "labels": ["red"], "split": "train"},
        {"image": "sub/both.png", "positives": ["red", "blue"], "negatives": ["green"]},
        {"image": "green.png"},
    ]
    assert _counts(_ingest(store, _manifest(photos, rows), split="val")) == {"added": 3}
    rows_there = images(store)
    both = rows_there["both.png"]
    assert both["positives"] == sorted([RED, BLUE])
    assert both["negatives"] == [GREEN]
    assert (both["complete"], both["split"]) == (False, "val")
    assert both["combination_id"] == LABELS.combination_id([RED, BLUE])
    red = rows_there["red.png"]
    assert (red["complete"], red["negatives"], red["split"]) == (True, [], "train")
    assert rows_there["green.png"]["split"] == "val"
    known = {
        row["combination_id"]: row["label_ids"]
        for batch in store.scan("combinations")
        for row in batch.to_pylist()
    }
    assert known == {
        LABELS.combination_id([RED]): [RED],
        LABELS.combination_id([RED, BLUE]): sorted([RED, BLUE]),
    }


def test_relabelling_touches_no_vector_and_a_folder_erases_nothing(
    store: Store, photos: Path
) -> None:
    _ingest(store, photos)
    vectors = store.versions([("image_vectors", "colour_32_32")])
    manifest = _manifest(photos, [{"image": "red.png", "labels": ["red"], "split": "train"}])
    encoder = ColourEncoder()
    assert _counts(_ingest(store, manifest, encoder=encoder)) == {"relabelled": 1}
    assert images(store)["red.png"]["positives"] == [RED]
    assert _counts(_ingest(store, photos, encoder=encoder)) == {"already_there": 3}
    row = images(store)["red.png"]
    assert (row["positives"], row["complete"], row["split"]) == ([RED], True, "train")
    # An empty list of labels is an annotation: none of them is there.
    manifest = _manifest(photos, [{"image": "red.png", "labels": []}])
    assert _counts(_ingest(store, manifest, encoder=encoder)) == {"relabelled": 1}
    row = images(store)["red.png"]
    assert (row["positives"], row["combination_id"], row["split"]) == ([], None, "train")
    assert _counts(_ingest(store, photos, split="val")) == {"relabelled": 3}
    assert {row["split"] for row in images(store).values()} == {"val"}
    assert encoder.encoded == 0
    assert store.versions([("image_vectors", "colour_32_32")]) == vectors


def test_the_same_content_twice_is_one_row(store: Store, photos: Path) -> None:
    (photos / "copy.png").write_bytes((photos / "red.png").read_bytes())
    rows: list[dict[str, Any]] = [
        {"image": "copy.png", "labels": ["green"]},
        {"image": "red.png", "labels": ["red"]},
        {"image": "red.png"},
    ]
    encoder = ColourEncoder()
    summary = _ingest(store, _manifest(photos, rows), encoder=encoder)
    assert _counts(summary) == {"added": 1, "duplicates": 2}
    assert encoder.encoded == 1
    row = images(store)["copy.png"]
    # The first path stays, the last row that says something about labels is believed.
    assert row["positives"] == [RED]
    # With commits after every item the rows are the same.
    assert _counts(_ingest(store, photos / "m.jsonl", commit_rows=1, batch_size=1))
    assert images(store) == {"copy.png": row}
    assert _counts(_ingest(store, photos)) == {"added": 2, "already_there": 1, "duplicates": 1}


def test_a_second_encoder_stands_beside_the_first(store: Store, photos: Path) -> None:
    _ingest(store, photos)
    before = store.versions([("images", None), ("image_vectors", "colour_32_32")])
    other = ColourEncoder(dim=40, name="other")
    summary = _ingest(store, photos, encoder=other)
    assert _counts(summary) == {"already_there": 3}
    assert summary.encoded == 3
    assert store.count("image_vectors", other.info.encoder_id) == 3
    assert store.versions([("images", None), ("image_vectors", "colour_32_32")]) == before


def test_regions_are_added_to_images_that_lack_them(store: Store, photos: Path) -> None:
    _ingest(store, photos / "red.png", regions=3)
    encoder = ColourEncoder()
    summary = _ingest(store, photos, encoder=encoder, regions=0)
    assert (summary.encoded, encoder.encoded, summary.regions) == (2, 2, 0)
    vectors = store.versions([("image_vectors", "colour_32_32")])
    summary = _ingest(store, photos, encoder=encoder, regions=3)
    assert _counts(summary) == {"already_there": 3}
    assert summary.encoded == 2
    assert store.count("image_vectors", "colour_32_32") == 3
    batches = store.scan("region_vectors", encoder_id="colour_32_32")
    rows = {row["image_id"]: row for batch in batches for row in batch.to_pylist()}
    assert len(rows) == 3
    both = rows[images(store)["both.png"]["image_id"]]
    assert both["grid"] == 3
    with Image.open(photos / "sub" / "both.png") as image:
        expected = encoder.encode_images(encoder.prepare(image)[None], regions=3).regions
    assert expected is not None
    np.testing.assert_array_equal(
        np.array(both["vectors"], np.float16), expected.astype(np.float16).reshape(-1)
    )
    assert _ingest(store, photos, regions=3).encoded == 0
    assert set(vectors) == {"image_vectors__colour_32_32"}
    with pytest.raises(StoreError, match=r"3 x 3 grid .* not 5 x 5: use regions=3"):
        _ingest(store, photos, regions=5)


def test_a_moved_photo_is_found_where_it_is_now(store: Store, photos: Path) -> None:
    _ingest(store, photos)
    (photos / "red.png").rename(photos / "moved.png")
    assert _counts(_ingest(store, photos)) == {"already_there": 3}
    assert sorted(images(store)) == ["both.png", "green.png", "moved.png"]


def test_bad_images_are_set_aside_and_the_rest_is_kept(store: Store, photos: Path) -> None:
    photo = Path(skimage.__file__).parent / "data" / "rocket.jpg"
    (photos / "cut.jpg").write_bytes(photo.read_bytes()[:20_000])
    (photos / "rocket.jpg").write_bytes(photo.read_bytes())
    (photos / "empty.jpg").touch()
    (photos / "text.png").write_text("not an image", encoding="utf-8")
    (photos / "x.jpg").mkdir()
    (photos / "bomb.png").write_bytes(png(30_000, 30_000))
    (photos / "gone.jpg").symlink_to(photos / "nowhere.jpg")
    summary = _ingest(store, photos)
    assert _counts(summary) == {"added": 4, "rejected": 6}
    job = "ingest-images"
    assert rejects(store) == [
        (job, "bomb.png", "too_large"),
        (job, "cut.jpg", "truncated"),
        (job, "empty.jpg", "empty"),
        (job, "gone.jpg", "missing"),
        (job, "text.png", "not_an_image"),
        (job, "x.jpg", "directory"),
    ]
    # A rerun tries them again and records them once.
    assert _counts(_ingest(store, photos)) == {"already_there": 4, "rejected": 6}
    assert store.count("rejects") == 6


def test_bad_rows_are_set_aside_by_their_line(store: Store, photos: Path) -> None:
    rows: list[dict[str, Any]] = [
        {"image": "red.png", "labels": ["red"]},
        {"image": "green.png", "labels": 7},
        {"image": "gone.png", "labels": ["red"]},
    ]
    summary = _ingest(store, _manifest(photos, rows))
    assert _counts(summary) == {"added": 1, "rejected": 2}
    assert rejects(store) == [
        ("ingest-images", "gone.png", "missing"),
        ("ingest-images", "m.jsonl: line 2", "malformed"),
    ]
    # A row that was mended is told of no more.
    rows[1]["labels"] = ["green"]
    _ingest(store, _manifest(photos, rows))
    assert rejects(store) == [("ingest-images", "gone.png", "missing")]


def test_a_label_that_is_not_in_the_set_is_set_aside_and_its_photo_kept(
    store: Store, photos: Path
) -> None:
    rows: list[dict[str, Any]] = [
        {"image": "red.png", "labels": ["red", "giraffe"]},
        {"image": "green.png", "positives": ["gren", "giraffe"], "negatives": ["blue"]},
        {"image": "sub/both.png", "labels": ["red", "blue"]},
    ]
    summary = _ingest(store, _manifest(photos, rows), max_rejects=0)
    assert _counts(summary) == {"added": 3}
    assert summary.unknown_labels == {"giraffe": 2, "gren": 1}
    found = images(store)
    assert (found["red.png"]["positives"], found["red.png"]["complete"]) == ([0], False)
    assert (found["green.png"]["positives"], found["green.png"]["negatives"]) == ([], [2])
    assert found["both.png"]["complete"]
    job = "ingest-images"
    assert rejects(store) == [
        (job, "m.jsonl: line 1", "unknown_label"),
        (job, "m.jsonl: line 2", "unknown_label"),
    ]
    told = [str(row["detail"]) for b in store.scan("rejects") for row in b.to_pylist()]
    adds = f": add it by taistore labels add giraffe --store {store.uri} (the photo is kept)"
    assert f"label 'giraffe' is not in the label set{adds}" in told
    assert any("'gren' is not in the label set: did you mean 'green' or" in one for one in told)
    # A rerun says the same once; without the label there is nothing to say.
    _ingest(store, _manifest(photos, rows))
    assert len(rejects(store)) == 2
    rows[0]["labels"] = ["red"]
    _ingest(store, _manifest(photos, rows))
    assert rejects(store) == [(job, "m.jsonl: line 2", "unknown_label")]
    assert images(store)["red.png"]["complete"]


def test_it_fails_as_a_whole_when_nothing_succeeded(store: Store, photos: Path) -> None:
    bad = photos / "bad"
    bad.mkdir()
    (bad / "a.jpg").touch()
    with pytest.raises(ImageError, match=r"none of 1 images could be used \(first: .*a\.jpg: "):
        _ingest(store, bad)
    assert rejects(store) == [("ingest-images", "a.jpg", "empty")]
    assert store.encoders() == []


def test_only_rejects_in_a_store_that_has_images(store: Store, photos: Path) -> None:
    _ingest(store, photos)
    (photos / "bad").mkdir()
    (photos / "bad" / "a.jpg").touch()
    with pytest.raises(ImageError, match="none of 1 images could be used"):
        _ingest(store, photos / "bad")
    assert store.count("images") == 3


def test_it_stops_past_max_rejects_and_keeps_the_good(store: Store, photos: Path) -> None:
    for i in range(4):
        (photos / f"bad{i}.jpg").touch()
    with pytest.raises(ImageError, match="stopped at 4 rejected images, at most 1"):
        _ingest(store, photos, max_rejects=1)
    assert store.count("images") == 3
    assert len(rejects(store)) == 4
    assert _counts(_ingest(store, photos, max_rejects=4)) == {"already_there": 3, "rejected": 4}


def test_a_folder_without_images(store: Store, tmp_path: Path) -> None:
    (tmp_path / "none").mkdir()
    (tmp_path / "none" / "a.txt").touch()
    with pytest.raises(ImageError, match=r"none: no images here \(1 other files\)"):
        _ingest(store, tmp_path / "none")
    (tmp_path / "m.jsonl").touch()
    with pytest.raises(ManifestError, match="has no rows"):
        _ingest(store, tmp_path / "m.jsonl")


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_what_was_encoded_before_a_failure_is_kept(
    store: Store, photos: Path, error: type[BaseException]
) -> None:
    class Failing(ColourEncoder):
        def encode_images(self, pixels: Any, *, regions: int = 0) -> ImageVectors:
            if self.batches == 2:
                raise error
            return super().encode_images(pixels, regions=regions)

    with pytest.raises(error):
        _ingest(store, photos, encoder=Failing(), batch_size=1)
    assert store.count("images") == 2
    assert store.count("image_vectors", "colour_32_32") == 2


def test_progress_tells_what_is_done(store: Store, photos: Path) -> None:
    (photos / "bad.jpg").touch()
    told: list[tuple[int, dict[str, float]]] = []

    class Bar:
        def __enter__(self) -> "Bar":
            return self

        def __exit__(self, *_: object) -> None:
            told.append((0, {}))

        def advance(self, amount: int = 1, **figures: float) -> None:
            told.append((amount, figures))

    totals: list[int | None] = []

    def progress(description: str, *, total: int | None, unit: str) -> Bar:
        totals.append(total)
        return Bar()

    _ingest(store, photos, progress=progress, batch_size=2)
    assert totals == [4]
    assert sum(amount for amount, _ in told) == 4
    assert told[-2][1] == {"rejected": 1}
    assert told[-1] == (0, {})


def test_vectors_come_back_by_scan(store: Store, photos: Path) -> None:
    _ingest(store, photos)
    (batch,) = store.scan("image_vectors", encoder_id="colour_32_32")
    norms = np.linalg.norm(vector_array(batch.column("vector")).astype(np.float32), axis=1)
    np.testing.assert_allclose(norms, [10] * 3, rtol=1e-2)


# --- killed and run again ----------------------------------------------------------------------


R = TypeVar("R")


class Killed(BaseException):
    """Stands for a kill: nothing is written after it."""


class _DyingStore(Store):
    """Dies at the ``fatal``-th write, before or after it."""

    fatal = 0
    after = False
    writes = 0

    def append(self, *arguments: Any, **options: Any) -> int:
        return self.write(super().append, *arguments, **options)

    def upsert(self, *arguments: Any, **options: Any) -> int:
        return self.write(super().upsert, *arguments, **options)

    def replace(self, *arguments: Any, **options: Any) -> bool:
        return self.write(super().replace, *arguments, **options)

    def write(self, function: Callable[..., R], *arguments: Any, **options: Any) -> R:
        """What the function returns, where the store survives it."""
        self.writes += 1
        if self.writes > self.fatal or (self.writes == self.fatal and not self.after):
            raise Killed
        written = function(*arguments, **options)
        if self.writes == self.fatal:
            raise Killed
        return written


def snapshot(store: Store) -> dict[str, list[Any]]:
    """Every row of every table that an ingest writes, without times, in a fixed order."""
    content: dict[str, list[Any]] = {}
    for name in store.table_names():
        kind, _, encoder_id = name.partition("__")
        rows = [
            row
            for batch in store.scan(kind, encoder_id=encoder_id or None)
            for row in batch.to_pylist()
        ]
        for row in rows:
            row.pop("when", None)
        content[name] = sorted(rows, key=repr)
    return content


def _require_whole_images(store: Store) -> None:
    """Whoever reads while another ingests finds every image with all that belongs to it."""
    content = snapshot(store)
    encoder_id = ColourEncoder().info.encoder_id
    for kind in (f"image_vectors__{encoder_id}", f"region_vectors__{encoder_id}"):
        there = {row["image_id"] for row in content.get(kind, [])}
        assert {row["image_id"] for row in content.get("images", [])} <= there
    combinations = {row["combination_id"] for row in content.get("combinations", [])}
    needed = {row["combination_id"] for row in content.get("images", [])}
    assert needed - {None} <= combinations


def _kill_manifest(folder: Path) -> Path:
    names = list(COLOURS)
    rows: list[dict[str, Any]] = []
    for i, name in enumerate(names[:7]):
        colour_image(name, names[i + 1]).save(folder / f"{i}.png")
        rows.append({"image": f"{i}.png", "positives": [name, names[i + 1]]})
    rows.insert(2, {"image": "gone.png"})
    rows.append({"image": "0.png", "positives": ["cyan"]})
    (folder / "copy.png").write_bytes((folder / "3.png").read_bytes())
    rows.append({"image": "copy.png", "labels": [names[3]]})
    return _manifest(folder, rows)


@pytest.mark.parametrize("after", [False, True])
def test_killed_at_any_write_and_run_again_gives_the_same_rows(
    tmp_path: Path, after: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "photos").mkdir()
    manifest = _kill_manifest(tmp_path / "photos")
    options: dict[str, Any] = {"regions": 2, "batch_size": 2, "commit_rows": 4}
    calm = Store.create(tmp_path / "calm", LABELS, default_encoder="colour@32")
    _ingest(calm, manifest, **options)
    expected = snapshot(calm)
    assert len(expected["images"]) == 7
    for fatal in range(1, 40):
        Store.create(tmp_path / f"s{fatal}", LABELS, default_encoder="colour@32")
        dying = _DyingStore.open(tmp_path / f"s{fatal}")
        assert isinstance(dying, _DyingStore)
        dying.fatal, dying.after = fatal, after
        try:
            _ingest(dying, manifest, **options)
        except Killed:
            store = Store.open(tmp_path / f"s{fatal}")
            _require_whole_images(store)
            _ingest(store, manifest, **options)
            assert snapshot(store) == expected, f"killed at write {fatal}"
        else:
            break
    assert 10 < fatal < 39
