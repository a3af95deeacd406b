"""Which labels of which images a training may use: few shots, a masked share, or all there are.

I images, N labels.
"""

from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from taistore.adapter.run_files.file_names import write_whole
from taistore.adapter.settings.auto_settings import ALL_IMAGES
from taistore.errors import TrainingError
from taistore.store.partial_labels import IMAGE_ID, PartialLabels, hash_order, split_counts
from taistore.store.store import Store
from taistore.store.tables.label_lists import Ragged, covered_where, ragged

KNOWN = "known-labels.parquet"
"""In a run's folder: the labels that it learnt from, a row per image."""

_IDS = 65_536
"""Ids that are Python strings at once."""


class KnownSettings(Protocol):
    """Which labelled images a training is to use."""

    @property
    def task(self) -> str:
        """zsl, fsl or pll."""
        ...

    @property
    def split(self) -> str:
        """The images, or all."""
        ...

    @property
    def shots(self) -> int:
        """fsl: images a label."""
        ...

    @property
    def shot_seed(self) -> int:
        """fsl: which images."""
        ...

    @property
    def known(self) -> float:
        """pll: share of the known cells."""
        ...

    @property
    def mask_seed(self) -> int:
        """pll: which cells."""
        ...


def known_labels(store: Store, config: KnownSettings) -> PartialLabels:
    """The images of the split with what the run may know of them.

    ``zsl``: nothing, even where the store knows their labels. ``fsl``: the chosen images alone.
    ``pll``: every image of the split, also those of which nothing is known. Raises
    :class:`TrainingError` where the split has no images or, but for ``zsl``, no label of any is
    known, and where no label has as many images as ``shots`` asks for.
    """
    split = None if config.split == ALL_IMAGES else config.split
    images = PartialLabels.read(store, split=split)
    place = f"{store.uri}: split {config.split!r}"
    if not len(images):
        there = ", ".join(repr(name) for name in sorted(split_counts(store))) or "none yet"
        raise TrainingError(
            f"{place} has no images (splits: {there}): name another with split=, or ingest "
            f"images with 'taistore ingest-images PHOTOS --split {config.split}'"
        )
    if config.task == "zsl":
        return images.unlabelled()
    positives_N = images.positives_per_label
    if not positives_N.any():
        raise TrainingError(
            f"{place}: no image is known to show any label ({len(images):,} images): ingest "
            "labels with 'taistore ingest-images MANIFEST', or train with task=zsl"
        )
    if config.task == "fsl":
        most = int(positives_N.max())
        if most < config.shots:
            label = store.labels[int(positives_N.argmax())]
            raise TrainingError(
                f"{place}: {config.shots} shots, but no label has more than {most:,} images "
                f"({label.name}): use shots={most} or fewer, or ingest more labelled images"
            )
        images = images.take(choose_shots(images, config.shots, seed=config.shot_seed))
    elif config.known < 1:
        images = images.masked(config.known, seed=config.mask_seed)
        if not images.positives_per_label.any():
            raise TrainingError(
                f"{place}: with known {config.known:g} and mask_seed {config.mask_seed} no image "
                "is known to show any label: raise known="
            )
    return images


def choose_shots(images: PartialLabels, shots: int, *, seed: int) -> NDArray[np.int64]:
    """Rows, ascending, of images such that every label has ``shots`` of them, or all it has.

    Rare labels choose first, in an order of the images drawn from ``seed`` and the images alone.
    An image counts for every label that it is known to show, so that a frequent label is often
    served by what rarer ones chose, and has more than ``shots``.
    """
    order = hash_order(images.image_ids, seed=seed)
    rank_I = np.empty(len(order), dtype=np.int64)
    rank_I[order] = np.arange(len(order))
    row_P, label_P = images.positives.rows, images.positives.label_ids
    by_label = np.lexsort((rank_I[row_P], label_P))
    counts_N = images.positives_per_label
    starts_N = np.cumsum(counts_N) - counts_N
    chosen_I = np.zeros(len(images), dtype=np.bool_)
    for label in np.argsort(counts_N, kind="stable"):
        start = starts_N[label]
        rows = row_P[by_label[start : start + counts_N[label]]]
        lacking = shots - int(chosen_I[rows].sum())
        if lacking > 0:
            chosen_I[rows[~chosen_I[rows]][:lacking]] = True
    return np.flatnonzero(chosen_I)


def describe_known(images: PartialLabels, config: KnownSettings) -> dict[str, int]:
    """Counts for the run's metrics: images and known cells, labels that lack images."""
    positives_N = images.positives_per_label
    counts = {
        "images": len(images),
        "images_with_known_labels": int(images.known.sum()),
        "known_positives": int(positives_N.sum()),
        "known_cells": int(images.known_counts.sum()),
        "labels_without_known_positive": int((positives_N == 0).sum()),
    }
    if config.task == "fsl":
        counts["labels_below_shots"] = int((positives_N < config.shots).sum())
    return counts


def save_known(folder: Path, images: PartialLabels) -> None:
    """Write what the run knows beside its checkpoint, so that it can be resumed and repeated."""
    table = pa.table(
        {
            "image_id": _texts(images.image_ids),
            "positives": _lists(images.positives),
            "negatives": _lists(images.negatives),
            "covered": pa.array(images.covered),
        }
    ).replace_schema_metadata({b"labels": str(images.labels).encode()})
    write_whole(folder / KNOWN, lambda part: pq.write_table(table, part))


def read_known(folder: Path) -> PartialLabels:
    """What :func:`save_known` wrote; :class:`TrainingError` where it is gone or damaged."""
    path = folder / KNOWN
    try:
        table = pq.read_table(path)
        labels = int((table.schema.metadata or {})[b"labels"])
    except (OSError, pa.ArrowInvalid, KeyError) as error:
        raise TrainingError(
            f"{path}: the labels that this run knows cannot be read: train again"
        ) from error
    lists = {
        name: Ragged.build(*ragged(_whole(table, name))) for name in ("positives", "negatives")
    }
    return PartialLabels.build(
        labels,
        _ids(table),
        lists["positives"],
        lists["negatives"],
        _covered(table),
    )


def _covered(table: pa.Table) -> NDArray[np.int32]:
    """Of how many labels all is said; runs from before labels could be added say all or none."""
    if "covered" not in table.column_names:
        return covered_where(np.asarray(_whole(table, "complete").to_numpy(zero_copy_only=False)))
    return np.asarray(_whole(table, "covered").to_numpy(zero_copy_only=False), dtype=np.int32)


def _texts(image_ids: NDArray[np.bytes_]) -> "pa.ChunkedArray[Any]":
    """As text, a part at a time: a million Python strings take 150 MB."""
    parts = (image_ids[low : low + _IDS] for low in range(0, len(image_ids), _IDS))
    return pa.chunked_array(
        [pa.array([i.decode() for i in part.tolist()], pa.string()) for part in parts], pa.string()
    )


def _ids(table: pa.Table) -> NDArray[np.bytes_]:
    parts = table.select(["image_id"]).to_batches(max_chunksize=_IDS)
    ids = [np.asarray(part.column(0).to_pylist(), dtype=IMAGE_ID) for part in parts]
    return np.concatenate([np.empty(0, IMAGE_ID), *ids])


def _whole(table: pa.Table, name: str) -> Any:
    return (
        pa.concat_arrays(table.column(name).chunks)
        if table.num_rows
        else pa.array([], table.schema.field(name).type)
    )


def _lists(lists: Ragged) -> "pa.LargeListArray[Any]":
    offsets, label_ids = pa.array(lists.offsets, pa.int64()), pa.array(lists.label_ids, pa.int32())
    found: pa.LargeListArray[Any] = pa.LargeListArray.from_arrays(offsets, label_ids)
    return found


def require_texts(store: Store, encoder_id: str) -> None:
    """Raise :class:`TrainingError` where no text has a vector of the encoder."""
    if not store.count("text_vectors", encoder_id):
        raise TrainingError(
            f"{store.uri}: holds no texts for encoder {store.encoder(encoder_id).spec!r}: make "
            "some with 'taistore generate-texts --count 10000', or bring your own with 'taistore "
            "ingest-texts'"
        )
