"""Hostile image files, made from a seed: damaged, lying, odd, huge and no files at all."""

import io
import os
import random
import socket
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, PngImagePlugin

from tests.images.odd_files import png

FORMATS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "jpg": ("JPEG", "RGB", {}),
    "progressive.jpg": ("JPEG", "RGB", {"progressive": True}),
    "cmyk.jpg": ("JPEG", "CMYK", {}),
    "png": ("PNG", "RGBA", {}),
    "palette.png": ("PNG", "P", {"transparency": 0}),
    "deep.png": ("PNG", "I;16", {}),
    "gif": ("GIF", "P", {}),
    "webp": ("WEBP", "RGBA", {}),
    "lossless.webp": ("WEBP", "RGB", {"lossless": True}),
    "bmp": ("BMP", "RGB", {}),
    "tif": ("TIFF", "RGB", {"compression": "tiff_lzw"}),
    "float.tif": ("TIFF", "F", {}),
    "jp2": ("JPEG2000", "RGB", {}),
    "avif": ("AVIF", "RGB", {}),
    "ppm": ("PPM", "RGB", {}),
}
"""Each with its mode and how it is written."""


def images(seed: int = 10) -> Iterator[tuple[str, bytes]]:
    """More than 500 files by name, equal for equal seeds."""
    rng = random.Random(seed)
    for suffix in FORMATS:
        data = _whole(suffix, rng)
        yield f"whole.{suffix}", data
        for share in (1, 2, 3, 8, 20, 50, 80, 95, 99):
            yield f"cut {share}.{suffix}", data[: len(data) * share // 100]
        yield f"cut last.{suffix}", data[:-1]
        for number in range(12):
            yield f"flipped {number}.{suffix}", _flipped(data, rng, head=number < 6)
        for number in range(6):
            yield f"spliced {number}.{suffix}", _spliced(data, rng)
        for other in rng.sample(sorted(FORMATS), 3):
            yield f"called {suffix} is {other}.{suffix.split('.')[-1]}", _whole(other, rng)
        yield f"trailing.{suffix}", data + rng.randbytes(2000)
    yield from _made(rng)


def _whole(suffix: str, rng: random.Random) -> bytes:
    kind, mode, options = FORMATS[suffix]
    levels = np.random.default_rng(rng.randrange(2**32)).integers(0, 255, (30, 40, 3), np.uint8)
    image = Image.fromarray(levels)
    image = image.convert("I").convert(mode) if mode == "I;16" else image.convert(mode)
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def _flipped(data: bytes, rng: random.Random, *, head: bool) -> bytes:
    changed = bytearray(data)
    for _ in range(rng.choice([1, 3, 20])):
        place = rng.randrange(min(len(data), 120) if head else len(data))
        changed[place] ^= 1 << rng.randrange(8)
    return bytes(changed)


def _spliced(data: bytes, rng: random.Random) -> bytes:
    one, two = sorted(rng.randrange(len(data)) for _ in range(2))
    return data[:one] + rng.choice([b"", bytes(40), b"\xff" * 40, data[one:two] * 3]) + data[two:]


def _made(rng: random.Random) -> Iterator[tuple[str, bytes]]:
    sides = (0, 1, 65_535, 65_536, 100_000, 2**31 - 1, 90_000_000)
    for width in sides:
        for height in (1, 20_000, 2**31 - 1):
            yield f"says {width} x {height}.png", png(width, height)
            yield f"says {width} x {height} deep.png", png(width, height, depth=16)
    for mode in ("1", "L", "LA", "P", "RGB", "RGBA", "I;16"):
        buffer = io.BytesIO()
        Image.new(mode, (9, 7)).save(buffer, "PNG")
        yield f"mode {mode}.png", buffer.getvalue()
    for mode in ("1", "L", "CMYK", "YCbCr", "LAB", "F", "I", "I;16", "RGBA"):
        buffer = io.BytesIO()
        Image.new(mode, (9, 7)).save(buffer, "TIFF")
        yield f"mode {mode}.tif", buffer.getvalue()
    for kind, suffix in (("GIF", "gif"), ("WEBP", "webp"), ("PNG", "png"), ("TIFF", "tif")):
        frames = [Image.new("RGB", (8, 8), (n, 0, 0)) for n in range(40)]
        buffer = io.BytesIO()
        frames[0].save(buffer, kind, save_all=True, append_images=frames[1:])
        yield f"animated.{suffix}", buffer.getvalue()
    yield from _bombs(rng)
    yield "empty.jpg", b""
    yield "zeros.png", bytes(5000)
    yield "text.jpg", b"not an image\n" * 50
    yield "page.png", b"<svg xmlns='http://www.w3.org/2000/svg'><script/></svg>"
    yield "postscript.jpg", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage\n"
    yield "zip.webp", b"PK\x03\x04" + rng.randbytes(300)


def _bombs(rng: random.Random) -> Iterator[tuple[str, bytes]]:
    zeros = zlib.compress(bytes(200 * 2**20), 9)
    for kind, head in ((b"iCCP", b"x\0\0"), (b"zTXt", b"x\0\0"), (b"iTXt", b"x\0\1\0\0\0")):
        plain = _whole("png", rng)
        body = head + zeros
        chunk = struct.pack(">I", len(body)) + kind + body
        chunk += struct.pack(">I", zlib.crc32(kind + body))
        yield f"bomb {kind.decode()}.png", plain[:33] + chunk + plain[33:]
    for number in range(8):
        exif = b"Exif\0\0MM\0*\0\0\0\x08" + struct.pack(">H", 65_535) + rng.randbytes(9000)
        image = io.BytesIO()
        Image.new("RGB", (8, 8)).save(
            image, "JPEG", exif=exif, icc_profile=rng.randbytes(70_000 * (number % 2))
        )
        yield f"exif {number}.jpg", image.getvalue()
    loop = b"Exif\0\0II*\0\x08\0\0\0\x01\0" + struct.pack("<HHII", 0x8769, 4, 1, 8) + bytes(4)
    image = io.BytesIO()
    Image.new("RGB", (8, 8)).save(image, "JPEG", exif=loop)
    yield "exif loop.jpg", image.getvalue()
    texts = PngImagePlugin.PngInfo()
    for number in range(3000):
        texts.add_text(f"k{number}", "x" * 100)
    image = io.BytesIO()
    Image.new("RGB", (8, 8)).save(image, "PNG", pnginfo=texts)
    yield "texts.png", image.getvalue()
    image = io.BytesIO()
    Image.new("L", (3000, 3000), 90).save(image, "JPEG", progressive=True)
    data = image.getvalue()
    last = data.rindex(b"\xff\xda")
    yield "scans.jpg", data[:last] + data[last:-2] * 20_000 + data[-2:]


def add_odd_entries(folder: Path) -> list[Path]:
    """Entries of a folder that are called like images and are no files."""
    names = ("folder", "pipe", "socket", "dangling", "loop", "device", "endless")
    made = [folder / f"{name}.png" for name in names]
    made[0].mkdir()
    os.mkfifo(made[1])
    # A socket's path is short, so it is bound by its name alone.
    here = os.open(".", os.O_RDONLY)
    os.chdir(folder)
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(made[2].name)
    os.fchdir(here)
    os.close(here)
    made[3].symlink_to(folder / "gone.png")
    made[4].symlink_to(made[4])
    made[5].symlink_to("/dev/null")
    made[6].symlink_to("/dev/zero")
    return made
