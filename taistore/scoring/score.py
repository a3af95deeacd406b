"""Score photos, or the images of a store, with a run: tags into a file, streaming and resumable.

Shapes: D embedding dimension, N labels.
"""

import contextlib
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import torch

from taistore.encoders.protocol import Encoder
from taistore.errors import ScoringError
from taistore.images.decoding import MAX_PIXELS
from taistore.images.sources.given_paths import GivenPaths
from taistore.images.sources.open_source import ImageSource, skipped_of
from taistore.progress import Progress, no_progress
from taistore.scoring.choosing import Chooser
from taistore.scoring.image_batches import from_photos, from_store, require_encoder
from taistore.scoring.known_cells import Known
from taistore.scoring.ladders.ladder import Step
from taistore.scoring.loaded_run import ScoringRun, open_run
from taistore.scoring.scoring_job import ScoringJob
from taistore.scoring.selection import Choice
from taistore.scoring.stored_images import some_have_regions
from taistore.scoring.tags.tag_file import require_suffix
from taistore.scoring.tags.tag_parts import TagFile
from taistore.scoring.tags.wide import Layout
from taistore.store.places import local_path
from taistore.store.store import Store


@dataclass(frozen=True, kw_only=True, slots=True)
class ScoreSummary:
    """What one job did. ``images`` are in the file, ``resumed`` of them from an earlier start.

    An image counts under each of its paths. ``without_tags`` of them have none above the threshold,
    and ``with_regions`` of those that this start scored had regions. ``rejected`` images are in the
    table ``rejects`` (until they succeed) where ``rejects_kept``: a store that may only be read
    takes none. ``step`` ranked the labels. ``skipped`` files of a folder may be photos: RAW and
    such, by kind.
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
    skipped: Mapping[str, int] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Plain values by field name."""
        return asdict(self)


def score(
    store: Store,
    run: str | ScoringRun,
    source: ImageSource | None,
    out: str | Path,
    *,
    listed: ImageSource | None = None,
    shown: GivenPaths | None = None,
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

    ``run`` is a run's id, or one that :func:`~taistore.scoring.loaded_run.open_run` has opened.

    ``out`` ends in .parquet, .jsonl or .csv and holds the columns of ``contracts.SCORES``, a row a
    tag; with the ``layout`` "wide" a row an image and a column a label. Labels are ranked by the
    scores of ``step`` (None: the top of the ladder); the column ``score`` is their
    :func:`~taistore.scoring.ladders.ladder.confidence`. ``top_k`` and ``threshold`` choose among
    them as in :meth:`~taistore.scoring.selection.Choice.asked`.

    With a source, ``encoder`` must be the run's; ``regions`` = G > 0 scores a G x G grid as well.
    Photos of which the store has these vectors are not encoded again. The store's images need no
    encoder; each is scored with its region vectors where it has any, and under all of its paths.
    ``listed`` names the photos of which the store has the vectors, and no others are scored: their
    files are not read. ``shown`` is how paths come back; None: as they are in the store.

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
    if isinstance(run, str):
        run = open_run(store, run, device=device)
    store = run.store
    if source is not None:
        encoder = _encoder_of(store, run, encoder)
    images = _images_of(store, run, source, listed, regions=regions)
    choice = Choice.asked(
        run.ladder, regions=bool(images.grid), step=step, top_k=top_k, threshold=threshold
    )
    file = TagFile(
        Path(out),
        job=_fingerprint(run, choice, images, known=known),
        done_by="image_id" if source is None else "uri",
        overwrite=overwrite,
        resume=resume,
    )
    if source is None or encoder is None:
        batches = from_store(
            store,
            run.encoder_id,
            file.done,
            regions=bool(images.grid),
            known=known,
            where=None if run.split is None else {"split": run.split},
            listed=listed,
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
    job = ScoringJob(
        store, Chooser(run.ladder, choice), file, source=images.name, max_rejects=max_rejects
    )
    with contextlib.closing(file):
        job.run_to_end(batches, progress("score", total=images.total or None, unit="image"))
        tags, without_tags = file.finish(
            wide=store.labels if layout == "wide" else None, shown=shown
        )
    return ScoreSummary(
        run_id=run.run_id,
        source=images.name,
        out=str(out),
        step=choice.step,
        regions_used=bool(images.grid),
        with_regions=job.with_regions,
        images=file.resumed + job.scored,
        resumed=file.resumed,
        tags=tags,
        without_tags=without_tags,
        rejected=job.rejected,
        rejects_kept=job.rejects_kept,
        skipped={} if source is None else skipped_of(source),
        seconds=time.monotonic() - started,
    )


class _Images(NamedTuple):
    """What is scored: where it is from, how many (0: nobody knows), and which regions of each."""

    name: str
    total: int
    grid: int | str


def _images_of(
    store: Store,
    run: ScoringRun,
    source: ImageSource | None,
    listed: ImageSource | None,
    *,
    regions: int,
) -> _Images:
    if source is not None:
        return _Images(source.name, source.count() or 0, regions)
    grid = "stored" if some_have_regions(store, run.encoder_id) else 0
    if listed is not None:
        return _Images(listed.name, listed.count() or 0, grid)
    # Of an ensemble with imported scores these are fewer: how many is not worth a scan.
    return _Images(store.uri, 0 if run.split else store.count("images"), grid)


def _encoder_of(store: Store, run: ScoringRun, encoder: Encoder | None) -> Encoder:
    """The encoder for photos, which must be the run's."""
    if encoder is None:
        raise ScoringError(
            f"photos need the encoder of run {run.run_id}: give "
            f"{store.encoder(run.encoder_id).spec} as encoder="
        )
    return require_encoder(run, encoder)


def _fingerprint(
    run: ScoringRun, choice: Choice, images: _Images, *, known: Known
) -> dict[str, Any]:
    """What decides the rows of the file: a job with another one cannot continue its parts."""
    return {
        "run": run.run_id,
        "adapter": run.weights_digest,
        "source": images.name,
        "step": choice.step,
        "top-k": choice.top_k,
        "threshold": choice.threshold,
        "regions": images.grid,
        "known": known,
    }
