"""Run by test_kill.py in a process of its own: ingest a manifest until somebody kills it."""

import sys
from pathlib import Path

from taistore.images.ingest import ingest_images
from taistore.images.sources.open_source import open_source
from taistore.store.store import Store
from tests.fakes import ColourEncoder


def main(store_path: str, manifest: str) -> None:
    """Ingest in many small commits, so that a kill falls into one of them."""
    store = Store.open(store_path)
    source = open_source(Path(manifest), store.labels)
    print("ready", flush=True)  # noqa: T201
    ingest_images(
        store, ColourEncoder(), source, regions=2, batch_size=2, commit_rows=4, max_rejects=None
    )
    print("done", flush=True)  # noqa: T201


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
