"""Hostile input by numbers: images, names and fuzzing, with what was lost: ``make test-faults``.

Writes a report and a JSON file beside it. An input is lost where it is neither in the store nor
among its rejects, or where a job ended with anything but one line.
"""

import json
import os
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from benchmarks.report import Table, write_report
from tests.fakes import colour_image
from tests.faults.fuzzing import TARGETS
from tests.faults.hostile_images import add_odd_entries, images
from tests.faults.hostile_names import file_names, names
from tests.faults.test_hostile_images import MEMORY, ingested

FUZZ_SECONDS = 60.0


def ingest(folder: Path) -> dict[str, Any]:
    """The whole corpus of images, and photos with hostile names, in one ingest."""
    photos = folder / "photos"
    photos.mkdir(parents=True)
    files = dict(images())
    for name, data in files.items():
        (photos / name).write_bytes(data)
    odd = add_odd_entries(photos)
    called = list(file_names())
    for number, raw in enumerate(called):
        with (photos / os.fsdecode(raw)).open("wb") as file:
            colour_image("red", size=(8 + number, 9)).save(file, "PNG")
    found = ingested(photos, folder / "store")
    given = len(files) + len(odd) + len(called)
    found["tried"] = {"images": len(files), "entries": len(odd), "file names": len(called)}
    found["lost"] = given - found["seen"] - found["ignored"]
    found["reasons"] = dict(Counter(row["reason"] for row in found.pop("rejects")).most_common())
    return found


def fuzz(folder: Path, seconds: float) -> dict[str, int]:
    """Inputs tried by target; raises on the first that is not taken or refused in a line."""
    tried = {}
    for target, run in TARGETS.items():
        (folder / target).mkdir()
        tried[target] = run(folder / target, seconds)
    return tried


def main(seconds: float) -> None:
    """Run everything and write the report."""
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as made:
        found = ingest(Path(made) / "images")
        found["fuzzed"] = fuzz(Path(made), seconds)
    found["label names"] = len(names())
    found["fuzz seconds each"] = seconds
    found["total seconds"] = round(time.monotonic() - started, 1)
    rows = [(name, count) for name, count in found["tried"].items()]
    rows += [(f"fuzzed {name}, {seconds:g} s", count) for name, count in found["fuzzed"].items()]
    tables = [
        Table(("input", "tried"), rows),
        Table(("set aside because", "inputs"), list(found["reasons"].items())),
    ]
    text = (
        f"{sum(found['tried'].values())} hostile files in one ingest: {found['added']} came into "
        f"the store, {found['rejected']} were set aside with one line, {found['ignored']} have "
        f"hidden names and were passed over and counted, {found['lost']} were lost. "
        f"It took {found['seconds']:.0f} s, at most {found['slowest_seconds']:.1f} s between two "
        f"photos, and {found['memory'] / 2**20:,.0f} MiB of memory, of {MEMORY / 2**20:,.0f} MiB "
        "allowed. No fuzzed input ended with anything but a result or one line; a run that meets "
        "one ends there and writes no report."
    )
    path = write_report("faults_hostile", title="Hostile input", tables=tables, text=text)
    record = json.dumps(found, indent=2) + "\n"
    path.with_suffix(".json").write_text(record, encoding="utf-8")


if __name__ == "__main__":
    main(float(sys.argv[1]) if len(sys.argv) > 1 else FUZZ_SECONDS)
