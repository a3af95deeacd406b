"""Small stores with random image and text vectors; I images, M texts, N labels, D dimension."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from taistore.store.arrow import vector_column
from taistore.store.store import Store
from tests.adapter.stores import ENCODER_ID, encoder_info, label_set, text_store

__all__ = ["ENCODER_ID", "add_images", "add_vectors", "image_id", "image_store", "text_vectors"]

Float16 = NDArray[np.float16]


def image_id(number: int) -> str:
    """A well-mixed image id."""
    return f"{(number + 1) * 0x9E3779B97F4A7C15 % 2**128:032x}"


def image_store(path: Path, *, labels: int = 6, texts: int = 0, dim: int = 16) -> Store:
    """A store without images, with ``texts`` texts."""
    store = text_store(path, rows=texts, labels=labels, dim=dim)
    assert store.labels == label_set(labels)
    assert store.encoder(ENCODER_ID) == encoder_info(dim=dim)
    return store


def add_images(
    store: Store,
    numbers: Sequence[int],
    positives: Sequence[Sequence[int]],
    *,
    negatives: Sequence[Sequence[int]] | None = None,
    complete: bool = False,
    split: str = "train",
    vectors_ID: Any = None,
    with_vectors: bool = True,
) -> Float16:
    """Write images (new or relabelled) and, for those that have none yet, their vectors."""
    ids = [image_id(number) for number in numbers]
    rows = [
        {
            "image_id": ids[i],
            "uri": f"{number}.jpg",
            "width": 1,
            "height": 1,
            "positives": list(positives[i]),
            "negatives": list(negatives[i]) if negatives is not None else [],
            "complete": complete,
            "combination_id": None,
            "split": split,
        }
        for i, number in enumerate(numbers)
    ]
    store.upsert("images", rows)
    if vectors_ID is None:
        dim = store.encoder(ENCODER_ID).dim
        drawn = [np.random.default_rng(number).standard_normal(dim) for number in numbers]
        vectors_ID = 3 * np.array(drawn).reshape(-1, dim) + 1
    stored_ID = np.asarray(vectors_ID, dtype=np.float16)
    if with_vectors:
        add_vectors(store, "image_vectors", {"image_id": ids}, stored_ID)
    return stored_ID


def add_vectors(
    store: Store, kind: str, keys: Mapping[str, Any], vectors_BD: NDArray[np.float16]
) -> None:
    """Append vectors; those with NaN, which the store refuses, past it, as a damaged disk would."""
    sound = [not bool(np.isnan(row).any()) for row in vectors_BD]
    schema = store.schema(kind, ENCODER_ID)
    data = pa.table({**keys, "vector": vector_column(vectors_BD)}).cast(schema)
    store.append(kind, data.filter(pa.array(sound)), encoder_id=ENCODER_ID)
    if not all(sound):
        store.dataset(kind, ENCODER_ID).insert(data.filter(pa.array([not good for good in sound])))


def text_vectors(store: Store) -> tuple[NDArray[np.int64], Float16]:
    """Combination ids [M] and vectors [M, D] of all texts."""
    ids, vectors = [], []
    for batch in store.scan("text_vectors", encoder_id=ENCODER_ID):
        ids += batch.column("combination_id").to_pylist()
        vectors += batch.column("vector").to_pylist()
    return np.array(ids), np.array(vectors, dtype=np.float16)
