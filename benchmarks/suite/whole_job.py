"""The whole job, labels to tags, stage by stage: what is left besides the encoder?

VOC2012's 20 labels and its photos of ``../shared/data``, the packaged encoder, defaults of the
front door: captions, photos with a 7 x 7 grid, training, evaluation, tags of stored and new photos.
"""

import json
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import taistore
from benchmarks.suite.rows import Row, at_least, at_most
from benchmarks.suite.timed_encoder import TimedEncoder
from taistore.encoders.registry import load_encoder
from taistore.project import Project

DATA = Path("../shared/data/voc2012")
SPEC = "packaged"
PHOTOS = {False: 96, True: 1000}
NEW_PHOTOS = {False: 16, True: 100}
MOST_BESIDE = 0.05
"""Of the encoder's processor time, what a stage may take besides."""
LEAST_ENCODER = 0.85


class Stage(NamedTuple):
    """Processor seconds of a stage, and those of them inside the encoder."""

    name: str
    whole: float
    encoder: float


def answer(work: Path, *, full: bool) -> Iterator[Row]:
    """Each stage's share beside the encoder, and the encoder's share of the whole job."""
    if not (DATA / "labels.jsonl").exists():
        print(f"whole_job: {DATA} is absent: not measured", file=sys.stderr)
        return
    count = PHOTOS[full]
    stages = job(work / f"store-{time.monotonic_ns()}", photos=count, new=NEW_PHOTOS[full])
    whole = sum(stage.whole for stage in stages)
    encoder = sum(stage.encoder for stage in stages)
    of = f"VOC2012, {count:,} photos, regions 7, packaged encoder"
    for stage in stages:
        beside = stage.whole - stage.encoder
        yield at_most(
            f"whole_job: {stage.name}, CPU s besides the encoder / the encoder's in all ({of})",
            ours=beside,
            other=encoder,
            ratio=beside / encoder,
            target=MOST_BESIDE,
        )
    yield at_least(
        f"whole_job: labels to tags, the encoder's share of CPU s ({of})",
        ours=whole,
        other=encoder,
        ratio=encoder / whole,
        target=LEAST_ENCODER,
    )


def job(store: Path, *, photos: int, new: int) -> list[Stage]:
    """The stages of the job, in their order."""
    manifest = _manifest(store.with_suffix(".jsonl"), photos)
    timed = TimedEncoder(load_encoder(SPEC, device="cpu"))
    taistore.register_encoder("timed", lambda: timed)
    stages: list[Stage] = []

    def stage(name: str, work: Callable[[], object]) -> None:
        cpu, inside = time.process_time(), timed.seconds
        work()
        stages.append(Stage(name, time.process_time() - cpu, timed.seconds - inside))

    def make() -> Project:
        return taistore.create(store, labels=DATA / "classes.csv", encoder="timed", device="cpu")

    project = make()
    stage("captions", project.generate_texts)
    stage("photos into the store", lambda: project.ingest_images(manifest, regions=7, split="test"))
    stage("training", project.train)
    run = project.run()
    stage("evaluation", run.evaluate)
    stage("tags of stored photos", lambda: run.score(out=store.with_suffix(".parquet")))
    others = [str(path) for path in sorted((DATA / "images").iterdir())[-new:]]
    stage("tags of new photos in memory", lambda: list(run.tag(others)))
    return stages


def _manifest(path: Path, count: int) -> Path:
    """The first photos of the set, with what is known of them."""
    with (DATA / "labels.jsonl").open(encoding="utf-8") as lines:
        rows = [json.loads(line) for line, _ in zip(lines, range(count), strict=False)]
    for row in rows:
        row["image"] = str((DATA / row["image"]).resolve())
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path
