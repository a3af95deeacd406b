"""The job ``generate-images``: pictures of the store's texts, as vectors; resumable."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path

from taistore.encoders.protocol import Encoder
from taistore.errors import StoreError, SyntheticError
from taistore.progress import Progress, no_progress
from taistore.store.rejects import Reject, listed_by
from taistore.store.store import Store
from taistore.store.tables.ragged_vectors import stored_grid
from taistore.synthetic.image_pending import PendingImages, StoredTexts
from taistore.synthetic.image_store import ImageStore
from taistore.synthetic.image_writer import ImageWriter, WrittenImage


@dataclass(frozen=True, kw_only=True, slots=True)
class GenerateImagesSummary:
    """What one run did.

    ``texts`` pictures were wanted of: ``requested``, of which ``present`` were there, ``written``
    are new, ``rejected`` were set aside by this run (``rejects`` by reason) and
    ``rejected_earlier`` by others. ``regions`` is the side of the grid that is kept of each, 0:
    none. ``encoder_seconds`` of the ``seconds`` in all were the encoder's.
    """

    writer: str
    model: str | None
    encoder: str
    texts: int
    requested: int
    present: int
    written: int
    rejected: int
    rejected_earlier: int
    regions: int
    seconds: float
    encoder_seconds: float
    rejects: Mapping[str, int] = field(default_factory=dict)


def generate_images(
    store: Store,
    encoder: Encoder,
    writer: ImageWriter,
    *,
    regions: int | None = None,
    text_writer: str | None = None,
    max_texts: int | None = None,
    keep: Path | None = None,
    retry_rejects: bool = False,
    max_rejects: int | None = None,
    batch_size: int = 32,
    progress: Progress = no_progress,
) -> GenerateImagesSummary:
    """Have pictures made of the store's texts, and keep their vectors; what is there is left.

    ``text_writer`` picks the texts of one writer, ``max_texts`` a sample of so many. ``regions`` is
    the side of the grid whose vectors are kept too; None: that of the store's images, else none.
    With ``keep`` the pictures are also written into that folder. What was rejected before counts
    as done unless ``retry_rejects``.

    Killed at any instant and run again, it ends with the same rows; of jobs at once each picture
    is kept of one. Raises :class:`SyntheticError` where there is no text, where none of the
    pictures could be used or past ``max_rejects`` (what succeeded is kept), and
    :class:`StoreError` where the store holds another grid.
    """
    began = time.monotonic()
    encoder_id = encoder.info.encoder_id
    grid = _grid(store, encoder, regions)
    texts = StoredTexts(store, writer=text_writer, most=max_texts)
    _require(store, texts, text_writer)
    store.register_encoder(encoder.info)
    pending = PendingImages(store, encoder_id, regions=grid > 0, retry_rejects=retry_rejects)
    images = ImageStore(store, encoder, writer, regions=grid, batch_size=batch_size, keep=keep)
    with progress("images of texts", total=writer.wanted(len(texts)), unit="images") as bar:
        try:
            for block in pending.blocks(writer.requests(texts), size=max(1, writer.batch)):
                bar.advance(block.done)
                images.forget_rejects(block.overtaken)
                made = writer.write(block.due) if block.due else ()
                for item in chain[Reject | WrittenImage](block.refused, made):
                    images.take(item)
                    figures = {"rejected": float(images.rejected)} if images.rejected else {}
                    bar.advance(1, **figures)
                if max_rejects is not None and images.rejected > max_rejects:
                    break
        finally:
            # Also after an error or Ctrl-C: what was drawn has been paid for.
            images.flush()
    _require_success(store, images, pending, max_rejects)
    requested = pending.present + pending.rejected_earlier + images.taken
    return GenerateImagesSummary(
        writer=writer.name,
        model=writer.model,
        encoder=encoder.info.spec,
        texts=len(texts),
        requested=requested,
        # Those too that another job has made meanwhile, or that were asked for twice.
        present=requested - images.written - images.rejected - pending.rejected_earlier,
        written=images.written,
        rejected=images.rejected,
        rejected_earlier=pending.rejected_earlier,
        regions=grid,
        seconds=time.monotonic() - began,
        encoder_seconds=images.encoder_seconds,
        rejects=dict(sorted(images.rejects.items())),
    )


def _grid(store: Store, encoder: Encoder, regions: int | None) -> int:
    """The grid to store: that of the pictures that are there, else of the store's images."""
    encoder_id = encoder.info.encoder_id
    there = stored_grid(store, "synthetic_regions", encoder_id)
    if regions and there and regions != there:
        raise StoreError(
            f"{store.uri}: holds regions of a {there} x {there} grid of synthetic images for "
            f"{encoder.info.spec}, not {regions} x {regions}: use regions={there}"
        )
    if regions is not None:
        return regions
    return there or stored_grid(store, "region_vectors", encoder_id)


def _require(store: Store, texts: StoredTexts, text_writer: str | None) -> None:
    if not len(texts):
        whose = "texts" if text_writer is None else f"texts by {text_writer!r:.80}"
        raise SyntheticError(
            f"{store.uri}: holds no {whose} to make images of: write some with 'taistore "
            "generate-texts', or bring your own with 'taistore ingest-texts'"
        )


def _require_success(
    store: Store, images: ImageStore, pending: PendingImages, max_rejects: int | None
) -> None:
    first = images.first_reject
    why = f"first: {first.uri}: {first.detail}" if first is not None else ""
    if max_rejects is not None and images.rejected > max_rejects:
        raise SyntheticError(
            f"stopped at {images.rejected:,} rejected images, at most {max_rejects:,} are allowed "
            f"({why}): mend them or raise max_rejects=; the rest is kept in {store.uri}"
        )
    if images.rejected and not images.written and not pending.present:
        raise SyntheticError(
            f"none of {images.taken:,} images is usable ({why}): {listed_by(store.uri)} lists them"
        )
