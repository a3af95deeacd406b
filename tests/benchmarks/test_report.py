"""Reports of benchmarks name what they ran on, with what, and how."""

import os
import re
from pathlib import Path

from benchmarks.report import Table, hardware, versions, write_report


def test_a_report_says_what_it_ran_on(tmp_path: Path) -> None:
    table = Table(("step", "rate"), [("a|b", 0.91234), ("c", 12)], caption="Rates")
    path = write_report("some-rate", title="A title", tables=[table], text="Why.", folder=tmp_path)
    assert re.fullmatch(r"some-rate_[a-z0-9-]+_\d{4}-\d\d-\d\d\.md", path.name)
    text = path.read_text(encoding="utf-8")
    assert text.startswith("# A title\n\nWhy.\n\nRates\n\n| step | rate |\n|---|---|\n")
    assert "| a\\|b | 0.912 |\n| c | 12 |\n" in text
    assert f"{len(os.sched_getaffinity(0))} cores" in text
    for package in ("torch", "polars"):
        assert f"{package} {versions()[package]}" in text
    assert "| command | `python " in text


def test_an_accelerator_names_the_file(tmp_path: Path) -> None:
    assert hardware(device="NVIDIA H100 80GB").slug == "nvidia-h100-80gb"
    path = write_report("x", title="X", tables=[], device="NVIDIA H100", folder=tmp_path)
    assert path.name.startswith("x_nvidia-h100_")
    assert "| hardware | NVIDIA H100; " in path.read_text(encoding="utf-8")
