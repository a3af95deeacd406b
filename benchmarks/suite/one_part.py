"""One part of the suite, in a process of its own: ``python -m benchmarks.suite.one_part NAME``."""

import argparse
import importlib
from pathlib import Path

import torch

from benchmarks.suite.rows import Row, write_rows


def main() -> None:
    """Measure and write the rows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name")
    parser.add_argument("--work", type=Path, required=True, help="folder for stores and figures")
    parser.add_argument("--full", action="store_true")
    parser.add_argument("--out", type=Path, required=True, help="JSON file for the rows")
    options = parser.parse_args()
    torch.set_num_threads(1)
    options.work.mkdir(parents=True, exist_ok=True)
    part = importlib.import_module(f"benchmarks.suite.{options.name}")
    rows: list[Row] = []
    write_rows(options.out, rows)
    for row in part.answer(options.work, full=options.full):
        rows.append(row)
        write_rows(options.out, rows)  # what is measured stays, however the rest ends


if __name__ == "__main__":
    main()
