"""How long the command line takes to answer, and the small job: 100 photos, 40 labels.

Other side of the answers: the target itself. Of the small job, which is ``taistore tag``: its
steps as five commands with 10,000 texts, as was the default at every size. Both end with a file of
tags and a page, and run as a user runs them, in processes of their own. What evaluates their runs
afterwards is counted on neither side.
"""

import csv
import json
import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from benchmarks.suite.rows import Row, at_least, at_most

DATA = Path(os.environ.get("TAISTORE_DATA", "../shared/data"))
PHOTOS, LABELS = 100, 40
ENCODER = "packaged:lite0@320"
OLD_TEXTS = 10_000


def answer(work: Path, *, full: bool) -> Iterator[Row]:
    """Seconds of the commands that answer at once, then of the small job."""
    labels = work / "few.txt"
    labels.write_text("cat\ndog\n", encoding="utf-8")
    store = ["--store", str(work / "few")]
    _cpu("init", str(labels), "--encoder", "packaged:lite0@320", *store)
    nowhere = ["--store", str(work / "nowhere")]
    quick = (
        ("--help", 0.15, 0, ["--help"]),
        ("show of a small store", 0.7, 0, ["show", *store]),
        ("the error of a missing store", 1.0, 1, ["show", *nowhere]),
        ("the error of photos that are not there", 1.0, 1, ["ingest-images", "/nowhere", *store]),
        ("the error of a training without texts", 1.0, 1, ["train", "--task", "zsl", *store]),
    )
    for what, most, code, command in quick:
        _cpu(*command, code=code)
        seconds = min(_cpu(*command, code=code) for _ in range(5 if full else 3))
        question = f"start_up: {what}, processor seconds against the target"
        yield at_most(question, ours=seconds, other=most, ratio=seconds, target=most)
    if not (DATA / "voc2012").is_dir():
        print(f"start_up: no photos at {DATA}: the small job is not measured", file=sys.stderr)
        return
    yield from _small_job(work)


def _small_job(work: Path) -> Iterator[Row]:
    manifest, labels = _photos(work)
    ours, our_map = _tag(work / "ours", manifest, labels)
    again, _ = _tag(work / "ours", manifest, labels)
    other, other_map = _steps(work / "other", manifest, labels)
    sizes = f"{PHOTOS} photos, {LABELS} labels, {ENCODER}"
    yield at_most(
        f"start_up: taistore tag of {sizes}, processor seconds; ratio: to its steps with "
        f"{OLD_TEXTS:,} texts",
        **{"ours": ours, "other": other, "ratio": ours / other, "target": 0.25},
    )
    yield at_most(
        "start_up: the same again, nothing new, processor seconds; ratio: to the first time",
        **{"ours": again, "other": ours, "ratio": again / ours, "target": 0.1},
    )
    yield at_least(
        f"start_up: mAP of the adapter, {sizes}; ratio: difference to {OLD_TEXTS:,} texts",
        **{"ours": our_map, "other": other_map, "ratio": our_map - other_map, "target": -0.3},
    )


def _tag(folder: Path, manifest: Path, labels: Path) -> tuple[float, float]:
    """Processor seconds of the whole job in one process, and the adapter's mAP."""
    at = ["--store", str(folder / "store")]
    seconds = _cpu(
        *("tag", str(manifest), "--labels", str(labels), "--encoder", ENCODER),
        *("--known", "ignore", "--out", str(folder / "tags.parquet"), *at),
    )
    return seconds, _map(folder, at)


def _steps(folder: Path, manifest: Path, labels: Path) -> tuple[float, float]:
    """The same of its steps, each in a process of its own, with 10,000 texts."""
    at = ["--store", str(folder / "store")]
    out = ["--out", str(folder / "tags.parquet"), "--html", str(folder / "tags.html")]
    steps = (
        ["init", str(labels), "--encoder", ENCODER],
        ["ingest-images", str(manifest), "--regions", "7"],
        ["generate-texts", "--count", str(OLD_TEXTS)],
        ["train", "--task", "zsl"],
        ["score", "latest", "--known", "ignore", *out],
    )
    return sum(_cpu(*step, *at) for step in steps), _map(folder, at)


def _map(folder: Path, at: list[str]) -> float:
    """The adapter's mAP over the photos, which is not measured."""
    out = folder / "evaluation.json"
    _cpu("evaluate", "latest", "--json", *at, out=out)
    ladder = json.loads(out.read_text(encoding="utf-8"))["ladder"]
    return float(ladder["adapter"]["mAP"])


def _photos(work: Path) -> tuple[Path, Path]:
    """A manifest of VOC photos, and VOC's labels with those of COCO that VOC has not."""
    names: dict[str, str] = {}
    for data in ("voc2012", "coco"):
        with (DATA / data / "classes.csv").open(encoding="utf-8") as lines:
            for row in csv.DictReader(lines):
                if row["name"] not in names.values() and len(names) < LABELS:
                    names.setdefault(row["key"], row["name"])
    labels = work / "labels.csv"
    rows = [f"{key},{name}" for key, name in names.items()]
    labels.write_text("\n".join(["key,name", *rows]) + "\n", encoding="utf-8")
    manifest = work / "photos.jsonl"
    known = (DATA / "voc2012" / "labels.jsonl").read_text(encoding="utf-8").splitlines()
    with manifest.open("w", encoding="utf-8") as out:
        for line in known[:: len(known) // PHOTOS][:PHOTOS]:
            row = json.loads(line)
            image = str((DATA / "voc2012" / row["image"]).resolve())
            out.write(json.dumps({**row, "image": image, "split": "test"}) + "\n")
    return manifest, labels


def _cpu(*command: str, code: int = 0, out: Path | None = None) -> float:
    """Processor seconds of ``taistore COMMAND``, which must end with ``code``."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    ran = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "taistore_cli", *command],
        check=False,
        capture_output=True,
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if ran.returncode != code:
        raise RuntimeError(f"taistore {' '.join(command)}: {ran.stderr.decode()[-2000:]}")
    if out is not None:
        out.write_bytes(ran.stdout)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
