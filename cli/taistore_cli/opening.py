"""Open the project that a command works on."""

from typing import TYPE_CHECKING

import taistore
from taistore_cli.output import Output

if TYPE_CHECKING:
    from taistore.project import Project


def open_project(
    store_uri: str, out: Output, *, device: str = "auto", precision: str = "auto"
) -> "Project":
    """The project whose store is at ``store_uri``; it shows its progress as the command does."""
    return taistore.open(
        store_uri, device=device, precision=precision, progress=out.progress, note=out.note
    )
