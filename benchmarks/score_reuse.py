"""What ``score PHOTOS`` saves where the store has the photos' vectors already.

    python -m benchmarks.score_reuse --photos ../shared/data/voc2012/images --count 48

Two stores with one and the same run: one is empty, so that every photo is decoded and encoded, the
other has the photos and their regions. Both score the folder in turn, so that a busy machine
disturbs both alike, and their files are compared.
"""

import argparse
import shutil
import statistics
import tempfile
import time
from itertools import islice
from pathlib import Path

import polars as pl
import torch

import taistore
from benchmarks.report import Table, write_report
from taistore.images.sources.folder import FolderSource
from taistore.images.sources.source import SourceImage
from taistore.progress import no_progress
from taistore.project import Project

LABELS = ("person", "dog", "cat", "car", "bicycle", "bird", "boat", "chair", "bottle", "train")


def main() -> None:
    """Measure, write the report and print it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--photos", type=Path, required=True)
    parser.add_argument("--count", type=int, default=48)
    parser.add_argument("--encoder", default="packaged:lite0@224")
    parser.add_argument("--regions", type=int, nargs="+", default=[0, 7])
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows: list[tuple[object, ...]] = []
    with tempfile.TemporaryDirectory() as work:
        photos = _copy(options.photos, Path(work) / "photos", options.count)
        for regions in options.regions:
            folder = Path(work) / f"regions-{regions}"
            empty = _project(folder / "empty", options.encoder)
            shutil.copytree(folder / "empty", folder / "full")
            full = taistore.open(folder / "full", progress=no_progress)
            full.ingest_images(photos, regions=regions)
            rows.append((regions, *_measure((empty, full), photos, regions, options.rounds)))
    columns = (
        *("regions", "encoded: CPU s", "kept: CPU s", "ratio of CPU time", "encoded: s"),
        *("kept: s", "ratio of time", "largest difference of a score"),
    )
    text = (
        f"{options.count} photos, {options.encoder} on 1 thread, all labels of each photo, median "
        f"of {options.rounds} rounds in turn; loading the encoder and the run is part of neither. "
        + " ".join(__doc__.split("\n\n")[-1].split())
    )
    path = write_report(
        "score-reuse",
        title="Scoring photos that the store has vectors of",
        text=text,
        tables=[Table(columns, rows)],
    )
    print(path.read_text(encoding="utf-8"))


def _copy(source: Path, folder: Path, count: int) -> Path:
    images = (item for item in FolderSource(source) if isinstance(item, SourceImage))
    folder.mkdir()
    for image in islice(images, count):
        shutil.copyfile(image.uri, folder / Path(image.uri).name)
    return folder


def _project(path: Path, encoder: str) -> Project:
    project = taistore.create(path, labels=LABELS, encoder=encoder, progress=no_progress)
    project.generate_texts(200)
    project.train(task="zsl", epochs=1, seed=0)
    return project


def _measure(
    projects: tuple[Project, Project], photos: Path, regions: int, rounds: int
) -> tuple[float, ...]:
    """CPU seconds and seconds of both, with their ratios, and how far the scores differ."""
    runs = [project.run() for project in projects]
    outs = [Path(project.uri) / "tags.parquet" for project in projects]
    costs: list[list[tuple[float, float]]] = [[], []]
    for number in range(rounds + 1):
        for run, out, found in zip(runs, outs, costs, strict=True):
            wall, cpu = time.perf_counter(), time.process_time()
            run.score(photos, out=out, threshold=0.0, regions=regions, overwrite=True)
            if number:  # the first round loads what both need
                found.append((time.process_time() - cpu, time.perf_counter() - wall))
    (cpu_1, wall_1), (cpu_2, wall_2) = (
        tuple(statistics.median(figures) for figures in zip(*found, strict=True)) for found in costs
    )
    order = ["uri", "label_key"]
    first, second = (pl.read_parquet(out).sort(order)["score"] for out in outs)
    largest = float((first - second).abs().max() or 0.0)  # type: ignore[arg-type]
    return cpu_1, cpu_2, cpu_1 / cpu_2, wall_1, wall_2, wall_1 / wall_2, largest


if __name__ == "__main__":
    main()
