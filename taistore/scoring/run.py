"""A recorded run, ready to score with: its adapter on a device, inside the ladder.

Shapes: D embedding dimension, N labels.
"""

from dataclasses import dataclass
from typing import Any

import torch
from numpy.typing import NDArray

from taistore.adapter.checkpoint import load_adapter
from taistore.adapter.runs import run_folder
from taistore.encoders.precision import resolve_device
from taistore.errors import ScoringError, TrainingError
from taistore.scoring.fusion import DEFAULT_FUSION, Competition
from taistore.scoring.ladder import Ladder
from taistore.store.store import Store


@dataclass(frozen=True, kw_only=True, slots=True)
class ScoringRun:
    """A run, the encoder that it was trained for, its adapter's digest and its ladder."""

    run_id: str
    encoder_id: str
    weights_digest: str
    ladder: Ladder


def open_run(
    store: Store,
    run_id: str,
    *,
    prompts_ND: NDArray[Any],
    device: str | torch.device = "cpu",
    fusion: str = DEFAULT_FUSION,
) -> ScoringRun:
    """Load the adapter of a run and set up its ladder with the labels' prompt vectors [N, D].

    ``device`` may be ``auto``. Raises :class:`StoreError` on an unknown run or encoder,
    :class:`TrainingError` where the checkpoint is gone, damaged or of other labels, and
    :class:`ScoringError` where the prompts are not those of this encoder and label set.
    """
    row = store.run(run_id)
    encoder = store.encoder(row["encoder_id"])
    if row["status"] != "finished":
        raise TrainingError(
            f"run {run_id} is not finished ({row['status']}): finish it with "
            f"'taistore train --resume {row['run_id']}'"
        )
    adapter = load_adapter(run_folder(store, row["run_id"]))
    adapter.check_fits(store, encoder.encoder_id)
    if prompts_ND.shape != (len(store.labels), encoder.dim):
        raise ScoringError(
            f"the label prompts are {prompts_ND.shape[0]} x {prompts_ND.shape[1]}, run {run_id} "
            f"needs {len(store.labels)} labels x {encoder.dim} dimensions: encode them with "
            f"{encoder.spec}"
        )
    place = resolve_device(str(device))
    adapter.to(place)
    card = adapter.card
    ladder = Ladder(
        prompts_ND,
        adapter.logits,
        competition=Competition.over_texts(spread=card.logit_spread, energy=card.logit_energy),
        fusion=fusion,
        device=place,
    )
    return ScoringRun(
        run_id=run_id,
        encoder_id=encoder.encoder_id,
        weights_digest=card.weights_digest,
        ladder=ladder,
    )
