"""Paths as they were given: sources yield absolute ones, which a store needs; tags show these."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from taistore.images.sources.folder import FolderSource
from taistore.images.sources.manifest import ManifestSource
from taistore.images.sources.source import ImageSource


@dataclass(frozen=True, kw_only=True, slots=True)
class GivenPaths:
    """How whoever named a source at ``given`` would name what lies below ``root``, its folder.

    >>> GivenPaths(root="/pictures/photos", given="photos").of("/pictures/photos/a/b.jpg")
    'photos/a/b.jpg'
    >>> GivenPaths(root="/pictures/photos", given="photos").of("/elsewhere/c.jpg")
    '/elsewhere/c.jpg'
    """

    root: str
    given: str

    @classmethod
    def of_source(cls, path: str | Path, source: ImageSource) -> Self | None:
        """Those of a source that was opened with ``path``; None where its paths stay absolute.

        A manifest's photos lie below its folder. Rows that name photos elsewhere, and those of
        published data sets, whose photos lie where their layout says, come back absolute.
        """
        if isinstance(source, FolderSource):
            return cls(root=source.name, given=str(path))
        if isinstance(source, ManifestSource):
            return cls(root=str(Path(source.name).parent), given=str(Path(path).parent))
        return None

    def of(self, uri: str) -> str:
        """The path that is shown for an absolute one."""
        if uri == self.root:
            return str(Path(self.given))
        prefix = self.root.rstrip("/") + "/"
        if not uri.startswith(prefix):
            return uri
        # Not Path: of what a source yields nothing but its beginning is to change.
        folder = str(Path(self.given))
        rest = uri.removeprefix(prefix)
        return rest if folder == "." else os.path.join(folder, rest)  # noqa: PTH118
