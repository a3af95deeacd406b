"""A run's tags of the store's images, exported."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from taistore.errors import ExportError
from taistore.exporting.export_options import ExportOptions, TagExport
from taistore.exporting.export_tags import export_photos
from taistore.exporting.tagged_photos import TaggedPhotos
from taistore.store.store import Store

if TYPE_CHECKING:
    from taistore.run import Run


def export_run(
    run: "Run",
    *,
    to: Any,
    out: str | Path | None,
    threshold: float | None,
    top_k: int | None,
    options: Mapping[str, Any],
) -> TagExport:
    """The tags of every image of the store; of an export that is taken back only the paths."""
    project = run.project
    root = options.get("root")
    given = ExportOptions(
        **{
            **options,
            "to": to,
            "out": None if out is None else Path(out),
            "root": None if root is None else Path(root),
        }
    )
    # What does not fit is refused before polars and torch are loaded.
    from taistore.scoring.tags.tag_frame import untagged

    if given.retract is not None:
        rows = untagged(_paths(project.store))
    else:
        rows = run.tags(threshold=threshold, top_k=top_k).with_untagged()
    if not rows.num_rows:
        raise ExportError(f"{project.uri} holds no image with a vector: ingest photos first")
    return export_photos(TaggedPhotos(rows, run=run.run_id), given, progress=project.progress)


def _paths(store: Store) -> pa.Table:
    """Every path of every image."""
    ids, uris = [], []
    for batch in store.scan("images", columns=["image_id", "uri", "other_uris"]):
        for row in batch.to_pylist():
            for uri in (row["uri"], *(row["other_uris"] or ())):
                ids.append(row["image_id"])
                uris.append(uri)
    return pa.table({"image_id": pa.array(ids, pa.string()), "uri": pa.array(uris, pa.string())})
