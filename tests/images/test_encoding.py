"""A batch of which one photo cannot be encoded: it is found, and the others have their vectors."""

import functools
import threading
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from taistore.encoders.protocol import ImageVectors
from taistore.images import encoding, ingest
from taistore.images.encoding import FailedContents, encode_each
from taistore.images.photo_files import read_blocks
from taistore.images.pipeline import encode_source
from taistore.images.sources.folder import FolderSource
from taistore.store.rejects import Reject
from taistore.store.store import Store
from tests.fakes import ColourEncoder, colour_image
from tests.images.test_ingest import LABELS, images, rejects


class Choking(ColourEncoder):
    """Cannot encode a batch that holds a picture whose first pixel is ``bad``."""

    def __init__(self, bad: int, error: Exception | None = None) -> None:
        super().__init__()
        self._bad = bad
        self._error = error

    def encode_images(self, pixels: NDArray[np.uint8], *, regions: int = 0) -> ImageVectors:
        bad_B = pixels[:, 0, 0, 0] == self._bad
        if bad_B.any() and self._error is not None:
            raise self._error
        vectors = super().encode_images(pixels, regions=regions)
        vectors.whole[bad_B] = np.nan
        return vectors


def _pixels(bad: list[bool]) -> list[NDArray[np.uint8]]:
    shape = (3, 32, 32)
    return [np.full(shape, 7 if is_bad else 50 + n, np.uint8) for n, is_bad in enumerate(bad)]


@given(bad=st.lists(st.booleans(), min_size=1, max_size=17), raises=st.booleans())
@settings(max_examples=40, deadline=None)
def test_the_bad_ones_are_found_and_the_others_are_as_alone(bad: list[bool], raises: bool) -> None:
    encoder = Choking(7, RuntimeError("no") if raises else None)
    pixels = _pixels(bad)
    vectors, failed = encode_each(encoder, pixels, regions=2)
    assert set(failed) == {n for n, is_bad in enumerate(bad) if is_bad}
    good = [p for p, is_bad in zip(pixels, bad, strict=True) if not is_bad]
    assert vectors.regions is not None
    assert vectors.regions.shape == (len(good), 4, 32)
    alone = [ColourEncoder().encode_images(p[None]).whole for p in good]
    np.testing.assert_allclose(vectors.whole, np.concatenate([np.empty((0, 32)), *alone]))


@pytest.mark.parametrize("error", [RuntimeError("no"), MemoryError(), None])
def test_it_is_a_reject_of_the_job(tmp_path: Path, error: Exception | None) -> None:
    for n, name in enumerate(("red", "green", "blue", "white", "cyan")):
        colour_image(name).save(tmp_path / f"{n}.png")
    first = int(ColourEncoder().prepare(colour_image("blue"))[0, 0, 0])
    (batch,) = encode_source(Choking(first, error), FolderSource(tmp_path))
    assert [Path(reject.uri).name for reject in batch.rejects] == ["2.png"]
    rows = [image.row for image in batch.images]
    assert (rows, len(batch.vectors.whole)) == ([0, 1, 2, 3], 4)


@pytest.mark.parametrize("fault", ["vector", "batch", "prepare", "hangs"])
@pytest.mark.parametrize("block", [2, 512])
def test_a_copy_fails_as_the_first_did(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str, block: int
) -> None:
    never = threading.Event()

    class Faulty(Choking):
        def prepare(self, image: Image.Image) -> NDArray[np.uint8]:
            if image.width == 61 and fault == "prepare":
                raise ValueError("no")
            if image.width == 61 and fault == "hangs":
                never.wait()
            return super().prepare(image)

    seconds = 0.3 if fault == "hangs" else 60
    monkeypatch.setattr(ingest, "read_blocks", functools.partial(read_blocks, size=block))
    monkeypatch.setattr(ingest, "encode_source", functools.partial(encode_source, seconds=seconds))
    store = Store.create(tmp_path / "store", LABELS, default_encoder="colour@32")
    folder = tmp_path / "photos"
    folder.mkdir()
    for n, name in enumerate(("red", "blue", "blue", "green", "blue")):
        size = (61 if name == "blue" else 64, 48)
        colour_image(name, size=size).save(folder / f"{n}.png")
    first = int(ColourEncoder().prepare(colour_image("blue"))[0, 0, 0])
    raised = RuntimeError("no") if fault == "batch" else None
    bad = first if fault in ("vector", "batch") else -1
    reason = {"vector": "not_finite", "hangs": "too_slow"}.get(fault, "failed")
    for there in (0, 2):
        summary = ingest.ingest_images(
            store, Faulty(bad, raised), FolderSource(folder), batch_size=2, commit_rows=1
        )
        assert (summary.already_there, summary.added, summary.rejected) == (there, 2 - there, 3)
        assert rejects(store) == [("ingest-images", f"{n}.png", reason) for n in (1, 2, 4)]
        assert sorted(images(store)) == ["0.png", "3.png"]
    never.set()


def test_only_so_many_failed_contents_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoding, "MOST_FAILURES", 2)
    failures = FailedContents()
    for name in ("a", "b", "a", "", "c"):
        failures.add(name, Reject(f"{name}.png", "failed", name))
    assert [failures.of(name, "x.png") for name in ("a", "", "b", "c")] == [
        None,
        None,
        Reject("x.png", "failed", "b"),
        Reject("x.png", "failed", "c"),
    ]
    failures.forget("b")
    assert failures.of("b", "x.png") is None


def test_an_encoder_that_takes_nothing_raises_its_own_error() -> None:
    with pytest.raises(RuntimeError, match="no device"):
        encode_each(Choking(128, RuntimeError("no device")), [np.full((3, 8, 8), 128, np.uint8)])
