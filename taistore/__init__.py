"""taistore: tag images with every label they show, by adapters trained on text vectors.

>>> import taistore
>>> project = taistore.create("shop", labels="labels.txt", encoder="packaged")  # doctest: +SKIP
>>> project.generate_texts()  # doctest: +SKIP
>>> project.ingest_images("photos/", regions=7)  # doctest: +SKIP
>>> run = project.train(task="zsl")  # doctest: +SKIP
>>> run.score("new-photos/", out="tags.parquet", html="tags.html")  # doctest: +SKIP

Importing the package loads nothing heavy.
"""

from collections.abc import Callable
from pathlib import Path
from typing import IO, TYPE_CHECKING

from taistore import defaults, plugins
from taistore.errors import TaistoreError
from taistore.progress import Note, Progress

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from taistore.encoders.protocol import Encoder
    from taistore.exporting.differences.tag_differences import TagDifferences
    from taistore.exporting.export_options import Format, TagExport
    from taistore.exporting.sidecars.sidecar_places import Naming
    from taistore.images.sources.source import ImageSource
    from taistore.jobs.tag_job import TagSummary
    from taistore.project import Labels, Project
    from taistore.scoring.known_cells import Known
    from taistore.scoring.tags.wide import Layout
    from taistore.texts.writer import TextWriter

__version__ = "0.1.0"

__all__ = [
    "TaistoreError",
    "__version__",
    "create",
    "diff",
    "export",
    "open",
    "register_encoder",
    "register_source",
    "register_writer",
    "tag",
]


def create(
    path: str | Path,
    *,
    labels: "Labels",
    encoder: str = defaults.ENCODER,
    device: str = "auto",
    precision: str = "auto",
    progress: Progress | None = None,
    note: Note | None = None,
) -> "Project":
    """A new project, whose store lies at ``path``; an equal one that is there is opened.

    See :meth:`taistore.project.Project.create`.
    """
    from taistore.project import Project

    return Project.create(
        path,
        labels=labels,
        encoder=encoder,
        device=device,
        precision=precision,
        progress=progress,
        note=note,
    )


def open(
    path: str | Path = defaults.STORE,
    *,
    device: str = "auto",
    precision: str = "auto",
    progress: Progress | None = None,
    note: Note | None = None,
) -> "Project":
    """The project whose store lies at ``path``. See :meth:`taistore.project.Project.open`."""
    from taistore.project import Project

    return Project.open(path, device=device, precision=precision, progress=progress, note=note)


def tag(
    photos: str | Path,
    *,
    labels: "Labels",
    path: str | Path = defaults.STORE,
    encoder: str | None = None,
    out: "str | Path | IO[str]" = defaults.TAGS,
    html: str | Path | None = None,
    layout: "Layout" = "long",
    regions: int = defaults.REGIONS,
    top_k: int | None = None,
    threshold: float | None = None,
    known: "Known" = "override",
    max_rejects: int | None = None,
    device: str = "auto",
    precision: str = "auto",
    progress: Progress | None = None,
    note: Note | None = None,
) -> "TagSummary":
    """The main job: tags of a folder or manifest of photos into ``out``, and a page to look at.

    The store at ``path`` is made where it is not there; run again, only what is new is done, and
    ``out`` and ``html`` are replaced; a text stream as ``out`` gets JSON lines, without a page.
    See :class:`taistore.jobs.tag_job.TagJob`.
    """
    from taistore.jobs.tag_job import TagJob

    job = TagJob(
        photos=photos,
        labels=labels,
        path=path,
        encoder=encoder,
        out=out,
        html=html,
        layout=layout,
        regions=regions,
        top_k=top_k,
        threshold=threshold,
        known=known,
        max_rejects=max_rejects,
    )
    return job.run(device=device, precision=precision, progress=progress, note=note)


def export(
    tags: str | Path,
    *,
    to: "Format",
    out: str | Path | None = None,
    run: str | None = None,
    threshold: float | None = None,
    top_k: int | None = None,
    retract: str | None = None,
    naming: "Naming" = "auto",
    under: str = "",
    root: str | Path | None = None,
    copy: bool = False,
    overwrite: bool = False,
    dry_run: bool = False,
    progress: Progress | None = None,
) -> "TagExport":
    """Tags of a file into sidecars beside the photos, or into the files of another tool.

    ``to`` is ``xmp`` or ``sidecar-json`` (beside each photo, or under the folder ``out`` as below
    ``root``), ``coco``, ``csv-wide`` or ``label-studio`` (a file ``out``), ``fiftyone`` or
    ``imagefolder`` (a folder ``out``). Photos are never written to.

    Tags are marked with ``run``: None is the run that a Parquet file names, else the file's name.
    An export of the same run again changes what is to change; keywords that were there before stay
    their owner's. ``retract`` names a run whose tags are taken back, and nothing else; ``tags`` may
    be a folder of sidecars then. XMP: ``naming`` is that of a new sidecar, ``under`` a keyword that
    ours are put below. ``overwrite`` replaces an earlier export's file or folder. With ``dry_run``
    nothing is written. Raises :class:`taistore.errors.ExportError`.
    """
    from taistore.exporting.export_tags import export_source
    from taistore.progress import stoppable, terminal_progress

    return export_source(
        tags,
        run=run,
        threshold=threshold,
        top_k=top_k,
        to=to,
        out=None if out is None else Path(out),
        retract=retract,
        naming=naming,
        under=under,
        root=None if root is None else Path(root),
        copy=copy,
        overwrite=overwrite,
        dry_run=dry_run,
        progress=stoppable(progress or terminal_progress),
    )


def diff(
    before: str | Path,
    after: str | Path,
    *,
    path: str | Path = defaults.STORE,
    top_k: int | None = None,
    threshold: float | None = None,
    min_change: float = 0.05,
    device: str = "auto",
    progress: Progress | None = None,
    note: Note | None = None,
) -> "TagDifferences":
    """Which tags appear, go and move from one run to another; each may be a file of tags.

    The store at ``path`` is opened where one is a run. See
    :func:`taistore.exporting.differences.tag_differences.tag_differences`.
    """
    from taistore.jobs.difference_job import DifferenceJob

    job = DifferenceJob(
        path, top_k=top_k, threshold=threshold, device=device, progress=progress, note=note
    )
    return job.run(before, after, min_change=min_change)


def register_encoder(name: str, factory: "Callable[..., Encoder]") -> None:
    """Let ``name`` and ``name:argument`` name an encoder of your own in this process.

    ``factory`` returns an :class:`~taistore.encoders.protocol.Encoder`; of ``argument`` (what
    follows the colon), ``device`` and ``precision`` it is given those that it takes. A package
    declares the same as an entry point of the group ``taistore.encoders``.
    """
    plugins.register("taistore.encoders", name, factory)


def register_source(name: str, factory: "Callable[..., ImageSource]") -> None:
    """Let ``layout=name`` name a kind of image source of your own in this process.

    ``factory`` takes the path and the label set and returns an
    :class:`~taistore.images.sources.source.ImageSource`; see
    :func:`taistore.images.sources.open_source.open_source`. A package declares the same as an
    entry point of the group ``taistore.sources``.
    """
    plugins.register("taistore.sources", name, factory)


def register_writer(
    name: str, factory: "Callable[..., TextWriter | AbstractContextManager[TextWriter]]"
) -> None:
    """Let ``writer=name`` name a text writer of your own in this process.

    ``factory`` takes the label set and returns a :class:`~taistore.texts.writer.TextWriter`, or a
    context manager that gives one. A package declares the same as an entry point of the group
    ``taistore.writers``.
    """
    plugins.register("taistore.writers", name, factory)
