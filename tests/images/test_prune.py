"""Photos that are gone leave the store, and nothing else does."""

import shutil
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from taistore.errors import ImageError, StoreError
from taistore.images import prune as prune_module
from taistore.images.ingest import ingest_images
from taistore.images.ingest_image_vectors import ingest_image_vectors
from taistore.images.missing_photos import look_for
from taistore.images.prune import PruneSummary, prune
from taistore.images.sources.open_source import SourceImage, open_source
from taistore.printable import printable
from taistore.store.rejects import Reject
from taistore.store.store import Store
from taistore.store.verification.verify_store import verify_store
from tests.fakes import COLOURS, ColourEncoder, colour_image
from tests.images.test_ingest import LABELS, Killed, _ingest, _manifest, images, rejects, snapshot

ID = ColourEncoder().info.encoder_id
NOW = timedelta(0)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.create(tmp_path / "store", LABELS, default_encoder="colour@32")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Eight photos in two folders."""
    folder = tmp_path / "photos"
    for n, name in enumerate(list(COLOURS)[:8]):
        path = folder / ("old" if n < 4 else "new") / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        colour_image(name).save(path)
    return folder


def _prune(store: Store, path: Path | None = None, **options: Any) -> PruneSummary:
    source = None if path is None else open_source(path, store.labels)
    return prune(store, source, **{"apply": True, **options})


def _left(store: Store) -> dict[str, set[str]]:
    """Ids of images in every table that has any."""
    tables: list[tuple[str, str | None]] = [("images", None)]
    tables += [("image_vectors", ID), ("region_vectors", ID)]
    return {
        kind: {
            str(i)
            for batch in store.scan(kind, columns=["image_id"], encoder_id=encoder_id)
            for i in batch.column(0).to_pylist()
        }
        for kind, encoder_id in tables
    }


def test_photos_that_are_gone_go_with_all_that_is_theirs(store: Store, photos: Path) -> None:
    (photos / "old" / "broken.png").touch()
    _ingest(store, photos, regions=2)
    other = ColourEncoder(name="other")
    _ingest(store, photos, encoder=other, regions=0)
    store.reject("score", [Reject(str(photos / "old" / "red.png"), "missing", "")])
    store.reject("ingest-images", [Reject(f"{photos}/m.jsonl: line 1", "malformed", "")])
    before = snapshot(store)
    for name in ("old/red.png", "old/broken.png", "new/orange.png"):
        (photos / name).unlink()

    seen = _prune(store, apply=False)
    assert (seen.applied, seen.images, seen.gone, seen.paths) == (False, 8, 2, 2)
    # Two encoders' vectors, and the regions of one.
    assert (seen.vectors, seen.rejects, seen.lost_folders) == (6, 2, ())
    assert set(seen.examples) == {str(photos / "old/red.png"), str(photos / "new/orange.png")}
    assert snapshot(store) == before

    done = _prune(store)
    assert done == PruneSummary(**{**_fields(seen), "applied": True})
    kept = set(images(store))
    assert kept == {"green.png", "blue.png", "yellow.png", "purple.png", "pink.png", "brown.png"}
    left = _left(store)
    assert left["images"] == left["image_vectors"] == left["region_vectors"]
    assert store.count("image_vectors", other.info.encoder_id) == 6
    assert rejects(store) == [("ingest-images", "m.jsonl: line 1", "malformed")]
    again = _prune(store)
    assert (again.gone, again.vectors, again.rejects) == (0, 0, 0)


def _fields(summary: PruneSummary) -> dict[str, Any]:
    return {name: getattr(summary, name) for name in PruneSummary.__dataclass_fields__}


def test_a_photo_with_a_copy_stays_under_that_path(store: Store, photos: Path) -> None:
    shutil.copy(photos / "old" / "red.png", photos / "old" / "zz.png")
    _ingest(store, _manifest(photos, [{"image": "old/red.png", "labels": ["red"]}]))
    _ingest(store, photos)
    (photos / "old" / "red.png").unlink()
    done = _prune(store)
    assert (done.gone, done.paths, done.vectors) == (0, 1, 0)
    assert images(store)["zz.png"]["complete"]
    assert images(store)["zz.png"]["other_uris"] is None


def test_a_disk_that_is_not_mounted_loses_nothing(store: Store, photos: Path) -> None:
    _ingest(store, photos)
    before = snapshot(store)
    photos.rename(photos.parent / "away")
    for there in ("absent", "empty", "hidden file"):
        if there == "empty":
            photos.mkdir()
        if there == "hidden file":
            (photos / ".automount").touch()
        with pytest.raises(StoreError, match=rf"^{photos}: none of the store's photos is there: "):
            _prune(store)
        assert _prune(store, apply=False).lost_folders == (str(photos),)
        assert snapshot(store) == before
    # Named itself it is refused too, with whatever else lies in there.
    (photos / "notes.txt").touch()
    with pytest.raises(StoreError, match="give lost_folders="):
        _prune(store, photos)
    shutil.rmtree(photos)
    with pytest.raises(ImageError, match="no such folder"):
        _prune(store, photos)
    assert snapshot(store) == before
    assert _prune(store, lost_folders=True).gone == 8
    assert store.count("images") == store.count("image_vectors", ID) == 0


def test_one_lost_folder_among_others_stops_it(store: Store, photos: Path) -> None:
    _ingest(store, photos)
    (photos / "new" / "orange.png").unlink()
    shutil.rmtree(photos / "old")
    with pytest.raises(StoreError, match=rf"^{photos / 'old'}: none of the store's photos"):
        _prune(store)
    assert store.count("images") == 8
    # The other folder can be pruned by itself.
    assert _prune(store, photos / "new").gone == 1
    assert _prune(store, lost_folders=True).gone == 4
    assert store.count("images") == 3


def test_a_folder_in_use_without_its_photos_is_no_lost_disk(store: Store, photos: Path) -> None:
    _ingest(store, photos)
    for path in (photos / "old").iterdir():
        path.unlink()
    (photos / "old" / "notes.txt").touch()
    assert _prune(store).gone == 4


def test_a_photo_that_cannot_be_looked_at_counts_as_there(store: Store, photos: Path) -> None:
    _ingest(store, photos)
    (photos / "old" / "red.png").unlink()
    # A path below a link to itself cannot be resolved, by root neither.
    shutil.rmtree(photos / "new")
    (photos / "new").symlink_to(photos / "new")
    assert _prune(store).gone == 1
    assert store.count("images") == 7


def test_a_folder_is_about_what_lies_below_it(store: Store, photos: Path) -> None:
    beside = photos.parent / "photos2" / "cyan.png"
    beside.parent.mkdir()
    colour_image("cyan").save(beside)
    _ingest(store, photos)
    _ingest(store, beside)
    for path in (beside, photos / "new" / "pink.png", photos / "old" / "red.png"):
        path.unlink()
    done = _prune(store, photos / "old")
    assert (done.source, done.images, done.gone) == (str(photos / "old"), 4, 1)
    assert _prune(store, photos).gone == 1
    assert "cyan.png" in images(store)


def test_what_a_manifest_does_not_list_is_gone(store: Store, photos: Path) -> None:
    beside = photos.parent / "cyan.png"
    colour_image("cyan").save(beside)
    _ingest(store, photos)
    _ingest(store, beside)
    rows = [{"image": f"old/{name}.png"} for name in ("red", "green")]
    rows += [{"image": "new/pink.png"}, {"image": "new/never.png"}]
    done = _prune(store, _manifest(photos, rows))
    assert (done.images, done.gone, done.lost_folders) == (8, 5, ())
    # Only the folder that holds all that it lists is looked at.
    assert set(images(store)) == {"red.png", "green.png", "pink.png", "cyan.png"}
    wrong: list[dict[str, Any]] = [{"image": "old/red.png", "labels": 7}]
    wrong += [{"image": "old/green.png"}]
    with pytest.raises(ImageError, match=r"not all of it can be read.*line 1.*labels is 7"):
        _prune(store, _manifest(photos, wrong))
    assert store.count("images") == 4


@pytest.mark.parametrize("odd", ["a\x1bb.png", "a\u202eb.png"])
def test_a_reject_whose_path_is_written_with_escapes_stays(
    store: Store, photos: Path, odd: str
) -> None:
    (photos / "old" / odd).mkdir()
    (photos / "old" / "empty.png").touch()
    _ingest(store, photos)
    (photos / "old" / "empty.png").unlink()
    assert _prune(store).rejects == 1
    assert rejects(store) == [("ingest-images", printable(odd), "directory")]


@pytest.mark.parametrize("start", ["/", "//"])
def test_paths_of_a_source_that_does_not_mend_them(store: Store, photos: Path, start: str) -> None:
    names = ("old//red.png", "new//./pink.png", "new//sub/cyan.png")
    uris = [f"{start}{str(photos)[1:]}//{name}" for name in names]
    (photos / "new" / "sub").mkdir()
    colour_image("cyan").save(photos / "new" / "sub" / "cyan.png")
    assert ingest_images(store, ColourEncoder(), _Listed(uris)).added == 3
    shutil.rmtree(photos / "new")
    with pytest.raises(StoreError, match=rf"{photos / 'new'}: none of the store's photos is there"):
        _prune(store)
    shutil.rmtree(photos)
    assert _prune(store, lost_folders=True).gone == 3


class _Listed:
    """A source of a plugin, which gives paths as it likes."""

    name, ignored, notes = "listed", 0, ()

    def __init__(self, uris: list[str]) -> None:
        self._uris = uris

    def count(self) -> int:
        return len(self._uris)

    def __iter__(self) -> Iterator[SourceImage | Reject]:
        return (SourceImage(uri=uri) for uri in self._uris)


def test_images_that_never_were_files_stay(store: Store, photos: Path) -> None:
    np.save(photos.parent / "v.npy", np.ones((3, 8), np.float32))
    lines = "".join(f'{{"id": "{name}"}}\n' for name in ("https://x.org/a.jpg", "b", "/data/c"))
    (photos.parent / "v.jsonl").write_text(lines, encoding="utf-8")
    ingest_image_vectors(store, "v0", photos.parent / "v.npy")
    _ingest(store, photos)
    (photos / "old" / "red.png").unlink()
    done = _prune(store)
    assert (done.images, done.gone) == (8, 1)
    assert store.count("images") == 10


def test_vectors_of_replaced_contents_go_once_they_are_settled(store: Store, photos: Path) -> None:
    _ingest(store, photos, regions=2)
    colour_image("cyan").save(photos / "old" / "red.png")
    assert _ingest(store, photos).replaced == 1
    assert store.count("image_vectors", ID) == 9
    # They could be those of a job that has not committed their images yet.
    assert _prune(store).vectors == 0
    found = verify_store(store.uri, older_than=NOW)
    assert found.sound
    assert [(one.code, one.severity) for one in found.findings] == [("dangling-id", "warning")] * 2
    assert {one.remedy.partition(",")[0] for one in found.findings} == {
        "run 'taistore prune --apply'"
    }
    assert _prune(store, settled=NOW, apply=False).vectors == 2
    assert _prune(store, settled=NOW).vectors == 2
    assert verify_store(store.uri, older_than=NOW).findings == ()
    left = _left(store)
    assert left["images"] == left["image_vectors"] == left["region_vectors"]


@pytest.mark.parametrize("after", [False, True])
def test_killed_at_any_write_and_run_again_ends_the_same(
    tmp_path: Path, photos: Path, monkeypatch: pytest.MonkeyPatch, after: bool
) -> None:
    monkeypatch.setattr(prune_module, "BLOCK", 2)
    (photos / "old" / "bad.png").touch()
    shutil.copy(photos / "old" / "green.png", photos / "old" / "copy.png")
    Store.create(tmp_path / "calm", LABELS, default_encoder="colour@32")
    _ingest(Store.open(tmp_path / "calm"), photos, regions=2)
    for path in [*(photos / "old").glob("[!y]*"), photos / "new" / "pink.png"]:
        path.unlink()
    kills = 0
    for fatal in range(1, 40):
        shutil.copytree(tmp_path / "calm", tmp_path / "killed")
        store = Store.open(tmp_path / "killed")
        with monkeypatch.context() as patch:
            dying = _Dying(fatal, after=after)
            patch.setattr(Store, "replace", dying.wrap(Store.replace))
            patch.setattr(Store, "remove", dying.wrap(Store.remove))
            try:
                _prune(store)
                ended = True
            except Killed:
                ended = False
                kills += 1
        _prune(store, settled=NOW)
        left = _left(store)
        assert left["images"] == left["image_vectors"] == left["region_vectors"], fatal
        assert set(images(store)) == {"yellow.png", "orange.png", "purple.png", "brown.png"}
        assert store.count("rejects") == 0
        shutil.rmtree(tmp_path / "killed")
        if ended:
            break
    assert kills >= 6


class _Dying:
    """Counts writes and dies at one of them, before or after it."""

    def __init__(self, fatal: int, *, after: bool) -> None:
        self._left = fatal
        self._after = after

    def wrap(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*arguments: Any, **options: Any) -> Any:
            self._left -= 1
            if self._left == 0 and not self._after:
                raise Killed
            done = function(*arguments, **options)
            if self._left == 0:
                raise Killed
            return done

        return wrapped


def test_a_photo_that_another_job_finds_elsewhere_meanwhile_stays(
    store: Store, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _ingest(store, photos)
    (photos / "old" / "red.png").rename(photos / "new" / "moved.png")

    def overtaken(*arguments: Any) -> Any:
        found = look_for(*arguments)
        _ingest(Store.open(store.uri), photos)
        return found

    monkeypatch.setattr(prune_module, "look_for", overtaken)
    assert _prune(store).vectors == 0
    assert store.count("images") == store.count("image_vectors", ID) == 8
    assert "moved.png" in images(store)
