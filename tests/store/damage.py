"""A small store with every kind of row, and ways to damage it."""

from pathlib import Path
from typing import Any

import lance
import numpy as np

from taistore.labels import Label, LabelSet
from taistore.store.store import Store
from tests.fakes import ColourEncoder

LABELS = LabelSet([Label("cat", "cat"), Label("dog", "dog")])
INFO = ColourEncoder().info
IMAGES = f"image_vectors__{INFO.encoder_id}"
REGIONS = f"region_vectors__{INFO.encoder_id}"
TEXTS = f"text_vectors__{INFO.encoder_id}"
TOKENS = f"token_vectors__{INFO.encoder_id}"
COMMITS = 3
ROWS = 4


def vectors(count: int) -> list[Any]:
    rows: list[Any] = np.random.default_rng(count).normal(size=(count, INFO.dim)).tolist()
    return rows


def image_ids(commit: int) -> list[str]:
    return [f"{commit * ROWS + i:032x}" for i in range(ROWS)]


def add(store: Store, commit: int) -> None:
    """Images, texts and their vectors, in the order in which the jobs write them."""
    ids, encoder = image_ids(commit), INFO.encoder_id
    store.append("image_vectors", {"image_id": ids, "vector": vectors(ROWS)}, encoder_id=encoder)
    cells = np.ones((ROWS, 4 * INFO.dim), dtype=np.float16)
    regions = {"image_id": ids, "grid": [2] * ROWS, "vectors": list(cells)}
    store.append("region_vectors", regions, encoder_id=encoder)
    combinations = [[0], [1], [0, 1]]
    made = [store.labels.combination_id(labels) for labels in combinations]
    store.append("combinations", {"combination_id": made, "label_ids": combinations})
    store.append(
        "images",
        {
            "image_id": ids,
            "uri": [f"{i}.png" for i in ids],
            "width": [8] * ROWS,
            "height": [8] * ROWS,
            "positives": [[0]] * ROWS,
            "negatives": [[1]] * ROWS,
            "complete": [True] * ROWS,
            "combination_id": [made[0]] * ROWS,
            "split": ["train"] * ROWS,
        },
    )
    of = [made[i % 3] for i in range(ROWS)]
    texts = {"text_id": ids, "combination_id": of, "text": ids, "writer": ["w"] * ROWS}
    store.append("texts", {**texts, "turn": [0] * ROWS})
    rows = {"text_id": ids, "combination_id": of, "vector": vectors(ROWS)}
    store.append("text_vectors", rows, encoder_id=encoder)
    # Two tokens, three, four and five.
    tokens = [np.ones((2 + i) * INFO.dim, dtype=np.float16) for i in range(ROWS)]
    rows = {"text_id": ids, "combination_id": of, "vectors": tokens}
    store.append("token_vectors", rows, encoder_id=encoder)


def whole_store(path: Path) -> Store:
    """Three commits to each table."""
    store = Store.create(path, LABELS, default_encoder="packaged")
    store.register_encoder(INFO)
    for commit in range(COMMITS):
        add(store, commit)
    return store


def folder(store: Store, table: str) -> Path:
    return Path(store.uri) / f"{table}.lance"


def newest_file(store: Store, table: str) -> Path:
    """The data file that the newest commit wrote."""
    dataset = lance.dataset(str(folder(store, table)))
    return folder(store, table) / "data" / dataset.get_fragments()[-1].metadata.files[0].path


def newest_manifest(store: Store, table: str) -> Path:
    # Their names count down.
    return min((folder(store, table) / "_versions").glob("*.manifest"))


def overwritten(path: Path, *, start: int, value: bytes) -> None:
    data = bytearray(path.read_bytes())
    data[start : start + len(value)] = value
    path.write_bytes(data)


def double(store: Store, table: str) -> None:
    """Append all rows again, as a writer did that looked at nothing."""
    place = str(folder(store, table))
    lance.write_dataset(lance.dataset(place).to_table(), place, mode="append")
