"""Batches of images scored into a file of tags: what is counted and set aside on the way."""

import contextlib
import functools
from collections.abc import Callable, Generator, Iterator

from taistore.errors import ScoringError, StoreError
from taistore.progress import ProgressBar
from taistore.scoring.choosing import Chooser, Tagged
from taistore.scoring.image_batches import ScorableBatch
from taistore.scoring.selection import LabelColumns
from taistore.scoring.tags.tag_parts import TagFile
from taistore.store.rejects import Reject, listed_by
from taistore.store.store import Store

JOB = "score"
"""Name of the job in the table ``rejects``."""


class ScoringJob:
    """Scores batches into the file; counts, and stops where nothing good comes of going on."""

    def __init__(
        self,
        store: Store,
        chooser: Chooser,
        file: TagFile,
        *,
        source: str,
        max_rejects: int | None,
    ) -> None:
        self.scored = self.rejected = self.with_regions = 0
        self._store = store
        self._labels = LabelColumns(store.labels)
        self._chooser = chooser
        self._file = file
        self._source = source
        self._max_rejects = max_rejects
        self.rejects_kept = True
        self._first_reject: Reject | None = None
        # Looking for rejects to clear costs a scan a batch; mostly there are none at all.
        earlier = store.scan("rejects", columns=["uri"], where={"job": JOB})
        self._rejects_before = any(batch.num_rows for batch in earlier)

    def run_to_end(self, batches: Generator[ScorableBatch, None, None], shown: ProgressBar) -> None:
        """Score everything, and show how far it is."""
        # Closed inside the bar: what was scored is written before a signal may end the process.
        runs = self._run(batches)
        with shown as bar, contextlib.closing(batches), contextlib.closing(runs):
            for done in runs:
                bar.advance(done, **({"rejected": float(self.rejected)} if self.rejected else {}))

    def _run(self, batches: Iterator[ScorableBatch]) -> Generator[int, None, None]:
        """Score everything; yields the number of images that each batch brought to an end."""
        try:
            each = self._chooser.each((batch, batch.images) for batch in batches)
            for batch, tagged in each:
                self._score(batch, tagged)
                yield len(batch.image_ids) + len(batch.rejects) + batch.skipped
                self._check_rejects()
        except ScoringError:
            raise
        except BaseException:
            # Whatever else ended the job, good work is kept.
            self._file.flush()
            raise
        self._require_success()

    def _score(self, batch: ScorableBatch, tagged: Tagged) -> None:
        if batch.rejects:
            self._keep_rejects(functools.partial(self._store.reject, JOB, batch.rejects))
            self.rejected += len(batch.rejects)
            self._first_reject = self._first_reject or batch.rejects[0]
        if batch.image_ids:
            tags = batch.table(tagged, self._labels)
            # Cleared before a part can hold them: a later start would skip them.
            if self._rejects_before:
                self._keep_rejects(functools.partial(self._store.clear_rejects, JOB, batch.uris))
            self._file.add(tags, images=len(batch.image_ids))
            self.scored += len(batch.image_ids)
            self.with_regions += 0 if batch.regions_BRD is None else len(batch.image_ids)

    def _keep_rejects(self, write: Callable[[], object]) -> None:
        """Scoring reads the store: that it cannot be written must not keep anyone from tags."""
        if not self.rejects_kept:
            return
        try:
            write()
        except StoreError:
            self.rejects_kept = False

    def _check_rejects(self) -> None:
        if self._max_rejects is not None and self.rejected > self._max_rejects:
            self._file.flush()
            raise ScoringError(
                f"{self._source}: stopped at {self.rejected} rejected images, at most "
                f"{self._max_rejects} are allowed ({self._why()}): mend them or raise "
                "max_rejects=, and run it again; what was scored is kept"
            )

    def _require_success(self) -> None:
        if self.scored or self._file.resumed:
            return
        if self.rejected:
            raise ScoringError(
                f"{self._source}: none of {self.rejected} images could be scored "
                f"({self._why()}): {listed_by(self._store.uri)} lists them"
            )
        raise ScoringError(
            f"{self._source}: no images here: give a folder or manifest of photos, or run "
            "'taistore ingest-images' first"
        )

    def _why(self) -> str:
        first = self._first_reject or Reject("", "", "no reason is known")
        return f"first: {first.uri}: {first.detail}"
