"""Streaming decode and encode: order, bounds, early ends and files that change underway."""

import threading
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from taistore.encoders.protocol import ImageVectors
from taistore.images.decoding import image_id
from taistore.images.pipeline import (
    EncodedBatch,
    Task,
    Work,
    encode_source,
    identify,
    ordered_map,
)
from taistore.images.sources.folder import FolderSource
from taistore.images.sources.source import Reject, SourceImage
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


def test_a_file_that_changed_since_it_was_identified_is_rejected(tmp_path: Path) -> None:
    images = _photos(tmp_path, 2)
    known = list(identify(images))
    colour_image("red").save(images[0].uri)
    (batch,) = encode_source(ColourEncoder(), known)
    assert [reject.reason for reject in batch.rejects] == ["changed"]
    assert [Path(image.source.uri).name for image in batch.images] == ["001.png"]


def test_identify_keeps_order_and_rejects(tmp_path: Path) -> None:
    images = _photos(tmp_path, 3)
    Path(images[1].uri).write_bytes(b"")
    items = [images[2], images[1], images[0]]
    reasons = [
        item.reason if isinstance(item, Reject) else len(item.image_id)
        for item in identify(items, workers=3)
    ]
    assert reasons == [32, "empty", 32]


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


def test_an_encoder_that_fails_ends_the_stream_and_its_threads(tmp_path: Path) -> None:
    class Broken(ColourEncoder):
        def encode_images(self, pixels: NDArray[np.uint8], *, regions: int = 0) -> ImageVectors:
            raise RuntimeError("no more memory")

    running = threading.active_count()
    with pytest.raises(RuntimeError, match="no more memory"):
        list(encode_source(Broken(), _photos(tmp_path, 9), batch_size=2))
    assert threading.active_count() == running
