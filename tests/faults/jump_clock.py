"""Run by test_clock_jumps.py in a process of its own, whose clock it moves between its jobs."""

import json
import os
import sys
import time
from pathlib import Path

import taistore
from taistore.project import Project
from tests.faults.colour_store import colour_photos, colour_store, everything

YEAR = 365 * 24 * 3600


def move_clock(seconds: int) -> None:
    """Let the clock be so far off from now on."""
    os.environ["CLOCK_SHIFT"] = str(seconds)


def work(folder: Path, *, ahead: int) -> Project:
    """Jobs with the clock ``ahead`` seconds ahead, then as much behind, then right again."""
    colour_store(folder)
    project = taistore.open(folder / "store")
    move_clock(ahead)
    project.ingest_images(colour_photos(folder / "more", first=6, count=8), regions=2)
    project.generate_texts(160)
    project.optimize(keep_days=30)
    project.train(epochs=1, seed=1)
    project.train(epochs=3, seed=2, on_start=lambda _: move_clock(-ahead))
    project.ingest_images(colour_photos(folder / "more", first=6, count=11), regions=2)
    project.optimize(keep_days=30)
    project.train(epochs=1, seed=3)
    move_clock(0)
    project.ingest_images(colour_photos(folder / "more", first=6, count=14), regions=2)
    project.generate_texts(200)
    project.optimize(keep_days=0)
    project.train(epochs=1, seed=4)
    return project


def main() -> None:
    """Do the work in a folder and print what came of it."""
    real = time.time()
    move_clock(2 * YEAR)
    assert time.time() - real > YEAR, "the clock does not follow"
    move_clock(0)
    folder = Path(sys.argv[1])
    project = work(folder, ahead=2 * YEAR)
    seeds = [run.config["seed"] for run in project.runs()]
    found = {"seeds": seeds, "latest": project.run().config["seed"]}
    sys.stdout.write(json.dumps({**found, "store": everything(folder / "store")}))


if __name__ == "__main__":
    main()
