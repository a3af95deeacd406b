"""A table as Lance keeps it: which versions there are, which of their files can be read."""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from lance.dataset import LanceDataset

from taistore.errors import StoreError
from taistore.store.arrow import READ_AHEAD_BYTES
from taistore.store.lance_errors import answering
from taistore.store.object_folder import ObjectFolder
from taistore.store.places import is_remote

_MANIFEST = re.compile(r"(\d+)\.manifest")
_LAST = 2**64 - 1
"""Lance counts the names of manifests down from here, and up from 1 where a table is old."""

_BATCH_ROWS = 1024


@dataclass(frozen=True, slots=True)
class BrokenFile:
    """A file of a table that cannot be read, and why."""

    path: str
    why: str


class TableFolder:
    """The table ``name`` of the store at ``uri``, read without trust in anything of it.

    ``session`` bounds what Lance keeps of the tables that have it in common.
    """

    def __init__(
        self,
        uri: str,
        name: str,
        storage_options: Mapping[str, str] | None,
        *,
        session: Any = None,
    ) -> None:
        self.name = name
        self.place = f"{uri.rstrip('/')}/{name}.lance"
        self.local = None if is_remote(uri) else Path(self.place)
        self._remote = ObjectFolder(self.place) if is_remote(uri) else None
        self._storage_options = dict(storage_options or {}) or None
        self._session = session
        self._seen: dict[tuple[str, ...], BrokenFile | None] = {}

    def opened(self, version: int | None = None) -> Any:
        """The table as it was then, or is now; raises what Lance raises.

        Raises :class:`StoreError` where an object store does not answer.
        """
        with answering(self.place):
            return LanceDataset(
                self.place,
                version=version,
                storage_options=self._storage_options,
                session=self._session,
            )

    @cached_property
    def noted(self) -> int:
        """The newest version as Lance noted it beside the manifests; 0 where it did not."""
        if self.local is None:
            return 0
        try:
            note = json.loads((self.local / "_versions" / "latest_version_hint.json").read_bytes())
            return int(note["version"])
        except (OSError, ValueError, KeyError, TypeError):
            return 0

    @cached_property
    def versions(self) -> list[int]:
        """Numbers of the versions that had a manifest when first asked, newest first.

        Raises OSError without rights.
        """
        return self._versions_now()

    def _versions_now(self) -> list[int]:
        return sorted(map(_number, self._manifests()), reverse=True)

    def _manifests(self) -> list[str]:
        names: Iterable[str] = ()
        if self._remote is not None:
            names = ObjectFolder(f"{self.place}/_versions").sizes()
        elif (folder := Path(self.place) / "_versions").is_dir():
            names = [path.name for path in folder.iterdir()]
        return [name for name in names if _MANIFEST.fullmatch(name)]

    def files(self) -> list[str]:
        """Every file of the table, by its path from the folder."""
        if self._remote is not None:
            return sorted(self._remote.sizes())
        folder = Path(self.place)
        return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())

    def manifest(self, version: int) -> str:
        """Where the manifest of a version is."""
        for name in self._manifests():
            if _number(name) == version:
                return f"{self.place}/_versions/{name}"
        return f"{self.place}/_versions, version {version}"

    def set_aside(self, version: int) -> None:
        """Give the manifest of a version a name under which Lance does not find it."""
        path = self.manifest(version)
        if self._remote is not None:
            name = path.removeprefix(f"{self.place}/")
            self._remote.rename(name, f"{name}.damaged")
        else:
            Path(path).rename(f"{path}.damaged")

    def broken_files(self, dataset: Any) -> Iterator[BrokenFile]:
        """The files of one version that cannot be read; each file is read once, whoever asks."""
        for fragment in dataset.get_fragments():
            files = tuple(file.path for file in fragment.metadata.files)
            key = (*files, str(fragment.metadata.deletion_file))
            if key not in self._seen:
                self._seen[key] = self._broken(dataset, fragment)
            found = self._seen[key]
            if found is not None:
                yield found

    def _broken(self, dataset: Any, fragment: Any) -> BrokenFile | None:
        path = f"{self.place}/data/{fragment.metadata.files[0].path}"
        for file in fragment.metadata.files:
            where = f"{self.place}/data/{file.path}"
            try:
                there = self._size(f"data/{file.path}")
            except OSError as error:
                return BrokenFile(where, f"cannot be read ({error.strerror})")
            if there is None:
                return BrokenFile(where, "is missing")
            if file.file_size_bytes and there != file.file_size_bytes:
                return BrokenFile(
                    where, f"has {there:,} bytes, not the {file.file_size_bytes:,} written"
                )
        try:
            scanner = dataset.scanner(
                fragments=[fragment], batch_size=_BATCH_ROWS, io_buffer_size=READ_AHEAD_BYTES
            )
            with answering(self.place):
                for batch in scanner.to_batches():
                    batch.validate(full=True)
        except (KeyboardInterrupt, SystemExit, MemoryError, StoreError):
            raise
        except BaseException as error:  # some damage makes Lance panic, which is no Exception
            if "_deletions" in str(error):
                return BrokenFile(
                    f"{self.place}/_deletions", f"lacks the file of {path}, or it is damaged"
                )
            return BrokenFile(path, "is damaged")
        return None

    def _size(self, name: str) -> int | None:
        """Bytes of a file that can be opened; None where it is missing."""
        if self._remote is not None:
            return self._remote.size(name)
        try:
            with (Path(self.place) / name).open("rb") as file:
                return file.seek(0, 2)
        except FileNotFoundError:
            return None

    def last_whole(self, *, before: int) -> Any:
        """The newest version up to ``before`` whose files can all be read; None without one."""
        for version in self.versions:
            if version <= before:
                try:
                    dataset = self.opened(version)
                except (OSError, ValueError, RuntimeError):
                    continue
                if next(self.broken_files(dataset), None) is None:
                    return dataset
        return None

    def unnamed_files(self) -> list[Path] | None:
        """Files in ``data`` that no version names; None where a version cannot be asked."""
        if self.local is None or not (self.local / "data").is_dir():
            return []
        # The files first, and the versions as they are now: a job may have committed while the
        # table was read, and its files are in use.
        left = {path.name: path for path in (self.local / "data").iterdir()}
        for version in self._versions_now():
            if not left:
                break
            try:
                fragments = self.opened(version).get_fragments()
            except (OSError, ValueError, RuntimeError):
                return None
            for fragment in fragments:
                for file in fragment.metadata.files:
                    left.pop(file.path, None)
        return sorted(left.values())


def _number(manifest: str) -> int:
    number = int(manifest.partition(".")[0])
    return _LAST - number if number > _LAST // 2 else number
