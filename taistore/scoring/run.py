"""A recorded run, ready to score with: its adapter on a device, inside the ladder.

Shapes: D embedding dimension, N labels.
"""

from dataclasses import dataclass
from typing import Any

import torch
from numpy.typing import NDArray

from taistore.adapter.checkpoint import load_adapter
from taistore.errors import EncoderError, ScoringError, TrainingError
from taistore.scoring.fusion import DEFAULT_FUSION
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
    if not row["checkpoint"]:
        raise TrainingError(
            f"run {run_id} has no checkpoint yet ({row['status']}): finish it first"
        )
    adapter = load_adapter(row["checkpoint"])
    adapter.check_fits(store, encoder.encoder_id)
    if prompts_ND.shape != (len(store.labels), encoder.dim):
        raise ScoringError(
            f"the label prompts are {prompts_ND.shape[0]} x {prompts_ND.shape[1]}, run {run_id} "
            f"needs {len(store.labels)} labels x {encoder.dim} dimensions: encode them with "
            f"{encoder.spec}"
        )
    place = resolve_device(device)
    adapter.to(place)
    ladder = Ladder(prompts_ND, adapter.logits, fusion=fusion, device=place)
    return ScoringRun(
        run_id=run_id,
        encoder_id=encoder.encoder_id,
        weights_digest=adapter.card.weights_digest,
        ladder=ladder,
    )


def resolve_device(device: str | torch.device) -> torch.device:
    """``auto`` is the GPU where there is one; raises :class:`EncoderError` on an absent device."""
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        place = torch.device(device)
        torch.empty(0, device=place)
    except (RuntimeError, AssertionError) as error:
        detail = str(error).splitlines()[0]
        raise EncoderError(f"device {str(device)!r} is not here ({detail}): use cpu") from None
    return place
