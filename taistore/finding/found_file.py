"""What was found as a file: Parquet, JSON Lines or CSV, or a page to look at."""

import csv
import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from taistore.contracts import FOUND, SCORES
from taistore.errors import ScoringError
from taistore.finding.found import Found, FoundPhoto
from taistore.labels import SYNONYM_SEPARATOR
from taistore.progress import Progress, no_progress
from taistore.scoring.page.page_head import require_own_page
from taistore.scoring.page.write_page import write_page
from taistore.scoring.tags.output_place import require_writable, unwritable
from taistore.scoring.tags.tag_file import harmless, require_suffix
from taistore.store.places import local_path
from taistore.store.store import Store


def require_new_file(out: Path, *, overwrite: bool) -> None:
    """Raise :class:`ScoringError` early where ``out`` cannot be written, or may not be.

    What is there already may be somebody's: it is replaced with ``overwrite`` alone.
    """
    require_suffix(local_path(out, option="out"))
    require_writable(out, option="out")
    if out.exists() and not overwrite:
        raise ScoringError(f"{out} is there already: replace it with overwrite=, or name another")


def require_new_page(page: Path) -> None:
    """As :func:`require_new_file`; a page that taistore made is replaced."""
    require_own_page(page, Path(os.devnull))


def write_found(found: Found, out: Path) -> None:
    """A row a photo, of ``contracts.FOUND``; the suffix of ``out`` decides the format.

    In CSV a cell that a spreadsheet would take for a formula gets a leading apostrophe.
    """
    suffix = require_suffix(out)
    rows = [_row(photo) for photo in found]

    def write(part: Path) -> None:
        if suffix == ".parquet":
            pq.write_table(pa.Table.from_pylist(rows, schema=FOUND), part, compression="zstd")
            return
        with part.open("w", encoding="utf-8", newline="") as file:
            if suffix == ".jsonl":
                file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
                return
            writer = csv.DictWriter(file, FOUND.names)
            writer.writeheader()
            for row in rows:
                cells = {n: harmless(v) if isinstance(v, str) else v for n, v in row.items()}
                writer.writerow({**cells, "gone": str(row["gone"]).lower()})

    _whole(out, write)


def write_found_page(
    found: Found, page: Path, *, store: Store, progress: Progress = no_progress
) -> None:
    """A page of the photos in their order, each with its tags, or else with its score.

    What the store knows of a tag is marked.
    """
    with tempfile.TemporaryDirectory(prefix="taistore-find-") as folder:
        tags = Path(folder) / "found.parquet"
        rows = [row for photo in found for row in _tag_rows(photo, found.question)]
        pq.write_table(pa.Table.from_pylist(rows, schema=SCORES), tags)
        write_page(
            tags,
            page,
            # A score of a question is no label, of which something could be known.
            store=store if found.run_id is not None else None,
            about=f"Found by taistore: {found.question}. {found.order}",
            footer="Made with taistore. A score ranks; it is not a probability.",
            max_images=max(len(found), 1),
            progress=progress,
        )


def _row(photo: FoundPhoto) -> dict[str, object]:
    tags = photo.tags
    return {
        "rank": photo.rank,
        "score": round(photo.score, 6),
        "image_id": photo.image_id,
        "uri": photo.uri,
        "split": photo.split,
        "gone": photo.gone,
        "tags": None if tags is None else SYNONYM_SEPARATOR.join(tag.key for tag in tags),
    }


def _tag_rows(photo: FoundPhoto, question: str) -> list[dict[str, object]]:
    tags = [(tag.key, tag.name, tag.score) for tag in photo.tags or ()]
    return [
        {
            "image_id": photo.image_id,
            "uri": photo.uri,
            "rank": rank,
            "label_key": key,
            "label_name": name,
            "score": score,
        }
        for rank, (key, name, score) in enumerate(
            tags or [(question, question, min(max(photo.score, 0.0), 1.0))], start=1
        )
    ]


def _whole(out: Path, write: Callable[[Path], None]) -> None:
    part = out.with_name(out.name + ".part")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        write(part)
        part.replace(out)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise unwritable(out, error, option="out") from error
