"""What an export is asked for, and what fits to which format."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from taistore.errors import ExportError
from taistore.exporting.set_aside import SetAside
from taistore.exporting.sidecars.sidecar_places import Naming
from taistore.store.places import local_path

Format = Literal[
    "xmp", "sidecar-json", "coco", "csv-wide", "fiftyone", "label-studio", "imagefolder"
]
SIDECARS = ("xmp", "sidecar-json")
FOLDERS = ("fiftyone", "imagefolder")
FILES = {"coco": ".json", "csv-wide": ".csv", "label-studio": ".json"}
"""Formats that are one file, and how its name ends."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ExportOptions:
    """The options of :func:`taistore.export`, checked; raises :class:`ExportError`."""

    to: Format
    out: Path | None = None
    retract: str | None = None
    naming: Naming = "auto"
    under: str = ""
    root: Path | None = None
    copy: bool = False
    overwrite: bool = False
    dry_run: bool = False

    def __post_init__(self) -> None:
        if self.to not in get_args(Format):
            raise ExportError(f"to={self.to!r}: it is one of {', '.join(get_args(Format))}")
        if self.naming not in get_args(Naming):
            raise ExportError(f"naming={self.naming!r}: it is one of {', '.join(get_args(Naming))}")
        self._require_fitting()
        if self.out is not None:
            local_path(self.out, option="out")
        elif self.to not in SIDECARS:
            what = "folder" if self.to in FOLDERS else f"file that ends in {FILES[self.to]}"
            raise ExportError(f"to={self.to} needs out=: name a {what}")
        if self.out is not None and self.to in FILES and self.out.suffix != FILES[self.to]:
            raise ExportError(f"{self.out}: name a file that ends in {FILES[self.to]} for out=")

    def _require_fitting(self) -> None:
        """Raise on an option that the format would pass over."""
        sidecar, file = self.to in SIDECARS, self.to not in SIDECARS
        for name, given, fits, whose in (
            ("retract", self.retract is not None, sidecar, "xmp and sidecar-json"),
            ("naming", self.naming != "auto", self.to == "xmp", "xmp"),
            ("under", bool(self.under), self.to == "xmp", "xmp"),
            ("copy", self.copy, self.to == "imagefolder", "imagefolder"),
            ("overwrite", self.overwrite, file, "files and folders; sidecars are merged"),
            (
                "root",
                self.root is not None,
                self.to == "label-studio" or (sidecar and self.out is not None),
                "sidecars with out=, and label-studio",
            ),
        ):
            if given and not fits:
                raise ExportError(f"{name}= is for {whose}, not for to={self.to}: leave it out")


@dataclass(frozen=True, kw_only=True, slots=True)
class TagExport:
    """What was written, or with ``dry_run`` what would be.

    Sidecars: ``written`` are new, ``merged`` were there and are changed, ``unchanged`` had it all
    already, ``removed`` were ours alone and are gone. Files: ``written`` counts them. ``files`` are
    the first of those that changed.
    """

    to: str
    run: str
    out: str | None
    retracted: bool
    dry_run: bool
    images: int
    tags: int
    written: int = 0
    merged: int = 0
    unchanged: int = 0
    removed: int = 0
    files: tuple[str, ...] = ()
    set_aside: tuple[SetAside, ...] = ()
