"""Reading OpenImages' image-level labels: today's reader against polars, in time and memory.

``python -m benchmarks.openimages_reader --work DIR`` writes a synthetic file of 9,000,000 rows
(five an image, in no order; 7,186 of 7,500 labels are in the set, a twentieth of the rows is
unsure) and reads it whole, each reader in a process of its own. Both gather rows in temporary files
by a hash of their image; "polars" scans lines, so that a broken one keeps its number, splits and
filters them, writes the files (``sink_parquet``, ``PartitionBy``) and groups each by image. What
an image then becomes is the same code. No photo is there, so every image ends as a reject.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl

from benchmarks.report import Table, write_report
from taistore.images.sources.published.openimages import OpenImagesSource
from taistore.images.sources.published.row_partitions import ImageRows
from taistore.images.sources.source import SourceImage
from taistore.labels import Label, LabelSet
from taistore.reproduction.without_data.peak_memory import peak_bytes
from taistore.store.rejects import Reject

LABELS, IN_SET = 7500, 7186
ROWS_PER_IMAGE = 5
_BLOCK = 500_000
_PARTITION_BYTES = 16 * 2**20


def write_rows(path: Path, rows: int) -> None:
    """The synthetic file; equal for equal ``rows``."""
    random = np.random.default_rng(0)
    images = max(rows // ROWS_PER_IMAGE, 1)
    with path.open("w", encoding="utf-8") as file:
        file.write("ImageID,Source,LabelName,Confidence\n")
        for low in range(0, rows, _BLOCK):
            count = min(_BLOCK, rows - low)
            ids = (random.integers(images, size=count) * 7919).tolist()
            labels = random.integers(LABELS, size=count).tolist()
            values = random.choice(["1", "0", "0.7"], size=count, p=[0.5, 0.45, 0.05]).tolist()
            file.writelines(
                f"{image:016x},verification,/m/{label:05x},{value}\n"
                for image, label, value in zip(ids, labels, values, strict=True)
            )


class PolarsSource(OpenImagesSource):
    """The same source with polars between the file and the rows of an image."""

    def _annotated(self) -> Iterator[SourceImage | Reject]:
        files = self._file.stat().st_size // _PARTITION_BYTES + 1
        with tempfile.TemporaryDirectory() as folder:
            pl.collect_all([*_sinks(self._file, self._labels, Path(folder), files)])
            faults = pl.scan_parquet(Path(folder, "faults.parquet"))
            for batch in faults.collect_batches(chunk_size=10_000):
                for row, line in batch.iter_rows():
                    yield self._reject(f"row {row}", f"cannot be read: {line!r:.40}")
            for part in range(files):
                for image, *lists in _by_image(Path(folder, "rows", f"part={part}")).iter_rows():
                    yield self._image(ImageRows(image.encode(), *lists))


def _sinks(path: Path, labels: LabelSet, folder: Path, files: int) -> Iterator[pl.LazyFrame]:
    known = pl.LazyFrame(
        {"label_name": labels.keys, "label": range(len(labels))},
        schema_overrides={"label": pl.Int32},
    )
    lines = pl.scan_csv(
        path,
        has_header=False,
        skip_rows=1,
        new_columns=["line"],
        separator="\x01",
        quote_char=None,
        infer_schema=False,
        encoding="utf8-lossy",
        row_index_name="row",
        row_index_offset=1,
        low_memory=True,
    )
    names = ["image", "source", "label_name", "confidence", "more"]
    fields = lines.with_columns(
        pl.col("line").str.split_exact(",", len(names) - 1).struct.rename_fields(names).alias("f")
    ).unnest("f")
    rows = fields.with_columns(pl.col("confidence").cast(pl.Float64, strict=False))
    sound = (pl.col("more").is_null() & pl.col("confidence").is_between(0, 1)).fill_null(
        value=False
    )
    yield (
        rows.filter(sound & pl.col("confidence").is_in([0.0, 1.0]))
        .join(known, on="label_name")
        .select(
            (pl.col("image").hash(0) % files).alias("part"),
            "image",
            "label",
            (pl.col("confidence") == 1).alias("positive"),
        )
        .sink_parquet(
            pl.PartitionBy(folder / "rows", key="part", include_key=False),
            compression="uncompressed",
            row_group_size=10_000,
            mkdir=True,
            lazy=True,
        )
    )
    yield (
        rows.filter(~sound).select("row", "line").sink_parquet(folder / "faults.parquet", lazy=True)
    )


def _by_image(folder: Path) -> pl.DataFrame:
    some, every = pl.col("some"), pl.col("every")
    return (
        pl.read_parquet(folder / "*")
        .group_by("image", "label")
        .agg(pl.col("positive").any().alias("some"), pl.col("positive").all().alias("every"))
        .sort("image", "label")
        .group_by("image", maintain_order=True)
        .agg(
            pl.col("label").filter(every).alias("positives"),
            pl.col("label").filter(~some).alias("negatives"),
            pl.col("label").filter(some & ~every).alias("both"),
        )
    )


def read_here(path: Path, kind: str) -> None:
    """Read the whole file in this process and print what it took as JSON."""
    labels = LabelSet(Label(f"/m/{i:05x}", f"label {i}") for i in range(IN_SET))
    source = {"reader": OpenImagesSource, "polars": PolarsSource}[kind](
        path, labels, photos=path.parent
    )
    began, cpu = time.monotonic(), time.process_time()
    items = sum(1 for _ in source)
    taken = {
        "items": items,
        "seconds": time.monotonic() - began,
        "cpu_seconds": time.process_time() - cpu,
        "peak_mib": peak_bytes() / 2**20,
    }
    print(json.dumps(taken))


def main() -> None:
    """Write the file, read it with each, write the report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, help="empty folder for the file (400 MB)")
    parser.add_argument("--rows", type=int, default=9_000_000)
    parser.add_argument("--only", choices=["reader", "polars"], help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.work is None:
        parser.error("--work is missing: name a folder for the file")
    path = options.work / f"rows{options.rows}.csv"
    if options.only:
        read_here(path, options.only)
        return
    if not path.exists():
        write_rows(path, options.rows)
    rows: list[tuple[object, ...]] = []
    for kind, threads in (("reader", 1), ("polars", 1), ("polars", 2)):
        child = [sys.executable, "-m", "benchmarks.openimages_reader", "--only", kind]
        child += ["--work", str(options.work), "--rows", str(options.rows)]
        environment = {**os.environ, "POLARS_MAX_THREADS": str(threads)}
        ended = subprocess.run(
            child, check=True, stdout=subprocess.PIPE, text=True, env=environment
        )
        taken = json.loads(ended.stdout)
        print(kind, threads, taken, flush=True)
        rows.append(
            (
                *(kind, threads, taken["items"], round(taken["seconds"])),
                *(round(taken["cpu_seconds"]), round(taken["peak_mib"])),
            )
        )
    text = (
        f"{options.rows:,} rows, {path.stat().st_size / 2**20:.0f} MiB of CSV. Peak resident "
        "memory of the whole reading process. One run a row."
    )
    columns = ("", "threads", "images", "seconds", "CPU seconds", "peak MiB")
    print(
        write_report(
            "openimages-reader",
            title="Reading OpenImages' image-level labels",
            tables=[Table(columns, rows)],
            text=text,
        )
    )


if __name__ == "__main__":
    main()
