"""One export: tags of a run or a file into sidecars, or into the files of another tool."""

from pathlib import Path
from typing import Any

from taistore.errors import ExportError
from taistore.exporting.export_options import SIDECARS, ExportOptions, TagExport
from taistore.exporting.sidecars.sidecar_job import export_sidecars, retract_below
from taistore.exporting.tagged_photos import TaggedPhotos, read_tagged_photos
from taistore.progress import Progress, no_progress


def export_photos(
    photos: TaggedPhotos, options: ExportOptions, *, progress: Progress = no_progress
) -> TagExport:
    """Write the tags of ``photos``, or take back those of a run."""
    if options.to in SIDECARS:
        return export_sidecars(photos, options, progress=progress)
    from taistore.exporting.formats.tool_files import export_files

    return export_files(photos, options, progress=progress)


def export_source(
    source: str | Path,
    *,
    run: str | None = None,
    threshold: float | None = None,
    top_k: int | None = None,
    progress: Progress = no_progress,
    **options: Any,
) -> TagExport:
    """As :func:`taistore.export`; ``source`` is a file of tags, or a folder to take back from."""
    source = Path(source)
    given = ExportOptions(**options)
    if not source.is_dir():
        photos = read_tagged_photos(source, run=run, threshold=threshold, top_k=top_k)
        return export_photos(photos, given, progress=progress)
    if given.retract is None:
        raise ExportError(
            f"{source} is a folder, from which tags can only be taken back: name a file of tags or "
            "a run, or give retract="
        )
    if given.out is not None:
        raise ExportError(f"out= is the folder {source} itself here: leave it out")
    return retract_below(source, given, progress=progress)
