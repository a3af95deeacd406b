"""The changed tags of two runs as a table in a file: .csv, .jsonl or .parquet."""

from pathlib import Path

import polars as pl

from taistore.exporting.differences.tag_differences import TagDifferences
from taistore.exporting.formats.output_files import (
    write_file,
    writing_beside,
)
from taistore.scoring.tags.tag_file import harmless, require_suffix


def write_differences(found: TagDifferences, path: Path) -> None:
    """Write :attr:`TagDifferences.rows`, less what stays."""
    rows = found.rows.filter(pl.col("change") != "stays")
    suffix = require_suffix(path)
    with writing_beside(path):
        write_file(path, lambda part: _write(rows, part, suffix))


def _write(rows: pl.DataFrame, part: Path, suffix: str) -> None:
    if suffix == ".parquet":
        rows.write_parquet(part)
    elif suffix == ".jsonl":
        rows.write_ndjson(part)
    else:
        # No cell may run as a formula in a spreadsheet.
        texts = pl.col(pl.String).map_elements(harmless, return_dtype=pl.String)
        rows.with_columns(texts).write_csv(part)
