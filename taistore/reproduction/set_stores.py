"""The store of one set and encoder: texts, images and splits, made once and found again."""

import hashlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from taistore.contracts import TABLES
from taistore.encoders.protocol import Encoder
from taistore.errors import ScoringError
from taistore.images.image_rows import JOB as IMAGE_JOB
from taistore.images.ingest import ingest_images
from taistore.images.sources.open_source import ImageSource, open_source
from taistore.images.sources.source import SourceImage
from taistore.printable import counted
from taistore.progress import Note, Progress, no_progress
from taistore.reproduction.data_sets import FoundSet, Part
from taistore.reproduction.shared_images import share_images
from taistore.reproduction.synthetic_tables.table_images import TableImages
from taistore.reproduction.table_texts import JOBS as TEXT_JOBS
from taistore.reproduction.table_texts import TableTexts
from taistore.store.partial_labels import IMAGE_ID, hash_order
from taistore.store.store import Store
from taistore.texts.label_prompts import prompt_vectors

SPLIT_SEED = 0
"""Of the halves that a set without splits is divided into."""

TRAIN_SPLITS = ("train", "trainval")
TEST_SPLITS = ("test", "val")
_ROWS = 4096


@dataclass(frozen=True, kw_only=True, slots=True)
class ReadyStore:
    """A store with everything a table needs; ``made_split``: the halves are ours, not the set's."""

    store: Store
    encoder_id: str
    prompts_ND: NDArray[np.float32]
    train_split: str | None
    test_split: str
    made_split: bool
    counts: "SetCounts"


@dataclass(frozen=True, kw_only=True, slots=True)
class SetCounts:
    """Texts in a store, what was set aside, and the paths whose image the set has at another."""

    texts: int
    rejected_texts: int
    rejected_images: int
    repeated_images: int

    def __str__(self) -> str:
        return (
            f"{counted(self.texts, 'text')}, {self.rejected_texts:,} rejected; images: "
            f"{self.rejected_images:,} rejected, {self.repeated_images:,} that the set has twice"
        )


def store_folder(
    found: FoundSet,
    encoder: Encoder,
    *,
    work: Path,
    texts: TableTexts,
    images: TableImages | None = None,
    regions: int = 0,
) -> Path:
    """Where the store of a set lies below ``work``.

    Its name holds a hash of the set's folder, the encoder, the regions, the texts and the synthetic
    images: with others, it is another store.
    """
    parts = [str(found.folder.resolve()), encoder.info.encoder_id, str(regions), texts.identity()]
    parts += [images.identity()] if images is not None else []
    digest = hashlib.blake2b("\0".join(parts).encode(), digest_size=4).hexdigest()
    return work / f"{found.name}-{digest}"


def ready_store(
    path: Path,
    found: FoundSet,
    encoder: Encoder,
    *,
    texts: TableTexts,
    images: TableImages | None = None,
    regions: int = 0,
    progress: Progress = no_progress,
    note: Note = lambda line: None,
) -> ReadyStore:
    """Make or complete the store of a set at ``path``; what is there is not done again.

    It takes over the images that a store beside it has encoded. A manifest that names no split is
    divided into halves by a seeded hash of the images' contents. Raises what ingesting, writing
    texts and making ``images`` of them raise.
    """
    store = Store.create(path, found.labels, default_encoder=encoder.info.spec)
    store.register_encoder(encoder.info)
    # Photos come after all texts and what is made of them. Once there is one, no writer need be
    # there, and what a model did not answer is not asked for again: every run of the table has the
    # same texts.
    if not store.count("images"):
        texts.write(store, encoder, progress=progress, note=note)
        if images is not None:
            images.write(store, encoder, regions=regions, progress=progress, note=note)
    sources = [(part, _source(store, found, part)) for part in found.parts]
    share_images(
        store,
        encoder.info.encoder_id,
        {item.uri for _, source in sources for item in _images(source)},
        folders=sorted(one for one in path.parent.iterdir() if one.is_dir() and one != path),
        regions=regions,
        progress=progress,
    )
    named: set[str] = set()
    for part, source in sources:
        ingest_images(store, encoder, source, regions=regions, progress=progress)
        named |= _splits(part, source)
        for line in source.notes:
            note(f"{found.name}: {line}")
    made = not named
    if made:
        halve(store, seed=SPLIT_SEED)
        named = {"train", "test"}
    return ReadyStore(
        store=store,
        encoder_id=encoder.info.encoder_id,
        prompts_ND=prompt_vectors(store, encoder, progress=progress),
        train_split=next((split for split in TRAIN_SPLITS if split in named), None),
        test_split=_test_split(found, named),
        made_split=made,
        counts=_counted(store),
    )


def _source(store: Store, found: FoundSet, part: Part) -> ImageSource:
    return open_source(found.folder / part.path, store.labels, split=part.split, **part.options)


def _splits(part: Part, source: ImageSource) -> set[str]:
    """The splits that a part names."""
    if part.split is not None:
        return {part.split}
    return {item.split for item in _images(source) if item.split is not None}


def _counted(store: Store) -> SetCounts:
    rejects = Counter(
        job
        for batch in store.scan("rejects", columns=["job"])
        for job in batch.column(0).to_pylist()
    )
    return SetCounts(
        texts=store.count("texts"),
        rejected_texts=sum(rejects[job] for job in TEXT_JOBS),
        rejected_images=rejects[IMAGE_JOB],
        repeated_images=sum(
            len(paths or ())
            for batch in store.scan("images", columns=["other_uris"])
            for paths in batch.column(0).to_pylist()
        ),
    )


def _images(source: ImageSource) -> Iterator[SourceImage]:
    return (item for item in source if isinstance(item, SourceImage))


def _test_split(found: FoundSet, named: set[str]) -> str:
    for split in TEST_SPLITS:
        if split in named:
            return split
    raise ScoringError(
        f"{found.folder}: no image is of the split {' or '.join(TEST_SPLITS)} (there are: "
        f"{', '.join(sorted(named))}): name one so, or leave out all splits to have halves made"
    )


def halve(store: Store, *, seed: int) -> None:
    """Put the first half of a seeded order of the image ids into "train", the rest into "test".

    The order depends on the images alone; calling it again changes nothing.
    """
    ids = [
        image_id
        for rows in store.scan("images", columns=["image_id"])
        for image_id in rows.column(0).to_pylist()
    ]
    ids_I = np.sort(np.asarray(ids, dtype=IMAGE_ID))
    order = hash_order(ids_I, seed=seed)
    train = {image_id.decode() for image_id in ids_I[order[: len(order) // 2]].tolist()}
    columns = TABLES["images"].schema().names
    # The scan reads the version that it began with, so rows may be replaced on the way.
    for rows in store.scan("images", columns=columns, batch_rows=_ROWS):
        changed = [
            {**row, "split": split}
            for row in rows.to_pylist()
            if row["split"] != (split := "train" if row["image_id"] in train else "test")
        ]
        if changed:
            store.upsert("images", changed)
