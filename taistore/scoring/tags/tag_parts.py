"""A file of tags in the making: parts that appear whole, skipped on rerun, merged at the end.

``tags.csv`` grows in ``tags.csv.parts/``. A part holds the tags of some images; an image that got
no tag has one row of rank 0 there, so that the parts alone say which images are done. A lock on
a file in there keeps a second job out; the system drops it when its process ends, however it ends.
"""

import contextlib
import functools
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from filelock import FileLock, Timeout

from taistore.contracts import RUN_KEY, SCORES
from taistore.errors import ScoringError
from taistore.images.sources.given_paths import GivenPaths
from taistore.labels import LabelSet
from taistore.scoring.string_set import Seen
from taistore.scoring.tags.tag_file import require_suffix, tag_writer
from taistore.scoring.tags.wide import wide_schema, widen

PART_IMAGES = 4096
PART_SECONDS = 60.0
"""A part is written after so many images or seconds: what a kill can cost."""

_JOB_KEY = b"taistore:score"
_MERGED = "merged.tmp"
_LOCK = "lock"

T = TypeVar("T")


class TagFile:
    """The output of one scoring job; ``job`` holds the options that decide what is in it.

    Raises :class:`ScoringError` when ``out`` cannot be written, is finished already (without
    ``overwrite``), is being written by another job, or has parts of a job with other options.
    ``resume=False`` drops earlier parts. :meth:`close` lets the next job at ``out``.
    """

    def __init__(
        self,
        out: Path,
        *,
        job: Mapping[str, Any],
        done_by: str,
        overwrite: bool = False,
        resume: bool = True,
    ) -> None:
        self.out = out
        self.done = Seen()
        self.resumed = 0
        self._suffix = require_suffix(out)
        self._job = dict(job)
        self._parts = out.with_name(out.name + ".parts")
        self._rows: list[pa.Table] = []
        self._images = 0
        self._since = time.monotonic()
        self._lock: FileLock | None = None
        try:
            self._prepare(overwrite=overwrite, resume=resume)
            for path in self._paths():
                part = _read_part(path)
                self.done.add(map(str, part.column(done_by).unique().to_pylist()))
                # Every image has one row of rank 1, or of 0.
                self.resumed += int((part.column("rank").to_numpy() <= 1).sum())
        except BaseException:
            self.close()
            raise

    def _prepare(self, *, overwrite: bool, resume: bool) -> None:
        if not self._parts.is_dir():
            self._require_free(overwrite=overwrite)
        with _writing(self.out):
            self._parts.mkdir(parents=True, exist_ok=True)
            self._lock = _locked(self._parts / _LOCK, self.out)
            # Before a finished file is refused: what its job could not tidy up goes all the same.
            if self._left_behind():
                self._drop_parts()
            for leftover in self._parts.glob("*.tmp"):
                leftover.unlink()
        # Another job may have finished between the first look and the lock.
        self._require_free(overwrite=overwrite)
        if not resume:
            with _writing(self.out):
                self._drop_parts()
        self._require_same_job(overwrite=overwrite)

    def _left_behind(self) -> bool:
        """Whether these are parts older than a finished file: of a job killed at its very end."""
        return self.out.exists() and all(
            path.stat().st_mtime_ns <= self.out.stat().st_mtime_ns for path in self._paths()
        )

    def _require_free(self, *, overwrite: bool) -> None:
        if self.out.is_dir():
            raise ScoringError(f"{self.out} is a directory: name a file for out=")
        if self.out.exists() and not overwrite:
            raise ScoringError(
                f"{self.out} is there already, finished: give overwrite= to replace it, or "
                "another out="
            )

    def _require_same_job(self, *, overwrite: bool) -> None:
        for path in self._paths()[:1]:
            before = json.loads(_reading(path, pq.read_schema).metadata[_JOB_KEY])
            differing = [name for name in self._job if before.get(name) != self._job[name]]
            if differing and overwrite:
                with _writing(self.out):
                    self._drop_parts()
            elif differing:
                name = differing[0]
                raise ScoringError(
                    f"{self._parts}: holds the parts of an unfinished job with {name} "
                    f"{before.get(name)!r}, not {self._job[name]!r}: finish that one first, or "
                    "give overwrite= to drop them"
                )

    def _paths(self) -> list[Path]:
        return sorted(self._parts.glob("part-*.parquet"))

    def _drop_parts(self) -> None:
        for path in self._paths():
            path.unlink()

    def add(self, tags: pa.Table, *, images: int) -> None:
        """Take the tags of ``images`` more images; writes a part when one is due."""
        self._rows.append(tags)
        self._images += images
        if self._images >= PART_IMAGES or time.monotonic() - self._since >= PART_SECONDS:
            self.flush()

    def flush(self) -> None:
        """Write what has gathered as a part."""
        if self._images:
            paths = self._paths()
            number = int(paths[-1].stem.removeprefix("part-")) + 1 if paths else 0
            schema = SCORES.with_metadata({_JOB_KEY: json.dumps(self._job).encode()})
            table = pa.concat_tables(self._rows).cast(schema)
            part = self._parts / f"part-{number:08d}.tmp"
            with _writing(self.out, part):
                pq.write_table(table, part, compression="zstd")
                _settle(part, part.with_suffix(".parquet"))
        self._rows, self._images = [], 0
        self._since = time.monotonic()

    def finish(
        self, *, wide: LabelSet | None = None, shown: GivenPaths | None = None
    ) -> tuple[int, int]:
        """Merge all parts into ``out``, atomically, and remove them.

        One row a tag, or with the labels given as ``wide`` one row an image. Parts hold absolute
        paths, so that a job may go on from another folder; ``out`` has them as ``shown``. Returns
        how many tags were written and how many images have none.
        """
        self.flush()
        written = without = 0
        merged = self._parts / _MERGED
        with _writing(self.out, merged):
            schema = self._named(SCORES if wide is None else wide_schema(wide))
            with tag_writer(merged, self._suffix, schema=schema) as writer:
                for path in self._paths():
                    table = _shown(_read_part(path), shown)
                    tags = table.filter(pc.field("rank") > 0)
                    without += table.num_rows - tags.num_rows
                    written += tags.num_rows
                    for piece in [tags] if wide is None else widen(table, wide):
                        writer.write(piece)
            _settle(merged, self.out)
        with contextlib.suppress(OSError):  # The file is whole: what stays behind does no harm.
            self._drop_parts()
        self.close()
        return written, without

    def _named(self, schema: pa.Schema) -> pa.Schema:
        """A schema that tells which run gave the tags; only Parquet has a place for that."""
        run = str(self._job.get("run", ""))
        return schema.with_metadata({**(schema.metadata or {}), RUN_KEY: run.encode()})

    def close(self) -> None:
        """Let other jobs write here; parts stay, a folder without any goes. Writes nothing."""
        if self._lock is None:
            return
        if not self._paths():
            # The lock goes last: whoever comes before that is refused and leaves nothing there.
            with contextlib.suppress(OSError):
                for leftover in self._parts.glob("*.tmp"):
                    leftover.unlink()
                (self._parts / _LOCK).unlink()
                self._parts.rmdir()
        self._lock.release()
        self._lock = None


def _locked(path: Path, out: Path) -> FileLock:
    """The lock, held until it is released."""
    # Whichever thread closes the file, and only the system's own lock ends with a killed process.
    lock = FileLock(path, thread_local=False, fallback_to_soft=False)
    try:
        lock.acquire(blocking=False)
    except Timeout:
        raise ScoringError(
            f"{out}: another job is writing it: wait until that one has ended, or name another out="
        ) from None
    return lock


def _read_part(path: Path) -> pa.Table:
    return _reading(path, functools.partial(pq.read_table, schema=SCORES))


def _shown(table: pa.Table, shown: GivenPaths | None) -> pa.Table:
    if shown is None:
        return table
    place = table.schema.get_field_index("uri")
    uris = pa.array([shown.of(str(uri)) for uri in table.column(place).to_pylist()], pa.string())
    return table.set_column(place, table.schema.field(place), uris)


def _reading(path: Path, read: Callable[[Path], T]) -> T:
    try:
        return read(path)
    except (OSError, pa.ArrowException) as error:
        raise ScoringError(f"{path}: damaged ({error}): delete it and run again") from error


def _settle(temporary: Path, final: Path) -> None:
    """Give a written file its name, so that a kill or a power cut leaves all of it or nothing."""
    with temporary.open("rb+") as file:
        os.fsync(file.fileno())
    temporary.replace(final)


@contextlib.contextmanager
def _writing(out: Path, temporary: Path | None = None) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if temporary is not None:
            # On a full disk a half-written file would hold the very room that is missing.
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
        detail = error.strerror or str(error).splitlines()[0]
        raise ScoringError(
            f"{out}: cannot be written ({detail}): mend that or choose another out=, and run the "
            "same command again; finished parts are kept"
        ) from error
