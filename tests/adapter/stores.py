"""Small stores of random text vectors, made without an encoder. N labels, D dimension."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from taistore.encoders.protocol import EncoderInfo
from taistore.labels import Label, LabelSet
from taistore.store.arrow import vector_column
from taistore.store.store import Store

ENCODER_ID = "random_16"
Float32 = NDArray[np.float32]


def encoder_info(encoder_id: str = ENCODER_ID, dim: int = 16) -> EncoderInfo:
    """An encoder that exists in name only."""
    return EncoderInfo(
        encoder_id=encoder_id,
        spec="vectors:random",
        library="test",
        model="random",
        weights="none",
        weights_digest="0",
        resolution=8,
        resize="squash",
        dim=dim,
        context_length=16,
    )


def label_set(count: int) -> LabelSet:
    """``count`` labels named thing 0, thing 1, …"""
    return LabelSet(Label(f"t{i}", f"thing {i}") for i in range(count))


def prompt_vectors(labels: int, dim: int = 16) -> Float32:
    """Unit vectors [N, D], one direction for each label."""
    vectors = np.random.default_rng(7).standard_normal((labels, dim))
    unit: Float32 = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    return unit


def text_store(
    path: Path, *, rows: int, labels: int = 6, dim: int = 16, vectors_MD: Any = None
) -> Store:
    """A store of ``rows`` texts whose vectors (norm about 10) are sums of their labels' prompts.

    Vectors hold their row number nowhere; pass ``vectors_MD`` where a test needs to tell rows.
    """
    store = Store.create(path, label_set(labels), default_encoder="vectors:random")
    store.register_encoder(encoder_info(dim=dim))
    random = np.random.default_rng(3)
    prompts_ND = prompt_vectors(labels, dim)
    pairs = [(i, (i + 1) % labels) for i in range(labels)] + [(i,) for i in range(labels)]
    ids = [store.labels.combination_id(pair) for pair in pairs]
    store.append("combinations", {"combination_id": ids, "label_ids": [list(p) for p in pairs]})
    chosen = random.integers(len(pairs), size=rows)
    if vectors_MD is None:
        clean_MD = np.array([prompts_ND[list(pairs[c])].sum(0) for c in chosen]).reshape(-1, dim)
        noisy_MD = clean_MD + 0.05 * random.standard_normal((rows, dim))
        vectors_MD = 10 * noisy_MD / np.linalg.norm(noisy_MD, axis=1, keepdims=True)
    store.append(
        "text_vectors",
        {
            "text_id": [f"{i:032x}" for i in range(rows)],
            "combination_id": [ids[c] for c in chosen],
            "vector": vector_column(np.asarray(vectors_MD)),
        },
        encoder_id=ENCODER_ID,
    )
    return store


def add_images(
    store: Store,
    *,
    count: int,
    labels: int = 6,
    dim: int = 16,
    split: str = "train",
    gap: float = 3.0,
    complete: bool = True,
    first: int = 0,
) -> NDArray[np.int8]:
    """Images that show one or two labels, their vectors moved by a gap; returns truth [I, N].

    With ``complete`` False only the first label of each and one absent label are known.
    """
    random = np.random.default_rng(11 + first)
    prompts_ND = prompt_vectors(labels, dim)
    shift_D = gap * np.ones(dim) / np.sqrt(dim)
    truth = np.zeros((count, labels), np.int8)
    rows, vectors = [], []
    for i in range(count):
        shown = sorted({int(n) for n in random.choice(labels, random.integers(1, 3), False)})
        truth[i, shown] = 1
        absent = [n for n in range(labels) if n not in shown]
        known = shown if complete else shown[:1]
        rows.append(
            {
                "image_id": f"{(i + first + 1) * 0x9E3779B97F4A7C15F39CC060 % 2**128:032x}",
                "uri": f"{i + first}.jpg",
                "width": 4,
                "height": 4,
                "positives": known,
                "negatives": [] if complete else absent[:1],
                "complete": complete,
                "combination_id": store.labels.combination_id(known),
                "split": split,
            }
        )
        clean_D = prompts_ND[shown].sum(0) + 0.3 * random.standard_normal(dim)
        vectors.append(10 * clean_D / np.linalg.norm(clean_D) + shift_D)
    store.upsert("images", rows)
    store.append(
        "image_vectors",
        {
            "image_id": [row["image_id"] for row in rows],
            "vector": vector_column(np.array(vectors)),
        },
        encoder_id=ENCODER_ID,
    )
    return truth


def add_synthetic(
    store: Store,
    *,
    texts: int | None = None,
    labels: int = 6,
    dim: int = 16,
    gap: float = 3.0,
    number: int = 0,
    vectors_MD: Any = None,
) -> Float32:
    """A synthetic image of each text, or of the first ``texts``, beside the real ones of
    :func:`add_images`; returns their vectors [M, D], as they are stored."""
    random = np.random.default_rng(23 + number)
    index = store.combination_index()
    prompts_ND = prompt_vectors(labels, dim)
    shift_D = gap * np.ones(dim) / np.sqrt(dim)
    rows = [
        row
        for batch in store.scan(
            "text_vectors", columns=["text_id", "combination_id"], encoder_id=ENCODER_ID
        )
        for row in batch.to_pylist()
    ][:texts]
    if vectors_MD is None:
        vectors = []
        for row in rows:
            shown = index.positives(np.array([row["combination_id"]]))[1]
            clean_D = prompts_ND[shown].sum(0) + 0.3 * random.standard_normal(dim)
            vectors.append(10 * clean_D / np.linalg.norm(clean_D) + shift_D)
        vectors_MD = np.array(vectors)
    store.append(
        "synthetic_vectors",
        {
            "synthetic_id": [f"{row['text_id']}-{number}" for row in rows],
            "text_id": [row["text_id"] for row in rows],
            "number": [number] * len(rows),
            "combination_id": [row["combination_id"] for row in rows],
            "content": [f"{i:032x}" for i in range(len(rows))],
            "writer": ["test"] * len(rows),
            "vector": vector_column(vectors_MD),
        },
        encoder_id=ENCODER_ID,
    )
    stored: Float32 = np.asarray(vectors_MD, dtype=np.float16).astype(np.float32)
    return stored
