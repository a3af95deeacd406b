"""The store follows the folder: changed contents, copies, and corrections cell by cell."""

import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from taistore.encoders.protocol import ImageVectors
from taistore.images import ingest as ingest_module
from taistore.images.decoding import image_id
from taistore.images.image_rows import ImageWriter
from taistore.images.ingest import ingest_images
from taistore.images.pipeline import EncodedBatch, EncodedImage
from taistore.images.sources.open_source import open_source
from taistore.images.sources.source import SourceImage
from taistore.store.store import Store
from tests.fakes import ColourEncoder, colour_image
from tests.images.test_ingest import (
    BLUE,
    GREEN,
    LABELS,
    RED,
    Killed,
    _DyingStore,
    _ingest,
    _manifest,
    images,
    rejects,
    snapshot,
)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.create(tmp_path / "store", LABELS, default_encoder="colour@32")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for name in ("red", "green", "blue"):
        colour_image(name).save(folder / f"{name}.png")
    return folder


def _all_paths(store: Store) -> dict[str, list[str]]:
    """Names of all paths of each image, by the id of its content."""
    return {
        row["image_id"]: [Path(path).name for path in (row["uri"], *(row["other_uris"] or ()))]
        for batch in store.scan("images")
        for row in batch.to_pylist()
    }


def _id(path: Path) -> str:
    return image_id(path.read_bytes())


def _cells(store: Store, name: str) -> tuple[list[int], list[int], bool]:
    row = images(store)[name]
    return row["positives"], row["negatives"], row["complete"]


# --- contents ----------------------------------------------------------------------------------


def test_a_new_content_of_a_path_takes_over(store: Store, photos: Path) -> None:
    _ingest(store, _manifest(photos, [{"image": "red.png", "labels": ["red"]}]))
    assert _ingest(store, photos).replaced == 0
    colour_image("cyan").save(photos / "red.png")
    rows = [{"image": "red.png", "labels": ["cyan"], "split": "train"}]
    summary = _ingest(store, _manifest(photos, rows))
    assert (summary.added, summary.replaced, summary.seen) == (1, 1, 1)
    row = images(store)["red.png"]
    assert row["image_id"] == _id(photos / "red.png")
    assert (row["positives"], row["split"]) == ([LABELS.find("cyan")], "train")
    assert sorted(_all_paths(store).values()) == [["blue.png"], ["green.png"], ["red.png"]]
    # A folder says nothing of labels: those of the old content are not those of the new one.
    colour_image("pink").save(photos / "red.png")
    assert _ingest(store, photos).replaced == 1
    assert _cells(store, "red.png") == ([], [], False)
    assert store.count("images") == 3


def test_a_path_that_leaves_a_content_with_others_keeps_it(store: Store, photos: Path) -> None:
    (photos / "copy.png").write_bytes((photos / "red.png").read_bytes())
    _ingest(store, photos)
    red = _id(photos / "red.png")
    assert _all_paths(store)[red] == ["copy.png", "red.png"]
    colour_image("pink").save(photos / "copy.png")
    assert _ingest(store, photos).replaced == 0
    assert _all_paths(store)[red] == ["red.png"]
    assert _all_paths(store)[_id(photos / "copy.png")] == ["copy.png"]


@pytest.mark.parametrize("commit_rows", [1, 4096])
def test_photos_that_change_places_keep_their_labels(
    store: Store, photos: Path, commit_rows: int
) -> None:
    rows = [{"image": "red.png", "labels": ["red"]}, {"image": "blue.png", "labels": ["blue"]}]
    _ingest(store, _manifest(photos, rows))
    (photos / "red.png").rename(photos / "x.png")
    (photos / "blue.png").rename(photos / "red.png")
    (photos / "x.png").rename(photos / "blue.png")
    summary = _ingest(store, photos, commit_rows=commit_rows, batch_size=1)
    assert summary.replaced == 0
    assert _cells(store, "red.png") == ([BLUE], [], True)
    assert _cells(store, "blue.png") == ([RED], [], True)
    assert sorted(_all_paths(store).values()) == [["blue.png"], ["green.png"], ["red.png"]]


def test_killed_before_the_old_content_went_a_rerun_ends_the_same(
    store: Store, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _ingest(store, photos)
    colour_image("pink").save(photos / "red.png")

    def dies(store: Store) -> int:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(ingest_module, "settle_paths", dies)
        with pytest.raises(Killed):
            _ingest(store, photos)
    assert sorted(map(str, _all_paths(store).values())).count("['red.png']") == 2
    summary = _ingest(store, photos)
    assert (summary.already_there, summary.encoded, summary.replaced) == (3, 0, 1)
    assert _all_paths(store)[_id(photos / "red.png")] == ["red.png"]
    assert store.count("images") == 3


@pytest.mark.parametrize("after", [False, True])
def test_killed_at_any_write_while_contents_change_ends_the_same(
    tmp_path: Path, photos: Path, monkeypatch: pytest.MonkeyPatch, after: bool
) -> None:
    (photos / "copy.png").write_bytes((photos / "red.png").read_bytes())
    rows = [{"image": f"{name}.png", "positives": [name]} for name in ("red", "green", "blue")]
    manifest = _manifest(photos, rows)
    Store.create(tmp_path / "before", LABELS, default_encoder="colour@32")
    _ingest(Store.open(tmp_path / "before"), manifest)
    _ingest(Store.open(tmp_path / "before"), photos)
    colour_image("pink").save(photos / "copy.png")
    colour_image("cyan").save(photos / "green.png")
    (photos / "blue.png").rename(photos / "x.png")
    (photos / "red.png").rename(photos / "blue.png")
    (photos / "x.png").rename(photos / "red.png")
    rows = [{"image": name, "negatives": ["white"]} for name in ("blue.png", "copy.png", "red.png")]
    rows.append({"image": "green.png", "labels": ["cyan"]})
    manifest = _manifest(photos, rows)
    options: dict[str, Any] = {"batch_size": 1, "commit_rows": 2}
    shutil.copytree(tmp_path / "before", tmp_path / "calm")
    _ingest(Store.open(tmp_path / "calm"), manifest, **options)
    expected = snapshot(Store.open(tmp_path / "calm"))
    assert len(expected["images"]) == 4
    kills = 0
    for fatal in range(1, 40):
        shutil.copytree(tmp_path / "before", tmp_path / "killed")
        dying = _DyingStore.open(tmp_path / "killed")
        assert isinstance(dying, _DyingStore)
        dying.fatal, dying.after = fatal, after
        try:
            _ingest(dying, manifest, **options)
            ended = True
        except Killed:
            ended = False
            kills += 1
        store = Store.open(tmp_path / "killed")
        _ingest(store, manifest, **options)
        assert snapshot(store) == expected, f"killed at write {fatal}"
        shutil.rmtree(tmp_path / "killed")
        if ended:
            break
    assert kills >= 6


def test_jobs_at_once_over_changed_photos_end_the_same(store: Store, photos: Path) -> None:
    _ingest(store, photos)
    store.dataset("images").create_scalar_index("image_id", "BTREE")
    colour_image("cyan").save(photos / "red.png")
    (photos / "copy.png").write_bytes((photos / "green.png").read_bytes())
    together = Barrier(3)

    def ingest(_: int) -> None:
        own = Store.open(store.uri)
        together.wait()
        _ingest(own, photos, batch_size=1, commit_rows=1)

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(ingest, range(3)))
    assert store.count("images") == 3
    assert _all_paths(store) == {
        _id(photos / "red.png"): ["red.png"],
        _id(photos / "blue.png"): ["blue.png"],
        _id(photos / "green.png"): ["green.png", "copy.png"],
    }


def test_of_two_jobs_the_content_on_disk_wins_whoever_ends_last(store: Store, photos: Path) -> None:
    class Overtaken(ColourEncoder):
        """While it encodes what was read, the photo changes and another job ingests it."""

        def encode_images(self, pixels: NDArray[np.uint8], *, regions: int = 0) -> ImageVectors:
            if not self.batches:
                colour_image("pink").save(photos / "red.png")
                _ingest(Store.open(store.uri), photos)
            return super().encode_images(pixels, regions=regions)

    _ingest(store, photos, encoder=Overtaken())
    assert sorted(_all_paths(store)) == sorted(map(_id, photos.iterdir()))


def test_nothing_is_decided_of_a_path_that_cannot_be_read(store: Store, photos: Path) -> None:
    _ingest(store, photos)
    colour_image("pink").save(photos / "red.png")
    _ingest(store, photos / "red.png")
    # As an older taistore left it: two contents, and the file is not there to ask.
    row = images(store)["red.png"]
    store.upsert("images", [{**row, "image_id": "f" * 32}])
    (photos / "red.png").unlink()
    assert _ingest(store, photos).replaced == 0
    assert store.count("images") == 4
    colour_image("pink").save(photos / "red.png")
    assert _ingest(store, photos).replaced == 1
    assert "f" * 32 not in _all_paths(store)


def test_an_image_that_another_job_removed_meanwhile_is_set_aside(
    store: Store, photos: Path
) -> None:
    encoder = ColourEncoder()
    source = SourceImage(uri=str(photos / "red.png"), image_id=_id(photos / "red.png"))
    none = ImageVectors(np.empty((0, encoder.info.dim), np.float32), None)
    skipped = EncodedImage(source=source, size=None, row=None)
    with ImageWriter(store, encoder.info) as writer:
        batch = EncodedBatch(images=[skipped], vectors=none, rejects=[], encoder_seconds=0.0)
        writer.add(batch)
    assert (writer.succeeded, writer.rejected) == (0, 1)
    assert rejects(store) == [("ingest-images", "red.png", "changed")]
    _ingest(store, photos)
    assert rejects(store) == []


# --- cells -------------------------------------------------------------------------------------


def test_a_correction_leaves_other_cells_as_they_were(store: Store, photos: Path) -> None:
    def say(**row: Any) -> tuple[list[int], list[int], bool]:
        _ingest(store, _manifest(photos, [{"image": "red.png", **row}]))
        return _cells(store, "red.png")

    assert say(positives=["red"], negatives=["green"]) == ([RED], [GREEN], False)
    assert say(negatives=["blue"]) == ([RED], [GREEN, BLUE], False)
    # The later statement wins.
    assert say(positives=["blue"]) == ([RED, BLUE], [GREEN], False)
    assert say(labels={"red": -1, "green": 1}) == ([GREEN, BLUE], [], False)
    # All labels are one statement.
    assert say(labels=["red"]) == ([RED], [], True)
    assert say(positives=["blue"]) == ([RED, BLUE], [], True)
    assert say(negatives=["red"]) == ([BLUE], [], True)
    positives, negatives, complete = say(labels={"green": -1})
    assert (positives, complete) == ([BLUE], False)
    assert negatives == [n for n in range(len(LABELS)) if n not in (GREEN, BLUE)]
    assert images(store)["red.png"]["combination_id"] == LABELS.combination_id([BLUE])
    assert say(labels={label.key: -1 for label in LABELS}) == ([], [], False)


def test_rows_of_one_manifest_merge_too(store: Store, photos: Path) -> None:
    rows: list[dict[str, Any]] = [
        {"image": "red.png", "positives": ["red"]},
        {"image": "red.png", "negatives": ["green"]},
        {"image": "red.png", "positives": ["green"]},
    ]
    _ingest(store, _manifest(photos, rows))
    assert _cells(store, "red.png") == ([RED, GREEN], [], False)


def test_corrections_of_several_jobs_at_once_are_all_kept(store: Store, photos: Path) -> None:
    _ingest(store, photos)
    store.dataset("images").create_scalar_index("image_id", "BTREE")
    names = [label.key for label in LABELS][:6]
    together = Barrier(len(names))

    def correct(name: str) -> None:
        own = Store.open(store.uri)
        said = "negatives" if name in ("green", "blue") else "positives"
        rows = [{"image": f"{photo}.png", said: [name]} for photo in ("red", "green", "blue")]
        manifest = _manifest(photos, rows, name=f"{name}.jsonl")
        together.wait()
        ingest_images(own, ColourEncoder(), open_source(manifest, LABELS))

    with ThreadPoolExecutor(len(names)) as pool:
        list(pool.map(correct, names))
    known = [LABELS.find(name) for name in names]
    positives = sorted(n for n in known if n not in (GREEN, BLUE))
    for photo in ("red.png", "green.png", "blue.png"):
        assert _cells(store, photo) == (positives, [GREEN, BLUE], False)
    assert store.count("images") == 3
