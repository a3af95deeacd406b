"""Run by test_kill.py in a process of its own: ingest a manifest until somebody kills it."""

import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from taistore.encoders.protocol import ImageVectors
from taistore.images.ingest import ingest_images
from taistore.images.sources.open_source import open_source
from taistore.store.store import Store
from tests.fakes import ColourEncoder
from tests.killing import step


class SteppingEncoder(ColourEncoder):
    """Each batch is a step."""

    def encode_images(self, pixels: NDArray[np.uint8], *, regions: int = 0) -> ImageVectors:
        """The vectors, once they are allowed."""
        step()
        return super().encode_images(pixels, regions=regions)


def main(store_path: str, manifest: str) -> None:
    """Ingest in many small commits, so that a kill falls into one of them."""
    store = Store.open(store_path)
    source = open_source(Path(manifest), store.labels)
    ingest_images(
        store, SteppingEncoder(), source, regions=2, batch_size=2, commit_rows=4, max_rejects=None
    )


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
