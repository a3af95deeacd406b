"""Ingest: every image of a source into the store, with its vectors and what is known about it."""

import contextlib
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from taistore import defaults
from taistore.encoders.protocol import Encoder
from taistore.encoders.waiting_encoder import make_ready, waits
from taistore.errors import ImageError, StoreError
from taistore.images.decoding import MAX_PIXELS
from taistore.images.image_rows import ImageWriter
from taistore.images.paths import settle_paths
from taistore.images.photo_files import ReadImage, read_blocks
from taistore.images.pipeline import Task, Work, encode_source
from taistore.images.sources.open_source import no_images, skipped_of
from taistore.images.sources.source import ImageSource, SourceImage
from taistore.images.undecodable import Undecodable
from taistore.progress import Progress, no_progress
from taistore.store.rejects import Reject
from taistore.store.store import Store
from taistore.store.tables.ragged_vectors import stored_grid
from taistore.store.writes.collector import loaded_set_aside


@dataclass(frozen=True, kw_only=True, slots=True)
class IngestImagesSummary:
    """What one ingest did. ``seen`` is the sum of the five counts that follow it.

    ``added`` images are new to the store; ``already_there`` it held; ``relabelled`` it held with
    other labels or another split; ``duplicates`` have the content of another path; ``rejected``
    are in the table ``rejects``. ``encoded`` vectors were computed, in ``encoder_seconds`` of the
    ``seconds`` in all, with those of a grid of ``regions`` a side (0: none). ``replaced`` contents
    are gone, as their path holds another one now; their vectors go with a prune. ``ignored`` files
    of a folder are no images; ``skipped`` of them may be photos all the same: RAW and such, by
    kind. ``unknown_labels`` are names that rows give and the label set lacks, with the number of
    rows; their photos are kept. ``notes`` are lines about the source as a whole, such as classes
    that are not in the label set.
    """

    source: str
    encoder: str
    seen: int
    added: int
    already_there: int
    relabelled: int
    duplicates: int
    rejected: int
    ignored: int
    encoded: int
    replaced: int
    regions: int
    seconds: float
    encoder_seconds: float
    notes: tuple[str, ...] = ()
    skipped: Mapping[str, int] = field(default_factory=dict)
    unknown_labels: Mapping[str, int] = field(default_factory=dict)


@loaded_set_aside()
def ingest_images(
    store: Store,
    encoder: Encoder,
    source: ImageSource,
    *,
    regions: int | None = None,
    split: str | None = None,
    batch_size: int = 32,
    workers: int = 2,
    max_pixels: int = MAX_PIXELS,
    max_rejects: int | None = None,
    commit_rows: int = 4096,
    progress: Progress = no_progress,
) -> IngestImagesSummary:
    """Read, decode, encode and store the images of ``source``; what is there is not done again.

    Images are known by their content, and keep every path that has it. Vectors are added where
    this encoder's table lacks them, region vectors (a ``regions`` x ``regions`` grid) likewise;
    None means the grid that the store has regions of, :data:`taistore.defaults.REGIONS` where it
    has none, and 0 none; 7 x 7 take up to a tenth more time a photo. What an annotation says of a
    label replaces what was known of that label in the same content, and a later row what an earlier
    one said; of other labels the store keeps what it knows. A complete annotation speaks of all
    labels. ``split`` is for rows that name none; None means "train" for new images and no change
    for others. An image whose stored path is gone takes the new one, and a path that holds another
    content than before belongs to that one alone.

    Each file is read once: its bytes stay in memory until they are decoded, or until the store
    turns out to have the image. They take at most 3 x
    :data:`taistore.images.ordered_map.READ_BYTES`, or ``3 * workers`` files where those are larger.

    Killed at any instant and run again, it ends with the same rows. Raises :class:`ImageError`
    when the source has no image, when no item succeeded, or past ``max_rejects`` (what succeeded
    is kept), :class:`StoreError` when the store cannot be written or holds another grid of
    regions, and what the source raises, once what it gave before that is kept.
    """
    regions = _grid(store, encoder, regions)
    started = time.monotonic()
    encoder_seconds = 0.0
    items = _UntilFailure(source)
    with contextlib.ExitStack() as stack:
        bar = stack.enter_context(progress("Images", total=source.count(), unit="image"))
        writer = stack.enter_context(
            ImageWriter(store, encoder.info, regions=regions, split=split, commit_rows=commit_rows)
        )
        blocks = stack.enter_context(contextlib.closing(read_blocks(items, workers=workers)))
        batches = stack.enter_context(
            contextlib.closing(
                encode_source(
                    encoder,
                    _plan(store, encoder, blocks, regions=regions),
                    regions=regions,
                    batch_size=batch_size,
                    workers=workers,
                    max_pixels=max_pixels,
                )
            )
        )
        for batch in batches:
            writer.add(batch)
            encoder_seconds += batch.encoder_seconds
            figures = {"rejected": float(writer.rejected)} if writer.rejected else {}
            bar.advance(len(batch.images) + len(batch.rejects), **figures)
            if max_rejects is not None and writer.rejected > max_rejects:
                break
    if items.failure is not None:
        raise items.failure
    _require_success(store, source, writer, max_rejects)
    replaced = settle_paths(store)
    return IngestImagesSummary(
        source=source.name,
        encoder=encoder.info.spec,
        seen=writer.succeeded + writer.rejected,
        added=writer.added,
        already_there=writer.already_there,
        relabelled=writer.relabelled,
        duplicates=writer.duplicates,
        rejected=writer.rejected,
        ignored=source.ignored,
        encoded=writer.encoded,
        replaced=replaced,
        regions=regions,
        seconds=time.monotonic() - started,
        encoder_seconds=encoder_seconds,
        notes=source.notes,
        skipped=skipped_of(source),
        unknown_labels=dict(writer.unknown_labels.counts.most_common()),
    )


class _UntilFailure:
    """What a source gives until it fails.

    Files are read far ahead of the encoder: raised at once, a failure would drop good images that
    came before it.
    """

    def __init__(self, source: ImageSource) -> None:
        self.failure: Exception | None = None
        self._source = source

    def __iter__(self) -> Iterator[SourceImage | Reject]:
        try:
            yield from self._source
        except Exception as error:
            self.failure = error


def _plan(
    store: Store,
    encoder: Encoder,
    blocks: Iterable[list[ReadImage | Reject]],
    *,
    regions: int,
) -> Iterator[Task | Reject]:
    """Give every image the work that its content still needs, looking up a block at a time.

    The encoder is ready before the first photo that needs it, which one that could not be decoded
    before does not, unless now it can.
    """
    encoder_id = encoder.info.encoder_id
    undecodable = Undecodable(store)
    for block in blocks:
        ids = list(
            dict.fromkeys(item.image.image_id for item in block if isinstance(item, ReadImage))
        )
        encode = set(store.missing("image_vectors", ids, encoder_id=encoder_id))
        if regions:
            encode.update(store.missing("region_vectors", ids, encoder_id=encoder_id))
        measure = set(store.missing("images", ids))
        if waits(encoder) and undecodable.any_decodes(
            item for item in block if isinstance(item, ReadImage) and item.image.image_id in encode
        ):
            make_ready(encoder)
        block.reverse()
        while block:
            # Taken out of the block, so that a photo's bytes live no longer than its task.
            item = block.pop()
            if isinstance(item, Reject):
                yield item
            elif item.image.image_id in encode:
                # A second copy need not be encoded, but decoded: it must fail if the first does.
                # A content that nobody has read may be another one: each is encoded by itself.
                if item.data is not None:
                    encode.remove(item.image.image_id)
                yield Task(item.image, Work.ENCODE, item.data)
            elif item.image.image_id in measure:
                yield Task(item.image, Work.MEASURE, item.data)
            else:
                yield Task(item.image, Work.SKIP)


def _grid(store: Store, encoder: Encoder, regions: int | None) -> int:
    """The grid to store, which is the store's where it has one."""
    there = stored_grid(store, "region_vectors", encoder.info.encoder_id)
    if regions and there and regions != there:
        raise StoreError(
            f"{store.uri}: holds regions of a {there} x {there} grid for {encoder.info.spec}, not "
            f"{regions} x {regions}: use regions={there}, or another path="
        )
    if regions is None:
        return there or defaults.REGIONS
    return regions


def _require_success(
    store: Store, source: ImageSource, writer: ImageWriter, max_rejects: int | None
) -> None:
    first = writer.first_reject
    why = f"first: {first.uri}: {first.detail}" if first is not None else "no reason is known"
    if max_rejects is not None and writer.rejected > max_rejects:
        raise ImageError(
            f"{source.name}: stopped at {writer.rejected} rejected images, at most {max_rejects} "
            f"are allowed ({why}): mend them or raise max_rejects=; the rest is kept in "
            f"{store.uri}",
            reason="too_many_rejects",
        )
    if writer.succeeded:
        return
    if writer.rejected:
        raise ImageError(
            f"{source.name}: none of {writer.rejected} images could be used ({why}): see the table "
            f"'rejects' of {store.uri}",
            reason="all_rejected",
        )
    raise no_images(source)
