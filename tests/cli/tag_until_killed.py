"""Run by test_tag.py in a process of its own: the main job, each bit of progress a step."""

import sys

import taistore
from tests.fakes import ColourEncoder
from tests.killing import step
from tests.quiet_bar import QuietBar


class Stepping(QuietBar):
    """A progress bar that waits to be allowed on; all that is shown comes after it is done."""

    def __init__(self, description: str, *, total: int | None, unit: str) -> None:
        step()

    def advance(self, amount: int = 1, **figures: float) -> None:
        """A step."""
        step()


def main(photos: str, labels: str, path: str, out: str) -> None:
    """Tag the photos."""
    taistore.register_encoder("colours", ColourEncoder)
    taistore.tag(
        photos,
        labels=labels,
        path=path,
        encoder="colours",
        out=out,
        progress=Stepping,
        device="cpu",
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
