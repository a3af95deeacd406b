"""Run by test_shared_images.py in a process of its own: copy images until it is killed."""

import sys
from pathlib import Path
from typing import Any

from taistore.reproduction.shared_images import share_images
from taistore.store.arrow import Rows
from taistore.store.store import Store
from tests.fakes import ColourEncoder
from tests.killing import step


class _Steps(Store):
    """A store that waits ahead of each commit."""

    def append(self, kind: str, rows: Rows, **options: Any) -> int:
        """As the store's."""
        step()
        return super().append(kind, rows, **options)


def share(store: Store, other: Path) -> int:
    """Copy all images of ``other`` a few at a time; returns how many."""
    paths = {
        row["uri"]
        for batch in Store.open(other).scan("images", columns=["uri"])
        for row in batch.to_pylist()
    }
    encoder_id = ColourEncoder().info.encoder_id
    return share_images(store, encoder_id, paths, folders=[other], regions=2, batch_rows=2)


if __name__ == "__main__":
    share(_Steps.open(sys.argv[1]), Path(sys.argv[2]))
