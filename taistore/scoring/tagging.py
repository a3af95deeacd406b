"""Tags in memory: of photos as they come, and of the images of a store as a frame.

Nothing is written, to no file and no store. Shapes: B photos of a batch, T tags of a batch.
"""

import contextlib
import dataclasses
import functools
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from PIL import Image

from taistore.contracts import SCORES
from taistore.encoders.protocol import Encoder, ImageVectors
from taistore.errors import ImageError, ScoringError
from taistore.images.decoding import MAX_PIXELS
from taistore.images.encoding import encode_each
from taistore.images.ordered_map import ordered_map
from taistore.images.photo_files import rejected, took_too_long
from taistore.labels import LabelSet
from taistore.progress import Progress, no_progress
from taistore.scoring.choosing import Chooser, Images
from taistore.scoring.image_batches import from_store, require_encoder
from taistore.scoring.known_cells import Known
from taistore.scoring.ladders.ladder import Step
from taistore.scoring.loaded_run import ScoringRun
from taistore.scoring.photos import Photo, open_photo, photo_name
from taistore.scoring.selection import Choice, LabelColumns
from taistore.scoring.stored_images import some_have_regions
from taistore.scoring.string_set import Seen
from taistore.scoring.tags.image_tags import ImageTags, Tag
from taistore.scoring.tags.tag_frame import TagFrame

OnError = Literal["raise", "skip"]

P = TypeVar("P", bound=Photo)


def tag_images(
    run: ScoringRun,
    encoder: Encoder,
    photos: Iterable[P],
    *,
    top_k: int | None = None,
    threshold: float | None = None,
    step: Step | None = None,
    regions: int = 7,
    batch_size: int = 32,
    workers: int = 2,
    max_pixels: int = MAX_PIXELS,
    on_error: OnError = "raise",
) -> Iterator[tuple[P, ImageTags]]:
    """Each of ``photos`` with its tags, lazily and in their order, by their scores alone.

    They are those that ``score`` gives where nothing is known of the photos.

    ``encoder`` is that of the run. ``photos`` may be without end: some two
    batches are read ahead. ``top_k``, ``threshold`` and ``step`` are as in
    :meth:`~taistore.scoring.selection.Choice.asked`; ``regions`` = G > 0 scores a G x G grid too.

    A photo that cannot be read or prepared raises :class:`ImageError` with its name, once those
    before it were given out; with ``on_error="skip"`` it is left out and the rest goes on. Raises
    :class:`ScoringError` where the encoder is not the run's or an option is out of range.
    """
    if isinstance(photos, str | Path | bytes | Image.Image):
        raise ScoringError("photos is a single photo: give a list of photos, such as [photo]")
    if on_error not in ("raise", "skip"):
        raise ScoringError(f"on_error is {on_error!r}: use 'raise' or 'skip'")
    if batch_size < 1 or workers < 1 or regions < 0:
        raise ScoringError(
            f"batch_size {batch_size}, workers {workers}, regions {regions}: they must be at "
            "least 1, 1 and 0"
        )
    require_encoder(run, encoder)
    if run.split is not None:
        raise ScoringError(
            f"run {run.run_id} averages imported scores of the images of split {run.split!r}, "
            "which photos have not: tag them with a member of it"
        )
    choice = Choice.asked(
        run.ladder, regions=bool(regions), step=step, top_k=top_k, threshold=threshold
    )
    tagger = _Tagger(encoder, Chooser(run.ladder, choice), run.store.labels, regions)
    prepare = functools.partial(_prepared, encoder=encoder, max_pixels=max_pixels)
    # Threads start with the first photo that is asked for.
    prepared = ordered_map(
        prepare, enumerate(photos), workers=workers, ahead=2 * batch_size + workers, late=_late
    )
    return _tagged(tagger, prepared, batch_size=batch_size, skip=on_error == "skip")


def tag_store(
    run: ScoringRun,
    *,
    split: str | None = None,
    top_k: int | None = None,
    threshold: float | None = None,
    step: Step | None = None,
    known: Known = "override",
    progress: Progress = no_progress,
) -> TagFrame:
    """The tags of the images of a run's store (or of ``split``), from their vectors.

    The options are as in :meth:`~taistore.scoring.selection.Choice.asked`; ``known`` as in
    :func:`taistore.scoring.score.score`. An image is scored with its region vectors where it has
    any, and is there under each of its paths. One without a vector of the run's encoder is left
    out. Images are read in batches; the frame is what stays in memory. Raises
    :class:`ScoringError` where an option is out of range.
    """
    store, split = run.store, split or run.split
    where = None if split is None else {"split": split}
    regions = some_have_regions(store, run.encoder_id, where=where)
    choice = Choice.asked(run.ladder, regions=regions, step=step, top_k=top_k, threshold=threshold)
    chooser = Chooser(run.ladder, choice)
    labels, tables = LabelColumns(store.labels), [SCORES.empty_table()]
    batches = from_store(store, run.encoder_id, Seen(), regions=regions, known=known, where=where)
    with progress("tag", total=None, unit="image") as bar:
        for batch, tagged in chooser.each((batch, batch.images) for batch in batches):
            if batch.image_ids:
                tables.append(batch.table(tagged, labels))
            bar.advance(len(batch.image_ids))
    return TagFrame.of(pa.concat_tables(tables), labels=store.labels)


@dataclass(frozen=True, slots=True)
class _Prepared:
    """A photo and its place with the encoder's input uint8 [3, H, W], or why there is none."""

    photo: Any
    number: int
    pixels: NDArray[np.uint8] | None
    error: ImageError | None = None


def _prepared(numbered: tuple[int, Photo], *, encoder: Encoder, max_pixels: int) -> _Prepared:
    number, photo = numbered
    try:
        pixels = encoder.prepare(open_photo(photo, max_pixels=max_pixels))
        return _Prepared(photo, number, pixels)
    except Exception as error:
        return _Prepared(photo, number, None, _named(photo, number, error))


def _late(numbered: tuple[int, Photo]) -> _Prepared:
    number, photo = numbered
    return _Prepared(photo, number, None, _named(photo, number, took_too_long()))


def _named(photo: Photo, number: int, error: Exception) -> ImageError:
    """One photo's failure with its name."""
    name = photo_name(photo)
    if not isinstance(photo, str | Path):
        name += f" (photo {number + 1})"
    reject = rejected(name, error)
    return ImageError(f"{name}: {reject.detail}", reason=reject.reason)


@dataclass(frozen=True, slots=True)
class _Tagger:
    """Prepared photos to tags, a batch at a time."""

    encoder: Encoder
    chooser: Chooser
    labels: LabelSet
    regions: int

    def __call__(self, batch: list[_Prepared]) -> Iterator[tuple[_Prepared, ImageTags | None]]:
        """The photos of a batch with their tags, None for one that the encoder cannot take."""
        if not batch:
            return
        vectors, failed = encode_each(
            self.encoder,
            [item.pixels for item in batch if item.pixels is not None],
            regions=self.regions,
        )
        tags = self._tagged(vectors, len(batch) - len(failed))
        for place, item in enumerate(batch):
            if place in failed:
                error = _named(item.photo, item.number, failed[place])
                yield dataclasses.replace(item, error=error), None
            else:
                yield item, ImageTags(item.photo, next(tags))

    def _tagged(self, vectors: ImageVectors, photos: int) -> Iterator[tuple[Tag, ...]]:
        """The tags of each of so many photos."""
        if not photos:
            return
        # Rounded as the store keeps them, and as ``score`` does.
        whole_BD = vectors.whole.astype(np.float16)
        regions_BRD = None if vectors.regions is None else vectors.regions.astype(np.float16)
        tags, values_T = self.chooser(Images([""] * photos, whole_BD, regions_BRD))
        ends = np.searchsorted(tags.row, np.arange(photos), side="right").tolist()
        for start, end in zip([0, *ends], ends, strict=False):
            yield self._tags(tags.label_id[start:end].tolist(), values_T[start:end].tolist())

    def _tags(self, label_ids: list[int], scores: list[float]) -> tuple[Tag, ...]:
        return tuple(
            Tag(
                key=self.labels[label_id].key,
                name=self.labels[label_id].name,
                score=score,
                rank=rank,
                label_id=label_id,
            )
            for rank, (label_id, score) in enumerate(zip(label_ids, scores, strict=True), start=1)
        )


def _tagged(
    tagger: _Tagger,
    prepared: Generator[_Prepared, None, None],
    *,
    batch_size: int,
    skip: bool,
) -> Iterator[tuple[Any, ImageTags]]:
    with contextlib.closing(prepared):
        for batch, error in _batches(prepared, batch_size=batch_size, skip=skip):
            for item, tags in tagger(batch):
                if tags is not None:
                    yield item.photo, tags
                elif item.error is not None and not skip:
                    raise item.error
            if error is not None:
                raise error


def _batches(
    prepared: Iterable[_Prepared], *, batch_size: int, skip: bool
) -> Iterator[tuple[list[_Prepared], ImageError | None]]:
    """Photos to encode together, and the error that ends the job behind them."""
    batch: list[_Prepared] = []
    for item in prepared:
        if item.error is None:
            batch.append(item)
        elif not skip:
            yield batch, item.error
            return
        if len(batch) == batch_size:
            yield batch, None
            batch = []
    yield batch, None
