"""The garbage collector, kept from searching again and again what a process has loaded."""

import contextlib
import gc
from collections.abc import Iterator


@contextlib.contextmanager
def loaded_set_aside() -> Iterator[None]:
    """What is there now is no garbage, and is not searched for any before this ends.

    A job makes small objects by the million. Each time that a quarter more are there than before,
    the collector goes through all of them, with the hundreds of thousands that torch and Lance
    consist of: a quarter of the processor time of an ingest, and none of a small one. Nothing
    happens where somebody has set objects aside already; those of meanwhile are given back as well.
    """
    if gc.get_freeze_count():
        yield
        return
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
