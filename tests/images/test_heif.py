"""HEIC: upright, bounded, and set aside with the command that helps where nothing reads it."""

import importlib.util
import io
import os
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import skimage
from numpy.typing import NDArray
from PIL import Image

from taistore.errors import ImageError
from taistore.images.decoding import PIXEL_BYTES, decode_image
from taistore.images.ingest import ingest_images
from taistore.images.sources.folder import FolderSource
from taistore.labels import Label, LabelSet
from taistore.store.store import Store
from tests.fakes import ColourEncoder, colour_image

installed = importlib.util.find_spec("pillow_heif") is not None
needs_heif = pytest.mark.skipif(
    not installed, reason="needs pillow-heif: pip install 'taistore[heic]'"
)

LABELS = LabelSet([Label("red", "red")])
HEADER = b"\x00\x00\x00\x18ftypheic\x00\x00\x00\x00mif1heic" + bytes(40)


def _heic(image: Image.Image, **options: Any) -> bytes:
    import pillow_heif

    pillow_heif.register_heif_opener()
    file = io.BytesIO()
    image.save(file, "HEIF", **{"quality": 90, **options})
    return file.getvalue()


def _photo() -> Image.Image:
    path = Path(skimage.__file__).parent / "data" / "astronaut.png"
    return Image.open(path).convert("RGB").resize((96, 64))


def _pixels(image: Image.Image) -> NDArray[np.int16]:
    return np.asarray(image).astype(np.int16)


def _refusal(data: bytes, **options: int) -> ImageError:
    with pytest.raises(ImageError) as caught:
        decode_image(data, **options)
    assert "\n" not in str(caught.value)
    return caught.value


@needs_heif
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_heic_photo_comes_out_upright(orientation: int) -> None:
    photo = _photo()
    stored = {
        1: photo,
        2: photo.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
        3: photo.transpose(Image.Transpose.ROTATE_180),
        4: photo.transpose(Image.Transpose.FLIP_TOP_BOTTOM),
        5: photo.transpose(Image.Transpose.TRANSPOSE),
        6: photo.transpose(Image.Transpose.ROTATE_90),
        7: photo.transpose(Image.Transpose.TRANSVERSE),
        8: photo.transpose(Image.Transpose.ROTATE_270),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = _heic(stored, exif=exif.tobytes())
    # The file says it in boxes of its own.
    assert (b"irot" in data or b"imir" in data) == (orientation > 1)
    shown = decode_image(data)
    assert (shown.mode, shown.size) == ("RGB", photo.size)
    assert np.abs(_pixels(shown) - _pixels(photo)).mean() < 6


@needs_heif
def test_transparency_and_ten_bits() -> None:
    clear = Image.new("RGBA", (64, 64), (40, 40, 40, 0))
    assert _pixels(decode_image(_heic(clear))).min() > 250
    import pillow_heif

    ramp = np.repeat(np.linspace(0, 65535, 256).astype("<u2")[None, :, None], 64, 0).repeat(3, 2)
    file = io.BytesIO()
    pillow_heif.encode("RGB;16", (256, 64), ramp.tobytes(), file, quality=-1)
    shown = _pixels(decode_image(file.getvalue()))
    assert np.abs(shown[0, :, 0] - np.arange(256)).max() <= 3


@needs_heif
def test_a_tiled_photo_as_phones_write_it_is_one_picture() -> None:
    photo = _photo().resize((640, 480))
    shown = decode_image(_heic(photo, tile_size=256))
    assert shown.size == (640, 480)
    assert np.abs(_pixels(shown) - _pixels(photo)).mean() < 6


@needs_heif
def test_a_heic_is_refused_by_its_size_before_it_is_decoded() -> None:
    data = _heic(Image.new("RGB", (400, 300)))
    error = _refusal(data, max_pixels=100_000)
    assert (error.reason, "400 x 300 pixels" in str(error)) == ("too_large", True)


@needs_heif
def test_a_header_that_states_less_than_there_is_costs_no_memory() -> None:
    data = bytearray(_heic(Image.new("RGB", (1500, 1000))))
    place = data.find(b"ispe")
    data[place + 8 : place + 16] = struct.pack(">II", 64, 64)
    assert _refusal(bytes(data)).reason in ("corrupt", "too_large")


@needs_heif
@pytest.mark.parametrize("kept", [0.05, 0.3, 0.9])
def test_a_heic_that_ends_early_is_a_reject(kept: float) -> None:
    data = _heic(_photo())
    assert _refusal(data[: int(len(data) * kept)]).reason in ("corrupt", "truncated")


@needs_heif
def test_memory_is_bounded(tmp_path: Path) -> None:
    size = (2400, 1800)
    (tmp_path / "x.heic").write_bytes(_heic(Image.new("RGBA", size, (9, 99, 9, 99))))
    (tmp_path / "small.heic").write_bytes(_heic(_photo()))
    script = (
        "import resource, sys\n"
        "from taistore.images.decoding import decode_image, read_file\n"
        "for path in sys.argv[1:]:\n"
        "    decode_image(read_file(path))\n"
        "    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "small.heic"), str(tmp_path / "x.heic")],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=True,
    )
    small, large = map(int, run.stdout.split())
    assert (large - small) * 1024 < PIXEL_BYTES * size[0] * size[1]


@needs_heif
def test_a_folder_of_heic_photos_is_ingested(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "IMG_1.HEIC").write_bytes(_heic(colour_image("red", size=(64, 64))))
    (tmp_path / "photos" / "broken.heic").write_bytes(HEADER)
    store = Store.create(tmp_path / "store", LABELS, default_encoder="colour@32")
    summary = ingest_images(store, ColourEncoder(), FolderSource(tmp_path / "photos"))
    assert (summary.added, summary.rejected) == (1, 1)
    (row,) = (row for batch in store.scan("images") for row in batch.to_pylist())
    assert (row["width"], row["height"]) == (64, 64)


def test_without_the_extra_the_command_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    error = _refusal(HEADER)
    assert error.reason == "unsupported"
    assert str(error).endswith("not installed: pip install 'taistore[heic]'")


def test_avif_is_left_to_pillow() -> None:
    file = io.BytesIO()
    try:
        _photo().save(file, "AVIF")
    except (KeyError, OSError):
        pytest.skip("this Pillow writes no AVIF")
    data = file.getvalue()
    # As some cameras name it: the general brand first, AVIF among the others.
    general = data[:8] + b"mif1" + data[12:]
    assert decode_image(data).size == decode_image(general).size == (96, 64)
