"""An export into one file or folder, which another tool imports."""

from collections.abc import Sequence
from pathlib import Path

from taistore.errors import ExportError
from taistore.exporting.export_options import FOLDERS, ExportOptions, TagExport
from taistore.exporting.formats.class_folders import write_class_folders
from taistore.exporting.formats.coco_tags import coco_tags
from taistore.exporting.formats.fiftyone_folder import write_fiftyone
from taistore.exporting.formats.label_studio_tasks import label_studio_tasks, labelling_config
from taistore.exporting.formats.output_files import (
    new_folder,
    require_free_file,
    require_free_folder,
    write_file,
    write_json,
    writing_beside,
)
from taistore.exporting.set_aside import SetAside
from taistore.exporting.tagged_photos import TaggedPhotos
from taistore.labels import Label
from taistore.progress import Progress, ProgressBar
from taistore.scoring.tags.tag_file import tag_writer
from taistore.scoring.tags.wide import wide_schema, widen


def export_files(photos: TaggedPhotos, options: ExportOptions, *, progress: Progress) -> TagExport:
    """Write the tags of ``photos`` to ``options.out``. Raises :class:`ExportError`."""
    out = options.out
    assert out is not None
    files = _files(out, options)
    _require_free(files, options)
    set_aside: list[SetAside] = []
    if options.to in FOLDERS:
        # These tools open every photo that they are told of.
        gone = {photo.uri for photo in photos if not Path(photo.uri).is_file()}
        set_aside = [SetAside(uri, "the photo is gone") for uri in sorted(gone)]
        photos = photos.without(gone)
    if not photos.labels():
        raise ExportError("no photo has a tag: lower threshold=, or name another file of tags")
    if not options.dry_run:
        with (
            progress(options.to, total=len(photos), unit="photo") as bar,
            writing_beside(out),
        ):
            # Another export may have ended while this one waited.
            _require_free(files, options)
            _write(photos, out, options, bar)
    return TagExport(
        to=options.to,
        run=photos.run,
        out=str(out),
        retracted=False,
        dry_run=options.dry_run,
        images=len(photos),
        tags=sum(len(photo.tags) for photo in photos),
        written=len(files),
        files=tuple(map(str, files)),
        set_aside=tuple(set_aside),
    )


def _require_free(files: Sequence[Path], options: ExportOptions) -> None:
    for file in files:
        if options.to in FOLDERS:
            require_free_folder(file, overwrite=options.overwrite)
        else:
            require_free_file(file, overwrite=options.overwrite)


def _files(out: Path, options: ExportOptions) -> tuple[Path, ...]:
    """What is written: the file or folder, and Label Studio's configuration beside it."""
    return (out, out.with_suffix(".xml")) if options.to == "label-studio" else (out,)


def _write(photos: TaggedPhotos, out: Path, options: ExportOptions, bar: ProgressBar) -> None:
    if options.to == "coco":
        write_json(out, coco_tags(photos, bar=bar))
    elif options.to == "csv-wide":
        write_file(out, lambda part: _write_wide(photos, part, bar))
    elif options.to == "label-studio":
        root = str(options.root.absolute()) if options.root else photos.folder()
        config = labelling_config(photos)
        write_json(out, label_studio_tasks(photos, root=root, bar=bar))
        write_file(out.with_suffix(".xml"), lambda part: part.write_text(config, encoding="utf-8"))
    else:
        with new_folder(out) as folder:
            if options.to == "fiftyone":
                write_fiftyone(photos, folder, bar=bar)
            else:
                write_class_folders(photos, folder, copy=options.copy, bar=bar)


def _write_wide(photos: TaggedPhotos, part: Path, bar: ProgressBar) -> None:
    """A row an image and a column a label, as ``taistore score --layout wide`` writes it."""
    labels = [Label(key, name) for key, name in photos.labels().items()]
    with tag_writer(part, ".csv", schema=wide_schema(labels)) as writer:
        for piece in widen(photos.rows, labels):
            writer.write(piece)
            bar.advance(piece.num_rows)
