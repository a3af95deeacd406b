"""Images of texts by a writer that is opened for the job, and what belongs to them."""

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from taistore.jobs.upkeep import tidy
from taistore.store.places import local_path
from taistore.synthetic.generate_images import GenerateImagesSummary, generate_images
from taistore.synthetic.image_writer import ImageWriter
from taistore.synthetic.image_writers import (
    open_image_writer,
)

if TYPE_CHECKING:
    from taistore.project import Project


def images_of_texts(
    project: "Project",
    writer: str | ImageWriter,
    options: Mapping[str, Any],
    *,
    encoder: str | None,
    keep: str | Path | None,
    **settings: Any,
) -> GenerateImagesSummary:
    """What :meth:`taistore.project.Project.generate_images` does, with its ``writer``'s options.

    The writer is opened first: a model that is not there should not cost the loading of an encoder.
    """
    folder = None if keep is None else local_path(keep, option="keep")
    opening: AbstractContextManager[ImageWriter]
    opening = (
        open_image_writer(writer, **options) if isinstance(writer, str) else nullcontext(writer)
    )
    if model := options.get("model"):
        project.note(f"opening {model}")
    with opening as opened:
        summary = generate_images(
            project.store,
            project.encoder(encoder),
            opened,
            keep=folder,
            progress=project.progress,
            **settings,
        )
    tidy(project)
    return summary
