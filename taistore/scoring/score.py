"""Score photos, or the images of a store, with a run: tags into a file, streaming and resumable.

Shapes: D embedding dimension, N labels.
"""

import contextlib
import functools
import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from taistore.encoders.protocol import Encoder
from taistore.errors import ScoringError, StoreError
from taistore.images.decoding import MAX_PIXELS
from taistore.images.sources.open_source import ImageSource
from taistore.progress import Progress, no_progress
from taistore.scoring.image_batches import ScorableBatch, from_photos, from_store, require_encoder
from taistore.scoring.known_cells import Known
from taistore.scoring.ladder import Ladder, Step
from taistore.scoring.loaded_run import ScoringRun, open_run
from taistore.scoring.selection import Choice
from taistore.scoring.stored_images import some_have_regions
from taistore.scoring.tags.tag_file import require_suffix
from taistore.scoring.tags.tag_parts import TagFile
from taistore.scoring.tags.wide import Layout
from taistore.store.places import local_path
from taistore.store.rejects import Reject
from taistore.store.store import Store

JOB = "score"
"""Name of the job in the table ``rejects``."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ScoreSummary:
    """What one job did. ``images`` are in the file, ``resumed`` of them from an earlier start.

    An image counts under each of its paths. ``without_tags`` of them have none above the threshold,
    and ``with_regions`` of those that this start scored had regions. ``rejected`` images are in the
    table ``rejects`` (until they succeed) where ``rejects_kept``: a store that may only be read
    takes none. ``step`` ranked the labels.
    """

    run_id: str
    source: str
    out: str
    step: str
    regions_used: bool
    with_regions: int
    images: int
    resumed: int
    tags: int
    without_tags: int
    rejected: int
    seconds: float
    rejects_kept: bool = True

    def to_json(self) -> dict[str, Any]:
        """Plain values by field name."""
        return asdict(self)


def score(
    store: Store,
    run_id: str,
    source: ImageSource | None,
    out: str | Path,
    *,
    encoder: Encoder | None = None,
    layout: Layout = "long",
    top_k: int | None = None,
    threshold: float | None = None,
    step: Step | None = None,
    regions: int = 7,
    known: Known = "override",
    batch_size: int = 32,
    workers: int = 2,
    max_pixels: int = MAX_PIXELS,
    max_rejects: int | None = None,
    overwrite: bool = False,
    resume: bool = True,
    device: str | torch.device = "cpu",
    progress: Progress = no_progress,
) -> ScoreSummary:
    """Tag every image of ``source`` (None: every image of the store) into ``out``.

    ``out`` ends in .parquet, .jsonl or .csv and holds the columns of ``contracts.SCORES``, a row a
    tag; with the ``layout`` "wide" a row an image and a column a label. Labels are ranked by the
    scores of ``step`` (None: the top of the ladder); the column ``score`` is their
    :func:`~taistore.scoring.ladder.confidence`. ``top_k`` and ``threshold`` choose among them as in
    :meth:`~taistore.scoring.selection.Choice.asked`.

    With a source, ``encoder`` must be the run's; ``regions`` = G > 0 scores a G x G grid as well.
    Photos of which the store has these vectors are not encoded again. The store's images need no
    encoder; each is scored with its region vectors where it has any, and under all of its paths.

    ``known`` "override" lets what the store knows of an image decide: a label that it shows is a
    tag with the score 1, whatever ``top_k`` and ``threshold``, and one that it does not is none.
    "ignore" goes by the scores alone.

    Memory does not grow with the number of images. Killed and run again, the job skips the images
    in the parts that are there (by path; by content for the store's) and ends with the same rows;
    ``resume=False`` starts anew. A bad image goes to the store's ``rejects``, if that may be
    written, and the job goes on.

    Raises :class:`ScoringError` when ``out`` cannot be written or is there already (without
    ``overwrite``) or another job writes it, when no image could be scored or past
    ``max_rejects``; and what :func:`~taistore.scoring.loaded_run.open_run` and the source raise.
    """
    started = time.monotonic()
    require_suffix(local_path(out, option="out"))
    run = open_run(store, run_id, device=device)
    if source is None:
        # Of an ensemble with imported scores these are fewer: how many is not worth a scan.
        name, total = store.uri, 0 if run.split else store.count("images")
        grid: int | str = "stored" if some_have_regions(store, run.encoder_id) else 0
    else:
        if encoder is None:
            raise ScoringError(
                f"photos need the encoder of run {run.run_id}: give "
                f"{store.encoder(run.encoder_id).spec} as encoder="
            )
        encoder = require_encoder(run, encoder)
        name, total, grid = source.name, source.count() or 0, regions
    choice = Choice.asked(
        run.ladder, regions=bool(grid), step=step, top_k=top_k, threshold=threshold
    )
    file = TagFile(
        Path(out),
        job=_fingerprint(run, choice, source=name, grid=grid, known=known),
        done_by="image_id" if source is None else "uri",
        overwrite=overwrite,
        resume=resume,
    )
    if source is None or encoder is None:
        batches = from_store(
            store,
            run.encoder_id,
            file.done,
            regions=bool(grid),
            known=known,
            where=None if run.split is None else {"split": run.split},
        )
    else:
        batches = from_photos(
            store,
            encoder,
            source,
            file.done,
            regions=regions,
            known=known,
            batch_size=batch_size,
            workers=workers,
            max_pixels=max_pixels,
        )
    job = _Job(store, run.ladder, choice, file, source=name, max_rejects=max_rejects)
    with contextlib.closing(file):
        bars = progress("score", total=total or None, unit="image")
        # Closed inside the bar: what was scored is written before a signal may end the process.
        with bars as bar, contextlib.closing(batches), contextlib.closing(job.run(batches)) as runs:
            for done in runs:
                bar.advance(done, **({"rejected": float(job.rejected)} if job.rejected else {}))
        tags, without_tags = file.finish(wide=store.labels if layout == "wide" else None)
    return ScoreSummary(
        run_id=run_id,
        source=name,
        out=str(out),
        step=choice.step,
        regions_used=bool(grid),
        with_regions=job.with_regions,
        images=file.resumed + job.scored,
        resumed=file.resumed,
        tags=tags,
        without_tags=without_tags,
        rejected=job.rejected,
        rejects_kept=job.rejects_kept,
        seconds=time.monotonic() - started,
    )


def _fingerprint(
    run: ScoringRun, choice: Choice, *, source: str, grid: int | str, known: Known
) -> dict[str, Any]:
    """What decides the rows of the file: a job with another one cannot continue its parts."""
    return {
        "run": run.run_id,
        "adapter": run.weights_digest,
        "source": source,
        "step": choice.step,
        "top-k": choice.top_k,
        "threshold": choice.threshold,
        "regions": grid,
        "known": known,
    }


class _Job:
    """Scores batches into the file; counts, and stops where nothing good comes of going on."""

    def __init__(
        self,
        store: Store,
        ladder: Ladder,
        choice: Choice,
        file: TagFile,
        *,
        source: str,
        max_rejects: int | None,
    ) -> None:
        self.scored = self.rejected = self.with_regions = 0
        self._store = store
        self._ladder = ladder
        self._choice = choice
        self._file = file
        self._source = source
        self._max_rejects = max_rejects
        self.rejects_kept = True
        self._first_reject: Reject | None = None
        # Looking for rejects to clear costs a scan a batch; mostly there are none at all.
        earlier = store.scan("rejects", columns=["uri"], where={"job": JOB})
        self._rejects_before = any(batch.num_rows for batch in earlier)

    def run(self, batches: Iterator[ScorableBatch]) -> Generator[int, None, None]:
        """Score everything; yields the number of images that each batch brought to an end."""
        try:
            for batch in batches:
                self._score(batch)
                yield len(batch.image_ids) + len(batch.rejects) + batch.skipped
                self._check_rejects()
        except ScoringError:
            raise
        except BaseException:
            # Whatever else ended the job, good work is kept.
            self._file.flush()
            raise
        self._require_success()

    def _score(self, batch: ScorableBatch) -> None:
        if batch.rejects:
            self._keep_rejects(functools.partial(self._store.reject, JOB, batch.rejects))
            self.rejected += len(batch.rejects)
            self._first_reject = self._first_reject or batch.rejects[0]
        if batch.image_ids:
            tags = batch.table(self._ladder, self._choice, self._store.labels)
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
                f"({self._why()}): 'taistore show --rejects' lists them"
            )
        raise ScoringError(
            f"{self._source}: no images here: give a folder or manifest of photos, or run "
            "'taistore ingest-images' first"
        )

    def _why(self) -> str:
        first = self._first_reject or Reject("", "", "no reason is known")
        return f"first: {first.uri}: {first.detail}"
