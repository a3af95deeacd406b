"""Run by test_image_kill.py in a process of its own: paint until somebody kills it.

Arguments: the store, ``same`` or ``other`` (each call paints another picture), ``step`` or ``run``.
"""

import sys
from typing import Any

from taistore.store.store import Store
from taistore.synthetic import image_store
from taistore.synthetic.generate_images import generate_images
from tests.fakes import ColourEncoder
from tests.killing import step
from tests.synthetic.painting import Painter


class SteppingStore(Store):
    """Each commit is a step, and so is what comes right after it."""

    def append(self, *arguments: Any, **options: Any) -> int:
        """As the store's, once it is allowed."""
        step()
        return super().append(*arguments, **options)

    def upsert(self, *arguments: Any, **options: Any) -> int:
        """As the store's, once it is allowed."""
        step()
        return super().upsert(*arguments, **options)


def main(path: str, kind: str, mode: str) -> None:
    """Paint in many small commits, so that a kill falls into one of them."""
    image_store.COMMIT_ROWS = 6
    opened = SteppingStore if mode == "step" else Store
    writer = Painter(3, batch=3, unstable=kind == "other")
    done = generate_images(opened.open(path), ColourEncoder(), writer, regions=2, batch_size=3)
    sys.stdout.write(f"drawn {len(writer.drawn)} written {done.written}\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
