"""Where the file and the page of differences go, looked at before the long part begins."""

from pathlib import Path

from taistore.errors import ExportError
from taistore.exporting.formats.output_files import require_free_file
from taistore.scoring.tags.tag_file import require_suffix
from taistore.store.places import local_path


def require_places(file: Path | None, page: Path | None, *, overwrite: bool) -> None:
    """Raise where one of them cannot be written, or is there already without ``overwrite``."""
    if file is not None:
        require_suffix(local_path(file, option="out"))
        require_free_file(file, overwrite=overwrite)
    if page is not None:
        if local_path(page, option="html").suffix.lower() not in (".html", ".htm"):
            raise ExportError(f"{page}: name a file that ends in .html for html=")
        require_free_file(page, overwrite=overwrite)
