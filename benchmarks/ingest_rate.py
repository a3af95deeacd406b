"""How near does ``ingest-images`` come to the encoder alone? Goal: 0.9 of its images/s.

    python -m benchmarks.ingest_rate --photos photos/ --count 192

Both work on the same photos, in turn within one process, so that a busy machine disturbs both
alike. "Encoder alone" gets batches that are decoded and resized beforehand; "ingest" is the whole
job into a fresh store: listing, reading, hashing, decoding, resizing, encoding, committing.
Ratios of process CPU time (all threads) say how much work ingest adds; ratios of wall time how
much of that work hides behind the encoder, and they suffer where other work shares the cores.
"""

import argparse
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.report import Table, write_report
from taistore.encoders.protocol import Encoder
from taistore.encoders.registry import load_encoder
from taistore.images.decoding import read_image
from taistore.images.job import ingest_images
from taistore.images.sources import FolderSource, SourceImage
from taistore.labels import Label, LabelSet
from taistore.store.store import Store


class Cost(NamedTuple):
    """Seconds of one measured piece."""

    wall: float
    cpu: float


def main() -> None:
    """Measure, print and write the report."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--photos", type=Path, required=True, help="folder of photos")
    parser.add_argument("--count", type=int, default=192, help="photos used")
    parser.add_argument("--encoder", default="packaged")
    parser.add_argument("--regions", type=int, default=0)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--workers", type=int, default=2, help="decoding threads")
    parser.add_argument("--threads", type=int, default=1, help="threads of the encoder")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    encoder = load_encoder(options.encoder)
    with tempfile.TemporaryDirectory() as work:
        folder = Path(work)
        photos = _copy(options.photos, folder / "photos", options.count)
        costs = _measure(encoder, photos, folder, options)
    count = len(photos)
    alone, decode, ingest = (costs[name] for name in ("encoder alone", "decoding alone", "ingest"))
    rows = [
        (name, count / wall, 1000 * cpu / count, alone.wall / wall, alone.cpu / cpu)
        for name, (wall, cpu) in costs.items()
    ]
    columns = ("", "images/s", "CPU ms an image", "rate / encoder alone", "by CPU time")
    text = (
        f"{count} photos, `{encoder.info.spec}` on {options.threads} thread(s), batches of "
        f"{options.batch_size}, {options.workers} decoding threads, regions {options.regions}, "
        f"median of {options.rounds} rounds in turn.\n\nIngest runs at "
        f"**{alone.wall / ingest.wall:.2f}** of the encoder's rate (goal 0.9); by CPU time it is "
        f"**{alone.cpu / ingest.cpu:.2f}**. Reading, decoding and resizing alone take "
        f"{1000 * decode.cpu / count:.1f} ms of CPU time a photo."
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
    encoder: Encoder, photos: list[Path], folder: Path, options: argparse.Namespace
) -> dict[str, Cost]:
    size = options.batch_size
    prepared = [encoder.prepare(read_image(path)) for path in photos]
    batches = [np.stack(prepared[i : i + size]) for i in range(0, len(prepared), size)]
    labels = LabelSet([Label("none", "none")])

    def alone() -> None:
        for pixels in batches:
            encoder.encode_images(pixels, regions=options.regions)

    def decode() -> None:
        kept: list[NDArray[np.uint8]] = []
        for path in photos:
            kept = [encoder.prepare(read_image(path))]
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
            found[name].append(_timed(piece))
    return {
        name: Cost(
            statistics.median(cost.wall for cost in costs),
            statistics.median(cost.cpu for cost in costs),
        )
        for name, costs in found.items()
    }


def _timed(piece: Callable[[], None]) -> Cost:
    wall, cpu = time.perf_counter(), time.process_time()
    piece()
    return Cost(time.perf_counter() - wall, time.process_time() - cpu)


if __name__ == "__main__":
    main()
