"""A run with random weights in any store, for tests that need one and no training."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from taistore.adapter.config import TrainConfig
from taistore.adapter.network import NetworkShape, build_network
from taistore.adapter.run_files.checkpoint import AdapterCard, save_adapter, save_prompts
from taistore.store.run_rows import RunRow
from taistore.store.store import Store

MEAN_TEXT_NORM = 10.0


def add_random_run(
    store: Store,
    run_id: str,
    prompts_ND: NDArray[np.float32],
    *,
    radius: float = 25.0,
    minute: int = 0,
    **config: Any,
) -> str:
    """A finished run of the store's only encoder; ``config`` are settings of its training."""
    (encoder,) = store.encoders()
    settings = TrainConfig(**{"network": "paper", "hidden": 8, **config})
    settings = settings.settled("none" if settings.shift == "auto" else settings.shift)
    shape = NetworkShape(
        network="paper", dim=encoder.dim, labels=len(store.labels), hidden=8, dropout=0.0
    )
    torch.manual_seed(settings.seed)
    folder = Path(store.uri) / "runs" / run_id
    folder.mkdir(parents=True)
    created = datetime(2026, 1, 1, 0, minute, tzinfo=UTC)
    card = AdapterCard(
        run_id=run_id,
        config=settings,
        encoder=encoder,
        shape=shape,
        label_keys=tuple(store.labels.keys),
        label_names=tuple(label.name for label in store.labels),
        mean_text_norm=MEAN_TEXT_NORM,
        radius=radius,
        table_versions={},
        library_versions={},
        logit_spread=1.0,
        logit_energy=0.0,
        metrics={},
        created=created.isoformat(),
        weights_digest="",
    )
    save_prompts(folder, prompts_ND)
    save_adapter(folder, build_network(shape, seed=settings.seed), card)
    store.record_run(
        RunRow(
            run_id=run_id,
            task=settings.task,
            encoder_id=encoder.encoder_id,
            status="finished",
            seed=settings.seed,
            config=settings.to_json(),
            table_versions={},
            metrics={},
            checkpoint=f"runs/{run_id}",
            created=created,
        )
    )
    return run_id
