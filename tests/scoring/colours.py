"""A small real store of colour pictures with a run, for tests of evaluation and scoring."""

import hashlib
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from taistore.adapter.config import TrainConfig
from taistore.adapter.network import Network, NetworkShape, Residual, build_network
from taistore.adapter.run_files.checkpoint import AdapterCard, save_adapter, save_prompts
from taistore.labels import Label, LabelSet
from taistore.store.arrow import vector_column
from taistore.store.run_rows import RunRow
from taistore.store.store import Store
from tests.fakes import COLOURS, ColourEncoder, colour_image

NAMES = ("red", "green", "blue", "yellow", "black", "white")
"""The labels; their ids are their positions, their keys are upper case."""

PICTURES: tuple[tuple[str, ...], ...] = (
    *((name,) for name in NAMES),
    ("red", "green"),
    ("blue", "yellow"),
    ("black", "white"),
    ("red", "blue", "white"),
    ("green", "cyan"),
    ("yellow", "purple"),
)
"""Colours of the pictures; those that are no label are only there."""


LOGIT_SPREAD, LOGIT_ENERGY = 2.0, 1.0
"""What the card of :func:`add_run` says of its logits."""


def labels() -> LabelSet:
    """One label per colour."""
    return LabelSet(Label(name.upper(), name) for name in NAMES)


def prompts(encoder: ColourEncoder) -> NDArray[np.float32]:
    """Label prompt vectors [N, D]."""
    return encoder.encode_texts([f"a photo of {name}" for name in NAMES])


def new_store(path: Path, encoder: ColourEncoder) -> Store:
    """An empty store with the encoder registered."""
    store = Store.create(path, labels(), default_encoder=encoder.info.spec)
    store.register_encoder(encoder.info)
    return store


def image_row(number: int, colours: Sequence[str], **changes: Any) -> dict[str, Any]:
    """A row of ``images`` with complete labels in the split "test"."""
    row = {
        "image_id": hashlib.blake2b(f"{number}".encode(), digest_size=16).hexdigest(),
        "uri": f"/photos/{number:04d} {'-'.join(colours)}.png",
        "width": 64,
        "height": 48,
        "positives": sorted(NAMES.index(name) for name in colours if name in NAMES),
        "negatives": [],
        "complete": True,
        "combination_id": None,
        "split": "test",
    }
    return row | changes


def add_images(
    store: Store,
    encoder: ColourEncoder,
    rows: Sequence[Mapping[str, Any]],
    pictures: Sequence[Sequence[str]],
    *,
    grid: int = 0,
) -> None:
    """Append image rows, their vectors and, with ``grid``, their region vectors."""
    pixels = np.stack([encoder.prepare(colour_image(*colours)) for colours in pictures])
    vectors = encoder.encode_images(pixels, regions=grid)
    encoder_id = encoder.info.encoder_id
    ids = [row["image_id"] for row in rows]
    store.append("images", rows)
    store.append(
        "image_vectors",
        {"image_id": ids, "vector": vector_column(vectors.whole)},
        encoder_id=encoder_id,
    )
    if vectors.regions is not None:
        flat = vectors.regions.reshape(len(ids), -1).astype(np.float16)
        store.append(
            "region_vectors",
            {"image_id": ids, "grid": [grid] * len(ids), "vectors": list(flat)},
            encoder_id=encoder_id,
        )


def add_pictures(
    store: Store, encoder: ColourEncoder, *, grid: int = 0, first: int = 0, **changes: Any
) -> list[dict[str, Any]]:
    """All of :data:`PICTURES` with complete labels; returns their rows."""
    rows = [image_row(first + n, colours, **changes) for n, colours in enumerate(PICTURES)]
    add_images(store, encoder, rows, PICTURES, grid=grid)
    return rows


def run_path(store: Store, run_id: str = "run-1") -> Path:
    """The folder of a run, inside the store."""
    return Path(store.uri) / "runs" / run_id


def add_run(
    store: Store, encoder: ColourEncoder, *, run_id: str = "run-1", network: Network = "residual"
) -> str:
    """A run whose adapter is zero-shot itself (residual), or knows nothing (paper)."""
    shape = NetworkShape(
        network=network, dim=encoder.info.dim, labels=len(NAMES), hidden=8, dropout=0.0
    )
    adapter = build_network(shape)
    unit = torch.nn.functional.normalize(torch.from_numpy(prompts(encoder)), dim=1)
    if isinstance(adapter, Residual):
        adapter.start_from(unit, unit.mean(0), 10 * unit, 1 / len(NAMES))
    card = AdapterCard(
        run_id=run_id,
        config=TrainConfig(network=network, hidden=8),
        encoder=encoder.info,
        shape=shape,
        label_keys=tuple(store.labels.keys),
        label_names=NAMES,
        mean_text_norm=10.0,
        radius=25.0,
        table_versions={},
        library_versions={},
        logit_spread=LOGIT_SPREAD,
        logit_energy=LOGIT_ENERGY,
        metrics={},
        created="2026-01-01T00:00:00+00:00",
        weights_digest="",
    )
    run_path(store, run_id).mkdir(parents=True)
    save_prompts(run_path(store, run_id), prompts(encoder))
    save_adapter(run_path(store, run_id), adapter, card)
    store.record_run(
        RunRow(
            run_id=run_id,
            task="zsl",
            encoder_id=encoder.info.encoder_id,
            status="finished",
            seed=0,
            config={},
            table_versions={},
            metrics={"loss": 0.1},
            checkpoint=f"runs/{run_id}",
            created=datetime.now(UTC),
        )
    )
    return run_id


assert set(NAMES) <= set(COLOURS)
