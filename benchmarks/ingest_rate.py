"""How near does ``ingest-images`` come to the encoder alone? Goal: 0.9 of its images/s.

    python -m benchmarks.ingest_rate --photos photos/ --encoder packaged packaged:lite0@224

Both work on the same photos, in turn within one process, so that a busy machine disturbs both
alike. "Encoder alone" gets batches that are decoded and resized beforehand; "ingest" is the whole
job into a fresh store: listing, reading, hashing, decoding, resizing, encoding, committing.

Where other work shares the cores, even CPU time of the same forward pass varies by a fifth from
one minute to the next, so the last two columns compare within each ingest: the share of its CPU
time, and of its wall time, that the encoder had.
"""

import argparse
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from benchmarks.report import Table, write_report
from taistore.encoders.protocol import Encoder, EncoderInfo, Float32, ImageVectors
from taistore.encoders.registry import load_encoder
from taistore.images.decoding import decode_image, read_file
from taistore.images.ingest import ingest_images
from taistore.images.sources.open_source import FolderSource, SourceImage
from taistore.labels import Label, LabelSet
from taistore.store.store import Store


class Cost(NamedTuple):
    """Seconds of one measured piece, and of them those inside ``encode_images``."""

    wall: float
    cpu: float
    encoder_wall: float
    encoder_cpu: float


class TimedEncoder:
    """An encoder that adds up the time of ``encode_images``.

    CPU time is that of the calling thread, all there is while the encoder uses one thread.
    """

    def __init__(self, encoder: Encoder) -> None:
        self._encoder = encoder
        self.wall = self.cpu = 0.0

    @property
    def info(self) -> EncoderInfo:
        """That of the encoder."""
        return self._encoder.info

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """That of the encoder."""
        return self._encoder.count_tokens(texts)

    def encode_texts(self, texts: Sequence[str]) -> Float32:
        """That of the encoder."""
        return self._encoder.encode_texts(texts)

    def prepare(self, image: Image.Image) -> NDArray[np.uint8]:
        """That of the encoder."""
        return self._encoder.prepare(image)

    def encode_images(self, pixels: NDArray[np.uint8], *, regions: int = 0) -> ImageVectors:
        """That of the encoder, timed."""
        wall, cpu = time.perf_counter(), time.thread_time()
        vectors = self._encoder.encode_images(pixels, regions=regions)
        self.wall += time.perf_counter() - wall
        self.cpu += time.thread_time() - cpu
        return vectors


def main() -> None:
    """Measure, print and write the report."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--photos", type=Path, required=True, help="folder of photos")
    parser.add_argument("--count", type=int, default=64, help="photos used")
    parser.add_argument("--encoder", nargs="+", default=["packaged"], help="one or several")
    parser.add_argument("--regions", type=int, default=0)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--workers", type=int, default=2, help="decoding threads")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows: list[tuple[object, ...]] = []
    with tempfile.TemporaryDirectory() as work:
        folder = Path(work)
        photos = _copy(options.photos, folder / "photos", options.count)
        for spec in options.encoder:
            encoder = TimedEncoder(load_encoder(spec))
            costs = _measure(encoder, photos, folder, options)
            alone = costs["encoder alone"]
            for name, cost in costs.items():
                figures = (len(photos) / cost.wall, 1000 * cost.cpu / len(photos))
                ratios = (alone.wall / cost.wall, alone.cpu / cost.cpu)
                shares = (cost.encoder_cpu / cost.cpu, cost.encoder_wall / cost.wall)
                rows.append((encoder.info.spec, name, *figures, *ratios, *shares))
    columns = (
        *("encoder", "", "images/s", "CPU ms an image", "rate / encoder alone", "by CPU time"),
        *("encoder's share of CPU time", "of wall time"),
    )
    text = (
        f"{len(photos)} photos, encoder on 1 thread, batches of {options.batch_size}, "
        f"{options.workers} decoding threads, regions {options.regions}, median of "
        f"{options.rounds} rounds in turn. The goal is 0.9 of the encoder's rate. "
        + " ".join(__doc__.split("\n\n")[-1].split())
    )
    path = write_report(
        "ingest-rate",
        title="Ingest against the encoder alone",
        text=text,
        tables=[Table(columns, rows)],
    )
    print(path.read_text(encoding="utf-8"))


def _copy(source: Path, folder: Path, count: int) -> list[Path]:
    images = (item for item in FolderSource(source) if isinstance(item, SourceImage))
    folder.mkdir()
    paths = []
    for image in islice(images, count):
        paths.append(folder / Path(image.uri).name)
        shutil.copyfile(image.uri, paths[-1])
    return paths


def _measure(
    encoder: TimedEncoder, photos: list[Path], folder: Path, options: argparse.Namespace
) -> dict[str, Cost]:
    size = options.batch_size
    prepared = [encoder.prepare(decode_image(read_file(path))) for path in photos]
    batches = [np.stack(prepared[i : i + size]) for i in range(0, len(prepared), size)]
    labels = LabelSet([Label("none", "none")])

    def alone() -> None:
        for pixels in batches:
            encoder.encode_images(pixels, regions=options.regions)

    def decode() -> None:
        kept: list[NDArray[np.uint8]] = []
        for path in photos:
            kept = [encoder.prepare(decode_image(read_file(path)))]
        del kept

    def ingest() -> None:
        store = Store.create(
            folder / f"store-{time.monotonic_ns()}", labels, default_encoder=encoder.info.spec
        )
        ingest_images(
            store,
            encoder,
            FolderSource(folder / "photos"),
            regions=options.regions,
            batch_size=size,
            workers=options.workers,
        )

    pieces = {"encoder alone": alone, "decoding alone": decode, "ingest": ingest}
    encoder.encode_images(batches[0], regions=options.regions)
    found: dict[str, list[Cost]] = {name: [] for name in pieces}
    for _ in range(options.rounds):
        for name, piece in pieces.items():
            found[name].append(_timed(piece, encoder))
    return {
        name: Cost(*(statistics.median(figures) for figures in zip(*costs, strict=True)))
        for name, costs in found.items()
    }


def _timed(piece: Callable[[], None], encoder: TimedEncoder) -> Cost:
    encoder.wall = encoder.cpu = 0.0
    wall, cpu = time.perf_counter(), time.process_time()
    piece()
    seconds = time.perf_counter() - wall, time.process_time() - cpu
    return Cost(*seconds, encoder.wall, encoder.cpu)


if __name__ == "__main__":
    main()
