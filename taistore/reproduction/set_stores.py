"""The store of one set and encoder: texts, images and splits, made once and found again."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from taistore.contracts import TABLES
from taistore.encoders.protocol import Encoder
from taistore.errors import ScoringError
from taistore.images.ingest import ingest_images
from taistore.images.sources.open_source import ImageSource, open_source
from taistore.images.sources.source import SourceImage
from taistore.progress import Progress, no_progress
from taistore.reproduction.data_sets import FoundSet, Part
from taistore.store.partial_labels import IMAGE_ID, hash_order
from taistore.store.store import Store
from taistore.texts.generate import GenerateConfig, generate_texts
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


def ready_store(
    found: FoundSet,
    encoder: Encoder,
    *,
    work: Path,
    texts: int,
    regions: int = 0,
    progress: Progress = no_progress,
) -> ReadyStore:
    """Make or complete the store of a set below ``work``; what is there is not done again.

    Its folder's name holds a hash of the set's folder, the encoder and the number of texts: with
    others, it is another store. A manifest that names no split is divided into halves by a seeded
    hash of the images' contents. Raises what ingesting and writing texts raise.
    """
    identity = "\0".join([str(found.folder.resolve()), encoder.info.encoder_id, str(texts)])
    digest = hashlib.blake2b(identity.encode(), digest_size=4).hexdigest()
    path = work / f"{found.name}-{digest}"
    store = Store.create(path, found.labels, default_encoder=encoder.info.spec)
    store.register_encoder(encoder.info)
    generate_texts(store, encoder, GenerateConfig(count=texts), progress=progress)
    named: set[str] = set()
    for part in found.parts:
        named |= _ingest(store, encoder, found.folder, part, regions=regions, progress=progress)
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
    )


def _ingest(
    store: Store,
    encoder: Encoder,
    folder: Path,
    part: Part,
    *,
    regions: int,
    progress: Progress,
) -> set[str]:
    """Add the images of a part; returns the splits that it names."""
    source = open_source(folder / part.path, store.labels, split=part.split, **part.options)
    ingest_images(store, encoder, source, regions=regions, progress=progress)
    if part.split is not None:
        return {part.split}
    return {item.split for item in _images(source) if item.split is not None}


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
