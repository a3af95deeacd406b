"""Photos through an encoder that works by itself: copied ahead, vectors fetched one behind."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from taistore.encoders.open_clip.encoder import OpenClipEncoder, load_open_clip
from taistore.encoders.packaged.joined_encoder import PackagedEncoder, load_packaged
from taistore.encoders.protocol import DeviceEncoder, ImageVectors
from taistore.encoders.waiting_encoder import WaitingEncoder
from taistore.errors import EncoderError
from taistore.images.encoding import encode_each, encode_groups
from taistore.images.ingest import ingest_images
from taistore.images.pipeline import encode_source
from taistore.images.sources.folder import FolderSource
from taistore.store.store import Store
from tests.encoders.small_models import save
from tests.fakes import COLOURS, ColourEncoder, colour_image
from tests.images.test_ingest import LABELS, images, rejects
from tests.slow_device import SlowDevice

NEEDS_GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
CHOKING = 7


class SlowColours(ColourEncoder):
    """Colours on a slow device; ``steps`` says what was asked of it, in order.

    A batch with a picture whose first pixel is 7 fails when it is launched, or when it is fetched.
    """

    def __init__(self, *, fails: str = "launch") -> None:
        super().__init__()
        self.copies = SlowDevice(inline=True)
        self.steps: list[str] = []
        self._fails = fails

    def launch_images(self, pixels: Tensor, *, regions: int = 0) -> tuple[Tensor, Tensor | None]:
        self.steps.append("launch")
        found = super().encode_images(pixels.numpy(), regions=regions)
        choking_B = pixels[:, 0, 0, 0] == CHOKING
        if choking_B.any() and self._fails == "launch":
            raise RuntimeError("no")
        found.whole[choking_B.numpy()] = np.nan
        regions_BRD = None if found.regions is None else torch.from_numpy(found.regions)
        return torch.from_numpy(found.whole), regions_BRD

    def image_vectors(self, whole: Tensor, regions: Tensor | None) -> ImageVectors:
        self.steps.append("fetch")
        if not whole.isfinite().all() and self._fails == "fetch":
            raise EncoderError("overflows")
        return ImageVectors(whole.numpy(), None if regions is None else regions.numpy())

    def encode_images(self, pixels: NDArray[np.uint8], *, regions: int = 0) -> ImageVectors:
        self.steps.append("again")
        return self.image_vectors(*self.launch_images(torch.from_numpy(pixels), regions=regions))


def groups(*sizes: int, bad: int = -1) -> Iterator[tuple[str, list[NDArray[np.uint8]]]]:
    """Groups named by their number, of grey pictures; the ``bad`` one cannot be encoded."""
    first = 0
    for number, size in enumerate(sizes):
        shades = [CHOKING if n == bad else 50 + n for n in range(first, first + size)]
        yield str(number), [np.full((3, 32, 32), shade, np.uint8) for shade in shades]
        first += size


def loaded(kind: str, folder: Path, *, device: str) -> OpenClipEncoder | PackagedEncoder:
    if kind == "packaged":
        return load_packaged("lite0", resolution=64, device=device)
    spec = f"open_clip:small-vit/{save('small-vit', folder)}"
    return load_open_clip(spec, device=device, precision="fp32")


def test_the_packaged_and_the_clip_encoder_are_of_that_kind(tmp_path: Path) -> None:
    for kind in ("open_clip", "packaged"):
        encoder = loaded(kind, tmp_path, device="cpu")
        assert isinstance(encoder, DeviceEncoder)
        assert encoder.copies is None
    assert not isinstance(ColourEncoder(), DeviceEncoder)


@pytest.mark.parametrize("kind", ["open_clip", "packaged"])
def test_their_three_steps_give_the_vectors_of_one(tmp_path: Path, kind: str) -> None:
    encoder = loaded(kind, tmp_path, device="cpu")
    side = encoder.info.resolution
    random = np.random.default_rng(0)
    batches = [list(random.integers(0, 256, (n, 3, side, side), np.uint8)) for n in (3, 2)]
    batches[0][1].flags.writeable = False
    plain = [encode_each(encoder, batch, regions=2)[0] for batch in batches]
    encoder.copies = SlowDevice(inline=True)
    found = [one.vectors for one in encode_groups(encoder, enumerate(batches), regions=2)]
    for one, other in zip(found, plain, strict=True):
        np.testing.assert_array_equal(one.whole, other.whole)
        assert one.regions is not None
        assert other.regions is not None
        np.testing.assert_array_equal(one.regions, other.regions)


@pytest.mark.parametrize("regions", [0, 2])
def test_the_vectors_are_those_of_the_plain_way(regions: int) -> None:
    sizes = (3, 3, 0, 5, 1)
    encoder = SlowColours()
    found = list(encode_groups(encoder, groups(*sizes), regions=regions))
    plain = list(encode_groups(ColourEncoder(), groups(*sizes), regions=regions))
    assert [one.group for one in found] == [one.group for one in plain]
    for one, other in zip(found, plain, strict=True):
        np.testing.assert_array_equal(one.vectors.whole, other.vectors.whole)
        assert (one.vectors.regions is None) == (not regions)
        if one.vectors.regions is not None:
            np.testing.assert_array_equal(one.vectors.regions, other.vectors.regions)
        assert one.failed == {}
        assert one.seconds >= 0


def test_a_group_is_launched_before_the_one_before_is_fetched() -> None:
    encoder = SlowColours()
    list(encode_groups(encoder, groups(2, 2, 2)))
    assert encoder.steps == ["launch", "launch", "fetch", "launch", "fetch", "fetch"]


@pytest.mark.parametrize("fails", ["launch", "fetch", "quietly"])
def test_a_photo_that_its_batch_fails_for_is_found(fails: str) -> None:
    first, second, third = encode_groups(SlowColours(fails=fails), groups(4, 4, 4, bad=5))
    assert (first.failed, list(second.failed), third.failed) == ({}, [1], {})
    pixels = [pixels for _, pixels in groups(4, 4, 4)]
    for one, photos in ((first, pixels[0]), (third, pixels[2])):
        np.testing.assert_array_equal(
            one.vectors.whole, encode_each(ColourEncoder(), photos)[0].whole
        )
    good = [pixels[1][n] for n in (0, 2, 3)]
    np.testing.assert_array_equal(second.vectors.whole, encode_each(ColourEncoder(), good)[0].whole)


def test_an_encoder_that_fails_for_every_picture_ends_the_stream() -> None:
    class Broken(SlowColours):
        def launch_images(
            self, pixels: Tensor, *, regions: int = 0
        ) -> tuple[Tensor, Tensor | None]:
            raise RuntimeError("the card fell off the bus")

    with pytest.raises(RuntimeError, match="fell off the bus"):
        list(encode_groups(Broken(), groups(2, 2)))


def photos(folder: Path) -> FolderSource:
    """Striped pictures of two colours each."""
    folder.mkdir(exist_ok=True)
    for n, (one, other) in enumerate(zip(COLOURS, reversed(COLOURS), strict=True)):
        colour_image(one, other).save(folder / f"{n:02}.png")
    return FolderSource(folder)


def test_a_folder_is_ingested_alike(tmp_path: Path) -> None:
    source = photos(tmp_path / "photos")
    (tmp_path / "photos" / "05.png").write_bytes(b"no picture")
    found, vectors = [], []
    for name, encoder in (("plain", ColourEncoder()), ("slow", SlowColours())):
        store = Store.create(tmp_path / name, LABELS, default_encoder="colour")
        ingest_images(store, encoder, source, batch_size=4, regions=2)
        rows = images(store)
        ids = sorted(row["image_id"] for row in rows.values())
        vectors.append(store.vectors("image_vectors", ids, encoder_id=encoder.info.encoder_id))
        found.append((rows, rejects(store), store.count("region_vectors", encoder.info.encoder_id)))
    assert found[1] == found[0]
    assert len(vectors[0]) == len(COLOURS) - 1
    np.testing.assert_array_equal(vectors[1], vectors[0])


def test_an_encoder_that_waited_works_by_itself_once_it_is_loaded(tmp_path: Path) -> None:
    slow = SlowColours()
    waiting = WaitingEncoder(slow.info, lambda: slow)
    store = Store.create(tmp_path / "store", LABELS, default_encoder="colour")
    ingest_images(store, waiting, photos(tmp_path / "photos"), batch_size=4, regions=2)
    assert set(slow.steps) == {"launch", "fetch"}
    assert store.count("image_vectors", slow.info.encoder_id) == len(COLOURS)


@NEEDS_GPU
@pytest.mark.parametrize("regions", [0, 3])
@pytest.mark.parametrize("kind", ["open_clip", "packaged"])
def test_a_gpu_encodes_a_folder_as_a_cpu_does(tmp_path: Path, kind: str, regions: int) -> None:
    source = photos(tmp_path / "photos")
    made = []
    for device in ("cpu", "cuda"):
        encoder = loaded(kind, tmp_path, device=device)
        batches = list(encode_source(encoder, source, batch_size=5, regions=regions))
        assert sum(len(batch.images) for batch in batches) == len(COLOURS)
        vectors = [batch.vectors.whole for batch in batches]
        for batch in batches:
            if batch.vectors.regions is not None:
                vectors.append(batch.vectors.regions.reshape(-1, encoder.info.dim))
        made.append(np.concatenate(vectors))
    cpu, gpu = made
    cosine = (cpu * gpu).sum(-1) / np.linalg.norm(cpu, axis=-1) / np.linalg.norm(gpu, axis=-1)
    assert (1 - cosine).max() < 1e-4
