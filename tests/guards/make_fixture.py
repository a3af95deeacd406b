"""Make the fixture of real vectors anew, and write down what its ladders come to.

``python -m tests.guards.make_fixture`` encodes photos that come inside packages into
``vectors.safetensors``; with ``--record`` it also trains and evaluates on them, and on the first
VOC2012 photos of ``--data`` where those are, and writes the figures to ``recorded.json``.
``--record --keep`` leaves the vectors as they are: after a change that is meant to move figures.
"""

import argparse
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from tests.guards.ladders import figures, moved, record, recorded
from tests.guards.sets import (
    FIXTURE,
    PACKAGED,
    VOC,
    Prepared,
    make_packaged_set,
    packaged_set,
    voc_set,
)

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"


def main() -> None:
    """Make, and record, the fixture."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--record", action="store_true", help="write down the figures too")
    parser.add_argument("--keep", action="store_true", help="leave the vectors as they are")
    parser.add_argument("--data", type=Path, default=DATA, help="folder that holds voc2012")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        if not options.keep:
            make_packaged_set(work).save(FIXTURE)
            _say(f"{FIXTURE}: {FIXTURE.stat().st_size:,} bytes")
        if options.record:
            sets: dict[str, Callable[[], Prepared]] = {PACKAGED: lambda: packaged_set(work / "p")}
            if (options.data / VOC).is_dir():
                sets[VOC] = lambda: voc_set(options.data, work / "cache", work / "v")
            for name, prepare in sets.items():
                found = figures(*prepare())
                for line in moved(recorded(name), found):
                    _say(f"{name}: {line}")
                record(name, found)


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")


if __name__ == "__main__":
    main()
