"""Every way in which a photo may be stored, and every way in which it may be broken."""

import functools
import io
import os
import struct
import subprocess
import sys
import threading
import time
import warnings
from pathlib import Path

import numpy as np
import pytest
import skimage
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image
from PIL.TiffImagePlugin import TiffImageFile

from taistore.errors import ImageError
from taistore.images.decoding import (
    MAX_PIXELS,
    PIXEL_BYTES,
    decode_image,
    image_id,
    read_file,
    upright_rgb,
)
from tests.images.odd_files import png, without_rights

PHOTOS = Path(skimage.__file__).parent / "data"


def _encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def _pixels(data: bytes) -> NDArray[np.int16]:
    return np.asarray(decode_image(data)).astype(np.int16)


@pytest.fixture(scope="module")
def photo() -> Image.Image:
    return Image.open(PHOTOS / "astronaut.png").convert("RGB").resize((96, 64))


def _reason(data: bytes, **options: int) -> str:
    with pytest.raises(ImageError) as caught:
        decode_image(data, **options)
    assert "\n" not in str(caught.value)
    return caught.value.reason


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP"])
def test_every_exif_orientation_comes_out_upright(
    photo: Image.Image, orientation: int, kind: str
) -> None:
    # The inverse of each turn, so that showing it with its orientation gives the photo again.
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
    options: dict[str, object] = {"quality": 95} if kind == "JPEG" else {"lossless": True}
    shown = decode_image(_encoded(stored, kind, exif=exif, **options))
    assert shown.size == photo.size
    difference = np.abs(np.asarray(shown).astype(int) - np.asarray(photo).astype(int))
    assert difference.mean() < (6 if kind == "JPEG" else 1e-9)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP"])
def test_an_upright_image_is_not_turned_again(photo: Image.Image, kind: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    shown = decode_image(_encoded(photo, kind, exif=exif))
    assert shown.size == photo.size[::-1]
    assert upright_rgb(shown) is shown


def test_damaged_exif_does_not_lose_the_photo(photo: Image.Image) -> None:
    data = _encoded(photo, "JPEG", exif=b"Exif\x00\x00II*\x00\xff\xff\xff\xff" + b"\xff" * 40)
    assert decode_image(data).size == photo.size


def test_cmyk(photo: Image.Image) -> None:
    data = _encoded(photo.convert("CMYK"), "JPEG", quality=95)
    assert Image.open(io.BytesIO(data)).mode == "CMYK"
    assert np.abs(_pixels(data) - np.asarray(photo)).mean() < 8


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_bits_are_scaled_not_clipped(kind: str) -> None:
    ramp = np.linspace(0, 65535, 256 * 8).round().astype(np.uint16).reshape(8, 256)
    shown = _pixels(_encoded(Image.fromarray(ramp), kind))
    expected = np.rint(ramp / 257.0)
    assert np.abs(shown - expected[..., None]).max() == 0


@pytest.mark.parametrize(
    ("values", "white"), [((0.0, 1.0), 255), ((0.0, 200.0), 200), ((-3.0, 3.0), 255)]
)
def test_float_tiff_is_scaled_by_its_range(values: tuple[float, float], white: int) -> None:
    levels = np.full((4, 6), values[0], dtype=np.float32)
    levels[:, 3:] = values[1]
    levels[0, 0] = np.nan
    shown = _pixels(_encoded(Image.fromarray(levels), "TIFF"))
    assert shown[1, 0].tolist() == [0, 0, 0]
    assert shown[1, 5].tolist() == [white] * 3


def test_thirty_two_bit_integers_are_scaled_by_their_range() -> None:
    levels = np.array([[0, 70000, 140000]], dtype=np.int32)
    assert _pixels(_encoded(Image.fromarray(levels), "TIFF"))[0, :, 0].tolist() == [0, 128, 255]


@pytest.mark.parametrize("mode", ["RGBA", "LA", "PA"])
@pytest.mark.parametrize("alpha", [0, 128, 255])
def test_transparency_lies_on_white(mode: str, alpha: int) -> None:
    plain = Image.new("RGBA", (5, 4), (40, 40, 40, alpha))
    if mode == "PA":
        data = _encoded(plain.quantize(4), "PNG")
    else:
        data = _encoded(plain.convert(mode), "PNG")
    expected = round(40 * alpha / 255 + 255 * (255 - alpha) / 255)
    assert np.abs(_pixels(data) - expected).max() <= 1


@pytest.mark.parametrize("mode", ["P", "L", "RGB", "1"])
def test_one_transparent_colour_lies_on_white(mode: str) -> None:
    image = Image.new("RGB", (4, 2), "black").convert(mode)
    key = (0, 0, 0) if mode == "RGB" else 0
    assert _pixels(_encoded(image, "PNG", transparency=key)).min() == 255
    assert _pixels(_encoded(image, "PNG")).max() == 0


def test_palette_keeps_its_colours(photo: Image.Image) -> None:
    palette = photo.quantize(64)
    for kind in ("PNG", "GIF"):
        np.testing.assert_array_equal(
            _pixels(_encoded(palette, kind)), np.asarray(palette.convert("RGB"))
        )


def test_one_bit() -> None:
    image = Image.fromarray(np.eye(8, dtype=bool))
    np.testing.assert_array_equal(_pixels(_encoded(image, "PNG"))[..., 0], np.eye(8) * 255)


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "TIFF", "MPO"])
def test_animations_give_their_first_frame(kind: str) -> None:
    frames = [Image.new("RGB", (16, 16), colour) for colour in ("red", "lime", "blue")]
    options: dict[str, object] = {"lossless": True} if kind == "WEBP" else {}
    data = _encoded(frames[0], kind, save_all=True, append_images=frames[1:], **options)
    assert np.abs(_pixels(data)[8, 8] - [255, 0, 0]).max() <= 2


@pytest.mark.parametrize("name", ["rocket.jpg", "no_time_for_that_tiny.gif", "multipage.tif"])
def test_real_photos(name: str) -> None:
    image = decode_image(read_file(PHOTOS / name))
    assert image.mode == "RGB"
    assert np.asarray(image).std() > 5


def test_a_pixel_bomb_is_refused_by_its_header() -> None:
    assert _reason(png(30_000, 30_000)) == "too_large"
    assert _reason(png(10_001, 10_000)) == "too_large"
    assert _reason(png(30, 30), max_pixels=899) == "too_large"
    # Within the limit the same file is opened, and found to lack its pixels.
    assert MAX_PIXELS == 100_000_000
    assert _reason(png(30, 30)) in ("truncated", "corrupt")


def test_a_size_of_nothing_is_refused() -> None:
    assert _reason(b"GIF89a" + bytes(7)) in ("corrupt", "truncated")


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "WEBP", "TIFF", "BMP"])
@pytest.mark.parametrize("part", [0.02, 0.5, 0.9])
def test_cut_off_files(photo: Image.Image, kind: str, part: float) -> None:
    data = _encoded(photo, kind)
    reason = _reason(data[: max(12, int(len(data) * part))])
    assert reason in ("truncated", "corrupt")
    if kind == "JPEG":
        assert reason == "truncated"


def test_things_that_are_no_images() -> None:
    assert _reason(b"") == "empty"
    assert _reason(b"hello, this is text\n") == "not_an_image"
    assert _reason(b"<svg xmlns='http://www.w3.org/2000/svg'/>") == "not_an_image"
    # Pillow would hand this one to Ghostscript.
    assert _reason(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n") == "not_an_image"


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_damage_gives_an_image_or_an_image_error(data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from(["JPEG", "PNG", "GIF", "WEBP", "TIFF", "BMP"]))
    photo = bytearray(_small_photo(kind))
    for _ in range(data.draw(st.integers(1, 8))):
        photo[data.draw(st.integers(0, len(photo) - 1))] = data.draw(st.integers(0, 255))
    image, message = None, ""
    try:
        image = decode_image(bytes(photo), max_pixels=1_000_000)
    except ImageError as error:
        message = str(error)
    assert "\n" not in message
    if image is None:
        assert message
    else:
        assert image.mode == "RGB"
        assert np.asarray(image).shape == (image.height, image.width, 3)


@functools.cache
def _small_photo(kind: str) -> bytes:
    image = Image.open(PHOTOS / "chelsea.png").convert("RGB").resize((40, 30))
    exif = Image.Exif()
    exif[0x0112] = 6
    return _encoded(image, kind, **({"exif": exif} if kind not in ("GIF", "BMP") else {}))


# --- files -------------------------------------------------------------------------------------


def _file_reason(path: Path, **options: int) -> str:
    with pytest.raises(ImageError) as caught:
        read_file(path, **options)
    return caught.value.reason


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "x.jpg").mkdir()
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "large.jpg").write_bytes(bytes(100))
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "loop.jpg").symlink_to(tmp_path / "loop.jpg")
    assert _file_reason(tmp_path / "gone.jpg") == "missing"
    assert _file_reason(tmp_path / "x.jpg") == "directory"
    assert _file_reason(tmp_path / "empty.jpg") == "empty"
    assert _file_reason(tmp_path / "large.jpg", max_bytes=99) == "too_large"
    assert _file_reason(tmp_path / "pipe.jpg") == "not_a_file"
    assert _file_reason(tmp_path / "loop.jpg") == "unreadable"
    assert _file_reason(tmp_path / "nul\0.jpg") == "unreadable"
    assert read_file(tmp_path / "large.jpg", max_bytes=100) == bytes(100)


def test_a_file_without_permission(tmp_path: Path) -> None:
    path = tmp_path / "secret.jpg"
    path.write_bytes(b"x")
    path.chmod(0)
    with without_rights():
        assert _file_reason(path) == "no_permission"


def test_reading_leaves_no_descriptor_open(tmp_path: Path) -> None:
    (tmp_path / "x.jpg").mkdir()
    free = os.dup(0)
    os.close(free)
    _file_reason(tmp_path / "x.jpg")
    again = os.dup(0)
    os.close(again)
    assert again == free


def test_the_identity_is_that_of_the_bytes() -> None:
    assert image_id(b"a") == image_id(b"a") != image_id(b"b")
    assert len(image_id(b"a")) == 32


# --- warnings ----------------------------------------------------------------------------------


def test_pillow_warns_nobody_while_decoding() -> None:
    # 100 million pixels: Pillow warns of a bomb, we allow it.
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert _reason(png(10_000, 10_000)) in ("truncated", "corrupt")
    assert not caught


def test_other_warnings_and_threads_are_left_alone() -> None:
    decode_image(_small_photo("PNG"))
    with pytest.warns(Image.DecompressionBombWarning):
        Image.open(io.BytesIO(png(10_000, 10_000)))
    failures: list[Warning] = []

    def elsewhere() -> None:
        try:
            Image.open(io.BytesIO(png(10_000, 10_000)))
        except Warning as warning:
            failures.append(warning)

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    assert len(failures) == 1


def _many_scans(count: int, size: tuple[int, int]) -> bytes:
    """A progressive JPEG whose last scan, a few bytes, comes so many times."""
    data = _encoded(Image.new("L", size, 90), "JPEG", progressive=True)
    last = data.rindex(b"\xff\xda")
    return data[:last] + data[last:-2] * count + data[-2:]


def test_a_jpeg_of_thousands_of_scans_is_given_up() -> None:
    data = _many_scans(5000, (2000, 2000))
    started = time.thread_time()
    with pytest.raises(ImageError, match=r"more than 0\.2 s to decode it") as caught:
        decode_image(data, max_seconds=0.2)
    assert caught.value.reason == "too_slow"
    assert time.thread_time() - started < 2
    assert decode_image(_many_scans(70, (60, 60))).size == (60, 60)


def test_a_tiff_whose_tile_is_far_larger_than_its_picture_is_refused() -> None:
    data = bytearray(_encoded(Image.new("L", (64, 64)), "TIFF", compression="tiff_adobe_deflate"))
    with Image.open(io.BytesIO(bytes(data))) as image:
        assert isinstance(image, TiffImageFile)
        entries = {tag: image.tag_v2[tag] for tag in (273, 278, 279)}
    assert entries[278] == 64
    (start,), (length,) = entries[273], entries[279]
    at = int.from_bytes(data[4:8], "little")
    rows = [bytes(data[at + 2 + 12 * n : at + 14 + 12 * n]) for n in range(data[at])]
    kept = [row for row in rows if struct.unpack("<H", row[:2])[0] not in entries]
    tile = [(322, 40_000), (323, 40_000), (324, start), (325, length)]
    kept += [struct.pack("<HHII", tag, 4, 1, value) for tag, value in tile]
    kept.sort(key=lambda row: struct.unpack("<H", row[:2])[0])
    lying = bytes(data) + struct.pack("<H", len(kept)) + b"".join(kept) + bytes(4)
    lying = lying[:4] + struct.pack("<I", len(data)) + lying[8:]
    assert _reason(lying) == "too_large"


def test_jpeg_2000_has_a_bound_of_its_own() -> None:
    with pytest.raises(ImageError, match="at most 25,000,000 in all"):
        decode_image(_encoded(Image.new("1", (6000, 5000)).convert("L"), "JPEG2000"))


def test_memory_is_bounded(tmp_path: Path) -> None:
    size = (4000, 3000)
    for mode, kind, orientation in (("RGBA", "PNG", 6), ("LA", "PNG", 1), ("F", "TIFF", 6)):
        exif = Image.Exif()
        exif[0x0112] = orientation
        Image.new(mode, size).save(tmp_path / f"large {mode}", kind, exif=exif)
    (tmp_path / "a small one").write_bytes(_small_photo("PNG"))
    script = (
        "import resource, sys\n"
        "from pathlib import Path\n"
        "from taistore.encoders.pixels import PixelFitter\n"
        "from taistore.images.decoding import decode_image, read_file\n"
        "fit = PixelFitter(resolution=224, resize='squash')\n"
        "for path in sorted(Path(sys.argv[1]).iterdir()):\n"
        "    fit(decode_image(read_file(path)))\n"
        "    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=True,
    )
    before, *peaks = map(int, run.stdout.split())
    assert len(peaks) == 3
    assert (max(peaks) - before) * 1024 < PIXEL_BYTES * size[0] * size[1]
