"""Ingests a folder into a new store and prints what it came to, with its peak of memory."""

import itertools
import json
import sys
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from taistore.images.ingest import ingest_images
from taistore.images.sources.folder import FolderSource
from taistore.labels import Label, LabelSet
from taistore.reproduction.without_data.peak_memory import peak_bytes
from taistore.store.store import Store
from tests.fakes import ColourEncoder


class Timed(ColourEncoder):
    """Notes when each photo was ready."""

    def __init__(self) -> None:
        super().__init__()
        self.ready = [time.monotonic()]

    def prepare(self, image: Image.Image) -> NDArray[np.uint8]:
        """As of the colour encoder."""
        self.ready.append(time.monotonic())
        return super().prepare(image)


def main(folder: str, store: str) -> None:
    """Ingest ``folder``; one JSON object on stdout."""
    encoder = Timed()
    made = Store.create(Path(store), LabelSet([Label("red", "red")]), default_encoder="colour")
    summary = ingest_images(made, encoder, FolderSource(folder), batch_size=16)
    times = sorted([*encoder.ready, time.monotonic()])
    rejects = [row for batch in made.scan("rejects") for row in batch.to_pylist()]
    found = {
        "seen": summary.seen,
        "added": summary.added,
        "rejected": summary.rejected,
        "ignored": summary.ignored,
        "seconds": summary.seconds,
        "slowest_seconds": max(b - a for a, b in itertools.pairwise(times)),
        "memory": peak_bytes(),
        "rejects": [{name: row[name] for name in ("uri", "reason", "detail")} for row in rejects],
    }
    sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
