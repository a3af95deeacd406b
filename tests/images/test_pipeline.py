"""Streaming decode and encode: order, bounds, early ends and files that change underway."""

import threading
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from taistore.encoders.protocol import ImageVectors
from taistore.errors import ImageError
from taistore.images import ordered_map as reading
from taistore.images import photo_files
from taistore.images.decoding import MAX_SIDE, image_id
from taistore.images.ordered_map import ordered_map
from taistore.images.photo_files import ReadImage, read_blocks
from taistore.images.pipeline import EncodedBatch, Task, Work, encode_source
from taistore.images.sources.folder import FolderSource
from taistore.images.sources.source import SourceImage
from taistore.store.rejects import Reject
from tests.fakes import COLOURS, ColourEncoder, colour_image


def _photos(folder: Path, count: int) -> list[SourceImage]:
    folder.mkdir(exist_ok=True)
    names = list(COLOURS)
    for i in range(count):
        pair = names[i % len(names)], names[(i * 5 + 1) % len(names)]
        colour_image(*pair, size=(60 + i, 40)).save(folder / f"{i:03}.png")
    return [SourceImage(uri=str(folder / f"{i:03}.png")) for i in range(count)]


def _rows(batches: list[EncodedBatch]) -> list[tuple[str, bytes]]:
    return [
        (Path(image.source.uri).name, batch.vectors.whole[image.row].tobytes())
        for batch in batches
        for image in batch.images
        if image.row is not None
    ]


@pytest.mark.parametrize("workers", [1, 4])
@pytest.mark.parametrize("batch_size", [1, 7, 64])
def test_vectors_come_in_order_whatever_the_batch(
    tmp_path: Path, workers: int, batch_size: int
) -> None:
    images = _photos(tmp_path, 20)
    encoder = ColourEncoder()
    batches = list(encode_source(encoder, images, batch_size=batch_size, workers=workers))
    assert [len(batch.images) for batch in batches[:-1]] == [batch_size] * (len(batches) - 1)
    alone = _rows([next(encode_source(encoder, [image])) for image in images])
    assert _rows(batches) == alone
    sizes = [image.size for batch in batches for image in batch.images]
    assert sizes == [(60 + i, 40) for i in range(20)]
    ids = [image.source.image_id for batch in batches for image in batch.images]
    assert ids == [image_id(Path(image.uri).read_bytes()) for image in images]


def test_a_folder_source_streams_straight_in(tmp_path: Path) -> None:
    _photos(tmp_path, 3)
    (batch,) = encode_source(ColourEncoder(), FolderSource(tmp_path), regions=2)
    assert batch.vectors.whole.shape == (3, 32)
    assert batch.vectors.regions is not None
    assert batch.vectors.regions.shape == (3, 4, 32)


def test_rejects_and_skips_travel_between_the_images(tmp_path: Path) -> None:
    images = _photos(tmp_path, 6)
    Path(images[1].uri).write_bytes(b"no image")
    Path(images[4].uri).unlink()
    earlier = Reject(uri="m.csv: line 3", reason="malformed", detail="x")
    skipped = Task(replace(images[2], image_id="a" * 32), Work.SKIP)
    measured = Task(images[3], Work.MEASURE)
    items: list[SourceImage | Task | Reject] = [
        images[0],
        images[1],
        skipped,
        measured,
        earlier,
        images[4],
        images[5],
    ]
    (batch,) = encode_source(ColourEncoder(), items, batch_size=8)
    assert [(image.row, image.size) for image in batch.images] == [
        *((0, (60, 40)), (None, None), (None, (63, 40)), (1, (65, 40)))
    ]
    assert [reject.reason for reject in batch.rejects] == ["not_an_image", "malformed", "missing"]
    assert len(batch.vectors.whole) == 2


def test_nothing_to_encode_gives_empty_vectors(tmp_path: Path) -> None:
    items = [Reject(uri="x", reason="missing", detail="x")]
    (batch,) = encode_source(ColourEncoder(), items, regions=3)
    assert batch.vectors.whole.shape == (0, 32)
    assert batch.vectors.regions is not None
    assert batch.vectors.regions.shape == (0, 9, 32)
    assert list(encode_source(ColourEncoder(), [])) == []


def test_a_file_that_is_not_what_its_image_id_says_is_rejected(tmp_path: Path) -> None:
    images = _photos(tmp_path, 2)
    known = [replace(image, image_id=image_id(Path(image.uri).read_bytes())) for image in images]
    colour_image("red").save(images[0].uri)
    (batch,) = encode_source(ColourEncoder(), known)
    assert [reject.reason for reject in batch.rejects] == ["changed"]
    assert [Path(image.source.uri).name for image in batch.images] == ["001.png"]


def test_bytes_that_a_task_brings_are_not_read_again(tmp_path: Path) -> None:
    (image,) = _photos(tmp_path, 1)
    (block,) = read_blocks([image])
    (read,) = block
    assert isinstance(read, ReadImage)
    Path(image.uri).unlink()
    (batch,) = encode_source(ColourEncoder(), [Task(read.image, Work.ENCODE, read.data)])
    assert [image.size for image in batch.images] == [(60, 40)]


def test_blocks_keep_order_and_rejects(tmp_path: Path) -> None:
    images = _photos(tmp_path, 4)
    Path(images[1].uri).write_bytes(b"")
    known = replace(images[3], image_id="a" * 32, uri=str(tmp_path / "never-opened"))
    items = [images[2], images[1], known, images[0]]
    blocks = list(read_blocks(items, workers=3, size=3))
    assert [len(block) for block in blocks] == [3, 1]
    found = [
        item.reason if isinstance(item, Reject) else (item.image.image_id, item.data)
        for block in blocks
        for item in block
    ]
    two, zero = Path(images[2].uri).read_bytes(), Path(images[0].uri).read_bytes()
    assert found == [(image_id(two), two), "empty", ("a" * 32, None), (image_id(zero), zero)]


def test_blocks_hold_a_bounded_number_of_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (photo_files, reading):
        monkeypatch.setattr(module, "READ_BYTES", 1000)
    images = [SourceImage(uri=str(tmp_path / f"{i:02}.jpg")) for i in range(20)]
    for image in images:
        Path(image.uri).write_bytes(image.uri.encode().ljust(300))
    asked: list[SourceImage] = []

    def items() -> Iterator[SourceImage]:
        for image in images:
            asked.append(image)
            yield image

    with closing(read_blocks(items(), workers=2)) as blocks:
        first = next(blocks)
        # Four files in the block, at most three read ahead, one asked for but not read.
        assert len(first) == 4
        assert len(asked) <= 8
        assert [len(block) for block in blocks] == [4] * 4


@pytest.mark.parametrize("error", [MemoryError(), ValueError("a strip\nof nothing"), OSError(5)])
def test_a_photo_that_the_encoder_cannot_prepare_is_a_reject(
    tmp_path: Path, error: Exception
) -> None:
    class Picky(ColourEncoder):
        def prepare(self, image: Image.Image) -> NDArray[np.uint8]:
            if image.width == 61:
                raise error
            return super().prepare(image)

    (batch,) = encode_source(Picky(), _photos(tmp_path, 3))
    (reject,) = batch.rejects
    assert (Path(reject.uri).name, len(batch.images)) == ("001.png", 2)
    assert reject.reason == ("too_large" if isinstance(error, MemoryError) else "failed")
    assert "\n" not in reject.detail


def test_a_strip_of_ninety_million_pixels_is_a_reject(tmp_path: Path) -> None:
    (image,) = _photos(tmp_path, 1)
    for name, size in (("wide", (90_000_000, 1)), ("high", (1, MAX_SIDE + 1))):
        Image.new("1", size).save(tmp_path / f"{name}.png")
    strips = [SourceImage(uri=str(tmp_path / f"{name}.png")) for name in ("wide", "high")]
    (batch,) = encode_source(ColourEncoder(), [*strips, image])
    assert [reject.reason for reject in batch.rejects] == ["too_large", "too_large"]
    assert "at most 65,535 along a side" in batch.rejects[0].detail
    assert len(batch.images) == 1


def test_ordered_map_stays_within_its_bound_and_ends_its_threads() -> None:
    started: list[int] = []
    running = threading.active_count()

    def note(item: int) -> int:
        started.append(item)
        return item

    with closing(ordered_map(note, iter(range(1000)), workers=3, ahead=10)) as results:
        assert [next(results) for _ in range(5)] == [0, 1, 2, 3, 4]
        assert len(started) <= 15
    assert threading.active_count() == running


def test_ordered_map_holds_a_bounded_number_of_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "READ_BYTES", 100)
    started: list[int] = []

    def note(item: int) -> int:
        started.append(item)
        return item

    def taken(cost: int) -> int:
        started.clear()
        with closing(
            ordered_map(note, iter(range(99)), workers=3, ahead=50, cost=lambda _: cost)
        ) as results:
            assert [next(results) for _ in range(4)] == [0, 1, 2, 3]
            return len(started)

    # Whatever they cost, every thread has work.
    assert (taken(1000) <= 7, taken(20) <= 9, taken(0) <= 54) == (True, True, True)
    assert list(ordered_map(note, range(99), workers=3, ahead=50, cost=lambda i: i * 7)) == list(
        range(99)
    )


def test_an_item_that_hangs_is_left_behind_and_the_rest_goes_on() -> None:
    never, running = threading.Event(), threading.active_count()

    def work(item: int) -> int:
        if item in {2, 5}:
            never.wait()
        return item

    results = ordered_map(work, range(9), workers=1, ahead=4, late=lambda item: -item, seconds=0.1)
    assert list(results) == [0, 1, -2, 3, 4, -5, 6, 7, 8]
    assert threading.active_count() == running + 2
    never.set()
    for thread in [t for t in threading.enumerate() if t.name == "taistore-images"]:
        thread.join(20)
    assert threading.active_count() == running


def test_threads_that_hang_share_one_wait() -> None:
    never = threading.Event()
    results = ordered_map(
        lambda item: item == 0 or never.wait(),
        range(7),
        workers=6,
        ahead=7,
        late=lambda item: False,
        seconds=0.5,
    )
    assert next(results) is True
    began = time.monotonic()
    results.close()
    took = time.monotonic() - began
    never.set()
    for thread in [t for t in threading.enumerate() if t.name == "taistore-images"]:
        thread.join(20)
    # Half a second for all; one wait a thread would be three and more.
    assert took < 2.5


def test_only_so_many_items_are_left_behind() -> None:
    never = threading.Event()
    results = ordered_map(
        lambda item: never.wait(),
        range(99),
        workers=2,
        ahead=4,
        late=lambda item: False,
        seconds=0.1,
    )
    with pytest.raises(ImageError, match="8 photos have not come to an end") as caught:
        list(results)
    assert caught.value.reason == "too_slow"
    never.set()
    for thread in [t for t in threading.enumerate() if t.name == "taistore-images"]:
        thread.join(20)


def test_a_photo_whose_preparing_hangs_is_a_reject(tmp_path: Path) -> None:
    never = threading.Event()

    class Slow(ColourEncoder):
        def prepare(self, image: Image.Image) -> NDArray[np.uint8]:
            if image.width == 61:
                never.wait()
            return super().prepare(image)

    (batch,) = encode_source(Slow(), _photos(tmp_path, 4), seconds=0.2)
    never.set()
    assert [(Path(r.uri).name, r.reason) for r in batch.rejects] == [("001.png", "too_slow")]
    assert len(batch.images) == 3


def test_an_encoder_that_fails_ends_the_stream_and_its_threads(tmp_path: Path) -> None:
    class Broken(ColourEncoder):
        def encode_images(self, pixels: NDArray[np.uint8], *, regions: int = 0) -> ImageVectors:
            raise RuntimeError("no more memory")

    running = threading.active_count()
    with pytest.raises(RuntimeError, match="no more memory"):
        list(encode_source(Broken(), _photos(tmp_path, 9), batch_size=2))
    assert threading.active_count() == running
